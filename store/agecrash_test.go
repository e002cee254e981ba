package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Goal: wherever a crash interrupts rights, erasures, drops for age or the end of
// an app, the store fits together, what was acknowledged holds, and doing all of
// it again ends with no byte left and every receipt finished.
// Method: copies of the disk, as a crash would leave it, taken while it happens.
func TestCrashWhileDropping(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	for round := range uint64(8) {
		fs := newCrashFS(vfs.NewCrashableMem())
		w := newCrowd(t, fs, "UTC")
		other := newApp(t, w.s, "other", "UTC")
		old := w.today()
		var people []spoor.Number
		for i := range 30 {
			people = append(people, w.say(fmt.Sprintf("old-cookie-%02d", i), fmt.Sprintf("person-%02d", i), w.c.Now()).Profile)
			w.ids++
			h := page(other, w.c, "others-cookie", w.ids)
			h.URL = "https://other.example/read-there"
			write(w, w.s, h)
		}
		w.sealAfter(40)
		for i := range 30 {
			w.say(fmt.Sprintf("young-cookie-%02d", i), fmt.Sprintf("person-%02d", i), w.c.Now())
		}
		steps := stepsOf(w.app, other, people, old)
		var acked atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, step := range steps {
				if err := step(w.s); err != nil {
					t.Error(err)
				}
				acked.Add(1)
			}
		}()
		var copies []*vfs.MemFS
		var sure []int64
		for k, over := uint64(0), false; !over && len(copies) < 60; k++ {
			sure = append(sure, acked.Load())
			copies = append(copies, fs.crash([]int{0, 50, 100}[k%3], seed+round*1000+k))
			select {
			case <-done:
				over = true
			case <-time.After(200 * time.Microsecond):
			}
		}
		<-done
		for k, copied := range copies {
			if k%3 == int(round%3) || k == len(copies)-1 {
				afterCrash(t, w, copied, steps, sure[k])
			}
		}
	}
}

// stepsOf are the removals, each of which may be repeated.
func stepsOf(app, other *spoor.App, people []spoor.Number, old spoor.Day) []func(*Store) error {
	steps := []func(*Store) error{
		func(s *Store) error {
			_, err := s.SetRight(app.ID, people[0], spoor.RightHold, spoor.Forever)
			return err
		},
		func(s *Store) error {
			_, err := s.SetRight(app.ID, people[1], spoor.RightRestrict, spoor.Forever)
			return err
		},
		func(s *Store) error {
			_, err := s.Erase(app.ID, people[2:4], "subject")
			return err
		},
		func(s *Store) error {
			_, err := s.Drop(context.Background(), app, spoor.Aged{Hits: old, Statistics: old})
			return err
		},
		func(s *Store) error {
			if s.AppByName(other.Name) == nil {
				return nil
			}
			return s.DeleteApp(other.ID)
		},
		func(s *Store) error {
			_, err := s.Reclaim(context.Background(), true)
			return err
		},
	}
	return steps
}

// afterCrash looks at a copy, and does everything again.
func afterCrash(t *testing.T, w *crowd, copied *vfs.MemFS, steps []func(*Store) error, sure int64) {
	t.Helper()
	o := testOptions(t, copied, w.c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	check(t, s)
	n := func(who string) int {
		numbers, err := s.Find(w.app.ID, spoor.LookupUserID, who)
		if err != nil {
			t.Fatal(err)
		}
		return len(numbers)
	}
	if erased := n("person-02")+n("person-03") == 0; sure >= 3 && !erased {
		t.Error("an erasure that was acknowledged is undone")
	}
	days, err := s.Partitions(w.app.ID)
	if err != nil {
		t.Fatal(err)
	}
	if sure >= 4 && days[0].Hits != 2 { // of who is held and who is restricted
		t.Errorf("a drop that was acknowledged is undone: %+v", days[0])
	}
	if sure >= 5 && s.AppByName("other") != nil {
		t.Error("an end that was acknowledged is undone")
	}
	for i, step := range steps {
		if err := step(s); err != nil {
			t.Fatalf("step %d again: %v", i, err)
		}
	}
	check(t, s)
	for _, app := range []spoor.AppID{0, w.app.ID} {
		receipts := 0
		if err := s.Receipts(app, func(r *spoor.Receipt) error {
			if receipts++; r.Gone == 0 {
				t.Errorf("a receipt was not finished: %+v", *r)
			}
			return nil
		}); err != nil || receipts == 0 {
			t.Errorf("%d receipts of app %d, %v", receipts, app, err)
		}
	}
	if p, err := s.Pending(); err != nil || p.Pending != 0 || p.Oldest != 0 || p.Waiting != 0 {
		t.Errorf("pending %+v, %v", p, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := Scan(copied, "data", []string{"of-old-cookie-07", "person-02", "young-cookie-03", "others-cookie", "read-there", "young-cookie-01"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found.Finds {
		if f.Text != 5 {
			t.Errorf("left: %+v", f)
		}
	}
	if len(found.Finds) == 0 {
		t.Error("positive control: the restricted person is gone")
	}
}
