package store

import (
	"errors"
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Goal: what the writer remembers of a profile's surroundings is what is stored of
// them, whether hits or attributes told it last, in whatever order and of one
// millisecond, or it knows that it does not know; and it decides as if it remembered
// nothing.
// Method: random hits and attributes of a few moments; after each group the memory is
// compared with the state. Another store gets them one by one and forgets in between.
// The writer must know most of the time, or its memory were of no use.
func TestSurroundingsAreRemembered(t *testing.T) {
	t.Parallel()
	unknown, groups := 0, 0
	for seed := range int64(150) {
		r := rand.New(rand.NewSource(seed))
		c := newClock()
		s, forgetful := open(t, testOptions(t, vfs.NewMem(), c)), open(t, testOptions(t, vfs.NewMem(), c))
		app := newApp(t, s, "shop", "UTC")
		newApp(t, forgetful, "shop", "UTC")
		ref := profileRef{app.ID, 1}
		for range 60 {
			hits := make([]spoor.Hit, 1+r.Intn(2))
			for i := range hits {
				hits[i] = describing(r, app, c.ms())
			}
			for i := range hits {
				if err := forgetful.change(func(g *group) error { g.w.profiles.drop(ref); return nil }); err != nil {
					t.Fatal(err)
				}
				if err := forgetful.Write(slices.Clone(hits[i : i+1])); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Write(hits); err != nil {
				t.Fatal(err)
			}
			if groups++; r.Intn(3) == 0 {
				c.add(3e6)
			}
			forget := r.Intn(4) == 0
			err := s.change(func(g *group) error {
				st, err := readProfile(g.w.db, ref.app, ref.n)
				got, ok := g.w.profiles.get(ref)
				if err != nil || !ok {
					return errors.Join(err, errors.New("not remembered"))
				}
				if got.edited == unknownEdit {
					unknown++
					return nil
				}
				var want profile
				want.lookAround(st)
				if got.around != want.around || got.described != want.described || got.edited < want.edited {
					return fmt.Errorf("remembers\n%+v, holds\n%+v", *got, want)
				}
				if ip := netip.AddrFrom16(got.ip).Unmap().String(); got.ip != [16]byte{} && st.text(spoor.AttrLastIP) != ip {
					return fmt.Errorf("remembers %s, holds %s", ip, st.text(spoor.AttrLastIP))
				}
				if forget {
					g.w.profiles.drop(ref)
				}
				return nil
			})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		same(t, contents(t, s), contents(t, forgetful), fmt.Sprint("seed ", seed))
	}
	if unknown*4 > groups {
		t.Fatalf("after %d of %d groups it does not know", unknown, groups)
	}
}

// Goal: who says the same again changes nothing, also where a hit sets by attribute what
// it tells by itself, and what belongs together stays together over a merge in which
// times are equal.
// Method: hits of few moments, and what the profile says after each.
func TestSurroundingsStay(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	riga, oslo := spoor.Place{City: "Riga", Country: "LV"}, spoor.Place{City: "Oslo", Country: "NO"}
	city := spoor.Attribute{Name: spoor.AttrCity, Type: spoor.TypeString, Text: "Riga"}
	write := func(key, user string, ago int64, place spoor.Place, attributes ...spoor.Attribute) {
		t.Helper()
		hits := []spoor.Hit{{App: app.ID, Door: spoor.DoorNative, Kind: spoor.KindIdentify, Key: key, UserID: user, Received: c.ms(), Time: c.ms() - ago, Place: place, Attributes: attributes}}
		if err := s.Write(hits); err != nil || hits[0].Outcome != spoor.Stored {
			t.Fatal(err, hits[0].Outcome, hits[0].Reason)
		}
	}
	holds := func(user, city, country string) {
		t.Helper()
		numbers, err := s.Find(app.ID, spoor.LookupUserID, user)
		if err != nil || len(numbers) != 1 {
			t.Fatal(numbers, err)
		}
		p, err := s.Profile(app.ID, numbers[0])
		if err != nil || p.Text(spoor.AttrCity) != city || p.Text(spoor.AttrCountry) != country {
			t.Fatalf("%s %s, %v; want %s %s", p.Text(spoor.AttrCity), p.Text(spoor.AttrCountry), err, city, country)
		}
	}
	for range 4 {
		write("a", "says both", 0, oslo, city)
		holds("says both", "Oslo", "NO")
		c.add(1e9)
	}
	write("a", "says both", 0, spoor.Place{}, city) // no place of its own
	holds("says both", "Riga", "NO")

	write("k", "merged", 100, spoor.Place{}, city)
	write("k", "merged", 50, riga)
	write("k2", "", 60, spoor.Place{})
	write("k2", "merged", 55, spoor.Place{})
	write("k", "merged", 50, oslo)
	write("k", "merged", 10, oslo)
	holds("merged", "Oslo", "NO")
}

// describing makes a hit of one person that may tell of surroundings, and set some.
func describing(r *rand.Rand, app *spoor.App, now int64) spoor.Hit {
	places := []spoor.Place{{}, {}, {City: "Riga", Country: "LV"}, {Country: "PL"}}
	addresses := []netip.Addr{{}, netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("2001:db8::3")}
	pick := func(list ...string) string { return list[r.Intn(len(list))] }
	h := spoor.Hit{
		App: app.ID, Door: spoor.DoorNative, Kind: spoor.KindIdentify, ID: fmt.Sprint(r.Uint64()), Key: "k", Received: now, Time: now - int64(r.Intn(6)),
		Place: places[r.Intn(len(places))], Language: pick("", "pl", "en"), IP: addresses[r.Intn(len(addresses))],
	}
	for range r.Intn(3) {
		h.Attributes = append(h.Attributes, spoor.Attribute{
			Name: pick(spoor.AttrCity, spoor.AttrLanguage, spoor.AttrLastIP, spoor.AttrRegion, "plan"),
			Type: spoor.Type(r.Intn(2)) * spoor.TypeString, Text: pick("Riga", "pl", "192.0.2.3", ""),
		})
	}
	return h
}
