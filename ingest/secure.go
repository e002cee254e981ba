package ingest

import (
	"crypto/tls"
	"errors"
	"io"
	"net"

	"github.com/spoorhq/spoor"
)

// errHandshake ends a connection without a word: what it could be told it
// could not read.
var errHandshake = errors.New("the connection was given up in its TLS handshake")

// ServeTLS is Serve for a listener on which clients speak TLS. The config must
// find its certificate without waiting. HTTP/1.1 is all that is spoken, so it
// should offer no other protocol to those who send requests.
func (s *Server) ServeTLS(ln net.Listener, config *tls.Config) error {
	return s.serve(s.http, listener{ln, s, config})
}

// secured is a connection that speaks TLS over a counted one. fasthttp calls
// Handshake in the goroutine of the connection, after it has set deadlines, so
// a handshake has ReadTimeout from its first byte to its last.
type secured struct {
	*tls.Conn
	plain *conn
	over  bool // nothing may be read any more; of the goroutine that serves the connection
}

// Handshake makes at most so many handshakes wait for their clients as the
// options say, in total and for one address: they cost memory and signatures
// before anybody has proved anything.
func (c *secured) Handshake() error {
	s := c.plain.s
	if reason := s.conns.beginHandshake(c.plain); reason != "" {
		s.counters.refused[lookup(reason)].Add(1)
		c.over = true
		return errHandshake
	}
	err := c.Conn.Handshake()
	s.conns.endHandshake(c.plain)
	if err != nil {
		s.counters.handshakesFailed.Add(1)
		c.over = true
		return errHandshake // the cause may quote what the client sent
	}
	s.counters.handshakes.Add(1)
	// Whoever settled on another protocol, as certificate authorities do that
	// prove who answers here, has what it came for.
	if p := c.ConnectionState().NegotiatedProtocol; p != "" && p != "http/1.1" {
		c.over = true
		return errHandshake
	}
	return nil
}

// Read ends after a handshake that failed: fasthttp reads on, and would answer.
func (c *secured) Read(p []byte) (int, error) {
	if c.over {
		return 0, io.EOF
	}
	k, err := c.Conn.Read(p)
	if k > 0 && !c.plain.spoke.Load() {
		c.plain.spoke.Store(true)
	}
	return k, err
}

// beginHandshake counts a handshake, or says why there is no room for it.
func (c *connections) beginHandshake(n *conn) spoor.Reason {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handshakes >= c.handshakesMax || n.counted && c.handshaking[n.peer] >= c.handshakesPerAddr {
		return reasonHandshakes
	}
	c.handshakes++
	if n.counted {
		c.handshaking[n.peer]++
	}
	return ""
}

func (c *connections) endHandshake(n *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handshakes--
	if !n.counted {
		return
	}
	if c.handshaking[n.peer]--; c.handshaking[n.peer] <= 0 {
		delete(c.handshaking, n.peer)
	}
}
