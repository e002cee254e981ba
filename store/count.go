package store

import (
	"fmt"
	"math"
	"reflect"
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
	countWhoFew // the same as countWho, as a list
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
	if c.who.add != nil {
		if c.who.add.GetCardinality() <= fewMax {
			dst = putFew(dst, countWhoFew, c.who.add.ToArray())
		} else {
			dst = putBitmap(dst, countWho, c.who.add)
		}
	}
	dst = putBitmap(dst, countWhoLess, c.who.drop)
	return putUnknown(dst, countUnknown, c.unknown)
}

func readCounts(value []byte) (*counts, error) {
	c := new(counts)
	if err := fields(value, c.field); err != nil {
		return nil, err
	}
	return c, nil
}

// field takes in one field of a value.
func (c *counts) field(tag protowire.Number, num uint64, b []byte) (err error) {
	switch tag {
	case countText:
		c.text = string(b)
	case countHits:
		c.hits = zigzag(num)
	case countViews:
		c.views = zigzag(num)
	case countEvents:
		c.events = zigzag(num)
	case countVisits:
		c.visits = zigzag(num)
	case countEngaged:
		c.engaged = zigzag(num)
	case countExits:
		c.exits = zigzag(num)
	case countTimed:
		c.timed = zigzag(num)
	case countVisitMS:
		c.visitMS = zigzag(num)
	case countPageMS:
		c.pageMS = zigzag(num)
	case countMeasured:
		c.measured.count = zigzag(num)
	case countWhole:
		c.measured.whole = zigzag(num)
	case countMillionth:
		c.measured.millionth = zigzag(num)
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
	case countWhoFew:
		c.who.add, err = readFew(b)
	case countWhoLess:
		c.who.drop, err = readBitmap(b)
	case countUnknown:
		c.unknown = append(c.unknown, append([]byte(nil), b...))
	}
	return err
}

// dayRow is a roll-up row of a day as it is read.
type dayRow struct {
	counts
	visitors int64 // different profiles; not persons
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

// readCountText reads nothing of a row but its text.
func readCountText(value []byte) (text string, err error) {
	err = fields(value, func(tag protowire.Number, _ uint64, b []byte) error {
		if tag == countText {
			text = string(b)
		}
		return nil
	})
	return text, err
}

// minus is what takes c back.
func (c *counts) minus() *counts {
	m := measured{count: -c.measured.count, whole: -c.measured.whole, millionth: -c.measured.millionth, stale: c.measured.count != 0}
	return &counts{
		hits: -c.hits, views: -c.views, events: -c.events, visits: -c.visits, engaged: -c.engaged, exits: -c.exits, timed: -c.timed,
		visitMS: -c.visitMS, pageMS: -c.pageMS, measured: m,
	}
}

// equal reports whether two rows count the same, by the same people.
func (c *counts) equal(o *counts) bool {
	a, b := *c, *o
	a.who, b.who, a.unknown, b.unknown = setChange{}, setChange{}, nil, nil
	if !reflect.DeepEqual(a, b) || people(&c.who) != people(&o.who) {
		return false
	}
	return people(&c.who) == 0 || c.who.add.Equals(o.who.add)
}

// people is how many a row names.
func people(who *setChange) int64 {
	if who.add == nil {
		return 0
	}
	return int64(who.add.GetCardinality())
}

// String tells what a row counts, without its text, which may name a person.
func (c *counts) String() string {
	return fmt.Sprintf("%d hits, %d views, %d events, %d visits, %d engaged, %d exits, %d timed, %d ms, %d ms on it, numbers %+v, by %d",
		c.hits, c.views, c.events, c.visits, c.engaged, c.exits, c.timed, c.visitMS, c.pageMS, c.measured, people(&c.who))
}
