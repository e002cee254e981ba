package retention

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: the outlook counts exactly whom the sweeps of the next days would remove.
// Method: random people, among them some who were merged and are anonymous again,
// some with rights, some who never came, and hits that are not counted yet; on
// each day the outlook is compared with the plan, which reads every candidate.
func TestOutlookAgainstPlan(t *testing.T) {
	const zone = "Europe/Warsaw"
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 3, 20, 12, 0, 0, 0, loc) // a summer time begins in it
	w := newWorld(t, zone, start, func(s *spoor.Settings) { s.IdleDays = 9 })
	first := w.app.Day(start.UnixMilli())
	all := make([]*history, 60)
	seen, later := 0, 0
	for day := first; day < first+30; day++ {
		w.live(rng, all, day, loc)
		w.odd(rng, day, loc)
		for range 2 { // before the day's sweep and after it
			w.compare(day, &seen, &later)
			w.sweep()
		}
		w.compare(day, &seen, &later)
		for i, h := range all {
			if h != nil && !w.lives(h.number) {
				all[i] = nil
			}
		}
	}
	if seen < 100 || later < 60 {
		t.Errorf("only %d profiles were due, %d of them on a later day", seen, later)
	}
}

// odd makes profiles of whom sets of numbers alone do not tell when they are due.
func (w *world) odd(rng *rand.Rand, day spoor.Day, loc *time.Location) {
	w.Helper()
	w.at(day.Start(loc).Add(23 * time.Hour))
	if _, _, err := w.st.Edit(&spoor.Edit{App: w.app.ID, Key: fmt.Sprint("never came ", day), Door: spoor.DoorREST, At: w.Now().UnixMilli()}); err != nil {
		w.Fatal(err)
	}
	merged := fmt.Sprint("merged ", day)
	before := func(h *spoor.Hit) { h.UserID, h.Time = merged, (day - 2).Start(loc).UnixMilli() } // a phone that was offline
	w.hit(merged+" two", before)
	w.hit(merged + " one")
	n := w.hit(merged+" one", before)
	w.edit(n, func(e *spoor.Edit) { e.Attributes = []spoor.Attribute{{Name: spoor.AttrUserID}} })
	for _, r := range []spoor.Right{spoor.RightHold, spoor.RightRestrict} {
		n := w.hit(fmt.Sprint("right ", r, day))
		if _, err := w.st.SetRight(w.app.ID, n, r, day+spoor.Day(5+rng.IntN(10))); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) compare(day spoor.Day, seen, later *int) {
	w.Helper()
	o, err := w.s.Outlook(w.app)
	if err != nil || len(o.Due) != outlookDays {
		w.Fatalf("%s: %+v, %v", day, o, err)
	}
	sum := int64(0)
	for i, due := range o.Due {
		sum += due.Profiles
		want := int64(0)
		if err := w.s.Plan(w.app, due.Day, func(*spoor.Profile, spoor.Verdict) error { want++; return nil }); err != nil {
			w.Fatal(err)
		}
		if *seen += int(due.Profiles); i > 0 {
			*later += int(due.Profiles)
		}
		if sum != want {
			w.Errorf("on %s until %s: %d profiles are due by the outlook, %d by the plan", day, due.Day, sum, want)
		}
	}
}

// Goal: the outlook says when the last sweep was and when the next one is, and
// knows holds, ends and idle_days 0.
func TestOutlookOfAnApp(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "Asia/Kolkata", start)
	loc, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	w.hit("cookie")
	day := w.app.Day(start.UnixMilli())
	f := func(what string, last, next time.Time, begins, due spoor.Day) {
		t.Helper()
		o, err := w.s.Outlook(w.st.App(w.app.ID))
		if err != nil {
			t.Fatal(err)
		}
		ms := func(at time.Time) int64 {
			if at.IsZero() {
				return 0
			}
			return at.UnixMilli()
		}
		if o.LastSweep != ms(last) || o.NextSweep != ms(next) || begins == 0 != (len(o.Due) == 0) || begins != 0 && o.Due[0].Day != begins {
			t.Errorf("%s: %+v", what, o)
		}
		for _, d := range o.Due {
			if (d.Profiles == 1) != (d.Day == due) {
				t.Errorf("%s: %d profiles on %s", what, d.Profiles, d.Day)
			}
		}
	}
	set := func(change func(*spoor.App)) {
		t.Helper()
		if _, err := w.st.UpdateApp(w.app.ID, func(a *spoor.App) error { change(a); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	f("before a sweep", time.Time{}, time.Time{}, day, 0)
	w.sweep()
	f("after the sweep", start, (day + 1).Start(loc), day+1, 0)
	then := (day + 58).Start(loc).Add(time.Hour)
	w.at(then)
	f("a few days before", start, time.Time{}, day+58, day+61)
	set(func(a *spoor.App) { a.Settings.HoldUntil = (day + 62).String() })
	f("held", start, time.Time{}, day+58, day+63)
	set(func(a *spoor.App) { a.Settings.HoldUntil = (day + 90).String() })
	f("held for long", start, time.Time{}, day+58, 0)
	set(func(a *spoor.App) { a.Settings.HoldUntil, a.Ends = "", (day + 60).Start(loc).UnixMilli() })
	f("the app goes before", start, time.Time{}, day+58, 0)
	set(func(a *spoor.App) { a.Ends = 0; a.Settings.IdleDays = 0 })
	f("nobody falls due", start, time.Time{}, 0, 0)
}
