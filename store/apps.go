package store

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// directory is an immutable snapshot of all apps, replaced on each change, so
// that the front door looks keys up without a lock.
type directory struct {
	byID    map[spoor.AppID]*spoor.App
	byName  map[string]*spoor.App
	byKey   map[string]keyed
	byToken map[string]tokened
	byShare map[string]*spoor.App
	all     []*spoor.App
}

type keyed struct {
	app     *spoor.App
	expires int64
}

type tokened struct {
	app   *spoor.App
	token spoor.Token
}

func newDirectory(apps []*spoor.App) *directory {
	d := &directory{
		byID:   map[spoor.AppID]*spoor.App{},
		byName: map[string]*spoor.App{}, byKey: map[string]keyed{}, byToken: map[string]tokened{}, byShare: map[string]*spoor.App{}, all: apps,
	}
	slices.SortFunc(d.all, func(a, b *spoor.App) int { return int(a.ID) - int(b.ID) })
	for _, a := range apps { // of two with the same, the lower number has it
		d.byID[a.ID] = a
		first(d.byName, a.Name, a)
		for _, k := range a.Keys {
			first(d.byKey, k.Key, keyed{a, k.Expires})
		}
		for _, t := range a.Tokens {
			first(d.byToken, t.Hash, tokened{a, t})
		}
		if a.Share != "" {
			first(d.byShare, a.Share, a)
		}
	}
	return d
}

func first[V any](m map[string]V, key string, v V) {
	if _, taken := m[key]; !taken {
		m[key] = v
	}
}

// with is the directory with one app put in, or taken out where app is nil.
func (d *directory) with(id spoor.AppID, app *spoor.App) *directory {
	byID := maps.Clone(d.byID)
	delete(byID, id)
	if app != nil {
		byID[id] = app
	}
	return newDirectory(slices.Collect(maps.Values(byID)))
}

// App finds an app by number; nil if there is none.
func (s *Store) App(id spoor.AppID) *spoor.App { return s.apps.Load().byID[id] }

// AppByName finds an app by name; nil if there is none.
func (s *Store) AppByName(name string) *spoor.App { return s.apps.Load().byName[name] }

// AppByKey finds the app of a live write key; nil if there is none.
func (s *Store) AppByKey(writeKey string) *spoor.App {
	k, ok := s.apps.Load().byKey[writeKey]
	if !ok || !spoor.Live(k.expires, s.opts.Now()) {
		return nil
	}
	return k.app
}

// AppByToken finds the app and token of a secret; nil if unknown or expired.
func (s *Store) AppByToken(secret string) (*spoor.App, spoor.Token) {
	t, ok := s.apps.Load().byToken[spoor.HashToken(secret)]
	if !ok || !spoor.Live(t.token.Expires, s.opts.Now()) {
		return nil, spoor.Token{}
	}
	return t.app, t.token
}

// AppByShare finds the app of a shared overview's token; nil if there is none.
func (s *Store) AppByShare(token string) *spoor.App {
	return s.apps.Load().byShare[spoor.HashToken(token)]
}

// AllApps lists the apps by number. The slice must not be changed.
func (s *Store) AllApps() []*spoor.App { return s.apps.Load().all }

// NewestApp is the highest number that an app ever had here; 0: there was none.
func (s *Store) NewestApp() (id spoor.AppID, err error) {
	err = s.view(func(db *pebble.DB) error {
		_, made, _, err := readStoreMark(db)
		id = spoor.AppID(made)
		return err
	})
	for _, app := range s.AllApps() {
		id = max(id, app.ID)
	}
	return id, err
}

func readApps(db *pebble.DB) (*directory, error) {
	var apps []*spoor.App
	err := scan(db, []byte{prefixApp}, func(key, value []byte) error {
		if len(key) != 6 || key[5] != appSettings {
			return nil
		}
		app := &spoor.App{Settings: spoor.DefaultSettings("UTC")} // what an older spoor did not know is as by default
		if err := readJSON(value, app); err != nil {
			return fmt.Errorf("cannot read the settings of an app: %w", err)
		}
		apps = append(apps, app.Clone())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return newDirectory(apps), nil
}

// Settings are read seldom and by people, so they are JSON behind the header.
func appendJSON(dst []byte, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	return append(appendHeader(dst), raw...), err
}

func readJSON(value []byte, v any) error {
	if len(value) < headerBytes || value[0] != valueVersion || value[1] != valuePlain {
		return errValue
	}
	return json.Unmarshal(value[headerBytes:], v)
}

// CreateApp stores a new app under the next free number and returns it once it
// is on disk. Its name must be free. For what differs at a place of a log see At;
// there it fails with spoor.ErrNumberTaken where the number was given before.
func (s *Store) CreateApp(a *spoor.App) (*spoor.App, error) {
	app := a.Clone()
	app.Version = 1
	err := s.change(func(g *group) error {
		if err := s.checkApp(app); err != nil {
			return err
		}
		var secret salt
		if _, err := io.ReadFull(s.opts.Rand, secret[:]); err != nil {
			return fmt.Errorf("cannot make the salt of an app: %w", err)
		}
		if err := g.numberApp(app, s.carry); err != nil {
			return err
		}
		g.set(appKey(app.ID, appSalt), append(appendHeader(nil), secret[:]...))
		state := newAppState(app, secret)
		state.sealed = app.Day(app.Created) - spoor.Day(app.Settings.WindowDays) - 1
		g.w.apps[app.ID] = state
		g.touchApp(state)
		return g.putApp(app)
	})
	return app, err
}

// UpdateApp changes an app and returns the new one once it is on disk. The
// number and the name stay.
func (s *Store) UpdateApp(id spoor.AppID, change func(*spoor.App) error) (*spoor.App, error) {
	var app *spoor.App
	err := s.change(func(g *group) error {
		old := s.apps.Load().byID[id]
		if old == nil {
			return fmt.Errorf("there is no app %d", id)
		}
		app = old.Clone()
		if err := change(app); err != nil {
			return err
		}
		app.ID, app.Name, app.Version = old.ID, old.Name, old.Version+1
		if err := s.checkApp(app); err != nil {
			return err
		}
		if old.Settings.FeedDays == 0 && app.Settings.FeedDays != 0 {
			if err := g.beginFeed(id); err != nil {
				return err
			}
		}
		if old.Settings.FeedTarget() == "" && app.Settings.FeedTarget() != "" {
			if err := g.beginDelivery(id); err != nil {
				return err
			}
		}
		return g.putApp(app)
	})
	return app, err
}

// DeleteApp removes an app with all its data. Its number is not used again. The
// bytes go with the next Reclaim.
func (s *Store) DeleteApp(id spoor.AppID) error {
	return s.change(func(g *group) error {
		if s.apps.Load().byID[id] == nil {
			return fmt.Errorf("there is no app %d", id)
		}
		r, err := g.appReceipt(s.apps.Load().byID[id], s.opts.Now().UnixMilli())
		if err != nil {
			return err
		}
		if err := g.dropApp(id, &journal{at: r.Decided, erased: true, app: id, receipt: uint64(id)}); err != nil {
			return err
		}
		return g.receipt(receiptRef{0, uint64(id)}, func(stored *storedReceipt) { *stored = *r })
	})
}

// dropApp removes all of an app but its receipt.
func (g *group) dropApp(id spoor.AppID, j *journal) error {
	g.forgetApp(id)
	for _, prefix := range appPrefixes {
		start := key1(nil, prefix, id)
		if err := g.batch.DeleteRange(start, after(start), nil); err != nil {
			return err
		}
	}
	g.set(journalKey(nil, 0, uint64(id)), j.appendTo(nil))
	delete(g.w.apps, id)
	s := g.w.s
	s.apps.Store(s.apps.Load().with(id, nil))
	s.selections.columns.forget(id)
	return nil
}

// appReceipt says what goes with an app.
func (g *group) appReceipt(app *spoor.App, now int64) (*storedReceipt, error) {
	if until, held := app.Held(app.Day(now)); held {
		return nil, &spoor.HeldError{Until: until}
	}
	keep, err := readHolds(g.w.db, app, app.Day(now))
	if err != nil {
		return nil, err
	}
	if keep != 0 {
		return nil, &spoor.HeldError{Until: keep}
	}
	r := &storedReceipt{BackupDays: app.Settings.BackupDays}
	r.Receipt = spoor.Receipt{ID: uint64(app.ID), App: app.Name, What: spoor.ReceiptTermination, Asked: app.EndAsked, Decided: now}
	if r.Asked == 0 {
		r.Asked = now
	}
	live, err := readMembers(g.w.db, app.ID, setLive)
	if err != nil {
		return nil, err
	}
	r.Profiles = int64(live.GetCardinality())
	a, err := g.w.app(app.ID)
	if err != nil {
		return nil, err
	}
	count := func(c *account) {
		r.Hits += c.stored - c.swept - c.erased
		r.Bytes += c.bytes
	}
	for _, d := range a.days {
		count(&d.account)
	}
	err = scan(g.w.db, writerDaysKey(nil, app.ID), func(key, value []byte) error {
		c, err := readAccount(value)
		if err == nil && a.days[readDay(key[6:])] == nil {
			count(&c)
		}
		return err
	})
	return r, err
}

// forgetApp drops what the group has collected for an app, so that none of it
// lands behind the app's deletion.
func (g *group) forgetApp(id spoor.AppID) {
	maps.DeleteFunc(g.profiles, func(ref profileRef, _ *pending) bool { return ref.app == id })
	g.days = slices.DeleteFunc(g.days, func(d touchedDay) bool { return d.app.app.ID == id })
	g.w.waiting = slices.DeleteFunc(g.w.waiting, func(d waitingDay) bool { return d.app.app.ID == id })
	maps.DeleteFunc(g.accounts, func(at partition, _ *finishedDay) bool { return at.app == id })
	maps.DeleteFunc(g.w.receipts, func(ref receiptRef, _ *storedReceipt) bool { return ref.app == id })
	g.apps = slices.DeleteFunc(g.apps, func(a *appState) bool { return a.app.ID == id })
	delete(g.chains, id)
	delete(g.w.chains, id)
}

// putApp stores an app and puts it into the directory at once: the writer
// must know it for the next request. Callers hear of it after the sync.
func (g *group) putApp(app *spoor.App) error {
	value, err := appendJSON(nil, app)
	if err != nil {
		return fmt.Errorf("cannot store the settings of app %q: %w", app.Name, err)
	}
	g.set(appKey(app.ID, appSettings), value)
	app = app.Clone() // the caller keeps the other one
	g.w.s.apps.Store(g.w.s.apps.Load().with(app.ID, app))
	if a := g.w.apps[app.ID]; a != nil {
		a.app = app
	}
	return nil
}

func (s *Store) checkApp(app *spoor.App) error {
	if !spoor.ValidAppName(app.Name) {
		return fmt.Errorf("cannot use app name %q: want 1 to 63 of a-z, 0-9 and - inside", app.Name)
	}
	d := s.apps.Load()
	if s.carry != nil {
		d = newDirectory(nil) // whoever proposed the change has compared with other apps
	}
	if other := d.byName[app.Name]; other != nil && other.ID != app.ID {
		return fmt.Errorf("cannot use app name %q: %w", app.Name, spoor.ErrNameTaken)
	}
	for _, k := range app.Keys {
		if len(k.Key) < 4 || len(k.Key) > 128 || strings.ContainsAny(k.Key, " :\t\r\n") {
			return fmt.Errorf("cannot use a write key of %d bytes: want 4 to 128 without blanks and colons", len(k.Key))
		}
		if other, ok := d.byKey[k.Key]; ok && other.app.ID != app.ID {
			return fmt.Errorf("cannot use a write key of app %q: it belongs to app %q", app.Name, other.app.Name)
		}
	}
	if len(app.Settings.Zones) == 0 {
		return fmt.Errorf("cannot store app %q: it has no time zone", app.Name)
	}
	return nil
}
