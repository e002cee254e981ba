package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// keptBytesMax is the largest buffer that goes back to a pool, so that one
// large batch does not hold its memory for ever.
const keptBytesMax = 256 << 10

// buffer is a body in memory. It grows with the bytes that arrive, never with
// the length that was announced, and what it takes beyond its first 4 KiB is
// booked against the limit for all bodies in flight.
type buffer struct {
	b      []byte
	booked int
}

const firstBytes = 4 << 10

// drainTime is how long a refused sender may go on sending before it is told.
const drainTime = time.Second

// room makes space for at least one more byte, up to limit+1 bytes in all: the
// one byte more tells a body at the limit from a longer one.
func (s *Server) room(f *buffer, limit int) spoor.Reason {
	if len(f.b) < cap(f.b) {
		return ""
	}
	size := min(max(2*cap(f.b), firstBytes), limit+1)
	if size > firstBytes {
		more := size - max(f.booked, 0)
		if s.counters.inFlight.Add(int64(more)) > int64(s.opts.InFlightBytesMax) {
			s.counters.inFlight.Add(int64(-more))
			return reasonMemory
		}
		f.booked += more
	}
	grown := make([]byte, len(f.b), size)
	copy(grown, f.b)
	f.b = grown
	return ""
}

// fill reads r to its end, which must come within limit bytes.
func (s *Server) fill(f *buffer, r io.Reader, limit int) (tooLarge bool, reason spoor.Reason, err error) {
	for {
		if len(f.b) > limit {
			return true, "", nil
		}
		if reason := s.room(f, limit); reason != "" {
			return false, reason, nil
		}
		n, err := r.Read(f.b[len(f.b):min(cap(f.b), limit+1)])
		f.b = f.b[:len(f.b)+n]
		if err == io.EOF {
			return len(f.b) > limit, "", nil
		}
		if err != nil {
			return false, "", err
		}
	}
}

// release gives the booked bytes back and keeps the memory if it is small.
func (s *Server) release(f *buffer) {
	if f.booked != 0 {
		s.counters.inFlight.Add(int64(-f.booked))
		f.booked = 0
	}
	f.b = f.b[:0]
	if cap(f.b) > keptBytesMax {
		f.b = nil
	}
}

// readWhole reads the body as it was sent.
func (s *Server) readWhole(rq *request) ([]byte, spoor.Reason) {
	stream := rq.ctx.RequestBodyStream()
	if stream == nil {
		return nil, ""
	}
	if rq.ctx.Request.Header.ContentLength() > s.opts.BodyBytesMax {
		return nil, reasonBodyBytes
	}
	// A pooled buffer is memory in use as well.
	if c := cap(rq.raw.b); c > firstBytes {
		rq.raw.booked = c
		s.counters.inFlight.Add(int64(c))
	}
	tooLarge, reason, err := s.fill(&rq.raw, stream, s.opts.BodyBytesMax)
	switch {
	case err != nil:
		return nil, readReason(err)
	case tooLarge:
		return nil, reasonBodyBytes
	}
	return rq.raw.b, reason
}

// readBody reads the body and undoes its encoding. The content type is not
// trusted, but for multipart, which cannot hold what we take.
func (s *Server) readBody(rq *request) ([]byte, spoor.Reason) {
	h := &rq.ctx.Request.Header
	if t := h.ContentType(); len(t) >= 10 && bytes.EqualFold(t[:10], []byte("multipart/")) {
		return nil, reasonMultipart
	}
	if !knownEncoding(h.ContentEncoding()) {
		return nil, reasonEncoding
	}
	body, reason := s.readWhole(rq)
	if reason != "" {
		return nil, reason
	}
	if bytes.HasPrefix(body, gzipMagic) { // clients forget the header, or send it for plain bytes
		if body, reason = s.inflate(rq, body); reason != "" {
			return nil, reason
		}
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if body = bytes.Trim(body, " \t\r\n"); len(body) == 0 {
		return nil, reasonEmptyBody
	}
	return body, ""
}

func knownEncoding(e []byte) bool {
	if len(e) == 0 {
		return true
	}
	switch strings.ToLower(strings.TrimSpace(string(e))) {
	case "gzip", "x-gzip", "identity", "":
		return true
	}
	return false
}

// drained reads what is left of a body that was refused, so that the client
// gets to read why. A longer or slower rest ends the connection.
func (s *Server) drained(ctx *fasthttp.RequestCtx, stream io.Reader) bool {
	if _, err := stream.Read(nil); err == io.EOF {
		return true // the usual case, without a buffer
	}
	if ctx.Response.ConnectionClose() {
		return false
	}
	_ = ctx.Conn().SetReadDeadline(time.Now().Add(drainTime)) // the socket's clock, not ours
	scratch := make([]byte, firstBytes)
	for left := 4 * s.opts.BodyBytesMax; left > 0; {
		n, err := stream.Read(scratch)
		if err == io.EOF {
			return true
		}
		if err != nil {
			return false
		}
		left -= n
	}
	return false
}

// readReason tells why a request could not be read.
func readReason(err error) spoor.Reason {
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.As(err, &small), errors.Is(err, bufio.ErrBufferFull):
		return reasonHeaderBytes
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return reasonBodyBytes
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return reasonTimeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return reasonTruncated
	}
	return reasonFraming
}

func sinkReason(err error) spoor.Reason {
	switch {
	case errors.Is(err, spoor.ErrBusy):
		return reasonQueue
	case errors.Is(err, spoor.ErrReadOnly):
		return reasonDisk
	case errors.Is(err, spoor.ErrClosed):
		return reasonStopping
	}
	return reasonStore
}
