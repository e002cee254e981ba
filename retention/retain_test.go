package retention

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: where what falls due is done elsewhere, Run removes nobody, and Retain does
// it by the time that it is given, once a day, also where the clock here is wrong;
// a sweep that is asked for is done again on the same day; bytes follow by Run.
func TestRetain(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	w.s = New(Options{Store: w.st, Now: w.Now, Log: w.s.opts.Log, Elsewhere: true})
	first, other := w.hit("first"), w.hit("other")
	due := start.AddDate(0, 0, 61)
	w.at(due)
	runUntil := func(what string, done func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { w.s.Run(ctx) })
		defer running.Wait() // what it began is over then
		defer cancel()
		for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("Run does not come to " + what)
			}
		}
	}
	there := func(n spoor.Number) bool {
		t.Helper()
		p, err := w.st.Profile(w.app.ID, n)
		if err != nil {
			t.Fatal(err)
		}
		return p != nil
	}
	retain := func(now time.Time) spoor.AppSweep {
		t.Helper()
		st := w.st.At(now, bytes.NewReader(nil), nil)
		r, err := w.s.Retain(context.Background(), st, w.app.ID, now)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	runUntil("shorten the audit logs", func() bool {
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		return w.s.trimmed[w.app.ID] != 0
	})
	if !there(first) || w.s.Figures().Runs != 0 {
		t.Fatal("Run swept")
	}
	w.s.figures.stopped.Store(true) // this machine's clock cannot be trusted
	if r := retain(due.AddDate(0, 0, -1)); r.Profiles != 0 || !there(first) {
		t.Fatalf("%+v a day early", r)
	}
	if r := retain(due); r.Profiles != 2 || there(first) || there(other) || r.Day != w.app.Day(due.UnixMilli()) {
		t.Fatalf("%+v", r)
	}
	if got := w.s.Figures(); got.Runs != 2 || got.Profiles != 2 || got.LastRun != due.UnixMilli() {
		t.Errorf("%+v", got)
	}
	// The days are swept again on request only.
	if _, err := w.st.UpdateApp(w.app.ID, func(a *spoor.App) error { a.Settings.IdleDays = 0; return nil }); err != nil {
		t.Fatal(err)
	}
	if r := retain(due); r.Profiles != 0 || w.s.Figures().Runs != 2 {
		t.Errorf("%+v, %+v", r, w.s.Figures())
	}
	v := w.s.At(w.st.At(due, bytes.NewReader(nil), nil), due, w.app.ID)
	if r, err := v.Sweep(context.Background(), true, true); err != nil || len(r.Apps) != 1 || w.s.Figures().Runs != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	runUntil("give the bytes back", func() bool { return w.s.Figures().Partitions > 0 })
	if last, err := w.st.Retained(w.app.ID); err != nil || last != w.app.Day(due.UnixMilli()) {
		t.Errorf("%v, %v", last, err)
	}
	if r, err := w.s.Retain(context.Background(), w.st.At(due, bytes.NewReader(nil), nil), 99, due); err != nil || r.App != "" {
		t.Errorf("an app that is not there: %+v, %v", r, err)
	}
}
