package query

import (
	"bytes"
	"crypto/subtle"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// actor is who makes a request.
type actor struct {
	name    string
	role    spoor.Role
	app     *spoor.App // the only app that is open to it; nil for the next three
	control bool       // the control plane: all apps, but no personal data
	local   bool       // the operator, on the local socket: everything
	token   string     // its hash, where a token was brought

	elsewhere string // the name of that app, where another node has it and decides what is allowed
	sealed    []byte // of a session, see seal
}

var control = actor{name: spoor.ActorControl, role: spoor.RoleAdmin, control: true}

var operator = actor{name: spoor.ActorOperator, role: spoor.RoleAdmin, local: true}

// authenticate finds the actor by the Authorization header. Secrets are looked
// up by their hash, so the time it takes tells nothing about them.
func (s *Server) authenticate(ctx *fasthttp.RequestCtx, door door) (actor, error) {
	if door == doorLocal {
		return operator, nil
	}
	scheme, secret, ok := bytes.Cut(bytes.TrimSpace(ctx.Request.Header.Peek("Authorization")), []byte(" "))
	if !ok || !(bytes.EqualFold(scheme, []byte("Token")) || bytes.EqualFold(scheme, []byte("Bearer"))) {
		return actor{}, errNoCredentials
	}
	return s.authenticateSecret(bytes.TrimSpace(secret), door != doorPublic)
}

// authenticate finds who makes the request. At the root a token wins over a
// session: programs that bring one never depend on a cookie.
func (c *call) authenticate() (actor, error) {
	switch {
	case c.door == doorShare:
		return c.who, c.shareable() // enterShare found it
	case c.door == doorApp:
		return c.authenticateSession()
	case c.door == doorWeb && len(c.ctx.Request.Header.Peek("Authorization")) == 0 && len(c.cookie()) > 0:
		c.guard()
		return c.authenticateSession()
	}
	return c.s.authenticate(c.ctx, c.door)
}

// authenticateSecret finds the actor of a token, or, where it may come in, the
// control plane.
func (s *Server) authenticateSecret(secret []byte, controlToo bool) (actor, error) {
	if len(secret) == 0 {
		return actor{}, errInvalidToken
	}
	if controlToo && s.isControl(secret) {
		return control, nil
	}
	app, token := s.opt.Apps.AppByToken(string(secret))
	if app == nil || !spoor.Live(token.Expires, s.opt.Now()) {
		return actor{}, errInvalidToken
	}
	return actor{name: token.Name, role: token.Role, app: app, token: token.Hash}, nil
}

func (s *Server) isControl(secret []byte) bool {
	want := s.opt.AdminTokenHash
	return want != "" && subtle.ConstantTimeCompare([]byte(spoor.HashToken(string(secret))), []byte(want)) == 1
}

// admit decides whether the actor may take the route, and finds the app that
// the request is about. An app that is not the actor's own does not exist.
func (c *call) admit() error {
	if !c.who.role.Allows(c.route.role) {
		return errForbidden
	}
	apps := c.s.opt.Apps
	switch c.route.scope {
	case scopeApp:
		switch {
		case c.who.control:
			return errForbidden
		case c.who.local:
			return c.chosenApp(true)
		default:
			c.app = c.who.app
		}
	case scopeSelf:
		if c.who.local {
			return c.chosenApp(false)
		}
		c.app = c.who.app
		return nil
	case scopeAllApps:
		if !c.who.control && !c.who.local {
			return errForbidden
		}
		return nil
	case scopeNamedApp:
		c.app = apps.AppByName(c.args[0])
		if c.app != nil && c.who.app != nil && c.who.app.ID != c.app.ID {
			c.app = nil
		}
	}
	if c.app == nil {
		return errNotFound
	}
	return nil
}

// chosenApp finds the app that the operator names with ?app=.
func (c *call) chosenApp(must bool) error {
	name, err := c.query("app")
	if err != nil || name == "" && !must {
		return err
	}
	if name == "" {
		return detail(fasthttp.StatusBadRequest, "Say which app: add ?app=NAME.")
	}
	if c.app = c.s.opt.Apps.AppByName(name); c.app == nil {
		return errNotFound
	}
	return nil
}
