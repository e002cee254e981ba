package ingest

import (
	"strconv"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	cookieName = "__ca__chat" // as sites and their shops already read it
	keyLetters = 12
)

// serveWidget takes POST /w, from the script in ingest/widget. Its events have
// the fields of POST /hit. What may be kept on the device is decided here, and
// the reply says it: 200 whatever became of the events, unless the request as a
// whole was refused.
//
//	mode     the app's: cookieless, exempt, consent
//	keep     script: set the cookie to key, for days, if there is none
//	         server: this reply sets it
//	         no: delete what there is; absent: change nothing
//	errors   true if the app wants JavaScript errors
//	results  as of a batch
func (s *Server) serveWidget(rq *request) {
	s.openCORS(rq)
	if !s.decodeAll(rq, spoor.DoorWidget, decodeWidget) {
		return
	}
	if reason := s.write(rq); reason != "" {
		s.refuse(rq.ctx, reason)
		return
	}
	s.count(rq)
	s.replyWidget(rq)
}

// decodeWidget reads an event of the script, which has no words to spare: that a
// page was left is an event of that name to it.
func decodeWidget(rq *request, raw string, h *spoor.Hit) (f flaw) {
	f = decodeNative(rq, raw, h)
	if h.Kind == spoor.KindEvent && h.Name == "page_leave" {
		h.Kind = spoor.KindLeave
	}
	return f
}

func (s *Server) replyWidget(rq *request) {
	ctx, set := rq.ctx, &rq.app.Settings
	key := ""
	for i := range rq.hits {
		if k := rq.hits[i].Key; k != "" && !spoor.DailyKey(k) {
			key = k
			break
		}
	}
	for i := range rq.results {
		if rq.results[i].flaw.reason == spoor.ReasonObject {
			rq.keep = keepNothing
		}
	}
	ctx.SetStatusCode(fasthttp.StatusOK)
	ctx.SetContentType("application/json")
	noSniff.set(&ctx.Response.Header)
	b := append(rq.out[:0], `{"success":true,"mode":"`...)
	b = append(b, set.Mode...)
	b = append(b, '"')
	switch {
	case rq.keep == keepNothing:
		b = append(b, `,"keep":"no"`...)
	case rq.keep == keepKey && cookieSafe(key): // no script of ours has another
		by := `","keep":"script"`
		if s.ownCookie(rq) {
			by = `","keep":"server"`
			if string(ctx.Request.Header.Cookie(cookieName)) != key {
				setCookie(rq, key)
			}
		}
		b = append(b, `,"key":"`...)
		b = append(b, key...)
		b = append(b, by...)
		b = append(b, `,"days":`...)
		b = strconv.AppendInt(b, spoor.CookieDays, 10)
	}
	if set.Errors {
		b = append(b, `,"errors":true`...)
	}
	b = appendResults(b, rq.results)
	ctx.SetBody(b)
	rq.out = b
}

// ownCookie says that the collector itself sets the cookie: browsers that cut
// the life of cookies set by scripts leave those of a host of the site alone.
func (s *Server) ownCookie(rq *request) bool {
	return spoor.Under(hostname(rq.ctx.Request.Header.Host()), rq.app.Settings.CookieDomain)
}

// widgetKey is the profile key that the cookie holds, if it is ours to read.
func (s *Server) widgetKey(rq *request) string {
	if !s.ownCookie(rq) {
		return ""
	}
	key := string(rq.ctx.Request.Header.Cookie(cookieName))
	if !cookieSafe(key) {
		return ""
	}
	return key
}

// readCookieKey reads the profile key that the script found in its cookie. Other
// pages of the site's hosts can plant anything there: what the script would never
// have written counts as none, and the reply gives a new one.
func (rq *request) readCookieKey(dst *string, raw string) {
	key, _ := scalar(raw)
	switch {
	case key == "":
	case !cookieSafe(key) || junk(key):
		rq.junk++
	default:
		*dst = key
	}
}

// cookieSafe is for what may stand in a cookie and in JSON as it is.
func cookieSafe(key string) bool {
	for _, c := range []byte(key) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return key != "" && len(key) <= 128
}

func setCookie(rq *request, key string) {
	var c fasthttp.Cookie
	c.SetKey(cookieName)
	c.SetValue(key)
	c.SetPath("/")
	c.SetDomain(rq.app.Settings.CookieDomain)
	c.SetMaxAge(spoor.CookieDays * 24 * 60 * 60)
	c.SetSameSite(fasthttp.CookieSameSiteLaxMode)
	c.SetSecure(len(rq.origin) > 8 && string(rq.origin[:8]) == "https://")
	rq.ctx.Response.Header.SetCookie(&c)
}
