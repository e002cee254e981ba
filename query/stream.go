package query

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

var errShutdown = errors.New("the server is shutting down")

// stream is a reply that is written while it is read from the store. fasthttp
// calls WriteTo in the connection's own goroutine; an error from it cuts the
// connection before the last chunk, which every client notices.
type stream struct {
	c       *call
	run     func(w *bufio.Writer) error
	stop    func()   // called once at the end; may be nil
	trailer string   // line that says that the stream was cut; may be empty
	conn    net.Conn // whose deadline each piece moves; nil: its listener does
	ended   bool     // run came to its end
	once    sync.Once
}

// startStream makes the reply a stream. It takes one of the places for
// streams, which is given back at the end.
func (c *call) startStream(contentType, trailer string, run func(*bufio.Writer) error, stop func()) error {
	if !c.ctx.Request.Header.IsHTTP11() {
		return errHTTP10
	}
	select {
	case c.s.streams <- struct{}{}:
	default:
		return errStreams
	}
	c.stream = &stream{c: c, run: run, stop: stop, trailer: trailer}
	if c.door == doorPublic || c.door == doorApp {
		c.stream.conn = c.ctx.Conn() // that server's time is for a whole reply
	}
	c.ctx.SetStatusCode(fasthttp.StatusOK)
	c.ctx.Response.Header.SetContentType(contentType)
	c.ctx.Response.ImmediateHeaderFlush = true
	c.ctx.Response.SetBodyStream(c.stream, -1)
	return nil
}

// SupportsBodyWriteTo makes fasthttp call WriteTo, never Read.
func (st *stream) SupportsBodyWriteTo() bool { return true }

// Read exists because fasthttp asks for a reader.
func (st *stream) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// WriteTo runs the stream.
func (st *stream) WriteTo(w io.Writer) (n int64, err error) {
	client := &clientWriter{w: w, conn: st.conn, timeout: st.c.s.opt.WriteTimeout}
	out := bufio.NewWriterSize(client, 32<<10)
	defer func() {
		if r := recover(); r != nil {
			st.c.s.counters.panics.Add(1)
			st.c.s.opt.Log.Error("a stream panicked; please report this", "stack", string(debug.Stack()))
			err = errors.New("the stream panicked")
		}
	}()
	err = st.run(out)
	if err == nil {
		err = out.Flush()
	}
	st.ended = err == nil
	if err != nil && client.err == nil {
		out.WriteString(st.trailer)
		out.Flush()
		if !errors.Is(err, errShutdown) {
			st.c.s.counters.failed.Add(1)
			st.c.s.opt.Log.Error("cannot finish a stream", "path", st.c.route.pattern, "error", err)
		}
	}
	return client.n, err
}

// Close is called by fasthttp however the reply ended, also when WriteTo was
// never called.
func (st *stream) Close() error {
	st.once.Do(func() {
		if st.stop != nil {
			st.stop()
		}
		<-st.c.s.streams
		st.c.audit(st.ended)
	})
	return nil
}

// clientWriter remembers that it was the client who failed.
type clientWriter struct {
	w       io.Writer
	conn    net.Conn // may be nil
	timeout time.Duration
	n       int64
	err     error
}

func (c *clientWriter) Write(p []byte) (int, error) {
	if c.conn != nil {
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			c.err = err
			return 0, err
		}
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// closing is errShutdown once Shutdown was called. Long walks ask for it.
func (s *Server) closing() error {
	select {
	case <-s.done:
		return errShutdown
	default:
		return nil
	}
}
