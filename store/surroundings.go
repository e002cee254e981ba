package store

import (
	"hash/maphash"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/spoorhq/spoor"
)

// surroundings are the attributes that a hit tells by itself: where it came
// from, and on what. In the order of their names, which is how states keep
// registers.
var surroundings = [...]string{
	spoor.AttrBrowser, spoor.AttrLanguage, spoor.AttrBrowserVersion, spoor.AttrCity, spoor.AttrCountry, spoor.AttrDevice,
	spoor.AttrLastIP, spoor.AttrOS, spoor.AttrOSVersion, spoor.AttrRegion, spoor.AttrResolution, spoor.AttrTimeZone,
}

// Some surroundings belong together and are set together: never the city of
// one place and the region of another, nor the browser of one device and the
// system of another. These are stored: append, never renumber.
const (
	aspectDevice = iota
	aspectPlace
	aspectLanguage
	aspectAddress
	aspectScreen
	aspectZone
	aspects
)

// aspectOf is what each of the surroundings belongs to.
var aspectOf = [len(surroundings)]int{
	aspectDevice, aspectLanguage, aspectDevice, aspectPlace, aspectPlace, aspectDevice,
	aspectAddress, aspectDevice, aspectDevice, aspectPlace, aspectScreen, aspectZone,
}

// unknownEdit is later than any hit, so each looks at what attributes have set.
const unknownEdit = math.MaxInt64

// described is the time of the latest hit that told an aspect; 0: none did. A
// register may be older: what repeats it is not written again.
type described [aspects]int64

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

// tell lists what a hit tells, in the order of surroundings; of the address not
// the text, which is made when it is needed.
func tell(h *spoor.Hit) [len(surroundings)]told {
	agent := h.Agent.OS != "" || h.Agent.Browser != "" || h.Agent.Device != ""
	place := h.Place.Country != ""
	said := func(text string) told { return told{text, true, text != ""} }
	return [len(surroundings)]told{
		{h.Agent.Browser, false, agent}, said(h.Language), {h.Agent.BrowserVersion, false, agent},
		{h.Place.City, false, place}, {h.Place.Country, false, place}, {h.Agent.Device, false, agent},
		{"", true, h.IP.IsValid()}, {h.Agent.OS, false, agent}, {h.Agent.OSVersion, false, agent},
		{h.Place.Region, false, place}, said(h.Resolution), said(h.TimeZone),
	}
}

// tieDescribed makes the stamp of a description greater than that of an edit
// of the same millisecond, and a later description's greater than an earlier's.
const tieDescribed = 1 << 63

// describe records the surroundings of a hit: those that differ from what is
// recorded, and for each aspect that it was told. An aspect that a later hit
// has told is left alone.
func (g *group) describe(p *pending, h *spoor.Hit) error {
	f := p.facts
	if h.Consent != 0 {
		g.consent(p, h)
	}
	if h.Time < f.edited {
		if err := g.lookAround(p); err != nil {
			return err
		}
	}
	at := stamp{time: h.Time, tie: tieDescribed | p.app.sequence}
	told := tell(h)
	for i := range told {
		t, aspect := &told[i], aspectOf[i]
		if !t.present || h.Time < f.described[aspect] {
			continue
		}
		f.described[aspect] = h.Time
		p.add.described[aspect] = max(p.add.described[aspect], h.Time)
		if aspect == aspectAddress {
			ip := addressBytes(h.IP)
			if f.ip == ip && ip != [16]byte{} {
				continue
			}
			f.ip, t.text = ip, h.IP.String()
		}
		if aroundHash(t.text) == f.around[i] {
			continue
		}
		at.source = h.Door
		if !t.said {
			at.source = spoor.DoorDerived
		}
		p.add.setOrRemove(surroundings[i], t.text, at)
		f.around[i] = aroundHash(t.text)
	}
	if h.Time < f.edited { // an attribute may be later than what was told
		return g.lookAround(p)
	}
	return nil
}

// edit remembers that an attribute set one of the surroundings that is not outdated.
// What came of it is looked at, with the next hit, only where it does not come later
// than all attributes before it.
func (f *profile) edit(name, text string, ms int64) {
	i := slices.Index(surroundings[:], name)
	switch {
	case i < 0:
	case ms <= f.edited:
		f.edited = unknownEdit
	default:
		f.edited, f.around[i] = ms, aroundHash(text)
		if aspectOf[i] == aspectAddress {
			f.ip = [16]byte{}
		}
	}
}

// outdated reports whether a hit told the aspect to which an attribute belongs, later
// than that or in the same millisecond: the attribute must then not be set, though its
// register may be older, since what repeats is not written. What a hit tells by itself
// wins over its own attributes, or a hit that is repeated would turn one into the other.
func (f *profile) outdated(name string, ms int64) bool {
	i := slices.Index(surroundings[:], name)
	if i < 0 {
		return false
	}
	last := f.described[aspectOf[i]]
	return last != 0 && ms <= last
}

// lookAround reads what is remembered of the surroundings.
func (g *group) lookAround(p *pending) error {
	s, err := g.whole(p)
	if err == nil {
		p.facts.lookAround(s)
	}
	return err
}

func (f *profile) lookAround(s *state) {
	f.described, f.edited = s.described, 0
	f.around, f.ip = around{}, [16]byte{}
	for _, r := range s.regs {
		if i := slices.Index(surroundings[:], r.name); i >= 0 {
			f.around[i] = aroundHash(r.text)
			if r.time > s.described[aspectOf[i]] {
				f.edited = max(f.edited, r.time)
			}
		}
	}
}

// freshen gives the registers of all that hits have told the time at which it
// was last told, also those that say nothing. So two profiles can be folded
// into one, and each aspect is as the later of the two has it.
func (s *state) freshen() {
	for i, name := range surroundings {
		last := s.described[aspectOf[i]]
		if last == 0 {
			continue
		}
		k, found := slices.BinarySearchFunc(s.regs, name, func(r register, name string) int { return strings.Compare(r.name, name) })
		if !found {
			s.regs = slices.Insert(s.regs, k, register{name: name, typ: spoor.TypeNull})
		}
		if r := &s.regs[k]; r.time < last {
			r.time, r.tie = last, max(r.tie, tieDescribed) // below all that are told at the same time
		}
	}
}

// addressBytes is an address in a form without pointers; zero where that would
// not tell it from another.
func addressBytes(ip netip.Addr) (b [16]byte) {
	if ip.Is4In6() || ip.Zone() != "" {
		return b
	}
	return ip.As16()
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
	set(regConsentPlace, h.Consent.Geolocation())
}

func (s *state) setOrRemove(name, text string, at stamp) {
	typ := spoor.TypeString
	if text == "" {
		typ = spoor.TypeNull
	}
	s.set(name, typ, text, at)
}
