package query

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// newRealServer is a testServer on a real store with the app shop.
func newRealServer(t *testing.T) (*testServer, *store.Store, *spoor.App) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), Log: log, MemTableBytes: 1 << 20, CacheBytes: 8 << 20, FilterBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r, err := st.Check(nil); err != nil || r.Found > 0 {
			t.Errorf("check: %v, %v", r, err)
		}
		_ = st.Close()
	})
	a := &spoor.App{Name: "shop", Settings: spoor.DefaultSettings("UTC"), Keys: []spoor.WriteKey{{Key: "shop-pub"}}}
	a.Settings.RequestsPerMin = 0
	for _, role := range []spoor.Role{read, write, erase} {
		a.Tokens = append(a.Tokens, spoor.Token{Name: "shop-" + string(role), Role: role, Hash: spoor.HashToken("shop-" + string(role))})
	}
	app, err := st.CreateApp(a)
	if err != nil {
		t.Fatal(err)
	}
	return newTestServer(t, func(o *Options) { o.Store, o.Apps = st, st }), st, app
}

// Goal: clients that know these calls manage tags, lists and segments with them,
// in both versions, in each of the ways in which they are known to call.
// Method: one call after another on a real store, each with what its reply must
// hold; at the end what the person's own export shows.
func TestTagsListsAndSegmentsOverREST(t *testing.T) {
	ts, _, _ := newRealServer(t)
	f := func(method, path, body string, status int, contains ...string) reply {
		t.Helper()
		r := ts.do(method, "/api/public/"+path, "shop-write", body)
		if r.status != status {
			t.Errorf("%s %s %s: %d %s, want %d", method, path, body, r.status, r.body, status)
		}
		for _, part := range contains {
			if !strings.Contains(r.body, part) {
				t.Errorf("%s %s %s: %s is not in %s", method, path, body, part, r.body)
			}
		}
		return r
	}
	var ada struct{ ID int64 }
	r := f("POST", "users/", `{"user_id":"ada","email":"ada@example.com","country":"PL","tags":["vip","new, really"]}`, 201, `"tags":[{"name":"vip","id":1},{"name":"new, really","id":2}]`)
	if err := json.Unmarshal([]byte(r.body), &ada); err != nil {
		t.Fatal(err)
	}
	f("POST", "users/", `{"user_id":"bob","tags":"vip, cold"}`, 201, `{"name":"vip","id":1}`, `{"name":"cold","id":3}`)
	one := fmt.Sprintf("users/%d/", ada.ID)

	// Tags, with the quirks of clients: no slash, DELETE with a body, POST instead.
	f("GET", "tags/", "", 200, `"count":3,"next":null,"previous":null,"results":[{"id":1,"name":"vip","count":2,`)
	f("POST", "tags", `{"name":"spare"}`, 201, `{"id":4,"name":"spare","count":0,`)
	f("POST", "tags/", `{"name":"spare"}`, 400, `{"errors":{"name":["Another tag has this name."]}}`)
	f("POST", "tags/", `{}`, 400, `"name"`)
	f("PUT", "tags/4/", `{"name":"later"}`, 200, `"name":"later"`)
	f("GET", "tags/1/users/", "", 200, `"count":2`, `"user_id":"ada"`, `"user_id":"bob"`)
	f("GET", "tags/77/users/", "", 404)
	f("GET", "tags/x/", "", 404)
	f("POST", one+"add_tag/", `{"name":"later"}`, 200, `{"created":true,"tag":{"name":"later"}}`)
	f("POST", "users-by-id/ada/add_tag", `{"name":"later"}`, 200, `{"created":false,"tag":{"name":"later"}}`)
	f("POST", "users-by-id/ada/add_many_tags/", `{"tag_names":["x","y"]}`, 200, `"name":"y"`)
	f("POST", one+"add_tag/", `{"name":""}`, 400, `"errors":{"name":`)
	f("POST", one+"add_tag/", `{}`, 400, `{"errors":{"name":["This field is required."]}}`)
	f("DELETE", one+"remove_tag/", `{"name":"x"}`, 200)
	f("POST", "users-by-id/ada/remove_tag/", `{"name":"y"}`, 200)
	f("POST", one+"remove_tag", `{"name":"never was"}`, 200)
	f("GET", one, "", 200, `"tags":[{"name":"vip","id":1},{"name":"new, really","id":2},{"name":"later","id":4}]`)
	f("DELETE", "tags/4/", "", 204)
	f("DELETE", "tags/4/", "", 404)

	// Lists. Ids are numbers or texts.
	f("POST", "lists/", `{"name":"Fans","description":"who likes us"}`, 201, `{"id":1,"name":"Fans","description":"who likes us","count":0,`)
	f("POST", one+"add_to_list/", `{"list":1}`, 200, `{"id":1}`)
	f("POST", "users-by-id/bob/add_to_list/", `{"list":"1"}`, 200, `{"id":1}`)
	f("POST", one+"add_to_list/", `{"list":9}`, 400, `{"errors":{"list":["There is no list with this id."]}}`)
	f("POST", one+"add_to_list/", `{"list":"x"}`, 400, `"list":["Not a valid id."]`)
	f("DELETE", "users-by-id/bob/remove_from_list/", `{"list":1}`, 200, `"lists":[]`)
	f("PUT", "lists/1/", `{"description":"dear"}`, 200, `{"id":1,"name":"Fans","description":"dear","count":1,`)
	f("GET", one, "", 200, `"lists":[{"id":1,"name":"Fans","description":"dear"}]`)
	f("PUT", one, `{"tags":[{"name":"vip","id":1},{"name":"cold","id":3}],"lists":[]}`, 200, `"tags":[{"name":"vip","id":1},{"name":"new, really","id":2}]`)

	// Segments.
	f("POST", "segments/preview/", `{"filter":{"all":[{"tag":"vip"},{"attribute":"country","is":"PL"}]}}`, 200, `{"count":1}`)
	f("POST", "segments/preview/", `{"filter":{"attribute":"country","equals":"PL"}}`, 400, `"filter":["`, `is no operator; use is, not, less`)
	f("POST", "segments/preview/", `{}`, 400, `required`)
	f("POST", "segments/", `{"name":"vips","description":"d","filter":{"tag":"vip"}}`, 201, `{"id":1,"name":"vips","description":"d","users":"http://spoor.test/api/public/segments/1/users/","object_count":2,"filter":{"tag":"vip"},"count":2,`)
	f("POST", "segments/", `{"name":"none"}`, 400, `{"errors":{"filter":["A segment needs a filter."]}}`)
	f("POST", "segments/", `{"name":"poles","filter":{"all":[{"segment":1},{"attribute":"country","is":"PL"}]}}`, 201, `"object_count":1`)
	f("PUT", "segments/1/", `{"filter":{"segment":2}}`, 400, `lead back to itself`)
	f("DELETE", "segments/1/", "", 400, `Segment 2 names it`)
	f("PUT", "segments/2/", `{"name":"Poles"}`, 200, `"name":"Poles"`, `"filter":{"all":[{"segment":1},{"attribute":"country","is":"PL"}]}`)
	f("PATCH", "segments/2/", `{"watched":true}`, 200, `"name":"Poles"`, `"count":1,"watched":true,"created_at":`)
	f("PATCH", "segments/2/", `{"watched":"yes"}`, 400, `{"errors":{"watched":["Must be a valid boolean."]}}`)
	f("GET", "segments/1/", "", 200, `"watched":false`)
	f("GET", "segments/2/users/", "", 200, `"count":1`, `"user_id":"ada"`)
	f("GET", "segments/", "", 200, `"count":2,"next":null`, `"object_count":1`)
	f("GET", "users-by-id/bob/segments/", "", 200, `"count":1`, `"name":"vips"`)
	f("GET", one+"segments/", "", 200, `"count":2`)
	today := testNow.Format("2006-01-02")
	f("GET", "segments/1/history/?days=7", "", 200, `{"points":[{"at":"`+today+`","value":2}],"change":0}`)
	f("GET", "segments/1/history/?days=0", "", 400)
	if r := ts.do("GET", "/api/segments/", "shop-read", ""); r.status != 200 || !strings.HasPrefix(r.body, `{"segments":[{"id":1,"name":"vips"`) {
		t.Errorf("/api/segments/: %d %s", r.status, r.body)
	}
	f("DELETE", "segments/2/", "", 204)
	f("GET", "segments/2/", "", 404)

	// What is kept of ada, and what a reader may not do.
	if r := ts.do("GET", "/api/public/"+one+"export/", "shop-read", ""); !strings.Contains(r.body, `{"name":"tag","value":"vip"`) || !strings.Contains(r.body, `{"name":"list","value":"Fans"`) {
		t.Errorf("the export shows %s", r.body)
	}
	for _, path := range []string{"tags/", "lists/", "segments/", one + "add_tag/"} {
		if r := ts.do("POST", "/api/public/"+path, "shop-read", `{"name":"z"}`); r.status != 403 {
			t.Errorf("%s by a reader: %d", path, r.status)
		}
	}
}

// Goal: members and catalogues are paged as users are, by number and by cursor,
// and each is shown once.
// Method: 250 users in a list and 250 tags, all pages followed in both versions.
func TestPagesOfCollections(t *testing.T) {
	ts, st, app := newRealServer(t)
	list, err := st.PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionList, Name: "all"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 250 {
		_, _, err := st.Edit(&spoor.Edit{App: app.ID, UserID: fmt.Sprint("u", i), ListAdd: []uint32{list.ID}, TagAdd: []string{fmt.Sprint("t", i)}, At: testNow.UnixMilli()})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := st.PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionSegment, Name: "s", Filter: &spoor.Filter{Op: spoor.FilterList, ID: list.ID}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"lists/1/users/", "segments/1/users/", "tags/"} {
		for _, accept := range []string{"*/*", "*/*; version=2"} {
			seen := map[int64]bool{}
			pages := 0
			for next := "/api/public/" + path; next != ""; pages++ {
				var page struct {
					Count   int64
					Next    string
					Results []struct{ ID int64 }
				}
				r := ts.do("GET", next, "shop-read", "", "Accept: "+accept)
				if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != 200 || page.Count != 250 {
					t.Fatalf("%s: %d, count %d, %v", next, r.status, page.Count, err)
				}
				for _, u := range page.Results {
					if seen[u.ID] {
						t.Errorf("%s shows %d again", next, u.ID)
					}
					seen[u.ID] = true
				}
				next = strings.TrimPrefix(page.Next, "http://spoor.test")
			}
			if len(seen) != 250 || pages != 3 {
				t.Errorf("%s with %s: %d on %d pages", path, accept, len(seen), pages)
			}
		}
	}
}
