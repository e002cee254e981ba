package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
)

// appVersion is that of an app's record. It changes when an older reader would
// misread it.
const appVersion = 1

// appRecord is what stands in the topic of apps, under the app's number.
type appRecord struct {
	Version int        `json:"version"`
	App     *spoor.App `json:"app"`
}

// PublishApp puts an app, as it is now, into the topic of apps and returns once
// all in-sync replicas have acknowledged it. It tries again until ctx ends.
func (t *Topic) PublishApp(ctx context.Context, app *spoor.App) error {
	value, err := json.Marshal(appRecord{appVersion, app})
	if err != nil {
		return fmt.Errorf("cannot publish app %q: %w", app.Name, err)
	}
	if len(value) > t.opts.RecordBytesMax {
		return fmt.Errorf("cannot publish app %q: its settings have %d bytes and a record has at most %d; shorten its lists", app.Name, len(value), t.opts.RecordBytesMax)
	}
	return t.putApp(ctx, app.ID, value)
}

// ForgetApp takes an app out of the topic of apps and returns once all in-sync
// replicas have acknowledged it. It tries again until ctx ends.
func (t *Topic) ForgetApp(ctx context.Context, id spoor.AppID) error { return t.putApp(ctx, id, nil) }

func (t *Topic) putApp(ctx context.Context, id spoor.AppID, value []byte) error {
	key := strconv.AppendUint(nil, uint64(id), 10)
	topic := t.opts.apps()
	start := time.Now()
	for pause := retryPause; ; pause = min(2*pause, retryMost) {
		attempt, cancel := context.WithTimeout(ctx, t.opts.wait)
		err := t.brokers.produce(attempt, topic, 0, []record{{key, value}})
		cancel()
		if err == nil {
			return nil
		}
		t.brokers.refresh()
		switch {
		case errors.Is(err, errGone) && time.Since(start) > t.opts.wait:
			return t.opts.missing(topic)
		case errors.Is(err, errTooLarge):
			return fmt.Errorf("cannot publish app %d: topic %s takes no record of %d bytes; raise its max.message.bytes", id, topic, len(value))
		case lasting(err):
			return t.opts.explain(err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot publish app %d: %w", id, t.opts.explain(err))
		case <-time.After(pause):
		}
	}
}

// Directory is the directory of apps as the topic of apps tells it, answered
// from memory. It satisfies what ingest and enrich ask for.
type Directory struct {
	t     *Topic
	state atomic.Pointer[apps]
}

// apps is an immutable snapshot of all apps.
type apps struct {
	byID   map[spoor.AppID]*spoor.App
	byName map[string]*spoor.App
	byKey  map[string]keyed
	all    []*spoor.App
}

type keyed struct {
	app     *spoor.App
	expires int64
}

func newApps(byID map[spoor.AppID]*spoor.App) *apps {
	a := &apps{byID: byID, byName: map[string]*spoor.App{}, byKey: map[string]keyed{}, all: slices.Collect(maps.Values(byID))}
	slices.SortFunc(a.all, func(a, b *spoor.App) int { return cmp.Compare(a.ID, b.ID) })
	for _, app := range a.all {
		a.byName[app.Name] = app
		for _, k := range app.Keys {
			a.byKey[k.Key] = keyed{app, k.Expires}
		}
	}
	return a
}

// Follow reads the topic of apps. It returns once all is read that was there
// when it was called; the Directory follows changes until ctx ends. While the
// brokers are away it answers as it last knew.
func (t *Topic) Follow(ctx context.Context) (*Directory, error) {
	d := &Directory{t: t}
	byID := map[spoor.AppID]*spoor.App{}
	at, err := d.load(ctx, byID)
	for start, pause := time.Now(), retryPause; err != nil; pause = min(2*pause, retryMost) {
		if lasting(err) || ctx.Err() != nil || time.Since(start) > t.opts.wait {
			return nil, fmt.Errorf("cannot read the apps: %w", t.opts.explain(err))
		}
		t.brokers.refresh()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		at, err = d.load(ctx, byID)
	}
	d.state.Store(newApps(byID))
	go d.follow(ctx, at)
	return d, nil
}

// load reads all that is there and returns the offset behind it.
func (d *Directory) load(ctx context.Context, byID map[spoor.AppID]*spoor.App) (at int64, err error) {
	topic := d.t.opts.apps()
	at, end, err := d.t.brokers.offsets(ctx, topic, 0)
	for err == nil && at < end {
		at, err = d.t.brokers.fetch(ctx, topic, 0, at, func(offset int64, key, value []byte) { d.change(byID, offset, key, value) })
	}
	return at, err
}

func (d *Directory) follow(ctx context.Context, from int64) {
	f := follower{t: d.t, topic: d.t.opts.apps(), missing: func(int64, int64) {}, each: func(offset int64, key, value []byte) {
		byID := maps.Clone(d.state.Load().byID)
		d.change(byID, offset, key, value)
		d.state.Store(newApps(byID))
	}}
	for ctx.Err() == nil {
		if err := f.run(ctx, from); ctx.Err() == nil {
			d.t.opts.Log.Error("changes of apps do not arrive", "error", err)
		}
		f.failing, from = time.Time{}, -1
	}
}

// change applies one record. What cannot be read leaves the app as it was.
func (d *Directory) change(byID map[spoor.AppID]*spoor.App, offset int64, key, value []byte) {
	id, err := strconv.ParseUint(string(key), 10, 32)
	if err == nil && value == nil {
		delete(byID, spoor.AppID(id))
		return
	}
	record := appRecord{App: &spoor.App{Settings: spoor.DefaultSettings("UTC")}} // what an older spoor did not know is as by default
	if err == nil {
		err = json.Unmarshal(value, &record)
	}
	switch {
	case err != nil:
	case record.Version != appVersion:
		err = fmt.Errorf("its version is %d, and %d is known here", record.Version, appVersion)
	case record.App == nil || uint64(record.App.ID) != id:
		err = errors.New("it is not the app of its key")
	}
	if err != nil {
		d.t.opts.Log.Error("the record of an app cannot be read; the app stays as it was", "topic", d.t.opts.apps(), "offset", offset, "error", err)
		return
	}
	byID[spoor.AppID(id)] = record.App.Clone()
}

// App finds an app by number; nil if there is none.
func (d *Directory) App(id spoor.AppID) *spoor.App { return d.state.Load().byID[id] }

// AppByName finds an app by name; nil if there is none.
func (d *Directory) AppByName(name string) *spoor.App { return d.state.Load().byName[name] }

// AppByKey finds the app of a live write key; nil if there is none.
func (d *Directory) AppByKey(writeKey string) *spoor.App {
	k, ok := d.state.Load().byKey[writeKey]
	if !ok || !spoor.Live(k.expires, time.Now()) {
		return nil
	}
	return k.app
}

// AllApps lists the apps by number. The slice must not be changed.
func (d *Directory) AllApps() []*spoor.App { return d.state.Load().all }
