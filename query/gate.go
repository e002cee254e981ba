package query

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

const headersMax = 64

var (
	errFraming = detail(fasthttp.StatusBadRequest, "The request is not well-formed HTTP.")
	errVersion = detail(fasthttp.StatusHTTPVersionNotSupported, "Use HTTP/1.1.")
	errHeaders = detail(fasthttp.StatusRequestHeaderFieldsTooLarge, "The request has too many or too large headers.")
)

// gate refuses what two HTTP parsers could read differently, before anything
// else looks at the request. fasthttp itself takes Content-Length together
// with Transfer-Encoding, folded lines and foreign versions. After a refusal
// the connection must be closed.
func gate(h *fasthttp.RequestHeader) *problem {
	switch string(h.Protocol()) {
	case "HTTP/1.1", "HTTP/1.0":
	default:
		return errVersion
	}
	if target := h.RequestURI(); len(target) == 0 || target[0] != '/' {
		return errFraming
	}
	var lines, length, encoding, host int
	for line := range bytes.Lines(h.RawHeaders()) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			return errFraming
		}
		lines++
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length++
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			encoding++
		case bytes.EqualFold(name, []byte("Host")):
			host++
		}
	}
	if lines > headersMax {
		return errHeaders
	}
	if length+encoding > 1 || host > 1 {
		return errFraming
	}
	return nil
}
