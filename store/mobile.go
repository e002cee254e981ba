package store

import (
	"slices"

	"github.com/spoorhq/spoor"
)

// unburden takes a push token from the profile of a hit's key, also from somebody
// who objected: less is known of the person after it.
func (g *group) unburden(a *appState, h *spoor.Hit) error {
	p, err := g.find(a, spoor.LookupKey, h.Key)
	if p == nil || err != nil {
		h.Reason = spoor.ReasonNobody // and nobody is made for it
		return err
	}
	h.Outcome, h.Reason = spoor.Stored, ""
	err = g.carry(p, h)
	g.tellUser(p, h.Received)
	return err
}

// carry gives the profile the push token that a hit brings, or takes away the
// one that it drops. An SDK tells its token at every start, so a token that the
// profile is known to have costs no read. What is dropped leaves a trace in the
// profile, so that the last word counts whatever the order of merging: hence
// the bound on tokens ever, and no trace of tokens that were not there.
func (g *group) carry(p *pending, h *spoor.Hit) error {
	a := p.app
	var fresh hash
	if h.MobileAdd != "" {
		fresh = a.salt.ident(spoor.LookupMobile, h.MobileAdd)
	}
	if h.MobileDrop == "" && (h.MobileAdd == "" || fresh == p.facts.token) {
		return nil
	}
	before, err := g.whole(p)
	if err != nil {
		return err
	}
	have := before.members(spoor.LookupMobile)
	at := a.tick(h.Received, h.Door)
	drop := func(token string) { p.add.put(spoor.LookupMobile, token, false, at) }
	p.facts.token = hash{}
	if slices.Contains(have, h.MobileDrop) {
		drop(h.MobileDrop)
	}
	switch {
	case h.MobileAdd == "":
	case slices.Contains(have, h.MobileAdd):
		p.facts.token = fresh
	case !before.had(h.MobileAdd) && before.everMobile() >= mobileEver:
		g.w.s.dropped.Add(1)
	default:
		for ; len(have) >= mobileMax; have = have[1:] {
			drop(have[0])
		}
		p.add.put(spoor.LookupMobile, h.MobileAdd, true, at)
		p.facts.token = fresh
	}
	p.add.updated = max(p.add.updated, h.Received)
	return g.settle(p, before)
}

// everMobile counts the push tokens that the profile has or had.
func (s *state) everMobile() (n int) {
	for i := range s.elems {
		if s.elems[i].kind == spoor.LookupMobile {
			n++
		}
	}
	return n
}

// had reports whether the profile has or had a push token.
func (s *state) had(token string) bool {
	return slices.ContainsFunc(s.elems, func(e element) bool { return e.kind == spoor.LookupMobile && e.text == token })
}
