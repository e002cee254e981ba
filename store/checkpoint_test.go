package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/spoorhq/spoor"
)

// copied opens a copy of the store; it is checked at the end of the test.
func copied(t testing.TB, s *Store, dir string) *Store {
	t.Helper()
	o := s.opts
	o.Dir = dir
	c := open(t, o)
	if lost := c.Stats(); lost.LostGroups != 0 || lost.LostHits != 0 {
		t.Errorf("the copy in %s lacks %d groups and %d hits that were acknowledged", dir, lost.LostGroups, lost.LostHits)
	}
	return c
}

// Goal: a copy of a store that is being written to holds all that was acknowledged
// before it, and fits together; what is consumed again from its offsets on is
// neither lost nor doubled.
// Method: one goroutine consumes records without ids, others write hits with ids,
// sweep and erase persons and give their bytes back, which ingests tables beside
// the log; memtables are small, so that logs and tables change all the time.
// Meanwhile copies are made; each is opened and checked, compared with the ledger
// of before, and given the records behind its offset.
func TestCheckpoint(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.Default, c)
	o.Dir, o.MemTableBytes = filepath.Join(t.TempDir(), "data"), 64<<10
	s := open(t, o)
	app, other := newApp(t, s, "shop", "UTC"), newApp(t, s, "other", "UTC")

	var consumed, written atomic.Int64 // acknowledged; of the second, hits with ids below
	var load sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	defer load.Wait()
	defer end()
	load.Go(func() {
		for ctx.Err() == nil {
			from := consumed.Load()
			consume(t, s, portion(app, c, 0, from, from+5))
			consumed.Store(from + 5)
		}
	})
	load.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			write(t, s, page(other, c, fmt.Sprint("v", n), 0))
			written.Store(int64(n + 1))
		}
	})
	load.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			h := page(other, c, fmt.Sprint("gone", n), 0)
			h.UserID = fmt.Sprint("user", n)
			p := write(t, s, h)[0].Profile
			if _, err := s.Erase(other.ID, []spoor.Number{p}, "somebody"); err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Reclaim(ctx, true); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	for n := range 8 {
		until(t, "some load", func() bool { return consumed.Load() > int64(200*(n+1)) && written.Load() > int64(50*(n+1)) })
		records, hits := consumed.Load(), written.Load()
		dir := filepath.Join(filepath.Dir(o.Dir), fmt.Sprint("copy", n))
		if err := s.Checkpoint(dir); err != nil {
			t.Fatal(err)
		}
		reached := consumed.Load()
		back := copied(t, s, dir)
		check(t, back)
		next := offset(t, back, 0).Next
		if next < records || next > reached+5 {
			t.Errorf("copy %d is at record %d; %d were stored before it and %d after", n, next, records, reached)
		}
		whole(t, back, app, c, next)
		if reached > next {
			consume(t, back, portion(app, c, 0, next, reached))
			whole(t, back, app, c, reached)
		}
		there := map[string]bool{}
		if err := back.ScanHits(other.ID, -100_000, 100_000, func(h *spoor.Hit) error { there[h.ID] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		for v := range hits {
			if id := fmt.Sprintf("v%d-0", v); !there[id] {
				t.Fatalf("copy %d lacks hit %s, which was acknowledged before it", n, id)
			}
		}
	}
}

// linkFS calls a function before the first link into a copy.
type linkFS struct {
	vfs.FS
	once  sync.Once
	first func()
}

func (f *linkFS) Link(old, name string) error {
	if strings.HasPrefix(name, "copy/db/") {
		f.once.Do(f.first)
	}
	return f.FS.Link(old, name)
}

// Goal: a copy never holds the note that somebody's hits are covered without what
// covers them, which would show them again.
// Method: Pebble has taken the state of the tables when it links the first one. At
// that moment the bytes of an erased person are given back: a table of tombstones
// comes in beside the log, and the note follows if writes go on.
func TestCheckpointAmidRemoval(t *testing.T) {
	c := newClock()
	fs := &linkFS{FS: vfs.NewMem()}
	s := open(t, testOptions(t, fs, c))
	app := newApp(t, s, "shop", "UTC")
	var hits []spoor.Hit
	for n := range 20 {
		hits = append(hits, page(app, c, "anna", n))
		hits[n].UserID = "anna"
	}
	p := write(t, s, hits...)[0].Profile
	if _, err := s.Erase(app.ID, []spoor.Number{p}, "somebody"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	fs.first = func() {
		go func() {
			_, err := s.Reclaim(context.Background(), true)
			ended <- err
		}()
		waits := 0
		until(t, "the note, or that it waits for the writer", func() bool {
			if _, n := s.queue.fill(); n > 0 {
				waits++
			} else {
				waits = 0
			}
			entries, err := readJournals(s.db, 0)
			return err != nil || len(entries) == 0 || entries[0].deleted || waits > 20
		})
	}
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	back := copied(t, s, "copy")
	check(t, back)
	for _, step := range []string{"as it was copied", "once bytes are given back"} {
		shown := 0
		if err := back.ScanHits(app.ID, -100_000, 100_000, func(*spoor.Hit) error { shown++; return nil }); err != nil || shown > 0 {
			t.Errorf("%s the copy shows %d hits of who was erased, %v", step, shown, err)
		}
		if _, err := back.Reclaim(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: a copy takes next to no room, and what it takes is given back; there is one
// at a time, and what a killed process leaves is removed.
// Method: links of the copy's tables are counted on a real disk; a second copy is
// asked for; a store is opened whose folder holds a left one.
func TestCopyIsLinkedAndRemoved(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.Default, c)
	o.Dir = t.TempDir()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	for n := range 100 {
		write(t, s, page(app, c, "v", n))
	}
	lent, err := s.Copy()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(lent.Dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("the copy holds %d tables, %v", len(tables), err)
	}
	for _, path := range tables {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if links := info.Sys().(*syscall.Stat_t).Nlink; links < 2 {
			t.Errorf("%s has %d names: it was copied", path, links)
		}
	}
	if _, err := s.Copy(); !errors.Is(err, ErrCopying) {
		t.Errorf("a second copy: %v", err)
	}
	lent.Close()
	left := func(what string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(o.Dir, copyName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s a copy is left: %v", what, err)
		}
	}
	left("after Close")
	if _, err := s.Copy(); err != nil { // never closed, as by a killed process
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, o)
	left("after Open")
}

// Goal: no receipt says that a person's bytes are gone while a copy of before holds
// them.
// Method: a person is erased while there is a copy; Reclaim returns only once that
// is closed, and then the receipt is finished.
func TestReceiptsWaitForACopy(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	h := page(app, c, "v", 1)
	h.UserID = "anna"
	p := write(t, s, h)[0].Profile
	lent, err := s.Copy()
	if err != nil {
		t.Fatal(err)
	}
	sum, err := s.Erase(app.ID, []spoor.Number{p}, "somebody")
	if err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		r, err := s.Receipt(app.ID, sum.Receipt)
		if err != nil {
			t.Fatal(err)
		}
		return r.Gone != 0
	}
	short, end := context.WithTimeout(t.Context(), 200e6)
	defer end()
	if _, err := s.Reclaim(short, true); !errors.Is(err, context.DeadlineExceeded) || gone() {
		t.Errorf("with a copy Reclaim ends with %v, the receipt is finished: %t", err, gone())
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Reclaim(context.Background(), true)
		ended <- err
	}()
	lent.Close()
	if err := <-ended; err != nil || !gone() {
		t.Errorf("without a copy Reclaim ends with %v, the receipt is finished: %t", err, gone())
	}
}

// Goal: a copy that cannot be made is an error that says why, leaves nothing
// behind, and the store goes on.
// Method: a table of causes; each asks for a copy, looks for what is left, and
// writes afterwards where the cause leaves that possible.
func TestCheckpointRefuses(t *testing.T) {
	type faults = atomic.Pointer[func(errorfs.Op) bool]
	failing := func(path string, kind errorfs.OpKind) func(*Store, *faults) {
		is := func(op errorfs.Op) bool {
			match, err := filepath.Match(path, op.Path)
			return err == nil && match && op.Kind == kind
		}
		return func(_ *Store, f *faults) { f.Store(&is) }
	}
	for _, test := range []struct {
		name, says string
		goesOn     bool
		cause      func(s *Store, f *faults)
	}{
		{"the folder exists", "it exists", true, func(s *Store, _ *faults) { _ = s.opts.FS.MkdirAll("copy", 0o700) }},
		{"no room", "read-only", false, func(s *Store, _ *faults) {
			s.space.watched = true
			s.space.next.Store(1 << 62)
			s.space.full.Store(true)
		}},
		{"no hard links", "hard links", true, failing("data/highwater", errorfs.OpLink)},
		{"a log cannot be written", "injected", true, failing("copy/db/*.log", errorfs.OpCreate)},
		{"a manifest cannot be written", "injected", true, failing("copy/db/MANIFEST-*", errorfs.OpCreate)},
		{"the folder cannot be synced", "injected", true, failing("copy", errorfs.OpFileSync)},
		{"closed", "closed", false, func(s *Store, _ *faults) {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClock()
			died := make(chan struct{})
			die := func() { close(died) }
			onFatal.Store(&die)
			var fail faults
			inner := vfs.NewMem()
			o := testOptions(t, &trueNames{errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if is := fail.Load(); is != nil && (*is)(op) {
					return errorfs.ErrInjected
				}
				return nil
			}))}, c)
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			app := newApp(t, s, "shop", "UTC")
			write(t, s, page(app, c, "v", 1))
			test.cause(s, &fail)
			ended := make(chan error, 1)
			go func() { ended <- s.Checkpoint("copy") }()
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("it ends with %v, want %q", err, test.says)
				}
			case <-died:
				t.Fatal("the process would have ended")
			}
			if names, err := inner.List("copy"); err == nil && len(names) > 0 {
				t.Errorf("%q are left", names)
			}
			fail.Store(nil)
			if test.goesOn {
				write(t, s, page(app, c, "v", 2))
				if err := s.Checkpoint("another"); err != nil {
					t.Error(err)
				}
				if back := copied(t, s, "another"); back.App(app.ID) == nil {
					t.Error("the next copy lacks the app")
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	o := testOptions(t, vfs.NewMem(), newClock())
	if err := open(t, o).Close(); err != nil {
		t.Fatal(err)
	}
	o.ReadOnly = true
	looking, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer looking.Close()
	if err := looking.Checkpoint("copy"); err == nil || !strings.Contains(err.Error(), "only to look") {
		t.Errorf("a store that is opened to look: %v", err)
	}
}
