package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// delivered keeps the nodes of a partition from posting to webhooks what another
// one has posted: the first node does it, and says in the log how far it is. Who
// takes over repeats what was not yet said, under the same ids.
type delivered struct {
	store *store.Store
	node  *node
	due   *due
	told  map[spoor.AppID]uint64 // entries of feeds up to here

	mu      sync.Mutex
	notices map[spoor.AppID][]uint64 // that are delivered and not told of
}

// deliveredJSON is the body of a CommandDelivered.
type deliveredJSON struct {
	Feed    uint64   `json:"feed,omitempty"` // entries up to this one
	Notices []uint64 `json:"notices,omitempty"`
}

const (
	deliveredTell = time.Second
	deliveredMax  = 1000 // notices in one command
)

// run tells until ctx ends.
func (d *delivered) run(ctx context.Context) {
	for pause(ctx, deliveredTell) {
		for _, app := range d.store.AllApps() {
			if !d.mine(app.ID) {
				delete(d.told, app.ID)
				continue
			}
			feed, err := d.store.Delivery(app.ID)
			if err != nil {
				d.node.log.Error("cannot read how far the feed was delivered", "app", app.Name, "error", err)
				continue
			}
			notices := d.takeNotices(app.ID)
			if feed.Cursor == d.told[app.ID] && len(notices) == 0 {
				continue
			}
			if err := d.due.ask(ctx, app, spoor.CommandDelivered, deliveredJSON{feed.Cursor, notices}); err != nil {
				d.giveBack(app.ID, notices)
				continue
			}
			d.told[app.ID] = feed.Cursor
		}
	}
}

// mine reports whether this node is the one that posts to the webhooks of an app.
func (d *delivered) mine(app spoor.AppID) bool {
	partition := d.node.topic.PartitionOf(app)
	return d.node.reads(partition) && d.node.first(partition)
}

// notice is told of a notice that was delivered.
func (d *delivered) notice(app spoor.AppID, id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notices[app] = append(d.notices[app], id)
}

// giveBack keeps notices of which nobody was told.
func (d *delivered) giveBack(app spoor.AppID, notices []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notices[app] = append(notices, d.notices[app]...)
}

func (d *delivered) takeNotices(app spoor.AppID) []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.notices[app]
	n := min(len(list), deliveredMax)
	if d.notices[app] = list[n:]; n == len(list) {
		delete(d.notices, app)
	}
	return slices.Clone(list[:n])
}

// apply notes what another node has delivered.
func (d *delivered) apply(c *spoor.Command) error {
	var there deliveredJSON
	if err := json.Unmarshal(c.Body, &there); err != nil {
		return fmt.Errorf("cannot read how far webhooks were delivered: %w", err)
	}
	feed, err := d.store.Delivery(c.App)
	if err != nil {
		return err
	}
	if feed.Cursor < there.Feed {
		feed.Cursor = there.Feed
		if err := d.store.PutDelivery(c.App, &feed, nil); err != nil {
			return err
		}
	}
	for _, id := range there.Notices {
		if err := d.store.PutNotice(c.App, &spoor.Notice{ID: id}, true); err != nil {
			return err
		}
	}
	return nil
}
