package query

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	sessionCookie = "spoor_session"
	sessionIdle   = 12 * time.Hour
	sessionLife   = 7 * 24 * time.Hour

	sessionsMax         = 10_000
	sessionsPerTokenMax = 20 // so that no token can push out the sessions of others
)

// session is a login. What it may do is asked of its token each time, so it
// changes with the token and ends with it.
type session struct {
	app         spoor.AppID // 0: the control plane, or elsewhere
	elsewhere   string      // the name of its app, which another node has and is asked each time
	hash        string      // of the token's secret
	sealed      []byte      // the secret, where other nodes may be asked; see seal
	begun, used time.Time
}

// seal encrypts the secret of a session's token with what only the cookie holds, of
// which the table has a hash: other nodes want the token with each request, and a
// table that leaked would still open nothing. A cookie's key seals one text.
func seal(cookie, secret []byte) []byte {
	return sealer(cookie).Seal(nil, make([]byte, 12), secret, nil)
}

func sealer(cookie []byte) cipher.AEAD {
	mac := hmac.New(sha256.New, cookie)
	mac.Write([]byte("token of a session"))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return aead
}

func unseal(cookie, sealed []byte) (secret []byte) {
	secret, err := sealer(cookie).Open(nil, make([]byte, 12), sealed, nil)
	if err != nil {
		panic("BUG: a session was sealed with another cookie")
	}
	return secret
}

// sessions are known by the hash of their cookie: a table that leaked would
// open nothing, and looking one up tells nothing by its time.
type sessions struct {
	mu   sync.Mutex
	byID map[[sha256.Size]byte]*session
}

// open begins a session and makes the value of its cookie; kept is the secret that
// other nodes may be asked with, or nil. Where there is no room the session that was
// used the longest ago goes, of the same token if it has too many.
func (t *sessions) open(of session, kept []byte, now time.Time) (cookie string) {
	var id [32]byte
	rand.Read(id[:]) // never fails
	cookie = hex.EncodeToString(id[:])
	of.begun, of.used = now, now
	if kept != nil {
		of.sealed = seal([]byte(cookie), kept)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = map[[sha256.Size]byte]*session{}
	}
	var ofToken int
	for id, s := range t.byID {
		if s.ended(now) {
			delete(t.byID, id)
		} else if s.hash == of.hash {
			ofToken++
		}
	}
	if ofToken >= sessionsPerTokenMax {
		t.dropOldest(of.hash)
	}
	if len(t.byID) >= sessionsMax {
		t.dropOldest("")
	}
	t.byID[sha256.Sum256([]byte(cookie))] = &of
	return cookie
}

// dropOldest drops a session of a token, or with "" of any.
func (t *sessions) dropOldest(hash string) {
	var oldest [sha256.Size]byte
	var found *session
	for id, s := range t.byID {
		if (hash == "" || s.hash == hash) && (found == nil || s.used.Before(found.used)) {
			oldest, found = id, s
		}
	}
	delete(t.byID, oldest)
}

func (s *session) ended(now time.Time) bool {
	return now.Sub(s.used) >= sessionIdle || now.Sub(s.begun) >= sessionLife
}

// find returns a copy of a session that goes on, and counts as its use if it is
// one.
func (t *sessions) find(cookie []byte, now time.Time, use bool) (session, bool) {
	id := sha256.Sum256(cookie)
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[id]
	if s == nil {
		return session{}, false
	}
	if s.ended(now) {
		delete(t.byID, id)
		return session{}, false
	}
	if use {
		s.used = now
	}
	return *s, true
}

func (t *sessions) close(cookie []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, sha256.Sum256(cookie))
}

func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// visitor is who the session of a cookie is, now. A session whose token is gone
// or has expired goes too.
func (s *Server) visitor(cookie []byte, use bool) (actor, bool) {
	now := s.opt.Now()
	found, ok := s.sessions.find(cookie, now, use)
	if !ok {
		return actor{}, false
	}
	if who, ok := s.holder(found, now); ok {
		who.sealed = found.sealed
		return who, true
	}
	s.sessions.close(cookie)
	return actor{}, false
}

func (s *Server) holder(of session, now time.Time) (actor, bool) {
	if of.elsewhere != "" {
		return actor{elsewhere: of.elsewhere}, true
	}
	same := func(hash string) bool { return subtle.ConstantTimeCompare([]byte(hash), []byte(of.hash)) == 1 }
	if of.app == 0 {
		return control, same(s.opt.AdminTokenHash)
	}
	app := s.opt.Apps.App(of.app)
	if app == nil {
		return actor{}, false
	}
	i := slices.IndexFunc(app.Tokens, func(t spoor.Token) bool { return same(t.Hash) })
	if i < 0 || !spoor.Live(app.Tokens[i].Expires, now) {
		return actor{}, false
	}
	return actor{name: app.Tokens[i].Name, role: app.Tokens[i].Role, app: app}, true
}

// authorization is what this request brings by which another node knows who makes
// it: the token of its session, or its header. Who only has a link brings nothing.
func (c *call) authorization() string {
	switch {
	case c.door == doorLocal || c.door == doorShare:
		return ""
	case c.session == nil:
		return string(c.ctx.Request.Header.Peek("Authorization"))
	case c.who.sealed == nil:
		return ""
	}
	return "Token " + string(unseal(c.session, c.who.sealed))
}

// sessionOver ends a session whose token is known no more where its app is.
func (c *call) sessionOver() error {
	c.s.sessions.close(c.session)
	return errNoSession
}

func (c *call) cookie() []byte { return c.ctx.Request.Header.Cookie(sessionCookie) }

// authenticateSession finds the actor by the session's cookie. SameSite keeps
// the cookie out of what other sites send. Where a browser does not know that,
// or a page on another port passes for the same site, its own headers tell; for
// changes also one that only a page of this origin can set.
func (c *call) authenticateSession() (actor, error) {
	c.session = bytes.Clone(c.cookie())
	who, ok := c.s.visitor(c.session, true)
	if !ok {
		return actor{}, errNoSession
	}
	h := &c.ctx.Request.Header
	if c.ctx.IsGet() || c.ctx.IsHead() {
		if site := string(h.Peek("Sec-Fetch-Site")); site == "cross-site" || site == "same-site" {
			return actor{}, errOtherSite
		}
		return who, nil
	}
	if !c.sameOrigin() {
		return actor{}, errOtherSite
	}
	if len(h.Peek("X-Spoor-App")) == 0 {
		return actor{}, errNoAppHeader
	}
	return who, nil
}

// accessEnded reports whether who reads a long answer may no more: the session is
// over, the token was deleted or has expired, or the app is gone.
func (c *call) accessEnded() bool {
	if c.session == nil {
		if c.who.app == nil {
			return false
		}
		app := c.s.opt.Apps.App(c.who.app.ID)
		return app == nil || !slices.ContainsFunc(app.Tokens, func(t spoor.Token) bool {
			return t.Hash == c.who.token && t.Role.Allows(c.route.role) && spoor.Live(t.Expires, c.s.opt.Now())
		})
	}
	_, ok := c.s.visitor(c.session, false)
	return !ok
}

// setCookie gives a session to the browser, or takes it back with an empty
// value. The path keeps it from the collector's own paths, SameSite from all
// requests that begin on other sites.
func (c *call) setCookie(value string) {
	var cookie fasthttp.Cookie
	cookie.SetKey(sessionCookie)
	cookie.SetValue(value)
	cookie.SetPath(cmp.Or(c.place, "/"))
	cookie.SetHTTPOnly(true)
	cookie.SetSecure(c.secure())
	cookie.SetSameSite(fasthttp.CookieSameSiteStrictMode)
	cookie.SetMaxAge(int(sessionLife.Seconds()))
	if value == "" {
		cookie.SetExpire(fasthttp.CookieExpireDelete)
		cookie.SetMaxAge(0)
	}
	c.ctx.Response.Header.SetCookie(&cookie)
}

// secure reports whether the client speaks https, to us or to what stands
// before us. Who logs in on the read side's own listener may come through a
// proxy or straight from this machine; the browser says which.
func (c *call) secure() bool {
	if c.door == doorApp && strings.HasPrefix(c.s.opt.PublicURL, "https://") {
		return true
	}
	return c.ctx.IsTLS() || bytes.HasPrefix(c.ctx.Request.Header.Peek("Origin"), []byte("https://"))
}

// readSession tells the dashboard who looks and at what.
func (c *call) readSession() error {
	if err := c.onlyQuery("app"); err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	zone := time.UTC
	if c.app != nil {
		zone = c.app.Zone(c.now.UnixMilli())
		w.text("app", c.app.Name)
	} else {
		w.null("app")
		w.key("apps")
		w.begin('[')
		for _, a := range c.s.allApps() {
			w.item(a.Name)
		}
		w.end(']')
	}
	w.text("role", string(c.who.role))
	w.text("timezone", zone.String())
	w.text("today", spoor.DayOf(c.now, zone).String())
	w.key("goals")
	w.begin('[')
	if c.app != nil {
		for _, g := range c.app.Settings.DeclaredGoals() {
			w.begin('{')
			w.text("name", g.Name)
			w.text("goal", g.String())
			w.end('}')
		}
	}
	w.end(']')
	w.bool("public", c.door == doorShare)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}
