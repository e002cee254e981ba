package ingest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// secure is a collector that speaks TLS, and a client that trusts it.
type secure struct {
	*Server
	addr   string
	sink   *memorySink
	roots  *x509.CertPool
	config *tls.Config // of clients
}

func startTLS(t *testing.T, change ...func(*Options)) *secure {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"track.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := &secure{sink: &memorySink{}, roots: x509.NewCertPool()}
	s.roots.AddCert(leaf)
	s.config = &tls.Config{RootCAs: s.roots, ServerName: "track.example"}
	o := Options{Sink: s.sink, Apps: testApps(), ReadTimeout: 5 * time.Second}
	for _, c := range change {
		c(&o)
	}
	if s.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12, NextProtos: []string{"http/1.1", "acme-tls/1"},
	}
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(ln, config) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("ServeTLS: %v", err)
		}
		if n := s.conns.handshakes + len(s.conns.handshaking) + s.conns.open(); n != 0 {
			t.Errorf("%d handshakes or connections are still booked", n)
		}
	})
	return s
}

func (s *secure) client() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: s.config, ForceAttemptHTTP2: true}}
}

// await polls until what the server counts elsewhere is as wanted.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestHitsByTLS(t *testing.T) {
	s := startTLS(t)
	web := s.client()
	for i := range 3 { // on one connection
		resp, err := web.Post("https://"+s.addr+"/hit?k=k1", "", strings.NewReader(`{"key":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || resp.Proto != "HTTP/1.1" || resp.TLS.Version != tls.VersionTLS13 {
			t.Errorf("hit %d: %d %s %x %s", i, resp.StatusCode, resp.Proto, resp.TLS.Version, body)
		}
	}
	if st := s.Stats(); len(s.sink.all()) != 3 || st.Handshakes != 1 || st.HandshakesFailed != 0 || st.Connections != 1 || st.Requests != 3 {
		t.Errorf("%d hits, %+v", len(s.sink.all()), st)
	}
	s.config.MaxVersion = tls.VersionTLS12
	if resp, err := s.client().Get("https://" + s.addr + "/healthz"); err != nil || resp.StatusCode != 200 {
		t.Errorf("TLS 1.2: %v", err)
	}
}

// Goal: what fails in its handshake is counted, is answered no HTTP, and holds
// no connection.
func TestHandshakesThatFail(t *testing.T) {
	s := startTLS(t)
	failed := uint64(0)
	f := func(what string, try func(net.Conn) error) {
		t.Helper()
		c := dial(t, s.addr)
		if err := try(c); err == nil {
			t.Errorf("%s: no error", what)
		}
		failed++
		await(t, what+" to be counted", func() bool { return s.Stats().HandshakesFailed == failed && s.conns.open() == 0 })
	}
	hand := func(change func(*tls.Config)) func(net.Conn) error {
		return func(c net.Conn) error {
			config := s.config.Clone()
			change(config)
			return tls.Client(c, config).Handshake()
		}
	}
	f("TLS 1.1", hand(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }))
	f("HTTP/2 alone", hand(func(c *tls.Config) { c.NextProtos = []string{"h2"} }))
	f("plain HTTP", func(c net.Conn) error {
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: track.example\r\n\r\n")
		all, _ := io.ReadAll(c)
		if strings.Contains(string(all), "HTTP") {
			t.Errorf("plain HTTP on the TLS port was answered %q", all)
		}
		return io.EOF
	})
	f("a client that leaves", func(c net.Conn) error { _, _ = c.Write([]byte{22}); _ = c.Close(); return io.EOF })
	// Who came for a challenge gets no HTTP either, but did not fail.
	config := s.config.Clone()
	config.NextProtos = []string{"acme-tls/1"}
	c := tls.Client(dial(t, s.addr), config)
	_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: track.example\r\n\r\n")
	if all, _ := io.ReadAll(c); len(all) != 0 {
		t.Errorf("over acme-tls/1: %q", all)
	}
	if st := s.Stats(); st.HandshakesFailed != failed || st.Handshakes != 1 || st.Requests != 0 {
		t.Errorf("%+v", st)
	}
}

func TestHandshakeEndsInTime(t *testing.T) {
	s := startTLS(t, func(o *Options) { o.ReadTimeout = 300 * time.Millisecond })
	for _, send := range []func(net.Conn){
		func(net.Conn) {},
		func(c net.Conn) { // a byte now and then
			for _, b := range []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 1, 1, 1} {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		},
	} {
		c := dial(t, s.addr)
		began := time.Now()
		go send(c)
		_, _ = io.ReadAll(c)
		if took := time.Since(began); took < 200*time.Millisecond || took > 2*time.Second {
			t.Errorf("a handshake without end lasted %v", took)
		}
	}
	await(t, "both failures to be counted", func() bool { return s.Stats().HandshakesFailed == 2 })
}

// Goal: the limits of connections hold for TLS, and a quarter of them may be in
// their handshake.
func TestLimitsOfHandshakes(t *testing.T) {
	f := func(reason spoor.Reason, fit int, change func(*Options)) {
		t.Helper()
		s := startTLS(t, change)
		var silent []net.Conn
		for range fit {
			silent = append(silent, dial(t, s.addr))
		}
		await(t, "those that fit", func() bool { return s.conns.open() == fit })
		if reason == reasonHandshakes {
			await(t, "them to wait in their handshake", func() bool {
				s.conns.mu.Lock()
				defer s.conns.mu.Unlock()
				return s.conns.handshakes == fit
			})
		}
		began := time.Now()
		if err := tls.Client(dial(t, s.addr), s.config).Handshake(); err == nil {
			t.Errorf("%s: one too many was taken", reason)
		}
		if text, _ := io.ReadAll(dial(t, s.addr)); len(text) != 0 {
			t.Errorf("%s: who speaks TLS was told %q in clear", reason, text)
		}
		if took := time.Since(began); took > 2*time.Second || s.Stats().Refusals[reason] != 2 {
			t.Errorf("after %v: %+v", took, s.Stats().Refusals)
		}
		for _, c := range silent {
			_ = c.Close()
		}
		await(t, "room", func() bool { return s.conns.open() == 0 })
		c := tls.Client(dial(t, s.addr), s.config)
		if err := c.Handshake(); err != nil {
			t.Errorf("%s: with room again: %v", reason, err)
		}
	}
	f(reasonHandshakes, 2, func(o *Options) { o.ConnectionsMax = 8 })
	f(reasonHandshakes, 2, func(o *Options) { o.ConnectionsPerAddressMax = 8 })
	f(reasonConnections, 1, func(o *Options) { o.ConnectionsMax = 1 })
	f(reasonPerAddress, 1, func(o *Options) { o.ConnectionsPerAddressMax = 1 })
}

// Connections that did their handshake, began one or did nothing, and never
// asked for anything, do not hold up the end.
func TestShutdownOfSilentTLS(t *testing.T) {
	s := startTLS(t)
	dial(t, s.addr)
	_, _ = dial(t, s.addr).Write([]byte{22, 3, 1})
	if err := tls.Client(dial(t, s.addr), s.config).Handshake(); err != nil {
		t.Fatal(err)
	}
	await(t, "all three", func() bool { return s.conns.open() == 3 && s.counters.bytesIn.Load() > 100 })
	began := time.Now()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Shutdown took %v", took)
	}
}

// Goal: the port of plain HTTP leads readers on, to our own hosts alone, and
// takes nothing in.
func TestClearPort(t *testing.T) {
	s := startTLS(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.ServeClear(ln, Clear{
		Port: "8443", Covers: func(h string) bool { return h == "track.example" || h == "::1" },
		Challenge: func(host, path string) []byte {
			if host == "track.example" && path == "/.well-known/acme-challenge/token" {
				return []byte("proof")
			}
			return nil
		},
	})
	web := &http.Client{Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	f := func(method, host, path string, status int, location, reason, contains string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+ln.Addr().String()+path, strings.NewReader(`{"key":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		h := resp.Header
		if resp.StatusCode != status || h.Get("Location") != location || h.Get("X-Spoor-Refused") != reason || !strings.Contains(string(body), contains) {
			t.Errorf("%s %s%s: %d %v %s", method, host, path, resp.StatusCode, h, body)
		}
	}
	const on = "https://track.example:8443"
	f("GET", "track.example", "/pixel.gif?k=k1&u=https%3A%2F%2Fa", 308, on+"/pixel.gif?k=k1&u=https%3A%2F%2Fa", "", "")
	f("GET", "Track.Example.:80", "/", 308, on+"/", "", "")
	f("GET", "[::1]:80", "/", 308, "https://[::1]:8443/", "", "")
	f("HEAD", "track.example", "/app/", 308, on+"/app/", "", "")
	f("GET", "track.example", "//evil.example/", 308, on+"//evil.example/", "", "")
	f("GET", "evil.example", "/", 421, "", "unknown_host", "")
	f("GET", "track.example@evil.example", "/", 400, "", "bad_framing", "")
	for _, m := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		f(m, "track.example", "/hit?k=k1", 403, "", "https_only", "send to the same path by https")
	}
	f("GET", "track.example", "/.well-known/acme-challenge/token", 200, "", "", "proof")
	f("GET", "track.example", "/.well-known/acme-challenge/other", 404, "", "not_found", "")
	f("GET", "other.example", "/.well-known/acme-challenge/token", 404, "", "not_found", "")
	if n := len(s.sink.all()); n != 0 {
		t.Errorf("%d hits were taken in clear", n)
	}
	s.onward.Port = "443"
	f("GET", "track.example:80", "/a", 308, "https://track.example/a", "", "")
}

// Goal: a server may be shut down while its connections work, which TLS makes write to
// them; the race detector watches.
func TestShutdownUnderTLS(t *testing.T) {
	t.Parallel()
	for range 5 {
		s := startTLS(t)
		var senders sync.WaitGroup
		for range 16 {
			c := tls.Client(dial(t, s.addr), s.config)
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			senders.Go(func() {
				defer c.Close()
				for replies := bufio.NewReader(c); ; {
					if _, err := io.WriteString(c, "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
						return
					}
					reply, err := http.ReadResponse(replies, nil)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, reply.Body); err != nil {
						return
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		senders.Wait()
	}
}

// Goal: a request that stops half-way is told so, however long ago the reply before was.
// Method: after a handshake, or a request, half a one, for longer than a reply may take.
func TestSlowRequestsAreTold(t *testing.T) {
	t.Parallel()
	slow := func(o *Options) { o.ReadTimeout, o.WriteTimeout = 600*time.Millisecond, 200*time.Millisecond }
	s, b := startTLS(t, slow), start(t, slow)
	sealed := tls.Client(dial(t, s.addr), s.config)
	if err := sealed.Handshake(); err != nil {
		t.Fatal(err)
	}
	clear := dial(t, b.addr)
	const whole = "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
	if _, err := io.WriteString(clear, whole); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{sealed, clear} {
		if _, err := io.WriteString(c, whole[:30]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []net.Conn{sealed, clear} {
		if replies, err := io.ReadAll(c); err != nil || !strings.Contains(string(replies), "HTTP/1.1 408 ") {
			t.Errorf("%v, %q", err, replies)
		}
	}
}
