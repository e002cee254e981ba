package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// load is one phase of traffic over keep-alive connections: a closed loop, in
// which each sends its next request when the reply to the last one is read, or
// an open one, in which requests have a time at which they are due. A request
// that is late because the one before was answered late counts from when it
// was due.
type load struct {
	address     string
	door        door
	mix         Mix
	connections int           // at most one per stream
	batch       int           // events per request
	duration    time.Duration // no request begins later; 0: until the population is known
	pace        float64       // requests per second over all connections; 0: a closed loop
	discard     bool          // the peer keeps nothing: its replies say nothing about events
}

// result is what a phase measured.
type result struct {
	requests, events int64 // answered 2xx; events that were acknowledged
	refusedRequests  int64 // 429 and 503
	errors           int64 // connections that broke, replies that cannot be read
	seconds          float64
	latency          *hdrhistogram.Histogram // of 2xx replies, in microseconds
	problem          string                  // the first error
}

// perSecond is the rate of acknowledged events.
func (r *result) perSecond() float64 { return float64(r.events) / r.seconds }

// perRequest is the rate of answered requests.
func (r *result) perRequest() float64 { return float64(r.requests) / r.seconds }

func (r *result) percentile(p float64) time.Duration {
	return time.Duration(r.latency.ValueAtPercentile(p)) * time.Microsecond
}

// Range and precision of latencies: a histogram takes some 20 KB, and each
// connection has one.
const (
	latencyMax     = 60_000_000
	latencyDigits  = 2
	dialTimeout    = 30 * time.Second
	pauseIfRefused = 50 * time.Millisecond
)

// run sends traffic and returns when every request has its reply.
func (l load) run(t *traffic, streams []*stream, book *ledger) (*result, error) {
	workers := make([]*worker, l.connections)
	for i := range workers {
		w := &worker{load: l, traffic: t, stream: streams[i], ledger: book}
		for k := i + l.connections; l.duration == 0 && k < len(streams); k += l.connections {
			w.more = append(w.more, streams[k])
		}
		w.got.latency = hdrhistogram.New(1, latencyMax, latencyDigits)
		if err := w.dial(); err != nil {
			return nil, err
		}
		workers[i] = w
	}
	var stop atomic.Bool
	var wait sync.WaitGroup
	began := time.Now()
	for _, w := range workers {
		wait.Go(func() { w.loop(&stop) })
	}
	if l.duration > 0 {
		time.AfterFunc(l.duration, func() { stop.Store(true) })
	}
	wait.Wait()
	sum := &result{seconds: time.Since(began).Seconds(), latency: hdrhistogram.New(1, latencyMax, latencyDigits)}
	for _, w := range workers {
		w.close()
		sum.requests += w.got.requests
		sum.events += w.got.events
		sum.refusedRequests += w.got.refusedRequests
		sum.errors += w.got.errors
		sum.latency.Merge(w.got.latency)
		if sum.problem == "" {
			sum.problem = w.got.problem
		}
	}
	return sum, nil
}

// worker is one connection.
type worker struct {
	load
	traffic *traffic
	stream  *stream
	more    []*stream // to make known after stream
	ledger  *ledger
	got     result

	conn     net.Conn
	out      []byte // the request, kept to be sent again
	hits     []hit
	first    event // of the request
	in       []byte
	start    int // in[start:end] is read and not used
	end      int
	outcomes []outcome
}

func (w *worker) dial() error {
	conn, err := net.DialTimeout("tcp", w.address, dialTimeout)
	if err != nil {
		return fmt.Errorf("cannot connect to the server under test: %w", err)
	}
	w.conn, w.start, w.end = conn, 0, 0
	if w.in == nil {
		w.in = make([]byte, 16<<10)
	}
	return nil
}

func (w *worker) close() {
	if w.conn != nil {
		w.conn.Close()
	}
}

func (w *worker) loop(stop *atomic.Bool) {
	due := time.Now()
	if w.pace > 0 { // not all at the same moment
		due = due.Add(time.Duration(w.stream.rng.Float64() * w.step()))
	}
	for more := true; more; more = !stop.Load() {
		repeat := len(w.out) > 0 && !w.discard && w.stream.rng.Float64() < repeatShare
		now := time.Now()
		if w.pace > 0 {
			time.Sleep(due.Sub(now))
			now, due = due, due.Add(time.Duration(w.step()))
		}
		if !repeat && !w.prepare(now) {
			return
		}
		status, err := w.exchange()
		if err != nil {
			w.got.errors++
			if w.got.problem == "" {
				w.got.problem = err.Error()
			}
			w.close()
			if w.got.errors > 100 || w.dial() != nil {
				return
			}
			continue
		}
		w.book(status, time.Since(now))
		if w.pace == 0 && (status == 429 || status == 503) {
			time.Sleep(pauseIfRefused)
		}
	}
}

// step is the time between two requests of a connection, in nanoseconds.
func (w *worker) step() float64 { return float64(w.connections) / w.pace * 1e9 }

// prepare draws hits and makes the request; false when there is nothing left
// to send.
func (w *worker) prepare(now time.Time) bool {
	w.hits = w.hits[:0]
	for len(w.hits) < w.load.batch {
		h, ok := w.draw()
		if !ok {
			break
		}
		w.hits = append(w.hits, h)
	}
	for i, h := range w.hits {
		if e := w.stream.event(h.app); i == 0 {
			w.first = e
		}
	}
	if len(w.hits) == 0 {
		return false
	}
	w.out = w.traffic.appendRequest(w.out[:0], w.door, w.hits, w.first, now.UTC())
	return true
}

func (w *worker) draw() (hit, bool) {
	if w.duration > 0 {
		return w.stream.next(w.mix), true
	}
	h, ok := w.stream.first()
	if !ok && len(w.hits) == 0 && len(w.more) > 0 {
		w.stream, w.more = w.more[0], w.more[1:]
		h, ok = w.stream.first()
	}
	return h, ok
}

// book enters what the reply said.
func (w *worker) book(status int, took time.Duration) {
	if status/100 != 2 {
		w.got.refusedRequests++
		if status != 429 && status != 503 && w.got.problem == "" {
			w.got.problem = "the server answered " + strconv.Itoa(status)
		}
	} else {
		w.got.requests++
		// Longer than the histogram reaches counts as its end.
		_ = w.got.latency.RecordValue(min(max(took.Microseconds(), 1), latencyMax))
	}
	if w.discard {
		if status/100 == 2 {
			w.got.events += int64(len(w.hits))
		}
		return
	}
	e := w.first
	for i, h := range w.hits {
		e.app = h.app
		o := refused
		if status/100 == 2 {
			o = w.outcomes[i]
		}
		if o.acknowledged() {
			w.got.events++
		}
		w.ledger.note(e, o)
		e.seq++
	}
}

var errReply = errors.New("a reply cannot be read")

// exchange sends the request and reads the reply. The events count as sent
// from the first byte on.
func (w *worker) exchange() (status int, err error) {
	if !w.discard {
		e := w.first
		for range w.hits {
			w.ledger.note(e, sent)
			e.seq++
		}
	}
	if _, err := w.conn.Write(w.out); err != nil {
		return 0, fmt.Errorf("cannot send: %w", err)
	}
	head, err := w.readHead()
	if err != nil {
		return 0, err
	}
	if len(head) < 12 {
		return 0, errReply
	}
	status, err = strconv.Atoi(string(head[9:12]))
	if err != nil {
		return 0, errReply
	}
	length := 0
	if i := bytes.Index(head, []byte("Content-Length: ")); i >= 0 {
		for i += len("Content-Length: "); head[i] >= '0' && head[i] <= '9'; i++ {
			length = length*10 + int(head[i]-'0')
		}
	}
	closing := bytes.Contains(head, []byte("Connection: close"))
	if status == 204 {
		length = 0
	}
	body, err := w.readBody(length)
	if err == nil && status/100 == 2 && !w.discard {
		err = w.readOutcomes(body)
	}
	if err == nil && closing {
		w.close()
		err = w.dial()
	}
	return status, err
}

// readHead reads to the empty line.
func (w *worker) readHead() ([]byte, error) {
	for searched := w.start; ; {
		if i := bytes.Index(w.in[searched:w.end], []byte("\r\n\r\n")); i >= 0 {
			head := w.in[w.start : searched+i+2]
			w.start = searched + i + 4
			return head, nil
		}
		searched = max(w.start, w.end-3)
		if err := w.fill(); err != nil {
			return nil, err
		}
		searched = min(searched, w.end)
		if w.start == 0 { // fill may have moved what was read
			searched = 0
		}
	}
}

func (w *worker) readBody(length int) ([]byte, error) {
	if length > 4<<20 {
		return nil, errReply
	}
	for w.end-w.start < length {
		if err := w.fill(); err != nil {
			return nil, err
		}
	}
	body := w.in[w.start : w.start+length]
	if w.start += length; w.start == w.end {
		w.start, w.end = 0, 0
	}
	return body, nil
}

// fill reads once, behind what was read before.
func (w *worker) fill() error {
	if w.end == len(w.in) {
		if w.start > 0 {
			w.end = copy(w.in, w.in[w.start:w.end])
			w.start = 0
		} else {
			w.in = append(w.in, make([]byte, len(w.in))...)
		}
	}
	n, err := w.conn.Read(w.in[w.end:])
	w.end += n
	if n == 0 && err != nil {
		return fmt.Errorf("cannot read a reply: %w", err)
	}
	return nil
}

var statusField = []byte(`"status":"`)

// readOutcomes reads what became of each event. An image tells nothing but its
// status: a 2xx means kept, now or before.
func (w *worker) readOutcomes(body []byte) error {
	w.outcomes = w.outcomes[:0]
	if w.door == doorPixel || w.door == doorOpen {
		w.outcomes = append(w.outcomes, stored)
		return nil
	}
	for {
		i := bytes.Index(body, statusField)
		if i < 0 {
			break
		}
		body = body[i+len(statusField):]
		o := refused
		switch {
		case bytes.HasPrefix(body, []byte(`stored"`)):
			o = stored
		case bytes.HasPrefix(body, []byte(`duplicate"`)):
			o = duplicate
		}
		w.outcomes = append(w.outcomes, o)
	}
	if len(w.outcomes) != len(w.hits) {
		return fmt.Errorf("%w: it tells of %d events, %d were sent", errReply, len(w.outcomes), len(w.hits))
	}
	return nil
}
