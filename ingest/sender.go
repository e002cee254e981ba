package ingest

import (
	"strings"
	"sync"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	sendersMax     = 2048    // remembered
	senderBytesMax = 2 << 10 // of the headers of one that is remembered
)

// sender is what the headers of a browser say about it. It is shared by all
// hits of the same browser and must not be changed.
type sender struct {
	agent string
	hints spoor.Hints
}

// senders remembers senders by the text of their headers: a few hundred make
// up nearly all traffic, and reading one anew costs twice its strings in
// allocations. It keeps two generations; once the young one is full it becomes
// the old one, so what is not seen for a while is forgotten.
type senders struct {
	mu         sync.Mutex // held for one or two looks into a map
	young, old map[string]sender
}

// of reads what the request's headers say; scratch is memory to work in.
func (s *senders) of(h *fasthttp.RequestHeader, scratch []byte) (sender, []byte) {
	text := appendSender(scratch[:0], h)
	if len(text) > senderBytesMax {
		return readSender(h), scratch
	}
	s.mu.Lock()
	known, ok := s.young[string(text)]
	if !ok {
		known, ok = s.old[string(text)]
		if ok {
			s.keep(string(text), known)
		}
	}
	s.mu.Unlock()
	if ok {
		return known, text
	}
	read := readSender(h)
	s.mu.Lock()
	s.keep(string(text), read)
	s.mu.Unlock()
	return read, text
}

func (s *senders) keep(text string, v sender) {
	if len(s.young) >= sendersMax/2 || s.young == nil {
		s.young, s.old = make(map[string]sender), s.young
	}
	s.young[text] = v
}

// appendSender appends all that readSender looks at. A line break cannot stand
// in a header, so no two requests that differ share a text.
func appendSender(dst []byte, h *fasthttp.RequestHeader) []byte {
	dst = append(dst, h.UserAgent()...)
	if len(h.PeekCanonical(headerBrands)) == 0 {
		return dst // headerHints stops here as well
	}
	for _, name := range hintHeaders {
		dst = append(append(dst, '\n'), h.PeekCanonical(name)...)
	}
	return dst
}

func readSender(h *fasthttp.RequestHeader) sender {
	agent, _ := cut(strings.ToValidUTF8(string(h.UserAgent()), ""), agentBytesMax)
	return sender{agent, headerHints(h)}
}
