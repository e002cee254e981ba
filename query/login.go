package query

import (
	"bytes"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const loginBytesMax = 4 << 10

var (
	errLoginForm    = detail(fasthttp.StatusUnsupportedMediaType, "Send the token as a form, application/x-www-form-urlencoded.")
	errLoginLarge   = detail(fasthttp.StatusRequestEntityTooLarge, "The form is larger than 4 KiB.")
	errLoginUnknown = detail(fasthttp.StatusUnauthorized, "This token is not known, or has expired; make one with: spoor app tokens APP --create NAME")
)

// login opens a session for a token. The session is always a new one, and one
// that the browser had is over: nobody can prepare one for somebody else.
func (c *call) login() error {
	if !c.sameOrigin() {
		return errOtherSite
	}
	secret, err := c.loginSecret()
	if err != nil {
		return err
	}
	now := c.s.opt.Now()
	takeBack, wait := c.s.attempts.begin(addressOf(c.ctx.RemoteAddr()), c.s.attemptCost(), now)
	if wait > 0 {
		c.s.counters.loginsFailed.Add(1)
		return retry(detail(fasthttp.StatusTooManyRequests, "Too many logins have failed; try again in "+strconv.Itoa(wait)+" s."), wait)
	}
	of, kept := session{hash: spoor.HashToken(string(secret))}, secret
	who, err := c.s.authenticateSecret(secret, true)
	switch {
	case err != nil:
		if of.elsewhere, err = c.appElsewhere(secret); err != nil {
			c.s.counters.loginsFailed.Add(1)
			return err
		}
	case who.app != nil:
		of.app, kept = who.app.ID, nil
	case c.s.opt.Nodes == nil:
		kept = nil
	}
	takeBack()
	c.s.sessions.close(c.cookie())
	c.setCookie(c.s.sessions.open(of, kept, now))
	c.s.counters.logins.Add(1)
	return c.done()
}

// appElsewhere asks the other nodes for the app of a token that is not known here.
// A 503 tells almost what a 401 does, so the attempt counts all the same.
func (c *call) appElsewhere(secret []byte) (name string, err error) {
	if bytes.ContainsFunc(secret, unicode.IsControl) { // it would be no header
		return "", errLoginUnknown
	}
	_, name, err = c.whoKnows("Token " + string(secret))
	if errors.Is(err, errInvalidToken) || err == nil && name == "" { // another node's control plane is not that of this one
		return "", errLoginUnknown
	}
	return name, err
}

func (c *call) loginSecret() ([]byte, error) {
	kind, _, _ := bytes.Cut(c.ctx.Request.Header.ContentType(), []byte(";"))
	if !bytes.EqualFold(bytes.TrimSpace(kind), []byte("application/x-www-form-urlencoded")) {
		return nil, errLoginForm
	}
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	if len(body) > loginBytesMax {
		return nil, errLoginLarge
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errLoginForm
	}
	return []byte(strings.TrimSpace(form.Get("token"))), nil
}

func (c *call) logout() error {
	if !c.sameOrigin() {
		return errOtherSite
	}
	c.s.sessions.close(c.cookie())
	c.setCookie("")
	return c.done()
}

// done answers a script that asks for JSON, and leads a form to the page.
func (c *call) done() error {
	if !bytes.Contains(c.ctx.Request.Header.Peek("Accept"), []byte("application/json")) {
		return c.toPlace()
	}
	var w jsonWriter
	w.begin('{')
	w.bool("ok", true)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}
