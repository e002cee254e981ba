package query

import (
	"bytes"
	"errors"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// health says that the process answers.
func (c *call) health() error {
	var w jsonWriter
	w.begin('{')
	w.text("status", "ok")
	if c.door == doorLocal && c.s.opt.Version != "" {
		w.text("version", c.s.opt.Version)
	}
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// ready is red when the store cannot write. The reason is told in full to the
// operator only; other errors may hold paths of the machine.
func (c *call) ready() error {
	err := c.store.Writable()
	status := fasthttp.StatusOK
	var w jsonWriter
	w.begin('{')
	if err == nil {
		w.text("status", "ok")
	} else {
		status = fasthttp.StatusServiceUnavailable
		w.text("status", "unavailable")
		w.text("reason", c.readyReason(err))
	}
	w.end('}')
	return c.reply(status, &w)
}

func (c *call) readyReason(err error) string {
	if c.door == doorLocal {
		return err.Error()
	}
	for _, known := range []error{spoor.ErrBusy, spoor.ErrReadOnly, spoor.ErrClosed} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the store cannot write; its log says why"
}

// metrics is the Prometheus text.
func (c *call) metrics() error {
	if c.s.opt.Metrics == nil {
		return errNotFound
	}
	if c.s.opt.PrivateMetrics && c.door != doorLocal {
		who, err := c.s.authenticate(c.ctx, c.door)
		if err != nil {
			return err
		}
		if !who.control {
			return errForbidden
		}
	}
	var out bytes.Buffer
	if err := c.s.opt.Metrics(&out); err != nil {
		return err
	}
	c.ctx.Response.Header.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	c.ctx.Response.SetBodyRaw(out.Bytes())
	return nil
}
