package store

import (
	"math/rand"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// BenchmarkFeed reads a feed of some 30,000 hits of 300 people, as a follower
// does who has fallen behind.
func BenchmarkFeed(b *testing.B) {
	c := newClock()
	s := open(b, testOptions(b, vfs.NewMem(), c))
	app := followed(b, s, newApp(b, s, "shop", "UTC"))
	for _, hits := range randomRequests(rand.New(rand.NewSource(1)), app, c.Now(), 10_000) {
		write(b, s, hits...)
	}
	b.ReportAllocs()
	entries := 0
	for b.Loop() {
		entries = 0
		if _, err := s.Feed(app.ID, 0, func(e *spoor.FeedEntry) error { entries++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(entries*b.N), "ns/entry")
}
