package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/store"
)

// teller tells collectors about apps: the store's directory is the one that
// counts, and the topic of apps follows it.
type teller struct {
	store *store.Store
	topic *kafka.Topic
	name  string
	log   *slog.Logger
	told  map[spoor.AppID]*spoor.App // as they stand in the topic; a change makes a new App
}

// tellEvery is how stale collectors may be, but for the way to them.
const tellEvery = 300 * time.Millisecond

// begin compares the topic with the store, and tells what differs. A store to
// which apps are unknown that the topic has is another one's: it would drop all
// hits of theirs.
func (t *teller) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, kafkaOpenMax)
	defer cancel()
	known, err := t.topic.Follow(ctx)
	if err != nil {
		return err
	}
	newest, err := t.store.NewestApp()
	if err != nil {
		return err
	}
	t.told = map[spoor.AppID]*spoor.App{}
	for _, there := range known.AllApps() {
		here := t.store.App(there.ID)
		if there.ID > newest || here != nil && (here.Name != there.Name || here.Created != there.Created) {
			return fmt.Errorf("cannot use topic %s with this store: app %d in it is %q, which the store does not know, and its hits would be dropped; check --data and --topic, or restore a backup of the store that the topic belongs to", t.name, there.ID, there.Name)
		}
		t.told[there.ID] = there
		if same, err := alike(public(here), there); err != nil {
			return err
		} else if same {
			t.told[there.ID] = here
		}
	}
	return t.tell(ctx)
}

// public is what collectors need of an app: nothing that opens the read side or
// speaks in the app's name to others.
func public(app *spoor.App) *spoor.App {
	if app == nil {
		return nil
	}
	app = app.Clone()
	app.Tokens, app.Share, app.WebhookSecret = nil, "", ""
	return app
}

// alike reports whether two apps are the same to whoever reads them.
func alike(a, b *spoor.App) (bool, error) {
	if a == nil || b == nil {
		return false, nil
	}
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return bytes.Equal(x, y), errors.Join(err, err2)
}

// tell brings the topic up to the store.
func (t *teller) tell(ctx context.Context) error {
	for _, app := range t.store.AllApps() {
		if t.told[app.ID] == app {
			continue
		}
		if err := t.topic.PublishApp(ctx, public(app)); err != nil {
			return fmt.Errorf("cannot tell the collectors about app %q: %w", app.Name, err)
		}
		t.told[app.ID] = app
	}
	for id := range t.told {
		if t.store.App(id) != nil {
			continue
		}
		if err := t.topic.ForgetApp(ctx, id); err != nil {
			return fmt.Errorf("cannot tell the collectors that app %d is gone: %w", id, err)
		}
		delete(t.told, id)
	}
	return nil
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
