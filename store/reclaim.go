package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Removed records leave the files only when a compaction rewrites the tables
// that hold them, and Pebble begins none for few tombstones in old tables. So
// the store covers the hits of removed profiles with range tombstones, all of
// one go in one ingested table (one DeleteRange each would make reads quadratic),
// and compacts the days that are due itself.
const (
	// A day in which many fell due is rewritten at once: nearly all who are swept
	// came on the day that fell due. Elsewhere few went, and the day waits until it
	// is worth it or the promise of a week calls.
	reclaimShare = 10 // per cent of a day's hits
	reclaimAge   = 6 * 24 * time.Hour
	cleanTries   = 3
)

// span is a stretch of keys.
type keySpan struct{ from, to []byte }

type partition struct {
	app spoor.AppID
	day spoor.Day
}

// Reclaim gives the bytes of removed profiles back. Without full, days of which
// little went wait for up to six days. One call works at a time; it may be
// repeated after an error or a crash.
func (s *Store) Reclaim(ctx context.Context, full bool) (r spoor.ReclaimReport, err error) {
	s.reclaiming.Lock()
	defer s.reclaiming.Unlock()
	err = s.view(func(db *pebble.DB) error {
		before := db.Metrics().DiskSpaceUsage()
		entries, err := readJournals(db, 0)
		if err != nil || len(entries) == 0 {
			return err
		}
		if err := s.coverHits(ctx, db, entries); err != nil {
			return err
		}
		now := s.opts.Now()
		var erased []entry
		swept := slices.DeleteFunc(slices.Clone(entries), func(e entry) bool {
			if e.erased {
				erased = append(erased, e)
			}
			return e.erased
		})
		due, rest, err := dueDays(db, swept, now, full)
		if err != nil {
			return err
		}
		r.Partitions = len(due)
		for _, e := range erased {
			for _, f := range e.gone {
				r.Partitions += len(f.days)
			}
		}
		var spans []keySpan
		for p := range due {
			from := hitDayKey(nil, p.app, p.day)
			spans = append(spans, keySpan{from, after(from)})
		}
		spans = append(spans, erasedSpans(erased)...)
		spans = append(spans, recordSpans(entries)...)
		slices.SortFunc(spans, func(a, b keySpan) int { return slices.Compare(a.from, b.from) })
		if err := clean(ctx, db, spans); err != nil {
			return err
		}
		if err := s.finish(swept, due); err != nil {
			return err
		}
		if err := s.finish(erased, nil); err != nil {
			return err
		}
		if err := s.retireLogs(db); err != nil {
			return err
		}
		if now := db.Metrics().DiskSpaceUsage(); now < before {
			r.Bytes = int64(before - now)
		}
		for _, at := range rest {
			r.Pending++
			r.Oldest = least(r.Oldest, at)
		}
		return nil
	})
	return r, err
}

// retireLogs gets rid of the write-ahead logs that hold removed records. Pebble
// keeps memTablesMax + 1 logs that it needs no more, to write over them, and
// gives up one with each new log; an empty memtable keeps its log.
func (s *Store) retireLogs(db *pebble.DB) error {
	for range memTablesMax + 3 {
		if err := s.change(func(*group) error { return nil }); err != nil {
			return err
		}
		if err := db.Flush(); err != nil {
			return fmt.Errorf("cannot flush the store: %w", err)
		}
	}
	return nil
}

// Pending is what Reclaim has left to do.
func (s *Store) Pending() (r spoor.ReclaimReport, err error) {
	err = s.view(func(db *pebble.DB) error {
		entries, err := readJournals(db, 0)
		days := map[partition]bool{}
		for _, e := range entries {
			r.Oldest = least(r.Oldest, e.at)
			if e.app != 0 {
				days[partition{app: e.app}] = true
			}
			for _, f := range e.gone {
				for _, day := range f.days {
					days[partition{e.of, day}] = true
				}
			}
		}
		r.Pending = len(days)
		return err
	})
	return r, err
}

// coverHits ingests one table of range tombstones over all hits that are
// removed and not yet covered, and then notes that in the journals: the other
// order would show them again after a crash. Numbers are never used again, so
// covering twice does no harm.
func (s *Store) coverHits(ctx context.Context, db *pebble.DB, entries []entry) error {
	var spans []keySpan
	var fresh []*entry
	for i := range entries {
		e := &entries[i]
		if e.deleted {
			continue
		}
		fresh = append(fresh, e)
		for _, f := range e.gone {
			for _, day := range f.days {
				from := hitProfileKey(nil, e.of, day, f.number)
				spans = append(spans, keySpan{from, after(from)})
			}
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	slices.SortFunc(spans, func(a, b keySpan) int { return slices.Compare(a.from, b.from) })
	spans = slices.CompactFunc(spans, func(a, b keySpan) bool { return slices.Equal(a.from, b.from) })
	if len(spans) > 0 {
		if err := s.ingestTombstones(ctx, db, spans); err != nil {
			return fmt.Errorf("cannot cover removed hits: %w", err)
		}
	}
	for some := range slices.Chunk(fresh, removalSlice) {
		if err := s.bulk(func(g *group) error {
			for _, e := range some {
				e.deleted = true
				g.set(e.key, e.appendTo(nil))
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) ingestTombstones(ctx context.Context, db *pebble.DB, spans []keySpan) (err error) {
	path := s.path("tombstones.sst")
	f, err := s.opts.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	opts := s.pebbleOptions(false)
	opts.EnsureDefaults()
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), opts.MakeWriterOptions(0, db.TableFormat()))
	for i := 0; i < len(spans); i++ {
		from, to := spans[i].from, spans[i].to
		for i+1 < len(spans) && slices.Equal(spans[i+1].from, to) { // neighbours are one
			i++
			to = spans[i].to
		}
		if err := w.DeleteRange(from, to); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return db.Ingest(ctx, []string{path})
}

// dueDays picks the days to rewrite; the rest waits, with the time of its oldest
// decision.
func dueDays(db *pebble.DB, entries []entry, now time.Time, full bool) (due map[partition]bool, rest map[partition]int64, err error) {
	due, rest = map[partition]bool{}, map[partition]int64{}
	type garbage struct {
		oldest  int64
		numbers int
	}
	days := map[partition]*garbage{}
	for _, e := range entries {
		for _, f := range e.gone {
			for _, day := range f.days {
				p := partition{e.of, day}
				g := days[p]
				if g == nil {
					g = new(garbage)
					days[p] = g
				}
				g.oldest = least(g.oldest, e.at)
				g.numbers++
			}
		}
	}
	for p, g := range days {
		old := now.Sub(time.UnixMilli(g.oldest)) >= reclaimAge
		if !full && !old {
			active, err := readActivity(db, p.app, p.day, activityActive)
			if err != nil {
				return nil, nil, err
			}
			if uint64(g.numbers)*100 < active.GetCardinality()*reclaimShare {
				rest[p] = g.oldest
				continue
			}
		}
		due[p] = true
	}
	return due, rest, nil
}

// erasedSpans are deleted apps as a whole, the hits of erased persons, and the
// roll-ups of their days: a row that counts nothing any more was removed.
func erasedSpans(entries []entry) (spans []keySpan) {
	for _, e := range entries {
		for _, prefix := range appPrefixes {
			if e.app != 0 {
				from := key1(nil, prefix, e.app)
				spans = append(spans, keySpan{from, after(from)})
			}
		}
		for _, f := range e.gone {
			for _, day := range f.days {
				hits := hitProfileKey(nil, e.of, day, f.number)
				rows := countKey(nil, e.of, day, 0, 0)
				rows = rows[:len(rows)-9]
				spans = append(spans, keySpan{hits, after(hits)}, keySpan{rows, after(rows)})
			}
		}
	}
	return spans
}

// recordSpans are the stretches of profiles and of what leads to them.
func recordSpans(entries []entry) (spans []keySpan) {
	type ends struct{ low, high spoor.Number }
	apps := map[spoor.AppID]*ends{}
	for _, e := range entries {
		for _, f := range e.gone {
			if x := apps[e.of]; x == nil {
				apps[e.of] = &ends{f.number, f.number}
			} else {
				x.low, x.high = min(x.low, f.number), max(x.high, f.number)
			}
		}
	}
	for app, x := range apps {
		spans = append(spans, keySpan{profileKey(nil, app, x.low), after(profileKey(nil, app, x.high))})
		for _, prefix := range []byte{prefixIdent, prefixNumber} {
			from := key1(nil, prefix, app)
			spans = append(spans, keySpan{from, after(from)})
		}
	}
	return spans
}

// clean compacts stretches until none of the tombstones that are there now is
// left over them, and no table with bytes outside of its bounds. What is written
// meanwhile may bring its own.
func clean(ctx context.Context, db *pebble.DB, spans []keySpan) error {
	if len(spans) == 0 {
		return nil
	}
	if err := db.Flush(); err != nil {
		return fmt.Errorf("cannot flush the store: %w", err)
	}
	newest, err := newestSequence(db)
	if err != nil {
		return err
	}
	for _, sp := range spans {
		for try := 0; ; try++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := db.Compact(ctx, sp.from, sp.to, false); err != nil {
				return fmt.Errorf("cannot compact: %w", err)
			}
			dirty, err := holdsTombstones(db, sp, newest)
			if err != nil {
				return err
			}
			if !dirty {
				break
			}
			if try == cleanTries {
				return errors.New("cannot get rid of tombstones: an export may hold the old state; it is tried again")
			}
		}
	}
	return nil
}

// newestSequence is the highest sequence number in any table.
func newestSequence(db *pebble.DB) (newest uint64, err error) {
	levels, err := db.SSTables()
	if err != nil {
		return 0, fmt.Errorf("cannot list the tables of the store: %w", err)
	}
	for _, level := range levels {
		for _, t := range level {
			newest = max(newest, uint64(t.LargestSeqNum))
		}
	}
	return newest, nil
}

func holdsTombstones(db *pebble.DB, sp keySpan, newest uint64) (bool, error) {
	levels, err := db.SSTables(pebble.WithKeyRangeFilter(sp.from, sp.to), pebble.WithProperties())
	if err != nil {
		return false, fmt.Errorf("cannot list the tables of the store: %w", err)
	}
	for _, level := range levels {
		for _, t := range level {
			if uint64(t.SmallestSeqNum) <= newest && (t.Virtual || t.Properties.NumDeletions > 0) {
				return true, nil
			}
		}
	}
	return false, nil
}

// finish takes the days that are clean out of the journals, and removes the
// journals that are empty then, and those of erasures, which were cleaned whole.
func (s *Store) finish(entries []entry, done map[partition]bool) error {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	for some := range slices.Chunk(entries, removalSlice) {
		err := s.bulk(func(g *group) error {
			for i := range some {
				e := &some[i]
				var left []former
				for _, f := range e.gone {
					f.days = slices.DeleteFunc(slices.Clone(f.days), func(d spoor.Day) bool { return done[partition{e.of, d}] })
					if len(f.days) > 0 {
						left = append(left, f)
					}
				}
				if e.gone = left; len(left) == 0 || e.erased {
					g.remove(e.key)
				} else {
					g.set(e.key, e.appendTo(nil))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
