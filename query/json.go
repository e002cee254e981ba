package query

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonWriter appends JSON in the order of its calls; commas come by
// themselves. Replies are written by hand because the order of their keys is
// part of what clients know.
type jsonWriter struct{ b []byte }

func (w *jsonWriter) comma() {
	if n := len(w.b); n > 0 && w.b[n-1] != '{' && w.b[n-1] != '[' && w.b[n-1] != ':' && w.b[n-1] != '\n' {
		w.b = append(w.b, ',')
	}
}

func (w *jsonWriter) begin(bracket byte) {
	w.comma()
	w.b = append(w.b, bracket)
}

func (w *jsonWriter) end(bracket byte) { w.b = append(w.b, bracket) }

func (w *jsonWriter) quote(s string) {
	n := len(w.b)
	b, err := jsontext.AppendQuote(w.b, s)
	if err != nil { // invalid UTF-8
		b, _ = jsontext.AppendQuote(w.b[:n], strings.ToValidUTF8(s, "\uFFFD"))
	}
	w.b = b
}

func (w *jsonWriter) key(name string) {
	w.comma()
	w.quote(name)
	w.b = append(w.b, ':')
}

// item is a string in an array.
func (w *jsonWriter) item(s string) {
	w.comma()
	w.quote(s)
}

func (w *jsonWriter) text(name, s string) {
	w.key(name)
	w.quote(s)
}

// textOrNull writes null for the empty string.
func (w *jsonWriter) textOrNull(name, s string) {
	if s == "" {
		w.null(name)
		return
	}
	w.text(name, s)
}

func (w *jsonWriter) null(name string) {
	w.key(name)
	w.b = append(w.b, "null"...)
}

func (w *jsonWriter) int(name string, n int64) {
	w.key(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

// number writes null for what is not known.
func (w *jsonWriter) number(name string, v float64, known bool) {
	if !known || math.IsNaN(v) || math.IsInf(v, 0) {
		w.null(name)
		return
	}
	w.key(name)
	w.b = strconv.AppendFloat(w.b, v, 'f', -1, 64)
}

func (w *jsonWriter) bool(name string, v bool) {
	w.key(name)
	w.b = strconv.AppendBool(w.b, v)
}

// raw writes a JSON value from the store, on one line. What is no JSON
// becomes a string, so that one bad value cannot spoil a whole reply.
func (w *jsonWriter) raw(name string, value []byte) {
	w.key(name)
	w.rawValue(value)
}

func (w *jsonWriter) rawValue(value []byte) {
	v := jsontext.Value(value)
	if !v.IsValid() {
		w.quote(string(value))
		return
	}
	if bytes.ContainsAny(value, "\r\n") {
		v = v.Clone()
		if v.Compact() != nil {
			w.quote(string(value))
			return
		}
	}
	w.b = append(w.b, v...)
}

const timeFormat = "2006-01-02T15:04:05.000000Z"

// time writes Unix milliseconds with microseconds in UTC; 0 is null.
func (w *jsonWriter) time(name string, ms int64) {
	if ms == 0 {
		w.null(name)
		return
	}
	w.text(name, formatTime(ms))
}

func formatTime(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format(timeFormat)
}
