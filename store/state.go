package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
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
	visitStart, visitLast                       int64 // the visit that reaches furthest
	public                                      int64 // imported id; the smallest wins
	regs                                        []register
	elems                                       []element
	days                                        []spoor.Day // with hits, sorted
	former                                      []former    // by number
	unknown                                     [][]byte    // operands of a format we cannot read, sorted
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
// device id (LookupKey) or a mobile identifier (LookupMobile).
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
}

// set writes an attribute into the state, if the stamp is not older than what
// is there.
func (s *state) set(name string, typ spoor.Type, text string, at stamp) {
	r := register{name: name, stamp: at, typ: typ, text: text}
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
	return former{number: a.number, days: foldDays(a.days, b.days)}
}

// Tags of a profile's value. Never reuse one.
const (
	stateCreated protowire.Number = iota + 1
	stateUpdated
	stateFirstSeen
	stateLastSeen
	stateContacted
	stateHeard
	stateOpened
	stateClicked
	stateViews
	stateEvents
	stateVisits
	stateVisitStart // zigzag of visitLast − visitStart
	stateVisitLast
	statePublic
	stateStamp // registers that share a stamp: nested
	stateElement
	stateDays // days as deltas
	stateFormer
	stateUnknown
)

const (
	nestTime protowire.Number = iota + 1
	nestTie
	nestSource
	nestRegister // nested: register*
	nestKind
	nestText
	nestSince
	nestPresent
	nestNumber
	nestDays
)

const (
	registerID protowire.Number = iota + 1 // a standard name, by its place in registerNames
	registerName
	registerType
	registerText
)

// appendTo encodes the state. Equal states give equal bytes.
func (s *state) appendTo(dst []byte) []byte {
	dst = appendHeader(dst)
	dst = putInt(dst, stateCreated, s.created)
	dst = putInt(dst, stateUpdated, s.updated)
	dst = putInt(dst, stateFirstSeen, s.firstSeen)
	dst = putInt(dst, stateLastSeen, s.lastSeen)
	dst = putInt(dst, stateContacted, s.contacted)
	dst = putInt(dst, stateHeard, s.heard)
	dst = putInt(dst, stateOpened, s.opened)
	dst = putInt(dst, stateClicked, s.clicked)
	dst = putInt(dst, stateViews, s.views)
	dst = putInt(dst, stateEvents, s.events)
	dst = putInt(dst, stateVisits, s.visits)
	dst = putInt(dst, stateVisitStart, s.visitLast-s.visitStart)
	dst = putInt(dst, stateVisitLast, s.visitLast)
	dst = putInt(dst, statePublic, s.public)
	dst = appendRegisters(dst, s.regs)
	var nest []byte
	for _, e := range s.elems {
		nest = appendStamp(nest[:0], e.stamp)
		nest = putUint(nest, nestKind, uint64(e.kind))
		nest = putString(nest, nestText, e.text)
		nest = putInt(nest, nestSince, e.time-e.since)
		nest = putBool(nest, nestPresent, e.present)
		dst = putBytes(dst, stateElement, nest)
	}
	dst = putBytes(dst, stateDays, appendDays(nest[:0], s.days))
	for _, f := range s.former {
		nest = putUint(nest[:0], nestNumber, uint64(f.number))
		nest = putBytes(nest, nestDays, appendDays(nil, f.days))
		dst = putBytes(dst, stateFormer, nest)
	}
	for _, u := range s.unknown {
		dst = putBytes(dst, stateUnknown, u)
	}
	return dst
}

func appendStamp(dst []byte, at stamp) []byte {
	dst = putInt(dst, nestTime, at.time)
	dst = putFixed(dst, nestTie, at.tie)
	return putUint(dst, nestSource, uint64(at.source))
}

// appendRegisters writes each stamp once with all registers it set: most
// profiles were last written by one hit.
func appendRegisters(dst []byte, regs []register) []byte {
	one := true
	for i := 1; i < len(regs) && one; i++ {
		one = regs[i].stamp == regs[0].stamp
	}
	if !one {
		regs = slices.Clone(regs)
		slices.SortStableFunc(regs, func(a, b register) int { return a.stamp.compare(b.stamp) })
	}
	var nest, reg []byte
	for i := 0; i < len(regs); {
		at := regs[i].stamp
		nest = appendStamp(nest[:0], at)
		for ; i < len(regs) && regs[i].stamp == at; i++ {
			r := &regs[i]
			reg = reg[:0]
			if id := registerIDs[r.name]; id != 0 {
				reg = putUint(reg, registerID, id)
			} else {
				reg = putString(reg, registerName, r.name)
			}
			reg = putUint(reg, registerType, uint64(r.typ))
			reg = putString(reg, registerText, r.text)
			nest = putBytes(nest, nestRegister, reg)
		}
		dst = putBytes(dst, stateStamp, nest)
	}
	return dst
}

func appendDays(dst []byte, days []spoor.Day) []byte {
	last := spoor.Day(0)
	for _, d := range days {
		dst = protowire.AppendVarint(dst, protowire.EncodeZigZag(int64(d-last)))
		last = d
	}
	return dst
}

func readDays(b []byte) ([]spoor.Day, error) {
	days := make([]spoor.Day, 0, len(b))
	last := spoor.Day(0)
	for len(b) > 0 {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, errValue
		}
		last += spoor.Day(zigzag(v))
		days = append(days, last)
		b = b[n:]
	}
	return days, nil
}

// readState decodes a profile's value. The state owns its memory.
func readState(value []byte) (*state, error) {
	s := new(state)
	err := fields(value, func(tag protowire.Number, num uint64, b []byte) (err error) {
		if n := s.number(tag); n != nil {
			*n = zigzag(num)
			return nil
		}
		switch tag {
		case stateStamp:
			s.regs, err = readRegisters(s.regs, b)
		case stateElement:
			var e element
			if e, err = readElement(b); err == nil {
				s.elems = append(s.elems, e)
			}
		case stateDays:
			s.days, err = readDays(b)
		case stateFormer:
			var f former
			if f, err = readFormer(b); err == nil {
				s.former = append(s.former, f)
			}
		case stateUnknown:
			s.unknown = append(s.unknown, slices.Clone(b))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.visitStart = s.visitLast - s.visitStart
	slices.SortFunc(s.regs, compareRegisterNames)
	return s, nil
}

// number is the integer field of the state that a tag stands for, or nil.
func (s *state) number(tag protowire.Number) *int64 {
	switch tag {
	case stateCreated:
		return &s.created
	case stateUpdated:
		return &s.updated
	case stateFirstSeen:
		return &s.firstSeen
	case stateLastSeen:
		return &s.lastSeen
	case stateContacted:
		return &s.contacted
	case stateHeard:
		return &s.heard
	case stateOpened:
		return &s.opened
	case stateClicked:
		return &s.clicked
	case stateViews:
		return &s.views
	case stateEvents:
		return &s.events
	case stateVisits:
		return &s.visits
	case stateVisitStart:
		return &s.visitStart
	case stateVisitLast:
		return &s.visitLast
	case statePublic:
		return &s.public
	}
	return nil
}

func readRegisters(regs []register, b []byte) ([]register, error) {
	var at stamp
	first := len(regs)
	err := rawFields(b, func(tag protowire.Number, num uint64, b []byte) error {
		if tag != nestRegister {
			readStamp(&at, tag, num)
			return nil
		}
		var r register
		err := rawFields(b, func(tag protowire.Number, num uint64, b []byte) error {
			switch tag {
			case registerID:
				if num >= uint64(len(registerNames)) {
					return errValue
				}
				r.name = registerNames[num]
			case registerName:
				r.name = string(b)
			case registerType:
				r.typ = spoor.Type(num)
			case registerText:
				r.text = string(b)
			}
			return nil
		})
		regs = append(regs, r)
		return err
	})
	for i := first; i < len(regs); i++ {
		regs[i].stamp = at
	}
	return regs, err
}

func readStamp(at *stamp, tag protowire.Number, num uint64) {
	switch tag {
	case nestTime:
		at.time = zigzag(num)
	case nestTie:
		at.tie = num
	case nestSource:
		at.source = spoor.Door(num)
	}
}

func readElement(b []byte) (e element, err error) {
	err = rawFields(b, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case nestKind:
			e.kind = spoor.Lookup(num)
		case nestText:
			e.text = string(b)
		case nestSince:
			e.since = zigzag(num)
		case nestPresent:
			e.present = num != 0
		default:
			readStamp(&e.stamp, tag, num)
		}
		return nil
	})
	e.since = e.time - e.since
	return e, err
}

func readFormer(b []byte) (f former, err error) {
	err = rawFields(b, func(tag protowire.Number, num uint64, b []byte) (err error) {
		switch tag {
		case nestNumber:
			f.number = spoor.Number(num)
		case nestDays:
			f.days, err = readDays(b)
		}
		return err
	})
	return f, err
}

const (
	regConsentAnalytics = "\x00consent_analytics" // no attribute: a leading NUL cannot be sent
	regConsentMarketing = "\x00consent_marketing"
)

// registerNames gives standard names their number in stored values. Append,
// never reorder; 0 is not used.
var registerNames = []string{
	"", spoor.AttrUserID, spoor.AttrEmail, spoor.AttrPhone, spoor.AttrWebPush, spoor.AttrFirstName,
	spoor.AttrLastName, spoor.AttrName, spoor.AttrGender, spoor.AttrStatus, spoor.AttrScore,
	spoor.AttrUnsubscribed, spoor.AttrNotifications, spoor.AttrAssignedTo, spoor.AttrGravatar,
	spoor.AttrFacebook, spoor.AttrLinkedIn, spoor.AttrTwitter, spoor.AttrGoogle, spoor.AttrTimeZone,
	spoor.AttrCity, spoor.AttrRegion, spoor.AttrCountry, spoor.AttrLastIP, spoor.AttrLanguage,
	spoor.AttrOS, spoor.AttrOSVersion, spoor.AttrResolution, spoor.AttrDevice, spoor.AttrBrowser,
	spoor.AttrBrowserVersion, regConsentAnalytics, regConsentMarketing,
}

var registerIDs = func() map[string]uint64 {
	ids := make(map[string]uint64, len(registerNames))
	for i, name := range registerNames[1:] {
		ids[name] = uint64(i + 1)
	}
	return ids
}()
