package store

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// Where tables end decides what it costs to remove something: a compaction
// rewrites whole tables, and one that holds the end of the hits, all identifiers
// and the beginning of the profiles is rewritten for each of them. So no table
// goes beyond its prefix, and for apps with much data none beyond a day of hits or
// a block of profiles. For small apps such tables would be tiny, and many.
const (
	bigDayBytes  = 16 << 20 // of a day's hits, before compression: some 3 MB on disk
	profileBlock = 1 << 15  // numbers of profiles: some 4 MB on disk
)

// bigApp is an app whose tables end with days and blocks of profiles.
type bigApp struct {
	app    spoor.AppID
	days   []spoor.Day  // with hits, ascending
	newest spoor.Number // of its profiles
}

// findBig finds an app, or where it would be.
func (s *Store) findBig(app spoor.AppID) (big []bigApp, i int, found bool) {
	if all := s.big.Load(); all != nil {
		big = *all
	}
	i, found = slices.BinarySearchFunc(big, app, func(b bigApp, app spoor.AppID) int { return cmp.Compare(b.app, app) })
	return big, i, found
}

// tableEnd is where a table that begins with a key has to end. Tombstones of a whole
// app begin at its bare prefix and are cut at each end, so there may be none where
// nothing is: there are 2³² days.
func (s *Store) tableEnd(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	if len(start) == 0 || start[0] == 0xff {
		return policy, nil, nil
	}
	prefix := start[0]
	end = []byte{prefix + 1}
	if prefix != prefixHit && prefix != prefixProfile {
		return policy, end, nil
	}
	var at [9]byte // a key may be the bare beginning of a stretch
	copy(at[:], start)
	big, i, found := s.findBig(spoor.AppID(be32(at[1:])))
	switch {
	case found && prefix == prefixHit:
		day, known := slices.BinarySearch(big[i].days, readDay(at[5:]))
		switch {
		case known:
			end = after(at[:])
		case day < len(big[i].days):
			end = hitDayKey(nil, big[i].app, big[i].days[day])
		default:
			end = after(at[:5])
		}
	case found:
		block := be32(at[5:])/profileBlock + 1
		if end = after(at[:5]); block <= uint32(big[i].newest)/profileBlock {
			end = binary.BigEndian.AppendUint32(at[:5:5], block*profileBlock)
		}
	case i < len(big):
		end = key1(nil, prefix, big[i].app)
	}
	return policy, end, nil
}

// isBig reports whether an app has days so large that tables end with them.
func (s *Store) isBig(app spoor.AppID) bool {
	_, _, found := s.findBig(app)
	return found
}

// measureApps finds the apps with large days. It is called at the start, and when
// days are finished; until then an app that grew is as small ones are.
func (s *Store) measureApps(db pebble.Reader) error {
	var big []bigApp
	var now bigApp
	large := false
	end := func() (err error) {
		if large {
			now.newest, err = newestProfile(db, now.app)
			big = append(big, now)
		}
		return err
	}
	err := scan(db, []byte{prefixWriter}, func(key, value []byte) error {
		if len(key) < 6 || key[5] != writerDay {
			return nil
		}
		if app := spoor.AppID(be32(key[1:])); app != now.app {
			if err := end(); err != nil {
				return err
			}
			now, large = bigApp{app: app}, false
		}
		c, err := readAccount(value)
		now.days = append(now.days, readDay(key[6:]))
		large = large || c.bytes >= bigDayBytes
		return err
	})
	if err == nil {
		err = end()
	}
	if err == nil {
		s.big.Store(&big)
	}
	return err
}

// newestProfile is the highest number of the profiles of an app; 0: there is none.
func newestProfile(db pebble.Reader, app spoor.AppID) (n spoor.Number, err error) {
	prefix := key1(nil, prefixProfile, app)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return 0, err
	}
	if it.Last() {
		n = spoor.Number(be32(it.Key()[5:]))
	}
	return n, it.Close()
}
