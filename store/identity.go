package store

import (
	"encoding/binary"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	keysMax    = 200  // cookies and devices that lead to one profile
	formerMax  = 1000 // profiles merged into one
	mobileMax  = 20   // push tokens of one profile; the oldest makes room
	mobileEver = 500  // push tokens that one profile ever had; after that no new one is taken
)

const identNumber protowire.Number = 1

// tieOf makes the tie of a stamp from an event's hash; below tieDescribed.
func tieOf(id hash) uint64 { return binary.BigEndian.Uint64(id[:8]) >> 1 }

// resolve finds or makes the profile to which a hit belongs; nil if the hit
// names nobody.
//
// A known user id switches to that person. An unknown one is given to the
// current profile if that is unclaimed, else to a new profile, and the key
// moves to it (a shared computer). An unclaimed profile that turns out to be
// a known person is merged into that person. Two claimed profiles are never
// merged here.
func (g *group) resolve(a *appState, h *spoor.Hit) (*pending, error) {
	var cur, person *pending
	var err error
	by, id := identifies(a.app, h)
	if id != "" && spoor.DailyKey(h.Key) {
		h.Key = "" // an office could become one person
	}
	if h.Key != "" {
		if cur, err = g.find(a, spoor.LookupKey, h.Key); err != nil {
			return nil, err
		}
	}
	if id != "" {
		if person, err = g.find(a, by, id); err != nil {
			return nil, err
		}
	}
	switch {
	case id == "" && h.Key == "":
		return nil, nil
	case id == "" && cur == nil:
		cur = g.create(a, h.Received, h.Door)
		return cur, g.link(cur, h.Key, h)
	case id == "":
		return cur, nil
	case person == nil && cur != nil && !claimed(a, cur):
		person = cur
		err = g.claim(person, by, id, h)
	case person == nil:
		person = g.create(a, h.Received, h.Door)
		err = g.claim(person, by, id, h)
	case cur != nil && cur != person && !claimed(a, cur):
		err = g.absorb(person, cur)
	}
	if err == nil && h.Key != "" {
		err = g.link(person, h.Key, h)
	}
	if err == nil && h.Kind == spoor.KindAlias && h.FormerID != "" {
		err = g.alias(person, h)
	}
	return person, err
}

// identifies is what a hit says about who the person is: its user id, or its
// e-mail address where the app lets that identify and there is no user id.
func identifies(app *spoor.App, h *spoor.Hit) (spoor.Lookup, string) {
	if h.UserID != "" {
		return spoor.LookupUserID, h.UserID
	}
	if app.Settings.EmailIdentifies {
		for _, at := range h.Attributes {
			if at.Name == spoor.AttrEmail && at.Type == spoor.TypeString && compared(spoor.LookupEmail, at.Text) != "" {
				return spoor.LookupEmail, at.Text
			}
		}
	}
	return spoor.LookupNone, ""
}

// claimed says that a profile belongs to somebody already.
func claimed(a *appState, p *pending) bool {
	return p.facts.user != hash{} || a.app.Settings.EmailIdentifies && p.facts.email
}

// find is the profile to which an identifier leads, or nil. Where several
// share it, it is the oldest.
func (g *group) find(a *appState, kind spoor.Lookup, text string) (*pending, error) {
	lookup := g.number
	if shared(kind) {
		lookup = g.sharedNumber
	}
	n, err := lookup(a, kind, a.salt.ident(kind, text))
	if n == 0 || err != nil {
		return nil, err
	}
	return g.profile(a, n)
}

func (g *group) number(a *appState, kind spoor.Lookup, h hash) (n spoor.Number, err error) {
	w, ref := g.w, identRef{a.app.ID, kind, h}
	if n, ok := w.idents.get(ref); ok {
		return n, nil
	}
	if !w.known.maybe(h) {
		return 0, nil
	}
	if n, err = readNumber(w.db, identKey(nil, a.app.ID, kind, h)); n != 0 {
		w.idents.put(ref, n)
	}
	return n, err
}

// shared is for identifiers that several profiles may have.
func shared(kind spoor.Lookup) bool {
	return kind == spoor.LookupEmail || kind == spoor.LookupPhone || kind == spoor.LookupMobile
}

// sharedNumber is the lowest number of the profiles that share an identifier.
// It looks past the batch, which holds changes of this group that the store
// does not show yet.
func (g *group) sharedNumber(a *appState, kind spoor.Lookup, h hash) (n spoor.Number, err error) {
	changed := g.shared[identRef{a.app.ID, kind, h}]
	for m, there := range changed {
		if there && (n == 0 || m < n) {
			n = m
		}
	}
	if !g.w.known.maybe(h) {
		return n, nil
	}
	err = scan(g.w.db, identKey(nil, a.app.ID, kind, h), func(key, _ []byte) error {
		m := spoor.Number(binary.BigEndian.Uint32(key[len(key)-4:]))
		if _, differs := changed[m]; !differs && (n == 0 || m < n) {
			n = m
		}
		return nil
	})
	return n, err
}

// share makes a shared identifier lead to a profile, or no more.
func (g *group) share(a *appState, kind spoor.Lookup, text string, n spoor.Number, there bool) {
	id := a.salt.ident(kind, text)
	ref := identRef{a.app.ID, kind, id}
	if g.shared[ref] == nil {
		g.shared[ref] = map[spoor.Number]bool{}
	}
	g.shared[ref][n] = there
	key := sharedIdentKey(nil, a.app.ID, kind, id, n)
	if !there {
		g.remove(key)
		return
	}
	g.w.known.add(id)
	g.set(key, appendHeader(nil))
}

// reindex makes the shared identifiers lead to a profile as it is after a
// change, and not as it was before.
func (g *group) reindex(a *appState, n spoor.Number, before, now *state) {
	swap := func(kind spoor.Lookup, old, text string) {
		if compared(kind, old) == compared(kind, text) {
			return
		}
		if compared(kind, old) != "" {
			g.share(a, kind, old, n, false)
		}
		if compared(kind, text) != "" {
			g.share(a, kind, text, n, true)
		}
	}
	swap(spoor.LookupEmail, before.text(spoor.AttrEmail), now.text(spoor.AttrEmail))
	swap(spoor.LookupPhone, before.text(spoor.AttrPhone), now.text(spoor.AttrPhone))
	had, have := before.members(spoor.LookupMobile), now.members(spoor.LookupMobile)
	for _, m := range had {
		if !slices.Contains(have, m) {
			g.share(a, spoor.LookupMobile, m, n, false)
		}
	}
	for _, m := range have {
		if !slices.Contains(had, m) {
			g.share(a, spoor.LookupMobile, m, n, true)
		}
	}
}

// profile is the group's pending state of a known profile.
func (g *group) profile(a *appState, n spoor.Number) (*pending, error) {
	ref := profileRef{a.app.ID, n}
	if p := g.profiles[ref]; p != nil {
		return p, nil
	}
	facts, ok := g.w.profiles.get(ref)
	if !ok {
		s, err := readProfile(g.w.db, a.app.ID, n)
		if err != nil {
			return nil, err
		}
		facts = factsOf(a, s)
		g.w.profiles.put(ref, facts)
	}
	p := g.w.pending(a, n, facts)
	g.profiles[ref] = p
	return p, nil
}

func factsOf(a *appState, s *state) *profile {
	f := &profile{email: s.text(spoor.AttrEmail) != "", contacts: s.contacts(), rights: s.rights()}
	if id := s.text(spoor.AttrUserID); id != "" {
		f.user = a.salt.ident(spoor.LookupUserID, id)
	}
	f.visit = visit{start: s.visitStart, last: s.visitLast}
	f.merged = len(s.former) > 0
	f.keys = len(s.members(spoor.LookupKey))
	f.lookAround(s)
	return f
}

// contacts reports whether any of the five facts is known that keep a profile
// from being anonymous.
func (s *state) contacts() bool {
	return s.text(spoor.AttrUserID) != "" || s.text(spoor.AttrEmail) != "" || s.text(spoor.AttrPhone) != "" ||
		s.text(spoor.AttrWebPush) == "true" || len(s.members(spoor.LookupMobile)) > 0
}

// create makes a profile under the app's next number.
func (g *group) create(a *appState, receivedMs int64, door spoor.Door) *pending {
	g.touchApp(a)
	a.next++
	p := g.w.pending(a, a.next, new(profile))
	p.add.created = receivedMs
	p.add.updated = receivedMs
	ref := profileRef{a.app.ID, p.n}
	g.profiles[ref] = p
	g.w.profiles.put(ref, p.facts)
	g.member(a, setLive, p.n, true)
	return p
}

// tick is a stamp for what the writer itself decides. Unlike the times of hits
// it only goes forward, so that the last decision wins.
func (a *appState) tick(receivedMs int64, door spoor.Door) stamp {
	a.clock = max(a.clock, receivedMs)
	a.ticks++
	return stamp{time: a.clock, tie: a.ticks, source: door}
}

// link makes a key lead to a profile, away from any other.
func (g *group) link(p *pending, key string, h *spoor.Hit) error {
	a := p.app
	id := a.salt.ident(spoor.LookupKey, key)
	old, err := g.number(a, spoor.LookupKey, id)
	if err != nil || old == p.n {
		return err
	}
	at := a.tick(h.Received, h.Door)
	if old != 0 {
		q, err := g.profile(a, old)
		if err != nil {
			return err
		}
		q.add.put(spoor.LookupKey, key, false, at)
		q.facts.keys--
		g.tellUser(q, h.Received)
	}
	if p.facts.keys >= keysMax {
		if old != 0 { // it must not lead to the other person any more
			g.unpoint(a, spoor.LookupKey, id)
		}
		return nil
	}
	p.facts.keys++
	p.add.put(spoor.LookupKey, key, true, at)
	g.point(a, spoor.LookupKey, id, p.n)
	return nil
}

// point makes a unique identifier lead to a profile.
func (g *group) point(a *appState, kind spoor.Lookup, id hash, n spoor.Number) {
	g.w.idents.put(identRef{a.app.ID, kind, id}, n)
	g.w.known.add(id)
	g.set(identKey(nil, a.app.ID, kind, id), putUint(appendHeader(nil), identNumber, uint64(n)))
}

// unpoint makes a unique identifier lead nowhere. The cache must say so: the
// store shows the old key until the group is applied.
func (g *group) unpoint(a *appState, kind spoor.Lookup, id hash) {
	g.w.idents.put(identRef{a.app.ID, kind, id}, 0)
	g.remove(identKey(nil, a.app.ID, kind, id))
}

// claim gives an identity to a profile that has none.
func (g *group) claim(p *pending, by spoor.Lookup, id string, h *spoor.Hit) error {
	a := p.app
	if by == spoor.LookupUserID {
		return g.setUserID(p, id, a.tick(h.Received, h.Door))
	}
	// An e-mail address is an attribute like others, set when the hit's are.
	p.facts.email = true
	return nil
}

// setUserID gives a profile its user id and takes the old one away. The caller
// has made sure that no other profile has the new one. An empty id removes.
func (g *group) setUserID(p *pending, id string, at stamp) error {
	a := p.app
	if (p.facts.user != hash{}) {
		g.unpoint(a, spoor.LookupUserID, p.facts.user)
		p.facts.user = hash{}
	}
	p.add.setOrRemove(spoor.AttrUserID, id, at)
	if id != "" {
		p.facts.user = a.salt.ident(spoor.LookupUserID, id)
		g.point(a, spoor.LookupUserID, p.facts.user, p.n)
	}
	return g.noteContacts(p, true)
}

// noteContacts keeps the set of profiles with a contact up to date. fresh says
// that the person is known only now, if there is a contact.
func (g *group) noteContacts(p *pending, fresh bool) error {
	has := p.facts.user != hash{}
	if !has {
		s, err := g.whole(p)
		if err != nil {
			return err
		}
		has = s.contacts()
	}
	if has != p.facts.contacts {
		p.facts.contacts = has
		g.member(p.app, setContacts, p.n, has)
		if has && fresh {
			g.becameKnown(p)
		}
	}
	return nil
}

// becameKnown notes a first contact under the day of its receipt. What the
// statistics of that day say of hits, its hits can tell again; this they cannot.
func (g *group) becameKnown(p *pending) {
	a := p.app
	if today := a.app.Day(a.at); !p.facts.rights.Uncounted(today) {
		day := max(today, a.firstOpen(a.at))
		g.putChunks(setChange32{add: roaring.BitmapOf(uint32(p.n))}, func(chunk uint16) []byte {
			return activityKey(nil, a.app.ID, day, activityKnown, chunk)
		})
	}
}

// notKnown takes that back for the days that are open.
func (g *group) notKnown(a *appState, n spoor.Number, at int64) {
	for day := a.firstOpen(at); day <= a.app.Day(at); day++ {
		g.putChunks(setChange32{drop: roaring.BitmapOf(uint32(n))}, func(chunk uint16) []byte {
			return activityKey(nil, a.app.ID, day, activityKnown, chunk)
		})
	}
}

// whole is the full state of a profile: what is stored and what this group
// adds, as it is now: later changes of the group do not show in it.
func (g *group) whole(p *pending) (*state, error) {
	s, err := readProfile(g.w.db, p.app.app.ID, p.n)
	if err == nil {
		add := p.add
		add.regs, add.days = slices.Clone(add.regs), slices.Clone(add.days)
		s.fold(&add)
	}
	return s, err
}

// absorb merges the unclaimed profile q into the person p. Its hits stay where
// they are; p remembers the number and the days. Bits in the bitmaps of days
// stay too: readers map former numbers to persons.
func (g *group) absorb(p, q *pending) error {
	a := p.app
	theirs, err := g.whole(q)
	if err != nil {
		return err
	}
	ours, err := g.whole(p)
	if err != nil {
		return err
	}
	if len(ours.former)+len(theirs.former) >= formerMax {
		return nil // its history stays anonymous; the key moves all the same
	}
	keys := theirs.members(spoor.LookupKey)
	g.reindex(a, q.n, theirs, new(state))
	theirs.freshen()
	ours.freshen()
	gain := *theirs
	gain.former = foldSorted(slices.Clone(theirs.former), []former{{q.n, theirs.days, theirs.public}}, compareFormer, foldFormer)
	gain.days, gain.public = nil, 0
	p.add.fold(&state{regs: ours.regs})
	p.add.fold(&gain)
	before := *ours
	ours.fold(&gain)
	for _, k := range keys {
		g.inherit(p, k)
	}
	for _, f := range gain.former {
		g.set(numberKey(nil, a.app.ID, f.number), putUint(appendHeader(nil), identNumber, uint64(p.n)))
		g.merged[profileRef{a.app.ID, f.number}] = p.n
	}
	p.add.writes++
	g.joinRights(p, before.rights(), theirs.rights())
	// Of the two only one may have been left alone until now. Who knows the other
	// one hears of it: of q while there is a q, of p when q is p.
	if err := g.tellJoined(p, q.n, theirs); err != nil {
		return err
	}
	g.tell(a, a.at, feedMerge, uint64(p.n), uint64(q.n))
	if err := g.tellJoined(p, p.n, &before); err != nil {
		return err
	}
	g.joinMemberships(p, q, &before, theirs, ours)
	g.inheritSegments(a, p.n, q.n, !p.facts.rights.Uncounted(a.app.Day(a.at)))
	if p.facts.rights.Objected != 0 {
		g.member(a, setObjected, q.n, false)
		g.member(a, setObjected, p.n, true)
	}
	if onRecord(p.facts.rights) {
		g.member(a, setHeld, q.n, false)
		g.member(a, setHeld, p.n, true)
	}
	g.member(a, setLive, q.n, false)
	g.member(a, setContacts, q.n, false)
	g.member(a, setAliased, q.n, true)
	g.removeProfile(profileRef{a.app.ID, q.n})
	q.gone = true
	g.w.profiles.drop(profileRef{a.app.ID, q.n})
	delete(g.profiles, profileRef{a.app.ID, q.n})
	p.facts.merged = true
	p.hits = append(p.hits, q.hits...)
	p.facts.visit = visit{start: ours.visitStart, last: ours.visitLast} // to be recollected, under both numbers
	p.facts.lookAround(ours)
	g.reindex(a, p.n, &before, ours)
	p.facts.email = ours.text(spoor.AttrEmail) != ""
	p.facts.token = hash{}
	return g.noteContacts(p, !q.facts.contacts)
}

// inherit makes a key of a profile that was merged into p lead to p, or nowhere
// if p has as many as it may.
func (g *group) inherit(p *pending, key string) {
	a := p.app
	id := a.salt.ident(spoor.LookupKey, key)
	if p.facts.keys >= keysMax {
		p.add.put(spoor.LookupKey, key, false, a.tick(0, spoor.DoorNone))
		g.unpoint(a, spoor.LookupKey, id)
		return
	}
	p.facts.keys++
	g.point(a, spoor.LookupKey, id, p.n)
}

// alias follows an explicit "these two are one": the former id becomes a key
// of the person, and an unclaimed profile behind it is merged.
func (g *group) alias(p *pending, h *spoor.Hit) error {
	if other, err := g.find(p.app, spoor.LookupUserID, h.FormerID); other != nil || err != nil {
		return err // a claimed profile; two such are merged only on request
	}
	q, err := g.find(p.app, spoor.LookupKey, h.FormerID)
	if err != nil || q == p || q != nil && claimed(p.app, q) {
		return err
	}
	if q != nil {
		if err := g.absorb(p, q); err != nil {
			return err
		}
	}
	return g.link(p, h.FormerID, h)
}
