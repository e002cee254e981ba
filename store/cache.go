package store

import (
	"encoding/binary"
	"strings"

	"github.com/parquet-go/parquet-go/bloom"
)

// generations is a bounded cache of two maps: what is used moves to the young
// one, and when that is full the old one is thrown away. Used by the writer
// alone. Between two calls of turn nothing is forgotten that was used, which
// the writer relies on within one group.
type generations[K comparable, V any] struct {
	young, old map[K]V
	size       int // entries of one generation
}

func newGenerations[K comparable, V any](size int) *generations[K, V] {
	return &generations[K, V]{young: map[K]V{}, old: map[K]V{}, size: size}
}

func (g *generations[K, V]) get(k K) (v V, ok bool) {
	if v, ok = g.young[k]; ok {
		return v, true
	}
	if v, ok = g.old[k]; ok {
		g.young[k] = v
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) { g.young[k] = v }

func (g *generations[K, V]) drop(k K) {
	delete(g.young, k)
	delete(g.old, k)
}

// turn starts a new generation if the young one is full. It reports whether
// it did.
func (g *generations[K, V]) turn() bool {
	if len(g.young) < g.size {
		return false
	}
	g.old = g.young
	g.young = make(map[K]V, g.size/4)
	return true
}

// rowNames numbers the rows of views, so that what is remembered of a profile has
// no pointers: a collection of garbage need not look into it, and no text keeps
// the body alive that it came with. A number is valid for one epoch.
type rowNames struct {
	epoch   uint32 // from 1
	numbers map[rowKey]uint32
	keys    []rowKey // by number
}

func newRowNames(epoch uint32) *rowNames {
	return &rowNames{epoch: epoch, numbers: map[rowKey]uint32{}, keys: make([]rowKey, 1)}
}

// number of a row; 0 for one without a text.
func (r *rowNames) number(key rowKey) uint32 {
	if key.text == "" {
		return 0
	}
	n, ok := r.numbers[key]
	if !ok {
		key.text = strings.Clone(key.text)
		n = uint32(len(r.keys))
		r.numbers[key] = n
		r.keys = append(r.keys, key)
	}
	return n
}

// filter answers "is this keyed hash surely new?" from memory, in front of
// keys that are mostly absent: Pebble's Get uses no Bloom filter in its last
// level, and an absent key costs it 2 to 20 microseconds. It grows in layers,
// so that an idle store stays small, up to a bound; past that it answers
// "maybe" more often, which costs reads and never truth. All bits of a key lie in
// one block of 32 bytes, so a question costs one miss of the processor's caches
// for each layer.
//
// Until it has been loaded from disk it answers "maybe" to everything, as does
// a nil filter. The writer alone uses it.
type filter struct {
	layers []bloom.SplitBlockFilter
	room   int // keys that still fit into the last layer
	left   int // bytes that layers may still take
	next   int // bytes of the next layer
	ready  bool
}

const (
	filterLayerMin   = 256 << 10
	filterGrowth     = 4   // each layer is one more place to look for a key that is absent
	filterKeysOfByte = 0.5 // 16 bits a key: of 1,000 absent keys three cost a read for each full layer
)

func newFilter(bytesMax int) *filter {
	return &filter{left: bytesMax, next: min(filterLayerMin, bytesMax)}
}

func (f *filter) maybe(h hash) bool {
	if f == nil || !f.ready {
		return true
	}
	for _, l := range f.layers {
		if l.Check(binary.LittleEndian.Uint64(h[:])) {
			return true
		}
	}
	return false
}

func (f *filter) add(h hash) {
	if f == nil {
		return
	}
	if f.room <= 0 && f.left >= f.next {
		f.layers = append(f.layers, make(bloom.SplitBlockFilter, max(1, f.next/bloom.BlockSize)))
		f.room = int(float64(f.next) * filterKeysOfByte)
		f.left -= f.next
		f.next = max(filterLayerMin, min(filterGrowth*f.next, f.left))
	}
	f.room--
	f.layers[len(f.layers)-1].Insert(binary.LittleEndian.Uint64(h[:]))
}
