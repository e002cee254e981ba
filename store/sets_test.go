package store

import (
	"math/rand/v2"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// Goal: a union holds what its sets hold, in whatever way it is made, and leaves
// them as they are.
// Method: sets of all sizes and densities; one Or after the other.
func TestUnion(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var s sets
		want := roaring.New()
		numbers := 1 << (4 + rnd.IntN(18))
		for range rnd.IntN(12) {
			b := roaring.New()
			for range rnd.IntN(numbers/(1+rnd.IntN(200)) + 1) {
				b.Add(uint32(rnd.IntN(numbers)))
			}
			s = s.with(b).with(nil)
			want.Or(b)
		}
		before := make(sets, len(s))
		for i, b := range s {
			before[i] = b.Clone()
		}
		if got := s.union(); !got.Equals(want) {
			t.Fatalf("%d sets below %d: %d members, want %d", len(s), numbers, got.GetCardinality(), want.GetCardinality())
		}
		for i, b := range s {
			if !b.Equals(before[i]) {
				t.Fatal("a set was changed")
			}
		}
	}
}
