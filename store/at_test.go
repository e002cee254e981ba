package store

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// seed is a source of randomness for a view.
func seed(b byte) io.Reader { return bytes.NewReader(bytes.Repeat([]byte{b}, 1<<10)) }

// command is a view at the next place of a partition of two.
func command(t testing.TB, s *Store, c *clock, partition int) *Store {
	t.Helper()
	next := offset(t, s, partition).Next
	return s.At(c.Now(), seed(byte(next)), &Portion{Topic: "spoor", Partition: partition, Partitions: 2, First: next, Next: next + 1})
}

// Goal: a change through a view is made with the view's time, once, together with
// its place: where it was made before it is not made again, not in the middle of
// records either; what is refused moves nothing, and so does an entry of an audit log.
// Method: commands that are applied twice, early, and again after a restart.
func TestChangesCarryTheirPlace(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	consume(t, s, portion(app, c, 0, 0, 5))
	then := c.Now().Add(-time.Hour)
	tag := spoor.Collection{Kind: spoor.CollectionTag, Name: "vip"}
	place := &Portion{Topic: "spoor", First: 5, Next: 6}
	if err := s.At(then, seed(1), place).DeleteCollection(app.ID, spoor.CollectionTag, 9); !errors.Is(err, spoor.ErrNoCollection) {
		t.Fatal(err)
	}
	v := s.At(then, seed(1), place)
	if err := v.Audit(spoor.Access{App: app.ID, Action: "tags.create"}); err != nil {
		t.Fatal(err)
	}
	if at := offset(t, s, 0).Next; at != 5 {
		t.Fatalf("what was refused or entered moved the partition to %d", at)
	}
	made, err := v.PutCollection(app.ID, tag)
	if err != nil || made.Created != then.UnixMilli() {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := v.PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionTag, Name: "second"}); err != nil {
		t.Fatalf("a later change of the same command: %v", err)
	}
	for range 2 {
		if _, err := s.At(then, seed(1), place).PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionTag, Name: "again"}); !errors.Is(err, spoor.ErrApplied) {
			t.Fatal(err)
		}
		early := &Portion{Topic: "spoor", First: 7, Next: 8}
		if wrong := (*OffsetError)(nil); !errors.As(s.At(then, seed(1), early).DeleteApp(app.ID), &wrong) {
			t.Fatalf("a command before its place: %v", wrong)
		}
		if list, err := s.Collections(app.ID, spoor.CollectionTag); err != nil || len(list) != 2 || offset(t, s, 0).Next != 6 {
			t.Fatalf("%v, %v, at %d", list, err, offset(t, s, 0).Next)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
	}
	check(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Goal: which creations a partition refuses, and what an app is found by, depends
// on nothing that happens in other partitions.
// Method: a store with apps from before, copied; two partitions create, rename keys
// and delete, in different orders on the two, with restarts.
func TestAppsOfPartitions(t *testing.T) {
	type step struct {
		partition int
		id        spoor.AppID // created, or with 0 the newest of the partition is deleted
		name      string
		err       error
	}
	steps := []step{
		{0, 3, "old", spoor.ErrNumberTaken}, {0, 5, "blog", nil}, {0, 5, "blog2", spoor.ErrNumberTaken}, {0, 0, "", nil},
		{0, 5, "blog2", spoor.ErrNumberTaken}, {0, 9, "news", nil},
		{1, 4, "blog", nil}, {1, 8, "news", nil}, {1, 6, "late", spoor.ErrNumberTaken},
	}
	var names [2]map[string]spoor.AppID
	for way, order := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8}, {6, 7, 8, 0, 1, 2, 3, 4, 5}} {
		c := newClock()
		o := testOptions(t, vfs.NewMem(), c)
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"one", "two", "old"} {
			newApp(t, s, name, "UTC")
		}
		newest := map[int]spoor.AppID{}
		for _, i := range order {
			x := steps[i]
			v := command(t, s, c, x.partition)
			if x.id == 0 {
				err = v.DeleteApp(newest[x.partition])
			} else {
				var app *spoor.App
				app, err = v.CreateApp(&spoor.App{ID: x.id, Name: x.name, Keys: []spoor.WriteKey{{Key: "key-" + x.name}}, Settings: spoor.DefaultSettings("UTC")})
				if err == nil && (app.ID != x.id || app.Version != 1) {
					t.Fatalf("step %d made app %d, version %d", i, app.ID, app.Version)
				}
				if err == nil {
					newest[x.partition] = x.id
				}
			}
			if !errors.Is(err, x.err) {
				t.Fatalf("step %d: %v, want %v", i, err, x.err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(o); err != nil {
				t.Fatal(err)
			}
		}
		names[way] = map[string]spoor.AppID{}
		for _, name := range []string{"one", "two", "old", "blog", "blog2", "news", "late"} {
			if app := s.AppByName(name); app != nil {
				names[way][name] = app.ID
				if by := s.AppByKey("key-" + name); by != app {
					t.Errorf("the key of %q leads to %v", name, by)
				}
			}
		}
		if newest, err := s.NewestApp(); err != nil || newest != 9 {
			t.Errorf("newest app %d, %v", newest, err)
		}
		app, err := s.UpdateApp(8, func(a *spoor.App) error { a.Version = 77; a.Closed = true; return nil })
		if err != nil || app.Version != 2 {
			t.Errorf("%+v, %v", app, err)
		}
		wrong := command(t, s, c, 0)
		if _, err := wrong.CreateApp(&spoor.App{ID: 10, Name: "misled", Settings: spoor.DefaultSettings("UTC")}); err == nil {
			t.Error("an app was created in the wrong partition")
		}
		check(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]spoor.AppID{"one": 1, "two": 2, "old": 3, "blog": 4, "news": 8}
	for _, got := range names {
		for name, id := range want {
			if got[name] != id {
				t.Errorf("%q is %d, want %d", name, got[name], id)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}
