package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Drop removes what is too old in an app, whosoever it is: hits of whole days,
// hits of some kinds, statistics of days. Only days that SealDays has finished
// lose something, and persons whom a right keeps lose nothing. Each step returns
// once it is on disk; Reclaim gives the bytes back.
func (s *Store) Drop(ctx context.Context, app *spoor.App, aged spoor.Aged) (sum spoor.Removal, err error) {
	days := map[spoor.Day]account{}
	var keep []former
	err = s.view(func(db *pebble.DB) error {
		keep, err = readKept(db, app, app.Day(s.opts.Now().UnixMilli()))
		if err != nil {
			return err
		}
		return scan(db, writerDaysKey(nil, app.ID), func(key, value []byte) error {
			c, err := readAccount(value)
			days[readDay(key[6:])] = c
			return err
		})
	})
	if err != nil {
		return sum, fmt.Errorf("cannot tell what is too old: %w", err)
	}
	add := func(part spoor.Removal, err error) error {
		sum.Add(part)
		return err
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		c := days[day]
		if !c.sealed {
			continue
		}
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		switch present := c.stored - c.swept - c.erased; {
		case present == 0:
		case reached(day, aged.Hits):
			err = add(s.dropDay(app.ID, day, keep, sum.Receipt))
		default:
			for _, kind := range slices.Sorted(maps.Keys(aged.Kinds)) {
				if err == nil && reached(day, aged.Kinds[kind]) && (c.dropped>>kind&1 == 0 || c.again>>kind&1 != 0) {
					err = add(s.dropKind(ctx, app.ID, day, kind, keep, sum.Receipt))
				}
			}
		}
		if err == nil && reached(day, aged.Statistics) && !c.bare {
			err = s.dropStatistics(app.ID, day)
		}
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// reached reports whether a day is as old as what goes; 0 is none.
func reached(day, through spoor.Day) bool { return through != 0 && day <= through }

// readKept lists the numbers, with their days, of persons whom a right keeps,
// by number.
func readKept(db pebble.Reader, app *spoor.App, today spoor.Day) (keep []former, err error) {
	held, err := readMembers(db, app.ID, setHeld)
	if err != nil {
		return nil, err
	}
	for it := held.Iterator(); it.HasNext(); {
		n := spoor.Number(it.Next())
		s, err := readProfile(db, app.ID, n)
		if err != nil {
			return nil, err
		}
		if s.rights().Keeps(today) {
			keep = append(keep, s.parts(n)...)
		}
	}
	slices.SortFunc(keep, compareFormer)
	return keep, nil
}

// readHolds is until when a legal hold of anybody keeps an app; 0: none does.
func readHolds(db pebble.Reader, app *spoor.App, today spoor.Day) (until spoor.Day, err error) {
	held, err := readMembers(db, app.ID, setHeld)
	if err != nil {
		return 0, err
	}
	for it := held.Iterator(); it.HasNext(); {
		s, err := readProfile(db, app.ID, spoor.Number(it.Next()))
		if err != nil {
			return 0, err
		}
		if r := s.rights(); r.Holds(today) {
			until = max(until, r.Held)
		}
	}
	return until, nil
}

// dropDay removes all hits of a day but those of persons who are kept. It takes
// as long for a day of any size.
func (s *Store) dropDay(app spoor.AppID, day spoor.Day, keep []former, run uint64) (sum spoor.Removal, err error) {
	at := s.opts.Now().UnixMilli()
	err = s.bulk(func(g *group) error {
		a, err := g.w.app(app)
		if err != nil || a == nil {
			return err
		}
		c, err := g.account(a, day)
		if err != nil || !c.sealed {
			return err
		}
		present := c.stored - c.swept - c.erased
		from, end := hitDayKey(nil, app, day), after(hitDayKey(nil, app, day))
		left := int64(0)
		var spans []keySpan
		for _, f := range keep {
			own := spanOf(hitProfileKey(nil, app, day, f.number))
			hits, _, err := g.size(own.from)
			if err != nil {
				return err
			}
			if left += hits; hits > 0 {
				spans = append(spans, keySpan{from, own.from})
				from = own.to
			}
		}
		if sum.Hits = present - left; sum.Hits <= 0 {
			sum.Hits = 0
			return nil
		}
		for _, sp := range append(spans, keySpan{from, end}) {
			if err := g.batch.DeleteRange(sp.from, sp.to, nil); err != nil {
				return err
			}
		}
		sum.Bytes = int64(float64(c.bytes) * float64(sum.Hits) / float64(max(1, c.stored))) // of hits of a common size
		c.swept += sum.Hits
		c.dropped = math.MaxUint64
		g.tell(a, at, feedExpired, protowire.EncodeZigZag(int64(day)), uint64(spoor.KindNone))
		return g.dropped(a, day, run, at, &sum)
	})
	return sum, err
}

// dropped writes receipt and journal of what was dropped of a day.
func (g *group) dropped(a *appState, day spoor.Day, run uint64, at int64, sum *spoor.Removal) (err error) {
	g.touchApp(a)
	if sum.Receipt, err = g.removed(a, run, spoor.ReceiptExpiry, at, *sum); err != nil {
		return err
	}
	j := journal{at: at, erased: true, days: []spoor.Day{day}, receipt: sum.Receipt}
	j.add(day, sum.Bytes)
	return g.journal(a, &j)
}

// kindSlice is how many hits one request to the writer removes by their keys.
const kindSlice = 256

// dropKind removes a day's hits of one kind but those of persons who are kept.
func (s *Store) dropKind(ctx context.Context, app spoor.AppID, day spoor.Day, kind spoor.Kind, keep []former, run uint64) (sum spoor.Removal, err error) {
	sum.Receipt = run
	var keys [][]byte
	kept := false
	err = s.view(func(db *pebble.DB) error {
		return scan(db, hitDayKey(nil, app, day), func(key, value []byte) error {
			h, err := readHit(key, value)
			if err != nil || h.Kind != kind {
				return err
			}
			if slices.ContainsFunc(keep, func(f former) bool { return f.number == h.Profile }) {
				kept = true
			} else {
				keys = append(keys, slices.Clone(key))
			}
			return nil
		})
	})
	if err != nil {
		return sum, err
	}
	for some := range slices.Chunk(keys, s.opts.slice(kindSlice)) {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		var part spoor.Removal
		err := s.bulk(func(g *group) (err error) {
			part, err = g.dropHits(app, day, some, sum.Receipt, s.opts.Now().UnixMilli())
			return err
		})
		if err != nil {
			return sum, err
		}
		sum.Add(part)
	}
	return sum, s.bulk(func(g *group) error {
		a, err := g.w.app(app)
		if err != nil || a == nil {
			return err
		}
		c, err := g.account(a, day)
		if again := c != nil && c.again>>kind&1 != 0; err == nil && !(again && kept && len(keys) == 0) {
			g.tell(a, s.opts.Now().UnixMilli(), feedExpired, protowire.EncodeZigZag(int64(day)), uint64(kind))
			c.dropped |= 1 << kind
			if c.again &^= 1 << kind; kept {
				c.again |= 1 << kind
			}
		}
		return err
	})
}

// dropHits removes hits of a finished day by their keys. One that went meanwhile
// was counted by who removed it.
func (g *group) dropHits(app spoor.AppID, day spoor.Day, keys [][]byte, run uint64, at int64) (sum spoor.Removal, err error) {
	a, err := g.w.app(app)
	if err != nil || a == nil {
		return sum, err
	}
	hidden, err := readHidden(g.w.db, app)
	if err != nil {
		return sum, err
	}
	for _, key := range keys {
		if hidden.Contains(be32(key[9:])) {
			continue
		}
		err := get(g.w.db, key, func(value []byte) error {
			sum.Hits++
			sum.Bytes += int64(len(key) + len(value))
			g.remove(key)
			return nil
		})
		if err != nil {
			return sum, err
		}
	}
	if sum.Hits == 0 {
		return sum, nil
	}
	c, err := g.account(a, day)
	if err != nil {
		return sum, err
	}
	c.swept += sum.Hits
	return sum, g.dropped(a, day, run, at, &sum)
}

// dropStatistics removes a day's roll-ups and who was active; the account of what
// was stored and went stays.
func (s *Store) dropStatistics(app spoor.AppID, day spoor.Day) error {
	return s.bulk(func(g *group) error {
		a, err := g.w.app(app)
		if err != nil || a == nil {
			return err
		}
		c, err := g.account(a, day)
		if err != nil || !c.sealed {
			return err
		}
		c.bare, c.views, c.events, c.visits = true, 0, 0, 0
		c.engaged, c.timed, c.visitMS, c.pageMS, c.full, c.sum = 0, 0, 0, 0, 0, daySum{}
		if d := a.days[day]; d != nil {
			for kind := range d.seen {
				d.seen[kind].Clear()
			}
		}
		for _, sp := range []keySpan{spanOf(countDayKey(nil, app, day)), spanOf(tableDayKey(nil, app, day)), spanOf(activityDayKey(nil, app, day))} {
			if err := g.batch.DeleteRange(sp.from, sp.to, nil); err != nil {
				return err
			}
		}
		g.touchApp(a)
		j := journal{at: s.opts.Now().UnixMilli(), erased: true, days: []spoor.Day{day}}
		return g.journal(a, &j)
	})
}
