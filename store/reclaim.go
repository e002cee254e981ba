package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
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
	// A day in which much fell due is rewritten at once: nearly all who are swept
	// came on the day that fell due. Elsewhere little went, and the day waits until
	// it is worth it or the promise of bytes_gone_days calls.
	reclaimShare = 10 // per cent of the bytes that a day has held
)

// span is a stretch of keys.
type keySpan struct{ from, to []byte }

type partition struct {
	app spoor.AppID
	day spoor.Day
}

// Reclaim gives the bytes of removed profiles back, and finishes the receipts of
// what is gone then. Without full, days of which little went wait for the most
// part of bytes_gone_days. One call works at a time; it may be repeated after an
// error or a crash.
func (s *Store) Reclaim(ctx context.Context, full bool) (r spoor.ReclaimReport, err error) {
	s.reclaiming.Lock()
	defer s.reclaiming.Unlock()
	err = s.view(func(db *pebble.DB) error {
		before := db.Metrics().DiskSpaceUsage()
		finished := s.sealed.take()
		if err := s.cleanDays(ctx, db, finished); err != nil {
			s.sealed.put(finished...)
			return err
		}
		entries, err := readJournals(db, 0)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			if err := s.reclaim(ctx, db, entries, full, &r); err != nil {
				return err
			}
		}
		done, err := unfinished(db)
		if err != nil || len(entries)+len(done) == 0 {
			return err
		}
		if err := s.retireLogs(db); err != nil {
			return err
		}
		if err := s.awaitTables(ctx, db); err != nil {
			return err
		}
		if err := s.awaitCopy(ctx); err != nil { // it may hold what was removed
			return err
		}
		if err := s.finishReceipts(done); err != nil {
			return err
		}
		if now := db.Metrics().DiskSpaceUsage(); now < before {
			r.Bytes = int64(before - now)
		}
		return nil
	})
	return r, err
}

// reclaim compacts what is due of some journals.
func (s *Store) reclaim(ctx context.Context, db *pebble.DB, entries []entry, full bool, r *spoor.ReclaimReport) error {
	if err := s.coverHits(ctx, db, entries); err != nil {
		return err
	}
	var swept, asked []entry
	for _, e := range entries {
		if e.erased {
			asked = append(asked, e)
		} else {
			swept = append(swept, e)
		}
	}
	days, err := s.dueDays(db, swept, full)
	if err != nil {
		return err
	}
	due := map[partition]bool{}
	var spans []keySpan
	for p, d := range days {
		switch {
		case !d.due:
			addGarbage(r, p, d)
		case p.day == records:
			due[p] = true
		default:
			due[p] = true
			r.Partitions++
			spans = append(spans, spanOf(hitDayKey(nil, p.app, p.day)))
		}
	}
	for _, e := range asked {
		due[partition{e.of, records}] = len(e.gone) > 0 || due[partition{e.of, records}]
		r.Partitions += len(e.days)
		for _, f := range e.gone {
			r.Partitions += len(f.days)
		}
	}
	spans = append(spans, askedSpans(asked)...)
	profiles, err := recordSpans(db, entries, due)
	if err != nil {
		return err
	}
	spans = append(spans, profiles...)
	slices.SortFunc(spans, func(a, b keySpan) int { return slices.Compare(a.from, b.from) })
	if err := s.clean(ctx, db, spans, len(asked) == 0 && !full); err != nil {
		return err
	}
	if err := s.finish(swept, due); err != nil {
		return err
	}
	return s.finish(asked, nil)
}

// retireLogs gets rid of the write-ahead logs that hold removed records: a log goes
// once its memtable is flushed, but an empty memtable keeps its log.
func (s *Store) retireLogs(db *pebble.DB) error {
	old, err := s.logs()
	if err != nil {
		return err
	}
	if err := s.change(func(*group) error { return nil }); err != nil {
		return err
	}
	if err := db.Flush(); err != nil {
		return fmt.Errorf("cannot flush the store: %w", err)
	}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) { // Pebble deletes in the background
		now, err := s.logs()
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(now, func(name string) bool { return !slices.Contains(old, name) })
		if len(left) == 0 {
			return nil
		}
		if time.Since(began) > logsGoWithin {
			return fmt.Errorf("cannot get rid of old logs: %s is still there; it is tried again", left[0])
		}
	}
}

const (
	logsGoWithin   = 30 * time.Second
	tablesGoWithin = 5 * time.Minute
	tablesLookMax  = 500 * time.Millisecond // between two looks
)

// awaitTables waits until the tables are deleted which compactions have replaced by
// now. Pebble does that in the background, and not as long as a read holds them.
func (s *Store) awaitTables(ctx context.Context, db *pebble.DB) error {
	old, err := s.unusedTables(db)
	began := time.Now()
	for look := time.Millisecond; err == nil && len(old) > 0; look = min(2*look, tablesLookMax) {
		if time.Since(began) > tablesGoWithin {
			return fmt.Errorf("cannot get rid of old tables: %s is still there; a long read, like an export, may hold it; it is tried again", old[0])
		}
		s.pause(ctx, look)
		select {
		case <-s.stop:
			return spoor.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		var now []string
		now, err = s.unusedTables(db)
		old = slices.DeleteFunc(old, func(name string) bool { return !slices.Contains(now, name) })
	}
	return err
}

// unusedTables lists the tables on disk that are no part of the store: replaced
// ones, and those that a compaction is writing, which become a part.
func (s *Store) unusedTables(db *pebble.DB) ([]string, error) {
	names, err := s.opts.FS.List(s.path("db")) // first: what is new by then is in use
	if err != nil {
		return nil, fmt.Errorf("cannot list the files of the store: %w", err)
	}
	levels, err := db.SSTables()
	if err != nil {
		return nil, fmt.Errorf("cannot list the tables of the store: %w", err)
	}
	used := map[string]bool{}
	for _, tables := range levels {
		for _, t := range tables {
			used[fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum))] = true
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".sst") || used[name] }), nil
}

// logs lists the write-ahead logs.
func (s *Store) logs() ([]string, error) {
	names, err := s.opts.FS.List(s.path("db"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the files of the store: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") }), nil
}

// Pending is what Reclaim has left to do.
func (s *Store) Pending() (r spoor.ReclaimReport, err error) {
	err = s.view(func(db *pebble.DB) error {
		entries, err := readJournals(db, 0)
		if err != nil {
			return err
		}
		days, err := s.dueDays(db, entries, false)
		for p, d := range days {
			addGarbage(&r, p, d)
		}
		return err
	})
	return r, err
}

// addGarbage adds a day that is pending to a report.
func addGarbage(r *spoor.ReclaimReport, p partition, d *garbage) {
	r.Pending++
	r.Waiting += d.bytes
	r.Oldest = least(r.Oldest, d.oldest)
	if d.overdue {
		r.Overdue++
	}
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

// ingestTombstones makes tables of range tombstones and ingests them. One table
// that spans all days would pull all of them into each compaction, so a day of an
// app with much data has its own. They are ingested one by one, because writes
// wait while Pebble looks where a table belongs.
func (s *Store) ingestTombstones(ctx context.Context, db *pebble.DB, spans []keySpan) error {
	for len(spans) > 0 {
		n := 1
		for n < len(spans) && !s.apart(spans[n-1].from, spans[n].from) {
			n++
		}
		path := s.path("tombstones.sst")
		if err := s.writeTombstones(db, path, spans[:n]); err != nil {
			return err
		}
		began, hits := time.Now(), s.stats.hits.Load()
		if err := db.Ingest(ctx, []string{path}); err != nil {
			return err
		}
		if s.stats.hits.Load() != hits {
			s.pause(ctx, min(3*time.Since(began), time.Second))
		}
		spans = spans[n:]
	}
	return nil
}

// apart reports whether the hits of two keys lie in tables of their own.
func (s *Store) apart(a, b []byte) bool {
	const day = 1 + 4 + 4
	return !slices.Equal(a[:day], b[:day]) && (s.isBig(spoor.AppID(be32(a[1:]))) || s.isBig(spoor.AppID(be32(b[1:]))))
}

func (s *Store) writeTombstones(db *pebble.DB, path string, spans []keySpan) (err error) {
	w, err := s.newTable(db, path)
	if err != nil {
		return err
	}
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
	return w.Close()
}

// newTable begins a table that is to be ingested. In one that was written for the
// lowest level Pebble would not see tombstones.
func (s *Store) newTable(db *pebble.DB, path string) (*sstable.Writer, error) {
	f, err := s.opts.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	opts := s.pebbleOptions(false)
	opts.EnsureDefaults()
	return sstable.NewWriter(objstorageprovider.NewFileWritable(f), opts.MakeWriterOptions(0, db.TableFormat())), nil
}

// garbage is what lies in a day of an app that is removed.
type garbage struct {
	oldest       int64 // decision, Unix ms
	bytes        int64
	due, overdue bool
}

// dueDays says of each day with removed records whether it is to be rewritten
// now: if much of it went, or if the promise of bytes_gone_days calls.
func (s *Store) dueDays(db *pebble.DB, entries []entry, full bool) (map[partition]*garbage, error) {
	days := map[partition]*garbage{}
	in := func(app spoor.AppID, day spoor.Day, at int64) *garbage {
		p := partition{app, day}
		if days[p] == nil {
			days[p] = new(garbage)
		}
		days[p].oldest = least(days[p].oldest, at)
		return days[p]
	}
	for _, e := range entries {
		if e.app != 0 {
			in(e.app, records, e.at).due = true
			continue
		}
		if len(e.days) == 0 && !e.settled {
			d := in(e.of, records, e.at)
			d.due = d.due || e.erased
		}
		for _, day := range e.days {
			in(e.of, day, e.at).due = true
		}
		for _, f := range e.gone {
			for _, day := range f.days {
				d := in(e.of, day, e.at)
				d.due = d.due || e.erased
			}
		}
		for _, size := range e.sizes {
			in(e.of, size.day, e.at).bytes += size.bytes
		}
	}
	now := s.opts.Now()
	for p, d := range days {
		hours, thin := 24*time.Hour, 7*24*time.Hour // of an app that is gone
		if app := s.App(p.app); app != nil {
			hours = time.Duration(app.Settings.BytesGoneHours) * time.Hour
			thin = time.Duration(app.Settings.BytesGoneDays) * 24 * time.Hour
		}
		var account account
		if err := get(db, writerDayKey(nil, p.app, p.day), func(value []byte) (err error) {
			account, err = readAccount(value)
			return err
		}); err != nil {
			return nil, err
		}
		waits := now.Sub(time.UnixMilli(d.oldest))
		much := p.day != records && d.bytes*100 >= account.bytes*reclaimShare
		d.overdue = waits > thin || (much || d.due) && waits > hours
		// A day before the promise ends, so that a failure can be made up for.
		d.due = d.due || much || full || waits >= thin*6/7
	}
	return days, nil
}

func spanOf(prefix []byte) keySpan { return keySpan{prefix, after(prefix)} }

// askedSpans are deleted apps as a whole, stretches of days, the hits of erased
// persons, and the roll-ups of their days: a row that counts nothing any more was
// removed.
func askedSpans(entries []entry) (spans []keySpan) {
	for _, e := range entries {
		for _, prefix := range appPrefixes {
			if e.app != 0 {
				spans = append(spans, spanOf(key1(nil, prefix, e.app)))
			}
		}
		for _, day := range e.days {
			spans = append(spans, spanOf(hitDayKey(nil, e.of, day)), spanOf(countDayKey(nil, e.of, day)), spanOf(tableDayKey(nil, e.of, day)),
				spanOf(activityDayKey(nil, e.of, day)))
		}
		for _, f := range e.gone {
			for _, day := range f.days {
				spans = append(spans, spanOf(hitProfileKey(nil, e.of, day, f.number)), spanOf(countDayKey(nil, e.of, day)))
			}
		}
	}
	return spans
}

// records stands for a day in which profiles and what leads to them lie.
const records spoor.Day = math.MinInt32

// recordSpans are the stretches of profiles and of what leads to them. Where the
// records of an app are due, that is all of it; else the blocks of profiles of
// which much went since the last time.
func recordSpans(db pebble.Reader, entries []entry, due map[partition]bool) (spans []keySpan, err error) {
	type block struct {
		app spoor.AppID
		n   spoor.Number // of profileBlock numbers
	}
	gone := map[block]uint64{}
	apps := map[spoor.AppID]*roaring.Bitmap{}
	for _, e := range entries {
		if e.settled {
			continue
		}
		all := due[partition{e.of, records}]
		if apps[e.of] == nil && e.of != 0 {
			if apps[e.of], err = readMembers(db, e.of, setLive); err != nil {
				return nil, err
			}
		}
		if all && apps[e.of] != nil {
			spans = append(spans, spanOf(key1(nil, prefixIdent, e.of)), spanOf(key1(nil, prefixNumber, e.of)))
		}
		for _, f := range e.gone {
			b := block{e.of, f.number / profileBlock}
			if all {
				gone[b] += profileBlock
			} else if !e.cleaned {
				gone[b]++
			}
		}
	}
	for b, n := range gone {
		first := b.n * profileBlock
		live := apps[b.app].Rank(uint32(first+profileBlock-1)) - apps[b.app].Rank(uint32(first))
		if n*100 >= (live+n)*reclaimShare {
			spans = append(spans, keySpan{profileKey(nil, b.app, first), after(profileKey(nil, b.app, first+profileBlock-1))})
		}
	}
	slices.SortFunc(spans, func(a, b keySpan) int { return slices.Compare(a.from, b.from) })
	return joined(spans), nil
}

// finish takes the days that are clean out of the journals, and removes the
// journals that are empty then, and those of erasures, which were cleaned whole.
func (s *Store) finish(entries []entry, done map[partition]bool) error {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	for some := range slices.Chunk(entries, removalSlice) {
		err := s.bulk(func(g *group) error {
			for i := range some {
				e := &some[i]
				left := 0 // days; the numbers are needed as long as their records are
				e.sizes = slices.DeleteFunc(e.sizes, func(size daySize) bool { return done[partition{e.of, size.day}] })
				for i := range e.gone {
					f := &e.gone[i]
					f.days = slices.DeleteFunc(slices.Clone(f.days), func(d spoor.Day) bool { return done[partition{e.of, d}] })
					left += len(f.days)
				}
				e.cleaned, e.settled = true, e.settled || done[partition{e.of, records}]
				if e.erased || left == 0 && e.settled {
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
