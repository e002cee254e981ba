package query

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

func TestRateLimit(t *testing.T) {
	ts := newTestServer(t)
	ts.store.apps.list[0].Settings.RequestsPerMin = 1000
	ask := func(token string) reply { return ts.do("GET", "/api/public/users/1/", token, "") }
	for i := range 1000 {
		if r := ask("shop-read"); r.status != 404 {
			t.Fatalf("request %d of the promised 1000: %d", i+1, r.status)
		}
	}
	r := ask("shop-read")
	if r.status != 429 || r.header.Get("Retry-After") != "1" || !strings.HasPrefix(r.body, `{"detail":`) {
		t.Errorf("got %d %s, Retry-After %q", r.status, r.body, r.header.Get("Retry-After"))
	}
	if r := ask("other-read"); r.status != 404 {
		t.Errorf("the other app got %d", r.status)
	}
	if r := ts.doVia(ts.local, "GET", "/api/public/users/1/?app=shop", "", ""); r.status != 404 {
		t.Errorf("the operator got %d", r.status)
	}
	ts.mu.Lock()
	ts.now = ts.now.Add(time.Second)
	ts.mu.Unlock()
	if r := ask("shop-read"); r.status != 404 {
		t.Errorf("a second later: %d", r.status)
	}
	ts.store.apps.list[0].Settings.RequestsPerMin = 0
	if r := ask("shop-read"); r.status != 404 {
		t.Errorf("without limit: %d", r.status)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	ts := newTestServer(t)
	ts.addProfile(1, 1, "ada", "a@b.c")
	ts.store.panics = true
	r := ts.do("GET", "/api/public/users-by-id/ada/", "shop-read", "")
	if r.status != 500 || r.body != string(errInternal.body) || ts.Stats().Panics != 1 {
		t.Errorf("%d %s, stats %+v", r.status, r.body, ts.Stats())
	}
	ts.store.panics = false
	if r := ts.do("GET", "/api/public/users-by-id/ada/", "shop-read", ""); r.status != 200 {
		t.Errorf("afterwards: %d", r.status)
	}
}

// Goal: whatever could be read in two ways is refused and the connection
// closed. Method: a second request behind it must never be answered.
func TestGate(t *testing.T) {
	ts := newTestServer(t)
	const second = "GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n"
	f := func(first string, statuses ...int) {
		t.Helper()
		c := ts.raw()
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		go io.WriteString(c, first+second)
		all, _ := io.ReadAll(c)
		var status int
		fmt.Sscanf(string(all), "HTTP/1.1 %d", &status)
		found := false
		for _, s := range statuses {
			found = found || s == status
		}
		if !found || strings.Count(string(all), "HTTP/1.1 ") != 1 {
			t.Errorf("%.60q: want one answer of %v, got %q", first, statuses, all)
		}
		if strings.Contains(string(all), "fasthttp") {
			t.Errorf("%q tells the library", all)
		}
	}
	post := "POST /api/public/users/ HTTP/1.1\r\nHost: a\r\n"
	f(post+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400)
	f(post+"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400)
	f(post+"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400)
	f(post+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400)
	f("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400)
	f("GET /healthz HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400)
	f("GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n", 505)
	f("GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 400)
	f("GET /healthz HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: 1\r\n", 70)+"\r\n", 431)
	f("GET /healthz HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 20<<10)+"\r\n\r\n", 431)
	f("GET /healthz HTTP/1.1\r\nHost a\r\n\r\n", 400)
	// A body that no handler reads must not run as a request.
	f(post+"Content-Length: "+fmt.Sprint(len(second))+"\r\n\r\n", 401)
	f("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: "+fmt.Sprint(len(second))+"\r\n\r\n", 200)
	auth := "Authorization: Token shop-write\r\n"
	f(post+auth+"Content-Length: 2000000\r\n\r\n"+strings.Repeat("x", 1<<20+1), 413)
	f(post+auth+"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415)
}

func TestPipelinedRequestsAreBothAnswered(t *testing.T) {
	ts := newTestServer(t)
	c := ts.raw()
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	go io.WriteString(c, "POST /api/public/users/ HTTP/1.1\r\nHost: a\r\nAuthorization: Token shop-write\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"+
		"GET /healthz HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
	all, _ := io.ReadAll(c)
	if !strings.Contains(string(all), "HTTP/1.1 201") || !strings.Contains(string(all), "HTTP/1.1 200") {
		t.Errorf("%s", all)
	}
}

// listenTCP serves on a real socket too, and returns a connection to it.
func (ts *testServer) listenTCP() *net.TCPConn {
	ts.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ts.t.Fatal(err)
	}
	go ts.Serve(l)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.t.Cleanup(func() { c.Close(); l.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c.(*net.TCPConn)
}

func TestTruncatedBodyChangesNothing(t *testing.T) {
	ts := newTestServer(t)
	for _, framing := range []string{"Content-Length: 10\r\n\r\n{}", "Content-Length: 50000\r\n\r\n{}" + strings.Repeat(" ", 20000), "Transfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n"} {
		c := ts.listenTCP()
		io.WriteString(c, "POST /api/public/users/ HTTP/1.1\r\nHost: a\r\nAuthorization: Token shop-write\r\n"+framing)
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(all), "HTTP/1.1 400 ") || len(ts.store.edits) != 0 {
			t.Errorf("half a body was answered %q and made %d edits", all, len(ts.store.edits))
		}
	}
}

// A reader that stops reading loses its connection, however long the export.
func TestStalledReaderIsCutOff(t *testing.T) {
	ended := make(chan spoor.Access, 1)
	ts := newTestServer(t, func(o *Options) { o.WriteTimeout = 20 * time.Millisecond })
	ts.store.told = ended
	for range 20_000 { // some 14 MB, more than the buffers of sockets
		ts.addHit(1, 1, spoor.KindPage, "p")
	}
	c := ts.listenTCP()
	io.WriteString(c, "GET /api/export/hits.ndjson HTTP/1.1\r\nHost: a\r\nAuthorization: Token shop-read\r\n\r\n")
	select {
	case a := <-ended:
		if a.Complete {
			t.Error("the export was whole; the test needs more data")
		}
	case <-time.After(5 * time.Second):
		t.Error("the stalled reader holds its export")
	}
}

func TestHandlerServesThePublicPathsAlone(t *testing.T) {
	ts := newTestServer(t)
	l := fasthttputil.NewInmemoryListener()
	host := &fasthttp.Server{Handler: ts.Handler()}
	go host.Serve(l)
	defer host.Shutdown()
	web := client(l)
	for path, status := range map[string]int{
		"/api/public/users/": 200, "/api/export/users.csv": 404, "/api/admin/apps/shop/": 404, "/metrics": 404, "/healthz": 404, "/api/public/../admin/apps/shop/": 404,
	} {
		if r := ts.doVia(web, "GET", path, "shop-admin", ""); r.status != status {
			t.Errorf("%s: %d, want %d", path, r.status, status)
		}
	}
	if r := ts.doVia(web, "GET", "/api/public/users/", "control", ""); r.status != 401 {
		t.Errorf("the control plane on the public port: %d", r.status)
	}
	if r := ts.doVia(web, "POST", "/api/public/users/", "shop-write", `{"a":"`+strings.Repeat("x", 1<<20)+`"}`); r.status != 413 {
		t.Errorf("large body: %d", r.status)
	}
}

func TestLocalSocket(t *testing.T) {
	ts := newTestServer(t, func(o *Options) { o.Version = "v1" })
	ts.addProfile(2, 1, "bob", "b@b.c")
	f := func(path string, status int, contains string) {
		t.Helper()
		r := ts.doVia(ts.local, "GET", path, "", "")
		if r.status != status || !strings.Contains(r.body, contains) {
			t.Errorf("%s: %d %s, want %d with %s", path, r.status, r.body, status, contains)
		}
	}
	f("/api/public/users/", 400, "?app=NAME")
	f("/api/public/users/?app=none", 404, "")
	f("/api/public/users/1001/?app=other", 200, `"user_id":"bob"`)
	f("/api/public/users/1001/?app=shop", 404, "")
	f("/api/partitions?app=other", 200, `[{"app":"other","day":"2024-10-04","hits":3,"profiles":2,"bytes":512,"sealed":true}]`)
	f("/healthz", 200, `{"status":"ok","version":"v1"}`)
	f("/metrics", 200, "spoor_up 1\n")
	f("/readyz", 200, `{"status":"ok"}`)
	ts.store.readOnly = errDisk
	f("/readyz", 503, "bad block")
	if r := ts.do("GET", "/readyz", "", ""); r.status != 503 || strings.Contains(r.body, "bad block") {
		t.Errorf("the listener said %d %s", r.status, r.body)
	}
	ts.store.readOnly = fmt.Errorf("wrapped: %w", spoor.ErrReadOnly)
	if r := ts.do("GET", "/readyz", "", ""); !strings.Contains(r.body, spoor.ErrReadOnly.Error()) {
		t.Errorf("the listener said %s", r.body)
	}
	if r := ts.do("GET", "/healthz", "", ""); r.body != `{"status":"ok"}` {
		t.Errorf("the listener told %s", r.body)
	}
	if a := ts.audited(); len(a) != 2 || a[0].Actor != "operator" {
		t.Errorf("audited %+v", a)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	_, err := New(Options{PublicURL: "nowhere", AdminTokenHash: "plain", StreamsMax: -1})
	for _, part := range []string{"Store", "Apps", "PublicURL", "AdminTokenHash", "StreamsMax"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
}

func TestShutdownClosesIdleConnections(t *testing.T) {
	ts := newTestServer(t)
	ts.do("GET", "/healthz", "", "")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := ts.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ts.Serve(l); err != nil {
		t.Errorf("serve after shutdown: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

// lines reads a stream line by line.
func lines(r io.Reader) func() (string, error) {
	in := bufio.NewReader(r)
	return func() (string, error) { return in.ReadString('\n') }
}
