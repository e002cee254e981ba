package query

import (
	"bufio"
	"fmt"

	"github.com/spoorhq/spoor"
)

// writeReceipt appends a receipt with the stages that it has reached, and when
// the topic, if there is one, drops what had come in until the removal.
func (s *Server) writeReceipt(w *jsonWriter, r *spoor.Receipt) {
	expired := int64(0)
	if s.opt.TopicKeeps > 0 && r.Decided != 0 {
		expired = r.Decided + s.opt.TopicKeeps.Milliseconds()
	}
	w.begin('{')
	w.int("id", int64(r.ID))
	w.text("app", r.App)
	w.text("what", r.What)
	if r.Subject != "" {
		w.text("subject", r.Subject)
	}
	w.int("profiles", r.Profiles)
	w.int("hits", r.Hits)
	w.int("bytes", r.Bytes)
	w.key("stages")
	w.begin('[')
	for _, stage := range []struct {
		name string
		at   int64
	}{{"asked", r.Asked}, {"removed", r.Decided}, {"bytes_gone", r.Gone}, {"backups_expired", r.Backups}, {"topic_expired", expired}} {
		if stage.at != 0 {
			w.begin('{')
			w.text("stage", stage.name)
			w.time("at", stage.at)
			w.end('}')
		}
	}
	w.end(']')
	w.end('}')
}

// receipts streams the receipts of an app, or of all with those of apps that are
// gone, one JSON object a line.
func (c *call) receipts() error {
	if err := c.onlyQuery("app"); err != nil {
		return err
	}
	name, err := c.query("app")
	if err != nil {
		return err
	}
	ids := []spoor.AppID{0}
	switch app := c.s.opt.Apps.AppByName(name); {
	case c.app != nil:
		ids[0] = c.app.ID
	case app != nil:
		ids[0] = app.ID
	case name == "":
		for _, a := range c.s.opt.Apps.AllApps() {
			ids = append(ids, a.ID)
		}
	}
	gone := c.app == nil && name != "" && ids[0] == 0 // an app that is gone has its termination
	return c.startStream("application/x-ndjson", cutLine, func(w *bufio.Writer) error {
		var line jsonWriter
		for _, id := range ids {
			err := c.store.Receipts(id, func(r *spoor.Receipt) error {
				if gone && r.App != name {
					return nil
				}
				line.b = line.b[:0]
				c.s.writeReceipt(&line, r)
				line.b = append(line.b, '\n')
				if _, err := w.Write(line.b); err != nil {
					return fmt.Errorf("cannot write: %w", err)
				}
				return c.s.closing()
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, nil)
}
