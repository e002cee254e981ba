package ingest

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

func TestNativeFields(t *testing.T) {
	b := start(t)
	b.send(t, "POST", "/hit", `{"write_key":"k1", "nonsense":{"a":[1]}, "user_id": 42, "former_id":null,
		"traits":{"email":"a@b.c","phone":"+48 1","age":7,"address":{"city":"Łódź","street":"x"},"vip":true,"nothing":null,"gender":"female","score":"x"},
		`+nativeEvent[1:], "Sec-CH-UA", `"Chromium";v="124", "Not-A.Brand";v="99"`, "Sec-CH-UA-Mobile", "?1").
		ok(t, `"status":"stored"`, `"id":"01JM3Q9V7Y5T2N8K4W6X0Z1A2B"`)
	want := spoor.Hit{
		App: 1, Kind: spoor.KindEvent, Door: spoor.DoorNative, ID: "01JM3Q9V7Y5T2N8K4W6X0Z1A2B",
		Key: "j3WiRFnxpPqP", UserID: "42", Name: "Added to cart",
		URL: "https://shop.example/shoes/42?utm_source=nl&utm_campaign=spring", Referrer: "https://www.google.com/",
		Title: "Red shoes | Shop", Time: noon.UnixMilli() - 878, Received: noon.UnixMilli(),
		Resolution: "1440x900", Language: "pl-PL", TimeZone: "Europe/Warsaw",
		Properties: []byte(`{"price":129.9,"currency":"PLN","sku":"RS-42","tags":["red","sale"]}`),
		Attributes: []spoor.Attribute{
			{Name: "email", Type: spoor.TypeString, Text: "a@b.c"}, {Name: "phone_number", Type: spoor.TypeString, Text: "+48 1"},
			{Name: "age", Type: spoor.TypeInt, Text: "7"}, {Name: "city", Type: spoor.TypeString, Text: "Łódź"},
			{Name: "address", Type: spoor.TypeJSON, Text: `{"city":"Łódź","street":"x"}`},
			{Name: "vip", Type: spoor.TypeBool, Text: "true"}, {Name: "gender", Type: spoor.TypeInt, Text: "3"},
		},
		Consent: spoor.NewConsent(spoor.ChoiceGranted, spoor.ChoiceDenied, spoor.ChoiceUnknown),
		Hints: spoor.Hints{
			Brands: []spoor.Brand{{Name: "Chromium", Version: "124"}, {Name: "Not-A.Brand", Version: "99"}},
			Mobile: spoor.ChoiceDenied, Platform: "Windows", PlatformVersion: "15.0.0",
		},
		IP: netip.MustParseAddr("127.0.0.1"), UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", Outcome: spoor.Stored,
	}
	if got := b.sink.all(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n := b.Stats().ValuesUnread; n != 1 {
		t.Errorf("%d values unread, want the score", n)
	}
	b.send(t, "POST", "/hit/?k=k1", nativeEvent, "Content-Type", "text/plain").ok(t, `"status":"duplicate"`)
}

func TestNativeShapes(t *testing.T) {
	b := start(t)
	f := func(path, body string, hits int, parts ...string) {
		t.Helper()
		before := len(b.sink.all())
		b.send(t, "POST", path, body).ok(t, parts...)
		if got := len(b.sink.all()) - before; got != hits {
			t.Fatalf("%s: %d hits stored, want %d", body, got, hits)
		}
	}
	f("/hit?k=k1", `{}`, 1, `{"success":true,"status":"stored"}`)
	f("/hit?writekey=k1", ` [ {} , {} ] `, 2, `"results":[{"status":"stored"},{"status":"stored"}]`)
	f("/hit?write_key=k1", "{}\n{\n\n{}\r\n", 2, `{"status":"stored"},{"status":"refused","reason":"invalid_json"},{"status":"stored"}`)
	f("/hit?k=k1", "{\n \"name\" :\n \"x\" }\n", 1)
	f("/hit?k=k1", "\xef\xbb\xbf{}", 1)
	f("/hit", `{"batch":[{},{}],"write_key":"k1"}`, 2)
	f("/hit", `{"b\u0061tch":[{}],"writ\u0065_key":"k1"}`, 1)
	f("/hit", `[{"write_key":"k1"},{},{"write_key":"k1b"},{"write_key":"k1"}]`, 3, `"reason":"other_write_key","field":"write_key"`)
	f("/hit?k=k1", `{"write_key":"masked:***"}`, 1) // a key outside wins

	// One bad event of several is refused alone.
	f("/hit?k=k1", `[{},{"name":[]},{},{"time":"soon"},5,{"a":1,"a":2},{"x":"\ud800"},{"x":"`+"\xff"+`"},{"x":"\u0000"},{"n":NaN},{"n":01}]`, 2,
		`"reason":"bad_value","field":"name"`, `"reason":"bad_time","field":"time"`, `{"status":"refused","reason":"bad_value"}`, `"reason":"invalid_json"`)
	f("/hit?k=k1", `[{},{"id":"`+strings.Repeat("i", 513)+`"},{"type":"event"},{"type":"brew"},{"type":"event","name":"`+strings.Repeat("n", 257)+`"},{"consent":"perhaps"},{"type":"alias","user_id":"a"}]`, 1,
		"id_too_long", "name_missing", "unknown_type", "name_too_long", `"field":"consent"`, "no_identity")
	f("/hit?k=k1", `[{"properties":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`},{},{"title":"`+strings.Repeat("t", 33<<10)+`"}]`, 1, "too_deep", "event_too_large")
}

func TestNativeRefusals(t *testing.T) {
	b := start(t)
	f := func(path, body string, reason spoor.Reason, headers ...string) {
		t.Helper()
		b.send(t, "POST", path, body, headers...).refused(t, reason)
	}
	f("/hit", `{}`, reasonNoKey)
	f("/hit?k=wrong", `{}`, reasonUnknownKey)
	f("/hit?k=k4", `{}`, spoor.ReasonClosed)
	f("/hit?k=k1", ``, reasonEmptyBody)
	f("/hit?k=k1", ` `, reasonEmptyBody)
	f("/hit?k=k1", `[]`, reasonEmptyBatch)
	f("/hit?k=k1", `{"batch":[]}`, reasonEmptyBatch)
	f("/hit?k=k1", `"text"`, reasonJSON)
	f("/hit?k=k1", `[{},{}`, reasonJSON)
	f("/hit?k=k1", `[{},]`, reasonJSON)
	f("/hit?k=k1", `[{}}`, reasonJSON)
	f("/hit?k=k1", `[{}] x`, reasonJSON)
	f("/hit?k=k1", `{"batch":[{}],"batch":[{}]}`, reasonJSON)
	f("/hit?k=k1", strings.Repeat("[", 1<<20), reasonJSON)
	f("/hit?k=k1", strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000), reasonDepth)
	f("/hit?k=k1", "["+strings.Repeat("{},", 1000)+"{}]", reasonEvents)
	f("/hit?k=k1", strings.Repeat("{}\n", 1001), reasonEvents)
	f("/hit?k=k1", `{"title":"`+strings.Repeat("t", 33<<10)+`"}`, reasonEventBytes)
	f("/hit", `{"write_key":"k1","title":"`+strings.Repeat("t", 33<<10)+`"}`, reasonEventBytes)
	f("/hit?k=k1", strings.Repeat("x", 1<<20+1), reasonBodyBytes)
	f("/hit?k=k1", `{}`, reasonEncoding, "Content-Encoding", "br")
	f("/hit?k=k1", `--x`, reasonMultipart, "Content-Type", "multipart/form-data; boundary=x")
	f("/hit?k=k1", `{"name":{}}`, reasonValue)
	f("/none", `{}`, reasonNotFound)
	a := b.send(t, "GET", "/hit", "")
	a.refused(t, reasonMethod)
	if a.head.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("Allow: %q", a.head.Get("Allow"))
	}
	if b.sink.calls != 0 {
		t.Errorf("the sink was asked %d times", b.sink.calls)
	}
}

func TestJunkIDs(t *testing.T) {
	b := start(t)
	list := []string{"null", "undefined", "0", "[object Object]", "NaN", "none", "nil", "anonymous", "guest", "-1", "true", "false", "00000000-0000-0000-0000-000000000000"}
	for _, id := range list {
		b.send(t, "POST", "/hit?k=k1", `{"key":"`+id+`","user_id":" `+strings.ToUpper(id)+` ","id":"`+id+`"}`).ok(t, "stored")
	}
	for _, h := range b.sink.all() {
		if h.Key != "" || h.UserID != "" || h.ID != "" {
			t.Errorf("%q %q %q", h.Key, h.UserID, h.ID)
		}
	}
	if n := b.Stats().JunkIDs; n != uint64(3*len(list)) {
		t.Errorf("%d counted", n)
	}
	for _, id := range []string{"1", "007", "annul", "o", "a0"} {
		if junk(id) {
			t.Errorf("%q is an id", id)
		}
	}
	if kelvin := "un\u212anown"; !junk(kelvin) { // a k to strings.ToLower
		t.Errorf("%q is no id", kelvin)
	}
}

func TestDigest(t *testing.T) {
	b := start(t)
	const timed = `{"name":"x","time":1772625600}`
	b.send(t, "POST", "/hit?k=k1", timed).ok(t, "stored")
	b.send(t, "POST", "/hit?k=k1", timed).ok(t, "duplicate")
	b.send(t, "POST", "/hit?k=k2", timed).ok(t, "stored") // another app
	b.send(t, "POST", "/hit?k=k1", `{"name":"x"}`).ok(t, "stored")
	b.send(t, "POST", "/hit?k=k1", `{"name":"x"}`).ok(t, "stored") // no time of its own: it may have happened twice
}

func TestTextsAreCut(t *testing.T) {
	b := start(t)
	b.send(t, "POST", "/hit?k=k1", `{"url":"`+strings.Repeat("ł", 5000)+`","title":"`+strings.Repeat("t", 2000)+`","language":"`+strings.Repeat("l", 65)+`"}`).ok(t)
	h := b.sink.all()[0]
	if len(h.URL) != urlBytesMax || !utf8.ValidString(h.URL) || len(h.Title) != titleBytesMax || h.Language != "" {
		t.Errorf("%d %d %q", len(h.URL), len(h.Title), h.Language)
	}
	if n := b.Stats().TextsCut; n != 3 {
		t.Errorf("%d cut", n)
	}
}

func TestTrustSender(t *testing.T) {
	b := start(t)
	const body = `{"ip":"203.0.113.7","user_agent":"Theirs"}`
	b.send(t, "POST", "/hit?k=k1", body).ok(t)
	b.send(t, "POST", "/hit?k=k2", body).ok(t)
	hits := b.sink.all()
	if hits[0].IP.String() != "127.0.0.1" || hits[0].UserAgent == "Theirs" {
		t.Errorf("an untrusted sender was believed: %v %q", hits[0].IP, hits[0].UserAgent)
	}
	if hits[1].IP.String() != "203.0.113.7" || hits[1].UserAgent != "Theirs" {
		t.Errorf("a trusted sender was not: %v %q", hits[1].IP, hits[1].UserAgent)
	}
	b.send(t, "POST", "/hit", `{"write_key":"k2","type":"server_event","name":"paid","user_id":"u"}`).ok(t)
	b.send(t, "POST", "/hit", `{"write_key":"k2","type":"server_event","name":"paid","user_id":"u","ip":"203.0.113.9","user_agent":"Mozilla/5.0 (iPad)"}`).ok(t)
	hits = b.sink.all()[2:]
	if hits[0].IP.IsValid() || hits[0].UserAgent != "" {
		t.Errorf("a server's own address and agent were taken: %v %q", hits[0].IP, hits[0].UserAgent)
	}
	if hits[1].IP.String() != "203.0.113.9" || hits[1].UserAgent != "Mozilla/5.0 (iPad)" {
		t.Errorf("what a server said of the person was not: %v %q", hits[1].IP, hits[1].UserAgent)
	}
}

// Reuse of requests must not carry anything from one hit into another.
func TestReuse(t *testing.T) {
	b := start(t)
	for range 20 {
		b.send(t, "POST", "/hit?k=k2", `{"batch":[{"key":"a","ip":"203.0.113.7","properties":{"a":1}}],"sent_at":"2020-01-01T00:00:00Z"}`).ok(t)
		b.send(t, "POST", "/hit?k=k1", `{}`).ok(t)
	}
	for i, h := range b.sink.all() {
		if i%2 == 1 && (h.Key != "" || h.Properties != nil || h.App != 1 || h.IP.String() != "127.0.0.1" || h.Time != 0) {
			t.Fatalf("%+v", h)
		}
	}
}

// decodeAll runs a body through everything but the network.
func decodeAll(s *Server, body []byte, door spoor.Door, decode decoder) *request {
	rq := &request{ctx: new(fasthttp.RequestCtx), app: testApps()[1], now: noon.UnixMilli(), agent: "Mozilla/5.0"}
	if len(body) == 0 || s.open(rq, body) != "" {
		return nil
	}
	if door == spoor.DoorSegment && rq.context != "" {
		rq.base.decode(rq, rq.context)
	}
	for _, p := range rq.pieces {
		s.decodePiece(rq, p, door, decode)
	}
	return rq
}

// checkHits checks what every decoder promises.
func checkHits(t *testing.T, rq *request) {
	t.Helper()
	if rq == nil {
		return
	}
	if len(rq.results) != len(rq.pieces) {
		t.Fatalf("%d results of %d events", len(rq.results), len(rq.pieces))
	}
	for _, r := range rq.results {
		if (r.outcome == spoor.Refused) != (r.flaw.reason != "") || (r.hit < 0) != (r.outcome == spoor.Refused) {
			t.Fatalf("%+v", r)
		}
		if r.flaw.reason != "" && refusals[lookup(r.flaw.reason)].reason != r.flaw.reason {
			t.Fatalf("%s is not in the table", r.flaw.reason)
		}
	}
	for i := range rq.hits {
		h := &rq.hits[i]
		for _, text := range []string{h.ID, h.Key, h.UserID, h.FormerID, h.Name, h.URL, h.Referrer, h.Title, h.Resolution, h.Language, h.TimeZone, h.UserAgent, h.Hints.Platform, h.Hints.Model} {
			if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 || len(text) > urlBytesMax {
				t.Fatalf("%q", text)
			}
		}
		if h.Properties != nil && (!jsontext.Value(h.Properties).IsValid() || h.Properties[0] != '{') {
			t.Fatalf("properties %q", h.Properties)
		}
		for _, a := range h.Attributes {
			if a.Name == "" || a.Type == spoor.TypeNull || a.Type == spoor.TypeJSON && !jsontext.Value(a.Text).IsValid() {
				t.Fatalf("%+v", a)
			}
		}
		if h.Kind == spoor.KindNone || len(h.ID) > idBytesMax || len(h.Key) > idBytesMax || len(h.UserID) > idBytesMax {
			t.Fatalf("%+v", h)
		}
	}
}

// Goal: a write key in the body of a hit costs no allocation: it is a part of
// the copy that the hit's texts are parts of.
// Method: the same event with and without it.
func TestNativeKeyAllocations(t *testing.T) {
	s, err := New(Options{Sink: yesSink{}, Apps: testApps()})
	if err != nil {
		t.Fatal(err)
	}
	rq, ctx, app := new(request), new(fasthttp.RequestCtx), testApps()[1]
	allocations := func(body, key string) float64 {
		raw := []byte(body)
		least := math.Inf(1)
		for range 50 { // with -race, pools drop what they hold at random
			least = min(least, testing.AllocsPerRun(1, func() {
				rq.reset()
				rq.ctx, rq.app = ctx, app
				if reason := s.open(rq, raw); reason != "" || rq.envelope.key != key {
					t.Fatalf("%q, key %q", reason, rq.envelope.key)
				}
				s.decodePiece(rq, rq.pieces[0], spoor.DoorNative, decodeNative)
			}))
		}
		return least
	}
	if with, without := allocations(`{"write_key":"k1",`+nativeEvent[1:], "k1"), allocations(nativeEvent, ""); with != without {
		t.Errorf("%v allocations with a key, %v without", with, without)
	}
}

func FuzzNative(f *testing.F) {
	for _, seed := range []string{nativeEvent, `[{},{"a":1}]`, "{}\n{]\n{}", `{"batch":[{"id":1}],"sent_at":1}`, `{"hints":{"brands":[{"brand":"a"}]}}`, `[`, `{"a":"\ud800"}`, `{"__proto__":1e999}`, `{"time":1e999}`, `{"time":"9999-12-31T23:59:59Z"}`, `{"batch":{}}`, `{"":0}`} {
		f.Add([]byte(seed))
	}
	s, err := New(Options{Sink: yesSink{}, Apps: testApps()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		checkHits(t, decodeAll(s, body, spoor.DoorNative, decodeNative))
	})
}
