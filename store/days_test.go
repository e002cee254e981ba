package store

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// country is a store whose app lives in a time zone, at a given time.
func country(t testing.TB, zone string, now time.Time) *town {
	t.Helper()
	c := newClock()
	c.now = now
	s := open(t, testOptions(t, vfs.NewMem(), c))
	return &town{TB: t, c: c, s: s, app: newApp(t, s, "shop", zone)}
}

// at stores a page view that happened at a time and is received now.
func (w *town) at(key string, happened time.Time) spoor.Hit {
	w.Helper()
	w.ids++
	h := page(w.app, w.c, "hit", w.ids)
	h.Key, h.Time = key, happened.UnixMilli()
	return write(w, w.s, h)[0]
}

func (w *town) zone() *time.Location {
	loc, err := time.LoadLocation(w.app.Settings.Zones[0].Zone)
	if err != nil {
		w.Fatal(err)
	}
	return loc
}

func day(t testing.TB, text string) spoor.Day {
	t.Helper()
	d, err := spoor.ParseDay(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Goal: a hit is filed under the calendar day of the app's zone, to the
// millisecond, also on the days that have 23 and 25 hours.
// Method: for each zone and date, hits in the last millisecond of the day, the
// first of the next, and on every half hour between are compared with the date
// that the time package prints.
func TestDaysInTheAppsZone(t *testing.T) {
	for _, tc := range []struct{ zone, date string }{
		{"UTC", "2026-03-29"}, {"UTC", "2026-12-31"},
		{"Europe/Warsaw", "2026-03-29"}, // 02:00 → 03:00
		{"Europe/Warsaw", "2026-10-25"}, // 03:00 → 02:00
		{"Asia/Kolkata", "2026-03-29"},
		{"America/Sao_Paulo", "2017-10-15"}, // has no midnight
		{"Pacific/Apia", "2011-12-29"},      // the next day does not exist
	} {
		t.Run(tc.zone+" "+tc.date, func(t *testing.T) {
			loc, err := time.LoadLocation(tc.zone)
			if err != nil {
				t.Fatal(err)
			}
			start := day(t, tc.date).Start(loc)
			w := country(t, tc.zone, start.Add(49*time.Hour))
			moments := []time.Time{start.Add(-time.Millisecond), start}
			for h := time.Duration(0); h < 49; h++ {
				moments = append(moments, start.Add(h*30*time.Minute+17*time.Millisecond))
			}
			end := (day(t, tc.date) + 1).Start(loc)
			moments = append(moments, end.Add(-time.Millisecond), end)
			want := map[spoor.Day]int64{}
			for i, m := range moments {
				h := w.at("visitor1", m)
				if date := m.In(loc).Format(time.DateOnly); h.Day.String() != date || h.Marks != 0 {
					t.Errorf("moment %d, %s: filed under %s with marks %d, want %s", i, m.In(loc), h.Day, h.Marks, date)
				}
				want[h.Day]++
			}
			parts, err := w.s.Partitions(w.app.ID)
			if err != nil || len(parts) != len(want) {
				t.Fatalf("partitions %v, %v; want %v", parts, err, want)
			}
			for _, p := range parts {
				if p.Hits != want[p.Day] || p.Profiles != 1 {
					t.Errorf("%s: %d hits, %d profiles; want %d and 1", p.Day, p.Hits, p.Profiles, want[p.Day])
				}
			}
		})
	}
}

// Goal: an event that is late is filed under its own day while that is open,
// else under the first open one, marked, with its own time; activity is counted
// by the day under which it is filed.
// Method: a table of ages.
func TestLateEvents(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	first := day(t, "2026-03-03") // seven days before
	for i, tc := range []struct {
		happened time.Time
		want     spoor.Day
		marks    spoor.Marks
	}{
		{now, day(t, "2026-03-10"), 0},
		{now.Add(-24 * time.Hour), day(t, "2026-03-09"), 0},
		{time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC), first, 0},
		{time.Date(2026, 3, 2, 23, 59, 59, 999e6, time.UTC), first, spoor.MarkLate},
		{now.Add(-400 * 24 * time.Hour), first, spoor.MarkLate},
		{time.Date(1970, 1, 1, 0, 0, 0, 1e6, time.UTC), first, spoor.MarkLate},
		{time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC), first, spoor.MarkLate},
		{time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC), first, spoor.MarkLate},
		{time.UnixMilli(math.MinInt64), first, spoor.MarkLate},
		{time.UnixMilli(-1 << 53), first, spoor.MarkLate},
		{now.Add(time.Second), day(t, "2026-03-10"), 0},
		{now.Add(futureSlack * time.Millisecond), day(t, "2026-03-10"), 0},
		{now.Add((futureSlack + 1) * time.Millisecond), day(t, "2026-03-10"), spoor.MarkFuture},
		{time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC), day(t, "2026-03-10"), spoor.MarkFuture},
		{time.UnixMilli(math.MaxInt64), day(t, "2026-03-10"), spoor.MarkFuture},
	} {
		t.Run(fmt.Sprint(i, " ", tc.happened), func(t *testing.T) {
			w := country(t, "UTC", now)
			h := w.at("visitor1", tc.happened)
			if h.Outcome != spoor.Stored || h.Day != tc.want || h.Marks != tc.marks {
				t.Fatalf("%v, filed under %s with marks %d; want %s and %d", h.Outcome, h.Day, h.Marks, tc.want, tc.marks)
			}
			wantTime := min(tc.happened.UnixMilli(), now.UnixMilli())
			found := 0
			if err := w.s.ScanHits(w.app.ID, tc.want, tc.want, func(g *spoor.Hit) error {
				if found++; g.Time != wantTime || g.Received != now.UnixMilli() || g.Marks != tc.marks {
					t.Errorf("it is kept with time %d, received %d, marks %d; want %d, %d, %d", g.Time, g.Received, g.Marks, wantTime, now.UnixMilli(), tc.marks)
				}
				return nil
			}); err != nil || found != 1 {
				t.Errorf("%d hits on %s, %v", found, tc.want, err)
			}
			active, err := readActivity(w.s.db, w.app.ID, tc.want, activityActive)
			if err != nil || !active.Contains(1) || active.GetCardinality() != 1 {
				t.Errorf("active on %s: %v, %v", tc.want, active, err)
			}
			p := w.profile(1)
			if p.FirstDay != tc.want || p.LastDay != tc.want {
				t.Errorf("active from %s to %s, want %s", p.FirstDay, p.LastDay, tc.want)
			}
			w.at("visitor1", tc.happened) // again, with another id: the visit exists
			w.at("visitor1", now)
			if got := w.hits(1); got != 3 {
				t.Errorf("%d hits, want 3", got)
			}
		})
	}
}

// Goal: a day that has left the window is sealed by the next receipt, or by
// Seal, for good: also when receipts go back, and after a restart.
// Method: hits on a day before and after it is sealed.
func TestSealing(t *testing.T) {
	for _, how := range []string{"by receipt", "by the clock"} {
		t.Run(how, func(t *testing.T) {
			c := newClock()
			o := testOptions(t, vfs.NewMem(), c)
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			w := &town{TB: t, c: c, s: s, app: newApp(t, s, "shop", "Europe/Warsaw")}
			born := c.Now()
			first := w.at("visitor1", born)
			sealed := func() (sealed, open int) {
				parts, err := w.s.Partitions(w.app.ID)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range parts {
					if p.Sealed {
						sealed++
					} else {
						open++
					}
				}
				return sealed, open
			}
			c.now = (first.Day + 8).Start(w.zone()).Add(-time.Millisecond) // the last moment of the window
			if err := s.Seal(); err != nil {
				t.Fatal(err)
			}
			if h := w.at("visitor1", born); h.Day != first.Day || h.Marks != 0 {
				t.Errorf("in the window: filed under %s with marks %d", h.Day, h.Marks)
			}
			if n, _ := sealed(); n != 0 {
				t.Errorf("%d days are sealed in the window", n)
			}
			back := c.Now()
			c.add(time.Millisecond)
			if how == "by receipt" {
				w.at("visitor2", c.Now())
			} else if err := s.Seal(); err != nil {
				t.Fatal(err)
			}
			if n, _ := sealed(); n != 1 {
				t.Errorf("%d days are sealed, want 1", n)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			c.now = back // a clock that goes back opens nothing
			w.s = open(t, o)
			if err := w.s.Seal(); err != nil {
				t.Fatal(err)
			}
			if h := w.at("visitor1", born); h.Day != first.Day+1 || h.Marks != spoor.MarkLate {
				t.Errorf("after sealing: filed under %s with marks %d; want %s, late", h.Day, h.Marks, first.Day+1)
			}
			if n, _ := sealed(); n != 1 {
				t.Errorf("%d days are sealed, want 1", n)
			}
		})
	}
}

// Goal: a clock that jumps ahead and comes back loses no hit and moves none
// into a sealed day.
// Method: a receipt 400 days ahead, then receipts of now.
func TestClockJumps(t *testing.T) {
	w := country(t, "UTC", time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC))
	w.at("visitor1", w.c.Now())
	w.c.add(400 * 24 * time.Hour)
	ahead := w.at("visitor1", w.c.Now())
	w.c.add(-400 * 24 * time.Hour)
	h := w.at("visitor1", w.c.Now())
	if h.Outcome != spoor.Stored || h.Day != ahead.Day-7 || h.Marks != spoor.MarkLate || h.Time != w.c.ms() {
		t.Errorf("%v, filed under %s with marks %d and time %d", h.Outcome, h.Day, h.Marks, h.Time)
	}
	if n := w.hits(1); n != 3 {
		t.Errorf("%d hits, want 3", n)
	}
}

// Goal: a change of the time zone takes effect at the next midnight of the old
// one, and breaks no partition.
// Method: to the east and to the west; hits around the change, a late one from
// before it, and Check, which recounts the hours of all.
func TestChangeOfTimeZone(t *testing.T) {
	for _, tc := range []struct{ from, to string }{{"Europe/Warsaw", "Asia/Kolkata"}, {"Asia/Kolkata", "Europe/Warsaw"}, {"Asia/Kolkata", "Pacific/Honolulu"}} {
		t.Run(tc.from+" to "+tc.to, func(t *testing.T) {
			w := country(t, tc.from, time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC))
			old, next := w.zone(), must(time.LoadLocation(tc.to))
			noon := w.c.Now()
			before := w.at("visitor1", noon)
			setting, err := spoor.SettingByName("timezone")
			if err != nil {
				t.Fatal(err)
			}
			if w.app, err = w.s.UpdateApp(w.app.ID, func(a *spoor.App) error { return setting.Set(&a.Settings, tc.to, noon) }); err != nil {
				t.Fatal(err)
			}
			midnight := (before.Day + 1).Start(old)
			for _, m := range []time.Time{midnight.Add(-time.Millisecond), midnight, midnight.Add(6 * time.Hour), midnight.Add(30 * time.Hour)} {
				w.c.now = m
				h := w.at("visitor1", m)
				loc := old
				if !m.Before(midnight) {
					loc = next
				}
				if want := spoor.DayOf(m, loc); h.Day != want || h.Marks != 0 {
					t.Errorf("%s: filed under %s with marks %d, want %s", m, h.Day, h.Marks, want)
				}
			}
			if h := w.at("visitor1", noon); h.Day != before.Day || h.Marks != 0 {
				t.Errorf("a late hit from before the change: filed under %s with marks %d, want %s", h.Day, h.Marks, before.Day)
			}
			w.forgetful()
			w.at("visitor1", noon)
			if n := w.hits(1); n != 7 {
				t.Errorf("%d hits, want 7", n)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Goal: a visit goes on over midnight, and out of order, and ends after 30
// minutes; hits that are no visitor's are part of none.
// Method: a table of minutes at which hits happen, in the order of receipt, with
// the minute at which the visit of each began.
func TestVisits(t *testing.T) {
	midnight := time.Date(2026, 3, 10, 23, 0, 0, 0, time.UTC) // Warsaw's
	for _, tc := range []struct {
		name     string
		at, want []int
		visits   int64
	}{
		{"one", []int{0, 10, 39, 68}, []int{0, 0, 0, 0}, 1},
		{"over midnight", []int{-20, 5, 30}, []int{-20, -20, -20}, 1},
		{"a gap of 30 minutes", []int{0, 30}, []int{0, 30}, 2},
		{"a gap of 29 minutes", []int{0, 29}, []int{0, 0}, 1},
		{"out of order, within", []int{0, 20, 10}, []int{0, 0, 0}, 1},
		{"out of order, before", []int{0, -10}, []int{0, 0}, 1},
		{"out of order, long before", []int{0, -100, -90}, []int{0, -100, -100}, 2},
		{"out of order, long before, over midnight", []int{300, -10, 10}, []int{300, -10, -10}, 2},
		{"a gap that is closed later", []int{0, 40, 20}, []int{0, 40, 40}, 2},
	} {
		for _, grouped := range []bool{false, true} {
			t.Run(fmt.Sprint(tc.name, ", grouped ", grouped), func(t *testing.T) {
				w := country(t, "Europe/Warsaw", midnight.Add(12*time.Hour))
				var hits []spoor.Hit
				for i, m := range tc.at {
					h := page(w.app, w.c, "visitor1", i)
					h.Time = midnight.Add(time.Duration(m) * time.Minute).UnixMilli()
					hits = append(hits, h)
				}
				if grouped {
					write(t, w.s, hits...)
				} else {
					for i := range hits {
						write(t, w.s, hits[i:i+1]...)
						w.forgetful()
					}
				}
				for i, h := range hits {
					if want := midnight.Add(time.Duration(tc.want[i]) * time.Minute).UnixMilli(); h.Visit != want {
						t.Errorf("hit at minute %d: its visit began at minute %d, want %d", tc.at[i], (h.Visit-midnight.UnixMilli())/60_000, tc.want[i])
					}
				}
				if p := w.profile(1); p.Visits != tc.visits || p.Views != int64(len(hits)) {
					t.Errorf("%d visits, %d views; want %d, %d", p.Visits, p.Views, tc.visits, len(hits))
				}
			})
		}
	}
}
