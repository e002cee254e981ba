package ingest

import (
	"strings"

	"github.com/spoorhq/spoor"
)

// keep is what a device may store for the app, for the widget's reply.
type keep uint8

const (
	keepUnsaid keep = iota // nothing was decided: no change
	keepNothing
	keepKey // the profile key, in a cookie
)

var (
	headerGPC = []byte("Sec-Gpc")
	headerDNT = []byte("Dnt")
)

// permit is the one gate of privacy, for every door and before anything else
// is done with a hit: it decides whether the hit may be taken and under whose
// name. What it takes away is never written.
//
// The strictest of three decides: the app's mode for its own doors (widget,
// pixel, click; the mobile SDK), the browser's signals by the app's policy, and
// the flag for children. Servers and clients of others speak for themselves:
// they say by consent what may be kept, and only signals and children concern
// them.
func (s *Server) permit(rq *request, h *spoor.Hit) (f flaw) {
	if h.MobileDrop != "" {
		return f // takes away, and nothing of it is kept
	}
	set := &rq.app.Settings
	if list := rq.app.Exclusion(h); list != "" {
		f.set(reasonExcluded, list)
		return f
	}
	mode := modeOf(h.Door, set)
	signal := rq.signal(set)
	switch {
	case signal == spoor.SignalDrop:
		f.set(reasonSignal, "")
	case h.Consent.Analytics() == spoor.ChoiceDenied:
		f.set(spoor.ReasonConsent, "")
	case mode == spoor.ModeConsent && h.Consent.Analytics() != spoor.ChoiceGranted:
		f.set(reasonConsentMissing, "")
	case set.Children && tellsPersons(h.Kind):
		f.set(reasonChildren, "")
	}
	if f.reason != "" {
		rq.keep = keepNothing
		return f
	}
	if signal == spoor.ModeCookieless {
		mode = spoor.ModeCookieless
	}
	switch {
	case set.Children:
		rq.keep = keepNothing
		h.Withheld = said(h)
		h.Key, h.UserID, h.FormerID = "", "", ""
		rq.dropAttributes(h)
	case mode == spoor.ModeCookieless:
		rq.keep = keepNothing
		h.Withheld = said(h)
		return s.cookieless(rq, h)
	case mode == "" || mode == spoor.ModeKey || h.Door == spoor.DoorSDK: // what is stored there is the app's business
	case h.Key != "":
		rq.keep = keepKey
	case h.Door == spoor.DoorWidget && pageLoad(h.ID) != "":
		h.Key = mint(h.App, pageLoad(h.ID))
		rq.keep = keepKey
	case h.UserID == "":
		return s.cookieless(rq, h)
	}
	return f
}

// said is what a hit says of its sender, before any of it is dropped.
func said(h *spoor.Hit) *spoor.Withheld {
	return &spoor.Withheld{Key: h.Key, UserID: h.UserID, FormerID: h.FormerID, MobileAdd: h.MobileAdd, Attributes: h.Attributes}
}

// modeOf is the app's mode for a door; empty for doors of others.
func modeOf(door spoor.Door, set *spoor.Settings) string {
	switch door {
	case spoor.DoorWidget, spoor.DoorPixel, spoor.DoorClick:
		return set.Mode
	case spoor.DoorSDK:
		return set.SDKMode
	}
	return ""
}

// tellsPersons is for kinds that say who somebody is and nothing else.
func tellsPersons(k spoor.Kind) bool {
	return k == spoor.KindIdentify || k == spoor.KindAlias || k == spoor.KindGroup || k == spoor.KindPing
}

// signal is what the browser's signals do, the stricter of the two.
func (rq *request) signal(set *spoor.Settings) string {
	h := &rq.ctx.Request.Header
	does := spoor.SignalIgnore
	for _, one := range [...]struct {
		header []byte
		policy string
	}{{headerGPC, set.GPC}, {headerDNT, set.DNT}} {
		if does != spoor.SignalDrop && one.policy != spoor.SignalIgnore && string(h.PeekCanonical(one.header)) == "1" {
			does = one.policy
		}
	}
	return does
}

// cookieless leaves to a hit no key but that of the day. Who tells who he is,
// is that person; nothing else that is said of a person is kept, because
// several share such a number.
func (s *Server) cookieless(rq *request, h *spoor.Hit) (f flaw) {
	given := h.Key
	h.Key = ""
	if h.UserID != "" || rq.app.Settings.EmailIdentifies && hasEmail(h.Attributes) {
		return f
	}
	rq.dropAttributes(h)
	if modeOf(h.Door, &rq.app.Settings) == "" && given == "" {
		return f // said of nobody, and stays so
	}
	key, err := s.salts.number(h.App, rq.app.Day(h.Received), h.IP, h.UserAgent)
	if err != nil {
		s.storeFailed(err)
		f.set(reasonStore, "")
		return f
	}
	h.Key = key
	return f
}

func hasEmail(list []spoor.Attribute) bool {
	for i := range list {
		if list[i].Name == spoor.AttrEmail && list[i].Text != "" {
			return true
		}
	}
	return false
}

// dropAttributes drops what is said of a person, and what a ping says of a
// device beside its system and model: ids that are made for devices are among it.
func (rq *request) dropAttributes(h *spoor.Hit) {
	rq.unread += len(h.Attributes)
	h.Attributes, h.MobileAdd = nil, ""
	if h.Kind == spoor.KindPing {
		h.Properties = nil
	}
}

const (
	loadBytesMin = 12 // of what a key is made from: who does not know it cannot guess it
	loadBytesMax = 64
)

// pageLoad is the part of an event's id that all events of a page load share;
// empty if the id is none of the widget's.
func pageLoad(id string) string {
	load, count, ok := strings.Cut(id, "-")
	if !ok || len(load) < loadBytesMin || len(load) > loadBytesMax || count == "" || strings.Trim(count, "0123456789") != "" {
		return ""
	}
	return load
}
