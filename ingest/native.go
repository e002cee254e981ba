package ingest

import (
	"net/netip"

	"github.com/spoorhq/spoor"
)

// serveNative takes POST /hit. The fields are in the package comment.
func (s *Server) serveNative(rq *request) {
	s.take(rq, spoor.DoorNative, decodeNative)
}

func decodeNative(rq *request, raw string, h *spoor.Hit) (f flaw) {
	h.Kind = spoor.KindPage
	h.IP, h.UserAgent, h.Hints = rq.ip, rq.agent, rq.hints
	var happened, sent int64
	if rq.sentAt != "" {
		sent, _ = parseMoment(rq.sentAt)
	}
	for _, m := range rq.membersOf(raw) {
		name, value := m.in(raw)
		switch name {
		case "id":
			rq.readID(&f, &h.ID, value, name)
		case "key":
			if h.Door == spoor.DoorWidget {
				rq.readCookieKey(&h.Key, value)
			} else {
				rq.readID(&f, &h.Key, value, name)
			}
		case "user_id":
			rq.readID(&f, &h.UserID, value, name)
		case "former_id":
			rq.readID(&f, &h.FormerID, value, name)
		case "type":
			f.readKind(&h.Kind, value)
		case "name":
			f.readText(&h.Name, value, name)
		case "url":
			f.readText(&h.URL, value, name)
		case "referrer":
			f.readText(&h.Referrer, value, name)
		case "title":
			f.readText(&h.Title, value, name)
		case "resolution":
			f.readText(&h.Resolution, value, name)
		case "language":
			f.readText(&h.Language, value, name)
		case "timezone":
			f.readText(&h.TimeZone, value, name)
		case "time":
			f.readTime(&happened, value, name)
		case "sent_at":
			f.readTime(&sent, value, name)
		case "hints":
			readHints(&h.Hints, value)
		case "consent":
			f.readConsent(&h.Consent, value)
		case "properties":
			f.readProperties(&h.Properties, value, name)
		case "attributes", "traits":
			rq.readAttributes(&f, h, value, "attributes")
		case "ip":
			if rq.believes(h) && value[0] == '"' {
				readIP(&h.IP, unquote(value))
			}
		case "user_agent":
			if rq.believes(h) && value[0] == '"' {
				h.UserAgent = unquote(value)
			}
		case "write_key", "writeKey":
			rq.checkKey(&f, value)
		}
	}
	if key := rq.cookie; key != "" {
		h.Key = key
	}
	if h.Kind == spoor.KindServerEvent { // the customer's server sent it: what it runs on says nothing of the person
		if h.UserAgent == rq.agent {
			h.UserAgent, h.Hints = "", spoor.Hints{}
		}
		if h.IP == rq.ip {
			h.IP = netip.Addr{}
		}
	}
	h.Time = corrected(rq.now, happened, sent)
	return f
}

// believes is whether the sender may speak for another address and user agent.
// A page never may.
func (rq *request) believes(h *spoor.Hit) bool {
	return rq.app.Settings.TrustSender && h.Door != spoor.DoorWidget
}

func (f *flaw) readKind(dst *spoor.Kind, raw string) {
	var name string
	f.readText(&name, raw, "type")
	f.nameKind(dst, name)
}

func (f *flaw) nameKind(dst *spoor.Kind, name string) {
	if name == "" {
		return
	}
	kind, ok := spoor.ParseKind(name)
	if !ok {
		f.set(reasonType, "type")
		return
	}
	*dst = kind
}

// readIP reads an address that a trusted sender names; an unreadable one makes
// the place unknown, not the event bad.
func readIP(dst *netip.Addr, text string) {
	if text == "" {
		return
	}
	a, _ := netip.ParseAddr(text)
	*dst = plain(a)
}

// checkKey holds an event to the request's app. A key in headers or query wins
// over one in the body, so only keys that came from the body are compared.
func (rq *request) checkKey(f *flaw, raw string) {
	if !rq.keyInEvent || raw[0] != '"' {
		return
	}
	if k := trimKey(unquote(raw)); k != "" && k != rq.key {
		f.set(reasonOtherKey, "write_key")
	}
}
