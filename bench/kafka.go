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

// kafkaRun is the processes and the traffic of one measurement.
type kafkaRun struct {
	*bench
	brokers, collector *process
	store              *server
	bare               *peer

	traffic *traffic
	streams []*stream
	book    *ledger
}

func (b *bench) kafkaAndReport() error {
	m, err := describeMachine(b.work, b.self)
	if err != nil {
		return err
	}
	fmt.Print(m)
	r := &kafkaRun{bench: b}
	defer r.kill()
	if err := r.start(); err != nil {
		return err
	}
	fmt.Printf("\n| | measured | |\n|---|---|---|\n")
	taken, acked, err := r.collect()
	if err != nil {
		return err
	}
	consumed, err := r.consume(acked)
	if err != nil {
		return err
	}
	if err := r.delay(min(taken, consumed) / 2); err != nil {
		return err
	}
	return errors.Join(r.collector.stop(), r.store.stop())
}

// start starts all, and stops the store node where it stands.
func (r *kafkaRun) start() (err error) {
	app := &clusterShow{binary: r.binary, work: r.work}
	if err := app.makeApp(); err != nil {
		return err
	}
	if r.brokers, err = startProcess(nil, r.self, commandBrokers, filepath.Join(r.work, "brokers")); err != nil {
		return err
	}
	if r.store, err = startKafkaStore(r.binary, app.data(0), r.brokers.collector); err != nil {
		return err
	}
	r.collector, err = startProcess(nil, r.binary, "collect", "--kafka", r.brokers.collector, "--data", filepath.Join(r.work, "collector"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--connections-max", fmt.Sprint(max(4096, 2*r.connections)), "--connections-per-address-max", fmt.Sprint(max(1024, 2*r.connections)))
	if err != nil {
		return err
	}
	if r.bare, err = r.startPeer("the bare server", commandBare); err != nil {
		return err
	}
	salt := rand.Uint64()
	r.traffic, r.book = newTraffic(salt, []string{demoKey}, doorHit, doorArray), newLedger(salt, r.connections)
	for i := range r.connections {
		r.streams = append(r.streams, newStream(i, salt, 1, population/r.connections))
	}
	return r.store.signal(syscall.SIGSTOP)
}

func (r *kafkaRun) kill() {
	for _, p := range []*process{r.collector, r.brokers} {
		if p != nil {
			p.kill()
		}
	}
	if r.store != nil && r.store.process != nil {
		r.store.kill()
	}
	r.bare.kill()
}

// load is single hits. What collectors answer is not booked: they say accepted,
// and the ledger is make demo-cluster's.
func (r *kafkaRun) load(address string) load {
	return load{address: address, discard: true, door: doorHit, mix: MixModel, batch: 1, connections: r.connections, duration: time.Duration(r.seconds) * time.Second}
}

// collect measures the collector and the bare server in turn.
func (r *kafkaRun) collect() (perSecond float64, acked int64, err error) {
	var ratios, rates []float64
	for range kafkaRounds {
		var turn [2]float64
		for i, address := range []string{r.bare.address, r.collector.collector} {
			l := r.load(address)
			l.duration /= kafkaRounds
			got, err := l.run(r.traffic, r.streams, r.book)
			if err == nil && (got.errors > 0 || got.refusedRequests > 0) {
				err = fmt.Errorf("%d requests refused, %d failed: %s", got.refusedRequests, got.errors, got.problem)
			}
			if err != nil {
				return 0, 0, err
			}
			if turn[i] = got.perRequest(); i == 1 {
				acked += got.requests
			}
		}
		rates, ratios = append(rates, turn[1]), append(ratios, turn[1]/turn[0])
	}
	kafkaRow("collector ÷ bare server, acks=all, aim 0.6", median(ratios) >= kafkaRatio, "%.2f (pairs %.2f), %s hits/s", median(ratios), ratios, thousands(int64(median(rates))))
	return median(rates), acked, nil
}

// consume lets the store node read what waits for it.
func (r *kafkaRun) consume(hits int64) (perSecond float64, err error) {
	began, cpu := time.Now(), r.store.cpu()
	if err := r.store.signal(syscall.SIGCONT); err != nil {
		return 0, err
	}
	if err := r.store.caughtUp(hits, kafkaCatchUp); err != nil {
		return 0, err
	}
	perSecond = float64(hits) / time.Since(began).Seconds()
	kafkaRow("store node from Kafka, single hits that waited, aim 60,000/s", perSecond >= kafkaConsumed, "%s hits/s, %.0f µs of its CPU each (%s hits)",
		thousands(int64(perSecond)), float64((r.store.cpu()-cpu).Microseconds())/float64(hits), thousands(hits))
	return perSecond, nil
}

// delay measures how long hits take from a collector to who follows the feed.
func (r *kafkaRun) delay(pace float64) error {
	if err := r.store.keepFeed(7); err != nil {
		return err
	}
	reads := follow(r.store)
	time.Sleep(settleIdle)
	reads.restart()
	l := r.load(r.collector.collector)
	l.pace = pace
	if _, err := l.run(r.traffic, r.streams, r.book); err != nil {
		return err
	}
	time.Sleep(settleIdle)
	hits, p50, p99, err := reads.end()
	if err != nil {
		return err
	}
	kafkaRow("from the collector to a follower of the feed at half load, aim 500 ms", p99 <= kafkaDelay && hits > 0, "p50 %v, p99 %v at %s hits/s", round(p50), round(p99), thousands(int64(pace)))
	return nil
}

func kafkaRow(what string, met bool, format string, args ...any) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
	}
	fmt.Printf("| %s | %s | %s |\n", what, fmt.Sprintf(format, args...), verdict)
}

// startKafkaStore starts a store node, which its control plane may open, with more
// flags.
func startKafkaStore(binary, data, brokers string, more ...string) (*server, error) {
	s := &server{data: data, token: "control-of-the-bench"}
	flags := append([]string{"store", "--kafka", brokers, "--data", data, "--admin", "127.0.0.1:0"}, more...)
	var err error
	s.process, err = startProcess([]string{"SPOOR_ADMIN_TOKEN=" + s.token}, binary, flags...)
	return s, err
}

// caughtUp waits until so many hits have been decided about.
func (s *server) caughtUp(hits int64, most time.Duration) error {
	until := time.Now().Add(most)
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
	return fmt.Errorf("the store node has not read %d hits within %v: %s", hits, most, s.said())
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
