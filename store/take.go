package store

import (
	"encoding/binary"
	"errors"
	"fmt"

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
	a.at = h.Received
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
	var before rowKey
	a.sequence++
	h.Public = a.hits.public(a.sequence) - publicBase
	h.Outcome, h.Reason = spoor.Stored, ""
	if p != nil {
		if h.Profile = p.n; p.facts.rights.Uncounted(a.app.Day(h.Received)) {
			h.Marks |= spoor.MarkUncounted
		}
		if before, err = g.credit(p, h, id); err != nil {
			return err
		}
	}
	g.tellHit(a, h, p, id)
	return d.count(a.app, h, before, g.put(a, d, h, id, unique))
}

// needsPerson is for hits that say something about a person and nothing else.
func needsPerson(k spoor.Kind) bool {
	return k == spoor.KindIdentify || k == spoor.KindAlias || k == spoor.KindGroup || k == spoor.KindPing
}

// fileUnder settles the time of a hit and the day it is filed under.
func (g *group) fileUnder(a *appState, h *spoor.Hit) {
	h.Marks, h.Visit, h.First, h.Profile, h.Tally = 0, 0, false, 0, spoor.Tally{}
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
		if !g.w.week(n).maybe(id) { // it knows those of this group too
			continue
		}
		if _, ok := g.events[eventRef{a.app.ID, n, id}]; ok {
			return true, nil
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

// credit writes what the hit tells about its profile, and gives the view that it
// ended.
func (g *group) credit(p *pending, h *spoor.Hit, id hash) (before rowKey, err error) {
	counts := h.Kind.Counts()
	p.add.addDay(h.Day)
	if counts.Visitor || h.Kind == spoor.KindLeave {
		if before, err = g.enter(p, h); err != nil {
			return before, err
		}
	}
	if counts.Visitor {
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
		return before, err
	}
	at := stamp{time: h.Time, tie: tieOf(id), source: h.Door}
	if err := g.apply(p, h.Attributes, at, h.Received); err != nil {
		return before, err
	}
	return before, g.carry(p, h)
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
