package spoor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// FilterOp is what a node of a filter asks.
type FilterOp uint8

// The operations: three that join parts, and the conditions.
const (
	FilterAll       FilterOp = iota + 1 // all Parts hold; also if there are none
	FilterAny                           // one of Parts holds
	FilterNot                           // Parts[0] does not hold
	FilterAttribute                     // Name compared with Value by Compare
	FilterTag                           // has the tag Name
	FilterList                          // is in the list ID
	FilterSegment                       // is in the segment ID
	FilterEvent                         // did the event Name
	FilterPath                          // was on the page with the path Name
	FilterScreen                        // was on the screen Name
	FilterActive                        // was active in the last Days
)

// Comparison is how an attribute is compared.
type Comparison uint8

// The comparisons. All but Not, and Exists with false, want the attribute to be
// there.
const (
	CompareIs Comparison = iota + 1
	CompareNot
	CompareLess
	CompareLessOrEqual
	CompareMore
	CompareMoreOrEqual
	CompareContains
	CompareStartsWith
	CompareEndsWith
	CompareExists
)

var comparisonNames = [...]string{"", "is", "not", "less", "less_or_equal", "more", "more_or_equal", "contains", "starts_with", "ends_with", "exists"}

func parseComparison(name string) Comparison {
	for i, n := range comparisonNames {
		if n == name && i > 0 {
			return Comparison(i)
		}
	}
	return 0
}

// Filter is a question about people: a node with its parts. ParseFilter makes
// one from JSON; it must not be changed.
type Filter struct {
	Op    FilterOp
	Parts []Filter

	Name    string     // of attribute, tag, event, path or screen; of the latter three it may end with *
	ID      uint32     // of list or segment
	Compare Comparison // of FilterAttribute
	Value   Attribute  // its Type is string, float (whose Text is decimal) or bool; Name is empty

	Times    int    // at least so often, from 0
	AtMost   int    // and at most so often; -1: without end
	Days     int    // of the last so many days, today included; 0: ever
	Property string // of the hit, which is Value; empty: any
}

// The limits of filters.
const (
	FilterDepthMax      = 4
	FilterConditionsMax = 32
	FilterBytesMax      = 16 << 10 // of a filter that somebody sends
	FilterDaysMax       = 1100
	filterTimesMax      = 1000
	filterTextMax       = 2048 // bytes
)

// FilterFacts are the facts beside standard attributes that a filter
// compares, with their types. A custom attribute of the same name is not seen.
var FilterFacts = map[string]Type{
	"created_at": TypeDateTime, "updated_at": TypeDateTime, "first_seen": TypeDateTime, "last_seen": TypeDateTime,
	"page_views": TypeInt, "events": TypeInt, "visits": TypeInt, "known": TypeBool, AttrUserID: TypeString,
}

// ParseFilter reads a filter:
//
//	{"all":[F,…]} {"any":[F,…]} {"not":F}
//	{"attribute":NAME, OPERATOR:VALUE}
//	{"tag":NAME} {"list":ID} {"segment":ID}
//	{"event":TEXT,"times":N,"at_most":N,"days":N,"property":{"name":NAME,"is":VALUE}}
//	{"path":TEXT,…} {"screen":TEXT,…}
//	{"active":{"days":N}} {"idle":{"days":N}}
//
// Its error is one line that says what is wrong and what may stand there.
func ParseFilter(text []byte) (*Filter, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("the filter is not UTF-8")
	}
	conditions := 0
	f, err := parseFilter(text, 1, &conditions)
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// filterFields is a JSON object whose members are taken out one by one.
type filterFields map[string]json.RawMessage

func filterObject(text []byte) (filterFields, error) {
	var m filterFields
	if err := json.Unmarshal(text, &m); err != nil || m == nil {
		return nil, fmt.Errorf(`a part of the filter is no JSON object; write one such as {"attribute":"country","is":"PL"}`)
	}
	return m, nil
}

func (m filterFields) take(name string) (value json.RawMessage, ok bool) {
	value, ok = m[name]
	delete(m, name)
	return value, ok
}

func (m filterFields) end(of string) error {
	for name := range m {
		return fmt.Errorf("%q is not known beside %q in a filter", cutText(name), of)
	}
	return nil
}

func cutText(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "")
	}
	return s
}

func parseFilter(text []byte, depth int, conditions *int) (f Filter, err error) {
	m, err := filterObject(text)
	if err != nil {
		return f, err
	}
	if *conditions++; *conditions > 2*FilterConditionsMax { // joints too, or they would have no bound
		return f, tooManyConditions()
	}
	if raw, ok := m.take("attribute"); ok {
		f.Op = FilterAttribute
		return f, f.parseAttribute(raw, m)
	}
	for name, op := range map[string]FilterOp{"all": FilterAll, "any": FilterAny, "not": FilterNot} {
		if raw, ok := m.take(name); ok {
			f.Op = op
			if err := f.parseParts(name, raw, depth, conditions); err != nil {
				return f, err
			}
			return f, m.end(name)
		}
	}
	f.AtMost = -1
	for _, c := range filterConditions {
		raw, ok := m.take(c.name)
		if !ok {
			continue
		}
		f.Op = c.op
		if err := c.parse(&f, raw, m); err != nil {
			return f, err
		}
		if c.name == "idle" {
			f = Filter{Op: FilterNot, Parts: []Filter{f}}
		}
		return f, m.end(c.name)
	}
	return f, fmt.Errorf("a part of the filter has none of all, any, not, attribute, tag, list, segment, event, path, screen, active, idle")
}

func tooManyConditions() error {
	return fmt.Errorf("the filter has more than %d conditions", FilterConditionsMax)
}

func (f *Filter) parseParts(name string, raw json.RawMessage, depth int, conditions *int) error {
	if depth > FilterDepthMax {
		return fmt.Errorf("the filter is nested deeper than %d levels", FilterDepthMax)
	}
	parts := []json.RawMessage{raw}
	if f.Op != FilterNot {
		parts = nil
		if err := json.Unmarshal(raw, &parts); err != nil || len(parts) == 0 {
			return fmt.Errorf("%q wants a list of at least one condition", name)
		}
	}
	for _, part := range parts {
		p, err := parseFilter(part, depth+1, conditions)
		if err != nil {
			return err
		}
		f.Parts = append(f.Parts, p)
	}
	if n := f.Conditions(); n > FilterConditionsMax {
		return tooManyConditions()
	}
	return nil
}

// Conditions counts the conditions of a filter.
func (f *Filter) Conditions() (n int) {
	f.Walk(func(c *Filter) {
		if c.Op > FilterNot {
			n++
		}
	})
	return n
}

// Walk calls fn with the filter and all its parts.
func (f *Filter) Walk(fn func(*Filter)) {
	fn(f)
	for i := range f.Parts {
		f.Parts[i].Walk(fn)
	}
}

var filterConditions = []struct {
	name  string
	op    FilterOp
	parse func(f *Filter, raw json.RawMessage, m filterFields) error
}{
	{"tag", FilterTag, func(f *Filter, raw json.RawMessage, _ filterFields) error { return filterText("tag", raw, &f.Name) }},
	{"list", FilterList, func(f *Filter, raw json.RawMessage, _ filterFields) error { return f.parseID("list", raw) }},
	{"segment", FilterSegment, func(f *Filter, raw json.RawMessage, _ filterFields) error { return f.parseID("segment", raw) }},
	{"event", FilterEvent, func(f *Filter, raw json.RawMessage, m filterFields) error { return f.parseHit("event", raw, m) }},
	{"path", FilterPath, func(f *Filter, raw json.RawMessage, m filterFields) error { return f.parseHit("path", raw, m) }},
	{"screen", FilterScreen, func(f *Filter, raw json.RawMessage, m filterFields) error { return f.parseHit("screen", raw, m) }},
	{"active", FilterActive, func(f *Filter, raw json.RawMessage, _ filterFields) error { return f.parseActive("active", raw) }},
	{"idle", FilterActive, func(f *Filter, raw json.RawMessage, _ filterFields) error { return f.parseActive("idle", raw) }},
}

func filterText(name string, raw json.RawMessage, to *string) error {
	if json.Unmarshal(raw, to) != nil || *to == "" || len(*to) > filterTextMax {
		return fmt.Errorf("%q wants a text of 1 to %d bytes", name, filterTextMax)
	}
	return nil
}

// filterInt reads a whole number, also one in quotes, as some clients send ids.
func filterInt(name string, raw json.RawMessage, least, greatest int) (int, error) {
	n, err := strconv.Atoi(strings.Trim(string(raw), `"`))
	if err != nil || n < least || n > greatest {
		return 0, fmt.Errorf("%q wants a whole number from %d to %d", name, least, greatest)
	}
	return n, nil
}

func (f *Filter) parseID(name string, raw json.RawMessage) error {
	n, err := filterInt(name, raw, 1, math.MaxInt32)
	f.ID = uint32(n)
	return err
}

func (f *Filter) parseActive(name string, raw json.RawMessage) (err error) {
	m, err := filterObject(raw)
	if err != nil {
		return fmt.Errorf(`%q wants {"days":N}`, name)
	}
	days, ok := m.take("days")
	if !ok {
		return fmt.Errorf(`%q wants {"days":N}`, name)
	}
	if f.Days, err = filterInt("days", days, 1, FilterDaysMax); err != nil {
		return err
	}
	f.Times = 1
	return m.end(name)
}

func (f *Filter) parseHit(name string, raw json.RawMessage, m filterFields) (err error) {
	if err := filterText(name, raw, &f.Name); err != nil {
		return err
	}
	f.Times = 1
	for _, n := range []struct {
		name            string
		to              *int
		least, greatest int
	}{{"at_most", &f.AtMost, 0, filterTimesMax}, {"times", &f.Times, 0, filterTimesMax}, {"days", &f.Days, 1, FilterDaysMax}} {
		raw, ok := m.take(n.name)
		if !ok {
			continue
		}
		if *n.to, err = filterInt(n.name, raw, n.least, n.greatest); err != nil {
			return err
		}
		if n.name == "at_most" {
			f.Times = 0 // unless it is given
		}
	}
	if f.AtMost >= 0 && f.AtMost < f.Times {
		return fmt.Errorf(`"at_most" is below "times": nobody can be found`)
	}
	property, ok := m.take("property")
	if !ok {
		return nil
	}
	of, err := filterObject(property)
	if err != nil {
		return fmt.Errorf(`"property" wants {"name":NAME,"is":VALUE}`)
	}
	key, _ := of.take("name")
	if err := filterText("name", key, &f.Property); err != nil {
		return err
	}
	is, _ := of.take("is")
	if f.Value, err = filterValue("is", is); err != nil {
		return err
	}
	return of.end("property")
}

func (f *Filter) parseAttribute(raw json.RawMessage, m filterFields) (err error) {
	if err := filterText("attribute", raw, &f.Name); err != nil {
		return err
	}
	if f.Name[0] == 0 {
		return fmt.Errorf(`"attribute" wants a name`)
	}
	if len(m) != 1 {
		return fmt.Errorf("a condition on an attribute wants one operator of is, not, less, less_or_equal, more, more_or_equal, contains, starts_with, ends_with, exists")
	}
	for name, value := range m {
		if f.Compare = parseComparison(name); f.Compare == 0 {
			return fmt.Errorf("%q is no operator; use is, not, less, less_or_equal, more, more_or_equal, contains, starts_with, ends_with, exists", cutText(name))
		}
		if f.Value, err = filterValue(name, value); err != nil {
			return err
		}
	}
	if f.Name == "known" && (f.Compare != CompareIs && f.Compare != CompareNot || f.Value.Type != TypeBool) {
		return fmt.Errorf(`"known" wants is or not, with true or false`)
	}
	switch f.Compare {
	case CompareExists:
		if f.Value.Type != TypeBool {
			return fmt.Errorf(`"exists" wants true or false`)
		}
	case CompareLess, CompareLessOrEqual, CompareMore, CompareMoreOrEqual:
		return f.checkOrder()
	case CompareContains, CompareStartsWith, CompareEndsWith:
		if f.Value.Text == "" {
			return fmt.Errorf("%q wants a text that is not empty", comparisonNames[f.Compare])
		}
	}
	return nil
}

// checkOrder refuses what no value of a known type can be compared with.
func (f *Filter) checkOrder() error {
	typ, known := FilterFacts[f.Name]
	if !known {
		typ = Standard[f.Name]
	}
	switch typ {
	case TypeInt, TypeFloat:
		if _, err := strconv.ParseFloat(f.Value.Text, 64); err != nil {
			return fmt.Errorf("%q is a number and cannot be compared with %q", f.Name, cutText(f.Value.Text))
		}
	case TypeDateTime:
		if _, _, ok := FilterTime(f.Value.Text); !ok {
			return fmt.Errorf("%q is a time and cannot be compared with %q; write 2026-11-22, or a time such as 2026-11-22T12:00:00Z", f.Name, cutText(f.Value.Text))
		}
	case TypeBool:
		return fmt.Errorf("%q is true or false and has no order", f.Name)
	}
	return nil
}

// FilterTime reads a text that a time is compared with: an instant, in Unix ms,
// or a whole day, on the app's calendar.
func FilterTime(text string) (ms int64, day Day, ok bool) {
	if d, err := ParseDay(text); err == nil {
		return 0, d, true
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	return t.UnixMilli(), 0, err == nil
}

func filterValue(name string, raw json.RawMessage) (a Attribute, err error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
		return a, fmt.Errorf("%q is missing", name)
	case string(raw) == "true", string(raw) == "false":
		return Attribute{Type: TypeBool, Text: string(raw)}, nil
	case raw[0] == '"':
		a.Type = TypeString
		if json.Unmarshal(raw, &a.Text) == nil && len(a.Text) <= filterTextMax {
			return a, nil
		}
	default:
		n, err := strconv.ParseFloat(string(raw), 64)
		if err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) && len(raw) <= 32 {
			return Attribute{Type: TypeFloat, Text: string(raw)}, nil
		}
	}
	return a, fmt.Errorf("%q wants a text of at most %d bytes, a number, true or false", name, filterTextMax)
}

// JSON writes the filter in the form that ParseFilter reads.
func (f *Filter) JSON() []byte {
	b, err := json.Marshal(f.plain())
	if err != nil { // it is made of maps, texts and numbers
		panic("BUG: cannot write a filter: " + err.Error())
	}
	return b
}

// plain is the filter as maps; encoding/json sorts their keys.
func (f *Filter) plain() map[string]any {
	parts := make([]any, len(f.Parts))
	for i := range f.Parts {
		parts[i] = f.Parts[i].plain()
	}
	switch f.Op {
	case FilterAll:
		return map[string]any{"all": parts}
	case FilterAny:
		return map[string]any{"any": parts}
	case FilterNot:
		if p := &f.Parts[0]; p.Op == FilterActive {
			return map[string]any{"idle": map[string]any{"days": p.Days}}
		}
		return map[string]any{"not": parts[0]}
	case FilterAttribute:
		return map[string]any{"attribute": f.Name, comparisonNames[f.Compare]: f.Value.plainValue()}
	case FilterTag:
		return map[string]any{"tag": f.Name}
	case FilterList:
		return map[string]any{"list": f.ID}
	case FilterSegment:
		return map[string]any{"segment": f.ID}
	case FilterActive:
		return map[string]any{"active": map[string]any{"days": f.Days}}
	}
	m := map[string]any{map[FilterOp]string{FilterEvent: "event", FilterPath: "path", FilterScreen: "screen"}[f.Op]: f.Name}
	if f.AtMost >= 0 {
		m["at_most"] = f.AtMost
	}
	if f.Times != 1 && f.AtMost < 0 || f.Times != 0 && f.AtMost >= 0 {
		m["times"] = f.Times
	}
	if f.Days > 0 {
		m["days"] = f.Days
	}
	if f.Property != "" {
		m["property"] = map[string]any{"name": f.Property, "is": f.Value.plainValue()}
	}
	return m
}

func (a *Attribute) plainValue() any {
	switch a.Type {
	case TypeBool:
		return a.Text == "true"
	case TypeFloat:
		return json.Number(a.Text)
	}
	return a.Text
}

// RenameTag is the filter with a tag under its new name, and whether it named it.
func (f *Filter) RenameTag(from, to string) (*Filter, bool) {
	changed := false
	renamed := *f
	if f.Op == FilterTag && f.Name == from {
		renamed.Name, changed = to, true
	}
	renamed.Parts = append([]Filter(nil), f.Parts...)
	for i := range f.Parts {
		p, here := f.Parts[i].RenameTag(from, to)
		renamed.Parts[i], changed = *p, changed || here
	}
	return &renamed, changed
}
