package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// half is what a server does that is not saturated: hits come in an open loop
// at half of what it takes in a closed one.
type half struct {
	capacity        float64         // hits per second, in a closed loop
	rss             int64           // at most, meanwhile
	p99             []time.Duration // of each round, counted from the planned time
	fsync           []time.Duration // p99 of the disk, before each round
	late            int64           // requests refused or broken, in all rounds
	idle            int             // connections that were open and did nothing
	rssIdle         int64           // with them
	byUser, byEmail lookups
}

const (
	halfConnections = 1000
	idleConnections = 10_000
	halfRounds      = 5
	lookupsPerSec   = 50 // of each kind
)

// lookups are the answers to one kind of question on the read side.
type lookups struct{ p50, p99 time.Duration }

// half measures capacity, latency at half of it, lookups beside that, and what
// idle connections take, in this order.
func (c *course) half() error {
	h := new(half)
	c.row.half = h
	each := c.duration() / 2 // of a phase
	l := load{address: c.server.collector, door: c.Door, mix: c.Visitors, batch: c.Batch, connections: min(halfConnections, len(c.streams)), duration: each}
	memory := sample(c.server.process)
	before := c.server.cpu()
	got, err := l.run(c.traffic, c.streams, c.book)
	if err != nil {
		return err
	}
	h.capacity, h.rss = got.perSecond(), memory.most(c.server.process)
	c.row.cpu = c.server.cpu() - before
	c.row.events, c.row.requests, c.row.rate = got.events, got.requests, got.perSecond()
	c.row.p50, c.row.p99 = got.percentile(50), got.percentile(99)

	l.connections, l.pace = min(c.bench.connections, len(c.streams)), h.capacity/2
	for range halfRounds {
		if err := c.server.pause(); err != nil {
			return fmt.Errorf("cannot pause the server: %w", err)
		}
		_, p99, err := fsyncLatency(c.work)
		if err := errors.Join(err, c.server.resume()); err != nil {
			return err
		}
		got, err := l.run(c.traffic, c.streams, c.book)
		if err != nil {
			return err
		}
		h.fsync, h.p99 = append(h.fsync, p99), append(h.p99, got.percentile(99))
		h.late += got.refusedRequests + got.errors
	}
	if err := c.lookUp(l, h); err != nil {
		return err
	}
	return c.idle(h)
}

// bound is what p99 may be, as the disk was in this run.
func (h *half) bound() time.Duration { return 3*middle(h.fsync) + 15*time.Millisecond }

func joined(all []time.Duration) string {
	texts := make([]string, len(all))
	for i, d := range all {
		texts[i] = round(d).String()
	}
	return strings.Join(texts, ", ")
}

func middle(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(d))[len(d)/2]
}

// lookUp asks for people while hits come. Questions are due at fixed times too,
// and each kind has a connection of its own.
func (c *course) lookUp(l load, h *half) error {
	asked := make(chan error, 2)
	var wait sync.WaitGroup
	for _, kind := range []struct {
		path func(id string) string
		into *lookups
	}{
		{func(id string) string { return "/api/public/users-by-id/" + id + "/" }, &h.byUser},
		{func(id string) string { return "/api/public/users/search/?email=" + url.QueryEscape(id+mailDomain) }, &h.byEmail},
	} {
		wait.Go(func() {
			var err error
			*kind.into, err = c.ask(l.duration, kind.path)
			asked <- err
		})
	}
	got, err := l.run(c.traffic, c.streams, c.book)
	wait.Wait()
	if err = errors.Join(err, <-asked, <-asked); err != nil {
		return err
	}
	h.late += got.refusedRequests + got.errors
	return nil
}

func (c *course) ask(lasts time.Duration, path func(id string) string) (lookups, error) {
	took := hdrhistogram.New(1, latencyMax, latencyDigits+1)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	r := rand.New(rand.NewPCG(c.traffic.salt, 'q'))
	began := time.Now()
	for due := began; due.Sub(began) < lasts; due = due.Add(time.Second / lookupsPerSec) {
		time.Sleep(time.Until(due))
		id := userID(c.somebody(r), c.traffic.salt)
		if err := c.askOne(client, path(id), id); err != nil {
			return lookups{}, err
		}
		_ = took.RecordValue(min(max(time.Since(due).Microseconds(), 1), latencyMax))
	}
	at := func(p float64) time.Duration { return time.Duration(took.ValueAtPercentile(p)) * time.Microsecond }
	return lookups{p50: at(50), p99: at(99)}, nil
}

// somebody has a profile, which bots do not get.
func (c *course) somebody(r *rand.Rand) visitor {
	for {
		s := c.streams[r.IntN(len(c.streams))]
		if v := s.visitor(r.Uint32N(s.population)); !isBot(v.persona(s.salt)) {
			return v
		}
	}
}

// askOne fails if the answer is not the person.
func (c *course) askOne(client *http.Client, path, id string) error {
	request, err := http.NewRequest("GET", "http://"+c.server.readSide+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Token "+demoKey)
	reply, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot look a person up: %w", err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return fmt.Errorf("cannot look a person up: %w", err)
	}
	var user struct {
		ID string `json:"user_id"`
	}
	if reply.StatusCode != 200 || json.Unmarshal(text, &user) != nil || user.ID != id {
		return fmt.Errorf("cannot look a person up: the server answered %s to %s, with user_id %q", reply.Status, path, user.ID)
	}
	return nil
}

// idle opens connections that send one request each and then nothing.
func (c *course) idle(h *half) error {
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			conn.Close()
		}
	}()
	request := []byte("GET /healthz HTTP/1.1\r\nHost: " + collectHost + "\r\n\r\n")
	reply := make([]byte, 4<<10)
	for len(open) < idleConnections {
		conn, err := net.DialTimeout("tcp", c.server.collector, dialTimeout)
		if err != nil {
			return fmt.Errorf("cannot open %d idle connections, only %d: %w", idleConnections, len(open), err)
		}
		open = append(open, conn)
		if _, err = conn.Write(request); err == nil {
			_, err = conn.Read(reply)
		}
		if err != nil {
			return fmt.Errorf("cannot use %d idle connections, only %d: %w", idleConnections, len(open), err)
		}
	}
	h.idle = int(c.server.metric("spoor_connections"))
	h.rssIdle, _ = c.server.memory()
	return nil
}
