package store

import (
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// sets are sets of profiles whose union is wanted in the end: to make it at once
// is many times faster than one by one. They are not changed.
type sets []*roaring.Bitmap

// with is s and another set, which may be nil.
func (s sets) with(b *roaring.Bitmap) sets {
	if b == nil {
		return s
	}
	return append(s, b)
}

// union must not be changed. Sets that are sparse, but many, are united in a
// plain field of bits: to merge sorted lists again and again costs more.
func (s sets) union() *roaring.Bitmap {
	switch len(s) {
	case 0:
		return nobody
	case 1:
		return s[0]
	}
	var sparse, dense sets
	members, most := uint64(0), uint32(0)
	for _, b := range s {
		n := b.GetCardinality()
		if n == 0 {
			continue
		}
		last := b.Maximum()
		if n > uint64(last>>16+1)*sparseMax {
			dense = append(dense, b)
			continue
		}
		sparse = append(sparse, b)
		members += n
		most = max(most, last)
	}
	words := int(most>>6) + 1
	if len(sparse) < 3 || members < uint64(words) || words > fieldWordsMax {
		return roaring.FastOr(s...)
	}
	field := make([]uint64, words)
	some := make([]uint32, 2048)
	for _, b := range sparse {
		for it := b.ManyIterator(); ; {
			n := it.NextMany(some)
			if n == 0 {
				break
			}
			for _, m := range some[:n] {
				field[m>>6] |= 1 << (m & 63)
			}
		}
	}
	return roaring.FastOr(append(dense, roaring.FromDense(field, false))...)
}

const (
	sparseMax     = 3000    // members of 65,536 numbers up to which a set is sparse
	fieldWordsMax = 4 << 20 // 32 MiB
)

var nobody = roaring.New()

// setKeyOf names a set of a day that is sealed, or of several in a row: of
// activity, or of a row.
type setKeyOf struct {
	app  spoor.AppID
	day  spoor.Day
	last spoor.Day // of several
	kind uint16
	text string
}

// Kinds of a row's sets, by dimension; kinds of activity are below.
const (
	setOfRow        = 256 // all who brought it
	setOfVisitorRow = 512 // those who visited on that day
)

// keepsake remembers what was made of days that do not change any more. What is
// used moves to the young map; when that is full the old one goes.
type keepsake[K comparable, V any] struct {
	size       func(K, V) uint64
	mu         sync.Mutex
	young, old map[K]V
	bytes      uint64 // of the young
}

// keepsakeBytes bounds each of the two maps.
const keepsakeBytes = 32 << 20

func (c *keepsake[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok = c.young[k]; ok {
		return v, true
	}
	if v, ok = c.old[k]; ok {
		delete(c.old, k)
		c.put(k, v)
	}
	return v, ok
}

func (c *keepsake[K, V]) add(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(k, v)
}

func (c *keepsake[K, V]) put(k K, v V) {
	if c.young == nil || c.bytes > keepsakeBytes {
		c.old, c.young, c.bytes = c.young, map[K]V{}, 0
	}
	c.young[k] = v
	c.bytes += c.size(k, v)
}

// once gives a set of the day from memory, or makes it.
func (d *oneDay) once(kind uint16, text string, make func() (*roaring.Bitmap, error)) (*roaring.Bitmap, error) {
	if !d.lasting() {
		return make()
	}
	k := setKeyOf{d.app.ID, d.day, d.day, kind, text}
	if b, ok := d.s.sealed.get(k); ok {
		return b, nil
	}
	b, err := make()
	if err == nil && b != nil {
		d.s.sealed.add(k, b)
	}
	return b, err
}

func setSize(k setKeyOf, b *roaring.Bitmap) uint64 {
	return b.GetSizeInBytes() + uint64(len(k.text)) + 128
}

// lasting reports whether nothing of what the day counted can change any more.
func (d *oneDay) lasting() bool { return d.account.sealed && !d.account.bare && d.late == nil }

// lastingOf cuts days into those at the beginning that are lasting, and the rest.
func lastingOf(days []*oneDay) (lasting, rest []*oneDay) {
	n := 0
	for n < len(days) && days[n].lasting() {
		n++
	}
	return days[:n], days[n:]
}

// setsOf is the sets of the days, of activity or of a row of that name. The union
// over the days that are lasting is remembered as one.
func setsOf(days []*oneDay, kind uint16, text string, one func(*oneDay) (*roaring.Bitmap, error)) (all sets, err error) {
	lasting, rest := lastingOf(days)
	if len(lasting) > 1 {
		first, last := lasting[0], lasting[len(lasting)-1]
		k := setKeyOf{first.app.ID, first.day, last.day, kind, text}
		b, ok := first.s.sealed.get(k)
		if !ok {
			if all, err = setsEach(nil, lasting, one); err != nil {
				return nil, err
			}
			b = all.union()
			first.s.sealed.add(k, b)
		}
		all, days = sets{b}, rest
	}
	return setsEach(all, days, one)
}

func setsEach(all sets, days []*oneDay, one func(*oneDay) (*roaring.Bitmap, error)) (sets, error) {
	for _, d := range days {
		b, err := one(d)
		if err != nil {
			return nil, err
		}
		all = all.with(b)
	}
	return all, nil
}

// visitorsOf is who visited on any of the days.
func visitorsOf(days []*oneDay) (sets, error) {
	return setsOf(days, activityVisitor, "", func(d *oneDay) (*roaring.Bitmap, error) { return d.activity(activityVisitor) })
}

// whoOfAll is the profiles that brought a row on any of the days.
func whoOfAll(days []*oneDay, dim spoor.Dimension, text string) (sets, error) {
	return setsOf(days, setOfRow+uint16(dim), text, func(d *oneDay) (*roaring.Bitmap, error) { return d.whoOf(dim, text) })
}

// visitorsOfAll is the visitors of each of the days that brought a row on it.
func visitorsOfAll(days []*oneDay, dim spoor.Dimension, text string) (sets, error) {
	return setsOf(days, setOfVisitorRow+uint16(dim), text, func(d *oneDay) (*roaring.Bitmap, error) { return d.visitorsOf(dim, text) })
}

// visitorsOf is the visitors of the day that brought a row; nil if nobody did.
// The set must not be changed.
func (d *oneDay) visitorsOf(dim spoor.Dimension, text string) (*roaring.Bitmap, error) {
	return d.once(setOfVisitorRow+uint16(dim), text, func() (*roaring.Bitmap, error) {
		who, err := d.whoOf(dim, text)
		if err != nil || who == nil {
			return nil, err
		}
		visitors, err := d.activity(activityVisitor)
		return roaring.And(who, visitors), err
	})
}

// whoOf is the profiles that brought a row; nil if nobody did. The set must not
// be changed.
func (d *oneDay) whoOf(dim spoor.Dimension, text string) (*roaring.Bitmap, error) {
	if d.late != nil {
		c, err := d.row(dim, text)
		return c.who.add, err
	}
	return d.once(setOfRow+uint16(dim), text, func() (who *roaring.Bitmap, err error) {
		key := countKey(nil, d.app.ID, d.day, dim, rowHash(&d.secret, rowKey{dim, text}))
		err = get(d.db, key, func(value []byte) error {
			return fields(value, func(tag protowire.Number, _ uint64, b []byte) (err error) {
				switch tag {
				case countWho:
					who, err = readBitmap(b)
				case countWhoFew:
					who, err = readFew(b)
				}
				return err
			})
		})
		return who, err
	})
}

// rowWith is a row; without people it may lack the profiles that brought it.
func (d *oneDay) rowWith(dim spoor.Dimension, text string, people bool) (*counts, error) {
	if d.late != nil {
		return d.row(dim, text)
	}
	c := new(counts)
	key := countKey(nil, d.app.ID, d.day, dim, rowHash(&d.secret, rowKey{dim, text}))
	err := get(d.db, key, func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, b []byte) error {
			if tag == countWho || tag == countWhoFew || tag == countWhoLess {
				return nil
			}
			return c.field(tag, num, b)
		})
	})
	if err == nil && people && c.hits != 0 {
		c.who.add, err = d.whoOf(dim, text)
	}
	return c, err
}
