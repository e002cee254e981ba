package query

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
)

// The limits of an edit.
const (
	fieldsMax     = 500      // members of a body
	nameBytesMax  = 128      // of an attribute's name
	textBytesMax  = 4096     // of a text value
	valueBytesMax = 16 << 10 // of a nested value
	depthMax      = 32       // of a nested value
)

// absentTime is how some clients send a time that they do not have.
const absentTime = "0001-01-01T00:00:00Z"

// edit is what a body asks for.
type edit struct {
	userID     string
	key        string
	attributes []spoor.Attribute
	tags       []string // to be added
	ignored    []string // fields that are known but not kept
	errs       fieldErrors
}

// member is one field of a JSON object.
type member struct {
	name  string
	value jsontext.Value
}

// members reads a JSON object: strict UTF-8, no name twice, nothing behind it.
func members(body []byte) ([]member, error) {
	broken := detail(400, "The body is no JSON object: it must be one, in UTF-8, with no name twice.")
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, broken
	}
	var list []member
	for dec.PeekKind() != '}' {
		t, err := dec.ReadToken()
		if err != nil {
			return nil, broken
		}
		name := t.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, broken
		}
		if len(list) == fieldsMax {
			return nil, detail(400, fmt.Sprintf("The body has more than %d fields.", fieldsMax))
		}
		list = append(list, member{name, value.Clone()})
	}
	if _, err := dec.ReadToken(); err != nil || len(bytes.TrimSpace(body[dec.InputOffset():])) > 0 {
		return nil, broken
	}
	return list, nil
}

// notKept are fields of a user that only spoor itself fills, or that are not
// built. A client may send back a whole user that it has read.
var notKept = []string{
	"id", "created_at", "updated_at", "first_seen", "last_seen", "last_contacted", "last_heard_from",
	"last_email_opened", "last_email_clicked", "page_views", "last_ip", "browser", "browser_version",
	"os_type", "os_version", "resolution", "device", "browser_language", "country_code", "mobile_ids",
	"companies", "company_id", "company_custom_id", "company", "lists", "attributes", "chat_id",
}

// newEdit converts the fields of a body. What is wrong stands in errs.
func newEdit(fields []member, v2 bool) *edit {
	e := new(edit)
	for _, f := range fields {
		switch {
		case f.name == "custom_id", f.name == "user_id" && !v2:
			e.setUserID(f)
		case f.name == "user_key", f.name == "key":
			if key, ok := idText(f.value); ok {
				e.key = key
			} else {
				e.errs.add(f.name, "Not a valid key.")
			}
		case f.name == "tags":
			e.addTags(f)
		case f.name == "user_id", slices.Contains(notKept, f.name):
			e.ignored = append(e.ignored, f.name)
		default:
			e.set(f)
		}
	}
	return e
}

// addTags reads tags: a list of names, or names with commas between. A user that
// was read and is sent back has objects there, which change nothing.
func (e *edit) addTags(f member) {
	names, objects, ok := tagNames(f.value)
	if e.tags = names; !ok {
		e.errs.add(f.name, "Give a list of names.")
	}
	if objects {
		e.ignored = append(e.ignored, f.name)
	}
}

func tagNames(v jsontext.Value) (names []string, objects, ok bool) {
	switch v.Kind() {
	case 'n':
		return nil, false, true
	case '"':
		for name := range strings.SplitSeq(unquote(v), ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
		return names, false, true
	case '[':
	default:
		return nil, false, false
	}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	for _, err := dec.ReadToken(); err == nil && dec.PeekKind() != ']'; {
		one, err := dec.ReadValue()
		switch {
		case err != nil:
			return nil, false, false
		case one.Kind() == '{':
			objects = true
		case one.Kind() == '"':
			names = append(names, unquote(one))
		default:
			return nil, false, false
		}
	}
	return names, objects, true
}

// junkIDs are what broken pages send for a person they do not know.
var junkIDs = []string{"null", "undefined", "nan", "none", "nil", "0", "-1", "true", "false", "[object object]", "anonymous", "guest",
	"00000000-0000-0000-0000-000000000000"}

func (e *edit) setUserID(f member) {
	id, ok := idText(f.value)
	if !ok || slices.Contains(junkIDs, strings.ToLower(id)) {
		e.errs.add(f.name, "Not a valid id.")
		return
	}
	if id != "" && (e.userID == "" || f.name == "custom_id") {
		e.userID = id
	}
}

// idText reads an id: a string, a whole number, or null for none.
func idText(v jsontext.Value) (id string, ok bool) {
	switch v.Kind() {
	case 'n':
		return "", true
	case '0':
		n, err := strconv.ParseInt(string(v), 10, 64)
		return strconv.FormatInt(n, 10), err == nil
	case '"':
		id = strings.TrimSpace(unquote(v))
		return id, plainText(id)
	}
	return "", false
}

func unquote(v jsontext.Value) string {
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil { // cannot be: the decoder has checked it
		return ""
	}
	return string(b)
}

// set adds one attribute, standard or the customer's own.
func (e *edit) set(f member) {
	name := f.name
	if name == "web_push_subscription" {
		name = spoor.AttrWebPush
	}
	if err := checkName(name); err != "" {
		e.errs.add(f.name, err)
		return
	}
	var a spoor.Attribute
	var problem string
	if want, standard := spoor.Standard[name]; standard {
		a, problem = standardValue(name, want, f.value)
	} else {
		if f.value.Kind() == '"' && unquote(f.value) == absentTime {
			return
		}
		a, problem = customValue(f.value)
	}
	if problem != "" {
		e.errs.add(f.name, problem)
		return
	}
	a.Name = name
	e.attributes = append(e.attributes, a)
}

func checkName(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "The name of an attribute is empty."
	case len(name) > nameBytesMax:
		return fmt.Sprintf("The name of an attribute is longer than %d bytes.", nameBytesMax)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "The name of an attribute holds control characters."
	}
	return ""
}

// customValue takes the type from JSON; of strings, only those that are a
// date or a time in ISO form become one.
func customValue(v jsontext.Value) (a spoor.Attribute, problem string) {
	switch v.Kind() {
	case 'n':
		return spoor.Attribute{Type: spoor.TypeNull}, ""
	case 't', 'f':
		return spoor.Attribute{Type: spoor.TypeBool, Text: string(v)}, ""
	case '0':
		return numberValue(v)
	case '"':
		s := unquote(v)
		if problem := checkText(s); problem != "" {
			return a, problem
		}
		if text, ok := canonicalDate(s); ok {
			return spoor.Attribute{Type: spoor.TypeDate, Text: text}, ""
		}
		if text, ok := canonicalTime(s); ok {
			return spoor.Attribute{Type: spoor.TypeDateTime, Text: text}, ""
		}
		return spoor.Attribute{Type: spoor.TypeString, Text: s}, ""
	}
	v = v.Clone()
	if v.Compact() != nil {
		return a, "Not valid JSON."
	}
	if len(v) > valueBytesMax {
		return a, fmt.Sprintf("The value is larger than %d bytes.", valueBytesMax)
	}
	if depth(v) > depthMax {
		return a, fmt.Sprintf("The value is nested deeper than %d levels.", depthMax)
	}
	return spoor.Attribute{Type: spoor.TypeJSON, Text: string(v)}, ""
}

func numberValue(v jsontext.Value) (a spoor.Attribute, problem string) {
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return spoor.Attribute{Type: spoor.TypeInt, Text: strconv.FormatInt(n, 10)}, ""
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.IsInf(f, 0) {
		return a, "The number is too large."
	}
	return spoor.Attribute{Type: spoor.TypeFloat, Text: string(jsontext.AppendFloat(nil, f, 64))}, ""
}

func checkText(s string) string {
	switch {
	case len(s) > textBytesMax:
		return fmt.Sprintf("The text is longer than %d bytes.", textBytesMax)
	case strings.ContainsRune(s, 0):
		return "The text holds a NUL character."
	}
	return ""
}

func canonicalDate(s string) (string, bool) {
	_, err := time.Parse(time.DateOnly, s)
	return s, err == nil && len(s) == len(time.DateOnly)
}

func canonicalTime(s string) (string, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return "", false
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return "", false
	}
	return t.Format(time.RFC3339Nano), true
}

// depth counts the levels of a valid JSON value.
func depth(v jsontext.Value) (deepest int) {
	var level int
	var inString, escaped bool
	for _, c := range v {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// standardValue converts to the type that a standard attribute has. The empty
// string removes, as null does.
func standardValue(name string, want spoor.Type, v jsontext.Value) (a spoor.Attribute, problem string) {
	var text string
	switch v.Kind() {
	case 'n':
		return spoor.Attribute{Type: spoor.TypeNull}, ""
	case '"':
		text = strings.TrimSpace(unquote(v))
	case '0', 't', 'f':
		text = string(v)
	default:
		return a, "Not a valid value."
	}
	if problem := checkText(text); problem != "" {
		return a, problem
	}
	if text == "" {
		return spoor.Attribute{Type: spoor.TypeNull}, ""
	}
	switch {
	case name == spoor.AttrGender:
		a.Text, problem = choice(text, genders, func(i int) string { return strconv.Itoa(i + 1) })
	case name == spoor.AttrStatus:
		a.Text, problem = choice(text, statuses, func(i int) string { return statuses[i] })
	case want == spoor.TypeBool:
		a.Text, problem = boolText(text)
	case want == spoor.TypeInt:
		a.Text, problem = intText(text)
	case v.Kind() == 't' || v.Kind() == 'f':
		problem = "Not a valid string."
	default:
		a.Text, problem = standardText(name, text)
	}
	a.Type = want
	return a, problem
}

// cut shortens text without breaking a character.
func cut(s string, bytesMax int) string {
	if len(s) <= bytesMax {
		return s
	}
	return strings.ToValidUTF8(s[:bytesMax], "")
}

// standardText checks the texts that have a form of their own.
func standardText(name, text string) (out, problem string) {
	switch name {
	case spoor.AttrEmail:
		if !spoor.Plausible(name, text) {
			return "", "Enter a valid email address."
		}
	case spoor.AttrPhone:
		if !spoor.Plausible(name, text) {
			return "", "Enter a valid phone number."
		}
	case spoor.AttrCountry:
		return countryCode(text), ""
	}
	return text, ""
}

// choice takes a word of the list or its number, counted from 1.
func choice(text string, words []string, stored func(i int) string) (out, problem string) {
	i := slices.Index(words, strings.ToLower(text))
	if n, err := strconv.Atoi(text); err == nil {
		i = n - 1
	}
	if i < 0 || i >= len(words) {
		return "", strconv.Quote(cut(text, 64)) + " is not a valid choice."
	}
	return stored(i), ""
}

func boolText(text string) (out, problem string) {
	switch strings.ToLower(text) {
	case "true", "1":
		return "true", ""
	case "false", "0":
		return "false", ""
	}
	return "", "Must be a valid boolean."
}

func intText(text string) (out, problem string) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return strconv.FormatInt(n, 10), ""
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return "", "A valid integer is required."
	}
	return strconv.FormatInt(int64(f), 10), ""
}
