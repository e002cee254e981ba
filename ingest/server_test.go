package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// noon is when everything in these tests is received.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// memorySink keeps hits as the store would: by id, or digest, once.
type memorySink struct {
	mu    sync.Mutex
	seen  map[string]bool
	hits  []spoor.Hit
	calls int
	fail  func([]spoor.Hit) error // runs first, without the lock
}

func (m *memorySink) Write(hits []spoor.Hit) error {
	if m.fail != nil {
		if err := m.fail(hits); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	for i := range hits {
		h := &hits[i]
		if h.Outcome == spoor.Refused {
			continue
		}
		id := h.ID
		if id == "" && h.Digest != ([16]byte{}) {
			id = string(h.Digest[:])
		}
		if h.Outcome = spoor.Stored; id != "" {
			if m.seen[id] {
				h.Outcome = spoor.Duplicate
				continue
			}
			if m.seen == nil {
				m.seen = make(map[string]bool)
			}
			m.seen[id] = true
		}
		m.hits = append(m.hits, *h)
	}
	return nil
}

func (m *memorySink) all() []spoor.Hit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.hits)
}

type memoryApps []*spoor.App

func (m memoryApps) AllApps() []*spoor.App { return m }
func (m memoryApps) AppByKey(key string) *spoor.App {
	for _, a := range m {
		for _, k := range a.Keys {
			if k.Key == key {
				return a
			}
		}
	}
	return nil
}

func testApps() memoryApps {
	open := &spoor.App{ID: 1, Name: "open", Keys: []spoor.WriteKey{{Key: "k1"}, {Key: "k1b"}}, Settings: spoor.DefaultSettings("UTC")}
	open.Settings.EventsPerMinute, open.Settings.Mode, open.Settings.HitsDays = 0, spoor.ModeExempt, 760
	trusting := &spoor.App{ID: 2, Name: "trusting", Keys: []spoor.WriteKey{{Key: "k2"}}, Settings: spoor.DefaultSettings("UTC")}
	trusting.Settings.TrustSender = true
	narrow := &spoor.App{ID: 3, Name: "narrow", Keys: []spoor.WriteKey{{Key: "k3"}}, Settings: spoor.DefaultSettings("UTC")}
	narrow.Settings.Origins = []string{"https://shop.example"}
	narrow.Settings.EventsPerMinute = 1000
	closed := &spoor.App{ID: 4, Name: "closed", Keys: []spoor.WriteKey{{Key: "k4"}}, Settings: spoor.DefaultSettings("UTC"), Closed: true}
	return memoryApps{open, trusting, narrow, closed}
}

type bench struct {
	*Server
	sink *memorySink
	url  string
	addr string
	log  *bytes.Buffer
}

// start runs a collector on a loopback port.
func start(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{sink: &memorySink{}, log: new(bytes.Buffer)}
	o := Options{
		Sink: b.sink, Apps: testApps(), Now: func() time.Time { return noon },
		Log: slog.New(slog.NewTextHandler(b.log, nil)), ReadTimeout: 5 * time.Second,
	}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := s.Stats().InFlight; n != 0 {
			t.Errorf("%d bytes of bodies are still booked after the drain", n)
		}
	})
	b.Server, b.addr = s, ln.Addr().String()
	b.url = "http://" + b.addr
	return b
}

type answer struct {
	status int
	head   http.Header
	body   string
}

// send makes a request; headers come as name, value, name, value.
func (b *bench) send(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if host := req.Header.Get("Host"); host != "" { // net/http takes it from here only
		req.Host = host
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

// refused checks that an answer is the refusal that the table promises.
func (a answer) refused(t testing.TB, reason spoor.Reason) {
	t.Helper()
	want := refusals[lookup(reason)]
	if want.reason != reason {
		t.Fatalf("there is no line for %s", reason)
	}
	if a.status != want.status || a.head.Get("X-Spoor-Refused") != string(reason) {
		t.Fatalf("got %d %s %s, want %d %s", a.status, a.head.Get("X-Spoor-Refused"), a.body, want.status, reason)
	}
	var reply struct {
		Success        *bool
		Error, Message string
	}
	if err := json.Unmarshal([]byte(a.body), &reply); err != nil || reply.Success == nil || *reply.Success || reply.Error != string(reason) || reply.Message == "" {
		t.Fatalf("body %s (%v)", a.body, err)
	}
	if (want.retry > 0) != (a.head.Get("Retry-After") != "") {
		t.Fatalf("Retry-After %q, want %d", a.head.Get("Retry-After"), want.retry)
	}
}

func (a answer) ok(t testing.TB, parts ...string) {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			t.Fatalf("%s does not hold %s", a.body, p)
		}
	}
}

func TestOptionsTellAllMistakes(t *testing.T) {
	_, err := New(Options{EventsMax: -1, BodyBytesMax: 5, ReadTimeout: -1})
	for _, want := range []string{"Sink", "Apps", "EventsMax", "BodyBytesMax", "ReadTimeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestNoServerHeader(t *testing.T) {
	b := start(t)
	for _, path := range []string{"/", "/healthz", "/hit", "/none"} {
		a := b.send(t, "GET", path, "")
		if v, ok := a.head["Server"]; ok {
			t.Errorf("%s: Server: %s", path, v)
		}
	}
	b.send(t, "GET", "/healthz/", "").ok(t, "ok")
}

func TestPanicIsAnswered(t *testing.T) {
	b := start(t, func(o *Options) {
		o.Fallback = func(*fasthttp.RequestCtx) { panic("visitor@example.com") }
	})
	for range 3 {
		b.send(t, "GET", "/api/public/users/", "").refused(t, reasonPanic)
	}
	if n := b.Stats().Panics; n != 3 {
		t.Errorf("%d panics counted, want 3", n)
	}
	if log := b.log.String(); strings.Count(log, "panic=") != 1 || strings.Contains(log, "visitor@") {
		t.Errorf("want one line without the value: %s", log)
	}
	b.send(t, "POST", "/hit?k=k1", "{}").ok(t)
}

func TestFallbackGetsTheBody(t *testing.T) {
	var got []string
	b := start(t, func(o *Options) {
		o.Fallback = func(ctx *fasthttp.RequestCtx) { got = append(got, string(ctx.PostBody())) }
	})
	b.send(t, "PUT", "/api/public/users/1/", `{"a":1}`).ok(t)
	b.send(t, "PUT", "/api/public/users/1/", strings.Repeat("x", 1<<20+1)).refused(t, reasonBodyBytes)
	if len(got) != 1 || got[0] != `{"a":1}` {
		t.Errorf("got %q", got)
	}
}

func TestSinkErrors(t *testing.T) {
	f := func(err error, reason spoor.Reason) {
		t.Helper()
		b := start(t)
		b.sink.fail = func([]spoor.Hit) error { return err }
		b.send(t, "POST", "/hit?k=k1", `[{},{}]`).refused(t, reason)
		b.send(t, "POST", "/v1/batch", `{"batch":[{"type":"page"}],"writeKey":"k1"}`).refused(t, reason)
		if n := b.Stats().Refusals[reason]; n != 2 {
			t.Errorf("%s counted %d times, want 2", reason, n)
		}
	}
	f(spoor.ErrBusy, reasonQueue)
	f(fmt.Errorf("cannot write: %w", spoor.ErrReadOnly), reasonDisk)
	f(spoor.ErrClosed, reasonStopping)
	f(errors.New("odd"), reasonStore)
}

func TestSinkRefusals(t *testing.T) {
	b := start(t)
	b.sink.fail = func(hits []spoor.Hit) error {
		for i := range hits {
			if hits[i].Key == "gone" {
				hits[i].Outcome, hits[i].Reason = spoor.Refused, spoor.ReasonErased
			}
		}
		return nil
	}
	b.send(t, "POST", "/hit?k=k1", `{"key":"gone"}`).refused(t, spoor.ReasonErased)
	b.send(t, "POST", "/hit?k=k1", `[{"key":"a"},{"key":"gone","id":"e2"}]`).ok(t,
		`"success":true`, `[{"status":"stored"},{"status":"refused","reason":"erased","id":"e2"}]`)
	b.send(t, "POST", "/hit?k=k1", `[{"key":"gone"},{"key":5e999,"id":[]}]`).refused(t, spoor.ReasonErased)
	if n := b.Stats().HitsRefused[spoor.ReasonErased]; n != 3 {
		t.Errorf("%d counted, want 3", n)
	}
}

// A Sink that forgets a hit has not kept it, and nobody may be told otherwise.
func TestPendingIsNoSuccess(t *testing.T) {
	s, err := New(Options{Sink: forgetful{}, Apps: testApps()})
	if err != nil {
		t.Fatal(err)
	}
	var ctx fasthttp.RequestCtx
	ctx.Request.SetRequestURI("/pixel.gif?k=k1")
	s.route(&ctx, netip.Addr{})
	if ctx.Response.StatusCode() != 503 {
		t.Errorf("status %d", ctx.Response.StatusCode())
	}
}

type forgetful struct{}

func (forgetful) Write([]spoor.Hit) error { return nil }

// Shutdown answers what is in flight, takes nothing new, and does not wait for
// connections that say nothing.
func TestShutdownDrains(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	sink := &memorySink{fail: func([]spoor.Hit) error { entered <- true; <-leave; return nil }}
	s, err := New(Options{Sink: sink, Apps: testApps()})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	silent := dial(t, ln.Addr().String())
	busy := dial(t, ln.Addr().String())
	_, _ = io.WriteString(busy, "GET /pixel.gif?k=k1 HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	if err := <-served; err != nil { // the listener is closed
		t.Fatal(err)
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent connection got bytes")
	}
	leave <- true
	res, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("in flight: %v %v", res, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("a new connection was taken")
	}
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}
