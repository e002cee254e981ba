package store

import (
	"encoding/binary"
	"math"
	"math/bits"

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
	if !validBitmap(b) {
		return nil, errValue
	}
	bm := roaring.New()
	n, err := bm.FromUnsafeBytes(append([]byte(nil), b...))
	if err != nil || n != int64(len(b)) {
		return nil, errValue
	}
	return bm, nil
}

// validBitmap reports whether a bitmap in Roaring's portable format is as it was
// written. Bitmap.Validate does the same, but compares each run of a container
// with each other: that took most of the time of reading who was there on a day.
func validBitmap(b []byte) bool {
	const (
		cookieRuns, cookiePlain = 12347, 12346
		offsetsFrom             = 4    // containers, where some are runs
		arrayMax                = 4096 // numbers
		bitsBytes               = 8192
	)
	le := binary.LittleEndian
	if len(b) < 8 {
		return false
	}
	var runs []byte // a bit for each container
	containers := int(le.Uint32(b[4:]))
	switch cookie := le.Uint32(b); {
	case cookie&0xffff == cookieRuns:
		containers = int(cookie>>16) + 1
		end := 4 + (containers+7)/8
		if len(b) < end {
			return false
		}
		runs, b = b[4:end], b[end:]
	case cookie == cookiePlain:
		b = b[8:]
	default:
		return false
	}
	head := 4 * containers
	if runs == nil || containers >= offsetsFrom {
		head *= 2
	}
	if containers > 1<<16 || len(b) < head {
		return false
	}
	keys, b := b[:4*containers], b[head:]
	for i, key := 0, -1; i < containers; i++ {
		last := key
		if key = int(le.Uint16(keys[4*i:])); key <= last {
			return false
		}
		want, have := int(le.Uint16(keys[4*i+2:]))+1, 0
		switch {
		case runs != nil && runs[i/8]&(1<<(i%8)) != 0:
			if len(b) < 2 || len(b) < 2+4*int(le.Uint16(b)) {
				return false
			}
			n := int(le.Uint16(b))
			b = b[2:]
			for end := -2; n > 0; n-- { // a run that touches the one before would be part of it
				start := int(le.Uint16(b))
				if start <= end+1 {
					return false
				}
				end = start + int(le.Uint16(b[2:]))
				if end > math.MaxUint16 {
					return false
				}
				have += end - start + 1
				b = b[4:]
			}
		case want > arrayMax:
			if len(b) < bitsBytes {
				return false
			}
			for k := 0; k < bitsBytes; k += 8 {
				have += bits.OnesCount64(le.Uint64(b[k:]))
			}
			b = b[bitsBytes:]
		default:
			if len(b) < 2*want {
				return false
			}
			for end := -1; have < want; have++ {
				n := int(le.Uint16(b[2*have:]))
				if n <= end {
					return false
				}
				end = n
			}
			b = b[2*want:]
		}
		if have != want {
			return false
		}
	}
	return len(b) == 0
}
