package ingest

import (
	"bytes"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// gate refuses what two HTTP parsers in a row could read in two ways, before
// anything is routed. fasthttp alone answers a request with Content-Length and
// Transfer-Encoding and then runs what was smuggled behind it. It also takes
// folded lines, any version, whole URLs and thousands of headers.
func gate(h *fasthttp.RequestHeader, headerCountMax int) spoor.Reason {
	if !knownMethod(h.Method()) {
		return reasonMethodUnknown
	}
	version := string(h.Protocol())
	if version != "HTTP/1.1" && version != "HTTP/1.0" {
		return reasonVersion
	}
	if target := h.RequestURI(); len(target) == 0 || target[0] != '/' || bytes.IndexByte(target, 0) >= 0 ||
		bytes.Contains(target, []byte("%00")) {
		return reasonTarget
	}
	return gateHeaders(h.RawHeaders(), headerCountMax, version == "HTTP/1.0")
}

func gateHeaders(raw []byte, countMax int, http10 bool) spoor.Reason {
	var count, lengths, encodings, hosts int
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line, raw = raw[:i], raw[i+1:]
		} else {
			raw = nil
		}
		if len(line) == 0 || line[len(line)-1] != '\r' {
			return reasonFraming // a bare LF ends a line for some parsers only
		}
		if line = line[:len(line)-1]; len(line) == 0 {
			continue // the end of the headers
		}
		if line[0] == ' ' || line[0] == '\t' {
			return reasonFraming
		}
		if count++; count > countMax {
			return reasonHeaderCount
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return reasonFraming
		}
		switch name := line[:colon]; colon { // most names need no comparison
		case len("Host"):
			if bytes.EqualFold(name, []byte("Host")) {
				hosts++
			}
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				lengths++
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
				encodings++
			}
		}
	}
	if lengths+encodings > 1 || hosts > 1 || encodings > 0 && http10 {
		return reasonFraming
	}
	return ""
}

func knownMethod(m []byte) bool {
	switch string(m) {
	case "GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE":
		return true
	}
	return false
}
