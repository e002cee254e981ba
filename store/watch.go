package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Who is in a watched segment stands in a bitmap. A follower of the app's feed
// evaluates the segment for whom an entry is about, once a day for everybody,
// and gives what it found to the writer. The writer compares with the bitmap,
// which nobody else changes, and writes bitmap and entries in one batch: so each
// crossing is told once, wherever it is interrupted. The cursor saves work and
// decides nothing.

// watch is how far the watched segments of an app are.
type watch struct {
	cursor   uint64           // of the feed: up to here persons were looked at
	day      spoor.Day        // on which everybody was looked at last
	changes  uint64           // of anything that the feed does not tell and that moves people
	seen     uint64           // of them when everybody was looked at last
	segments []watchedSegment // by id
}

type watchedSegment struct {
	id     uint32
	filled bool // its bitmap has who was in it when watching began
}

const (
	watchCursor protowire.Number = iota + 1
	watchDay
	watchChanges
	watchSeen
	watchFilled // id of a segment
	watchBegun  // id of a segment that is not filled yet
)

func (w *watch) appendTo(dst []byte) []byte {
	dst = putUint(appendHeader(dst), watchCursor, w.cursor)
	dst = putInt(dst, watchDay, int64(w.day))
	dst = putUint(dst, watchChanges, w.changes)
	dst = putUint(dst, watchSeen, w.seen)
	for _, x := range w.segments {
		tag := watchBegun
		if x.filled {
			tag = watchFilled
		}
		dst = putUint(dst, tag, uint64(x.id))
	}
	return dst
}

// readWatch gives a watch without segments where nothing is watched.
func readWatch(db pebble.Reader, app spoor.AppID) (*watch, error) {
	w := new(watch)
	err := get(db, watchKey(app), func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
			switch tag {
			case watchCursor:
				w.cursor = num
			case watchDay:
				w.day = spoor.Day(zigzag(num))
			case watchChanges:
				w.changes = num
			case watchSeen:
				w.seen = num
			case watchFilled, watchBegun:
				w.segments = append(w.segments, watchedSegment{uint32(num), tag == watchFilled})
			}
			return nil
		})
	})
	return w, err
}

func (w *watch) equal(o *watch) bool {
	return w.cursor == o.cursor && w.day == o.day && w.changes == o.changes && w.seen == o.seen && slices.Equal(w.segments, o.segments)
}

// watching is the watch of an app, to be read; rewatch changes it.
func (g *group) watching(a *appState) (w *watch, err error) {
	if a.watch == nil {
		if w, err = readWatch(g.w.db, a.app.ID); err != nil {
			return nil, err
		}
		a.watch = w
	}
	return a.watch, nil
}

// rewatch writes the watch of an app after it was changed. The count of changes
// stays when nothing is watched any more, so that no two watches are equal.
func (g *group) rewatch(a *appState) {
	if g.rewatched = true; len(a.watch.segments) == 0 {
		*a.watch = watch{changes: a.watch.changes + 1}
	}
	g.set(watchKey(a.app.ID), a.watch.appendTo(nil))
}

// moved notes that people may be in other segments than before, by a change that
// the feed does not tell of.
func (g *group) moved(a *appState) error {
	w, err := g.watching(a)
	if err == nil && len(w.segments) > 0 {
		w.changes++
		g.rewatch(a)
	}
	return err
}

// checkWatched refuses to watch one segment more than there may be.
func (g *group) checkWatched(a *appState, old, x *spoor.Collection) error {
	w, err := g.watching(a)
	if err == nil && watched(x) && !watched(old) && len(w.segments) >= spoor.WatchedMax {
		err = &spoor.CollectionError{Field: "watched", What: fmt.Sprintf("The app watches %d segments already; watch one less first.", len(w.segments))}
	}
	return err
}

func watched(x *spoor.Collection) bool { return x != nil && x.Watched }

// watchAs follows a change of a segment; old or x is nil where there was or is
// none.
func (g *group) watchAs(a *appState, old, x *spoor.Collection) error {
	w, err := g.watching(a)
	switch {
	case err != nil:
		return err
	case watched(x) && !watched(old):
		w.segments = append(w.segments, watchedSegment{id: x.ID})
		slices.SortFunc(w.segments, func(a, b watchedSegment) int { return cmp.Compare(a.id, b.id) })
		return g.moved(a)
	case watched(old) && !watched(x):
		at := collectionRef{spoor.CollectionSegment, old.ID}
		w.segments = slices.DeleteFunc(w.segments, func(x watchedSegment) bool { return x.id == at.id })
		delete(a.members, at)
		members := membersKey(nil, a.app.ID, at)
		if err := g.batch.DeleteRange(members, after(members), nil); err != nil {
			return err
		}
		g.rewatch(a)
	}
	if old != nil && x != nil && string(old.Filter.JSON()) != string(x.Filter.JSON()) {
		return g.moved(a) // of what is watched, one may name it
	}
	return nil
}

// leaveSegments takes somebody who goes, or is left out from now on, out of the
// watched segments, without a word: the feed tells that otherwise.
func (g *group) leaveSegments(a *appState, n spoor.Number) {
	g.eachSegmentOf(a, n, func(at collectionRef) { g.join(a, at, n, false) })
}

// inheritSegments makes p be where q was, who is merged into p: it is the same
// person, who did not enter.
func (g *group) inheritSegments(a *appState, p, q spoor.Number, counted bool) {
	g.eachSegmentOf(a, q, func(at collectionRef) {
		g.join(a, at, q, false)
		if counted {
			g.join(a, at, p, true)
		}
	})
	if !counted {
		g.leaveSegments(a, p)
	}
}

func (g *group) eachSegmentOf(a *appState, n spoor.Number, f func(collectionRef)) {
	w, err := g.watching(a)
	if err != nil {
		g.err = errors.Join(g.err, err)
		return
	}
	for _, x := range w.segments {
		at := collectionRef{spoor.CollectionSegment, x.id}
		in, err := g.membersAmong(a, at, roaring.BitmapOf(uint32(n)))
		if g.err = errors.Join(g.err, err); err == nil && !in.IsEmpty() {
			f(at)
		}
	}
}

// membersAmong is who of some is in a collection now.
func (g *group) membersAmong(a *appState, at collectionRef, some *roaring.Bitmap) (*roaring.Bitmap, error) {
	return g.among(some, a.members[at], func(chunk uint16) []byte { return memberKey(nil, a.app.ID, at, chunk) })
}

// among is who of some is in a set, with what the group has changed of it.
func (g *group) among(some *roaring.Bitmap, change setChange32, key func(chunk uint16) []byte) (*roaring.Bitmap, error) {
	in := roaring.New()
	for it := some.Iterator(); it.HasNext(); {
		chunk := uint16(it.PeekNext() >> 16)
		err := get(g.w.db, key(chunk), func(value []byte) error {
			c, err := readSet(value)
			if err == nil && c.add != nil {
				in.Or(roaring.AddOffset(c.add, uint32(chunk)<<16))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if chunk == 1<<16-1 {
			break
		}
		it.AdvanceIfNeeded((uint32(chunk) + 1) << 16)
	}
	if change.add != nil {
		in.Or(change.add)
		in.AndNot(change.drop)
	}
	in.And(some)
	return in, nil
}

// crossings are who is found to enter and to leave a watched segment.
type crossings struct {
	segment      uint32
	enter, leave *roaring.Bitmap
	silent       bool // it is being filled
}

// errWatchChanged says that what was found is not about the segments as they are.
var errWatchChanged = errors.New("the watched segments have changed")

// cross brings bitmaps up to what was found and tells of it, if the watch is
// still what it was then. Next is the watch from then on; nil leaves it.
func (g *group) cross(app spoor.AppID, was *watch, found []crossings, next *watch, at int64) error {
	a, err := g.w.app(app)
	if err != nil || a == nil || a.app.Closed {
		return err
	}
	w, err := g.watching(a)
	if err != nil {
		return err
	}
	if !w.equal(was) {
		return errWatchChanged
	}
	for _, c := range found {
		of := collectionRef{spoor.CollectionSegment, c.segment}
		members, err := g.membersAmong(a, of, roaring.Or(c.enter, c.leave))
		if err != nil {
			return err
		}
		enter, err := g.present(a, roaring.AndNot(c.enter, members), at)
		if err != nil {
			return err
		}
		tell := func(some *roaring.Bitmap, in bool) {
			for it := some.Iterator(); it.HasNext(); {
				n := spoor.Number(it.Next())
				if g.join(a, of, n, in); !c.silent {
					g.tell(a, at, feedSegment, uint64(n), uint64(of.id), protowire.EncodeBool(in))
				}
			}
		}
		tell(enter, true)
		tell(roaring.And(c.leave, members), false)
	}
	if next != nil {
		*w = *next
		g.set(watchKey(app), w.appendTo(nil))
	}
	return nil
}

// present is who of some is still there and not left out.
func (g *group) present(a *appState, some *roaring.Bitmap, at int64) (*roaring.Bitmap, error) {
	set := func(set byte) (*roaring.Bitmap, error) {
		return g.among(some, a.sets[set], func(chunk uint16) []byte { return setKey(nil, a.app.ID, set, chunk) })
	}
	live, err := set(setLive)
	if err != nil {
		return nil, err
	}
	objected, err := set(setObjected)
	if err != nil {
		return nil, err
	}
	held, err := set(setHeld)
	if err != nil {
		return nil, err
	}
	live.AndNot(objected)
	for it := roaring.And(held, live).Iterator(); it.HasNext(); {
		n := it.Next()
		p, err := g.profile(a, spoor.Number(n))
		if err != nil {
			return nil, err
		}
		if p.facts.rights.Uncounted(a.app.Day(at)) {
			live.Remove(n)
		}
	}
	return live, nil
}

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
	o := &outlook{watch: *w, people: roaring.New(), end: max(w.cursor, looked), today: s.today(app.ID)}
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
	if len(found) == 0 && !o.all && o.end-o.cursor < watchBehind {
		return nil
	}
	parts := sliced(found)
	for i, part := range parts {
		then := (*watch)(nil)
		if i == len(parts)-1 {
			then = &next
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
func sliced(found []crossings) (parts [][]crossings) {
	size := uint64(0)
	for _, c := range found {
		size += c.enter.GetCardinality() + c.leave.GetCardinality()
	}
	if size <= watchSlice {
		return [][]crossings{found}
	}
	for _, c := range found {
		for some := range slices.Chunk(c.leave.ToArray(), watchSlice) {
			parts = append(parts, []crossings{{c.segment, nobody, roaring.BitmapOf(some...), c.silent}})
		}
		for some := range slices.Chunk(c.enter.ToArray(), watchSlice) {
			parts = append(parts, []crossings{{c.segment, roaring.BitmapOf(some...), nobody, c.silent}})
		}
	}
	return parts
}
