package query

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// door is where a request came in.
type door uint8

const (
	doorWeb    door = iota // the listener of the read side: tokens, or a session of the dashboard at /
	doorLocal              // the unix socket
	doorPublic             // mounted on another server: /api/public/ alone
	doorApp                // mounted on another server: the dashboard at /app/, with sessions
	doorShare              // either's /share/TOKEN/: a shared overview
)

// call is one request on its way through a handler.
type call struct {
	s       *Server
	ctx     *fasthttp.RequestCtx
	door    door
	route   *route
	path    string   // as it came, below the place
	args    []string // arguments of the path, decoded
	who     actor
	place   string     // path of the dashboard that the request is below; empty at the root
	session []byte     // the cookie by which the actor is known; a stream outlives the request's bytes
	app     *spoor.App // nil where the scope has none
	v2      bool

	// What the handler works on.
	store     Store
	retention Retention
	now       time.Time
	random    io.Reader // secrets are drawn from it
	life      context.Context

	// Of a command that is applied; see Apply.
	applied bool
	number  spoor.AppID       // of an app that is made
	hash    string            // of a secret that was made where the command was
	later   func(*call) error // see finish
	once    string            // the secret of that hash, on the node that was asked

	// For the audit log; handlers fill them.
	subjects int
	subject  int64 // public id if it is one person
	changed  bool  // something is stored that must be entered, whatever follows

	passed   bool // by another node, which enters it
	bodyRead bool // to its end
	whole    []byte

	stream *stream // set by handlers that stream; it audits at its end
}

// handle answers one request. It never panics.
func (s *Server) handle(ctx *fasthttp.RequestCtx, door door) {
	s.counters.requests.Add(1)
	c := &call{s: s, ctx: ctx, door: door, store: s.opt.Store, retention: s.opt.Retention, random: rand.Reader, life: context.Background()}
	defer func() {
		if r := recover(); r != nil {
			s.counters.panics.Add(1)
			s.opt.Log.Error("a handler panicked; please report this", "stack", string(debug.Stack()))
			ctx.Response.Reset()
			s.refuse(ctx, errInternal)
			ctx.SetConnectionClose()
		}
		// fasthttp would read what is left of a body as the next request.
		if ctx.RequestBodyStream() != nil && !c.bodyRead {
			ctx.SetConnectionClose()
		}
	}()
	c.answer()
}

// answer goes from the gate to the handler.
func (c *call) answer() {
	s, ctx := c.s, c.ctx
	h := &ctx.Response.Header
	h.SetNoDefaultContentType(true)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if p := gate(&ctx.Request.Header); p != nil {
		s.refuse(ctx, p)
		ctx.SetConnectionClose()
		return
	}
	path, _, _ := strings.Cut(string(ctx.RequestURI()), "?")
	path, ok := c.enter(path)
	if !ok {
		s.refuse(ctx, errNotFound)
		return
	}
	if c.door == doorWeb || c.door == doorApp || c.door == doorShare {
		if p, ok := c.pageAt(path); ok {
			c.servePage(path, p)
			return
		}
	}
	if c.door != doorWeb && c.door != doorLocal && !strings.HasPrefix(path, apiPrefix) {
		s.refuse(ctx, errNotFound)
		return
	}
	res, args := s.find(path, c.door)
	if res == nil {
		s.refuse(ctx, errNotFound)
		return
	}
	method := string(ctx.Method())
	if method == fasthttp.MethodOptions {
		h.Set("Allow", res.allow)
		return
	}
	c.route, c.path, c.args, c.now = res.methods[method], path, args, s.opt.Now()
	if c.route == nil {
		h.Set("Allow", res.allow)
		s.refuse(ctx, detail(fasthttp.StatusMethodNotAllowed, "This path takes "+res.allow+"."))
		return
	}
	if err := c.run(); err != nil {
		c.fail(err)
	}
}

// enter finds the place of the dashboard that a path is below, and what is left
// of the path; ok is false where nothing is.
func (c *call) enter(path string) (rest string, ok bool) {
	if c.door == doorWeb && strings.HasPrefix(path, sharePrefix) {
		c.door = doorShare
	}
	switch c.door {
	case doorApp:
		c.place = appPath
		c.guard()
	case doorShare:
		c.guard()
		return c.enterShare(path)
	}
	return strings.TrimPrefix(path, c.place), true
}

// run goes from authentication to the audit.
func (c *call) run() error {
	if c.route.scope != scopeNone {
		who, unknown := c.authenticate()
		if c.who = who; unknown != nil && !errors.Is(unknown, errInvalidToken) {
			return unknown
		}
		name, err := c.named()
		if err != nil {
			return err
		}
		if done, err := c.forwardedTo(name, unknown != nil); done {
			return err
		}
		switch {
		case c.who.elsewhere != "":
			return c.lookElsewhere()
		case unknown != nil && name != "": // no other node has that app
			return unknown
		case unknown != nil:
			return c.askOthers()
		}
		if err := c.admit(); err != nil {
			return err
		}
		if c.app != nil {
			if done, err := c.forwardedTo(c.app.Name, false); done {
				return err
			}
		}
	}
	if sec := c.throttle(); sec > 0 {
		c.s.counters.limited.Add(1)
		return retry(detail(fasthttp.StatusTooManyRequests, "Request was throttled; try again later."), sec)
	}
	c.v2 = acceptsVersion2(c.ctx.Request.Header.Peek("Accept"))
	if c.travels() {
		return c.submit()
	}
	if err := c.serveRoute(); err != nil {
		return err
	}
	if c.door == doorShare && c.route.pattern == "/api/stats/top/" {
		return c.hideRare()
	}
	return nil
}

// throttle returns 0, or the seconds after which the app may be asked again.
func (c *call) throttle() (waitSec int) {
	switch {
	case c.app == nil || c.who.local || c.route.scope == scopeNamedApp:
		return 0
	case c.route.pattern == sessionPath && c.door == doorWeb && c.s.opt.Nodes != nil && len(c.ctx.Request.Header.Peek(headerForwarded)) > 0:
		return 0 // a node asks whether the token is known; the request comes next
	case c.door == doorShare: // a bucket of its own: a link that many open takes nothing from the app's clients
		return c.s.shareLimits.take(c.app.ID, sharePerMinute, c.now)
	}
	return c.s.limits.take(c.app.ID, c.app.Settings.RequestsPerMin, c.now)
}

// fail writes an error as reply, and logs it if it is ours to mend.
func (c *call) fail(err error) {
	p, known := problemOf(err)
	if !known {
		c.s.opt.Log.Error("cannot answer a request", "method", c.route.method, "path", c.route.pattern, "error", err)
	}
	c.s.refuse(c.ctx, p)
}

// refuse writes a problem.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, p *problem) {
	h := &ctx.Response.Header
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	switch {
	case p.status == fasthttp.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Token")
		s.counters.denied.Add(1)
	case p.status == fasthttp.StatusForbidden:
		s.counters.denied.Add(1)
	case p.status >= 500:
		s.counters.failed.Add(1)
	}
	if p.retrySec > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retrySec))
	}
	ctx.SetStatusCode(p.status)
	h.SetContentType("application/json")
	ctx.SetBody(p.body)
}

// reply sends JSON.
func (c *call) reply(status int, w *jsonWriter) error {
	c.ctx.SetStatusCode(status)
	c.ctx.Response.Header.SetContentType("application/json")
	c.ctx.Response.SetBodyRaw(w.b)
	return nil
}

// query is a value of the query, or empty. It is plain text of bounded length.
func (c *call) query(name string) (string, error) {
	v := string(c.ctx.QueryArgs().Peek(name))
	if !plainText(v) {
		return "", errBadQuery
	}
	return v, nil
}

// onlyQuery refuses names that the route does not know: to ignore a filter
// would be to answer with everybody.
func (c *call) onlyQuery(known ...string) error {
	known = append(known, "app", "format")
	for name := range c.ctx.QueryArgs().All() {
		found := false
		for _, k := range known {
			found = found || string(name) == k
		}
		if !found {
			return errNoFilters
		}
	}
	return nil
}

// body is the request's body of at most 1 MiB; also where the server that
// Handler is mounted on leaves it in the connection.
func (c *call) body() ([]byte, error) {
	if enc := c.ctx.Request.Header.ContentEncoding(); len(enc) > 0 && !bytes.EqualFold(enc, []byte("identity")) {
		return nil, errEncoding
	}
	if c.bodyRead {
		return c.whole, nil
	}
	in := c.ctx.RequestBodyStream()
	if in == nil {
		body := c.ctx.PostBody()
		if len(body) > bodyBytesMax {
			return nil, errTooLarge
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(in, bodyBytesMax+1))
	if len(body) > bodyBytesMax {
		return nil, errTooLarge
	}
	// fasthttp gives a plain end for a connection that broke off. In a chunked
	// body it cannot be told from the real end, but JSON shows its own.
	if announced := c.ctx.Request.Header.ContentLength(); err != nil || announced >= 0 && len(body) != announced {
		return nil, detail(fasthttp.StatusBadRequest, "The body did not arrive whole.")
	}
	c.bodyRead, c.whole = true, body
	return body, nil
}

// acceptsVersion2 reads the media-type parameter version of Accept, with any
// spacing. No version means 1.
func acceptsVersion2(accept []byte) bool {
	for _, part := range strings.Split(string(accept), ",") {
		_, params, err := mime.ParseMediaType(part)
		if err == nil && strings.TrimSpace(params["version"]) == "2" {
			return true
		}
	}
	return false
}
