package ingest

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// flaw is what is wrong with one event. The zero value: nothing.
type flaw struct {
	reason spoor.Reason
	field  string // one of our own names, never the client's
}

func (f *flaw) set(reason spoor.Reason, field string) {
	if f.reason == "" {
		f.reason, f.field = reason, field
	}
}

// refuse answers a whole request by its line of the table.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, reason spoor.Reason) {
	i := lookup(reason)
	s.counters.refused[i].Add(1)
	r := &refusals[i]
	s.refusedHead(ctx, r, reason)
	ctx.SetBody(appendRefusal(nil, r, ""))
}

// refusedHead writes status and headers of a refusal.
func (s *Server) refusedHead(ctx *fasthttp.RequestCtx, r *refusal, reason spoor.Reason) {
	h := &ctx.Response.Header
	ctx.SetStatusCode(r.status)
	h.SetContentType("application/json")
	noSniff.set(h)
	tellReason(h, reason)
	if r.retry > 0 && len(h.Peek("Retry-After")) == 0 {
		h.Set("Retry-After", strconv.Itoa(r.retry))
	}
	if r.close {
		ctx.SetConnectionClose()
	}
}

// tellReason names the reason in a header, which a page that may read the reply may
// read as well.
func tellReason(h *fasthttp.ResponseHeader, reason spoor.Reason) {
	h.Set("X-Spoor-Refused", string(reason))
	if len(h.PeekBytes(headerAllowOrigin)) > 0 {
		exposeHeaders.set(h)
	}
}

func appendRefusal(dst []byte, r *refusal, field string) []byte {
	dst = append(dst, `{"success":false,"error":"`...)
	dst = append(dst, r.reason...)
	if field != "" {
		dst = append(dst, `","field":"`...)
		dst = append(dst, field...)
	}
	dst = append(dst, `","message":"`...)
	dst = append(dst, r.text...)
	return append(dst, `"}`...)
}

// reply answers a request whose hits have their outcomes. It is 2xx if an
// event was kept, and then says of every other one that it was not.
func (s *Server) reply(rq *request) {
	first, kept := s.count(rq)
	ctx := rq.ctx
	if kept {
		ctx.SetStatusCode(fasthttp.StatusOK)
		ctx.SetContentType("application/json")
		noSniff.set(&ctx.Response.Header)
	} else {
		s.refusedHead(ctx, &refusals[lookup(first.reason)], first.reason)
	}
	b := rq.out[:0]
	switch {
	case !rq.batch && kept:
		r := &rq.results[0]
		b = append(b, `{"success":true,"status":"`...)
		b = append(b, r.outcome.String()...)
		b = append(b, '"')
		b = appendID(b, r.id)
		b = append(b, '}')
	case !rq.batch:
		b = appendRefusal(b, &refusals[lookup(first.reason)], first.field)
	default:
		if kept {
			b = append(b, `{"success":true`...)
		} else {
			b = appendRefusal(b, &refusals[lookup(first.reason)], first.field)
			b = b[:len(b)-1]
		}
		b = appendResults(b, rq.results)
	}
	ctx.SetBody(b)
	rq.out = b
}

// count books every outcome and finds the first refusal.
func (s *Server) count(rq *request) (first flaw, kept bool) {
	for i := range rq.results {
		r := &rq.results[i]
		s.counters.outcomes[r.outcome].Add(1)
		if r.outcome != spoor.Refused {
			kept = true
			continue
		}
		s.counters.hitsRefused[lookup(r.flaw.reason)].Add(1)
		if first.reason == "" {
			first = r.flaw
		}
	}
	return first, kept
}

func appendResults(b []byte, results []result) []byte {
	b = append(b, `,"results":[`...)
	for i := range results {
		r := &results[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = append(appendResult(b, r), '}')
	}
	return append(b, "]}"...)
}

// appendResult appends the members that tell what became of one event.
func appendResult(b []byte, r *result) []byte {
	b = append(b, `"status":"`...)
	b = append(b, r.outcome.String()...)
	b = append(b, '"')
	if r.outcome == spoor.Refused {
		b = append(b, `,"reason":"`...)
		b = append(b, r.flaw.reason...)
		b = append(b, '"')
		if r.flaw.field != "" {
			b = append(b, `,"field":"`...)
			b = append(b, r.flaw.field...)
			b = append(b, '"')
		}
	}
	return appendID(b, r.id)
}

// appendID repeats the id of an event to its sender; ids come from valid JSON.
func appendID(b []byte, id string) []byte {
	if id == "" {
		return b
	}
	b = append(b, `,"id":`...)
	b, _ = jsontext.AppendQuote(b, id)
	return b
}
