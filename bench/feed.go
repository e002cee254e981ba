package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What does a feed cost, and how far behind is who follows it? Three servers
// take the same traffic in turn: one without a feed, one with it, and one whose
// feed is followed.
const (
	feedPairs  = 5
	feedTarget = 0.10 // of the rate, at most
	feedDelay  = time.Second
)

func (b *bench) feedAndReport() error {
	m, err := describeMachine(b.work, b.self)
	if err != nil {
		return err
	}
	fmt.Print(m)
	salt := rand.Uint64()
	t := newTraffic(salt, []string{demoKey}, doorHit, doorArray)
	var sides [3]*side // without a feed, with one, followed
	var last *server
	for i, days := range []int{0, 7, 7} {
		s, server, err := b.feedSide(t, salt, i, days)
		if s != nil {
			defer s.kill()
		}
		if err != nil {
			return err
		}
		sides[i], last = s, server
	}
	reads := follow(last)
	var with, followed []float64
	for pair := range feedPairs {
		for k := range sides {
			if err := b.rollUpTurn(t, sides[(pair+k)%len(sides)], MixModel); err != nil {
				return err
			}
		}
		with = append(with, sides[1].rate[pair]/sides[0].rate[pair])
		followed = append(followed, sides[2].rate[pair]/sides[0].rate[pair])
	}
	fmt.Printf("\n| | hits/s | CPU µs a hit | ÷ without | pairs |\n|---|---|---|---|---|\n")
	fmt.Printf("| without a feed | %s | %.0f | | |\n", thousands(int64(median(sides[0].rate))), median(sides[0].cpu))
	fmt.Printf("| with a feed | %s | %.0f | %.2f | %.2f |\n", thousands(int64(median(sides[1].rate))), median(sides[1].cpu), median(with), with)
	fmt.Printf("| with a feed that is followed | %s | %.0f | %.2f | %.2f |\n", thousands(int64(median(sides[2].rate))), median(sides[2].cpu), median(followed), followed)
	fmt.Printf("\nThe feed takes %.0f %% of the rate (aim: at most %.0f %%).\n", 100*(1-median(with)), 100*feedTarget)
	return b.feedDelay(t, sides[2], reads)
}

func (b *bench) feedSide(t *traffic, salt uint64, n, days int) (*side, *server, error) {
	fmt.Fprintf(os.Stderr, "starting server %d …\n", n+1)
	server, err := startSpoor(b.binary, filepath.Join(b.work, fmt.Sprint("feed", n)), 1, b.connections)
	if err != nil {
		return nil, nil, err
	}
	s := &side{process: server.process, book: newLedger(salt, b.connections)}
	if err := server.keepFeed(days); err != nil {
		return s, nil, err
	}
	for i := range b.connections {
		s.streams = append(s.streams, newStream(i, salt, 1, population/b.connections))
	}
	first := load{address: server.collector, door: doorArray, batch: batchEvents, connections: min(b.connections, batchConnections)}
	if _, err := first.run(t, s.streams, s.book); err != nil {
		return s, nil, err
	}
	return s, server, server.signal(syscall.SIGSTOP)
}

// feedDelay sends half of what the server takes, and tells how long after the
// receipt of a hit who follows has its line.
func (b *bench) feedDelay(t *traffic, s *side, reads *following) error {
	if err := s.signal(syscall.SIGCONT); err != nil {
		return err
	}
	time.Sleep(settleAfter) // what was behind is read
	reads.restart()
	got, err := load{
		address: s.collector, door: doorHit, mix: MixModel, batch: 1, connections: b.connections, duration: time.Duration(b.seconds) * time.Second, pace: median(s.rate) / 2,
	}.run(t, s.streams, s.book)
	if err != nil {
		return err
	}
	time.Sleep(settleIdle)
	hits, p50, p99, err := reads.end()
	if err != nil {
		return err
	}
	verdict := "met"
	if p99 > feedDelay {
		verdict = "**missed**"
	}
	fmt.Printf("At half load %s hits were acknowledged, repeats of clients included, and %s read from the feed; from the receipt of a hit to its line p50 %v, p99 %v (aim: %v, from the commit): %s.\n",
		thousands(got.events), thousands(hits), round(p50), round(p99), feedDelay, verdict)
	return s.stop()
}

// following reads a feed's stream.
type following struct {
	mu    sync.Mutex
	took  *hdrhistogram.Histogram // µs
	hits  int64
	err   error
	stop  context.CancelFunc
	ended chan struct{}
}

func follow(s *server) *following {
	ctx, stop := context.WithCancel(context.Background())
	f := &following{took: hdrhistogram.New(1, latencyMax, latencyDigits+1), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		if err := f.read(ctx, s); err != nil && ctx.Err() == nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.err = fmt.Errorf("cannot follow the feed: %w", err)
		}
	}()
	return f
}

func (f *following) read(ctx context.Context, s *server) error {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.readSide+"/api/feed/?stream=true&after=now", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Token "+demoKey)
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return errors.New(reply.Status)
	}
	lines := bufio.NewScanner(reply.Body)
	lines.Buffer(nil, 1<<20)
	mark := []byte(`"received":"`)
	for lines.Scan() {
		_, rest, found := bytes.Cut(lines.Bytes(), mark)
		if !found {
			continue
		}
		text, _, _ := bytes.Cut(rest, []byte(`"`))
		at, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.hits++
		_ = f.took.RecordValue(min(max(time.Since(at).Microseconds(), 1), latencyMax))
		f.mu.Unlock()
	}
	return lines.Err()
}

func (f *following) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.took.Reset()
	f.hits = 0
}

func (f *following) end() (hits int64, p50, p99 time.Duration, err error) {
	f.stop()
	<-f.ended
	f.mu.Lock()
	defer f.mu.Unlock()
	at := func(p float64) time.Duration { return time.Duration(f.took.ValueAtPercentile(p)) * time.Microsecond }
	return f.hits, at(50), at(99), f.err
}
