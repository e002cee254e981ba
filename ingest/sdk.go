package ingest

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// The mobile SDKs throw away what is not answered 2xx, so once the key is known
// the answer is 200 with JSON, also for what is refused, and never 429. What
// cannot be kept now is 503, what is no JSON 400: nothing true could be said
// with 200.
const sdkPrefix = "/api/sdk/v1/"

// sdkForm is what the body of an SDK's request tells.
type sdkForm uint8

const (
	sdkNone sdkForm = iota
	sdkPing
	sdkEvent
	sdkProduct
	sdkScreen
	sdkNotice // a push notification or in-app message was shown, clicked, dismissed
	sdkToken  // a push token is taken back
	sdkBatch
)

var sdkForms = map[string]sdkForm{
	"ping": sdkPing, "event": sdkEvent, "product_event": sdkProduct, "screen_event": sdkScreen,
	"delete-fcm-token": sdkToken, "batch": sdkBatch,
}

// sdkTarget is what a path below the prefix stands for.
type sdkTarget struct {
	form             sdkForm
	name, deliveryID string // of the event that a notice is
}

// sdkTargetOf reads a path without the prefix; form is sdkNone if there is no
// such path.
func sdkTargetOf(path string) (t sdkTarget) {
	path = strings.Trim(path, "/")
	if t.form = sdkForms[path]; t.form != sdkNone {
		return t
	}
	channel, rest, _ := strings.Cut(path, "/")
	deliveryID, action, _ := strings.Cut(rest, "/")
	switch channel {
	case "push-notification":
		channel = "push_"
	case "in-app-message":
		channel = "in_app_"
	default:
		return t
	}
	switch action {
	case "clicked", "displayed", "dismissed":
		if isDelivery(deliveryID) {
			t = sdkTarget{sdkNotice, channel + action, deliveryID}
		}
	}
	return t
}

const deliveryBytesMax = 128

func isDelivery(id string) bool {
	for i := range len(id) {
		c := id[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return id != "" && len(id) <= deliveryBytesMax
}

// noticeRoute finds the paths that name a delivery, which no table can list.
// The verb that SDKs use for in-app messages is not established.
func noticeRoute(path []byte) (r route, ok bool) {
	rest, ok := bytes.CutPrefix(path, []byte(sdkPrefix))
	if !ok || sdkTargetOf(string(rest)).form != sdkNotice {
		return r, false
	}
	return route{"POST, PUT, PATCH, OPTIONS", true, (*Server).serveSDK}, true
}

// sdkRequest is what holds for all events of an SDK's request.
type sdkRequest struct {
	target sdkTarget
	path   string // without prefix and slashes at its ends
	sent   string // the key that the client sent; empty: none
	key    string // the key that its hits are given
	id     string // of the event, of one that came alone
	flaw   flaw   // of key or id

	// Of a batch.
	ping    int    // 1 if the first piece is the ping that customer and device make
	head    string // customer, device and consent as they stand
	first   string // the first event, which tells that ping from the next batch's
	userID  string
	device  sdkDevice
	consent spoor.Consent
}

// serveSDK takes everything below the prefix.
func (s *Server) serveSDK(rq *request) {
	d := &rq.sdk
	d.path = strings.Trim(strings.TrimPrefix(string(rq.ctx.Path()), sdkPrefix), "/")
	d.target = sdkTargetOf(d.path)
	rq.unrefused = true
	s.openCORS(rq)
	rq.key = headKey(rq.ctx)
	body, reason := s.readBody(rq)
	if reason == reasonEmptyBody && d.target.form == sdkNotice { // the path says it all
		body, reason = []byte("{}"), ""
	}
	rq.readSDKHeaders()
	if reason == "" {
		reason = s.openSDK(rq, body)
	}
	if reason == "" {
		reason = s.admit(rq, len(rq.pieces))
	}
	if reason == "" && rq.app.Settings.SDKMode == spoor.ModeOff {
		reason = reasonSDKOff
	}
	if reason != "" && reason != spoor.ReasonClosed {
		s.refuse(rq.ctx, reason)
		return
	}
	s.visitor(rq)
	if d.target.form == sdkBatch && reason == "" {
		rq.nameSDKBatch()
	}
	for _, p := range rq.pieces {
		if reason != "" {
			rq.results = append(rq.results, result{hit: -1, outcome: spoor.Refused, flaw: flaw{reason: reason}})
			continue
		}
		s.decodePiece(rq, p, spoor.DoorSDK, decodeSDK)
	}
	if reason = s.write(rq); d.target.form != sdkBatch && rq.results[0].flaw.reason == reasonJSON {
		reason = reasonJSON
	}
	if reason != "" {
		s.refuse(rq.ctx, reason)
		return
	}
	s.replySDK(rq)
}

// readSDKHeaders reads the user's key and the id of the event, which SDKs of
// others do not send. One of those sends the key under two names, and under the
// older one as it was when the app started, which is too old for a ping: pings
// follow a change of user.
func (rq *request) readSDKHeaders() {
	d, h := &rq.sdk, &rq.ctx.Request.Header
	read := func(dst *string, value []byte, field string) {
		if !utf8.Valid(value) || bytes.IndexByte(value, 0) >= 0 {
			d.flaw.set(reasonValue, field)
			return
		}
		rq.setID(&d.flaw, dst, string(value), field)
	}
	key := h.PeekCanonical(headerUserKey)
	if form := d.target.form; len(key) == 0 && form != sdkPing && form != sdkBatch {
		key = h.PeekCanonical(headerUserKeyOld)
	}
	read(&d.sent, key, "X-User-Key")
	d.key = d.sent
	if d.target.form != sdkBatch {
		read(&d.id, h.PeekCanonical(headerIdempotency), "Idempotency-Key")
	}
}

// openSDK finds the events: the body is one, but for that of a batch.
func (s *Server) openSDK(rq *request, body []byte) spoor.Reason {
	end, depth := extent(body, 0)
	switch {
	case end != len(body):
		return reasonJSON
	case body[0] != '{':
		return reasonValue
	}
	if rq.sdk.target.form == sdkBatch {
		return s.openSDKBatch(rq, body)
	}
	rq.pieces = append(rq.pieces, piece{raw: body, depth: depth})
	return ""
}

// replySDK answers a request whose hits have their outcomes. A ping and a batch
// are told the key to go on with.
func (s *Server) replySDK(rq *request) {
	first, kept := s.count(rq)
	ctx, d := rq.ctx, &rq.sdk
	ctx.SetStatusCode(fasthttp.StatusOK)
	ctx.SetContentType("application/json")
	noSniff.set(&ctx.Response.Header)
	if !kept {
		tellReason(&ctx.Response.Header, first.reason)
	}
	b := append(rq.out[:0], '{')
	if d.target.form == sdkPing || d.target.form == sdkBatch {
		b = append(b, `"user":{"key":`...)
		b, _ = jsontext.AppendQuote(b, rq.answerKey()) // ids are valid UTF-8
		b = append(b, "},"...)
	}
	switch {
	case d.target.form != sdkBatch:
		b = append(appendResult(b, &rq.results[0]), '}')
	case d.ping > 0:
		b = append(appendResult(append(b, `"ping":{`...), &rq.results[0]), '}')
		b = appendResults(b, rq.results[1:])
	default:
		b = appendResults(b[:len(b)-1], rq.results)
	}
	ctx.SetBody(b)
	rq.out = b
}

// nobodysKey is what a client is told that is to be nobody in particular: as an
// id it is junk, so nothing that comes under it meets anything else.
const nobodysKey = "anonymous"

// answerKey is the key to go on with: the one under which a hit was stored.
// Where the gate lets the device keep nothing, or has put the number of a day
// in the place of the key, it is told none that it could be known by. Whoever
// objected keeps the key, because that is how the objection is recognised.
func (rq *request) answerKey() string {
	d := &rq.sdk
	for i := range rq.results {
		if r := &rq.results[i]; r.outcome != spoor.Refused {
			if rq.hits[r.hit].Key != d.key {
				return nobodysKey
			}
			return d.key
		}
	}
	if rq.keep == keepNothing || d.sent == "" {
		return nobodysKey
	}
	return d.sent
}
