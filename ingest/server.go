package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// drainMax is how long Shutdown waits for requests in flight.
const drainMax = 10 * time.Second

// Server is the collector. Its methods may be called concurrently.
type Server struct {
	opts     Options
	http     *fasthttp.Server
	clear    *fasthttp.Server // of ServeClear
	onward   Clear            // where it leads
	conns    *connections
	buckets  buckets
	salts    *salts
	origins  origins
	senders  senders
	counters counters
	panicLog throttle
	storeLog throttle
	requests sync.Pool // *request

	made       time.Time
	alarmSlack int64 // ns; see soon
}

// New makes a collector. It returns all that is wrong with the options.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("cannot start the collector: %w", err)
	}
	masked := make([]netip.Prefix, len(o.TrustedProxies))
	for i, p := range o.TrustedProxies {
		masked[i] = p.Masked()
	}
	o.TrustedProxies = masked
	salts, err := openSalts(o.SaltFile, o.Now, o.ShareSalt)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts:     o,
		conns:    newConnections(o),
		buckets:  buckets{eventsMax: o.EventsMax},
		salts:    salts,
		counters: newCounters(),
	}
	salts.watch(func(err error) { s.storeFailed(err) })
	s.made, s.alarmSlack = time.Now(), int64(min(o.ReadTimeout, o.WriteTimeout, o.IdleTimeout, drainTime))/16
	s.requests.New = func() any { return new(request) }
	s.http, s.clear = s.newHTTP(s.route), s.newHTTP(s.sendOn)
	return s, nil
}

func (s *Server) newHTTP(serve func(*fasthttp.RequestCtx, netip.Addr)) *fasthttp.Server {
	o := s.opts
	return &fasthttp.Server{
		Handler:                      func(ctx *fasthttp.RequestCtx) { s.handle(ctx, serve) },
		ErrorHandler:                 s.handleError,
		ConnState:                    noteState,
		Concurrency:                  o.ConnectionsMax + 1024, // ours is the limit; a worker outlives its connection a little
		ReadBufferSize:               o.HeaderBytesMax,
		MaxRequestBodySize:           o.BodyBytesMax,
		StreamRequestBody:            true, // else the announced length is allocated at once
		DisablePreParseMultipartForm: true, // else multipart goes to temporary files, past every limit
		ReadTimeout:                  o.ReadTimeout,
		WriteTimeout:                 o.WriteTimeout,
		IdleTimeout:                  o.IdleTimeout,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		Logger:                       silence{},
	}
}

// silence drops fasthttp's own log: it names addresses and repeats bytes that
// clients sent. What matters is in Stats.
type silence struct{}

func (silence) Printf(string, ...any) {}

// Serve takes connections until Shutdown; then it returns nil.
func (s *Server) Serve(ln net.Listener) error { return s.serve(s.http, listener{ln, s, nil}) }

func (s *Server) serve(server *fasthttp.Server, ln listener) error {
	if err := server.Serve(ln); err != nil {
		return fmt.Errorf("cannot accept connections on %v: %w", ln.Addr(), err)
	}
	return nil
}

// Shutdown stops accepting, answers what is in flight and closes the rest,
// waiting ten seconds at most, or as long as ctx allows. Call it before the
// Sink is closed.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainMax)
	defer cancel()
	s.conns.closeSilent(false)
	s.salts.close()
	err := errors.Join(s.http.ShutdownWithContext(ctx), s.clear.ShutdownWithContext(ctx))
	s.conns.closeSilent(true)
	if err != nil {
		return fmt.Errorf("cannot drain the collector: %w", err)
	}
	return nil
}

// handle is the wrapper around everything: fasthttp recovers no panic, and one
// would end the process.
func (s *Server) handle(ctx *fasthttp.RequestCtx, serve func(*fasthttp.RequestCtx, netip.Addr)) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(ctx, p)
		}
		// A body that was not read to its end would be taken for the next
		// request.
		if stream := ctx.RequestBodyStream(); stream != nil && !s.drained(ctx, stream) {
			ctx.SetConnectionClose()
		}
	}()
	s.counters.requests.Add(1)
	if reason := gate(&ctx.Request.Header, s.opts.HeaderCountMax); reason != "" {
		s.refuse(ctx, reason)
		if bytes.HasPrefix(ctx.Request.Header.RequestURI(), []byte("/pixel.gif?")) {
			asPixel(ctx)
		}
		return
	}
	client, proxied := s.client(ctx)
	if proxied {
		if !s.conns.begin(client) {
			s.refuse(ctx, reasonPerAddress)
			return
		}
		defer s.conns.end(client)
	}
	serve(ctx, client)
}

// handleError answers what fasthttp could not parse.
func (s *Server) handleError(ctx *fasthttp.RequestCtx, err error) {
	s.counters.requests.Add(1)
	s.refuse(ctx, readReason(err))
	ctx.SetConnectionClose()
	// fasthttp leaves the deadline of the reply before, which may be over.
	_ = ctx.Conn().SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
}

func (s *Server) panicked(ctx *fasthttp.RequestCtx, p any) {
	s.counters.panics.Add(1)
	ctx.Response.Reset()
	s.refuse(ctx, reasonPanic)
	if !s.panicLog.allow(s.opts.Now()) {
		return
	}
	// The value of a panic may hold what a client sent; of the runtime's own
	// errors we know that they hold numbers and types only.
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		what = err.Error()
	}
	s.opts.Log.Error("a request made the collector panic; it was answered with 500",
		"panic", what, "total", s.counters.panics.Load(), "stack", string(debug.Stack()))
}

// throttle lets one log line through every ten seconds.
type throttle struct {
	mu   sync.Mutex
	next time.Time
}

func (t *throttle) allow(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		return false
	}
	t.next = now.Add(10 * time.Second)
	return true
}

// storeFailed maps a Sink's error to a reason; what it does not know is logged.
func (s *Server) storeFailed(err error) spoor.Reason {
	reason := sinkReason(err)
	if reason == reasonStore && s.storeLog.allow(s.opts.Now()) {
		s.opts.Log.Error("cannot store hits; they were refused with 503", "err", err)
	}
	return reason
}
