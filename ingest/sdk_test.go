package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// Goal: an SDK never hears 429, what it sends counts all the same, and a flood
// of it costs the app's other senders no more than the bucket holds.
func TestSDKIsCountedNotRefused(t *testing.T) {
	now := noon
	b := start(t, func(o *Options) { o.Now = func() time.Time { return now } })
	event := func() answer {
		t.Helper()
		return b.send(t, "POST", "/api/sdk/v1/event/", `{"event":"E"}`, "Authorization", "Token k3", "X-User-Key", "dev1")
	}
	for i := range 1200 { // k3 may send 1,000 a minute
		if a := event(); a.status != 200 || a.body != `{"status":"stored"}` {
			t.Fatalf("event %d: %d %s", i, a.status, a.body)
		}
	}
	b.send(t, "POST", "/hit", `{}`, "X-Write-Key", "k3").refused(t, reasonRate)
	now = now.Add(time.Second) // sixteen refill in a second; a debt of 200 would take twelve
	b.send(t, "POST", "/hit", `{}`, "X-Write-Key", "k3").ok(t)
	if n := len(b.sink.all()); n != 1201 {
		t.Errorf("%d hits, want 1201", n)
	}
}

// Goal: what cannot be kept is said so, and only that is no 200.
func TestSDKWhenNothingCanBeKept(t *testing.T) {
	for err, reason := range map[error]spoor.Reason{spoor.ErrBusy: reasonQueue, spoor.ErrReadOnly: reasonDisk, spoor.ErrClosed: reasonStopping, fmt.Errorf("broken"): reasonStore} {
		b := start(t)
		b.sink.fail = func([]spoor.Hit) error { return err }
		for _, path := range []string{"ping", "event", "batch"} {
			a := b.send(t, "POST", "/api/sdk/v1/"+path+"/", `{"event":"E","events":[{"event":"E"}]}`, "Authorization", "Token k1")
			a.refused(t, reason)
			if a.status != 503 {
				t.Errorf("%s: %d", path, a.status)
			}
		}
	}
}

// Goal: what a batch says of its user holds for each event, also where the app's
// mode leaves no key to know the user by.
func TestSDKBatchUser(t *testing.T) {
	b := start(t)
	apps := testApps()
	apps[0].Settings.SDKMode = spoor.ModeCookieless
	b.opts.Apps = apps
	b.send(t, "POST", "/api/sdk/v1/batch/", `{"customer":{"user_id":"ada"},"events":[{"event":"E"},{"event":"F"}]}`, "Authorization", "Token k1", "X-User-Key", "dev1")
	hits := b.sink.all()
	if len(hits) != 3 {
		t.Fatalf("%d hits", len(hits))
	}
	for _, h := range hits {
		if h.UserID != "ada" || h.Key != "" {
			t.Errorf("%v of %q, key %q", h.Kind, h.UserID, h.Key)
		}
	}
}

func TestSDKBatchLimits(t *testing.T) {
	b := start(t)
	batch := func(n int) string {
		events := make([]string, n)
		for i := range events {
			events[i] = fmt.Sprintf(`{"id":"e%d","event":"E"}`, i)
		}
		return `{"customer":{"plan":"gold"},"events":[` + strings.Join(events, ",") + `]}`
	}
	send := func(body string) answer {
		t.Helper()
		return b.send(t, "POST", "/api/sdk/v1/batch/", body, "Authorization", "Token k1", "X-User-Key", "dev1")
	}
	a := send(batch(1000))
	if a.status != 200 || strings.Count(a.body, `"status":"stored"`) != 1001 || len(b.sink.all()) != 1001 {
		t.Errorf("a thousand events: %d, %d stored", a.status, len(b.sink.all()))
	}
	send(batch(1001)).refused(t, reasonEvents)
	send(`{"device":{"x":"`+strings.Repeat("x", 33<<10)+`"},"events":[{"event":"E"}]}`).refused(t, reasonEventBytes)
	send(`{"device":{"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`},"events":[{"event":"E"}]}`).refused(t, reasonDepth)
	send(`{"events":[{"event":"E"}],"events":[{"event":"E"}]}`).refused(t, reasonJSON)
	send(`{"events":[{"event":"E"}]`).refused(t, reasonJSON)
	send(`{"events":[{"event":"E"}]}{}`).refused(t, reasonJSON)
	send(`{"customer":{},"customer":{},"events":[{"event":"E"}]}`).refused(t, reasonJSON)
	if a := send(`{"events":[{"event":"` + strings.Repeat("x", 33<<10) + `"},{"event":"E"}]}`); !strings.Contains(a.body, `"reason":"event_too_large"},{"status":"stored"}`) {
		t.Errorf("one large event: %s", a.body)
	}
}

// Goal: hostile headers do no harm. Method: keys that no client sends.
func TestSDKKeys(t *testing.T) {
	b := start(t)
	header := "X-User-Key"
	f := func(key string, reason spoor.Reason) {
		t.Helper()
		a := b.send(t, "POST", "/api/sdk/v1/ping/", `{}`, "Authorization", "Token k1", header, key)
		if a.status != 200 || a.head.Get("X-Spoor-Refused") != string(reason) || !strings.Contains(a.body, `"user":{"key":"`) {
			t.Errorf("%.20q: %d %s", key, a.status, a.body)
		}
	}
	f("\xff\xfe", reasonValue)
	f(strings.Repeat("x", 513), reasonIDLength)
	f(strings.Repeat("x", 512), "")
	f(`"quoted\`, "")
	f("[object Object]", "")
	header = "Idempotency-Key"
	f("\xff\xfe", reasonValue)
	f(strings.Repeat("x", 513), reasonIDLength)
	if h := b.sink.all(); len(h) != 3 || h[1].Key != `"quoted\` || len(h[2].Key) != keyLetters {
		t.Errorf("%+v", h)
	}
}

// Goal: a device is told a key to keep only where it may be known again by it,
// and what would make it known otherwise is not kept either.
// Method: a ping with key, attribute and push token under every mode, policy,
// signal and consent, against what is wanted.
func TestSDKPrivacy(t *testing.T) {
	b := start(t)
	apps := testApps()
	b.opts.Apps = apps
	set := &apps[0].Settings
	for _, mode := range []string{spoor.ModeKey, spoor.ModeCookieless, spoor.ModeExempt, spoor.ModeConsent} {
		for _, policy := range []string{"", spoor.SignalIgnore, spoor.ModeCookieless, spoor.SignalDrop} { // "": no signal is sent
			for _, consent := range []string{"", `"analytics":true`, `"analytics":false`} {
				for _, children := range []bool{false, true} {
					for _, user := range []string{"", "ada"} {
						name := fmt.Sprintf("mode %s, policy %q, consent {%s}, children %t, user %q", mode, policy, consent, children, user)
						set.SDKMode, set.GPC, set.Children = mode, policy, children
						headers := []string{"Authorization", "Token k1", "X-User-Key", "dev1", "Sec-GPC", "1"}
						if policy == "" {
							headers, set.GPC = headers[:4], spoor.SignalDrop
						}
						before := len(b.sink.all())
						a := b.send(t, "POST", "/api/sdk/v1/ping/", `{"customer":{"plan":"gold","user_id":"`+user+`"},"device":{"fcm_key":"token"},"consent":{`+consent+`}}`, headers...)
						hits := b.sink.all()[before:]
						taken := consent != `"analytics":false` && policy != spoor.SignalDrop && !children && (mode != spoor.ModeConsent || consent != "")
						known := taken && mode != spoor.ModeCookieless && policy != spoor.ModeCookieless
						key := "anonymous"
						if known {
							key = "dev1"
						}
						if a.status != 200 || !strings.HasPrefix(a.body, `{"user":{"key":"`+key+`"}`) || taken != (len(hits) == 1) {
							t.Errorf("%s: %d hits, answered %d %s", name, len(hits), a.status, a.body)
							continue
						}
						if !taken {
							continue
						}
						h := hits[0]
						if (h.Key == "dev1") != known || h.UserID != user {
							t.Errorf("%s: %q, user %q", name, h.Key, h.UserID)
						}
						if told := known || user != ""; (h.MobileAdd != "") != told || (len(h.Attributes) > 0) != told {
							t.Errorf("%s: token %q, attributes %v", name, h.MobileAdd, h.Attributes)
						}
					}
				}
			}
		}
	}
}

// Goal: a write key writes to its own app only, whatever the body names, and a
// token of the REST API writes nowhere.
// Method: every intake path of the table, with the key of each app and with
// every other name that an app has, in every place where a key may stand.
func TestKeysByRoute(t *testing.T) {
	w := newRealWorld(t)
	paths := []string{sdkPrefix + "push-notification/1/clicked", sdkPrefix + "in-app-message/1/clicked"}
	for path, r := range routes {
		if r.intake {
			paths = append(paths, path)
		}
	}
	count := func(app string) (n int) {
		t.Helper()
		a := w.st.AppByName(app)
		day := a.Day(noon.UnixMilli())
		if err := w.st.ScanHits(a.ID, day, day+1, func(*spoor.Hit) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i, path := range paths {
		ask := func(key, place string) int {
			t.Helper()
			// A body that every protocol finds its event in, and that names the other app wherever it can.
			body := fmt.Sprintf(`{"event":"E","type":"page","userId":"u","previousId":"v","groupId":"g","fcm_key":"t","write_key":"other-key","writeKey":"other-key","app":"other",
				"anonymousId":"a","key":"a","context":{"app":"other"},"messageId":"%d %s"}`, i, place)
			if strings.HasSuffix(path, "/batch") || strings.HasSuffix(path, "/b") {
				list := "batch"
				if strings.HasPrefix(path, sdkPrefix) {
					list = "events"
				}
				body = fmt.Sprintf(`{"%s":[%s],"write_key":"other-key"}`, list, body)
			}
			method, url := "POST", w.url+path
			if path == "/pixel.gif" {
				method, body, url = "GET", "", url+"?e=E"
			}
			if place == "query" {
				url += map[bool]string{true: "&k=", false: "?k="}[strings.Contains(url, "?")] + key
			}
			req, err := http.NewRequest(method, url, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			switch place {
			case "Token", "Bearer":
				req.Header.Set("Authorization", place+" "+key)
			case "Basic":
				req.SetBasicAuth(key, "")
			case "X-Write-Key":
				req.Header.Set(place, key)
			}
			req.Header.Set("X-User-Key", "dev1")
			req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			return res.StatusCode
		}
		for _, place := range []string{"Token", "Bearer", "Basic", "X-Write-Key", "query"} {
			before, others := count("shop"), count("other")
			keeps := path != "/api/sdk/v1/delete-fcm-token" // it only takes away
			if status := ask("shop-key", place); status != 200 || keeps != (count("shop") > before) || count("other") != others {
				t.Errorf("%s with the key as %s: %d; %d new hits, %d of the other app", path, place, status, count("shop")-before, count("other")-others)
			}
			before = count("shop")
			for _, bad := range []string{"shop-token", "other-token", "shop", "1"} {
				if status := ask(bad, place); status != 401 || count("shop") != before || count("other") != others {
					t.Errorf("%s with %q as %s: %d; %d new hits, %d of the other app", path, bad, place, status, count("shop")-before, count("other")-others)
				}
			}
		}
	}
}

// Goal: the batch in PROTOCOLS.md works as it is written there, and is answered
// what is written there.
func TestDocBatch(t *testing.T) {
	document, err := os.ReadFile("PROTOCOLS.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)/api/sdk/v1/batch/ -H '(Authorization): Token demo' -H '(X-User-Key): (\w+)' -d '([^']+)'\n\n` + "```json\n(.*?)\n```").FindSubmatch(document)
	if m == nil {
		t.Fatal("PROTOCOLS.md has no batch for the mobile SDK")
	}
	w := newRealWorld(t)
	text := fmt.Sprintf("POST /api/sdk/v1/batch/\n%s: Token shop-key\n%s: %s\n\n%s", m[1], m[2], m[3], m[4])
	if got := w.play(text); !strings.HasPrefix(got, "200\n"+string(m[5])+"\nhit ") {
		t.Errorf("got\n%s\nwant\n%s", got, m[5])
	}
}

// Goal: no bytes break the SDK paths: what is kept is valid text and JSON, ids
// for advertisers are not in it, and every event has its result.
func FuzzSDK(f *testing.F) {
	for _, s := range []struct{ path, key, body string }{
		{"ping", "", `{"customer":{"userKey":"","device":1,"email":"a@x.example"},"device":{"os_type":"IOS","identifier":"SECRETID","fcm_key":"t"}}`},
		{"ping", "dev1", `{"customer":null,"device":{"screen_width":1e309,"screen_height":-1,"model":null}}`},
		{"event", "dev1", `{"event":"product","event_type":"view","timestamp":"2026-03-04T11:59:56.0Z","data":{"a":[1]}}`},
		{"event", "\xff", `{"event":"ActivityEvent","data":{"event":"stopped","screen_name":"S","ios_idfa":1}}`},
		{"product_event", "", `{"event_type":"view","custom_id":"x"}`},
		{"screen_event", "null", `{"data":{"event":"opened","screen_name":"S"}}`},
		{"push-notification/1/clicked", "d", `{"url":null}`},
		{"in-app-message/a_b/dismissed", "d", `{"url":"app:\/\/x"}`},
		{"delete-fcm-token", "d", `{"fcm_key":"t"}`},
		{"batch", "", `{"sent_at":1,"customer":{"user_id":"u"},"device":{"identifier":"SECRETID"},"consent":true,"events":[{"id":"1","event":"E"},{"path":"ping"},5]}`},
	} {
		f.Add(s.path, s.key, s.body)
	}
	sink := &memorySink{}
	s, err := New(Options{Sink: sink, Apps: testApps(), Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, key, body string) {
		sink.hits, sink.seen = nil, nil
		target := sdkTargetOf(path)
		if target.form == sdkNone || len(body) == 0 {
			return
		}
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.Set("X-User-Key", key)
		ctx.Request.Header.Set("Idempotency-Key", key)
		ctx.Request.Header.Set("User-Agent", key)
		rq := &request{ctx: &ctx, app: testApps()[0], now: noon.UnixMilli(), agent: strings.ToValidUTF8(key, "")}
		rq.sdk.target, rq.sdk.path = target, path
		rq.readSDKHeaders()
		if s.openSDK(rq, []byte(body)) != "" {
			return
		}
		if target.form == sdkBatch {
			rq.nameSDKBatch()
		}
		for _, p := range rq.pieces {
			s.decodePiece(rq, p, spoor.DoorSDK, decodeSDK)
		}
		if len(rq.results) != len(rq.pieces) {
			t.Fatalf("%d results of %d pieces", len(rq.results), len(rq.pieces))
		}
		for i := range rq.hits {
			h := &rq.hits[i]
			if !utf8.ValidString(h.Key+h.UserID+h.Name+h.ID+h.MobileAdd+h.MobileDrop+h.UserAgent+h.Hints.Model) || h.Properties != nil && !jsontext.Value(h.Properties).IsValid() {
				t.Fatalf("%+v %s", h, h.Properties)
			}
			if h.Kind == spoor.KindNone || h.Kind == spoor.KindPing && h.Key == "" && h.MobileDrop == "" || len(h.Key) > idBytesMax || len(h.MobileAdd) > idBytesMax {
				t.Fatalf("%+v", h)
			}
			if h.Kind == spoor.KindPing && topLevel(h.Properties, "identifier") {
				t.Fatalf("an id for advertisers was kept: %s", h.Properties)
			}
		}
		if reason := s.write(rq); reason != "" {
			t.Fatal(reason)
		}
		s.replySDK(rq)
		if reply := ctx.Response.Body(); !json.Valid(reply) || ctx.Response.StatusCode() != 200 {
			t.Fatalf("%d %s", ctx.Response.StatusCode(), reply)
		}
	})
}

// topLevel reports whether an object has a member of that name.
func topLevel(object []byte, name string) bool {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(object, &members)
	return members[name] != nil
}

// Goal: ids for advertisers are known in any spelling, and other names are not.
func TestForAdvertisers(t *testing.T) {
	for _, name := range []string{"idfa", "IDFA", "ios_idfa", "advertisingId", "advertising_id", "$advertising-id", "gps_adid", "oaid", "AndroidAdvertisingID"} {
		if !forAdvertisers(name) {
			t.Errorf("%s is kept", name)
		}
	}
	for _, name := range []string{"", "id", "model", "carrier", "advertising", "identifier", "idfa2", strings.Repeat("idfa", 20)} {
		if forAdvertisers(name) {
			t.Errorf("%s is dropped", name)
		}
	}
}
