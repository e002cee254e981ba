package ingest

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// momentBytesMax bounds the JSON of a time.
const momentBytesMax = 64

// layouts are the forms of ISO 8601 that clients send, after the fast one.
// Parsing takes a fraction of any length where the layout has none.
var layouts = []string{
	time.RFC3339, // again, for small letters
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	time.DateOnly,
}

// parseMoment reads a time from JSON, a string or a number: ISO 8601 (UTC if
// no zone is given), or the Unix time in seconds, milliseconds or
// microseconds, told apart by magnitude. It returns Unix milliseconds. Null,
// an empty text, 0 and the year 1 mean that there is none: 0, true. The first
// instant of 1970, written out, is given as the millisecond after it.
func parseMoment(raw string) (ms int64, ok bool) {
	if len(raw) > momentBytesMax || raw == "" {
		return 0, false
	}
	text, ok := scalar(raw)
	if !ok || raw == "true" || raw == "false" {
		return 0, false
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, true
	}
	if ms, ok := parseUnix(text); ok {
		return ms, true
	}
	if raw[0] != '"' {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		upper := strings.ToUpper(text)
		for _, layout := range layouts {
			if t, err = time.Parse(layout, upper); err == nil {
				break
			}
		}
	}
	if err != nil || t.Year() < 0 || t.Year() > 9999 {
		return 0, false
	}
	if t.Year() <= 1 {
		return 0, true
	}
	if ms = t.UnixMilli(); ms == 0 {
		ms = 1
	}
	return ms, true
}

func parseUnix(text string) (ms int64, ok bool) {
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return 0, false
	}
	if strings.IndexByte(text, ':') >= 0 { // a time of day, and the error would cost two allocations
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, false
	}
	switch size := math.Abs(v); {
	case size < 1e11: // seconds, until the year 5138
		v *= 1e3
	case size < 1e14: // milliseconds, from 1973 on
	case size < 1e17: // microseconds
		v /= 1e3
	default:
		return 0, false
	}
	return int64(math.Round(v)), true
}

// corrected is when something happened by our clock: the sender's clock is as
// wrong as its time of sending differs from our time of receipt.
func corrected(received, happened, sent int64) int64 {
	if happened == 0 || sent == 0 {
		return happened
	}
	return received - (sent - happened)
}
