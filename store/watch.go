package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

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
		tell(roaring.And(c.leave, members), false) // first, as where there are many
		tell(enter, true)
	}
	if next != nil {
		if *w = *next; w.cursor == lastOfFeed {
			w.cursor = a.entries
		}
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
