package query

import (
	"bytes"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

const (
	appPath     = "/app"
	sharePrefix = "/share/"
)

// contentPolicy lets a page load what is served beside it and nothing else;
// nothing inline, no frames, no forms that lead elsewhere.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var (
	errNoSession   = detail(fasthttp.StatusUnauthorized, "There is no session, or it has ended; log in.")
	errOtherSite   = detail(fasthttp.StatusForbidden, "This request came from another site; nothing was done.")
	errNoAppHeader = detail(fasthttp.StatusForbidden, "Changes within a session need the header X-Spoor-App, which no other site can send; nothing was done.")
)

// The dashboard stands in two places, and for who has a link in a third:
//
//	/              of the listener of Serve
//	/app/          within another server, by AppHandler
//	/share/TOKEN/  in both; see share.go
//
// The page is the same in all, and what it loads and asks for lies below it.

// AppHandler serves the dashboard at /app/, and shared overviews at /share/,
// from within another fasthttp server, as Handler does; all else goes to next,
// or is answered 404 if that is nil. The address of a request must be the
// client's.
//
// A login with a token, or with the control plane's secret, opens a session;
// with its cookie /app/api/… answers as /api/… does with that token.
func (s *Server) AppHandler(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	if next == nil {
		next = func(ctx *fasthttp.RequestCtx) { s.refuse(ctx, errNotFound) }
	}
	return func(ctx *fasthttp.RequestCtx) {
		uri := ctx.RequestURI()
		if bytes.HasPrefix(uri, []byte(sharePrefix)) {
			s.handle(ctx, doorShare)
			return
		}
		if rest, ok := bytes.CutPrefix(uri, []byte(appPath)); ok && (len(rest) == 0 || rest[0] == '/' || rest[0] == '?') {
			s.handle(ctx, doorApp)
			return
		}
		next(ctx)
	}
}

// page is what the dashboard serves beside the API.
type page struct {
	methods string // for the Allow header
	serve   func(*call) error
}

// pageAt finds what lies at a path below the dashboard's place.
func (c *call) pageAt(path string) (page, bool) {
	switch {
	case path == "":
		return page{"GET, HEAD", (*call).toPlace}, true
	case path == "/login" && c.door != doorShare:
		return page{"POST", (*call).login}, true
	case path == "/logout" && c.door != doorShare:
		return page{"POST", (*call).logout}, true
	}
	name := path[1:]
	if name == indexName {
		return page{}, false
	}
	if name == "" {
		name = indexName
	}
	a, ok := assets()[name]
	return page{"GET, HEAD", func(c *call) error { return c.serveAsset(a) }}, ok
}

// servePage answers with a page.
func (c *call) servePage(path string, p page) {
	c.guard()
	h := &c.ctx.Response.Header
	method := string(c.ctx.Method())
	switch {
	case method == fasthttp.MethodOptions:
		h.Set("Allow", p.methods+", OPTIONS")
		return
	case !slices.Contains(strings.Split(p.methods, ", "), method):
		h.Set("Allow", p.methods+", OPTIONS")
		c.s.refuse(c.ctx, detail(fasthttp.StatusMethodNotAllowed, "This path takes "+p.methods+"."))
		return
	}
	c.route = &route{method: method, pattern: path}
	if err := p.serve(c); err != nil {
		c.fail(err)
	}
}

// guard keeps what a browser makes of a reply within this origin.
func (c *call) guard() {
	h := &c.ctx.Response.Header
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if c.door == doorShare { // the address is the secret
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Robots-Tag", "noindex")
		return
	}
	h.Set("Referrer-Policy", "same-origin") // with none at all forms would be sent without their origin
}

// toPlace leads to the page, whose addresses are relative to the slash.
func (c *call) toPlace() error { return c.seeOther(c.place + "/") }

// seeOther is written by hand: fasthttp would make the address absolute, by
// the Host that the client sent.
func (c *call) seeOther(path string) error {
	c.ctx.SetStatusCode(fasthttp.StatusSeeOther)
	c.ctx.Response.Header.Set("Location", path)
	return nil
}

// sameOrigin reports whether a request began on a page of ours, by what
// browsers add to it and no page can change; other programs add neither.
func (c *call) sameOrigin() bool {
	h := &c.ctx.Request.Header
	if site := h.Peek("Sec-Fetch-Site"); len(site) > 0 {
		return string(site) == "same-origin"
	}
	origin := string(h.Peek("Origin"))
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	return strings.EqualFold(u.Host, string(c.ctx.Host())) || c.s.opt.PublicURL != "" && origin == c.s.opt.PublicURL
}
