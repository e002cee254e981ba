package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// request is the work on one request. It is reused; reset clears every field
// but the memory of its buffers.
type request struct {
	ctx        *fasthttp.RequestCtx
	app        *spoor.App
	key        string
	keyInEvent bool // the key came from the first event; the others must agree
	unrefused  bool // the client throws away what is refused for its rate: count it, and take it
	began      time.Time
	now        int64  // the same in Unix milliseconds
	origin     []byte // of the page, in the request's memory; empty: none
	keep       keep   // what the device may store
	cookie     string // profile key of our own cookie; widget only
	readable   bool   // the page may read the reply
	ip         netip.Addr
	agent      string
	hints      spoor.Hints // from headers

	raw, plain buffer // the body as sent, and inflated
	envelope
	pieces  []piece
	members []member // memory for those of one event
	known   []member // of the event being decoded, if open has found them
	hits    []spoor.Hit
	results []result
	base    segmentContext // decoded envelope.context
	sdk     sdkRequest
	junk    int            // ids that identify nobody
	cut     int            // texts that were cut
	unread  int            // attributes that did not convert
	head    []byte         // text of headers, see senders
	args    *fasthttp.Args // of a pixel's query; nil: none yet
	out     []byte
}

// result is what becomes of one event; hit is its index among the hits, or -1.
type result struct {
	id      string
	hit     int
	outcome spoor.Outcome
	flaw    flaw
}

func (s *Server) getRequest(ctx *fasthttp.RequestCtx, client netip.Addr) *request {
	rq := s.requests.Get().(*request)
	rq.ctx, rq.ip = ctx, client
	rq.began = s.opts.Now()
	rq.now = rq.began.UnixMilli()
	return rq
}

func (s *Server) putRequest(rq *request) {
	addSome(&s.counters.junk, rq.junk)
	addSome(&s.counters.cut, rq.cut)
	addSome(&s.counters.unread, rq.unread)
	s.release(&rq.raw)
	s.release(&rq.plain)
	rq.reset()
	s.requests.Put(rq)
}

func (rq *request) reset() {
	clear(rq.pieces)
	clear(rq.hits)
	clear(rq.results)
	pieces, members, hits, results, out := rq.pieces[:0], rq.members[:0], rq.hits[:0], rq.results[:0], rq.out[:0]
	if cap(hits) > 128 { // some 100 KiB; a rare large batch is not worth keeping
		pieces, hits, results, out = nil, nil, nil, nil
	}
	if cap(members) > 256 {
		members = nil
	}
	*rq = request{raw: rq.raw, plain: rq.plain, pieces: pieces, members: members, hits: hits, results: results, head: rq.head[:0], args: rq.args, out: out}
}

// decoder turns one event, which is valid JSON and an object, into a hit.
// Strings of the hit share the memory of raw, which is the hit's own.
type decoder func(rq *request, raw string, h *spoor.Hit) flaw

// take is the way of every JSON protocol, from body to reply.
func (s *Server) take(rq *request, door spoor.Door, decode decoder) {
	s.openCORS(rq)
	if s.decodeAll(rq, door, decode) {
		s.store(rq)
	}
}

// decodeAll makes hits of the body's events. It reports false if it has refused
// the request.
func (s *Server) decodeAll(rq *request, door spoor.Door, decode decoder) bool {
	body, reason := s.readBody(rq)
	if reason == "" {
		rq.key = headKey(rq.ctx)
		reason = s.open(rq, body)
	}
	if reason == "" {
		reason = s.admit(rq, len(rq.pieces))
	}
	if reason != "" {
		s.refuse(rq.ctx, reason)
		return false
	}
	s.visitor(rq)
	if door == spoor.DoorWidget {
		rq.cookie = s.widgetKey(rq)
	}
	if door == spoor.DoorSegment && rq.context != "" {
		rq.base.decode(rq, rq.context)
	}
	rq.hits = slices.Grow(rq.hits, len(rq.pieces))
	rq.results = slices.Grow(rq.results, len(rq.pieces))
	for _, p := range rq.pieces {
		s.decodePiece(rq, p, door, decode)
	}
	return true
}

// admit finds the app by its key and asks whether it may send this much now.
// An unknown key costs one look into memory.
func (s *Server) admit(rq *request, events int) spoor.Reason {
	if rq.key == "" {
		rq.key = rq.envelope.key
	}
	if rq.key == "" && rq.batch {
		for _, p := range rq.pieces {
			if rq.key = pieceKey(p.raw); rq.key != "" {
				rq.keyInEvent = true
				break
			}
		}
	}
	if rq.key == "" {
		return reasonNoKey
	}
	app := s.opts.Apps.AppByKey(rq.key)
	if app == nil {
		return reasonUnknownKey
	}
	rq.app = app
	if len(rq.origin) > 0 {
		if !appAllows(app, rq.origin) {
			disallowOrigin(rq.ctx) // another app may allow it, this one does not
			return reasonOrigin
		}
		if !rq.readable { // the app is newer than what openCORS knows
			allowOrigin(rq.ctx, rq.origin)
		}
	}
	return s.mayTake(rq, events)
}

// mayTake asks whether the request's app takes so many events now.
func (s *Server) mayTake(rq *request, events int) spoor.Reason {
	if rq.app.Closed {
		return spoor.ReasonClosed
	}
	if rq.unrefused {
		s.buckets.drain(rq.app, events, s.opts.Now())
		return ""
	}
	if wait := s.buckets.take(rq.app, events, s.opts.Now()); wait > 0 {
		seconds := max(1, int(math.Ceil(wait.Seconds())))
		rq.ctx.Response.Header.Set("Retry-After", strconv.Itoa(seconds))
		return reasonRate
	}
	return ""
}

// visitor reads what the request itself says about who sent it, once for all
// its events.
func (s *Server) visitor(rq *request) {
	var from sender
	from, rq.head = s.senders.of(&rq.ctx.Request.Header, rq.head)
	rq.agent, rq.hints = from.agent, from.hints
}

// decodePiece judges one event and appends its hit and its result.
func (s *Server) decodePiece(rq *request, p piece, door spoor.Door, decode decoder) {
	var f flaw
	switch {
	case len(p.raw) > s.opts.EventBytesMax:
		f.reason = reasonEventBytes
	case p.depth > s.opts.JSONDepthMax:
		f.reason = reasonDepth
	case !jsontext.Value(p.raw).IsValid():
		f.reason = reasonJSON
	case p.raw[0] != '{', hasNUL(p.raw):
		f.reason = reasonValue
	}
	if f.reason != "" {
		rq.results = append(rq.results, result{hit: -1, flaw: f, outcome: spoor.Refused})
		return
	}
	rq.hits = append(rq.hits, spoor.Hit{App: rq.app.ID, Door: door, Received: rq.now})
	raw := p.text
	if raw == "" {
		raw = string(p.raw)
	}
	rq.known = p.members
	f = decode(rq, raw, &rq.hits[len(rq.hits)-1])
	s.finish(rq, f, raw)
}

// finish completes the newest hit, unless it has a flaw, asks the gate, and
// appends the result; a hit that is refused goes.
func (s *Server) finish(rq *request, f flaw, raw string) {
	h := &rq.hits[len(rq.hits)-1]
	if f.reason == "" {
		f = rq.complete(h, raw)
	}
	if f.reason == "" {
		f = s.permit(rq, h)
	}
	r := result{id: h.ID, hit: len(rq.hits) - 1}
	if f.reason != "" {
		r.hit, r.flaw, r.outcome = -1, f, spoor.Refused
		rq.hits[len(rq.hits)-1] = spoor.Hit{}
		rq.hits = rq.hits[:len(rq.hits)-1]
	}
	rq.results = append(rq.results, r)
}

// membersOf finds the members of the event being decoded, unless open has.
func (rq *request) membersOf(raw string) []member {
	if rq.known != nil {
		return rq.known
	}
	rq.members = rq.members[:0]
	for w := enter(raw); w.more(); {
		w.quotedName()
		w.value()
		rq.members = append(rq.members, w.last)
	}
	return rq.members
}

// complete checks and fills what is the same for all protocols.
func (rq *request) complete(h *spoor.Hit, raw string) (f flaw) {
	switch {
	case (h.Kind == spoor.KindEvent || h.Kind == spoor.KindServerEvent) && h.Name == "":
		f.set(reasonNoName, "name")
	case h.Kind == spoor.KindAlias && (h.FormerID == "" || h.UserID == "" && h.Key == ""):
		f.set(spoor.ReasonNobody, "")
	}
	if h.Kind == spoor.KindPage || h.Kind == spoor.KindScreen {
		rq.cutText(&h.Name, nameBytesMax)
	} else if len(h.Name) > nameBytesMax {
		f.set(reasonNameLength, "name")
	}
	rq.cutText(&h.URL, urlBytesMax)
	rq.cutText(&h.Referrer, urlBytesMax)
	rq.cutText(&h.Title, titleBytesMax)
	rq.cutText(&h.UserAgent, agentBytesMax)
	rq.dropText(&h.Resolution, shortBytesMax)
	rq.dropText(&h.Language, shortBytesMax)
	rq.dropText(&h.TimeZone, shortBytesMax)
	if h.ID == "" && h.Time != 0 && h.Digest == [16]byte{} {
		h.Digest = digest(h.App, raw)
	}
	return f
}

// digest stands for the id of an event that has none but carries its own time:
// a repeat of the same bytes is the same event.
func digest(app spoor.AppID, raw string) (d [16]byte) {
	b := make([]byte, 0, 1024)
	b = binary.BigEndian.AppendUint32(b, uint32(app))
	sum := sha256.Sum256(append(b, raw...))
	copy(d[:], sum[:])
	return d
}

// store writes the hits and answers with what became of each.
func (s *Server) store(rq *request) {
	if reason := s.write(rq); reason != "" {
		s.refuse(rq.ctx, reason)
		return
	}
	s.reply(rq)
}

// write gives the hits to the Sink and maps the outcomes back to the events.
func (s *Server) write(rq *request) spoor.Reason {
	if len(rq.hits) > 0 {
		if err := s.opts.Sink.Write(rq.hits); err != nil {
			return s.storeFailed(err)
		}
	}
	for i := range rq.results {
		r := &rq.results[i]
		if r.hit < 0 {
			continue
		}
		h := &rq.hits[r.hit]
		switch h.Outcome {
		case spoor.Stored, spoor.Duplicate, spoor.Accepted:
			r.outcome = h.Outcome
		case spoor.Refused:
			r.outcome, r.flaw.reason = spoor.Refused, refusals[lookup(h.Reason)].reason
		default: // a Sink that leaves a hit pending has not kept it
			return reasonStore
		}
	}
	return ""
}
