package main_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Goal: every door takes what it is said to take, in each of its spellings,
// and what came in is stored by the time it says so.
func TestDoors(t *testing.T) {
	s := demo(t)
	n := 0
	f := func(method, path, body string, want object, headers ...string) {
		t.Helper()
		before := s.export()
		r := s.send(method, s.collector+path, body, headers...)
		if r.status != http.StatusOK {
			t.Errorf("%s %s: %d %s", method, path, r.status, r.body)
			return
		}
		known := map[any]bool{}
		for _, h := range before {
			known[h["id"]] = true
		}
		var fresh []object
		for _, h := range s.export() {
			if !known[h["id"]] {
				fresh = append(fresh, h)
			}
		}
		n++
		if len(fresh) == 0 {
			t.Errorf("%s %s: answered %s and nothing is stored", method, path, r.body)
		}
		for _, h := range fresh {
			for field, v := range want {
				if h[field] != v {
					t.Errorf("%s %s: %s is %v, want %v", method, path, field, h[field], v)
				}
			}
		}
	}
	native := func(kind string) object { return object{"door": "native", "type": kind} }
	f("POST", "/hit", `{"write_key":"demo","key":"a","url":"https://shop.example/"}`, object{"door": "native", "type": "page", "url": "https://shop.example/"})
	f("POST", "/hit/?k=demo", `[{"key":"a","type":"click"},{"key":"b","type":"click"}]`, native("click"))
	f("POST", "/hit?k=demo", "{\"key\":\"a\",\"type\":\"form\"}\n{\"key\":\"b\",\"type\":\"form\"}\n", native("form"), "Content-Type", "text/plain;charset=UTF-8")
	f("POST", "/hit", `{"batch":[{"key":"a","type":"screen"}],"write_key":"demo"}`, native("screen"))
	f("POST", "/hit", `{"key":"a"}`, native("page"), "X-Write-Key", "demo")
	f("POST", "/hit", packed(t, `{"key":"a","type":"ping"}`), native("ping"), "Content-Encoding", "gzip", "Authorization", "Bearer demo")
	f("POST", "/hit?k=demo", `{"key":"a","consent":{"analytics":true},"properties":{"a":1}}`, native("page"))

	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("demo:"))
	event := `{"anonymousId":"a","userId":"u","event":"e","name":"n","groupId":"g","previousId":"a"}`
	for long, kind := range map[string]string{"track": "event", "page": "page", "screen": "screen", "identify": "identify", "alias": "alias", "group": "group"} {
		want := object{"door": "segment", "type": kind}
		f("POST", "/v1/"+long, event, want, "Authorization", basic)
		f("POST", "/v1/"+long[:1]+"/", event, want, "Authorization", basic, "Content-Type", "application/x-www-form-urlencoded")
	}
	f("POST", "/v1/batch", `{"writeKey":"demo","batch":[{"type":"page","anonymousId":"a"}]}`, object{"door": "segment", "type": "page"})
	f("POST", "/v1/b?writeKey=demo", `{"batch":[{"type":"track","event":"e","anonymousId":"a"}]}`, object{"door": "segment", "name": "e"})

	f("GET", "/pixel.gif?k=demo&c=a&u=https%3A%2F%2Fshop.example%2F&s=1440x900&l=pl&z=Europe%2FWarsaw&i=pixel1&p.size=XL", "",
		object{"door": "pixel", "type": "page", "url": "https://shop.example/", "resolution": "1440x900", "language": "pl", "timezone": "Europe/Warsaw", "event_id": "pixel1"})
	f("GET", "/pixel.gif?k=demo&c=a&e=opened", "", object{"door": "pixel", "type": "event", "name": "opened"})
	if n != 23 {
		t.Errorf("%d doors were tried, want 23", n)
	}
	for _, path := range []string{"/pixel.gif?k=demo&c=a", "/pixel.gif?k=wrong", "/pixel.gif"} {
		r := s.send("GET", s.collector+path, "")
		if len(r.body) != 43 || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "image/gif" {
			t.Errorf("%s: %d bytes, %v", path, len(r.body), r.header)
		}
		if good := strings.Contains(path, "k=demo"); good != (r.status == http.StatusOK) || !good && r.status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", path, r.status)
		}
	}
}

// Goal: a full queue refuses at once and says when to come again; what it
// took before is kept.
// Method: a queue that has room for about three hits, and thirty senders.
func TestQueueFull(t *testing.T) {
	s := demo(t, "--queue-bytes-max", "65536")
	var mu sync.Mutex
	acked, refused := map[string]bool{}, 0
	var wg sync.WaitGroup
	pad := strings.Repeat("x", 20_000)
	for worker := range 30 {
		wg.Go(func() {
			for i := range 40 {
				id := fmt.Sprintf("hit-%d-%d", worker, i)
				r, err := ask(client, "POST", s.collector+"/hit?k=demo", fmt.Sprintf(`{"id":%q,"key":"a","properties":{"pad":%q}}`, id, pad))
				mu.Lock()
				switch {
				case err != nil:
					t.Errorf("no answer: %v", err)
				case r.status == http.StatusOK:
					acked[id] = true
				case r.status != http.StatusServiceUnavailable || r.header.Get("X-Spoor-Refused") != "queue_full" || r.header.Get("Retry-After") == "":
					t.Errorf("%d %s", r.status, r.body)
				default:
					refused++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if refused == 0 || len(acked) == 0 {
		t.Fatalf("%d acknowledged, %d refused; want some of both", len(acked), refused)
	}
	have := s.exportIDs()
	for id := range acked {
		if have[id] != 1 {
			t.Errorf("%s was acknowledged and is stored %d times", id, have[id])
		}
	}
	if len(have) != len(acked) {
		t.Errorf("%d hits are stored, %d were acknowledged", len(have), len(acked))
	}
}
