package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/store"
)

// teller tells collectors about apps: the store's directory is the one that
// counts, and the topic of apps follows it. Every node tells; of two records of an
// app the newer one counts, whatever their order.
type teller struct {
	store *store.Store
	topic *kafka.Topic
	name  string
	reads func(partition int) bool           // whether this node reads it, and so knows its apps
	made  func(id spoor.AppID) (bool, error) // whether an app was ever made here
	log   *slog.Logger
	known *kafka.Directory // what the topic says, whichever node told it

	awaited atomic.Pointer[map[spoor.AppID]bool] // apps that this node has yet to read of, as of the last look
}

// tellEvery is how stale collectors may be, but for the way to them.
const tellEvery = 300 * time.Millisecond

// begin compares the topic with the store, and tells what differs. A store that
// knows other apps than the topic is another one's: it would drop all hits of
// theirs. One that was away may have yet to read of some. ctx is that of the
// process.
func (t *teller) begin(ctx context.Context) (err error) {
	if t.known, err = t.topic.Follow(ctx); err != nil {
		return err
	}
	for _, there := range t.known.AllApps() {
		if !t.reads(t.topic.PartitionOf(there.ID)) {
			continue
		}
		here := t.store.App(there.ID)
		if len(t.store.AllApps()) == 0 || here != nil && (here.Name != there.Name || here.Created != there.Created) {
			return fmt.Errorf("cannot use topic %s with this store: app %d in it is %q, which the store does not know, and its hits would be dropped; check --data and --topic, let a new node begin with --join, or restore a backup of the store that the topic belongs to", t.name, there.ID, there.Name)
		}
	}
	first, cancel := context.WithTimeout(ctx, kafkaOpenMax)
	defer cancel()
	return t.tell(first)
}

// public is what collectors need of an app, and the hash by which another node finds
// the app of a shared overview: nothing that opens the read side or speaks in the
// app's name to others.
func public(app *spoor.App) *spoor.App {
	app = app.Clone()
	app.Tokens, app.WebhookSecret = nil, ""
	return app
}

// tell brings the topic up to the store where that is newer. An app that is
// unknown here and not known to be gone is one that this node has yet to read of.
func (t *teller) tell(ctx context.Context) error {
	for _, app := range t.store.AllApps() {
		if there, gone := t.known.Version(app.ID); gone || there >= app.Version {
			continue
		}
		if err := t.topic.PublishApp(ctx, public(app)); err != nil {
			return fmt.Errorf("cannot tell the collectors about app %q: %w", app.Name, err)
		}
	}
	awaited := map[spoor.AppID]bool{}
	defer func() { t.awaited.Store(&awaited) }()
	for _, there := range t.known.AllApps() {
		if t.store.App(there.ID) != nil || !t.reads(t.topic.PartitionOf(there.ID)) {
			continue
		}
		if made, err := t.made(there.ID); err != nil || !made {
			if err != nil {
				return err
			}
			awaited[there.ID] = true
			continue
		}
		if err := t.topic.ForgetApp(ctx, there.ID, there.Version+1); err != nil {
			return fmt.Errorf("cannot tell the collectors that app %d is gone: %w", there.ID, err)
		}
	}
	return t.known.Mend(ctx) // a node that lagged may have told after one that did not
}

// awaits reports whether this node has yet to read that an app was made.
func (t *teller) awaits(id spoor.AppID) bool {
	awaited := t.awaited.Load()
	return awaited != nil && (*awaited)[id] && t.store.App(id) == nil
}

// run goes on telling until ctx ends.
func (t *teller) run(ctx context.Context) {
	failing := false
	for pause(ctx, tellEvery) {
		err := t.tell(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			t.log.Error(err.Error(), "hint", "it is tried again; until then collectors use what they know")
		}
		if err == nil && failing {
			t.log.Info("the collectors know all apps again")
		}
		failing = err != nil
	}
}
