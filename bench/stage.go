package main

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
)

// The stages without network and disk: prepared requests come from memory, and
// replies go nowhere, so that what is measured is spoor's own and fasthttp's.

// oneApp is the open app of serve --demo, without a store.
type oneApp struct{ app *spoor.App }

func newOneApp() oneApp {
	settings := spoor.DefaultSettings("UTC")
	settings.EventsPerMinute, settings.TrustSender = 0, true
	return oneApp{&spoor.App{ID: 1, Name: demoKey, Settings: settings, Keys: []spoor.WriteKey{{Key: demoKey}}}}
}

func (a oneApp) App(spoor.AppID) *spoor.App { return a.app }
func (a oneApp) AllApps() []*spoor.App      { return []*spoor.App{a.app} }

func (a oneApp) AppByKey(key string) *spoor.App {
	if key != demoKey {
		return nil
	}
	return a.app
}

// replay is a connection of a proxy that sends requests in turn, each when the
// one before was answered, and then ends.
type replay struct {
	net.Conn // panics on what is not overridden
	requests [][]byte
	more     func() bool // whether another one is sent
	next     int
	rest     []byte
	answered *answers
	once     sync.Once
	closed   chan struct{}
}

// answers are the replies that were not 2xx.
type answers struct {
	mu   sync.Mutex
	last string
}

func newReplay(requests [][]byte, answered *answers, more func() bool) *replay {
	return &replay{requests: requests, more: more, answered: answered, closed: make(chan struct{})}
}

func (r *replay) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		if !r.more() {
			return 0, io.EOF
		}
		r.rest = r.requests[r.next%len(r.requests)]
		r.next++
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *replay) Write(b []byte) (int, error) {
	if len(b) > 9 && string(b[:8]) == "HTTP/1.1" && b[9] != '2' {
		r.answered.mu.Lock()
		r.answered.last = string(b)
		r.answered.mu.Unlock()
	}
	return len(b), nil
}

func (r *replay) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

var replayPeer = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}

func (r *replay) RemoteAddr() net.Addr             { return replayPeer }
func (r *replay) LocalAddr() net.Addr              { return replayPeer }
func (r *replay) SetDeadline(time.Time) error      { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }

// replays is a listener that accepts them.
type replays struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newReplays() *replays { return &replays{conns: make(chan net.Conn), done: make(chan struct{})} }

func (l *replays) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *replays) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *replays) Addr() net.Addr { return replayPeer }

// inMemory runs the front over such a listener.
type inMemory struct {
	listener *replays
	answered answers
	stop     func() error
}

func newInMemory(next spoor.Sink) (*inMemory, error) { return newInMemoryOf(true, next) }

func newInMemoryOf(enriched bool, next spoor.Sink) (*inMemory, error) {
	build := stages
	if !enriched {
		build = front
	}
	server, err := build(newOneApp(), next)
	if err != nil {
		return nil, err
	}
	m := &inMemory{listener: newReplays()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(m.listener) }()
	m.stop = func() error { return errors.Join(server.Shutdown(context.Background()), <-served) }
	return m, nil
}

// send replays requests over one connection until more says no.
func (m *inMemory) send(requests [][]byte, more func() bool) error {
	r := newReplay(requests, &m.answered, more)
	m.listener.conns <- r
	<-r.closed
	m.answered.mu.Lock()
	defer m.answered.mu.Unlock()
	if m.answered.last != "" {
		return errors.New("the collector answered " + m.answered.last)
	}
	return nil
}

// stageRequests are prepared requests of the model's mix with so many events
// each. There are enough of them that no two in a row find all caches warm.
func stageRequests(d door, batch int) [][]byte {
	t := newTraffic(1, []string{demoKey}, d)
	s := newStream(1, 1, 1, 0)
	w := &worker{load: load{door: d, batch: batch, duration: 1}, traffic: t, stream: s}
	all := make([][]byte, max(1024/batch, 16))
	for i := range all {
		w.prepare(time.Now())
		all[i] = append([]byte(nil), w.out...)
	}
	return all
}

const (
	allocationsWarm = 20_000
	allocationsHits = 100_000
)

// allocationsPerHit counts what a single hit allocates from the first byte of
// its request to the queue of the writer, HTTP and enrichment included. Nothing
// else may run in this process meanwhile.
func allocationsPerHit() (float64, error) {
	m, err := newInMemory(discard{})
	if err != nil {
		return 0, err
	}
	var before, after runtime.MemStats
	n := 0
	err = m.send(stageRequests(doorHit, 1), func() bool {
		if n == allocationsWarm {
			runtime.ReadMemStats(&before)
		}
		n++
		return n <= allocationsWarm+allocationsHits
	})
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / allocationsHits, errors.Join(err, m.stop())
}
