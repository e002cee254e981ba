package store

import (
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// Goal: people are counted once, whatever was merged and forgotten, in whatever
// portions that became known, and sets of persons follow what comes later.
// Method: random merges over a few blocks of numbers; a plain map; the same
// numbers as persons at every version.
func TestPersonsOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Custom(func(t *rapid.T) uint32 {
			return rapid.Uint32Range(0, 2).Draw(t, "block")<<16 + rapid.Uint32Range(1, 12).Draw(t, "low")
		})
		p := newPersons()
		plain := map[uint32]uint32{}
		some := roaring.BitmapOf(rapid.SliceOf(number).Draw(t, "some")...)
		versions := []*persons{p}
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
			versions = append(versions, p)
		}
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
		for i, old := range versions {
			was := old.of(some)
			before := was.Clone()
			now, ok := p.follow(was, old.version())
			if old.era == p.era && (!ok || !now.Equals(want) || !was.Equals(before)) {
				t.Fatalf("%v of version %d: %v, %t; want %v", before.ToArray(), i, now, ok, want.ToArray())
			}
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

// Goal: a set of persons that is older than what is known of merges is not taken
// for one of now, and merges do not pile up; one that is not so old still follows.
// Method: three times as many merges as are known, a hundred at a time; of each
// version the same numbers.
func TestPersonsFollowSoFar(t *testing.T) {
	const merges = 3 * movesMax
	all := roaring.New()
	all.AddRange(1, merges+2)
	p := newPersons()
	versions := []*persons{p}
	for n := 1; n <= merges; n += 100 {
		var news []alias
		for m := n; m < n+100; m++ {
			news = append(news, alias{spoor.Number(m), merges + 200})
		}
		p = p.with(news)
		versions = append(versions, p)
		if len(p.moves) > movesMax {
			t.Fatalf("%d merges are known, want at most %d", len(p.moves), movesMax)
		}
	}
	want := p.of(all)
	for _, old := range versions {
		age := p.version() - old.version()
		now, ok := p.follow(old.of(all), old.version())
		switch {
		case ok && !now.Equals(want):
			t.Fatalf("%d merges later: %d persons, want %d", age, now.GetCardinality(), want.GetCardinality())
		case ok && age > movesMax, !ok && age < movesMax/2:
			t.Fatalf("%d merges later: followed %t", age, ok)
		}
	}
	if _, ok := versions[3].follow(want, p.version()); ok {
		t.Error("persons of old took a set of a later version for theirs")
	}
	if q := p.with([]alias{{7, 0}}); q.era == p.era {
		t.Error("somebody was parted from a person, and the era goes on")
	}
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
