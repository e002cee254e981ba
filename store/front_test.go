package store

import (
	"errors"
	"math/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

var errCommit = errors.New("injected")

// openCommitting opens a store with the default of what may wait to be counted, and
// gives its batches to commit once it is set.
func openCommitting(t *testing.T, commit *atomic.Pointer[func(*pebble.DB, *pebble.Batch) error]) (*Store, *spoor.App, *clock) {
	t.Helper()
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	o.putOffFrom = 0
	o.commit = func(db *pebble.DB, b *pebble.Batch) error {
		if f := commit.Load(); f != nil {
			return (*f)(db, b)
		}
		return db.ApplyNoSyncWait(b, pebble.Sync)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, newApp(t, s, "shop", "Europe/Warsaw"), c
}

// Goal: Close finishes what was taken, also a group that Pebble is still taking in.
func TestCloseWhilePebbleWrites(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		var commit atomic.Pointer[func(*pebble.DB, *pebble.Batch) error]
		s, app, c := openCommitting(t, &commit)
		begun, goOn := make(chan struct{}), make(chan struct{})
		slow := func(db *pebble.DB, b *pebble.Batch) error {
			close(begun)
			<-goOn
			if fails {
				return errCommit
			}
			return db.ApplyNoSyncWait(b, pebble.Sync)
		}
		commit.Store(&slow)
		wrote, closed := make(chan error, 1), make(chan error, 1)
		go func() { wrote <- s.Write(randomRequests(rand.New(rand.NewSource(1)), app, c.Now(), 1)[0]) }()
		<-begun
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			t.Fatalf("closed while a group is under way: %v", err)
		case <-time.After(50 * time.Millisecond): // it must not
		}
		close(goOn)
		if err := <-wrote; (err != nil) != fails || fails && !errors.Is(err, errCommit) {
			t.Errorf("a write of a group under way, which fails: %v: %v", fails, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}

// Goal: when the caller hears that Pebble refused a change, it is in force no more, and
// what comes after it is stored, however long nothing else came.
func TestRefusedWhileIdle(t *testing.T) {
	t.Parallel()
	var commit atomic.Pointer[func(*pebble.DB, *pebble.Batch) error]
	s, app, c := openCommitting(t, &commit)
	fail := func(*pebble.DB, *pebble.Batch) error { return errCommit }
	commit.Store(&fail)
	_, err := s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.StatisticsRows = 77; return nil })
	if !errors.Is(err, errCommit) {
		t.Errorf("a change that Pebble refuses: %v", err)
	}
	if n := s.App(app.ID).Settings.StatisticsRows; n == 77 {
		t.Error("a setting that was refused is in force")
	}
	commit.Store(nil)
	if err := s.Write(randomRequests(rand.New(rand.NewSource(1)), app, c.Now(), 1)[0]); err != nil {
		t.Errorf("a hit after it: %v", err)
	}
	check(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
