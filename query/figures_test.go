package query

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: the figures are those of the process, sample by sample, and the ring
// keeps the newest of them.
// Method: samples taken by hand, of counters that the test moves.
func TestFigures(t *testing.T) {
	now := Figures{
		Hits: 70, Refused: 4, Refusals: []Refusal{{"no_write_key", 4, "there is no write key"}}, QueueBytesMax: 1000, QueueRequests: 2, DiskBytes: 3, DiskFreeBytes: 5,
		Groups: 5, Fsync: time.Second,
	}
	ts := newTestServer(t, func(o *Options) {
		o.Figures = func() Figures { return now }
		o.Version = "1.2"
	})
	for first := false; !first; time.Sleep(time.Millisecond) { // what was before it is in no sample
		ts.sampler.mu.Lock()
		first = !ts.sampler.at.IsZero()
		ts.sampler.mu.Unlock()
	}
	take := func(hits, refused, groups int64, fsync time.Duration, queue int64) {
		ts.mu.Lock()
		ts.now = ts.now.Add(time.Second)
		ts.mu.Unlock()
		now.Hits, now.Refused, now.Groups, now.Fsync, now.QueueBytes = now.Hits+hits, now.Refused+refused, now.Groups+groups, fsync, queue
		ts.sampler.take(now, ts.opt.Now())
	}
	ask := func() (f struct {
		Rate struct {
			PerSecond float64 `json:"hits_per_second"`
			Samples   []struct {
				At            string
				Hits, Refused int64
				Fsync         float64 `json:"fsync_ms"`
				Queue         int64   `json:"queue_bytes"`
			}
		}
		Fsync struct {
			P50 float64 `json:"p50_ms"`
			P99 float64 `json:"p99_ms"`
		}
	}) {
		t.Helper()
		r := ts.do("GET", "/api/figures/", "shop-admin", "")
		if err := json.Unmarshal([]byte(r.body), &f); err != nil || r.status != 200 {
			t.Fatalf("%d %s, %v", r.status, r.body, err)
		}
		return f
	}
	if r := ts.do("GET", "/api/figures/", "shop-admin", ""); r.body != `{"rate":{"hits_per_second":0,"samples":[]},"queue":{"bytes":0,"bytes_max":1000,"requests":2},`+
		`"disk":{"bytes":3,"free_bytes":5,"writable":true},"refusals":[{"reason":"no_write_key","count":4,"text":"there is no write key"}],"fsync":{"p50_ms":0,"p99_ms":0},`+
		`"started":"2026-03-04T05:06:07.000000Z","version":"1.2"}` {
		t.Errorf("before the first sample: %s", r.body)
	}
	take(3, 1, 1, 1500*time.Microsecond, 9)
	take(2, 0, 0, 1500*time.Microsecond, 0)
	f := ask()
	if got := fmt.Sprint(f); got != "{{2.5 [{2026-03-04T05:06:08.000000Z 3 1 1.5 9} {2026-03-04T05:06:09.000000Z 2 0 0 0}]} {1.5 1.5}}" {
		t.Errorf("two samples: %s", got)
	}
	for i := range samplesMax + 7 {
		take(int64(i), 0, 1, time.Duration(i+1)*time.Millisecond, 0)
	}
	f = ask()
	if n := len(f.Rate.Samples); n != samplesMax || f.Rate.Samples[0].Hits != 7 || f.Rate.Samples[n-1].Hits != samplesMax+6 {
		t.Errorf("%d samples, from %+v to %+v", n, f.Rate.Samples[0], f.Rate.Samples[n-1])
	}
	if f.Rate.PerSecond != 301.5 || f.Fsync.P50 != 157 || f.Fsync.P99 != 304 {
		t.Errorf("%v hits a second, syncs %+v", f.Rate.PerSecond, f.Fsync)
	}
	ts.store.readOnly = spoor.ErrReadOnly
	var disk struct{ Disk struct{ Writable bool } }
	if r := ts.do("GET", "/api/figures/", "shop-admin", ""); json.Unmarshal([]byte(r.body), &disk) != nil || disk.Disk.Writable {
		t.Errorf("on a full disk: %s", r.body)
	}
}

// Goal: who may see the figures, and that looking at them ends with the server.
func TestFiguresWho(t *testing.T) {
	f := func(ts *testServer, token string, status int) {
		t.Helper()
		if r := ts.do("GET", "/api/figures/", token, ""); r.status != status {
			t.Errorf("%s: %d %s, want %d", token, r.status, r.body, status)
		}
	}
	ts := newTestServer(t)
	f(ts, "shop-erase", 403)
	f(ts, "shop-admin", 200)
	f(ts, "control", 200)
	private := newTestServer(t, func(o *Options) { o.PrivateMetrics = true })
	f(private, "shop-admin", 403)
	f(private, "control", 200)
	if r := private.doVia(private.local, "GET", "/api/figures/", "", ""); r.status != 200 {
		t.Errorf("the operator: %d", r.status)
	}
	f(newTestServer(t, func(o *Options) { o.Figures = nil }), "control", 404)

	looks := make(chan bool)
	ts = newTestServer(t, func(o *Options) {
		o.Figures = func() Figures {
			select {
			case looks <- true:
			case <-time.After(5 * time.Second):
				t.Error("the figures are looked at after Shutdown, or nobody waits")
			}
			return Figures{}
		}
	})
	<-looks
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := ts.Shutdown(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("Shutdown: %v, %v", err, ctx.Err())
	}
	ended := make(chan bool)
	go func() { ts.background.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("somebody still looks at the figures")
	}
}

// Goal: the overview of an app's retention shows its own days, policies and
// receipts, newest first, and names nobody to who may not read the audit log.
func TestRetentionOverview(t *testing.T) {
	ts := newTestServer(t)
	app := ts.store.apps.list[0]
	app.Settings.HitsDays = 30
	f := func(token, want string) {
		t.Helper()
		if r := ts.do("GET", "/api/retention/", token, ""); r.status != 200 || r.body != want {
			t.Errorf("%s: %d %s\nwant %s", token, r.status, r.body, want)
		}
	}
	const begin = `{"idle_days":60,"hits_days":30,"statistics_days":0,"due":[{"day":"2026-03-05","profiles":1},{"day":"2026-03-06","profiles":0}],` +
		`"partitions":[{"day":"2024-10-04","hits":3,"profiles":2,"bytes":512,"sealed":true}],"receipts":[`
	const end = `],"last_sweep":"1970-01-01T00:00:01.000000Z","next_sweep":null}`
	const first = `{"id":1,"app":"shop","what":"sweep","profiles":3,"hits":0,"bytes":0,"stages":[{"stage":"removed","at":"1970-01-01T00:00:01.000000Z"},` +
		`{"stage":"bytes_gone","at":"1970-01-01T00:00:02.000000Z"},{"stage":"backups_expired","at":"1970-01-01T00:00:03.000000Z"}]}`
	f("shop-read", begin+first+end)
	ts.store.receipts = []spoor.Receipt{{ID: 2, App: "shop", What: spoor.ReceiptErasure, Subject: "abc"}}
	second := func(subject string) string {
		return `{"id":2,"app":"shop","what":"erasure",` + subject + `"profiles":0,"hits":0,"bytes":0,"stages":[]}`
	}
	f("shop-erase", begin+second("")+","+first+end)
	f("shop-admin", begin+second(`"subject":"abc",`)+","+first+end)
	for i := range 50 {
		ts.store.receipts = append(ts.store.receipts, spoor.Receipt{ID: uint64(3 + i), App: "shop"})
	}
	var many struct{ Receipts []struct{ ID int } }
	r := ts.do("GET", "/api/retention/", "shop-read", "")
	if err := json.Unmarshal([]byte(r.body), &many); err != nil || len(many.Receipts) != receiptsShown || many.Receipts[0].ID != 52 || many.Receipts[receiptsShown-1].ID != 33 {
		t.Errorf("%v, %+v", err, many)
	}
}
