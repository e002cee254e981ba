package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// crashFS is a file system that can be cloned as a crash would leave it. Link
// and ReuseForWrite of the file system in memory take a lock twice, and would
// wait for ever if a clone began between.
type crashFS struct {
	vfs.FS
	mem *vfs.MemFS
	mu  sync.Mutex
}

func newCrashFS(mem *vfs.MemFS) *crashFS { return &crashFS{FS: mem, mem: mem} }

func (f *crashFS) Unwrap() vfs.FS { return f.FS }

func (f *crashFS) Link(old, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.FS.Link(old, name)
}

func (f *crashFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.FS.ReuseForWrite(old, name, c)
}

// crash gives what is on disk if the machine stops now: all that was synced, and
// a share of the rest.
func (f *crashFS) crash(unsyncedPercent int, seed uint64) *vfs.MemFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rand.New(rand.NewPCG(seed, 1))})
}

// ledger is what senders were told.
type ledger struct {
	mu    sync.Mutex
	acked []string
}

func (l *ledger) add(hits []spoor.Hit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range hits {
		if hits[i].Outcome == spoor.Stored || hits[i].Outcome == spoor.Duplicate {
			l.acked = append(l.acked, hits[i].ID)
		}
	}
}

// page is the ledger as it stands.
func (l *ledger) page() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked[:len(l.acked):len(l.acked)]
}

// missing counts the ids of which the store has no hit; one that is there twice
// fails the test. That event ids lead to their hits is Check's to say.
func missing(t testing.TB, s *Store, app spoor.AppID, ids []string) (n int) {
	t.Helper()
	there := map[string]int{}
	if err := s.ScanHits(app, -100_000, 100_000, func(h *spoor.Hit) error { there[h.ID]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if there[id] == 0 {
			n++
		}
	}
	for id, times := range there {
		if times > 1 {
			t.Errorf("hit %s is stored %d times", id, times)
		}
	}
	return n
}

// Goal: everything acknowledged survives a crash of the machine at any moment,
// and a store that comes back is whole: no loss is claimed either.
// Method: lives of a store under four concurrent writers; at random moments of
// each, copies are taken as a crash would leave the disk, with 0, 50 or 100 % of
// what was not synced. Each copy is opened, compared with what had been
// acknowledged before it was taken, and checked. The next life begins with one
// of the copies. The seed is printed by a failure.
func TestCrash(t *testing.T) {
	t.Parallel()
	const lives, copies = 20, 10
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	var mem *vfs.MemFS
	var told []string
	c := newClock()
	for life := range lives {
		if life%2 == 0 { // a new store, and its first log
			mem, told = vfs.NewCrashableMem(), nil
		}
		if mem, told = crashLife(t, c, mem, told, rng, life, copies); t.Failed() {
			return
		}
	}
}

// crashLife runs one life of a store. It gives the last copy and what had been
// acknowledged when that was taken.
func crashLife(t *testing.T, c *clock, mem *vfs.MemFS, before []string, rng *rand.Rand, life, copies int) (*vfs.MemFS, []string) {
	fs := newCrashFS(mem)
	o := testOptions(t, fs, c)
	o.MemTableBytes = 64 << 10 // so that logs are rotated and tables written
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := s.AppByName("shop")
	if app == nil {
		app = newApp(t, s, "shop", "UTC")
	}
	told := ledger{acked: before}
	var writers sync.WaitGroup
	work := make(chan int, 1000) // what the writers may write; little, so that a copy is opened quickly
	for id := range 4 {
		writers.Go(func() {
			for n := range work {
				var hits []spoor.Hit
				for i := range 1 + n%2 {
					h := page(app, c, fmt.Sprint("visitor", (id*7+n)%20), i)
					h.ID = fmt.Sprint(life, "-", n-n%3, "-", i) // some are repeats
					if n%5 == 0 {
						h.UserID = fmt.Sprint("user", n%3)
					}
					h.Properties = make([]byte, 900)
					hits = append(hits, h)
				}
				if err := s.Write(hits); err != nil {
					t.Error(err)
					return
				}
				told.add(hits)
			}
		})
	}
	var copied *vfs.MemFS
	for copy := range copies {
		target := s.stats.groups.Load() + rng.Int64N(2)
		for i := range 6 {
			work <- copy*6 + i
		}
		eventually(t, "the store has worked", func() bool { return s.stats.groups.Load() >= target })
		percent := []int{0, 50, 100}[rng.IntN(3)]
		before = told.page()
		copied = fs.crash(percent, rng.Uint64())
		reopenCopy(t, fmt.Sprintf("life %d, %d %%", life, percent), copied, c, app.ID, before)
		if t.Failed() {
			break
		}
	}
	close(work)
	writers.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return copied, before
}

// reopenCopy opens what a crash left, as it is for the next life, and compares.
func reopenCopy(t *testing.T, when string, copied *vfs.MemFS, c *clock, app spoor.AppID, acked []string) {
	mem := copied.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))})
	s, err := Open(testOptions(t, mem, c))
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	if n := missing(t, s, app, acked); n > 0 {
		t.Errorf("%s: %d of %d acknowledged hits are gone", when, n, len(acked))
	}
	if st := s.Stats(); st.LostHits != 0 || st.LostGroups != 0 {
		t.Errorf("%s: %d hits, %d groups are said to be lost", when, st.LostHits, st.LostGroups)
	}
	check(t, s)
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}
