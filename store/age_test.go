package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

func (w *crowd) drop(aged spoor.Aged) spoor.Removal {
	w.Helper()
	r, err := w.s.Drop(context.Background(), w.app, aged)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *crowd) sealAfter(days int) {
	w.Helper()
	w.c.add(time.Duration(days) * 24 * time.Hour)
	if _, _, err := w.s.SealDays(context.Background()); err != nil {
		w.Fatal(err)
	}
}

// Goal: hits of days that are too old go, of known persons too, and none of their
// bytes is left; younger days, statistics, and whoever is held stay; the receipt
// tells how many and when; doing it again does nothing.
// Method: ten persons on two days, one of them held; raw scans of all files.
func TestDropDays(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": nil} {
		t.Run(name, func(t *testing.T) {
			if fs == nil {
				t.Chdir(t.TempDir())
				fs = vfs.Default
			}
			w := newCrowd(t, fs, "Europe/Warsaw")
			old := w.today()
			var held spoor.Number
			for i := range 10 {
				held = w.say(fmt.Sprint("old-cookie-", i), fmt.Sprint("person-", i), w.c.Now()).Profile
			}
			w.right(held, spoor.RightHold, old+500)
			w.sealAfter(30)
			young := w.today()
			for i := range 10 {
				w.say(fmt.Sprint("young-cookie-", i), fmt.Sprint("person-", i), w.c.Now())
			}
			w.sealAfter(30)
			if len(w.places("of-old-cookie-3")) == 0 {
				t.Fatal("positive control: the url is not found")
			}
			if r := w.drop(spoor.Aged{Hits: old - 1}); r != (spoor.Removal{}) {
				t.Errorf("too early: %+v", r)
			}
			r := w.drop(spoor.Aged{Hits: old})
			if r.Hits != 9 || r.Profiles != 0 || r.Receipt == 0 {
				t.Errorf("dropped %+v, want 9 hits", r)
			}
			check(t, w.s)
			if p, err := w.s.Pending(); err != nil || p.Pending != 1 || p.Waiting == 0 || p.Oldest != w.c.ms() {
				t.Errorf("pending %+v, %v", p, err)
			}
			if again := w.drop(spoor.Aged{Hits: old}); again != (spoor.Removal{}) {
				t.Errorf("dropped again: %+v", again)
			}
			receipt, err := w.s.Receipt(w.app.ID, r.Receipt)
			if err != nil || receipt == nil || receipt.Gone != 0 || receipt.Hits != 9 || receipt.Decided != w.c.ms() || receipt.What != spoor.ReceiptExpiry {
				t.Errorf("receipt %+v, %v", receipt, err)
			}
			w.c.add(time.Minute)
			w.reclaim(false)
			if receipt, err = w.s.Receipt(w.app.ID, r.Receipt); err != nil || receipt.Gone != w.c.ms() || receipt.Backups != w.c.Now().AddDate(0, 0, 30).UnixMilli() {
				t.Errorf("receipt after reclaiming: %+v, %v", receipt, err)
			}
			for i := range 9 {
				if f := w.places(fmt.Sprint("of-old-cookie-", i)); len(f) > 0 {
					t.Errorf("still there: %+v", f)
				}
				if f := w.places(fmt.Sprint("of-young-cookie-", i)); len(f) == 0 {
					t.Errorf("the hit of the younger day is gone too")
				}
			}
			if f := w.places("of-old-cookie-9"); len(f) == 0 {
				t.Error("what is held is gone")
			}
			parts, err := w.s.Partitions(w.app.ID)
			if err != nil || len(parts) != 2 || parts[0].Hits != 1 || parts[0].Profiles != 10 || parts[1].Day != young || parts[1].Hits != 10 {
				t.Errorf("partitions %+v, %v", parts, err)
			}
			w.right(held, spoor.RightHold, 0)
			if r := w.drop(spoor.Aged{Hits: old}); r.Hits != 1 {
				t.Errorf("after the hold: %+v", r)
			}
			w.reclaim(false)
			if f := w.places("of-old-cookie-9"); len(f) > 0 {
				t.Errorf("still there after the hold: %+v", f)
			}
			check(t, w.s)
		})
	}
}

// Goal: hits of one kind go before the others.
func TestDropKinds(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	day := w.today()
	var hits []spoor.Hit
	for i := range 1000 {
		w.ids++
		h := page(w.app, w.c, fmt.Sprint("cookie-", i%40), w.ids)
		if i%2 == 0 {
			h.Kind, h.Name, h.Title = spoor.KindForm, "signed up", "title of a form"
		}
		hits = append(hits, h)
	}
	write(w, w.s, hits...)
	n, err := w.s.Find(w.app.ID, spoor.LookupKey, "cookie-2")
	if err != nil || len(n) != 1 {
		t.Fatal(n, err)
	}
	w.right(n[0], spoor.RightHold, day+100)
	w.sealAfter(40)
	forms := spoor.Aged{Kinds: map[spoor.Kind]spoor.Day{spoor.KindForm: day}}
	if r := w.drop(forms); r.Hits != 500-25 {
		t.Errorf("dropped %+v, want 475", r)
	}
	check(t, w.s)
	left := map[spoor.Kind]int{}
	if err := w.s.ScanHits(w.app.ID, day, day, func(h *spoor.Hit) error { left[h.Kind]++; return nil }); err != nil || left[spoor.KindForm] != 25 || left[spoor.KindPage] != 500 {
		t.Errorf("left %v, %v", left, err)
	}
	w.c.add(61 * 24 * time.Hour) // the hold has ended, nobody lifted it
	if r := w.drop(forms); r.Hits != 25 {
		t.Errorf("after the hold: %+v, want 25", r)
	}
	if r := w.drop(forms); r != (spoor.Removal{}) {
		t.Errorf("dropped again: %+v", r)
	}
	w.reclaim(false)
	if f := w.places("title of a form"); len(f) > 0 {
		t.Errorf("still there: %+v", f)
	}
	check(t, w.s)
}

// Goal: statistics go when they are old, the balance of what was stored and went
// stays; hits need not have gone.
func TestDropStatistics(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	day := w.today()
	for i := range 10 {
		w.say(fmt.Sprint("cookie-", i), "", w.c.Now())
	}
	w.sealAfter(40)
	if w.row(day, spoor.OtherText) != 10 {
		t.Fatal("positive control: no statistics")
	}
	w.drop(spoor.Aged{Statistics: day - 1})
	if w.row(day, spoor.OtherText) != 10 {
		t.Error("they went a day too early")
	}
	w.drop(spoor.Aged{Statistics: day})
	check(t, w.s)
	if p, err := w.s.Pending(); err != nil || p.Pending != 1 {
		t.Errorf("pending %+v, %v", p, err)
	}
	if n := w.row(day, spoor.OtherText); n != 0 {
		t.Errorf("%d hits are counted still", n)
	}
	w.reclaim(false)
	if parts, err := w.s.Partitions(w.app.ID); err != nil || len(parts) != 1 || parts[0].Hits != 10 || parts[0].Profiles != 0 {
		t.Errorf("partitions %+v, %v", parts, err)
	}
	w.drop(spoor.Aged{Hits: day, Statistics: day})
	w.reclaim(false)
	check(t, w.s)
	if f := w.places("of-cookie-3"); len(f) > 0 {
		t.Errorf("still there: %+v", f)
	}
}
