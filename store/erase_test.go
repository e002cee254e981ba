package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// say stores a hit of a person with texts of its own, and returns its outcome.
func (w *crowd) say(key, user string, happened time.Time, attrs ...spoor.Attribute) spoor.Hit {
	w.Helper()
	w.ids++
	h := page(w.app, w.c, key, w.ids)
	h.Key, h.UserID, h.Time, h.Attributes = key, user, happened.UnixMilli(), attrs
	h.URL, h.Title = "https://shop.example/of-"+key, "Title of "+key
	return write(w, w.s, h)[0]
}

func (w *crowd) erase(n spoor.Number) spoor.Removal {
	w.Helper()
	r, err := w.s.Erase(w.app.ID, []spoor.Number{n}, "")
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// Goal: an erased person is gone from reads at once and from all bytes after
// reclaiming, from sealed days and from today, under all former numbers; the
// counts of open days are those of who is left, those of sealed days stay.
// Method: a person on three devices over seventy days, among neighbours who do
// the same; the store's own check compares open days with a scan of their hits.
func TestErase(t *testing.T) {
	for _, putOff := range []int{1, 32} {
		w := newCrowd(t, vfs.NewMem(), "Europe/Warsaw")
		w.s.opts.putOffFrom = putOff
		both := func(f func(who string)) { f("person"); f("neighbour") }
		both(func(who string) { w.say(who+"-old-cookie", "", w.c.Now()) })
		both(func(who string) {
			w.say(who+"-old-cookie", "user-"+who, w.c.Now(), text(spoor.AttrEmail, who+"@x.example"))
		})
		w.c.add(70 * 24 * time.Hour)
		if _, _, err := w.s.SealDays(context.Background()); err != nil {
			t.Fatal(err)
		}
		both(func(who string) { w.say(who+"-new-cookie", "", w.c.Now()) })
		w.c.add(time.Hour)
		both(func(who string) { w.say(who+"-new-cookie", "user-"+who, w.c.Now()) })
		w.c.add(time.Minute)
		both(func(who string) { w.say(who+"-new-cookie", "", w.c.Now().Add(-30*time.Second)) })
		before, err := w.s.Partitions(w.app.ID)
		if err != nil || len(before) != 2 {
			t.Fatal(before, err)
		}
		numbers, err := w.s.Find(w.app.ID, spoor.LookupUserID, "user-person")
		if err != nil || len(numbers) != 1 {
			t.Fatal(numbers, err)
		}
		exported := int64(0)
		if err := w.s.Hits(w.app.ID, numbers[0], func(*spoor.Hit) error { exported++; return nil }); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"person-old-cookie", "person-new-cookie", "user-person", "person@x.example"} {
			if len(w.places(text)) == 0 {
				t.Fatalf("positive control: %s is not found", text)
			}
		}
		if r := w.erase(numbers[0]); r.Profiles != 1 || r.Hits != exported || exported != 5 {
			t.Errorf("erased %+v, exported %d", r, exported)
		}
		check(t, w.s)
		w.finds(spoor.LookupUserID, "user-person")
		w.finds(spoor.LookupEmail, "person@x.example")
		after, err := w.s.Partitions(w.app.ID)
		if err != nil || after[0].Hits != before[0].Hits-2 || after[0].Profiles != before[0].Profiles ||
			after[1].Hits != before[1].Hits-3 || after[1].Profiles >= before[1].Profiles {
			t.Errorf("partitions %+v, %v; were %+v", after, err, before)
		}
		w.reclaim(false)
		for _, text := range []string{"person-old-cookie", "person-new-cookie", "user-person", "person@x.example"} {
			for _, f := range w.places(text) {
				t.Errorf("still there: %s in %+v", text, f)
			}
		}
		for _, text := range []string{"neighbour-old-cookie", "neighbour-new-cookie", "user-neighbour", "neighbour@x.example"} {
			if len(w.places(text)) == 0 {
				t.Errorf("%s is gone too", text)
			}
		}
		check(t, w.s)
		if r := w.erase(numbers[0]); r != (spoor.Removal{}) {
			t.Errorf("erased again: %+v", r)
		}
	}
}

// Goal: an erased person's record leaves the files at once also where all around
// it stay.
func TestEraseAmongMany(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	var numbers []spoor.Number
	for i := range 60 {
		numbers = append(numbers, w.say(fmt.Sprint("cookie-number-", i), fmt.Sprint("user-number-", i), w.c.Now()).Profile)
	}
	w.reclaim(true)
	w.erase(numbers[30])
	w.reclaim(false)
	for _, text := range []string{"cookie-number-30", "user-number-30"} {
		if f := w.places(text); len(f) > 0 {
			t.Errorf("still there: %s in %+v", text, f)
		}
	}
	check(t, w.s)
}

// Goal: what happened before an erasure brings nobody back, by whichever
// identifier it comes, also after a restart; what happens later begins anew.
func TestErasedStayErased(t *testing.T) {
	fs := vfs.NewMem()
	w := newCrowd(t, fs, "UTC")
	first := w.say("cookie", "user", w.c.Now(), text(spoor.AttrEmail, "person@x.example"), text(spoor.AttrPhone, "+48 123 456")).Profile
	w.say("second-cookie", "user", w.c.Now())
	w.say("other", "", w.c.Now())
	w.c.add(time.Hour)
	w.erase(first)
	past := w.c.Now().Add(-time.Minute)
	w.c.add(time.Hour)
	old := func() {
		t.Helper()
		for _, who := range [][2]string{{"cookie", ""}, {"second-cookie", ""}, {"", "user"}, {"fresh-cookie", "user"}, {"cookie", "somebody"}} {
			if h := w.say(who[0], who[1], past); h.Outcome != spoor.Refused || h.Reason != spoor.ReasonErased {
				t.Errorf("%q: %v %q", who, h.Outcome, h.Reason)
			}
		}
		for _, at := range []spoor.Attribute{text(spoor.AttrEmail, "Person@x.example"), text(spoor.AttrPhone, "48123456")} {
			if h := w.say("unknown-cookie", "", past, at); h.Reason != spoor.ReasonErased {
				t.Errorf("by %s: %v %q", at.Name, h.Outcome, h.Reason)
			}
		}
		for _, former := range []string{"user", "second-cookie"} {
			w.ids++
			h := page(w.app, w.c, "", w.ids)
			h.Kind, h.UserID, h.FormerID, h.Time = spoor.KindAlias, "somebody", former, past.UnixMilli()
			if h = write(w, w.s, h)[0]; h.Reason != spoor.ReasonErased {
				t.Errorf("alias of %s: %v %q", former, h.Outcome, h.Reason)
			}
		}
		w.ids++
		pixel := page(w.app, w.c, "second-cookie", w.ids)
		pixel.Door, pixel.Time = spoor.DoorPixel, 0
		if pixel = write(w, w.s, pixel)[0]; pixel.Reason != spoor.ReasonErased {
			t.Errorf("a pixel: %v %q", pixel.Outcome, pixel.Reason)
		}
		if h := w.say("other", "", past); h.Outcome != spoor.Stored {
			t.Errorf("a neighbour: %v %q", h.Outcome, h.Reason)
		}
	}
	old()
	if err := w.s.Close(); err != nil {
		t.Fatal(err)
	}
	w.s = open(t, w.o)
	old()
	again := w.say("cookie", "user", w.c.Now())
	if again.Outcome != spoor.Stored || again.Profile == first {
		t.Errorf("new activity: %v, profile %d as before %d", again.Outcome, again.Profile, first)
	}
	old()
	n, err := w.s.ProfileCount(w.app.ID)
	if err != nil || n != 2 {
		t.Errorf("%d profiles, %v; want 2", n, err)
	}
}

// Goal: an erasure that lands between the building and the writing of a sealed
// day stays: neither the text of a row nor its count comes back.
func TestErasureBetweenBuildingAndSealing(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	var first spoor.Number
	for i := range rareProfiles { // so many that the text is not folded, unless one is missing
		h := page(w.app, w.c, fmt.Sprint("cookie", i), i)
		h.URL = "https://shop.example/path-of-few"
		if n := write(t, w.s, h)[0].Profile; i == 0 {
			first = n
		}
	}
	w.c.add(30 * 24 * time.Hour)
	var once sync.Once
	w.s.opts.betweenSeal = func() { once.Do(func() { w.erase(first) }) }
	if _, _, err := w.s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	check(t, w.s)
	w.reclaim(true)
	days, err := w.s.Partitions(w.app.ID)
	if err != nil || days[0].Hits != rareProfiles-1 || days[0].Profiles != rareProfiles-1 {
		t.Errorf("partitions %+v, %v", days, err)
	}
	err = scan(w.s.db, key1(nil, prefixCount, w.app.ID), func(_, value []byte) error {
		row, err := readCounts(value)
		if err == nil && (row.text == "/path-of-few" || row.hits > rareProfiles-1) {
			t.Errorf("a row says %q, %d hits", row.text, row.hits)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Goal: erasing and writing at once lose nothing and leave nothing: every hit
// that was stored under a number that is gone is gone, every other is there.
// Method: writers whose visitors come, are erased and come again.
func TestEraseWhileTheyWrite(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	var mu sync.Mutex
	gone := map[spoor.Number]bool{}
	stored := map[string]spoor.Number{}
	var writers sync.WaitGroup
	for id := range 4 {
		writers.Go(func() {
			for n := range 150 {
				h := page(w.app, w.c, fmt.Sprint("visitor", n%5), n)
				h.ID, h.Time = fmt.Sprint(id, " ", n), w.c.ms()+int64(n%7)
				h.Received = h.Time
				hits := []spoor.Hit{h}
				if err := w.s.Write(hits); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if hits[0].Outcome == spoor.Stored {
					stored[h.ID] = hits[0].Profile
				}
				mu.Unlock()
				if n%10 != 9 {
					continue
				}
				numbers, err := w.s.Find(w.app.ID, spoor.LookupKey, fmt.Sprint("visitor", id))
				if err == nil && len(numbers) == 1 {
					var r spoor.Removal
					if r, err = w.s.Erase(w.app.ID, numbers, ""); r.Profiles == 1 {
						mu.Lock()
						gone[numbers[0]] = true
						mu.Unlock()
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	there := map[string]bool{}
	if err := w.s.ScanHits(w.app.ID, 0, 100000, func(h *spoor.Hit) error { there[h.ID] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for id, n := range stored {
		if there[id] == gone[n] {
			t.Errorf("hit %s of profile %d: there %t, erased %t", id, n, there[id], gone[n])
		}
	}
	if len(gone) < 10 {
		t.Errorf("only %d erasures", len(gone))
	}
	check(t, w.s)
	w.reclaim(false)
	check(t, w.s)
}

// Goal: hits that were not counted yet when their person was erased are not
// counted after a crash either.
// Method: every group puts its counts off; the disk is copied as a crash leaves
// it right after the erasure.
func TestErasedAreNotCountedAfterACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	w := newCrowd(t, mem, "UTC")
	w.s.opts.putOffFrom = 1
	n := w.say("person", "", w.c.Now()).Profile
	for i := range 5 {
		w.say("person", "", w.c.Now())
		w.say(fmt.Sprint("neighbour", i), "", w.c.Now())
	}
	w.erase(n)
	copied := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	s := open(t, testOptions(t, copied, w.c))
	check(t, s)
	days, err := s.Partitions(w.app.ID)
	if err != nil || len(days) != 1 || days[0].Hits != 5 || days[0].Profiles != 5 {
		t.Errorf("partitions %+v, %v", days, err)
	}
}

// Goal: no byte of an erased person stays in logs that the store needs no more
// and keeps to write over them.
// Method: several persons one after the other, whose hits are in logs only; the
// files are searched while the store is open.
func TestErasedLeaveTheLogs(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newClock()
	o := testOptions(t, vfs.Default, c)
	o.MemTableBytes = 16 << 20
	s := open(t, o)
	w := &crowd{town: &town{TB: t, c: c, s: s, app: newApp(t, s, "shop", "UTC")}, fs: vfs.Default, o: o}
	for person := range 4 {
		name := fmt.Sprintf("person-of-many-hits-%d", person)
		var n spoor.Number
		for range 4 {
			hits := make([]spoor.Hit, 500)
			for i := range hits {
				w.ids++
				hits[i] = page(w.app, c, fmt.Sprint(name, "-device-", w.ids), w.ids)
				hits[i].UserID, hits[i].URL = name, "https://shop.example/"+name
			}
			n = write(t, s, hits...)[0].Profile
		}
		// A table that a compaction is writing right now cannot be read; logs can.
		find := func() []Find {
			r, err := Scan(w.fs, o.Dir, []string{name})
			if err != nil {
				t.Fatal(err)
			}
			return r.Finds
		}
		if len(find()) == 0 {
			t.Fatal("positive control: nothing is found")
		}
		w.erase(n)
		w.reclaim(false)
		for _, f := range find() {
			t.Errorf("still there: %+v", f)
		}
	}
}
