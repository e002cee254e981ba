package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Benchmarks have their brokers in another process, so that what they count is
// the client alone.
const brokerOnly = "SPOOR_BENCH_BROKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(brokerOnly); dir != "" {
		c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.DataDir(dir))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(strings.Join(c.ListenAddrs(), ","))
		io.Copy(io.Discard, os.Stdin) // until the benchmark ends
		c.Close()
		return
	}
	os.Exit(m.Run())
}

func brokerProcess(b *testing.B) []string {
	if addresses := os.Getenv("SPOOR_TEST_KAFKA"); addresses != "" {
		return strings.Split(addresses, ",")
	}
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), brokerOnly+"="+b.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(line), ",")
}

// benchHit is a page view as enrich hands it on, of about 500 bytes.
func benchHit(n int) spoor.Hit {
	return spoor.Hit{
		App: spoor.AppID(1 + n%8), Kind: spoor.KindPage, Door: spoor.DoorWidget, ID: fmt.Sprintf("01K%022d", n*7919), Key: fmt.Sprintf("k%011d", n%5000*104729),
		Name: "/products/shoes", URL: fmt.Sprintf("https://shop.example.com/products/shoes/%d?utm_source=newsletter", n%700), Referrer: "https://www.google.com/",
		Title: "Running shoes, all sizes, free delivery", Time: 1_764_000_000_000 + int64(n), Received: 1_764_000_000_100 + int64(n),
		Resolution: "1440x900", Language: "pl-PL", TimeZone: "Europe/Warsaw", Properties: []byte(`{"price":129.9,"currency":"PLN","in_stock":true}`),
		IP: netip.AddrFrom4([4]byte{198, 51, byte(n), 0}), UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
		Place: spoor.Place{City: "Warsaw", Region: "Mazovia", Country: "PL"}, Agent: spoor.Agent{OS: "Windows", OSVersion: "11", Browser: "Chrome", BrowserVersion: "131", Device: "desktop"},
		Campaign: spoor.Campaign{Channel: "mail", Source: "newsletter"},
	}
}

func BenchmarkEncode(b *testing.B) {
	h := benchHit(1)
	dst := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		dst = appendHit(appendRecord(dst[:0], 1), &h)
	}
	b.ReportMetric(float64(len(dst)), "B/hit")
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("hits=%d", n), func(b *testing.B) {
			hits := make([]spoor.Hit, n)
			for i := range hits {
				hits[i] = benchHit(i)
			}
			value := recordOf(hits...)
			into := make([]spoor.Hit, 0, n)
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if into, err = readRecord(value, into[:0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/hit")
		})
	}
}

// clients are the libraries that are compared, both behind our own batches.
var clients = []struct {
	name string
	make func(o Options) (brokers, error)
}{
	{"kafka-go", func(o Options) (brokers, error) {
		return newSegmentio(o.Brokers, []string{o.Topic, o.apps()}, nil, nil), nil
	}},
	{"franz-go", newFranz},
}

func benchTopic(b *testing.B, addresses []string, name string, make func(Options) (brokers, error)) *Topic {
	o := Options{Brokers: addresses, Topic: fmt.Sprintf("bench-%s-%d", name, time.Now().UnixNano()), Partitions: 4, Log: slog.New(slog.DiscardHandler)}
	t, err := Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { t.Close() })
	swapped, err := make(t.opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(swapped.close)
	return &Topic{opts: t.opts, partitions: t.partitions, brokers: swapped}
}

// used is the CPU time and memory that this process has taken.
type used struct {
	cpu    time.Duration
	allocs uint64
	bytes  uint64
}

func usedNow() used {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return used{time.Duration(u.Utime.Nano() + u.Stime.Nano()), m.Mallocs, m.TotalAlloc}
}

func (before used) report(b *testing.B, hits int) {
	now := usedNow()
	n := float64(hits)
	b.ReportMetric(n/b.Elapsed().Seconds(), "hits/s")
	b.ReportMetric(float64(now.cpu-before.cpu)/1e3/n, "cpu-µs/hit")
	b.ReportMetric(float64(now.allocs-before.allocs)/n, "allocs/hit")
	b.ReportMetric(float64(now.bytes-before.bytes)/n, "B/hit")
}

// BenchmarkProduce writes with acks=all over four partitions: single hits from
// 512 senders at a time, as a collector does, and batches of 100.
func BenchmarkProduce(b *testing.B) {
	addresses := brokerProcess(b)
	for _, load := range []struct{ size, senders int }{{1, 512}, {100, 16}} {
		for _, client := range clients {
			b.Run(fmt.Sprintf("hits=%d/%s", load.size, client.name), func(b *testing.B) {
				t := benchTopic(b, addresses, client.name, client.make)
				s := t.Sink()
				defer s.Close()
				var next atomic.Int64
				var senders sync.WaitGroup
				b.ResetTimer()
				before := usedNow()
				for n := range load.senders {
					senders.Go(func() {
						made := make([]spoor.Hit, load.size)
						hits := make([]spoor.Hit, load.size)
						for i := range made {
							made[i] = benchHit(n*load.size + i)
							made[i].App = spoor.AppID(1 + n%8)
						}
						for next.Add(1) <= int64(b.N) {
							copy(hits, made)
							err := s.Write(hits)
							for errors.Is(err, spoor.ErrBusy) {
								err = s.Write(hits)
							}
							if err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				senders.Wait()
				before.report(b, b.N*load.size)
				b.ReportMetric(float64(s.Figures().Records)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(s.Figures().Records)/float64(s.Figures().Requests), "records/request")
			})
		}
	}
}

// BenchmarkConsume reads and decodes four partitions at a time, from their
// beginnings: records of one hit, and of 100.
func BenchmarkConsume(b *testing.B) {
	addresses := brokerProcess(b)
	for _, size := range []int{1, 100} {
		filled := benchTopic(b, addresses, "filled", clients[0].make)
		total := 100_000
		fillTopic(b, filled, total, size)
		for _, client := range clients {
			b.Run(fmt.Sprintf("hits=%d/%s", size, client.name), func(b *testing.B) {
				other, err := client.make(filled.opts)
				if err != nil {
					b.Fatal(err)
				}
				defer other.close()
				t := &Topic{opts: filled.opts, partitions: filled.partitions, brokers: other}
				before := usedNow()
				for b.Loop() {
					if got := consumeAll(b, t); got != total {
						b.Fatalf("%d hits came of %d", got, total)
					}
				}
				before.report(b, b.N*total)
			})
		}
	}
}

func fillTopic(b *testing.B, t *Topic, total, size int) {
	s := t.Sink()
	defer s.Close()
	var senders sync.WaitGroup
	for n := range 64 {
		senders.Go(func() {
			for i := n * size; i < total; i += 64 * size {
				hits := make([]spoor.Hit, min(size, total-i))
				for j := range hits {
					hits[j] = benchHit(i + j)
					hits[j].App = spoor.AppID(1 + n%8)
				}
				for errors.Is(s.Write(hits), spoor.ErrBusy) {
				}
			}
		})
	}
	senders.Wait()
}

func consumeAll(b *testing.B, t *Topic) int {
	var all sync.WaitGroup
	var got atomic.Int64
	for p := range t.Partitions() {
		all.Go(func() {
			_, end, err := t.End(b.Context(), p)
			if err != nil {
				b.Error(err)
				return
			}
			err = t.Consume(b.Context(), p, 0, func(batch *Batch) error {
				got.Add(int64(len(batch.Hits)))
				if batch.Next >= end {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) {
				b.Error(err)
			}
		})
	}
	all.Wait()
	return int(got.Load())
}

// franz is franz-go behind the same interface. It exists for the comparison.
type franz struct {
	opts    Options
	writer  *kgo.Client
	mu      sync.Mutex
	readers map[int]*franzReader
}

type franzReader struct {
	client *kgo.Client
	next   int64
}

func newFranz(o Options) (brokers, error) {
	w, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(int32(o.RecordBytesMax+frameBytes)), kgo.MaxBufferedRecords(100_000))
	return &franz{opts: o, writer: w, readers: map[int]*franzReader{}}, err
}

func (f *franz) produce(ctx context.Context, topic string, partition int, records []record) (int64, error) {
	batch := make([]*kgo.Record, len(records))
	for i, r := range records {
		batch[i] = &kgo.Record{Topic: topic, Partition: int32(partition), Key: r.key, Value: r.value}
	}
	first, err := f.writer.ProduceSync(ctx, batch...).First()
	if err != nil {
		return 0, err
	}
	return first.Offset, nil
}

func (f *franz) fetch(ctx context.Context, topic string, partition int, from int64, each func(offset int64, key, value []byte)) (int64, error) {
	f.mu.Lock()
	r := f.readers[partition]
	if r == nil || r.next != from {
		if r != nil {
			r.client.Close()
		}
		c, err := kgo.NewClient(kgo.SeedBrokers(f.opts.Brokers...), kgo.FetchMaxPartitionBytes(fetchBytesMax), kgo.FetchMaxWait(fetchWait), kgo.DisableFetchSessions(),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {int32(partition): kgo.NewOffset().At(from)}}))
		if err != nil {
			f.mu.Unlock()
			return from, err
		}
		r = &franzReader{client: c}
		f.readers[partition] = r
	}
	f.mu.Unlock()
	fetches := r.client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return from, err
	}
	fetches.EachRecord(func(rec *kgo.Record) {
		each(rec.Offset, rec.Key, rec.Value)
		from = rec.Offset + 1
	})
	r.next = from
	return from, nil
}

func (f *franz) offsets(ctx context.Context, topic string, partition int) (first, next int64, err error) {
	s := newSegmentio(f.opts.Brokers, []string{topic}, nil, nil)
	defer s.close()
	return s.offsets(ctx, topic, partition)
}

func (f *franz) describe(context.Context, string) (*layout, error) { return nil, kerr.InvalidRequest }
func (f *franz) create(context.Context, string, *layout) error     { return kerr.InvalidRequest }
func (f *franz) refresh()                                          { f.writer.ForceMetadataRefresh() }
func (f *franz) close() {
	f.writer.Close()
	for _, r := range f.readers {
		r.client.Close()
	}
}
