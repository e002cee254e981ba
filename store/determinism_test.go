package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"sync/atomic"
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

// feedAlone gives each request to the store as a group of its own, all lined up, and
// returns those that the store refused.
func feedAlone(t *testing.T, s *Store, all [][]spoor.Hit) (stored, refused [][]spoor.Hit) {
	t.Helper()
	var waiting []*request
	for _, hits := range all {
		r := &request{hits: append([]spoor.Hit(nil), hits...), alone: true, done: make(chan struct{}, 1)}
		if err := s.queue.put(r, false); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, r)
	}
	for i, r := range waiting {
		if <-r.done; r.err == nil {
			stored = append(stored, all[i])
			continue
		}
		for j := range r.hits {
			if r.hits[j].Outcome != spoor.Pending {
				t.Fatalf("a hit of a group that failed is %v %q", r.hits[j].Outcome, r.hits[j].Reason)
			}
		}
		refused = append(refused, all[i])
	}
	return stored, refused
}

// same fails unless two stores hold the same.
func same(t *testing.T, got, want map[string][]byte, how any) {
	t.Helper()
	for key, value := range want {
		if !bytes.Equal(got[key], value) {
			t.Fatalf("%+v: key %x holds\n%x\nwant\n%x", how, key, got[key], value)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%+v: %d keys, want %d", how, len(got), len(want))
	}
}

// Goal: what the writer decides does not depend on how far Pebble is with the group
// before, and where Pebble does not take a group, neither that nor the one that was
// decided upon it is stored, nor told to be; both can be sent again.
// Method: groups of one request, lined up, with commits that take a while and of
// which some fail; caches that remember nothing and all. The store must be like one
// that took the same requests in the order in which they were stored, one by one.
func TestDecidesWhilePebbleWrites(t *testing.T) {
	t.Parallel()
	for seed := range int64(4) {
		for _, entries := range []int{1, 1000} {
			for _, failures := range []int{0, 5} {
				c := newClock()
				o := testOptions(t, vfs.NewMem(), c)
				o.CacheEntries = entries
				s, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				app := newApp(t, s, "shop", "Europe/Warsaw")
				r := rand.New(rand.NewSource(seed)) // only commits use it, one at a time
				all := randomRequests(rand.New(rand.NewSource(seed)), app, newClock().now, 150)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				o.Rand = rand.New(rand.NewSource(99))
				var failed atomic.Int64
				var over atomic.Bool
				o.commit = func(db *pebble.DB, b *pebble.Batch) error {
					time.Sleep(time.Duration(r.Intn(300)) * time.Microsecond)
					if !over.Load() && failures > 0 && r.Intn(failures) == 0 {
						failed.Add(1)
						return errors.New("injected")
					}
					return db.ApplyNoSyncWait(b, pebble.Sync)
				}
				if s, err = Open(o); err != nil {
					t.Fatal(err)
				}
				var order [][]spoor.Hit
				for left := all; len(left) > 0; {
					var stored [][]spoor.Hit
					stored, left = feedAlone(t, s, left)
					order = append(order, stored...)
				}
				if over.Store(true); (failed.Load() > 0) != (failures > 0) {
					t.Fatalf("%d commits failed", failed.Load())
				}
				got := contents(t, s)
				check(t, s)

				o.FS, o.commit, o.Rand = vfs.NewMem(), nil, testOptions(t, nil, c).Rand
				plain, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				newApp(t, plain, "shop", "Europe/Warsaw")
				feed(t, plain, order, 1)
				same(t, got, contents(t, plain), fmt.Sprintf("seed %d, %d entries, %d failed", seed, entries, failed.Load()))
				if err := errors.Join(plain.Close(), s.Close()); err != nil {
					t.Fatal(err)
				}
			}
		}
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
			same(t, contents(t, s), want, fmt.Sprintf("seed %d, %+v", seed, how))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
