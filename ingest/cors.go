package ingest

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	originBytesMax  = 512
	requestedMax    = 1024 // bytes of Access-Control-Request-Headers
	originsFresh    = time.Second
	defaultHeaders  = "authorization, content-type, content-encoding, x-write-key, x-retry-count"
	preflightMaxAge = "86400"
)

// origins remembers which origins any app allows: a preflight names no app.
// It is rebuilt at most once a second, however many apps and preflights.
type origins struct {
	rebuild sync.Mutex
	current atomic.Pointer[originSet] // never changed, only replaced
}

type originSet struct {
	until time.Time
	all   bool
	some  map[string]bool // in small letters
}

func (o *origins) allow(apps Apps, origin []byte, now time.Time) bool {
	set := o.current.Load()
	if !set.fresh(now) {
		set = o.renew(apps, now)
	}
	return set.all || set.some[strings.ToLower(string(origin))]
}

func (set *originSet) fresh(now time.Time) bool {
	return set != nil && now.Before(set.until) && set.until.Sub(now) <= originsFresh
}

func (o *origins) renew(apps Apps, now time.Time) *originSet {
	o.rebuild.Lock()
	defer o.rebuild.Unlock()
	if set := o.current.Load(); set.fresh(now) {
		return set // another request was faster
	}
	set := &originSet{until: now.Add(originsFresh), some: make(map[string]bool)}
	for _, app := range apps.AllApps() {
		if app.Closed {
			continue
		}
		set.all = set.all || len(app.Settings.Origins) == 0
		for _, a := range app.Settings.Origins {
			set.some[strings.ToLower(a)] = true
		}
	}
	o.current.Store(set)
	return set
}

// appAllows compares whole origins: https://shop.example.evil is another one.
func appAllows(app *spoor.App, origin []byte) bool {
	list := app.Settings.Origins
	if len(list) == 0 {
		return true
	}
	for _, a := range list {
		if strings.EqualFold(a, string(origin)) {
			return true
		}
	}
	return false
}

// origin is the request's web origin, in the request's memory; empty if there
// is none or it is no text that could be repeated in a header.
func origin(ctx *fasthttp.RequestCtx) []byte {
	o := ctx.Request.Header.PeekCanonical(headerOrigin)
	if len(o) > originBytesMax {
		return nil
	}
	for _, c := range o {
		if c <= ' ' || c > '~' {
			return nil
		}
	}
	return o
}

// allowOrigin lets the page read the reply, whatever it will be. Credentials
// are allowed because sendBeacon always sends them; no cookie is read.
func allowOrigin(ctx *fasthttp.RequestCtx, origin []byte) {
	h := &ctx.Response.Header
	h.SetCanonical(headerAllowOrigin, origin)
	allowCredentials.set(h)
	varyOrigin.set(h)
}

func disallowOrigin(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Del("Access-Control-Allow-Origin")
	h.Del("Access-Control-Allow-Credentials")
}

var (
	headerAllowOrigin = []byte("Access-Control-Allow-Origin")
	allowCredentials  = fixed("Access-Control-Allow-Credentials", "true")
	exposeHeaders     = fixed("Access-Control-Expose-Headers", "X-Spoor-Refused, Retry-After")
	varyOrigin        = fixed("Vary", "Origin")
)

// openCORS is for the time before the app is known.
func (s *Server) openCORS(rq *request) {
	rq.origin = origin(rq.ctx)
	if len(rq.origin) > 0 && s.origins.allow(s.opts.Apps, rq.origin, rq.began) {
		allowOrigin(rq.ctx, rq.origin)
		rq.readable = true
	}
}

func (s *Server) servePreflight(ctx *fasthttp.RequestCtx, methods string) {
	o := origin(ctx)
	ctx.Response.Header.Set("Vary", "Origin, Access-Control-Request-Headers")
	if len(o) > 0 {
		app := s.opts.Apps.AppByKey(headKey(ctx)) // in the query, if the page sends it there
		if !s.origins.allow(s.opts.Apps, o, s.opts.Now()) || app != nil && !appAllows(app, o) {
			s.refuse(ctx, reasonOrigin)
			return
		}
		allowOrigin(ctx, o)
		h := &ctx.Response.Header
		h.Set("Vary", "Origin, Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", requestedHeaders(ctx))
		h.Set("Access-Control-Max-Age", preflightMaxAge)
	} else {
		ctx.Response.Header.Set("Allow", methods)
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
}

// requestedHeaders repeats the header names that a page asks for: intake reads
// few headers and none can do harm.
func requestedHeaders(ctx *fasthttp.RequestCtx) string {
	r := ctx.Request.Header.Peek("Access-Control-Request-Headers")
	if len(r) == 0 || len(r) > requestedMax {
		return defaultHeaders
	}
	for _, c := range r {
		token := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
		if !token && c != ',' && c != ' ' {
			return defaultHeaders
		}
	}
	return string(r)
}
