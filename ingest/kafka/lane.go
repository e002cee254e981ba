package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
)

const (
	linger       = 5 * time.Millisecond // for company, from the first record that waits
	lingerMost   = 128                  // records that are company enough
	retryPause   = 20 * time.Millisecond
	retryMost    = 500 * time.Millisecond
	batchRecords = 10_000
)

// lane produces the records of one partition, one batch at a time: order holds
// when a batch is sent again, and what comes meanwhile is the next batch.
type lane struct {
	s         *Sink
	partition int

	mu     sync.Mutex
	come   *sync.Cond    // something was queued, or the end
	enough chan struct{} // holds a token once so many are queued, or at the end, that lingering is over
	queue  []*part
	bytes  int
	busy   bool  // a batch is under way
	down   error // why the last batch failed; then one Write at a time probes
	closed bool

	batch []*part // of the run loop
}

func newLane(s *Sink, partition int) *lane {
	l := &lane{s: s, partition: partition, enough: make(chan struct{}, 1)}
	l.come = sync.NewCond(&l.mu)
	return l
}

// add queues a record. While the brokers do not take this partition's records
// it refuses all but the one that finds out.
func (l *lane) add(p *part) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return spoor.ErrClosed
	}
	if l.down != nil && (l.busy || len(l.queue) > 0) {
		return l.down
	}
	l.queue = append(l.queue, p)
	l.bytes += len(p.record.value)
	l.come.Signal()
	if l.company() {
		l.hurry()
	}
	return nil
}

// company reports whether more records are not worth waiting for.
func (l *lane) company() bool {
	return len(l.queue) >= lingerMost || l.bytes >= l.s.t.opts.RecordBytesMax || l.closed
}

func (l *lane) hurry() {
	select {
	case l.enough <- struct{}{}:
	default:
	}
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.come.Signal()
	l.hurry()
	l.mu.Unlock()
}

func (l *lane) run() {
	for l.next() {
		err := l.send(l.batch)
		l.mu.Lock()
		l.busy, l.down = false, err
		l.mu.Unlock()
		for _, p := range l.batch {
			p.finish(err)
		}
	}
}

// next waits for records, and a little for their company, and takes what fits
// into a batch. It returns false at the end.
func (l *lane) next() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.batch)
	l.batch = l.batch[:0]
	most := l.s.t.opts.RecordBytesMax
	for {
		for len(l.queue) == 0 {
			if l.closed {
				return false
			}
			l.come.Wait()
		}
		l.busy = true
		if rest := linger - time.Since(l.queue[0].since); rest > 0 && !l.company() {
			select {
			case <-l.enough: // of a batch that is gone
			default:
			}
			l.mu.Unlock()
			l.linger(rest)
			l.mu.Lock()
		}
		if l.expire(); len(l.queue) > 0 {
			break
		}
		l.busy = false
	}
	n, bytes := 0, 0
	for n < len(l.queue) && n < batchRecords {
		size := len(l.queue[n].record.value)
		if n > 0 && bytes+size > most {
			break
		}
		bytes += size
		n++
	}
	l.batch = append(l.batch, l.queue[:n]...)
	l.drop(n)
	return true
}

func (l *lane) linger(most time.Duration) {
	end := time.NewTimer(most)
	defer end.Stop()
	select {
	case <-l.enough:
	case <-end.C:
	}
}

// expire refuses what has waited behind other batches for as long as a Write may.
func (l *lane) expire() {
	for len(l.queue) > 0 && time.Since(l.queue[0].since) > l.s.t.opts.wait {
		p := l.queue[0]
		l.drop(1) // before its Write returns and takes the record back
		p.finish(spoor.ErrBusy)
	}
}

// drop takes the first n records out of the queue.
func (l *lane) drop(n int) {
	for _, p := range l.queue[:n] {
		l.bytes -= len(p.record.value)
	}
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
}

// send produces a batch until it is acknowledged or its time is over. A batch
// that has waited long behind others gets half of the usual time nevertheless.
func (l *lane) send(batch []*part) error {
	wait := l.s.t.opts.wait
	deadline := batch[0].since.Add(wait)
	if least := time.Now().Add(wait / 2); deadline.Before(least) {
		deadline = least
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	pause := retryPause
	var why error // what the brokers said last
	for attempt := 1; ; attempt++ {
		err := l.produce(ctx, batch)
		switch {
		case err == nil:
			if l.down != nil || attempt > 1 {
				l.s.t.opts.Log.Info("the brokers acknowledge again", "topic", l.s.t.opts.Topic, "partition", l.partition, "attempt", attempt)
			}
			l.count(batch)
			return nil
		case errors.Is(err, ErrTooLarge):
			return l.divide(batch)
		}
		for _, p := range batch {
			p.share()
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		l.s.t.brokers.refresh()
		if attempt == 1 && l.down == nil {
			l.s.t.opts.Log.Warn("the brokers do not acknowledge", "topic", l.s.t.opts.Topic, "partition", l.partition, "error", err)
		}
		select {
		case <-ctx.Done():
			return l.verdict(why)
		case <-time.After(pause):
		}
		pause = min(2*pause, retryMost)
		l.s.retries.Add(1)
	}
}

func (l *lane) produce(ctx context.Context, batch []*part) error {
	records := make([]record, len(batch)) // not reused: a request that is given up may still read it
	for i, p := range batch {
		records[i] = p.record
	}
	_, err := l.s.t.brokers.produce(ctx, l.s.t.opts.Topic, l.partition, records)
	return err
}

func (l *lane) count(batch []*part) {
	hits, bytes := 0, 0
	for _, p := range batch {
		hits += len(p.hits)
		bytes += len(p.record.value)
	}
	l.s.hits.Add(uint64(hits))
	l.s.records.Add(uint64(len(batch)))
	l.s.bytes.Add(uint64(bytes))
	l.s.requests.Add(1)
}

// divide sends the records of a batch that is too large one by one. One that is
// too large alone is refused: the topic takes less than when it was opened.
func (l *lane) divide(batch []*part) error {
	if len(batch) > 1 {
		for i := range batch {
			if err := l.send(batch[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	p := batch[0]
	l.s.t.opts.Log.Error("a record is larger than the topic takes; raise its max.message.bytes", "topic", l.s.t.opts.Topic, "partition", l.partition, "bytes", len(p.record.value))
	for i := range p.hits {
		p.hits[i].Outcome, p.hits[i].Reason = spoor.Refused, spoor.ReasonTooLarge
	}
	l.s.refused.Add(uint64(len(p.hits)))
	return nil
}

// verdict is what the senders hear when their time is over. What does not pass
// by itself is told to the operator.
func (l *lane) verdict(err error) error {
	o := &l.s.t.opts
	switch {
	case errors.Is(err, errGone):
		err = o.missing(o.Topic)
	case lasting(err):
		err = o.explain(err)
	default:
		return spoor.ErrBusy
	}
	o.Log.Error("hits cannot be handed on", "topic", o.Topic, "partition", l.partition, "error", err)
	return fmt.Errorf("cannot hand hits on: %w", err)
}
