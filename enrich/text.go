package enrich

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The classes of a byte in outside text.
const (
	classUpper = 1 << iota
	classLower
	classDigit
	classHex
	classJoin    // joins the parts of a token or slug
	classHidden  // may hide something personal: at signs, escapes, delimiters
	classControl // not kept, or not ASCII
)

const (
	classLetter = classUpper | classLower
	classAlnum  = classLetter | classDigit
)

var classes = func() (t [256]uint8) {
	for c := range t {
		b := byte(c)
		switch {
		case b < ' ' || b >= 0x7f:
			t[c] = classControl
		case b >= '0' && b <= '9':
			t[c] = classDigit | classHex
		case b >= 'a' && b <= 'z':
			t[c] = classLower
		case b >= 'A' && b <= 'Z':
			t[c] = classUpper
		}
		if t[c]&classLetter != 0 && b|0x20 <= 'f' {
			t[c] |= classHex
		}
	}
	for _, b := range []byte("-_+=") {
		t[b] |= classJoin
	}
	for _, b := range []byte(`@%=;&?#\`) {
		t[b] |= classHidden
	}
	return t
}()

// appendLower appends s in small letters. Unlike strings.ToLower it allocates
// nothing for plain names, which nearly all begin with a capital.
func appendLower(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return append(dst[:len(dst)-i], strings.ToLower(s)...)
		}
		dst = append(dst, s[i]|classes[s[i]]&classUpper<<5)
	}
	return dst
}

func isLetter(b byte) bool { return classes[b]&classLetter != 0 }
func isDigit(b byte) bool  { return b >= '0' && b <= '9' }

// cleanText makes valid UTF-8 without control characters, at most max bytes
// long. Line breaks and tabs become spaces. Clean text is returned as it is.
func cleanText(s string, max int) string { return clean(s, max, ' ') }

// cleanURL is cleanText for an address, where browsers ignore line breaks.
func cleanURL(s string) string { return clean(s, len(s), -1) }

func clean(s string, max int, lineBreak rune) string {
	if !isClean(s) {
		s = strings.Map(func(r rune) rune {
			switch {
			case r == '\n' || r == '\r' || r == '\t':
				return lineBreak
			case r == utf8.RuneError || unicode.IsControl(r):
				return -1
			}
			return r
		}, s)
	}
	return cutText(strings.TrimSpace(s), max)
}

func isClean(s string) bool {
	i := 0
	for i < len(s) && classes[s[i]]&classControl == 0 {
		i++
	}
	for _, r := range s[i:] {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// cutText shortens valid UTF-8 to max bytes without splitting a character.
func cutText(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// decodeDepth is how many layers of percent-encoding are looked through. Text
// that is wrapped deeper hides something and counts as personal.
const decodeDepth = 8

// unescape takes one layer of percent-encoding away. What is no escape stays.
func unescape(s string) string {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s
	}
	out := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && classes[s[i+1]]&classes[s[i+2]]&classHex != 0 {
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func unhex(b byte) byte {
	if isDigit(b) {
		return b - '0'
	}
	return b | 0x20 - 'a' + 10
}
