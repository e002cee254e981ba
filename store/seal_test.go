package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Goal: what a sealed day counts is what its hits gave when it was sealed, and
// stays so when people go; a changed record does not pass for that.
// Method: rows before sealing, after it, and after everybody was erased; then a
// row, a bitmap and a table are changed behind the store's back.
func TestSealedDaysStay(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	day := app.Day(c.ms())
	for i := range 40 {
		write(t, s, page(app, c, fmt.Sprint("k", i), i))
	}
	before := strings.Join(figures(t, s, app, day, spoor.DimPath), "\n")
	c.add(9 * 24 * time.Hour)
	if days, _, err := s.SealDays(context.Background()); days != 1 || err != nil {
		t.Fatalf("sealed %d days, %v", days, err)
	}
	same := func(when string) {
		t.Helper()
		if now := strings.Join(figures(t, s, app, day, spoor.DimPath), "\n"); now != before {
			t.Errorf("%s:\n%s\nbefore\n%s", when, now, before)
		}
		check(t, s)
	}
	same("sealed")
	for i := range 40 {
		must(s.Erase(app.ID, must(s.Find(app.ID, spoor.LookupKey, fmt.Sprint("k", i))), "subject"))
	}
	same("all are gone")

	change := func(what string, prefix []byte, change func(value []byte) []byte) {
		t.Helper()
		var key, was []byte
		err := s.view(func(db *pebble.DB) error {
			err := scan(db, prefix, func(k, v []byte) error {
				key, was = append([]byte(nil), k...), append([]byte(nil), v...)
				return nil
			})
			if err != nil {
				return err
			}
			if err := db.Set(key, change(append([]byte(nil), was...)), nil); err != nil {
				return err
			}
			r, err := s.Check(nil)
			if err == nil && r.Found == 0 {
				t.Errorf("a changed %s is not found", what)
			}
			return db.Set(key, was, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	change("row", countDayKey(nil, app.ID, day), func(v []byte) []byte { return putInt(v, countPageMS, 1) })
	change("bitmap", activityKey(nil, app.ID, day, activityVisitor, 0), func([]byte) []byte { return putFew(appendHeader(nil), setAdd, nil) })
	change("table", tableDayKey(nil, app.ID, day), func(v []byte) []byte {
		return putBytes(v, tableRow, putInt(putString(nil, countText, "/new"), countHits, 1))
	})
	check(t, s)
}

// Goal: what the operator declared survives sealing, however few brought it: the
// texts of goals, and the numbers of properties, also those of nobody; and
// nothing else that few brought does.
// Method: three people and a server's events; rows before and after.
func TestSealingKeepsWhatIsDeclared(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	app = must(s.UpdateApp(app.ID, func(a *spoor.App) error {
		a.Settings.Goals = []string{"Docs=path:/docs/*", "Start=path:/docs/start", "Buy=event:buy"}
		a.Settings.Properties = []string{"ms by agent", "ms"}
		return nil
	}))
	day := app.Day(c.ms())
	for i := range 3 {
		for _, path := range []string{"/docs/start", fmt.Sprint("/docs/", i), fmt.Sprint("/", i)} {
			h := page(app, c, fmt.Sprint("k", i), i)
			h.ID, h.URL = "", "https://shop.example"+path
			write(t, s, h)
		}
		write(t, s, spoor.Hit{App: app.ID, Kind: spoor.KindEvent, Name: "buy", Key: fmt.Sprint("k", i), Received: c.ms(), Properties: fmt.Appendf(nil, `{"ms":%d,"agent":"a%d"}`, i, i)})
		write(t, s, spoor.Hit{App: app.ID, Kind: spoor.KindServerEvent, Name: "re\x1fply", Received: c.ms(), Properties: []byte(`{"ms":10.5,"agent":"eve"}`)})
	}
	c.add(9 * 24 * time.Hour)
	if err := seal(s); err != nil {
		t.Fatal(err)
	}
	texts := func(dim spoor.Dimension) (list []string) {
		for _, line := range figures(t, s, app, day, dim) {
			list = append(list, strings.Join(strings.Fields(line)[:3], " "))
		}
		return list
	}
	sameLines(t, "paths", texts(spoor.DimPath), "(other) 3 3", "/docs/* 3 3", "/docs/start 3 3")
	sameLines(t, "events", texts(spoor.DimEvent), "(other) 0 3", "buy 3 3")
	sameLines(t, "numbers", figures(t, s, app, day, spoor.DimMeasure),
		"buy|ms 3 3 0 0 0 0 0 0 0 0", "buy|ms|agent|(other) 3 3 0 0 0 0 0 0 0 0",
		"re ply|ms 0 3 0 0 0 0 0 0 0 0", "re ply|ms|agent|eve 0 3 0 0 0 0 0 0 0 0")
	app = must(s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.Goals = nil; return nil })) // what is over stays
	check(t, s)
}
