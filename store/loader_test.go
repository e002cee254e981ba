package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// loadedDays makes hits of so many visitors on each of some days, in the order
// in which LoadDay wants them: by number of the profile, then by time. One in
// twenty is known; each of these is followed by a visitor who turns out to be
// the same person on a later day. Every fifth tells an e-mail address.
func loadedDays(app *spoor.App, first spoor.Day, days, visitors, hitsOfVisit int) (all [][]spoor.Hit) {
	r := rand.New(rand.NewSource(7))
	merged := map[int]bool{}
	place := [...]spoor.Place{{City: "Warsaw", Region: "Mazovia", Country: "PL"}, {City: "Berlin", Region: "Berlin", Country: "DE"}, {City: "Pune", Country: "IN"}}
	agent := [...]spoor.Agent{{OS: "Windows", Browser: "Chrome", Device: "desktop"}, {OS: "iOS", Browser: "Safari", Device: "mobile"}}
	ids := 0
	for d := range days {
		at := (first + spoor.Day(d)).Start(app.Zone(0)).UnixMilli()
		var hits []spoor.Hit
		hit := func(key int, user string, ms int64) *spoor.Hit {
			ids++
			h := spoor.Hit{
				App: app.ID, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: fmt.Sprint("e", ids), Key: fmt.Sprint("k", key), UserID: user,
				URL: fmt.Sprintf("https://shop.example/p%d", r.Intn(1+r.Intn(60))), Title: "Page", Received: ms, Language: "pl", Place: place[key%3], Agent: agent[key%2],
			}
			if h.Kind = [...]spoor.Kind{spoor.KindPage, spoor.KindPage, spoor.KindEvent, spoor.KindClick, spoor.KindLeave}[r.Intn(5)]; h.Kind != spoor.KindPage {
				h.Name, h.Properties = "act", []byte(`{"price":1.5,"variant":"B"}`)
			}
			if r.Intn(4) == 0 {
				h.Campaign = spoor.Campaign{Channel: "email", Source: "news", Name: fmt.Sprint("c", r.Intn(9))}
			}
			hits = append(hits, h)
			return &hits[len(hits)-1]
		}
		for i := range 1 + visitors/days { // bots
			h := hit(i, "", at+int64(i)*1000)
			h.Bot, h.Key = true, ""
		}
		before, now := visitors*d/days, visitors*(d+1)/days
		for v := range now {
			known, twin := v%20 == 0, v%20 == 1
			if v < before && r.Intn(days) > 1 || twin && merged[v-1] {
				continue
			}
			user, ms := "", at+int64(r.Intn(20*3600*1000))
			if known {
				user = fmt.Sprint("u", v)
			}
			for range 1 + r.Intn(2) {
				for range hitsOfVisit {
					ms += 1 + r.Int63n(60_000)
					h := hit(v, user, ms)
					if v%5 == 2 {
						h.Attributes = []spoor.Attribute{{Name: spoor.AttrEmail, Type: spoor.TypeString, Text: fmt.Sprintf("v%d@x.example", v)}}
					}
				}
				ms += visitGap + r.Int63n(visitGap)
			}
			if known && v+1 < before && !merged[v] {
				merged[v] = true
				h := hit(v+1, user, ms)
				h.Kind, h.Name, h.Properties = spoor.KindIdentify, "", nil
			}
		}
		all = append(all, hits)
	}
	return all
}

// Goal: a store that was loaded is the store that the writer makes: every record
// of it, sealed days, tables and merged people included.
// Method: the same hits go into two stores, one a day at a time by LoadDay, the
// other by Write with a clock that is moved, sealed at the end; all they hold is
// compared, and both are checked when they close.
func TestLoadedStoreIsAsWritten(t *testing.T) {
	t.Parallel()
	const days, visitors = 30, 3000
	make := func() (*Store, *spoor.App, *clock) {
		c := newClock()
		o := testOptions(t, vfs.NewMem(), c)
		s := open(t, o)
		return s, newApp(t, s, "shop", "Europe/Warsaw"), c
	}
	s, app, c := make()
	first := app.Day(c.ms())
	last := first + days - 1
	all := loadedDays(app, first, days, visitors, 2)
	for i, hits := range all {
		err := s.LoadDay(last, func(yield func(*spoor.Hit) bool) {
			for k := range hits {
				h := hits[k]
				if !yield(&h) {
					return
				}
			}
		})
		if err != nil {
			t.Fatalf("day %d: %v", i, err)
		}
	}
	other, _, clock := make()
	for _, hits := range all {
		for some := range slices.Chunk(hits, 500) {
			for _, h := range write(t, other, slices.Clone(some)...) {
				if h.Outcome != spoor.Stored {
					t.Fatalf("a hit is %s %s", h.Outcome, h.Reason)
				}
			}
		}
		clock.add(24 * time.Hour)
	}
	clock.add(-24 * time.Hour)
	c.add(days*24*time.Hour - 24*time.Hour)
	if _, _, err := other.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	if sealed, _, err := s.SealDays(context.Background()); sealed != 0 || err != nil {
		t.Errorf("%d days were left to be sealed, %v", sealed, err)
	}
	got, want := contents(t, s), contents(t, other)
	for key, value := range want {
		if !bytes.Equal(got[key], value) {
			t.Errorf("key %q holds\n%q\nwant\n%q", key, got[key], value)
		}
	}
	for key := range got {
		if want[key] == nil {
			t.Errorf("key %q is there, and should not", key)
		}
	}
	parts, err := s.Partitions(app.ID)
	if err != nil || len(parts) != days || !parts[0].Sealed || !parts[days-9].Sealed || parts[days-8].Sealed {
		t.Errorf("%d days, sealed %v, %v; want %d and 8 open ones", len(parts), parts, err, days)
	}
	aliased, err := readMembers(s.db, app.ID, setAliased)
	if err != nil || aliased.GetCardinality() < visitors/40 {
		t.Errorf("%d merged people, %v; the test is about them", aliased.GetCardinality(), err)
	}
}

// Goal: what LoadDay cannot store is an error, and what it had decided is gone.
// Method: hits of two days, in the wrong order, and twice; then the good day.
func TestLoadRefuses(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	day := app.Day(c.ms())
	load := func(hits ...spoor.Hit) error {
		return s.LoadDay(day, func(yield func(*spoor.Hit) bool) {
			for i := range hits {
				if !yield(&hits[i]) {
					return
				}
			}
		})
	}
	one, two, later := page(app, c, "a", 1), page(app, c, "b", 1), page(app, c, "c", 1)
	later.Received -= 24 * 3600 * 1000
	for _, bad := range []struct {
		want string
		hits []spoor.Hit
	}{
		{"load each day by itself", []spoor.Hit{one, later}},
		{"load them in order", []spoor.Hit{one, two, page(app, c, "a", 2)}},
		{"duplicate", []spoor.Hit{one, one}},
	} {
		if err := load(bad.hits...); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("error %v, want one about %q", err, bad.want)
		}
	}
	if err := load(one, two); err != nil {
		t.Error(err)
	}
	if parts, err := s.Partitions(app.ID); err != nil || len(parts) != 1 || parts[0].Hits != 2 {
		t.Errorf("partitions %+v, %v", parts, err)
	}
	names, err := s.opts.FS.List("data")
	if err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "load") }) {
		t.Errorf("left behind: %v, %v", names, err)
	}
}
