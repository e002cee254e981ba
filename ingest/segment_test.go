package ingest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/spoorhq/spoor"
)

func gzipped(parts ...string) string {
	var b bytes.Buffer
	for _, p := range parts {
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(p))
		_ = z.Close()
	}
	return b.String()
}

func basic(key string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(key)) }

// As @segment/analytics-node sends it.
const nodeBatch = `{"batch":[{"timestamp":"2026-03-04T11:00:00.000Z","integrations":{},"event":"E","type":"track","properties":{"p":1},` +
	`"context":{"library":{"name":"@segment/analytics-node","version":"3.1.0"},"ip":"203.0.113.7","userAgent":"Mozilla/5.0 (iPhone)"},` +
	`"anonymousId":"a1","messageId":"node-next-1","_metadata":{"nodeVersion":"v20.20.2","jsRuntime":"node"}},` +
	`{"type":"identify","userId":"u1","anonymousId":"a1","traits":{"email":"a@b.c","firstName":"Ada"},"messageId":"node-next-2"}],` +
	`"writeKey":"k1","sentAt":"2026-03-04T11:00:05.000Z"}`

func TestSegmentNode(t *testing.T) {
	b := start(t)
	const agent = "analytics-node-next/latest"
	b.send(t, "POST", "/v1/batch", nodeBatch, "User-Agent", agent, "Content-Type", "application/json").
		ok(t, `{"success":true,"results":[{"status":"stored","id":"node-next-1"},{"status":"stored","id":"node-next-2"}]}`)
	b.send(t, "POST", "/v1/b/", nodeBatch, "User-Agent", agent).ok(t, `[{"status":"duplicate","id":"node-next-1"},{"status":"duplicate"`)
	b.send(t, "POST", "/v1/batch", strings.NewReplacer("k1", "k2", "next-1", "next-3", "next-2", "next-4").Replace(nodeBatch), "User-Agent", agent).ok(t)
	hits := b.sink.all()
	h := hits[0]
	if h.Kind != spoor.KindServerEvent || h.Name != "E" || h.Key != "a1" || string(h.Properties) != `{"p":1}` || h.Time != noon.UnixMilli()-5000 {
		t.Errorf("%+v", h)
	}
	if h.IP.IsValid() || h.UserAgent != "" {
		t.Errorf("a server's address and agent were taken: %v %q", h.IP, h.UserAgent)
	}
	h = hits[1]
	if h.Kind != spoor.KindIdentify || h.UserID != "u1" || h.IP.IsValid() || fmt.Sprint(h.Attributes) != "[{email string a@b.c none 0} {first_name string Ada none 0}]" {
		t.Errorf("%+v", h)
	}
	if h = hits[2]; h.IP.String() != "203.0.113.7" || h.UserAgent != "Mozilla/5.0 (iPhone)" {
		t.Errorf("a trusted server was not believed: %v %q", h.IP, h.UserAgent)
	}
}

func TestSegmentBrowser(t *testing.T) {
	b := start(t)
	b.send(t, "POST", "/v1/p", `{"type":"page","name":"Home","anonymousId":"a1","userId":null,"messageId":"m1","writeKey":"masked","timestamp":"2026-03-04T12:00:01.000Z","sentAt":"2026-03-04T12:00:02.000Z",
		"properties":{"url":"https://shop.example/a#top","title":"T","referrer":"https://r.example/?email=a@b.c","path":"/a","search":"?x","plan" : "pro", "deep":{"url":"kept"}},
		"context":{"page":{"url":"https://other.example/"},"locale":"pl-PL","timezone":"Europe/Warsaw","screen":{"width":390,"height":844.5},"campaign":{"source":"nl","name":"c 1"},
		"userAgent":"Mozilla/5.0 other","userAgentData":{"mobile":true,"platform":"Android","brands":[{"brand":"Chrome","version":"124"}]},"device":{"id":5},"ip":"203.0.113.7"}}`,
		"Authorization", basic("k1:"), "Content-Type", "text/plain").ok(t, `{"success":true,"status":"stored","id":"m1"}`)
	h := b.sink.all()[0]
	if h.Kind != spoor.KindPage || h.Name != "Home" || h.Key != "a1" || h.UserID != "" || h.Time != noon.UnixMilli()-1000 ||
		h.URL != "https://shop.example/a?utm_source=nl&utm_campaign=c+1#top" || h.Title != "T" || h.Referrer != "https://r.example/?email=a@b.c" ||
		string(h.Properties) != `{"plan":"pro","deep":{"url":"kept"}}` || h.Language != "pl-PL" || h.TimeZone != "Europe/Warsaw" || h.Resolution != "390x844" {
		t.Errorf("%+v %s", h, h.Properties)
	}
	if h.IP.String() != "127.0.0.1" || h.UserAgent != "Mozilla/5.0 (X11; Linux x86_64)" || h.Hints.Platform != "Android" || h.Hints.Mobile != spoor.ChoiceGranted {
		t.Errorf("%v %q %+v", h.IP, h.UserAgent, h.Hints)
	}
}

func TestSegmentTime(t *testing.T) {
	const base = 1772625600000 // noon
	f := func(fields string, want int64) {
		t.Helper()
		var h spoor.Hit
		rq := &request{app: testApps()[0], now: base}
		if fl := decodeSegment(rq, `{"event":"e"`+fields+`}`, &h, spoor.KindEvent); fl.reason != "" || h.Time != want {
			t.Errorf("%s: %d (%+d) %v", fields, h.Time, h.Time-want, fl)
		}
	}
	f(``, 0)
	f(`,"timestamp":"2026-03-04T10:00:00Z"`, base-7200e3)
	f(`,"timestamp":"2026-03-04T10:00:00Z","sentAt":"2026-03-04T10:00:01Z"`, base-1000)
	f(`,"originalTimestamp":"2026-03-04T10:00:00Z","sentAt":"2026-03-04T10:00:01Z"`, base-1000)
	f(`,"originalTimestamp":"2026-03-04T10:00:00Z","timestamp":"2026-03-04T10:00:00Z","sentAt":"2026-03-04T10:00:01Z"`, base-1000)
	f(`,"originalTimestamp":"2026-03-04T10:00:00Z","timestamp":"2020-01-01T00:00:00Z","sentAt":"2026-03-04T10:00:01Z"`, 1577836800000)
	f(`,"originalTimestamp":"0001-01-01T00:00:00Z","timestamp":null,"sentAt":"2026-03-04T10:00:01Z"`, 0)
	f(`,"timestamp":"1970-01-01T00:00:01Z"`, 1000)
	f(`,"timestamp":"1970-01-01T00:00:00Z"`, 1)
	f(`,"timestamp":"2106-02-07T06:28:16Z"`, 4294967296000)
}

func TestSegmentKinds(t *testing.T) {
	b := start(t)
	f := func(path, body string, kind spoor.Kind, name string) {
		t.Helper()
		b.send(t, "POST", path, body, "X-Write-Key", "k1").ok(t, `"success":true`)
		hits := b.sink.all()
		if h := hits[len(hits)-1]; h.Kind != kind || h.Name != name {
			t.Errorf("%s %s: %v %q", path, body, h.Kind, h.Name)
		}
	}
	f("/v1/track", `{"event":"e"}`, spoor.KindEvent, "e")
	f("/v1/t/", `{"event":"e"}`, spoor.KindEvent, "e")
	f("/v1/screen", `{"name":"s"}`, spoor.KindScreen, "s")
	f("/v1/s", `{"name":"s"}`, spoor.KindScreen, "s")
	f("/v1/i", `{"userId":"u"}`, spoor.KindIdentify, "")
	f("/v1/a", `{"previousId":"x","userId":"u"}`, spoor.KindAlias, "")
	f("/v1/group", `{"groupId":7,"traits":{"name":"Acme"}}`, spoor.KindGroup, "7")
	f("/v1/b", `{"batch":[{"type":"group","groupId":"g"}]}`, spoor.KindGroup, "g")
	f("/v1/batch", `{"type":"track","event":"e"}`, spoor.KindEvent, "e")
	b.send(t, "POST", "/v1/track?writekey=k1", `{"properties":{}}`).refused(t, reasonNoName)
	b.send(t, "POST", "/v1/alias?writeKey=k1", `{"userId":"u"}`).refused(t, spoor.ReasonNobody)
	b.send(t, "POST", "/v1/batch", `{"batch":[{"type":"brew"}]}`, "Authorization", "Bearer k1").refused(t, reasonType)
	b.send(t, "POST", "/v1/batch", `{"writeKey":"k1","batch":[{"type":"page"}]}`, "X-Write-Key", "wrong").refused(t, reasonUnknownKey)
}

// A batch's context is the default of its events'.
func TestSegmentBatchContext(t *testing.T) {
	b := start(t)
	b.send(t, "POST", "/v1/batch?writeKey=k1", `{"context":{"locale":"de","timezone":"Europe/Berlin","page":{"url":"https://a.example/","title":"A"}},
		"batch":[{"type":"track","event":"1"},{"type":"track","event":"2","context":{"locale":"fr","page":{"url":"https://b.example/"}}},{"type":"track","event":"3"}]}`).ok(t)
	var got []string
	for _, h := range b.sink.all() {
		got = append(got, h.Language+" "+h.TimeZone+" "+h.URL+" "+h.Title)
	}
	want := []string{"de Europe/Berlin https://a.example/ A", "fr Europe/Berlin https://b.example/ ", "de Europe/Berlin https://a.example/ A"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
}

func TestSegmentOneBadOfHundred(t *testing.T) {
	b := start(t)
	events := make([]string, 100)
	for i := range events {
		events[i] = fmt.Sprintf(`{"type":"track","event":"e","messageId":"m%d"}`, i)
	}
	events[41] = `{"type":"track","messageId":"m41","event":{}}`
	a := b.send(t, "POST", "/v1/batch?writeKey=k1", `{"batch":[`+strings.Join(events, ",")+`]}`)
	a.ok(t, `{"status":"refused","reason":"bad_value","field":"event","id":"m41"}`)
	if n := strings.Count(a.body, `"stored"`); n != 99 || len(b.sink.all()) != 99 {
		t.Errorf("%d stored", n)
	}
}

func TestGzip(t *testing.T) {
	b := start(t)
	f := func(body, encoding string) answer {
		t.Helper()
		return b.send(t, "POST", "/v1/batch?writeKey=k1", body, "Content-Encoding", encoding, "Content-Type", "application/x-www-form-urlencoded")
	}
	whole := gzipped(`{"batch":[{"type":"page"}]}`)
	f(whole, "gzip").ok(t, "stored")
	f(whole, "").ok(t, "stored")
	f(whole, "GZIP").ok(t, "stored")
	f(gzipped(`{"batch":[`, `{"type":"page"}]}`), "gzip").ok(t, "stored")
	f(whole+"\x00\x00trailing", "gzip").ok(t, "stored")
	f(`{"batch":[{"type":"page"}]}`, "gzip").ok(t, "stored") // the header lied
	f(whole[:len(whole)-3], "gzip").refused(t, reasonGzip)
	f(whole[:5], "gzip").refused(t, reasonGzip)
	f(whole+"\x1f\x8bx", "gzip").refused(t, reasonGzip)
	f(gzipped(whole), "gzip").refused(t, reasonJSON)
	f(gzipped(""), "gzip").refused(t, reasonEmptyBody)
	f(whole, "deflate").refused(t, reasonEncoding)
	f(whole, "zstd").refused(t, reasonEncoding)
	f(gzipped(strings.Repeat("\x00", 10<<20)), "gzip").refused(t, reasonInflatedBytes)
}

func FuzzSegment(f *testing.F) {
	for _, seed := range []string{segmentTrack, nodeBatch, `{"context":{"page":[]},"batch":[{"type":"page","properties":{"url":{}, "search":1}}]}`, `{"type":"page","context":{"campaign":{"source":"\u00e9"},"page":{"url":"a#b"}}}`, `{"type":"identify","traits":{"a":1e400,"b":{ "c" : [ ] }}}`} {
		f.Add([]byte(seed))
	}
	s, err := New(Options{Sink: yesSink{}, Apps: testApps()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		checkHits(t, decodeAll(s, body, spoor.DoorSegment, func(rq *request, raw string, h *spoor.Hit) flaw {
			return decodeSegment(rq, raw, h, spoor.KindNone)
		}))
	})
}

// Inflating never yields more than the limit, and books what it gives back.
func FuzzInflate(f *testing.F) {
	f.Add([]byte(gzipped("a")))
	f.Add([]byte(gzipped("a", "b") + "x"))
	f.Add([]byte(gzipped(strings.Repeat("a", 100_000))))
	f.Add([]byte("\x1f\x8b"))
	s, err := New(Options{Sink: yesSink{}, Apps: testApps(), BodyBytesMax: 1 << 10, InflatedBytesMax: 64 << 10, InFlightBytesMax: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		rq := new(request)
		out, _ := s.inflate(rq, packed)
		if len(out) > 64<<10 || cap(rq.plain.b) > 64<<10+1 {
			t.Fatalf("%d bytes", len(out))
		}
		s.release(&rq.plain)
		if n := s.counters.inFlight.Load(); n != 0 {
			t.Fatalf("%d bytes booked", n)
		}
	})
}
