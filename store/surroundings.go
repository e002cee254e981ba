package store

import (
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/spoorhq/spoor"
)

// surroundings are the attributes that a hit tells by itself: where it came
// from, and on what. In the order of their names, which is how states keep
// registers. Some belong together and are set together: never the city of one
// place and the region of another, nor the browser of one device and the
// system of another.
var surroundings = [...]string{
	spoor.AttrBrowser, spoor.AttrLanguage, spoor.AttrBrowserVersion, spoor.AttrCity, spoor.AttrCountry, spoor.AttrDevice,
	spoor.AttrLastIP, spoor.AttrOS, spoor.AttrOSVersion, spoor.AttrRegion, spoor.AttrResolution, spoor.AttrTimeZone,
}

// around is what is recorded of a profile's surroundings, by hash; 0: nothing.
// Most hits of a visit repeat it, and then nothing is written.
type around [len(surroundings)]uint64

var aroundSeed = maphash.MakeSeed() // only equality within one process matters

func aroundHash(text string) uint64 {
	if text == "" {
		return 0
	}
	return maphash.String(aroundSeed, text) | 1
}

// told is one of the surroundings as a hit tells it.
type told struct {
	text    string
	said    bool // by the sender; else found out by us
	present bool // the hit tells it, be it as empty
}

// tell lists what a hit tells, in the order of surroundings.
func tell(h *spoor.Hit, ip string) [len(surroundings)]told {
	agent := h.Agent.OS != "" || h.Agent.Browser != "" || h.Agent.Device != ""
	place := h.Place.Country != ""
	said := func(text string) told { return told{text, true, text != ""} }
	return [len(surroundings)]told{
		{h.Agent.Browser, false, agent}, said(h.Language), {h.Agent.BrowserVersion, false, agent},
		{h.Place.City, false, place}, {h.Place.Country, false, place}, {h.Agent.Device, false, agent},
		said(ip), {h.Agent.OS, false, agent}, {h.Agent.OSVersion, false, agent},
		{h.Place.Region, false, place}, said(h.Resolution), said(h.TimeZone),
	}
}

// tieDescribed makes the stamp of a description greater than that of an edit
// of the same millisecond, and a later description's greater than an earlier's.
const tieDescribed = 1 << 63

// describe records the surroundings of a hit where they differ from what is
// recorded. A hit that is older than the latest that told some only fills what
// is missing: what is recorded may have been repeated since, without a trace.
func (g *group) describe(p *pending, h *spoor.Hit) error {
	f := p.facts
	if h.Consent != 0 {
		g.consent(p, h)
	}
	if !f.plain {
		if err := g.lookAround(p); err != nil {
			return err
		}
	}
	late := h.Time < f.described
	at := stamp{time: h.Time, tie: tieDescribed | p.app.sequence}
	before, told, wrote := f.around, false, false
	for i, t := range tell(h, f.ipText(h.IP)) {
		if !t.present {
			continue
		}
		told = true
		if aroundHash(t.text) == f.around[i] || late && before.knows(i) {
			continue
		}
		at.source = h.Door
		if !t.said {
			at.source = spoor.DoorDerived
		}
		p.add.setOrRemove(surroundings[i], t.text, at)
		f.around[i], wrote = aroundHash(t.text), true
	}
	if told && !late {
		f.described = h.Time
		p.add.described = max(p.add.described, h.Time)
	}
	if !f.plain || late && wrote {
		return g.lookAround(p)
	}
	return nil
}

// knows reports whether one of the surroundings, or another that is set
// together with it, is recorded.
func (a *around) knows(i int) bool {
	for k := range a {
		if setTogether[k] == setTogether[i] && a[k] != 0 {
			return true
		}
	}
	return false
}

// setTogether numbers what is set together: the device, the place, and the rest
// each for itself.
var setTogether = [len(surroundings)]int{0, 1, 0, 2, 2, 0, 3, 0, 0, 2, 4, 5}

// lookAround refreshes what is remembered of the surroundings, after something
// else than a description wrote one of them.
func (g *group) lookAround(p *pending) error {
	s, err := g.whole(p)
	if err == nil {
		p.facts.lookAround(s)
	}
	return err
}

func (f *profile) lookAround(s *state) {
	f.described = s.described
	f.plain = true
	f.around = around{}
	for _, r := range s.regs {
		if i := slices.Index(surroundings[:], r.name); i >= 0 {
			f.around[i] = aroundHash(r.text)
			f.plain = f.plain && r.time <= s.described
		}
	}
}

// ipText is the text of an address, remembered because most hits of a visit
// come from the same.
func (f *profile) ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	if f.ip != ip {
		f.ip, f.ipString = ip, ip.String()
	}
	return f.ipString
}

// consent records what the hit says that its sender agreed to.
func (g *group) consent(p *pending, h *spoor.Hit) {
	at := stamp{time: h.Time, tie: tieDescribed | p.app.sequence, source: h.Door}
	set := func(name string, c spoor.Choice) {
		if c != spoor.ChoiceUnknown {
			p.add.set(name, spoor.TypeInt, string('0'+rune(c)), at)
		}
	}
	set(regConsentAnalytics, h.Consent.Analytics())
	set(regConsentMarketing, h.Consent.Marketing())
}

func (s *state) setOrRemove(name, text string, at stamp) {
	typ := spoor.TypeString
	if text == "" {
		typ = spoor.TypeNull
	}
	s.set(name, typ, text, at)
}
