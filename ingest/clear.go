package ingest

import (
	"bytes"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// Clear says what the port of plain HTTP leads to.
type Clear struct {
	Covers func(host string) bool // reports whether https answers for a host
	Port   string                 // of https
	// Challenge is what a certificate authority looks for at a path of a host;
	// nil: nothing is known there. The function itself may be nil.
	Challenge func(host, path string) []byte
}

const challengePrefix = "/.well-known/acme-challenge/"

// ServeClear answers beside ServeTLS on a port of plain HTTP, within the same
// limits: it sends readers on to https, for hosts that are covered alone, and
// takes nothing in. What came in clear was not protected, and a client that is
// redirected would go on sending it so; refused, it is noticed and mended.
// Call it once.
func (s *Server) ServeClear(ln net.Listener, to Clear) error {
	s.onward = to
	return s.serve(s.clear, listener{ln, s, nil})
}

func (s *Server) sendOn(ctx *fasthttp.RequestCtx, _ netip.Addr) {
	to := &s.onward
	host := hostname(ctx.Request.Header.Host())
	if path := ctx.Path(); to.Challenge != nil && bytes.HasPrefix(path, []byte(challengePrefix)) && ctx.IsGet() {
		body := to.Challenge(host, string(path))
		if body == nil {
			s.refuse(ctx, reasonNotFound)
			return
		}
		ctx.SetContentType("application/octet-stream")
		noSniff.set(&ctx.Response.Header)
		ctx.SetBody(body)
		return
	}
	switch {
	case !ctx.IsGet() && !ctx.IsHead():
		s.refuse(ctx, reasonClear)
	case !to.Covers(host):
		s.refuse(ctx, reasonHost)
	default:
		at := strings.TrimSuffix(net.JoinHostPort(host, to.Port), ":443")
		ctx.SetStatusCode(fasthttp.StatusPermanentRedirect)
		ctx.Response.Header.Set("Location", "https://"+at+string(ctx.RequestURI()))
	}
}

// hostname is the name in a Host header, in lower case and without its port.
func hostname(host []byte) string {
	name := string(host)
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
}
