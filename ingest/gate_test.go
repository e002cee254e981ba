package ingest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"
)

const second = "GET /pixel.gif?k=k1&i=second HTTP/1.1\r\nHost: a\r\n\r\n"

// framing is the corpus of requests that HTTP parsers differ on. Each is
// followed on its connection by a second request, which must run only if the
// first was clean. Status 0: the connection just ends.
var framing = []struct {
	name   string
	raw    string
	status int
	runs   bool // the second request
}{
	{"CL then TE", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false},
	{"TE then CL", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, false},
	{"obs-fold", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}", 400, false},
	{"obs-fold by tab", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\nContent-Length: 2\r\n\r\n{}", 400, false},
	{"HTTP/1.2", "GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n", 505, false},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501, false},
	{"absolute URI, other host", "GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400, false},
	{"1000 headers", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 1000) + "\r\n", 431, false},
	{"65 headers", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 64) + "\r\n", 431, false},
	{"64 headers", "GET /healthz HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 63) + "\r\n", 200, true},
	{"double-encoded path", "GET /%252e%252e/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 404, true},
	{"TE with tab", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200, true},
	{"TE identity with CL", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", 400, false},
	{"chunk extension", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n", 200, true},
	{"GET with body", "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\nGET /pixel.gif?k=k1&i=hidden HT", 200, true},
	{"GET with chunked body", "GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n", 200, true},
	{"Expect 100", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 200, true},
	{"CL twice, different", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, false},
	{"CL twice, the same", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, false},
	{"CL list", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}", 400, false},
	{"CL +2", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}", 400, false},
	{"CL -1", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}", 400, false},
	{"CL 0x2", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\n{}", 400, false},
	{"CL overflow", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n{}", 400, false},
	{"TE xchunked", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"TE chunked, identity", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"TE gzip, chunked", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"TE twice", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"TE blank before colon", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"chunk size 0x2", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"chunk size negative", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"chunk size huge", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n", 400, false},
	{"LF in chunk extension", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n", 400, false},
	{"bare LF in chunk", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", 400, false},
	{"no CRLF after chunk", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n", 400, false},
	{"CL in trailer", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n", 400, false},
	{"bare CR in value", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n", 400, false},
	{"NUL in value", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n", 400, false},
	{"first header line begins with blank", "GET /healthz HTTP/1.1\r\n Host: a\r\n\r\n", 400, false},
	{"empty header name", "GET /healthz HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, false},
	{"no Host", "GET /healthz HTTP/1.1\r\nX-A: b\r\n\r\n", 400, false},
	{"two Host", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, false},
	{"HTTP/1.0 with TE", "POST /hit?k=k1 HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, false},
	{"HTTP/0.9", "GET /healthz\r\n\r\n", 400, false},
	{"blank in URI", "GET /health z HTTP/1.1\r\nHost: a\r\n\r\n", 400, false},
	{"NUL in URI", "GET /health\x00z HTTP/1.1\r\nHost: a\r\n\r\n", 400, false},
	{"encoded NUL in URI", "GET /healthz%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, false},
	{"unknown method", "BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 501, false},
	{"body above the limit", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n" + strings.Repeat("x", 1<<20+1), 413, true},
	{"body far above the limit", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n" + strings.Repeat("x", 9<<19), 413, false},
	{"chunked body above the limit", "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("x", 1<<20+1) + "\r\n0\r\n\r\n", 413, true},
	{"header above the buffer", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("x", 17<<10) + "\r\n\r\n", 431, false},
	{"bare-LF headers", "GET /healthz HTTP/1.1\nHost: a\n\n", 400, false},
	{"one bare LF", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: b\nX-B: c\r\n\r\n", 400, false},
	{"good", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200, true},
}

func TestFraming(t *testing.T) {
	b := start(t, func(o *Options) { o.ReadTimeout = time.Second })
	for _, c := range framing {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			statuses := exchange(t, dial(t, b.addr), c.raw+second)
			if len(statuses) == 0 || statuses[0] != c.status {
				t.Fatalf("answers %v, want %d first", statuses, c.status)
			}
			if ran := len(statuses) == 2 && statuses[1] == 200; ran != c.runs || len(statuses) > 2 {
				t.Fatalf("answers %v; the second request ran: %v, want %v", statuses, ran, c.runs)
			}
		})
	}
}

// exchange sends everything, then reads answers until the connection ends or
// two have come.
func exchange(t *testing.T, c net.Conn, raw string) (statuses []int) {
	t.Helper()
	go func() { _, _ = io.WriteString(c, raw) }() // the server may close before it has all
	r := bufio.NewReader(c)
	for len(statuses) < 3 {
		if len(statuses) > 0 && statuses[len(statuses)-1] < 400 {
			_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 100 {
			statuses = append(statuses, res.StatusCode)
		}
		if res.Close {
			return statuses
		}
	}
	return statuses
}

// No bytes on a connection may make the collector panic, hang, or answer what
// is no HTTP.
func FuzzRawHTTP(f *testing.F) {
	for _, c := range framing {
		if len(c.raw) < 4096 {
			f.Add([]byte(c.raw + second))
		}
	}
	s, err := New(Options{Sink: yesSink{}, Apps: testApps()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		pipe := fasthttputil.NewPipeConns()
		client, server := pipe.Conn1(), pipe.Conn2()
		done := make(chan bool)
		go func() { _ = s.http.ServeConn(server); _ = server.Close(); close(done) }()
		go func() { _, _ = client.Write(raw); _ = client.Close() }()
		<-done
		if n := s.Stats().Panics; n != 0 {
			t.Fatalf("%d panics", n)
		}
	})
}

// Whatever the gate lets pass has one framing and one host.
func FuzzGate(f *testing.F) {
	for _, c := range framing {
		if _, head, ok := strings.Cut(c.raw, "\r\n"); ok && len(head) < 4096 {
			f.Add([]byte(head))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if gateHeaders(raw, 64, false) != "" {
			return
		}
		lower := bytes.ToLower(raw)
		for _, name := range []string{"\ncontent-length:", "\ntransfer-encoding:", "\nhost:"} {
			if n := bytes.Count(append([]byte{'\n'}, lower...), []byte(name)); n > 1 {
				t.Fatalf("%d times %s", n, strconv.Quote(name))
			}
		}
	})
}
