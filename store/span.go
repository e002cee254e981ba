package store

import (
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

// tableEnd is where a table that begins with a key has to end.
func (s *Store) tableEnd(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	if len(start) == 0 || start[0] == 0xff {
		return policy, nil, nil
	}
	prefix := start[0]
	end = []byte{prefix + 1}
	big := s.big.Load()
	if prefix != prefixHit && prefix != prefixProfile || big == nil || len(*big) == 0 {
		return policy, end, nil
	}
	var at [9]byte // a key may be the bare beginning of a stretch
	copy(at[:], start)
	app := spoor.AppID(be32(at[1:]))
	i, found := slices.BinarySearch(*big, app)
	switch {
	case found && prefix == prefixHit:
		end = after(at[:])
	case found:
		block := be32(at[5:])/profileBlock + 1
		if end = after(at[:5]); block < 1<<32/profileBlock {
			end = binary.BigEndian.AppendUint32(at[:5:5], block*profileBlock)
		}
	case i < len(*big):
		end = key1(nil, prefix, (*big)[i])
	}
	return policy, end, nil
}

// isBig reports whether an app has days so large that tables end with them.
func (s *Store) isBig(app spoor.AppID) bool {
	big := s.big.Load()
	if big == nil {
		return false
	}
	_, found := slices.BinarySearch(*big, app)
	return found
}

// measureApps finds the apps with large days. It is called at the start, and when
// days are finished; until then an app that grew is as small ones are.
func (s *Store) measureApps(db pebble.Reader) error {
	var big []spoor.AppID
	err := scan(db, []byte{prefixWriter}, func(key, value []byte) error {
		app := spoor.AppID(be32(key[1:]))
		if len(key) < 6 || key[5] != writerDay || len(big) > 0 && big[len(big)-1] == app {
			return nil
		}
		c, err := readAccount(value)
		if err == nil && c.bytes >= bigDayBytes {
			big = append(big, app)
		}
		return err
	})
	if err == nil {
		s.big.Store(&big)
	}
	return err
}
