package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/spoorhq/spoor"
)

// loadPart is how many hits are decided before what they wrote goes into tables.
const loadPart = 16 << 10

// loadTableBytes is about what a table of a load takes at most, like those that
// compactions leave in the lowest level.
const loadTableBytes = 64 << 20

// LoadDay stores the hits of one day in tables of their own, past the log: for
// benchmarks and tests, which want large stores soon. The writer decides about
// each hit as Write has it, so what is stored is the same. Days are loaded in
// their order, last is the one that will be loaded last: what has left its
// window is sealed at once, and event ids that nobody asks for any more are
// left out.
//
// Hits come in the order of the profiles under which they will stand (bots
// under 0, new profiles last), those of a profile in the order of their times,
// all different. Received must be set. A hit is valid until the next is asked
// for. All must be stored: an error is final, and leaves a store that nothing
// should be loaded into. Memory is needed for each visitor of the day.
func (s *Store) LoadDay(last spoor.Day, hits iter.Seq[*spoor.Hit]) error {
	l := &loader{s: s, rows: sealedRows{}}
	err := l.group(func() error { return l.take(last, hits) })
	if err == nil && l.app != nil {
		err = l.group(func() error { return l.count(last) })
	}
	if err != nil {
		return fmt.Errorf("cannot load a day: %w", err)
	}
	return s.view(func(db *pebble.DB) error { return s.measureApps(db) })
}

// loader is a day that is loaded, in two groups: its hits, and what they count.
type loader struct {
	s     *Store
	g     *group
	app   *appState
	day   *dayState
	week  uint32 // event ids of earlier weeks are left out
	rows  sealedRows
	rest  []loaded // for tables, but hits, which go there at once
	batch []loaded // for the batch
	out   *sstable.Writer
	end   []byte // of the table that is written
	paths []string
}

type loaded struct {
	kind       pebble.InternalKeyKind
	key, value []byte
	at         int
}

// group runs f in a group of its own, and ingests what it wrote.
func (l *loader) group(f func() error) error {
	return l.s.alone(func(g *group) error {
		l.g, l.rest, l.batch, l.paths = g, nil, nil, nil
		g.final = true
		err := f()
		if err == nil {
			err = l.ingest()
		}
		if err != nil {
			err = errors.Join(err, l.abandon())
			g.err = err // forget what was decided
		}
		return err
	})
}

// take decides about the hits.
func (l *loader) take(last spoor.Day, hits iter.Seq[*spoor.Hit]) error {
	g := l.g
	var profile spoor.Number
	var ms int64
	n := 0
	for h := range hits {
		if err := g.hit(h); err != nil {
			return err
		}
		if h.Outcome != spoor.Stored {
			return fmt.Errorf("a hit of %s is %s %s", h.Day, h.Outcome, h.Reason)
		}
		if l.app == nil {
			l.app = g.w.apps[h.App]
			l.day = l.app.days[h.Day]
			l.week = oldestEvents(l.app.app, last.Start(l.app.app.Zone(h.Time)).UnixMilli())
		}
		if h.App != l.app.app.ID || h.Day != l.day.day {
			return fmt.Errorf("a hit of %s of app %d among those of %s of app %d; load each day by itself", h.Day, h.App, l.day.day, l.app.app.ID)
		}
		if n > 0 && (h.Profile < profile || h.Profile == profile && h.Time <= ms) {
			return fmt.Errorf("a hit of profile %d at %d comes after one of profile %d at %d; load them in order", h.Profile, h.Time, profile, ms)
		}
		if ms = h.Time; h.Profile != profile {
			if p := g.profiles[profileRef{h.App, profile}]; p != nil {
				p.hits = nil // nobody comes out of order
			}
			profile = h.Profile
		}
		if n++; n%loadPart == 0 {
			l.takeRows()
			if err := l.drain(); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return nil
	}
	l.takeRows()
	if err := g.flush(); err != nil {
		return err
	}
	return l.drain()
}

// count writes the roll-ups of the day, and seals it if it will have left the
// window.
func (l *loader) count(last spoor.Day) error {
	app, day := l.app.app, l.day.day
	records := []keyValue(nil)
	d, err := l.g.day(l.app, day)
	if err != nil {
		return err
	}
	if day < last-spoor.Day(app.Settings.WindowDays) {
		d.account.goals = strings.Join(app.Settings.Goals, ",")
		foldRare(l.rows, d.account.full, declaredGoals(d.account.goals))
		if records, d.account.sum, err = encodeSealed(l.g.w.db, app.ID, day, l.rows); err != nil {
			return err
		}
		d.account.sealed = true
	} else {
		records = l.rows.encode(&l.app.salt, app.ID, day)
	}
	for _, r := range records {
		l.rest = append(l.rest, loaded{kind: pebble.InternalKeyKindSet, key: r.key, value: r.value})
	}
	return nil
}

// drain takes over what the group has written so far.
func (l *loader) drain() error {
	for r := l.g.batch.Reader(); ; {
		kind, key, value, ok, err := r.Next()
		if err != nil || !ok {
			l.g.batch.Reset()
			l.g.written.all = true // what was in the batch comes another way
			return errors.Join(err, l.g.err)
		}
		switch key[0] {
		case prefixHit:
			if err := l.write(loaded{kind: kind, key: key, value: value}); err != nil {
				return err
			}
		case prefixEvent:
			if be32(key[5:]) >= l.week {
				l.rest = append(l.rest, loaded{kind: kind, key: bytes.Clone(key), value: bytes.Clone(value)})
			}
		case prefixProfile, prefixIdent:
			l.rest = append(l.rest, loaded{kind: kind, key: bytes.Clone(key), value: bytes.Clone(value)})
		default: // small
			l.batch = append(l.batch, loaded{kind: kind, key: bytes.Clone(key), value: bytes.Clone(value)})
		}
	}
}

// takeRows takes over what is to be added to the roll-ups: they are written
// once, with all people in them.
func (l *loader) takeRows() {
	d := l.day
	for _, key := range d.dirty {
		r, sum := d.rows.of(key), l.rows[key]
		if sum == nil {
			sum = &counts{who: setChange{add: roaring.New()}}
			l.rows[key] = sum
		}
		sum.fold(&r.add)
		r.gather()
		sum.who.add.Or(r.many)
		*r = row{who: r.who, hash: r.hash, onDisk: true}
	}
	d.dirty, d.fresh = d.dirty[:0], d.fresh[:0]
}

// write puts a record into the table that is open, or into a new one.
func (l *loader) write(r loaded) (err error) {
	if l.out != nil && (bytes.Compare(r.key, l.end) >= 0 || l.out.Raw().EstimatedSize() >= loadTableBytes) {
		if err := l.finish(); err != nil {
			return err
		}
	}
	if l.out == nil {
		if _, l.end, err = l.s.tableEnd(r.key); err != nil {
			return err
		}
		path := l.s.path(fmt.Sprintf("load%d.sst", len(l.paths)))
		if l.out, err = l.s.newTable(l.g.w.db.DB, path); err != nil {
			return err
		}
		l.paths = append(l.paths, path)
	}
	switch r.kind {
	case pebble.InternalKeyKindSet:
		return l.out.Set(r.key, r.value)
	case pebble.InternalKeyKindMerge:
		return l.out.Merge(r.key, r.value)
	case pebble.InternalKeyKindDelete:
		return l.out.Delete(r.key)
	}
	return fmt.Errorf("BUG: a record of kind %s under %c", r.kind, r.key[0])
}

func (l *loader) finish() error {
	out := l.out
	l.out = nil
	return out.Close()
}

// ingest writes what is left, and makes the tables part of the store.
func (l *loader) ingest() error {
	if l.out != nil {
		if err := l.finish(); err != nil {
			return err
		}
	}
	for i := range l.rest {
		l.rest[i].at = i
	}
	slices.SortFunc(l.rest, func(a, b loaded) int { return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.at, b.at)) })
	for i, r := range l.rest {
		if i+1 < len(l.rest) && bytes.Equal(l.rest[i+1].key, r.key) { // the last one counts
			if l.rest[i+1].kind == pebble.InternalKeyKindMerge {
				return fmt.Errorf("BUG: two changes of one record under %c", r.key[0])
			}
			continue
		}
		if err := l.write(r); err != nil {
			return err
		}
	}
	if l.out != nil {
		if err := l.finish(); err != nil {
			return err
		}
	}
	if len(l.paths) > 0 {
		if err := l.g.w.db.Ingest(context.Background(), l.paths); err != nil {
			return err
		}
	}
	for _, r := range l.batch {
		switch r.kind {
		case pebble.InternalKeyKindSet:
			l.g.set(r.key, r.value)
		case pebble.InternalKeyKindMerge:
			l.g.merge(r.key, r.value)
		case pebble.InternalKeyKindDelete:
			l.g.remove(r.key)
		default:
			return fmt.Errorf("BUG: a record of kind %s under %c", r.kind, r.key[0])
		}
	}
	return l.g.err
}

// abandon removes the tables of a load that failed.
func (l *loader) abandon() (err error) {
	if l.out != nil {
		err = l.finish()
	}
	for _, path := range l.paths {
		if _, gone := l.s.opts.FS.Stat(path); gone == nil {
			err = errors.Join(err, l.s.opts.FS.Remove(path))
		}
	}
	return err
}
