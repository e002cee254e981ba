package store

import (
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// counts is one roll-up row: how often a text was seen on a day, and by whom.
// As an operand it is what one write adds to the row.
type counts struct {
	text                        string
	hits, views, events, visits int64
	engaged                     int64 // visits that did not bounce
	exits                       int64 // visits whose last page, or screen, it was
	timed                       int64 // times on the page that ended
	visitMS, pageMS             int64 // sum of the times of visits, and on the page
	measured                    measured
	who                         setChange // visitors
	unknown                     [][]byte
}

// measured sums up numbers. A sum is held as whole and millionth parts, so that
// it does not depend on the order of its parts and can be taken back exactly.
type measured struct {
	count, whole, millionth int64
	least, greatest         float64
	bounded                 bool // there are such
	stale                   bool // a number was taken back that was one of them
}

const (
	countText protowire.Number = iota + 1
	countHits
	countViews
	countEvents
	countVisits
	countUnknown
	countEngaged
	countExits
	countTimed
	countVisitMS
	countPageMS
	countMeasured
	countWhole
	countMillionth
	countLeast
	countGreatest
	countBounded
	countStale
	countWho
	countWhoLess
)

// fold applies a later change on top. Sums are commutative; what is told of
// people is not.
func (c *counts) fold(o *counts) {
	if c.text == "" || o.text != "" && o.text < c.text {
		c.text = o.text
	}
	c.hits += o.hits
	c.views += o.views
	c.events += o.events
	c.visits += o.visits
	c.engaged += o.engaged
	c.exits += o.exits
	c.timed += o.timed
	c.visitMS += o.visitMS
	c.pageMS += o.pageMS
	c.measured.fold(&o.measured)
	c.who.fold(&o.who)
	if len(o.unknown) > 0 {
		c.unknown = append(c.unknown, o.unknown...)
		slices.SortFunc(c.unknown, slices.Compare)
	}
}

// fold keeps the bounds of what was ever added: what is taken back is marked.
func (m *measured) fold(o *measured) {
	if o.bounded && m.bounded {
		m.least, m.greatest = min(m.least, o.least), max(m.greatest, o.greatest)
	} else if o.bounded {
		m.least, m.greatest, m.bounded = o.least, o.greatest, true
	}
	m.count += o.count
	m.whole += o.whole
	m.millionth += o.millionth
	m.stale = m.stale || o.stale
}

func (c *counts) appendTo(dst []byte) []byte {
	dst = appendHeader(dst)
	dst = putString(dst, countText, c.text)
	dst = putInt(dst, countHits, c.hits)
	dst = putInt(dst, countViews, c.views)
	dst = putInt(dst, countEvents, c.events)
	dst = putInt(dst, countVisits, c.visits)
	dst = putInt(dst, countEngaged, c.engaged)
	dst = putInt(dst, countExits, c.exits)
	dst = putInt(dst, countTimed, c.timed)
	dst = putInt(dst, countVisitMS, c.visitMS)
	dst = putInt(dst, countPageMS, c.pageMS)
	m := &c.measured
	dst = putInt(dst, countMeasured, m.count)
	dst = putInt(dst, countWhole, m.whole)
	dst = putInt(dst, countMillionth, m.millionth)
	dst = putUint(dst, countLeast, math.Float64bits(m.least))
	dst = putUint(dst, countGreatest, math.Float64bits(m.greatest))
	dst = putBool(dst, countBounded, m.bounded)
	dst = putBool(dst, countStale, m.stale)
	dst = putBitmap(dst, countWho, c.who.add)
	dst = putBitmap(dst, countWhoLess, c.who.drop)
	return putUnknown(dst, countUnknown, c.unknown)
}

func readCounts(value []byte) (*counts, error) {
	c := new(counts)
	into := func(tag protowire.Number) *int64 {
		switch tag {
		case countHits:
			return &c.hits
		case countViews:
			return &c.views
		case countEvents:
			return &c.events
		case countVisits:
			return &c.visits
		case countEngaged:
			return &c.engaged
		case countExits:
			return &c.exits
		case countTimed:
			return &c.timed
		case countVisitMS:
			return &c.visitMS
		case countPageMS:
			return &c.pageMS
		case countMeasured:
			return &c.measured.count
		case countWhole:
			return &c.measured.whole
		case countMillionth:
			return &c.measured.millionth
		}
		return nil
	}
	err := fields(value, func(tag protowire.Number, num uint64, b []byte) (err error) {
		if n := into(tag); n != nil {
			*n = zigzag(num)
			return nil
		}
		switch tag {
		case countText:
			c.text = string(b)
		case countLeast:
			c.measured.least = math.Float64frombits(num)
		case countGreatest:
			c.measured.greatest = math.Float64frombits(num)
		case countBounded:
			c.measured.bounded = num != 0
		case countStale:
			c.measured.stale = num != 0
		case countWho:
			c.who.add, err = readBitmap(b)
		case countWhoLess:
			c.who.drop, err = readBitmap(b)
		case countUnknown:
			c.unknown = append(c.unknown, append([]byte(nil), b...))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// dayRow is a roll-up row of a day as it is read.
type dayRow struct {
	counts
	visitors int64 // different profiles; not persons
}

// readRows reads the rows of one dimension of a day, without what waits in
// memory. With who is filled only for a day that is open.
func readRows(db pebble.Reader, app spoor.AppID, day spoor.Day, dim spoor.Dimension, f func(*dayRow) error) error {
	prefix := append(countDayKey(nil, app, day), byte(dim))
	return scan(db, prefix, func(_, value []byte) error {
		c, err := readCounts(value)
		if err != nil {
			return err
		}
		r := dayRow{counts: *c}
		if c.who.add != nil {
			r.visitors = int64(c.who.add.GetCardinality())
		}
		return f(&r)
	})
}

// readRow reads one row of a day with the profiles that brought it; a row that
// counts nothing if there is none.
func readRow(db pebble.Reader, app spoor.AppID, secret *salt, day spoor.Day, dim spoor.Dimension, text string) (*counts, error) {
	c := new(counts)
	err := get(db, countKey(nil, app, day, dim, rowHash(secret, rowKey{dim, text})), func(value []byte) (err error) {
		c, err = readCounts(value)
		return err
	})
	return c, err
}
