package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// model is the store in its simplest form: maps and slices, no days, no
// bitmaps, no caches. It repeats the rules of identity, visits and
// de-duplication in the words of FORMAT.md.
type model struct {
	zone   *time.Location
	window int
	sealed spoor.Day
	seen   map[string]int64 // event id → time of receipt
	keys   map[string]*body
	users  map[string]*body
	bodies []*body
	loose  []*spoor.Hit // hits of nobody
}

// body is a person or device.
type body struct {
	user, email string
	emailAt     int64
	hits        []*spoor.Hit // own and merged
	own         []*spoor.Hit // of its own number
	visit       visit
	visits      int
	merged      bool
	around      [3]telling // place, device, language
}

// telling is what the latest hit told of an aspect.
type telling struct {
	at    int64
	place spoor.Place
	agent spoor.Agent
	text  string
}

func (b *body) listen(h *spoor.Hit) {
	for i, t := range [3]telling{{at: h.Time, place: h.Place}, {at: h.Time, agent: h.Agent}, {at: h.Time, text: h.Language}} {
		if t != (telling{at: h.Time}) && h.Time >= b.around[i].at {
			b.around[i] = t
		}
	}
}

func (m *model) day(ms int64) spoor.Day { return spoor.DayOf(time.UnixMilli(ms), m.zone) }

func (m *model) hit(in spoor.Hit) (spoor.Outcome, *spoor.Hit) {
	h := &in
	if h.Time == 0 {
		h.Time = h.Received
	}
	h.Time = min(h.Time, h.Received)
	if d := m.day(h.Received) - spoor.Day(m.window) - 1; d > m.sealed {
		m.sealed = d
	}
	if h.Day = m.day(h.Time); h.Day <= m.sealed {
		h.Day, h.Marks = m.sealed+1, spoor.MarkLate
	}
	reach := weekOf(h.Received) - 1
	if h.Marks&spoor.MarkLate == 0 {
		reach = min(reach, weekOf(h.Time))
	}
	if at, ok := m.seen[h.ID]; ok && weekOf(at) >= reach {
		return spoor.Duplicate, nil
	}
	var b *body
	if !h.Bot {
		if b = m.resolve(h); b == nil && needsPerson(h.Kind) {
			return spoor.Refused, nil
		}
	}
	m.seen[h.ID] = h.Received
	if b == nil {
		m.loose = append(m.loose, h)
		return spoor.Stored, h
	}
	if h.Kind.Counts().Visitor || h.Kind == spoor.KindLeave {
		m.visit(b, h)
		m.tally(b, h)
	}
	b.listen(h)
	for _, a := range h.Attributes {
		if a.Name == spoor.AttrEmail && h.Time >= b.emailAt {
			b.email, b.emailAt = a.Text, h.Time
		}
	}
	b.hits = append(b.hits, h)
	b.own = append(b.own, h)
	return spoor.Stored, h
}

func (m *model) resolve(h *spoor.Hit) *body {
	cur, known := m.keys[h.Key], m.users[h.UserID]
	if h.Key == "" {
		cur = nil
	}
	switch {
	case h.UserID == "" && h.Key == "":
		return nil
	case h.UserID == "" && cur != nil:
		return cur
	case h.UserID == "":
		known = m.born()
	case known == nil && cur != nil && cur.user == "":
		known = cur
		known.user = h.UserID
		m.users[h.UserID] = known
	case known == nil:
		known = m.born()
		known.user = h.UserID
		m.users[h.UserID] = known
	case cur != nil && cur != known && cur.user == "":
		m.merge(known, cur)
	}
	if h.Key != "" {
		m.keys[h.Key] = known
	}
	return known
}

func (m *model) born() *body {
	b := new(body)
	m.bodies = append(m.bodies, b)
	return b
}

func (m *model) merge(into, from *body) {
	into.hits = append(into.hits, from.hits...)
	into.visits += from.visits
	if from.visit.last > into.visit.last || from.visit.last == into.visit.last && from.visit.start > into.visit.start {
		into.visit = from.visit
	}
	if from.emailAt > into.emailAt {
		into.email, into.emailAt = from.email, from.emailAt
	}
	for i, t := range from.around {
		if t.at > into.around[i].at {
			into.around[i] = t
		}
	}
	from.merged = true
	for k, b := range m.keys {
		if b == from {
			m.keys[k] = into
		}
	}
}

// visit finds the visit of a hit: the newest one, else that of the earliest
// hit within the gap that is filed under the same day or the day before.
func (m *model) visit(b *body, h *spoor.Hit) {
	const gap = 30 * 60 * 1000
	switch v := &b.visit; {
	case v.last != 0 && h.Time > v.start-gap && h.Time < v.last+gap:
		h.Visit, v.last = v.start, max(v.last, h.Time)
		return
	case h.Kind == spoor.KindLeave && h.Time >= v.last:
		return
	case v.last == 0 || h.Time >= v.last:
		h.Visit, h.First, *v = h.Time, true, visit{start: h.Time, last: h.Time}
	default:
		var near *spoor.Hit
		for _, o := range b.own {
			if o.Visit != 0 && (o.Day == h.Day || o.Day == h.Day-1) && o.Time > h.Time-gap && o.Time < h.Time+gap {
				if near == nil || o.Time < near.Time || o.Time == near.Time && o.Visit < near.Visit {
					near = o
				}
			}
		}
		if near != nil {
			h.Visit = near.Visit
			return
		}
		if h.Kind == spoor.KindLeave {
			return
		}
		h.Visit, h.First = h.Time, true
	}
	b.visits++
}

// tally looks through all hits of the visit, each time anew.
func (m *model) tally(b *body, h *spoor.Hit) {
	if h.Visit == 0 {
		return
	}
	t, k := &h.Tally, h.Kind.Counts()
	first, last, engaged, left := h.Visit, h.Visit, false, int64(-1)
	t.New = h.First && !slices.ContainsFunc(b.hits, func(o *spoor.Hit) bool { return o.First })
	var view *spoor.Hit
	for _, o := range b.hits {
		if o.Visit != h.Visit {
			continue
		}
		first, last, engaged = min(first, o.Time), max(last, o.Time), engaged || o.Tally.Engaged
		if o.Kind == spoor.KindLeave && o.Tally.Timed {
			left = max(left, o.Time-o.Tally.Since)
		}
		if o.Kind == spoor.KindPage && !o.Tally.Aside && (view == nil || o.Day > view.Day || o.Day == view.Day && o.Time > view.Time) {
			view = o
		}
	}
	t.Gap = max(0, h.Time-last, first-h.Time)
	t.Engaged = (k.View || k.Event) && !engaged && h.Time != h.Visit
	switch {
	case view == nil || view.Day < h.Day:
	case k.View && (view.Day > h.Day || h.Time <= view.Time):
		t.Aside = true
	case view.Day > h.Day:
	case k.View:
		t.Since, t.Timed = h.Time-view.Time, left != view.Time
	case h.Kind == spoor.KindLeave && h.Time > view.Time && left != view.Time:
		t.Since, t.Timed = h.Time-view.Time, true
	}
}

// TestAgainstModel runs random requests against the store and the model, in
// three time zones, with restarts in between, and compares all that they hold.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Warsaw", "Asia/Kolkata"}).Draw(rt, "zone")
		c.now = rapid.SampledFrom([]time.Time{
			time.Date(2026, 3, 28, 22, 40, 0, 0, time.UTC), // the night Warsaw loses an hour
			time.Date(2026, 10, 24, 23, 10, 0, 0, time.UTC),
			time.Date(2026, 6, 1, 18, 0, 0, 0, time.UTC),
		}).Draw(rt, "start")
		o := testOptions(t, vfs.NewMem(), c)
		o.CacheEntries = rapid.SampledFrom([]int{1, 4, 1000}).Draw(rt, "cache")
		o.putOffFrom = rapid.SampledFrom([]int{1, 4, 32}).Draw(rt, "put off")
		o.rowNamesMax = rapid.SampledFrom([]int{1, 1000}).Draw(rt, "names of views")
		s, err := Open(o)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { s.Close() }()
		app := newApp(t, s, "shop", zone)
		loc, _ := time.LoadLocation(zone)
		m := &model{zone: loc, window: app.Settings.WindowDays, seen: map[string]int64{}, keys: map[string]*body{}, users: map[string]*body{}}
		m.sealed = m.day(c.ms()) - spoor.Day(m.window) - 1
		told := map[int64]bool{} // times of hits that tell of surroundings: at one time the order in which profiles merge would count
		for range rapid.IntRange(1, 30).Draw(rt, "requests") {
			c.add(time.Duration(rapid.SampledFrom([]int{0, 1, 400, 29 * 60, 31 * 60, 7 * 3600, 30 * 3600, 9 * 86400}).Draw(rt, "pause")) * time.Second)
			hits := rapid.SliceOfN(hitOf(app, c), 1, 6).Draw(rt, "hits")
			want := make([]spoor.Outcome, len(hits))
			for i := range hits {
				h := &hits[i]
				if told[h.Time] || h.Time == 0 || h.Time > h.Received {
					h.Place, h.Agent, h.Language = spoor.Place{}, spoor.Agent{}, ""
				}
				told[h.Time] = true
				want[i], _ = m.hit(*h)
			}
			if err := s.Write(hits); err != nil {
				rt.Fatal(err)
			}
			for i := range hits {
				if hits[i].Outcome != want[i] {
					rt.Fatalf("hit %d of %+v: %v, want %v", i, hits[i], hits[i].Outcome, want[i])
				}
			}
			if rapid.IntRange(0, 5).Draw(rt, "restart") == 0 {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = Open(o); err != nil {
					rt.Fatal(err)
				}
			}
		}
		compare(rt, s, app, m)
		r, err := s.Check(nil)
		if err != nil || r.Found > 0 {
			rt.Fatalf("check: %v %v", err, r.Problems)
		}
	})
}

// hitOf makes hits that collide: few keys, few users, few ids.
func hitOf(app *spoor.App, c *clock) *rapid.Generator[spoor.Hit] {
	return rapid.Custom(func(t *rapid.T) spoor.Hit {
		h := spoor.Hit{App: app.ID, Received: c.ms(), Door: spoor.DoorNative}
		h.Kind = rapid.SampledFrom([]spoor.Kind{spoor.KindPage, spoor.KindPage, spoor.KindEvent, spoor.KindIdentify, spoor.KindMailOpen, spoor.KindServerEvent, spoor.KindLeave}).Draw(t, "kind")
		h.Key = rapid.SampledFrom([]string{"", "k1", "k2", "k3", "k4"}).Draw(t, "key")
		h.UserID = rapid.SampledFrom([]string{"", "", "u1", "u2", "u3"}).Draw(t, "user")
		h.ID = fmt.Sprint("e", rapid.IntRange(0, 60).Draw(t, "id"))
		h.Bot = rapid.IntRange(0, 15).Draw(t, "bot") == 0
		if ago := rapid.SampledFrom([]int{-1, 0, 60, 20 * 60, 40 * 60, 2 * 3600, 26 * 3600, 20 * 86400, -86400}).Draw(t, "ago"); ago != -1 {
			h.Time = h.Received - int64(ago)*1000 - rapid.Int64Range(0, 999).Draw(t, "ms")
		}
		if rapid.IntRange(0, 4).Draw(t, "mail") == 0 {
			h.Attributes = []spoor.Attribute{{Name: spoor.AttrEmail, Type: spoor.TypeString, Text: rapid.SampledFrom([]string{"a@x.example", "b@x.example"}).Draw(t, "address")}}
		}
		h.URL = "https://shop.example/" + h.ID
		h.Place = rapid.SampledFrom([]spoor.Place{{}, {City: "Warsaw", Region: "Mazovia", Country: "PL"}, {City: "Riga", Country: "LV"}, {Country: "PL"}}).Draw(t, "place")
		h.Agent = rapid.SampledFrom([]spoor.Agent{{}, {OS: "iOS", OSVersion: "18", Device: "mobile"}, {OS: "Linux", Browser: "Firefox"}}).Draw(t, "agent")
		h.Language = rapid.SampledFrom([]string{"", "pl", "en"}).Draw(t, "language")
		return h
	})
}

// compare holds the store's profiles and hits against the model's.
func compare(t *rapid.T, s *Store, app *spoor.App, m *model) {
	living := 0
	for i, b := range m.bodies {
		if b.merged {
			continue
		}
		living++
		p, err := s.Profile(app.ID, spoor.Number(i+1))
		if err != nil || p == nil {
			t.Fatalf("profile %d: %v, %v", i+1, p, err)
		}
		var keys []string
		for k, o := range m.keys {
			if o == b {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		have := slices.Clone(p.Keys)
		slices.Sort(have)
		if p.UserID != b.user || !slices.Equal(have, keys) {
			t.Fatalf("profile %d: user %q keys %v, want %q %v", i+1, p.UserID, have, b.user, keys)
		}
		if p.Visits != int64(b.visits) {
			t.Fatalf("profile %d: %d visits, want %d", i+1, p.Visits, b.visits)
		}
		around := [3]telling{
			{place: spoor.Place{City: p.Text(spoor.AttrCity), Region: p.Text(spoor.AttrRegion), Country: p.Text(spoor.AttrCountry)}},
			{agent: spoor.Agent{OS: p.Text(spoor.AttrOS), OSVersion: p.Text(spoor.AttrOSVersion), Browser: p.Text(spoor.AttrBrowser), Device: p.Text(spoor.AttrDevice)}},
			{text: p.Text(spoor.AttrLanguage)},
		}
		for k, t := range b.around {
			around[k].at = t.at
		}
		if around != b.around {
			t.Fatalf("profile %d: surroundings %v, want %v", i+1, around, b.around)
		}
		var got, want []string
		if err := s.Hits(app.ID, p.Number, func(h *spoor.Hit) error { got = append(got, line(h)); return nil }); err != nil {
			t.Fatal(err)
		}
		for _, h := range b.hits {
			want = append(want, line(h))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("profile %d: hits\n%v\nwant\n%v", i+1, got, want)
		}
		if b.user != "" {
			if n, err := s.Find(app.ID, spoor.LookupUserID, b.user); err != nil || len(n) != 1 || n[0] != p.Number {
				t.Fatalf("user %q leads to %v, %v; want %d", b.user, n, err, p.Number)
			}
		}
	}
	if n, err := s.ProfileCount(app.ID); err != nil || n != int64(living) {
		t.Fatalf("%d living profiles, %v; want %d", n, err, living)
	}
	loose := 0
	if err := s.ScanHits(app.ID, -100000, 100000, func(h *spoor.Hit) error {
		if h.Profile == 0 {
			loose++
		}
		return nil
	}); err != nil || loose != len(m.loose) {
		t.Fatalf("%d hits of nobody, %v; want %d", loose, err, len(m.loose))
	}
}

func line(h *spoor.Hit) string {
	h.Tally.From = "" // the model has no numbers
	return fmt.Sprint(h.ID, " ", h.Kind, " ", h.Day, " ", h.Time, " visit ", h.Visit, h.First, " ", h.Marks&spoor.MarkLate, h.Tally)
}
