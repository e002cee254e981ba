package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// Digests compares store nodes: a mark in the log makes each of them sum up what
// it holds at that place.
type Digests interface {
	// Mark puts a mark into the partitions that this node reads. It fails with
	// spoor.ErrBusy if the brokers did not confirm it.
	Mark(ctx context.Context) (id string, err error)
	// Digests are those of a mark that this node has met and summed up, by
	// partition; nil as long as one of its partitions is not done.
	Digests(id string) []PartitionDigest
}

// PartitionDigest is what the apps of a partition hold at one place of the log.
type PartitionDigest struct {
	Number int               `json:"partition"`
	Offset int64             `json:"offset"` // of the mark
	Failed string            `json:"failed,omitempty"`
	Apps   []spoor.AppDigest `json:"apps"`
}

var errNoDigests = detail(fasthttp.StatusConflict, "This process reads no topic; ask a store node.")

// takeDigest begins a comparison.
func (c *call) takeDigest() error {
	if c.s.opt.Digests == nil {
		return errNoDigests
	}
	id, err := c.s.opt.Digests.Mark(c.ctx)
	if errors.Is(err, spoor.ErrBusy) { // some partitions may have it
		return errLogAway
	}
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.text("id", id)
	w.end('}')
	return c.reply(fasthttp.StatusCreated, &w)
}

// readDigest answers with the digests of a mark, or 404 as long as there are none.
func (c *call) readDigest() error {
	if c.s.opt.Digests == nil {
		return errNoDigests
	}
	list := c.s.opt.Digests.Digests(c.args[0])
	if list == nil {
		return errNotFound
	}
	body, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("cannot tell a digest: %w", err)
	}
	c.ctx.SetStatusCode(fasthttp.StatusOK)
	c.ctx.Response.Header.SetContentType("application/json")
	c.ctx.Response.SetBodyRaw(body)
	return nil
}
