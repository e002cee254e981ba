package store

import (
	"encoding/binary"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// group is what one batch is made of: the requests it answers and everything
// they change. What the requests of a group must know of each other lives in
// the writer's caches and in the pending states here; the batch itself is
// never read.
type group struct {
	w        *writer
	batch    *pebble.Batch
	written  *written // its keys
	requests []*request
	mark     mark // where the store stands after this group
	stored   int

	profiles  map[profileRef]*pending
	events    map[eventRef]struct{}       // ids stored by this group
	merged    map[profileRef]spoor.Number // profiles merged by this group, and into whom; 0: that is forgotten
	changed   []profileChange
	shared    map[identRef]map[spoor.Number]bool // shared identifiers added (true) or removed by it
	apps      []*appState
	days      []touchedDay
	accounts  map[partition]*finishedDay // days that are not in memory
	chains    map[spoor.AppID]*chain     // audit logs that this group adds to
	told      []feedMark                 // how far it brings the feeds
	rewatched bool                       // segments are watched otherwise
	final     bool                       // write all counts, put nothing off
	err       error                      // a read failed: the group cannot be trusted
}

type eventRef struct {
	app  spoor.AppID
	week uint32
	id   hash
}

type touchedDay struct {
	app *appState
	*dayState
}

// pending is a profile that the group changes.
type pending struct {
	app   *appState
	n     spoor.Number
	facts *profile
	add   state      // what this group adds
	hits  []visitHit // of this group, as far as they belong to visits
	gone  bool       // merged into another
	told  uint32     // writes of which the feed was told
}

// pending gives a pending state, in memory that earlier groups have used.
func (w *writer) pending(a *appState, n spoor.Number, facts *profile) *pending {
	if len(w.unused) == 0 {
		return &pending{app: a, n: n, facts: facts}
	}
	last := len(w.unused) - 1
	p := w.unused[last]
	w.unused = w.unused[:last]
	p.app, p.n, p.facts = a, n, facts
	return p
}

// recycle takes back what a group is done with.
func (w *writer) recycle(p *pending) {
	const registersMax, hitsMax, daysMax = 16, 16, 8
	if len(w.unused) >= groupHitsMax || cap(p.add.regs) > registersMax || cap(p.hits) > hitsMax || cap(p.add.days) > daysMax {
		return
	}
	clear(p.add.regs)
	clear(p.hits)
	*p = pending{hits: p.hits[:0], add: state{regs: p.add.regs[:0], days: p.add.days[:0]}}
	w.unused = append(w.unused, p)
}

// profile is what the writer remembers of a profile between groups, so that
// most hits need not read it. It has no pointers: see rowNames.
type profile struct {
	user     hash // of its user_id; zero: unclaimed
	email    bool
	contacts bool // any of the five
	rights   spoor.Rights
	visit    visit // the newest
	merged   bool  // others were merged into it
	keys     int   // cookies and devices that lead here
	token    hash  // of a push token that it is known to have; zero: not looked

	around    around
	described described
	edited    int64    // of attributes that set one of the surroundings and are not outdated, the latest; or unknownEdit
	ip        [16]byte // the address in around; zero: not known
}

// Memory of batches. Pebble keeps what is not larger for the next one; full
// groups of bulk work take 2 MiB, and growing to that cost as much again.
const (
	batchBytesMin  = 16 << 10
	batchBytesKept = 4 << 20
)

func newGroup(w *writer, rs []*request) *group {
	g := &group{
		w: w, batch: w.db.NewBatch(pebble.WithInitialSizeBytes(batchBytesMin), pebble.WithMaxRetainedSizeBytes(batchBytesKept)), written: w.db.written(),
		requests: append([]*request(nil), rs...),
		profiles: map[profileRef]*pending{}, events: map[eventRef]struct{}{},
		shared: map[identRef]map[spoor.Number]bool{}, merged: map[profileRef]spoor.Number{},
	}
	return g
}

// fill runs the requests in order and fills the batch. The sequence record
// is written always: a group without a record would be synced before the
// groups in front of it.
func (g *group) fill() {
	for _, r := range g.requests {
		if r.do != nil {
			if g.err == nil && len(r.hits) == 0 { // it may do more than decide about hits
				g.err = g.w.db.settle()
			}
			if g.err == nil {
				r.err = r.do(g)
			}
			continue
		}
		for i := range r.hits {
			if h := &r.hits[i]; g.err == nil && h.Outcome == spoor.Pending {
				g.err = g.hit(h)
			}
		}
	}
	if g.err == nil {
		g.err = g.flush()
	}
	if g.err != nil {
		return
	}
	w := g.w
	w.mark.groups++
	w.mark.hits += uint64(g.stored)
	g.mark = w.mark
	value := appendHeader(w.scratch[:0])
	value = putUint(value, writerGroups, w.mark.groups)
	value = putUint(value, writerHits, w.mark.hits)
	value = putUint(value, writerApps, uint64(w.appsMade))
	w.scratch = putUint(value, writerAlone, uint64(w.appsAlone)+1)
	g.set(storeKey(), w.scratch)
	g.written.close(g.batch.Count())
}

// commit gives the batch to Pebble. It does not run in the writer, which is at the
// next group.
func (g *group) commit() error {
	s := g.w.s
	if g.batch.Count() >= orderedMin {
		if err := g.order(); err != nil {
			return err
		}
	}
	err := s.selections.columns.apply(g.changed, func() error { return s.opts.commit(s.db, g.batch) })
	if err == nil {
		s.aliases.note(g.merged)
	}
	return err
}

func (g *group) order() (err error) {
	g.batch, g.w.slots, err = inOrder(g.w.db.DB, g.batch, g.w.slots)
	return err
}

func (g *group) set(key, value []byte) {
	g.written.add(key)
	if err := g.batch.Set(key, value, nil); err != nil && g.err == nil {
		g.err = err
	}
}

func (g *group) merge(key, value []byte) {
	g.written.add(key)
	if err := g.batch.Merge(key, value, nil); err != nil && g.err == nil {
		g.err = err
	}
}

func (g *group) remove(key []byte) {
	g.written.add(key)
	if err := g.batch.Delete(key, nil); err != nil && g.err == nil {
		g.err = err
	}
}

// removeProfile removes the state of a profile.
func (g *group) removeProfile(ref profileRef) {
	g.remove(profileKey(nil, ref.app, ref.n))
	g.changed = append(g.changed, profileChange{ref, true})
}

func (g *group) touchApp(a *appState) {
	for _, b := range g.apps {
		if a == b {
			return
		}
	}
	a.touched = true
	g.apps = append(g.apps, a)
}

func (g *group) day(a *appState, day spoor.Day) (*dayState, error) {
	d, err := g.w.day(a, day)
	if err == nil && !d.touched {
		d.touched = true
		g.days = append(g.days, touchedDay{a, d})
	}
	return d, err
}

// finishedDay is the account of a day, as the group changes it and as it was.
type finishedDay struct{ account, before account }

// account is that of a finished day, to be changed; its bitmaps are read only for
// days that are in memory anyway. A day that is not finished must be changed by
// day, of which this group makes no other use.
func (g *group) account(a *appState, day spoor.Day) (*account, error) {
	if a.days[day] != nil {
		d, err := g.day(a, day)
		return &d.account, err
	}
	at := partition{a.app.ID, day}
	if d := g.accounts[at]; d != nil {
		return &d.account, nil
	}
	d := new(finishedDay)
	err := get(g.w.db, writerDayKey(nil, a.app.ID, day), func(value []byte) (err error) {
		d.account, err = readAccount(value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot load the account of %s of app %d: %w", day, a.app.ID, err)
	}
	if g.accounts == nil {
		g.accounts = map[partition]*finishedDay{}
	}
	d.before = d.account
	g.accounts[at] = d
	return &d.account, nil
}

// member changes one of the app's sets of profiles.
func (g *group) member(a *appState, set int, n spoor.Number, in bool) {
	g.touchApp(a)
	a.sets[set].put(n, in)
}

func (c *setChange32) put(n spoor.Number, in bool) {
	if c.add == nil {
		c.add, c.drop = roaring.New(), roaring.New()
	}
	to, from := c.add, c.drop
	if !in {
		to, from = from, to
	}
	to.Add(uint32(n))
	from.Remove(uint32(n))
}

// flush writes the collected changes into the batch: each profile, bitmap,
// roll-up row and account once, however many hits touched it.
func (g *group) flush() error {
	w := g.w
	for ref, p := range g.profiles {
		if !p.gone {
			w.scratch = p.add.appendTo(w.scratch[:0])
			if len(w.scratch) > headerBytes {
				g.merge(profileKey(nil, ref.app, ref.n), w.scratch)
				g.changed = append(g.changed, profileChange{ref, len(p.add.regs) > 0})
			}
		}
	}
	for _, p := range g.profiles {
		w.recycle(p)
	}
	clear(g.profiles)
	for _, a := range g.apps {
		g.flushSets(a)
		g.flushFeed(a)
	}
	g.flushChains()
	for at, d := range g.accounts {
		if d.account != d.before {
			w.scratch = d.account.appendTo(w.scratch[:0])
			g.set(writerDayKey(nil, at.app, at.day), w.scratch)
		}
	}
	clear(g.accounts)
	g.settleCounts()
	g.days, g.apps = g.days[:0], g.apps[:0]
	return g.err
}

// flushDay writes what is counted of a day.
func (g *group) flushDay(d touchedDay) {
	id := d.app.app.ID
	g.touchApp(d.app)
	d.rewrote = false
	if d.since != 0 {
		d.since = 0
		d.app.waiting--
	}
	d.account.counted = g.w.mark.groups + 1
	for kind, born := range d.born {
		g.putChunks(setChange32{add: born}, func(chunk uint16) []byte { return activityKey(nil, id, d.day, byte(kind), chunk) })
		born.Clear()
	}
	for _, key := range d.dirty {
		r := d.rows.of(key)
		if r == nil || !r.dirty { // it counted nothing any more, for a while at least
			continue
		}
		if r.hash == 0 {
			r.hash = rowHash(&d.app.salt, key)
		}
		g.w.scratch = r.put(g.w.scratch[:0], key.text)
		g.merge(countKey(nil, id, d.day, key.dim, r.hash), g.w.scratch)
	}
	d.dirty = d.dirty[:0]
	g.w.scratch = d.account.appendTo(g.w.scratch[:0])
	g.set(writerDayKey(nil, id, d.day), g.w.scratch)
}

// rowHash is keyed like every hash in a key: a path may name a person.
func rowHash(s *salt, key rowKey) uint64 {
	h := s.hash(128+byte(key.dim), key.text)
	return binary.BigEndian.Uint64(h[:])
}

func (g *group) flushSets(a *appState) {
	for set := range a.sets {
		g.putChunks(a.sets[set], func(chunk uint16) []byte { return setKey(nil, a.app.ID, byte(set), chunk) })
		a.sets[set] = setChange32{}
	}
	for of, change := range a.members {
		g.putChunks(change, func(chunk uint16) []byte { return memberKey(nil, a.app.ID, of, chunk) })
	}
	clear(a.members)
}

// putChunks cuts a change of a set into its chunks and writes each.
func (g *group) putChunks(c setChange32, key func(chunk uint16) []byte) {
	chunks := map[uint16]*setChange{}
	cut := func(from *roaring.Bitmap, into func(*setChange) **roaring.Bitmap) {
		if from == nil {
			return
		}
		for it := from.Iterator(); it.HasNext(); {
			n := it.Next()
			change := chunks[uint16(n>>16)]
			if change == nil {
				change = new(setChange)
				chunks[uint16(n>>16)] = change
			}
			bm := into(change)
			if *bm == nil {
				*bm = roaring.New()
			}
			(*bm).Add(n & 0xffff)
		}
	}
	cut(c.add, func(c *setChange) **roaring.Bitmap { return &c.add })
	cut(c.drop, func(c *setChange) **roaring.Bitmap { return &c.drop })
	for chunk, change := range chunks {
		g.w.scratch = change.appendTo(g.w.scratch[:0])
		g.merge(key(chunk), g.w.scratch)
	}
}
