package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// due puts into the log what falls due by time, so that all nodes do it at the
// same place: what retention removes, and who crossed watched segments. The first
// node of a partition asks for it; the others do where it does not.
type due struct {
	store   *store.Store
	node    *node
	changes *changes
	began   time.Time
	grace   time.Duration // before anything is removed: a wrong date must have time to be seen
	stopped func() bool   // the clock departed
	log     *slog.Logger

	mu    sync.Mutex
	apps  map[spoor.AppID]*dueApp
	apart bool // the clocks of two nodes are

	all    []*spoor.App
	sorted map[int][]*spoor.App // all, by partition
}

// dueApp is what this process has seen of an app.
type dueApp struct {
	retained time.Time // the time of the newest CommandRetain
	looked   time.Time // when the newest CommandLook was applied here
	told     uint64    // the newest entry of the feed behind it
	asked    time.Time // when this node last asked for retention
}

const (
	dueTick      = 250 * time.Millisecond
	retainEvery  = time.Hour
	retainAgain  = 10 * time.Minute // after it was asked for and not seen
	retainOthers = 5 * time.Minute  // before another node than the first one asks
	lookEvery    = 300 * time.Millisecond
	lookOthers   = 5 * time.Second
	lookAnyway   = time.Minute // a new day is seen by then
)

// run asks until ctx ends.
func (d *due) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range d.node.parts.parts {
		all.Go(func() {
			for pause(ctx, dueTick) {
				d.look(ctx, p.number)
			}
		})
		all.Go(func() {
			for pause(ctx, dueTick) {
				d.retain(ctx, p.number)
			}
		})
	}
	all.Wait()
}

// each calls fn with the apps of a partition, and what was seen of them.
func (d *due) each(partition int, fn func(*spoor.App, dueApp)) {
	for _, app := range d.of(partition) {
		d.mu.Lock()
		seen := *d.app(app.ID)
		d.mu.Unlock()
		fn(app, seen)
	}
}

// of are the apps of a partition. All are sorted when one of them has changed, not
// at each look.
func (d *due) of(partition int) []*spoor.App {
	all := d.store.AllApps()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(all, d.all) {
		d.all, d.sorted = all, map[int][]*spoor.App{}
		for _, app := range all {
			n := d.node.topic.PartitionOf(app.ID)
			d.sorted[n] = append(d.sorted[n], app)
		}
	}
	return d.sorted[partition]
}

func (d *due) app(id spoor.AppID) *dueApp {
	a := d.apps[id]
	if a == nil {
		a = &dueApp{}
		d.apps[id] = a
	}
	return a
}

// saw notes that a command was applied here.
func (d *due) saw(cmd *spoor.Command) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store.App(cmd.App) == nil {
		delete(d.apps, cmd.App)
		return
	}
	switch a := d.app(cmd.App); cmd.Kind {
	case spoor.CommandRetain:
		a.retained = time.UnixMilli(cmd.At)
	case spoor.CommandLook:
		a.looked = d.node.now()
		a.told, _ = d.store.FeedEnd(cmd.App)
	}
}

// wait is how long this node lets the first one of a partition go before.
func (d *due) wait(partition int, others time.Duration) time.Duration {
	if d.node.first(partition) {
		return 0
	}
	return others
}

// retain asks for what retention removes. While the clocks of two nodes are far
// from each other nobody does: the one that is ahead would remove too early.
func (d *due) retain(ctx context.Context, partition int) {
	now := d.node.now()
	late := d.wait(partition, retainOthers)
	if d.clocksDepart() || d.stopped() || now.Sub(d.began) < max(d.grace, nodeAlive)+late { // told by all nodes, and before something is due
		return
	}
	d.each(partition, func(app *spoor.App, seen dueApp) {
		then := now.Add(-late)
		fresh := !seen.retained.IsZero() && then.Sub(seen.retained) < retainEvery && app.Day(then.UnixMilli()) <= app.Day(seen.retained.UnixMilli())
		if fresh || now.Sub(seen.asked) < retainAgain {
			return
		}
		d.mu.Lock()
		d.app(app.ID).asked = now
		d.mu.Unlock()
		_ = d.ask(ctx, app, spoor.CommandRetain, nil) // it is told, and asked for again
	})
}

func (d *due) clocksDepart() bool {
	url, ahead := d.node.departed()
	d.mu.Lock()
	defer d.mu.Unlock()
	if url != "" && !d.apart {
		d.log.Error("the clock of another node is far from this one's: nothing is removed by time until they agree", "node", url, "ahead", ahead.Round(time.Second),
			"hint", "set the clock right that is wrong")
	}
	d.apart = url != ""
	return d.apart
}

func (d *due) look(ctx context.Context, partition int) {
	every := lookEvery + d.wait(partition, lookOthers)
	now := d.node.now()
	d.each(partition, func(app *spoor.App, seen dueApp) {
		since := now.Sub(seen.looked)
		if app.Settings.FeedDays == 0 || since < every {
			return
		}
		if watched, err := d.store.Watched(app.ID); err != nil || !watched {
			return // an error of the store is told elsewhere
		}
		if newest, _ := d.store.FeedEnd(app.ID); newest > seen.told || since > lookAnyway+every {
			_ = d.ask(ctx, app, spoor.CommandLook, nil) // it is told, and asked for again
		}
	})
}

// ask puts a command into the log; body is written as JSON.
func (d *due) ask(ctx context.Context, app *spoor.App, kind spoor.CommandKind, body any) error {
	c := d.changes.command(app.ID, kind)
	var err error
	if body != nil {
		c.Body, err = json.Marshal(body)
	}
	if err == nil {
		most, cancel := context.WithTimeout(ctx, waitMax)
		_, err = d.changes.put(most, c)
		cancel()
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errLate) && !errors.Is(err, spoor.ErrBusy) {
		d.log.Error("cannot put into the log what falls due; it is tried again", "app", app.Name, "error", err)
	}
	return err
}
