package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

func TestPixel(t *testing.T) {
	nul := start(t).send(t, "GET", "/pixel.gif?k=k1&c=%00", "")
	if nul.status != 400 || nul.head.Get("Content-Type") != "image/gif" || nul.head.Get("Cache-Control") != "no-store" || nul.head.Get("X-Spoor-Refused") != string(reasonTarget) {
		t.Errorf("NUL: %d %v", nul.status, nul.head)
	}
	b := start(t)
	f := func(method, query string, status int, reason spoor.Reason) {
		t.Helper()
		a := b.send(t, method, "/pixel.gif"+query, "", "Referer", "https://page.example/")
		if a.status != status || a.head.Get("X-Spoor-Refused") != string(reason) || a.head.Get("Content-Type") != "image/gif" || a.head.Get("Cache-Control") != "no-store" {
			t.Fatalf("%s: %d %v", query, a.status, a.head)
		}
		if method == "GET" && (len(a.body) != 43 || a.body[:6] != "GIF89a") {
			t.Fatalf("%d bytes %q", len(a.body), a.body)
		}
	}
	f("GET", "?k=k1&c=cookie&e=Opened+mail&u=https%3A%2F%2Fa.example%2F&r=x&t=T&s=10x20&l=pl&z=UTC&i=id1&p.a=1&p.b%22=%C5%82&p.a=2&p.=x", 200, "")
	f("GET", "?k=k1&i=id1", 200, "") // duplicate
	f("GET", "/?k=k1", 200, "")
	f("HEAD", "?k=k1", 200, "")
	f("GET", "?k=wrong", 401, reasonUnknownKey)
	f("GET", "", 401, reasonNoKey)
	f("GET", "?k=k1&t=%ff", 400, reasonValue)
	f("GET", "?k=k1&i="+strings.Repeat("i", 513), 400, reasonIDLength)
	hits := b.sink.all()
	if len(hits) != 2 {
		t.Fatalf("%d hits", len(hits))
	}
	h := hits[0]
	if h.Kind != spoor.KindEvent || h.Door != spoor.DoorPixel || h.Name != "Opened mail" || h.Key != "cookie" || h.URL != "https://a.example/" || h.Referrer != "x" ||
		h.Title != "T" || h.Resolution != "10x20" || h.Language != "pl" || h.TimeZone != "UTC" || h.ID != "id1" || string(h.Properties) != `{"a":"1","b\"":"ł"}` {
		t.Errorf("%+v %s", h, h.Properties)
	}
	if h = hits[1]; h.Kind != spoor.KindPage || h.URL != "https://page.example/" {
		t.Errorf("%+v", h)
	}
	b.sink.fail = func([]spoor.Hit) error { return spoor.ErrBusy }
	f("GET", "?k=k1", 503, reasonQueue)
}

func FuzzPixelQuery(f *testing.F) {
	f.Add("k=k1&c=a&e=b&p.x=y&p.x=z")
	f.Add("u=%ff&t=%00&p.%ff=1")
	f.Add("&&=&p.=&%")
	f.Fuzz(func(t *testing.T, query string) {
		rq := &request{app: testApps()[0], now: noon.UnixMilli()}
		var h spoor.Hit
		fl := decodePixel(rq, query, &h)
		if fl.reason == "" {
			fl = rq.complete(&h, "")
		}
		if fl.reason != "" {
			return
		}
		if !utf8.ValidString(h.Name+h.URL+h.Title+h.Key+h.ID) || h.Properties != nil && !jsontext.Value(h.Properties).IsValid() {
			t.Fatalf("%+v", h)
		}
	})
}

func TestCORS(t *testing.T) {
	b := start(t)
	const shop, evil = "https://shop.example", "https://shop.example.evil"
	a := b.send(t, "OPTIONS", "/hit", "", "Origin", evil, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,x-Custom")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": evil, "Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "86400",
		"Access-Control-Allow-Headers": "content-type,x-Custom", "Access-Control-Allow-Methods": "POST, OPTIONS",
	} {
		if a.status != 204 || a.head.Get(name) != want {
			t.Errorf("%d %s: %q, want %q", a.status, name, a.head.Get(name), want)
		}
	}
	a = b.send(t, "OPTIONS", "/v1/t/", "", "Origin", shop, "Access-Control-Request-Headers", "a;b")
	if a.head.Get("Access-Control-Allow-Headers") != defaultHeaders {
		t.Errorf("echoed %q", a.head.Get("Access-Control-Allow-Headers"))
	}
	b.send(t, "OPTIONS", "/healthz", "", "Origin", shop).refused(t, reasonMethod)

	a = b.send(t, "POST", "/hit?k=k3", "{}", "Origin", strings.ToUpper(shop))
	a.ok(t)
	if a.head.Get("Access-Control-Allow-Origin") == "" || a.head.Get("Vary") != "Origin" || a.head.Get("Access-Control-Expose-Headers") != "" {
		t.Errorf("%v", a.head)
	}
	for _, o := range []string{evil, "null", "https://shop.example:8443", "http://shop.example"} {
		a := b.send(t, "POST", "/hit?k=k3", "{}", "Origin", o)
		if a.refused(t, reasonOrigin); a.head.Get("Access-Control-Allow-Origin") != "" || a.head.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s is echoed although the app does not allow it: %v", o, a.head)
		}
		b.send(t, "OPTIONS", "/hit?k=k3", "", "Origin", o).refused(t, reasonOrigin)
	}
	b.send(t, "POST", "/hit?k=k1", "{}", "Origin", "null").ok(t)
	a = b.send(t, "POST", "/hit?k=wrong", "{}", "Origin", shop)
	if a.refused(t, reasonUnknownKey); a.head.Get("Access-Control-Allow-Origin") != shop || !strings.Contains(a.head.Get("Access-Control-Expose-Headers"), "X-Spoor-Refused") {
		t.Errorf("a page cannot read why: %v", a.head)
	}
	a = b.send(t, "POST", sdkPrefix+"ping/", "{}", "Authorization", "Token k1", "X-User-Key", "\xff\xfe", "Origin", shop)
	if a.head.Get("X-Spoor-Refused") == "" || !strings.Contains(a.head.Get("Access-Control-Expose-Headers"), "X-Spoor-Refused") {
		t.Errorf("a page cannot read why of an SDK's reply: %v", a.head)
	}
}

func TestPreflightNeedsAnAppThatAllows(t *testing.T) {
	b := start(t, func(o *Options) { o.Apps = testApps()[2:] })
	if a := b.send(t, "OPTIONS", "/hit", "", "Origin", "https://shop.example"); a.status != 204 {
		t.Errorf("%d", a.status)
	}
	for _, o := range []string{"https://evil.example", "null"} {
		a := b.send(t, "OPTIONS", "/hit", "", "Origin", o)
		if a.refused(t, reasonOrigin); a.head.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s was allowed", o)
		}
	}
}

func TestForwardedFor(t *testing.T) {
	in := func(a netip.Addr) bool { return netip.MustParsePrefix("10.0.0.0/8").Contains(a) }
	peer := netip.MustParseAddr("10.0.0.1")
	f := func(list, want string) {
		t.Helper()
		if got := forwarded(list, peer, in); got.String() != want {
			t.Errorf("%q: %v, want %s", list, got, want)
		}
	}
	f("203.0.113.7", "203.0.113.7")
	f("1.1.1.1, 203.0.113.7", "203.0.113.7") // the left is the client's claim
	f("1.1.1.1, 203.0.113.7, 10.9.9.9 ,10.1.1.1", "203.0.113.7")
	f("10.9.9.9,10.1.1.1", "10.9.9.9")
	f("203.0.113.7:8080", "203.0.113.7")
	f("[2001:db8::1]:443", "2001:db8::1")
	f("[2001:db8::1]", "2001:db8::1")
	f("fe80::1%eth0", "fe80::1")
	f("::ffff:203.0.113.7", "203.0.113.7")
	f("", "10.0.0.1")
	f("unknown", "10.0.0.1")
	f("203.0.113.7, garbage", "10.0.0.1")
	f("garbage, 203.0.113.7", "203.0.113.7")
	f(strings.Repeat("10.0.0.2,", 100)+"10.0.0.2", "10.0.0.1")
}

func TestClientAddress(t *testing.T) {
	f := func(trusted bool, want string) {
		t.Helper()
		b := start(t, func(o *Options) {
			if trusted {
				o.TrustedProxies = prefixes("127.0.0.5/8")
			}
		})
		b.send(t, "POST", "/hit?k=k1", "{}", "X-Forwarded-For", "1.1.1.1, 203.0.113.7").ok(t)
		if got := b.sink.all()[0].IP.String(); got != want {
			t.Errorf("trusted %v: %s, want %s", trusted, got, want)
		}
	}
	f(false, "127.0.0.1")
	f(true, "203.0.113.7")
}

func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"1.1.1.1", "a,b", ",,,", "[::1]:1,10.0.0.1", "::ffff:1.2.3.4%x"} {
		f.Add(s)
	}
	peer := netip.MustParseAddr("10.0.0.1")
	in := func(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 10 }
	f.Fuzz(func(t *testing.T, list string) {
		a := forwarded(list, peer, in)
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			t.Fatalf("%v", a)
		}
		// Nobody can choose his address by writing to the left of a proxy's hop.
		if b := forwarded(list+", 203.0.113.7", peer, in); b.String() != "203.0.113.7" {
			t.Fatalf("%v", b)
		}
	})
}

func TestConnectionLimits(t *testing.T) {
	b := start(t, func(o *Options) { o.ConnectionsMax, o.ConnectionsPerAddressMax = 5, 2 })
	const get = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	first := dial(t, b.addr)
	if got := exchange(t, first, get); fmt.Sprint(got) != "[200]" {
		t.Fatal(got)
	}
	if got := exchange(t, dial(t, b.addr), get); fmt.Sprint(got) != "[200]" {
		t.Fatal(got)
	}
	third := dial(t, b.addr)
	text, _ := io.ReadAll(third)
	if !strings.HasPrefix(string(text), "HTTP/1.1 503 ") || !strings.Contains(string(text), "X-Spoor-Refused: too_many_from_address\r\n") {
		t.Fatalf("%q", text)
	}
	if st := b.Stats(); st.Refusals[reasonPerAddress] != 1 || st.Connections != 2 {
		t.Errorf("%+v", st)
	}
}

// Goal: at the limit a new connection gets the room of one that waits for a
// next request, and none of one that has a request under way or was used just now.
func TestConnectionsMax(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	b := start(t, func(o *Options) { o.ConnectionsMax = 2 })
	b.sink.fail = func([]spoor.Hit) error { entered <- true; <-leave; return nil }
	answered := func(what string, c net.Conn) {
		t.Helper()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %v %v", what, res, err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
	}
	const get = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	busy := dial(t, b.addr)
	fmt.Fprint(busy, get)
	answered("the busy one, when it was not", busy)
	fmt.Fprint(busy, "GET /pixel.gif?k=k1 HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	idle := dial(t, b.addr)
	fmt.Fprint(idle, get)
	answered("the first", idle)
	text, _ := io.ReadAll(dial(t, b.addr))
	if !strings.Contains(string(text), "too_many_connections") {
		t.Fatalf("a connection used just now made room: %q", text)
	}
	time.Sleep(idleMin + 50*time.Millisecond)
	next := dial(t, b.addr)
	fmt.Fprint(next, get)
	answered("the one that needs room", next)
	if rest, err := io.ReadAll(idle); len(rest) > 0 || err != nil {
		t.Errorf("the idle connection goes on: %q %v", rest, err)
	}
	close(leave)
	answered("the busy one", busy)
	if st := b.Stats(); st.MadeRoom != 1 || st.Connections != 2 || st.Refusals[reasonConnections] != 1 {
		t.Errorf("%+v", st)
	}
}

// Behind a trusted proxy the limit counts each client's requests at a time,
// and the proxy may hold as many connections as it likes.
func TestLimitSeesThroughProxies(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	b := start(t, func(o *Options) { o.ConnectionsPerAddressMax, o.TrustedProxies = 1, prefixes("127.0.0.1/32") })
	b.sink.fail = func([]spoor.Hit) error { entered <- true; <-leave; return nil }
	var wg sync.WaitGroup
	for _, ip := range []string{"203.0.113.1", "203.0.113.2"} {
		wg.Go(func() { b.send(t, "GET", "/pixel.gif?k=k1", "", "X-Forwarded-For", ip) })
		<-entered
	}
	b.send(t, "POST", "/hit?k=k1", "{}", "X-Forwarded-For", "203.0.113.2").refused(t, reasonPerAddress)
	close(leave)
	wg.Wait()
	b.sink.fail = nil
	b.send(t, "POST", "/hit?k=k1", "{}", "X-Forwarded-For", "203.0.113.2").ok(t)
	b.conns.mu.Lock()
	defer b.conns.mu.Unlock()
	if len(b.conns.byAddr) != 0 {
		t.Errorf("still counted: %v", b.conns.byAddr)
	}
}

func TestRateLimit(t *testing.T) {
	now, mu := noon, sync.Mutex{}
	b := start(t, func(o *Options) {
		o.EventsMax = 50
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	batch := "[" + strings.Repeat("{},", 49) + "{}]" // app 3: 1000 a minute, a burst of one full batch
	b.send(t, "POST", "/hit?k=k3", batch).ok(t)
	a := b.send(t, "POST", "/hit?k=k3", batch)
	if a.refused(t, reasonRate); a.head.Get("Retry-After") != "3" {
		t.Errorf("Retry-After %q", a.head.Get("Retry-After"))
	}
	b.send(t, "POST", "/hit?k=k1", batch).ok(t) // another app is not affected
	mu.Lock()
	now = now.Add(3 * time.Second)
	mu.Unlock()
	b.send(t, "POST", "/hit?k=k3", batch).ok(t)
	if n := b.sink.calls; n != 3 {
		t.Errorf("%d writes", n)
	}
}

func TestBucketFollowsTheSetting(t *testing.T) {
	b := buckets{eventsMax: 10}
	app := &spoor.App{ID: 1, Settings: spoor.Settings{EventsPerMinute: 600}}
	if b.take(app, 20, noon) != 0 || b.take(app, 10, noon) != time.Second {
		t.Error("want 20 at once, then a second for ten")
	}
	app = app.Clone()
	app.Settings.EventsPerMinute = 6000
	if b.take(app, 200, noon) != 0 {
		t.Error("the new setting does not count")
	}
	app.Settings.EventsPerMinute = 0
	if b.take(app, 1e6, noon) != 0 {
		t.Error("no limit is one")
	}
}

// 2,000 connections that announce 1 MiB and send a byte must not be given what
// they announce. Here are 200; the memory is that of their buffers.
func TestAnnouncedLengthIsNotAllocated(t *testing.T) {
	b := start(t, func(o *Options) { o.ReadTimeout = time.Minute })
	before := heap()
	const n, request = 200, "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n{"
	for range n {
		_, _ = io.WriteString(dial(t, b.addr), request)
	}
	for end := time.Now().Add(3 * time.Second); b.Stats().BytesIn < uint64(n*len(request)); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the requests did not arrive")
		}
	}
	grown := heap() - before
	t.Logf("%d KiB for each connection", grown/n>>10)
	if grown > n*80<<10 {
		t.Errorf("%d KiB for each connection", grown/n>>10)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestInFlightBytesAreBounded(t *testing.T) {
	b := start(t, func(o *Options) { o.BodyBytesMax, o.InflatedBytesMax, o.InFlightBytesMax = 64<<10, 64<<10, 128<<10 })
	b.counters.inFlight.Add(100 << 10) // others are at work
	b.send(t, "POST", "/hit?k=k1", `{"a":"`+strings.Repeat("x", 60<<10)+`"}`).refused(t, reasonMemory)
	b.send(t, "POST", "/hit?k=k1", `{}`).ok(t) // small ones pass
	b.counters.inFlight.Add(-100 << 10)
}

func TestSlowAndTruncatedBodies(t *testing.T) {
	b := start(t, func(o *Options) { o.ReadTimeout = 200 * time.Millisecond })
	head := "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{"
	if got := exchange(t, dial(t, b.addr), head); fmt.Sprint(got) != "[408]" {
		t.Errorf("slow: %v", got)
	}
	c := dial(t, b.addr)
	_, _ = io.WriteString(c, head)
	_ = c.(*net.TCPConn).CloseWrite()
	if text, _ := io.ReadAll(c); !strings.HasPrefix(string(text), "HTTP/1.1 400 ") {
		t.Errorf("truncated: %q", text)
	}
	if n := len(b.sink.all()); n != 0 {
		t.Errorf("%d hits", n)
	}
}

// Goal: deadlines that stand for later ones, as setting one is dear, cut nobody off
// who keeps to the limits, and still end a connection that is idle.
// Method: requests on one connection for three times as long as any limit, each after
// a third of it; then silence.
func TestDeadlinesMoveOn(t *testing.T) {
	t.Parallel()
	const limit = 600 * time.Millisecond
	b := start(t, func(o *Options) { o.ReadTimeout, o.WriteTimeout, o.IdleTimeout = limit, limit, limit })
	c := dial(t, b.addr)
	replies := bufio.NewReader(c)
	began := time.Now()
	var last time.Time
	for time.Since(began) < 3*limit {
		last = time.Now()
		if _, err := io.WriteString(c, "POST /hit?k=k1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
			t.Fatal(err)
		}
		reply, err := http.ReadResponse(replies, nil)
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("after %v: %v, %v", time.Since(began), reply, err)
		}
		if _, err := io.Copy(io.Discard, reply.Body); err != nil {
			t.Fatal(err)
		}
		time.Sleep(limit / 3)
	}
	_, err := replies.ReadByte()
	if idle := time.Since(last); !errors.Is(err, io.EOF) || idle < limit*3/4 {
		t.Fatalf("%v after %v of silence, with a limit of %v", err, idle, limit)
	}
}

// Goal: who sends on after a refusal has the time for it that is promised, also if it
// was refused shortly before.
// Method: two bodies of which the rest comes after more than half of the time each.
func TestEachRefusedBodyHasItsTime(t *testing.T) {
	t.Parallel()
	b := start(t, func(o *Options) { o.ReadTimeout = 0 }) // the default
	c := dial(t, b.addr)
	send := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	const end = "0\r\n\r\n"
	head := "POST /nothing HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	send(head)
	time.Sleep(drainTime * 55 / 100)
	send(end + head)
	time.Sleep(drainTime * 70 / 100)
	send(end)
	replies := bufio.NewReader(c)
	for i := range 2 {
		reply, err := http.ReadResponse(replies, nil)
		if err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, reply.Body); err != nil || reply.Close {
			t.Fatalf("reply %d: %v, the connection is closed: %v", i, err, reply.Close)
		}
	}
}

func TestMoments(t *testing.T) {
	f := func(raw string, want int64, ok bool) {
		t.Helper()
		if got, gotOK := parseMoment(raw); got != want || gotOK != ok {
			t.Errorf("%s: %d %v, want %d %v", raw, got, gotOK, want, ok)
		}
	}
	const ms = 1772625600123
	f(`"2026-03-04T12:00:00.123Z"`, ms, true)
	f(`"2026-03-04T12:00:00.123456789Z"`, ms, true)
	f(`"2026-03-04T12:00:00.1Z"`, ms-23, true)
	f(`"2026-03-04t13:00:00.123+01:00"`, ms, true)
	f(`"2026-03-04T13:00:00.123+0100"`, ms, true)
	f(`"2026-03-04 12:00:00.123"`, ms, true)
	f(`"2026-03-04T12:00"`, ms-123, true)
	f(`"2026-03-04"`, ms-123-12*3600e3, true)
	f(`1772625600`, ms-123, true)
	f(`1772625600.123`, ms, true)
	f(`1772625600123`, ms, true)
	f(`1772625600123456`, ms, true)
	f(`"1772625600123"`, ms, true)
	f(`"1772625600.123"`, ms, true)
	f(`-1`, -1000, true)
	f(`0`, 0, true)
	f(`""`, 0, true)
	f(`null`, 0, true)
	f(`"0001-01-01T00:00:00Z"`, 0, true)
	f(`"soon"`, 0, false)
	f(`true`, 0, false)
	f(`{}`, 0, false)
	f(`1e999`, 0, false)
	f(`1e18`, 0, false)
	f(`"2026-13-04T12:00:00Z"`, 0, false)
	f(`"`+strings.Repeat("2", 64)+`"`, 0, false)
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{`"2026-03-04T12:00:00Z"`, `1e9`, `"-0"`, `null`, `"9999-12-31T23:59:59.999999999-12:00"`, `"\u0032"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !jsontext.Value(raw).IsValid() || strings.TrimSpace(raw) != raw {
			return
		}
		ms, ok := parseMoment(raw)
		if !ok && ms != 0 || ms > 253402387200000 || ms < -1e14 {
			t.Fatalf("%d %v", ms, ok)
		}
	})
}

func TestBrands(t *testing.T) {
	f := func(header, want string) {
		t.Helper()
		if got := fmt.Sprint(parseBrands(header)); got != want {
			t.Errorf("%s: %s, want %s", header, got, want)
		}
	}
	f(`"Chromium";v="124", "Google Chrome";v="124.0.1", "Not)A;Brand";v="99"`, "[{Chromium 124} {Google Chrome 124.0.1} {Not)A;Brand 99}]")
	f(`"\"x\\";v="1"`, `[{"x\ 1}]`)
	f(`"A";x="2";v="1"`, "[{A 1}]")
	f(`"A"`, "[{A }]")
	f(`"A";v=1, "B"`, "[{A }]")
	f(`A`, "[]")
	f(strings.Repeat(`"A";v="1",`, 100), "["+strings.Repeat("{A 1} ", 15)+"{A 1}]")
}

func FuzzHints(f *testing.F) {
	f.Add(`"Chromium";v="124"`)
	f.Add(`{"brands":[{"brand":"a","version":1},5],"mobile":"yes","touch_points":-1}`)
	f.Add(`"a\`)
	f.Fuzz(func(t *testing.T, s string) {
		var h spoor.Hints
		h.Brands = parseBrands(s)
		if jsontext.Value(s).IsValid() && strings.TrimSpace(s) == s {
			readHints(&h, s)
		}
		if len(h.Brands) > brandsMax || h.TouchPoints < 0 || h.TouchPoints > touchPointsMax {
			t.Fatalf("%+v", h)
		}
		for _, b := range h.Brands {
			if len(b.Name) > hintBytesMax || len(b.Version) > hintBytesMax {
				t.Fatalf("%+v", b)
			}
		}
		var head fasthttp.RequestHeader
		head.Set("Sec-CH-UA", s)
		headerHints(&head)
	})
}

func TestKeys(t *testing.T) {
	f := func(want string, headers ...string) {
		t.Helper()
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI("/hit?other=1&WRITEKEY=query")
		for i := 0; i < len(headers); i += 2 {
			ctx.Request.Header.Set(headers[i], headers[i+1])
		}
		if got := headKey(&ctx); got != want {
			t.Errorf("%v: %q, want %q", headers, got, want)
		}
	}
	f("query")
	f("k1", "Authorization", basic("k1:"))
	f("k1", "Authorization", basic("k1"))
	f("k1", "Authorization", basic("k1:secret"))
	f("k1", "authorization", "bearer k1")
	f("k1", "X-Write-Key", "k1:")
	f("query", "Authorization", "Basic !!!")
	f("k1", "Authorization", "Token k1") // of mobile SDKs
	f("query", "Authorization", "Digest x")
	f("query", "X-Write-Key", strings.Repeat("x", 600))
}

// Clients of net/http and ours agree on keep-alive: two requests, one connection.
func TestKeepAlive(t *testing.T) {
	b := start(t)
	client := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for range 5 {
		res, err := client.Post(b.url+"/hit?k=wrong", "text/plain", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	if n := b.Stats().Connections; n != 1 {
		t.Errorf("%d connections", n)
	}
}
