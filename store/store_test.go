package store

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *clock) ms() int64 { return c.Now().UnixMilli() }

// testOptions are small and repeatable: salts come from a fixed seed. Each opening
// writes a spare log as large as a memtable, byte by byte under the race detector.
func testOptions(t testing.TB, fs vfs.FS, c *clock) Options {
	t.Helper()
	return Options{
		Dir: "data", FS: fs, Now: c.Now, Rand: rand.New(rand.NewSource(1)),
		Log:           slog.New(slog.NewTextHandler(io.Discard, nil)),
		MemTableBytes: 256 << 10, CacheBytes: 16 << 20, FilterBytes: 256 << 10, putOffFrom: 2,
	}
}

// open opens a store; at the end of the test it is checked and closed.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		check(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func check(t testing.TB, s *Store) {
	t.Helper()
	if s.db == nil { // closed by the test
		return
	}
	r, err := s.Check(nil)
	if err != nil {
		t.Errorf("check: %v", err)
		return
	}
	for _, p := range r.Problems {
		t.Errorf("check: %s", p)
	}
}

func newApp(t testing.TB, s *Store, name, zone string) *spoor.App {
	t.Helper()
	app, err := s.CreateApp(&spoor.App{
		Name: name, Created: s.opts.Now().UnixMilli(), Keys: []spoor.WriteKey{{Key: "key-" + name}},
		Settings: spoor.DefaultSettings(zone),
	})
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// write stores hits and fails the test if the store will not have them.
func write(t testing.TB, s *Store, hits ...spoor.Hit) []spoor.Hit {
	t.Helper()
	if err := s.Write(hits); err != nil {
		t.Fatal(err)
	}
	for i := range hits {
		if hits[i].Outcome == spoor.Pending {
			t.Fatalf("hit %d came back without an outcome", i)
		}
	}
	return hits
}

func page(app *spoor.App, c *clock, key string, n int) spoor.Hit {
	return spoor.Hit{
		App: app.ID, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: fmt.Sprintf("%s-%d", key, n), Key: key,
		URL: fmt.Sprintf("https://shop.example/p%d", n%7), Received: c.ms(), Language: "pl", Resolution: "1440x900",
		Place: spoor.Place{City: "Warsaw", Region: "Mazovia", Country: "PL"},
		Agent: spoor.Agent{OS: "Windows", Browser: "Chrome", Device: "desktop"},
	}
}

func TestWriteAndRead(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "Europe/Warsaw")
	var hits []spoor.Hit
	for i := range 10 {
		hits = append(hits, page(app, c, "visitor1", i))
	}
	for _, h := range write(t, s, hits...) {
		if h.Outcome != spoor.Stored || h.Profile != 1 || h.Public == 0 {
			t.Errorf("hit: outcome %v, profile %d, public id %d", h.Outcome, h.Profile, h.Public)
		}
	}
	for i := range hits {
		hits[i].Outcome = spoor.Pending
	}
	for _, h := range write(t, s, hits...) {
		if h.Outcome != spoor.Duplicate {
			t.Errorf("second time: outcome %v, want duplicate", h.Outcome)
		}
	}
	p, err := s.Profile(app.ID, 1)
	if err != nil || p == nil {
		t.Fatalf("profile: %v, %v", p, err)
	}
	if p.Views != 10 || p.Visits != 1 || p.Text(spoor.AttrCity) != "Warsaw" || p.Keys[0] != "visitor1" {
		t.Errorf("profile %+v", p)
	}
	if q, err := s.ProfileByID(app.ID, p.ID); err != nil || q == nil || q.Number != 1 {
		t.Errorf("by public id: %v, %v", q, err)
	}
	n := 0
	if err := s.Hits(app.ID, 1, func(h *spoor.Hit) error { n++; return nil }); err != nil || n != 10 {
		t.Errorf("%d hits, %v", n, err)
	}
	parts, err := s.Partitions(app.ID)
	if err != nil || len(parts) != 1 || parts[0].Hits != 10 || parts[0].Profiles != 1 || parts[0].Sealed {
		t.Errorf("partitions %+v, %v", parts, err)
	}
}
