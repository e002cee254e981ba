package query

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

func TestHistory(t *testing.T) {
	ts := newTestServer(t)
	ts.addProfile(1, 1, "ada", "a@b.c")
	ts.addProfile(1, 2, "eva", "e@b.c")
	ts.addHit(1, 1, spoor.KindPage, "Home")
	ts.addHit(1, 2, spoor.KindPage, "other person")
	ts.addHit(1, 1, spoor.KindEvent, "bought")
	ts.addHit(1, 1, spoor.KindIdentify, "")
	f := func(path, want string) {
		t.Helper()
		if r := ts.do("GET", path, "shop-read", ""); r.body != want {
			t.Errorf("%s: %d\n got %s\nwant %s", path, r.status, r.body, want)
		}
	}
	envelope := func(n int, results string) string {
		return fmt.Sprintf(`{"count":%d,"next":null,"previous":null,"results":[%s]}`, n, results)
	}
	ping := envelope(1, `{"id":5000,"client":1001,"ip_address":"203.0.113.0","user_agent":"Mozilla/5.0","browser_family":"Firefox","browser_version":"150","os_type":"Windows","city":"Gdańsk","country":"Poland","url":"https://shop.example/a?utm_source=x","referer":"https://search.example/","timestamp":"2026-03-04T05:06:07.000000Z","extra_data":"{\"price\":1.5,\"tags\":[\"a\"],\"note\":\"x\"}","timezone":"Europe/Warsaw","resolution":"1920x1080"}`)
	f("/api/public/users/1001/ping_hits/", ping)
	f("/api/public/users-by-id/ada/ping_hits", ping)
	f("/api/public/users/1001/events/", envelope(1, fmt.Sprintf(`{"id":5002,"client":1001,"timestamp":"2026-03-04T05:06:09.000000Z","event":"bought","event_id":%d,"items":[{"key":"price","value":1.5},{"key":"tags","value":["a"]},{"key":"note","value":"x"}]}`, nameID("bought"))))
	content := `"content":{"url":"https://shop.example/a?utm_source=x","title":"A \"page\""}`
	f("/api/public/users/1001/timeline/", envelope(3, `{"id":5003,"datetime":"2026-03-04T05:06:10.000000Z","name":"identify",`+content+`},{"id":5002,"datetime":"2026-03-04T05:06:09.000000Z","name":"bought",`+content+`},{"id":5000,"datetime":"2026-03-04T05:06:07.000000Z","name":"page",`+content+`}`))
}

func TestHistoryPages(t *testing.T) {
	f := func(total int, headers ...string) {
		t.Helper()
		ts := newTestServer(t)
		ts.addProfile(1, 1, "ada", "a@b.c")
		for range total {
			ts.addHit(1, 1, spoor.KindPage, "p")
			ts.addHit(1, 1, spoor.KindEvent, "e")
		}
		seen := map[float64]bool{}
		for path := "/api/public/users/1001/ping_hits/"; path != ""; {
			r := ts.do("GET", path, "shop-read", "", headers...)
			var page struct {
				Count   *int
				Next    *string
				Results []map[string]any
			}
			if err := json.Unmarshal([]byte(r.body), &page); err != nil || len(page.Results) > pageSize {
				t.Fatalf("%v, %d results", err, len(page.Results))
			}
			if len(headers) == 0 && *page.Count != total {
				t.Errorf("count %d, want %d", *page.Count, total)
			}
			for _, h := range page.Results {
				if id := h["id"].(float64); seen[id] {
					t.Errorf("hit %v twice", id)
				} else {
					seen[id] = true
				}
			}
			path = ""
			if page.Next != nil {
				path = strings.TrimPrefix(*page.Next, "http://spoor.test")
			}
			if len(headers) > 0 { // newer hits do not disturb cursors
				ts.store.hits[1] = append(ts.store.hits[1], spoor.Hit{Profile: 1, Kind: spoor.KindPage, Public: 1 << 40})
			}
		}
		if len(seen) != total {
			t.Errorf("%d hits in pages, want %d", len(seen), total)
		}
	}
	for _, total := range []int{0, 1, 100, 101, 250} {
		f(total)
		f(total, "Accept: */*;version=2")
	}
}
