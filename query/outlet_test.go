package query

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// receiver is a customer's webhook on a real socket. It answers by a script, and
// 200 when that is over.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	script  []int // statuses; 0 closes the connection
	bodies  []string
	ids     []string // of entries that it took, in the order in which they came
	refused int      // requests that it did not take
	busy    int      // requests in flight
	most    int
}

func newReceiver(t *testing.T, script ...int) *receiver {
	r := &receiver{t: t, script: script}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

const hookSecret = "the secret of the app"

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.busy++
	r.most = max(r.most, r.busy)
	r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	at, sum, _ := strings.Cut(strings.TrimPrefix(req.Header.Get("X-Spoor-Signature"), "t="), ",v1=")
	mac := hmac.New(sha256.New, []byte(hookSecret))
	fmt.Fprintf(mac, "%s.%s", at, body)
	if err != nil || req.Method != "POST" || sum != hex.EncodeToString(mac.Sum(nil)) || at != fmt.Sprint(testNow.Unix()) {
		r.t.Errorf("%s %v, signed %q", req.Method, err, req.Header.Get("X-Spoor-Signature"))
	}
	if status := r.next(); status != 200 {
		r.refused++
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		return
	}
	var parcel struct {
		App     string
		Entries []struct{ ID string }
	}
	if err := json.Unmarshal(body, &parcel); err != nil || parcel.App != "shop" || len(parcel.Entries) == 0 {
		r.t.Errorf("it got %s, %v", body, err)
	}
	r.bodies = append(r.bodies, string(body))
	for _, e := range parcel.Entries {
		r.ids = append(r.ids, e.ID)
	}
}

func (r *receiver) next() int {
	if len(r.script) == 0 {
		return 200
	}
	status := r.script[0]
	r.script = r.script[1:]
	return status
}

func (r *receiver) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

// await polls until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// deliverTo switches delivery on, and runs the outlet until the returned function
// is called or the test ends.
func (ts *testServer) deliverTo(address string) (stop func()) {
	ts.store.apps.change(func(a *spoor.App) {
		if a.Name == "shop" {
			a.WebhookSecret, a.Settings.FeedDays, a.Settings.FeedWebhook = hookSecret, 7, address
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ts.outlet.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	ts.t.Cleanup(stop)
	return stop
}

// tellMany adds entries by number.
func (ts *testServer) tellMany(from, to int) (ids []string) {
	for n := from; n <= to; n++ {
		ts.store.tell(spoor.FeedEntry{Number: uint64(n), Kind: spoor.FeedSwept, At: testNow.UnixMilli(), Gone: []int64{int64(n)}})
		ids = append(ids, fmt.Sprint(n))
	}
	return ids
}

// Goal: a webhook gets what GET /api/feed shows, signed, in order, at most 100
// entries a request and one request at a time, at once when it comes; delivery
// goes on where it stood after a restart, and nothing of it comes twice.
// Method: entries of every kind and 250 more that were there before, then one
// that comes; the outlet is stopped and run again.
func TestOutletDelivers(t *testing.T) {
	ts := feedServer(t)
	want := append([]string{"11", "12", "13", "14", "15", "16", "17", "18", "19", "20"}, ts.tellMany(21, 270)...)
	r := newReceiver(t)
	stop := ts.deliverTo(r.URL)
	await(t, "all entries", func() bool { return len(r.took()) == len(want) })
	began := time.Now()
	want = append(want, ts.tellMany(271, 271)...)
	await(t, "one more", func() bool { return len(r.took()) == len(want) })
	if took := time.Since(began); took > outletLook/2 {
		t.Errorf("it came after %s", took)
	}
	await(t, "the note of it", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 271 })
	stop()
	want = append(want, ts.tellMany(272, 273)...)
	ts.deliverTo(r.URL)
	await(t, "the last two", func() bool { return len(r.took()) >= len(want) })
	if got := r.took(); !slices.Equal(got, want) {
		t.Errorf("it got %q", got)
	}
	if len(r.bodies) < 5 || r.most != 1 {
		t.Errorf("%d requests, %d at a time", len(r.bodies), r.most)
	}
	page := ts.do("GET", "/api/feed/?limit=100", "shop-read", "").body
	entries, _, _ := strings.Cut(page, `],"next"`)
	if body := r.bodies[0]; body != `{"app":"shop",`+entries[1:]+"]}" {
		t.Errorf("the first request is\n%s\nand the page\n%s", body, page)
	}
	if f := ts.outlet.Figures(); f != (OutletFigures{Entries: 263}) {
		t.Errorf("figures %+v", f)
	}
}

// Goal: whatever a receiver does, entries come in order and none is skipped but
// what it refused eight times, which becomes a dead letter; a server that fails
// is not one that refuses.
// Method: scripts of answers, then 200.
func TestOutletFailures(t *testing.T) {
	times := func(n, status int) []int { return slices.Repeat([]int{status}, n) }
	for name, c := range map[string]struct {
		script []int
		dead   []spoor.DeadLetter
	}{
		"down":             {script: append(times(5, 500), 408, 429, 503, 599)},
		"hangs up":         {script: times(9, 0)},
		"refuses for once": {script: times(7, 400)},
		"both in turn":     {script: []int{400, 500, 404, 0, 302, 500, 400, 401, 403}},
		"refuses":          {script: times(8, 400), dead: []spoor.DeadLetter{{From: 1, To: 100, Entries: 100, At: testNow.UnixMilli(), Status: 400, Attempts: 8}}},
		"redirects":        {script: times(8, 302), dead: []spoor.DeadLetter{{From: 1, To: 100, Entries: 100, At: testNow.UnixMilli(), Status: 302, Attempts: 8}}},
		"refuses later":    {script: append([]int{200}, times(8, 410)...), dead: []spoor.DeadLetter{{From: 101, To: 150, Entries: 50, At: testNow.UnixMilli(), Status: 410, Attempts: 8}}},
	} {
		t.Run(name, func(t *testing.T) {
			ts := newTestServer(t)
			want := ts.tellMany(1, 150)
			for _, l := range c.dead {
				want = slices.Delete(want, int(l.From)-1, int(l.To))
			}
			r := newReceiver(t, c.script...)
			stop := ts.deliverTo(r.URL)
			await(t, "the end of the script", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 150 })
			want = append(want, ts.tellMany(151, 151)...)
			await(t, "what comes behind", func() bool { return len(r.took()) >= len(want) })
			await(t, "the note of it", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 151 })
			stop()
			if got := r.took(); !slices.Equal(got, want) {
				t.Errorf("it got %d entries %q", len(got), got)
			}
			if !slices.Equal(ts.store.dead, c.dead) {
				t.Errorf("dead letters %+v", ts.store.dead)
			}
			failures := len(slices.DeleteFunc(slices.Clone(c.script), func(s int) bool { return s == 200 }))
			if f := ts.outlet.Figures(); f != (OutletFigures{Entries: int64(len(want)), Failed: int64(failures), Dead: int64(len(c.dead))}) {
				t.Errorf("figures %+v", f)
			}
			if strings.Contains(ts.log.String(), r.URL) {
				t.Errorf("the log names the address: %s", ts.log)
			}
		})
	}
}

// Goal: what was refused stays what it was, however much comes while it is tried:
// a dead letter holds nothing that was not refused eight times.
// Method: entries are told between the attempts.
func TestRefusedEntriesStayTheSame(t *testing.T) {
	ts := newTestServer(t)
	want := ts.tellMany(1, 3)
	r := newReceiver(t, slices.Repeat([]int{400}, 8)...)
	stop := ts.deliverTo(r.URL)
	await(t, "a refusal", func() bool { return ts.outlet.Figures().Failed > 0 })
	want = append(want, ts.tellMany(4, 9)...)
	await(t, "delivery", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 9 })
	stop()
	if got := r.took(); len(ts.store.dead) != 1 || ts.store.dead[0].To != 3 || !slices.Equal(got, want[3:]) {
		t.Errorf("dead %+v, delivered %q", ts.store.dead, got)
	}
}

// Goal: a private address is refused and tried again, and another address that
// the app sets gets all of it, at once; entries that became too old are noted as
// lost; what is switched off is sent no more.
// Method: an outlet without Private, whose receiver is this machine; then one
// with it.
func TestOutletAddresses(t *testing.T) {
	ts := newTestServer(t)
	ts.tellMany(1, 20)
	ts.store.delivery.Cursor, ts.store.gap = 4, 9
	r := newReceiver(t)
	ts.outlet.hooks = spoor.NewWebhooks(false)
	ts.outlet.opt.RetryFirst = time.Hour
	stop := ts.deliverTo(r.URL)
	await(t, "a refusal", func() bool { return ts.outlet.Figures().Failed == 1 })
	if f := ts.outlet.Figures(); f != (OutletFigures{Failed: 1, Lost: 1, Down: 1}) {
		t.Errorf("figures %+v", f)
	}
	stop()
	if log := ts.log.String(); !strings.Contains(log, "private address") || ts.outlet.Figures().Down != 0 {
		t.Errorf("the log says %s", log)
	}
	if want := []spoor.DeadLetter{{From: 5, To: 9, At: testNow.UnixMilli()}}; !slices.Equal(ts.store.dead, want) {
		t.Errorf("dead letters %+v", ts.store.dead)
	}

	ts.outlet.hooks = spoor.NewWebhooks(true)
	failing := newReceiver(t, 500)
	stop = ts.deliverTo(failing.URL)
	await(t, "a failure", func() bool { return ts.outlet.Figures().Failed == 2 })
	ts.store.apps.change(func(a *spoor.App) { a.Settings.FeedWebhook = r.URL })
	await(t, "delivery to the other address", func() bool { return len(r.took()) == 11 })
	stop()
	couriers := map[spoor.AppID]*courier{}
	ts.outlet.dispatch(t.Context(), couriers)
	c := couriers[1]
	ts.store.apps.change(func(a *spoor.App) { a.Settings.FeedDays = 0 })
	ts.outlet.dispatch(t.Context(), couriers)
	<-c.ended
	ts.tellMany(21, 22)
	if ts.outlet.dispatch(t.Context(), couriers); len(couriers) != 0 {
		t.Error("it goes on after it was switched off")
	}
	if got := r.took(); len(got) != 11 || got[0] != "10" || len(failing.took()) != 0 {
		t.Errorf("it got %q", got)
	}
}

// Goal: while the store cannot write, entries are delivered, once, and what is
// refused is not forgotten.
// Method: the store is read-only while two requests are taken and the third is
// refused, and again writable later.
func TestOutletOfAReadOnlyStore(t *testing.T) {
	ts := newTestServer(t)
	ts.tellMany(1, 300)
	ts.store.readOnly = spoor.ErrReadOnly
	r := newReceiver(t, append([]int{200, 200}, slices.Repeat([]int{400}, 100)...)...)
	stop := ts.deliverTo(r.URL)
	await(t, "refusals", func() bool { return ts.outlet.Figures().Failed > 8 })
	if len(r.took()) != 200 {
		t.Errorf("%d entries were taken", len(r.took()))
	}
	ts.store.mu.Lock()
	dead := len(ts.store.dead)
	ts.store.readOnly = nil
	ts.store.mu.Unlock()
	await(t, "a dead letter", func() bool { d, _ := ts.store.Delivery(1); return d.Cursor == 300 })
	stop()
	if dead != 0 || len(ts.store.dead) != 1 || ts.store.dead[0].From != 201 {
		t.Errorf("dead letters %d, then %+v", dead, ts.store.dead)
	}
}

// Goal: the list shows where delivery stands and what was given up; sending it
// again takes off the list what is delivered and leaves what is not, with what
// is not kept any more noted as lost.
// Method: a list of three, retried singly and as a whole, against a receiver
// that fails in between.
func TestDeadLetters(t *testing.T) {
	ts := newTestServer(t)
	ts.furnish()
	ts.tellMany(1, 40)
	at := testNow.UnixMilli()
	ts.store.delivery = spoor.Delivery{Cursor: 40, Dropped: 2}
	ts.store.dead = []spoor.DeadLetter{
		{From: 1, To: 4, At: at}, {From: 6, To: 10, Entries: 5, At: at, Status: 400, Attempts: 8},
		{From: 21, To: 25, Entries: 5, At: at, Status: 404, Attempts: 8}, {From: 31, To: 33, Entries: 3, At: at, Status: 404, Attempts: 8},
	}
	r := newReceiver(t)
	ts.store.apps.change(func(a *spoor.App) { a.WebhookSecret, a.Settings.FeedWebhook = hookSecret, r.URL })
	const lost = `{"from":"1","to":"4","entries":null,"at":"2026-03-04T05:06:07.000000Z","status":null,"attempts":0,"lost":true}`
	if got := ts.do("GET", "/api/feed/dead/", "shop-read", ""); got.status != 200 || !strings.HasPrefix(got.body,
		`{"delivered":"40","newest":"40","dropped":2,"dead":[`+lost+`,{"from":"6","to":"10","entries":5,"at":"2026-03-04T05:06:07.000000Z","status":400,"attempts":8,"lost":false},`) {
		t.Errorf("the list is %d %s", got.status, got.body)
	}
	f := func(body string, status int, want string) {
		t.Helper()
		if got := ts.do("POST", "/api/feed/dead/retry/", "shop-write", body); got.status != status || got.body != want {
			t.Errorf("%s: %d %s, want %s", body, got.status, got.body, want)
		}
	}
	for _, from := range []string{"1", "22", "x"} { // lost, amid one, none
		f(`{"from":"`+from+`"}`, 400, `{"errors":{"from":["Write the from of a dead letter that is not lost, or leave it out for all."]}}`)
	}
	f(`{"from":"21"}`, 200, `{"delivered":5,"left":0}`)
	r.script = []int{500}
	f(``, 200, `{"delivered":0,"left":2,"detail":"The webhook answered 500."}`)
	ts.store.gap = 8
	r.script = []int{200, 0}
	f(`{}`, 200, `{"delivered":2,"left":1,"detail":"The webhook did not answer."}`)
	want := []spoor.DeadLetter{{From: 1, To: 4, At: at}, {From: 6, To: 8, At: at}, {From: 31, To: 33, Entries: 3, At: at, Status: 404, Attempts: 8}}
	if !slices.Equal(ts.store.dead, want) {
		t.Errorf("left are %+v", ts.store.dead)
	}
	f(``, 200, `{"delivered":3,"left":0}`)
	if got, want := r.took(), strings.Fields("21 22 23 24 25 9 10 31 32 33"); !slices.Equal(got, want) {
		t.Errorf("it got %q", got)
	}
	ts.store.apps.change(func(a *spoor.App) { a.Settings.FeedWebhook = "" })
	f(``, 409, string(errNoOutlet.body))
}

// Goal: what a receiver asks for in Retry-After is heeded within a second and an
// hour; what cannot be read is not.
// Method: a table of headers.
func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 30 * time.Second, "soon": 30 * time.Second, "-1": 30 * time.Second, "0": time.Second, "5": 5 * time.Second, "120": 2 * time.Minute,
		"999999999999": time.Hour, "99999999999999999999": 30 * time.Second,
		testNow.Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute, testNow.AddDate(1, 0, 0).UTC().Format(http.TimeFormat): time.Hour,
		testNow.AddDate(-1, 0, 0).UTC().Format(http.TimeFormat): time.Second,
	} {
		if got := retryAfter(text, 30*time.Second, testNow); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
