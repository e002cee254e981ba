package store

import (
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// Goal: people are counted once, whatever was merged and forgotten, in whatever
// portions that became known.
// Method: random merges over a few blocks of numbers; a plain map.
func TestPersonsOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Custom(func(t *rapid.T) uint32 {
			return rapid.Uint32Range(0, 2).Draw(t, "block")<<16 + rapid.Uint32Range(1, 12).Draw(t, "low")
		})
		p := &persons{former: roaring.New()}
		plain := map[uint32]uint32{}
		for range rapid.IntRange(0, 6).Draw(t, "groups") {
			var news []alias
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				former, person := number.Draw(t, "former"), number.Draw(t, "person")
				if plain[person] != 0 || former == person { // a merge points at a living profile
					continue
				}
				if rapid.IntRange(0, 4).Draw(t, "forget") == 0 {
					person = 0
					delete(plain, former)
				} else {
					plain[former] = person
					for f, to := range plain { // who was merged into the one that goes
						if to == former {
							plain[f] = person
							news = append(news, alias{spoor.Number(f), spoor.Number(person)})
						}
					}
				}
				news = append(news, alias{spoor.Number(former), spoor.Number(person)})
			}
			p = p.with(news)
		}
		some := roaring.BitmapOf(rapid.SliceOf(number).Draw(t, "some")...)
		before := some.Clone()
		want := roaring.New()
		for _, n := range some.ToArray() {
			if to := plain[n]; to != 0 {
				n = to
			}
			want.Add(n)
		}
		got := p.of(some)
		if !got.Equals(want) || !some.Equals(before) {
			t.Fatalf("persons of %v by %v: %v, want %v", before.ToArray(), plain, got.ToArray(), want.ToArray())
		}
		all := got.Clone()
		for f, to := range plain {
			if got.Contains(to) {
				all.Add(f)
			}
		}
		if numbers := p.numbers(got); !numbers.Equals(all) {
			t.Fatalf("numbers of %v by %v: %v, want %v", got.ToArray(), plain, numbers.ToArray(), all.ToArray())
		}
	})
}

// Goal: who asks after a merge was acknowledged counts one person, also where
// the merges were read before; and two after the person was erased from a
// sealed day, for nothing tells any more that they were one.
// Method: one visitor with two devices, of whom more becomes known each time.
func TestPersonsFollowTheWriter(t *testing.T) {
	c := newClock()
	o := testOptions(t, vfs.NewMem(), c)
	s := open(t, o)
	app := newApp(t, s, "shop", "UTC")
	today := app.Day(c.ms())
	visitors := func(want float64) {
		t.Helper()
		got, err := s.Series(&spoor.SeriesQuery{App: app.ID, Metric: spoor.MetricVisitors, From: today, To: today, Interval: spoor.IntervalDay})
		if err != nil || got.Total.Value != want {
			t.Errorf("%v visitors, %v; want %v", got.Total.Value, err, want)
		}
	}
	visitors(0)
	login := func(key, user string) {
		h := page(app, c, key, int(c.ms()))
		h.UserID = user
		write(t, s, h)
		c.add(1e9)
	}
	login("desk", "u1")
	login("phone", "")
	login("tablet", "")
	visitors(3)
	login("phone", "u1")
	visitors(2)
	login("tablet", "u1")
	visitors(1)

	c.add(20 * 24 * 3600e9)
	if _, _, err := s.SealDays(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := s.Find(app.ID, spoor.LookupUserID, "u1")
	if err != nil || len(n) != 1 {
		t.Fatalf("u1: %v, %v", n, err)
	}
	visitors(1)
	if _, err := s.Erase(app.ID, n, "subject"); err != nil {
		t.Fatal(err)
	}
	visitors(3)
}
