package store

import (
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

// whoOf is the profiles that brought a row; nil if nobody did. The set must not
// be changed.
func (d *oneDay) whoOf(dim spoor.Dimension, text string) (who *roaring.Bitmap, err error) {
	if d.late != nil {
		c, err := d.row(dim, text)
		return c.who.add, err
	}
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
