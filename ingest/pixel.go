package ingest

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// gif is a transparent image of one pixel, 43 bytes.
var gif, _ = base64.StdEncoding.DecodeString("R0lGODlhAQABAIAAAAAAAAAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")

// servePixel takes GET /pixel.gif. It answers the image whatever happens, so
// that no page or mail shows a broken one, with the status that is true. HEAD
// checks the key and keeps nothing.
func (s *Server) servePixel(rq *request) {
	s.takePixel(rq)
	asPixel(rq.ctx)
}

// asPixel makes the reply an image, whatever its status says.
func asPixel(ctx *fasthttp.RequestCtx) {
	noStore.set(&ctx.Response.Header)
	ctx.SetContentType("image/gif")
	ctx.SetBody(gif)
}

var noStore = fixed("Cache-Control", "no-store")

func (s *Server) takePixel(rq *request) {
	ctx := rq.ctx
	s.openCORS(rq)
	rq.key = headKey(ctx)
	if reason := s.admit(rq, 1); reason != "" {
		s.refuse(ctx, reason)
		return
	}
	if ctx.IsHead() {
		return
	}
	s.visitor(rq)
	rq.hits = append(rq.hits, spoor.Hit{App: rq.app.ID, Door: spoor.DoorPixel, Received: rq.now})
	h := &rq.hits[0]
	s.finish(rq, decodePixel(rq, string(ctx.URI().QueryString()), h), "")
	s.store(rq)
}

// pixelNames are the names that a query may have beside properties.
var pixelNames = func() map[string]string {
	names := map[string]string{}
	for _, c := range "cieyurtslzamg" {
		names[string(c)] = string(c)
	}
	return names
}()

// decodePixel reads the query. Of a name that comes twice the first counts.
func decodePixel(rq *request, query string, h *spoor.Hit) (f flaw) {
	h.Kind = spoor.KindPage
	h.IP, h.UserAgent, h.Hints = rq.ip, rq.agent, rq.hints
	if rq.args == nil {
		rq.args = new(fasthttp.Args)
	}
	rq.args.Parse(query)
	var properties []byte
	letters := uint32(0)                 // names of one letter that were there
	var seen map[string]bool             // others
	texts := make([]byte, 0, len(query)) // all values, in one piece of memory
	for _, v := range rq.args.All() {
		texts = append(texts, v...)
	}
	rest := string(texts)
	for n, v := range rq.args.All() {
		value := rest[:len(v)]
		rest = rest[len(v):]
		name := pixelNames[string(n)]
		if name != "" {
			if letters&(1<<(name[0]-'a')) != 0 {
				continue
			}
			letters |= 1 << (name[0] - 'a')
		} else if name = string(n); seen[name] {
			continue
		} else {
			if seen == nil {
				seen = map[string]bool{}
			}
			seen[name] = true
		}
		if !utf8.ValidString(name) || !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0 {
			f.set(reasonValue, "query")
			continue
		}
		switch name {
		case "c":
			rq.setID(&f, &h.Key, value, name)
		case "i":
			rq.setID(&f, &h.ID, value, name)
		case "e":
			h.Name = value
		case "y":
			f.nameKind(&h.Kind, value)
		case "u":
			h.URL = value
		case "r":
			h.Referrer = value
		case "t":
			h.Title = value
		case "s":
			h.Resolution = value
		case "l":
			h.Language = value
		case "z":
			h.TimeZone = value
		case "a", "m", "g":
			f.readPixelConsent(&h.Consent, name, value)
		default:
			if p, ok := strings.CutPrefix(name, "p."); ok && p != "" && strings.IndexByte(p, 0) < 0 {
				properties = appendMember(properties, p, value)
			}
		}
	}
	if properties != nil {
		h.Properties = append(properties, '}')
	}
	if h.Name != "" && h.Kind == spoor.KindPage {
		h.Kind = spoor.KindEvent
	}
	if h.URL == "" && rq.ctx != nil {
		if ref := string(rq.ctx.Referer()); utf8.ValidString(ref) {
			h.URL = ref
		}
	}
	return f
}

// readPixelConsent reads one category of consent, 1 or 0: a for analytics, m for
// marketing, g for geolocation.
func (f *flaw) readPixelConsent(dst *spoor.Consent, name, value string) {
	c := spoor.ChoiceUnknown
	switch value {
	case "1":
		c = spoor.ChoiceGranted
	case "0":
		c = spoor.ChoiceDenied
	case "":
	default:
		f.set(reasonValue, "consent")
	}
	a, m, g := dst.Analytics(), dst.Marketing(), dst.Geolocation()
	switch name {
	case "a":
		a = c
	case "m":
		m = c
	default:
		g = c
	}
	*dst = spoor.NewConsent(a, m, g)
}

// appendMember appends a member with a text value to an object that begins
// with the first one and is not closed yet.
func appendMember(object []byte, name, value string) []byte {
	if object == nil {
		object = append(object, '{')
	} else {
		object = append(object, ',')
	}
	object, _ = jsontext.AppendQuote(object, name) // valid UTF-8 cannot fail
	object = append(object, ':')
	object, _ = jsontext.AppendQuote(object, value)
	return object
}
