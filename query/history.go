package query

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
)

// pingHits are the page views of a person.
func (c *call) pingHits() error {
	return c.history(func(h *spoor.Hit) bool { return h.Kind.Counts().View }, writePingHit)
}

// events are the events of a person.
func (c *call) events() error {
	return c.history(func(h *spoor.Hit) bool { return h.Kind.Counts().Event }, writeEvent)
}

// timeline is everything that a person did.
func (c *call) timeline() error {
	return c.history(func(*spoor.Hit) bool { return true }, writeMoment)
}

// history gives one page of a person's hits, newest first. Version 1 shows
// the count, for which all hits must be walked; version 2 stops at the end of
// the page and leaves the count open.
func (c *call) history(fits func(*spoor.Hit) bool, write func(*jsonWriter, *spoor.Hit, int64)) error {
	if err := c.onlyQuery("page", "cursor", "page_size"); err != nil {
		return err
	}
	p, err := c.person()
	if err != nil {
		return err
	}
	page, err := c.pageNumber()
	if err != nil {
		return err
	}
	behind, err := c.cursor(cursorHistory)
	if err != nil {
		return err
	}
	skip := (page - 1) * pageSize
	if c.v2 {
		skip = 0
	} else {
		behind = 0
	}
	var w jsonWriter
	var count, shown, last int64
	waiting := behind != 0
	err = c.store.Hits(c.app.ID, p.Number, func(h *spoor.Hit) error {
		if !fits(h) {
			return nil
		}
		if waiting {
			waiting = h.Public != behind
			return nil
		}
		count++
		switch {
		case count <= skip:
		case shown < pageSize:
			write(&w, h, p.ID)
			shown, last = shown+1, h.Public
		case c.v2:
			return ErrStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrStop) {
		return err
	}
	if c.v2 {
		next := ""
		if count > shown {
			next = "cursor=" + c.s.seal(cursorHistory, c.app.ID, last)
		}
		return c.envelope(&w, -1, next, "")
	}
	next, previous := neighbours(page, count > skip+shown && shown > 0)
	return c.envelope(&w, count, next, previous)
}

// happened is when the hit happened, as far as is known.
func happened(h *spoor.Hit) int64 {
	if h.Time != 0 {
		return h.Time
	}
	return h.Received
}

func writePingHit(w *jsonWriter, h *spoor.Hit, client int64) {
	w.begin('{')
	w.int("id", h.Public)
	w.int("client", client)
	w.textOrNull("ip_address", ipText(h))
	w.textOrNull("user_agent", h.UserAgent)
	w.textOrNull("browser_family", h.Agent.Browser)
	w.textOrNull("browser_version", h.Agent.BrowserVersion)
	w.textOrNull("os_type", h.Agent.OS)
	w.textOrNull("city", h.Place.City)
	w.textOrNull("country", countryName(h.Place.Country))
	w.textOrNull("url", h.URL)
	w.textOrNull("referer", h.Referrer)
	w.time("timestamp", happened(h))
	w.text("extra_data", string(h.Properties)) // a string for the clients that know it
	w.textOrNull("timezone", h.TimeZone)
	w.textOrNull("resolution", h.Resolution)
	w.end('}')
}

func ipText(h *spoor.Hit) string {
	if !h.IP.IsValid() {
		return ""
	}
	return h.IP.String()
}

// eventName is the sender's name of an event, or else what kind it is.
func eventName(h *spoor.Hit) string {
	if h.Name != "" {
		return h.Name
	}
	return h.Kind.String()
}

func writeEvent(w *jsonWriter, h *spoor.Hit, client int64) {
	name := eventName(h)
	w.begin('{')
	w.int("id", h.Public)
	w.int("client", client)
	w.time("timestamp", happened(h))
	w.text("event", name)
	w.int("event_id", nameID(name))
	w.key("items")
	writeItems(w, h.Properties)
	w.end('}')
}

// writeItems turns an object into [{"key":…,"value":…}]. What cannot be read
// gives no items.
func writeItems(w *jsonWriter, properties []byte) {
	w.begin('[')
	defer w.end(']')
	if len(properties) == 0 {
		return
	}
	dec := jsontext.NewDecoder(bytes.NewReader(properties), jsontext.AllowDuplicateNames(true))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return
		}
		w.begin('{')
		w.text("key", key)
		w.raw("value", value)
		w.end('}')
	}
}

func writeMoment(w *jsonWriter, h *spoor.Hit, _ int64) {
	name := h.Kind.String()
	if h.Kind.Counts().Event {
		name = eventName(h)
	}
	w.begin('{')
	w.int("id", h.Public)
	w.time("datetime", happened(h))
	w.text("name", name)
	w.key("content")
	w.begin('{')
	w.textOrNull("url", h.URL)
	w.textOrNull("title", h.Title)
	w.end('}')
	w.end('}')
}
