package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/spoorhq/spoor"
	"github.com/twmb/franz-go/pkg/kfake"
)

// cluster is what a test runs against: brokers in this process that speak the
// real protocol and keep their log on disk, or those of SPOOR_TEST_KAFKA.
type cluster struct {
	addresses []string
	fake      *kfake.Cluster // nil: brokers by address
	dir       string
	ports     []int
	opts      []kfake.Opt
}

// anyCluster is for tests that need nothing but brokers.
func anyCluster(t *testing.T) *cluster {
	if addresses := os.Getenv("SPOOR_TEST_KAFKA"); addresses != "" {
		return &cluster{addresses: strings.Split(addresses, ",")}
	}
	return fakeCluster(t)
}

// fakeCluster is for tests that hurt their brokers.
func fakeCluster(t *testing.T, opts ...kfake.Opt) *cluster {
	c := &cluster{dir: t.TempDir(), opts: opts}
	c.start(t)
	for _, a := range c.addresses {
		_, port, err := net.SplitHostPort(a)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		c.ports = append(c.ports, n)
	}
	t.Cleanup(func() { c.fake.Close() })
	return c
}

// start begins, or goes on from the directory at the same addresses.
func (c *cluster) start(t *testing.T) {
	t.Helper()
	opts := append([]kfake.Opt{kfake.NumBrokers(3), kfake.DataDir(c.dir), kfake.SyncWrites()}, c.opts...)
	if c.ports != nil {
		opts = append(opts, kfake.Ports(c.ports...))
	}
	fake, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	c.fake, c.addresses = fake, fake.ListenAddrs()
}

// options are those of a topic of the test's own.
func (c *cluster) options(t *testing.T) Options {
	return Options{Brokers: c.addresses, Topic: "spoor-test-" + strings.ToLower(rand.Text()[:10]), Partitions: 4, CommandKey: testKey, Log: slog.New(slog.NewTextHandler(testLog{t}, nil))}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func openTopic(t *testing.T, o Options) *Topic {
	t.Helper()
	topic, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("SPOOR_TEST_KAFKA") != "" {
			_, err := topic.brokers.(*segmentio).client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{o.Topic, o.apps(), o.salts(), o.nodes()}})
			if err != nil {
				t.Log(err)
			}
		}
		topic.Close()
	})
	return topic
}

func openSink(t *testing.T, topic *Topic) *Sink {
	s := topic.Sink()
	t.Cleanup(func() { s.Close() })
	return s
}

// ledger is what was acknowledged, and what arrived of it.
type ledger struct {
	mu   sync.Mutex
	sent map[string]bool // by id, once Write has returned nil
	came map[string]int
}

func newLedger() *ledger { return &ledger{sent: map[string]bool{}, came: map[string]int{}} }

const ledgerApps = 6 // over 4 partitions

// load sends hits from several writers at a time until stop says so, and sends
// again what is refused as busy, as the senders of a collector do.
func (l *ledger) load(t *testing.T, s *Sink, writers int, stop func(sent int) bool) *sync.WaitGroup {
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			for i := 0; !stop(i); i++ {
				hits := make([]spoor.Hit, 1+(n+i)%5)
				for j := range hits {
					hits[j] = spoor.Hit{App: spoor.AppID(1 + (n+i)%ledgerApps), Kind: spoor.KindPage, ID: fmt.Sprintf("%d-%d-%d", n, i, j), Key: "k", Received: int64(i), Time: int64(i)}
				}
				err := s.Write(hits)
				for ; errors.Is(err, spoor.ErrBusy); err = s.Write(hits) {
					time.Sleep(5 * time.Millisecond) // as Retry-After asks for
				}
				if err != nil {
					t.Errorf("Write: %v", err)
					return
				}
				l.mu.Lock()
				for j := range hits {
					if hits[j].Outcome != spoor.Accepted {
						t.Errorf("a hit is %v (%s)", hits[j].Outcome, hits[j].Reason)
					}
					l.sent[hits[j].ID] = true
				}
				l.mu.Unlock()
			}
		})
	}
	return &all
}

func upTo(n int) func(int) bool { return func(sent int) bool { return sent >= n } }

func until(done <-chan struct{}) func(int) bool {
	return func(int) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// reader keeps offsets and hits together, as a store does.
type reader struct {
	t      *Topic
	next   []int64
	ledger *ledger
	hits   []spoor.Hit
	bad    []Poisoned
	lost   int64
}

func newReader(t *Topic, l *ledger) *reader {
	r := &reader{t: t, ledger: l, next: make([]int64, t.Partitions())}
	for i := range r.next {
		r.next[i] = -1
	}
	return r
}

var errEnough = errors.New("enough")

// drain reads every partition from where it stands to its end.
func (r *reader) drain(t *testing.T) {
	t.Helper()
	for p := range r.next {
		r.drainPartition(t, p)
	}
}

func (r *reader) drainPartition(t *testing.T, p int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, end, err := r.t.End(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if r.next[p] >= end || end == 0 {
		return
	}
	err = r.t.Consume(ctx, p, r.next[p], func(b *Batch) error {
		if b.Next <= r.next[p] || b.Partition != p {
			t.Errorf("partition %d stands at %d and was given a batch of %d up to %d", p, r.next[p], b.Partition, b.Next)
		}
		r.keep(b)
		if r.next[p] >= end {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("partition %d, %d of %d: %v", p, r.next[p], end, err)
	}
}

func (r *reader) keep(b *Batch) {
	r.next[b.Partition] = b.Next
	r.hits = append(r.hits, b.Hits...)
	r.bad = append(r.bad, b.Poisoned...)
	r.lost += b.Missing
	for i := range b.Hits {
		r.ledger.came[b.Hits[i].ID]++
	}
}

// check compares what came with what was acknowledged; nothing may be missing.
// It returns how many hits came more than once.
func (l *ledger) check(t *testing.T) (doubled int) {
	t.Helper()
	for id := range l.sent {
		if l.came[id] == 0 {
			t.Errorf("hit %s was acknowledged and is lost", id)
		}
	}
	for id, n := range l.came {
		if !l.sent[id] {
			t.Errorf("hit %s came and was not sent", id)
		}
		if n > 1 {
			doubled++
		}
	}
	t.Logf("%d hits acknowledged, %d distinct came, %d more than once", len(l.sent), len(l.came), doubled)
	return doubled
}

// poll waits for something that must become true.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}
