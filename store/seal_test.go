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
