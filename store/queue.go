package store

import (
	"sync"
	"time"

	"github.com/spoorhq/spoor"
)

// request is one caller's work for the writer: hits, or anything else as a
// function that the writer calls. With both the function decides about the hits.
type request struct {
	hits  []spoor.Hit
	do    func(*group) error
	alone bool // wants a group of its own
	bytes int64
	err   error
	done  chan struct{} // one token when the outcome is final
}

var requests = sync.Pool{New: func() any { return &request{done: make(chan struct{}, 1)} }}

// queue holds what waits for the writer, bounded in bytes. Bulk work waits in
// a line of its own and is taken in small portions.
type queue struct {
	mu     sync.Mutex
	filled sync.Cond
	urgent []*request
	bulk   []*request
	bytes  int64
	max    int64
	err    error // why nothing is taken any more
}

func newQueue(bytesMax int64) *queue {
	q := &queue{max: bytesMax}
	q.filled.L = &q.mu
	return q
}

// put lines a request up, or says at once why not.
func (q *queue) put(r *request, bulk bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return q.err
	}
	if q.bytes+r.bytes > q.max && q.bytes > 0 {
		return spoor.ErrBusy
	}
	q.bytes += r.bytes
	if bulk {
		q.bulk = append(q.bulk, r)
	} else {
		q.urgent = append(q.urgent, r)
	}
	q.filled.Signal()
	return nil
}

const (
	groupHitsMax  = 2048 // hits that one group takes before it stops looking for more
	groupBulkMin  = 1    // bulk requests that every group takes, however busy
	groupBulkFull = 16   // bulk requests that a group takes when nothing else waits
)

// linger waits a moment for more to line up, while many senders are at work:
// what a group costs as a whole (its roll-up rows, bitmaps, counters, commit,
// sync) is then shared by more hits. It gives up as soon as a pause brings
// little, so a few senders never wait for it.
func (q *queue) linger() {
	const (
		pause     = time.Millisecond
		pausesMax = 6
		growthMin = 8
	)
	_, before := q.fill()
	for range pausesMax {
		time.Sleep(pause)
		_, now := q.fill()
		if now-before < growthMin || now >= groupHitsMax/4 {
			return
		}
		before = now
	}
}

// take waits for work and appends one group's worth to dst. It returns
// nothing once the queue is closed and empty.
func (q *queue) take(dst []*request) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.urgent) == 0 && len(q.bulk) == 0 && q.err == nil {
		q.filled.Wait()
	}
	hits, n := 0, 0
	for n < len(q.urgent) && hits < groupHitsMax && !(q.urgent[n].alone && n > 0) {
		hits += max(1, len(q.urgent[n].hits))
		if n++; q.urgent[n-1].alone {
			break
		}
	}
	share := groupBulkFull
	switch {
	case n > 0 && q.urgent[n-1].alone:
		share = 0
	case n > 0:
		share = groupBulkMin
	}
	dst, q.urgent = shift(dst, q.urgent, n)
	dst, q.bulk = shift(dst, q.bulk, min(share, len(q.bulk)))
	for _, r := range dst {
		q.bytes -= r.bytes
	}
	return dst
}

// shift moves the first n requests of from behind dst and closes the gap.
func shift(dst, from []*request, n int) (to, rest []*request) {
	dst = append(dst, from[:n]...)
	left := copy(from, from[n:])
	clear(from[left:])
	return dst, from[:left]
}

// wake lines a request up that does nothing, whatever waits.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgent = append(q.urgent, &request{do: func(*group) error { return nil }, done: make(chan struct{}, 1)})
	q.filled.Signal()
}

// close refuses everything from now on with err; what is lined up stays.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.filled.Broadcast()
}

// refuse answers what is lined up with err, where no writer will.
func (q *queue) refuse(err error) {
	for rs := q.take(nil); len(rs) > 0; rs = q.take(nil) {
		for _, r := range rs {
			r.err = err
			r.done <- struct{}{}
		}
	}
}

func (q *queue) fill() (bytes int64, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes, len(q.urgent) + len(q.bulk)
}

// weight is about what a hit takes in memory while it waits.
func weight(hits []spoor.Hit) int64 {
	n := int64(0)
	for i := range hits {
		h := &hits[i]
		n += 640 + int64(len(h.ID)+len(h.Key)+len(h.UserID)+len(h.FormerID)+len(h.Name)+len(h.URL)+len(h.Referrer)+
			len(h.Title)+len(h.Properties)+len(h.UserAgent)+len(h.Resolution)+len(h.Language)+len(h.TimeZone)+len(h.MobileAdd)+len(h.MobileDrop))
		n += int64(len(h.Hints.Platform) + len(h.Hints.PlatformVersion) + len(h.Hints.Model))
		for _, b := range h.Hints.Brands {
			n += 32 + int64(len(b.Name)+len(b.Version))
		}
		p, a, c := &h.Place, &h.Agent, &h.Campaign
		n += int64(len(p.City) + len(p.Region) + len(p.Country) +
			len(a.OS) + len(a.OSVersion) + len(a.Browser) + len(a.BrowserVersion) + len(a.Device) +
			len(c.Channel) + len(c.Source) + len(c.Medium) + len(c.Name) + len(c.Term) + len(c.Content))
		n += weightOf(h.Attributes)
		if w := h.Withheld; w != nil {
			n += 128 + int64(len(w.Key)+len(w.UserID)+len(w.FormerID)+len(w.MobileAdd)) + weightOf(w.Attributes)
		}
	}
	return n
}

func weightOf(list []spoor.Attribute) (n int64) {
	for i := range list {
		n += 80 + int64(len(list[i].Name)+len(list[i].Text))
	}
	return n
}
