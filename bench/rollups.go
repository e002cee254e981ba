package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// What do roll-ups cost? Two servers, one of which writes none, take the same
// traffic in turn; each stands still while the other is measured.
const (
	rollUpPairs  = 3
	rollUpTarget = 0.20 // of the rate, at most
)

// side is a server with streams of its own, whose visitors it knows.
type side struct {
	*process
	streams   []*stream
	book      *ledger
	rate, cpu []float64 // hits a second; µs of CPU a hit
}

func (b *bench) rollUpsAndReport() error {
	m, err := describeMachine(b.work, b.self)
	if err != nil {
		return err
	}
	fmt.Print(m)
	fmt.Printf("\n| traffic | hits/s with, without | CPU µs a hit with, without | of the rate | aim |\n|---|---|---|---|---|\n")
	for _, mix := range []Mix{MixReturning, MixModel} {
		if err := b.rollUpsOf(mix); err != nil {
			return fmt.Errorf("cannot measure roll-ups: %w", err)
		}
	}
	return nil
}

func (b *bench) rollUpsOf(mix Mix) error {
	salt := rand.Uint64()
	t := newTraffic(salt, []string{demoKey}, doorHit, doorArray)
	var sides [2]*side // with, without
	for i, args := range [][]string{{commandWired, "", "", ""}, {commandPlain, ""}} {
		args[1] = filepath.Join(b.work, args[0]+mix.String())
		s, err := b.rollUpSide(t, salt, args)
		if s != nil {
			defer s.kill()
		}
		if err != nil {
			return err
		}
		sides[i] = s
	}
	var ratios []float64
	for pair := range rollUpPairs {
		for k := range sides {
			s := sides[(pair+k)%2] // who begins would be favoured
			if err := b.rollUpTurn(t, s, mix); err != nil {
				return err
			}
		}
		ratios = append(ratios, sides[0].rate[pair]/sides[1].rate[pair])
	}
	for _, s := range sides {
		if err := s.signal(syscall.SIGCONT); err != nil {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	cost := 1 - median(ratios)
	verdict := "met"
	if cost > rollUpTarget {
		verdict = "**missed**"
	}
	fmt.Printf("| %s | %s, %s | %.0f, %.0f | %.0f %% (pairs: %.2f) | ≤ %.0f %%: %s |\n", mix, thousands(int64(median(sides[0].rate))), thousands(int64(median(sides[1].rate))),
		median(sides[0].cpu), median(sides[1].cpu), 100*cost, ratios, 100*rollUpTarget, verdict)
	return nil
}

// rollUpSide starts a server, makes its visitors known, and stops it for now.
func (b *bench) rollUpSide(t *traffic, salt uint64, args []string) (*side, error) {
	fmt.Fprintf(os.Stderr, "starting %s …\n", args[0])
	server, err := startProcess(nil, b.self, args...)
	if err != nil {
		return nil, err
	}
	s := &side{process: server, book: newLedger(salt, b.connections)}
	for i := range b.connections {
		s.streams = append(s.streams, newStream(i, salt, 1, population/b.connections))
	}
	first := load{address: server.collector, door: doorArray, batch: batchEvents, connections: min(b.connections, batchConnections)}
	if _, err := first.run(t, s.streams, s.book); err != nil {
		return s, err
	}
	return s, server.signal(syscall.SIGSTOP)
}

func (b *bench) rollUpTurn(t *traffic, s *side, mix Mix) error {
	if err := s.signal(syscall.SIGCONT); err != nil {
		return err
	}
	began := s.process.cpu()
	got, err := load{
		address: s.collector, door: doorHit, mix: mix, batch: 1, connections: b.connections, duration: time.Duration(b.seconds) * time.Second,
	}.run(t, s.streams, s.book)
	if err == nil && (got.errors > 0 || got.refusedRequests > 0) {
		err = fmt.Errorf("%d requests refused, %d failed: %s", got.refusedRequests, got.errors, got.problem)
	}
	if err != nil {
		return err
	}
	s.rate = append(s.rate, got.perSecond())
	s.cpu = append(s.cpu, float64((s.process.cpu()-began).Microseconds())/float64(max(got.events, 1)))
	return s.signal(syscall.SIGSTOP)
}
