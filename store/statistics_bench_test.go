package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// manyDays fills a store with sealed days as the writer leaves them, without
// their hits: profiles of whom some come each day, on some of 500 paths.
func manyDays(b *testing.B, s *Store, app *spoor.App, last spoor.Day, days, profiles, visitors int) {
	b.Helper()
	secret, err := readSalt(s.db, app.ID)
	if err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	often := rand.NewZipf(rnd, 1.1, 5, 499)
	came := roaring.New()
	for day := last - spoor.Day(days) + 1; day <= last; day++ {
		batch := s.db.NewBatch()
		set := func(key, value []byte) {
			if err := batch.Set(key, value, nil); err != nil {
				b.Fatal(err)
			}
		}
		who := roaring.New()
		rows := sealedRows{}
		row := func(dim spoor.Dimension, text string, n uint32) {
			c := rows[rowKey{dim, text}]
			if c == nil {
				c = &counts{text: text}
				c.who.add = roaring.New()
				rows[rowKey{dim, text}] = c
			}
			c.hits++
			c.views++
			c.visits++
			c.who.add.Add(n)
		}
		for range visitors {
			n := uint32(1 + rnd.IntN(profiles))
			who.Add(n)
			row(spoor.DimCountry, fmt.Sprint("C", n%40), n)
			for range 3 {
				row(spoor.DimPath, fmt.Sprint("/page/", often.Uint64()), n)
			}
		}
		fresh := roaring.AndNot(who, came)
		came.Or(who)
		for kind, all := range map[byte]*roaring.Bitmap{activityVisitor: who, activityActive: who, activityNew: fresh} {
			for chunk := uint32(0); chunk <= uint32(profiles)>>16; chunk++ {
				some := all.Clone()
				some.RemoveRange(0, uint64(chunk)<<16)
				some.RemoveRange(uint64(chunk+1)<<16, 1<<32)
				low := roaring.AddOffset64(some, -int64(chunk)<<16)
				set(activityKey(nil, app.ID, day, kind, uint16(chunk)), (&setChange{add: low}).appendTo(nil))
			}
		}
		for key, c := range rows {
			set(countKey(nil, app.ID, day, key.dim, rowHash(&secret, key)), c.appendTo(nil))
		}
		for _, r := range tables(app.ID, day, rows) {
			set(r.key, r.value)
		}
		a := account{stored: 10, views: int64(3 * visitors), visits: int64(visitors), sealed: true, tallied: true}
		set(writerDayKey(nil, app.ID, day), a.appendTo(nil))
		if err := s.db.Apply(batch, pebble.NoSync); err != nil {
			b.Fatal(err)
		}
	}
	batch := s.db.NewBatch()
	for n := profiles / 2; n < profiles/2+profiles/20; n++ { // one in twenty was merged into somebody
		key := numberKey(nil, app.ID, spoor.Number(n))
		if err := batch.Set(key, putUint(appendHeader(nil), identNumber, uint64(1+n/7)), nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Apply(batch, pebble.NoSync); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Compact(b.Context(), []byte{0}, []byte{255}, true); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStatistics asks about 90 sealed days of an app with a million
// profiles, a tenth of whom come each day.
func BenchmarkStatistics(b *testing.B) {
	c := newClock()
	o := testOptions(b, vfs.NewMem(), c)
	o.MemTableBytes, o.CacheBytes = 32<<20, 96<<20
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	app, err := s.CreateApp(&spoor.App{Name: "shop", Settings: spoor.DefaultSettings("UTC")})
	if err != nil {
		b.Fatal(err)
	}
	to := app.Day(c.ms()) - 10
	from := to - 89
	manyDays(b, s, app, to, 90, 1_000_000, 100_000)
	series := func(m spoor.Metric, filter ...spoor.Condition) func() error {
		return func() error {
			_, err := s.Series(&spoor.SeriesQuery{App: app.ID, Metric: m, From: from, To: to, Interval: spoor.IntervalDay, Filter: filter})
			return err
		}
	}
	top := func(by spoor.TopBy) func() error {
		return func() error {
			_, err := s.Top(&spoor.TopQuery{App: app.ID, By: by, From: from, To: to, Limit: 10})
			return err
		}
	}
	for _, bench := range []struct {
		name string
		ask  func() error
	}{
		{"pageviews", series(spoor.MetricPageviews)},
		{"visitors", series(spoor.MetricVisitors)},
		{"new visitors", series(spoor.MetricNewVisitors)},
		{"identified", series(spoor.MetricIdentified)},
		{"visitors of a country", series(spoor.MetricVisitors, spoor.Condition{Dimension: spoor.DimCountry, Text: "C7"})},
		{"visitors of paths", series(spoor.MetricVisitors, spoor.Condition{Dimension: spoor.DimPath, Text: "/page/1", Prefix: true})},
		{"top paths", top(spoor.TopBy{Dimension: spoor.DimPath})},
		{"top entries", top(spoor.TopBy{Dimension: spoor.DimPath, Entry: true})},
		{"top countries", top(spoor.TopBy{Dimension: spoor.DimCountry})},
		{"goal", func() error {
			_, err := s.Goals(app.ID, from, to, []spoor.Goal{{Dimension: spoor.DimPath, Text: "/page/3"}})
			return err
		}},
		{"cohorts", func() error { _, err := s.Cohorts(app.ID, from, to); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if err := bench.ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScan filters the hits of a day by two conditions.
func BenchmarkScan(b *testing.B) {
	c := newClock()
	o := testOptions(b, vfs.NewMem(), c)
	o.MemTableBytes, o.CacheBytes = 32<<20, 256<<20
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	app, err := s.CreateApp(&spoor.App{Name: "shop", Settings: spoor.DefaultSettings("UTC")})
	if err != nil {
		b.Fatal(err)
	}
	const hits = 400_000
	day := app.Day(c.ms())
	batch := s.db.NewBatch()
	for i := range hits {
		h := page(app, c, "key", i)
		h.Title, h.Time, h.UserAgent = "A page of the shop", c.ms()+int64(i), "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
		h.Visit, h.Properties = h.Time-int64(i%5)*1000, []byte(`{"plan":"pro","price":12.5}`)
		h.First = h.Visit == h.Time
		key := hitKey(nil, app.ID, day, spoor.Number(1+i/5), h.Time, hash{byte(i), byte(i >> 8), byte(i >> 16)})
		if err := batch.Set(key, appendHit(nil, &h), nil); err != nil {
			b.Fatal(err)
		}
	}
	a := account{stored: hits, views: hits} // without rows, which would tell whose hits to read
	if err := batch.Set(writerDayKey(nil, app.ID, day), a.appendTo(nil), nil); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Apply(batch, pebble.NoSync); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	q := &spoor.SeriesQuery{App: app.ID, Metric: spoor.MetricVisits, From: day, To: day, Interval: spoor.IntervalDay, Filter: []spoor.Condition{
		{Dimension: spoor.DimPath, Text: "/p1", Prefix: true}, {Dimension: spoor.DimCountry, Text: "PL"},
	}}
	for b.Loop() {
		if _, err := s.Series(q); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(hits)*float64(b.N)/b.Elapsed().Seconds(), "hits/s")
}
