package ingest

import (
	"net"
	"net/netip"
	"strings"
	"unsafe"

	"github.com/valyala/fasthttp"
)

// hopsMax bounds the walk over X-Forwarded-For.
const hopsMax = 64

// addressOf is the plain address of a peer; invalid for peers without one.
func addressOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return plain(t.AddrPort().Addr())
	}
	return netip.Addr{}
}

// plain drops what tells nothing about a client: zones, and the mapping of
// IPv4 into IPv6.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.opts.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// client is the address of the visitor: the peer, unless that is a trusted
// proxy. Proxied reports whether a trusted proxy spoke for another.
func (s *Server) client(ctx *fasthttp.RequestCtx) (addr netip.Addr, proxied bool) {
	n := taken(ctx.Conn())
	switch {
	case n == nil:
		return netip.Addr{}, false
	case n.counted || !n.peer.IsValid():
		return n.peer, false
	}
	peer := n.peer
	values := ctx.Request.Header.PeekAll("X-Forwarded-For")
	if len(values) == 0 {
		return peer, false
	}
	list := unsafe.String(unsafe.SliceData(values[0]), len(values[0])) // only looked at, and one is usual
	for _, v := range values[1:] {
		list += "," + string(v)
	}
	addr = forwarded(list, peer, s.trusted)
	return addr, addr != peer
}

// forwarded is the rightmost hop of an X-Forwarded-For list that is no trusted
// proxy: all to the left of it is the client's own claim. If every hop is
// trusted it is the leftmost one; on garbage it is the peer.
func forwarded(list string, peer netip.Addr, trusted func(netip.Addr) bool) netip.Addr {
	addr := peer
	for range hopsMax {
		comma := strings.LastIndexByte(list, ',')
		hop, ok := parseHop(list[comma+1:])
		if !ok {
			return peer
		}
		addr = hop
		if comma < 0 || !trusted(hop) {
			return addr
		}
		list = list[:comma]
	}
	return peer
}

// parseHop reads 192.0.2.1, 192.0.2.1:80, 2001:db8::1 and [2001:db8::1]:80.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if a, err := netip.ParseAddr(s); err == nil {
		return plain(a), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plain(ap.Addr()), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		if a, err := netip.ParseAddr(s[1 : len(s)-1]); err == nil {
			return plain(a), true
		}
	}
	return netip.Addr{}, false
}
