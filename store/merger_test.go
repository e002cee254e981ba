package store

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// stateOf makes states that collide: few names, few times, few numbers.
var stateOf = rapid.Custom(func(t *rapid.T) *state {
	small := func(name string) int64 { return rapid.Int64Range(0, 4).Draw(t, name) }
	at := func() stamp {
		return stamp{time: small("time"), tie: uint64(small("tie")), source: spoor.Door(rapid.IntRange(0, 2).Draw(t, "door"))}
	}
	days := func() (d []spoor.Day) {
		for range rapid.IntRange(0, 3).Draw(t, "days") {
			s := state{days: d}
			s.addDay(spoor.Day(rapid.Int32Range(-2, 5).Draw(t, "day")))
			d = s.days
		}
		return d
	}
	s := &state{
		created: small("created"), updated: small("updated"), firstSeen: small("first") - 1, lastSeen: small("last"),
		contacted: small("contacted"), heard: small("heard"), opened: small("opened"), clicked: small("clicked"),
		views: small("views"), events: small("events"), visits: small("visits"), public: small("public"), days: days(),
	}
	if last := small("visit"); last > 0 {
		s.visitLast, s.visitStart = last, last-small("length")
	}
	for i := range s.described {
		s.described[i] = small("described")
	}
	for range rapid.IntRange(0, 4).Draw(t, "registers") {
		name := rapid.SampledFrom([]string{spoor.AttrEmail, spoor.AttrCity, "colour", "size", regConsentAnalytics}).Draw(t, "name")
		typ := rapid.SampledFrom([]spoor.Type{spoor.TypeNull, spoor.TypeString, spoor.TypeInt}).Draw(t, "type")
		s.set(name, typ, rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "text"), at())
	}
	for range rapid.IntRange(0, 3).Draw(t, "elements") {
		kind := rapid.SampledFrom([]spoor.Lookup{spoor.LookupKey, spoor.LookupMobile, membership(spoor.CollectionTag)}).Draw(t, "kind")
		s.put(kind, rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key"), rapid.Bool().Draw(t, "present"), at())
	}
	for range rapid.IntRange(0, 2).Draw(t, "former") {
		f := former{number: spoor.Number(rapid.IntRange(1, 3).Draw(t, "number")), days: days()}
		s.former = foldSorted(s.former, []former{f}, compareFormer, foldFormer)
	}
	s.writes = 0 // is not kept
	return s
})

var countsGen = rapid.Custom(func(t *rapid.T) *counts {
	n := func(name string) int64 { return rapid.Int64Range(-3, 1000).Draw(t, name) }
	return &counts{
		text: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "text"),
		hits: n("hits"), views: n("views"), events: n("events"), visits: n("visits"),
	}
})

var setOf = rapid.Custom(func(t *rapid.T) *setChange {
	bitmap := func(name string) *roaring.Bitmap {
		b := roaring.New()
		for _, n := range rapid.SliceOfN(rapid.Uint32Range(0, 12), 0, 5).Draw(t, name) {
			b.Add(n)
		}
		if rapid.IntRange(0, 3).Draw(t, "long "+name) == 0 {
			from := rapid.Uint64Range(0, 40_000).Draw(t, "from")
			b.AddRange(from, from+rapid.Uint64Range(0, 20_000).Draw(t, "length"))
		}
		return b
	}
	c := &setChange{add: bitmap("add"), drop: bitmap("drop")}
	c.drop.AndNot(c.add) // as the writer makes them
	return c
})

// mergeAs folds values as Pebble does: it begins with one of them and is given
// newer and older ones in any mixture.
func mergeAs(t *rapid.T, key []byte, values [][]byte) []byte {
	begin := rapid.IntRange(0, len(values)-1).Draw(t, "begin")
	m, err := merger.Merge(key, values[begin])
	if err != nil {
		t.Fatal(err)
	}
	older, newer := begin-1, begin+1
	for older >= 0 || newer < len(values) {
		if newer == len(values) || older >= 0 && rapid.Bool().Draw(t, "older") {
			err = m.MergeOlder(values[older])
			older--
		} else {
			err = m.MergeNewer(values[newer])
			newer++
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out, closer, err := m.Finish(rapid.Bool().Draw(t, "includes base"))
	if err != nil || closer != nil {
		t.Fatal(err, closer)
	}
	return bytes.Clone(out)
}

// portions folds neighbours into partial results, as flushes and compactions
// do, and those again, until one is left.
func portions(t *rapid.T, key []byte, values [][]byte) []byte {
	for len(values) > 1 {
		var next [][]byte
		for rest := values; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "portion")
			next, rest = append(next, mergeAs(t, key, rest[:n])), rest[n:]
		}
		values = next
	}
	return values[0]
}

// encodeAll encodes what will be folded. Some are damaged, if asked for.
func encodeAll[T encoder](t *rapid.T, list []T, damage bool) (values [][]byte) {
	for _, v := range list {
		raw := v.appendTo(nil)
		if damage && rapid.IntRange(0, 4).Draw(t, "damage") == 0 {
			raw = rapid.SampledFrom([][]byte{{}, {1}, {2, 0}, {1, 0, 0xff}, []byte("rubbish")}).Draw(t, "rubbish")
		}
		values = append(values, raw)
	}
	return values
}

// Goal: it does not matter in what portions Pebble folds; for profiles and
// roll-ups not in what order either; what cannot be read takes part too.
// Method: random operands, folded in one go in their order, and in random
// portions (of a random permutation); results must be equal byte for byte.
func TestMergingIsAssociative(t *testing.T) {
	t.Run("profiles", rapid.MakeCheck(func(t *rapid.T) {
		values := encodeAll(t, rapid.SliceOfN(stateOf, 2, 8).Draw(t, "states"), true)
		key := profileKey(nil, 1, 1)
		want := foldInOrder(key, values)
		if got := portions(t, key, rapid.Permutation(values).Draw(t, "order")); !bytes.Equal(got, want) {
			t.Fatalf("in portions %x\nin one go   %x", got, want)
		}
	}))
	t.Run("roll-ups", rapid.MakeCheck(func(t *rapid.T) {
		values := encodeAll(t, rapid.SliceOfN(countsGen, 2, 8).Draw(t, "counts"), true)
		key := countKey(nil, 1, 1, spoor.DimHour, 1)
		want := foldInOrder(key, values)
		if got := portions(t, key, rapid.Permutation(values).Draw(t, "order")); !bytes.Equal(got, want) {
			t.Fatalf("in portions %x\nin one go   %x", got, want)
		}
	}))
	for name, key := range map[string][]byte{"sets": setKey(nil, 1, setLive, 0), "activity": activityKey(nil, 1, 1, activityActive, 0),
		"members": memberKey(nil, 1, collectionRef{spoor.CollectionTag, 1}, 0)} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			values := encodeAll(t, rapid.SliceOfN(setOf, 2, 8).Draw(t, "changes"), true)
			want, err := readSet(foldInOrder(key, values))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readSet(portions(t, key, values))
			if err != nil {
				t.Fatal(err)
			}
			if !sameSet(got.add, want.add) || !sameSet(got.drop, want.drop) || !reflect.DeepEqual(got.unknown, want.unknown) {
				t.Fatalf("in portions %v\nin one go   %v", got, want)
			}
		}))
	}
}

func foldInOrder(key []byte, values [][]byte) []byte {
	m, _ := merger.Merge(key, values[0])
	for _, v := range values[1:] {
		_ = m.MergeNewer(v)
	}
	out, _, _ := m.Finish(true)
	return out
}

func sameSet(a, b *roaring.Bitmap) bool {
	if a == nil {
		a = roaring.New()
	}
	if b == nil {
		b = roaring.New()
	}
	return a.Equals(b)
}

// Goal: sets fold to what happens to a plain set, one change after the other.
// Method: the same changes on a map.
func TestSetChangesAreWhatTheySay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := rapid.SliceOfN(setOf, 1, 8).Draw(t, "changes")
		want := roaring.New()
		for _, c := range changes {
			want.AndNot(c.drop)
			want.Or(c.add)
		}
		got, err := readSet(foldInOrder(setKey(nil, 1, setLive, 0), encodeAll(t, changes, false)))
		if err != nil || !sameSet(got.add, want) {
			t.Fatalf("folded to %v, %v; want %v", got.add, err, want)
		}
	})
}

// Goal: to fold the same state twice changes nothing but the three counters.
// Method: a random state folded with itself.
func TestFoldingIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stateOf.Draw(t, "state")
		once := s.appendTo(nil)
		again, err := readState(once)
		if err != nil {
			t.Fatal(err)
		}
		twice, _ := readState(once)
		twice.fold(again)
		twice.views, twice.events, twice.visits = s.views, s.events, s.visits
		if got := twice.appendTo(nil); !bytes.Equal(got, once) {
			t.Fatalf("twice %x\nonce  %x", got, once)
		}
		c := setOf.Draw(t, "change")
		raw := c.appendTo(nil)
		got, err := readSet(foldInOrder(setKey(nil, 1, setLive, 0), [][]byte{raw, raw}))
		if err != nil || !sameSet(got.add, c.add) || !sameSet(got.drop, c.drop) {
			t.Fatalf("a change made twice is %v, %v; want %v", got, err, c)
		}
	})
}

// Goal: what is encoded decodes to the same.
// Method: random states, changes and roll-ups, there and back.
func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stateOf.Draw(t, "state")
		got, err := readState(s.appendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		// A list that is empty may come back as none.
		for _, x := range []*state{s, got} {
			if len(x.days) == 0 {
				x.days = nil
			}
			for i := range x.former {
				if len(x.former[i].days) == 0 {
					x.former[i].days = nil
				}
			}
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("got  %+v\nwant %+v", got, s)
		}
		c := countsGen.Draw(t, "counts")
		if got, err := readCounts(c.appendTo(nil)); err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("got %+v, %v; want %+v", got, err, c)
		}
		ch := setOf.Draw(t, "change")
		if got, err := readSet(ch.appendTo(nil)); err != nil || !sameSet(got.add, ch.add) || !sameSet(got.drop, ch.drop) {
			t.Fatalf("got %+v, %v; want %+v", got, err, ch)
		}
	})
}

// Goal: an operand that cannot be read never fails a merge, is kept byte for
// byte through further merges, and is reported by Check, in every kind of value.
// Method: rubbish is written behind good values, compacted, and looked for.
func TestUnreadableOperandIsKeptAndReported(t *testing.T) {
	for _, rubbish := range []string{"rubbish", "\x02\x00later", "\x01\x00\xff", "\x01", ""} {
		for _, what := range []string{"profile", "set", "activity", "roll-up"} {
			t.Run(strings.TrimSpace(what), func(t *testing.T) {
				c := newClock()
				s, err := Open(testOptions(t, vfs.NewMem(), c))
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				app := newApp(t, s, "shop", "UTC")
				h := write(t, s, page(app, c, "visitor1", 1))[0]
				check(t, s)
				key := map[string][]byte{
					"profile": profileKey(nil, app.ID, h.Profile), "set": setKey(nil, app.ID, setLive, 0),
					"activity": activityKey(nil, app.ID, h.Day, activityVisitor, 0),
				}[what]
				if what == "roll-up" {
					if err := scan(s.db, key1(nil, prefixCount, app.ID), func(k, _ []byte) error { key = bytes.Clone(k); return nil }); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.db.Merge(key, []byte(rubbish), nil); err != nil {
					t.Fatal(err)
				}
				if err := s.db.Flush(); err != nil {
					t.Fatal(err)
				}
				write(t, s, page(app, c, "visitor1", 2), page(app, c, "visitor2", 3))
				if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
					t.Fatal(err)
				}
				if err := get(s.db, key, func(v []byte) error {
					if !bytes.Contains(v, []byte(rubbish)) {
						t.Errorf("it is gone from %x", v)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				r, err := s.Check(nil)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.Contains(p, "unknown format") }) {
					t.Errorf("Check says nothing of it: %q", r.Problems)
				}
				if n, err := s.ProfileCount(app.ID); err != nil || n != 2 {
					t.Errorf("%d profiles, %v; want 2", n, err)
				}
			})
		}
	}
}

// Goal: the merger cannot delete: one that can crashes Pebble's compactions.
// Method: its type is asked; so is its name, which is stored.
func TestMergerNeverDeletes(t *testing.T) {
	for _, prefix := range appPrefixes {
		m, err := merger.Merge([]byte{prefix}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, can := m.(pebble.DeletableValueMerger); can {
			t.Errorf("the merger of %q can delete", prefix)
		}
		if _, has := reflect.TypeOf(m).MethodByName("DeletableFinish"); has {
			t.Errorf("the merger of %q has DeletableFinish", prefix)
		}
	}
	if merger.Name != "spoor.1" {
		t.Errorf("the merger is called %q: no existing store will open", merger.Name)
	}
}
