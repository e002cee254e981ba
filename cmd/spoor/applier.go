package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/retention"
	"github.com/spoorhq/spoor/store"
)

// applier applies the commands of the log, each at its place between the hits of
// its partition.
type applier struct {
	store   *store.Store
	sweeper *retention.Sweeper
	answer  *query.Server
	changes *changes
	due     *due
	shared  *delivered
	marks   *marks
	log     *slog.Logger
	applied atomic.Int64
}

// command applies one and returns what whoever asked for it is told. An error says
// that it is not decided and must be applied again. Where one change is all there
// is to it, that moves the offset of the partition too, so that it is made once,
// whenever this process is killed; the others may be applied again.
func (a *applier) command(ctx context.Context, c *spoor.Command, p *store.Portion) (any, error) {
	now, random := time.UnixMilli(c.At), rand.NewChaCha8(c.Seed)
	switch c.Kind {
	case spoor.CommandRequest:
		if a.answer.Repeatable(c) {
			p = nil
		}
		st := a.store.At(now, random, p)
		return a.answer.Apply(ctx, c, st, a.sweeper.At(st, now, c.App))
	case spoor.CommandRetain:
		return a.retain(ctx, c, a.store.At(now, random, nil))
	case spoor.CommandLook:
		return nil, a.store.At(now, random, nil).Look(ctx, c.App)
	case spoor.CommandMark:
		return nil, a.mark(c, p)
	case spoor.CommandDelivered:
		return nil, a.shared.apply(c)
	}
	a.log.Error("the log has a kind of change that is not known here; it is left out, and this node may differ from the others now",
		"kind", c.Kind, "partition", p.Partition, "record", p.First, "hint", "run the same version on all store nodes; spoor check --against compares them")
	return fmt.Errorf("store nodes of this version know no change of kind %d; upgrade them", c.Kind), nil
}

// sweepAgain is the body of a CommandRetain that somebody asked for: it sweeps though
// that was done on the same day.
const sweepAgain = "again"

func (a *applier) retain(ctx context.Context, c *spoor.Command, st *store.Store) (r spoor.AppSweep, err error) {
	now := time.UnixMilli(c.At)
	if string(c.Body) != sweepAgain {
		return a.sweeper.Retain(ctx, st, c.App, now)
	}
	all, err := a.sweeper.At(st, now, c.App).Sweep(ctx, false, false)
	if len(all.Apps) > 0 {
		r = all.Apps[0]
	}
	return r, err
}

// done tells whoever waits, and notes what was done.
func (a *applier) done(c *spoor.Command, result any) {
	a.applied.Add(1)
	a.due.saw(c)
	a.changes.applied(c, result)
}

// mark takes a look at the apps of a partition as they are at this place. What
// they hold is summed up beside, while hits go on. Nobody waits any more for a mark
// of long ago, which a node that catches up meets.
func (a *applier) mark(c *spoor.Command, p *store.Portion) error {
	if time.Since(time.UnixMilli(c.At)).Abs() > compareMax {
		return nil
	}
	var apps []spoor.AppID
	for _, app := range a.store.AllApps() {
		if int(app.ID-1)%p.Partitions == p.Partition {
			apps = append(apps, app.ID)
		}
	}
	marked, err := a.store.Mark(apps)
	if err != nil {
		return err
	}
	a.marks.take(hex.EncodeToString(c.ID[:]), p.Partition, p.First, marked)
	return nil
}

// marks are the digests that were asked for lately.
type marks struct {
	stop context.Context
	log  *slog.Logger

	mu     sync.Mutex
	order  []string
	byID   map[string]map[int]*query.PartitionDigest // by id and partition
	taking sync.WaitGroup
	slots  chan struct{}
}

const (
	marksKept  = 8
	marksTaken = 64 // digests of partitions at once
)

func newMarks(stop context.Context, log *slog.Logger) *marks {
	return &marks{stop: stop, log: log, byID: map[string]map[int]*query.PartitionDigest{}, slots: make(chan struct{}, marksTaken)}
}

func (m *marks) take(id string, partition int, offset int64, marked *store.Marked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case m.slots <- struct{}{}:
	default: // too many are asked for
		if err := marked.Release(); err != nil {
			m.log.Error("cannot give up a look at a partition", "partition", partition, "error", err)
		}
		return
	}
	if m.byID[id] == nil {
		m.byID[id] = map[int]*query.PartitionDigest{}
		if m.order = append(m.order, id); len(m.order) > marksKept {
			delete(m.byID, m.order[0])
			m.order = m.order[1:]
		}
	}
	all := m.byID[id]
	m.taking.Go(func() {
		defer func() { <-m.slots }()
		d := &query.PartitionDigest{Number: partition, Offset: offset}
		apps, err := marked.Digest(m.stop)
		if err != nil {
			m.log.Error("cannot take the digest of a partition", "partition", partition, "error", err)
			d.Failed = "cannot take the digest; the log of the node says why"
		}
		d.Apps = apps
		m.mu.Lock()
		all[partition] = d
		m.mu.Unlock()
	})
}

// get gives the digests of a mark that are ready, by partition; nil: it was not
// met yet, or was too long ago.
func (m *marks) get(id string) []query.PartitionDigest {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []query.PartitionDigest
	for _, d := range m.byID[id] {
		list = append(list, *d)
	}
	return list
}
