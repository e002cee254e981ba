package ingest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// connections counts what is open, in total and by address. Connections of a
// trusted proxy are many clients' and have no limit of their own; what they
// carry is counted by client while a request is worked on.
type connections struct {
	mu      sync.Mutex
	all     map[*conn]struct{}
	byAddr  map[netip.Addr]int // connections of clients, requests of proxied clients
	totals  int
	perAddr int

	handshakes  int                // of TLS, that are not done yet
	handshaking map[netip.Addr]int // of them, by client

	handshakesMax, handshakesPerAddr int
}

func newConnections(o Options) *connections {
	return &connections{
		all:     make(map[*conn]struct{}),
		byAddr:  make(map[netip.Addr]int),
		totals:  o.ConnectionsMax,
		perAddr: o.ConnectionsPerAddressMax,

		handshaking:       make(map[netip.Addr]int),
		handshakesMax:     max(1, o.ConnectionsMax/4),
		handshakesPerAddr: max(1, o.ConnectionsPerAddressMax/4),
	}
}

func (c *connections) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}

// Of so many connections the one that is idle for the longest time, and at
// least for so long, makes room for a new one.
const (
	idleLooked = 128
	idleMin    = 100 * time.Millisecond
)

// add takes a connection in, or says why not. Where there is no room, it takes
// that of a connection that waits for a next request: browsers and mail programs
// keep many open that they use once, and open a new one when they need it.
func (c *connections) add(n *conn) spoor.Reason {
	c.mu.Lock()
	full := len(c.all) >= c.totals
	c.mu.Unlock()
	if full {
		if idle := c.longestIdle(time.Now()); idle != nil {
			_ = idle.Close() // takes the lock
			n.s.counters.madeRoom.Add(1)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) >= c.totals {
		return reasonConnections
	}
	if n.counted {
		if c.byAddr[n.peer] >= c.perAddr {
			return reasonPerAddress
		}
		c.byAddr[n.peer]++
	}
	c.all[n] = struct{}{}
	return ""
}

func (c *connections) longestIdle(now time.Time) (longest *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	looked, since := 0, now.Add(-idleMin).UnixNano()
	for n := range c.all { // in no order
		if at := n.idleSince.Load(); at != 0 && at < since {
			longest, since = n, at
		}
		if looked++; looked == idleLooked {
			break
		}
	}
	return longest
}

func (c *connections) remove(n *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, n)
	if n.counted {
		c.release(n.peer)
	}
}

// begin counts a request of a client behind a trusted proxy; end undoes it.
func (c *connections) begin(client netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byAddr[client] >= c.perAddr {
		return false
	}
	c.byAddr[client]++
	return true
}

func (c *connections) end(client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(client)
}

func (c *connections) release(a netip.Addr) {
	if c.byAddr[a]--; c.byAddr[a] <= 0 {
		delete(c.byAddr, a)
	}
}

// closeSilent closes connections that have not sent a byte: nothing of theirs
// is in flight, and a drain need not wait for them. With all it closes every
// connection.
func (c *connections) closeSilent(all bool) {
	c.mu.Lock()
	var list []*conn
	for n := range c.all {
		if all || !n.spoke.Load() {
			list = append(list, n)
		}
	}
	c.mu.Unlock()
	for _, n := range list { // Close takes the lock
		_ = n.Close()
	}
}

// listener enforces the limits at accept, where a refused connection costs
// nothing but its reply.
type listener struct {
	net.Listener
	s      *Server
	secure *tls.Config // nil: clients speak HTTP in clear
}

func (l listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		n := &conn{Conn: raw, s: l.s, peer: addressOf(raw.RemoteAddr())}
		n.counted = n.peer.IsValid() && !l.s.trusted(n.peer)
		reason := l.s.conns.add(n)
		switch {
		case reason == "" && l.secure != nil:
			n.sealed = true
			return &secured{Conn: tls.Server(n, l.secure), plain: n}, nil
		case reason == "":
			return n, nil
		case l.secure != nil: // a refusal in clear could not be read
			l.s.counters.refused[lookup(reason)].Add(1)
			_ = raw.Close()
		default:
			l.s.turnAway(raw, reason)
		}
	}
}

// turnAway answers a connection that is not taken in, without waiting for its
// request. The reply fits an empty send buffer; the deadline is for the rest.
func (s *Server) turnAway(c net.Conn, reason spoor.Reason) {
	i := lookup(reason)
	s.counters.refused[i].Add(1)
	body := appendRefusal(nil, &refusals[i], "")
	_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond)) // the socket's clock, not ours
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nX-Spoor-Refused: %s\r\nRetry-After: %d\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		refusals[i].status, reason, refusals[i].retry, len(body), body)
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	_ = c.Close()
}

// conn is a connection that was taken in.
type conn struct {
	net.Conn
	s       *Server
	peer    netip.Addr
	counted bool // against the limit of its address
	sealed  bool // its bytes are TLS; what is said within counts as spoken
	spoke   atomic.Bool
	closed  atomic.Bool

	idleSince atomic.Int64 // Unix ns since when it waits for a next request; 0: it does not

	// What the socket has, in time since the server was made. Shutdown closes
	// connections, which for TLS means to write, while another goroutine serves them.
	writeAlarm atomic.Int64

	// Of the goroutine that serves the connection; no other one reads.
	readUntil time.Time // what was asked for
	readAlarm int64
}

// taken is the connection below, of which fasthttp has c; nil if it is none of ours.
func taken(c net.Conn) *conn {
	switch c := c.(type) {
	case *conn:
		return c
	case *secured:
		return c.plain
	}
	return nil
}

// noteState is fasthttp's hook: it tells between which requests a connection is.
func noteState(c net.Conn, state fasthttp.ConnState) {
	switch n := taken(c); {
	case n == nil:
	case state == fasthttp.StateIdle:
		n.idleSince.Store(time.Now().UnixNano())
	case state == fasthttp.StateActive:
		n.idleSince.Store(0)
	}
}

// soon reports whether a deadline of the socket stands for one that is asked for:
// being a sixteenth of the shortest time limit too early, it does. fasthttp asks for
// three deadlines for each request, which are hardly ever reached, and setting one
// takes 0.3 µs.
func (s *Server) soon(alarm, until int64) bool {
	early := until - alarm
	return early >= 0 && early < s.alarmSlack
}

// alarmAt is a deadline as alarms are kept.
func (s *Server) alarmAt(t time.Time) int64 { return int64(t.Sub(s.made)) }

// SetReadDeadline leaves the work to Read: the second of a request is of no use
// where all of it came in one piece, as most requests do.
func (n *conn) SetReadDeadline(t time.Time) error {
	n.readUntil = t
	return nil
}

func (n *conn) SetWriteDeadline(t time.Time) error {
	at := n.s.alarmAt(t)
	if n.s.soon(n.writeAlarm.Load(), at) {
		return nil
	}
	n.writeAlarm.Store(at)
	return n.Conn.SetWriteDeadline(t)
}

func (n *conn) Read(p []byte) (int, error) {
	if at := n.s.alarmAt(n.readUntil); !n.s.soon(n.readAlarm, at) {
		if err := n.Conn.SetReadDeadline(n.readUntil); err != nil {
			return 0, err
		}
		n.readAlarm = at
	}
	k, err := n.Conn.Read(p)
	if k > 0 {
		n.s.counters.bytesIn.Add(uint64(k))
		if !n.sealed && !n.spoke.Load() {
			n.spoke.Store(true)
		}
	}
	return k, err
}

func (n *conn) Close() error {
	if n.closed.Swap(true) {
		return nil
	}
	n.s.conns.remove(n)
	return n.Conn.Close()
}
