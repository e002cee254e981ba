package main

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
	"github.com/valyala/fasthttp"
)

// serve runs a handler on a port of its own until the test ends.
func serve(t *testing.T, handler fasthttp.RequestHandler) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fasthttp.Server{Handler: handler}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ln.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func testStreams(n, population int) (streams []*stream, book *ledger) {
	for i := range n {
		streams = append(streams, newStream(i, testSalt, 1, population))
	}
	return streams, newLedger(testSalt, n)
}

// Goal: what the client counts is what the stages stored, through every door.
// Method: the real stages in this process, then the audit of the real store.
func TestLoadAgainstStages(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	collector, err := wire(st, st)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- collector.Serve(ln) }()

	tr := newTraffic(testSalt, []string{demoKey}, doorHit, doorArray, doorBatch, doorPixel, doorPing, doorSDK)
	streams, book := testStreams(4, 60)
	run := func(l load) {
		t.Helper()
		l.address, l.connections = ln.Addr().String(), 2
		got, err := l.run(tr, streams, book)
		if err != nil || got.errors > 0 || got.refusedRequests > 0 || got.problem != "" {
			t.Fatalf("door %d: %v, %+v", l.door, err, got)
		}
		if l.duration == 0 && got.events != 4*60 {
			t.Errorf("%d events made the population known, want %d", got.events, 4*60)
		}
	}
	run(load{door: doorArray, batch: 7})
	for _, d := range []door{doorHit, doorPixel, doorPing, doorSDK} {
		run(load{door: d, batch: 1, duration: 20 * time.Millisecond})
	}
	run(load{door: doorBatch, batch: 5, duration: 20 * time.Millisecond})

	if err := collector.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := auditStore(dir, []string{demoKey}, book, true)
	if err != nil {
		t.Fatal(err)
	}
	if !a.clean() || a.acknowledged != a.found || a.found <= 4*60 {
		t.Errorf("the audit: %s", a)
	}
	if bots, all := countBots(t, dir); bots == 0 || bots > all/5 {
		t.Errorf("%d of %d hits count as made by bots", bots, all)
	}
	book.note(event{stream: 1, app: 0, seq: 1 << 20}, stored)
	book.pages[1].found = nil
	again, err := auditStore(dir, []string{demoKey}, book, true)
	if err != nil {
		t.Fatal(err)
	}
	if again.lost != 1 {
		t.Errorf("an event that was never stored counts as %d lost: %s", again.lost, again)
	}
}

func countBots(t *testing.T, dir string) (bots, all int) {
	t.Helper()
	st, err := store.Open(store.Options{Dir: dir, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	day := spoor.DayOf(time.Now(), time.UTC)
	if err := st.ScanHits(st.AppByName(demoKey).ID, day-1, day+1, func(h *spoor.Hit) error {
		all++
		if h.Bot {
			bots++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return bots, all
}

// Goal: refusals, broken replies and lying counts are seen, and nothing that
// was refused counts as acknowledged.
func TestClientReplies(t *testing.T) {
	tr := newTraffic(testSalt, []string{demoKey}, doorHit)
	f := func(status int, body string, requests, events, refused, errors int64) {
		t.Helper()
		address := serve(t, func(ctx *fasthttp.RequestCtx) {
			ctx.SetStatusCode(status)
			ctx.SetBodyString(body)
		})
		streams, book := testStreams(1, 1)
		got, err := load{address: address, door: doorHit, connections: 1, batch: 1}.run(tr, streams, book)
		if err != nil {
			t.Fatal(err)
		}
		if got.requests != requests || got.events != events || got.refusedRequests != refused || got.errors != errors {
			t.Errorf("%d %q: %d requests, %d events, %d refused, %d errors (%s)", status, body, got.requests, got.events, got.refusedRequests, got.errors, got.problem)
		}
		if o := book.pages[0].outcomes[0]; o.acknowledged() != (events == 1) {
			t.Errorf("%d %q: booked as %d", status, body, o)
		}
	}
	f(200, `{"success":true,"status":"stored","id":"x"}`, 1, 1, 0, 0)
	f(200, `{"success":true,"status":"duplicate"}`, 1, 1, 0, 0)
	f(200, `{"results":[{"status":"refused"}]}`, 1, 0, 0, 0)
	f(200, `{"success":true,"status":"stored","pad":"`+strings.Repeat("x", 100_000)+`"}`, 1, 1, 0, 0)
	f(503, `{"success":false}`, 0, 0, 1, 0)
	f(429, `{"success":false}`, 0, 0, 1, 0)
	f(400, `{"success":false}`, 0, 0, 1, 0)
	f(200, `{}`, 0, 0, 0, 1)
	f(200, `{"results":[{"status":"stored"},{"status":"stored"}]}`, 0, 0, 0, 1)
}

// Goal: the bare server's replies, which have no body, are read.
func TestClientBare(t *testing.T) {
	address := serve(t, func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) })
	tr := newTraffic(testSalt, []string{demoKey}, doorHit)
	streams, book := testStreams(2, 50)
	got, err := load{address: address, door: doorHit, connections: 2, batch: 1, discard: true}.run(tr, streams, book)
	if err != nil || got.requests != 100 || got.events != 100 || got.errors > 0 {
		t.Errorf("%v, %+v", err, got)
	}
	if len(book.pages[0].outcomes) > 0 {
		t.Error("the bare server's replies were booked")
	}
}

// Goal: another server gets the same traffic at its own URL: its path, host
// and key, with our queries and bodies.
// Method: a server that remembers what it was sent.
func TestAgainst(t *testing.T) {
	type seen struct{ method, path, host, query, auth string }
	var mu sync.Mutex
	var got []seen
	address := serve(t, func(ctx *fasthttp.RequestCtx) {
		mu.Lock()
		defer mu.Unlock()
		if n := len(ctx.PostBody()); ctx.IsPost() && (n < 100 || n != ctx.Request.Header.ContentLength()) {
			t.Errorf("a body of %d bytes, %d announced", n, ctx.Request.Header.ContentLength())
		}
		got = append(got, seen{string(ctx.Method()), string(ctx.Path()), string(ctx.Host()), string(ctx.QueryArgs().Peek("k")), string(ctx.Request.Header.Peek("Authorization"))})
	})
	other, err := againstPeer("http://their-key@" + address + "/in/events?v=2")
	if err != nil {
		t.Fatal(err)
	}
	doors := []door{doorHit, doorBatch, doorPixel}
	tr := newTrafficAt(other.url, testSalt, []string{demoKey}, doors...)
	for _, d := range doors {
		streams, book := testStreams(1, 1)
		r, err := load{address: other.address, door: d, connections: 1, batch: 1, discard: true}.run(tr, streams, book)
		if err != nil || r.requests != 1 || r.errors > 0 {
			t.Fatalf("door %d: %v, %+v", d, err, r)
		}
	}
	want := []seen{
		{"POST", "/in/events", address, "", ""},
		{"POST", "/in/events", address, "", "Basic dGhlaXIta2V5Og=="},
		{"GET", "/in/events", address, "their-key", ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the other server got\n%v, want\n%v", got, want)
	}
	if err := other.try([]scenario{scenarioOf(t, "model"), scenarioOf(t, "half")}); err != nil || len(got) != len(want)+1 {
		t.Errorf("trying one kind of traffic: %v, %d requests", err, len(got)-len(want))
	}
	picky, err := againstPeer("http://" + serve(t, func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(405) }) + "/")
	if err != nil {
		t.Fatal(err)
	}
	if err := picky.try([]scenario{scenarioOf(t, "pixel")}); err == nil || !strings.Contains(err.Error(), "does not take pixels") || !strings.Contains(err.Error(), "405") {
		t.Errorf("a server that refuses pixels was tried: %v", err)
	}
	for _, wrong := range []string{"https://a.example/", "127.0.0.1:80", "http://", ":"} {
		if _, err := againstPeer(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}
