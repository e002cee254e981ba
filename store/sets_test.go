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

// Goal: what is remembered of days never differs from what is on disk: not when
// hits come late, days are sealed, people are merged, become known or are erased,
// or statistics go.
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
			for _, m := range []spoor.Metric{spoor.MetricVisitors, spoor.MetricNewVisitors, spoor.MetricReturning, spoor.MetricIdentified, spoor.MetricRegistrations} {
				for _, filter := range [][]spoor.Condition{nil, {{Dimension: spoor.DimPath, Text: "/p1"}}, {{Dimension: spoor.DimPath, Text: "/p", Prefix: true}}} {
					for _, interval := range []spoor.Interval{spoor.IntervalDay, spoor.IntervalWeek, spoor.IntervalHour} {
						if interval == spoor.IntervalHour && (filter != nil || m == spoor.MetricRegistrations) {
							continue
						}
						all = append(all, must(s.Series(&spoor.SeriesQuery{App: app.ID, Metric: m, From: from, To: to, Interval: interval, Filter: filter})))
					}
				}
			}
			all = append(all, must(s.Cohorts(app.ID, from, to)), must(s.Active(app.ID)))
			for _, by := range []spoor.TopBy{{Dimension: spoor.DimPath}, {Dimension: spoor.DimPath, Exit: true}, {Dimension: spoor.DimCountry}} {
				all = append(all, must(s.Top(&spoor.TopQuery{App: app.ID, By: by, From: from, To: to, Limit: 5})))
			}
			all = append(all, must(s.Goals(app.ID, from, to, []spoor.Goal{{Dimension: spoor.DimPath, Text: "/p2"}, {Dimension: spoor.DimPath, Text: "/p", Prefix: true}})))
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
	late := page(app, c, "k5", 4000)
	late.Time -= 3 * 24 * 3600_000
	late.URL = "https://shop.example/p1"
	ask()
	write(t, s, late)
	same("a late hit", true)
	h := page(app, c, "k6", 4001)
	h.Kind, h.UserID = spoor.KindIdentify, "u-6"
	ask()
	write(t, s, h)
	same("one became known", true)
	ask()
	if _, _, err := s.Edit(&spoor.Edit{App: app.ID, UserID: "by hand", At: c.ms()}); err != nil {
		t.Fatal(err)
	}
	same("one was made known without a hit", true)
	ask()
	must(s.Erase(app.ID, must(s.Find(app.ID, spoor.LookupUserID, "u-6")), "subject"))
	same("erased from open days", true)
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

// Goal: what is remembered of sealed days is asked for again after people were
// merged, and follows: nothing of those days is read again.
// Method: two persons on each of some sealed days, one by one merged into one;
// the records of the days are gone before the second question.
func TestRememberedPeopleFollowMerges(t *testing.T) {
	c := newClock()
	s, err := Open(testOptions(t, vfs.NewMem(), c))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	app := newApp(t, s, "shop", "UTC")
	first := app.Day(c.ms())
	for day := range 3 {
		for i := range 8 {
			write(t, s, page(app, c, fmt.Sprint("k", i), 100*day+i))
		}
		c.add(24 * time.Hour)
	}
	c.add(20 * 24 * time.Hour)
	must(0, seal(s))
	ask := func(want float64) {
		t.Helper()
		got := must(s.Series(&spoor.SeriesQuery{App: app.ID, Metric: spoor.MetricVisitors, From: first, To: first + 2, Interval: spoor.IntervalDay}))
		for _, p := range append(got.Points, got.Total) {
			if p.Value != want {
				t.Errorf("%s: %v visitors, want %v", p.Day, p.Value, want)
			}
		}
	}
	ask(8)
	span := spanOf(activityDayKey(nil, app.ID, first))
	if err := s.db.DeleteRange(span.from, activityDayKey(nil, app.ID, first+3), nil); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		for _, key := range []string{fmt.Sprint("k", i), fmt.Sprint("k", i+4)} {
			h := page(app, c, key, 5000+i)
			h.Kind, h.UserID = spoor.KindIdentify, fmt.Sprint("u", i)
			write(t, s, h)
		}
		ask(float64(7 - i))
	}
	s.people.most = 0 // so that the next forgets everything
	s.people.add(peopleKey{}, keptPeople{who: nobody})
	ask(0)
}

// Goal: a keepsake takes no more room than it may, keeps what was asked for last,
// and gives the newest of a key.
// Method: ten values of ten bytes each, where there is room for five.
func TestKeepsakeIsBounded(t *testing.T) {
	k := newKeepsake(50, func(int, string) uint64 { return 10 })
	for i := range 10 {
		k.add(i, "old")
		k.get(0)
	}
	k.add(0, "new")
	for i := range 10 {
		want := ""
		switch {
		case i == 0:
			want = "new"
		case i > 5:
			want = "old"
		}
		if got, ok := k.get(i); got != want || ok != (want != "") {
			t.Errorf("%d: %q, %t; want %q", i, got, ok, want)
		}
	}
	if k.bytes != 50 || len(k.kept) != 5 {
		t.Errorf("%d bytes of %d values, want 50 of 5", k.bytes, len(k.kept))
	}
}

func seal(s *Store) error {
	_, _, err := s.SealDays(context.Background())
	return err
}
