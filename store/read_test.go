package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

var errEnough = errors.New("enough")

// Goal: Profiles walks all profiles behind a number, in order, and none of
// another app; an error of the caller ends it.
// Method: profiles of two apps, some merged away; walks from several numbers.
func TestProfilesWalk(t *testing.T) {
	w := newTown(t)
	for i := range 10 {
		w.come(fmt.Sprint("k", i), "")
	}
	w.come("k0", "u")
	w.come("k3", "u") // 4 becomes part of 1
	other := newApp(t, w.s, "other", "UTC")
	write(t, w.s, page(other, w.c, "x", 1))
	all := []spoor.Number{1, 2, 3, 5, 6, 7, 8, 9, 10}
	for behind := spoor.Number(0); behind <= 12; behind++ {
		var got []spoor.Number
		if err := w.s.Profiles(w.app.ID, behind, func(p *spoor.Profile) error { got = append(got, p.Number); return nil }); err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(slices.Clone(all), func(n spoor.Number) bool { return n <= behind })
		if !slices.Equal(got, want) {
			t.Errorf("behind %d: %v, want %v", behind, got, want)
		}
	}
	n := 0
	if err := w.s.Profiles(w.app.ID, 0, func(*spoor.Profile) error {
		if n++; n == 3 {
			return errEnough
		}
		return nil
	}); !errors.Is(err, errEnough) || n != 3 {
		t.Errorf("the caller's error: %v after %d profiles", err, n)
	}
	for app, want := range map[spoor.AppID]int64{w.app.ID: 9, other.ID: 1} {
		if n, err := w.s.ProfileCount(app); err != nil || n != want {
			t.Errorf("app %d counts %d profiles, %v; want %d", app, n, err, want)
		}
	}
	if p, err := w.s.Profile(w.app.ID, 99); p != nil || err != nil {
		t.Errorf("a profile that does not exist: %v, %v", p, err)
	}
	if _, err := w.s.Profile(77, 1); err == nil {
		t.Error("a profile of an app that does not exist was read")
	}
}

// Goal: a person's hits come newest day first, newest first within a day, those
// of former numbers among them.
// Method: two devices take turns over three days, then become one person.
func TestHitsInOrderOverMerges(t *testing.T) {
	w := newTown(t)
	for i := range 30 {
		w.come([]string{"k", "l", "m"}[i%3], "")
		w.c.add(2*time.Hour + time.Duration(i)*time.Minute)
	}
	w.come("k", "u")
	w.come("l", "u")
	w.come("m", "u")
	var times []int64
	var days []spoor.Day
	from := map[spoor.Number]int{}
	if err := w.s.Hits(w.app.ID, 1, func(h *spoor.Hit) error {
		times, days = append(times, h.Time), append(days, h.Day)
		from[h.Profile]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(times) != 33 || len(from) != 3 || len(slices.Compact(slices.Clone(days))) < 3 {
		t.Fatalf("%d hits of %d numbers on %v", len(times), len(from), days)
	}
	if !slices.IsSortedFunc(times, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("times %v are not newest first", times)
	}
	n := 0
	if err := w.s.Hits(w.app.ID, 1, func(*spoor.Hit) error {
		if n++; n == 5 {
			return errEnough
		}
		return nil
	}); !errors.Is(err, errEnough) || n != 5 {
		t.Errorf("the caller's error: %v after %d hits", err, n)
	}
}

// Goal: ScanHits gives exactly the days asked for, both ends included.
// Method: a hit on each of six days; all ranges; a range the wrong way round.
func TestScanHitsRanges(t *testing.T) {
	w := newTown(t)
	first := w.at("k", w.c.Now()).Day
	for range 5 {
		w.c.add(24 * time.Hour)
		w.at("k", w.c.Now())
	}
	for from := first - 1; from <= first+6; from++ {
		for to := from; to <= first+6; to++ {
			var got []spoor.Day
			if err := w.s.ScanHits(w.app.ID, from, to, func(h *spoor.Hit) error { got = append(got, h.Day); return nil }); err != nil {
				t.Fatal(err)
			}
			var want []spoor.Day
			for d := max(from, first); d <= min(to, first+5); d++ {
				want = append(want, d)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s to %s: %v, want %v", from, to, got, want)
			}
		}
	}
	if err := w.s.ScanHits(w.app.ID, first+1, first, func(*spoor.Hit) error { return nil }); err == nil {
		t.Error("a range that ends before it starts was scanned")
	}
}

// Goal: Partitions lists each day with its hits and profiles, and which are sealed.
// Method: known hits on two days, of profiles, bots and nobody.
func TestPartitions(t *testing.T) {
	w := newTown(t)
	bot := w.visit("", "")
	bot.Bot = true
	h := write(t, w.s, w.visit("k", ""), w.visit("l", ""), w.visit("k", ""), bot, w.visit("", ""))
	first := h[0].Day
	w.c.add(8 * 24 * time.Hour)
	w.come("k", "")
	parts, err := w.s.Partitions(w.app.ID)
	if err != nil || len(parts) != 2 {
		t.Fatalf("%+v, %v; want two", parts, err)
	}
	for i, want := range []spoor.Partition{
		{App: w.app.ID, Day: first, Hits: 5, Profiles: 2, Sealed: true},
		{App: w.app.ID, Day: first + 8, Hits: 1, Profiles: 1},
	} {
		got := parts[i]
		if got.Bytes <= 0 {
			t.Errorf("partition %d takes %d bytes", i, got.Bytes)
		}
		if got.Bytes = 0; got != want {
			t.Errorf("partition %d: %+v, want %+v", i, got, want)
		}
	}
	if parts, err := w.s.Partitions(99); err != nil || len(parts) != 0 {
		t.Errorf("an app that does not exist has %v, %v", parts, err)
	}
}

// Goal: Tail shows the stored hits of one app, in their order, and neither
// duplicates nor refused ones; stop and Close end it.
// Method: hits of two apps, with repeats; two watchers, of whom one stops.
func TestTail(t *testing.T) {
	c := newClock()
	s, err := Open(testOptions(t, vfs.NewMem(), c))
	if err != nil {
		t.Fatal(err)
	}
	app, other := newApp(t, s, "shop", "UTC"), newApp(t, s, "other", "UTC")
	hits, stop := s.Tail(app.ID)
	stays, _ := s.Tail(app.ID)
	nobody := spoor.Hit{App: app.ID, Kind: spoor.KindIdentify, Received: c.ms()}
	for i := range 20 {
		write(t, s, page(app, c, "k", i), page(other, c, "x", i), page(app, c, "k", i), nobody)
	}
	for i := range 20 { // they were shown before Write returned
		select {
		case h := <-hits:
			if h.ID != fmt.Sprint("k-", i) || h.Outcome != spoor.Stored || h.Profile != 1 || h.Public == 0 {
				t.Errorf("hit %d is %s, %v, of profile %d, with id %d", i, h.ID, h.Outcome, h.Profile, h.Public)
			}
		default:
			t.Fatalf("hit %d was not shown", i)
		}
	}
	stop()
	stop()
	if _, open := <-hits; open {
		t.Error("there is something behind the end")
	}
	write(t, s, page(app, c, "k", 100))
	check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range stays {
		n++
	}
	if n != 21 {
		t.Errorf("the other watcher saw %d hits, want 21", n)
	}
	if late, _ := s.Tail(app.ID); late != nil {
		if _, open := <-late; open {
			t.Error("a closed store shows something")
		}
	}
}

// Goal: a slow watcher misses hits, which are counted, and holds nobody up.
// Method: more hits than wait for it; it reads none until all are stored.
func TestSlowWatcherMissesHits(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	hits, stop := s.Tail(app.ID)
	var all []spoor.Hit
	for i := range tailHitsMax + 50 {
		all = append(all, page(app, c, "k", i))
	}
	write(t, s, all...)
	stop()
	n := 0
	for h := range hits {
		if h.ID != fmt.Sprint("k-", n) {
			t.Fatalf("hit %d is %s: those in front must be kept", n, h.ID)
		}
		n++
	}
	if dropped := s.Stats().TailDropped; n != tailHitsMax || dropped != 50 {
		t.Errorf("%d shown, %d dropped; want %d and 50", n, dropped, tailHitsMax)
	}
}

// Goal: reads and writes at the same time are safe, and a profile that exists
// is never missing, not even while it is merged into another.
// Method: one goroutine merges device after device into a person; others ask
// for all numbers made so far in every way there is. Run with -race.
func TestReadsDuringMerges(t *testing.T) {
	w := newTown(t)
	const devices = 300
	var made atomic.Int64 // numbers up to this one exist
	person := w.come("", "u")
	made.Store(1)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for r := range 3 {
		readers.Go(func() {
			for i := 0; !t.Failed(); i++ {
				select {
				case <-done:
					return
				default:
				}
				n := spoor.Number(made.Load())
				if back := spoor.Number(i % 2); back < n { // the newest are merged now
					n -= back
				}
				w.readOnce(r, n)
			}
		})
	}
	for i := range devices {
		key := fmt.Sprint("k", i)
		n := w.come(key, "")
		made.Store(int64(n))
		if got := w.come(key, "u"); got != person {
			t.Errorf("profile %d, want %d", got, person)
			break
		}
		if t.Failed() {
			break
		}
	}
	close(done)
	readers.Wait()
}

// readOnce reads a profile that exists in one of several ways.
func (w *town) readOnce(how int, n spoor.Number) {
	switch how {
	case 0:
		p, err := w.s.Profile(w.app.ID, n)
		if err != nil || p == nil {
			w.Errorf("profile %d is %v, %v", n, p, err)
		}
	case 1:
		hits := 0
		err := w.s.Hits(w.app.ID, n, func(*spoor.Hit) error { hits++; return nil })
		if err != nil || hits == 0 {
			w.Errorf("profile %d has %d hits, %v", n, hits, err)
		}
	case 2:
		last := spoor.Number(0)
		err := w.s.Profiles(w.app.ID, 0, func(p *spoor.Profile) error {
			if p.Number <= last || p.CreatedAt == 0 {
				w.Errorf("profile %d behind %d, made at %d", p.Number, last, p.CreatedAt)
			}
			last = p.Number
			return nil
		})
		if _, err2 := w.s.Partitions(w.app.ID); err != nil || err2 != nil || w.s.PublicID(w.app.ID, n) == 0 {
			w.Errorf("walking: %v, %v", err, err2)
		}
		w.s.Stats()
	}
}

// Goal: what reads a person in several steps sees one moment.
// Method: a profile is merged away between two steps.
func TestStillIsOneMoment(t *testing.T) {
	w := newTown(t)
	w.come("", "u")
	q := w.come("k", "")
	if err := w.s.still(func(db pebble.Reader) error {
		n, err := person(db, w.app.ID, q)
		if err != nil || n != q {
			t.Errorf("profile %d leads to %d, %v", q, n, err)
		}
		if got := w.come("k", "u"); got != 1 {
			t.Errorf("profile %d, want 1", got)
		}
		if st, err := readProfile(db, w.app.ID, n); err != nil || st.created == 0 {
			t.Errorf("profile %d has gone in the midst: %v", n, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if p := w.profile(q); p.Number != 1 {
		t.Errorf("afterwards it leads to %d, want 1", p.Number)
	}
}

// Goal: after Close all reads say so, and none panics.
// Method: each is called.
func TestReadsAfterClose(t *testing.T) {
	c := newClock()
	s, err := Open(testOptions(t, vfs.NewMem(), c))
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	write(t, s, page(app, c, "k", 1))
	check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Profile":      func() error { _, err := s.Profile(app.ID, 1); return err },
		"ProfileByID":  func() error { _, err := s.ProfileByID(app.ID, publicBase+1); return err },
		"Profiles":     func() error { return s.Profiles(app.ID, 0, func(*spoor.Profile) error { return nil }) },
		"ProfileCount": func() error { _, err := s.ProfileCount(app.ID); return err },
		"Find":         func() error { _, err := s.Find(app.ID, spoor.LookupKey, "k"); return err },
		"Hits":         func() error { return s.Hits(app.ID, 1, func(*spoor.Hit) error { return nil }) },
		"ScanHits":     func() error { return s.ScanHits(app.ID, 0, 1, func(*spoor.Hit) error { return nil }) },
		"HasEvent":     func() error { _, err := s.HasEvent(app.ID, "x"); return err },
		"Partitions":   func() error { _, err := s.Partitions(app.ID); return err },
		"Check":        func() error { _, err := s.Check(nil); return err },
		"Seal":         s.Seal,
		"Edit":         func() error { _, _, err := s.Edit(&spoor.Edit{App: app.ID}); return err },
		"Write":        func() error { return s.Write([]spoor.Hit{page(app, c, "k", 2)}) },
	} {
		if err := call(); !errors.Is(err, spoor.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	if st := s.Stats(); st.Hits != 1 {
		t.Errorf("figures %+v", st)
	}
}

// Goal: Close answers those who wait for a full disk to get room.
// Method: a store opened on a full disk gets room, so that a write lines up for
// the writer that is about to start; it is closed at the same moment.
func TestCloseWhileWaitingForRoom(t *testing.T) {
	c := newClock()
	disk := &scriptedDisk{FS: vfs.NewMem()}
	disk.free.Store(900 << 20)
	o := testOptions(t, disk, c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(1 << 20)
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(900 << 20)
	s.space.next.Store(0) // look now
	answer := make(chan error, 1)
	go func() { answer <- s.Write([]spoor.Hit{page(app, c, "k", 1)}) }()
	eventually(t, "the write waits or is answered", func() bool {
		_, n := s.queue.fill()
		return n == 1 || len(answer) == 1
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answer:
		if err != nil && !errors.Is(err, spoor.ErrClosed) && !errors.Is(err, spoor.ErrReadOnly) {
			t.Errorf("the write that waited: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the write that waited was never answered")
	}
}
