package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/spoorhq/spoor"
)

// onFatal is what stands for the end of the process. A goroutine that reports a
// fatal error never goes on, as it would not in a process that ends.
var onFatal atomic.Pointer[func()]

func TestMain(m *testing.M) {
	fatal = func() {
		if f := onFatal.Load(); f != nil {
			(*f)()
		} else {
			fmt.Fprintln(os.Stderr, "a store called fatal outside of a test of faults")
		}
		select {}
	}
	os.Exit(m.Run())
}

// faultRun is a scripted life of a store, and how it ended.
type faultRun struct {
	fs       *crashFS
	told     ledger
	app      atomic.Uint32
	openErr  error
	writeErr error
	died     bool         // fatal was called
	failed   atomic.Bool  // a sync of a log has failed
	late     atomic.Int64 // hits acknowledged although a sync of the log had failed before they were given
}

const scriptBatches = 16

// script opens a store, writes some batches, and closes it, on a file system
// on which inject decides what fails.
func script(t *testing.T, c *clock, inject func(op errorfs.Op) error) *faultRun {
	r := &faultRun{fs: newCrashFS(vfs.NewCrashableMem())}
	died, ended := make(chan struct{}), make(chan struct{})
	f := sync.OnceFunc(func() { close(died) })
	onFatal.Store(&f)
	o := testOptions(t, &trueNames{errorfs.Wrap(r.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		err := inject(op)
		if err != nil && strings.HasSuffix(op.Path, ".log") && isSync(op.Kind) {
			r.failed.Store(true)
		}
		return err
	}))}, c)
	o.MemTableBytes = 64 << 10
	go func() {
		defer close(ended)
		s, err := Open(o)
		if err != nil {
			r.openErr = err
			return
		}
		app, err := s.CreateApp(&spoor.App{Name: "shop", Created: c.ms(), Settings: spoor.DefaultSettings("UTC")})
		for n := 0; n < scriptBatches && err == nil; n++ {
			r.app.Store(uint32(app.ID))
			var hits []spoor.Hit
			for i := range 4 {
				h := page(app, c, fmt.Sprint("visitor", n%3), n*4+i)
				h.Properties = make([]byte, 1500)
				hits = append(hits, h)
			}
			after := r.failed.Load()
			if err = s.Write(hits); err == nil {
				if r.told.add(hits); after {
					r.late.Add(int64(len(hits)))
				}
			}
		}
		if r.writeErr = err; err == nil {
			r.writeErr = s.Close()
		}
	}()
	select {
	case <-ended:
	case <-died:
	case <-time.After(30 * time.Second):
		t.Fatal("neither an end nor a fatal error")
	}
	select {
	case <-died:
		r.died = true
	default:
	}
	return r
}

// trueNames makes a log that was the spare known by its present name.
type trueNames struct{ *errorfs.FS }

func (f *trueNames) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Rename(old, name); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(name, c)
}

func isSync(k errorfs.OpKind) bool {
	return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
}

// Goal: whatever write or sync fails, what was acknowledged is on disk, nothing
// is acknowledged after a failed sync of the log, and nothing panics.
// Method: a scripted life is counted: so many operations write. It is then run
// again and again with an error at each of them in turn (a stride, if there are
// many); then the machine crashes, with all that was not synced, and the store
// is opened on a disk that works.
func TestEveryWriteFailsOnce(t *testing.T) {
	var total atomic.Int64
	c := newClock()
	clean := script(t, c, func(errorfs.Op) error { total.Add(1); return nil })
	if clean.openErr != nil || clean.writeErr != nil || clean.died || len(clean.told.page()) != 4*scriptBatches {
		t.Fatalf("without faults: %v, %v, died %t, %d acknowledged", clean.openErr, clean.writeErr, clean.died, len(clean.told.page()))
	}
	const runs = 105
	stride := max(1, total.Load()/runs)
	deaths, count := 0, 0
	for at := int64(0); at < total.Load(); at += stride {
		var n atomic.Int64
		var what atomic.Value
		r := script(t, c, func(op errorfs.Op) error {
			if n.Add(1)-1 != at {
				return nil
			}
			what.Store(fmt.Sprint("kind ", int(op.Kind), " of ", path.Base(op.Path)))
			return errorfs.ErrInjected
		})
		if count++; r.died {
			deaths++
		}
		if n := r.late.Load(); n > 0 {
			t.Errorf("operation %d (%s): %d hits were acknowledged after the failed sync", at, what.Load(), n)
		}
		afterFault(t, c, r, fmt.Sprintf("operation %d (%s)", at, what.Load()))
		if t.Failed() {
			return
		}
	}
	if count < 100 || deaths == 0 {
		t.Errorf("%d faults, %d of them fatal: too few to mean anything", count, deaths)
	}
}

// Goal: the same for each sync of the log, with a disk that stays broken.
// Method: from the n-th sync of a log on, all syncs fail.
func TestSyncsFailForGood(t *testing.T) {
	c := newClock()
	for at := int64(0); at < scriptBatches; at++ {
		var n atomic.Int64
		r := script(t, c, func(op errorfs.Op) error {
			if isSync(op.Kind) && strings.HasSuffix(op.Path, ".log") && n.Add(1) > at {
				return errorfs.ErrInjected
			}
			return nil
		})
		if !r.died && r.openErr == nil && r.writeErr == nil {
			t.Errorf("sync %d and all after it failed, and nobody noticed", at)
		}
		if n := r.late.Load(); n > 0 {
			t.Errorf("sync %d: %d hits were acknowledged after it failed", at, n)
		}
		afterFault(t, c, r, fmt.Sprintf("sync %d", at))
	}
}

// afterFault crashes the machine of a run and opens what is left.
func afterFault(t *testing.T, c *clock, r *faultRun, when string) {
	acked := r.told.page()
	s, err := Open(testOptions(t, r.fs.crash(0, 0), c))
	if err != nil {
		t.Errorf("%s: cannot open afterwards: %v", when, err)
		return
	}
	if app := spoor.AppID(r.app.Load()); app != 0 {
		if n := missing(t, s, app, acked); n > 0 {
			t.Errorf("%s: %d of %d acknowledged hits are gone", when, n, len(acked))
		}
	}
	if st := s.Stats(); st.LostHits != 0 || st.LostGroups != 0 {
		t.Errorf("%s: %d hits, %d groups are said to be lost", when, st.LostHits, st.LostGroups)
	}
	check(t, s)
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// Goal: damage to the newest log is never a silent loss: the store does not
// open and says why, or it says exactly how many acknowledged hits are missing.
// Method: stores in several states are copied while they are open; the copy's
// newest log gets a bit flipped, its tail cut, a stretch zeroed, or rubbish
// behind it; the copy is opened and its hits are counted.
func TestDamagedLogIsNeverSilent(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	variants, losses, refusals := 0, 0, 0
	for _, tc := range []struct {
		name           string
		batches, bytes int
		reopened       bool
		small          bool // tables: logs are rotated, and the newest may be a spare
	}{
		{"a first log of one block", 11, 10, false, false},
		{"a first log of many blocks", 40, 900, false, false},
		{"a log of one block after a reopen", 10, 10, true, false},
		{"a log of many blocks after a reopen", 41, 900, true, false},
		{"logs that were rotated", 40, 4000, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClock()
			fs := newCrashFS(vfs.NewCrashableMem())
			o := testOptions(t, fs, c)
			if tc.small {
				o.MemTableBytes = 64 << 10
			}
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			app := newApp(t, s, "shop", "UTC")
			if tc.reopened {
				write(t, s, page(app, c, "before", 0))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(o); err != nil {
					t.Fatal(err)
				}
			}
			acked := int64(0)
			for n := range tc.batches {
				h := page(app, c, fmt.Sprint("visitor", n%5), n)
				h.Properties = bytes.Repeat([]byte{'x'}, tc.bytes)
				write(t, s, h)
				acked++
			}
			if tc.reopened {
				acked++
			}
			s.spare.filling.Wait()
			for range 61 {
				copied := fs.crash(100, rng.Uint64())
				how := damage(t, copied, rng)
				variants++
				told := checkTells(t, copied, c)
				again, err := Open(testOptions(t, copied, c))
				if err != nil {
					if refusals++; !strings.Contains(err.Error(), "cannot open the store in data") {
						t.Errorf("%s: %v", how, err)
					}
					continue
				}
				there := int64(0)
				if again.App(app.ID) != nil {
					if err := again.ScanHits(app.ID, -100_000, 100_000, func(*spoor.Hit) error { there++; return nil }); err != nil {
						t.Errorf("%s: %v", how, err)
					}
				}
				st := again.Stats()
				if there+st.LostHits != acked {
					t.Errorf("%s: %d hits are there, %d are said to be lost, %d were acknowledged (seed %d)", how, there, st.LostHits, acked, seed)
				}
				if st.LostHits > 0 {
					losses++
				}
				if told != (st.LostHits > 0) {
					t.Errorf("%s: %d hits are lost; a check before told so: %t", how, st.LostHits, told)
				}
				check(t, again)
				if err := again.Close(); err != nil {
					t.Error(err)
				}
			}
			check(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if variants < 300 || losses == 0 || refusals == 0 {
		t.Errorf("%d variants, %d with a loss that was told, %d refused: too few to mean anything", variants, losses, refusals)
	}
}

// damage harms the newest log in a random way, and says how.
func damage(t *testing.T, fs *vfs.MemFS, rng *rand.Rand) string {
	names, err := fs.List("data/db")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	name := "data/db/" + slices.Max(names)
	raw := readFile(t, fs, name)
	used := len(bytes.TrimRight(raw, "\x00"))
	how := ""
	at := rng.IntN(used)
	switch rng.IntN(4) {
	case 0:
		bit := rng.IntN(8)
		raw[at] ^= 1 << bit
		how = fmt.Sprintf("bit %d of byte %d of %d flipped", bit, at, used)
	case 1:
		raw = raw[:at]
		how = fmt.Sprintf("cut at byte %d of %d", at, used)
	case 2:
		n := min(1+rng.IntN(600), used-at)
		clear(raw[at : at+n])
		how = fmt.Sprintf("%d bytes zeroed at byte %d of %d", n, at, used)
	case 3:
		junk := make([]byte, 1+rng.IntN(600))
		for i := range junk {
			junk[i] = byte(rng.Uint32())
		}
		raw = append(raw[:used], junk...)
		how = fmt.Sprintf("%d bytes of rubbish behind byte %d", len(junk), used)
	}
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(raw)
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path.Base(name) + ": " + how
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// checkTells reports whether Check on a store that is only looked at tells that
// acknowledged hits are missing.
func checkTells(t *testing.T, fs vfs.FS, c *clock) bool {
	t.Helper()
	o := testOptions(t, fs, c)
	o.ReadOnly = true
	s, err := Open(o)
	if err != nil {
		return false
	}
	r, err := s.Check(nil)
	if closed := s.Close(); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
	return r.Found > 0 && strings.Contains(r.Problems[0], "acknowledged hits")
}
