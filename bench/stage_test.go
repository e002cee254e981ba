package main

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/enrich"
	"github.com/spoorhq/spoor/store"
)

// The stages one by one, each with the traffic of the model, for benchstat:
//
//	go test ./bench -run '^$' -bench Stage -benchmem -count 10
//
// ns/op, B/op and allocs/op are of one hit. Encoding alone is measured beside its
// code, by StageEncode of the store; StageWrite includes it.

// BenchmarkStageDecode is a request from its first byte to a sink that keeps
// nothing: HTTP of one connection and decoding.
func BenchmarkStageDecode(b *testing.B) {
	for _, v := range stageRequestKinds {
		b.Run(v.name, func(b *testing.B) {
			benchmarkRequests(b, v.door, v.batch, func(next spoor.Sink) (*inMemory, error) { return newInMemoryOf(false, next) })
		})
	}
}

// BenchmarkStageEnriched is the same with enrichment: decode to queue.
func BenchmarkStageEnriched(b *testing.B) {
	for _, v := range stageRequestKinds {
		b.Run(v.name, func(b *testing.B) { benchmarkRequests(b, v.door, v.batch, newInMemory) })
	}
}

var stageRequestKinds = []struct {
	name  string
	door  door
	batch int
}{{"native", doorHit, 1}, {"pixel", doorPixel, 1}, {"sdk", doorSDK, 1}, {"batch100", doorBatch, batchEvents}}

func benchmarkRequests(b *testing.B, d door, batch int, start func(spoor.Sink) (*inMemory, error)) {
	m, err := start(discard{})
	if err != nil {
		b.Fatal(err)
	}
	requests := stageRequests(d, batch)
	warm := len(requests)
	if err := m.send(requests, func() bool { warm--; return warm >= 0 }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	left := (b.N + batch - 1) / batch // b.N counts hits
	if err := m.send(requests, func() bool { left--; return left >= 0 }); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if err := m.stop(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStageEnrich is the enricher alone, with hits as they come from the
// decoder, one at a time and a hundred at a time.
func BenchmarkStageEnrich(b *testing.B) {
	hits := decodedHits(b)
	e, err := enrich.New(enrich.Options{Next: discard{}, Apps: newOneApp()})
	if err != nil {
		b.Fatal(err)
	}
	for _, batch := range []int{1, batchEvents} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			b.ReportAllocs()
			work := make([]spoor.Hit, batch)
			for done := 0; done < b.N; done += batch {
				for i := range work {
					work[i] = hits[(done+i)%len(hits)]
				}
				if err := e.Write(work); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStageWrite is the store: encoding, de-duplication, identity, roll-ups
// and Pebble, in a file system in memory, so that fsync is free. Writers
// come in parallel, as connections do, and the store makes groups of what waits.
func BenchmarkStageWrite(b *testing.B) {
	for _, batch := range []int{1, batchEvents} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			st, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), ReserveBytes: 1})
			if err != nil {
				b.Fatal(err)
			}
			app := newOneApp().app
			app.ID = 0
			if app, err = st.CreateApp(app); err != nil {
				b.Fatal(err)
			}
			hits := enrichedHits(b)
			for i := range hits {
				hits[i].App = app.ID
			}
			b.ReportAllocs()
			b.ResetTimer()
			writeStage(b, st, hits, batch)
			b.StopTimer()
			if err := st.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

const stageWriters = 64

// writeStage writes b.N hits, each with an id of its own, some visitors new and
// the others known.
func writeStage(b *testing.B, st *store.Store, hits []spoor.Hit, batch int) {
	var wait sync.WaitGroup
	each := (b.N + stageWriters - 1) / stageWriters
	for n := range stageWriters {
		wait.Go(func() {
			s := newStream(n, 1, 1, 0)
			work := make([]spoor.Hit, min(batch, each))
			for done := 0; done < each; done += len(work) {
				now := time.Now().UnixMilli()
				for i := range work {
					draw := s.next(MixModel)
					work[i] = hits[(done+i)*61%len(hits)]
					work[i].Received, work[i].Time = now, 0 // a hit before others of its visit costs more
					work[i].Key = string(appendKey(nil, draw.who, 1))
					work[i].UserID = ""
					if isKnown(draw.who.persona(1)) {
						work[i].UserID = userID(draw.who, 1)
					}
					work[i].ID = string(s.event(0).appendID(nil, work[i].Received, 1))
				}
				if err := st.Write(work); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// keep is a sink that remembers hits.
type keep struct{ hits []spoor.Hit }

func (k *keep) Write(hits []spoor.Hit) error {
	for _, h := range hits {
		h.Properties = slices.Clone(h.Properties)
		k.hits = append(k.hits, h)
	}
	return discard{}.Write(hits)
}

// decodedHits are hits of the model's mix as the decoder hands them on.
func decodedHits(b *testing.B) []spoor.Hit { return keptHits(b, false) }

// enrichedHits are such hits as the store gets them.
func enrichedHits(b *testing.B) []spoor.Hit { return keptHits(b, true) }

func keptHits(b *testing.B, enriched bool) []spoor.Hit {
	b.Helper()
	k := new(keep)
	m, err := newInMemoryOf(enriched, k)
	if err != nil {
		b.Fatal(err)
	}
	requests := stageRequests(doorHit, 1)
	left := len(requests)
	if err := m.send(requests, func() bool { left--; return left >= 0 }); err != nil {
		b.Fatal(err)
	}
	if err := m.stop(); err != nil {
		b.Fatal(err)
	}
	if len(k.hits) != len(requests) || !enriched && k.hits[0].IP == (netip.Addr{}) {
		b.Fatalf("%d of %d hits came through", len(k.hits), len(requests))
	}
	return k.hits
}
