package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// writer is the one goroutine that decides what is written. It takes what has
// queued, builds one batch, has it handed to Pebble, and goes on before Pebble
// has taken it in; the acker waits for the syncs in order and wakes the callers.
//
// What it decides depends on the order of the requests and on their times of
// receipt, never on the clock or on what its caches still hold: two stores
// that are fed the same requests hold the same data.
type writer struct {
	s    *Store
	db   *front
	mark mark
	apps map[spoor.AppID]*appState

	appsMade   uint32 // number of the newest app
	appsAlone  uint32 // number of the newest app that was created outside of any partition of a topic
	oldestWeek uint32 // there is no filter of the weeks before

	idents   *generations[identRef, spoor.Number]
	profiles *generations[profileRef, *profile]
	known    *filter                       // every identifier that is in the store
	erased   *filter                       // identifiers of who was erased
	weeks    map[uint32]*filter            // event ids by week of receipt
	loads    <-chan load                   // what the filters learn from disk
	days     int                           // day states in memory, over all apps
	receipts map[receiptRef]*storedReceipt // of removals that go on
	waiting  []waitingDay
	chains   map[spoor.AppID]*chain // audit logs, loaded on first use
	sources  map[sourceRef]*source  // partitions of topics, loaded on first use
	stale    bool                   // memory is not what the store holds; see recall
	unused   []*pending             // see recycle
	rowNames *rowNames
	addends  addends
	scratch  []byte
	spent    []*request
	slots    []slot // of who applies a group
}

type identRef struct {
	app  spoor.AppID
	kind spoor.Lookup
	hash hash
}

type profileRef struct {
	app spoor.AppID
	n   spoor.Number
}

// appState is what the writer knows of an app.
type appState struct {
	app    *spoor.App
	salt   salt
	hits   permutation
	people permutation

	counter
	at       int64  // when the request was received that is being decided
	counted  uint64 // group that wrote the counter
	waiting  int    // days whose counts wait
	rewrites int    // of hits in open days, since the start
	journals uint64 // number of the newest journal; 0: not looked
	defs     map[string]spoor.Type
	days     map[spoor.Day]*dayState

	// Changes of this group.
	touched bool
	draft   draft
	sets    [setCount]setChange32
	members map[collectionRef]setChange32

	catalogue *catalogue // nil: not loaded
	watch     *watch     // nil: not loaded
}

// setChange32 collects changes of a whole set, before it is cut into chunks.
type setChange32 struct{ add, drop *roaring.Bitmap }

func newAppState(app *spoor.App, secret salt) *appState {
	return &appState{
		app: app, salt: secret, hits: secret.permutation("hit"), people: secret.permutation("profile"),
		defs: map[string]spoor.Type{}, days: map[spoor.Day]*dayState{},
	}
}

// firstOpen is the oldest day that still takes hits, as of a time of receipt.
// It seals what has left the window.
func (a *appState) firstOpen(receivedMs int64) spoor.Day {
	day := a.app.Day(receivedMs) - spoor.Day(a.app.Settings.WindowDays)
	if day-1 > a.sealed {
		a.sealed = day - 1
		a.touched = true
		for d := range a.days {
			if d <= a.sealed && a.days[d].idle() {
				delete(a.days, d)
			}
		}
	}
	return a.sealed + 1
}

// account is the book-keeping of one day of an app. What was stored is what is
// present, swept or erased.
type account struct {
	stored, swept, erased        int64
	bots, late                   int64
	views, events, visits, bytes int64
	engaged, timed               int64  // visits that did not bounce; times on a page that ended
	visitMS, pageMS              int64  // sums of the times of visits, and on pages
	full                         uint64 // dimensions that have as many rows as they may, a bit each
	counted                      uint64 // the group that wrote this: later ones may be uncounted
	sealed                       bool   // the day is finished: see SealDays
	dropped                      uint64 // kinds of hits that were dropped for their age, a bit each
	again                        uint64 // kinds of which a right kept some
	bare                         bool   // its statistics were dropped for their age
	properties                   string // that the app declared when the day began
	sum                          daySum // of what it counts, once it is sealed
	goals                        string // that the app declared when the day was sealed
	tallied                      bool   // all its hits were counted with their tallies and people
}

// declared lists the properties that the day's statistics group by. A change of
// the setting waits for the next day: hits must be counted alike whenever they
// are counted again.
func (c *account) declared() []string {
	if c.properties == "" {
		return nil
	}
	return strings.Split(c.properties, ",")
}

const (
	accountStored protowire.Number = iota + 1
	accountSwept
	accountErased
	accountBots
	accountLate
	accountViews
	accountEvents
	accountVisits
	accountBytes
	accountCounted
	accountSealed
	accountDropped
	accountBare
	accountAgain
	accountEngaged
	accountTimed
	accountVisitMS
	accountPageMS
	accountFull
	accountProperties
	accountTallied
	accountSum
	accountGoals
)

// declaredGoals reads what a day keeps of the setting.
func declaredGoals(list string) []spoor.Goal {
	s := spoor.Settings{Goals: strings.Split(list, ",")}
	return s.DeclaredGoals()
}

// add counts a hit, or with sign -1 takes it back.
func (c *account) add(h *spoor.Hit, sign int64) {
	one := countsOf(h)
	c.views += sign * one.views
	c.events += sign * one.events
	c.visits += sign * one.visits
	c.engaged += sign * one.engaged
	c.visitMS += sign * one.visitMS
	c.timed += sign * one.timed
	c.pageMS += sign * one.pageMS
}

func (c *account) appendTo(dst []byte) []byte {
	dst = appendHeader(dst)
	dst = putInt(dst, accountStored, c.stored)
	dst = putInt(dst, accountSwept, c.swept)
	dst = putInt(dst, accountErased, c.erased)
	dst = putInt(dst, accountBots, c.bots)
	dst = putInt(dst, accountLate, c.late)
	dst = putInt(dst, accountViews, c.views)
	dst = putInt(dst, accountEvents, c.events)
	dst = putInt(dst, accountVisits, c.visits)
	dst = putInt(dst, accountBytes, c.bytes)
	dst = putUint(dst, accountCounted, c.counted)
	dst = putBool(dst, accountSealed, c.sealed)
	dst = putUint(dst, accountDropped, c.dropped)
	dst = putBool(dst, accountBare, c.bare)
	dst = putUint(dst, accountAgain, c.again)
	dst = putInt(dst, accountEngaged, c.engaged)
	dst = putInt(dst, accountTimed, c.timed)
	dst = putInt(dst, accountVisitMS, c.visitMS)
	dst = putInt(dst, accountPageMS, c.pageMS)
	dst = putUint(dst, accountFull, c.full)
	dst = putString(dst, accountProperties, c.properties)
	dst = putBool(dst, accountTallied, c.tallied)
	if c.sum != (daySum{}) {
		dst = putBytes(dst, accountSum, c.sum[:])
	}
	return putString(dst, accountGoals, c.goals)
}

func readAccount(value []byte) (c account, err error) {
	into := map[protowire.Number]*int64{
		accountStored: &c.stored, accountSwept: &c.swept, accountErased: &c.erased, accountBots: &c.bots, accountLate: &c.late,
		accountViews: &c.views, accountEvents: &c.events, accountVisits: &c.visits, accountBytes: &c.bytes,
		accountEngaged: &c.engaged, accountTimed: &c.timed, accountVisitMS: &c.visitMS, accountPageMS: &c.pageMS,
	}
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		if n := into[tag]; n != nil {
			*n = zigzag(num)
		}
		switch tag {
		case accountCounted:
			c.counted = num
		case accountSealed:
			c.sealed = num != 0
		case accountDropped:
			c.dropped = num
		case accountBare:
			c.bare = num != 0
		case accountAgain:
			c.again = num
		case accountFull:
			c.full = num
		case accountProperties:
			c.properties = string(b)
		case accountTallied:
			c.tallied = num != 0
		case accountSum:
			copy(c.sum[:], b)
		case accountGoals:
			c.goals = string(b)
		}
		return nil
	})
	return c, err
}

const (
	writerNext protowire.Number = iota + 1
	writerSequence
	writerSealed
	writerGroups
	writerHits
	writerApps
	writerClock
	writerTicks
	writerCounted
	writerEntries protowire.Number = 16 // behind those that stand beside a counter's: see nestedApp
	writerAlone   protowire.Number = 17
)

// readStoreMark reads the store's own counters.
func readStoreMark(db *pebble.DB) (m mark, apps, alone uint32, err error) {
	known := false
	err = get(db, storeKey(), func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
			switch tag {
			case writerGroups:
				m.groups = num
			case writerHits:
				m.hits = num
			case writerApps:
				apps = uint32(num)
			case writerAlone:
				alone, known = uint32(num-1), true
			}
			return nil
		})
	})
	if !known { // all that there were before there were partitions
		alone = apps
	}
	return m, apps, alone, err
}

// app gives the state of an app, loaded on first use; nil if there is none.
func (w *writer) app(id spoor.AppID) (*appState, error) {
	if a := w.apps[id]; a != nil {
		return a, nil
	}
	app := w.s.App(id)
	if app == nil {
		return nil, nil
	}
	secret, err := readSalt(w.db, id)
	if err != nil {
		return nil, err
	}
	a := newAppState(app, secret)
	err = get(w.db, writerAppKey(nil, id), func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
			if tag == writerCounted {
				a.counted = num
			}
			a.counter.field(tag, num)
			return nil
		})
	})
	if err == nil {
		err = scan(w.db, key1(nil, prefixDefine, id), func(_, value []byte) error {
			d, err := readDefinition(value)
			a.defs[d.name] = d.typ
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot load app %d: %w", id, err)
	}
	w.apps[id] = a
	return a, nil
}

func readSalt(db pebble.Reader, id spoor.AppID) (secret salt, err error) {
	found := false
	err = get(db, appKey(id, appSalt), func(value []byte) error {
		found = copy(secret[:], value[min(headerBytes, len(value)):]) == len(secret)
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("cannot find the salt of app %d: the store is damaged; restore a backup", id)
	}
	return secret, err
}

// day gives the state of an open day, loaded on first use.
func (w *writer) day(a *appState, day spoor.Day) (*dayState, error) {
	if d := a.days[day]; d != nil {
		return d, nil
	}
	d, err := readDayState(w.db, a.app.ID, day)
	if err != nil {
		return nil, fmt.Errorf("cannot load day %s of app %d: %w", day, a.app.ID, err)
	}
	d.skip, d.addends = w.s.opts.SkipRollUps, &w.addends
	w.days++
	a.days[day] = d
	return d, nil
}

// readDayState reads what is written of a day's counts.
func readDayState(db pebble.Reader, app spoor.AppID, day spoor.Day) (*dayState, error) {
	d := &dayState{day: day, db: db, prefix: countDayKey(nil, app, day), addends: new(addends)}
	err := get(db, writerDayKey(nil, app, day), func(value []byte) (err error) {
		d.account, err = readAccount(value)
		return err
	})
	for kind := range d.seen {
		if err == nil {
			d.seen[kind], err = readActivity(db, app, day, byte(kind))
			d.born[kind] = roaring.New()
		}
	}
	return d, err
}

// readActivity reads a day's bitmap, all chunks of it.
func readActivity(db pebble.Reader, app spoor.AppID, day spoor.Day, kind byte) (*roaring.Bitmap, error) {
	prefix := activityKey(nil, app, day, kind, 0)
	return readChunks(db, prefix[:len(prefix)-2])
}

// readMembers reads a set of profile numbers, all chunks of it.
func readMembers(db pebble.Reader, app spoor.AppID, set byte) (*roaring.Bitmap, error) {
	prefix := setKey(nil, app, set, 0)
	return readChunks(db, prefix[:len(prefix)-2])
}

func readChunks(db pebble.Reader, prefix []byte) (*roaring.Bitmap, error) {
	all := roaring.New()
	err := scan(db, prefix, func(key, value []byte) error {
		c, err := readSet(value)
		if err != nil {
			return err
		}
		if c.add != nil {
			high := uint32(binary.BigEndian.Uint16(key[len(key)-2:])) << 16
			all.Or(roaring.AddOffset(c.add, high))
		}
		return nil
	})
	return all, err
}

// lingerFrom is the number of requests in a group from which on the writer
// waits a moment before it builds the next.
const lingerFrom = 8

// run is the writer's goroutine. It ends when the queue is closed and empty.
func (w *writer) run(groups chan<- *group) {
	defer close(groups)
	for {
		if len(w.spent) >= lingerFrom {
			w.s.queue.linger()
		}
		w.spent = w.s.queue.take(w.spent[:0])
		w.learn()
		last := len(w.spent) == 0
		if last && len(w.waiting) == 0 {
			w.finish(groups)
			return
		}
		g := newGroup(w, w.spent)
		g.final = last
		if w.stale {
			_, g.err = w.recall() // no group is under way
			w.stale = g.err != nil
		}
		if g.err == nil {
			g.fill()
		}
		if w.hand(g, groups); last {
			w.finish(groups)
			return
		}
		w.forget()
	}
}

// hand has a group applied and sends it to the acker, behind the one before. One that
// Pebble does not take wakes the writer, which reads anew what it knows before it
// lets the callers know.
func (w *writer) hand(g *group, groups chan<- *group) {
	if err := w.db.settle(); g.err == nil { // decided upon what was not written
		g.err = err
	}
	if g.err != nil {
		w.fail(groups)
		groups <- g
		return
	}
	taken := make(chan error, 1)
	w.db.begin(g, taken)
	go func() {
		err := g.commit()
		if err == nil {
			groups <- g // from here on it is the acker's
		} else {
			w.s.queue.wake()
		}
		taken <- err
	}()
}

// finish waits for the last group.
func (w *writer) finish(groups chan<- *group) {
	if w.db.settle() != nil {
		w.fail(groups)
	}
}

// fail forgets what a group that failed has changed in memory, and sends one that
// Pebble did not take to the acker.
func (w *writer) fail(groups chan<- *group) {
	g, err := w.recall()
	w.stale = err != nil
	if g != nil {
		groups <- g
	}
}

// recall forgets everything that a failed group may have changed in memory, and
// reads what earlier groups wrote. The filters may know too much, which does no
// harm. It returns the group that Pebble did not take, if that is why.
func (w *writer) recall() (failed *group, err error) {
	_ = w.db.settle() // what failed is why we are here
	failed = w.db.resume()
	d, err := readApps(w.db.DB)
	if err != nil {
		return failed, err
	}
	stored, _, _, err := readStoreMark(w.db.DB)
	if err != nil {
		return failed, err
	}
	w.mark.hits = stored.hits
	w.s.apps.Store(d)
	w.apps = map[spoor.AppID]*appState{}
	w.idents = newGenerations[identRef, spoor.Number](w.s.opts.CacheEntries)
	w.profiles = newGenerations[profileRef, *profile](w.s.opts.CacheEntries)
	w.days, w.waiting, w.chains, w.sources = 0, nil, nil, nil
	w.receipts = map[receiptRef]*storedReceipt{}
	return failed, w.recount()
}

// learn takes in what the loader has read for the filters.
func (w *writer) learn() {
	for {
		select {
		case l, ok := <-w.loads:
			if !ok {
				w.loads = nil
				return
			}
			w.learnOne(l)
		default:
			return
		}
	}
}

func (w *writer) learnOne(l load) {
	f := w.known
	if l.event {
		f = w.week(l.week)
	}
	for _, h := range l.hashes {
		f.add(h)
	}
	if l.last {
		w.known.ready = true
		w.giveUp(l.week - min(l.week, loadedWeeks))
		for _, f := range w.weeks {
			f.ready = true
		}
		w.s.filtersReady.Store(true)
	}
}

// week gives the filter of event ids received in a week; nil, which says
// "maybe" to everything, for a week that is long past.
func (w *writer) week(n uint32) *filter {
	if n < w.oldestWeek {
		return nil
	}
	f := w.weeks[n]
	if f == nil {
		f = newFilter(w.s.opts.FilterBytes)
		f.ready = w.s.filtersReady.Load()
		w.weeks[n] = f
		w.giveUp(n - min(n, loadedWeeks))
	}
	return f
}

// loadedWeeks is how many weeks back the filters of event ids reach.
const loadedWeeks = 2

// giveUp drops the filters of the weeks before one. They must not be begun
// again: they would not know what was stored then.
func (w *writer) giveUp(before uint32) {
	w.oldestWeek = max(w.oldestWeek, before)
	for n := range w.weeks {
		if n < w.oldestWeek {
			delete(w.weeks, n)
		}
	}
}

// Of days that are in memory: states, and roll-up rows of all of them (about
// 200 bytes each), looked at once in rowsLook groups.
const (
	dayStatesMax = 4096
	dayRowsMax   = 1 << 19
	rowsLook     = 256
)

// forget bounds the caches, between groups.
func (w *writer) forget() {
	w.idents.turn()
	w.profiles.turn()
	if len(w.rowNames.keys) > w.s.opts.rowNamesMax {
		w.rowNames = newRowNames(w.rowNames.epoch + 1)
	}
	if w.days <= dayStatesMax && w.mark.groups%rowsLook != 0 {
		return
	}
	days, rows := 0, 0
	for _, a := range w.apps {
		for _, d := range a.days {
			days, rows = days+1, rows+d.rows.len()
		}
	}
	w.days = days
	if days > dayStatesMax || rows > dayRowsMax {
		for _, a := range w.apps {
			maps.DeleteFunc(a.days, func(_ spoor.Day, d *dayState) bool { return d.idle() })
		}
	}
}

// forgetEvents removes the ids of events that were received so long ago that
// none is asked for any more: see seen.
func (g *group) forgetEvents(a *appState, now time.Time) error {
	if week := oldestEvents(a.app, now.UnixMilli()); week > 0 {
		from, to := eventKey(nil, a.app.ID, 0, hash{}), eventKey(nil, a.app.ID, week, hash{})
		some := false
		if err := scanSpan(g.w.db, from, to, func(_, _ []byte) error { some = true; return errSome }); err != nil && !errors.Is(err, errSome) {
			return err
		}
		if some {
			return g.batch.DeleteRange(from, to, nil)
		}
	}
	return nil
}

var errSome = errors.New("enough")

// oldestEvents is the first week of receipt whose event ids are kept.
func oldestEvents(app *spoor.App, ms int64) uint32 {
	week, kept := weekOf(ms), uint32(app.Settings.WindowDays+6)/7+2
	return week - min(week, kept)
}

// seal raises sealed-through of every app to where it stands at that instant,
// for apps to which nothing comes any more.
func (w *writer) seal(g *group, now time.Time) error {
	for _, app := range w.s.AllApps() {
		if err := g.seal(app.ID, now); err != nil {
			return err
		}
	}
	return nil
}

// seal does that for one app.
func (g *group) seal(app spoor.AppID, now time.Time) error {
	a, err := g.w.app(app)
	if err != nil || a == nil {
		return err
	}
	if a.firstOpen(now.UnixMilli()); a.touched {
		g.touchApp(a)
	}
	return g.forgetEvents(a, now)
}
