package ingest

import (
	"strings"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	originBytesMax  = 512
	requestedMax    = 1024 // bytes of Access-Control-Request-Headers
	originsFresh    = time.Second
	defaultHeaders  = "authorization, content-type, content-encoding, x-write-key, x-retry-count"
	exposedHeaders  = "X-Spoor-Refused, Retry-After"
	preflightMaxAge = "86400"
)

// origins remembers which origins any app allows: a preflight names no app.
// It is rebuilt at most once a second, however many apps and preflights.
type origins struct {
	mu    sync.Mutex
	until time.Time
	all   bool
	some  map[string]bool
}

func (o *origins) allow(apps Apps, origin string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !now.Before(o.until) || o.until.Sub(now) > originsFresh {
		o.until, o.all, o.some = now.Add(originsFresh), false, make(map[string]bool)
		for _, app := range apps.AllApps() {
			if app.Closed {
				continue
			}
			o.all = o.all || len(app.Settings.Origins) == 0
			for _, a := range app.Settings.Origins {
				o.some[strings.ToLower(a)] = true
			}
		}
	}
	return o.all || o.some[strings.ToLower(origin)]
}

// appAllows compares whole origins: https://shop.example.evil is another one.
func appAllows(app *spoor.App, origin string) bool {
	list := app.Settings.Origins
	if len(list) == 0 {
		return true
	}
	for _, a := range list {
		if strings.EqualFold(a, origin) {
			return true
		}
	}
	return false
}

// origin is the request's web origin; empty if there is none or it is no text
// that could be repeated in a header.
func origin(ctx *fasthttp.RequestCtx) string {
	o := ctx.Request.Header.Peek("Origin")
	if len(o) == 0 || len(o) > originBytesMax {
		return ""
	}
	for _, c := range o {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return string(o)
}

// allowOrigin lets the page read the reply, whatever it will be. Credentials
// are allowed because sendBeacon always sends them; no cookie is read.
func allowOrigin(ctx *fasthttp.RequestCtx, origin string) {
	h := &ctx.Response.Header
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", exposedHeaders)
	h.Set("Vary", "Origin")
}

// openCORS is for the time before the app is known.
func (s *Server) openCORS(ctx *fasthttp.RequestCtx) string {
	o := origin(ctx)
	if o != "" && s.origins.allow(s.opts.Apps, o, s.opts.Now()) {
		allowOrigin(ctx, o)
	}
	return o
}

func (s *Server) servePreflight(ctx *fasthttp.RequestCtx, methods string) {
	o := origin(ctx)
	ctx.Response.Header.Set("Vary", "Origin, Access-Control-Request-Headers")
	if o != "" {
		if !s.origins.allow(s.opts.Apps, o, s.opts.Now()) {
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
