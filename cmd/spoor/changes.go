package main

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/query"
)

// changes puts changes into the log and waits until this node has applied them,
// at their place between the hits. It is the query.CommandLog of a store node.
type changes struct {
	node  *node
	topic *kafka.Topic
	apps  *kafka.Directory // all that the topic knows

	mu      sync.Mutex
	waiting map[[16]byte]chan any // what became of a command goes to who asked for it
}

// newChanges makes one that is not wired to a node yet.
func newChanges(topic *kafka.Topic) *changes {
	return &changes{topic: topic, waiting: map[[16]byte]chan any{}}
}

// command begins one.
func (c *changes) command(app spoor.AppID, kind spoor.CommandKind) *spoor.Command {
	cmd := &spoor.Command{App: app, At: c.node.now().UnixMilli(), Kind: kind}
	rand.Read(cmd.ID[:]) // never fails
	rand.Read(cmd.Seed[:])
	return cmd
}

// put puts a command into the log, and returns what this node came to when it
// applied it.
func (c *changes) put(ctx context.Context, cmd *spoor.Command) (any, error) {
	result := make(chan any, 1)
	c.mu.Lock()
	c.waiting[cmd.ID] = result
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, cmd.ID)
		c.mu.Unlock()
	}()
	if _, err := c.topic.Submit(ctx, cmd); err != nil {
		return nil, err
	}
	select {
	case r := <-result:
		if err, failed := r.(error); failed {
			return nil, err
		}
		return r, nil
	case <-ctx.Done():
		return nil, errLate
	}
}

// errLate says that a change will be made here, but was not yet.
var errLate = errors.New("the change is in the log, and this node has not read up to it yet")

// applied tells whoever waits for a command what this node came to.
func (c *changes) applied(cmd *spoor.Command, result any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waiting[cmd.ID]; w != nil {
		select {
		case w <- result:
		default: // the log has it twice
		}
	}
}

// Submit is for the API.
func (c *changes) Submit(ctx context.Context, cmd *spoor.Command) (*query.Reply, error) {
	r, err := c.put(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return r.(*query.Reply), nil
}

// Retain removes what is due in an app, on all nodes, by the clock of this one: not
// while that of another one is far from it.
func (c *changes) Retain(ctx context.Context, app spoor.AppID) (spoor.AppSweep, error) {
	if url, ahead := c.node.departed(); url != "" {
		return spoor.AppSweep{}, &spoor.ClockError{Node: url, Ahead: ahead}
	}
	cmd := c.command(app, spoor.CommandRetain)
	cmd.Body = []byte(sweepAgain)
	r, err := c.put(ctx, cmd)
	if err != nil {
		return spoor.AppSweep{}, err
	}
	return r.(spoor.AppSweep), nil
}

// NewNumber proposes the next number of an app whose partition this node reads.
func (c *changes) NewNumber(after spoor.AppID) (spoor.AppID, error) {
	newest, err := c.node.parts.store.NewestApp()
	if err != nil {
		return 0, err
	}
	next := max(newest, after, c.apps.Newest()) + 1
	for range c.topic.Partitions() {
		if c.node.reads(c.topic.PartitionOf(next)) {
			return next, nil
		}
		next++
	}
	return 0, errors.New("this node reads no partition")
}

// waitMax bounds how long what falls due is waited for; it is done all the same.
const waitMax = 30 * time.Second
