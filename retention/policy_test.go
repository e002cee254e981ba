package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: a right or a hold keeps a profile that is due otherwise, to the day, and
// the planned deletion says so.
func TestRightsKeep(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	day := w.app.Day(start.UnixMilli())
	plain := w.hit("plain")
	right := func(key string, r spoor.Right, until spoor.Day) spoor.Number {
		n := w.hit(key)
		if _, err := w.st.SetRight(w.app.ID, n, r, until); err != nil {
			t.Fatal(err)
		}
		return n
	}
	held, restricted := right("held", spoor.RightHold, day+70), right("restricted", spoor.RightRestrict, day+65)
	forever, objected := right("forever", spoor.RightHold, spoor.Forever), right("objected", spoor.RightObject, spoor.Forever)
	short := right("short", spoor.RightHold, day+10)
	due := map[spoor.Number]spoor.Day{plain: day + 61, held: day + 71, restricted: day + 66, objected: day + 61, short: day + 61, forever: 0}
	for n, want := range due {
		p, err := w.st.Profile(w.app.ID, n)
		if err != nil {
			t.Fatal(err)
		}
		if v := Judge(w.app, p, day); v.Due != want {
			t.Errorf("profile %d is due on %s, want %s: %q", n, v.Due, want, v.Keeps)
		}
	}
	for today := day + 60; today < day+75; today++ {
		w.at(time.Unix(int64(today)*86400+60, 0))
		w.sweep()
		for n, on := range due {
			if lives := on == 0 || today < on; w.lives(n) != lives {
				t.Errorf("on %s profile %d, due on %s: lives %t, want %t", today, n, on, !lives, lives)
			}
		}
	}
}

// Goal: hits of days older than hits_days go, to the day, in three zones;
// persons stay; a hold of the app keeps all of it.
func TestHitsAge(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Warsaw", "America/Los_Angeles"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Date(2026, 2, 14, 12, 0, 0, 0, loc)
		w := newWorld(t, zone, start, func(s *spoor.Settings) { s.HitsDays = 30; s.IdleDays = 0; s.HoldUntil = "2026-03-20" })
		n := w.hit("cookie", func(h *spoor.Hit) { h.UserID = "person" })
		day := w.app.Day(start.UnixMilli())
		hits := func() (sum int64) {
			parts, err := w.st.Partitions(w.app.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parts {
				sum += p.Hits
			}
			return sum
		}
		w.at((day + 31).Start(loc)) // 17 March: held
		if w.sweep(); hits() != 1 {
			t.Errorf("%s: hits of a held app went", zone)
		}
		if w.app, err = w.st.UpdateApp(w.app.ID, func(a *spoor.App) error { a.Settings.HoldUntil = ""; return nil }); err != nil {
			t.Fatal(err)
		}
		w.at((day + 31).Start(loc).Add(-time.Millisecond))
		if w.sweep(); hits() != 1 {
			t.Errorf("%s: gone a millisecond before midnight", zone)
		}
		planned := 0
		if err := w.s.PlanDays(w.app, day+31, func(p spoor.Partition, why string) error {
			if planned++; p.Day != day || !strings.Contains(why, "hits_days, 30") {
				t.Errorf("%s: planned %+v, %s", zone, p, why)
			}
			return nil
		}); err != nil || planned != 1 {
			t.Errorf("%s: %d days are planned, %v", zone, planned, err)
		}
		w.at((day + 31).Start(loc))
		r := w.sweep()
		if hits() != 0 || r.Apps[0].Aged.Hits != 1 || !w.lives(n) {
			t.Errorf("%s: at midnight %+v, %d hits are left", zone, r, hits())
		}
		if receipt, err := w.st.Receipt(w.app.ID, r.Apps[0].Aged.Receipt); err != nil || receipt.What != spoor.ReceiptExpiry || receipt.Hits != 1 || receipt.Gone == 0 {
			t.Errorf("%s: receipt %+v, %v", zone, receipt, err)
		}
	}
}

// Goal: a sweep has one receipt per app with all who went; without waiting it
// says only when it was decided, and gets its end when the bytes are gone.
func TestReceiptOfASweep(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	for i := range 100 { // several requests to the writer
		w.hit(fmt.Sprint("cookie ", i))
	}
	w.hit("person", func(h *spoor.Hit) { h.UserID = "person" })
	w.at(start.AddDate(0, 0, 61))
	r, err := w.s.Sweep(context.Background(), false, false)
	if err != nil || len(r.Apps) != 1 || r.Apps[0].Profiles != 100 || r.Decided == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	var all []spoor.Receipt
	list := func() spoor.Receipt {
		t.Helper()
		all = nil
		if err := w.st.Receipts(w.app.ID, func(r *spoor.Receipt) error { all = append(all, *r); return nil }); err != nil || len(all) != 1 {
			t.Fatalf("%d receipts, %v", len(all), err)
		}
		return all[0]
	}
	now := w.Now().UnixMilli()
	if got := list(); got.Profiles != 100 || got.Hits != 100 || got.What != spoor.ReceiptSweep || got.Decided != now || got.Gone != 0 || got.App != "shop" {
		t.Errorf("receipt %+v", got)
	}
	w.at(w.Now().Add(time.Hour))
	if _, err := w.s.Reclaim(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	// The day is rewritten; what leads to the profiles waits for a week at most.
	if f := w.s.Figures(); list().Gone != 0 || f.PendingDays != 1 || f.PendingBytes == 0 || f.OldestPending != now {
		t.Errorf("after reclaiming: %+v, %+v", all, f)
	}
	w.at(w.Now().AddDate(0, 0, 6))
	if _, err := w.s.Reclaim(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	if f := w.s.Figures(); list().Gone != w.Now().UnixMilli() || list().Backups != w.Now().AddDate(0, 0, 30).UnixMilli() || f.OldestPending != 0 || f.PendingBytes != 0 {
		t.Errorf("after six days: %+v, %+v", all, f)
	}
	w.at(w.Now().AddDate(0, 0, spoor.AuditDaysDefault))
	w.sweep()
	if list().Profiles != 100 {
		t.Errorf("the receipt went too early: %+v", all)
	}
	w.at(w.Now().AddDate(0, 0, 1))
	w.sweep()
	if err := w.st.Receipts(w.app.ID, func(r *spoor.Receipt) error { return fmt.Errorf("left: %+v", *r) }); err != nil {
		t.Error(err)
	}
}

// Goal: an app that should end stays while somebody in it is under a hold, and
// cannot be deleted.
func TestHoldKeepsTheApp(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	n := w.hit("cookie")
	if _, err := w.st.SetRight(w.app.ID, n, spoor.RightHold, w.app.Day(start.UnixMilli())+5); err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.UpdateApp(w.app.ID, func(a *spoor.App) error { a.Ends, a.Closed = start.Add(time.Hour).UnixMilli(), true; return nil }); err != nil {
		t.Fatal(err)
	}
	w.at(start.AddDate(0, 0, 5))
	if w.sweep(); len(w.st.AllApps()) != 1 || !w.lives(n) {
		t.Error("an app ended over a hold")
	}
	var held *spoor.HeldError
	if err := w.st.DeleteApp(w.app.ID); !errors.As(err, &held) {
		t.Errorf("deleting over a hold: %v", err)
	}
	w.at(start.AddDate(0, 0, 6))
	if w.sweep(); len(w.st.AllApps()) != 0 {
		t.Error("the app stays after the hold")
	}
}

// Goal: after a start nothing is decided before the grace period has passed: no
// app ends and no day is sealed; and the log says what will go.
func TestGrace(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start, func(s *spoor.Settings) { s.Plan, s.PlanEnded, s.HitsDays = "trial", "2026-02-13", 30 })
	w.hit("cookie")
	w.at(start.AddDate(0, 0, 40))
	if _, _, err := w.st.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.at(start.AddDate(1, 0, 0))
	var log lockedBuffer
	s := New(Options{Store: w.st, Now: w.Now, Log: slog.New(slog.NewTextHandler(&log, nil)), Grace: 2 * time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	began := time.Now()
	go func() { defer close(ended); s.Run(ctx) }()
	for range 500 { // until it has ended
		if time.Sleep(20 * time.Millisecond); len(w.st.AllApps()) == 0 {
			break
		}
	}
	if took := time.Since(began); took < s.opts.Grace {
		t.Errorf("the app ended after %v, within the grace period", took)
	}
	cancel()
	<-ended
	if len(w.st.AllApps()) != 0 {
		t.Error("the app did not end after the grace period")
	}
	for _, want := range []string{"an app will end", "a sweep will follow", "profiles_at_most=1", "what is too old will go", "days=1"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
}

// lockedBuffer is a log that several write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Goal: an app goes when its plan ended so long ago, not before, and its receipt
// outlives it; a hold keeps it.
func TestPlansEnd(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	for plan, end := range map[string]string{"trial": "2026-06-01", "paid": "2028-03-01", "free": "", "held": "2026-07-01"} {
		w := newWorld(t, "UTC", start, func(s *spoor.Settings) {
			s.Plan, s.PlanEnded = plan, "2026-02-28"
			if plan == "held" {
				s.Plan, s.HoldUntil = "trial", "2026-06-30"
			}
		})
		w.hit("cookie", func(h *spoor.Hit) { h.UserID = "person" })
		if end == "" {
			w.at(start.AddDate(30, 0, 0))
			if w.sweep(); len(w.st.AllApps()) != 1 {
				t.Error("a free plan ended")
			}
			continue
		}
		at, err := time.Parse(time.DateOnly, end)
		if err != nil {
			t.Fatal(err)
		}
		w.at(at.Add(-time.Millisecond))
		if w.sweep(); len(w.st.AllApps()) != 1 {
			t.Errorf("%s: gone before %s", plan, end)
		}
		w.at(at)
		if w.sweep(); len(w.st.AllApps()) != 0 {
			t.Errorf("%s: not gone at %s", plan, end)
		}
		var what []string
		err = w.st.Receipts(0, func(r *spoor.Receipt) error {
			what = append(what, fmt.Sprint(r.App, " ", r.What, " ", r.Profiles, " ", r.Hits, " ", r.Gone != 0))
			return nil
		})
		if err != nil || !slices.Equal(what, []string{"shop termination 1 1 true"}) {
			t.Errorf("%s: receipts %q, %v", plan, what, err)
		}
	}
}
