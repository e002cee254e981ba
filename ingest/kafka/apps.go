package kafka

import (
	"bytes"
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

// appRecord is what stands in the topic of apps, under the app's number: an app,
// or that it is gone.
type appRecord struct {
	Version int        `json:"version"`
	App     *spoor.App `json:"app,omitempty"`
	Gone    *goneApp   `json:"gone,omitempty"`
}

type goneApp struct {
	ID      spoor.AppID `json:"id"`
	Version int64       `json:"version"` // as of an app; of the same version this record is the newer
}

// PublishApp puts an app, as it is now, into the topic of apps and returns once
// all in-sync replicas have acknowledged it. It tries again until ctx ends. A
// Directory takes it unless it has seen a higher Version of the app; see
// Directory.Mend for what that asks of a publisher.
func (t *Topic) PublishApp(ctx context.Context, app *spoor.App) error {
	value, err := json.Marshal(appRecord{Version: appVersion, App: app})
	if err != nil {
		return fmt.Errorf("cannot publish app %q: %w", app.Name, err)
	}
	if len(value) > t.opts.RecordBytesMax {
		return fmt.Errorf("cannot publish app %q: its settings have %d bytes and a record has at most %d; shorten its lists", app.Name, len(value), t.opts.RecordBytesMax)
	}
	return t.putApp(ctx, app.ID, value)
}

// ForgetApp says in the topic of apps that an app is gone and returns once all
// in-sync replicas have acknowledged it. It tries again until ctx ends. An app of
// that version or a lower one that comes later does not bring it back.
func (t *Topic) ForgetApp(ctx context.Context, id spoor.AppID, version int64) error {
	value, err := json.Marshal(appRecord{Version: appVersion, Gone: &goneApp{id, version}})
	if err != nil {
		return err
	}
	return t.putApp(ctx, id, value)
}

func (t *Topic) putApp(ctx context.Context, id spoor.AppID, value []byte) error {
	r := record{strconv.AppendUint(nil, uint64(id), 10), value}
	if _, err := t.put(ctx, t.opts.apps(), 0, r); err != nil {
		return fmt.Errorf("cannot publish app %d: %w", id, t.why(t.opts.apps(), r, err))
	}
	return nil
}

// Directory is the directory of apps as the topic of apps tells it, answered
// from memory: of each app the highest version that was ever read. It satisfies
// what ingest and enrich ask for.
type Directory struct {
	t     *Topic
	state atomic.Pointer[apps]
}

// standing is what is known of an app.
type standing struct {
	app     *spoor.App // nil: it is gone
	version int64
	value   []byte // the record that says so; nil: an empty one did, of an older spoor
	covered bool   // another record, which counts less, is the last one of the app in the topic
}

// apps is an immutable snapshot of all apps.
type apps struct {
	byID    map[spoor.AppID]standing // those that are gone too
	byName  map[string]*spoor.App
	byKey   map[string]keyed
	byShare map[string]*spoor.App // by the hash
	all     []*spoor.App
	newest  spoor.AppID
}

type keyed struct {
	app     *spoor.App
	expires int64
}

// newApps gives a name or a key that two apps have to the lower number.
func newApps(byID map[spoor.AppID]standing) *apps {
	a := &apps{byID: byID, byName: map[string]*spoor.App{}, byKey: map[string]keyed{}, byShare: map[string]*spoor.App{}}
	for id, s := range byID {
		a.newest = max(a.newest, id)
		if s.app != nil {
			a.all = append(a.all, s.app)
		}
	}
	slices.SortFunc(a.all, func(a, b *spoor.App) int { return cmp.Compare(a.ID, b.ID) })
	for _, app := range slices.Backward(a.all) {
		a.byName[app.Name] = app
		if app.Share != "" {
			a.byShare[app.Share] = app
		}
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
	byID := map[spoor.AppID]standing{}
	at, err := t.readAll(ctx, t.opts.apps(), -1, func(offset int64, key, value []byte) { d.change(byID, offset, key, value) })
	if err != nil {
		return nil, fmt.Errorf("cannot read the apps: %w", t.opts.explain(err))
	}
	d.state.Store(newApps(byID))
	go d.follow(ctx, at)
	return d, nil
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
			d.cover()
		}
		f.failing, from = time.Time{}, -1
	}
}

// cover notes that the topic may have nothing of what is known: it is read from
// its beginning, as it may have been made anew.
func (d *Directory) cover() {
	byID := maps.Clone(d.state.Load().byID)
	for id, s := range byID {
		s.covered = true
		byID[id] = s
	}
	d.state.Store(newApps(byID))
}

// change applies one record. What cannot be read leaves the app as it was.
func (d *Directory) change(byID map[spoor.AppID]standing, offset int64, key, value []byte) {
	id, next, err := readApp(key, value)
	if err != nil {
		d.t.opts.Log.Error("the record of an app cannot be read; the app stays as it was", "topic", d.t.opts.apps(), "offset", offset, "error", err)
		return
	}
	was, known := byID[id]
	if value == nil { // compaction drops it, and what is before it
		next = standing{version: was.version, covered: true}
		if known && was.app == nil {
			next.value = was.value
		}
	}
	if known && (next.version < was.version || next.version == was.version && was.app == nil && next.app != nil) {
		next = was
		next.covered = true
	}
	byID[id] = next
}

// readApp reads a record; what it says of an empty value is for its caller.
func readApp(key, value []byte) (spoor.AppID, standing, error) {
	id, err := strconv.ParseUint(string(key), 10, 32)
	switch {
	case err != nil:
		return 0, standing{}, err
	case id == 0:
		return 0, standing{}, errors.New("no app has the number 0")
	case value == nil:
		return spoor.AppID(id), standing{}, nil
	}
	r := appRecord{App: &spoor.App{Settings: spoor.DefaultSettings("UTC")}} // what an older spoor did not know is as by default
	if err := json.Unmarshal(value, &r); err != nil {
		return 0, standing{}, err
	}
	s := standing{value: bytes.Clone(value)}
	switch {
	case r.Version != appVersion:
		return 0, s, fmt.Errorf("its version is %d, and %d is known here", r.Version, appVersion)
	case r.Gone != nil:
		r.App = &spoor.App{ID: r.Gone.ID, Version: r.Gone.Version}
	case r.App != nil:
		s.app = r.App.Clone()
	}
	if r.App == nil || uint64(r.App.ID) != id || r.App.Version < 0 {
		return 0, s, errors.New("it is not the app of its key")
	}
	s.version = r.App.Version
	return r.App.ID, s, nil
}

// Mend puts the records again that count but are not the last ones of their apps:
// compaction leaves of each app the last one, and who follows later would know
// nothing else. That happens when a publisher that lags comes behind another one,
// when an older spoor took an app out, and when the topic was made anew. Publishers
// call it now and then, with the right to write; where nothing is to do it asks
// nobody. It tries again until ctx ends, and returns the first error.
func (d *Directory) Mend(ctx context.Context) (first error) {
	for id, s := range d.state.Load().byID {
		if !s.covered {
			continue
		}
		var err error
		if s.value == nil {
			err = d.t.ForgetApp(ctx, id, s.version)
		} else {
			err = d.t.putApp(ctx, id, s.value)
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// Version is the highest version of an app that the topic told of, and whether
// the app is gone; −1 where it never told of the app.
func (d *Directory) Version(id spoor.AppID) (version int64, gone bool) {
	s, known := d.state.Load().byID[id]
	if !known {
		return -1, false
	}
	return s.version, s.app == nil
}

// Newest is the highest number of an app that the topic told of, also of those
// that are gone; 0 if it told of none.
func (d *Directory) Newest() spoor.AppID { return d.state.Load().newest }

// App finds an app by number; nil if there is none.
func (d *Directory) App(id spoor.AppID) *spoor.App { return d.state.Load().byID[id].app }

// AppByName finds an app by name; nil if there is none.
func (d *Directory) AppByName(name string) *spoor.App { return d.state.Load().byName[name] }

// AppByKey finds the app of a live write key; nil if there is none.
func (d *Directory) AppByKey(writeKey string) *spoor.App {
	k, ok := d.state.Load().byKey[writeKey]
	if !ok || k.expires != 0 && !spoor.Live(k.expires, time.Now()) { // asking for the time costs as much as all else here
		return nil
	}
	return k.app
}

// AppByShare finds the app of a shared overview's token, as far as publishers tell
// its hash; nil if there is none.
func (d *Directory) AppByShare(token string) *spoor.App {
	return d.state.Load().byShare[spoor.HashToken(token)]
}

// AllApps lists the apps by number. The slice must not be changed.
func (d *Directory) AllApps() []*spoor.App { return d.state.Load().all }
