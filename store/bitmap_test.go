package store

import (
	"math/rand"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// randomBitmap has containers of all kinds: arrays, bits, runs.
func randomBitmap(r *rand.Rand) *roaring.Bitmap {
	b := roaring.New()
	for range r.Intn(6) {
		high := uint64(r.Intn(9)) << 16
		switch r.Intn(3) {
		case 0:
			for range r.Intn(100) {
				b.Add(uint32(high) + uint32(r.Intn(1<<16)))
			}
		case 1:
			for range 3000 + r.Intn(3000) {
				b.Add(uint32(high) + uint32(r.Intn(1<<16)))
			}
		case 2:
			for range r.Intn(300) {
				from := high + uint64(r.Intn(1<<16))
				b.AddRange(from, min(from+uint64(r.Intn(500)), high+1<<16))
			}
		}
	}
	if r.Intn(2) == 0 {
		b.RunOptimize()
	}
	return b
}

// Goal: a bitmap that was damaged is taken for one that was not only where the
// library takes it so too, and one that was not is never refused.
// Method: 200 random bitmaps of all kinds, five times each, as they are and with
// bytes changed, cut off or added, against Bitmap.Validate.
func TestDamagedBitmapsAreSeen(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	good, bad := 0, 0
	var made []byte
	for i := range 1000 {
		if i%5 == 0 {
			var err error
			if made, err = randomBitmap(r).ToBytes(); err != nil {
				t.Fatal(err)
			}
		}
		raw := slices.Clone(made)
		whole := r.Intn(4) == 0
		if !whole {
			switch n := r.Intn(len(raw)); r.Intn(4) {
			case 0:
				raw = raw[:n]
			case 1:
				raw = append(raw, byte(n))
			case 2:
				raw[r.Intn(min(len(raw), 24))] ^= 1 << r.Intn(8)
			case 3:
				raw[n] ^= 1 << r.Intn(8)
			}
		}
		other := roaring.New()
		n, err := other.FromUnsafeBytes(append([]byte(nil), raw...))
		want := err == nil && n == int64(len(raw)) && other.Validate() == nil
		got := validBitmap(raw)
		if whole && !got || got && !want {
			t.Fatalf("taken for whole: %t; the library says %t, and it was damaged: %t; % x", got, want, !whole, raw[:min(len(raw), 64)])
		}
		if got {
			good++
		} else {
			bad++
		}
	}
	if good < 300 || bad < 300 {
		t.Errorf("%d whole, %d damaged", good, bad)
	}
}

func FuzzBitmap(f *testing.F) {
	r := rand.New(rand.NewSource(2))
	for range 20 {
		raw, err := randomBitmap(r).ToBytes()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := readBitmap(raw)
		if err != nil {
			return
		}
		if err := b.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
