package store

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spoorhq/spoor"
)

// Edit creates or changes a profile and returns once the change is on disk.
// It is no activity. Errors: spoor.ErrTaken, spoor.ErrNoProfile,
// spoor.ErrDaily, spoor.ErrNoCollection, a *spoor.MisfitError or
// *spoor.CollectionError, and those of a Sink.
func (s *Store) Edit(e *spoor.Edit) (n spoor.Number, created bool, err error) {
	err = s.change(func(g *group) (err error) {
		n, created, err = g.edit(e)
		return err
	})
	return n, created, err
}

func (g *group) edit(e *spoor.Edit) (n spoor.Number, created bool, err error) {
	a, err := g.w.app(e.App)
	if err != nil {
		return 0, false, err
	}
	if a == nil || a.app.Closed {
		return 0, false, fmt.Errorf("cannot edit a profile of app %d: the app takes no data", e.App)
	}
	if err := a.misfit(e.Attributes); err != nil {
		return 0, false, err
	}
	g.touchApp(a)
	a.at = e.At
	p, err := g.editee(a, e)
	if err != nil {
		return 0, false, err
	}
	if daily, err := g.daily(p); daily || spoor.DailyKey(e.Key) || err != nil {
		return 0, false, cmp.Or(err, spoor.ErrDaily)
	}
	if p != nil && e.MustCreate {
		return 0, false, spoor.ErrTaken
	}
	if e.UserID != "" {
		other, err := g.find(a, spoor.LookupUserID, e.UserID)
		if err != nil {
			return 0, false, err
		}
		if other != nil && other != p {
			return 0, false, spoor.ErrTaken
		}
	}
	if err := g.checkMemberships(a, p, e); err != nil {
		return 0, false, err
	}
	if created = p == nil; created {
		if err := g.checkPublic(a, e.ID); err != nil {
			return 0, false, err
		}
		p = g.create(a, e.At, e.Door)
		if e.ID != 0 {
			p.add.public = e.ID
			g.point(a, spoor.LookupPublic, a.salt.ident(spoor.LookupPublic, fmt.Sprint(e.ID)), p.n)
		}
	}
	err = g.change(p, e)
	g.tellUser(p, e.At)
	return p.n, created, err
}

// editee finds the profile that an edit is about; nil if a new one is wanted.
func (g *group) editee(a *appState, e *spoor.Edit) (p *pending, err error) {
	if e.Number != 0 {
		n, err := person(g.w.db, a.app.ID, e.Number)
		if err != nil {
			return nil, err
		}
		if into := g.merged[profileRef{a.app.ID, n}]; into != 0 { // by this group
			n = into
		}
		if p := g.profiles[profileRef{a.app.ID, n}]; p != nil {
			return p, nil
		}
		s, err := readProfile(g.w.db, a.app.ID, n)
		if err != nil {
			return nil, err
		}
		if s.created == 0 {
			return nil, spoor.ErrNoProfile
		}
		return g.profile(a, n)
	}
	if e.UserID != "" {
		if p, err = g.find(a, spoor.LookupUserID, e.UserID); p != nil || err != nil {
			return p, err
		}
	}
	if e.Key != "" {
		return g.find(a, spoor.LookupKey, e.Key)
	}
	return nil, nil
}

// daily reports whether a profile is that of a cookieless visitor.
func (g *group) daily(p *pending) (bool, error) {
	if p == nil {
		return false, nil
	}
	s, err := g.whole(p)
	return err == nil && slices.ContainsFunc(s.members(spoor.LookupKey), spoor.DailyKey), err
}

func (g *group) checkPublic(a *appState, id int64) error {
	if id == 0 {
		return nil
	}
	if id < 0 || id >= publicBase {
		return fmt.Errorf("cannot keep id %d: want 1 to %d", id, int64(publicBase-1))
	}
	n, err := g.number(a, spoor.LookupPublic, a.salt.ident(spoor.LookupPublic, fmt.Sprint(id)))
	if err == nil && n != 0 {
		err = spoor.ErrTaken
	}
	return err
}

// change applies an edit to the profile.
func (g *group) change(p *pending, e *spoor.Edit) error {
	a := p.app
	at := a.tick(e.At, e.Door)
	before, err := g.whole(p)
	if err != nil {
		return err
	}
	if e.UserID != "" && a.salt.ident(spoor.LookupUserID, e.UserID) != p.facts.user {
		if err := g.setUserID(p, e.UserID, at); err != nil {
			return err
		}
	}
	if e.Key != "" {
		if err := g.link(p, e.Key, &spoor.Hit{Received: e.At, Door: e.Door}); err != nil {
			return err
		}
	}
	p.facts.token = hash{}
	for _, m := range e.MobileAdd {
		p.add.put(spoor.LookupMobile, m, true, at)
	}
	for _, m := range e.MobileDrop {
		p.add.put(spoor.LookupMobile, m, false, at)
	}
	if err := g.changeMemberships(p, e, at); err != nil {
		return err
	}
	for _, attr := range e.Attributes {
		if attr.Name == spoor.AttrUserID && attr.Type == spoor.TypeNull {
			if err := g.setUserID(p, "", at); err != nil {
				return err
			}
		}
	}
	if err := g.apply(p, e.Attributes, stamp{time: e.At, tie: at.tie, source: e.Door}, e.At); err != nil {
		return err
	}
	p.add.updated = max(p.add.updated, e.At)
	return g.settle(p, before)
}
