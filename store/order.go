package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// Batches of fewer records are not put in order.
const orderedMin = 64

// slot is where a record stands in a batch, with the beginning of its key: the table,
// the app and most of what tells its keys apart.
type slot struct {
	high, low uint64
	at        uint32
}

// inOrder gives a batch whose records stand by key, those of one key as they were
// written, and closes the other one. Pebble finds the place of a key in its memory
// table from that of the key before it: near that one it is faster, and what it looks
// at is in the core's cache. A batch with ranges is left as it is. Scratch is memory
// to work in.
func inOrder(db *pebble.DB, b *pebble.Batch, scratch []slot) (*pebble.Batch, []slot, error) {
	scratch = scratch[:0]
	all := b.Reader()
	for r := all; len(r) > 0; {
		at := uint32(len(all) - len(r))
		kind, key, _, _, err := r.Next()
		if err != nil {
			return b, scratch, err
		}
		switch kind {
		case pebble.InternalKeyKindSet, pebble.InternalKeyKindMerge, pebble.InternalKeyKindDelete:
		default:
			return b, scratch, nil
		}
		var head [16]byte
		copy(head[:], key)
		scratch = append(scratch, slot{binary.BigEndian.Uint64(head[:]), binary.BigEndian.Uint64(head[8:]), at})
	}
	read := func(at uint32) (kind pebble.InternalKeyKind, key, value []byte) {
		r := batchrepr.Reader(all[at:])
		kind, key, value, _, _ = r.Next() // has been read before
		return kind, key, value
	}
	slices.SortFunc(scratch, func(x, y slot) int {
		if c := cmp.Compare(x.high, y.high); c != 0 {
			return c
		}
		if c := cmp.Compare(x.low, y.low); c != 0 {
			return c
		}
		_, a, _ := read(x.at)
		_, b, _ := read(y.at)
		return cmp.Or(bytes.Compare(a, b), cmp.Compare(x.at, y.at))
	})
	ordered := db.NewBatch(pebble.WithInitialSizeBytes(b.Len()), pebble.WithMaxRetainedSizeBytes(batchBytesKept))
	for i := range scratch {
		kind, key, value := read(scratch[i].at)
		var err error
		switch kind {
		case pebble.InternalKeyKindSet:
			err = ordered.Set(key, value, nil)
		case pebble.InternalKeyKindMerge:
			err = ordered.Merge(key, value, nil)
		case pebble.InternalKeyKindDelete:
			err = ordered.Delete(key, nil)
		}
		if err != nil {
			return b, scratch, err
		}
	}
	return ordered, scratch, b.Close()
}
