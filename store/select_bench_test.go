package store

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// benchPeople is how many profiles the store of BenchmarkSegments has:
// SPOOR_BENCH_PEOPLE, or few, so that it can run everywhere.
func benchPeople() int {
	if n, err := strconv.Atoi(os.Getenv("SPOOR_BENCH_PEOPLE")); err == nil {
		return n
	}
	return 20_000
}

// BenchmarkSegments evaluates filters of two conditions and more, without what is
// remembered. Each profile has twelve attributes; a tenth visits each day, and a
// tenth of those /pricing.
func BenchmarkSegments(b *testing.B) {
	c := newClock()
	o := testOptions(b, nil, c)
	o.Dir, o.CacheBytes, o.MemTableBytes = b.TempDir(), 96<<20, 32<<20
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	app := newApp(b, s, "shop", "UTC")
	fillForSegments(b, s, app, c, benchPeople())
	s.selections.age = 0
	for _, filter := range []string{
		`{"all":[{"tag":"vip"},{"active":{"days":7}}]}`,
		`{"all":[{"attribute":"country","is":"PL"},{"attribute":"score","more":50}]}`,
		`{"all":[{"tag":"vip"},{"attribute":"country","is":"PL"}]}`,
		`{"all":[{"path":"/pricing","days":30},{"attribute":"country","is":"PL"}]}`,
		`{"all":[{"path":"/pricing","times":2,"days":30},{"attribute":"country","is":"PL"}]}`,
		`{"all":[{"path":"/pricing","times":2,"days":30},{"not":{"attribute":"email","exists":true}}]}`,
	} {
		b.Run(filter, func(b *testing.B) {
			x := spoor.Collection{Kind: spoor.CollectionSegment, Filter: parsed(b, filter)}
			before := cpu()
			for b.Loop() {
				n, err := s.Members(app.ID, &x, 0, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(n), "people")
			}
			b.ReportMetric(float64((cpu()-before).Milliseconds())/float64(b.N), "cpu-ms/op") // where others use the machine too
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fillForSegments writes people, sets, days and hits under their keys.
func fillForSegments(b *testing.B, s *Store, app *spoor.App, c *clock, people int) {
	secret, err := readSalt(s.db, app.ID)
	if err != nil {
		b.Fatal(err)
	}
	batch := s.db.NewBatch()
	put := func(key, value []byte) {
		_ = batch.Set(key, value, nil)
		if batch.Len() > 8<<20 {
			if err := batch.Commit(pebble.NoSync); err != nil {
				b.Fatal(err)
			}
			batch = s.db.NewBatch()
		}
	}
	chunks := func(in *roaring.Bitmap, key func(chunk uint16) []byte) {
		g := &group{w: &writer{}, batch: batch, written: new(written)}
		g.putChunks(setChange32{add: in}, key)
	}
	all, vips := roaring.New(), roaring.New()
	countries := []string{"PL", "DE", "FR", "US", "IN"}
	at := stamp{time: c.ms(), tie: 7, source: spoor.DoorNative}
	for n := range people {
		st := &state{created: c.ms(), updated: c.ms(), firstSeen: c.ms(), lastSeen: c.ms(), views: int64(n % 9), visits: 1, visitStart: c.ms(), visitLast: c.ms(), days: []spoor.Day{20500, 20510}}
		for _, r := range [][2]string{{"browser", "Chrome"}, {"browser_language", "pl-PL"}, {"browser_version", "140"}, {"city", "Warsaw"}, {"country", countries[n%5]},
			{"device", "desktop"}, {"last_ip", "203.0.113.0"}, {"os_type", "Windows"}, {"os_version", "11"}, {"region", "Mazovia"}, {"resolution", "1440x900"}, {"timezone", "Europe/Warsaw"}} {
			st.set(r[0], spoor.TypeString, r[1], at)
		}
		st.set("score", spoor.TypeInt, strconv.Itoa(n%100), at)
		st.put(spoor.LookupKey, fmt.Sprintf("8Uh7Fp9w%08x", n), true, at)
		if all.Add(uint32(n + 1)); n%20 == 0 {
			vips.Add(uint32(n + 1))
			st.put(membership(spoor.CollectionTag), "1", true, at)
		}
		put(profileKey(nil, app.ID, spoor.Number(n+1)), st.appendTo(nil))
	}
	chunks(all, func(chunk uint16) []byte { return setKey(nil, app.ID, setLive, chunk) })
	tag := collectionRef{spoor.CollectionTag, 1}
	put(catalogueKey(nil, app.ID, tag), appendCollection(nil, &spoor.Collection{Name: "vip"}))
	chunks(vips, func(chunk uint16) []byte { return memberKey(nil, app.ID, tag, chunk) })
	today := app.Day(c.ms())
	for day := today - 29; day <= today; day++ {
		active, pricing := roaring.New(), roaring.New()
		for n := range people {
			x := uint64(n)*0x9e3779b97f4a7c15 ^ uint64(day)*0xbf58476d1ce4e5b9
			if x ^= x >> 29; x%10 != 0 {
				continue
			}
			active.Add(uint32(n + 1))
			url := "https://shop.example/home"
			if x/10%10 == 0 {
				pricing.Add(uint32(n + 1))
				url = "https://shop.example/pricing"
			}
			h := spoor.Hit{Kind: spoor.KindPage, Door: spoor.DoorWidget, ID: fmt.Sprint("event-", n, "-", day), URL: url, Title: "Our prices", Language: "pl-PL", Resolution: "1440x900"}
			h.Time = day.Start(time.UTC).UnixMilli() + int64(n%86400)*1000
			put(hitKey(nil, app.ID, day, spoor.Number(n+1), h.Time, hash{byte(n), byte(n >> 8), byte(n >> 16)}), appendHit(nil, &h))
		}
		chunks(active, func(chunk uint16) []byte { return activityKey(nil, app.ID, day, activityActive, chunk) })
		row := &counts{text: "/pricing", hits: int64(pricing.GetCardinality()), views: int64(pricing.GetCardinality()), who: setChange{add: pricing}}
		put(countKey(nil, app.ID, day, spoor.DimPath, rowHash(&secret, rowKey{spoor.DimPath, "/pricing"})), row.appendTo(nil))
		put(writerDayKey(nil, app.ID, day), (&account{stored: int64(active.GetCardinality()), tallied: true, sealed: true}).appendTo(nil))
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Compact(b.Context(), []byte{0}, []byte{255}, true); err != nil {
		b.Fatal(err)
	}
}
