package query

import (
	"bufio"
	"errors"
	"io"

	"github.com/valyala/fasthttp"
)

// Checkpoint is a copy of the whole store, as of one moment, that waits to be
// sent.
type Checkpoint interface {
	// Send writes it as a tar, whose last entry proves that it is complete.
	Send(w io.Writer) error
	// Close removes the copy. It is called once, also if nothing was sent.
	Close()
}

// ErrCheckpoint is what Options.Checkpoint fails with while another checkpoint is
// being sent.
var ErrCheckpoint = errors.New("another checkpoint is being sent")

var (
	errOtherCheckpoint = retry(detail(fasthttp.StatusConflict, "Another checkpoint is being sent; wait until that has ended."), 30)
	errNoCheckpoints   = detail(fasthttp.StatusForbidden, "Only the operator may fetch a copy of everything here; --checkpoints lets the secret of the control plane do so too.")
)

// checkpoint streams a copy of everything. The control plane sees no personal data
// otherwise, so this must be allowed; and no browser has a use for it.
func (c *call) checkpoint() error {
	switch {
	case c.s.opt.Checkpoint == nil:
		return errNotFound
	case !c.who.local && !c.s.opt.CheckpointByToken, c.session != nil:
		return errNoCheckpoints
	case c.ctx.IsHead():
		return detail(fasthttp.StatusMethodNotAllowed, "This path takes GET.")
	}
	if err := c.onlyQuery(); err != nil {
		return err
	}
	if !c.ctx.Request.Header.IsHTTP11() {
		return errHTTP10
	}
	copied, err := c.s.opt.Checkpoint()
	if errors.Is(err, ErrCheckpoint) {
		return errOtherCheckpoint
	}
	if err != nil {
		return err
	}
	c.subjects = len(c.s.opt.Apps.AllApps())
	c.ctx.Response.Header.Set("Content-Disposition", `attachment; filename="spoor.tar"`)
	err = c.startStream("application/x-tar", "", func(w *bufio.Writer) error {
		return copied.Send(untilClosing{c.s, w})
	}, copied.Close)
	if err != nil {
		copied.Close()
	}
	return err
}

// untilClosing ends a long stream when the server shuts down.
type untilClosing struct {
	s *Server
	w io.Writer
}

func (u untilClosing) Write(p []byte) (int, error) {
	if err := u.s.closing(); err != nil {
		return 0, err
	}
	return u.w.Write(p)
}
