package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spoorhq/spoor"
)

// state is what is known of a profile, and also what one write adds to it: the
// value under a profile's key is the fold of all states ever written there.
//
// fold is associative and commutative, so it does not matter in which order
// and in what portions Pebble merges. Except for the three counters it is
// idempotent too; the counters are right because one writer has removed
// duplicates in front of them.
type state struct {
	created                                     int64 // minimum; times are Unix ms, 0 = never
	updated                                     int64 // maximum, as the next five but firstSeen
	firstSeen                                   int64 // minimum
	lastSeen, contacted, heard, opened, clicked int64
	views, events, visits                       int64
	visitStart, visitLast                       int64     // the visit that reaches furthest
	public                                      int64     // imported id; the smallest wins
	described                                   described // maxima
	regs                                        []register
	elems                                       []element
	days                                        []spoor.Day // with hits, sorted
	former                                      []former    // by number
	unknown                                     [][]byte    // operands of a format we cannot read, sorted
	writes                                      uint32      // calls of set and put; not kept
}

// stamp orders two writes of one register. The greater (time, tie) wins.
type stamp struct {
	time   int64
	tie    uint64
	source spoor.Door
}

func (s stamp) compare(t stamp) int {
	if c := cmp.Compare(s.time, t.time); c != 0 {
		return c
	}
	if c := cmp.Compare(s.tie, t.tie); c != 0 {
		return c
	}
	return cmp.Compare(s.source, t.source)
}

// register is an attribute: the last writer wins.
type register struct {
	name string
	stamp
	typ  spoor.Type
	text string
}

// element is a member of a set that can be added and removed: a cookie or
// device id (LookupKey), a mobile identifier (LookupMobile), or the id of a tag
// or list (see membership).
type element struct {
	kind spoor.Lookup
	text string
	stamp
	since   int64 // when it was first added
	present bool
}

// former is a profile that was merged into this one, with the days of its hits.
type former struct {
	number spoor.Number
	days   []spoor.Day
	public int64 // its imported id, which goes on leading here; 0: none
}

// set writes an attribute into the state, if the stamp is not older than what
// is there.
func (s *state) set(name string, typ spoor.Type, text string, at stamp) {
	s.writes++
	r := register{name: name, stamp: at, typ: typ, text: text}
	if n := len(s.regs); n == 0 || s.regs[n-1].name < name { // the rule, where the caller goes by name
		if cap(s.regs) == 0 {
			s.regs = make([]register, 0, 12)
		}
		s.regs = append(s.regs, r)
		return
	}
	i, found := slices.BinarySearchFunc(s.regs, name, func(r register, name string) int { return strings.Compare(r.name, name) })
	if !found {
		s.regs = slices.Insert(s.regs, i, r)
	} else if compareRegisters(r, s.regs[i]) > 0 {
		s.regs[i] = r
	}
}

// text is the present text of a register, or empty.
func (s *state) text(name string) string {
	i, found := slices.BinarySearchFunc(s.regs, name, func(r register, name string) int { return strings.Compare(r.name, name) })
	if !found || s.regs[i].typ == spoor.TypeNull {
		return ""
	}
	return s.regs[i].text
}

// put adds an identifier to, or takes it out of, the profile.
func (s *state) put(kind spoor.Lookup, text string, present bool, at stamp) {
	s.writes++
	s.elems = foldSorted(s.elems, []element{{kind: kind, text: text, stamp: at, since: at.time, present: present}}, compareElementNames, foldElement)
}

// members lists the present identifiers of a kind, oldest first.
func (s *state) members(kind spoor.Lookup) []string {
	var in []element
	for _, e := range s.elems {
		if e.kind == kind && e.present {
			in = append(in, e)
		}
	}
	slices.SortStableFunc(in, func(a, b element) int { return cmp.Compare(a.since, b.since) })
	out := make([]string, len(in))
	for i, e := range in {
		out[i] = e.text
	}
	return out
}

func (s *state) addDay(d spoor.Day) {
	if i, found := slices.BinarySearch(s.days, d); !found {
		s.days = slices.Insert(s.days, i, d)
	}
}

// addVisit moves the visit forward, never back.
func (s *state) addVisit(start, last int64) {
	if cmp.Or(cmp.Compare(last, s.visitLast), cmp.Compare(start, s.visitStart)) > 0 {
		s.visitStart, s.visitLast = start, last
	}
}

// fold adds what o knows. It keeps references to o's memory.
func (s *state) fold(o *state) {
	s.created = least(s.created, o.created)
	s.firstSeen = least(s.firstSeen, o.firstSeen)
	s.public = least(s.public, o.public)
	s.updated = max(s.updated, o.updated)
	s.lastSeen = max(s.lastSeen, o.lastSeen)
	s.contacted = max(s.contacted, o.contacted)
	s.heard = max(s.heard, o.heard)
	s.opened = max(s.opened, o.opened)
	s.clicked = max(s.clicked, o.clicked)
	for i, ms := range o.described {
		s.described[i] = max(s.described[i], ms)
	}
	s.views += o.views
	s.events += o.events
	s.visits += o.visits
	s.addVisit(o.visitStart, o.visitLast)
	s.regs = foldSorted(s.regs, o.regs, compareRegisterNames, foldRegister)
	s.elems = foldSorted(s.elems, o.elems, compareElementNames, foldElement)
	s.days = foldDays(s.days, o.days)
	s.former = foldSorted(s.former, o.former, compareFormer, foldFormer)
	if len(o.unknown) > 0 {
		s.unknown = append(slices.Clone(s.unknown), o.unknown...)
		slices.SortFunc(s.unknown, slices.Compare)
	}
}

// least is the smaller of two values of which 0 means none.
func least(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// foldSorted merges two sorted lists; both joins entries of the same name.
func foldSorted[T any](a, b []T, order func(a, b T) int, both func(a, b T) T) []T {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return b
	}
	out := make([]T, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := order(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, both(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func foldDays(a, b []spoor.Day) []spoor.Day {
	return foldSorted(a, b, cmp.Compare[spoor.Day], func(d, _ spoor.Day) spoor.Day { return d })
}

func compareRegisterNames(a, b register) int { return strings.Compare(a.name, b.name) }

// compareRegisters is total: equal stamps are decided by the value, so that
// the order of folding never shows.
func compareRegisters(a, b register) int {
	return cmp.Or(a.stamp.compare(b.stamp), cmp.Compare(a.typ, b.typ), strings.Compare(a.text, b.text))
}

func foldRegister(a, b register) register {
	if compareRegisters(a, b) < 0 {
		return b
	}
	return a
}

func compareElementNames(a, b element) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.text, b.text))
}

func foldElement(a, b element) element {
	since := least(a.since, b.since)
	if c := a.stamp.compare(b.stamp); c < 0 || c == 0 && b.present {
		a = b
	}
	a.since = since
	return a
}

func compareFormer(a, b former) int { return cmp.Compare(a.number, b.number) }

func foldFormer(a, b former) former {
	return former{number: a.number, days: foldDays(a.days, b.days), public: least(a.public, b.public)}
}
