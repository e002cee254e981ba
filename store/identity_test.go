package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// town is a store with one app, and short words for what happens in it.
type town struct {
	testing.TB
	c   *clock
	s   *Store
	app *spoor.App
	ids int
}

func newTown(t testing.TB, change ...func(*spoor.Settings)) *town {
	t.Helper()
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	w := &town{TB: t, c: c, s: s, app: newApp(t, s, "shop", "Europe/Warsaw")}
	for _, f := range change {
		app, err := s.UpdateApp(w.app.ID, func(a *spoor.App) error { f(&a.Settings); return nil })
		if err != nil {
			t.Fatal(err)
		}
		w.app = app
	}
	return w
}

func emailIdentifies(s *spoor.Settings) { s.EmailIdentifies = true }

// visit makes a page view of a key and a user id, either may be empty.
func (w *town) visit(key, user string, attrs ...spoor.Attribute) spoor.Hit {
	w.ids++
	h := page(w.app, w.c, "hit", w.ids)
	h.Key, h.UserID, h.Attributes = key, user, attrs
	return h
}

// come stores such a page view, a second after the last; it gives the profile.
func (w *town) come(key, user string, attrs ...spoor.Attribute) spoor.Number {
	w.Helper()
	w.c.add(1e9)
	return write(w, w.s, w.visit(key, user, attrs...))[0].Profile
}

func (w *town) profile(n spoor.Number) *spoor.Profile {
	w.Helper()
	p, err := w.s.Profile(w.app.ID, n)
	if err != nil {
		w.Fatal(err)
	}
	if p == nil {
		w.Fatalf("there is no profile %d", n)
	}
	return p
}

func (w *town) finds(by spoor.Lookup, value string, want ...spoor.Number) {
	w.Helper()
	got, err := w.s.Find(w.app.ID, by, value)
	if err != nil || !slices.Equal(got, want) {
		w.Errorf("lookup %d of %q gives %v, %v; want %v", by, value, got, err, want)
	}
}

func (w *town) edit(e spoor.Edit) (spoor.Number, bool, error) {
	w.c.add(1e9)
	e.App, e.At, e.Door = w.app.ID, w.c.ms(), spoor.DoorREST
	return w.s.Edit(&e)
}

func (w *town) hits(n spoor.Number) int {
	w.Helper()
	count := 0
	if err := w.s.Hits(w.app.ID, n, func(*spoor.Hit) error { count++; return nil }); err != nil {
		w.Fatal(err)
	}
	return count
}

// contact reports whether a profile is in the set of those with a contact.
func (w *town) contact(n spoor.Number) bool {
	w.Helper()
	set, err := readMembers(w.s.db, w.app.ID, setContacts)
	if err != nil {
		w.Fatal(err)
	}
	return set.Contains(uint32(n))
}

func text(name, value string) spoor.Attribute {
	return spoor.Attribute{Name: name, Type: spoor.TypeString, Text: value}
}

func null(name string) spoor.Attribute { return spoor.Attribute{Name: name} }

// Goal: the table of identity rules.
// Method: each case is a story of (key, user id) visits; the profile numbers
// that they must give are written beside them, and who owns what in the end.
func TestIdentityRules(t *testing.T) {
	type step struct {
		key, user string
		want      spoor.Number
	}
	for _, tc := range []struct {
		name   string
		steps  []step
		people map[spoor.Number]string // living profiles: user id, keys
	}{
		{"a key is one profile", []step{{"k", "", 1}, {"k", "", 1}, {"l", "", 2}}, map[spoor.Number]string{1: " k", 2: " l"}},
		{"an unknown user id claims the profile", []step{{"k", "", 1}, {"k", "u", 1}, {"k", "", 1}}, map[spoor.Number]string{1: "u k"}},
		{"a user id alone is a profile", []step{{"", "u", 1}, {"", "u", 1}}, map[spoor.Number]string{1: "u "}},
		{"a shared computer: an unknown user id takes the key with it", []step{{"k", "u", 1}, {"k", "v", 2}, {"k", "", 2}}, map[spoor.Number]string{1: "u ", 2: "v k"}},
		{"a shared computer: a known user id switches", []step{{"k", "u", 1}, {"l", "v", 2}, {"k", "v", 2}, {"k", "", 2}, {"k", "u", 1}, {"k", "", 1}},
			map[spoor.Number]string{1: "u k", 2: "v l"}},
		{"an unclaimed profile is merged into a known person", []step{{"k", "u", 1}, {"l", "", 2}, {"l", "u", 1}, {"l", "", 1}}, map[spoor.Number]string{1: "u k,l"}},
		{"two claimed profiles are never merged", []step{{"k", "u", 1}, {"l", "v", 2}, {"l", "u", 1}, {"", "v", 2}}, map[spoor.Number]string{1: "u k,l", 2: "v "}},
		{"nobody is nobody", []step{{"", "", 0}}, map[spoor.Number]string{}},
	} {
		for _, restart := range []bool{false, true} { // the writer remembers, or reads
			t.Run(fmt.Sprint(tc.name, " restart ", restart), func(t *testing.T) {
				w := newTown(t)
				for i, st := range tc.steps {
					if restart {
						w.forgetful()
					}
					if got := w.come(st.key, st.user); got != st.want {
						t.Errorf("step %d: profile %d, want %d", i+1, got, st.want)
					}
				}
				w.living(tc.people)
			})
		}
		t.Run(tc.name+" in one group", func(t *testing.T) {
			w := newTown(t)
			var hits []spoor.Hit
			for _, st := range tc.steps {
				hits = append(hits, w.visit(st.key, st.user))
			}
			for i, h := range write(t, w.s, hits...) {
				if h.Profile != tc.steps[i].want {
					t.Errorf("step %d: profile %d, want %d", i+1, h.Profile, tc.steps[i].want)
				}
			}
			w.living(tc.people)
		})
	}
}

// forgetful empties the writer's memory, as a restart would.
func (w *town) forgetful() {
	w.Helper()
	if err := w.s.change(func(g *group) error { _, err := g.w.recall(); return err }); err != nil {
		w.Fatal(err)
	}
}

// living compares the profiles that exist: number → "user key,key".
func (w *town) living(want map[spoor.Number]string) {
	w.Helper()
	got := map[spoor.Number]string{}
	if err := w.s.Profiles(w.app.ID, 0, func(p *spoor.Profile) error {
		keys := slices.Sorted(slices.Values(p.Keys))
		got[p.Number] = p.UserID + " " + strings.Join(keys, ",")
		return nil
	}); err != nil {
		w.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("profiles %v, want %v", got, want)
	}
	if n, err := w.s.ProfileCount(w.app.ID); err != nil || n != int64(len(want)) {
		w.Errorf("%d profiles are counted, %v; want %d", n, err, len(want))
	}
}

// Goal: history follows a merge: hits, counters, former number, public id.
// Method: two anonymous devices and one person become one; everything is asked
// for by the old numbers and by the new one.
func TestMergeKeepsHistory(t *testing.T) {
	w := newTown(t)
	a := w.come("k", "u", text(spoor.AttrFirstName, "Ada"))
	b := w.come("l", "", text("colour", "red"))
	w.come("l", "")
	d := w.come("m", "", text(spoor.AttrEmail, "ada@x.example"))
	was := w.profile(b).ID
	if got := w.come("l", "u"); got != a {
		t.Fatalf("profile %d, want %d", got, a)
	}
	if got := w.come("m", "u"); got != a {
		t.Fatalf("profile %d, want %d", got, a)
	}
	p := w.profile(a)
	if p.Views != 6 || p.Visits != 3 || p.Text("colour") != "red" || p.Text(spoor.AttrFirstName) != "Ada" || p.Text(spoor.AttrEmail) != "ada@x.example" {
		t.Errorf("the person is %+v", p)
	}
	if !slices.Equal(p.Former, []spoor.Number{b, d}) {
		t.Errorf("former numbers %v, want %v", p.Former, []spoor.Number{b, d})
	}
	for _, n := range []spoor.Number{a, b, d} {
		if q := w.profile(n); q.Number != a {
			t.Errorf("number %d leads to profile %d, want %d", n, q.Number, a)
		}
		if got := w.hits(n); got != 6 {
			t.Errorf("number %d gives %d hits, want 6", n, got)
		}
		if id := w.s.PublicID(w.app.ID, n); id != p.ID {
			t.Errorf("number %d has public id %d, want %d", n, id, p.ID)
		}
	}
	if q, err := w.s.ProfileByID(w.app.ID, was); err != nil || q == nil || q.Number != a {
		t.Errorf("the former public id leads to %v, %v; want profile %d", q, err, a)
	}
	w.finds(spoor.LookupKey, "l", a)
	w.finds(spoor.LookupEmail, "ADA@x.example ", a)
	if n, _, err := w.edit(spoor.Edit{Number: b, Attributes: []spoor.Attribute{text(spoor.AttrName, "Ada L.")}}); err != nil || n != a {
		t.Errorf("an edit of the former number changed profile %d, %v; want %d", n, err, a)
	}
	if got := w.profile(a).Text(spoor.AttrName); got != "Ada L." {
		t.Errorf("the edit of the former number gave the name %q", got)
	}
}

// Goal: an alias makes the former id a key of the person, merges an unclaimed
// profile behind it, and never a claimed one.
// Method: each case begins with what the former id is.
func TestAlias(t *testing.T) {
	alias := func(w *town, user, former string) spoor.Number {
		w.c.add(1e9)
		h := w.visit("", user)
		h.Kind, h.FormerID = spoor.KindAlias, former
		return write(w, w.s, h)[0].Profile
	}
	t.Run("an unknown id", func(t *testing.T) {
		w := newTown(t)
		n := alias(w, "u", "old")
		w.finds(spoor.LookupKey, "old", n)
		w.living(map[spoor.Number]string{1: "u old"})
	})
	t.Run("an anonymous profile", func(t *testing.T) {
		w := newTown(t)
		w.come("old", "")
		w.come("k", "u")
		alias(w, "u", "old")
		w.finds(spoor.LookupKey, "old", 2)
		w.living(map[spoor.Number]string{2: "u k,old"})
	})
	t.Run("a claimed profile's key", func(t *testing.T) {
		w := newTown(t)
		w.come("old", "v")
		alias(w, "u", "old")
		w.living(map[spoor.Number]string{1: "v old", 2: "u "})
	})
	t.Run("a user id", func(t *testing.T) {
		w := newTown(t)
		w.come("k", "v")
		alias(w, "u", "v")
		w.living(map[spoor.Number]string{1: "v k", 2: "u "})
	})
	t.Run("itself", func(t *testing.T) {
		w := newTown(t)
		w.come("k", "u")
		alias(w, "u", "u")
		alias(w, "u", "k")
		w.living(map[spoor.Number]string{1: "u k"})
	})
}

// Goal: where the app says so, an e-mail address identifies; a user id goes first.
// Method: stories as in TestIdentityRules, with addresses.
func TestEmailIdentifies(t *testing.T) {
	mail := func(a string) spoor.Attribute { return text(spoor.AttrEmail, a) }
	t.Run("two devices, one address", func(t *testing.T) {
		w := newTown(t, emailIdentifies)
		w.come("k", "", mail("Ada@x.example"))
		w.come("l", "")
		if n := w.come("l", "", mail("ada@X.example")); n != 1 {
			t.Errorf("profile %d, want 1", n)
		}
		w.living(map[spoor.Number]string{1: " k,l"})
	})
	t.Run("a shared computer", func(t *testing.T) {
		w := newTown(t, emailIdentifies)
		w.come("k", "", mail("ada@x.example"))
		if n := w.come("k", "", mail("bob@x.example")); n != 2 {
			t.Errorf("profile %d, want 2", n)
		}
		w.finds(spoor.LookupEmail, "ada@x.example", 1)
		w.finds(spoor.LookupEmail, "bob@x.example", 2)
	})
	t.Run("a user id goes first", func(t *testing.T) {
		w := newTown(t, emailIdentifies)
		w.come("k", "u", mail("ada@x.example"))
		if n := w.come("l", "v", mail("ada@x.example")); n != 2 {
			t.Errorf("profile %d, want 2", n)
		}
		w.finds(spoor.LookupEmail, "ada@x.example", 1, 2)
	})
	t.Run("blanks are no address", func(t *testing.T) {
		w := newTown(t, emailIdentifies)
		w.come("k", "", mail("  "))
		if n := w.come("k", "", mail("ada@x.example")); n != 1 {
			t.Errorf("profile %d, want 1: blanks have claimed it", n)
		}
		w.come("l", "", mail(" "))
		if w.contact(2) {
			t.Error("blanks are a contact")
		}
	})
	t.Run("otherwise an address is shared", func(t *testing.T) {
		w := newTown(t)
		w.come("k", "", mail("ada@x.example"))
		w.come("l", "", mail("ada@x.example"))
		w.finds(spoor.LookupEmail, "ada@x.example", 1, 2)
		w.living(map[spoor.Number]string{1: " k", 2: " l"})
	})
	t.Run("a merge of many with one address, in one group", func(t *testing.T) {
		w := newTown(t, emailIdentifies)
		hits := []spoor.Hit{w.visit("k", ""), w.visit("l", ""), w.visit("k", "", mail("a@x.example")), w.visit("l", "", mail("a@x.example")), w.visit("m", "", mail("a@x.example"))}
		for i, want := range []spoor.Number{1, 2, 1, 1, 1} {
			if i == 0 {
				write(t, w.s, hits...)
			}
			if hits[i].Profile != want {
				t.Errorf("hit %d: profile %d, want %d", i, hits[i].Profile, want)
			}
		}
		w.finds(spoor.LookupEmail, "a@x.example", 1)
	})
}

// Goal: the set of contacts and the shared identifiers follow every change.
// Method: each of the five facts is set and taken away again, by a hit and by
// an edit; the cleanup's Check compares set and profiles too.
func TestContactsFollowChanges(t *testing.T) {
	w := newTown(t)
	n := w.come("k", "")
	if w.contact(n) {
		t.Fatal("an anonymous profile has a contact")
	}
	yes := spoor.Attribute{Name: spoor.AttrWebPush, Type: spoor.TypeBool, Text: "true"}
	no := spoor.Attribute{Name: spoor.AttrWebPush, Type: spoor.TypeBool, Text: "false"}
	for _, tc := range []struct {
		name      string
		set, drop spoor.Edit
	}{
		{"email", spoor.Edit{Attributes: []spoor.Attribute{text(spoor.AttrEmail, "a@x.example")}}, spoor.Edit{Attributes: []spoor.Attribute{null(spoor.AttrEmail)}}},
		{"phone", spoor.Edit{Attributes: []spoor.Attribute{text(spoor.AttrPhone, "+48 600 700 800")}}, spoor.Edit{Attributes: []spoor.Attribute{null(spoor.AttrPhone)}}},
		{"web push", spoor.Edit{Attributes: []spoor.Attribute{yes}}, spoor.Edit{Attributes: []spoor.Attribute{no}}},
		{"mobile", spoor.Edit{MobileAdd: []string{"token"}}, spoor.Edit{MobileDrop: []string{"token"}}},
		{"user id", spoor.Edit{UserID: "u"}, spoor.Edit{Attributes: []spoor.Attribute{null(spoor.AttrUserID)}}},
	} {
		for _, e := range []struct {
			edit spoor.Edit
			want bool
		}{{tc.set, true}, {tc.drop, false}, {tc.set, true}, {tc.drop, false}} {
			e.edit.Number = n
			if _, _, err := w.edit(e.edit); err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
			if got := w.contact(n); got != e.want {
				t.Errorf("%s: contact %t, want %t", tc.name, got, e.want)
			}
			check(t, w.s)
		}
	}
	w.finds(spoor.LookupEmail, "a@x.example")
	w.finds(spoor.LookupPhone, "48600700800")
	w.finds(spoor.LookupMobile, "token")
	w.finds(spoor.LookupUserID, "u")
	w.come("k", "", text(spoor.AttrEmail, "a@x.example"), text(spoor.AttrPhone, "(600) 1"))
	w.finds(spoor.LookupEmail, "A@x.example", n)
	w.finds(spoor.LookupPhone, "6001", n)
	w.come("k", "", text(spoor.AttrEmail, "b@x.example"))
	w.finds(spoor.LookupEmail, "a@x.example")
	w.finds(spoor.LookupEmail, "b@x.example", n)
	w.come("k", "", text(spoor.AttrEmail, "c@x.example"), text(spoor.AttrEmail, "d@x.example"))
	got := w.profile(n).Text(spoor.AttrEmail)
	w.finds(spoor.LookupEmail, got, n)
	w.come("l", "u2")
	w.come("k", "u2")
	w.finds(spoor.LookupEmail, got, 2)
	w.finds(spoor.LookupPhone, "6001", 2)
}

// Goal: conflicts of edits have their errors and change nothing.
// Method: a table of edits against two people and an anonymous profile.
func TestEditConflicts(t *testing.T) {
	w := newTown(t)
	w.come("k", "u")
	w.come("l", "v")
	w.come("m", "")
	for _, tc := range []struct {
		name string
		edit spoor.Edit
		want error
	}{
		{"another's user id", spoor.Edit{Number: 3, UserID: "u"}, spoor.ErrTaken},
		{"create with a known user id", spoor.Edit{UserID: "u", MustCreate: true}, spoor.ErrTaken},
		{"create with a known key", spoor.Edit{Key: "m", MustCreate: true}, spoor.ErrTaken},
		{"create with an unknown user id and a known key", spoor.Edit{UserID: "w", Key: "m", MustCreate: true}, spoor.ErrTaken},
		{"no such number", spoor.Edit{Number: 99}, spoor.ErrNoProfile},
	} {
		if n, created, err := w.edit(tc.edit); !errors.Is(err, tc.want) || created {
			t.Errorf("%s: profile %d, created %t, %v; want %v", tc.name, n, created, err, tc.want)
		}
	}
	for _, id := range []int64{-1, publicBase, publicBase + 5} {
		if n, created, err := w.edit(spoor.Edit{ID: id}); err == nil {
			t.Errorf("id %d was kept: profile %d, created %t", id, n, created)
		}
	}
	w.living(map[spoor.Number]string{1: "u k", 2: "v l", 3: " m"})
	if n, created, err := w.edit(spoor.Edit{UserID: "u", Key: "m"}); err != nil || n != 1 || created {
		t.Errorf("a user id goes before a key: profile %d, created %t, %v", n, created, err)
	}
	w.living(map[spoor.Number]string{1: "u k,m", 2: "v l", 3: " "})
	if n, created, err := w.edit(spoor.Edit{UserID: "w", Key: "new", MustCreate: true}); err != nil || n != 4 || !created {
		t.Errorf("a new profile: %d, created %t, %v", n, created, err)
	}
	if n, _, err := w.edit(spoor.Edit{Number: 4, UserID: "x"}); err != nil || n != 4 {
		t.Errorf("a new user id: %d, %v", n, err)
	}
	w.finds(spoor.LookupUserID, "w")
	w.finds(spoor.LookupUserID, "x", 4)
	if _, _, err := w.s.Edit(&spoor.Edit{App: 77, UserID: "u"}); err == nil {
		t.Error("an edit of an app that does not exist succeeded")
	}
}

// Goal: a group knows what its own requests changed: an identifier that was
// taken away, a profile that was merged, a profile that was made.
// Method: pairs of requests that depend on each other run as one group, and
// must give what they give one after the other.
func TestRequestsOfOneGroupSeeEachOther(t *testing.T) {
	at := func(w *town, e spoor.Edit) *spoor.Edit {
		e.App, e.At, e.Door = w.app.ID, w.c.ms(), spoor.DoorREST
		return &e
	}
	for _, tc := range []struct {
		name  string
		begin func(w *town)
		calls func(w *town) []func()
		want  map[spoor.Number]string
	}{
		{"a user id that was changed is free", func(w *town) { w.come("k", "u") }, func(w *town) []func() {
			e, h := at(w, spoor.Edit{Number: 1, UserID: "v"}), w.visit("", "u")
			return []func(){func() { w.must(w.s.Edit(e)) }, func() { write(w, w.s, h) }}
		}, map[spoor.Number]string{1: "v k", 2: "u "}},
		{"a user id that was removed is free", func(w *town) { w.come("k", "u") }, func(w *town) []func() {
			e, f := at(w, spoor.Edit{Number: 1, Attributes: []spoor.Attribute{null(spoor.AttrUserID)}}), at(w, spoor.Edit{UserID: "u", MustCreate: true})
			return []func(){func() { w.must(w.s.Edit(e)) }, func() { w.must(w.s.Edit(f)) }}
		}, map[spoor.Number]string{1: " k", 2: "u "}},
		{"an edit of a number that was merged", func(w *town) { w.come("k", "u"); w.come("l", "") }, func(w *town) []func() {
			h, e := w.visit("l", "u"), at(w, spoor.Edit{Number: 2, Attributes: []spoor.Attribute{text(spoor.AttrEmail, "a@x.example")}})
			return []func(){func() { write(w, w.s, h) }, func() { w.must(w.s.Edit(e)) }}
		}, map[spoor.Number]string{1: "u k,l"}},
		{"an edit of a profile that was made", func(w *town) {}, func(w *town) []func() {
			h, e := w.visit("k", ""), at(w, spoor.Edit{Number: 1, UserID: "u"})
			return []func(){func() { write(w, w.s, h) }, func() { w.must(w.s.Edit(e)) }}
		}, map[spoor.Number]string{1: "u k"}},
		{"an app that is deleted takes no one with it", func(w *town) { newApp(w, w.s, "gone", "UTC") }, func(w *town) []func() {
			h := w.visit("k", "", text(spoor.AttrEmail, "a@x.example"))
			e := at(w, spoor.Edit{Number: 1, Attributes: []spoor.Attribute{text(spoor.AttrPhone, "1")}})
			f := at(w, spoor.Edit{Number: 1, Attributes: []spoor.Attribute{null(spoor.AttrPhone)}})
			gone := w.s.AppByName("gone").ID
			bye := page(w.s.AppByName("gone"), w.c, "x", 1)
			return []func(){
				func() { write(w, w.s, h, bye) },
				func() {
					if err := w.s.DeleteApp(gone); err != nil {
						w.Error(err)
					}
				},
				func() { w.must(w.s.Edit(e)) }, func() { w.must(w.s.Edit(f)) },
			}
		}, map[spoor.Number]string{1: " k"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, one := range []bool{false, true} {
				w := newTown(t)
				tc.begin(w)
				if calls := tc.calls(w); one {
					asOneGroup(t, w.s, calls...)
				} else {
					for _, call := range calls {
						call()
					}
				}
				w.living(tc.want)
			}
		})
	}
}

func (w *town) must(_ spoor.Number, _ bool, err error) {
	w.Helper()
	if err != nil {
		w.Error(err)
	}
}

// Goal: imported ids are kept and found, also after their profile was merged.
// Method: edits with an id of their own; one profile becomes part of a person.
func TestImportedIDs(t *testing.T) {
	w := newTown(t)
	n, created, err := w.edit(spoor.Edit{ID: 4711, UserID: "u", MustCreate: true})
	if err != nil || !created {
		t.Fatalf("created %t, %v", created, err)
	}
	if _, _, err := w.edit(spoor.Edit{ID: 4711, UserID: "v"}); !errors.Is(err, spoor.ErrTaken) {
		t.Errorf("the same id again: %v, want ErrTaken", err)
	}
	if p := w.profile(n); p.ID != 4711 || w.s.PublicID(w.app.ID, n) != 4711 {
		t.Errorf("public id %d and %d, want 4711", p.ID, w.s.PublicID(w.app.ID, n))
	}
	byID := func(id int64, want spoor.Number) {
		t.Helper()
		p, err := w.s.ProfileByID(w.app.ID, id)
		if err != nil || want == 0 && p != nil || want != 0 && (p == nil || p.Number != want) {
			t.Errorf("id %d gives %v, %v; want profile %d", id, p, err, want)
		}
	}
	byID(4711, n)
	byID(4712, 0)
	byID(0, 0)
	byID(-5, 0)
	byID(1<<53, 0)
	secret, err := readSalt(w.s.db, w.app.ID)
	if err != nil {
		t.Fatal(err)
	}
	people := secret.permutation("profile")
	byID(people.public(uint64(n)), 0) // it answers to its own id alone
	m, _, err := w.edit(spoor.Edit{ID: 99, Key: "k", MustCreate: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.come("k", "u"); got != n {
		t.Fatalf("profile %d, want %d", got, n)
	}
	if p := w.profile(m); p.Number != n || p.ID != 4711 {
		t.Errorf("after the merge: profile %d with id %d", p.Number, p.ID)
	}
	byID(99, n) // its holder still finds the person
	if _, _, err := w.edit(spoor.Edit{ID: 99, UserID: "w"}); !errors.Is(err, spoor.ErrTaken) {
		t.Errorf("the id of a merged profile was given away: %v", err)
	}
}

// Goal: the bounds of keys and former numbers hold, and nothing breaks at them.
// Method: one more device than fits, then the same by merging.
func TestKeysAndFormerAreBounded(t *testing.T) {
	w := newTown(t)
	var hits []spoor.Hit
	for i := range keysMax + 20 {
		hits = append(hits, w.visit(fmt.Sprint("k", i), "u"))
	}
	write(t, w.s, hits...)
	if n := len(w.profile(1).Keys); n != keysMax {
		t.Errorf("%d keys, want %d", n, keysMax)
	}
	w.come("taken", "v") // it moves away from v and fits nowhere
	if n := w.come("taken", "u"); n != 1 {
		t.Errorf("profile %d, want 1", n)
	}
	w.finds(spoor.LookupKey, "taken")
	check(t, w.s)

	w = newTown(t)
	const devices = keysMax + 20
	hits = hits[:0]
	for i := range devices {
		hits = append(hits, w.visit(fmt.Sprint("k", i), ""))
	}
	write(t, w.s, hits...)
	person := w.come("", "u")
	// Merging a thousand takes long; most of them are put in by hand.
	var many state
	for i := range formerMax - devices + 10 {
		many.former = append(many.former, former{number: spoor.Number(100_000 + i)})
	}
	if err := w.s.db.Merge(profileKey(nil, w.app.ID, person), many.appendTo(nil), nil); err != nil {
		t.Fatal(err)
	}
	hits = hits[:0]
	for i := range devices {
		hits = append(hits, w.visit(fmt.Sprint("k", i), "u"))
	}
	for i, h := range write(t, w.s, hits...) {
		if h.Profile != person {
			t.Fatalf("hit %d: profile %d, want %d", i, h.Profile, person)
		}
	}
	p := w.profile(person)
	if len(p.Former) != formerMax {
		t.Errorf("%d former numbers, want %d", len(p.Former), formerMax)
	}
	if len(p.Keys) != keysMax {
		t.Errorf("%d keys, want %d", len(p.Keys), keysMax)
	}
}

// Goal: public ids of profiles and hits are unique, below 2^53, and tell
// neither order nor number.
// Method: many are made; the permutation is also inverted, at its ends too.
func TestPublicIDs(t *testing.T) {
	w := newTown(t)
	var hits []spoor.Hit
	const count = 3000
	for i := range count {
		hits = append(hits, w.visit(fmt.Sprint("k", i), ""))
	}
	write(t, w.s, hits...)
	seen := map[int64]bool{}
	rising := 0
	for i, h := range hits {
		if h.Public < 0 || h.Public >= 1<<53 || seen[h.Public] {
			t.Fatalf("hit %d has the public id %d, seen before: %t", i, h.Public, seen[h.Public])
		}
		seen[h.Public] = true
		if i > 0 && h.Public > hits[i-1].Public {
			rising++
		}
	}
	if rising < count/3 || rising > count*2/3 {
		t.Errorf("%d of %d ids of hits are greater than the one before: they tell the order", rising, count)
	}
	clear(seen)
	rising = 0
	last := int64(0)
	if err := w.s.Profiles(w.app.ID, 0, func(p *spoor.Profile) error {
		if p.ID < publicBase || p.ID >= 1<<53 || seen[p.ID] {
			t.Fatalf("profile %d has the public id %d, seen before: %t", p.Number, p.ID, seen[p.ID])
		}
		if seen[p.ID] = true; p.ID > last {
			rising++
		}
		last = p.ID
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != count || rising < count/3 || rising > count*2/3 {
		t.Errorf("%d ids of profiles, %d greater than the one before", len(seen), rising)
	}
	other := newApp(t, w.s, "other", "UTC")
	if a, b := w.s.PublicID(w.app.ID, 1), w.s.PublicID(other.ID, 1); a == b {
		t.Error("two apps have the same ids")
	}
	secret := salt{1, 2, 3}
	p := secret.permutation("profile")
	for _, n := range []uint64{0, 1, 2, 1<<26 - 1, 1 << 26, 1<<32 - 1, 1<<52 - 1} {
		if id := p.public(n); p.private(id) != n || id < publicBase || id >= 2*publicBase {
			t.Errorf("%d becomes %d becomes %d", n, id, p.private(id))
		}
	}
}

// Goal: an edit whose value does not fit its attribute is refused and changes
// nothing; a hit with such a value is stored without it.
func TestMisfits(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	set := func(typ spoor.Type, text string) error {
		_, _, err := s.Edit(&spoor.Edit{App: app.ID, UserID: "u1", Door: spoor.DoorREST, At: c.ms(),
			Attributes: []spoor.Attribute{{Name: "height", Type: typ, Text: text}, {Name: spoor.AttrFirstName, Type: spoor.TypeString, Text: text}}})
		return err
	}
	if err := set(spoor.TypeInt, "170"); err != nil {
		t.Fatal(err)
	}
	var misfit *spoor.MisfitError
	if err := set(spoor.TypeFloat, "180.5"); !errors.As(err, &misfit) || misfit.Name != "height" || misfit.Type != spoor.TypeInt {
		t.Errorf("a value that does not convert: %v", err)
	}
	h := page(app, c, "k1", 1)
	h.UserID, h.Attributes = "u1", []spoor.Attribute{{Name: "height", Type: spoor.TypeString, Text: "tall"}}
	if got := write(t, s, h); got[0].Outcome != spoor.Stored {
		t.Errorf("hit: %v", got[0].Outcome)
	}
	dropped := s.Stats().DroppedAttributes
	for _, bad := range []spoor.Attribute{text(spoor.AttrEmail, "rubbish"), text(spoor.AttrEmail, "a b@c.example"), text(spoor.AttrPhone, "none")} {
		h := page(app, c, "k1", 1)
		h.Attributes, h.ID = []spoor.Attribute{text(spoor.AttrEmail, "good@x.example"), bad}, "e "+bad.Text
		write(t, s, h)
	}
	if n := s.Stats().DroppedAttributes - dropped; n != 3 {
		t.Errorf("%d implausible contacts are counted, want 3", n)
	}
	p, err := s.Profile(app.ID, 1)
	if err != nil || p.Text(spoor.AttrEmail) != "good@x.example" || p.Text(spoor.AttrPhone) != "" {
		t.Errorf("contacts: %+v, %v", p, err)
	}
	if err != nil || p.Text("height") != "170" || p.Text(spoor.AttrFirstName) != "170" {
		t.Errorf("profile %+v, %v", p, err)
	}
}

// Goal: a cookieless visitor, who may be several persons, is never claimed,
// merged or edited, by no door.
func TestDailyVisitorIsNobody(t *testing.T) {
	w := newTown(t)
	daily := spoor.NewDailyKey([]byte("0123456789abcdef"))
	n := w.come(daily, "")
	if again := w.come(daily, ""); again != n || w.profile(n).Views != 2 {
		t.Errorf("visits of a day are profiles %d and %d", n, again)
	}
	ada := w.come("", "ada")
	// A hit of the visitor that names a person is the person's alone.
	if got := w.come(daily, "ada"); got != ada {
		t.Errorf("the hit went to %d", got)
	}
	if got := w.come(daily, "bob"); got == n || got == ada {
		t.Errorf("a new person took profile %d", got)
	}
	w.finds(spoor.LookupKey, daily, n)
	if p := w.profile(ada); len(p.Former) > 0 || len(p.Keys) > 0 {
		t.Errorf("%+v", p)
	}
	for _, e := range []spoor.Edit{
		{Number: n, UserID: "carl"}, {Number: n, Attributes: []spoor.Attribute{{Name: spoor.AttrEmail, Type: spoor.TypeString, Text: "a@b.c"}}},
		{Key: daily, UserID: "dora"}, {Number: ada, Key: daily}, {UserID: "new", Key: spoor.NewDailyKey([]byte("fedcba9876543210"))},
	} {
		if _, _, err := w.edit(e); !errors.Is(err, spoor.ErrDaily) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	w.finds(spoor.LookupUserID, "carl")
	w.finds(spoor.LookupUserID, "new")
	if p := w.profile(n); p.UserID != "" || p.Text(spoor.AttrEmail) != "" {
		t.Errorf("%+v", p)
	}
}

// Goal: each category of consent is remembered by itself, the newest counts.
func TestConsentOfAPerson(t *testing.T) {
	w := newTown(t)
	say := func(c spoor.Consent) spoor.Consent {
		w.c.add(1e9)
		h := w.visit("visitor1", "")
		h.Consent = c
		return w.profile(write(w, w.s, h)[0].Profile).Consent
	}
	yes, no, unsaid := spoor.ChoiceGranted, spoor.ChoiceDenied, spoor.ChoiceUnknown
	if got, want := say(spoor.NewConsent(yes, no, yes)), spoor.NewConsent(yes, no, yes); got != want {
		t.Errorf("got %b, want %b", got, want)
	}
	if got, want := say(spoor.NewConsent(unsaid, yes, no)), spoor.NewConsent(yes, yes, no); got != want {
		t.Errorf("got %b, want %b", got, want)
	}
}
