package store

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// randomRequests makes requests that meet each other: few keys and users, ids
// that repeat, times that come out of order, surroundings that change.
func randomRequests(r *rand.Rand, app *spoor.App, from time.Time, n int) [][]spoor.Hit {
	kinds := []spoor.Kind{spoor.KindPage, spoor.KindPage, spoor.KindEvent, spoor.KindIdentify, spoor.KindServerEvent, spoor.KindAlias, spoor.KindMailOpen, spoor.KindLeave, spoor.KindClick}
	cities := []spoor.Place{{}, {City: "Warsaw", Region: "Mazovia", Country: "PL"}, {City: "Berlin", Region: "Land Berlin", Country: "DE"}, {Country: "IN"}}
	agents := []spoor.Agent{{}, {OS: "Windows", Browser: "Chrome", Device: "desktop"}, {OS: "iOS", OSVersion: "18.5", Device: "mobile"}}
	pick := func(list ...string) string { return list[r.Intn(len(list))] }
	var all [][]spoor.Hit
	for range n {
		from = from.Add(time.Duration(r.Intn(1800)) * time.Second)
		var hits []spoor.Hit
		for range 1 + r.Intn(5) {
			h := spoor.Hit{
				App: app.ID, Door: spoor.DoorNative, Received: from.UnixMilli() - r.Int63n(3), Kind: kinds[r.Intn(len(kinds))], Name: "n",
				Key: pick("", fmt.Sprint("k", r.Intn(5)), fmt.Sprint("k", r.Intn(60))), UserID: pick("", "", "", fmt.Sprint("u", r.Intn(6))), FormerID: pick("k1", "k9", "u2"),
				ID: pick("", fmt.Sprint("e", r.Intn(200))), Place: cities[r.Intn(len(cities))], Agent: agents[r.Intn(len(agents))],
				Language: pick("", "pl", "en"), Bot: r.Intn(20) == 0, URL: "https://shop.example/" + pick("a", "b", "c", fmt.Sprint(r.Intn(30))),
				Properties: []byte(pick("", `{"price":3.25,"plan":"pro"}`, `{"price":-7,"plan":"free","variant":"B"}`)),
			}
			if r.Intn(2) == 0 {
				h.Time = h.Received - int64(r.Intn(3*3600*1000))
			}
			if r.Intn(3) == 0 {
				h.Attributes = []spoor.Attribute{
					{Name: pick(spoor.AttrEmail, spoor.AttrCity, "plan", spoor.AttrTimeZone), Type: spoor.TypeString, Text: pick("a@x.example", "b@x.example", "3")},
				}
			}
			hits = append(hits, h)
		}
		all = append(all, hits)
	}
	return all
}

// feed gives requests to the store in their order, so many at a time that the
// writer finds them lined up together.
func feed(t *testing.T, s *Store, all [][]spoor.Hit, together int) {
	t.Helper()
	for len(all) > 0 {
		n := min(together, len(all))
		hold, held := make(chan struct{}), make(chan struct{})
		blocked := make(chan error, 1)
		go func() {
			blocked <- s.change(func(*group) error { close(held); <-hold; return nil })
		}()
		<-held
		var waiting []*request
		for _, hits := range all[:n] {
			r := &request{hits: append([]spoor.Hit(nil), hits...), done: make(chan struct{}, 1)}
			if err := s.queue.put(r, false); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, r)
		}
		close(hold)
		if err := <-blocked; err != nil {
			t.Fatal(err)
		}
		for _, r := range waiting {
			if <-r.done; r.err != nil {
				t.Fatal(r.err)
			}
		}
		all = all[n:]
	}
}

// contents is everything a store holds, once all is counted. The numbers of
// groups are left out: they say how requests happened to meet, and nothing is
// derived from them.
func contents(t *testing.T, s *Store) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	if err := s.change(func(g *group) error { g.final = true; return nil }); err != nil {
		t.Fatal(err)
	}
	put := func(key, value []byte) { all[string(key)] = bytes.Clone(value) }
	c := canon{hidden: nobody}
	err := s.view(func(db *pebble.DB) error {
		return scanSpan(db, []byte{0}, []byte{0xff}, func(key, value []byte) error {
			switch {
			case bytes.Equal(key, storeKey()):
				m, apps, _, err := readStoreMark(db)
				put(key, fmt.Appendf(nil, "%d hits, %d apps", m.hits, apps))
				return err
			case key[0] == prefixUncounted:
				return nil
			}
			return c.record(key, value, put)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Goal: two stores that are fed the same requests in the same order hold the
// same, however the requests fall into groups, whatever the caches hold, and
// with restarts in between.
// Method: one store takes them one by one, the others differently.
func TestStoresFedAlikeAreAlike(t *testing.T) {
	t.Parallel()
	for seed := range int64(12) {
		make := func(entries, names int) (*Store, *spoor.App, Options) {
			c := newClock()
			o := testOptions(t, vfs.NewMem(), c)
			o.CacheEntries, o.rowNamesMax = entries, names
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			o.Rand = rand.New(rand.NewSource(99)) // no further app is made
			app := newApp(t, s, "shop", "Europe/Warsaw")
			return s, followed(t, s, app), o
		}
		first, app, _ := make(1000, 1000)
		all := randomRequests(rand.New(rand.NewSource(seed)), app, newClock().now, 150)
		feed(t, first, all, 1)
		want := contents(t, first)
		check(t, first)
		for _, how := range []struct {
			entries, names, together int
			restart                  bool
		}{{1000, 1000, 150, false}, {1, 1, 1, false}, {1, 1000, 7, false}, {3, 3, 20, true}, {1000, 1, 3, false}} {
			s, _, o := make(how.entries, how.names)
			if how.restart {
				feed(t, s, all[:60], how.together)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				if s, err = Open(o); err != nil {
					t.Fatal(err)
				}
				feed(t, s, all[60:], how.together)
			} else {
				feed(t, s, all, how.together)
			}
			got := contents(t, s)
			for key, value := range want {
				if !bytes.Equal(got[key], value) {
					t.Fatalf("seed %d, %+v: key %x holds\n%x\nwant\n%x", seed, how, key, got[key], value)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("seed %d, %+v: %d keys, want %d", seed, how, len(got), len(want))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
