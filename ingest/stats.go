package ingest

import (
	"sync/atomic"

	"github.com/spoorhq/spoor"
)

// Stats are totals since the start, but for the gauges that say so.
type Stats struct {
	Requests         uint64
	BytesIn          uint64 // from the network, headers included
	Panics           uint64
	Connections      int    // gauge: open now
	Handshakes       uint64 // of TLS
	HandshakesFailed uint64 // given up by either side, or out of time
	MadeRoom         uint64 // idle connections that were closed for new ones, at the limit
	InFlight         int64  // gauge: bytes of bodies being worked on
	Hits             map[spoor.Outcome]uint64
	HitsRefused      map[spoor.Reason]uint64 // single events, of any request
	Refusals         map[spoor.Reason]uint64 // whole requests and connections
	JunkIDs          uint64                  // ids such as "null" that were treated as absent
	TextsCut         uint64                  // urls, titles, … that were shortened or dropped
	ValuesUnread     uint64                  // attributes that do not convert to their type
}

type counters struct {
	requests, bytesIn, panics atomic.Uint64
	junk, cut, unread         atomic.Uint64
	inFlight                  atomic.Int64

	handshakes, handshakesFailed atomic.Uint64
	madeRoom                     atomic.Uint64

	outcomes             [spoor.Accepted + 1]atomic.Uint64
	hitsRefused, refused []atomic.Uint64 // by index in refusals
}

func newCounters() counters {
	return counters{
		hitsRefused: make([]atomic.Uint64, len(refusals)),
		refused:     make([]atomic.Uint64, len(refusals)),
	}
}

// addSome spares the counters' cache lines the many times there is nothing to
// add: all cores share them.
func addSome(c *atomic.Uint64, n int) {
	if n != 0 {
		c.Add(uint64(n))
	}
}

// Stats returns the numbers as they are now.
func (s *Server) Stats() Stats {
	c := &s.counters
	st := Stats{
		Requests:         c.requests.Load(),
		BytesIn:          c.bytesIn.Load(),
		Panics:           c.panics.Load(),
		Connections:      s.conns.open(),
		InFlight:         c.inFlight.Load(),
		Handshakes:       c.handshakes.Load(),
		MadeRoom:         c.madeRoom.Load(),
		HandshakesFailed: c.handshakesFailed.Load(),
		Hits:             make(map[spoor.Outcome]uint64),
		HitsRefused:      make(map[spoor.Reason]uint64),
		Refusals:         make(map[spoor.Reason]uint64),
		JunkIDs:          c.junk.Load(),
		TextsCut:         c.cut.Load(),
		ValuesUnread:     c.unread.Load(),
	}
	for o := spoor.Stored; o <= spoor.Accepted; o++ {
		st.Hits[o] = c.outcomes[o].Load()
	}
	for i, r := range refusals {
		st.HitsRefused[r.reason] = c.hitsRefused[i].Load()
		st.Refusals[r.reason] = c.refused[i].Load()
	}
	return st
}
