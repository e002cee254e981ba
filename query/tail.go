package query

import (
	"bufio"
	"time"

	"github.com/spoorhq/spoor"
)

// tail streams hits as they are stored, one JSON object a line, and a blank
// line now and then, by which a reader that has gone is noticed. Hits are left
// out when the reader is too slow; what is complete is the export.
func (c *call) tail() error {
	hits, stop := c.s.opt.Store.Tail(c.app.ID)
	err := c.startStream("application/x-ndjson", "", func(w *bufio.Writer) error {
		return c.writeTail(w, hits)
	}, stop)
	if err != nil {
		stop()
	}
	return err
}

func (c *call) writeTail(w *bufio.Writer, hits <-chan spoor.Hit) error {
	beat := time.NewTicker(c.s.heartbeat)
	defer beat.Stop()
	var line jsonWriter
	for {
		select {
		case h, open := <-hits:
			if !open {
				return nil
			}
			c.subjects++
			if err := c.writeHitLine(w, &line, &h); err != nil {
				return err
			}
			if len(hits) > 0 { // more is here already: one flush for all
				continue
			}
		case <-beat.C:
			if c.door == doorApp {
				if _, ok := c.s.visitor(c.session, false); !ok {
					return nil // logged out, or the token is gone
				}
			}
			w.WriteByte('\n') // the error is kept for Flush
		case <-c.s.done:
			return nil
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}
