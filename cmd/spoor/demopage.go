package main

import (
	"embed"
	"encoding/json"
	"strings"
	"sync"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
	"github.com/valyala/fasthttp"
)

//go:embed demopage
var demoFolder embed.FS

// demoFiles are the files of the page by path.
var demoFiles = map[string]struct{ file, contentType string }{
	"/demo":          {"index.html", "text/html; charset=utf-8"},
	"/demo/demo.css": {"demo.css", "text/css; charset=utf-8"},
	"/demo/demo.js":  {"demo.js", "text/javascript; charset=utf-8"},
}

// demoPolicy lets the page use nothing but this server's files: the widget
// works where neither inline scripts nor eval do.
const demoPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// demoPage shows how a site uses the widget, and what arrives. It is on
// loopback, where anybody may read the demo app.
type demoPage struct {
	store *store.Store
	feed  demoFeed
}

// pages are the paths of the page: its files, and the hits that it lists.
func (p *demoPage) pages() map[string]fasthttp.RequestHandler {
	m := map[string]fasthttp.RequestHandler{
		"/demo/hits": func(ctx *fasthttp.RequestCtx) {
			demoReply(ctx, "application/json", p.hits(ctx.QueryArgs().GetUintOrZero("after")))
		},
	}
	for path, page := range demoFiles {
		text, _ := demoFolder.ReadFile("demopage/" + page.file) // it is in the program
		m[path] = func(ctx *fasthttp.RequestCtx) { demoReply(ctx, page.contentType, text) }
	}
	return m
}

func demoReply(ctx *fasthttp.RequestCtx, contentType string, body []byte) {
	h := &ctx.Response.Header
	h.SetContentType(contentType)
	h.Set("Content-Security-Policy", demoPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	ctx.SetBody(body)
}

// hits is what the demo app has stored since the hit of number after.
func (p *demoPage) hits(after int) []byte {
	app := p.store.AppByName(demoName)
	if app == nil { // deleted meanwhile
		return []byte(`{"mode":"none","last":0,"hits":[]}`)
	}
	p.feed.open.Do(func() {
		hits, _ := p.store.Tail(app.ID) // ends with the store
		go p.feed.follow(hits)
	})
	list, last := p.feed.since(after)
	text, _ := json.Marshal(map[string]any{"mode": app.Settings.Mode, "last": last, "hits": list}) // texts and numbers cannot fail
	return text
}

// demoHitsMax is how many hits the page can show that it has not asked for yet.
const demoHitsMax = 100

// demoHit is what the page shows of a hit: nothing that tells whose it is.
type demoHit struct {
	Received   int64           `json:"received"` // Unix milliseconds
	Type       string          `json:"type"`
	Name       string          `json:"name,omitempty"`
	Title      string          `json:"title,omitempty"`
	URL        string          `json:"url,omitempty"`
	Place      string          `json:"place,omitempty"`
	Device     string          `json:"device,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`
}

// demoFeed holds the newest hits from the first time that somebody looked.
type demoFeed struct {
	open  sync.Once
	mu    sync.Mutex
	hits  []demoHit
	count int // of all that came; the number of the newest
}

func (f *demoFeed) follow(hits <-chan spoor.Hit) {
	for h := range hits {
		f.add(demoHit{
			Received: h.Received, Type: h.Kind.String(), Name: h.Name, Title: h.Title, URL: h.URL,
			Place:  words(h.Place.City, h.Place.Country),
			Device: words(h.Agent.Browser, h.Agent.OS, h.Agent.Device), Properties: h.Properties,
		})
	}
}

func (f *demoFeed) add(h demoHit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.hits) == demoHitsMax {
		f.hits = append(f.hits[:0], f.hits[1:]...)
	}
	f.hits = append(f.hits, h)
	f.count++
}

// since gives the hits after a number, oldest first, and the newest number.
func (f *demoFeed) since(after int) (list []demoHit, last int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := f.count - after
	if fresh < 0 { // the page is older than this process
		fresh = f.count
	}
	fresh = min(fresh, len(f.hits))
	return append([]demoHit{}, f.hits[len(f.hits)-fresh:]...), f.count
}

func words(list ...string) string {
	var known []string
	for _, w := range list {
		if w != "" {
			known = append(known, w)
		}
	}
	return strings.Join(known, ", ")
}
