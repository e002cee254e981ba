package ingest

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// pipe is a connection of a proxy that sends one request after another and
// reads no reply. It costs no system call, so that what is measured is ours
// and fasthttp's.
type pipe struct {
	net.Conn // panics on what is not overridden
	requests [][]byte
	next     int
	rest     []byte
	more     func() bool
}

func (p *pipe) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		if !p.more() {
			return 0, io.EOF
		}
		p.rest = p.requests[p.next%len(p.requests)]
		p.next++
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

var (
	pipePeer = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}
	pipeNext atomic.Int64
)

func (p *pipe) Write(b []byte) (int, error)      { return len(b), nil }
func (p *pipe) Close() error                     { return nil }
func (p *pipe) RemoteAddr() net.Addr             { return pipePeer }
func (p *pipe) LocalAddr() net.Addr              { return pipePeer }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// browserRequests are what pages in Chrome and Safari send through a proxy:
// 1,024 of them, so that no two in a row find all caches warm.
func browserRequests() [][]byte {
	agents := []struct{ agent, hints string }{
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
			"Sec-CH-UA: \"Google Chrome\";v=\"131\", \"Chromium\";v=\"131\", \"Not_A Brand\";v=\"24\"\r\nSec-CH-UA-Mobile: ?0\r\nSec-CH-UA-Platform: \"Windows\"\r\n"},
		{"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
			"Sec-CH-UA: \"Chromium\";v=\"130\", \"Google Chrome\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nSec-CH-UA-Mobile: ?1\r\nSec-CH-UA-Platform: \"Android\"\r\n"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
			"Sec-CH-UA: \"Microsoft Edge\";v=\"131\", \"Chromium\";v=\"131\", \"Not_A Brand\";v=\"24\"\r\nSec-CH-UA-Mobile: ?0\r\nSec-CH-UA-Platform: \"macOS\"\r\n"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1", ""},
	}
	requests := make([][]byte, 1024)
	for i := range requests {
		a, shop := agents[i%len(agents)], fmt.Sprintf("https://shop%d.example", i%7)
		body := fmt.Sprintf(`{"write_key":"k2","id":"01JM3Q9V7Y5T2N8K4W6X0Z%04d","key":"j3WiRFnx%04d","type":"event","name":"Added to cart",`+
			`"url":"%s/shoes/%d?utm_source=nl&utm_campaign=spring","referrer":"https://www.google.com/","title":"Red shoes no. %d | Shop",`+
			`"time":"2026-03-04T11:59:58.123Z","sent_at":"2026-03-04T11:59:59.001Z","resolution":"1440x900","language":"pl-PL","timezone":"Europe/Warsaw",`+
			`"consent":{"analytics":true,"marketing":false},"properties":{"price":%d.9,"currency":"PLN","sku":"RS-42","tags":["red","sale"]},`+
			`"hints":{"mobile":false,"platform":"Windows","platform_version":"15.0.0"}}`, i, i/2, shop, i, i, i)
		requests[i] = fmt.Appendf(nil, "POST /hit HTTP/1.1\r\nHost: collect.shop.example\r\nUser-Agent: %s\r\nAccept: */*\r\nAccept-Language: pl-PL,en;q=0.8\r\n"+
			"Accept-Encoding: gzip, deflate, br\r\nOrigin: %s\r\nReferer: %s/\r\n%sSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"+
			"X-Forwarded-For: 198.51.%d.%d\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s",
			a.agent, shop, shop, a.hints, 100+i>>8, i&255, len(body), body)
	}
	return requests
}

// serveParallel runs requests through connections, one for each goroutine.
func serveParallel(b *testing.B, s *Server) {
	requests := browserRequests()
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		n := &conn{Conn: &pipe{requests: requests, next: int(pipeNext.Add(61)), more: pb.Next}, s: s}
		if reason := s.conns.add(n); reason != "" {
			b.Error(reason)
		}
		if err := s.http.ServeConn(n); err != nil {
			b.Error(err)
		}
	})
}

func benchmarkServer(b *testing.B, sink spoor.Sink) *Server {
	apps := testApps()
	apps[1].Settings.EventsPerMinute = 1 << 30 // all pass, but are counted
	s, err := New(Options{Sink: sink, Apps: apps, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkServe is a hit of a browser behind a proxy, from the first byte of
// the request to the last one of the reply.
func BenchmarkServe(b *testing.B) {
	s := benchmarkServer(b, yesSink{})
	serveParallel(b, s)
	if st := s.Stats(); st.Hits[spoor.Stored] < uint64(b.N) {
		b.Fatalf("%d of %d hits were stored: %v", st.Hits[spoor.Stored], b.N, st.Refusals)
	}
}

// BenchmarkServeBare is what fasthttp costs of BenchmarkServe: the body is
// streamed as for us, and not looked at.
func BenchmarkServeBare(b *testing.B) {
	s := benchmarkServer(b, yesSink{})
	s.http.Handler = func(ctx *fasthttp.RequestCtx) { _, _ = io.Copy(io.Discard, ctx.RequestBodyStream()) }
	serveParallel(b, s)
}
