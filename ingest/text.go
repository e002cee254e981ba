package ingest

import (
	"strings"
	"unicode/utf8"

	"github.com/spoorhq/spoor"
)

// What identifies is refused when it is too long, because two long ids or
// names could become one; what describes is cut. Short texts such as a
// language are dropped: no real one is that long.
const (
	idBytesMax    = 512
	nameBytesMax  = 256
	urlBytesMax   = 8 << 10
	titleBytesMax = 1 << 10
	agentBytesMax = 1 << 10
	shortBytesMax = 64
)

// cut shortens a text to at most n bytes, between two characters.
func cut(s string, n int) (string, bool) {
	if len(s) <= n {
		return s, false
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], true
}

func (rq *request) cutText(s *string, n int) {
	if short, did := cut(*s, n); did {
		*s = short
		rq.cut++
	}
}

func (rq *request) dropText(s *string, n int) {
	if len(*s) > n {
		*s = ""
		rq.cut++
	}
}

// scalar is the text of a JSON string, number or boolean; null is empty. It
// reports false for objects and arrays.
func scalar(raw string) (string, bool) {
	switch raw[0] {
	case '"':
		return unquote(raw), true
	case 'n':
		return "", true
	case '{', '[':
		return "", false
	}
	return raw, true
}

// readText reads a text field; numbers are taken as they are written.
func (f *flaw) readText(dst *string, raw, field string) {
	s, ok := scalar(raw)
	if !ok {
		f.set(reasonValue, field)
		return
	}
	*dst = s
}

// readID reads what identifies somebody or something.
func (rq *request) readID(f *flaw, dst *string, raw, field string) {
	s, ok := scalar(raw)
	if !ok {
		f.set(reasonValue, field)
		return
	}
	rq.setID(f, dst, s, field)
}

func (rq *request) setID(f *flaw, dst *string, s, field string) {
	s = strings.TrimSpace(s)
	switch {
	case len(s) > idBytesMax:
		f.set(reasonIDLength, field)
	case junk(s):
		rq.junk++
	default:
		*dst = s
	}
}

// readTime reads a time; see parseMoment.
func (f *flaw) readTime(dst *int64, raw, field string) {
	ms, ok := parseMoment(raw)
	if !ok {
		f.set(reasonTime, field)
		return
	}
	*dst = ms
}

// readProperties keeps an object as compact JSON; an empty one is none.
func (f *flaw) readProperties(dst *[]byte, raw, field string) {
	switch {
	case raw[0] == 'n':
	case raw[0] != '{':
		f.set(reasonValue, field)
	default:
		if b := appendCompact(make([]byte, 0, len(raw)), raw); len(b) > 2 {
			*dst = b
		}
	}
}

// readConsent reads {"analytics": …, "marketing": …, "geolocation": …} or one
// choice for all.
func (f *flaw) readConsent(dst *spoor.Consent, raw string) {
	if raw[0] != '{' {
		c, ok := choice(raw)
		if !ok {
			f.set(reasonValue, "consent")
		}
		*dst = spoor.NewConsent(c, c, c)
		return
	}
	analytics, marketing, geolocation := dst.Analytics(), dst.Marketing(), dst.Geolocation()
	for w := enter(raw); w.more(); {
		name, value := w.name(), w.value()
		var into *spoor.Choice
		switch name {
		case "analytics":
			into = &analytics
		case "marketing":
			into = &marketing
		case "geolocation":
			into = &geolocation
		default:
			continue
		}
		// A choice that is not understood must not pass for "said nothing".
		c, ok := choice(value)
		if !ok {
			f.set(reasonValue, "consent")
		}
		*into = c
	}
	*dst = spoor.NewConsent(analytics, marketing, geolocation)
}

func choice(raw string) (spoor.Choice, bool) {
	switch raw {
	case "true", `"granted"`, `"true"`:
		return spoor.ChoiceGranted, true
	case "false", `"denied"`, `"false"`:
		return spoor.ChoiceDenied, true
	case "null", `""`:
		return spoor.ChoiceUnknown, true
	}
	return spoor.ChoiceUnknown, false
}
