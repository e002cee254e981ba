package store

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	attributesMax         = 1000    // custom attributes of one app
	attributeNameBytesMax = 128     // of a custom attribute's name
	attributeTextBytesMax = 8 << 10 // of a value
)

// apply sets attributes on a profile. What cannot be set (a value that does
// not fit the type, a name too many) is left out and counted.
func (g *group) apply(p *pending, attrs []spoor.Attribute, at stamp, receivedMs int64) error {
	if len(attrs) == 0 {
		return nil
	}
	var before *state
	for i := range attrs {
		switch attrs[i].Name {
		case spoor.AttrEmail, spoor.AttrPhone, spoor.AttrWebPush:
			var err error
			if before == nil {
				if before, err = g.whole(p); err != nil {
					return err
				}
			}
		}
	}
	for i := range attrs {
		if attrs[i].Name == spoor.AttrUserID {
			continue // an identifier, not an attribute
		}
		if p.facts.outdated(attrs[i].Name, at.time) {
			continue
		}
		if typ, text, ok := g.fit(p.app, &attrs[i], receivedMs); ok {
			p.add.set(attrs[i].Name, typ, text, at)
			p.facts.edit(attrs[i].Name, text, at.time)
		} else {
			g.w.s.dropped.Add(1)
		}
	}
	p.add.updated = max(p.add.updated, receivedMs)
	if before == nil {
		return nil
	}
	return g.settle(p, before)
}

// settle brings identifiers and the set of contacts in line after a change
// that may have touched a contact.
func (g *group) settle(p *pending, before *state) error {
	now, err := g.whole(p)
	if err != nil {
		return err
	}
	g.reindex(p.app, p.n, before, now)
	p.facts.email = now.text(spoor.AttrEmail) != ""
	return g.noteContacts(p, true)
}

// fit converts a value to the type of its attribute, which a custom attribute
// gets with its first value.
func (g *group) fit(a *appState, at *spoor.Attribute, receivedMs int64) (typ spoor.Type, text string, ok bool) {
	if at.Name == "" || at.Name == spoor.AttrUserID || at.Name[0] == 0 || len(at.Text) > attributeTextBytesMax {
		return 0, "", false
	}
	typ, known := spoor.Standard[at.Name]
	if !known {
		typ, known = a.defs[at.Name]
	}
	if at.Type == spoor.TypeNull {
		return spoor.TypeNull, "", known
	}
	if !known {
		if len(a.defs) >= attributesMax || len(at.Name) > attributeNameBytesMax {
			return 0, "", false
		}
		typ = at.Type
		a.defs[at.Name] = typ
		id := a.salt.hash(hashEdit, at.Name)
		value := appendDefinition(nil, definition{name: at.Name, typ: typ, since: receivedMs, source: at.Source})
		g.set(defineKey(nil, a.app.ID, binary.BigEndian.Uint64(id[:])), value)
	}
	if text, ok = convert(at.Type, at.Text, typ); at.Name == spoor.AttrEmail {
		text = strings.TrimSpace(text) // blanks are no contact
	}
	return typ, text, ok && spoor.Plausible(at.Name, text)
}

// misfit tells of the first attribute that fit would leave out. Somebody who
// edits waits for an answer and can mend it; a hit's other attributes are worth
// more than a refusal.
func (a *appState) misfit(attrs []spoor.Attribute) error {
	fresh := 0
	for _, at := range attrs {
		typ, known := spoor.Standard[at.Name]
		if !known {
			typ, known = a.defs[at.Name]
		}
		switch {
		case at.Name == spoor.AttrUserID || at.Type == spoor.TypeNull:
			continue
		case at.Name == "" || at.Name[0] == 0 || len(at.Text) > attributeTextBytesMax:
			return &spoor.MisfitError{Name: at.Name}
		case !known:
			if fresh++; len(a.defs)+fresh > attributesMax || len(at.Name) > attributeNameBytesMax {
				return &spoor.MisfitError{Name: at.Name}
			}
			continue
		}
		if _, ok := convert(at.Type, at.Text, typ); !ok {
			return &spoor.MisfitError{Name: at.Name, Type: typ}
		}
	}
	return nil
}

// definition is an entry of the catalogue of custom attributes.
type definition struct {
	name   string
	typ    spoor.Type
	since  int64
	source spoor.Door
}

const (
	definitionName protowire.Number = iota + 1
	definitionType
	definitionSince
	definitionSource
)

func appendDefinition(dst []byte, d definition) []byte {
	dst = putString(appendHeader(dst), definitionName, d.name)
	dst = putUint(dst, definitionType, uint64(d.typ))
	dst = putInt(dst, definitionSince, d.since)
	return putUint(dst, definitionSource, uint64(d.source))
}

func readDefinition(value []byte) (d definition, err error) {
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case definitionName:
			d.name = string(b)
		case definitionType:
			d.typ = spoor.Type(num)
		case definitionSince:
			d.since = zigzag(num)
		case definitionSource:
			d.source = spoor.Door(num)
		}
		return nil
	})
	return d, err
}

// convert gives the canonical text of a value in another type, if it has one.
func convert(from spoor.Type, text string, to spoor.Type) (string, bool) {
	if from == to {
		return text, true
	}
	if from == spoor.TypeJSON && to != spoor.TypeString {
		return "", false
	}
	text = strings.TrimSpace(text)
	switch to {
	case spoor.TypeString, spoor.TypeJSON:
		if to == spoor.TypeJSON && from == spoor.TypeString {
			text = strconv.Quote(text)
		}
		return text, true
	case spoor.TypeInt:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil { // above 2^53 a float would round
			return strconv.FormatInt(n, 10), true
		}
		if f, err := strconv.ParseFloat(text, 64); err == nil && f == float64(int64(f)) && from != spoor.TypeBool {
			return strconv.FormatInt(int64(f), 10), true
		}
	case spoor.TypeFloat:
		if f, err := strconv.ParseFloat(text, 64); err == nil && f-f == 0 {
			return strconv.FormatFloat(f, 'g', -1, 64), true
		}
	case spoor.TypeBool:
		if b, err := strconv.ParseBool(strings.ToLower(text)); err == nil {
			return strconv.FormatBool(b), true
		}
	case spoor.TypeDate:
		if t, err := time.Parse(time.DateOnly, text[:min(len(text), 10)]); err == nil {
			return t.Format(time.DateOnly), true
		}
	case spoor.TypeDateTime:
		for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
			if t, err := time.Parse(layout, text); err == nil {
				return t.UTC().Format("2006-01-02T15:04:05.000000Z"), true
			}
		}
	}
	return "", false
}
