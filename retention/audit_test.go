package retention

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

func (w *world) auditLog(app spoor.AppID) (all []spoor.Access) {
	w.Helper()
	end, err := w.st.AuditEntries(app, 0, func(e *spoor.AuditEntry) error {
		all = append(all, e.Access)
		return nil
	})
	if err != nil || end.Broken != "" {
		w.Fatal(end, err)
	}
	return all
}

// Goal: each sweep that removed somebody makes one entry of its app, and none
// where nobody went; the end of an app makes one that outlives it.
func TestSweepsAreEntered(t *testing.T) {
	start := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	for n := range 3 {
		w.hit(fmt.Sprint("visitor", n))
	}
	w.sweep()
	if all := w.auditLog(w.app.ID); len(all) != 0 {
		t.Errorf("nobody went, entered %+v", all)
	}
	w.at(start.AddDate(0, 0, 61))
	w.sweep()
	w.sweep()
	want := spoor.Access{At: w.Now().UnixMilli(), Actor: spoor.ActorRetention, App: w.app.ID, Action: "sweep", Subjects: 3, Complete: true}
	if all := w.auditLog(w.app.ID); len(all) != 1 || all[0] != want {
		t.Errorf("entered %+v, want one of %+v", all, want)
	}
	if _, err := w.st.UpdateApp(w.app.ID, func(a *spoor.App) error { a.Ends = w.Now().UnixMilli(); return nil }); err != nil {
		t.Fatal(err)
	}
	w.sweep()
	want.Action, want.AppName, want.Subjects = "apps.end", "shop", 0
	if all := w.auditLog(0); len(all) != 1 || all[0] != want {
		t.Errorf("entered %+v, want one of %+v", all, want)
	}
}

// brokenStore cannot store entries, and fails after some removals.
type brokenStore struct {
	*store.Store
}

func (b *brokenStore) Audit(spoor.Access) error { return spoor.ErrReadOnly }

func (b *brokenStore) Remove(app spoor.AppID, n []spoor.Number, run uint64, keeps func(*spoor.Profile) bool) (spoor.Removal, error) {
	r, err := b.Store.Remove(app, n, run, keeps)
	if err == nil {
		err = context.DeadlineExceeded
	}
	return r, err
}

// Goal: what a failing sweep removed is told too, and where it cannot be stored
// the log has it.
func TestSweepThatCannotBeEntered(t *testing.T) {
	start := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	w.hit("visitor")
	w.at(start.AddDate(0, 0, 61))
	var log strings.Builder
	s := New(Options{Store: &brokenStore{Store: w.st}, Now: w.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if _, err := s.Sweep(t.Context(), false, true); err == nil {
		t.Error("the sweep did not fail")
	}
	if !strings.Contains(log.String(), "actor=retention") || !strings.Contains(log.String(), "action=sweep subjects=1 ref=\"\" complete=false") || s.Figures().AuditMissed != 1 {
		t.Errorf("%+v: %s", s.Figures(), log.String())
	}
}

// Goal: entries go when they are older than audit_days, of each app and of none,
// looked for once a day.
func TestAuditRetention(t *testing.T) {
	start := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start, func(s *spoor.Settings) { s.AuditDays = 30; s.IdleDays = 0 })
	enter := func() {
		for _, app := range []spoor.AppID{0, w.app.ID} {
			if err := w.st.Audit(spoor.Access{At: w.Now().UnixMilli(), App: app, Action: "a", Complete: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := func(days, ofApp, ofNone int) {
		t.Helper()
		w.at(start.AddDate(0, 0, days))
		w.sweep()
		if a, n := len(w.auditLog(w.app.ID)), len(w.auditLog(0)); a != ofApp || n != ofNone {
			t.Errorf("after %d days: %d entries of the app, %d of none; want %d, %d", days, a, n, ofApp, ofNone)
		}
	}
	enter()
	f(10, 1, 1)
	enter()
	f(30, 2, 2)
	f(31, 1, 2)
	f(41, 0, 2)
	f(1095, 0, 2)
	f(1096, 0, 1)
	f(1106, 0, 0)
	if _, err := w.st.UpdateApp(w.app.ID, func(a *spoor.App) error { a.Settings.AuditDays = 0; return nil }); err != nil {
		t.Fatal(err)
	}
	enter()
	f(1110, 1, 1) // settings without it keep entries all the same
}
