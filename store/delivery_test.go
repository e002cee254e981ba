package store

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

func deadLetters(t testing.TB, s *Store, app *spoor.App) (list []spoor.DeadLetter) {
	t.Helper()
	if err := s.DeadLetters(app.ID, func(l *spoor.DeadLetter) error { list = append(list, *l); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// Goal: how far a feed was delivered and what was given up outlive a restart; the
// list of dead letters is bounded and counts what it drops; all of it is its own
// app's and goes with the app.
// Method: one letter more than there is room for is written, two are replaced;
// the store is opened again, checked, and the app deleted.
func TestDelivery(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app, other := newApp(t, s, "shop", "UTC"), newApp(t, s, "other", "UTC")
	if d, err := s.Delivery(app.ID); d != (spoor.Delivery{}) || err != nil {
		t.Fatalf("a new app has %+v, %v", d, err)
	}
	d := spoor.Delivery{Cursor: 9}
	if err := s.PutDelivery(app.ID, &d, nil); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(spoor.DeadLettersMax + 1) {
		d.Cursor = 10*n + 19
		if err := s.PutDelivery(app.ID, &d, &spoor.DeadLetter{From: 10*n + 10, To: 10*n + 19, Entries: 7, At: c.ms(), Status: 400, Attempts: 8}); err != nil {
			t.Fatal(err)
		}
	}
	left := []spoor.DeadLetter{{From: 20, To: 22, At: c.ms()}, {From: 25, To: 29, Entries: 3, At: c.ms(), Status: 404, Attempts: 9}}
	if err := s.ReplaceDeadLetter(app.ID, 20, left); err != nil {
		t.Fatal(err)
	}
	if err := s.ReplaceDeadLetter(app.ID, 30, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	list := deadLetters(t, s, app)
	if len(list) != spoor.DeadLettersMax || !slices.Equal(list[:2], left) || list[2].From != 40 {
		t.Errorf("%d letters, the first are %+v", len(list), list[:3])
	}
	if got, err := s.Delivery(app.ID); err != nil || got != d || d.Dropped != 1 {
		t.Errorf("delivery is at %+v, %v; want %+v with 1 dropped", got, err, d)
	}
	if got, err := s.Delivery(other.ID); got != (spoor.Delivery{}) || err != nil || len(deadLetters(t, s, other)) != 0 {
		t.Errorf("the other app has %+v, %v", got, err)
	}
	check(t, s)
	if err := s.DeleteApp(app.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.PutDelivery(app.ID, &d, &list[0]); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Delivery(app.ID); got != (spoor.Delivery{}) || err != nil || len(deadLetters(t, s, app)) != 0 {
		t.Errorf("the app is deleted and has %+v, %v", got, err)
	}
}

// Goal: delivery begins with the first entry that comes after it was switched on,
// by either setting, and goes on where it stood when it is switched on again.
// Method: entries before, between and after.
func TestDeliveryBegins(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := followed(t, s, newApp(t, s, "shop", "UTC"))
	set := func(address string, days int) {
		t.Helper()
		_, err := s.UpdateApp(app.ID, func(a *spoor.App) error {
			a.Settings.FeedWebhook, a.Settings.FeedDays = address, days
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		d, err := s.Delivery(app.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := readAll(t, s, app, d.Cursor); !slices.Equal(got, want) {
			t.Errorf("behind %d there is %q, want %q", d.Cursor, got, want)
		}
	}
	write(t, s, page(app, c, "a", 1))
	expect("hit a-1", "user a")
	set("https://crm.example/", 7)
	expect()
	write(t, s, page(app, c, "a", 2))
	expect("hit a-2")
	set("", 7)
	set("https://crm.example/", 7)
	expect("hit a-2")
	set("https://other.example/", 7)
	expect("hit a-2")

	app = newApp(t, s, "late", "UTC")
	set("https://crm.example/", 0)
	write(t, s, page(app, c, "a", 1))
	set("https://crm.example/", 7)
	expect()
	write(t, s, page(app, c, "a", 2))
	expect("hit a-2")
}

// Goal: spoor check reports dead letters that cannot be, and none that can.
// Method: one behind the cursor, one that overlaps another.
func TestCheckFindsDeadLettersOutOfPlace(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	for n, want := range map[spoor.DeadLetter]int64{
		{From: 3, To: 5}: 0, {From: 6, To: 8}: 0, {From: 4, To: 5}: 1, {From: 9, To: 21}: 1,
	} {
		if err := s.PutDelivery(app.ID, &spoor.Delivery{Cursor: 20}, &spoor.DeadLetter{From: 3, To: 5, Status: 400}); err != nil {
			t.Fatal(err)
		}
		if err := s.PutDelivery(app.ID, &spoor.Delivery{Cursor: 20}, &n); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Check(nil); err != nil || r.Found != want {
			t.Errorf("with %+v: %v %q, want %d", n, err, r.Problems, want)
		}
		if err := s.ReplaceDeadLetter(app.ID, n.From, nil); err != nil {
			t.Fatal(err)
		}
	}
}
