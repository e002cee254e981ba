package kafka

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
)

// Sink hands hits to the brokers. It is the spoor.Sink at the end of a
// collector.
type Sink struct {
	t       *Topic
	lanes   []*lane // by partition
	running sync.WaitGroup
	closed  atomic.Bool

	waiting                                                atomic.Int64
	hits, records, bytes, requests, retries, refused, busy atomic.Uint64
}

// Sink begins to produce. Every call makes another one with its own bound of
// what waits; a collector needs one.
func (t *Topic) Sink() *Sink {
	s := &Sink{t: t, lanes: make([]*lane, t.partitions)}
	for i := range s.lanes {
		s.lanes[i] = newLane(s, i)
		s.running.Go(s.lanes[i].run)
	}
	return s
}

// writing is one call of Write: its hits as records, in one piece of memory.
type writing struct {
	buffer []byte
	parts  []part
	left   atomic.Int32
	done   chan struct{}

	mu     sync.Mutex
	err    error
	shared bool // a request that was given up may still read buffer
}

// part is one record of a writing.
type part struct {
	w         *writing
	app       spoor.AppID
	partition int
	from, to  int // in w.buffer
	hits      []spoor.Hit
	since     time.Time
	key       [10]byte // the app's number, as people read it
	record    record
}

var writings = sync.Pool{New: func() any { return &writing{done: make(chan struct{}, 1)} }}

// Write returns nil once all in-sync replicas have acknowledged the hits, whose
// Outcome is then spoor.Accepted. A hit that no record can hold is Refused with
// spoor.ReasonTooLarge. spoor.ErrBusy means that too much waits already, or
// that the brokers did not acknowledge in time; the sender may repeat. A hit
// with neither ID nor Digest is given a random Digest.
func (s *Sink) Write(hits []spoor.Hit) error {
	w := writings.Get().(*writing)
	s.encode(w, hits)
	err := s.send(w)
	if errors.Is(err, spoor.ErrBusy) {
		s.busy.Add(1)
	}
	if !w.shared && cap(w.buffer) <= 4*s.t.opts.RecordBytesMax {
		w.reset()
		writings.Put(w)
	}
	return err
}

func (w *writing) reset() {
	clear(w.parts)
	w.buffer, w.parts, w.err = w.buffer[:0], w.parts[:0], nil
}

// encode cuts hits into records of one app each, in order.
func (s *Sink) encode(w *writing, hits []spoor.Hit) {
	first := 0 // hit of the record under way
	from := 0
	finish := func(next int) {
		if first < next {
			w.parts = append(w.parts, part{w: w, app: hits[first].App, from: from, to: len(w.buffer), hits: hits[first:next]})
		}
		first, from = next, len(w.buffer)
	}
	for i := range hits {
		h := &hits[i]
		identify(h)
		if first == i || h.App != hits[first].App || i-first == recordHitsMax {
			finish(i)
			w.buffer = appendRecord(w.buffer, h.App)
		}
		before := len(w.buffer)
		w.buffer = appendHit(w.buffer, h)
		switch size := len(w.buffer) - before; {
		case size+recordHead > s.t.opts.RecordBytesMax || !fits(h):
			h.Outcome, h.Reason = spoor.Refused, spoor.ReasonTooLarge
			s.refused.Add(1)
			w.buffer = w.buffer[:before]
			finish(i)
			first = i + 1
			continue
		case len(w.buffer)-from > s.t.opts.RecordBytesMax:
			w.buffer = w.buffer[:before]
			finish(i)
			w.buffer = appendHit(appendRecord(w.buffer, h.App), h)
		}
		h.Outcome, h.Reason = spoor.Accepted, ""
	}
	finish(len(hits))
}

// identify gives a hit a digest where nothing else tells it from others: a
// record is in the log twice when its acknowledgement is lost.
func identify(h *spoor.Hit) {
	if h.ID == "" && h.Digest == [16]byte{} {
		binary.LittleEndian.PutUint64(h.Digest[:8], rand.Uint64())
		binary.LittleEndian.PutUint64(h.Digest[8:], rand.Uint64()|1)
	}
}

// send queues the records of w and waits for what becomes of them.
func (s *Sink) send(w *writing) error {
	if s.closed.Load() {
		return spoor.ErrClosed
	}
	if len(w.parts) == 0 {
		return nil
	}
	bytes := int64(len(w.buffer))
	defer s.waiting.Add(-bytes)
	if all := s.waiting.Add(bytes); all > s.t.opts.BytesMax && all > bytes { // one alone could never go
		return spoor.ErrBusy
	}
	w.left.Store(int32(len(w.parts)))
	now := time.Now()
	for i := range w.parts {
		p := &w.parts[i]
		p.since = now
		p.partition = s.t.PartitionOf(p.app)
		p.record = record{key: strconv.AppendUint(p.key[:0], uint64(p.app), 10), value: w.buffer[p.from:p.to:p.to]}
	}
	for i := range w.parts {
		l := s.lanes[w.parts[i].partition]
		if err := l.add(&w.parts[i]); err != nil {
			w.parts[i].finish(err)
		}
	}
	<-w.done
	return w.err
}

// finish settles a record; the last one of its Write ends that.
func (p *part) finish(err error) {
	w := p.w
	if err != nil {
		w.mu.Lock()
		if w.err == nil {
			w.err = err
		}
		w.mu.Unlock()
	}
	if w.left.Add(-1) == 0 {
		w.done <- struct{}{}
	}
}

// share notes that a request which is given up may still read the record.
func (p *part) share() {
	p.w.mu.Lock()
	p.w.shared = true
	p.w.mu.Unlock()
}

// Close waits for what is under way, at most as long as a Write may take, and
// ends the Sink. A later Write returns spoor.ErrClosed.
func (s *Sink) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	for _, l := range s.lanes {
		l.close()
	}
	s.running.Wait()
	return nil
}

// Figures are what a Sink has counted since it was made.
type Figures struct {
	Hits     uint64 // acknowledged by the brokers
	Records  uint64 // that held them
	Bytes    uint64 // of those records, before compression
	Requests uint64 // to the brokers that were acknowledged
	Retries  uint64 // requests that failed and were sent again
	Busy     uint64 // calls of Write that returned spoor.ErrBusy
	Refused  uint64 // hits that were too large
	Waiting  int64  // bytes that wait for an acknowledgement now
}

// Figures reads the counters. It may be called at any time.
func (s *Sink) Figures() Figures {
	return Figures{
		Hits:     s.hits.Load(),
		Records:  s.records.Load(),
		Bytes:    s.bytes.Load(),
		Requests: s.requests.Load(),
		Retries:  s.retries.Load(),
		Busy:     s.busy.Load(),
		Refused:  s.refused.Load(),
		Waiting:  s.waiting.Load(),
	}
}
