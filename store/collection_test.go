package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// put makes or changes a collection.
func (w *town) put(c spoor.Collection) spoor.Collection {
	w.Helper()
	out, err := w.s.PutCollection(w.app.ID, c)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// in are the collections of a profile, as text.
func (w *town) in(n spoor.Number) string {
	w.Helper()
	var list []string
	for _, c := range w.profile(n).Collections {
		list = append(list, fmt.Sprintf("%s %d %s", c.Kind, c.ID, c.Name))
	}
	return strings.Join(list, "; ")
}

func (w *town) size(c spoor.Collection) int64 {
	w.Helper()
	n, err := w.s.Members(w.app.ID, &c, 0, nil)
	if err != nil {
		w.Fatal(err)
	}
	return n
}

func (w *town) refuses(what string, err error) {
	w.Helper()
	var refused *spoor.CollectionError
	if !errors.As(err, &refused) {
		w.Errorf("%s: %v, want it refused", what, err)
	}
}

// Goal: a tag keeps its id under a new name, is gone from everybody at once when
// it is deleted, and its id does not come back; what is refused changes nothing.
// Method: people with tags, through a restart, a merge and a removal.
func TestTagsAndLists(t *testing.T) {
	w := newTown(t)
	edit := func(e spoor.Edit) spoor.Number {
		t.Helper()
		n, _, err := w.edit(e)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	list := w.put(spoor.Collection{Kind: spoor.CollectionList, Name: " Fans ", Description: "who likes us"})
	ann := edit(spoor.Edit{UserID: "ann", TagAdd: []string{"vip", " cold "}, ListAdd: []uint32{list.ID}})
	bob := edit(spoor.Edit{Key: "bob", TagAdd: []string{"vip"}})
	if got := w.in(ann); got != "tag 1 vip; tag 2 cold; list 1 Fans" {
		t.Errorf("ann is in %s", got)
	}
	tags, err := w.s.Collections(w.app.ID, spoor.CollectionTag)
	if err != nil || len(tags) != 2 || w.size(tags[0]) != 2 || w.size(tags[1]) != 1 || w.size(list) != 1 {
		t.Fatalf("tags %v, %v", tags, err)
	}
	if w.contact(bob) {
		t.Error("a tag makes bob known")
	}

	// Refusals.
	_, err = w.s.PutCollection(w.app.ID, spoor.Collection{Kind: spoor.CollectionTag, Name: "vip"})
	w.refuses("a name twice", err)
	_, err = w.s.PutCollection(w.app.ID, spoor.Collection{Kind: spoor.CollectionTag, Name: " \t"})
	w.refuses("no name", err)
	_, _, err = w.edit(spoor.Edit{Number: ann, TagAdd: []string{"good", "bad\x00"}})
	w.refuses("a name with a NUL", err)
	many := make([]string, spoor.MembershipsMax+1)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	_, _, err = w.edit(spoor.Edit{Number: ann, TagAdd: many})
	w.refuses("too many tags of one", err)
	if _, _, err = w.edit(spoor.Edit{Number: ann, TagAdd: []string{"good"}, ListAdd: []uint32{77}}); !errors.Is(err, spoor.ErrNoCollection) {
		t.Errorf("a list that is not there: %v", err)
	}
	if _, err = w.s.PutCollection(w.app.ID, spoor.Collection{Kind: spoor.CollectionTag, ID: 9, Name: "x"}); !errors.Is(err, spoor.ErrNoCollection) {
		t.Errorf("a tag that is not there: %v", err)
	}
	if tags, _ := w.s.Collections(w.app.ID, spoor.CollectionTag); len(tags) != 2 {
		t.Errorf("refused edits made tags: %v", tags)
	}

	// A new name, with the segments that name it; then a merge and a removal.
	segment := w.put(spoor.Collection{Kind: spoor.CollectionSegment, Name: "s", Filter: parsed(t, `{"not":{"all":[{"tag":"vip"},{"tag":"cold"}]}}`)})
	w.put(spoor.Collection{Kind: spoor.CollectionTag, ID: 1, Name: "dear"})
	again, err := w.s.Collection(w.app.ID, spoor.CollectionSegment, segment.ID)
	if err != nil || string(again.Filter.JSON()) != `{"not":{"all":[{"tag":"dear"},{"tag":"cold"}]}}` {
		t.Errorf("the segment says %s, %v", again.Filter.JSON(), err)
	}
	w.come("bob", "ann")
	if got := w.in(bob); got != "tag 1 dear; tag 2 cold; list 1 Fans" || w.size(tags[0]) != 1 {
		t.Errorf("after the merge: %s, %d members", got, w.size(tags[0]))
	}
	edit(spoor.Edit{Number: ann, TagDrop: []string{"dear", "unknown"}, ListDrop: []uint32{list.ID}})
	if got := w.in(ann); got != "tag 2 cold" || w.size(tags[0]) != 0 || w.size(list) != 0 {
		t.Errorf("after the removal: %s", got)
	}

	// Deleted, and made again under the same name.
	if err := w.s.DeleteCollection(w.app.ID, spoor.CollectionTag, 2); err != nil {
		t.Fatal(err)
	}
	if err := w.s.DeleteCollection(w.app.ID, spoor.CollectionTag, 2); !errors.Is(err, spoor.ErrNoCollection) {
		t.Errorf("deleted twice: %v", err)
	}
	if got := w.in(ann); got != "" {
		t.Errorf("after the deletion: %s", got)
	}
	w.forgetful()
	if fresh := w.put(spoor.Collection{Kind: spoor.CollectionTag, Name: "cold"}); fresh.ID != 3 || w.size(fresh) != 0 {
		t.Errorf("the tag that was made again is %+v with %d members", fresh, w.size(fresh))
	}
	if got := w.in(ann); got != "" {
		t.Errorf("the new tag is on ann: %s", got)
	}
}

// Goal: segments never lead back to themselves, nor too deep, and one that others
// name stays.
// Method: a chain of segments that is closed, lengthened and cut.
func TestSegmentsInSegments(t *testing.T) {
	w := newTown(t)
	segment := func(id uint32, filter string) (spoor.Collection, error) {
		return w.s.PutCollection(w.app.ID, spoor.Collection{Kind: spoor.CollectionSegment, ID: id, Name: "s", Filter: parsed(t, filter)})
	}
	for i := range segmentDepthMax {
		filter := `{"tag":"a"}`
		if i > 0 {
			filter = fmt.Sprintf(`{"segment":%d}`, i)
		}
		if _, err := segment(0, filter); err != nil {
			t.Fatal(err)
		}
	}
	_, err := segment(0, `{"not":{"segment":4}}`)
	w.refuses("one level too deep", err)
	_, err = segment(1, `{"any":[{"tag":"a"},{"segment":3}]}`)
	w.refuses("a circle", err)
	_, err = segment(2, `{"segment":2}`)
	w.refuses("itself", err)
	_, err = segment(0, `{"segment":77}`)
	w.refuses("one that is not there", err)
	w.refuses("deleting one that is named", w.s.DeleteCollection(w.app.ID, spoor.CollectionSegment, 3))
	if err := w.s.DeleteCollection(w.app.ID, spoor.CollectionSegment, 4); err != nil {
		t.Error(err)
	}
}

// Goal: an app that is deleted leaves no tag, list, segment, member or size.
// Method: all keys of a store with two apps are listed after one is deleted.
func TestDeletedAppLeavesNoCollection(t *testing.T) {
	w := newTown(t)
	other := newApp(t, w.s, "other", "UTC")
	for _, app := range []spoor.AppID{w.app.ID, other.ID} {
		if _, _, err := w.s.Edit(&spoor.Edit{App: app, UserID: "ann", TagAdd: []string{"vip"}, At: w.c.ms()}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.s.PutCollection(app, spoor.Collection{Kind: spoor.CollectionSegment, Name: "s", Filter: parsed(t, `{"tag":"vip"}`)}); err != nil {
			t.Fatal(err)
		}
		if err := w.s.SizeSegments(t.Context(), app); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.s.DeleteApp(other.ID); err != nil {
		t.Fatal(err)
	}
	count := map[spoor.AppID]int{}
	err := w.s.view(func(db *pebble.DB) error {
		for _, prefix := range []byte{prefixCatalogue, prefixMember} {
			if err := scan(db, []byte{prefix}, func(key, _ []byte) error { count[spoor.AppID(be32(key[1:]))]++; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || count[w.app.ID] < 5 || count[other.ID] != 0 {
		t.Errorf("keys by app: %v, %v", count, err)
	}
}

// Goal: segments are right about days whose statistics, or whose hits, went
// because of their age: what is still kept counts, activity also where only
// statistics of it are left.
// Method: one day, asked by roll-ups and by profiles, before and after each goes.
func TestSegmentsOfOldDays(t *testing.T) {
	for _, many := range []uint64{0, 1000} {
		w := newCrowd(t, vfs.NewMem(), "UTC")
		w.s.selections.age, w.s.selections.many, w.s.selections.few = 0, many, many
		day := w.today()
		for i := range 10 {
			w.visits(fmt.Sprint("cookie-", i), 2)
		}
		w.sealAfter(40)
		sizes := func(when string, path, active int64) {
			t.Helper()
			for filter, want := range map[string]int64{`{"path":"/read*","times":2}`: path, `{"path":"/read-by-cookie-3","times":2}`: min(path, 1), `{"active":{"days":100}}`: active} {
				x := spoor.Collection{Kind: spoor.CollectionSegment, Filter: parsed(t, filter)}
				if n := w.size(x); n != want {
					t.Errorf("%s, %s: %d, want %d", when, filter, n, want)
				}
			}
		}
		sizes("sealed", 10, 10)
		w.drop(spoor.Aged{Statistics: day})
		sizes("without statistics", 10, 10)
		w.drop(spoor.Aged{Hits: day})
		sizes("without both", 0, 0)
	}
	w := newCrowd(t, vfs.NewMem(), "UTC")
	w.s.selections.age = 0
	w.visits("cookie", 2)
	day := w.today()
	w.sealAfter(40)
	w.drop(spoor.Aged{Hits: day})
	for filter, want := range map[string]int64{`{"path":"/read*"}`: 0, `{"active":{"days":100}}`: 1} {
		x := spoor.Collection{Kind: spoor.CollectionSegment, Filter: parsed(t, filter)}
		if n := w.size(x); n != want {
			t.Errorf("without hits, %s: %d, want %d", filter, n, want)
		}
	}
}
