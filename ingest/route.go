package ingest

import (
	"bytes"
	"net"
	"net/netip"
	"strings"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// route is one path of the front door. A new protocol is a file with its
// decoder, and its paths here.
type route struct {
	methods string // for the Allow header; OPTIONS is answered for all intake paths
	intake  bool   // pages may send here: CORS applies
	serve   func(*Server, *request)
}

// routes is every path, without its trailing slash, which is optional
// everywhere: a redirected POST would lose its body.
var routes = func() map[string]route {
	m := map[string]route{
		"":           {"GET, HEAD", false, (*Server).serveRoot},
		"/healthz":   {"GET, HEAD", false, (*Server).serveHealth},
		"/hit":       {"POST, OPTIONS", true, (*Server).serveNative},
		"/w":         {"POST, OPTIONS", true, (*Server).serveWidget},
		"/c":         {"GET, HEAD", false, (*Server).serveClick},
		"/o":         {"GET, HEAD, POST", false, (*Server).serveOptOut},
		"/pixel.gif": {"GET, HEAD, OPTIONS", true, (*Server).servePixel},

		"/widget.js":      {"GET, HEAD", false, (*Server).serveCore},
		"/widget-more.js": {"GET, HEAD", false, (*Server).serveMore},
	}
	segment := func(kind spoor.Kind, paths ...string) {
		serve := func(s *Server, rq *request) { s.serveSegment(rq, kind) }
		for _, p := range paths {
			m[p] = route{"POST, OPTIONS", true, serve}
		}
	}
	segment(spoor.KindEvent, "/v1/track", "/v1/t")
	segment(spoor.KindPage, "/v1/page", "/v1/p")
	segment(spoor.KindScreen, "/v1/screen", "/v1/s")
	segment(spoor.KindIdentify, "/v1/identify", "/v1/i")
	segment(spoor.KindAlias, "/v1/alias", "/v1/a")
	segment(spoor.KindGroup, "/v1/group", "/v1/g")
	segment(spoor.KindNone, "/v1/batch", "/v1/b") // each event names its type
	for path, form := range sdkForms {
		methods := "POST, OPTIONS"
		if form == sdkToken {
			methods = "DELETE, POST, OPTIONS"
		}
		m[sdkPrefix+path] = route{methods, true, (*Server).serveSDK}
	}
	return m
}()

// route hands a request of client to its protocol.
func (s *Server) route(ctx *fasthttp.RequestCtx, client netip.Addr) {
	path := bytes.TrimSuffix(ctx.Path(), []byte{'/'})
	r, ok := routes[string(path)]
	if !ok {
		r, ok = noticeRoute(path)
	}
	switch page := s.opts.Pages[string(path)]; {
	case page != nil:
		page(ctx)
	case !ok && s.opts.Fallback != nil:
		s.work(ctx, client, (*Server).serveFallback)
	case !ok:
		s.refuse(ctx, reasonNotFound)
	case r.intake && ctx.IsOptions():
		s.servePreflight(ctx, r.methods)
	case !allows(r.methods, ctx.Method()):
		ctx.Response.Header.Set("Allow", r.methods)
		s.refuse(ctx, reasonMethod)
	default:
		s.work(ctx, client, r.serve)
	}
}

// work lends a request its memory while it is served.
func (s *Server) work(ctx *fasthttp.RequestCtx, client netip.Addr, serve func(*Server, *request)) {
	rq := s.getRequest(ctx, client)
	defer s.putRequest(rq)
	serve(s, rq)
}

func allows(methods string, m []byte) bool {
	for one := range strings.SplitSeq(methods, ", ") {
		if one == string(m) {
			return true
		}
	}
	return false
}

func (s *Server) serveRoot(rq *request) {
	rq.ctx.SetContentType("text/plain; charset=utf-8")
	rq.ctx.SetBodyString("This port takes hits in: POST /hit, GET /pixel.gif, POST /v1/track, page, screen, identify, alias, group, batch, /api/sdk/v1/ping/, event/, batch/.\n")
}

func (s *Server) serveHealth(rq *request) {
	rq.ctx.SetContentType("text/plain; charset=utf-8")
	rq.ctx.SetBodyString("ok\n")
}

// serveFallback hands over with the body read, because a handler that knows
// nothing of our limits would read a streamed body without any.
func (s *Server) serveFallback(rq *request) {
	body, reason := s.readWhole(rq)
	if reason != "" {
		s.refuse(rq.ctx, reason)
		return
	}
	rq.ctx.Request.SetBodyRaw(body)
	if rq.ip.IsValid() {
		rq.ctx.SetRemoteAddr(&net.TCPAddr{IP: rq.ip.AsSlice()})
		defer rq.ctx.SetRemoteAddr(nil) // the next request may be another client's
	}
	s.opts.Fallback(rq.ctx)
	rq.ctx.Request.ResetBody() // the buffer goes back to the pool
}
