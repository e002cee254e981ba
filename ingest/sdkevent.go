package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/spoorhq/spoor"
)

// sdkBody is a body as it stands, for what a member means depends on others.
// All are raw JSON, empty if absent or null.
type sdkBody struct {
	id, path, event, eventType, stamp, consent string
	data, customer, device, url, token         string
	others                                     []byte // members that no form has, begun as an object
}

// decodeSDK reads one event of an SDK, be it a body or an element of a batch.
func decodeSDK(rq *request, raw string, h *spoor.Hit) flaw {
	d := &rq.sdk
	f := d.flaw
	var b sdkBody
	b.read(raw)
	target, path := d.target, d.path
	h.ID = d.id
	implied := len(rq.results) < d.ping
	if target.form == sdkBatch {
		if path = "event"; implied {
			path = "ping"
		} else if b.path != "" {
			f.readText(&path, b.path, "path")
		}
		target = sdkTargetOf(path)
		if b.id != "" {
			rq.readID(&f, &h.ID, b.id, "id")
		}
		h.UserID = d.userID
	}
	h.Consent = d.consent
	if b.consent != "" {
		f.readConsent(&h.Consent, b.consent)
	}
	h.Time = rq.happened(&f, b.stamp)
	device := d.device
	switch target.form {
	case sdkPing:
		rq.decodePing(&f, h, &b, &device)
	case sdkEvent, sdkProduct, sdkScreen:
		f.decodeEvent(h, &b, target.form)
	case sdkNotice:
		f.decodeNotice(h, &b, target)
	case sdkToken:
		h.Kind = spoor.KindPing
		if b.token != "" {
			rq.readID(&f, &h.MobileDrop, b.token, "fcm_key")
		}
		if h.MobileDrop == "" {
			f.set(reasonValue, "fcm_key")
		}
	default:
		f.set(reasonType, "path")
	}
	h.Key = d.key
	device.describe(rq, h)
	switch {
	case implied: // the same batch again, or the next one with the same words
		h.Digest = sdkDigest(h.App, d.sent, path, raw+d.first)
	case h.Time != 0 && h.ID == "":
		h.Digest = sdkDigest(h.App, d.sent, path, raw)
	}
	return f
}

func (b *sdkBody) read(raw string) {
	for w := enter(raw); w.more(); {
		w.skip()
		start := w.i
		name, value := w.name(), w.value()
		var into *string
		switch name {
		case "id":
			into = &b.id
		case "path":
			into = &b.path
		case "event":
			into = &b.event
		case "event_type":
			into = &b.eventType
		case "timestamp":
			into = &b.stamp
		case "consent":
			into = &b.consent
		case "data":
			into = &b.data
		case "customer":
			into = &b.customer
		case "device":
			into = &b.device
		case "url":
			into = &b.url
		case "fcm_key":
			into = &b.token
		default:
			b.others = appendRaw(b.others, raw[start:w.i])
			continue
		}
		if value != "null" {
			*into = value
		}
	}
}

// appendRaw appends a member, as it stands, to an object that is not closed yet.
func appendRaw(object []byte, member string) []byte {
	if object == nil {
		object = append(make([]byte, 0, 256), '{')
	} else {
		object = append(object, ',')
	}
	return appendCompact(object, member)
}

// closed is the object that appendRaw began; nil if it never did.
func closed(object []byte) []byte {
	if object == nil {
		return nil
	}
	return append(object, '}')
}

// happened reads when an event happened; 0 if it does not say.
func (rq *request) happened(f *flaw, stamp string) int64 {
	var happened, sent int64
	if stamp != "" {
		f.readTime(&happened, stamp, "timestamp")
	}
	if rq.sentAt != "" {
		sent, _ = parseMoment(rq.sentAt)
	}
	return corrected(rq.now, happened, sent)
}

// decodeEvent tells custom events, product events and screens apart: SDKs send
// all three to one path, and two of them to paths of their own as well.
func (f *flaw) decodeEvent(h *spoor.Hit, b *sdkBody, form sdkForm) {
	h.Kind = spoor.KindEvent
	if b.event != "" {
		f.readText(&h.Name, b.event, "event")
	}
	switch {
	case form == sdkScreen, strings.EqualFold(h.Name, "ScreenEvent"), strings.EqualFold(h.Name, "ActivityEvent"):
		f.decodeScreen(h, b.data)
		return
	case form == sdkProduct, h.Name == "product" && b.eventType != "":
		h.Kind = spoor.KindProduct
		if b.eventType != "" {
			f.readText(&h.Name, b.eventType, "event_type")
		}
		if h.Name == "" {
			f.set(reasonNoName, "event_type")
		}
	}
	switch {
	case b.data != "":
		f.readProperties(&h.Properties, b.data, "data")
	case h.Kind == spoor.KindProduct: // of one SDK only the names are known, not what stands in what
		h.Properties = closed(b.others)
	}
}

// decodeScreen reads {"event": "opened", "screen_name": …}. Only a screen that
// opens is a view; that it stopped is an event.
func (f *flaw) decodeScreen(h *spoor.Hit, data string) {
	h.Kind, h.Name = spoor.KindScreen, ""
	if data == "" {
		return
	}
	if data[0] != '{' {
		f.set(reasonValue, "data")
		return
	}
	var what string
	var rest []byte
	for w := enter(data); w.more(); {
		w.skip()
		start := w.i
		switch name, value := w.name(), w.value(); name {
		case "event":
			f.readText(&what, value, "data")
		case "screen_name":
			f.readText(&h.Name, value, "data")
		default:
			rest = appendRaw(rest, data[start:w.i])
		}
	}
	h.Properties = closed(rest)
	switch what {
	case "", "opened", "started":
	default:
		h.Kind, h.Name = spoor.KindEvent, "screen_"+what
		h.Properties = nil
		f.readProperties(&h.Properties, data, "data")
	}
}

// decodeNotice makes an event of what became of a push notification or an
// in-app message; the path has told which.
func (f *flaw) decodeNotice(h *spoor.Hit, b *sdkBody, target sdkTarget) {
	h.Kind, h.Name = spoor.KindPush, target.name
	properties := appendMember(nil, "delivery_id", target.deliveryID)
	if b.url != "" {
		var url string
		f.readText(&url, b.url, "url")
		if url, _ = cut(url, urlBytesMax); url != "" {
			properties = appendMember(properties, "url", url)
		}
	}
	h.Properties = append(properties, '}')
}

// sdkDigest stands for the id of an event that has none: a replay is known by
// user, path and bytes. The headers, which carry the user, are no part of them.
func sdkDigest(app spoor.AppID, key, path, raw string) (d [16]byte) {
	b := make([]byte, 0, 1024)
	b = binary.BigEndian.AppendUint32(b, uint32(app))
	b = append(append(b, key...), 0)
	b = append(append(b, path...), 0)
	sum := sha256.Sum256(append(b, raw...))
	copy(d[:], sum[:])
	return d
}
