package store

import (
	"github.com/RoaringBitmap/roaring/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// A set of profile numbers is cut into chunks of 65,536 numbers, a key each.
// A value is a change to such a chunk: numbers taken out, then numbers added.
// Changes fold in the order in which they were written; that is associative.
type setChange struct {
	add, drop *roaring.Bitmap // low 16 bits; nil is empty
	unknown   [][]byte
}

const (
	setAdd protowire.Number = iota + 1
	setDrop
	setUnknown
)

// fold applies a later change on top.
func (c *setChange) fold(later *setChange) {
	if later.drop != nil {
		if c.add != nil {
			c.add.AndNot(later.drop)
		}
		c.drop = union(c.drop, later.drop)
	}
	if later.add != nil {
		if c.drop != nil {
			c.drop.AndNot(later.add)
		}
		c.add = union(c.add, later.add)
	}
	c.unknown = append(c.unknown, later.unknown...)
}

func union(a, b *roaring.Bitmap) *roaring.Bitmap {
	if a == nil {
		return b
	}
	a.Or(b)
	return a
}

func (c *setChange) appendTo(dst []byte) []byte {
	dst = appendHeader(dst)
	dst = putBitmap(dst, setAdd, c.add)
	dst = putBitmap(dst, setDrop, c.drop)
	return putUnknown(dst, setUnknown, c.unknown)
}

func putBitmap(dst []byte, tag protowire.Number, b *roaring.Bitmap) []byte {
	if b == nil || b.IsEmpty() {
		return dst
	}
	b.RunOptimize()
	raw, err := b.ToBytes()
	if err != nil { // it writes to memory
		panic("BUG: cannot encode a bitmap: " + err.Error())
	}
	return putBytes(dst, tag, raw)
}

// readSet decodes a change. The bitmaps own their memory.
func readSet(value []byte) (*setChange, error) {
	c := new(setChange)
	err := fields(value, func(tag protowire.Number, num uint64, b []byte) (err error) {
		switch tag {
		case setAdd:
			c.add, err = readBitmap(b)
		case setDrop:
			c.drop, err = readBitmap(b)
		case setUnknown:
			c.unknown = append(c.unknown, append([]byte(nil), b...))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func readBitmap(b []byte) (*roaring.Bitmap, error) {
	bm := roaring.New()
	n, err := bm.FromUnsafeBytes(append([]byte(nil), b...))
	if err != nil || n != int64(len(b)) {
		return nil, errValue
	}
	if err := bm.Validate(); err != nil {
		return nil, errValue
	}
	return bm, nil
}
