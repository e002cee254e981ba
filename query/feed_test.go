package query

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// feedServer has an app with a feed of every kind of entry.
func feedServer(t *testing.T, change ...func(*Options)) *testServer {
	ts := newTestServer(t, change...)
	ts.furnish()
	h := ts.addHit(1, 1, spoor.KindPage, "Home")
	tag := &spoor.Collection{Kind: spoor.CollectionTag, ID: 3, Name: `v"ip`}
	gone := &spoor.Collection{Kind: spoor.CollectionList, ID: 4}
	for i, e := range []spoor.FeedEntry{
		{Kind: spoor.FeedHit, Hit: h, Person: 1001}, {Kind: spoor.FeedUser, Profile: ts.store.profiles[1][0]},
		{Kind: spoor.FeedMerge, Person: 1001, Gone: []int64{77}}, {Kind: spoor.FeedTagOn, Person: 1001, Of: tag}, {Kind: spoor.FeedListOff, Person: 1001, Of: gone},
		{Kind: spoor.FeedSwept, Gone: []int64{5}}, {Kind: spoor.FeedErased, Gone: []int64{6, 7}}, {Kind: spoor.FeedRight, Person: 1001, What: "objection.set"},
		{Kind: spoor.FeedExpired, Day: 20000}, {Kind: spoor.FeedExpired, Day: 20000, Class: spoor.KindForm},
	} {
		e.Number, e.At = uint64(i+11), testNow.UnixMilli()
		ts.store.tell(e)
	}
	return ts
}

type feedPageJSON struct {
	Entries []json.RawMessage
	Next    string
}

// Goal: the page of a feed is the JSON that REST.md shows for each kind, in
// order, and goes on from its cursor; what is asked wrongly is refused by name.
// Method: a feed of every kind from a fake store, read whole, in pages and from
// its end.
func TestFeedPages(t *testing.T) {
	ts := feedServer(t)
	get := func(query string) (p feedPageJSON) {
		t.Helper()
		r := ts.do("GET", "/api/feed/"+query, "shop-read", "")
		if err := json.Unmarshal([]byte(r.body), &p); r.status != 200 || err != nil {
			t.Fatalf("%s: %d %s %v", query, r.status, r.body, err)
		}
		return p
	}
	all := get("")
	for i, want := range []string{
		`{"id":"11","type":"hit","at":"2026-03-04T05:06:07.000000Z","hit":{"id":5000,"client":1001,"day":"2026-03-04",`,
		`{"id":"12","type":"user","at":"2026-03-04T05:06:07.000000Z","user":{"id":1001,`,
		`{"id":"13","type":"merge","at":"2026-03-04T05:06:07.000000Z","user":{"id":1001},"former":{"id":77}}`,
		`{"id":"14","type":"tag.added","at":"2026-03-04T05:06:07.000000Z","user":{"id":1001},"tag":{"id":3,"name":"v\"ip"}}`,
		`{"id":"15","type":"list.removed","at":"2026-03-04T05:06:07.000000Z","user":{"id":1001},"list":{"id":4,"name":null}}`,
		`{"id":"16","type":"swept","at":"2026-03-04T05:06:07.000000Z","users":[{"id":5}]}`,
		`{"id":"17","type":"erased","at":"2026-03-04T05:06:07.000000Z","users":[{"id":6},{"id":7}]}`,
		`{"id":"18","type":"objection.set","at":"2026-03-04T05:06:07.000000Z","user":{"id":1001}}`,
		`{"id":"19","type":"expired","at":"2026-03-04T05:06:07.000000Z","day":"2024-10-04"}`,
		`{"id":"20","type":"expired","at":"2026-03-04T05:06:07.000000Z","day":"2024-10-04","kind":"form"}`,
	} {
		if i >= len(all.Entries) || !strings.HasPrefix(string(all.Entries[i]), want) {
			t.Fatalf("entry %d of %s\nwant %s", i, all.Entries, want)
		}
	}
	if len(all.Entries) != 10 || all.Next != "20" {
		t.Errorf("%d entries, next %s", len(all.Entries), all.Next)
	}
	var paged []json.RawMessage
	for after := "1"; after != "20"; {
		p := get("?limit=3&after=" + after)
		paged, after = append(paged, p.Entries...), p.Next
	}
	if len(paged) != 10 || string(paged[9]) != string(all.Entries[9]) {
		t.Errorf("in pages %d entries", len(paged))
	}
	if p := get("?after=now"); len(p.Entries) != 0 || p.Next != "20" {
		t.Errorf("from now %+v", p)
	}
	for query, want := range map[string]string{
		"?after=x": `"after":`, "?after=-1": `"after":`, "?limit=0": `"limit":`, "?limit=1001": `"limit":`, "?wait=61": `"wait":`,
		"?stream=1": `"stream":`, "?from=1": `"from":`, "?app=other": `"app":`,
	} {
		if r := ts.do("GET", "/api/feed/"+query, "shop-read", ""); r.status != 400 || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
	ts.store.gap = 15
	if r := ts.do("GET", "/api/feed/?after=12", "shop-read", ""); r.status != 410 || !strings.Contains(r.body, `"oldest":"15"`) {
		t.Errorf("behind a gap: %d %s", r.status, r.body)
	}
	if r := ts.do("GET", "/api/feed/?after=21", "shop-read", ""); r.status != 410 || !strings.Contains(r.body, `"oldest":"20"`) {
		t.Errorf("ahead of the newest entry: %d %s", r.status, r.body)
	}
	for _, both := range []string{"limit=5", "wait=1"} {
		if r := ts.do("GET", "/api/feed/?stream=true&"+both, "shop-read", ""); r.status != 400 || !strings.Contains(string(r.body), both[:4]) {
			t.Errorf("a stream with %s is answered %d %s", both, r.status, r.body)
		}
	}
	if r := ts.do("GET", "/api/feed/?after=12&stream=true", "shop-read", ""); r.status != 410 {
		t.Errorf("a stream behind a gap: %d %s", r.status, r.body)
	}
	if r := ts.do("GET", "/api/feed/", "other-read", ""); r.status != 409 || !strings.Contains(r.body, "feed_days") {
		t.Errorf("without a feed: %d %s", r.status, r.body)
	}
}

// Goal: a request that waits is answered by what comes, at once, and with
// nothing when its time is up; waiting takes one of the places of streams.
// Method: an entry is told while a request waits.
func TestFeedWaits(t *testing.T) {
	ts := feedServer(t)
	ts.Server.streams = make(chan struct{}, 1)
	answers := make(chan reply)
	go func() { answers <- ts.do("GET", "/api/feed/?after=20&wait=60", "shop-read", "") }()
	for ts.Stats().Streams == 0 {
		time.Sleep(time.Millisecond)
	}
	if r := ts.do("GET", "/api/feed/?after=20&wait=60", "shop-read", ""); r.status != 503 {
		t.Errorf("the second that waits: %d", r.status)
	}
	ts.store.tell(spoor.FeedEntry{Number: 21, Kind: spoor.FeedSwept, Gone: []int64{9}})
	if r := <-answers; r.status != 200 || !strings.Contains(r.body, `"id":"21"`) || !strings.Contains(r.body, `"next":"21"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	go func() { answers <- ts.do("GET", "/api/feed/?after=21&wait=60", "shop-write", "") }()
	for ts.Stats().Streams == 0 {
		time.Sleep(time.Millisecond)
	}
	ts.store.apps.change(func(a *spoor.App) { a.Tokens = a.Tokens[:1] })
	ts.store.tell(spoor.FeedEntry{Number: 22, Kind: spoor.FeedSwept, Gone: []int64{9}})
	if r := <-answers; r.status != 401 || strings.Contains(r.body, `"id":"22"`) {
		t.Errorf("a token that is deleted while it waits is answered %d %s", r.status, r.body)
	}
	if r := ts.do("GET", "/api/feed/?after=22&wait=1", "shop-read", ""); r.status != 200 || r.body != `{"entries":[],"next":"22"}` {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Goal: on a node of a cluster a cursor ahead of it waits for the node, and is gone only
// where the topic does not lead to it.
// Method: a log that brings the entry, brings nothing, or cannot be asked; pages and
// streams.
func TestFeedCursorAhead(t *testing.T) {
	for _, stream := range []string{"", "&stream=true"} {
		var ts *testServer
		come := func(context.Context) error { return nil }
		ts = feedServer(t, func(o *Options) {
			o.CatchUp = func(ctx context.Context, app spoor.AppID) error {
				if app != 1 {
					t.Errorf("asked about app %d", app)
				}
				return come(ctx)
			}
		})
		if r := ts.do("GET", "/api/feed/?after=21"+stream, "shop-read", ""); r.status != 410 {
			t.Errorf("what the log does not bring: %d %s", r.status, r.body)
		}
		come = func(ctx context.Context) error {
			if _, limited := ctx.Deadline(); !limited {
				t.Error("it waits without end")
			}
			return context.DeadlineExceeded
		}
		if r := ts.do("GET", "/api/feed/?after=21"+stream, "shop-read", ""); r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("a node that is behind: %d %s", r.status, r.body)
		}
		if r := ts.do("GET", "/api/feed/?after=20", "shop-read", ""); r.status != 200 {
			t.Errorf("a cursor that is known: %d %s", r.status, r.body)
		}
	}
	var ts *testServer
	ts = feedServer(t, func(o *Options) {
		o.CatchUp = func(context.Context, spoor.AppID) error {
			ts.store.tell(spoor.FeedEntry{Number: 21, Kind: spoor.FeedSwept, Gone: []int64{9}})
			return nil
		}
	})
	if r := ts.do("GET", "/api/feed/?after=21", "shop-read", ""); r.status != 200 || r.body != `{"entries":[],"next":"21"}` {
		t.Errorf("what the log brings: %d %s", r.status, r.body)
	}
}

// Goal: a stream gives what there is and what comes, and ends when the token is
// deleted, the feed is switched off or the server stops.
// Method: lines are read while entries are told; each end is tried.
func TestFeedStream(t *testing.T) {
	for name, end := range map[string]func(*testServer){
		"token": func(ts *testServer) { ts.store.apps.change(func(a *spoor.App) { a.Tokens = nil }) },
		"token made anew": func(ts *testServer) {
			ts.store.apps.change(func(a *spoor.App) {
				for i := range a.Tokens {
					a.Tokens[i].Hash = spoor.HashToken("another secret")
				}
			})
		},
		"switch": func(ts *testServer) { ts.store.apps.change(func(a *spoor.App) { a.Settings.FeedDays = 0 }) },
		"server": func(ts *testServer) { go ts.Shutdown(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			ts := feedServer(t)
			ts.Server.heartbeat = 5 * time.Millisecond
			req, _ := http.NewRequest("GET", "http://spoor.test/api/feed/?after=18", nil)
			req.Header.Set("Authorization", "Token shop-read")
			req.Header.Set("Accept", "application/x-ndjson")
			resp, err := ts.web.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			lines := bufio.NewScanner(resp.Body)
			next := func() string {
				for lines.Scan() {
					if lines.Text() != "" {
						return lines.Text()
					}
				}
				return "end"
			}
			for _, want := range []string{`{"id":"19",`, `{"id":"20",`} {
				if got := next(); !strings.HasPrefix(got, want) {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
			ts.store.tell(spoor.FeedEntry{Number: 21, Kind: spoor.FeedSwept, Gone: []int64{9}})
			if got := next(); !strings.HasPrefix(got, `{"id":"21",`) {
				t.Fatalf("what came is shown as %s", got)
			}
			end(ts)
			if got := next(); got != "end" || lines.Err() != nil {
				t.Errorf("it goes on with %s, %v", got, lines.Err())
			}
		})
	}
}

// Goal: who enters or leaves a segment is told with its id and name, and without
// a name if it is deleted.
// Method: the page that shows three such entries.
func TestFeedTellsOfSegments(t *testing.T) {
	ts := feedServer(t)
	for i, e := range []spoor.FeedEntry{
		{Kind: spoor.FeedEntered, Of: &spoor.Collection{Kind: spoor.CollectionSegment, ID: 2, Name: "buyers"}},
		{Kind: spoor.FeedLeft, Of: &spoor.Collection{Kind: spoor.CollectionSegment, ID: 2, Name: "buyers"}},
		{Kind: spoor.FeedLeft, Of: &spoor.Collection{Kind: spoor.CollectionSegment, ID: 3}},
	} {
		e.Number, e.At, e.Person = uint64(i+31), testNow.UnixMilli(), 1001
		ts.store.tell(e)
	}
	at := `"at":"2026-03-04T05:06:07.000000Z","user":{"id":1001}`
	want := `{"entries":[{"id":"31","type":"segment.entered",` + at + `,"segment":{"id":2,"name":"buyers"}},` +
		`{"id":"32","type":"segment.left",` + at + `,"segment":{"id":2,"name":"buyers"}},` +
		`{"id":"33","type":"segment.left",` + at + `,"segment":{"id":3,"name":null}}],"next":"33"}`
	if r := ts.do("GET", "/api/feed/?after=20", "shop-read", ""); r.status != 200 || r.body != want {
		t.Errorf("%d %s\nwant %s", r.status, r.body, want)
	}
}
