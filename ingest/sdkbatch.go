package ingest

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
)

// openSDKBatch finds the events of a batch, and reads what stands around them.
// Customer and device become a ping in front of the events.
func (s *Server) openSDKBatch(rq *request, body []byte) spoor.Reason {
	head := []byte{'{'} // customer, device and consent
	found, pings := false, false
	w := enter(body)
	for w.more() {
		name := w.name()
		if name == "events" && w.i < len(body) && body[w.i] == '[' {
			if found {
				return reasonJSON // twice
			}
			found = true
			in := enterAt(body, w.i)
			if reason := s.elements(rq, &in); reason != "" {
				return reason
			}
			w.i = in.i
			continue
		}
		value := w.value()
		switch name {
		case "customer", "device":
			pings = pings || string(value) != "null"
		case "consent":
		case "sent_at": // stays outside: it differs when the same batch is sent again
			if !w.broken && len(value) <= momentBytesMax && jsontext.Value(value).IsValid() {
				rq.sentAt = string(value)
			}
			continue
		default:
			continue
		}
		if len(head) > 1 {
			head = append(head, ',')
		}
		head = append(append(append(head, '"'), name...), `":`...)
		head = append(head, value...)
	}
	head = append(head, '}')
	switch {
	case w.broken:
		return reasonJSON
	case !found:
		return reasonEmptyBatch
	}
	_, depth := extent(head, 0)
	switch {
	case len(head) > s.opts.EventBytesMax:
		return reasonEventBytes
	case depth > s.opts.JSONDepthMax:
		return reasonDepth
	case !jsontext.Value(head).IsValid() || hasNUL(head):
		return reasonJSON
	}
	d := &rq.sdk
	d.first = string(rq.pieces[0].raw)
	if pings {
		d.ping = 1
		rq.pieces = slices.Insert(rq.pieces, 0, piece{raw: head, depth: depth})
	}
	d.head = string(head)
	rq.readSDKHead(d.head)
	return ""
}

// readSDKHead takes from what stands around the events what each of them needs.
func (rq *request) readSDKHead(head string) {
	d := &rq.sdk
	for w := enter(head); w.more(); {
		switch name, value := w.name(), w.value(); name {
		case "customer":
			var key string
			var who spoor.Hit // the attributes are the ping's alone
			rq.readCustomer(&d.flaw, &who, &key, value)
			if d.userID = who.UserID; d.sent == "" {
				d.sent = key
			}
		case "device":
			if value[0] == '{' {
				d.device.read(rq, value)
			}
		case "consent":
			d.flaw.readConsent(&d.consent, value)
		}
	}
	d.device.token, d.device.properties = "", nil // are the ping's too
}

// nameSDKBatch settles the key of a batch. One that brings none gets it from
// the id of its first event: sent again it is the same user's.
func (rq *request) nameSDKBatch() {
	d := &rq.sdk
	if d.key = d.sent; d.key != "" {
		return
	}
	var id string
	if d.first[0] == '{' {
		for w := enter(d.first); w.more(); {
			if name, value := w.name(), w.value(); name == "id" && !w.broken {
				id, _ = scalar(value)
			}
		}
	}
	d.key = mint(rq.app.ID, seed("batch", id, d.head, ""))
}
