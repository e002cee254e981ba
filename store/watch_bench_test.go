package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// BenchmarkWatch writes hits as fast as they are taken, in requests of 100, with
// seven hits of a visitor, while two segments of the app are watched: one of two
// attributes, one with a condition on hits. The rates of the first two are those
// of the same writes without a watched segment, and without a feed. The lag is how
// long after the last hit everything was told.
func BenchmarkWatch(b *testing.B) {
	for _, how := range []struct {
		name  string
		days  int
		watch bool
	}{{"off", 0, false}, {"feed", 1, false}, {"watched", 1, true}} {
		b.Run(how.name, func(b *testing.B) {
			o := testOptions(b, nil, newClock())
			o.Dir, o.Now, o.CacheBytes, o.MemTableBytes, o.FilterBytes, o.putOffFrom = b.TempDir(), time.Now, 64<<20, 32<<20, 16<<20, 32
			s, err := Open(o)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			app := newApp(b, s, "shop", "UTC")
			if how.days > 0 {
				app = keepFeed(b, s, app, how.days)
			}
			for _, filter := range []string{`{"all":[{"attribute":"country","is":"PL"},{"attribute":"page_views","more":3}]}`, `{"path":"/p1","times":2,"days":30}`} {
				must(s.PutCollection(app.ID, spoor.Collection{Kind: spoor.CollectionSegment, Name: filter, Filter: parsed(b, filter), Watched: how.watch}))
			}
			ctx, stop := context.WithCancel(context.Background())
			var running, writing sync.WaitGroup
			running.Go(func() { s.Watch(ctx) })
			var visitors atomic.Int64
			const together = 100
			before := cpu()
			b.ResetTimer()
			for range 4 {
				writing.Go(func() {
					hits := make([]spoor.Hit, together)
					for {
						n := visitors.Add(together)
						if n > int64(b.N)*together {
							return
						}
						for i := range hits {
							hits[i] = page(app, newClock(), fmt.Sprint("visitor-", (n+int64(i))/7), int(n)+i)
							hits[i].Received = time.Now().UnixMilli()
						}
						if err := s.Write(hits); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			writing.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N*together)/b.Elapsed().Seconds(), "hits/s")
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N*together), "cpu-µs/hit")
			if how.watch {
				began := time.Now()
				for told := false; !told; {
					if err := s.still(func(db pebble.Reader) error {
						o, err := s.outlook(db, app, 0, false)
						if err != nil || o.all {
							return err
						}
						found, err := o.find(db, app, nil, 0, s.selections.tuning)
						told = len(found) == 0
						return err
					}); err != nil {
						b.Fatal(err)
					}
					time.Sleep(time.Millisecond)
				}
				b.ReportMetric(float64(time.Since(began).Milliseconds()), "lag-ms")
			}
			stop()
			running.Wait()
		})
	}
}
