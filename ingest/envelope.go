package ingest

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
)

// piece is one event of a body, as it stands there.
type piece struct {
	raw     []byte
	text    string // the same, if it is copied already
	depth   int
	members []member // if they are known already
}

// envelope is what stands around the events of a body.
type envelope struct {
	batch   bool   // more than a lone object: the reply lists results
	key     string // write key; of the wrapper, a lone event, or the first event
	sentAt  string // JSON value, or empty
	context string // JSON object that is the default of each event's context
}

// open finds the events of a body: an object, an array of objects, an object
// with an array "batch", or one object per line.
func (s *Server) open(rq *request, body []byte) spoor.Reason {
	switch body[0] {
	case '[':
		rq.batch = true
		w := enter(body)
		if reason := s.elements(rq, &w); reason != "" {
			return reason
		}
		return rest(body, w.i)
	case '{':
		// Without a line break there is one object, or none that is whole, and
		// openObject finds that out without looking twice.
		if bytes.IndexByte(body, '\n') >= 0 {
			if end, _ := extent(body, 0); end != len(body) {
				return s.openLines(rq, body)
			}
		}
		return s.openObject(rq, body)
	}
	return reasonJSON
}

func rest(body []byte, end int) spoor.Reason {
	if len(bytes.Trim(body[end:], " \t\r\n")) > 0 {
		return reasonJSON
	}
	return ""
}

// elements takes the events of an array.
func (s *Server) elements(rq *request, w *walker[[]byte]) spoor.Reason {
	for w.more() {
		raw := w.value()
		if w.broken {
			break
		}
		if len(rq.pieces) == s.opts.EventsMax {
			return reasonEvents
		}
		rq.pieces = append(rq.pieces, piece{raw: raw, depth: w.depth})
	}
	if w.broken {
		return reasonJSON
	}
	if len(rq.pieces) == 0 {
		return reasonEmptyBatch
	}
	return ""
}

// openLines takes one event per line; a bad line is refused alone.
func (s *Server) openLines(rq *request, body []byte) spoor.Reason {
	rq.batch = true
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
			continue
		}
		if len(rq.pieces) == s.opts.EventsMax {
			return reasonEvents
		}
		end, depth := extent(line, 0)
		if end != len(line) {
			depth = 0 // not one whole value; refused as invalid later
		}
		rq.pieces = append(rq.pieces, piece{raw: line, depth: depth})
	}
	return ""
}

// openObject takes a lone event, or a wrapper with a batch.
func (s *Server) openObject(rq *request, body []byte) spoor.Reason {
	var sentAt, context []byte
	var key member
	depth := 0
	w := enter(body)
	for w.more() {
		name := wrapperName(w.quotedName())
		if name == "batch" && w.i < len(body) && body[w.i] == '[' {
			if rq.batch {
				return reasonJSON // twice
			}
			rq.batch = true
			in := enterAt(body, w.i)
			if reason := s.elements(rq, &in); reason != "" {
				return reason
			}
			w.i = in.i
			continue
		}
		value := w.value()
		if w.broken {
			break
		}
		depth = max(depth, w.depth)
		if len(body) <= s.opts.EventBytesMax { // larger ones are no event, and would fill memory with members
			rq.members = append(rq.members, w.last)
		}
		switch {
		case name == "context" && value[0] == '{':
			if context = value; w.depth > s.opts.JSONDepthMax {
				return reasonDepth
			}
		case name == "sentAt":
			sentAt = value
		case name == "writeKey":
			key = w.last
		}
	}
	if w.broken || w.i != len(body) {
		return reasonJSON
	}
	text := ""
	if rq.batch || len(body) > s.opts.EventBytesMax {
		rq.envelope.key = keyValue(body[key.value:key.valueEnd])
	} else { // the key is a part of the copy that the hit keeps
		text = string(body)
		rq.envelope.key = keyValue(text[key.value:key.valueEnd])
	}
	if !rq.batch { // its other fields are read when it is decoded
		rq.pieces = append(rq.pieces, piece{body, text, depth + 1, rq.members})
		return ""
	}
	if len(sentAt) <= momentBytesMax && jsontext.Value(sentAt).IsValid() {
		rq.envelope.sentAt = string(sentAt)
	}
	return s.openContext(rq, context)
}

// openContext judges and keeps the context that is common to a batch.
func (s *Server) openContext(rq *request, context []byte) spoor.Reason {
	switch {
	case len(context) == 0:
		return ""
	case len(context) > s.opts.EventBytesMax:
		return reasonEventBytes
	case !jsontext.Value(context).IsValid() || hasNUL(context):
		return reasonJSON
	}
	rq.envelope.context = string(context)
	return ""
}

// wrapperName is the one spelling of a name that matters in a wrapper; empty
// for all others. It does not allocate for names without escapes.
func wrapperName(quoted []byte) string {
	if len(quoted) < 2 {
		return ""
	}
	inner := quoted[1 : len(quoted)-1]
	switch string(inner) {
	case "batch":
		return "batch"
	case "context":
		return "context"
	case "sentAt", "sent_at":
		return "sentAt"
	case "write_key":
		return "writeKey"
	}
	if len(inner) == len("writeKey") && bytes.EqualFold(inner, []byte("writeKey")) {
		return "writeKey"
	}
	if bytes.IndexByte(inner, '\\') >= 0 {
		if plain := unquote(string(quoted)); strings.IndexByte(plain, '\\') < 0 {
			return wrapperName([]byte(`"` + plain + `"`))
		}
	}
	return ""
}

// keyValue is the write key that a JSON value is. It shares the memory of a string.
func keyValue[T span](value T) string {
	if len(value) < 2 || len(value) > keyBytesMax || value[0] != '"' {
		return ""
	}
	if !isPlain(value[1:len(value)-1]) && !jsontext.Value(value).IsValid() {
		return ""
	}
	return trimKey(unquote(string(value)))
}

// pieceKey is the write key that an event of an array or of lines names.
func pieceKey(raw []byte) string {
	if raw[0] != '{' {
		return ""
	}
	for w := enter(raw); w.more(); {
		name := wrapperName(w.quotedName())
		value := w.value()
		if w.broken {
			break
		}
		if name == "writeKey" {
			return keyValue(value)
		}
	}
	return ""
}
