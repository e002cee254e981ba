package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// outcomes stores hits and counts what became of them.
func outcomes(t testing.TB, s *Store, hits ...spoor.Hit) (stored, duplicates int) {
	t.Helper()
	for _, h := range write(t, s, hits...) {
		switch h.Outcome {
		case spoor.Stored:
			stored++
		case spoor.Duplicate:
			duplicates++
		}
	}
	return stored, duplicates
}

// batch is ten page views with ids, received now.
func batch(app *spoor.App, c *clock) (hits []spoor.Hit) {
	for i := range 10 {
		hits = append(hits, page(app, c, fmt.Sprint("visitor", i%3), i))
	}
	return hits
}

// Goal: a batch that is sent again stores nothing twice, whatever lies between.
// Method: the same ten hits before and after each kind of gap, with a filter of
// ample size, and with one so small that it answers "maybe" to everything.
func TestResentBatchesStoreNothingTwice(t *testing.T) {
	monday := time.Date(2026, 3, 16, 12, 0, 0, 0, time.UTC)
	weekEnd := time.UnixMilli(int64(weekOf(monday.UnixMilli())+1)*7*86400_000 - 1).UTC() // last ms of a week of receipt
	for _, tc := range []struct {
		name    string
		start   time.Time
		gap     time.Duration
		restart bool
	}{
		{"at once", monday, 0, false},
		{"after a restart", monday, time.Second, true},
		{"across midnight", time.Date(2026, 3, 16, 22, 59, 59, 0, time.UTC), 2 * time.Second, false}, // Warsaw's
		{"across midnight and a restart", time.Date(2026, 3, 16, 22, 59, 59, 0, time.UTC), 2 * time.Second, true},
		{"across the end of a week", weekEnd, time.Millisecond, false},
		{"across the end of a week and a restart", weekEnd, time.Millisecond, true},
		{"six days later", monday, 6 * 24 * time.Hour, true},
		{"received before, processed after", weekEnd.Add(time.Millisecond), -time.Millisecond, false},
		{"received before, processed after, with a restart", weekEnd.Add(time.Millisecond), -time.Millisecond, true},
	} {
		for _, filterBytes := range []int{256 << 10, 1} {
			t.Run(fmt.Sprint(tc.name, ", filter of ", filterBytes), func(t *testing.T) {
				c := newClock()
				c.now = tc.start
				o := testOptions(t, vfs.NewMem(), c)
				o.FilterBytes, o.CacheEntries = filterBytes, 1
				s, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				app := newApp(t, s, "shop", "Europe/Warsaw")
				sent := batch(app, c)
				if stored, _ := outcomes(t, s, sent...); stored != 10 {
					t.Errorf("%d stored, want 10", stored)
				}
				if tc.restart {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = open(t, o)
				} else {
					t.Cleanup(func() { check(t, s); s.Close() })
				}
				c.add(tc.gap)
				again := batch(app, c)
				for i := range again {
					again[i].Time = sent[i].Time // it says when it happened
				}
				if stored, dup := outcomes(t, s, again...); stored != 0 || dup != 10 {
					t.Errorf("sent again: %d stored, %d duplicates; want 0 and 10", stored, dup)
				}
				if _, dup := outcomes(t, s, batch(app, c)...); dup != 10 {
					t.Errorf("sent a third time: %d duplicates, want 10", dup)
				}
			})
		}
	}
}

// Goal: within one request, and within one group, an id is stored once; a later
// hit of the same id is not taken for a duplicate once its window has passed,
// however the requests are grouped.
// Method: repeats in one slice; repeats weeks apart in one slice and in two.
func TestDuplicatesWithinARequest(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	h := page(app, c, "visitor1", 1)
	if stored, dup := outcomes(t, s, h, h, h); stored != 1 || dup != 2 {
		t.Errorf("%d stored, %d duplicates; want 1 and 2", stored, dup)
	}
	for i, grouped := range []bool{false, true} {
		first := page(app, c, "visitor2", i)
		c.add(22 * 24 * time.Hour)
		second := page(app, c, "visitor2", i)
		stored := 0
		if grouped {
			stored, _ = outcomes(t, s, first, second)
		} else {
			for _, h := range []spoor.Hit{first, second} {
				n, _ := outcomes(t, s, h)
				stored += n
			}
		}
		if stored != 2 {
			t.Errorf("received three weeks apart, grouped %t: %d stored, want 2", grouped, stored)
		}
	}
}

// Goal: an id whose window of de-duplication has passed, but whose day is still
// open, must not overwrite the hit that was stored first.
// Method: an app with the widest window; the same event, with its own time, is
// received again three weeks later. Check compares accounts with hits.
func TestOldIDInAnOpenDay(t *testing.T) {
	w := newTown(t, func(s *spoor.Settings) { s.WindowDays = 30 })
	h := page(w.app, w.c, "visitor1", 1)
	h.Time = h.Received
	outcomes(t, w.s, h)
	w.c.add(21 * 24 * time.Hour)
	h.Received = w.c.ms()
	stored, dup := outcomes(t, w.s, h)
	if n := w.hits(1); n != 1+stored || stored+dup != 1 {
		t.Errorf("%d stored, %d duplicates, %d hits are there", 1+stored, dup, n)
	}
	h2 := page(w.app, w.c, "visitor1", 2)
	h2.Time = h2.Received
	again := h2
	again.Received += 22 * 24 * 3600_000
	stored, dup = outcomes(t, w.s, h2, again)
	if n := w.hits(1); stored+dup != 2 || n < 2 {
		t.Errorf("in one group: %d stored, %d duplicates, %d hits are there", stored, dup, n)
	}
}

// Goal: an event without id but with a time of its own is known by a digest of
// its content; one without either is never a duplicate.
// Method: the same hit twice, in each of the three forms; an id whose bytes are
// those of a digest is another event.
func TestDigests(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	h := page(app, c, "visitor1", 1)
	h.ID, h.Digest = "", [16]byte{1, 2, 3}
	if stored, dup := outcomes(t, s, h, h); stored != 1 || dup != 1 {
		t.Errorf("with a digest: %d stored, %d duplicates", stored, dup)
	}
	if stored, dup := outcomes(t, s, h); stored != 0 || dup != 1 {
		t.Errorf("with a digest, later: %d stored, %d duplicates", stored, dup)
	}
	same := h
	same.ID, same.Digest = string(h.Digest[:]), [16]byte{}
	if stored, _ := outcomes(t, s, same); stored != 1 {
		t.Errorf("an id with the bytes of a digest was taken for it")
	}
	h.Digest = [16]byte{}
	if stored, _ := outcomes(t, s, h, h); stored != 2 {
		t.Errorf("without id and digest: %d stored, want 2", stored)
	}
	if stored, _ := outcomes(t, s, h); stored != 1 {
		t.Errorf("without id and digest, later: %d stored, want 1", stored)
	}
}

// Goal: ids may be long or odd, and are the app's own.
// Method: a table of ids, each sent twice to two apps.
func TestIDsAreAnyTextAndPerApp(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	a, b := newApp(t, s, "one", "UTC"), newApp(t, s, "two", "UTC")
	long := strings.Repeat("x", 10_000)
	for _, id := range []string{"a", "A", " a", "a\x00", "\xff\xfe", "é", "e\u0301", long, long + "y"} {
		for _, app := range []*spoor.App{a, b} {
			h := page(app, c, "visitor1", 1)
			h.ID = id
			if stored, dup := outcomes(t, s, h, h); stored != 1 || dup != 1 {
				t.Errorf("app %s, id of %d bytes: %d stored, %d duplicates; want 1 and 1", app.Name, len(id), stored, dup)
			}
			if ok, err := s.HasEvent(app.ID, id); !ok || err != nil {
				t.Errorf("app %s, id of %d bytes: not found, %v", app.Name, len(id), err)
			}
		}
	}
	if ok, err := s.HasEvent(a.ID, "never"); ok || err != nil {
		t.Errorf("an event that never was: %t, %v", ok, err)
	}
}

// Goal: the filters forget nothing, though hits are received out of the order
// of weeks, as a replayed log does after a restart.
// Method: hits of many weeks are stored, then received again with the times of
// receipt that they had, in order and in reverse, before and after a restart
// with the clock far ahead.
func TestFiltersOverManyWeeks(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	var all []spoor.Hit
	for i := range 8 {
		all = append(all, page(app, c, "visitor1", i))
		c.add(7 * 24 * time.Hour)
	}
	outcomes(t, s, append([]spoor.Hit(nil), all...)...)
	again := func(when string) {
		t.Helper()
		for i := range all {
			for _, h := range []spoor.Hit{all[i], all[len(all)-1-i]} {
				if _, dup := outcomes(t, s, h); dup != 1 {
					t.Errorf("%s: hit of week %d was stored again", when, weekOf(h.Received))
				}
			}
		}
	}
	again("before the restart")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.add(100 * 24 * time.Hour)
	s = open(t, o)
	eventually(t, "the filters are loaded", func() bool {
		write(t, s)
		return s.Stats().FiltersReady
	})
	again("after the restart")
	c.add(7 * 24 * time.Hour)
	for range 10 { // weeks of which the oldest filters must go
		outcomes(t, s, page(app, c, "visitor1", int(c.ms())))
		c.add(7 * 24 * time.Hour)
	}
	if err := s.change(func(g *group) error {
		if n := len(g.w.weeks); n > 4 {
			t.Errorf("%d filters are in memory after ten more weeks", n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
