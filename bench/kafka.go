package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// How fast are hits over Kafka? A collector beside the bare server, in turn; a
// store node that reads what waited; and how long a hit takes from the collector
// to a follower of the store node's feed.
const (
	kafkaRounds   = 5
	kafkaRatio    = 0.6
	kafkaConsumed = 60_000 // events a second, of the store node
	kafkaDelay    = 500 * time.Millisecond
	kafkaCatchUp  = 5 * time.Minute
)

// serveBrokers is three brokers in a process of their own. They write to a disk
// and do not wait for it, as brokers do by default.
func serveBrokers(dir string) error {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.DataDir(dir))
	if err != nil {
		return err
	}
	defer cluster.Close()
	fmt.Printf("collector=%s\n", strings.Join(cluster.ListenAddrs(), ","))
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	<-end
	return nil
}

func (b *bench) kafkaAndReport() error {
	m, err := describeMachine(b.work, b.self)
	if err != nil {
		return err
	}
	fmt.Print(m)
	c := &clusterShow{binary: b.binary, work: b.work, began: time.Now()}
	if err := c.makeApp(); err != nil {
		return err
	}
	brokers, err := startProcess(nil, b.self, commandBrokers, filepath.Join(b.work, "brokers"))
	if err != nil {
		return err
	}
	defer brokers.kill()
	store, err := startKafkaStore(b.binary, c.data(), brokers.collector)
	if err != nil {
		return err
	}
	defer store.kill()
	collector, err := startProcess(nil, b.binary, "collect", "--kafka", brokers.collector, "--data", filepath.Join(b.work, "collector"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--connections-max", fmt.Sprint(max(4096, 2*b.connections)), "--connections-per-address-max", fmt.Sprint(max(1024, 2*b.connections)))
	if err != nil {
		return err
	}
	defer collector.kill()
	bare, err := b.startPeer("the bare server", commandBare)
	if err != nil {
		return err
	}
	defer bare.kill()
	if err := store.signal(syscall.SIGSTOP); err != nil {
		return err
	}

	salt := rand.Uint64()
	t, book := newTraffic(salt, []string{demoKey}, doorHit, doorArray), newLedger(salt, b.connections)
	var streams []*stream
	for i := range b.connections {
		streams = append(streams, newStream(i, salt, 1, population/b.connections))
	}
	l := load{door: doorHit, mix: MixModel, batch: 1, connections: b.connections, duration: time.Duration(b.seconds) * time.Second / kafkaRounds}
	var ratios, rates []float64
	var acked int64
	for range kafkaRounds {
		l.address, l.discard = bare.address, true
		alone, err := l.run(t, streams, book)
		if err != nil {
			return err
		}
		l.address, l.discard = collector.collector, true // its replies say accepted, and the ledger is make demo-cluster's
		got, err := l.run(t, streams, book)
		if err == nil && (got.errors > 0 || got.refusedRequests > 0) {
			err = fmt.Errorf("%d requests refused, %d failed: %s", got.refusedRequests, got.errors, got.problem)
		}
		if err != nil {
			return err
		}
		acked += got.requests
		rates, ratios = append(rates, got.perRequest()), append(ratios, got.perRequest()/alone.perRequest())
	}
	row := func(what string, verdict bool, format string, args ...any) {
		word := "met"
		if !verdict {
			word = "**missed**"
		}
		fmt.Printf("| %s | %s | %s |\n", what, fmt.Sprintf(format, args...), word)
	}
	fmt.Printf("\n| | measured | |\n|---|---|---|\n")
	row("collector ÷ bare server, acks=all, aim 0.6", median(ratios) >= kafkaRatio, "%.2f (pairs %.2f), %s hits/s", median(ratios), ratios, thousands(int64(median(rates))))

	began, cpu := time.Now(), store.cpu()
	if err := store.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := store.caughtUp(acked); err != nil {
		return err
	}
	took := time.Since(began)
	rate := float64(acked) / took.Seconds()
	row("store node from Kafka, single hits that waited, aim 60,000/s", rate >= kafkaConsumed, "%s hits/s, %.0f µs of its CPU each (%s hits)",
		thousands(int64(rate)), float64((store.cpu()-cpu).Microseconds())/float64(acked), thousands(acked))

	if err := store.keepFeed(7); err != nil {
		return err
	}
	reads := follow(store)
	time.Sleep(settleIdle)
	reads.restart()
	l.pace, l.duration = min(median(rates), rate)/2, time.Duration(b.seconds)*time.Second
	if _, err := l.run(t, streams, book); err != nil {
		return err
	}
	time.Sleep(settleIdle)
	hits, p50, p99, err := reads.end()
	if err != nil {
		return err
	}
	row("from the collector to a follower of the feed at half load, aim 500 ms", p99 <= kafkaDelay && hits > 0, "p50 %v, p99 %v at %s hits/s", round(p50), round(p99), thousands(int64(l.pace)))
	return errors.Join(collector.stop(), store.stop())
}

// startKafkaStore starts a store node, which its control plane may open.
func startKafkaStore(binary, data, brokers string) (*server, error) {
	s := &server{data: data, token: "control-of-the-bench"}
	var err error
	s.process, err = startProcess([]string{"SPOOR_ADMIN_TOKEN=" + s.token}, binary, "store", "--kafka", brokers, "--data", data, "--admin", "127.0.0.1:0")
	return s, err
}

// caughtUp waits until so many hits have been decided about.
func (s *server) caughtUp(hits int64) error {
	until := time.Now().Add(kafkaCatchUp)
	for time.Now().Before(until) {
		done := 0.0
		for _, outcome := range []string{"stored", "duplicate"} {
			done += s.metric(`spoor_kafka_consumed_total{outcome="` + outcome + `"}`)
		}
		if int64(done) >= hits {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the store node has not read %d hits within %v", hits, kafkaCatchUp)
}

// keepFeed switches the feed of the demo app on, or off with 0 days.
func (s *server) keepFeed(days int) error {
	request, err := http.NewRequest("PATCH", "http://"+s.readSide+"/api/admin/apps/"+demoKey+"/", strings.NewReader(fmt.Sprintf(`{"settings":{"feed_days":%d}}`, days)))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Token "+s.token)
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("cannot set the feed: %w", err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot set the feed: the server answered %s", reply.Status)
	}
	return nil
}
