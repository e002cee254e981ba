package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// lookout is a town whose app keeps a feed, and somebody who follows it.
type lookout struct {
	*town
	behind *follower
	read   uint64
	names  map[int64]string
}

func newLookout(t testing.TB) *lookout {
	w := newTown(t, func(s *spoor.Settings) { s.FeedDays = 7 })
	return &lookout{town: w, behind: &follower{s: w.s, app: w.app.ID}, names: map[int64]string{}}
}

func (w *lookout) watch(name, filter string) spoor.Collection {
	w.Helper()
	return w.put(spoor.Collection{Kind: spoor.CollectionSegment, Name: name, Filter: parsed(w.TB, filter), Watched: true})
}

// named is who came with a key, under the name that expect uses.
func (w *lookout) named(name string, n spoor.Number) spoor.Number {
	w.Helper()
	w.names[w.profile(n).ID] = name
	return n
}

// expect lets the segments be looked at, as often as that tells anything, and
// compares what the feed tells of them since the last time.
func (w *lookout) expect(want ...string) {
	w.Helper()
	for range 3 { // the second and third must tell nothing
		if err := w.behind.look(context.Background()); err != nil {
			w.Fatal(err)
		}
	}
	got := []string{}
	next, err := w.s.Feed(w.app.ID, w.read, func(e *spoor.FeedEntry) error {
		switch e.Kind {
		case spoor.FeedEntered:
			got = append(got, w.names[e.Person]+" enters "+e.Of.Name)
		case spoor.FeedLeft:
			got = append(got, w.names[e.Person]+" leaves "+e.Of.Name)
		}
		return nil
	})
	w.read = next
	if slices.Sort(got); err != nil || !slices.Equal(got, append([]string{}, want...)) {
		w.Fatalf("the feed tells %q, %v; want %q", got, err, want)
	}
	check(w, w.s)
}

func (w *lookout) order(key string) spoor.Number {
	w.Helper()
	h := w.visit(key, "")
	h.Kind, h.Name = spoor.KindEvent, "order"
	w.c.add(time.Second)
	return write(w, w.s, h)[0].Profile
}

// Goal: whoever enters or leaves a watched segment is told of once, whether a
// hit, an edit, a tag, a changed filter or the calendar moves them; who was in it
// before watching began is not told of.
// Method: one after the other, with what the feed must tell.
func TestWatchedSegments(t *testing.T) {
	w := newLookout(t)
	plan := func(n spoor.Number, plan string) {
		t.Helper()
		w.must(w.edit(spoor.Edit{Number: n, Attributes: []spoor.Attribute{{Name: "plan", Type: spoor.TypeString, Text: plan}}}))
	}
	ann, bob := w.named("ann", w.come("ann", "")), w.named("bob", w.come("bob", ""))
	plan(ann, "pro")
	pro := w.watch("pro", `{"attribute":"plan","is":"pro"}`)
	w.watch("buyers", `{"event":"order","times":2,"days":30}`)
	w.watch("vips", `{"any":[{"tag":"vip"},{"tag":"dear"}]}`)
	w.expect()
	plan(bob, "pro")
	w.expect("bob enters pro")
	plan(bob, "pro")
	plan(bob, "free")
	w.expect("bob leaves pro")
	plan(ann, "free")
	plan(ann, "pro")
	w.expect()

	w.order("bob")
	w.expect()
	w.order("bob")
	w.order("bob")
	w.expect("bob enters buyers")
	w.must(w.edit(spoor.Edit{Number: ann, TagAdd: []string{"vip"}}))
	w.expect("ann enters vips")
	w.must(w.edit(spoor.Edit{Number: ann, TagDrop: []string{"vip"}}))
	w.expect("ann leaves vips")
	w.must(w.edit(spoor.Edit{Number: ann, TagAdd: []string{"vip"}}))
	w.expect("ann enters vips")
	if err := w.s.DeleteCollection(w.app.ID, spoor.CollectionTag, 1); err != nil {
		t.Fatal(err)
	}
	w.expect("ann leaves vips")
	w.must(w.edit(spoor.Edit{Number: bob, TagAdd: []string{"warm"}}))
	w.put(spoor.Collection{Kind: spoor.CollectionTag, ID: 2, Name: "dear"})
	w.expect("bob enters vips")

	w.c.add(29 * 24 * time.Hour)
	w.expect()
	w.c.add(24 * time.Hour)
	w.expect("bob leaves buyers")

	inner := w.put(spoor.Collection{Kind: spoor.CollectionSegment, Name: "inner", Filter: parsed(t, `{"attribute":"plan","is":"free"}`)})
	pro.Filter = parsed(t, fmt.Sprintf(`{"segment":%d}`, inner.ID))
	w.put(pro)
	w.expect("ann leaves pro", "bob enters pro")
	inner.Filter = parsed(t, `{"attribute":"plan","exists":true}`)
	w.put(inner)
	w.expect("ann enters pro")

	pro.Watched = false
	w.put(pro)
	plan(ann, "")
	w.expect()
	if in := w.bitmap(pro); !in.IsEmpty() {
		t.Errorf("a segment that is not watched any more has members %v", in)
	}
	pro.Watched = true
	w.put(pro)
	w.expect()
	if in := w.bitmap(pro); in.GetCardinality() != 2 {
		t.Errorf("a segment that is watched again has members %v", in)
	}
	if err := w.s.DeleteCollection(w.app.ID, spoor.CollectionSegment, pro.ID); err != nil {
		t.Fatal(err)
	}
	w.expect()
}

func (w *town) bitmap(c spoor.Collection) (in *roaring.Bitmap) {
	w.Helper()
	err := w.s.view(func(db *pebble.DB) (err error) {
		in, err = readChunks(db, membersKey(nil, w.app.ID, collectionRef{c.Kind, c.ID}))
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return in
}

// Goal: who is merged stays in the segments under the new name without a word,
// unless that moves them; who is erased, swept or restricted is out at once
// without a word; who comes back from a restriction enters.
// Method: one after the other, with what the feed tells and the bitmap holds.
func TestWatchedPersonsGo(t *testing.T) {
	w := newLookout(t)
	buyers := w.watch("buyers", `{"all":[{"event":"order"},{"not":{"attribute":"plan","is":"none"}}]}`)
	w.expect()
	holds := func(want ...spoor.Number) {
		t.Helper()
		in := roaring.New()
		for _, n := range want {
			in.Add(uint32(n))
		}
		if got := w.bitmap(buyers); !got.Equals(in) {
			t.Fatalf("%v are in the segment, want %v", got, in)
		}
	}
	ann := w.named("ann", w.come("a1", "ann"))
	device := w.named("device", w.order("a2"))
	other := w.named("other", w.order("a3"))
	w.expect("device enters buyers", "other enters buyers")
	w.come("a2", "ann") // the device is ann's
	holds(ann, other)
	w.expect()
	holds(ann, other)
	bob := w.named("bob", w.come("b1", "bob", spoor.Attribute{Name: "plan", Type: spoor.TypeString, Text: "none"}))
	w.come("a3", "bob") // bob's plan keeps him out
	holds(ann, bob)
	w.expect("bob leaves buyers")
	holds(ann)

	right := func(right spoor.Right, until spoor.Day) {
		t.Helper()
		must(w.s.SetRight(w.app.ID, ann, right, until))
	}
	right(spoor.RightRestrict, w.app.Day(w.c.ms())+1)
	holds()
	w.order("a1")
	w.expect()
	w.c.add(3 * 24 * time.Hour) // it has lapsed; what was done meanwhile does not count
	w.expect()
	w.order("a1")
	w.expect("ann enters buyers")
	w.c.add(30 * 24 * time.Hour) // the order's day is sealed: it goes on counting
	if _, _, err := w.s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	right(spoor.RightRestrict, w.app.Day(w.c.ms())+1)
	holds()
	w.expect()
	w.c.add(3 * 24 * time.Hour)
	w.expect("ann enters buyers")
	right(spoor.RightObject, spoor.Forever)
	holds()
	w.expect()
	right(spoor.RightObject, 0)
	w.expect("ann enters buyers")
	if _, err := w.s.Erase(w.app.ID, []spoor.Number{ann}, ""); err != nil {
		t.Fatal(err)
	}
	holds()
	w.expect()

	idle := w.named("idle", w.order("idle"))
	w.expect("idle enters buyers")
	w.c.add(70 * 24 * time.Hour)
	if _, _, err := w.s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	if sum, err := w.s.Remove(w.app.ID, []spoor.Number{idle}, 0, nil); err != nil || sum.Profiles != 1 {
		t.Fatal(sum, err)
	}
	holds()
	w.expect()
	if device == ann {
		t.Fatal("the device was ann's before")
	}
}

// Goal: what the writer decided after somebody was looked at is not overruled:
// who was erased, merged or restricted meanwhile does not get into the bitmap, and
// what was found of segments as they were before is not written.
// Method: the finding of a look is given to the writer after that has happened.
func TestWatchFindsTooLate(t *testing.T) {
	for what, change := range map[string]func(w *lookout, n spoor.Number, segment spoor.Collection){
		"erased": func(w *lookout, n spoor.Number, _ spoor.Collection) {
			must(w.s.Erase(w.app.ID, []spoor.Number{n}, ""))
		},
		"merged": func(w *lookout, _ spoor.Number, _ spoor.Collection) { w.come("b", "ann") },
		"restricted": func(w *lookout, n spoor.Number, _ spoor.Collection) {
			must(w.s.SetRight(w.app.ID, n, spoor.RightRestrict, spoor.Forever))
		},
		"objected": func(w *lookout, n spoor.Number, _ spoor.Collection) {
			must(w.s.SetRight(w.app.ID, n, spoor.RightObject, spoor.Forever))
		},
		"other filter": func(w *lookout, _ spoor.Number, segment spoor.Collection) {
			segment.Filter = parsed(w.TB, `{"tag":"nobody"}`)
			w.put(segment)
		},
		"unwatched": func(w *lookout, _ spoor.Number, segment spoor.Collection) {
			segment.Watched = false
			w.put(segment)
		},
		"watched again": func(w *lookout, _ spoor.Number, segment spoor.Collection) {
			segment.Watched = false
			w.put(segment)
			segment.Watched = true
			w.put(segment)
		},
		"deleted": func(w *lookout, _ spoor.Number, segment spoor.Collection) {
			if err := w.s.DeleteCollection(w.app.ID, spoor.CollectionSegment, segment.ID); err != nil {
				w.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newLookout(t)
			segment := w.watch("buyers", `{"event":"order"}`)
			w.come("a", "ann")
			w.expect()
			n := w.order("b")
			var was *watch
			err := w.s.view(func(db *pebble.DB) (err error) {
				was, err = readWatch(db, w.app.ID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			change(w, n, segment)
			found := []crossings{{segment: segment.ID, enter: roaring.BitmapOf(uint32(n)), leave: roaring.New()}}
			err = w.s.bulk(func(g *group) error { return g.cross(w.app.ID, was, found, nil, w.c.ms()) })
			if err != nil && !errors.Is(err, errWatchChanged) {
				t.Fatal(err)
			}
			if in := w.bitmap(segment); in.Contains(uint32(n)) {
				t.Error("who went is in the segment")
			}
		})
	}
}

// Goal: no more segments than 20 of an app are watched, and a refusal changes
// nothing; an app without a feed is not looked at until it has one.
// Method: 21 segments; then a feed that is switched off and on again.
func TestWatchBounds(t *testing.T) {
	w := newLookout(t)
	for i := range spoor.WatchedMax {
		w.watch(fmt.Sprint("s", i), `{"tag":"vip"}`)
	}
	_, err := w.s.PutCollection(w.app.ID, spoor.Collection{Kind: spoor.CollectionSegment, Name: "x", Filter: parsed(t, `{"tag":"vip"}`), Watched: true})
	w.refuses("one more", err)
	last := w.put(spoor.Collection{Kind: spoor.CollectionSegment, Name: "x", Filter: parsed(t, `{"tag":"vip"}`)})
	if last.ID != spoor.WatchedMax+1 {
		t.Errorf("the refused one took an id: the next is %d", last.ID)
	}
	last.Watched = true
	_, err = w.s.PutCollection(w.app.ID, last)
	w.refuses("one that was there", err)
	for id := uint32(2); id <= spoor.WatchedMax; id++ {
		if err := w.s.DeleteCollection(w.app.ID, spoor.CollectionSegment, id); err != nil {
			t.Fatal(err)
		}
	}
	w.expect()

	w.app = keepFeed(t, w.s, w.app, 0)
	ann := w.named("ann", w.come("ann", ""))
	w.must(w.edit(spoor.Edit{Number: ann, TagAdd: []string{"vip"}}))
	w.expect()
	w.app = keepFeed(t, w.s, w.app, 7)
	w.read = 2 // the numbers that were left out
	w.expect("ann enters s0")
}

// Goal: a segment of many people is filled and told of in portions that do not
// keep the writer, and all of it is told.
// Method: more people than go into one request.
func TestWatchedSegmentIsLarge(t *testing.T) {
	w := newLookout(t)
	const people = 2*watchSlice + watchFewMax
	for i := 0; i < people; i += 1000 {
		var hits []spoor.Hit
		for j := i; j < min(i+1000, people); j++ {
			hits = append(hits, w.visit(fmt.Sprint("k", j), ""))
		}
		write(t, w.s, hits...)
	}
	all := w.watch("all", `{"attribute":"page_views","more":0}`)
	w.expect()
	if n := w.bitmap(all).GetCardinality(); n != people {
		t.Fatalf("%d are in it, want %d", n, people)
	}
	all.Filter = parsed(t, `{"attribute":"page_views","more":1}`)
	w.put(all)
	want := slices.Repeat([]string{" leaves all"}, people)
	w.expect(want...)
}

// Goal: wherever the machine stops, each crossing is told once, and nobody's is
// missed.
// Method: hits move people while a follower runs; copies are taken as a
// crash would leave the disk. In each, looked at until there is no more to tell,
// the crossings of a person alternate and end with what the segment says.
func TestWatchSurvivesCrashes(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newClock()
	mem := vfs.NewCrashableMem()
	var app *spoor.App
	for life := range 6 {
		fs := newCrashFS(mem)
		s, err := Open(testOptions(t, fs, c))
		if err != nil {
			t.Fatal(err)
		}
		if app == nil {
			app = followed(t, s, newApp(t, s, "shop", "UTC"))
			for _, filter := range []string{`{"attribute":"plan","is":"pro"}`, `{"event":"order","times":2,"days":3}`} {
				must(s.PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionSegment, Name: filter, Filter: parsed(t, filter), Watched: true}))
			}
			if err := (&follower{s: s, app: app.ID}).look(context.Background()); err != nil { // nobody is in them yet
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { s.Watch(ctx) })
		running.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(life)))
			for n := 0; ctx.Err() == nil; n++ {
				h := page(app, c, fmt.Sprint("v", r.IntN(8)), 0)
				h.ID = fmt.Sprint(life, "-", n)
				h.Attributes = []spoor.Attribute{{Name: "plan", Type: spoor.TypeString, Text: []string{"pro", "free"}[r.IntN(2)]}}
				if r.IntN(3) == 0 {
					h.Kind, h.Name = spoor.KindEvent, "order"
				}
				write(t, s, h)
				c.add(time.Duration(r.IntN(20)) * time.Minute)
			}
		})
		var copies []*vfs.MemFS
		for range 6 {
			target := s.stats.groups.Load() + 1 + rng.Int64N(200)
			eventually(t, "the store has worked", func() bool { return s.stats.groups.Load() >= target })
			copies = append(copies, fs.crash([]int{0, 50, 100}[rng.IntN(3)], rng.Uint64()))
		}
		stop()
		running.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, mem = range copies {
			alternates(t, mem, c, app)
		}
	}
}

func alternates(t *testing.T, copied *vfs.MemFS, c *clock, app *spoor.App) {
	t.Helper()
	s, err := Open(testOptions(t, copied.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))}), c))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		check(t, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	f := &follower{s: s, app: app.ID}
	for range 2 {
		if err := f.look(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	in := map[string]bool{}
	last := uint64(0)
	_, err = s.Feed(app.ID, 0, func(e *spoor.FeedEntry) error {
		if e.Number <= last {
			t.Errorf("entry %d comes behind %d", e.Number, last)
		}
		if last = e.Number; e.Kind == spoor.FeedEntered || e.Kind == spoor.FeedLeft {
			who := fmt.Sprint(e.Of.ID, " ", e.Person)
			if in[who] == (e.Kind == spoor.FeedEntered) {
				t.Errorf("entry %d is told twice: %s", e.Number, sketch(e))
			}
			in[who] = e.Kind == spoor.FeedEntered
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	segments, err := s.Collections(app.ID, spoor.CollectionSegment)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range segments {
		must(s.Members(app.ID, &x, 0, func(p *spoor.Profile) error {
			who := fmt.Sprint(x.ID, " ", p.ID)
			if !in[who] {
				t.Errorf("nobody told that %s is in", who)
			}
			delete(in, who)
			return nil
		}))
	}
	for who, still := range in {
		if still {
			t.Errorf("nobody told that %s is out", who)
		}
	}
}

// Goal: whoever follows the feed knows who is in the watched segments, whatever
// happens to people, filters, tags, rights and the store itself; and each
// crossing is told once.
// Method: random things happen; now and then the segments are looked at and the
// feed is read into sets. What says that somebody enters who is in, or leaves who
// is out, fails, and the sets must be what the segments are from scratch.
func TestWatchedSegmentsAgainstEvaluation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		s, app := peopleOfSegments(t, c)
		defer func() { s.Close() }()
		must(s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.FeedDays = 7; return nil }))
		r := &recipient{follower: &follower{s: s, app: app.ID}, app: app, in: map[uint32]map[int64]bool{}, skip: map[uint32]bool{}}
		for i, x := range must(s.Collections(app.ID, spoor.CollectionSegment)) {
			x.Watched = i == 1
			r.skip[must(s.PutCollection(app.ID, x)).ID] = true
		}
		for n := range rapid.IntRange(5, 60).Draw(t, "things") {
			switch rapid.IntRange(0, 15).Draw(t, "watching") {
			case 0:
				text, _ := json.Marshal(filterOf(2).Draw(t, "filter"))
				x := spoor.Collection{Kind: spoor.CollectionSegment, Name: "x", Filter: parsed(t, string(text)), Watched: true}
				x.ID = rapid.SampledFrom([]uint32{0, 2, 3}).Draw(t, "id")
				old := must(s.Collection(app.ID, x.Kind, x.ID))
				if old == nil {
					x.ID = 0
				}
				x, err := s.PutCollection(app.ID, x)
				if refused := (*spoor.CollectionError)(nil); errors.As(err, &refused) {
					break // it would name itself
				} else if err != nil {
					t.Fatal(err)
				}
				r.skip[x.ID] = r.skip[x.ID] || !watched(old)
			case 1:
				x := must(s.Collection(app.ID, spoor.CollectionSegment, 2))
				x.Watched = !x.Watched
				must(s.PutCollection(app.ID, *x))
				r.skip[2] = true
			case 2:
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				age, tuned := s.selections.age, s.selections.tuning
				s = must(Open(s.opts))
				s.selections.age, s.selections.tuning = age, tuned
				r.follower = &follower{s: s, app: app.ID}
			default:
				somethingHappens(t, s, app, c, n)
			}
			if rapid.IntRange(0, 3).Draw(t, "look") == 0 {
				r.compare(t)
			}
		}
		r.compare(t)
		if r, err := s.Check(nil); err != nil || r.Found > 0 {
			t.Fatalf("check: %v %v", err, r.Problems)
		}
	})
}

// recipient keeps the members of segments by what the feed tells.
type recipient struct {
	*follower
	app  *spoor.App
	read uint64
	in   map[uint32]map[int64]bool // by segment and public id
	skip map[uint32]bool           // watching begins: who is in it is not told
}

func (r *recipient) compare(t *rapid.T) {
	if err := r.look(context.Background()); err != nil {
		t.Fatal(err)
	}
	var err error
	r.read, err = r.s.Feed(r.app.ID, r.read, func(e *spoor.FeedEntry) error {
		switch {
		case e.Kind == spoor.FeedRight && strings.HasSuffix(e.What, ".set"):
			for _, in := range r.in {
				delete(in, e.Person)
			}
		case e.Kind == spoor.FeedMerge:
			for _, in := range r.in {
				if former := e.Gone[0]; in[former] {
					delete(in, former)
					in[e.Person] = true
				}
			}
		case e.Kind == spoor.FeedEntered || e.Kind == spoor.FeedLeft:
			if r.skip[e.Of.ID] {
				break
			}
			if in := r.in[e.Of.ID]; in[e.Person] == (e.Kind == spoor.FeedEntered) {
				t.Fatalf("%s: twice", sketch(e))
			}
			r.in[e.Of.ID][e.Person] = e.Kind == spoor.FeedEntered
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.forget()
	for _, x := range must(r.s.Collections(r.app.ID, spoor.CollectionSegment)) {
		want := map[int64]bool{}
		must(r.s.Members(r.app.ID, &x, 0, func(p *spoor.Profile) error { want[p.ID] = true; return nil }))
		if r.skip[x.ID] {
			r.in[x.ID] = want
		}
		for id, in := range r.in[x.ID] {
			if !in {
				delete(r.in[x.ID], id)
			}
		}
		if got := r.in[x.ID]; x.Watched && !maps.Equal(got, want) {
			t.Fatalf("segment %d %s: by the feed %v, by the filter %v", x.ID, x.Filter.JSON(), got, want)
		}
	}
	clear(r.skip)
}

// forget is what a recipient does about who is gone or left out by now. A merge
// into somebody who is left out is not told.
func (r *recipient) forget() {
	today := r.app.Day(r.s.opts.Now().UnixMilli())
	for _, in := range r.in {
		for id := range in {
			if p := must(r.s.ProfileByID(r.app.ID, id)); p == nil || p.Rights.Uncounted(today) {
				delete(in, id)
			}
		}
	}
}

// Goal: a follower that runs learns by itself what begins to be watched, in
// whichever app, and of whoever enters.
// Method: it is started on an empty store; only the feeds are read.
func TestWatchWakes(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Watch(ctx) })
	t.Cleanup(func() { stop(); running.Wait() }) // before the store is closed
	for _, name := range []string{"shop", "other"} {
		app := followed(t, s, newApp(t, s, name, "UTC"))
		write(t, s, page(app, c, "early", 1))
		must(s.PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionSegment, Name: "all", Filter: parsed(t, `{"path":"/p1"}`), Watched: true}))
		eventually(t, "it is filled", func() bool {
			var w *watch
			err := s.view(func(db *pebble.DB) (err error) { w, err = readWatch(db, app.ID); return err })
			return err == nil && w.segments[0].filled
		})
		h := write(t, s, page(app, c, "late", 1))[0]
		want := fmt.Sprintf("segment.entered all %d", s.PublicID(app.ID, h.Profile))
		eventually(t, "somebody enters", func() bool {
			list, _ := readAll(t, s, app, 0)
			return list[len(list)-1] == want
		})
	}
}
