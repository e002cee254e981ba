package retention

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// world is a real store under a clock of its own.
type world struct {
	testing.TB
	mu  sync.Mutex
	now time.Time
	st  *store.Store
	app *spoor.App
	s   *Sweeper
	ids int
}

func newWorld(t testing.TB, zone string, now time.Time, change ...func(*spoor.Settings)) *world {
	t.Helper()
	w := &world{TB: t, now: now}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), Now: w.Now, Log: log, MemTableBytes: 256 << 10, CacheBytes: 16 << 20, FilterBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.check()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	settings := spoor.DefaultSettings(zone)
	for _, f := range change {
		f(&settings)
	}
	if w.app, err = st.CreateApp(&spoor.App{Name: "shop", Created: now.UnixMilli(), Settings: settings}); err != nil {
		t.Fatal(err)
	}
	w.st, w.s = st, New(Options{Store: st, Now: w.Now, Log: log})
	return w
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) at(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

func (w *world) check() {
	w.Helper()
	r, err := w.st.Check(nil)
	if err != nil || r.Found > 0 {
		w.Errorf("check: %v, %v", err, r.Problems)
	}
}

// hit stores one hit of a key, now.
func (w *world) hit(key string, change ...func(*spoor.Hit)) spoor.Number {
	w.Helper()
	w.ids++
	now := w.Now().UnixMilli()
	h := spoor.Hit{App: w.app.ID, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: fmt.Sprint("event ", w.ids), Key: key, URL: "https://shop.example/", Time: now, Received: now}
	for _, f := range change {
		f(&h)
	}
	hits := []spoor.Hit{h}
	if err := w.st.Write(hits); err != nil || hits[0].Outcome != spoor.Stored {
		w.Fatalf("%v: %v", hits[0].Outcome, err)
	}
	return hits[0].Profile
}

func (w *world) edit(n spoor.Number, change func(*spoor.Edit)) {
	w.Helper()
	e := &spoor.Edit{App: w.app.ID, Number: n, Door: spoor.DoorREST, At: w.Now().UnixMilli()}
	change(e)
	if _, _, err := w.st.Edit(e); err != nil {
		w.Fatal(err)
	}
}

func text(name, value string) []spoor.Attribute {
	return []spoor.Attribute{{Name: name, Type: spoor.TypeString, Text: value}}
}

func (w *world) sweep() spoor.Sweep {
	w.Helper()
	r, err := w.s.Sweep(context.Background(), false, true)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) lives(n spoor.Number) bool {
	w.Helper()
	p, err := w.st.Profile(w.app.ID, n)
	if err != nil {
		w.Fatal(err)
	}
	return p != nil
}

// living are the numbers of all who live, by one walk: under the race detector a
// read of one profile costs a stack trace for every table that it opens.
func (w *world) living() map[spoor.Number]bool {
	w.Helper()
	numbers := map[spoor.Number]bool{}
	if err := w.st.Profiles(w.app.ID, 0, func(p *spoor.Profile) error { numbers[p.Number] = true; return nil }); err != nil {
		w.Fatal(err)
	}
	return numbers
}

// Goal: a profile goes at the midnight after 60 full days in its app's zone, not
// an instant earlier; also over the days on which clocks are changed.
// Method: the last activity at the first and the last moment of a day; sweeps
// at the last moment that keeps and the first that does not.
func TestTheExactMidnight(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Warsaw", "Asia/Kolkata"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		day := spoor.DayOf(time.Date(2026, 2, 14, 12, 0, 0, 0, loc), loc)
		for name, last := range map[string]time.Time{"first moment": day.Start(loc), "last moment": (day + 1).Start(loc).Add(-time.Millisecond)} {
			t.Run(zone+" "+name, func(t *testing.T) {
				w := newWorld(t, zone, last)
				n := w.hit("cookie")
				w.at((day + 61).Start(loc).Add(-time.Millisecond))
				p, _ := w.st.Profile(w.app.ID, n)
				if v := Judge(w.app, p, w.app.Day(w.Now().UnixMilli())); v.Due != day+61 || len(v.Keeps) != 1 {
					t.Errorf("judged %+v", v)
				}
				if w.sweep(); !w.lives(n) {
					t.Errorf("gone after %s", w.Now().Sub(last))
				}
				w.at((day + 61).Start(loc))
				if r := w.sweep(); w.lives(n) || r.Apps[0].Profiles != 1 || r.Apps[0].Hits != 1 {
					t.Errorf("kept after %s: %+v", w.Now().Sub(last), r)
				}
			})
		}
	}
}

// Goal: each contact alone keeps a profile, and one that is lost lets it fall
// due; nothing else keeps it. A person's former numbers stay with the person.
func TestWhatKeeps(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	push := []spoor.Attribute{{Name: spoor.AttrWebPush, Type: spoor.TypeBool, Text: "true"}}
	none := func(name string) []spoor.Attribute { return []spoor.Attribute{{Name: name}} }
	for name, tc := range map[string]struct {
		gain, lose func(*spoor.Edit)
		kept       bool
	}{
		"user id":    {func(e *spoor.Edit) { e.UserID = "u" }, func(e *spoor.Edit) { e.Attributes = none(spoor.AttrUserID) }, true},
		"e-mail":     {func(e *spoor.Edit) { e.Attributes = text(spoor.AttrEmail, "a@b.example") }, func(e *spoor.Edit) { e.Attributes = none(spoor.AttrEmail) }, true},
		"phone":      {func(e *spoor.Edit) { e.Attributes = text(spoor.AttrPhone, "+48 123 456") }, func(e *spoor.Edit) { e.Attributes = none(spoor.AttrPhone) }, true},
		"web push":   {func(e *spoor.Edit) { e.Attributes = push }, func(e *spoor.Edit) { e.Attributes = none(spoor.AttrWebPush) }, true},
		"mobile":     {func(e *spoor.Edit) { e.MobileAdd = []string{"token"} }, func(e *spoor.Edit) { e.MobileDrop = []string{"token"} }, true},
		"first name": {func(e *spoor.Edit) { e.Attributes = text(spoor.AttrFirstName, "Ann") }, nil, false},
		"status":     {func(e *spoor.Edit) { e.Attributes = text(spoor.AttrStatus, "user") }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "UTC", start)
			n := w.hit("cookie")
			w.edit(n, tc.gain)
			w.at(start.AddDate(0, 0, 62))
			if w.sweep(); w.lives(n) != tc.kept {
				t.Fatalf("kept: %t, want %t", !tc.kept, tc.kept)
			}
			if tc.lose == nil {
				return
			}
			w.edit(n, tc.lose) // an edit is no activity
			if w.sweep(); w.lives(n) {
				t.Error("kept without the contact")
			}
		})
	}
	t.Run("token of a hit", func(t *testing.T) {
		w := newWorld(t, "UTC", start)
		n := w.hit("cookie", func(h *spoor.Hit) { h.Kind, h.MobileAdd = spoor.KindPing, "token" })
		w.at(start.AddDate(0, 0, 62))
		if w.sweep(); !w.lives(n) {
			t.Fatal("swept although it has a push token")
		}
		w.hit("cookie", func(h *spoor.Hit) { h.Kind, h.MobileDrop = spoor.KindPing, "token" })
		w.at(start.AddDate(0, 0, 124))
		if w.sweep(); w.lives(n) {
			t.Error("kept without the token")
		}
	})
	t.Run("former numbers", func(t *testing.T) {
		w := newWorld(t, "UTC", start)
		former := w.hit("cookie")
		person := w.hit("other", func(h *spoor.Hit) { h.UserID = "u" })
		w.hit("cookie", func(h *spoor.Hit) { h.UserID = "u" })
		w.at(start.AddDate(0, 0, 62))
		w.sweep()
		p, err := w.st.Profile(w.app.ID, former)
		if err != nil || p == nil || p.Number != person || p.Views != 3 {
			t.Errorf("the former number leads to %+v, %v", p, err)
		}
	})
	t.Run("never", func(t *testing.T) {
		w := newWorld(t, "UTC", start, func(s *spoor.Settings) { s.IdleDays = 0 })
		n := w.hit("cookie")
		w.at(start.AddDate(5, 0, 0))
		if w.sweep(); !w.lives(n) {
			t.Error("swept although idle_days is 0")
		}
	})
	t.Run("never active", func(t *testing.T) {
		w := newWorld(t, "UTC", start)
		n, _, err := w.st.Edit(&spoor.Edit{App: w.app.ID, Key: "imported", Door: spoor.DoorREST, At: start.UnixMilli()})
		if err != nil {
			t.Fatal(err)
		}
		w.at(start.AddDate(0, 0, 60))
		if w.sweep(); !w.lives(n) {
			t.Error("gone before its time")
		}
		w.at(start.AddDate(0, 0, 61))
		if w.sweep(); w.lives(n) {
			t.Error("kept although nothing was heard of it for 60 full days")
		}
	})
}

// history is the model of one profile: what matters of its life.
type history struct {
	number  spoor.Number
	last    spoor.Day
	user    bool
	email   bool
	mobile  bool
	removed bool
}

// Goal: over months, exactly those go who are due, on the day they are.
// Method: 3,000 random histories in three zones: visits, identifications,
// contacts that come and go, phones that report days late. Each midnight is
// swept, and all who live are compared with the model; who went is looked up too.
func TestHistoriesAgainstModel(t *testing.T) {
	for zone, people := range map[string]int{"UTC": 1001, "Europe/Warsaw": 1000, "Asia/Kolkata": 999} {
		t.Run(zone, func(t *testing.T) {
			loc, _ := time.LoadLocation(zone)
			first := spoor.DayOf(time.Date(2026, 3, 20, 12, 0, 0, 0, loc), loc)
			const idle, days = 9, 45
			w := newWorld(t, zone, first.Start(loc), func(s *spoor.Settings) { s.IdleDays, s.WindowDays = idle, 3 })
			rng := rand.New(rand.NewPCG(7, uint64(people)))
			all := make([]*history, people)
			wrong := 0
			for day := first; day < first+days; day++ {
				w.at(day.Start(loc))
				w.sweep()
				living := w.living()
				for i, h := range all {
					if h == nil {
						continue
					}
					h.removed = !h.user && !h.email && !h.mobile && h.last+idle+1 <= day
					if (living[h.number] == h.removed || h.removed && w.lives(h.number)) && wrong < 10 {
						wrong++
						t.Errorf("%s: history %d %+v: removed %t", day, i, h, !h.removed)
					}
					delete(living, h.number)
					if h.removed {
						all[i] = nil
					}
				}
				if len(living) > 0 {
					t.Fatalf("%s: %d live of whom the model knows nothing", day, len(living))
				}
				w.live(rng, all, day, loc)
			}
		})
	}
}

// live lets some of the people do something in the course of a day.
func (w *world) live(rng *rand.Rand, all []*history, day spoor.Day, loc *time.Location) {
	w.Helper()
	length := (day + 1).Start(loc).Sub(day.Start(loc))
	var moments []time.Duration
	for range len(all) / 12 {
		moments = append(moments, time.Duration(rng.Int64N(int64(length))))
	}
	slices.Sort(moments)
	for _, m := range moments {
		w.at(day.Start(loc).Add(m))
		i := rng.IntN(len(all))
		key := fmt.Sprint("key ", i)
		h := all[i]
		if h == nil {
			all[i] = &history{number: w.hit(key), last: day}
			continue
		}
		switch rng.IntN(8) {
		case 0:
			w.hit(key, func(x *spoor.Hit) { x.UserID = fmt.Sprint("user ", i, " ", h.number) })
			h.user, h.last = true, day
		case 1:
			value := fmt.Sprint("a", i, "@b.example")
			if h.email {
				w.edit(h.number, func(e *spoor.Edit) { e.Attributes = []spoor.Attribute{{Name: spoor.AttrEmail}} })
			} else {
				w.edit(h.number, func(e *spoor.Edit) { e.Attributes = text(spoor.AttrEmail, value) })
			}
			h.email = !h.email
		case 2:
			token := fmt.Sprint("token ", i)
			w.edit(h.number, func(e *spoor.Edit) {
				if h.mobile {
					e.MobileDrop = []string{token}
				} else {
					e.MobileAdd = []string{token}
				}
			})
			h.mobile = !h.mobile
		case 3:
			if h.user {
				w.edit(h.number, func(e *spoor.Edit) { e.Attributes = []spoor.Attribute{{Name: spoor.AttrUserID}} })
				h.user = false
			}
		case 4: // a phone that was offline: filed under its own day while that is open
			ago := spoor.Day(rng.IntN(3))
			w.hit(key, func(x *spoor.Hit) { x.Time = (day - ago).Start(loc).UnixMilli() })
			h.last = max(h.last, day-ago)
		default:
			w.hit(key)
			h.last = day
		}
	}
}

// Goal: nobody who is identified while a sweep runs is lost.
// Method: 20,000 profiles fall due at once; while they are swept, all of them
// come back and say who they are. Each then is a profile with its user id.
func TestIdentifyingRacesTheSweep(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	const people, portion = 20_000, 100
	batch := func(from int, user bool, id string) []spoor.Hit {
		hits := make([]spoor.Hit, portion)
		now := w.Now().UnixMilli()
		for i := range hits {
			hits[i] = spoor.Hit{App: w.app.ID, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: fmt.Sprint(id, from+i), Key: fmt.Sprint("key ", from+i), Time: now, Received: now}
			if user {
				hits[i].UserID = fmt.Sprint("user ", from+i)
			}
		}
		return hits
	}
	write := func(hits []spoor.Hit) {
		if err := w.st.Write(hits); err != nil {
			t.Error(err)
		}
	}
	for from := 0; from < people; from += portion {
		write(batch(from, false, "first "))
	}
	w.at(start.AddDate(0, 0, 62))
	if _, _, err := w.st.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var swept spoor.Sweep
	wait.Go(func() {
		var err error
		if swept, err = w.s.Sweep(context.Background(), false, true); err != nil {
			t.Error(err)
		}
	})
	const edited = people / portion / 10 // the last tenth say it over the REST API, which is no hit
	for k := range 4 {
		wait.Go(func() {
			for i := people - edited*portion + k; i < people; i += 4 {
				e := &spoor.Edit{App: w.app.ID, Key: fmt.Sprint("key ", i), UserID: fmt.Sprint("user ", i), Door: spoor.DoorREST, At: w.Now().UnixMilli()}
				if _, _, err := w.st.Edit(e); err != nil {
					t.Error(err)
				}
			}
		})
		wait.Go(func() {
			order := rand.New(rand.NewPCG(1, uint64(k))).Perm(people / portion / 4)
			for _, i := range order {
				if from := (i*4 + k) * portion; from < people-edited*portion {
					write(batch(from, true, "second "))
				}
			}
		})
	}
	wait.Wait()
	lost, living := 0, w.living()
	for i := range people {
		n, err := w.st.Find(w.app.ID, spoor.LookupUserID, fmt.Sprint("user ", i))
		if err != nil || len(n) != 1 || !living[n[0]] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d who identified themselves are lost", lost, people)
	}
	if a := swept.Apps[0]; a.Profiles+a.Kept == 0 || a.Profiles == people {
		t.Errorf("nothing raced: %+v", a)
	}
}

// Goal: a clock that leaps stops sweeping, so that a wrong date removes nobody.
func TestLeapOfTheClockStopsSweeping(t *testing.T) {
	start := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, "UTC", start)
	n := w.hit("cookie")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s := New(Options{Store: w.st, Now: w.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	go func() { defer close(ended); s.Run(ctx) }()
	for range 100 { // until it has begun
		if time.Sleep(20 * time.Millisecond); s.Figures().Runs > 0 {
			break
		}
	}
	w.at(start.AddDate(0, 0, 100))
	for range 500 {
		if time.Sleep(20 * time.Millisecond); s.Figures().Stopped {
			break
		}
	}
	cancel()
	<-ended
	if f := s.Figures(); !f.Stopped || f.Profiles != 0 || !w.lives(n) {
		t.Errorf("after a leap of 100 days: %+v", f)
	}
	if _, err := s.Sweep(context.Background(), false, true); err == nil {
		t.Error("it was swept by hand by a clock that leapt")
	}
}
