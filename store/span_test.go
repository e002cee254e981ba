package store

import (
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Goal: removing a large app as a whole makes few tables: its tombstones are cut
// where tables end, and there are 2³² days.
// Method: an app with hits on three days, of which one is said to be large, is
// asked where its tables end from its beginning on, and deleted.
func TestRemovingALargeApp(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app, small := newApp(t, s, "large", "UTC"), newApp(t, s, "small", "UTC")
	for n := range 3 {
		write(t, s, page(app, c, "visitor", n), page(small, c, "visitor", n))
		c.add(48 * time.Hour)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	large := account{stored: 1, bytes: bigDayBytes}
	if err := s.db.Set(writerDayKey(nil, app.ID, app.Day(c.ms())-4), large.appendTo(nil), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.measureApps(s.db); err != nil {
		t.Fatal(err)
	}
	if !s.isBig(app.ID) || s.isBig(small.ID) {
		t.Fatalf("large are %v", *s.big.Load())
	}
	for _, prefix := range []byte{prefixHit, prefixProfile} {
		last := key1(nil, prefix, small.ID)
		n := 0
		for at := key1(nil, prefix, app.ID); slices.Compare(at, last) < 0; n++ {
			_, end, err := s.tableEnd(at)
			if err != nil || slices.Compare(end, at) <= 0 {
				t.Fatalf("a table that begins with %x ends with %x, %v", at, end, err)
			}
			if at = end; n > 10 {
				t.Fatalf("the tombstones of %c are cut into more than %d tables, the next one at %x", prefix, n, at)
			}
		}
		if prefix == prefixHit && n < 3 {
			t.Errorf("tables do not end with days: %d", n)
		}
	}
	if err := s.DeleteApp(app.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reclaim(t.Context(), true); err != nil {
		t.Error(err)
	}
	if n := s.db.Metrics().Total().TablesCount; n > 100 {
		t.Errorf("there are %d tables", n)
	}
}
