package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// attributeTest is a condition on an attribute, prepared for many profiles.
type attributeTest struct {
	compare spoor.Comparison
	text    []byte
	exists  bool // what CompareExists wants
	number  float64
	whole   int64
	ms      int64
	day     spoor.Day
	isNum   bool
	isWhole bool
	isMS    bool
	isDay   bool
	app     *spoor.App
	attributeName
}

// attributeName is where a profile holds what a condition is about.
type attributeName struct {
	register uint64 // number of a standard name; 0: name
	name     []byte
	fact     protowire.Number // tag of a number of the state; 0: a register
}

func newAttributeName(name string) attributeName {
	return attributeName{register: registerIDs[name], name: []byte(name), fact: factTags[name]}
}

// counts reports whether the attribute is a count: none is 0.
func (a *attributeName) counts() bool {
	return a.fact == stateViews || a.fact == stateEvents || a.fact == stateVisits
}

var factTags = map[string]protowire.Number{
	"created_at": stateCreated, "updated_at": stateUpdated, "first_seen": stateFirstSeen, "last_seen": stateLastSeen,
	"page_views": stateViews, "events": stateEvents, "visits": stateVisits,
}

// genderNumbers are what is stored under the names that the API shows.
var genderNumbers = map[string]string{"unknown": "1", "male": "2", "female": "3"}

func newAttributeTest(app *spoor.App, f *spoor.Filter) *attributeTest {
	text := f.Value.Text
	if number, ok := genderNumbers[text]; ok && f.Name == spoor.AttrGender {
		text = number
	}
	t := &attributeTest{
		compare: f.Compare, text: []byte(text), exists: text == "true", app: app,
		attributeName: newAttributeName(f.Name),
	}
	var err error
	t.number, err = strconv.ParseFloat(strings.TrimSpace(text), 64)
	t.isNum = err == nil && t.number-t.number == 0
	t.whole, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	t.isWhole = err == nil
	if ms, day, ok := spoor.FilterTime(f.Value.Text); ok {
		t.ms, t.day = ms, day
		_, err := spoor.ParseDay(f.Value.Text)
		t.isDay, t.isMS = err == nil, err != nil
	}
	return t
}

// registerValue is what a profile holds under a name; its text is the store's.
type registerValue struct {
	typ  spoor.Type
	text []byte
	ms   int64 // of a derived fact: a time, or a count
	here bool
}

// holds decides the condition.
func (t *attributeTest) holds(v *registerValue) bool {
	if !v.here {
		return t.compare == spoor.CompareNot || t.compare == spoor.CompareExists && !t.exists
	}
	switch t.compare {
	case spoor.CompareExists:
		return t.exists
	case spoor.CompareContains:
		return bytes.Contains(t.textOf(v), t.text)
	case spoor.CompareStartsWith:
		return bytes.HasPrefix(t.textOf(v), t.text)
	case spoor.CompareEndsWith:
		return bytes.HasSuffix(t.textOf(v), t.text)
	}
	order, comparable := t.order(v)
	switch t.compare {
	case spoor.CompareIs:
		return comparable && order == 0
	case spoor.CompareNot:
		return !comparable || order != 0
	case spoor.CompareLess:
		return comparable && order < 0
	case spoor.CompareLessOrEqual:
		return comparable && order <= 0
	case spoor.CompareMore:
		return comparable && order > 0
	case spoor.CompareMoreOrEqual:
		return comparable && order >= 0
	}
	return false
}

// textOf is the text of a value, also of a derived fact.
func (t *attributeTest) textOf(v *registerValue) []byte {
	switch {
	case t.fact == 0:
		return v.text
	case v.typ == spoor.TypeInt:
		return strconv.AppendInt(nil, v.ms, 10)
	}
	return time.UnixMilli(v.ms).UTC().AppendFormat(nil, time.RFC3339Nano)
}

// order compares the profile's value with that of the condition, by the type of
// the former.
func (t *attributeTest) order(v *registerValue) (order int, comparable bool) {
	switch v.typ {
	case spoor.TypeInt, spoor.TypeFloat:
		if !t.isNum {
			return 0, false
		}
		whole, err := v.ms, error(nil)
		if t.fact == 0 {
			whole, err = strconv.ParseInt(string(v.text), 10, 64)
		}
		if err == nil && t.isWhole {
			return cmp.Compare(whole, t.whole), true
		}
		number := float64(whole)
		if err != nil {
			if number, err = strconv.ParseFloat(string(v.text), 64); err != nil {
				return 0, false
			}
		}
		return cmp.Compare(number, t.number), true
	case spoor.TypeDate:
		day, err := spoor.ParseDay(string(v.text))
		switch {
		case err != nil || !t.isDay && !t.isMS:
			return 0, false
		case t.isMS:
			return cmp.Compare(day, t.app.Day(t.ms)), true
		}
		return cmp.Compare(day, t.day), true
	case spoor.TypeDateTime:
		ms := v.ms
		if t.fact == 0 {
			at, err := time.Parse(time.RFC3339Nano, string(v.text))
			if err != nil {
				return 0, false
			}
			ms = at.UnixMilli()
		}
		switch {
		case t.isDay:
			return cmp.Compare(t.app.Day(ms), t.day), true
		case t.isMS:
			return cmp.Compare(ms, t.ms), true
		}
		return 0, false
	}
	return bytes.Compare(v.text, t.text), true
}

// sameNumber compares two numbers as they are written.
func sameNumber(a, b string) bool {
	x, err := strconv.ParseFloat(a, 64)
	y, wrong := strconv.ParseFloat(b, 64)
	return err == nil && wrong == nil && x == y
}

// find takes the values of some names out of a profile's state, and decodes no
// more of it than that takes: a scan of a million profiles is mostly this.
func find(value []byte, names []*attributeName, into []registerValue) error {
	if len(value) < headerBytes || value[0] != valueVersion || value[1] != valuePlain {
		return errValue
	}
	var standard uint64 // numbers of the wanted names
	custom := false
	for i, t := range names {
		into[i] = registerValue{}
		switch {
		case t.counts():
			into[i] = registerValue{typ: spoor.TypeInt, here: true}
		case t.fact != 0:
		case t.register != 0:
			standard |= 1 << t.register
		default:
			custom = true
		}
	}
	for at := headerBytes; at < len(value); {
		f, ok := fieldAt(value, at)
		if !ok {
			return errValue
		}
		switch at = f.to; {
		case f.tag == stateStamp:
			if (standard != 0 || custom) && !findRegisters(value[f.from:f.to], standard, custom, names, into) {
				return errValue
			}
		case f.tag <= stateVisits && f.num != 0:
			for i, t := range names {
				if t.fact != f.tag {
					continue
				}
				if into[i].ms, into[i].here = zigzag(f.num), true; into[i].typ != spoor.TypeInt {
					into[i].typ = spoor.TypeDateTime
				}
			}
		}
	}
	return nil
}

// fieldSpan is a field within a value: a number, or the bytes from and to.
type fieldSpan struct {
	tag      protowire.Number
	num      uint64
	from, to int
}

// fieldAt reads the field that begins at a place; ok is false if there is none.
func fieldAt(b []byte, at int) (f fieldSpan, ok bool) {
	head, at := varintAt(b, at)
	f.tag = protowire.Number(head >> 3)
	switch protowire.Type(head & 7) {
	case protowire.VarintType:
		f.num, f.to = varintAt(b, at)
	case protowire.BytesType:
		size, from := varintAt(b, at)
		if from > len(b) || size > uint64(len(b)-from) {
			return f, false
		}
		f.from, f.to = from, from+int(size)
	default:
		n := -1
		if at <= len(b) {
			n = protowire.ConsumeFieldValue(f.tag, protowire.Type(head&7), b[at:])
		}
		if n < 0 {
			return f, false
		}
		f.to = at + n
	}
	return f, f.to <= len(b)
}

// varintAt reads a varint, most of which have one byte, and tells where the next
// field begins: behind the end if there was none.
func varintAt(b []byte, at int) (uint64, int) {
	if at < len(b) && b[at] < 0x80 {
		return uint64(b[at]), at + 1
	}
	return longVarintAt(b, at)
}

func longVarintAt(b []byte, at int) (uint64, int) {
	if at >= len(b) {
		return 0, len(b) + 1
	}
	v, n := protowire.ConsumeVarint(b[at:])
	if n < 0 {
		return 0, len(b) + 1
	}
	return v, at + n
}

// findRegisters looks through the registers of one stamp, and into those whose
// name, their first field, is of interest.
func findRegisters(b []byte, standard uint64, custom bool, names []*attributeName, into []registerValue) bool {
	const (
		register = byte(nestRegister)<<3 | byte(protowire.BytesType)
		standing = byte(registerID)<<3 | byte(protowire.VarintType)
	)
	for at := 0; at < len(b); {
		// A short register with a standard name: its id is its fourth byte.
		if at+3 < len(b) && b[at] == register && b[at+1] < 0x80 && b[at+2] == standing && b[at+3] < 64 && standard>>b[at+3]&1 == 0 {
			if at += 2 + int(b[at+1]); at > len(b) {
				return false
			}
			continue
		}
		reg, ok := fieldAt(b, at)
		if at = reg.to; !ok {
			return false
		}
		if reg.tag != nestRegister || reg.from == reg.to {
			continue
		}
		r := b[reg.from:reg.to]
		name, ok := fieldAt(r, 0)
		switch {
		case !ok:
			return false
		case name.tag == registerID && (name.num > 63 || standard>>name.num&1 == 0), name.tag == registerName && !custom:
			continue
		}
		v := registerValue{here: true}
		for at := name.to; at < len(r); {
			f, ok := fieldAt(r, at)
			if at = f.to; !ok {
				return false
			}
			switch f.tag {
			case registerType:
				v.typ = spoor.Type(f.num)
			case registerText:
				v.text = r[f.from:f.to]
			}
		}
		if v.typ == spoor.TypeNull {
			continue
		}
		for i, t := range names {
			switch {
			case t.fact != 0:
			case t.register != 0 && name.tag == registerID && t.register == name.num,
				t.register == 0 && name.tag == registerName && bytes.Equal(r[name.from:name.to], t.name):
				into[i] = v
			}
		}
	}
	return true
}

const (
	portionNumbers = 4096
	nextMax        = 8 // numbers further than that are sought, not walked to
)

// readAttributes decides conditions on attributes for some profiles.
func (s *selection) readAttributes(nodes []*node, people *roaring.Bitmap) error {
	tests := make([]*attributeTest, len(nodes))
	names := make([]*attributeName, len(nodes))
	in := make([]*roaring.Bitmap, len(nodes))
	for i, n := range nodes {
		tests[i], in[i] = newAttributeTest(s.app, n.filter), roaring.New()
		names[i] = &tests[i].attributeName
	}
	left := handout{it: people.ManyIterator()}
	var mu sync.Mutex
	err := parallel(func() error {
		w := newAttributeWalk(names)
		found := make([][]uint32, len(tests))
		buf := make([]uint32, portionNumbers)
		next := func() []uint32 {
			mu.Lock()
			for i, numbers := range found {
				in[i].AddMany(numbers)
				found[i] = numbers[:0]
			}
			mu.Unlock()
			return left.next(buf)
		}
		return w.walk(s.db, s.app.ID, next, func(n uint32) {
			for i, t := range tests {
				if t.holds(&w.values[i]) {
					found[i] = append(found[i], n)
				}
			}
		})
	})
	if err != nil {
		return err
	}
	for i, n := range nodes {
		n.settle(people, in[i])
	}
	return nil
}

// attributeWalk is one goroutine's way through profiles.
type attributeWalk struct {
	names  []*attributeName
	values []registerValue // of the profile where it stands
}

func newAttributeWalk(names []*attributeName) *attributeWalk {
	return &attributeWalk{names: names, values: make([]registerValue, len(names))}
}

// walk calls visit at those of the numbers from next, until there are none, that
// have a profile.
func (w *attributeWalk) walk(db pebble.Reader, app spoor.AppID, next func() []uint32, visit func(n uint32)) (err error) {
	prefix := key1(nil, prefixProfile, app)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("cannot read the store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var key [9]byte
	for {
		numbers := next()
		if len(numbers) == 0 {
			return it.Error()
		}
		at, valid := uint32(0), false // where the iterator stands
		for _, n := range numbers {
			for valid && at < n && n-at <= nextMax {
				if valid = it.Next(); valid {
					at = be32(it.Key()[5:])
				}
			}
			if !valid || at < n {
				if valid = it.SeekGE(profileKey(key[:0], app, spoor.Number(n))); valid {
					at = be32(it.Key()[5:])
				}
			}
			if !valid || at != n {
				continue
			}
			value, err := it.ValueAndErr()
			if err != nil {
				return fmt.Errorf("cannot read the store: %w", err)
			}
			if err := find(value, w.names, w.values); err != nil {
				return fmt.Errorf("cannot read profile %d of app %d: %w", n, app, err)
			}
			visit(n)
		}
	}
}
