package store

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// A hit adds to some fifteen records of its day: the account, two bitmaps, a
// dozen roll-up rows. With a thousand apps hardly two hits of a group share
// any of them, and writing them was most of the writer's work. So a busy
// writer puts that off: it counts in memory and writes a day's counts once in
// a while, for many groups at once. Until then one small record per group says
// which of its hits are not counted yet. Whoever opens the store after a crash
// counts them again; whoever reads counts adds them.
//
// The records stand in a ring of slots: that of group n is overwritten by
// group n + ringGroups, and by then all its days have been written.
const (
	ringGroups = 128
	overdue    = ringGroups / 2 // groups after which a day's counts are written
	rowsMax    = 4096           // rows of a day that are kept waiting
)

// waitingDay is an entry of the writer's list of days whose counts wait, oldest
// first. It is void once the day was written: since differs then.
type waitingDay struct {
	touchedDay
	since uint64
}

// counter is what changes with each group of an app: see appState.
type counter struct {
	next     spoor.Number // number of the newest profile
	sequence uint64       // number of the newest hit
	sealed   spoor.Day    // this day and all before are sealed
	clock    int64        // latest time of receipt among decisions (see tick)
	ticks    uint64       // decisions made
	entries  uint64       // number of the newest entry of the feed
}

func (c *counter) appendTo(dst []byte) []byte {
	dst = putUint(dst, writerNext, uint64(c.next))
	dst = putUint(dst, writerSequence, c.sequence)
	dst = putInt(dst, writerSealed, int64(c.sealed))
	dst = putInt(dst, writerClock, c.clock)
	dst = putUint(dst, writerTicks, c.ticks)
	return putUint(dst, writerEntries, c.entries)
}

func (c *counter) field(tag protowire.Number, num uint64) {
	switch tag {
	case writerNext:
		c.next = spoor.Number(num)
	case writerSequence:
		c.sequence = num
	case writerSealed:
		c.sealed = spoor.Day(zigzag(num))
	case writerClock:
		c.clock = zigzag(num)
	case writerTicks:
		c.ticks = num
	case writerEntries:
		c.entries = num
	}
}

const (
	uncountedGroup protowire.Number = iota + 1
	uncountedApp                    // nested
	uncountedDay                    // nested
)

const (
	nestedApp protowire.Number = writerTicks + 1 + iota // behind the tags of counter
	nestedDay
	nestedHits // profile (4), time (8), event hash (16), repeated
)

const placeBytes = 4 + 8 + 16

// uncounted is one group's record.
type uncounted struct {
	group uint64
	apps  map[spoor.AppID]counter
	hits  []place
}

func readUncounted(value []byte) (u uncounted, err error) {
	u.apps = map[spoor.AppID]counter{}
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		if tag == uncountedGroup {
			u.group = num
		}
		if tag != uncountedApp && tag != uncountedDay {
			return nil
		}
		var at place
		var c counter
		var hits []byte
		err := rawFields(b, func(tag protowire.Number, num uint64, b []byte) error {
			switch tag {
			case nestedApp:
				at.app = spoor.AppID(num)
			case nestedDay:
				at.day = spoor.Day(zigzag(num))
			case nestedHits:
				hits = b
			default:
				c.field(tag, num)
			}
			return nil
		})
		if tag == uncountedApp {
			u.apps[at.app] = c
		}
		for ; len(hits) >= placeBytes; hits = hits[placeBytes:] {
			at.profile, at.time, at.id = spoor.Number(be32(hits)), int64(be64(hits[4:])), hash(hits[12:placeBytes])
			u.hits = append(u.hits, at)
		}
		return err
	})
	return u, err
}

// scanUncounted reads the records of all groups in their order. Most of what
// they say has been counted since: what a later account or counter says counts.
func scanUncounted(db pebble.Reader) (all []uncounted, err error) {
	err = scan(db, []byte{prefixUncounted}, func(_, value []byte) error {
		u, err := readUncounted(value)
		if err != nil {
			return fmt.Errorf("cannot read which hits are not counted yet: %w", err)
		}
		all = append(all, u)
		return nil
	})
	slices.SortFunc(all, func(a, b uncounted) int { return cmp.Compare(a.group, b.group) })
	return all, err
}

// settleCounts writes what the group has counted, or puts it off.
func (g *group) settleCounts() {
	w := g.w
	n := w.mark.groups + 1
	putOff := g.stored >= w.s.opts.putOffFrom && !g.final
	for _, d := range g.days {
		switch {
		case !putOff || d.rewrote || len(d.dirty) > rowsMax:
			g.flushDay(d)
		case d.since == 0:
			d.since = n
			d.app.waiting++
			w.waiting = append(w.waiting, waitingDay{d, n})
		}
	}
	// Some of the oldest in every group, so that no group has to write them all.
	share := len(w.waiting) / overdue
	for len(w.waiting) > 0 {
		d := w.waiting[0]
		if d.dayState.since == d.since { // else it is void
			if share--; share < 0 && d.since+overdue > n && !g.final {
				break
			}
			g.flushDay(d.touchedDay)
		}
		w.waiting = w.waiting[1:]
	}
	value := w.scratch[:0]
	var nest []byte
	for _, d := range g.days {
		if d.since != 0 {
			nest = putUint(nest[:0], nestedApp, uint64(d.app.app.ID))
			nest = putInt(nest, nestedDay, int64(d.day))
			nest = putBytes(nest, nestedHits, d.fresh)
			value = putBytes(value, uncountedDay, nest)
		}
		d.fresh = d.fresh[:0]
		d.touched = false
	}
	for _, a := range g.apps {
		if a.touched = false; a.waiting > 0 {
			nest = putUint(nest[:0], nestedApp, uint64(a.app.ID))
			value = putBytes(value, uncountedApp, a.counter.appendTo(nest))
		}
	}
	w.scratch = value
	if len(value) > 0 {
		g.set(uncountedKey(n%ringGroups), putUint(append(appendHeader(make([]byte, 0, len(value)+16)), value...), uncountedGroup, n))
	}
	for _, a := range g.apps {
		if a.waiting == 0 {
			w.scratch = putUint(a.counter.appendTo(appendHeader(w.scratch[:0])), writerCounted, n)
			g.set(writerAppKey(nil, a.app.ID), w.scratch)
		}
	}
}

// recount brings the writer to where the store stands: it counts what groups
// had put off when the process ended, or when one failed.
func (w *writer) recount() error {
	all, err := scanUncounted(w.db)
	if err != nil {
		return err
	}
	for _, u := range all {
		for id, c := range u.apps {
			a, err := w.app(id)
			if err != nil {
				return err
			}
			if a != nil && u.group > a.counted {
				a.counter, a.counted = c, u.group
			}
		}
	}
	for _, u := range all {
		for _, at := range u.hits {
			a, err := w.app(at.app)
			if err != nil {
				return err
			}
			if a == nil { // deleted
				continue
			}
			d, err := w.day(a, at.day)
			if err != nil {
				return err
			}
			if u.group <= d.account.counted {
				continue
			}
			if err := d.countPlace(w.db, a.app, at); err != nil {
				return err
			}
			if d.since == 0 {
				d.since = u.group
				a.waiting++
				w.waiting = append(w.waiting, waitingDay{touchedDay{a, d}, u.group})
			}
		}
	}
	return nil
}

// catchUp counts the hits of a day that groups have put off.
func (d *dayState) catchUp(db pebble.Reader, app *spoor.App, late []uncounted) error {
	for _, u := range late {
		if u.group <= d.account.counted {
			continue
		}
		for _, at := range u.hits {
			if at.app != app.ID || at.day != d.day {
				continue
			}
			if err := d.countPlace(db, app, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// countPlace counts the hit at a place, if it is there.
func (d *dayState) countPlace(db pebble.Reader, app *spoor.App, at place) error {
	key := hitKey(nil, at.app, at.day, at.profile, at.time, at.id)
	return get(db, key, func(value []byte) error {
		h, err := readHit(key, value)
		if err != nil {
			return err
		}
		before, err := viewBefore(db, &h)
		if err != nil {
			return err
		}
		return d.count(app, &h, before, len(key)+len(value))
	})
}
