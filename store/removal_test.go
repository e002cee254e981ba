package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// crowd is a store with people who came on days of their own.
type crowd struct {
	*town
	fs vfs.FS
	o  Options
}

func newCrowd(t *testing.T, fs vfs.FS, zone string) *crowd {
	t.Helper()
	c := newClock()
	o := testOptions(t, fs, c)
	s := open(t, o)
	return &crowd{town: &town{TB: t, c: c, s: s, app: newApp(t, s, "shop", zone)}, fs: fs, o: o}
}

// visits stores page views of a visitor, with texts that can be found.
func (w *crowd) visits(key string, n int) spoor.Number {
	w.Helper()
	var number spoor.Number
	for range n {
		w.ids++
		h := page(w.app, w.c, key, w.ids)
		h.URL = "https://shop.example/read-by-" + key
		number = write(w, w.s, h)[0].Profile
		w.c.add(time.Second)
	}
	return number
}

// places lists where texts are found in the files.
func (w *crowd) places(texts ...string) (finds []Find) {
	w.Helper()
	for try := 0; ; try++ {
		r, err := Scan(w.fs, w.o.Dir, texts)
		if err != nil || r.Files < 4 || len(r.Unreadable) > 0 && try == 200 {
			w.Fatalf("scan: %+v, %v", r, err)
		}
		if len(r.Unreadable) == 0 {
			return r.Finds
		}
		time.Sleep(50 * time.Millisecond) // a compaction is writing a table
	}
}

func (w *crowd) reclaim(full bool) spoor.ReclaimReport {
	w.Helper()
	r, err := w.s.Reclaim(context.Background(), full)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// Goal: a removed profile is gone for every read at once, and its bytes are gone
// from every file after reclaiming; neighbours and statistics stay.
// Method: visitors on the same days; the files are searched before, as a
// positive control, and after. The rest of the store is compared.
func TestRemovedBytesAreGone(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": nil} {
		t.Run(name, func(t *testing.T) {
			if fs == nil {
				t.Chdir(t.TempDir())
				fs = vfs.Default
			}
			removedBytesAreGone(t, newCrowd(t, fs, "Europe/Warsaw"))
		})
	}
}

func removedBytesAreGone(t *testing.T, w *crowd) {
	gone := w.visits("cookie-of-who-goes", 3)
	stay := w.visits("cookie-of-who-stays", 3)
	w.c.add(24 * time.Hour)
	w.visits("cookie-of-who-goes", 2)
	w.c.add(62 * 24 * time.Hour)
	w.visits("cookie-of-somebody-new", 1)
	if _, _, err := w.s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	check(t, w.s)
	if f := w.places("cookie-of-who-goes"); len(f) == 0 {
		t.Fatal("positive control: nothing is found")
	}
	before, err := w.s.Partitions(w.app.ID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.s.Remove(w.app.ID, []spoor.Number{gone, 4711}, 0, nil)
	if err != nil || r.Profiles != 1 || r.Hits != 5 || r.Bytes < 5*hitKeyBytes || r.Receipt == 0 {
		t.Fatalf("removed %+v, %v", r, err)
	}
	unseen := func(when string) {
		t.Helper()
		if p, err := w.s.Profile(w.app.ID, gone); p != nil || err != nil {
			t.Errorf("%s: the profile is read: %v, %v", when, p, err)
		}
		w.finds(spoor.LookupKey, "cookie-of-who-goes")
		hits := 0
		if err := w.s.ScanHits(w.app.ID, 0, 100000, func(h *spoor.Hit) error {
			if hits++; h.Profile == gone {
				t.Errorf("%s: a hit is read: %v", when, h.URL)
			}
			return nil
		}); err != nil || hits != 4 {
			t.Errorf("%s: %d hits, %v; want 4", when, hits, err)
		}
		check(t, w.s)
	}
	unseen("after the decision")
	w.reclaim(true)
	unseen("after reclaiming")
	for _, f := range w.places("cookie-of-who-goes") {
		t.Errorf("still there: %+v", f)
	}
	if f := w.places("cookie-of-who-stays"); len(f) == 0 {
		t.Error("the neighbour is gone too")
	}
	if p, err := w.s.Profile(w.app.ID, stay); err != nil || p == nil || p.Views != 3 {
		t.Errorf("the neighbour: %+v, %v", p, err)
	}
	now, err := w.s.Partitions(w.app.ID)
	if err != nil || len(now) != len(before) || now[0].Hits != before[0].Hits-3 || now[0].Profiles != before[0].Profiles {
		t.Errorf("partitions %+v, %v; were %+v", now, err, before)
	}
	if again := w.visits("cookie-of-who-goes", 1); again == gone {
		t.Error("the number was used again")
	}
	if p, err := w.s.Pending(); err != nil || p.Pending != 0 {
		t.Errorf("pending %+v, %v", p, err)
	}
}

// Goal: nothing is said to be gone while a table that holds it is on disk.
// Method: a read holds the old tables, which are searched, and ends.
func TestReclaimWaitsForReads(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	n := w.visits("cookie-of-who-goes", 3)
	w.visits("cookie-of-who-stays", 1)
	if err := w.s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	it, err := w.s.db.NewIter(nil)
	if err != nil || !it.First() {
		t.Fatal(err)
	}
	w.erase(n)
	done := make(chan struct{})
	go func() { w.reclaim(true); close(done) }()
	select {
	case <-done:
		t.Error("it did not wait for a read that holds the old tables")
	case <-time.After(300 * time.Millisecond):
	}
	if f := w.places("cookie-of-who-goes"); len(f) == 0 {
		t.Error("positive control: nothing is found while the read goes on")
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	for _, f := range w.places("cookie-of-who-goes") {
		t.Errorf("still there: %+v", f)
	}
}

// Goal: whoever keeps says the last word, in the writer; a profile with hits in
// an open day is kept in any case.
func TestRemoveLooksOnceMore(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	old := w.visits("cookie-old", 1)
	w.c.add(100 * 24 * time.Hour)
	fresh := w.visits("cookie-fresh", 1)
	if r, err := w.s.Remove(w.app.ID, []spoor.Number{old}, 0, nil); err != nil || r != (spoor.Removal{Kept: 1}) {
		t.Fatalf("%+v, %v of a day that is not finished", r, err)
	}
	if _, _, err := w.s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r, err := w.s.Remove(w.app.ID, []spoor.Number{fresh}, 0, nil); err != nil || r != (spoor.Removal{Kept: 1}) {
		t.Fatalf("%+v, %v of a day that is open", r, err)
	}
	looked := 0
	r, err := w.s.Remove(w.app.ID, []spoor.Number{old, fresh}, 0, func(p *spoor.Profile) bool { looked++; return true })
	if err != nil || r != (spoor.Removal{Kept: 2}) || looked != 1 {
		t.Fatalf("%+v, %v after %d looks", r, err, looked)
	}
	w.finds(spoor.LookupKey, "cookie-old", old)
	w.finds(spoor.LookupKey, "cookie-fresh", fresh)
}

// Goal: days of which little went wait, and go once they are old enough.
func TestReclaimWaitsWhereLittleWent(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	var numbers []spoor.Number
	for i := range 30 {
		numbers = append(numbers, w.visits(fmt.Sprint("cookie-number-", i), 1))
	}
	w.c.add(100 * 24 * time.Hour)
	if days, folded, err := w.s.SealDays(context.Background()); err != nil || days != 1 || folded != 30 {
		t.Fatalf("sealed %d days, folded %d, %v; want 1 day, 30 paths", days, folded, err)
	}
	if r, err := w.s.Remove(w.app.ID, numbers[:1], 0, nil); err != nil || r.Profiles != 1 {
		t.Fatal(r, err)
	}
	if r := w.reclaim(false); r.Partitions != 0 || r.Pending != 2 || r.Oldest != w.c.ms() {
		t.Errorf("one of thirty: %+v", r)
	}
	check(t, w.s)
	w.c.add(6 * 24 * time.Hour)
	if r := w.reclaim(false); r.Partitions != 1 || r.Pending != 0 {
		t.Errorf("after six days: %+v", r)
	}
	if r, err := w.s.Remove(w.app.ID, numbers[1:10], 0, nil); err != nil || r.Profiles != 9 {
		t.Fatal(r, err)
	}
	if r := w.reclaim(false); r.Partitions != 1 || r.Pending != 1 {
		t.Errorf("nine of thirty: %+v", r)
	}
	if f := w.places("cookie-number-5"); len(f) > 0 {
		t.Errorf("still there: %v", f)
	}
}

// Goal: wherever a crash interrupts a removal, the removed are wholly absent or
// wholly there, never half; what was acknowledged stays; and the removal can be
// taken up again until no byte is left.
// Method: while profiles are removed, reclaimed and written to, copies of the
// disk are taken as a crash would leave it. Each is opened, checked, compared,
// and reclaimed to the end.
func TestCrashWhileRemoving(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	var names []string
	for i := range 35 {
		names = append(names, fmt.Sprintf("cookie-leaves-%02d", i))
	}
	for round := range uint64(12) {
		mem := vfs.NewCrashableMem()
		fs := newCrashFS(mem)
		w := newCrowd(t, fs, "UTC")
		var go1, stay []spoor.Number
		for i := range 40 {
			go1 = append(go1, w.visits(fmt.Sprintf("cookie-leaves-%02d", i), 1))
			stay = append(stay, w.visits(fmt.Sprintf("cookie-remains-%02d", i), 1))
		}
		w.c.add(80 * 24 * time.Hour)
		if _, _, err := w.s.SealDays(context.Background()); err != nil {
			t.Fatal(err)
		}
		before, err := w.s.Partitions(w.app.ID)
		if err != nil {
			t.Fatal(err)
		}
		var acked atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, n := range [][]spoor.Number{go1[:10], go1[10:35]} {
				if _, err := w.s.Remove(w.app.ID, n, 0, nil); err != nil {
					t.Error(err)
				}
				acked.Add(int64(len(n)))
				if _, err := w.s.Reclaim(context.Background(), true); err != nil {
					t.Error(err)
				}
			}
		}()
		var copies []*vfs.MemFS
		var sure []int64 // removals that had been acknowledged when the copy was taken
		for k := uint64(0); ; k++ {
			sure = append(sure, acked.Load())
			copies = append(copies, fs.crash([]int{0, 50, 100}[k%3], seed+round*1000+k))
			over := false
			select {
			case <-done:
				over = true
			case <-time.After(300 * time.Microsecond):
			}
			if over || len(copies) > 60 {
				break
			}
		}
		<-done
		for k, copied := range copies {
			if k%4 != int(round%4) { // each is some work
				continue
			}
			o := testOptions(t, copied, w.c)
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			check(t, s)
			for _, n := range append(stay[:len(stay):len(stay)], go1[35:]...) {
				if p, err := s.Profile(w.app.ID, n); err != nil || p == nil || p.Views != 1 {
					t.Fatalf("round %d, copy %d: a neighbour: %+v, %v", round, k, p, err)
				}
			}
			hits := map[spoor.Number]int{}
			if err := s.ScanHits(w.app.ID, 0, 100000, func(h *spoor.Hit) error { hits[h.Profile]++; return nil }); err != nil {
				t.Fatal(err)
			}
			var left []spoor.Number
			for _, n := range go1[:35] {
				p, err := s.Profile(w.app.ID, n)
				if err != nil || (p != nil) != (hits[n] > 0) {
					t.Fatalf("round %d, copy %d: profile %d is there: %t, and has %d hits; %v", round, k, n, p != nil, hits[n], err)
				}
				if p != nil {
					left = append(left, n)
				}
			}
			if int64(len(left)) > 35-sure[k] {
				t.Errorf("round %d, copy %d: %d profiles are back, of %d whose removal was acknowledged", round, k, len(left)-35+int(sure[k]), sure[k])
			}
			if r, err := s.Remove(w.app.ID, left, 0, nil); err != nil || r.Profiles != int64(len(left)) {
				t.Fatalf("removed again: %+v, %v", r, err)
			}
			if _, err := s.Reclaim(context.Background(), true); err != nil {
				t.Fatal(err)
			}
			after, err := s.Partitions(w.app.ID)
			if err != nil || after[0].Profiles != before[0].Profiles || after[0].Hits != before[0].Hits-35 {
				t.Errorf("round %d, copy %d: partitions %+v, %v; were %+v", round, k, after, err, before)
			}
			check(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err := Scan(copied, o.Dir, names); err != nil || len(r.Finds) > 0 {
				t.Fatalf("round %d, copy %d: still there: %+v, %v", round, k, r.Finds, err)
			}
		}
	}
}

// Goal: reclaiming comes to its end also while hits pour in, which bring
// tombstones of their own, and takes nothing of them.
// Method: four writers whose visitors identify themselves all the time, so that
// identifiers move; meanwhile all old visitors are removed and reclaimed.
func TestReclaimUnderLoad(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	var old []spoor.Number
	for i := range 50 {
		old = append(old, w.visits(fmt.Sprintf("cookie-leaves-%02d", i), 1))
	}
	w.c.add(80 * 24 * time.Hour)
	if _, _, err := w.s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	told := ledger{}
	for id := range 4 {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				h := page(w.app, w.c, fmt.Sprint("visitor", id, n%7), n)
				h.ID, h.UserID = fmt.Sprint("load ", id, " ", n), fmt.Sprint("user", n%3)
				hits := []spoor.Hit{h}
				if err := w.s.Write(hits); err != nil {
					t.Error(err)
					return
				}
				told.add(hits)
			}
		})
	}
	for len(old) > 0 {
		if r, err := w.s.Remove(w.app.ID, old[:10], 0, nil); err != nil || r.Profiles != 10 {
			t.Errorf("%+v, %v", r, err)
		}
		old = old[10:]
		w.reclaim(true)
	}
	close(stop)
	writers.Wait()
	if n := missing(t, w.s, w.app.ID, told.page()); n > 0 || len(told.page()) == 0 {
		t.Errorf("%d of %d acknowledged hits are gone", n, len(told.page()))
	}
	for i := range 50 {
		for _, f := range w.places(fmt.Sprintf("cookie-leaves-%02d", i)) {
			t.Errorf("still there: %+v", f)
		}
	}
}
