package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// joined makes one of sorted stretches that touch.
func joined(spans []keySpan) (out []keySpan) {
	for _, sp := range spans {
		if n := len(out); n > 0 && slices.Compare(sp.from, out[n-1].to) <= 0 {
			if slices.Compare(sp.to, out[n-1].to) > 0 {
				out[n-1].to = sp.to
			}
			continue
		}
		out = append(out, sp)
	}
	return out
}

const (
	cleanTries = 10
	cleanPause = 50 * time.Millisecond // longer before each
)

// clean compacts stretches until none of the tombstones that are there now is
// left over them, and no table with bytes outside of its bounds. What is written
// meanwhile may bring its own. Paced, it leaves most of the time to hits that come.
func (s *Store) clean(ctx context.Context, db *pebble.DB, spans []keySpan, paced bool) error {
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
	left := spans
	for try := 0; len(left) > 0; try++ {
		if try > cleanTries {
			return errors.New("cannot get rid of tombstones: an export may hold the old state; it is tried again")
		}
		var dirty []keySpan
		var inside [][]byte
		for _, sp := range left {
			if err := ctx.Err(); err != nil {
				return err
			}
			began, hits := time.Now(), s.stats.hits.Load()
			if err := db.Compact(ctx, sp.from, sp.to, false); err != nil {
				return fmt.Errorf("cannot compact: %w", err)
			}
			if paced && s.stats.hits.Load() != hits {
				s.pause(ctx, min(3*time.Since(began), time.Second))
			}
			keys, err := dirtyTables(db, sp, newest)
			if err != nil {
				return err
			}
			if len(keys) > 0 {
				dirty, inside = append(dirty, sp), append(inside, keys...)
			}
		}
		if left = dirty; len(left) == 0 {
			return nil
		}
		s.pause(ctx, time.Duration(try)*cleanPause) // a read may hold the old state
		if err := s.stir(db, inside); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, but not for a store that closes.
func (s *Store) pause(ctx context.Context, d time.Duration) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	case <-s.stop:
	}
}

// stir makes the next compaction rewrite tables which it would leave alone, or
// move down as they are: it removes a key inside each that was never there.
func (s *Store) stir(db *pebble.DB, keys [][]byte) error {
	err := s.bulk(func(g *group) error {
		for _, key := range keys {
			g.remove(key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := db.Flush(); err != nil {
		return fmt.Errorf("cannot flush the store: %w", err)
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

// neverWritten is a length that no key has.
const neverWritten = 64

// dirtyTables lists a key inside a stretch and each table over it that holds
// tombstones of before, or bytes outside of its bounds. None of the keys was ever
// written.
func dirtyTables(db *pebble.DB, sp keySpan, newest uint64) (inside [][]byte, err error) {
	levels, err := db.SSTables(pebble.WithKeyRangeFilter(sp.from, sp.to), pebble.WithProperties())
	if err != nil {
		return nil, fmt.Errorf("cannot list the tables of the store: %w", err)
	}
	for _, level := range levels {
		for _, t := range level {
			first, last := t.Smallest.UserKey, t.Largest.UserKey
			besides := slices.Compare(first, sp.to) >= 0 || slices.Compare(last, sp.from) < 0 || t.Largest.IsExclusiveSentinel() && slices.Equal(last, sp.from)
			if besides || uint64(t.SmallestSeqNum) > newest || !t.Virtual && t.Properties.NumDeletions == 0 {
				continue
			}
			if slices.Compare(first, sp.from) < 0 {
				first = sp.from
			}
			inside = append(inside, append(slices.Clone(first), make([]byte, neverWritten-len(first))...))
		}
	}
	return inside, nil
}
