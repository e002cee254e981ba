package store

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// retained is how far the daily work of retention is in an app, where commands
// of a log do it. Which entries of the feed go is decided by marks, one a day:
// entries have no times of their own, and how they fall into records differs.
type retained struct {
	day   spoor.Day // whose work is done
	floor uint64    // entries of the feed up to here go
	marks []feedDay // oldest first
}

// feedDay is the newest entry of the feed when the work of a day was done.
type feedDay struct {
	day    spoor.Day
	newest uint64
}

const (
	retainedDay protowire.Number = iota + 1
	retainedFloor
	retainedMark // nested: day, newest
)

func (r *retained) appendTo(dst []byte) []byte {
	dst = putInt(appendHeader(dst), retainedDay, int64(r.day))
	dst = putUint(dst, retainedFloor, r.floor)
	for _, m := range r.marks {
		dst = putBytes(dst, retainedMark, putUint(putInt(nil, nestDays, int64(m.day)), nestNumber, m.newest))
	}
	return dst
}

func readRetained(db pebble.Reader, app spoor.AppID) (r retained, err error) {
	err = get(db, writerRetainedKey(app), func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, b []byte) error {
			switch tag {
			case retainedDay:
				r.day = spoor.Day(zigzag(num))
			case retainedFloor:
				r.floor = num
			case retainedMark:
				var m feedDay
				err := rawFields(b, func(tag protowire.Number, num uint64, _ []byte) error {
					switch tag {
					case nestDays:
						m.day = spoor.Day(zigzag(num))
					case nestNumber:
						m.newest = num
					}
					return nil
				})
				r.marks = append(r.marks, m)
				return err
			}
			return nil
		})
	})
	if err != nil {
		err = fmt.Errorf("cannot read how far the retention of app %d is: %w", app, err)
	}
	return r, err
}

// Retained is the last day of an app's calendar whose work EndRetain has ended;
// 0: none.
func (s *Store) Retained(app spoor.AppID) (day spoor.Day, err error) {
	err = s.view(func(db *pebble.DB) error {
		r, err := readRetained(db, app)
		day = r.day
		return err
	})
	return day, err
}

// EndRetain notes that the work of a day is done, and drops the entries of the
// feed that are older than the app keeps them, by whole days. It returns once that
// is on disk.
func (s *Store) EndRetain(ctx context.Context, app spoor.AppID, day spoor.Day) error {
	var floor uint64
	err := s.bulk(func(g *group) error {
		a, err := g.w.app(app)
		if err != nil || a == nil {
			return err
		}
		r, err := readRetained(g.w.db, app)
		if err != nil {
			return err
		}
		r.end(day, spoor.Day(a.app.Settings.FeedDays), a.entries)
		floor = r.floor
		g.set(writerRetainedKey(app), r.appendTo(nil))
		return nil
	})
	if err != nil || floor == 0 {
		return err
	}
	_, err = s.dropFeed(ctx, app, func(last uint64, _ int64) bool { return last <= floor })
	return err
}

// end moves the floor to the newest mark that is old enough.
func (r *retained) end(day, keep spoor.Day, newest uint64) {
	if keep == 0 {
		r.floor, r.marks = newest, nil
	} else if n := len(r.marks); n == 0 || r.marks[n-1].day < day {
		r.marks = append(r.marks, feedDay{day, newest})
	}
	r.day = max(r.day, day)
	for len(r.marks) > 0 && r.marks[0].day < day-keep {
		r.floor, r.marks = r.marks[0].newest, r.marks[1:]
	}
}
