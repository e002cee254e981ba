package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// Goal: the set in which a scan of profiles marks standard names has room for all.
// Method: their number.
func TestNamesFitIntoASet(t *testing.T) {
	if len(registerNames) > 64 {
		t.Errorf("%d names", len(registerNames))
	}
}

// reference evaluates a filter for one person, from what Profile and Hits show and
// in the words of REST.md.
type reference struct {
	s     *Store
	app   *spoor.App
	today spoor.Day
}

func (v *reference) holds(t *rapid.T, f map[string]any, p *spoor.Profile, hits []spoor.Hit) bool {
	for _, joint := range []string{"all", "any"} {
		if parts, ok := f[joint].([]any); ok {
			for _, part := range parts {
				if v.holds(t, part.(map[string]any), p, hits) == (joint == "any") {
					return joint == "any"
				}
			}
			return joint == "all"
		}
	}
	if name, ok := f["attribute"].(string); ok {
		return v.attribute(f, name, p)
	}
	if part, ok := f["not"].(map[string]any); ok {
		return !v.holds(t, part, p, hits)
	}
	if name, ok := f["tag"].(string); ok {
		return slices.ContainsFunc(p.Collections, func(c spoor.Collection) bool { return c.Kind == spoor.CollectionTag && c.Name == name })
	}
	if id, ok := f["list"].(int); ok {
		return slices.ContainsFunc(p.Collections, func(c spoor.Collection) bool { return c.Kind == spoor.CollectionList && int(c.ID) == id })
	}
	if id, ok := f["segment"].(int); ok {
		c, err := v.s.Collection(v.app.ID, spoor.CollectionSegment, uint32(id))
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			return false
		}
		var of map[string]any
		dec := json.NewDecoder(strings.NewReader(string(c.Filter.JSON())))
		dec.UseNumber()
		if err := dec.Decode(&of); err != nil {
			t.Fatal(err)
		}
		return v.holds(t, ints(of).(map[string]any), p, hits)
	}
	for _, name := range []string{"active", "idle"} {
		if of, ok := f[name].(map[string]any); ok {
			return (v.count(map[string]any{"days": of["days"]}, hits) > 0) == (name == "active")
		}
	}
	least, most := 1, -1
	if n, ok := f["at_most"].(int); ok {
		least, most = 0, n
	}
	if n, ok := f["times"].(int); ok {
		least = n
	}
	n := v.count(f, hits)
	return n >= least && (most < 0 || n <= most)
}

// ints turns the numbers of decoded JSON into what the generator writes.
func ints(v any) any {
	switch v := v.(type) {
	case json.Number:
		n, err := strconv.Atoi(v.String())
		if err != nil {
			f, _ := v.Float64()
			return f
		}
		return n
	case map[string]any:
		for k := range v {
			v[k] = ints(v[k])
		}
	case []any:
		for i := range v {
			v[i] = ints(v[i])
		}
	}
	return v
}

// count counts the hits that a condition is about.
func (v *reference) count(f map[string]any, hits []spoor.Hit) (n int) {
	fits := func(text, want string) bool {
		if begin, ok := strings.CutSuffix(want, "*"); ok {
			return text != "" && strings.HasPrefix(text, begin)
		}
		return text == want
	}
	for i := range hits {
		h := &hits[i]
		if h.Marks&spoor.MarkUncounted != 0 || h.Bot {
			continue
		}
		if days, ok := f["days"].(int); ok && (h.Day <= v.today-spoor.Day(days)) {
			continue
		}
		ok := true
		for field, of := range map[string]func() bool{
			"event":  func() bool { return h.Kind.Counts().Event && fits(h.Name, f["event"].(string)) },
			"screen": func() bool { return h.Kind == spoor.KindScreen && fits(h.Name, f["screen"].(string)) },
			"path": func() bool {
				path, _ := strings.CutPrefix(h.URL, "https://shop.example")
				return h.Kind == spoor.KindPage && fits(path, f["path"].(string))
			},
			"property": func() bool {
				want := f["property"].(map[string]any)
				var have map[string]any
				_ = json.Unmarshal(h.Properties, &have)
				return have[want["name"].(string)] != nil && fmt.Sprint(have[want["name"].(string)]) == fmt.Sprint(want["is"])
			},
		} {
			if f[field] != nil {
				ok = ok && of()
			}
		}
		if ok {
			n++
		}
	}
	return n
}

func (v *reference) attribute(f map[string]any, name string, p *spoor.Profile) bool {
	typ, text := p.Attribute(name).Type, p.Text(name)
	here := typ != spoor.TypeNull
	moment := func(ms int64) {
		if here = ms != 0; here {
			typ, text = spoor.TypeDateTime, time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
		}
	}
	count := func(n int64) { here, typ, text = true, spoor.TypeInt, fmt.Sprint(n) }
	switch name {
	case "first_seen":
		moment(p.FirstSeen)
	case "last_seen":
		moment(p.LastSeen)
	case "created_at":
		moment(p.CreatedAt)
	case "page_views":
		count(p.Views)
	case "events":
		count(p.Events)
	case "visits":
		count(p.Visits)
	case "user_id":
		here, typ, text = p.UserID != "", spoor.TypeString, p.UserID
	case "known":
		contact := p.UserID != "" || p.Text(spoor.AttrEmail) != "" || p.Text(spoor.AttrPhone) != "" || len(p.MobileIDs) > 0
		here, typ, text = true, spoor.TypeBool, fmt.Sprint(contact)
	}
	if want, ok := f["exists"]; ok {
		return here == want.(bool)
	}
	if want, ok := f["not"]; ok {
		return !here || v.order(typ, text, fmt.Sprint(want)) != "is"
	}
	for op, want := range f {
		if op == "attribute" || !here {
			continue
		}
		want := fmt.Sprint(want)
		switch op {
		case "contains":
			return strings.Contains(text, want)
		case "starts_with":
			return strings.HasPrefix(text, want)
		case "ends_with":
			return strings.HasSuffix(text, want)
		}
		is := v.order(typ, text, want)
		return is == strings.TrimSuffix(op, "_or_equal") || is == "is" && strings.HasSuffix(op, "_or_equal")
	}
	return false
}

// order says how a value stands to another: less, is, more, or nothing.
func (v *reference) order(typ spoor.Type, text, want string) string {
	say := func(n int) string { return [...]string{"less", "is", "more"}[n+1] }
	switch typ {
	case spoor.TypeInt, spoor.TypeFloat:
		a, err := strconv.ParseFloat(text, 64)
		b, wrong := strconv.ParseFloat(want, 64)
		if err != nil || wrong != nil {
			return ""
		}
		switch {
		case a < b:
			return "less"
		case a > b:
			return "more"
		}
		return "is"
	case spoor.TypeDate, spoor.TypeDateTime:
		if len(want) == len(time.DateOnly) && len(text) > len(time.DateOnly) {
			at, _ := time.Parse(time.RFC3339Nano, text)
			zone, _ := time.LoadLocation(v.app.Settings.Zones[0].Zone)
			return say(strings.Compare(at.In(zone).Format(time.DateOnly), want))
		}
		if typ == spoor.TypeDate {
			if _, err := time.Parse(time.DateOnly, want); err != nil {
				return ""
			}
			return say(strings.Compare(text, want))
		}
		a, err := time.Parse(time.RFC3339Nano, text)
		b, wrong := time.Parse(time.RFC3339Nano, want)
		if err != nil || wrong != nil {
			return ""
		}
		return say(a.Compare(b))
	}
	return say(strings.Compare(text, want))
}

// filterOf makes filters over what the test's people do and have.
func filterOf(depth int) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		kind := rapid.IntRange(0, 9).Draw(t, "kind")
		if depth <= 1 {
			kind = max(kind, 3)
		}
		of := func(name string, texts ...string) string { return rapid.SampledFrom(texts).Draw(t, name) }
		switch kind {
		case 0, 1:
			var parts []any
			for _, p := range rapid.SliceOfN(filterOf(depth-1), 1, 3).Draw(t, "parts") {
				parts = append(parts, p)
			}
			return map[string]any{[]string{"all", "any"}[kind]: parts}
		case 2:
			return map[string]any{"not": filterOf(depth-1).Draw(t, "part")}
		case 3:
			return map[string]any{"tag": of("tag", "vip", "cold", "never")}
		case 4:
			return map[string]any{rapid.SampledFrom([]string{"list", "segment"}).Draw(t, "which"): rapid.IntRange(1, 2).Draw(t, "id")}
		case 5:
			return map[string]any{of("activity", "active", "idle"): map[string]any{"days": rapid.IntRange(1, 12).Draw(t, "days")}}
		case 6, 7:
			return rapid.SampledFrom([]map[string]any{
				{"attribute": "country", "is": "PL"}, {"attribute": "country", "not": "PL"}, {"attribute": "country", "exists": false},
				{"attribute": "email", "contains": "@x"}, {"attribute": "email", "starts_with": "a"}, {"attribute": "email", "ends_with": "example"},
				{"attribute": "score", "more": 2}, {"attribute": "score", "less_or_equal": 2}, {"attribute": "score", "is": "5"}, {"attribute": "score", "not": "five"},
				{"attribute": "plan", "less": "m"}, {"attribute": "plan", "exists": true}, {"attribute": "paid", "is": true},
				{"attribute": "born", "more_or_equal": "2000-06-01"}, {"attribute": "since", "less": "2026-03-10"}, {"attribute": "since", "more": "2026-03-09T23:30:00Z"}, {"attribute": "since", "is": "2026-03-10"},
				{"attribute": "page_views", "more": 1}, {"attribute": "visits", "is": 1}, {"attribute": "events", "less": 1}, {"attribute": "known", "is": false}, {"attribute": "known", "not": false},
				{"attribute": "first_seen", "more": "2026-03-12"}, {"attribute": "last_seen", "less": "2026-03-14T00:00:00Z"}, {"attribute": "created_at", "exists": true}, {"attribute": "user_id", "is": "u1"},
			}).Draw(t, "attribute")
		}
		f := rapid.SampledFrom([]map[string]any{{"event": "signup"}, {"event": "sign*"}, {"path": "/p1"}, {"path": "/p*"}, {"path": "*"}, {"screen": "Home"}}).Draw(t, "hit")
		c := map[string]any{}
		for k, v := range f {
			c[k] = v
		}
		if rapid.Bool().Draw(t, "with days") {
			c["days"] = rapid.IntRange(1, 12).Draw(t, "days")
		}
		if rapid.Bool().Draw(t, "with times") {
			c["times"] = rapid.IntRange(0, 3).Draw(t, "times")
		}
		if rapid.IntRange(0, 2).Draw(t, "with at_most") == 0 {
			c["at_most"] = rapid.IntRange(3, 4).Draw(t, "at_most")
			if c["times"] == nil {
				c["at_most"] = rapid.IntRange(0, 2).Draw(t, "at_most")
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "with property") == 0 {
			c["property"] = rapid.SampledFrom([]map[string]any{{"name": "plan", "is": "pro"}, {"name": "n", "is": 2}, {"name": "ok", "is": true}}).Draw(t, "property")
		}
		return c
	})
}

// somethingHappens sends a hit, edits somebody, or grants and lifts a right.
func somethingHappens(t *rapid.T, s *Store, app *spoor.App, c *clock, n int) {
	c.add(time.Duration(rapid.SampledFrom([]int{1, 60, 3600, 11 * 3600, 50 * 3600}).Draw(t, "pause")) * time.Second)
	key := rapid.SampledFrom([]string{"k1", "k2", "k3", "k4", "k5", "k6"}).Draw(t, "key")
	must := func(err error) {
		if err != nil && !errors.Is(err, spoor.ErrNoProfile) && !errors.Is(err, spoor.ErrTaken) {
			t.Fatal(err)
		}
	}
	switch rapid.IntRange(0, 11).Draw(t, "what") {
	case 0: // a new name for a tag, a new list
		tags, err := s.Collections(app.ID, spoor.CollectionTag)
		must(err)
		if len(tags) > 0 && len(tags) < 4 && rapid.Bool().Draw(t, "rename") {
			tags[0].Name = fmt.Sprint("renamed", n)
			_, err := s.PutCollection(app.ID, tags[0])
			must(err)
		}
	case 1, 2:
		e := spoor.Edit{App: app.ID, Key: key, Door: spoor.DoorREST, At: c.ms()}
		e.Attributes = rapid.SliceOfNDistinct(rapid.SampledFrom([]spoor.Attribute{
			{Name: "score", Type: spoor.TypeInt, Text: "5"}, {Name: "email", Type: spoor.TypeString, Text: "a@x.example"}, {Name: "plan", Type: spoor.TypeString, Text: "gold"},
			{Name: "paid", Type: spoor.TypeBool, Text: "true"}, {Name: "born", Type: spoor.TypeDate, Text: "2001-02-03"}, {Name: "since", Type: spoor.TypeDateTime, Text: "2026-03-09T23:45:00Z"},
			{Name: "country", Type: spoor.TypeString, Text: "PL"}, {Name: "plan", Type: spoor.TypeNull},
		}), 0, 3, func(a spoor.Attribute) string { return a.Name }).Draw(t, "attributes")
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"vip", "cold"}), 0, 2)
		ids := rapid.SliceOfN(rapid.SampledFrom([]uint32{1, 2}), 0, 2)
		e.TagAdd, e.TagDrop = names.Draw(t, "tags"), names.Draw(t, "no tags")
		e.ListAdd, e.ListDrop = ids.Draw(t, "lists"), ids.Draw(t, "no lists")
		_, _, err := s.Edit(&e)
		must(err)
	case 3:
		n := spoor.Number(rapid.IntRange(1, 8).Draw(t, "number"))
		right := rapid.SampledFrom([]spoor.Right{spoor.RightRestrict, spoor.RightObject, spoor.RightHold}).Draw(t, "right")
		until := rapid.SampledFrom([]spoor.Day{0, 0, app.Day(c.ms()) + 1, spoor.Forever}).Draw(t, "until")
		_, err := s.SetRight(app.ID, n, right, until)
		must(err)
	case 4:
		if rapid.IntRange(0, 3).Draw(t, "erase") == 0 {
			_, err := s.Erase(app.ID, []spoor.Number{spoor.Number(rapid.IntRange(1, 8).Draw(t, "number"))}, "x")
			held := (*spoor.HeldError)(nil)
			if !errors.As(err, &held) {
				must(err)
			}
		}
	default:
		var hits []spoor.Hit
		for i := range rapid.IntRange(1, 5).Draw(t, "hits") {
			h := spoor.Hit{App: app.ID, Received: c.ms(), Door: spoor.DoorNative, ID: fmt.Sprintf("h%d-%d", n, i), Key: key}
			h.Kind = rapid.SampledFrom([]spoor.Kind{spoor.KindPage, spoor.KindPage, spoor.KindEvent, spoor.KindScreen, spoor.KindIdentify}).Draw(t, "kind")
			h.UserID = rapid.SampledFrom([]string{"", "", "", "u1", "u2"}).Draw(t, "user")
			h.Time = h.Received - rapid.SampledFrom([]int64{0, 3_600_000, 86_400_000, 30 * 86_400_000}).Draw(t, "ago")
			switch h.Kind {
			case spoor.KindPage:
				h.URL = "https://shop.example" + rapid.SampledFrom([]string{"/p1", "/p2", "/x"}).Draw(t, "path")
			case spoor.KindEvent:
				h.Name = rapid.SampledFrom([]string{"signup", "signin", "other"}).Draw(t, "event")
			case spoor.KindScreen:
				h.Name = "Home"
			}
			h.Properties = rapid.SampledFrom([][]byte{nil, []byte(`{"plan":"pro","n":2}`), []byte(`{"n":2,"ok":true}`)}).Draw(t, "properties")
			h.Place.Country = rapid.SampledFrom([]string{"", "PL", "DE"}).Draw(t, "country")
			hits = append(hits, h)
		}
		must(s.Write(hits))
	}
}

// Goal: a segment holds exactly who its filter describes, whatever stands in
// roll-ups, in memory, in sealed days and under former numbers, whatever way
// the evaluation takes; each person is told the same of itself.
// Method: random people, rights, tags, lists and merges; random filters are
// evaluated by the store and, person by person, by the words of the reference
// over Profile and Hits.
func TestSegmentsAgainstPeople(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		s, app := peopleOfSegments(t, c)
		defer s.Close()
		v := &reference{s: s, app: app}
		compare := func() {
			v.today = app.Day(c.ms())
			f := filterOf(spoor.FilterDepthMax).Draw(t, "filter")
			text, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			compareSegment(t, v, f, text)
		}
		for n := range rapid.IntRange(5, 40).Draw(t, "things") {
			if somethingHappens(t, s, app, c, n); rapid.IntRange(0, 7).Draw(t, "meanwhile") == 0 {
				compare()
			}
		}
		if rapid.Bool().Draw(t, "seal") {
			if _, _, err := s.SealDays(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for range 6 {
			compare()
		}
		if r, err := s.Check(nil); err != nil || r.Found > 0 {
			t.Fatalf("check: %v %v", err, r.Problems)
		}
	})
}

// peopleOfSegments is a store with two lists and two segments.
func peopleOfSegments(t *rapid.T, c *clock) (*Store, *spoor.App) {
	o := Options{Dir: "data", FS: vfs.NewMem(), Now: c.Now, MemTableBytes: 256 << 10, CacheBytes: 4 << 20, FilterBytes: 64 << 10}
	o.putOffFrom = rapid.SampledFrom([]int{1, 3, 32}).Draw(t, "put off")
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s.selections.age = 0
	s.selections.many = rapid.SampledFrom([]uint64{0, 1000}).Draw(t, "many")
	s.selections.few = rapid.SampledFrom([]uint64{0, 200}).Draw(t, "few")
	s.selections.seek = rapid.SampledFrom([]uint64{0, 1, 100}).Draw(t, "seek") // without columns, with them at times, at once
	settings := spoor.DefaultSettings("Europe/Warsaw")
	settings.Goals = rapid.SampledFrom([][]string{nil, {"pages=path:/p*", "signs=event:sig*"}}).Draw(t, "goals")
	app, err := s.CreateApp(&spoor.App{Name: "shop", Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []spoor.Collection{
		{Kind: spoor.CollectionList, Name: "one"}, {Kind: spoor.CollectionList, Name: "two"},
		{Kind: spoor.CollectionSegment, Name: "poles", Filter: parsed(t, `{"all":[{"attribute":"country","is":"PL"},{"path":"/p1"}]}`)},
		{Kind: spoor.CollectionSegment, Name: "others", Filter: parsed(t, `{"any":[{"not":{"segment":1}},{"tag":"vip"}]}`)},
	} {
		if _, err := s.PutCollection(app.ID, x); err != nil {
			t.Fatal(err)
		}
	}
	return s, app
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func parsed(t fataler, text string) *spoor.Filter {
	t.Helper()
	f, err := spoor.ParseFilter([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

func compareSegment(t *rapid.T, v *reference, f map[string]any, text []byte) {
	segment := spoor.Collection{Kind: spoor.CollectionSegment, Filter: parsed(t, string(text))}
	if again := parsed(t, string(segment.Filter.JSON())); string(again.JSON()) != string(segment.Filter.JSON()) {
		t.Fatalf("%s becomes %s and then %s", text, segment.Filter.JSON(), again.JSON())
	}
	var want, got []spoor.Number
	err := v.s.Profiles(v.app.ID, 0, func(p *spoor.Profile) error {
		if p.Rights.Uncounted(v.today) {
			return nil
		}
		var hits []spoor.Hit
		if err := v.s.Hits(v.app.ID, p.Number, func(h *spoor.Hit) error { hits = append(hits, *h); return nil }); err != nil {
			return err
		}
		if v.holds(t, f, p, hits) {
			want = append(want, p.Number)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	size, err := v.s.Members(v.app.ID, &segment, 0, func(p *spoor.Profile) error { got = append(got, p.Number); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) || int(size) != len(want) {
		t.Fatalf("%s: %v, size %d; want %v", text, got, size, want)
	}
	some, wanted := roaring.BitmapOf(rapid.SliceOf(rapid.Uint32Range(1, 8)).Draw(t, "some")...), roaring.New()
	for _, n := range want {
		wanted.Add(uint32(n))
	}
	wanted.And(some)
	err = v.s.still(func(db pebble.Reader) error {
		sel, err := newSelection(db, v.app, v.today, some, v.s.selections.tuning)
		if err != nil {
			return err
		}
		in, err := sel.run(segment.Filter)
		if err == nil && !in.Equals(wanted) {
			t.Fatalf("%s: of %v there are %v, want %v", text, some, in, wanted)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := v.s.PutCollection(v.app.ID, spoor.Collection{Kind: spoor.CollectionSegment, Name: "x", Filter: segment.Filter})
	if err != nil {
		t.Fatal(err)
	}
	err = v.s.Profiles(v.app.ID, 0, func(p *spoor.Profile) error {
		of, err := v.s.SegmentsOf(v.app.ID, p.Number)
		if in := slices.ContainsFunc(of, func(c spoor.Collection) bool { return c.ID == stored.ID }); in != slices.Contains(want, p.Number) {
			t.Fatalf("%s: person %d is told %t", text, p.Number, in)
		}
		return err
	})
	if err == nil {
		err = v.s.DeleteCollection(v.app.ID, spoor.CollectionSegment, stored.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Goal: a filter names a gender as the API shows it, or by its number.
func TestGenderInFilters(t *testing.T) {
	f := func(value string, want bool) {
		t.Helper()
		filter := must(spoor.ParseFilter(fmt.Appendf(nil, `{"attribute":"gender","is":%q}`, value)))
		if got := newAttributeTest(nil, filter).holds(&registerValue{typ: spoor.TypeInt, text: []byte("3"), here: true}); got != want {
			t.Errorf("is %s: %t, want %t", value, got, want)
		}
	}
	f("female", true)
	f("3", true)
	f("male", false)
	f("unknown", false)
}
