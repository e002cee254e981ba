package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// The feed of an app is the list of what happened in it, in the order in which
// the writer decided it: one record a group, which refers to hits and profiles
// and copies nothing of them. So it holds no personal data that would have to
// be erased from it, and who was erased is not in it any more.
//
// Entries are numbered per app. The numbers depend on the requests and their
// order alone, not on how these fell into groups.

// draft collects the entries of an app in a group.
type draft struct {
	first  uint64 // number of the first entry
	at     int64  // of the latest
	fields []byte
}

// Tags of a feed record: its time, then the entries in their order, one field
// each. Behind them what an entry holds, as varints one after the other.
const (
	feedTime    protowire.Number = iota + 1
	feedHit                      // profile, day, time; then the event hash
	feedUser                     // profile
	feedMerge                    // profile, former profile
	feedMember                   // kind of collection, its id, profile, 1 if in
	feedGone                     // 1 if erased, public ids
	feedRight                    // place in feedRights, public id
	feedExpired                  // day, kind
	feedSegment                  // profile, segment, 1 if in
)

// feedRights are what a right's entry can tell. Append, never renumber.
var feedRights = []string{"", "objection.set", "objection.lifted", "restriction.set", "restriction.lifted"}

// tell adds an entry to the feed of an app that keeps one.
func (g *group) tell(a *appState, at int64, tag protowire.Number, parts ...uint64) {
	if a.app.Settings.FeedDays == 0 {
		return
	}
	g.touchApp(a)
	a.entries++
	d := &a.draft
	if d.first == 0 {
		d.first = a.entries
	}
	d.at = max(d.at, at)
	size := 0
	for _, p := range parts {
		size += protowire.SizeVarint(p)
	}
	d.fields = protowire.AppendVarint(protowire.AppendTag(d.fields, tag, protowire.BytesType), uint64(size))
	for _, p := range parts {
		d.fields = protowire.AppendVarint(d.fields, p)
	}
}

// tellHit tells of a hit that is being stored, and of its person if it changed
// the profile.
func (g *group) tellHit(a *appState, h *spoor.Hit, p *pending, id hash) {
	if a.app.Settings.FeedDays != 0 && h.Marks&spoor.MarkUncounted == 0 {
		high, low := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
		g.tell(a, h.Received, feedHit, uint64(h.Profile), protowire.EncodeZigZag(int64(h.Day)), protowire.EncodeZigZag(h.Time), high, low)
	}
	if p != nil {
		g.tellUser(p, h.Received)
	}
}

// tellUser tells of a profile if it was written since it was told of last.
func (g *group) tellUser(p *pending, at int64) {
	written := p.add.writes != p.told
	p.told = p.add.writes // also where nobody is told, or it would depend on who meets in a group
	if written && !p.facts.rights.Uncounted(p.app.app.Day(at)) {
		g.tell(p.app, at, feedUser, uint64(p.n))
	}
}

// tellGone tells of a person who is removed.
func (g *group) tellGone(a *appState, n spoor.Number, s *state, erased bool, at int64) {
	if a.app.Settings.FeedDays == 0 {
		return
	}
	ids := []uint64{protowire.EncodeBool(erased)}
	add := func(n spoor.Number, public int64) {
		if public == 0 {
			public = a.people.public(uint64(n))
		}
		ids = append(ids, uint64(public))
	}
	add(n, s.public)
	for _, f := range s.former {
		add(f.number, f.public)
	}
	g.tell(a, at, feedGone, ids...)
}

// beginFeed leaves out a number, so that whoever followed the feed before it was
// switched off learns that something is missing.
func (g *group) beginFeed(app spoor.AppID) error {
	a, err := g.w.app(app)
	if err != nil || a == nil {
		return err
	}
	g.touchApp(a)
	a.entries++
	g.told = append(g.told, feedMark{a.app.ID, a.entries})
	return g.moved(a)
}

// flushFeed writes what the group told of an app.
func (g *group) flushFeed(a *appState) {
	d := &a.draft
	if d.first == 0 {
		return
	}
	g.w.scratch = append(putInt(appendHeader(g.w.scratch[:0]), feedTime, d.at), d.fields...)
	g.set(feedKey(nil, a.app.ID, d.first), g.w.scratch)
	g.told = append(g.told, feedMark{a.app.ID, a.entries})
	*d = draft{fields: d.fields[:0]}
}

// feedMark is how far a group brought the feed of an app.
type feedMark struct {
	app    spoor.AppID
	newest uint64
}

// feeds are how far the feeds are on disk, and who waits for more.
type feeds struct {
	mu     sync.Mutex
	newest map[spoor.AppID]uint64
	waits  map[spoor.AppID]chan struct{} // closed when there is more
}

// show makes entries visible whose group is on disk.
func (f *feeds) show(list []feedMark) {
	if len(list) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range list {
		f.newest[t.app] = t.newest
		if wait := f.waits[t.app]; wait != nil {
			close(wait)
			delete(f.waits, t.app)
		}
	}
}

// more gives the newest number, and what is closed when there is a newer one.
func (f *feeds) more(app spoor.AppID) (newest uint64, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := f.waits[app]
	if wait == nil {
		wait = make(chan struct{})
		f.waits[app] = wait
	}
	return f.newest[app], wait
}

// loadFeeds finds the ends of the feeds when the store is opened.
func (s *Store) loadFeeds(db *pebble.DB) error {
	s.feeds.newest, s.feeds.waits = map[spoor.AppID]uint64{}, map[spoor.AppID]chan struct{}{}
	late, err := scanUncounted(db)
	if err != nil {
		return err
	}
	for _, app := range s.AllApps() {
		c, err := readCounter(db, app.ID, late)
		if err != nil {
			return fmt.Errorf("cannot read the counters of app %q: %w", app.Name, err)
		}
		s.feeds.newest[app.ID] = c.entries
	}
	return nil
}

// lastOfFeed lies behind all entries.
const lastOfFeed = 1<<64 - 1

// walkFeed calls f with the record that holds an entry, or the last before it,
// and with all behind that.
func walkFeed(db pebble.Reader, app spoor.AppID, number uint64, f func(first uint64, value []byte) error) (err error) {
	prefix := key1(nil, prefixFeed, app)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("cannot read the store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	exact := it.SeekGE(feedKey(nil, app, number)) && be64(it.Key()[5:]) == number
	if !exact && !it.SeekLT(feedKey(nil, app, number)) {
		it.First()
	}
	for ok := it.Valid(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("cannot read the store: %w", err)
		}
		if err := f(be64(it.Key()[5:]), value); err != nil {
			return err
		}
	}
	return it.Error()
}

// readFeed calls f with the entries of a record.
func readFeed(first uint64, value []byte, f func(number uint64, tag protowire.Number, at int64, entry []byte) error) error {
	var at int64
	return fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		if tag == feedTime {
			at = zigzag(num)
			return nil
		}
		first++
		return f(first-1, tag, at, b)
	})
}

// Feed calls fn with the entries behind a number, oldest first, as far as they
// are on disk; 0 begins at the oldest there is. It returns the number up to
// which it has looked, from which to go on, also where it passed entries over.
// An error of fn ends it and is returned with the number before that entry.
// Error: *spoor.FeedGap.
func (s *Store) Feed(app spoor.AppID, behind uint64, fn func(*spoor.FeedEntry) error) (next uint64, err error) {
	newest, _ := s.feeds.more(app)
	next = behind
	if behind >= newest {
		return next, nil
	}
	err = s.still(func(db pebble.Reader) error {
		r, err := s.newFeedReader(db, app)
		if err != nil {
			return err
		}
		return walkBehind(db, app, behind, func(n uint64, tag protowire.Number, at int64, b []byte) error {
			if n > newest {
				return errEndOfFeed
			}
			e, err := r.entry(tag, b)
			if err == nil && e != nil {
				e.Number, e.At = n, at
				err = fn(e)
			}
			if err == nil {
				next = n
			}
			return err
		})
	})
	switch {
	case errors.Is(err, errEndOfFeed):
		err = nil
	case err == nil && behind == 0:
		next = newest // what is missing was before the oldest entry there is
	case err == nil && next < newest: // what comes next was left out, or is gone
		err = &spoor.FeedGap{After: next, Oldest: newest}
	}
	return next, err
}

// walkBehind calls f with the entries behind a number; 0 begins at the oldest
// there is. Error: *spoor.FeedGap.
func walkBehind(db pebble.Reader, app spoor.AppID, behind uint64, f func(number uint64, tag protowire.Number, at int64, entry []byte) error) error {
	expected := behind + 1
	if behind == 0 {
		expected = 0
	}
	return walkFeed(db, app, behind+1, func(first uint64, value []byte) error {
		if expected != 0 && first > expected {
			return &spoor.FeedGap{After: expected - 1, Oldest: first - 1}
		}
		return readFeed(first, value, func(n uint64, tag protowire.Number, at int64, b []byte) error {
			expected = n + 1
			if n <= behind {
				return nil
			}
			return f(n, tag, at, b)
		})
	})
}

var errEndOfFeed = errors.New("the end of the feed")

// FeedEnd is the number of the newest entry of a feed, also where that is gone or
// was left out as a mark of a gap, 0 if there never was one, and a channel that is closed once there is a newer one.
func (s *Store) FeedEnd(app spoor.AppID) (newest uint64, more <-chan struct{}) {
	return s.feeds.more(app)
}

// feedReader finds what entries refer to.
type feedReader struct {
	db     pebble.Reader
	app    spoor.AppID
	people permutation
	names  *catalogueReader
	hidden *roaring.Bitmap // removed, and their hits are still there
	former *roaring.Bitmap // merged into another
	rights *roaring.Bitmap // have one on record
	today  spoor.Day

	imported bool // somebody has a public id of his own
	met      map[spoor.Number]*spoor.Profile
}

// metMax is how many profiles a reader remembers: consecutive entries are often
// about the same few people.
const metMax = 1024

func (s *Store) newFeedReader(db pebble.Reader, app spoor.AppID) (*feedReader, error) {
	secret, err := readSalt(db, app)
	if err != nil {
		return nil, err
	}
	r := &feedReader{
		db: db, app: app, people: secret.permutation("profile"), names: newCatalogueReader(db, app), today: s.today(app), met: map[spoor.Number]*spoor.Profile{},
	}
	if r.hidden, err = readHidden(db, app); err != nil {
		return nil, err
	}
	if r.former, err = readMembers(db, app, setAliased); err != nil {
		return nil, err
	}
	if r.rights, err = readMembers(db, app, setHeld); err != nil {
		return nil, err
	}
	objected, err := readMembers(db, app, setObjected)
	if err != nil {
		return nil, err
	}
	r.rights.Or(objected)
	err = scan(db, append(key1(nil, prefixIdent, app), byte(spoor.LookupPublic)), func(_, _ []byte) error {
		r.imported = true
		return errSome
	})
	if errors.Is(err, errSome) {
		err = nil
	}
	return r, err
}

// public is the public id of the person whose number it is or was; 0 for nobody.
func (r *feedReader) public(n spoor.Number) (int64, error) {
	switch {
	case n == 0:
		return 0, nil
	case !r.imported && !r.former.Contains(uint32(n)):
		return r.people.public(uint64(n)), nil
	}
	p, err := r.profile(n)
	if p == nil || err != nil {
		return r.people.public(uint64(n)), err
	}
	return p.ID, nil
}

// entry reads an entry and what it refers to; nil if that is gone or is to be
// left out, or if a newer spoor wrote it.
func (r *feedReader) entry(tag protowire.Number, b []byte) (*spoor.FeedEntry, error) {
	part := func() (v uint64) {
		v, n := protowire.ConsumeVarint(b)
		b = b[max(n, 0):]
		return v
	}
	switch tag {
	case feedHit:
		n, day, ms := spoor.Number(part()), spoor.Day(zigzag(part())), zigzag(part())
		var id hash
		binary.BigEndian.PutUint64(id[:8], part())
		binary.BigEndian.PutUint64(id[8:], part())
		return r.hit(n, day, ms, id)
	case feedUser:
		return r.user(spoor.Number(part()))
	case feedMerge:
		into, former := spoor.Number(part()), spoor.Number(part())
		gone, err := r.publicThen(former)
		if err != nil {
			return nil, err
		}
		return r.about(&spoor.FeedEntry{Kind: spoor.FeedMerge, Gone: []int64{gone}}, into)
	case feedMember:
		at := collectionRef{kind: spoor.CollectionKind(part()), id: uint32(part())}
		n, in := spoor.Number(part()), part() == 1
		kinds := map[collectionChange]spoor.FeedKind{
			{spoor.CollectionTag, true}: spoor.FeedTagOn, {spoor.CollectionTag, false}: spoor.FeedTagOff,
			{spoor.CollectionList, true}: spoor.FeedListOn, {spoor.CollectionList, false}: spoor.FeedListOff,
		}
		return r.crossed(kinds[collectionChange{at.kind, in}], at, n)
	case feedSegment:
		n := spoor.Number(part())
		at := collectionRef{spoor.CollectionSegment, uint32(part())}
		kind := spoor.FeedLeft
		if part() == 1 {
			kind = spoor.FeedEntered
		}
		return r.crossed(kind, at, n)
	case feedGone:
		e := &spoor.FeedEntry{Kind: spoor.FeedSwept}
		if part() == 1 {
			e.Kind = spoor.FeedErased
		}
		for len(b) > 0 {
			left := len(b)
			if e.Gone = append(e.Gone, int64(part())); len(b) == left {
				return nil, errValue
			}
		}
		return e, nil
	case feedRight:
		e := &spoor.FeedEntry{Kind: spoor.FeedRight}
		if what := part(); what < uint64(len(feedRights)) {
			e.What = feedRights[what]
		}
		e.Person = int64(part())
		return e, nil
	case feedExpired:
		return &spoor.FeedEntry{Kind: spoor.FeedExpired, Day: spoor.Day(zigzag(part())), Class: spoor.Kind(part())}, nil
	}
	return nil, nil
}

type collectionChange struct {
	kind spoor.CollectionKind
	in   bool
}

func (r *feedReader) hit(n spoor.Number, day spoor.Day, ms int64, id hash) (e *spoor.FeedEntry, err error) {
	if r.hidden.Contains(uint32(n)) {
		return nil, nil
	}
	if !r.rights.IsEmpty() && (r.rights.Contains(uint32(n)) || r.former.Contains(uint32(n))) {
		if p, err := r.profile(n); p == nil || err != nil { // hits of sealed days have no mark
			return nil, err
		}
	}
	key := hitKey(nil, r.app, day, n, ms, id)
	err = get(r.db, key, func(value []byte) error {
		h, err := readHit(key, value)
		if err != nil || h.Marks&spoor.MarkUncounted != 0 {
			return err
		}
		e = &spoor.FeedEntry{Kind: spoor.FeedHit, Hit: &h}
		e.Person, err = r.public(n)
		return err
	})
	return e, err
}

func (r *feedReader) user(n spoor.Number) (*spoor.FeedEntry, error) {
	p, err := r.profile(n)
	if p == nil || err != nil {
		return nil, err
	}
	return &spoor.FeedEntry{Kind: spoor.FeedUser, Profile: p}, nil
}

// crossed is somebody's getting into a collection, or out of it.
func (r *feedReader) crossed(kind spoor.FeedKind, at collectionRef, n spoor.Number) (*spoor.FeedEntry, error) {
	of, err := r.names.find(at)
	if err != nil {
		return nil, err
	}
	if of == nil {
		of = &spoor.Collection{Kind: at.kind, ID: at.id}
	}
	return r.about(&spoor.FeedEntry{Kind: kind, Of: of}, n)
}

// about makes an entry name somebody as whoever it was then; nil if the person is
// not to be named. Who reads late sees merges at their place, as who read in time:
// under the id of today a restriction from before a merge would seem to be about
// whoever came in by it.
func (r *feedReader) about(e *spoor.FeedEntry, n spoor.Number) (*spoor.FeedEntry, error) {
	p, err := r.profile(n)
	if p == nil || err != nil || e.Kind == "" {
		return nil, err
	}
	if e.Person, err = r.publicThen(n); err != nil {
		return nil, err
	}
	return e, nil
}

// publicThen is the public id that a number had, or has.
func (r *feedReader) publicThen(n spoor.Number) (int64, error) {
	id := r.people.public(uint64(n))
	if !r.imported {
		return id, nil
	}
	now, err := person(r.db, r.app, n)
	if err != nil {
		return 0, err
	}
	st, err := readProfile(r.db, r.app, now)
	if err != nil {
		return 0, err
	}
	own := st.public
	if now != n {
		own = 0
		for _, f := range st.former {
			if f.number == n {
				own = f.public
			}
		}
	}
	if own != 0 {
		id = own
	}
	return id, nil
}

// profile reads the person whose number it is or was; nil if gone or left out.
func (r *feedReader) profile(n spoor.Number) (p *spoor.Profile, err error) {
	if p, known := r.met[n]; known {
		return p, nil
	}
	if len(r.met) >= metMax {
		clear(r.met)
	}
	asked := n
	defer func() {
		if err == nil {
			r.met[asked] = p
		}
	}()
	if r.former.Contains(uint32(n)) {
		if n, err = person(r.db, r.app, n); err != nil {
			return nil, err
		}
	}
	st, err := readProfile(r.db, r.app, n)
	if err != nil || st.created == 0 {
		return nil, err
	}
	p = st.profile(r.app, n, &r.people)
	if p.Rights.Uncounted(r.today) {
		return nil, nil
	}
	p.Collections, err = st.collections(r.names.find)
	return p, err
}

// DropFeed removes the entries of an app whose record is older than an instant.
// By the app's counter a reader knows that it has missed some. It returns how
// many records went.
func (s *Store) DropFeed(ctx context.Context, app spoor.AppID, before time.Time) (records int64, err error) {
	return s.dropFeed(ctx, app, func(_ uint64, at int64) bool { return at < before.UnixMilli() })
}

// dropFeed removes records for as long as old says so of the number of their last
// entry and their time.
func (s *Store) dropFeed(ctx context.Context, app spoor.AppID, old func(last uint64, at int64) bool) (records int64, err error) {
	newest, _ := s.feeds.more(app)
	err = s.view(func(db *pebble.DB) error {
		end := feedKey(nil, app, newest+1)
		err := walkFeed(db, app, 1, func(first uint64, value []byte) error {
			if first > newest {
				return errEndOfFeed
			}
			last, time := first, int64(0)
			err := readFeed(first, value, func(n uint64, _ protowire.Number, at int64, _ []byte) error { last, time = n, at; return nil })
			if err == nil && !old(last, time) {
				err = errEndOfFeed
			}
			if err == nil {
				records++
			} else {
				end = feedKey(end[:0], app, first)
			}
			return errors.Join(err, ctx.Err())
		})
		if errors.Is(err, errEndOfFeed) {
			err = nil
		}
		if err != nil || records == 0 {
			return err
		}
		// No reader needs an order between this and what is written meanwhile.
		return db.Excise(ctx, pebble.KeyRange{Start: key1(nil, prefixFeed, app), End: slices.Clone(end)})
	})
	return records, err
}
