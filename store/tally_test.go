package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// figures are the rows of one dimension of a day as text, sorted, once all is
// written: "text visitors hits views events visits engaged exits timed visit-s page-s".
func figures(t *testing.T, s *Store, app *spoor.App, day spoor.Day, dim spoor.Dimension) (lines []string) {
	t.Helper()
	if err := s.change(func(g *group) error { g.final = true; return nil }); err != nil {
		t.Fatal(err)
	}
	err := s.view(func(db *pebble.DB) error {
		return readRows(db, app.ID, day, dim, func(r *dayRow) error {
			lines = append(lines, fmt.Sprint(strings.ReplaceAll(r.text, measureSeparator, "|"), " ", r.visitors, " ", r.hits, r.views, r.events, r.visits,
				r.engaged, r.exits, r.timed, r.visitMS/1000, r.pageMS/1000))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func sameLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Goal: bounces, times and exits are counted as query/METRICS.md says, also
// where a visitor becomes known amid a visit, and an erasure takes them back.
// Method: two visits worked out by hand.
func TestVisitsAreTallied(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	day := app.Day(c.ms())
	at := func(seconds int, kind spoor.Kind, key, user, path string) {
		write(t, s, spoor.Hit{
			App: app.ID, Kind: kind, Door: spoor.DoorNative, Key: key, UserID: user, URL: "https://shop.example" + path,
			Received: c.ms() + int64(seconds)*1000, Time: c.ms() + int64(seconds)*1000,
		})
	}
	at(0, spoor.KindPage, "ann", "", "/")
	at(10, spoor.KindLeave, "ann", "", "/")      // 10 s on /
	at(300, spoor.KindLeave, "ann", "", "/")     // that ended already; the visit goes on
	at(310, spoor.KindPage, "ann", "", "/plans") // engaged
	at(360, spoor.KindPage, "ann", "", "/join")  // 50 s on /plans
	at(355, spoor.KindPage, "ann", "", "/late")  // out of order: a view and nothing else
	at(400, spoor.KindIdentify, "ann", "u1", "")
	at(420, spoor.KindPage, "ann", "u1", "/") // 60 s on /join
	at(0, spoor.KindPage, "bob", "", "/plans")
	at(20, spoor.KindLeave, "bob", "", "/plans") // bounces after 20 s
	sameLines(t, "paths", figures(t, s, app, day, spoor.DimPath),
		"/ 1 2 2 0 1 0 1 1 60 10",
		"/join 1 1 1 0 0 0 0 1 50 60",
		"/late 1 1 1 0 0 0 0 0 0 0",
		"/plans 2 2 2 0 1 1 1 2 10 70",
	)
	sameLines(t, "hours", figures(t, s, app, day, spoor.DimHour), "12 2 9 6 0 2 1 0 4 440 140")
	n := must(s.Find(app.ID, spoor.LookupUserID, "u1"))[0]
	must(s.Erase(app.ID, []spoor.Number{n}, "subject"))
	sameLines(t, "paths without u1", figures(t, s, app, day, spoor.DimPath), "/plans 1 1 1 0 1 0 1 1 0 20")

	// A known visitor's first number: the view before stands under another.
	at(1005, spoor.KindPage, "cay", "", "/plans")
	at(1000, spoor.KindPage, "dan", "u2", "/")
	at(1030, spoor.KindPage, "cay", "u2", "/join") // cay was u2 all along
	sameLines(t, "paths of merged", figures(t, s, app, day, spoor.DimPath),
		"/ 1 1 1 0 1 0 1 0 0 0",
		"/join 1 1 1 0 0 1 1 0 25 0",
		"/plans 2 2 2 0 2 0 1 2 0 45",
	)
}

// Goal: a dimension takes no more texts a day than it may, the rest counts as
// (other), and nothing makes one text be counted in two rows: not a restart, nor
// an erasure that makes room, nor another bound, nor sealing.
// Method: 30 paths, 10 rows; check compares rows with hits each time.
func TestRowsAreBounded(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	bound := func(n int) {
		app = must(s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.StatisticsRows = n; return nil }))
	}
	bound(10)
	day := app.Day(c.ms())
	visit := func(from, to int) {
		for i := from; i < to; i++ {
			h := page(app, c, fmt.Sprint("k", i), i)
			h.URL = fmt.Sprintf("https://shop.example/%02d", i)
			write(t, s, h)
			h.ID, h.Key = h.ID+"again", "all"
			write(t, s, h)
		}
	}
	rows := func(want int, other string) {
		t.Helper()
		check(t, s)
		lines := figures(t, s, app, day, spoor.DimPath)
		if len(lines) != want || !strings.HasPrefix(lines[0], other) {
			t.Errorf("%d rows, the first %q; want %d and %q", len(lines), lines[0], want, other)
		}
	}
	visit(0, 20)
	rows(11, "(other) 11 20 ")
	n := must(s.Find(app.ID, spoor.LookupKey, "k3"))[0]
	must(s.Erase(app.ID, []spoor.Number{n}, "subject"))
	rows(11, "(other) 11 20 ") // /03 was seen by another too
	bound(1000)
	visit(20, 25)
	rows(11, "(other) 16 30 ")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	visit(25, 30)
	rows(11, "(other) 21 40 ")
	must(s.Erase(app.ID, must(s.Find(app.ID, spoor.LookupKey, "all")), "subject"))
	must(s.Erase(app.ID, must(s.Find(app.ID, spoor.LookupKey, "k4")), "subject"))
	rows(9, "(other) 20 20 ") // /03 and /04 are nobody's any more
	write(t, s, spoor.Hit{App: app.ID, Kind: spoor.KindPage, Key: "k40", URL: "https://shop.example/03", Received: c.ms()})
	rows(9, "(other) 21 21 ")
	c.add(9 * 24 * time.Hour)
	if _, _, err := s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	rows(1, "(other) 29 29 ")
}

// Goal: numbers of declared properties are summed up exactly, by groups, and a
// setting that changes amid a day makes nobody's hits be counted twice or not.
// Method: sums that floating point would get wrong; check compares.
func TestPropertiesAreRolledUp(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	declare := func(list ...string) {
		app = must(s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.Properties = list; return nil }))
	}
	declare("price", "price by plan")
	day := app.Day(c.ms())
	buy := func(key, properties string) {
		write(t, s, spoor.Hit{App: app.ID, Kind: spoor.KindEvent, Name: "buy", Key: key, Properties: []byte(properties), Received: c.ms()})
	}
	for range 10 {
		buy("ann", `{"price":0.1,"plan":"pro"}`)
	}
	buy("bob", `{"price":-2.5,"plan":"free"}`)
	buy("bob", `{"price":"none"}`)
	buy("bob", `{"price":1e300}`)
	declare()
	buy("cay", `{"price":1000000000000,"plan":7}`)
	sum := func(text string) string {
		var c *counts
		err := s.view(func(db *pebble.DB) error {
			secret, err := readSalt(db, app.ID)
			if err == nil {
				c, err = readRow(db, app.ID, &secret, day, spoor.DimMeasure, strings.ReplaceAll(text, "|", measureSeparator))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		m := c.measured
		return fmt.Sprint(m.count, " ", m.whole, " ", m.millionth, " ", m.least, " ", m.greatest, " ", m.stale)
	}
	want := func(text, want string) {
		t.Helper()
		if got := sum(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	figures(t, s, app, day, spoor.DimMeasure)
	want("buy|price", "12 999999999998 500000 -2.5 1e+12 false")
	want("buy|price|plan|pro", "10 0 1000000 0.1 0.1 false")
	want("buy|price|plan|7", "1 1000000000000 0 1e+12 1e+12 false")
	sameLines(t, "values", figures(t, s, app, day, spoor.DimProperty), "price=-2.5 1 1 0 1 1 0 0 0 0 0",
		"price=0.1 1 10 0 10 1 0 0 0 0 0", "price=1e+12 1 1 0 1 1 0 0 0 0 0", "price=1e+300 1 1 0 1 0 0 0 0 0 0", "price=none 1 1 0 1 0 0 0 0 0 0")
	must(s.Erase(app.ID, must(s.Find(app.ID, spoor.LookupKey, "bob")), "subject"))
	figures(t, s, app, day, spoor.DimMeasure)
	want("buy|price", "11 1000000000000 1000000 -2.5 1e+12 true") // its bounds are to be looked for
	check(t, s)
	c.add(24 * time.Hour)
	day = app.Day(c.ms())
	buy("ann", `{"price":5}`)
	if rows := figures(t, s, app, day, spoor.DimMeasure); len(rows) > 0 {
		t.Errorf("declared no more, but %v", rows)
	}
}

// Goal: a store without roll-ups writes none, and Check does not keep that quiet.
// Method: one hit; the problem that is found is looked at.
func TestSkippedRollUpsAreMissed(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	o.SkipRollUps = true
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	write(t, s, page(app, c, "a", 1))
	r, err := s.Check(nil)
	if err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "roll-up rows are missing") {
		t.Errorf("found %v, %v", r.Problems, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Goal: visits, bounces, times, entries and exits are what any book on web
// analytics says, found from nothing but the times of hits.
// Method: random visitors whose hits come in order; the figures of a day against
// a plain reading of its hits that knows no tally.
func TestVisitsByTheBook(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		o := testOptions(t, vfs.NewMem(), c)
		o.CacheEntries = rapid.SampledFrom([]int{1, 1000}).Draw(rt, "cache")
		o.rowNamesMax = rapid.SampledFrom([]int{1, 1000}).Draw(rt, "names of views")
		s, err := Open(o)
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		app := newApp(t, s, "shop", "UTC")
		type moment struct {
			ms   int64
			kind spoor.Kind
			path string
		}
		people := map[string][]moment{}
		start := c.ms()
		for range rapid.IntRange(1, 40).Draw(rt, "hits") {
			c.add(time.Duration(rapid.SampledFrom([]int{1, 50, 600, 1000, 1801}).Draw(rt, "pause")) * time.Second)
			if c.ms() > start+11*3600_000 {
				break
			}
			key := rapid.SampledFrom([]string{"ann", "bob"}).Draw(rt, "key")
			m := moment{c.ms(), rapid.SampledFrom([]spoor.Kind{spoor.KindPage, spoor.KindPage, spoor.KindEvent}).Draw(rt, "kind"), rapid.SampledFrom([]string{"/a", "/b"}).Draw(rt, "path")}
			people[key] = append(people[key], m)
			write(t, s, spoor.Hit{App: app.ID, Kind: m.kind, Name: "e", Key: key, URL: "https://shop.example" + m.path, Received: m.ms})
		}
		var want counts
		entries, exits := map[string]int64{}, map[string]int64{}
		for _, hits := range people {
			for len(hits) > 0 { // one visit after the other
				n := 1
				for n < len(hits) && hits[n].ms-hits[n-1].ms < 30*60*1000 {
					n++
				}
				visit := hits[:n]
				hits = hits[n:]
				want.visits++
				want.visitMS += visit[n-1].ms - visit[0].ms
				if n > 1 {
					want.engaged++
				}
				if visit[0].kind == spoor.KindPage {
					entries[visit[0].path]++
				}
				last := moment{}
				for _, m := range visit {
					if m.kind != spoor.KindPage {
						continue
					}
					if last.ms != 0 {
						want.timed++
						want.pageMS += m.ms - last.ms
					}
					last = m
				}
				if last.ms != 0 {
					exits[last.path]++
				}
			}
		}
		err = s.read(app.ID, func(r *reading) error {
			days, err := r.days(app.Day(start), app.Day(start))
			if err != nil {
				return err
			}
			a := days[0].account
			have := counts{visits: a.visits, visitMS: a.visitMS, engaged: a.engaged, timed: a.timed, pageMS: a.pageMS}
			if !have.equal(&want) {
				rt.Errorf("the day counts %s; want %s", &have, &want)
			}
			return days[0].rows(spoor.DimPath, func(row *dayRow) error {
				if row.visits != entries[row.text] || row.exits != exits[row.text] {
					rt.Errorf("%s: %d entries, %d exits; want %d, %d", row.text, row.visits, row.exits, entries[row.text], exits[row.text])
				}
				return nil
			})
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}
