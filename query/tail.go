package query

import (
	"bufio"
	"time"

	"github.com/spoorhq/spoor"
)

// framing is how hits that are followed are written: around the line of each, and
// now and then a beat, by which a reader that has gone is noticed.
type framing struct{ begin, end, beat string }

// tail streams hits as they are stored, one JSON object a line. Hits are left
// out when the reader is too slow; what is complete is the export.
func (c *call) tail() error {
	return c.startTail("application/x-ndjson", framing{beat: "\n"})
}

// live is tail as server-sent events. A browser asks again when the stream
// breaks, and learns by the status that its session has ended.
func (c *call) live() error {
	c.ctx.Response.Header.Set("X-Accel-Buffering", "no") // or some proxies would hold events back
	return c.startTail("text/event-stream", framing{begin: "event: hit\ndata: ", end: "\n", beat: "event: beat\ndata:\n\n"})
}

func (c *call) startTail(contentType string, as framing) error {
	hits, stop := c.store.Tail(c.app.ID)
	err := c.startStream(contentType, "", func(w *bufio.Writer) error {
		return c.writeTail(w, hits, as)
	}, stop)
	if err != nil {
		stop()
	}
	return err
}

func (c *call) writeTail(w *bufio.Writer, hits <-chan spoor.Hit, as framing) error {
	beat := time.NewTicker(c.s.heartbeat)
	defer beat.Stop()
	var line jsonWriter
	for {
		// What is written before Flush keeps its error for it.
		select {
		case h, open := <-hits:
			if !open || c.accessEnded() {
				return nil
			}
			c.subjects++
			w.WriteString(as.begin)
			if err := c.writeHitLine(w, &line, &h); err != nil {
				return err
			}
			w.WriteString(as.end)
			if len(hits) > 0 { // more is here already: one flush for all
				continue
			}
		case <-beat.C:
			if c.accessEnded() {
				return nil
			}
			w.WriteString(as.beat)
		case <-c.s.done:
			return nil
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}
