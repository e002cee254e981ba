package store

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// watches wakes the followers when something is watched, or watched otherwise.
type watches struct {
	mu      sync.Mutex
	changed chan struct{}
}

// next is closed with the next change.
func (w *watches) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *watches) change() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

const (
	watchPause   = 50 * time.Millisecond // between two looks, in which entries gather
	watchShare   = 8                     // evaluating is followed by a pause so many times as long
	watchTick    = time.Minute           // after which a new day is seen
	watchRetry   = 5 * time.Second       // after an error
	watchFewMax  = 10_000                // persons up to which they are looked at and not everybody
	watchSlice   = 4096                  // crossings in one request to the writer
	watchBehind  = 1 << 16               // entries after which the cursor is written though nobody crossed
	watchLogging = time.Minute           // between two lines about errors
)

// Watch tells in the feeds of apps who enters and who leaves their watched
// segments, until ctx ends. It returns when all that it began is on disk, and
// must not run twice at once.
func (s *Store) Watch(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	followed := map[spoor.AppID]bool{}
	for {
		changed := s.watches.next()
		for _, app := range s.AllApps() {
			if followed[app.ID] {
				continue
			}
			var w *watch
			err := s.view(func(db *pebble.DB) (err error) {
				w, err = readWatch(db, app.ID)
				return err
			})
			if err != nil || len(w.segments) > 0 {
				followed[app.ID] = true
				running.Go(func() { (&follower{s: s, app: app.ID}).run(ctx) })
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// follower watches the segments of one app.
type follower struct {
	s      *Store
	app    spoor.AppID
	looked uint64        // entries of the feed up to here are done with, if it is more than the cursor says
	took   time.Duration // to evaluate, the last time
}

func (f *follower) run(ctx context.Context) {
	var logged time.Time
	for ctx.Err() == nil && f.s.App(f.app) != nil {
		changed := f.s.watches.next()
		_, more := f.s.FeedEnd(f.app)
		err := f.look(ctx)
		pause := max(watchPause, watchShare*f.took)
		switch {
		case err == nil:
		case errors.Is(err, spoor.ErrClosed):
			return
		case errors.Is(err, errWatchChanged):
			continue
		default:
			pause, more = watchRetry, closed
			if !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrBusy) && ctx.Err() == nil && time.Since(logged) > watchLogging {
				logged = time.Now()
				f.s.log.Error("cannot watch the segments of an app; it is tried again", "app", f.app, "error", err)
			}
		}
		wait(ctx, nil, nil, pause)
		wait(ctx, more, changed, watchTick)
	}
}

var closed = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

func wait(ctx context.Context, a, b <-chan struct{}, longest time.Duration) {
	end := time.NewTimer(longest)
	defer end.Stop()
	select {
	case <-a:
	case <-b:
	case <-end.C:
	case <-ctx.Done():
	}
}

// outlook is what a view of the store says about who must be looked at.
type outlook struct {
	watch
	alone  bool            // nothing else happens in the app meanwhile
	people *roaring.Bitmap // whom entries are about
	end    uint64          // of the feed
	today  spoor.Day
	all    bool // everybody must be looked at
}

// outlook reads who must be looked at. All says that it is everybody.
func (s *Store) outlook(db pebble.Reader, app *spoor.App, looked uint64, all bool) (*outlook, error) {
	w, err := readWatch(db, app.ID)
	if err != nil || len(w.segments) == 0 {
		return nil, err
	}
	kept, err := readRetained(db, app.ID)
	if err != nil {
		return nil, err
	}
	o := &outlook{watch: *w, people: roaring.New(), end: max(w.cursor, looked), today: s.today(app.ID)}
	all = all || o.end < kept.floor
	o.all = all || w.day != o.today || w.seen != w.changes || slices.ContainsFunc(w.segments, func(x watchedSegment) bool { return !x.filled })
	if o.all {
		err = walkFeed(db, app.ID, lastOfFeed, func(first uint64, value []byte) error {
			return readFeed(first, value, func(n uint64, _ protowire.Number, _ int64, _ []byte) error { o.end = n; return nil })
		})
		return o, err
	}
	secret, err := readSalt(db, app.ID)
	if err != nil {
		return nil, err
	}
	err = walkBehind(db, app.ID, o.end, func(n uint64, tag protowire.Number, _ int64, b []byte) error {
		o.end = n
		who, err := concerns(db, app.ID, &secret, tag, b)
		if o.people.Add(uint32(who)); tag == feedExpired || o.people.GetCardinality() > watchFewMax {
			return errEverybody
		}
		return err
	})
	if gap := (*spoor.FeedGap)(nil); errors.As(err, &gap) || errors.Is(err, errEverybody) {
		o.all, err = true, nil
	}
	o.people.Remove(0) // hits of nobody
	return o, err
}

var errEverybody = errors.New("everybody must be looked at")

// concerns is whom an entry of a feed is about, as far as it may move anybody
// between segments; else 0.
func concerns(db pebble.Reader, app spoor.AppID, secret *salt, tag protowire.Number, b []byte) (spoor.Number, error) {
	place := 0 // of the person among the parts
	switch tag {
	case feedHit, feedUser, feedMerge:
	case feedRight:
		place = 1
	case feedMember:
		place = 2
	default:
		return 0, nil
	}
	var part uint64
	for range place + 1 {
		v, n := protowire.ConsumeVarint(b)
		part, b = v, b[max(n, 0):]
	}
	if tag != feedRight {
		return spoor.Number(part), nil
	}
	id := int64(part)
	if id < publicBase {
		return readNumber(db, identKey(nil, app, spoor.LookupPublic, secret.ident(spoor.LookupPublic, strconv.FormatInt(id, 10))))
	}
	people := secret.permutation("profile")
	return spoor.Number(people.private(id)), nil
}

// Watched reports whether an app has watched segments, which need looks.
func (s *Store) Watched(app spoor.AppID) (watched bool, err error) {
	err = s.view(func(db *pebble.DB) error {
		w, err := readWatch(db, app)
		watched = err == nil && len(w.segments) > 0
		return err
	})
	return watched, err
}

// Look tells in the feed of an app who has entered and who has left its watched
// segments by now, once, and returns when that is on disk. It is for commands of a
// log, in place of Watch: nothing else may change the app meanwhile. What it does
// depends on the store and its time alone, and it may be called again where it was
// interrupted.
func (s *Store) Look(ctx context.Context, id spoor.AppID) error {
	app := s.App(id)
	if app == nil || app.Settings.FeedDays == 0 || app.Closed {
		return nil
	}
	o, found, err := s.survey(app, 0)
	if err != nil || o == nil {
		return err
	}
	o.alone = true
	return s.tellCrossings(ctx, id, o, found)
}

// look evaluates the watched segments for whom the feed tells of, or for everybody
// where that does not do, and has the writer note who crossed.
func (f *follower) look(ctx context.Context) error {
	app := f.s.App(f.app)
	if app == nil || app.Settings.FeedDays == 0 || app.Closed {
		return nil
	}
	began := time.Now()
	o, found, err := f.s.survey(app, f.looked)
	if f.took = time.Since(began); err != nil || o == nil {
		return err
	}
	if err := f.s.tellCrossings(ctx, f.app, o, found); err != nil {
		return err
	}
	f.looked = o.end
	return nil
}

// survey finds who crossed; the outlook is nil where nothing is watched.
func (s *Store) survey(app *spoor.App, looked uint64) (o *outlook, found []crossings, err error) {
	err = s.still(func(db pebble.Reader) (err error) {
		if o, err = s.outlook(db, app, looked, false); err == nil && o != nil && !o.all {
			found, err = o.find(db, app, nil, 0, s.selections.tuning)
		}
		return err
	})
	if err == nil && o != nil && o.all {
		o, found, err = s.surveyAll(app, looked)
	}
	return o, found, err
}

// surveyAll looks at everybody, as a segment is evaluated when it is asked for.
func (s *Store) surveyAll(app *spoor.App, looked uint64) (o *outlook, found []crossings, err error) {
	err = s.view(func(db *pebble.DB) (err error) {
		c := &s.selections
		c.mu.Lock()
		defer c.mu.Unlock()
		snapshot, columns := c.columns.cut(db, app.ID)
		defer func() { err = errors.Join(err, snapshot.Close()) }()
		defer c.columns.settle(c.columnMax)
		if c.seek == 0 {
			columns = nil
		}
		if o, err = s.outlook(snapshot, app, looked, true); err == nil && o != nil {
			found, err = o.find(snapshot, app, columns, c.columns.uses, c.tuning)
		}
		return err
	})
	return o, found, err
}

// find evaluates the watched segments and compares with their bitmaps.
func (o *outlook) find(db pebble.Reader, app *spoor.App, columns *appColumns, use int64, how tuning) (found []crossings, err error) {
	some := o.people
	switch {
	case o.all:
		some = nil
	case some.IsEmpty():
		return nil, nil
	}
	sel, err := newSelection(db, app, o.today, some, how)
	if err != nil {
		return nil, err
	}
	sel.columns, sel.use = columns, use
	for _, x := range o.segments {
		in, err := sel.segment(x.id)
		if err != nil {
			return nil, err
		}
		members, err := readChunks(db, membersKey(nil, app.ID, collectionRef{spoor.CollectionSegment, x.id}))
		if err != nil {
			return nil, err
		}
		c := crossings{segment: x.id, enter: roaring.AndNot(in, members), leave: roaring.AndNot(members, in), silent: !x.filled}
		if some != nil {
			c.leave.And(some)
		}
		if !c.enter.IsEmpty() || !c.leave.IsEmpty() {
			found = append(found, c)
		}
	}
	return found, nil
}

// tellCrossings gives what was found to the writer, in slices that do not keep
// it from hits. The last one moves the cursor.
func (s *Store) tellCrossings(ctx context.Context, app spoor.AppID, o *outlook, found []crossings) error {
	at := s.opts.Now().UnixMilli()
	next := o.watch
	next.segments = slices.Clone(o.segments)
	if next.cursor = o.end; o.all {
		next.day, next.seen = o.today, o.changes
		for i := range next.segments {
			next.segments[i].filled = true
		}
	}
	behind := o.end - o.cursor
	if len(found) == 0 && !o.all && behind < watchBehind && !(o.alone && behind > 0) {
		return nil
	}
	end := &next
	if o.alone {
		end.cursor = lastOfFeed // with what is told now
	}
	parts := sliced(found, s.opts.slice(watchSlice))
	for i, part := range parts {
		then := (*watch)(nil)
		if i == len(parts)-1 {
			then = end
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.bulk(func(g *group) error { return g.cross(app, &o.watch, part, then, at) }); err != nil {
			return err
		}
	}
	return nil
}

// sliced cuts what was found into parts of bounded size: at least one, and no
// more if that does.
func sliced(found []crossings, most int) (parts [][]crossings) {
	size := uint64(0)
	for _, c := range found {
		size += c.enter.GetCardinality() + c.leave.GetCardinality()
	}
	if size <= uint64(most) {
		return [][]crossings{found}
	}
	for _, c := range found {
		for some := range slices.Chunk(c.leave.ToArray(), most) {
			parts = append(parts, []crossings{{c.segment, nobody, roaring.BitmapOf(some...), c.silent}})
		}
		for some := range slices.Chunk(c.enter.ToArray(), most) {
			parts = append(parts, []crossings{{c.segment, roaring.BitmapOf(some...), nobody, c.silent}})
		}
	}
	return parts
}
