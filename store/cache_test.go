package store

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// A filter that has room knows all its keys, and asks for few that it has not.
func TestFilter(t *testing.T) {
	const keys, absent = 300_000, 200_000
	f := newFilter(1 << 30)
	if f.ready = true; f.maybe(hash{}) {
		t.Error("an empty filter may know a key")
	}
	random := rand.NewChaCha8([32]byte{1})
	key := func() (h hash) {
		binary.LittleEndian.PutUint64(h[:], random.Uint64())
		binary.LittleEndian.PutUint64(h[8:], random.Uint64())
		return h
	}
	in := make([]hash, keys)
	for i := range in {
		in[i] = key()
		f.add(in[i])
	}
	for _, h := range in {
		if !f.maybe(h) {
			t.Fatal("a filter does not know a key that was added")
		}
	}
	let := 0
	for range absent {
		if f.maybe(key()) {
			let++
		}
	}
	if perMille := float64(let) * 1000 / absent; perMille > 4*float64(len(f.layers)) {
		t.Errorf("of 1,000 absent keys %.1f may be known in %d layers, want at most 4 for each", perMille, len(f.layers))
	} else {
		t.Logf("of 1,000 absent keys %.1f may be known in %d layers", perMille, len(f.layers))
	}
}

// A filter without room for more knows its keys nevertheless.
func TestFilterIsBounded(t *testing.T) {
	f := newFilter(filterLayerMin)
	f.ready = true
	for i := range uint64(500_000) {
		var h hash
		binary.LittleEndian.PutUint64(h[:], i*0x9e3779b97f4a7c15)
		if f.add(h); !f.maybe(h) {
			t.Fatal("a full filter does not know a key that was added")
		}
	}
	if len(f.layers) != 1 {
		t.Errorf("a filter of %d bytes has %d layers, want one", filterLayerMin, len(f.layers))
	}
}
