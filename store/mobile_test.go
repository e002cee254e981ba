package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// ping stores a ping that brings or drops a push token.
func (w *town) ping(key, user, add, drop string) spoor.Hit {
	w.Helper()
	w.c.add(1e9)
	w.ids++
	return write(w, w.s, spoor.Hit{
		App: w.app.ID, Kind: spoor.KindPing, Door: spoor.DoorSDK, ID: fmt.Sprintf("ping %d", w.ids),
		Key: key, UserID: user, MobileAdd: add, MobileDrop: drop, Received: w.c.ms(),
	})[0]
}

// Goal: a push token that hits bring is the fifth contact, as one that an edit
// sets: it leads to the profile and keeps it, until it is dropped.
// Method: pings that add, repeat, move and drop tokens, edits and merging in
// between; the check compares identifiers, profiles and the set of contacts.
func TestTokensOfHits(t *testing.T) {
	w := newTown(t)
	n := w.ping("k", "", "token-1", "").Profile
	has := func(want ...string) {
		t.Helper()
		check(t, w.s)
		if got := w.profile(n).MobileIDs; !slices.Equal(got, want) {
			t.Errorf("tokens %q, want %q", got, want)
		}
		if w.contact(n) != (len(want) > 0) {
			t.Errorf("contact %t with tokens %q", w.contact(n), want)
		}
	}
	has("token-1")
	w.finds(spoor.LookupMobile, "token-1", n)
	w.ping("k", "", "token-1", "")
	has("token-1")
	w.ping("k", "", "", "never there")
	has("token-1")
	w.ping("k", "", "token-1", "")
	w.must(w.edit(spoor.Edit{Number: n, MobileDrop: []string{"token-1"}}))
	has()
	w.ping("k", "", "token-1", "") // though it was the last one seen
	has("token-1")
	w.ping("k", "", "token-2", "token-1")
	has("token-2")
	w.finds(spoor.LookupMobile, "token-1")
	w.forgetful()
	w.ping("k", "", "token-2", "")
	has("token-2")
	w.ping("k", "", "", "token-2")
	has()

	// One group, so that nothing of it is on disk yet.
	add := spoor.Hit{App: w.app.ID, Kind: spoor.KindPing, Door: spoor.DoorSDK, Key: "k", MobileAdd: "token-3", Received: w.c.ms()}
	drop := add
	drop.MobileAdd, drop.MobileDrop = "", "token-3"
	write(t, w.s, add, drop)
	has()
	write(t, w.s, drop, add)
	has("token-3")

	// An anonymous profile with a token becomes part of a person.
	former := n
	n = w.ping("other", "ada", "token-4", "").Profile
	w.ping("k", "ada", "", "")
	w.finds(spoor.LookupMobile, "token-3", n)
	if p := w.profile(former); p.Number != n {
		t.Errorf("the anonymous profile leads to %d, want %d", p.Number, n)
	}
	has("token-3", "token-4")
	// What an anonymous profile dropped last is gone from the person, and may come back.
	w.ping("third", "", "token-4", "")
	w.ping("other", "", "token-4", "")
	w.ping("third", "", "", "token-4")
	w.ping("third", "ada", "", "")
	has("token-3")
	w.ping("other", "", "token-4", "")
	has("token-3", "token-4")
	if h := w.ping("nobody", "", "", "token-4"); h.Outcome != spoor.Refused || h.Reason != spoor.ReasonNobody {
		t.Errorf("dropping for an unknown key: %v %s", h.Outcome, h.Reason)
	}
	has("token-3", "token-4")
	hits := 0
	if err := w.s.Hits(w.app.ID, n, func(h *spoor.Hit) error {
		hits++
		if h.MobileAdd+h.MobileDrop != "" {
			t.Errorf("a hit was stored with its token")
		}
		return nil
	}); err != nil || hits == 0 {
		t.Errorf("%d hits, %v", hits, err)
	}
}

// Goal: what one profile may bring is bounded, also by a device that makes up
// tokens. Method: more than each bound allows.
func TestTokensAreBounded(t *testing.T) {
	w := newTown(t)
	token := func(i int) string { return fmt.Sprintf("token-%03d", i) }
	n := w.ping("k", "", token(0), "").Profile
	var hits []spoor.Hit
	for i := 1; i < mobileEver+50; i++ {
		hits = append(hits, spoor.Hit{App: w.app.ID, Kind: spoor.KindPing, Door: spoor.DoorSDK, Key: "k", MobileAdd: token(i), Received: w.c.ms() + int64(i)})
	}
	for some := range slices.Chunk(hits, 100) {
		write(t, w.s, some...)
	}
	w.c.add(time.Minute)
	got := w.profile(n).MobileIDs
	if len(got) != mobileMax || got[0] != token(mobileEver-mobileMax) || got[mobileMax-1] != token(mobileEver-1) {
		t.Errorf("%d tokens from %q to %q", len(got), got[0], got[len(got)-1])
	}
	s, err := readProfile(w.s.db, w.app.ID, n)
	if err != nil || s.everMobile() != mobileEver {
		t.Errorf("%d tokens are remembered, %v; want %d", s.everMobile(), err, mobileEver)
	}
	w.ping("k", "", token(3), "") // an old one may come back
	if got := w.profile(n).MobileIDs; len(got) != mobileMax || !slices.Contains(got, token(3)) {
		t.Errorf("tokens %q, want %s among them", got, token(3))
	}
	if w.s.dropped.Load() != 50 {
		t.Errorf("%d were counted as dropped, want 50", w.s.dropped.Load())
	}
}

// Goal: erasing and objecting reach whoever comes with nothing but the token.
// Goal: who objected is refused by what the front door has taken away, too, and
// still gets rid of a push token.
func TestWithheldAndTokensOfWhoObjected(t *testing.T) {
	w := newTown(t)
	n := w.ping("k", "ada", "token", "").Profile
	w.must(w.edit(spoor.Edit{Number: n, Attributes: []spoor.Attribute{{Name: spoor.AttrEmail, Type: spoor.TypeString, Text: "ada@shop.example"}}}))
	daily := func(said spoor.Withheld) spoor.Hit {
		h := w.visit(spoor.NewDailyKey([]byte("0123456789abcdef")), "")
		h.Withheld = &said
		return write(t, w.s, h)[0]
	}
	email := []spoor.Attribute{{Name: spoor.AttrEmail, Type: spoor.TypeString, Text: "ADA@shop.example"}}
	all := []spoor.Withheld{{Key: "k"}, {UserID: "ada"}, {FormerID: "ada"}, {MobileAdd: "token"}, {Attributes: email}}
	for _, said := range all {
		if h := daily(said); h.Outcome != spoor.Stored || h.Profile == n {
			t.Errorf("%+v before the objection: %v %s, profile %d", said, h.Outcome, h.Reason, h.Profile)
		}
	}
	if _, err := w.s.SetRight(w.app.ID, n, spoor.RightObject, spoor.Forever); err != nil {
		t.Fatal(err)
	}
	for _, said := range all {
		if h := daily(said); h.Reason != spoor.ReasonObject {
			t.Errorf("%+v: %v %s", said, h.Outcome, h.Reason)
		}
	}
	if h := daily(spoor.Withheld{Key: "another"}); h.Outcome != spoor.Stored {
		t.Errorf("somebody else: %s", h.Reason)
	}
	if h := w.ping("k", "", "", "token"); h.Outcome != spoor.Stored || h.Public != 0 || len(w.profile(n).MobileIDs) > 0 {
		t.Errorf("the token of who objected: %v %s %v", h.Outcome, h.Reason, w.profile(n).MobileIDs)
	}
	check(t, w.s)
}

func TestTokensAreBarred(t *testing.T) {
	w := newTown(t)
	n := w.ping("k", "", "token", "").Profile
	before := w.c.ms()
	w.c.add(time.Minute)
	if _, err := w.s.Erase(w.app.ID, []spoor.Number{n}, ""); err != nil {
		t.Fatal(err)
	}
	w.finds(spoor.LookupMobile, "token")
	late := spoor.Hit{App: w.app.ID, Kind: spoor.KindPing, Door: spoor.DoorSDK, Key: "fresh", MobileAdd: "token", Time: before, Received: w.c.ms()}
	if h := write(t, w.s, late)[0]; h.Outcome != spoor.Refused || h.Reason != spoor.ReasonErased {
		t.Errorf("from before the erasure: %v %s", h.Outcome, h.Reason)
	}
	if h := w.ping("fresh", "", "token", ""); h.Outcome != spoor.Stored || h.Profile == n {
		t.Errorf("from after it: %v, profile %d", h.Outcome, h.Profile)
	}
	if _, err := w.s.Object(w.app.ID, "token", []spoor.Lookup{spoor.LookupMobile}, true); err != nil {
		t.Fatal(err)
	}
	if h := w.ping("another", "", "token", ""); h.Outcome != spoor.Refused || h.Reason != spoor.ReasonObject {
		t.Errorf("after an objection: %v %s", h.Outcome, h.Reason)
	}
}
