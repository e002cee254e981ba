package store

import (
	"context"
	"hash/maphash"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// front is the database as the writer reads it: with all that it has decided
// in earlier groups, of which Pebble may still be taking in the newest, one core
// busy with its memory table while another decides. A key that this group does not
// write is read at once, any other one, and every range, when it is in.
//
// Only what it shadows may be used while a group is under way; behind settle all of
// the database is as before.
type front struct {
	*pebble.DB
	coming *group       // that is under way; nil: none is
	taken  <-chan error // its outcome
	failed *group       // that Pebble did not take, until resume; nil: none
	unused *written     // memory for another group; may be nil
}

// written gives an empty set of keys.
func (f *front) written() *written {
	w := f.unused
	if w == nil {
		return new(written)
	}
	f.unused = nil
	*w = written{}
	return w
}

// begin says that Pebble takes a group in from now on; taken brings the outcome.
func (f *front) begin(g *group, taken <-chan error) { f.coming, f.taken = g, taken }

// settle waits for the group under way. It returns why one failed, until resume:
// then what the writer remembers is not what the database holds.
func (f *front) settle() error {
	if g := f.coming; g != nil {
		if err := <-f.taken; err != nil {
			g.err, f.failed = err, g
		}
		f.coming, f.unused = nil, g.written
	}
	if f.failed != nil {
		return f.failed.err
	}
	return nil
}

// resume ends a failure: the writer reads anew what the database holds. It returns
// the group, which nobody has been told of.
func (f *front) resume() *group {
	g := f.failed
	f.failed = nil
	return g
}

func (f *front) Get(key []byte) ([]byte, io.Closer, error) {
	if f.coming != nil && f.coming.written.maybe(key) {
		if err := f.settle(); err != nil {
			return nil, nil, err
		}
	}
	return f.DB.Get(key)
}

func (f *front) NewIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	if err := f.settle(); err != nil {
		return nil, err
	}
	return f.DB.NewIter(o)
}

func (f *front) NewIterWithContext(ctx context.Context, o *pebble.IterOptions) (*pebble.Iterator, error) {
	if err := f.settle(); err != nil {
		return nil, err
	}
	return f.DB.NewIterWithContext(ctx, o)
}

// written tells whether a batch may write a key: a bit for the hash of each.
type written struct {
	bits [writtenBits / 64]uint64
	keys uint32
	all  bool // or it may write any key
}

// A full group of bulk work writes some 30,000 keys: then one in 35 others waits in
// vain. 128 KiB stay in a core's cache.
const writtenBits = 1 << 20

var writtenSeed = maphash.MakeSeed()

func (w *written) add(key []byte) {
	h := maphash.Bytes(writtenSeed, key) % writtenBits
	w.bits[h/64] |= 1 << (h % 64)
	w.keys++
}

func (w *written) maybe(key []byte) bool {
	h := maphash.Bytes(writtenSeed, key) % writtenBits
	return w.all || w.bits[h/64]&(1<<(h%64)) != 0
}

// close is told how many records the batch has: what did not come by add is the end
// of a range, which may cover any key.
func (w *written) close(records uint32) { w.all = w.all || records != w.keys }
