package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

func access(app spoor.AppID, c *clock, action string) spoor.Access {
	return spoor.Access{
		At: c.ms(), Actor: "crm", Role: spoor.RoleRead, App: app, Action: action, Subjects: 1,
		Ref: strings.Repeat("ab", 16), Complete: true,
	}
}

func audit(t testing.TB, s *Store, a spoor.Access) {
	t.Helper()
	if err := s.Audit(a); err != nil {
		t.Fatal(err)
	}
}

// auditLog reads an audit log since an instant.
func auditLog(t testing.TB, s *Store, app spoor.AppID, since int64) (all []spoor.AuditEntry, end spoor.AuditEnd) {
	t.Helper()
	end, err := s.AuditEntries(app, since, func(e *spoor.AuditEntry) error {
		all = append(all, *e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, end
}

// Goal: each entry is there once, as it was given, under numbers without a gap,
// whoever else writes, and over a restart.
// Method: twelve goroutines make entries of two apps and of none, beside hits.
func TestAuditOfMany(t *testing.T) {
	c := newClock()
	fs := vfs.NewMem()
	s := open(t, testOptions(t, fs, c))
	apps := []spoor.AppID{0, newApp(t, s, "shop", "UTC").ID, newApp(t, s, "other", "UTC").ID}
	shop := s.App(apps[1])
	const each = 40
	var work sync.WaitGroup
	for n := range 12 {
		work.Go(func() {
			for i := range each {
				if err := s.Audit(access(apps[n%3], c, fmt.Sprint(n, " ", i))); err != nil {
					t.Error(err)
				}
				if err := s.Write([]spoor.Hit{page(shop, c, fmt.Sprint("visitor", n), i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, testOptions(t, fs, c))
	for which, app := range apps {
		last := access(app, c, "after the restart")
		last.Complete, last.Ref, last.Subjects = false, "", 0
		audit(t, s, last)
		all, end := auditLog(t, s, app, 0)
		if len(all) != 4*each+1 || end.Newest != 4*each+1 || end.Broken != "" || end.Sum != all[len(all)-1].Sum {
			t.Errorf("app %d: %d entries, the end is %+v", app, len(all), end)
		}
		seen := map[string]bool{}
		for i, e := range all[:len(all)-1] {
			if e.Number != uint64(i+1) || seen[e.Action] || e.Access != access(app, c, e.Action) {
				t.Errorf("app %d, entry %d: %+v", app, i, e)
			}
			seen[e.Action] = true
		}
		for n := range 12 {
			if n%3 == which && !seen[fmt.Sprint(n, " ", each-1)] {
				t.Errorf("app %d lacks the entries of %d", app, n)
			}
		}
		if e := all[len(all)-1]; e.Access != last {
			t.Errorf("the last is %+v", e)
		}
	}
	r, err := s.Check(nil)
	if err != nil || r.Entries != 12*each+3 {
		t.Errorf("%d entries checked, %v", r.Entries, err)
	}
}

// Goal: an entry is shown from an instant on, and only then.
func TestAuditSince(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	start := c.ms()
	for range 5 {
		audit(t, s, access(0, c, "a"))
		c.add(time.Hour)
	}
	for after, want := range map[time.Duration]int{0: 5, time.Hour: 4, time.Hour + 1e6: 3, 5 * time.Hour: 0} {
		all, end := auditLog(t, s, 0, start+after.Milliseconds())
		if len(all) != want || end.Newest != 5 || end.Broken != "" {
			t.Errorf("since %s: %d entries, want %d; %+v", after, len(all), want, end)
		}
	}
	enough := errors.New("enough")
	if _, err := s.AuditEntries(0, 0, func(*spoor.AuditEntry) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the error of fn became %v", err)
	}
}

// Goal: whatever is done to the entries in the files is noticed by Check and by
// every reader, names the entry, and stays noticed when the log goes on.
// Method: ten entries; one change directly in Pebble; a restart, so that nothing
// is remembered; then two more entries.
func TestAuditTampering(t *testing.T) {
	f := func(name, want string, tamper func(t *testing.T, db *pebble.DB, app spoor.AppID)) {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			o := testOptions(t, vfs.NewMem(), c)
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			app := newApp(t, s, "shop", "UTC").ID
			for i := range 10 {
				audit(t, s, access(app, c, fmt.Sprint("action", i+1)))
			}
			tamper(t, s.db, app)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(o); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			look := func(when string) {
				t.Helper()
				_, end := auditLog(t, s, app, 0)
				r, err := s.Check(nil)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(end.Broken, want) {
					t.Errorf("%s: the reader is told %q, want %q", when, end.Broken, want)
				}
				if !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.HasPrefix(p, "audit log of app shop: "+want) }) {
					t.Errorf("%s: Check found %q, want %q", when, r.Problems, want)
				}
			}
			look("at once")
			audit(t, s, access(app, c, "later"))
			audit(t, s, access(app, c, "later still"))
			if strings.HasPrefix(want, "the record") || strings.Contains(want, "the newest") {
				want = "entry 1" // 10 or 11 is missing, or does not fit
			}
			look("later")
		})
	}
	value := func(t *testing.T, db *pebble.DB, app spoor.AppID, n uint64) (v []byte) {
		if err := get(db, auditKey(nil, app, n), func(b []byte) error { v = bytes.Clone(b); return nil }); err != nil || v == nil {
			t.Fatal(n, err)
		}
		return v
	}
	put := func(t *testing.T, db *pebble.DB, app spoor.AppID, n uint64, v []byte) {
		if err := db.Set(auditKey(nil, app, n), v, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(numbers ...uint64) func(*testing.T, *pebble.DB, spoor.AppID) {
		return func(t *testing.T, db *pebble.DB, app spoor.AppID) {
			for _, n := range numbers {
				if err := db.Delete(auditKey(nil, app, n), pebble.Sync); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	edit := func(n uint64, sumToo bool) func(*testing.T, *pebble.DB, spoor.AppID) {
		return func(t *testing.T, db *pebble.DB, app spoor.AppID) {
			v := bytes.Replace(value(t, db, app, n), []byte("crm"), []byte("bob"), 1)
			if sumToo {
				before, _, err := readAccess(auditKey(nil, app, n-1), value(t, db, app, n-1))
				if err != nil {
					t.Fatal(err)
				}
				seal := sum(before.Sum).next(auditKey(nil, app, n), v[:len(v)-sumBytes])
				copy(v[len(v)-len(seal):], seal[:])
			}
			put(t, db, app, n, v)
		}
	}
	f("first changed", "entry 1 does not fit", edit(1, false))
	f("one changed", "entry 4 does not fit", edit(4, false))
	f("one changed with its sum", "entry 5 does not fit", edit(4, true))
	f("newest changed", "entry 10 does not fit", edit(10, false))
	f("newest changed with its sum", "entry 10 is not the newest that was written: it was changed", edit(10, true))
	f("first removed", "entry 1 is missing", remove(1))
	f("some removed", "entries 4 to 6 are missing", remove(4, 5, 6))
	f("newest removed", "entry 10 is missing", remove(10))
	f("newest three removed", "entries 8 to 10 are missing", remove(8, 9, 10))
	f("all removed", "entries 1 to 10 are missing", remove(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
	f("ends removed", "the record of where it ends", remove(0))
	f("ends and newest removed", "the record of where it ends", remove(0, 10))
	f("swapped", "entry 3 does not fit", func(t *testing.T, db *pebble.DB, app spoor.AppID) {
		a, b := value(t, db, app, 3), value(t, db, app, 7)
		put(t, db, app, 3, b)
		put(t, db, app, 7, a)
	})
	f("forged behind the newest", "entry 11 does not fit", func(t *testing.T, db *pebble.DB, app spoor.AppID) {
		put(t, db, app, 11, value(t, db, app, 10))
	})
	f("forged behind the newest with its sum", "entry 11 is newer than the newest", func(t *testing.T, db *pebble.DB, app spoor.AppID) {
		c, _, err := readChain(db, app)
		if err != nil {
			t.Fatal(err)
		}
		v := value(t, db, app, 10)
		seal := c.newest.sum.next(auditKey(nil, app, 11), v[:len(v)-sumBytes])
		copy(v[len(v)-len(seal):], seal[:])
		put(t, db, app, 11, v)
	})
	f("rubbish", "entry 6 cannot be read", func(t *testing.T, db *pebble.DB, app spoor.AppID) {
		put(t, db, app, 6, []byte("rubbish"))
	})
	f("rubbish as ends", "the record of where it ends", func(t *testing.T, db *pebble.DB, app spoor.AppID) {
		put(t, db, app, 0, []byte("rubbish"))
	})
	f("ends moved, to hide the first", "entry 4 does not fit", func(t *testing.T, db *pebble.DB, app spoor.AppID) {
		c, _, err := readChain(db, app)
		if err != nil {
			t.Fatal(err)
		}
		remove(1, 2, 3)(t, db, app)
		c.removed = link{number: 3}
		put(t, db, app, 0, c.appendTo(nil))
	})
}

// Goal: entries under the number of an app that does not exist are noticed, and
// a log that belongs to another app does not pass.
func TestAuditStrays(t *testing.T) {
	c := newClock()
	s, err := Open(testOptions(t, vfs.NewMem(), c))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	shop, other := newApp(t, s, "shop", "UTC").ID, newApp(t, s, "other", "UTC").ID
	audit(t, s, access(shop, c, "a"))
	for n := range uint64(2) {
		if err := get(s.db, auditKey(nil, shop, n), func(v []byte) error {
			return errors.Join(s.db.Set(auditKey(nil, other, n), v, pebble.Sync), s.db.Set(auditKey(nil, 77, n), v, pebble.Sync))
		}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Check(nil)
	if err != nil || len(r.Problems) != 2 || !strings.Contains(r.Problems[0], "audit log of app other: entry 1 does not fit") || !strings.Contains(r.Problems[1], "audit log of app 77, which does not exist") {
		t.Errorf("%q, %v", r.Problems, err)
	}
}

// Goal: what retention removed is no gap, what is left can be verified, and the
// chain goes on; over restarts, to the last entry, and not where it is broken.
func TestAuditTrim(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC").ID
	start := c.ms()
	for range 10 {
		audit(t, s, access(app, c, "a"))
		c.add(time.Hour)
	}
	f := func(hours int, removed int64, left int) {
		t.Helper()
		n, err := s.TrimAudit(app, start+int64(hours)*3_600_000)
		if err != nil || n != removed {
			t.Errorf("%d hours: %d removed, %v; want %d", hours, n, err, removed)
		}
		check(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
		all, end := auditLog(t, s, app, 0)
		if len(all) != left || end.Newest != 10 || end.Broken != "" || left > 0 && all[0].Number != uint64(11-left) {
			t.Errorf("%d hours: %d entries left, want %d; %+v", hours, len(all), left, end)
		}
		check(t, s)
	}
	f(0, 0, 10)
	f(4, 4, 6)
	f(4, 0, 6)
	f(5, 1, 5)
	f(100, 5, 0)
	audit(t, s, access(app, c, "b"))
	audit(t, s, access(app, c, "c"))
	if all, end := auditLog(t, s, app, 0); len(all) != 2 || all[0].Number != 11 || end.Newest != 12 || end.Broken != "" {
		t.Errorf("after all were removed: %+v, %+v", all, end)
	}
	check(t, s)
	if n, err := s.TrimAudit(99, c.ms()); n != 0 || err != nil {
		t.Errorf("of no app: %d, %v", n, err)
	}
	if err := s.db.Delete(auditKey(nil, app, 11), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	if n, err := s.TrimAudit(app, c.ms()); n != 0 || err == nil || !strings.Contains(err.Error(), "entry 11 is missing; it is kept whole") {
		t.Errorf("of a broken log: %d, %v", n, err)
	}
	if all, end := auditLog(t, s, app, 0); len(all) != 1 || end.Broken == "" {
		t.Errorf("the broken log: %+v, %+v", all, end)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Goal: an app's log goes with it, byte for byte; what is entered later about it
// stands under app 0 and says whose it was.
func TestAuditOfADeletedApp(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC").ID
	a := access(app, c, "users.read")
	a.Actor = "a-token-of-the-shop"
	audit(t, s, a)
	if err := s.DeleteApp(app); err != nil {
		t.Fatal(err)
	}
	a.Action, a.Actor, a.AppName = "apps.delete", "control-plane", "shop"
	audit(t, s, a)
	if all, _ := auditLog(t, s, app, 0); len(all) != 0 {
		t.Errorf("the app's log still shows %+v", all)
	}
	if all, end := auditLog(t, s, 0, 0); len(all) != 1 || all[0].Access != a || end.Broken != "" {
		t.Errorf("app 0: %+v, %+v", all, end)
	}
	if _, err := s.Reclaim(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r, err := Scan(s.opts.FS, s.opts.Dir, []string{"a-token-of-the-shop"})
	if err != nil || len(r.Finds) != 0 {
		t.Errorf("left of the app's log: %+v, %v", r.Finds, err)
	}
}

// Goal: an entry that was acknowledged is there after any crash, and the chain
// is whole.
// Method: four goroutines make entries; copies are taken as a crash would leave
// the disk, with 0, 50 or 100 % of what was not synced, opened and compared.
func TestAuditSurvivesCrashes(t *testing.T) {
	c := newClock()
	mem := vfs.NewCrashableMem()
	fs := newCrashFS(mem)
	o := testOptions(t, fs, c)
	o.MemTableBytes = 64 << 10
	s := open(t, o)
	app := newApp(t, s, "shop", "UTC").ID
	var mu sync.Mutex
	var told []string
	var work sync.WaitGroup
	stop := make(chan struct{})
	for n := range 4 {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				action := fmt.Sprint(n, " ", i)
				if err := s.Audit(access(app, c, action)); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				told = append(told, action)
				mu.Unlock()
			}
		})
	}
	for n := range 12 {
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		mu.Lock()
		before := slices.Clone(told)
		mu.Unlock()
		copied, err := Open(testOptions(t, fs.crash([]int{0, 50, 100}[n%3], uint64(n)), c))
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]int{}
		all, end := auditLog(t, copied, app, 0)
		for _, e := range all {
			there[e.Action]++
		}
		for _, action := range before {
			if there[action] != 1 {
				t.Errorf("copy %d: entry %q is there %d times", n, action, there[action])
			}
		}
		if end.Broken != "" {
			t.Errorf("copy %d: %s", n, end.Broken)
		}
		audit(t, copied, access(app, c, "life goes on"))
		check(t, copied)
		if err := copied.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	work.Wait()
}

// Goal: a group that fails leaves no gap in the numbers of those after it.
func TestAuditAfterAFailedGroup(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC").ID
	audit(t, s, access(app, c, "a"))
	failed := errors.New("bad block")
	err := s.change(func(g *group) error {
		a := access(app, c, "lost")
		if err := g.audit(&a); err != nil {
			return err
		}
		g.err = failed
		return nil
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	audit(t, s, access(app, c, "b"))
	if all, end := auditLog(t, s, app, 0); len(all) != 2 || all[1].Action != "b" || all[1].Number != 2 || end.Broken != "" {
		t.Errorf("%+v, %+v", all, end)
	}
}

// Goal: who cannot write hears so at once.
func TestAuditWithoutAWriter(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC").ID
	audit(t, s, access(app, c, "a"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Audit(access(app, c, "b")); !errors.Is(err, spoor.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	o.ReadOnly = true
	s = open(t, o)
	if err := s.Audit(access(app, c, "b")); !errors.Is(err, spoor.ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
	if all, end := auditLog(t, s, app, 0); len(all) != 1 || end.Broken != "" {
		t.Errorf("%+v, %+v", all, end)
	}
}

// Goal: readers are heard although hits fill the queue: whoever sends could
// otherwise hide what is read.
func TestAuditPassesAFullQueue(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	o.QueueBytesMax = 1024
	s := open(t, o)
	entered, release, blocked := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		blocked <- s.change(func(*group) error { close(entered); <-release; return nil })
	}()
	<-entered
	nothing := func(*group) error { return nil }
	full := &request{do: nothing, bytes: 1024, done: make(chan struct{}, 1)}
	if err := s.queue.put(full, false); err != nil {
		t.Fatal(err)
	}
	if err := s.change(nothing); !errors.Is(err, spoor.ErrBusy) {
		t.Fatalf("the queue is not full: %v", err)
	}
	entry := make(chan error, 1)
	go func() { entry <- s.Audit(access(0, c, "a")) }()
	waits := func() bool { _, waiting := s.queue.fill(); return waiting == 2 }
	for end := time.Now().Add(5 * time.Second); !waits() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	close(release)
	if err := errors.Join(<-entry, <-blocked); err != nil {
		t.Errorf("an entry: %v", err)
	}
}

// Goal: entries in front of the deletion of their app, in one group, leave nothing.
func TestAuditInTheGroupOfADeletion(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC").ID
	audit(t, s, access(app, c, "a"))
	err := s.change(func(g *group) error {
		a := access(app, c, "b")
		if err := g.audit(&a); err != nil {
			return err
		}
		if g.forgetApp(app); len(g.chains) != 0 || len(g.w.chains) != 0 {
			t.Error("the end of the app's log would be written behind its deletion")
		}
		g.err = errors.New("not to be stored")
		return nil
	})
	if err == nil {
		t.Fatal("the group was stored")
	}
}
