package store

import (
	"slices"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

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
	stateDescribed // aspects that were told at one time: pairs of a bit set and the time
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
	nestPublic
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
	var mem [512]byte
	nest := s.described.appendTo(mem[:0])
	dst = putBytes(dst, stateDescribed, nest)
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
		nest = f.appendTo(nest[:0])
		dst = putBytes(dst, stateFormer, nest)
	}
	return putUnknown(dst, stateUnknown, s.unknown)
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
	var few [16]register
	if !one {
		regs = append(few[:0], regs...)
		slices.SortStableFunc(regs, func(a, b register) int { return a.stamp.compare(b.stamp) })
	}
	var nestMem [1024]byte
	var regMem [256]byte
	nest, reg := nestMem[:0], regMem[:0]
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

// appendTo writes each time once: most hits tell all aspects.
func (d *described) appendTo(dst []byte) []byte {
	var done uint64
	for i, ms := range d {
		if ms == 0 || done&(1<<i) != 0 {
			continue
		}
		same := uint64(0)
		for k := i; k < len(d); k++ {
			if d[k] == ms {
				same |= 1 << k
			}
		}
		done |= same
		dst = protowire.AppendVarint(dst, same)
		dst = protowire.AppendVarint(dst, protowire.EncodeZigZag(ms))
	}
	return dst
}

func (d *described) read(b []byte) error {
	for len(b) > 0 {
		same, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return errValue
		}
		ms, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return errValue
		}
		for i := range d {
			if same&(1<<i) != 0 {
				d[i] = zigzag(ms)
			}
		}
		b = b[n+m:]
	}
	return nil
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
		case stateDescribed:
			err = s.described.read(b)
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
		if r.name != "" { // else it is damaged, and no register
			regs = append(regs, r)
		}
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

func (f *former) appendTo(dst []byte) []byte {
	dst = putUint(dst, nestNumber, uint64(f.number))
	dst = putBytes(dst, nestDays, appendDays(nil, f.days))
	return putInt(dst, nestPublic, f.public)
}

func readFormer(b []byte) (f former, err error) {
	err = rawFields(b, func(tag protowire.Number, num uint64, b []byte) (err error) {
		switch tag {
		case nestNumber:
			f.number = spoor.Number(num)
		case nestDays:
			f.days, err = readDays(b)
		case nestPublic:
			f.public = zigzag(num)
		}
		return err
	})
	return f, err
}

const (
	regConsentAnalytics = "\x00consent_analytics" // no attribute: a leading NUL cannot be sent
	regConsentMarketing = "\x00consent_marketing"
	regRestricted       = "\x00restricted" // last day
	regHeld             = "\x00held"       // last day
	regObjected         = "\x00objected"   // since when
	regConsentPlace     = "\x00consent_geolocation"
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
	spoor.AttrBrowserVersion, regConsentAnalytics, regConsentMarketing, regRestricted, regHeld, regObjected,
	regConsentPlace,
}

var registerIDs = func() map[string]uint64 {
	ids := make(map[string]uint64, len(registerNames))
	for i, name := range registerNames[1:] {
		ids[name] = uint64(i + 1)
	}
	return ids
}()
