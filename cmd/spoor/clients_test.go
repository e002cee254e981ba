package main_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const clientsFolder = "../../testdata/clients"

// needClients fails where the clients must be there, as in make test.
func needClients(t *testing.T) {
	t.Helper()
	_, noNode := exec.LookPath("node")
	_, noModules := os.Stat(filepath.Join(clientsFolder, "node_modules", "@segment"))
	if noNode == nil && noModules == nil {
		return
	}
	const hint = "the published clients are not installed: run make test, or npm ci --ignore-scripts in testdata/clients"
	if os.Getenv("SPOOR_REQUIRE_CLIENTS") != "" {
		t.Fatal(hint)
	}
	t.Skip(hint)
}

// call is one call that an application makes on a client library.
type call struct {
	Kind string `json:"kind"`
	Args object `json:"args"`
	want object // fields of the exported hit, but for times
	who  int
}

const people = 40

// place and device of what the calls say about the visitor.
var surroundings = []struct {
	context object
	want    object
}{
	{
		object{"ip": "203.0.113.7", "locale": "pl-PL", "timezone": "Europe/Warsaw",
			"userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"},
		object{"ip": "203.0.113.0", "city": "Warsaw", "region": "Mazovia", "country": "PL", "language": "pl-PL", "timezone": "Europe/Warsaw",
			"os": "iOS", "device": "mobile", "browser": "Safari", "os_version": "18.5", "browser_version": "18.5"},
	},
	{
		object{"ip": "198.51.100.77", "locale": "en-IN", "timezone": "Asia/Kolkata", "screen": object{"width": 1440, "height": 900},
			"userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		object{"ip": "198.51.100.0", "city": "Kolkata", "region": "West Bengal", "country": "IN", "language": "en-IN", "timezone": "Asia/Kolkata",
			"os": "Linux", "device": "desktop", "browser": "Firefox", "browser_version": "140", "resolution": "1440x900"},
	},
	{
		object{"ip": "2001:db8:1:2::3", "locale": "en-US", "timezone": "America/New_York",
			"userAgent": "Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1"},
		object{"ip": "2001:db8:1::", "city": "New York", "region": "New York", "country": "US", "language": "en-US", "timezone": "America/New_York",
			"device": "tablet", "browser": "Safari", "browser_version": "17.4"},
	},
}

// makeCalls is a day of 40 people: they come unknown, say who they are, come
// on a second device, and do everything that the clients know. Calls that
// tell of surroundings or set traits have a time of their own, so that which
// came last does not hang on the order of delivery.
func makeCalls(library string, count int) []call {
	base := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	rounds := []string{"track", "page", "identify", "track", "page", "screen", "group", "identify", "track", "page"}
	var calls []call
	for n := range count {
		who, round := n%people, n/people
		c := call{Kind: rounds[round%len(rounds)], who: who, Args: object{}, want: object{"door": "segment"}}
		anonymous, user := fmt.Sprintf("%s-a-%d", library, who), fmt.Sprintf("%s-u-%d", library, who)
		switch {
		case round < 2, round%4 == 1:
			c.Args["anonymousId"] = anonymous
		case round%4 == 2:
			c.Args["anonymousId"], c.Args["userId"] = anonymous, user
		default:
			c.Args["userId"] = user
		}
		switch round { // a second device, which then turns out to be the same person's
		case 10:
			c.Args = object{"anonymousId": anonymous + "-second"}
		case 20:
			c.Kind, c.Args = "alias", object{"previousId": anonymous + "-second", "userId": user}
		}
		if c.Kind == "identify" {
			c.Args["userId"] = user
		}
		c.fill(library, n, round, base)
		calls = append(calls, c)
	}
	return calls
}

func (c *call) fill(library string, n, round int, base time.Time) {
	properties := object{"n": float64(n), "price": 12.5, "tags": []any{"a", "b"}, "nested": object{"ok": true, "none": nil}, "text": "zażółć „gęślą” 😀"}
	page := object{
		"url":      fmt.Sprintf("https://shop.example/p/%d?utm_source=news&session=%d", n, n),
		"referrer": "https://search.example/results?q=private",
		"title":    fmt.Sprintf("Shoes %d", n),
	}
	seen := object{"url": fmt.Sprintf("https://shop.example/p/%d?utm_source=news", n), "referrer": "https://search.example/results", "title": page["title"], "utm_source": "news"}
	set := func(fields object) {
		for k, v := range fields {
			c.want[k] = v
		}
	}
	c.want["type"] = c.Kind
	switch c.Kind {
	case "track":
		c.Args["event"], c.Args["properties"] = fmt.Sprintf("Bought %d", n%7), properties
		set(object{"type": "server_event", "name": c.Args["event"], "properties": properties})
	case "page", "screen":
		c.Args["name"] = fmt.Sprintf("Page %d", n%5)
		kept := object{}
		for k, v := range properties {
			kept[k] = v
		}
		for k, v := range page {
			properties[k] = v
		}
		c.Args["properties"] = properties
		set(object{"name": c.Args["name"], "properties": kept})
		set(seen)
	case "identify":
		c.Args["traits"] = object{"email": fmt.Sprintf("%s%d@shop.example", library, c.who), "firstName": fmt.Sprintf("Ann%d", round), "plan": fmt.Sprintf("plan %d", round), "logins": round, "vip": round > 5}
	case "group":
		c.Args["groupId"], c.Args["traits"] = fmt.Sprintf("company-%d", n%3), object{"name": "Shop", "n": float64(n)}
		set(object{"name": c.Args["groupId"], "properties": c.Args["traits"]})
	}
	if n%2 == 0 || c.Kind == "alias" { // the others get an id from the client
		c.Args["messageId"] = fmt.Sprintf("%s-message-%d", library, n)
		c.want["event_id"] = c.Args["messageId"]
	}
	if n%3 != 0 || c.Kind == "identify" {
		at := base.Add(time.Duration(n) * 30 * time.Second)
		if n%97 == 5 && c.Kind == "track" { // older than the window of seven days
			at = at.AddDate(0, 0, -20)
			c.want["late"] = true
		}
		c.Args["timestamp"] = at.UTC().Format("2006-01-02T15:04:05.000Z")
		around := surroundings[(n+round)%len(surroundings)]
		context := object{}
		for k, v := range around.context {
			context[k] = v
		}
		if c.Kind == "track" {
			context["page"] = page
			set(seen)
		}
		c.Args["context"] = context
		set(around.want)
	}
}

// recorder stands between a client and the server. It keeps what passes, and
// loses the answer to the first request: the server has stored the events, the
// client is told 503.
type recorder struct {
	*httptest.Server
	mu       sync.Mutex
	bodies   []string // as sent
	headers  []http.Header
	sent     map[string]wireEvent
	repeated int // events that came more than once
	statuses map[int]int
}

// wireEvent is what the client put on the wire for one event, the first time.
type wireEvent struct{ timestamp, original, sentAt int64 }

func record(t *testing.T, s *server, loseFirst bool) *recorder {
	r := &recorder{sent: map[string]wireEvent{}, statuses: map[int]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("the client's request broke off: %v", err)
			return
		}
		first := r.keep(t, body, req.Header)
		out, err := http.NewRequest(req.Method, s.collector+req.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		out.Header = req.Header.Clone()
		resp, err := client.Do(out)
		if err != nil {
			t.Errorf("the server did not answer the client: %v", err)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		if bytes.Contains(answer, []byte(`"refused"`)) {
			t.Errorf("the server refused an event of a real client: %.300s", answer)
		}
		r.mu.Lock()
		r.statuses[resp.StatusCode]++
		r.mu.Unlock()
		if first && loseFirst {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		w.Write(answer)
	}))
	t.Cleanup(r.Close)
	return r
}

// keep remembers a request; first reports whether it is the first one.
func (r *recorder) keep(t *testing.T, body []byte, header http.Header) (first bool) {
	plain := body
	if header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			plain, err = io.ReadAll(z)
		}
		if err != nil {
			t.Errorf("the client's gzip: %v", err)
		}
	}
	var wire struct {
		SentAt time.Time
		Batch  []struct {
			MessageID                            string
			Timestamp, OriginalTimestamp, SentAt time.Time
		}
	}
	if err := json.Unmarshal(plain, &wire); err != nil {
		t.Errorf("the client's body: %v", err)
	}
	ms := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.UnixMilli()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range wire.Batch {
		if _, again := r.sent[e.MessageID]; !again {
			r.sent[e.MessageID] = wireEvent{ms(e.Timestamp), ms(e.OriginalTimestamp), cmp.Or(ms(e.SentAt), ms(wire.SentAt))}
		} else {
			r.repeated++
		}
	}
	r.bodies, r.headers = append(r.bodies, string(body)), append(r.headers, header.Clone())
	return len(r.bodies) == 1
}

// happened is when an event happened by the server's clock.
func (e wireEvent) happened(received int64) int64 {
	switch {
	case e.original == 0:
		return received - (e.sentAt - e.timestamp)
	case e.timestamp != 0 && e.timestamp != e.original:
		return e.timestamp
	}
	return received - (e.sentAt - e.original)
}

// runClient makes the calls on the real client.
func runClient(t *testing.T, library, host string, calls []call) {
	t.Helper()
	var lines bytes.Buffer
	for _, c := range calls {
		if err := json.NewEncoder(&lines).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("node", "send.cjs", library, host, "demo")
	cmd.Dir, cmd.Stdin = clientsFolder, &lines
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the %s client: %v\n%s", library, err, out)
	}
}

// Goal: everything that the published clients send is found again, under the
// right person, with place, device and time, once.
// Method: each unmodified client makes 1,000 calls of all kinds at the running
// program; its first request is stored and answered 503, so it repeats it.
// Hits and profiles are read back over HTTP and compared field by field; what
// minimisation does to urls is part of what is expected.
func TestRealClients(t *testing.T) {
	needClients(t)
	for _, library := range []string{"segment", "rudder"} {
		t.Run(library, func(t *testing.T) { testClient(t, library) })
	}
}

func testClient(t *testing.T, library string) {
	s := demo(t)
	began := time.Now().UnixMilli()
	proxy := record(t, s, true)
	calls := makeCalls(library, 1000)
	runClient(t, library, proxy.URL, calls)
	if proxy.statuses[200] != len(proxy.bodies) || proxy.repeated == 0 {
		t.Errorf("%d requests, answered %v, with %d events repeated; want all 200 and some repeated", len(proxy.bodies), proxy.statuses, proxy.repeated)
	}

	hits := s.export()
	if len(hits) != len(calls) {
		t.Errorf("%d hits are stored, %d were sent", len(hits), len(calls))
	}
	byCall := matchHits(t, calls, hits)
	if t.Failed() {
		return // all else would follow from it
	}
	wrong := 0
	for i, c := range calls {
		if h := byCall[i]; h != nil && wrong < 20 && !compareHit(t, i, c, h, proxy.sent, began) {
			wrong++
		}
	}
	for who := range people {
		comparePerson(t, s, library, who, calls, byCall)
	}

	// What was sent is known for ever after: the same bytes again, now and
	// after a restart, store nothing.
	for _, when := range []string{"sent again", "sent again after a restart"} {
		for i, body := range proxy.bodies {
			req, err := http.NewRequest("POST", s.collector+"/v1/batch", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = proxy.headers[i]
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || bytes.Contains(answer, []byte(`"stored"`)) {
				t.Errorf("%s: request %d got %d %.200s", when, i, resp.StatusCode, answer)
			}
		}
		if n := len(s.export()); n != len(calls) {
			t.Errorf("%s: %d hits are stored, %d were sent", when, n, len(calls))
		}
		if when == "sent again" {
			s.stop()
			s = serve(t, s.data, "--demo")
		}
	}
}

// matchHits finds the hit of each call: by its id, or by its number where the
// client chose the id.
func matchHits(t *testing.T, calls []call, hits []object) []object {
	t.Helper()
	byID, byNumber := map[any]object{}, map[any]object{}
	var rest []object // identifies, whose traits are in the profile
	for _, h := range hits {
		byID[h["event_id"]] = h
		if p, ok := h["properties"].(object); ok {
			byNumber[p["n"]] = h
		} else if h["type"] == "identify" {
			rest = append(rest, h)
		}
	}
	found := make([]object, len(calls))
	for i, c := range calls {
		id, given := c.Args["messageId"]
		switch {
		case given:
			found[i] = byID[id]
		case c.Kind == "identify":
			at := c.Args["timestamp"].(string)
			found[i] = nearest(rest, at)
		default:
			found[i] = byNumber[float64(i)]
		}
		if found[i] == nil {
			t.Errorf("call %d, %s, is not stored", i, c.Kind)
		}
	}
	return found
}

// nearest is the hit whose time is closest; calls are 30 seconds apart.
func nearest(hits []object, at string) object {
	want := millis(at)
	return slices.MinFunc(hits, func(a, b object) int {
		return cmp.Compare(abs(millis(a["time"])-want), abs(millis(b["time"])-want))
	})
}

func abs(n int64) int64 { return max(n, -n) }

func millis(text any) int64 {
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(text))
	if err != nil {
		return 0
	}
	return at.UnixMilli()
}

// hitFields are the fields that are compared; a field that is not expected
// must be absent.
var hitFields = []string{"type", "door", "name", "url", "referrer", "title", "ip", "city", "region", "country", "os", "os_version", "device",
	"browser", "browser_version", "language", "timezone", "resolution", "utm_source", "properties", "late", "future", "bot", "key", "user_id"}

func compareHit(t *testing.T, i int, c call, h object, sent map[string]wireEvent, began int64) (same bool) {
	t.Helper()
	same = true
	differ := func(format string, args ...any) {
		t.Helper()
		t.Errorf("call %d, %s: "+format, append([]any{i, c.Kind}, args...)...)
		same = false
	}
	for _, field := range hitFields {
		want, expected := c.want[field]
		if !expected && (field == "os" || field == "os_version") && h["device"] == "tablet" {
			continue // iPadOS or iOS: the tables of user agents differ
		}
		if !expected && field == "os_version" {
			continue // not every user agent tells
		}
		if !reflect.DeepEqual(h[field], want) {
			differ("%s is %v, want %v", field, h[field], want)
		}
	}
	id, _ := h["event_id"].(string)
	if want, given := c.want["event_id"]; given && id != want {
		differ("id %s, want %s", id, want)
	}
	wire, known := sent[id]
	if !known {
		differ("the id %q was never on the wire", id)
		return same
	}
	received, at := millis(h["received"]), millis(h["time"])
	if now := time.Now().UnixMilli(); received < began || received > now {
		differ("received at %v, not within the test", h["received"])
	}
	if want := min(wire.happened(received), received); abs(at-want) > 1 {
		differ("time %v, want %v", h["time"], time.UnixMilli(want).UTC())
	}
	if explicit, ok := c.Args["timestamp"]; ok && abs(at-millis(explicit)) > 10_000 {
		differ("time %v, the call said %v", h["time"], explicit)
	}
	day := time.UnixMilli(at).UTC().Format(time.DateOnly)
	if c.want["late"] == true {
		day = time.UnixMilli(received).UTC().AddDate(0, 0, -7).Format(time.DateOnly)
	}
	if h["day"] != day {
		differ("filed under %v, want %s", h["day"], day)
	}
	return same
}

// comparePerson reads a profile as a customer's program does, and compares it
// with what all calls of that person add up to.
func comparePerson(t *testing.T, s *server, library string, who int, calls []call, hits []object) {
	t.Helper()
	user, anonymous := fmt.Sprintf("%s-u-%d", library, who), fmt.Sprintf("%s-a-%d", library, who)
	p := s.readObject("/api/public/users-by-id/" + user + "/")
	for _, search := range []string{"user_id=" + user, "key=" + anonymous, "key=" + anonymous + "-second", "email=" + fmt.Sprintf("%s%d@shop.example", library, who)} {
		if other := s.readObject("/api/public/users/search/?" + search); other["id"] != p["id"] {
			t.Errorf("person %d: searched by %s it is %v, want %v", who, search, other["id"], p["id"])
		}
	}
	var own []object
	var lastTraits, lastAround call
	var views float64
	traitsAt, aroundAt, first, last := int64(0), int64(0), int64(0), int64(0)
	for i, c := range calls {
		if c.who != who || hits[i] == nil {
			continue
		}
		own = append(own, hits[i])
		at := millis(hits[i]["time"])
		if c.Kind == "identify" && at > traitsAt {
			lastTraits, traitsAt = c, at
		}
		if c.want["ip"] != nil && at > aroundAt {
			lastAround, aroundAt = c, at
		}
		if c.Kind == "page" || c.Kind == "screen" {
			views++
			last = max(last, at)
			if first == 0 || at < first {
				first = at
			}
		}
	}
	traits := lastTraits.Args["traits"].(object)
	want := object{
		"user_id": user, "email": traits["email"], "first_name": traits["firstName"], "page_views": views,
		"city": lastAround.want["city"], "region": lastAround.want["region"], "country_code": lastAround.want["country"],
		"device": lastAround.want["device"], "browser": lastAround.want["browser"], "last_ip": lastAround.want["ip"],
		"timezone": lastAround.want["timezone"], "browser_language": lastAround.want["language"],
	}
	if os := lastAround.want["os"]; os != nil {
		want["os_type"] = os
	}
	for field, v := range want {
		if !reflect.DeepEqual(p[field], v) {
			t.Errorf("person %d: %s is %v, want %v", who, field, p[field], v)
		}
	}
	if key := p["key"]; key != anonymous && key != anonymous+"-second" {
		t.Errorf("person %d: key is %v", who, key)
	}
	if millis(p["first_seen"]) != first || millis(p["last_seen"]) != last {
		t.Errorf("person %d: seen %v to %v, want %v to %v", who, p["first_seen"], p["last_seen"], time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC())
	}
	attributes := object{}
	for _, a := range p["attributes"].([]any) {
		attributes[a.(object)["name"].(string)] = a.(object)["value"]
	}
	if wanted := (object{"plan": traits["plan"], "logins": float64(traits["logins"].(int)), "vip": traits["vip"]}); !reflect.DeepEqual(attributes, wanted) {
		t.Errorf("person %d: attributes %v, want %v", who, attributes, wanted)
	}
	compareTimeline(t, s, user, who, own)
}

// compareTimeline: all that a person did, and nothing else, newest first.
func compareTimeline(t *testing.T, s *server, user string, who int, own []object) {
	t.Helper()
	timeline := s.readObject("/api/public/users-by-id/" + user + "/timeline/")
	var ids []any
	previous := int64(1 << 62)
	for _, e := range timeline["results"].([]any) {
		ids = append(ids, e.(object)["id"])
		at := millis(e.(object)["datetime"])
		if at > previous && timeline["count"] != nil && !hasLate(own) {
			t.Errorf("person %d: the timeline is not in order", who)
		}
		previous = at
	}
	if len(ids) != len(own) {
		t.Errorf("person %d: %d moments, want %d", who, len(ids), len(own))
	}
	for _, h := range own {
		if !slices.Contains(ids, h["id"]) {
			t.Errorf("person %d: hit %v is not in the timeline", who, h["id"])
		}
	}
}

func hasLate(hits []object) bool {
	return slices.ContainsFunc(hits, func(h object) bool { return h["late"] == true })
}

// Goal: an app over its limit loses nothing that a client waits for: the
// client is told when to come again, and does.
func TestClientWaitsForTheLimit(t *testing.T) {
	needClients(t)
	s := demo(t)
	s.spoor("app", "set", "demo", "events_per_minute=1000")
	proxy := record(t, s, false)
	calls := makeCalls("segment", 1100)
	runClient(t, "segment", proxy.URL, calls)
	if proxy.statuses[429] == 0 {
		t.Errorf("no request was limited: %v", proxy.statuses)
	}
	if n := len(s.export()); n != len(calls) {
		t.Errorf("%d hits are stored, %d were sent", n, len(calls))
	}
}
