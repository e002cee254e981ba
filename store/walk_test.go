package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

// anyHit makes hits that use every dimension.
func anyHit(app *spoor.App) *rapid.Generator[spoor.Hit] {
	return rapid.Custom(func(t *rapid.T) spoor.Hit {
		text := func(name string, some ...string) string {
			return rapid.SampledFrom(append(some, "", "x", string(make([]byte, 300)))).Draw(t, name)
		}
		h := spoor.Hit{App: app.ID, Day: 20500, Profile: spoor.Number(rapid.IntRange(0, 3).Draw(t, "profile")), Time: 20500*86400_000 + rapid.Int64Range(0, 86399_999).Draw(t, "time")}
		h.Kind = spoor.Kind(rapid.IntRange(1, int(spoor.KindLeave)).Draw(t, "kind"))
		h.Name, h.Title = text("name", "outbound", "download"), text("title")
		h.URL, h.Referrer = text("url", "https://a.example/b?c=d", "https://a.example"), text("referrer", "https://r.example:8080/")
		h.Resolution, h.Language = text("resolution"), text("language")
		h.Properties = []byte(rapid.SampledFrom([]string{
			"", `{}`, `{"variant":"a"}`, `{"variant":"a","experiment":"e"}`, `{"url":"https://to.example","plan":"pro"}`, `{"plan":7.50,"url":""}`, `{"plan":true}`, `{"plan":{"a":1}}`, `{"plan":`,
		}).Draw(t, "properties"))
		h.Place = spoor.Place{City: text("city"), Region: text("region"), Country: text("country")}
		h.Agent = spoor.Agent{OS: text("os"), Browser: text("browser"), Device: text("device")}
		h.Campaign = spoor.Campaign{Channel: text("channel"), Source: text("source"), Medium: text("medium"), Name: text("campaign"), Term: text("term"), Content: text("content")}
		if rapid.Bool().Draw(t, "visit") {
			h.Visit = h.Time - rapid.Int64Range(0, 5000).Draw(t, "into")
			h.First = h.Visit == h.Time
		}
		h.Tally = spoor.Tally{New: rapid.Bool().Draw(t, "new"), Timed: rapid.Bool().Draw(t, "timed"), Gap: rapid.Int64Range(0, 9).Draw(t, "gap")}
		return h
	})
}

// Goal: a filter finds a hit under the text under which roll-ups count it, and
// what is decoded for a dimension suffices for that.
// Method: random hits of all kinds; the rows that rollUp names.
func TestTextsAreThoseOfRows(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "Asia/Kolkata")
	rapid.Check(t, func(rt *rapid.T) {
		h := anyHit(app).Draw(rt, "hit")
		rows := map[spoor.Dimension][]string{}
		new(addends).rollUp(app, []string{"plan"}, &h, rowKey{}, func(key rowKey, _ *counts, _ bool) {
			rows[key.dim] = append(rows[key.dim], key.text)
		})
		key := hitKey(nil, app.ID, h.Day, h.Profile, h.Time, hash{})
		value := appendHit(nil, &h)
		for dim := spoor.DimHour; dim <= spoor.DimProperty; dim++ {
			var sparse spoor.Hit
			if err := readSparse(key, value, tagsAlways|tagsOf(dim), &sparse); err != nil {
				rt.Fatal(err)
			}
			if sparse.Kind != h.Kind || sparse.Visit != h.Visit || sparse.First != h.First || sparse.Tally != h.Tally || sparse.Time != h.Time || sparse.Profile != h.Profile {
				rt.Fatalf("decoded %+v, want %+v", sparse, h)
			}
			text := textOf(app, &sparse, dim, "plan")
			if dim == spoor.DimProperty && text != "" {
				text = "plan=" + text
			}
			if want := rows[dim]; len(want) > 1 || len(want) == 0 && text != "" || len(want) == 1 && text != want[0] {
				rt.Fatalf("%s of %+v is %q, want %q", dim, h, text, want)
			}
		}
	})
}

// Goal: a damaged hit is an error, whatever is decoded of it.
// Method: values cut short and with bits turned over.
func FuzzReadSparse(f *testing.F) {
	h := spoor.Hit{Kind: spoor.KindPage, URL: "https://a.example/", Title: "t", Time: 5, Visit: 3, Tally: spoor.Tally{Gap: 2, Since: 3, From: "\x02/x"}}
	key := hitKey(nil, 1, 2, 3, 5, hash{})
	f.Add(appendHit(nil, &h))
	f.Add(appendHit(nil, &h)[:9])
	f.Add(protowire.AppendVarint(appendHeader(nil), 1<<34)) // a tag that is none
	f.Fuzz(func(t *testing.T, value []byte) {
		var some spoor.Hit
		err := readSparse(key, value, ^tagSet(0), &some)
		all, whole := readHit(key, value)
		if (err == nil) != (whole == nil) {
			t.Fatalf("sparse: %v, whole: %v", err, whole)
		}
		if err == nil && (some.URL != all.URL || some.Visit != all.Visit || some.Tally != all.Tally || some.Kind != all.Kind) {
			t.Fatalf("sparse %+v, whole %+v", some, all)
		}
	})
}

// Goal: a walk over some profiles meets all of their hits, each once, in its
// order, also where days are cut in stretches, and no others.
// Method: many profiles with some hits each; sets sparse and dense.
func TestWalkOfSome(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	var hits []spoor.Hit
	for i := range 3000 {
		hits = append(hits, page(app, c, fmt.Sprint("k", i%1500), i))
	}
	write(t, s, hits...)
	today := app.Day(c.ms())
	for _, step := range []int{1, 2, 3, 7, 100, 1499} {
		only := roaring.New()
		for n := 1; n <= 1500; n += step {
			only.Add(uint32(n))
		}
		err := s.read(app.ID, func(r *reading) error {
			days, err := r.days(today, today)
			if err != nil {
				return err
			}
			var met []uint32
			err = walkHits(r, days, func(*oneDay) (*roaring.Bitmap, error) { return only, nil }, 0, func(*oneDay) *metSum { return new(metSum) }, func(_ *oneDay, sum *metSum) error {
				met = append(met, sum.profiles...)
				return nil
			})
			want := slices.Sorted(slices.Values(append(only.ToArray(), only.ToArray()...)))
			if !slices.Equal(met, want) {
				t.Errorf("every %d: met %d hits, want %d", step, len(met), len(want))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

type metSum struct{ profiles []uint32 }

func (m *metSum) hit(h *spoor.Hit) { m.profiles = append(m.profiles, uint32(h.Profile)) }
