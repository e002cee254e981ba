package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

func (w *crowd) right(n spoor.Number, r spoor.Right, until spoor.Day) *spoor.Profile {
	w.Helper()
	p, err := w.s.SetRight(w.app.ID, n, r, until)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func (w *crowd) today() spoor.Day { return w.app.Day(w.c.Now().UnixMilli()) }

// row is how many hits a day counts of a path, as it is on disk or waits.
func (w *crowd) row(day spoor.Day, path string) (hits int64) {
	w.Helper()
	err := w.s.view(func(db *pebble.DB) error {
		late, err := scanUncounted(db)
		if err != nil {
			return err
		}
		d, err := readDayState(db, w.app.ID, day)
		if err != nil {
			return err
		}
		if err := d.catchUp(db, w.app, late); err != nil {
			return err
		}
		if r := d.rows.of(rowKey{spoor.DimPath, path}); r != nil {
			hits = r.add.hits
		}
		secret, err := readSalt(db, w.app.ID)
		if err != nil {
			return err
		}
		return get(db, countKey(nil, w.app.ID, day, spoor.DimPath, rowHash(&secret, rowKey{spoor.DimPath, path})), func(value []byte) error {
			r, err := readCounts(value)
			if err == nil {
				hits += r.hits
			}
			return err
		})
	})
	if err != nil {
		w.Fatal(err)
	}
	return hits
}

// Goal: a restricted person's hits are stored and shown, but counted nowhere:
// neither those of open days from before nor those that come; after the last
// day of the restriction new ones count again. The neighbour's counts stay.
func TestRestrict(t *testing.T) {
	for _, putOff := range []int{1, 32} {
		w := newCrowd(t, vfs.NewMem(), "Europe/Warsaw")
		w.s.opts.putOffFrom = putOff
		first := w.say("anonymous", "", w.c.Now())
		n := w.say("anonymous", "person", w.c.Now()).Profile
		w.say("neighbour", "", w.c.Now())
		if first.Profile != n {
			t.Fatal("the visitor did not become the person")
		}
		day := w.today()
		w.right(n, spoor.RightRestrict, day+1)
		check(t, w.s)
		feed, stop := w.s.Tail(w.app.ID)
		defer stop()
		w.say("neighbour", "", w.c.Now())
		if h := <-feed; h.Marks != 0 {
			t.Errorf("the feed shows %+v", h)
		}
		if h := w.say("anonymous", "", w.c.Now()); h.Outcome != spoor.Stored || h.Profile != n || h.Marks&spoor.MarkUncounted == 0 {
			t.Errorf("a hit of a restricted person: %+v", h)
		}
		if got := w.row(day, "/of-anonymous"); got != 0 {
			t.Errorf("%d hits of a restricted person are counted", got)
		}
		select {
		case h := <-feed:
			t.Errorf("the feed shows a hit of who is restricted: %+v", h)
		default:
		}
		if got := w.row(day, "/of-neighbour"); got != 2 {
			t.Errorf("%d hits of the neighbour are counted", got)
		}
		shown := 0
		if err := w.s.Hits(w.app.ID, n, func(*spoor.Hit) error { shown++; return nil }); err != nil || shown != 3 {
			t.Errorf("%d of 3 hits are shown, %v", shown, err)
		}
		check(t, w.s)
		w.c.add(24 * time.Hour)
		if h := w.say("anonymous", "", w.c.Now()); h.Marks&spoor.MarkUncounted == 0 {
			t.Error("the last day of the restriction is counted")
		}
		w.c.add(24 * time.Hour)
		if h := w.say("anonymous", "", w.c.Now()); h.Marks&spoor.MarkUncounted != 0 {
			t.Error("the day after the restriction is not counted")
		}
		check(t, w.s)
		w.c.add(20 * 24 * time.Hour)
		if _, _, err := w.s.SealDays(context.Background()); err != nil {
			t.Fatal(err)
		}
		check(t, w.s)
		w.right(n, spoor.RightRestrict, 0)
		w.erase(n)
		check(t, w.s)
	}
}

// Goal: whoever is merged keeps what was asked for either; the longer day wins.
func TestRightsOfWhoIsMerged(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	person := w.say("first", "person", w.c.Now()).Profile
	visitor := w.say("second", "", w.c.Now()).Profile
	day := w.today()
	w.right(person, spoor.RightHold, day+3)
	w.c.add(time.Minute)
	w.right(visitor, spoor.RightHold, day+1)
	w.right(visitor, spoor.RightRestrict, spoor.Forever)
	check(t, w.s)
	w.c.add(time.Minute)
	if h := w.say("second", "person", w.c.Now()); h.Profile != person || h.Marks&spoor.MarkUncounted == 0 {
		t.Errorf("the hit that merged: %+v", h)
	}
	check(t, w.s)
	p, err := w.s.Profile(w.app.ID, person)
	if err != nil || p.Rights != (spoor.Rights{Held: day + 3, Restricted: spoor.Forever}) {
		t.Errorf("rights %+v, %v", p.Rights, err)
	}
	another := w.say("third", "another", w.c.Now()).Profile // who has no right of their own
	w.right(w.say("fourth", "", w.c.Now()).Profile, spoor.RightHold, day+1)
	if h := w.say("fourth", "another", w.c.Now()); h.Profile != another {
		t.Errorf("not merged: %+v", h)
	}
	check(t, w.s)
	w.right(w.say("fifth", "", w.c.Now()).Profile, spoor.RightHold, day+2)
	w.c.add(time.Minute)
	w.right(another, spoor.RightHold, 0) // lifted later than the other was granted
	w.say("fifth", "another", w.c.Now())
	if p, err := w.s.Profile(w.app.ID, another); err != nil || p.Rights.Held != day+2 {
		t.Errorf("rights %+v, %v; want a hold to %s", p.Rights, err, day+2)
	}
	check(t, w.s)
}

// Goal: who is restricted by a merge alone is told of like everybody else who is,
// under the id by which a recipient knows them; and read later, the feed tells the
// same under the same ids.
// Method: a visitor becomes somebody restricted, then somebody becomes a
// restricted visitor; the feed and the notices are read before and after.
func TestRightsOfAMergeAreTold(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	w.app = followed(t, w.s, w.app)
	if _, err := w.s.UpdateApp(w.app.ID, func(a *spoor.App) error { a.Settings.Webhook = "https://hook.example/"; return nil }); err != nil {
		t.Fatal(err)
	}
	id := func(n spoor.Number) int64 {
		t.Helper()
		p, err := w.s.Profile(w.app.ID, n)
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		return p.ID
	}
	hits := func(of spoor.Number) (n int) {
		t.Helper()
		_, err := w.s.Feed(w.app.ID, 0, func(e *spoor.FeedEntry) error {
			if e.Kind == spoor.FeedHit && e.Person == id(of) {
				n++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	told := func(after uint64) (list []string, next uint64) {
		t.Helper()
		next, err := w.s.Feed(w.app.ID, after, func(e *spoor.FeedEntry) error {
			if e.Kind == spoor.FeedRight || e.Kind == spoor.FeedMerge {
				list = append(list, fmt.Sprintf("%s %d %d", sketch(e), e.Person, e.Gone))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return list, next
	}
	ann := w.say("a1", "ann", w.c.Now()).Profile
	w.right(ann, spoor.RightRestrict, w.today()+1)
	visitor := id(w.say("a2", "", w.c.Now()).Profile)
	w.say("a2", "ann", w.c.Now())

	bob := w.say("b1", "bob", w.c.Now()).Profile
	if n := hits(bob); n != 1 {
		t.Errorf("positive control: %d hits of bob are told", n)
	}
	quiet := w.say("b2", "", w.c.Now()).Profile
	was := id(quiet)
	w.right(quiet, spoor.RightRestrict, spoor.Forever)
	w.say("b2", "bob", w.c.Now())

	set := func(what string, n int64) string { return fmt.Sprintf("%s %d []", what, n) }
	want := []string{
		set("restriction.set", id(ann)), set("restriction.set", visitor), // and the merge is not told while it holds
		set("restriction.set", was), set("restriction.set", id(bob)),
	}
	if got, _ := told(0); !slices.Equal(got, want) {
		t.Errorf("the feed tells\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := hits(bob); n != 0 {
		t.Errorf("%d hits from before he was restricted are told", n)
	}
	var notices []string
	if err := w.s.Notices(w.app.ID, func(n *spoor.Notice) error { notices = append(notices, set(n.What, n.Person)); return nil }); err != nil || !slices.Equal(notices, want) {
		t.Errorf("notices %v, %v; want %v", notices, err, want)
	}
	w.c.add(5 * 24 * time.Hour) // the restriction has lapsed
	want = slices.Insert(want, 2, fmt.Sprintf("merge 1 %d %d", id(ann), []int64{visitor}))
	if got, _ := told(0); !slices.Equal(got, want) {
		t.Errorf("later the feed tells\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	check(t, w.s)
}

// Goal: whoever objected is refused by every identifier, also after a restart
// and after being erased, until that is taken back.
func TestObject(t *testing.T) {
	fs := vfs.NewMem()
	w := newCrowd(t, fs, "UTC")
	n := w.say("cookie", "person", w.c.Now(), text(spoor.AttrEmail, "person@x.example")).Profile
	day := w.today()
	w.right(n, spoor.RightObject, spoor.Forever)
	check(t, w.s)
	if got := w.row(day, "/of-cookie"); got != 0 {
		t.Errorf("%d hits of who objected are counted", got)
	}
	refused := func(want spoor.Reason) {
		t.Helper()
		w.c.add(time.Minute)
		for _, who := range [][2]string{{"cookie", ""}, {"fresh", "person"}, {"cookie", "other"}} {
			if h := w.say(who[0], who[1], w.c.Now()); h.Reason != want {
				t.Errorf("%q: %v %q, want %q", who, h.Outcome, h.Reason, want)
			}
		}
		if h := w.say("another", "", w.c.Now(), text(spoor.AttrEmail, "Person@x.example")); h.Reason != want {
			t.Errorf("by e-mail: %v %q, want %q", h.Outcome, h.Reason, want)
		}
	}
	refused(spoor.ReasonObject)
	if err := w.s.Close(); err != nil {
		t.Fatal(err)
	}
	w.s = open(t, w.o)
	refused(spoor.ReasonObject)
	w.right(n, spoor.RightObject, 0)
	if h := w.say("cookie", "", w.c.Now()); h.Outcome != spoor.Stored {
		t.Errorf("after taking it back: %v %q", h.Outcome, h.Reason)
	}
	w.right(n, spoor.RightObject, spoor.Forever)
	w.erase(n)
	refused(spoor.ReasonObject)
	check(t, w.s)
	by := []spoor.Lookup{spoor.LookupKey, spoor.LookupUserID, spoor.LookupEmail}
	for _, who := range []string{"cookie", "person", "PERSON@x.example"} {
		if changed, err := w.s.Object(w.app.ID, who, by, false); err != nil || !changed {
			t.Errorf("taking it back for %s: %t, %v", who, changed, err)
		}
	}
	if changed, err := w.s.Object(w.app.ID, "cookie", by, false); err != nil || changed {
		t.Errorf("taking it back again: %t, %v", changed, err)
	}
	refused("")
	if h := w.say("cookie", "", w.c.Now().Add(-time.Hour)); h.Reason != spoor.ReasonErased {
		t.Errorf("what was erased comes back: %v %q", h.Outcome, h.Reason)
	}
	if changed, err := w.s.Object(w.app.ID, "never seen", by, true); err != nil || !changed {
		t.Errorf("an objection of somebody new: %t, %v", changed, err)
	}
	if h := w.say("never seen", "", w.c.Now()); h.Reason != spoor.ReasonObject {
		t.Errorf("somebody new who objected: %v %q", h.Outcome, h.Reason)
	}
}

// Goal: what a hold keeps is not erased and not swept until its day has ended.
func TestHold(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	n := w.say("cookie", "", w.c.Now()).Profile
	day := w.today()
	w.right(n, spoor.RightHold, day+30)
	w.c.add(30 * 24 * time.Hour)
	var held *spoor.HeldError
	if _, err := w.s.Erase(w.app.ID, []spoor.Number{n}, ""); !errors.As(err, &held) || held.Until != day+30 {
		t.Errorf("erasing what is held: %v", err)
	}
	if p, err := w.s.Profile(w.app.ID, n); err != nil || p == nil || !p.Rights.Keeps(w.today()) || p.Rights.Keeps(w.today()+1) {
		t.Errorf("profile %+v, %v", p, err)
	}
	w.c.add(24 * time.Hour)
	if r := w.erase(n); r.Profiles != 1 {
		t.Errorf("after the hold: %+v", r)
	}
	check(t, w.s)
	if _, err := w.s.SetRight(w.app.ID, n, spoor.RightHold, day); !errors.Is(err, spoor.ErrNoProfile) {
		t.Errorf("a hold on nobody: %v", err)
	}
}
