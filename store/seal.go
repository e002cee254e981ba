package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// A sealed day takes no more hits. Its statistics stay for years, longer than
// the people in it, so nothing in them may point at one: a text that fewer than
// rareProfiles profiles brought (a path with a name in it, a city of one) is
// folded into otherText.
const (
	rareProfiles = 5
	otherText    = "(other)"
)

// SealDays finishes the days that have left the window: it recomputes their
// roll-ups from their hits, folds rare texts, and gives the bytes back. It
// may be called again after an error or a crash. It tells how many days it
// finished, and how many rows it folded.
func (s *Store) SealDays(ctx context.Context) (days, folded int, err error) {
	if err := s.Seal(); err != nil {
		return days, folded, err
	}
	s.reclaiming.Lock()
	defer s.reclaiming.Unlock()
	err = s.view(func(db *pebble.DB) error {
		for _, app := range s.AllApps() {
			list, err := unfinishedDays(db, app.ID)
			if err != nil {
				return err
			}
			for _, day := range list {
				if err := ctx.Err(); err != nil {
					return err
				}
				rows, err := s.sealDay(ctx, db, app, day)
				if err != nil {
					return fmt.Errorf("cannot seal %s of app %q: %w", day, app.Name, err)
				}
				days++
				folded += rows
			}
		}
		if days > 0 {
			return s.measureApps(db)
		}
		return nil
	})
	return days, folded, err
}

// unfinishedDays lists the sealed days whose roll-ups are as they were counted.
func unfinishedDays(db *pebble.DB, app spoor.AppID) (days []spoor.Day, err error) {
	late, err := scanUncounted(db)
	if err != nil {
		return nil, err
	}
	sealed, err := readSealed(db, app, late)
	if err != nil {
		return nil, err
	}
	all, err := countedDays(db, app, late)
	if err != nil {
		return nil, err
	}
	for _, day := range all {
		if day > sealed {
			break
		}
		finished := false // there may be no account yet, where all was put off
		err := get(db, writerDayKey(nil, app, day), func(value []byte) error {
			c, err := readAccount(value)
			finished = c.sealed
			return err
		})
		if err != nil {
			return nil, err
		}
		if !finished {
			days = append(days, day)
		}
	}
	return days, nil
}

func (s *Store) sealDay(ctx context.Context, db *pebble.DB, app *spoor.App, day spoor.Day) (folded int, err error) {
	// What waits in memory is written first; nothing is added after it. A person
	// may be erased meanwhile: then the rows are of yesterday.
	rewrites := 0
	err = s.bulk(func(g *group) error {
		g.final = true
		a, err := g.w.app(app.ID)
		if err == nil && a != nil {
			rewrites = a.rewrites
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	rows, err := countDay(db, app, day)
	if err != nil {
		return 0, err
	}
	folded = foldRare(rows)
	if s.opts.betweenSeal != nil {
		s.opts.betweenSeal()
	}
	err = s.bulk(func(g *group) error {
		a, err := g.w.app(app.ID)
		if err != nil || a == nil {
			return err
		}
		if a.rewrites != rewrites {
			return errMeanwhile
		}
		d, err := g.day(a, day)
		if err != nil {
			return err
		}
		d.account.sealed = true
		prefix := countDayKey(nil, app.ID, day)
		if err := g.batch.DeleteRange(prefix, after(prefix), nil); err != nil {
			return err
		}
		for key, row := range rows {
			row.text = key.text
			g.set(countKey(nil, app.ID, day, key.dim, rowHash(&a.salt, key)), row.counts.appendTo(nil))
		}
		return nil
	})
	if errors.Is(err, errMeanwhile) {
		return s.sealDay(ctx, db, app, day)
	}
	if err != nil {
		return 0, err
	}
	prefix := countDayKey(nil, app.ID, day)
	hits := hitDayKey(nil, app.ID, day)
	if err := db.Flush(); err != nil {
		return 0, fmt.Errorf("cannot flush the store: %w", err)
	}
	return folded, s.clean(ctx, db, []keySpan{{prefix, after(prefix)}, {hits, after(hits)}}, true)
}

var errMeanwhile = errors.New("somebody was erased or restricted meanwhile")

// sealedRow is a roll-up row with the profiles that brought it, as far as they are
// few.
type sealedRow struct {
	counts
	by []spoor.Number
}

// add counts a hit of a profile.
func (r *sealedRow) add(c *counts, n spoor.Number) {
	r.counts.fold(c)
	if len(r.by) >= rareProfiles {
		return
	}
	for _, m := range r.by {
		if m == n {
			return
		}
	}
	r.by = append(r.by, n)
}

// countDay recomputes a day's roll-ups from its hits.
func countDay(db pebble.Reader, app *spoor.App, day spoor.Day) (map[rowKey]*sealedRow, error) {
	rows := map[rowKey]*sealedRow{}
	hidden, err := readHidden(db, app.ID)
	if err != nil {
		return nil, err
	}
	err = scan(db, hitDayKey(nil, app.ID, day), func(key, value []byte) error {
		h, err := readHit(key, value)
		if err != nil || hidden.Contains(uint32(h.Profile)) {
			return err
		}
		one := countsOf(&h)
		rollUp(app, &h, func(dim spoor.Dimension, text string) {
			r := rows[rowKey{dim, text}]
			if r == nil {
				r = new(sealedRow)
				rows[rowKey{dim, text}] = r
			}
			r.add(&one, h.Profile)
		})
		return nil
	})
	return rows, err
}

// foldRare folds rows of few profiles into one of each dimension. The hour of
// a day says nothing about anybody.
func foldRare(rows map[rowKey]*sealedRow) (folded int) {
	for key, r := range rows {
		if key.dim == spoor.DimHour || key.text == otherText || len(r.by) >= rareProfiles {
			continue
		}
		into := rowKey{key.dim, otherText}
		if rows[into] == nil {
			rows[into] = new(sealedRow)
		}
		rows[into].counts.fold(&r.counts)
		delete(rows, key)
		folded++
	}
	return folded
}
