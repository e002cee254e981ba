package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// futureSlack is how far (ms) a time may lie ahead before the hit is marked:
// clocks differ by a little, and a request takes a moment.
const futureSlack = 60_000

// hit decides about one hit and adds what it changes to the group. Its outcome
// is final, though not yet durable, when it returns. An error means that the
// store could not be read.
func (g *group) hit(h *spoor.Hit) error {
	h.Outcome, h.Reason = spoor.Refused, spoor.ReasonClosed
	a, err := g.w.app(h.App)
	if err != nil || a == nil || a.app.Closed {
		return err
	}
	g.touchApp(a)
	g.fileUnder(a, h)
	if h.MobileDrop != "" {
		return g.unburden(a, h)
	}
	if h.Reason, err = g.barred(a, h); h.Reason != "" || err != nil {
		return err
	}
	id, unique := a.salt.event(h, a.sequence+1)
	if unique {
		seen, err := g.seen(a, id, h)
		if err != nil {
			return err
		}
		if seen {
			h.Outcome, h.Reason = spoor.Duplicate, ""
			return nil
		}
	}
	var p *pending
	if !h.Bot {
		if p, err = g.resolve(a, h); err != nil {
			return err
		}
		if p == nil && needsPerson(h.Kind) {
			h.Reason = spoor.ReasonNobody
			return nil
		}
	}
	d, err := g.day(a, h.Day)
	if err != nil {
		return err
	}
	a.sequence++
	h.Public = a.hits.public(a.sequence) - publicBase
	h.Outcome, h.Reason = spoor.Stored, ""
	if p != nil {
		if h.Profile = p.n; p.facts.rights.Uncounted(a.app.Day(h.Received)) {
			h.Marks |= spoor.MarkUncounted
		}
		if err := g.credit(p, h, id); err != nil {
			return err
		}
	}
	d.count(a.app, h, g.put(a, d, h, id, unique))
	return nil
}

// needsPerson is for hits that say something about a person and nothing else.
func needsPerson(k spoor.Kind) bool {
	return k == spoor.KindIdentify || k == spoor.KindAlias || k == spoor.KindGroup || k == spoor.KindPing
}

// fileUnder settles the time of a hit and the day it is filed under.
func (g *group) fileUnder(a *appState, h *spoor.Hit) {
	h.Marks, h.Visit, h.First, h.Profile = 0, 0, false, 0
	if h.Time == 0 {
		h.Time = h.Received
	}
	if h.Time > h.Received {
		if h.Time > h.Received+futureSlack {
			h.Marks |= spoor.MarkFuture
		}
		h.Time = h.Received
	}
	first := a.firstOpen(h.Received)
	// Long before 1970 a day does not fit its type and could look like any other.
	if h.Day = a.app.Day(h.Time); h.Day < first || h.Time < 0 {
		h.Day = first
		h.Marks |= spoor.MarkLate
	}
}

// seen reports whether an event id was stored before: in this group or on disk,
// by week of receipt. Requests do not come in the order of their receipt, so
// the week after counts too. An event of an open day is looked for back to the
// week in which it happened, or it could overwrite itself.
func (g *group) seen(a *appState, id hash, h *spoor.Hit) (bool, error) {
	week := weekOf(h.Received)
	from := max(week, 1) - 1
	if h.Marks&spoor.MarkLate == 0 {
		from = min(from, weekOf(h.Time))
	}
	for n := from; n <= week+1; n++ {
		if _, ok := g.events[eventRef{a.app.ID, n, id}]; ok {
			return true, nil
		}
		if !g.w.week(n).maybe(id) {
			continue
		}
		ok, err := has(g.w.db, eventKey(nil, a.app.ID, n, id))
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// Tags of an event's place.
const (
	placeDay protowire.Number = iota + 1
	placeProfile
	placeTime
)

// put writes the hit itself and, where its id is unique, the way to it. It
// returns the bytes of the hit's record.
func (g *group) put(a *appState, d *dayState, h *spoor.Hit, id hash, unique bool) int {
	g.stored++
	d.fresh = binary.BigEndian.AppendUint32(d.fresh, uint32(h.Profile))
	d.fresh = binary.BigEndian.AppendUint64(d.fresh, uint64(h.Time))
	d.fresh = append(d.fresh, id[:]...)
	var key [hitKeyBytes]byte
	k := hitKey(key[:0], h.App, h.Day, h.Profile, h.Time, id)
	g.w.scratch = appendHit(g.w.scratch[:0], h)
	g.set(k, g.w.scratch)
	bytes := len(k) + len(g.w.scratch)
	if !unique {
		return bytes
	}
	week := weekOf(h.Received)
	g.events[eventRef{a.app.ID, week, id}] = struct{}{}
	g.w.week(week).add(id)
	v := appendHeader(g.w.scratch[:0])
	v = putInt(v, placeDay, int64(h.Day))
	v = putUint(v, placeProfile, uint64(h.Profile))
	g.w.scratch = putInt(v, placeTime, h.Time)
	g.set(eventKey(key[:0], h.App, week, id), g.w.scratch)
	return bytes
}

// credit writes what the hit tells about its profile.
func (g *group) credit(p *pending, h *spoor.Hit, id hash) error {
	counts := h.Kind.Counts()
	p.add.addDay(h.Day)
	if counts.Visitor {
		if err := g.visit(p, h); err != nil {
			return err
		}
		p.add.firstSeen = least(p.add.firstSeen, h.Time)
		p.add.lastSeen = max(p.add.lastSeen, h.Time)
	}
	if counts.View {
		p.add.views++
	}
	if counts.Event {
		p.add.events++
	}
	if h.First {
		p.add.visits++
	}
	switch h.Kind {
	case spoor.KindMailOpen:
		p.add.opened = max(p.add.opened, h.Time)
	case spoor.KindMailClick:
		p.add.clicked = max(p.add.clicked, h.Time)
	}
	if err := g.describe(p, h); err != nil {
		return err
	}
	at := stamp{time: h.Time, tie: tieOf(id), source: h.Door}
	if err := g.apply(p, h.Attributes, at, h.Received); err != nil {
		return err
	}
	return g.carry(p, h)
}

// countsOf is what one hit adds to every row it belongs to.
func countsOf(h *spoor.Hit) counts {
	c := counts{hits: 1}
	k := h.Kind.Counts()
	if k.View {
		c.views = 1
	}
	if k.Event {
		c.events = 1
	}
	if h.First {
		c.visits = 1
	}
	return c
}

// rollUp names the rows of a day to which a hit belongs. Both the writer and
// Check use it, so an open day's roll-ups are a scan of its hits.
func rollUp(app *spoor.App, h *spoor.Hit, row func(dim spoor.Dimension, text string)) {
	if h.Bot || h.Marks&spoor.MarkUncounted != 0 {
		return
	}
	k := h.Kind.Counts()
	if k.Event && h.Name != "" {
		row(spoor.DimEvent, h.Name)
	}
	if !k.Visitor {
		return
	}
	row(spoor.DimHour, hours[app.HourOf(h.Time)])
	some := func(dim spoor.Dimension, text string) {
		if text != "" {
			row(dim, text)
		}
	}
	switch h.Kind {
	case spoor.KindPage:
		path, _ := pathAndHost(h.URL)
		some(spoor.DimPath, path)
	case spoor.KindScreen:
		some(spoor.DimScreen, h.Name)
	}
	if h.Referrer != "" {
		_, host := pathAndHost(h.Referrer)
		some(spoor.DimReferrer, host)
	}
	some(spoor.DimChannel, h.Campaign.Channel)
	some(spoor.DimSource, h.Campaign.Source)
	some(spoor.DimCampaign, h.Campaign.Name)
	some(spoor.DimCountry, h.Place.Country)
	if h.Place.Region != "" {
		row(spoor.DimRegion, h.Place.Country+"/"+h.Place.Region)
	}
	if h.Place.City != "" {
		row(spoor.DimCity, h.Place.Country+"/"+h.Place.Region+"/"+h.Place.City)
	}
	some(spoor.DimOS, h.Agent.OS)
	some(spoor.DimBrowser, h.Agent.Browser)
	some(spoor.DimDevice, h.Agent.Device)
	some(spoor.DimLanguage, h.Language)
	some(spoor.DimResolution, h.Resolution)
}

var hours = [24]string{
	"00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11",
	"12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23",
}

// pathAndHost cuts path and host name out of a url that enrich has cleaned.
// The general parser allocates, and was 3 % of the store's work.
func pathAndHost(raw string) (path, host string) {
	rest := raw
	if i := strings.Index(raw, "://"); i >= 0 {
		rest = raw[i+3:]
		if i = strings.IndexAny(rest, "/?#"); i < 0 {
			i = len(rest)
		}
		host, rest = rest[:i], rest[i:]
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
			host = host[:i]
		}
		if rest == "" || rest[0] != '/' {
			return "/", host
		}
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	return rest, host
}

// get calls f with the value of a key, if there is one. The value is valid
// until f returns.
func get(db pebble.Reader, key []byte, f func(value []byte) error) error {
	value, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the store: %w", err)
	}
	defer closer.Close()
	return f(value)
}

func has(db pebble.Reader, key []byte) (found bool, err error) {
	err = get(db, key, func([]byte) error { found = true; return nil })
	return found, err
}

// scan calls f with all keys and values under a prefix, in order; both are
// valid until f returns.
func scan(db pebble.Reader, prefix []byte, f func(key, value []byte) error) error {
	return scanSpan(db, prefix, after(prefix), f)
}

func scanSpan(db pebble.Reader, from, to []byte, f func(key, value []byte) error) (err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("cannot read the store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("cannot read the store: %w", err)
		}
		if err := f(it.Key(), value); err != nil {
			return err
		}
	}
	return it.Error()
}
