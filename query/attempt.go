package query

import (
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Logins that fail: of one address ten, and one more each minute; of all
// together three hundred, and five more each second. Secrets have 128 random
// bits; this is against those that somebody chose, and for the processor.
const (
	attemptsBurst    = 10
	attemptsPerMin   = 1
	attemptsAllBurst = 300
	attemptsAllPerS  = 5

	attemptAddressesMax = 20_000 // remembered
)

// attempts count logins that fail. They remember addresses, in memory alone, in
// two generations: once the young one is full it becomes the old one. Who has
// so many addresses that some are forgotten meets the limit of all.
type attempts struct {
	mu         sync.Mutex
	all        *rate.Limiter
	young, old map[netip.Prefix]*rate.Limiter
}

// attemptCost is what a login that fails counts for. Where all nodes that share the
// partitions are asked whether they know a token, each counts for itself: so that
// nobody gets more attempts from all of them than from one, a failure is counted once
// for each, up to half of the burst, which leaves everybody a second attempt.
func (s *Server) attemptCost() int {
	if s.opt.Nodes == nil {
		return 1
	}
	others, _ := s.opt.Nodes.Others()
	return min(1+len(others), attemptsBurst/2)
}

// begin counts an attempt of an address, cost times, or says after how many seconds
// there may be one. An attempt that succeeds is taken back.
func (a *attempts) begin(from netip.Addr, cost int, now time.Time) (takeBack func(), waitSec int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = rate.NewLimiter(attemptsAllPerS, attemptsAllBurst)
	}
	one, wait := reserve(a.of(from), cost, now)
	if wait > 0 {
		return nil, wait
	}
	all, wait := reserve(a.all, cost, now)
	if wait > 0 {
		one.CancelAt(now)
		return nil, wait
	}
	return func() {
		one.CancelAt(now)
		all.CancelAt(now)
	}, 0
}

func reserve(l *rate.Limiter, cost int, now time.Time) (r *rate.Reservation, waitSec int) {
	r = l.ReserveN(now, cost)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return nil, int(math.Ceil(wait.Seconds()))
	}
	return r, 0
}

func (a *attempts) of(from netip.Addr) *rate.Limiter {
	bits := 32
	if from.Is6() {
		bits = 64 // what one subscriber has
	}
	key, _ := from.Prefix(bits) // the zero value for peers without address
	l := a.young[key]
	if l == nil {
		l = a.old[key]
	}
	if l == nil {
		l = rate.NewLimiter(rate.Limit(attemptsPerMin)/60, attemptsBurst)
	}
	if len(a.young) >= attemptAddressesMax/2 || a.young == nil {
		a.young, a.old = map[netip.Prefix]*rate.Limiter{}, a.young
	}
	a.young[key] = l
	return l
}

// addressOf is the plain address of a peer; invalid for peers without one.
func addressOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
