package query

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Server answers for what is stored. Its methods may be called concurrently.
type Server struct {
	opt       Options
	resources []*resource
	web       *fasthttp.Server
	local     *fasthttp.Server
	limits    limits
	marks     marks
	sessions  sessions
	attempts  attempts
	cursors   cipher.Block
	streams   chan struct{}   // holds one entry for each open stream
	heartbeat time.Duration   // of tails
	ending    context.Context // until Shutdown
	end       context.CancelFunc
	done      <-chan struct{} // of ending
	forwards  *forwarder
	counters  counters

	shareLimits limits // of shared overviews
	started     int64  // Unix ms
	sampler     sampler
	sampleEvery time.Duration
	sampleOnce  sync.Once
	background  sync.WaitGroup // what Shutdown waits for
}

type counters struct {
	requests, denied, limited, failed, panics, accesses, missed atomic.Int64
	logins, loginsFailed, applied, unknown, forwarded           atomic.Int64
}

// Stats is what a Server has done since it was made.
type Stats struct {
	Requests     int64 // of all kinds
	Denied       int64 // answered 401 or 403
	Limited      int64 // answered 429
	Failed       int64 // answered 5xx
	Panics       int64 // bugs that were caught
	Accesses     int64 // entries of the audit log
	AuditMissed  int64 // of them those that could not be stored, and are in the process's log
	Logins       int64 // sessions opened
	LoginsFailed int64 // wrong tokens, and attempts beyond the limits
	Applied      int64 // commands of a cluster's log, also those that were refused
	Unknown      int64 // commands that this version does not know
	Forwarded    int64 // requests that other nodes answered
	Sessions     int   // that are open now, or ended and were not looked for since
	Streams      int   // exports and tails that are open now
	Connections  int   // that are open now, both listeners
}

// New makes a server that does not listen yet.
func New(opt Options) (*Server, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, opt.Secret)
	mac.Write([]byte("page cursors"))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, fmt.Errorf("cannot make the cipher of cursors: %w", err)
	}
	s := &Server{
		opt:       opt,
		resources: newResources(routes()),
		cursors:   block,
		streams:   make(chan struct{}, opt.StreamsMax),
		heartbeat: 15 * time.Second,
		forwards:  newForwarder(),

		started: opt.Now().UnixMilli(), sampleEvery: time.Second,
	}
	s.ending, s.end = context.WithCancel(context.Background())
	s.done = s.ending.Done()
	s.web = s.newHTTP(doorWeb)
	s.local = s.newHTTP(doorLocal)
	return s, nil
}

func (s *Server) newHTTP(door door) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      func(ctx *fasthttp.RequestCtx) { s.handle(ctx, door) },
		ErrorHandler:                 s.badRequest,
		Logger:                       silent{},
		Concurrency:                  s.opt.ConnectionsMax,
		ReadBufferSize:               headerBytesMax,
		MaxRequestBodySize:           bodyBytesMax,
		ReadTimeout:                  s.opt.ReadTimeout,
		IdleTimeout:                  s.opt.IdleTimeout,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		// Announced lengths get no memory before their bytes are here.
		StreamRequestBody: true,
	}
}

// silent swallows fasthttp's remarks on broken connections: they quote bytes
// of clients.
type silent struct{}

func (silent) Printf(string, ...any) {}

// badRequest answers what fasthttp could not parse. The connection is closed
// by fasthttp.
func (s *Server) badRequest(ctx *fasthttp.RequestCtx, err error) {
	s.counters.requests.Add(1)
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.refuse(ctx, errTooLarge)
	case errors.As(err, &small):
		s.refuse(ctx, errHeaders)
	case errors.As(err, &netErr) && netErr.Timeout():
		s.refuse(ctx, detail(fasthttp.StatusRequestTimeout, "The request did not arrive in time."))
	default:
		s.refuse(ctx, errFraming)
	}
}

// Serve answers requests that carry a token, until Shutdown. It closes the
// listener.
func (s *Server) Serve(l net.Listener) error { return s.serve(s.web, l) }

// ServeLocal answers the operator: whoever can connect may do everything.
// Give it a unix socket that only the owner can open.
func (s *Server) ServeLocal(l net.Listener) error { return s.serve(s.local, l) }

func (s *Server) serve(server *fasthttp.Server, l net.Listener) error {
	select {
	case <-s.done:
		l.Close()
		return nil
	default:
	}
	if s.opt.Figures != nil {
		s.sampleOnce.Do(func() { s.background.Go(s.sampleFigures) })
	}
	if err := server.Serve(&listener{Listener: l, writeTimeout: s.opt.WriteTimeout}); err != nil {
		return fmt.Errorf("cannot serve reads on %s: %w", l.Addr(), err)
	}
	return nil
}

// Handler serves /api/public/ (with tokens) from within another fasthttp
// server, and answers 404 to everything else. That server's limits on
// connections, headers and times hold; bodies are limited here.
func (s *Server) Handler() fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) { s.handle(ctx, doorPublic) }
}

// Shutdown stops listening, ends streams (exports visibly cut), answers what
// is in flight, and returns when all connections are closed or ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	errs := make(chan error, 1)
	go func() { errs <- s.local.ShutdownWithContext(ctx) }()
	err := errors.Join(s.web.ShutdownWithContext(ctx), <-errs)
	s.background.Wait()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) { // who never ended a request waits in vain
		return fmt.Errorf("cannot close all connections of readers: %w", err)
	}
	return nil
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	return Stats{
		Requests:     s.counters.requests.Load(),
		Denied:       s.counters.denied.Load(),
		Limited:      s.counters.limited.Load(),
		Failed:       s.counters.failed.Load(),
		Panics:       s.counters.panics.Load(),
		Accesses:     s.counters.accesses.Load(),
		AuditMissed:  s.counters.missed.Load(),
		Logins:       s.counters.logins.Load(),
		LoginsFailed: s.counters.loginsFailed.Load(),
		Applied:      s.counters.applied.Load(),
		Unknown:      s.counters.unknown.Load(),
		Forwarded:    s.counters.forwarded.Load(),
		Sessions:     s.sessions.count(),
		Streams:      len(s.streams),
		Connections:  int(s.web.GetOpenConnectionsCount()) + int(s.local.GetOpenConnectionsCount()),
	}
}

// listener gives each piece of a reply its own time, where fasthttp knows only
// one deadline for the whole: an export may take an hour, a reader that has
// stopped reading may not.
type listener struct {
	net.Listener
	writeTimeout time.Duration
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, writeTimeout: l.writeTimeout}, nil
}

type conn struct {
	net.Conn
	writeTimeout time.Duration
}

// Write uses the machine's clock, as all deadlines of connections do.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
