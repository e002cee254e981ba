package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// fakeTopics are Kafka of one broker, which fails by a script. The real thing
// stands in ingest/kafka, which this package must not know.
type fakeTopics struct {
	mu      sync.Mutex
	script  []int // of one Write after the other how many records are taken before it fails; -1: all
	largest int   // bytes of a value; 0: any
	keys    []string
	values  []string
	calls   int
}

var errFake = errors.New("no broker acknowledges")

func (f *fakeTopics) Check(topic string) error {
	if topic == "own" {
		return errors.New("it is spoor's own")
	}
	return nil
}

func (f *fakeTopics) Write(_ context.Context, topic string, records []spoor.FeedRecord) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	most := -1
	if len(f.script) > 0 {
		most, f.script = f.script[0], f.script[1:]
	}
	for _, r := range records {
		switch {
		case n == most:
			return n, errFake
		case f.largest > 0 && len(r.Value) > f.largest:
			return n, spoor.ErrFeedRecord
		}
		n++
		f.keys, f.values = append(f.keys, string(r.Key)), append(f.values, string(r.Value))
	}
	if most >= 0 {
		return n, errFake
	}
	return n, nil
}

func (f *fakeTopics) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.values)
}

// deliverToTopic switches delivery on as deliverTo does.
func (ts *testServer) deliverToTopic(f *fakeTopics) (stop func()) {
	ts.outlet.opt.Topics = f
	ts.store.apps.change(func(a *spoor.App) {
		if a.Name == "shop" {
			a.Settings.FeedTopic = "shop-feed"
		}
	})
	return ts.deliverTo("")
}

// Goal: a topic gets the objects that GET /api/feed/ shows, in order, keyed by
// the person or the app, over a restart, whatever brokers fail in between, and
// nothing twice that was acknowledged; the log says once that they fail, and once
// that they do not any more.
// Method: entries of every kind and many more, a script of failures.
func TestOutletToTopic(t *testing.T) {
	ts := feedServer(t)
	page := ts.do("GET", "/api/feed/?limit=1000", "shop-read", "").body
	entries := strings.TrimPrefix(page[:strings.Index(page, `],"next"`)], `{"entries":[`)
	ts.tellMany(21, 1220)
	f := &fakeTopics{script: []int{0, 0, 3, 0, 0, 0, -1, 0}}
	stop := ts.deliverToTopic(f)
	await(t, "all", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 1220 })
	stop()
	ts.tellMany(1221, 1221)
	stop = ts.deliverToTopic(f)
	await(t, "one more", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 1221 })
	stop()
	if got := strings.Join(f.values[:len(f.values)-1201], ","); got != entries {
		t.Errorf("it got\n%s\nand the page is\n%s", got, entries)
	}
	if last := f.values[len(f.values)-1]; !strings.Contains(last, `"id":"1221"`) || len(f.values) != 10+1201 {
		t.Errorf("%d entries, the last is %s", len(f.values), last)
	}
	if got := strings.Join(f.keys[:11], " "); got != "1001 1001 1001 1001 1001 5 shop 1001 shop shop 21" {
		t.Errorf("keys %s", got)
	}
	if f := ts.outlet.TopicFigures(); f != (OutletFigures{Entries: 1211, Failed: 7}) {
		t.Errorf("figures %+v", f)
	}
	if f := ts.outlet.Figures(); f != (OutletFigures{}) {
		t.Errorf("figures of webhooks %+v", f)
	}
	log := ts.log.String()
	if fails, again := strings.Count(log, "a topic did not take"), strings.Count(log, "a topic takes entries of the feed again"); fails != 3 || again != 3 {
		t.Errorf("%d times it fails, %d times it works again:\n%s", fails, again, log)
	}
}

// Goal: an entry that is too large for the topic is a dead letter with status 413,
// alone; it is delivered once the topic takes it.
// Method: a topic with a bound; then one above it.
func TestOutletTooLargeForTopic(t *testing.T) {
	ts := newTestServer(t)
	ts.tellMany(1, 10)
	ts.store.tell(spoor.FeedEntry{Number: 11, Kind: spoor.FeedSwept, At: testNow.UnixMilli(), Gone: make([]int64, 100)})
	ts.tellMany(12, 20)
	f := &fakeTopics{largest: 500}
	stop := ts.deliverToTopic(f)
	await(t, "delivery", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 20 })
	stop()
	want := []spoor.DeadLetter{{From: 11, To: 11, Entries: 1, At: testNow.UnixMilli(), Status: http.StatusRequestEntityTooLarge, Attempts: 1}}
	if got := f.took(); len(got) != 19 || !slices.Equal(ts.store.dead, want) {
		t.Errorf("%d were taken, dead letters %+v", len(got), ts.store.dead)
	}
	if f := ts.outlet.TopicFigures(); f != (OutletFigures{Entries: 19, Failed: 2, Dead: 1}) {
		t.Errorf("figures %+v", f)
	}
	ts.store.dead = append(ts.store.dead, spoor.DeadLetter{From: 12, To: 14, Entries: 3, At: testNow.UnixMilli(), Status: 400, Attempts: 8}) // of a webhook before
	retry := func(want string) {
		t.Helper()
		if got := ts.do("POST", "/api/feed/dead/retry/", "shop-write", ""); got.status != 200 || got.body != want {
			t.Errorf("%d %s, want %s", got.status, got.body, want)
		}
	}
	retry(`{"delivered":0,"left":2,"detail":"The topic takes no record of this size; raise its max.message.bytes."}`)
	if ts.store.dead[0].Attempts != 2 || ts.store.dead[0].Status != http.StatusRequestEntityTooLarge {
		t.Errorf("dead letters %+v", ts.store.dead)
	}
	f.script = []int{0}
	retry(`{"delivered":0,"left":2,"detail":"The brokers did not acknowledge."}`)
	f.largest, f.script = 0, []int{-1, 1}
	retry(`{"delivered":4,"left":0}`)
	if got := f.took(); len(got) != 23 || len(ts.store.dead) != 0 {
		t.Errorf("%d were taken, dead letters %+v", len(got), ts.store.dead)
	}
	ts.store.dead = []spoor.DeadLetter{{From: 10, To: 13, Entries: 4, At: testNow.UnixMilli(), Status: 400, Attempts: 8}}
	f.largest = 500
	retry(`{"delivered":3,"left":1,"detail":"The topic takes no record of this size; raise its max.message.bytes."}`)
	if want := []spoor.DeadLetter{{From: 11, To: 11, Entries: 1, At: testNow.UnixMilli(), Status: http.StatusRequestEntityTooLarge, Attempts: 9}}; !slices.Equal(ts.store.dead, want) {
		t.Errorf("dead letters %+v", ts.store.dead)
	}
}

// Goal: of nodes that hold the same one delivers a feed; who takes over goes on
// where the store says.
// Method: the outlet of one node, of which the app is not, then is, then is not
// any more.
func TestOutletOfOneNode(t *testing.T) {
	ts := newTestServer(t)
	ts.tellMany(1, 5)
	mine := false
	ts.outlet.opt.Mine = func(app spoor.AppID) bool { return mine && app == 1 }
	ts.outlet.opt.Topics = &fakeTopics{}
	ts.store.apps.change(func(a *spoor.App) { a.Settings.FeedDays, a.Settings.FeedTopic = 7, "feed-"+a.Name })
	couriers := map[spoor.AppID]*courier{}
	if ts.outlet.dispatch(t.Context(), couriers); len(couriers) != 0 {
		t.Fatal("it delivers what is another's")
	}
	mine = true
	ts.store.delivery.Cursor = 2 // by the other
	if ts.outlet.dispatch(t.Context(), couriers); len(couriers) != 1 {
		t.Fatalf("%d deliver", len(couriers))
	}
	await(t, "delivery", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 5 })
	mine = false
	c := couriers[1]
	ts.outlet.dispatch(t.Context(), couriers)
	<-c.ended
	if n := ts.outlet.TopicFigures().Entries; n != 3 {
		t.Errorf("%d were delivered", n)
	}
}

// Goal: a feed goes to a topic that brokers are known for, that is not spoor's,
// that no other app's feed goes to, and not to a webhook too; other settings of
// an app are not held up by one that has become wrong.
// Method: a table of settings, in one request each, to a process alone and to a
// node of a cluster.
func TestFeedTopicSetting(t *testing.T) {
	for name, clustered := range map[string]bool{"alone": false, "clustered": true} {
		t.Run(name, func(t *testing.T) { testFeedTopicSetting(t, clustered) })
	}
}

func testFeedTopicSetting(t *testing.T, clustered bool) {
	ts, _, log := node(t, clustered)
	ts.store.apps.change(func(a *spoor.App) { a.Settings.FeedWebhook = "" })
	set := func(method, path, settings, refused string) {
		t.Helper()
		body := `{"settings":{` + settings + `}}`
		if method == "POST" {
			body = `{"name":"new",` + body[1:]
		}
		got := ts.do(method, "/api/admin/apps/"+path, "control", body)
		if ok := got.status/100 == 2; ok != (refused == "") || !strings.Contains(got.body, refused) {
			t.Errorf("%s %s %s: %d %s", method, path, settings, got.status, got.body)
		}
	}
	set("PATCH", "shop/", `"feed_days":7,"feed_topic":"shop-feed"`, "--feed-kafka")
	ts.outlet.opt.Topics = &fakeTopics{}
	set("PATCH", "shop/", `"feed_topic":"own"`, "spoor's own")
	set("PATCH", "shop/", `"feed_topic":"a b"`, "such as shop-feed")
	set("PATCH", "shop/", `"feed_topic":"shop-feed","feed_webhook":"https://crm.example/"`, "not to both")
	set("PATCH", "shop/", `"feed_topic":"shop-feed"`, "")
	set("PATCH", "shop/", `"feed_topic":"shop-feed"`, "")
	set("PATCH", "shop/", `"feed_webhook":"https://crm.example/"`, "not to both")
	set("POST", "", `"feed_topic":"shop-feed"`, "this app's alone")
	set("PATCH", "shop/", `"feed_topic":"","feed_webhook":"https://crm.example/"`, "")
	set("PATCH", "shop/", `"feed_topic":"shop-feed","feed_webhook":""`, "")
	nodes := ts.opt.Nodes
	ts.opt.Nodes = fakeNodes{apps: []*spoor.App{{Name: "far", Settings: spoor.Settings{FeedTopic: "far-feed"}}}}
	set("PATCH", "shop/", `"feed_topic":"far-feed"`, "this app's alone")
	ts.opt.Nodes = nodes
	ts.outlet.opt.Topics = nil
	set("PATCH", "shop/", `"geo":"country"`, "")
	set("POST", "", `"feed_topic":"new-feed"`, "--feed-kafka")
	set("PATCH", "shop/", `"feed_topic":""`, "")
	if n := len(log.sent); n > 0 != clustered || clustered && n != 7 { // six that succeed, and one whose text is wrong
		t.Errorf("%d changes went into the log", n)
	}
}

// Goal: after brokers failed they are tried again within a second at first and
// half a minute at most, whatever is set for webhooks.
// Method: the pauses of a courier in a row.
func TestTopicPauses(t *testing.T) {
	ts := newTestServer(t)
	ts.tellMany(1, 1)
	ts.outlet.opt.RetryFirst = 30 * time.Second
	ts.outlet.opt.Topics = &fakeTopics{script: make([]int, 50)}
	ts.store.apps.change(func(a *spoor.App) { a.Settings.FeedDays, a.Settings.FeedTopic = 7, "shop-feed" })
	c := &courier{o: ts.outlet, app: 1, target: "kafka:shop-feed", figures: &ts.outlet.topics, word: "topic"}
	var got []string
	for range 7 {
		pause, err := c.step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(pause))
	}
	if want := "1s 2s 4s 8s 16s 30s 30s"; strings.Join(got, " ") != want {
		t.Errorf("it waits %s", got)
	}
}
