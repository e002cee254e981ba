package query

import (
	"bytes"
	"fmt"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// privacy answers with the record of processing of an app, or of all.
func (c *call) privacy() error {
	if c.s.opt.Privacy == nil {
		return errNotFound
	}
	apps := c.s.opt.Apps.AllApps()
	if c.app != nil {
		apps = []*spoor.App{c.app}
	}
	var text bytes.Buffer
	if err := c.s.opt.Privacy(&text, apps); err != nil {
		return fmt.Errorf("cannot write the record of processing: %w", err)
	}
	c.ctx.SetStatusCode(fasthttp.StatusOK)
	c.ctx.Response.Header.SetContentType("text/markdown; charset=utf-8")
	c.ctx.Response.SetBodyRaw(text.Bytes())
	return nil
}
