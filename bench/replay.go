package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/store"
)

// How long does a store node take to read days of hits again? They are the model's,
// in the order of time, in records of 100 as batches of SDKs are, of one app: which
// is one partition and so the slowest that they can be.
const (
	replayHits    = 10_000_000
	replayRate    = 100_000 // hits a second
	replayRecord  = 100     // hits in a record
	replayDays    = 10
	replaySenders = 8
	replayMemory  = "4GiB" // so that a million people are remembered while they come again
	replayMax     = 30 * time.Minute
)

func (b *bench) replayAndReport(hits int64, profiles int) (err error) {
	m, err := describeMachine(b.work, b.self)
	if err != nil {
		return err
	}
	fmt.Print(m)
	r := &kafkaRun{bench: b}
	defer func() {
		for _, p := range []*process{r.brokers, r.node()} {
			if p != nil {
				p.kill()
			}
		}
	}()
	app := &clusterShow{binary: b.binary, work: b.work}
	if err := app.makeApp(); err != nil {
		return err
	}
	if r.brokers, err = startProcess(nil, b.self, commandBrokers, filepath.Join(b.work, "brokers")); err != nil {
		return err
	}
	sent, err := fillTopic(r.brokers.collector, app.data(0), hits, profiles)
	if err != nil {
		return err
	}
	began := time.Now()
	if r.store, err = startKafkaStore(b.binary, app.data(0), r.brokers.collector, "--memory", replayMemory); err != nil {
		return err
	}
	if err := r.store.caughtUp(sent, replayMax); err != nil {
		return err
	}
	took := time.Since(began)
	rate := float64(sent) / took.Seconds()
	fmt.Printf("\n| | measured | |\n|---|---|---|\n")
	kafkaRow(fmt.Sprintf("%s hits that are in the topic, read by a store node with --memory %s, aim 100,000/s", thousands(sent), replayMemory), rate >= replayRate, "%s hits/s, %s, %.0f µs of its CPU each",
		thousands(int64(rate)), took.Round(time.Second), float64(r.store.cpu().Microseconds())/float64(sent))
	return r.store.stop()
}

func (r *kafkaRun) node() *process {
	if r.store == nil {
		return nil
	}
	return r.store.process
}

// fillTopic writes the hits of some days into the topic, and returns how many.
func fillTopic(brokers, data string, hits int64, profiles int) (sent int64, err error) {
	st, err := store.Open(store.Options{Dir: data, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	moments, err := newMoments(st, st.AppByName(demoKey).ID, largeSalt)
	if err := errors.Join(err, st.Close()); err != nil {
		return 0, err
	}
	ctx := context.Background()
	topic, err := kafka.Open(ctx, kafka.Options{Brokers: strings.Split(brokers, ","), Topic: "spoor", Retention: 7 * 24 * time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	sink := topic.Sink()
	defer func() { err = errors.Join(err, sink.Close(), topic.Close()) }()
	traffic := newMass(moments, massSize{days: replayDays, profiles: profiles, hits: hits})
	first := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -replayDays)
	for day := range replayDays {
		var all []spoor.Hit
		for h := range traffic.on(day, first.AddDate(0, 0, day).UnixMilli()) {
			all = append(all, *h)
		}
		slices.SortFunc(all, func(a, b spoor.Hit) int { return int(a.Received - b.Received) })
		if err := writeAll(sink, all); err != nil {
			return sent, err
		}
		sent += int64(len(all))
		fmt.Fprintf(os.Stderr, "%d of %d days in the topic, %s hits\n", day+1, replayDays, thousands(sent))
	}
	return sent, nil
}

// writeAll hands hits to the brokers: some records at a time, and so about in order.
func writeAll(sink *kafka.Sink, hits []spoor.Hit) error {
	var next atomic.Int64
	var failed error
	var once sync.Once
	var senders sync.WaitGroup
	for range replaySenders {
		senders.Go(func() {
			for {
				from := int(next.Add(replayRecord)) - replayRecord
				if from >= len(hits) {
					return
				}
				some := hits[from:min(from+replayRecord, len(hits))]
				err := sink.Write(some)
				for tries := 0; errors.Is(err, spoor.ErrBusy) && tries < 100; tries++ {
					time.Sleep(10 * time.Millisecond)
					err = sink.Write(some)
				}
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		})
	}
	senders.Wait()
	return failed
}
