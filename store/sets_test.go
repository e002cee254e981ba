package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Goal: a union holds what its sets hold, in whatever way it is made, and leaves
// them as they are.
// Method: sets of all sizes and densities; one Or after the other.
func TestUnion(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var s sets
		want := roaring.New()
		numbers := 1 << (4 + rnd.IntN(18))
		for range rnd.IntN(12) {
			b := roaring.New()
			for range rnd.IntN(numbers/(1+rnd.IntN(200)) + 1) {
				b.Add(uint32(rnd.IntN(numbers)))
			}
			s = s.with(b).with(nil)
			want.Or(b)
		}
		before := make(sets, len(s))
		for i, b := range s {
			before[i] = b.Clone()
		}
		if got := s.union(); !got.Equals(want) {
			t.Fatalf("%d sets below %d: %d members, want %d", len(s), numbers, got.GetCardinality(), want.GetCardinality())
		}
		for i, b := range s {
			if !b.Equals(before[i]) {
				t.Fatal("a set was changed")
			}
		}
	}
}

// Goal: what is remembered of days that are over never differs from what is on
// disk: not when days are sealed, people are merged or erased, or statistics go.
// Method: the same questions before and after each, to a store that remembers
// and to one that was just opened.
func TestRememberedSetsAreTrue(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	app := newApp(t, s, "shop", "UTC")
	first := app.Day(c.ms())
	for day := range 20 {
		for i := range 30 {
			h := page(app, c, fmt.Sprint("k", (i+3*day)%60), i+100*day)
			h.Time = h.Received - int64(i)*60_000
			h.URL = fmt.Sprint("https://shop.example/p", i%3) // none is rare
			write(t, s, h)
		}
		c.add(24 * time.Hour)
	}
	ask := func() string {
		var all []any
		to := first + 20
		for _, from := range []spoor.Day{first, first + 2} {
			for _, m := range []spoor.Metric{spoor.MetricVisitors, spoor.MetricReturning, spoor.MetricIdentified} {
				for _, filter := range [][]spoor.Condition{nil, {{Dimension: spoor.DimPath, Text: "/p1"}}} {
					all = append(all, must(s.Series(&spoor.SeriesQuery{App: app.ID, Metric: m, From: from, To: to, Interval: spoor.IntervalWeek, Filter: filter})))
				}
			}
			for _, by := range []spoor.TopBy{{Dimension: spoor.DimPath}, {Dimension: spoor.DimPath, Exit: true}, {Dimension: spoor.DimCountry}} {
				all = append(all, must(s.Top(&spoor.TopQuery{App: app.ID, By: by, From: from, To: to, Limit: 5})))
			}
			all = append(all, must(s.Goals(app.ID, from, to, []spoor.Goal{{Dimension: spoor.DimPath, Text: "/p2"}})))
		}
		return fmt.Sprintf("%+v", all)
	}
	before := ""
	same := func(what string, changes bool) {
		t.Helper()
		ask()
		got := ask()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
		if want := ask(); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
		if changes == (got == before) {
			t.Errorf("%s: changed the answers: %t, want %t", what, !changes, changes)
		}
		before = got
	}
	same("open and sealed days", true)
	must(0, seal(s))
	same("sealed", false)
	for i := range 10 { // two keys are one person
		for _, key := range []string{fmt.Sprint("k", i), fmt.Sprint("k", i+30)} {
			h := page(app, c, key, 5000+i)
			h.Kind, h.UserID = spoor.KindIdentify, fmt.Sprint("u", i)
			write(t, s, h)
		}
		if i == 4 {
			ask()
		}
	}
	same("merged", true)
	must(s.Erase(app.ID, must(s.Find(app.ID, spoor.LookupUserID, "u3")), "subject"))
	same("erased", true)
	for day := first; day < first+3; day++ {
		must(0, s.dropStatistics(app.ID, day))
	}
	same("dropped", true)
}

func seal(s *Store) error {
	_, _, err := s.SealDays(context.Background())
	return err
}
