package store

import (
	"slices"
	"strconv"

	"github.com/spoorhq/spoor"
)

// rights reads what was asked for a person.
func (s *state) rights() (r spoor.Rights) {
	number := func(name string, bits int) int64 {
		n, err := strconv.ParseInt(s.text(name), 10, bits)
		if err != nil {
			return 0
		}
		return n
	}
	r.Restricted, r.Held = spoor.Day(number(regRestricted, 32)), spoor.Day(number(regHeld, 32))
	r.Objected = number(regObjected, 64)
	return r
}

// onRecord reports whether a right that may keep a profile is on record, lapsed or not.
func onRecord(r spoor.Rights) bool { return r.Restricted != 0 || r.Held != 0 }

// SetRight grants a right to a person until the end of a day, or takes it back
// with day 0, and returns the profile once that is on disk. An objection has no
// end but being taken back; any day grants it. From a restriction or objection
// on, the person's hits of open days are in no statistics; those of sealed days
// stay counted. Error: spoor.ErrNoProfile, and those of a Sink.
func (s *Store) SetRight(app spoor.AppID, n spoor.Number, right spoor.Right, until spoor.Day) (p *spoor.Profile, err error) {
	at := s.opts.Now().UnixMilli()
	err = s.alone(func(g *group) (err error) {
		p, err = g.setRight(app, n, right, until, at)
		return err
	})
	return p, err
}

// Object makes hits be refused that name somebody by any of the identifiers, or
// no more, and tells whether that changed anything. It is for whom no profile
// stands: nobody was seen yet, or the person was erased. It returns once that is
// on disk.
func (s *Store) Object(app spoor.AppID, text string, by []spoor.Lookup, on bool) (changed bool, err error) {
	at := s.opts.Now().UnixMilli()
	if !on {
		at = 0
	}
	err = s.alone(func(g *group) error {
		a, err := g.w.app(app)
		if err != nil || a == nil {
			return err
		}
		for _, kind := range by {
			one, err := g.barOne(a, kind, text, func(b *barrier) { b.objected = at })
			if err != nil {
				return err
			}
			changed = changed || one
		}
		return nil
	})
	return changed, err
}

// setRight runs in a group of its own, because it reads hits from disk.
func (g *group) setRight(app spoor.AppID, n spoor.Number, right spoor.Right, until spoor.Day, at int64) (*spoor.Profile, error) {
	a, err := g.w.app(app)
	if err != nil || a == nil {
		return nil, err
	}
	p, err := g.editee(a, &spoor.Edit{App: app, Number: n})
	if err != nil {
		return nil, err
	}
	g.touchApp(a)
	tick := a.tick(at, spoor.DoorREST)
	set := func(name string, value int64) {
		if value == 0 {
			p.add.set(name, spoor.TypeNull, "", tick)
		} else {
			p.add.set(name, spoor.TypeInt, strconv.FormatInt(value, 10), tick)
		}
	}
	switch right {
	case spoor.RightRestrict:
		set(regRestricted, int64(until))
	case spoor.RightHold:
		set(regHeld, int64(until))
	case spoor.RightObject:
		since := at
		if until == 0 {
			since = 0
		}
		set(regObjected, since)
	}
	p.add.updated = max(p.add.updated, at)
	s, err := g.whole(p)
	if err != nil {
		return nil, err
	}
	if right == spoor.RightObject {
		if err := g.noteObjection(a, s); err != nil {
			return nil, err
		}
	}
	r := s.rights()
	p.facts.rights = r
	g.member(a, setHeld, p.n, onRecord(r))
	g.member(a, setObjected, p.n, r.Objected != 0)
	if r.Uncounted(a.app.Day(at)) {
		g.leaveSegments(a, p.n)
		a.rewrites++
		p.facts.visit.epoch = 0
		for _, f := range s.parts(p.n) {
			for _, day := range f.days {
				if _, err := g.uncount(a, day, f.number, true); err != nil {
					return nil, err
				}
			}
			g.notKnown(a, f.number, at)
		}
	}
	profile := s.profile(app, p.n, &a.people)
	c, err := g.catalogue(a)
	if err != nil {
		return nil, err
	}
	if profile.Collections, err = s.collections(c.find); err != nil {
		return nil, err
	}
	if right == spoor.RightHold { // concerns nobody but whoever keeps the data
		return profile, nil
	}
	err = g.tellRight(a, profile.ID, right, until, at)
	if until == 0 { // what changed meanwhile was not told
		g.tell(a, at, feedUser, uint64(p.n))
	}
	return profile, err
}

// tellRight tells in the feed, and whoever is notified, what holds for a person
// from now on.
func (g *group) tellRight(a *appState, person int64, right spoor.Right, until spoor.Day, at int64) error {
	what := right.String() + ".set"
	if until == 0 {
		what = right.String() + ".lifted"
	}
	g.tell(a, at, feedRight, uint64(slices.Index(feedRights, what)), uint64(person))
	return g.notify(a, spoor.Notice{What: what, Person: person, At: at, Until: until})
}

// tellJoined tells the restriction and the objection that a person has by a
// merge, as was is before it under its number n, and did not have.
func (g *group) tellJoined(p *pending, n spoor.Number, was *state) error {
	a, before, after := p.app, was.rights(), p.facts.rights
	today := a.app.Day(a.at)
	id := was.profile(a.app.ID, n, &a.people).ID
	var err error
	if (spoor.Rights{Restricted: after.Restricted}).Uncounted(today) && !(spoor.Rights{Restricted: before.Restricted}).Uncounted(today) {
		err = g.tellRight(a, id, spoor.RightRestrict, after.Restricted, a.at)
	}
	if after.Objected != 0 && before.Objected == 0 && err == nil {
		err = g.tellRight(a, id, spoor.RightObject, spoor.Forever, a.at)
	}
	return err
}

// parts are all numbers of a person with the days of their hits.
func (s *state) parts(n spoor.Number) []former {
	return append([]former{{number: n, days: s.days}}, s.former...)
}

// joinRights makes a person who was merged keep the longer hold and restriction
// of the two, which one last writer would not.
func (g *group) joinRights(p *pending, ours, theirs spoor.Rights) {
	longer := func(name string, a, b int64) int64 {
		most := max(a, b)
		if a != b { // one may have been lifted, later than the other was granted
			p.add.set(name, spoor.TypeInt, strconv.FormatInt(most, 10), p.app.tick(0, spoor.DoorNone))
		}
		return most
	}
	p.facts.rights = spoor.Rights{
		Restricted: spoor.Day(longer(regRestricted, int64(ours.Restricted), int64(theirs.Restricted))),
		Held:       spoor.Day(longer(regHeld, int64(ours.Held), int64(theirs.Held))),
		Objected:   longer(regObjected, ours.Objected, theirs.Objected),
	}
}
