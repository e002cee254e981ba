package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// scenario is one kind of traffic against a server of its own.
type scenario struct {
	name, title string
	apps        int
	door        door
	mix         Mix
	batch       int     // events per request
	connections int     // 0: as the flag says
	compare     bool    // in turn with the bare server
	target      float64 // of the ratio to it; 0: none
	ofHits      float64 // target of the ratio to native hits, measured in turn as well; 0: none
	rateTarget  float64 // events per second
}

const (
	population       = 200_000 // visitors whom the store knows before the clock starts
	batchEvents      = 100
	batchConnections = 64 // more would only wait: 64 × 100 events are under way
	ratioTarget      = 0.45
	ofHitsTarget     = 0.5
	batchTarget      = 30_000
	rssTarget        = 512 << 20
	rssIdleTarget    = 64 << 20
	roundsOfRun      = 5
	settleIdle       = 2 * time.Second
	settleAfter      = 10 * time.Second
)

var scenarios = []scenario{
	{name: "new", title: "JSON hits, all visitors new", apps: 1, door: doorHit, mix: MixNew, batch: 1, compare: true, target: ratioTarget},
	{name: "returning", title: "JSON hits, all visitors known", apps: 1, door: doorHit, mix: MixReturning, batch: 1, compare: true, target: ratioTarget},
	{name: "model", title: "JSON hits, the model's mix", apps: 1, door: doorHit, batch: 1, compare: true, target: ratioTarget},
	{name: "apps", title: "JSON hits, 1,000 apps with limits", apps: 1000, door: doorHit, batch: 1, compare: true, target: ratioTarget},
	{name: "pixel", title: "pixels", apps: 1, door: doorPixel, batch: 1, compare: true, ofHits: ofHitsTarget},
	{name: "ping", title: "SDK pings", apps: 1, door: doorPing, batch: 1, compare: true, ofHits: ofHitsTarget},
	{name: "sdk", title: "SDK events", apps: 1, door: doorSDK, batch: 1, compare: true, ofHits: ofHitsTarget},
	{name: "batch", title: "Segment batches of 100", apps: 1, door: doorBatch, batch: batchEvents, connections: batchConnections, rateTarget: batchTarget},
}

// growth is the traffic of -long's last part: does memory go on growing?
var growth = scenario{name: "growth", title: "JSON hits, the model's mix, 5 minutes", apps: 1, door: doorHit, batch: 1}

// outcomeRow is what a scenario came to.
type outcomeRow struct {
	scenario
	events, requests, refused, errors int64
	rate                              float64
	p50, p99                          time.Duration
	ratio                             float64 // median of the rounds; 0: not compared
	bareRate                          float64
	front                             float64       // ratio of the front alone, without a store
	toHits                            float64       // median of the ratios to native hits; 0: not compared
	cpu                               time.Duration // of the server, over all its rounds
	rssIdle, rssAfter, rssPeak        int64
	rssSlope                          float64 // bytes a minute, over the second half
	diskAll, diskTables, diskReported int64
	audit                             *audit
	problem                           string
}

// bench is one run of this program.
type bench struct {
	options
	binary, self, work string
	bare, front        *process
}

// run measures one scenario from an empty data directory to the audit.
func (b *bench) run(s scenario) (row *outcomeRow, err error) {
	data := filepath.Join(b.work, s.name)
	server, err := startSpoor(b.binary, data, s.apps, b.connections)
	if err != nil {
		return nil, err
	}
	defer server.kill()
	row = &outcomeRow{scenario: s}
	time.Sleep(settleIdle)
	row.rssIdle, _ = server.memory()

	salt := rand.Uint64()
	t := newTraffic(salt, server.keys, s.door, s.introduceDoor(), doorHit)
	streams := make([]*stream, b.connections)
	for i := range streams {
		streams[i] = newStream(i, salt, s.apps, population/b.connections)
	}
	book := newLedger(salt, len(streams))
	if err := b.introduce(s, server, t, streams, book); err != nil {
		return nil, err
	}
	if err := b.rounds(s, server, row, t, streams, book); err != nil {
		return nil, err
	}
	_, row.rssPeak = server.memory()
	time.Sleep(settleAfter)
	row.rssAfter, _ = server.memory()
	row.diskReported = int64(server.metric("spoor_disk_bytes"))
	if err := server.stop(); err != nil {
		return nil, err
	}
	if row.diskAll, _, err = diskUse(data); err != nil {
		return nil, fmt.Errorf("cannot measure the data directory: %w", err)
	}
	if row.audit, err = auditStore(data, server.names, book); err != nil {
		return nil, err
	}
	if err := settle(data); err != nil {
		return nil, err
	}
	if _, row.diskTables, err = diskUse(data); err != nil {
		return nil, fmt.Errorf("cannot measure the data directory: %w", err)
	}
	return row, os.RemoveAll(data)
}

// introduceDoor is how the population comes in: fast where it can be. An array
// is of one app.
func (s scenario) introduceDoor() door {
	if s.apps > 1 {
		return doorHit
	}
	return doorArray
}

// introduce makes the population known to the store.
func (b *bench) introduce(s scenario, server *server, t *traffic, streams []*stream, book *ledger) error {
	first := load{address: server.collector, door: s.introduceDoor(), batch: batchEvents, connections: min(b.connections, batchConnections)}
	if first.door == doorHit {
		first.batch, first.connections = 1, b.connections
	}
	got, err := first.run(t, streams, book)
	if err == nil && (got.errors > 0 || got.refusedRequests > 0) {
		err = fmt.Errorf("%d requests refused, %d failed: %s", got.refusedRequests, got.errors, got.problem)
	}
	if err != nil {
		return fmt.Errorf("cannot make the visitors known: %w", err)
	}
	return nil
}

// rounds measures, in turn with the bare server if the scenario wants that.
func (b *bench) rounds(s scenario, server *server, row *outcomeRow, t *traffic, streams []*stream, book *ledger) error {
	l := load{
		address: server.collector, door: s.door, mix: s.mix, batch: s.batch, connections: b.connections,
		duration: b.duration(s),
	}
	if s.connections > 0 {
		l.connections = min(s.connections, b.connections)
	}
	n := 1
	if s.compare {
		n = roundsOfRun
		l.duration /= roundsOfRun
	}
	var total *result
	var ratios, fronts, bares, toHits []float64
	var memory *sampler
	if s.name == growth.name {
		memory = sample(server.process)
	}
	for range n {
		bareRate := 0.0
		if s.compare {
			var err error
			if bareRate, err = b.aside(b.bare, l, server, t, streams, book); err != nil {
				return err
			}
			if s.apps == 1 {
				front, err := b.aside(b.front, l, server, t, streams, book)
				if err != nil {
					return err
				}
				fronts = append(fronts, front/bareRate)
			}
		}
		hits := 0.0
		if s.ofHits > 0 {
			native := l
			native.door = doorHit
			got, err := native.run(t, streams, book)
			if err != nil {
				return err
			}
			hits = got.perSecond()
		}
		before := server.cpu()
		got, err := l.run(t, streams, book)
		if err != nil {
			return err
		}
		row.cpu += server.cpu() - before
		if s.compare {
			ratios, bares = append(ratios, got.perSecond()/bareRate), append(bares, bareRate)
		}
		if s.ofHits > 0 {
			toHits = append(toHits, got.perSecond()/hits)
		}
		total = total.plus(got)
	}
	row.toHits = median(toHits)
	row.rssSlope = memory.slope()
	row.events, row.requests, row.refused, row.errors = total.events, total.requests, total.refusedRequests, total.errors
	row.rate, row.p50, row.p99, row.problem = total.perSecond(), total.percentile(50), total.percentile(99), total.problem
	row.ratio, row.front, row.bareRate = median(ratios), median(fronts), median(bares)
	return nil
}

// aside sends the same requests to another server, while spoor stands still:
// neither then pays for what the other does in the background.
func (b *bench) aside(other *process, l load, server *server, t *traffic, streams []*stream, book *ledger) (float64, error) {
	if err := server.pause(); err != nil {
		return 0, fmt.Errorf("cannot pause the server: %w", err)
	}
	l.address, l.discard = other.collector, true
	got, err := l.run(t, streams, book)
	if resumed := server.resume(); err == nil && resumed != nil {
		err = fmt.Errorf("cannot resume the server: %w", resumed)
	}
	if err != nil {
		return 0, err
	}
	if got.errors > 0 || got.requests == 0 {
		return 0, fmt.Errorf("the server to compare with failed: %s", got.problem)
	}
	return got.perSecond(), nil
}

// duration is how long a scenario sends; all rounds together.
func (b *bench) duration(s scenario) time.Duration {
	switch {
	case s.name == growth.name:
		return 5 * time.Minute
	case b.long && s.door == doorBatch:
		return time.Minute
	}
	return time.Duration(b.seconds) * time.Second
}

// plus adds the figures of another round.
func (r *result) plus(o *result) *result {
	if r == nil {
		return o
	}
	r.requests += o.requests
	r.events += o.events
	r.refusedRequests += o.refusedRequests
	r.errors += o.errors
	r.seconds += o.seconds
	r.latency.Merge(o.latency)
	if r.problem == "" {
		r.problem = o.problem
	}
	return r
}

// median is the middle of the values; 0 if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
