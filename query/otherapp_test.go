package query

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// Goal: nothing that belongs to one app opens anything of another: no role's
// token reads or changes what is behind the other's name, ids or identifiers,
// and a write key, which stands in every page, is no token at all.
// Method: every route of the table, by every role of the other app and by write
// keys of both, with the app's name, its person's ids and ?app= in every place,
// on a real store; then all that the app has is compared with what it had.
func TestOtherAppByRoute(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	now := testNow.UnixMilli()
	st, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), Log: log, MemTableBytes: 1 << 20, CacheBytes: 8 << 20, FilterBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	for _, name := range []string{"shop", "other"} {
		a := &spoor.App{Name: name, Created: now, Settings: spoor.DefaultSettings("UTC"), Keys: []spoor.WriteKey{{Key: name + "-pub"}}, Share: spoor.HashToken(name + "-link")}
		a.Settings.RequestsPerMin = 0
		for _, role := range []spoor.Role{read, write, erase, admin} {
			a.Tokens = append(a.Tokens, spoor.Token{Name: name + "-" + string(role), Role: role, Hash: spoor.HashToken(name + "-" + string(role))})
		}
		if _, err := st.CreateApp(a); err != nil {
			t.Fatal(err)
		}
	}
	shop := st.AppByName("shop")
	hits := []spoor.Hit{{
		App: shop.ID, Kind: spoor.KindEvent, Door: spoor.DoorSDK, Name: "Secret event", Key: "secret-cookie", UserID: "ada", MobileAdd: "secret-token", Received: now,
		Attributes: []spoor.Attribute{{Name: spoor.AttrEmail, Type: spoor.TypeString, Text: "ada@example.com"}},
	}}
	if err := st.Write(hits); err != nil || hits[0].Outcome != spoor.Stored {
		t.Fatal(hits[0].Outcome, err)
	}
	for i := range 20 { // so that the other app's own have other ids
		for kind := spoor.CollectionTag; kind <= spoor.CollectionSegment; kind++ {
			c := spoor.Collection{Kind: kind, Name: fmt.Sprint("secret ", i), Description: "secret"}
			if kind == spoor.CollectionSegment {
				c.Filter = &spoor.Filter{Op: spoor.FilterTag, Name: "secret 19"}
			}
			if _, err := st.PutCollection(shop.ID, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := st.Edit(&spoor.Edit{App: shop.ID, Number: hits[0].Profile, TagAdd: []string{"secret 19"}, ListAdd: []uint32{20}, At: now}); err != nil {
		t.Fatal(err)
	}
	ts := newTestServer(t, func(o *Options) { o.Store, o.Apps, o.PrivateMetrics = st, st, true })
	before := belongings(t, st, shop.ID)
	id := fmt.Sprint(st.PublicID(shop.ID, hits[0].Profile))
	for _, path := range []string{"/api/public/users/" + id + "/", "/api/public/users-by-id/ada/"} { // else the rest proves nothing
		if rep := ts.do("GET", path, "shop-read", ""); rep.status != 200 || !strings.Contains(rep.body, "ada@example.com") {
			t.Fatalf("%s with its own token: %d %s", path, rep.status, rep.body)
		}
	}
	audited := belongings(t, st, shop.ID)
	if audited == before {
		t.Fatal("what the app has does not tell that it was read")
	}
	tried := 0
	for _, r := range routes() {
		if r.scope == scopeNone && r.pattern != "/metrics/" {
			continue // about no app and no person
		}
		path := strings.Replace(pathOf(r), "1001", id, 1)
		also := "?app=shop"
		if strings.Contains(path, "?") {
			also = "&app=shop"
		}
		for _, path := range []string{path, path + also} {
			for _, token := range []string{"other-read", "other-write", "other-erase", "other-admin", "shop-pub", "other-pub"} {
				key := strings.HasSuffix(token, "pub")
				if r.action == "tail" && !key {
					continue // a stream without end, of the token's app
				}
				tried++
				body := strings.Replace(bodies[r.action], `"ada"`, `"eve"`, 1) // or the other app would have an ada of its own
				rep := ts.do(r.method, path, token, body)
				var want []int
				switch {
				case key:
					want = []int{401}
				case r.scope != scopeApp && r.scope != scopeSelf, strings.Contains(r.pattern, ":"): // names the app or the person
					want = []int{403, 404}
				}
				if want != nil && !slices.Contains(want, rep.status) {
					t.Errorf("%s %s with %q: got %d %s, want one of %v", r.method, path, token, rep.status, rep.body, want)
				}
				for _, mark := range []string{"ada@example.com", "secret", "Secret", id, `"shop"`, "shop-"} {
					if strings.Contains(rep.body, mark) {
						t.Errorf("%s %s with %q tells %s: %s", r.method, path, token, mark, rep.body)
					}
				}
				if after := belongings(t, st, shop.ID); after != audited {
					t.Fatalf("%s %s with %q changed what the app has:\n%s\n%s", r.method, path, token, audited, after)
				}
			}
		}
	}
	if tried < 600 {
		t.Errorf("only %d requests", tried)
	}
}

// belongings is all that an app has, as text: itself, its people, their hits,
// who read what, and whether somebody's hits are refused.
func belongings(t *testing.T, st *store.Store, id spoor.AppID) string {
	t.Helper()
	app := st.App(id)
	if app == nil {
		return "gone"
	}
	all := []any{*app}
	day := app.Day(testNow.UnixMilli())
	keep := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	keep(st.Profiles(id, 0, func(p *spoor.Profile) error { all = append(all, *p); return nil }))
	for kind := spoor.CollectionTag; kind <= spoor.CollectionSegment; kind++ {
		list, err := st.Collections(id, kind)
		keep(err)
		all = append(all, list)
	}
	keep(st.ScanHits(id, day-1, day+2, func(h *spoor.Hit) error { all = append(all, *h); return nil }))
	_, err := st.AuditEntries(id, 0, func(e *spoor.AuditEntry) error { all = append(all, *e); return nil })
	keep(err)
	keep(st.Notices(id, func(n *spoor.Notice) error { all = append(all, *n); return nil }))
	b, err := json.Marshal(all)
	keep(err)
	return string(b)
}
