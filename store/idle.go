package store

import (
	"encoding/binary"
	"math"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// Idle counts the anonymous profiles of an app by the day on which they were
// last active: counts[i] is for day from+i, and who was active after the last of
// the days is in none. Others are those of whom sets of numbers cannot tell when
// they fall due: not active on any of the days or later, or with a hold or a
// restriction on record. No profile is read.
func (s *Store) Idle(app spoor.AppID, from spoor.Day, days int) (counts []int64, others []spoor.Number, err error) {
	err = s.still(func(db pebble.Reader) error {
		of := s.App(app)
		if of == nil {
			return nil
		}
		left, heirs, err := readAnonymous(db, app)
		if err != nil {
			return err
		}
		held, err := readMembers(db, app, setHeld)
		if err != nil {
			return err
		}
		late, err := scanUncounted(db)
		if err != nil {
			return err
		}
		counts = make([]int64, days)
		end, rest := spoor.Day(math.MaxInt32), roaring.New()
		for i := days; i >= 0; i-- {
			active, err := readActive(db, of, from+spoor.Day(i), end, late)
			if err != nil {
				return err
			}
			end = from + spoor.Day(i)
			heirs.follow(active)
			active.And(left)
			left.AndNot(active)
			if i == days { // later than asked for
				continue
			}
			doubtful := roaring.And(active, held)
			rest.Or(doubtful)
			counts[i] = int64(active.GetCardinality() - doubtful.GetCardinality())
		}
		rest.Or(left)
		for it := rest.Iterator(); it.HasNext(); {
			others = append(others, spoor.Number(it.Next()))
		}
		return nil
	})
	return counts, others, err
}

// heirs lead from former numbers to the profiles that they became part of.
type heirs struct {
	former *roaring.Bitmap
	person map[uint32]uint32
}

// follow adds to a set the profiles of the former numbers in it.
func (h *heirs) follow(set *roaring.Bitmap) {
	for it := roaring.And(set, h.former).Iterator(); it.HasNext(); {
		set.Add(h.person[it.Next()])
	}
}

// readAnonymous is the set of profiles without a contact, and who became part of
// one of them.
func readAnonymous(db pebble.Reader, app spoor.AppID) (set *roaring.Bitmap, h *heirs, err error) {
	if set, err = readMembers(db, app, setLive); err != nil {
		return nil, nil, err
	}
	for _, not := range []byte{setContacts, setAliased} {
		some, err := readMembers(db, app, not)
		if err != nil {
			return nil, nil, err
		}
		set.AndNot(some)
	}
	h = &heirs{former: roaring.New(), person: map[uint32]uint32{}}
	err = scan(db, key1(nil, prefixNumber, app), func(key, value []byte) error {
		n, err := parseNumber(value)
		if err == nil && set.Contains(uint32(n)) {
			former := binary.BigEndian.Uint32(key[5:])
			h.former.Add(former)
			h.person[former] = uint32(n)
		}
		return err
	})
	return set, h, err
}

// readActive is the set of numbers that were active on a day from from to
// before end, hits included that are not counted yet.
func readActive(db pebble.Reader, app *spoor.App, from, end spoor.Day, late []uncounted) (*roaring.Bitmap, error) {
	set := roaring.New()
	err := scanSpan(db, activityKey(nil, app.ID, from, 0, 0), activityKey(nil, app.ID, end, 0, 0), func(key, value []byte) error {
		if key[9] != activityActive {
			return nil
		}
		c, err := readSet(value)
		if err == nil && c.add != nil {
			set.Or(roaring.AddOffset(c.add, uint32(binary.BigEndian.Uint16(key[10:]))<<16))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	done := map[spoor.Day]bool{}
	for _, u := range late {
		for _, at := range u.hits {
			if at.app != app.ID || at.day < from || at.day >= end || done[at.day] {
				continue
			}
			done[at.day] = true
			d, err := readDayState(db, app.ID, at.day)
			if err == nil {
				err = d.catchUp(db, app, late)
			}
			if err != nil {
				return nil, err
			}
			set.Or(d.seen[activityActive])
		}
	}
	return set, nil
}
