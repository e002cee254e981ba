package ingest

import (
	"strconv"
	"unicode/utf8"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// serveClick takes GET /c?k=KEY&u=TARGET&p=PROFILE&x=EXPIRY&s=SIGNATURE, a link in
// a mail, and leads on to the target. Only what the app has signed is followed,
// or anybody could lead people anywhere under its name. A person who follows a
// good link gets to the target, also if the click may not or cannot be kept.
func (s *Server) serveClick(rq *request) {
	link, reason := s.readLink(rq)
	if reason == "" && !spoor.LinkTarget(link.Target) {
		reason = reasonLinkTarget
	}
	if reason != "" {
		s.refusePerson(rq.ctx, reason)
		return
	}
	if !rq.ctx.IsHead() { // scanners of mails ask so
		s.keepClick(rq, &link)
	}
	noStore.set(&rq.ctx.Response.Header)
	rq.ctx.Response.Header.Set("Location", link.Target)
	rq.ctx.SetStatusCode(fasthttp.StatusFound)
}

// keepClick stores the click. What comes between only counts.
func (s *Server) keepClick(rq *request, link *spoor.Link) {
	reason := s.mayTake(rq, 1)
	if reason == "" {
		s.visitor(rq)
		rq.hits = append(rq.hits, spoor.Hit{
			App: rq.app.ID, Door: spoor.DoorClick, Kind: spoor.KindMailClick, Received: rq.now,
			URL: link.Target, IP: rq.ip, UserAgent: rq.agent, Hints: rq.hints,
		})
		var f flaw
		rq.setID(&f, &rq.hits[0].Key, link.Profile, "p")
		for _, name := range [...]string{"a", "m", "g"} {
			f.readPixelConsent(&rq.hits[0].Consent, name, string(rq.ctx.QueryArgs().Peek(name)))
		}
		s.finish(rq, f, "")
		reason = s.write(rq)
	}
	if reason == "" {
		if first, kept := s.count(rq); !kept {
			reason = first.reason
		}
	} else {
		s.counters.refused[lookup(reason)].Add(1)
	}
	if reason != "" {
		tellReason(&rq.ctx.Response.Header, reason)
	}
}

// readLink reads a signed link and checks it, and finds its app.
func (s *Server) readLink(rq *request) (link spoor.Link, reason spoor.Reason) {
	args := rq.ctx.QueryArgs()
	link = spoor.Link{Key: string(args.Peek("k")), Target: string(args.Peek("u")), Profile: string(args.Peek("p"))}
	var err error
	link.Expires, err = strconv.ParseInt(string(args.Peek("x")), 10, 64)
	if link.Key == "" {
		return link, reasonNoKey
	}
	if rq.app = s.opts.Apps.AppByKey(link.Key); rq.app == nil {
		return link, reasonUnknownKey
	}
	if err != nil || !utf8.ValidString(link.Target+link.Profile) || !link.Signed(rq.app.LinkSecret, string(args.Peek("s"))) {
		return link, reasonLink
	}
	if rq.now >= link.Expires*1000 {
		return link, reasonLinkExpired
	}
	return link, ""
}

// optOutPages are what a person sees who follows an opt-out link: a question,
// because scanners follow links, and the answer.
const (
	optOutHead = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>Opt out</title>`
	optOutAsk  = optOutHead + `<h1>Opt out</h1><p>From then on nothing that you do here is recorded under your name.<form method="post"><button>Opt out</button></form>`
	optOutDone = optOutHead + `<h1>You have opted out</h1><p>Nothing that you do here is recorded under your name any more. You can close this page.`
)

// serveOptOut takes /o, a signed link as /c without a target. A GET asks, a POST
// (also one click of a mail program, as RFC 8058 has it) makes the person object.
func (s *Server) serveOptOut(rq *request) {
	link, reason := s.readLink(rq)
	switch {
	case reason == "" && (link.Target != "" || link.Profile == "" || s.opts.Object == nil):
		reason = reasonLink
	case reason == "" && rq.ctx.IsPost():
		reason = s.mayTake(rq, 1)
	}
	page := optOutAsk
	if reason == "" && rq.ctx.IsPost() {
		page = optOutDone
		if err := s.opts.Object(rq.app, link.Profile); err != nil {
			reason = s.storeFailed(err)
		}
	}
	if reason != "" {
		s.refusePerson(rq.ctx, reason)
		return
	}
	h := &rq.ctx.Response.Header
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	noStore.set(h)
	noSniff.set(h)
	rq.ctx.SetContentType("text/html; charset=utf-8")
	rq.ctx.SetBodyString(page)
}

// refusePerson refuses somebody who reads the reply in a browser.
func (s *Server) refusePerson(ctx *fasthttp.RequestCtx, reason spoor.Reason) {
	s.refuse(ctx, reason)
	noStore.set(&ctx.Response.Header)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString("This link does not work: " + refusals[lookup(reason)].text + ".\n")
}
