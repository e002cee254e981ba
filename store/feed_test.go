package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// followed switches the feed of an app on.
func followed(t testing.TB, s *Store, app *spoor.App) *spoor.App {
	t.Helper()
	return keepFeed(t, s, app, 7)
}

func keepFeed(t testing.TB, s *Store, app *spoor.App, days int) *spoor.App {
	t.Helper()
	app, err := s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.FeedDays = days; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// readAll reads a feed and writes each entry as a word or two.
func readAll(t testing.TB, s *Store, app *spoor.App, behind uint64) (list []string, next uint64) {
	t.Helper()
	next, err := s.Feed(app.ID, behind, func(e *spoor.FeedEntry) error {
		list = append(list, sketch(e))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, next
}

func sketch(e *spoor.FeedEntry) string {
	switch e.Kind {
	case spoor.FeedHit:
		return "hit " + e.Hit.ID
	case spoor.FeedUser:
		return "user " + strings.Join(e.Profile.Keys, "+") + e.Profile.UserID
	case spoor.FeedMerge:
		return fmt.Sprintf("merge %d", len(e.Gone))
	case spoor.FeedTagOn, spoor.FeedTagOff, spoor.FeedListOn, spoor.FeedListOff:
		return string(e.Kind) + " " + e.Of.Name
	case spoor.FeedEntered, spoor.FeedLeft:
		return fmt.Sprintf("%s %s %d", e.Kind, e.Of.Name, e.Person)
	case spoor.FeedSwept, spoor.FeedErased:
		return fmt.Sprintf("%s %d", e.Kind, len(e.Gone))
	case spoor.FeedRight:
		return e.What
	case spoor.FeedExpired:
		return fmt.Sprintf("expired %s %s", e.Day, e.Class)
	}
	return "?"
}

// Goal: everything that happens in an app is in its feed, in order: hits,
// profiles, merges, tags, lists, rights, sweeps, erasures, hits that were too
// old; what concerns somebody who was erased or is restricted is left out from
// then on; another app's feed has nothing of it, and one without a feed none.
// Method: each is done once, and what the feed tells is written down.
func TestFeed(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	quiet, other := newApp(t, s, "quiet", "UTC"), followed(t, s, newApp(t, s, "other", "UTC"))
	app := followed(t, s, newApp(t, s, "shop", "UTC"))
	write(t, s, page(quiet, c, "q", 1), page(other, c, "o", 1))

	expect := func(behind uint64, want ...string) uint64 {
		t.Helper()
		got, next := readAll(t, s, app, behind)
		if !slices.Equal(got, want) {
			t.Fatalf("behind %d the feed tells\n%q\nwant\n%q", behind, got, want)
		}
		return next
	}
	write(t, s, page(app, c, "a", 1))
	at := expect(0, "hit a-1", "user a")
	write(t, s, page(app, c, "a", 2))
	at = expect(at, "hit a-2") // nothing new of the person
	h := page(app, c, "a", 3)
	h.UserID = "anna"
	write(t, s, h)
	at = expect(at, "hit a-3", "user aanna")
	h = page(app, c, "b", 4)
	write(t, s, h)
	at = expect(at, "hit b-4", "user b")
	h = page(app, c, "b", 5)
	h.UserID = "anna"
	write(t, s, h)
	at = expect(at, "merge 1", "hit b-5", "user a+banna")

	numbers, err := s.Find(app.ID, spoor.LookupUserID, "anna")
	if err != nil || len(numbers) != 1 {
		t.Fatal(numbers, err)
	}
	anna := numbers[0]
	edit := func(e spoor.Edit) {
		t.Helper()
		e.App, e.Number, e.At, e.Door = app.ID, anna, c.ms(), spoor.DoorREST
		if _, _, err := s.Edit(&e); err != nil {
			t.Fatal(err)
		}
	}
	edit(spoor.Edit{TagAdd: []string{"vip"}})
	at = expect(at, "tag.added vip", "user a+banna")
	edit(spoor.Edit{TagDrop: []string{"vip"}})
	at = expect(at, "tag.removed vip", "user a+banna")
	list, err := s.PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionList, Name: "news"})
	if err != nil {
		t.Fatal(err)
	}
	edit(spoor.Edit{ListAdd: []uint32{list.ID}})
	at = expect(at, "list.added news", "user a+banna")
	edit(spoor.Edit{ListDrop: []uint32{list.ID}})
	at = expect(at, "list.removed news", "user a+banna")

	grant := func(right spoor.Right, until spoor.Day) {
		t.Helper()
		if _, err := s.SetRight(app.ID, anna, right, until); err != nil {
			t.Fatal(err)
		}
	}
	grant(spoor.RightRestrict, app.Day(c.ms())+1)
	h = page(app, c, "a", 6)
	write(t, s, h)
	edit(spoor.Edit{TagAdd: []string{"vip"}})
	at = expect(at, "restriction.set")
	expect(0, "restriction.set")
	grant(spoor.RightRestrict, 0)
	at = expect(at, "restriction.lifted", "user a+banna")

	write(t, s, page(app, c, "idle", 7))
	c.add(70 * 24 * time.Hour)
	if _, _, err := s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	at = expect(at, "hit idle-7", "user idle")
	idle, err := s.Find(app.ID, spoor.LookupKey, "idle")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(app.ID, idle, 0, nil); err != nil {
		t.Fatal(err)
	}
	at = expect(at, "swept 1")
	if _, err := s.Erase(app.ID, []spoor.Number{anna}, ""); err != nil {
		t.Fatal(err)
	}
	at = expect(at, "erased 2")
	expect(0, "restriction.set", "restriction.lifted", "swept 1", "erased 2")
	write(t, s, page(app, c, "late", 8))
	first := app.Day(c.ms())
	at = expect(at, "hit late-8", "user late")
	c.add(20 * 24 * time.Hour)
	if _, _, err := s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	app = keepFeed(t, s, app, 30)
	if _, err := s.Drop(context.Background(), app, spoor.Aged{Hits: first}); err != nil {
		t.Fatal(err)
	}
	expect(at, "expired "+first.String()+" none")

	if got, _ := readAll(t, s, other, 0); !slices.Equal(got, []string{"hit o-1", "user o"}) {
		t.Errorf("the other app's feed tells %q", got)
	}
	if got, _ := readAll(t, s, quiet, 0); len(got) > 0 {
		t.Errorf("the feed of an app without one tells %q", got)
	}
	if n := feedRecords(t, s, quiet); n != 0 {
		t.Errorf("an app without a feed has %d records", n)
	}
}

func feedRecords(t testing.TB, s *Store, app *spoor.App) (n int) {
	t.Helper()
	err := s.view(func(db *pebble.DB) error {
		return scan(db, key1(nil, prefixFeed, app.ID), func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Goal: from every cursor a reader gets what is behind it and nothing twice; an
// error of the reader leaves the cursor in front of the entry that it did not
// take; cursors outlive a restart.
// Method: random requests in groups of random size; reading in steps of random
// length is compared with reading at once.
func TestFeedResumes(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	c, fs := newClock(), vfs.NewMem()
	o := testOptions(t, fs, c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := followed(t, s, newApp(t, s, "shop", "UTC"))
	for all := randomRequests(r, app, c.Now(), 200); len(all) > 0; {
		n := min(1+r.Intn(20), len(all))
		feed(t, s, all[:n], n)
		all = all[n:]
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	want, end := readAll(t, s, app, 0)
	if newest, _ := s.FeedEnd(app.ID); end != newest || len(want) < 400 {
		t.Fatalf("%d entries up to %d, the newest is %d", len(want), end, newest)
	}
	stop := errors.New("enough")
	for range 20 {
		var got []string
		for at := uint64(0); at < end; {
			left := 1 + r.Intn(60)
			next, err := s.Feed(app.ID, at, func(e *spoor.FeedEntry) error {
				if left == 0 {
					return stop
				}
				left--
				if e.Number <= at {
					t.Fatalf("behind %d comes %d", at, e.Number)
				}
				got = append(got, sketch(e))
				return nil
			})
			if err != nil && !errors.Is(err, stop) {
				t.Fatal(err)
			}
			at = next
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in steps %d entries, at once %d", len(got), len(want))
		}
	}
}

// Goal: who waits for a feed is woken by what is on disk, not before, and by
// nothing else.
// Method: hits of two apps; the channel is looked at after each.
func TestFeedWakes(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app, other := followed(t, s, newApp(t, s, "shop", "UTC")), followed(t, s, newApp(t, s, "other", "UTC"))
	newest, more := s.FeedEnd(app.ID)
	write(t, s, page(other, c, "o", 1))
	select {
	case <-more:
		t.Fatal("woken by another app")
	default:
	}
	write(t, s, page(app, c, "a", 1))
	select {
	case <-more:
	default:
		t.Fatal("not woken when the hit was acknowledged")
	}
	if now, _ := s.FeedEnd(app.ID); now <= newest {
		t.Errorf("the newest entry is %d, was %d", now, newest)
	}
}

// Goal: entries that are too old go, from disk too, and whoever comes back too
// late learns that some are missing; also where the feed was off meanwhile.
// Method: groups on ten days; those of the first seven are dropped.
func TestFeedForgets(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s := open(t, o)
	app := followed(t, s, newApp(t, s, "shop", "UTC"))
	cursors := []uint64{0}
	for day := range 10 {
		write(t, s, page(app, c, "a", day))
		_, next := readAll(t, s, app, cursors[day])
		cursors = append(cursors, next)
		c.add(24 * time.Hour)
	}
	if gone, err := s.DropFeed(context.Background(), app.ID, c.Now().AddDate(0, 0, -30)); err != nil || gone != 0 {
		t.Errorf("where nothing is old %d records went, %v", gone, err)
	}
	gone, err := s.DropFeed(context.Background(), app.ID, c.Now().Add(-3*24*time.Hour))
	if err != nil || gone != 7 {
		t.Fatalf("%d records went, %v; want 7", gone, err)
	}
	if n := feedRecords(t, s, app); n != 3 {
		t.Errorf("%d records are left, want 3", n)
	}
	for i, at := range cursors {
		got, err := []string(nil), error(nil)
		_, err = s.Feed(app.ID, at, func(e *spoor.FeedEntry) error { got = append(got, sketch(e)); return nil })
		var gap *spoor.FeedGap
		switch late := i > 0 && i < 7; {
		case late != errors.As(err, &gap):
			t.Errorf("behind the cursor of day %d: %v", i, err)
		case late && (gap.Oldest != cursors[7] || gap.After != at):
			t.Errorf("the feed says %v", gap)
		case !late && err != nil, i >= 7 && len(got) != 10-i, i == 0 && len(got) != 3:
			t.Errorf("behind the cursor of day %d: %q, %v", i, got, err)
		}
	}
	keepFeed(t, s, app, 0)
	write(t, s, page(app, c, "a", 100))
	if gone, err := s.DropFeed(context.Background(), app.ID, c.Now().AddDate(1, 0, 0)); err != nil || gone != 3 || feedRecords(t, s, app) != 0 {
		t.Errorf("of a feed that is off %d records went, %v, and %d are left; want 3 and none", gone, err, feedRecords(t, s, app))
	}
	keepFeed(t, s, app, 7)
	var gap *spoor.FeedGap
	now, _ := s.FeedEnd(app.ID)
	for _, what := range []string{"before there is an entry", "after a restart", "when there is one"} {
		_, err = s.Feed(app.ID, cursors[10], func(*spoor.FeedEntry) error { return nil })
		if !errors.As(err, &gap) || gap.After != cursors[10] || gap.Oldest != now {
			t.Fatalf("%s nobody learns that the feed was off: %v", what, err)
		}
		if _, err := s.Feed(app.ID, now, func(*spoor.FeedEntry) error { return nil }); err != nil {
			t.Fatalf("%s, who began when it was on again: %v", what, err)
		}
		switch what {
		case "before there is an entry":
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, o)
		case "after a restart":
			write(t, s, page(app, c, "a", 101))
		}
	}
	if got, _ := readAll(t, s, app, gap.Oldest); !slices.Equal(got, []string{"hit a-101"}) {
		t.Errorf("behind the gap the feed tells %q", got)
	}
}
