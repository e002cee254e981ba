package ingest

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/valyala/fasthttp"
)

const keyBytesMax = 512

// headKey is the write key that headers or query name, in this order; empty
// if none does. A key in the body counts only then: some senders mask it there.
func headKey(ctx *fasthttp.RequestCtx) string {
	h := &ctx.Request.Header
	if auth := h.PeekCanonical(headerAuthorization); len(auth) > 0 && len(auth) <= 2*keyBytesMax {
		scheme, rest, _ := bytes.Cut(auth, []byte{' '})
		rest = bytes.TrimSpace(rest)
		switch {
		case bytes.EqualFold(scheme, []byte("Basic")):
			if k := basicUser(string(rest)); k != "" {
				return k
			}
		case len(rest) > 0 && (bytes.EqualFold(scheme, []byte("Bearer")) || bytes.EqualFold(scheme, []byte("Token"))):
			return trimKey(string(rest))
		}
	}
	if k := trimKey(string(h.PeekCanonical(headerKey))); k != "" {
		return k
	}
	if bytes.IndexByte(h.RequestURI(), '?') < 0 {
		return ""
	}
	for name, value := range ctx.QueryArgs().All() {
		if string(name) == "k" || bytes.EqualFold(name, []byte("writeKey")) || string(name) == "write_key" {
			if k := trimKey(string(value)); k != "" {
				return k
			}
		}
	}
	return ""
}

func basicUser(encoded string) string {
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return ""
	}
	user, _, _ := strings.Cut(string(plain), ":")
	return trimKey(user)
}

func trimKey(k string) string {
	if len(k) > keyBytesMax {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSpace(k), ":")
}
