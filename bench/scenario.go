package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Lengths and numbers that scenarios have unless they say otherwise, and those of
// all of them.
const (
	population       = 200_000
	batchEvents      = 100
	batchConnections = 64 // more would only wait: 64 × 100 events are under way
	roundsOfRun      = 5
	settleIdle       = 2 * time.Second
	restMost         = 15 * time.Second
	settleAfter      = 3 * time.Second
	growthLasts      = 5 * time.Minute // from then on it is told whether memory grows
)

// outcomeRow is what a scenario came to.
type outcomeRow struct {
	scenario
	events, requests, refused, errors int64
	rate                              float64
	p50, p99                          time.Duration
	ratio                             float64 // median of the rounds; 0: not compared
	bareRate                          float64
	front                             float64       // ratio of the front alone, without a store
	toHits, toNginx, toOne, toOther   float64       // medians of the ratios to what is measured in turn; 0: not compared
	cpu                               time.Duration // of the server, over all its rounds
	cpuToBare                         float64       // median of the ratios of CPU per request
	client                            float64       // µs of CPU that the client took for a request to the bare server, median
	rssIdle, rssAfter, rssPeak        int64
	rssSlope                          float64 // bytes a minute, over the second half
	diskAll, diskTables, diskReported int64
	amplification                     float64 // bytes written to tables ÷ bytes flushed; 0: the server does not tell
	half                              *half
	audit                             *audit
	problem                           string
}

// bench is one run of this program.
type bench struct {
	options
	binary, self, work string
	bare, front, nginx *peer
	other              *peer // of -against
}

// course is a scenario under way.
type course struct {
	*bench
	scenario
	server  *server
	traffic *traffic
	streams []*stream
	one     []*stream // of the one app beside many
	book    *ledger
	row     *outcomeRow
}

// run measures one scenario from an empty data directory to the audit.
func (b *bench) run(s scenario) (row *outcomeRow, err error) {
	c := &course{bench: b, scenario: s, row: &outcomeRow{scenario: s}}
	data := filepath.Join(b.work, s.name)
	if err := c.start(data); err != nil {
		return nil, err
	}
	defer c.server.kill()
	row = c.row
	time.Sleep(settleIdle)
	row.rssIdle, _ = c.server.memory()
	c.makeStreams()
	if err := c.introduce(); err != nil {
		return nil, err
	}
	c.server.rest(restMost)
	measure := measures[s.Measure]
	if measure == nil {
		measure = (*course).rounds
	}
	if err := measure(c); err != nil {
		return nil, err
	}
	_, row.rssPeak = c.server.memory()
	time.Sleep(settleAfter)
	row.rssAfter, _ = c.server.memory()
	row.diskReported = int64(c.server.metric("spoor_disk_bytes"))
	if err := c.server.stop(); err != nil {
		return nil, err
	}
	if row.diskAll, _, err = diskUse(data); err != nil {
		return nil, fmt.Errorf("cannot measure the data directory: %w", err)
	}
	if row.audit, err = auditStore(data, c.server.names, c.book, b.long); err != nil {
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

// start starts the server with the apps of the scenario.
func (c *course) start(data string) (err error) {
	demo := c.Apps
	if c.Limit > 0 {
		demo = 0
	}
	if c.server, err = startSpoor(c.binary, data, demo, max(c.bench.connections, halfConnections)+idleConnections); err != nil {
		return err
	}
	if c.Limit > 0 {
		err = c.server.createApp("limited", map[string]string{"events_per_minute": strconv.Itoa(c.Limit)})
	}
	if err == nil && c.beside("one") {
		err = c.server.createApp("one-shop", map[string]string{"events_per_minute": "none"})
	}
	if err != nil {
		c.server.kill()
	}
	return err
}

func (c *course) makeStreams() {
	salt := rand.Uint64()
	doors := []door{c.Door, c.introduceDoor()}
	n, people := c.bench.connections, c.People
	if c.Measure == "half" {
		n = max(n, halfConnections)
	}
	if c.beside("hits") {
		doors = append(doors, doorHit)
	}
	c.traffic = newTraffic(salt, c.server.keys, doors...)
	all := n
	if c.beside("one") {
		all = 2 * n
	}
	for i := range all {
		s := newStream(i, salt, c.Apps, max(people/all, 1))
		if i >= n {
			s = newStream(i, salt, 1, max(people/all, 1))
			s.from = c.Apps
			c.one = append(c.one, s)
		} else {
			c.streams = append(c.streams, s)
		}
		s.times = c.Times
	}
	c.book = newLedger(salt, all)
}

// introduceDoor is how the population comes in: fast where it can be. An array
// is of one app.
func (s scenario) introduceDoor() door {
	switch {
	case s.Apps > 1:
		return doorHit
	case s.Measure == "half":
		return doorPerson
	}
	return doorArray
}

// introduce makes the population known to the store.
func (c *course) introduce() error {
	for _, streams := range [][]*stream{c.streams, c.one} {
		if len(streams) == 0 {
			continue
		}
		first := load{address: c.server.collector, door: c.introduceDoor(), batch: batchEvents, connections: min(c.bench.connections, batchConnections)}
		if first.door == doorHit {
			first.batch, first.connections = 1, c.bench.connections
		}
		got, err := first.run(c.traffic, streams, c.book)
		if err == nil && (got.errors > 0 || got.refusedRequests > 0) {
			err = fmt.Errorf("%d requests refused, %d failed: %s", got.refusedRequests, got.errors, got.problem)
		}
		if err != nil {
			return fmt.Errorf("cannot make the visitors known: %w", err)
		}
		if c.Measure == "size" {
			c.row.rate, c.row.events = got.perSecond(), got.events
			c.row.p50, c.row.p99 = got.percentile(50), got.percentile(99)
		}
	}
	return nil
}

// turns are the figures of the rounds, one of each round.
type turns struct {
	total                                       *result
	ratio, front, bare, hits, nginx, one, other []float64
	cpu, client                                 []float64
}

// rounds measures, in turn with the servers that the scenario is compared with.
func (c *course) rounds() error {
	l := load{
		address: c.server.collector, door: c.Door, mix: c.Visitors, batch: c.Batch, connections: c.bench.connections,
		duration: c.duration(),
	}
	if c.scenario.Connections > 0 {
		l.connections = min(c.scenario.Connections, c.bench.connections)
	}
	n := 1
	if c.beside("bare") || c.beside("one") || c.other != nil {
		n = roundsOfRun
		l.duration /= roundsOfRun
	}
	var memory *sampler
	if time.Duration(c.Lasts) >= growthLasts {
		memory = sample(c.server.process)
	}
	written := c.server.written()
	var t turns
	for range n {
		if err := c.round(l, &t); err != nil {
			return err
		}
	}
	row, total := c.row, t.total
	row.rssSlope = memory.slope()
	row.amplification = c.server.written().over(written)
	row.events, row.requests, row.refused, row.errors = total.events, total.requests, total.refusedRequests, total.errors
	row.rate, row.p50, row.p99, row.problem = total.perSecond(), total.percentile(50), total.percentile(99), total.problem
	row.ratio, row.front, row.bareRate = median(t.ratio), median(t.front), median(t.bare)
	row.toHits, row.toNginx, row.toOne, row.toOther = median(t.hits), median(t.nginx), median(t.one), median(t.other)
	row.cpuToBare, row.client = median(t.cpu), median(t.client)
	return nil
}

// round lets each server have its turn.
func (c *course) round(l load, t *turns) error {
	var bare, front, nginx, other beside
	var err error
	for _, turn := range []struct {
		peer *peer
		got  *beside
		when bool
	}{{c.bare, &bare, c.beside("bare")}, {c.front, &front, c.beside("bare") && c.Apps == 1}, {c.nginx, &nginx, c.beside("nginx")}, {c.other, &other, true}} {
		if turn.peer == nil || !turn.when {
			continue
		}
		if *turn.got, err = c.aside(turn.peer, l); err != nil {
			return err
		}
	}
	same := func(change func(*load), streams []*stream) (float64, error) {
		native := l
		change(&native)
		got, err := native.run(c.traffic, streams, c.book)
		if err != nil {
			return 0, err
		}
		return got.perSecond(), nil
	}
	var hits, one float64
	if c.beside("hits") {
		if hits, err = same(func(n *load) { n.door = doorHit }, c.streams); err != nil {
			return err
		}
	}
	if c.beside("one") {
		if one, err = same(func(*load) {}, c.one); err != nil {
			return err
		}
	}
	before := c.server.cpu()
	got, err := l.run(c.traffic, c.streams, c.book)
	if err != nil {
		return err
	}
	cpu := c.server.cpu() - before
	c.row.cpu += cpu
	note := func(to *[]float64, rate float64) {
		if rate > 0 {
			*to = append(*to, got.perSecond()/rate)
		}
	}
	note(&t.ratio, bare.rate)
	note(&t.hits, hits)
	note(&t.nginx, nginx.rate)
	note(&t.one, one)
	note(&t.other, other.rate)
	if bare.rate > 0 {
		t.bare, t.client = append(t.bare, bare.rate), append(t.client, bare.client)
		if front.rate > 0 {
			t.front = append(t.front, front.rate/bare.rate)
		}
		if bare.cpu > 0 {
			t.cpu = append(t.cpu, float64(cpu.Microseconds())/float64(max(got.requests, 1))/bare.cpu)
		}
	}
	t.total = t.total.plus(got)
	return nil
}

// beside is what another server did in a round.
type beside struct {
	rate        float64 // events per second
	cpu, client float64 // µs of CPU per request, of the server and of this program; cpu is 0 if it is not known
}

// aside sends the same requests to another server, while spoor stands still:
// neither then pays for what the other does in the background.
func (c *course) aside(other *peer, l load) (beside, error) {
	if err := c.server.pause(); err != nil {
		return beside{}, fmt.Errorf("cannot pause the server: %w", err)
	}
	t := c.traffic
	if other.url != nil {
		t = newTrafficAt(other.url, t.salt, t.writeKeys, l.door)
	}
	l.address, l.discard = other.address, true
	cpu, client := other.cpu(), ownCPU()
	got, err := l.run(t, c.streams, c.book)
	cpu, client = other.cpu()-cpu, ownCPU()-client
	if resumed := c.server.resume(); err == nil && resumed != nil {
		err = fmt.Errorf("cannot resume the server: %w", resumed)
	}
	if err != nil {
		return beside{}, err
	}
	if got.errors > 0 || got.requests == 0 {
		return beside{}, fmt.Errorf("%s failed: %d errors, %d refused: %s", other.name, got.errors, got.refusedRequests, got.problem)
	}
	n := float64(got.requests)
	return beside{rate: got.perSecond(), cpu: float64(cpu.Microseconds()) / n, client: float64(client.Microseconds()) / n}, nil
}

// duration is how long a scenario sends; all rounds together.
func (c *course) duration() time.Duration {
	flagged := time.Duration(c.seconds) * time.Second
	if c.Lasts > 0 && c.seconds >= secondsDefault { // fewer: somebody tries the mechanism
		return time.Duration(c.Lasts)
	}
	return flagged
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
