package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

var columnNames = []string{"country", "device", "plan", "score", "user_id", "page_views", "visits", "last_seen", "created_at"}

// compareColumns brings the columns of an app up to date, and compares each with
// one that is made of the profiles anew.
func compareColumns(t *testing.T, s *Store, app *spoor.App, when string) {
	t.Helper()
	var parts []string
	for _, name := range columnNames {
		parts = append(parts, fmt.Sprintf(`{"attribute":%q,"exists":true}`, name))
	}
	c := &s.selections.columns
	snapshot, of := c.cut(s.db, app.ID)
	defer snapshot.Close()
	defer c.settle(columnBytesMax)
	sel, err := newSelection(snapshot, app, s.today(app.ID), nil, tuned)
	if err != nil {
		t.Fatal(err)
	}
	sel.columns = of
	root := sel.tree(parsed(t, `{"any":[`+strings.Join(parts, ",")+`]}`))
	if err := sel.makeColumns(root, root.parts); err != nil {
		t.Fatal(err)
	}
	for _, name := range columnNames {
		kept, fresh := of.byName[name], newColumn(newAttributeName(name))
		if kept == nil {
			t.Fatalf("%s: there is no column of %s", when, name)
		}
		if err := sel.readColumns([]*column{fresh}, sel.live); err != nil {
			t.Fatal(err)
		}
		kept.grow(100)
		fresh.grow(100)
		for n := range uint32(100) {
			if was, is := cellOf(kept, n), cellOf(fresh, n); was != is {
				t.Errorf("%s: the column says that %s of profile %d is %s, the profile says %s", when, name, n, was, is)
			}
		}
	}
}

func cellOf(c *column, n uint32) string {
	if c.facts != nil {
		return fmt.Sprint(c.facts[n])
	}
	v := &c.dict[c.ids[n]]
	return fmt.Sprintf("%s %q", v.typ, v.text)
}

// Goal: columns follow everything that changes profiles.
// Method: each kind of change alone, in an app whose columns are made; after it
// they are compared with what the profiles say.
func TestColumnsFollowTheWriter(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	w.visits("early", 1)
	compareColumns(t, w.s, w.app, "made")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	text := func(name, text string) []spoor.Attribute {
		return []spoor.Attribute{{Name: name, Type: spoor.TypeString, Text: text}}
	}
	edit := func(key string, attributes []spoor.Attribute) {
		w.c.add(time.Second)
		_, _, err := w.s.Edit(&spoor.Edit{App: w.app.ID, Key: key, Door: spoor.DoorREST, At: w.c.ms(), Attributes: attributes})
		must(err)
	}
	login := func(key, user string, attributes ...spoor.Attribute) spoor.Number {
		w.ids++
		h := page(w.app, w.c, key, w.ids)
		h.UserID, h.Attributes = user, attributes
		w.c.add(time.Second)
		return write(t, w.s, h)[0].Profile
	}
	var gone spoor.Number
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"a new visitor", func() { w.visits("late", 2) }},
		{"another page", func() { w.visits("early", 1) }},
		{"an edit", func() { edit("early", text("plan", "gold")) }},
		{"another edit", func() { edit("early", text("plan", "silver")) }},
		{"an attribute taken out", func() { edit("early", []spoor.Attribute{{Name: "plan", Type: spoor.TypeNull}}) }},
		{"an attribute in a hit", func() { login("late", "", text("plan", "free")...) }},
		{"a claim", func() { login("early", "u1") }},
		{"a merge", func() { login("late", "u1") }},
		{"a visitor to remove", func() { gone = w.visits("gone", 1) }},
		{"a removal", func() {
			_, err := w.s.Remove(w.app.ID, []spoor.Number{gone}, 1, func(*spoor.Profile) bool { return false })
			must(err)
		}},
		{"a visitor to erase", func() { gone = w.visits("erased", 1) }},
		{"an erasure", func() {
			_, err := w.s.Erase(w.app.ID, []spoor.Number{gone}, "subject")
			must(err)
		}},
		{"a restriction", func() {
			_, err := w.s.SetRight(w.app.ID, 1, spoor.RightRestrict, spoor.Forever)
			must(err)
		}},
		{"a page of who is restricted", func() { w.visits("early", 1) }},
	} {
		before := w.s.selections.columns.apps[w.app.ID].byName["country"]
		change.do()
		compareColumns(t, w.s, w.app, change.name)
		if now := w.s.selections.columns.apps[w.app.ID].byName["country"]; now != before {
			t.Errorf("%s: the column was made anew", change.name)
		}
	}
}

// Goal: no change falls between a snapshot and the notes of its changes.
// Method: hits and edits while columns are used all the time; then a comparison.
func TestColumnsWhileOthersWrite(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	w.visits("v0", 1)
	compareColumns(t, w.s, w.app, "made")
	w.s.selections.age = 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			h := page(w.app, w.c, fmt.Sprint("v", i%40), 1000+i)
			h.Attributes = []spoor.Attribute{{Name: "plan", Type: spoor.TypeString, Text: fmt.Sprint("plan ", i)}}
			w.c.add(time.Second)
			if err := w.s.Write([]spoor.Hit{h}); err != nil {
				t.Error(err)
			}
		}
	}()
	x := spoor.Collection{Kind: spoor.CollectionSegment, Filter: parsed(t, `{"all":[{"attribute":"plan","exists":true},{"attribute":"page_views","more":1}]}`)}
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		if _, err := w.s.Members(w.app.ID, &x, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	compareColumns(t, w.s, w.app, "at the end")
	if n := w.size(x); n != 40 {
		t.Errorf("%d members, want 40", n)
	}
}

// Goal: columns take bounded memory: those used longest ago go, a name with too
// many texts gets none, and nothing is noted where there are none.
// Method: columns of two apps under a small bound; a dictionary that is filled.
func TestColumnsAreBounded(t *testing.T) {
	w := newCrowd(t, vfs.NewMem(), "UTC")
	w.visits("a", 1)
	w.s.selections.age = 0
	first := w.app
	second := newApp(t, w.s, "other", "UTC")
	write(t, w.s, page(second, w.c, "b", 1))
	ask := func(app *spoor.App, name string) {
		t.Helper()
		x := spoor.Collection{Kind: spoor.CollectionSegment, Filter: parsed(t, fmt.Sprintf(`{"attribute":%q,"exists":true}`, name))}
		if n, err := w.s.Members(app.ID, &x, 0, nil); err != nil || n != 1 {
			t.Fatalf("%d members, %v", n, err)
		}
	}
	columns := &w.s.selections.columns
	ask(first, "country")
	ask(second, "country")
	if columns.apps[first.ID].byName["country"] == nil || columns.apps[second.ID].byName["country"] == nil {
		t.Fatal("columns were not made")
	}
	w.s.selections.columnMax = columns.apps[first.ID].byName["country"].bytes()
	ask(second, "country")
	if of := columns.apps[first.ID]; len(of.byName) > 0 || of.noted[changedFacts] != nil {
		t.Errorf("the app that was asked for longest ago has %d columns", len(of.byName))
	}
	if columns.apps[second.ID].byName["country"] == nil {
		t.Error("the column that was just used is gone")
	}
	ask(first, "country") // whatever is kept, the answer is right

	c := newColumn(newAttributeName("plan"))
	for i := range columnDictMax {
		c.id(spoor.TypeString, fmt.Sprint(i))
	}
	if !c.full.Load() || len(c.dict) != columnDictMax {
		t.Errorf("a dictionary of %d texts has room", len(c.dict))
	}
	c = newColumn(newAttributeName("plan"))
	for i := range 2 * columnTextsMax / attributeTextBytesMax {
		c.id(spoor.TypeString, fmt.Sprintf("%0*d", attributeTextBytesMax, i))
	}
	if !c.full.Load() || c.texts > columnTextsMax {
		t.Errorf("a dictionary of %d bytes has room", c.texts)
	}
	if in := c.holding(newAttributeTest(first, parsed(t, `{"attribute":"plan","exists":false}`)), roaring.BitmapOf(1, 9)); in.GetCardinality() != 2 {
		t.Errorf("%v have nothing in an empty column", in)
	}
}
