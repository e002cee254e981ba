package kafka

import (
	"context"
	"errors"

	"github.com/spoorhq/spoor"
)

// PublishApp puts an app, as it is now, into the topic of apps and returns once
// all in-sync replicas have acknowledged it.
func (t *Topic) PublishApp(ctx context.Context, app *spoor.App) error { return errors.New("not yet") }

// ForgetApp takes an app out of the topic of apps and returns once all in-sync
// replicas have acknowledged it.
func (t *Topic) ForgetApp(ctx context.Context, id spoor.AppID) error { return errors.New("not yet") }

// Directory is the directory of apps as the topic of apps tells it, answered
// from memory. It satisfies what ingest and enrich ask for.
type Directory struct{}

// Follow reads the topic of apps. It returns once all is read that was there
// when it was called; the Directory follows changes until ctx ends.
func (t *Topic) Follow(ctx context.Context) (*Directory, error) { return nil, errors.New("not yet") }

// App finds an app by number; nil if there is none.
func (d *Directory) App(id spoor.AppID) *spoor.App { return nil }

// AppByName finds an app by name; nil if there is none.
func (d *Directory) AppByName(name string) *spoor.App { return nil }

// AppByKey finds the app of a live write key; nil if there is none.
func (d *Directory) AppByKey(writeKey string) *spoor.App { return nil }

// AllApps lists the apps by number. The slice must not be changed.
func (d *Directory) AllApps() []*spoor.App { return nil }
