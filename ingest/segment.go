package ingest

import (
	"strings"

	"github.com/spoorhq/spoor"
)

// serveSegment takes the Segment-shaped paths. Kind is what the path says;
// KindNone leaves it to each event's type.
func (s *Server) serveSegment(rq *request, kind spoor.Kind) {
	s.take(rq, spoor.DoorSegment, func(rq *request, raw string, h *spoor.Hit) flaw {
		return decodeSegment(rq, raw, h, kind)
	})
}

// segmentEvent holds the parts of an event that can only be used when all of
// it has been read. Those of JSON objects are raw, empty if absent.
type segmentEvent struct {
	kind, name, event, group                string
	context, properties, traits             string
	stamp, original, sent                   int64
	anonymousID, userID, previousID, mesgID string
}

func decodeSegment(rq *request, raw string, h *spoor.Hit, kind spoor.Kind) (f flaw) {
	var e segmentEvent
	if rq.sentAt != "" {
		e.sent, _ = parseMoment(rq.sentAt)
	}
	for w := enter(raw); w.more(); {
		e.read(rq, &f, w.name(), w.value())
	}
	h.ID, h.Key, h.UserID = e.mesgID, e.anonymousID, e.userID
	if kind == spoor.KindNone {
		kind = segmentKind(e.kind)
	}
	if kind == spoor.KindNone {
		f.set(reasonType, "type")
		return f
	}
	h.Kind = kind
	h.Time = e.happened(rq.now)

	context := rq.base
	if e.context != "" {
		context.decode(rq, e.context)
	}
	switch kind {
	case spoor.KindEvent:
		h.Name = e.event
		f.readObject(&h.Properties, e.properties, "properties")
	case spoor.KindPage, spoor.KindScreen:
		h.Name = e.name
		f.readPage(h, e.properties)
	case spoor.KindIdentify:
		if e.traits != "" {
			rq.readAttributes(&f, h, e.traits, "traits")
		}
		if context.traits != "" {
			rq.readAttributes(&f, h, context.traits, "traits")
		}
	case spoor.KindAlias:
		h.FormerID = e.previousID
	case spoor.KindGroup:
		h.Name = e.group
		f.readObject(&h.Properties, e.traits, "traits") // of the group, not the person
	}
	context.fill(rq, h)
	return f
}

func (e *segmentEvent) read(rq *request, f *flaw, name, value string) {
	switch name {
	case "type":
		f.readText(&e.kind, value, name)
	case "messageId":
		rq.readID(f, &e.mesgID, value, name)
	case "anonymousId":
		rq.readID(f, &e.anonymousID, value, name)
	case "userId":
		rq.readID(f, &e.userID, value, name)
	case "previousId":
		rq.readID(f, &e.previousID, value, name)
	case "groupId":
		rq.readID(f, &e.group, value, name)
	case "event":
		f.readText(&e.event, value, name)
	case "name":
		f.readText(&e.name, value, name)
	case "timestamp":
		f.readTime(&e.stamp, value, name)
	case "originalTimestamp":
		f.readTime(&e.original, value, name)
	case "sentAt":
		f.readTime(&e.sent, value, name)
	case "properties":
		e.properties = value
	case "traits":
		e.traits = value
	case "context":
		e.context = value
	case "writeKey":
		rq.checkKey(f, value)
	}
}

// happened is when the event happened by our clock. Most clients send one time
// by their own clock, under either name; with two that differ, timestamp was
// set by hand and is used as it is.
func (e *segmentEvent) happened(received int64) int64 {
	switch {
	case e.original == 0:
		return corrected(received, e.stamp, e.sent)
	case e.stamp != 0 && e.stamp != e.original:
		return e.stamp
	}
	return corrected(received, e.original, e.sent)
}

func segmentKind(name string) spoor.Kind {
	switch strings.ToLower(name) {
	case "track":
		return spoor.KindEvent
	case "page":
		return spoor.KindPage
	case "screen":
		return spoor.KindScreen
	case "identify":
		return spoor.KindIdentify
	case "alias":
		return spoor.KindAlias
	case "group":
		return spoor.KindGroup
	}
	return spoor.KindNone
}

// readObject is readProperties for a field that may be absent.
func (f *flaw) readObject(dst *[]byte, raw, field string) {
	if raw != "" {
		f.readProperties(dst, raw, field)
	}
}

// readPage lifts what is part of every page out of its properties into the
// hit, where minimisation sees it. The path and the query string alone are
// parts of the url and not kept twice.
func (f *flaw) readPage(h *spoor.Hit, raw string) {
	if raw == "" || raw[0] == 'n' {
		return
	}
	if raw[0] != '{' {
		f.set(reasonValue, "properties")
		return
	}
	var path, search string
	rest := make([]byte, 0, len(raw))
	for w := enter(raw); w.more(); {
		w.skip()
		start := w.i
		name := w.name()
		value := w.value()
		var into *string
		switch name {
		case "url":
			into = &h.URL
		case "referrer":
			into = &h.Referrer
		case "title":
			into = &h.Title
		case "path":
			into = &path
		case "search":
			into = &search
		}
		if into != nil {
			if text, ok := scalar(value); ok {
				*into = text
				continue
			}
		}
		if len(rest) == 0 {
			rest = append(rest, '{')
		} else {
			rest = append(rest, ',')
		}
		rest = appendCompact(rest, raw[start:w.i])
	}
	if len(rest) > 0 {
		h.Properties = append(rest, '}')
	}
	if h.URL == "" && path != "" {
		h.URL = path + search
	}
}
