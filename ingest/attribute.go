package ingest

import (
	"math"
	"strconv"
	"strings"

	"github.com/spoorhq/spoor"
)

const attributeNameBytesMax = 128

// attributeNames maps the spellings of senders to the standard names.
var attributeNames = map[string]string{
	"phone": spoor.AttrPhone, "phoneNumber": spoor.AttrPhone,
	"firstName": spoor.AttrFirstName, "firstname": spoor.AttrFirstName,
	"lastName": spoor.AttrLastName, "lastname": spoor.AttrLastName,
	"timeZone": spoor.AttrTimeZone, "time_zone": spoor.AttrTimeZone,
}

// readAttributes reads a profile's attributes from an object, over those that
// are there: the first value of a name stays. Null means that the sender does
// not know, and changes nothing.
func (rq *request) readAttributes(f *flaw, h *spoor.Hit, raw, field string) {
	switch raw[0] {
	case 'n':
		return
	case '{':
	default:
		f.set(reasonValue, field)
		return
	}
	for w := enter(raw); w.more(); {
		name, value := w.name(), w.value()
		if name == "address" && value[0] == '{' {
			rq.readAddress(h, value)
			continue
		}
		if canonical, ok := attributeNames[name]; ok {
			name = canonical
		}
		rq.addAttribute(h, name, value)
	}
}

// readAddress takes the standard parts of an address and keeps the whole under
// its own name if it has others.
func (rq *request) readAddress(h *spoor.Hit, raw string) {
	other := false
	for w := enter(raw); w.more(); {
		switch name, value := w.name(), w.value(); name {
		case "city":
			rq.addAttribute(h, spoor.AttrCity, value)
		case "state", "region":
			rq.addAttribute(h, spoor.AttrRegion, value)
		case "country":
			rq.addAttribute(h, spoor.AttrCountry, value)
		default:
			other = true
		}
	}
	if other {
		rq.addAttribute(h, "address", raw)
	}
}

func (rq *request) addAttribute(h *spoor.Hit, name, raw string) {
	if name == "" || name == spoor.AttrUserID || raw[0] == 'n' {
		return // the id is no attribute: it travels as Hit.UserID
	}
	if len(name) > attributeNameBytesMax {
		rq.unread++
		return
	}
	for i := range h.Attributes {
		if h.Attributes[i].Name == name {
			return
		}
	}
	a := spoor.Attribute{Name: name}
	a.Type, a.Text = typed(raw)
	if want, ok := spoor.Standard[name]; ok {
		if a.Text == "" {
			return // an empty e-mail is none
		}
		a.Type, a.Text = convert(name, a.Type, a.Text, want)
	}
	if a.Type == spoor.TypeNull {
		rq.unread++
		return
	}
	if h.Attributes == nil {
		h.Attributes = make([]spoor.Attribute, 0, 8)
	}
	h.Attributes = append(h.Attributes, a)
}

// typed is a JSON value as an attribute's type and canonical text; TypeNull
// for numbers that no float holds.
func typed(raw string) (spoor.Type, string) {
	switch raw[0] {
	case '"':
		return spoor.TypeString, unquote(raw)
	case 't', 'f':
		return spoor.TypeBool, raw
	case '{', '[':
		return spoor.TypeJSON, string(appendCompact(make([]byte, 0, len(raw)), raw))
	}
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil {
		return spoor.TypeInt, strconv.FormatInt(n, 10)
	}
	v, err := strconv.ParseFloat(raw, 64)
	if err != nil {
		return spoor.TypeNull, ""
	}
	return spoor.TypeFloat, strconv.FormatFloat(v, 'f', -1, 64)
}

// genders are the words that stand for the numbers of the gender attribute.
var genders = map[string]string{"unknown": "1", "male": "2", "m": "2", "female": "3", "f": "3"}

// convert brings a value to the type of a standard attribute; TypeNull if it
// does not convert.
func convert(name string, have spoor.Type, text string, want spoor.Type) (spoor.Type, string) {
	if have == want {
		return have, text
	}
	switch want {
	case spoor.TypeString:
		if have != spoor.TypeJSON {
			return want, text
		}
	case spoor.TypeInt:
		text = strings.TrimSpace(text)
		if n, ok := genders[strings.ToLower(text)]; ok && name == spoor.AttrGender {
			return want, n
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil && v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return want, strconv.FormatInt(int64(v), 10)
		}
	case spoor.TypeBool:
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "true", "1", "yes":
			return want, "true"
		case "false", "0", "no":
			return want, "false"
		}
	}
	return spoor.TypeNull, ""
}
