package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// A mail goes out to a million people, and all of them open it within a minute:
// what do the other apps of the server feel?
const (
	blastOpens      = 1_000_000
	blastSeconds    = 60
	blastStreams    = 256
	neighbourApps   = 20
	neighbourRate   = 500 // hits per second, over all of them
	neighbourStream = 64
	calmSeconds     = 30
	blastFactor     = 2 // the neighbours' p99, at most
)

// blastAndReport sends the neighbours' hits alone, then beside the opens, then
// alone again; in open loops, so that waiting counts.
func (b *bench) blastAndReport() (err error) {
	data := filepath.Join(b.work, "blast")
	server, err := b.blastServer(data)
	if err != nil {
		return err
	}
	defer server.kill()
	salt := rand.Uint64()
	t := newTraffic(salt, server.keys, doorHit, doorOpen)
	streams := make([]*stream, blastStreams+neighbourStream)
	for i := range streams {
		if i < blastStreams {
			streams[i] = newStream(i, salt, 1, blastOpens/blastStreams)
		} else {
			streams[i] = newStream(i, salt, neighbourApps, 0)
			streams[i].from = 1
		}
	}
	book := newLedger(salt, len(streams))
	neighbours := load{address: server.collector, door: doorHit, batch: 1, connections: neighbourStream, pace: neighbourRate}
	opens := load{
		address: server.collector, door: doorOpen, mix: MixReturning, batch: 1, connections: blastStreams,
		pace: float64(blastOpens) / blastSeconds, duration: blastSeconds * time.Second,
	}
	alone := func() (*result, error) {
		l := neighbours
		l.duration = calmSeconds * time.Second
		return l.run(t, streams[blastStreams:], book)
	}
	if _, err := alone(); err != nil { // caches, connections, memory
		return err
	}
	before, err := alone()
	if err != nil {
		return err
	}
	type outcome struct {
		got *result
		err error
	}
	beside := make(chan outcome)
	go func() {
		l := neighbours
		l.duration = opens.duration
		got, err := l.run(t, streams[blastStreams:], book)
		beside <- outcome{got, err}
	}()
	blast, err := opens.run(t, streams[:blastStreams], book)
	during := <-beside
	if err = errors.Join(err, during.err); err != nil {
		return err
	}
	time.Sleep(settleAfter)
	after, err := alone()
	if err != nil {
		return err
	}
	_, rss := server.memory()
	if err := server.stop(); err != nil {
		return err
	}
	found, err := auditStore(data, server.names, book, true)
	if err != nil {
		return err
	}
	reportBlast(opens.pace, blast, before, during.got, after, rss)
	fmt.Println(found)
	if !found.clean() {
		return errors.New("the ledger does not add up: see above")
	}
	return os.RemoveAll(data)
}

// blastServer has an app that sends mails to a million, without limit and with
// keys in its pixels, and its neighbours.
func (b *bench) blastServer(data string) (*server, error) {
	s, err := startSpoor(b.binary, data, 0, blastStreams+neighbourStream)
	if err != nil {
		return nil, err
	}
	err = s.createApp("mailer", map[string]string{"events_per_minute": "none", "hits_days": "760", "mode": "exempt"})
	for i := 0; i < neighbourApps && err == nil; i++ {
		err = s.createApp(fmt.Sprintf("shop-%04d", i), nil)
	}
	if err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

func reportBlast(pace float64, blast, before, during, after *result, rss int64) {
	fmt.Printf("\n%s opens of one app, offered at %.0f a second in %.0f s: %s acknowledged, %s refused with 503, %d broken; p50 %s, p99 %s; RSS at most %d MiB\n",
		thousands(blast.requests+blast.refusedRequests+blast.errors), pace, blast.seconds, thousands(blast.events), thousands(blast.refusedRequests), blast.errors,
		round(blast.percentile(50)), round(blast.percentile(99)), rss>>20)
	for _, row := range []struct {
		name string
		*result
	}{{"before", before}, {"during", during}, {"after", after}} {
		fmt.Printf("%d other apps, %d hits/s, %s: p50 %s, p99 %s; %d refused, %d broken\n",
			neighbourApps, neighbourRate, row.name, round(row.percentile(50)), round(row.percentile(99)), row.refusedRequests, row.errors)
	}
	calm := float64(before.percentile(99)+after.percentile(99)) / 2
	fmt.Printf("their p99 is %.1f times that without the mail; the aim is %d\n", float64(during.percentile(99))/calm, blastFactor)
}
