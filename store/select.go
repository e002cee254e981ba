package store

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// A filter is evaluated in steps, from what is cheap to what is dear. Each
// condition has two bounds: who surely fulfils it, and who may. Those of the
// whole filter follow from them. What is a bitmap is read first; then the
// roll-ups of days narrow conditions on hits; then come attributes, from columns
// or else from the profiles of who is still undecided; last the hits of who is
// undecided then. So the answer does not depend on the order, and most people
// are never looked at.
//
// Left out are persons who are restricted or objected. A person is found under
// the newest number; hits of former numbers count.
type selection struct {
	db      pebble.Reader
	app     *spoor.App
	salt    salt
	today   spoor.Day
	live    *roaring.Bitmap // all profiles
	all     *roaring.Bitmap // who can be found at all
	aliased *roaring.Bitmap
	tuning
	some    *roaring.Bitmap // the only ones who are asked about; nil: all are
	columns *appColumns     // as of db; nil: none are used
	use     int64           // of them

	tags     map[string]uint32             // by name; nil: not read
	segments map[uint32]*roaring.Bitmap    // evaluated
	active   map[spoor.Day]*roaring.Bitmap // numbers
	days     []countedDay                  // nil: not read
	former   *formerNumbers                // nil: not read
	parts    map[uint32][]former           // of persons that were looked at: their numbers and days
}

func newSelection(db pebble.Reader, app *spoor.App, today spoor.Day, some *roaring.Bitmap, how tuning) (s *selection, err error) {
	s = &selection{tuning: how, db: db, app: app, today: today, some: some, segments: map[uint32]*roaring.Bitmap{}, active: map[spoor.Day]*roaring.Bitmap{}, parts: map[uint32][]former{}}
	if s.salt, err = readSalt(db, app.ID); err != nil {
		return nil, err
	}
	var sets [setCount]*roaring.Bitmap
	for _, set := range []byte{setLive, setAliased, setHeld} {
		if sets[set], err = readMembers(db, app.ID, set); err != nil {
			return nil, err
		}
	}
	s.live, s.all, s.aliased = sets[setLive], sets[setLive].Clone(), sets[setAliased]
	if some != nil {
		s.all.And(some)
	}
	objected, err := readObjected(db, app.ID)
	if err != nil {
		return nil, err
	}
	s.all.AndNot(objected)
	for it := roaring.And(sets[setHeld], s.all).Iterator(); it.HasNext(); {
		n := it.Next()
		st, err := readProfile(db, app.ID, spoor.Number(n))
		if err != nil {
			return nil, err
		}
		if st.rights().Uncounted(today) {
			s.all.Remove(n)
		}
	}
	return s, nil
}

// node is a part of a filter while it is evaluated: a joint, or a condition
// with its bounds, which are never changed in place.
type node struct {
	op     spoor.FilterOp
	parts  []*node
	filter *spoor.Filter
	need   int // of a condition on hits: how many
	lo, hi *roaring.Bitmap
	plan   *hitPlan // of a condition on hits; nil: not made
}

func (s *selection) tree(f *spoor.Filter) *node {
	n := &node{op: f.Op, filter: f, need: f.Times, lo: roaring.New(), hi: s.all}
	if len(f.Parts) > 0 {
		for i := range f.Parts {
			n.parts = append(n.parts, s.tree(&f.Parts[i]))
		}
		return n
	}
	if f.Op < spoor.FilterEvent || f.Op == spoor.FilterActive {
		return n
	}
	// At least so often, and not more often than that.
	both := &node{op: spoor.FilterAll}
	if f.Times > 0 {
		both.parts = append(both.parts, n)
	}
	if f.AtMost >= 0 {
		more := *n
		more.need = f.AtMost + 1
		both.parts = append(both.parts, &node{op: spoor.FilterNot, parts: []*node{&more}})
	}
	return both
}

// bounds are who surely fulfils the node, and who may.
func (s *selection) bounds(n *node) (lo, hi *roaring.Bitmap) {
	switch n.op {
	case spoor.FilterAll:
		lo, hi = s.all, s.all
		for _, p := range n.parts {
			l, h := s.bounds(p)
			lo, hi = roaring.And(lo, l), roaring.And(hi, h)
		}
		return lo, hi
	case spoor.FilterAny:
		lo, hi = roaring.New(), roaring.New()
		for _, p := range n.parts {
			l, h := s.bounds(p)
			lo, hi = roaring.Or(lo, l), roaring.Or(hi, h)
		}
		return lo, hi
	case spoor.FilterNot:
		l, h := s.bounds(n.parts[0])
		return roaring.AndNot(s.all, h), roaring.AndNot(s.all, l)
	}
	return n.lo, n.hi
}

func (s *selection) undecided(root *node) *roaring.Bitmap {
	lo, hi := s.bounds(root)
	return roaring.AndNot(hi, lo)
}

// conditions lists the conditions of a kind below a node.
func (n *node) conditions(fits func(*node) bool) (list []*node) {
	if n.op > spoor.FilterNot && fits(n) {
		list = append(list, n)
	}
	for _, p := range n.parts {
		list = append(list, p.conditions(fits)...)
	}
	return list
}

// settle is called once a condition was looked at for some people: in are those
// of them who fulfil it. What it is for others decides nothing any more.
func (n *node) settle(looked, in *roaring.Bitmap) {
	n.lo = roaring.Or(n.lo, in)
	n.hi = roaring.Or(n.lo, roaring.AndNot(n.hi, looked))
}

// tuning chooses between ways that lead to the same answer.
type tuning struct {
	many uint64 // from how many people on the roll-ups are asked before anybody is read
	few  uint64 // up to how many people profiles are read for the days on which to look for hits
	seek uint64 // how many profiles read in a row cost as much as one that is sought; 0: there are no columns

	columnMax int64 // bytes of columns of all apps
}

var tuned = tuning{many: 1000, few: 200, seek: 16, columnMax: columnBytesMax}

// run evaluates a filter.
func (s *selection) run(f *spoor.Filter) (*roaring.Bitmap, error) {
	root := s.tree(f)
	cheap := root.conditions(func(n *node) bool { return n.op != spoor.FilterAttribute && !n.aboutHits() || n.known() })
	for _, n := range cheap {
		in, err := s.cheap(n)
		if err != nil {
			return nil, err
		}
		n.lo, n.hi = in, in
	}
	about := root.conditions((*node).aboutHits)
	var err error
	for _, n := range about {
		switch {
		case s.some != nil && n.op == spoor.FilterActive:
			err = s.narrowByPeople(n)
		case s.some != nil: // their profiles tell where to look
		case n.op == spoor.FilterActive, s.undecided(root).GetCardinality() > s.many:
			err = s.narrow(n)
		}
		if err != nil {
			return nil, err
		}
	}
	attributes := root.conditions(func(n *node) bool { return n.op == spoor.FilterAttribute && !n.known() })
	if attributes, err = s.askColumns(root, attributes); err != nil {
		return nil, err
	}
	if left := s.undecided(root); len(attributes) > 0 && !left.IsEmpty() {
		if err := s.readAttributes(attributes, left); err != nil {
			return nil, err
		}
	}
	for _, n := range about {
		left := s.undecided(root)
		if left = roaring.And(left, roaring.AndNot(n.hi, n.lo)); left.IsEmpty() {
			continue
		}
		in, err := s.readHits(n, left)
		if err != nil {
			return nil, err
		}
		n.settle(left, in)
	}
	in, _ := s.bounds(root)
	return in, nil
}

func (n *node) aboutHits() bool {
	switch n.op {
	case spoor.FilterEvent, spoor.FilterPath, spoor.FilterScreen, spoor.FilterActive:
		return true
	}
	return false
}

// known is for the condition that a set of the app answers.
func (n *node) known() bool { return n.op == spoor.FilterAttribute && n.filter.Name == "known" }

// cheap answers a condition from one bitmap.
func (s *selection) cheap(n *node) (in *roaring.Bitmap, err error) {
	f := n.filter
	switch n.op {
	case spoor.FilterAttribute:
		if in, err = readMembers(s.db, s.app.ID, setContacts); err != nil {
			return nil, err
		}
		if in.And(s.all); (f.Compare == spoor.CompareIs) != (f.Value.Text == "true") {
			in = roaring.AndNot(s.all, in)
		}
		return in, nil
	case spoor.FilterTag:
		if s.tags == nil {
			s.tags = map[string]uint32{}
			if _, err := scanCollections(s.db, s.app.ID, spoor.CollectionTag, func(c *spoor.Collection) { s.tags[c.Name] = c.ID }); err != nil {
				return nil, err
			}
		}
		in, err = readChunks(s.db, membersKey(nil, s.app.ID, collectionRef{spoor.CollectionTag, s.tags[f.Name]}))
	case spoor.FilterList:
		in, err = readChunks(s.db, membersKey(nil, s.app.ID, collectionRef{spoor.CollectionList, f.ID}))
	default:
		return s.segment(f.ID)
	}
	if err != nil {
		return nil, err
	}
	in.And(s.all)
	return in, nil
}

// segment evaluates a segment once; nobody is in one that there is not.
func (s *selection) segment(id uint32) (in *roaring.Bitmap, err error) {
	if in = s.segments[id]; in != nil {
		return in, nil
	}
	in = roaring.New()
	s.segments[id] = in // were there a circle, it would end here
	c, err := newCatalogueReader(s.db, s.app.ID).find(collectionRef{spoor.CollectionSegment, id})
	if err == nil && c != nil {
		in, err = s.run(c.Filter)
	}
	s.segments[id] = in
	return in, err
}

// parallel calls work on as many goroutines as there are processors, and
// returns the first error.
func parallel(work func() error) error {
	workers := runtime.GOMAXPROCS(0)
	errs := make(chan error, workers)
	for range workers {
		go func() { errs <- work() }()
	}
	var first error
	for range workers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// handout gives out the numbers of a bitmap in order, some at a time.
type handout struct {
	mu sync.Mutex
	it roaring.ManyIntIterable
}

func (p *handout) next(buf []uint32) []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return buf[:p.it.NextMany(buf)]
}

// selections remembers who was in what for a moment, so that the pages of a
// segment and its count need not be computed each time. One filter is evaluated
// at a time: it takes all processors.
type selections struct {
	tuning
	columns columns

	mu    sync.Mutex
	age   time.Duration // how old an answer may be
	bytes uint64
	kept  map[selectionKey]selected
}

type selectionKey struct {
	app    spoor.AppID
	today  spoor.Day
	filter string
}

type selected struct {
	in *roaring.Bitmap
	at time.Time
}

const (
	selectionAge      = 3 * time.Second
	selectionBytesMax = 32 << 20
)

// selected evaluates a filter, or remembers what came of it.
func (s *Store) selected(db *pebble.DB, id spoor.AppID, f *spoor.Filter) (in *roaring.Bitmap, err error) {
	app := s.App(id)
	if app == nil {
		return roaring.New(), nil
	}
	c := &s.selections
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	key := selectionKey{id, s.today(id), string(f.JSON())}
	if was, ok := c.kept[key]; ok && now.Sub(was.at) < c.age && !s.fixed {
		return was.in, nil
	}
	snapshot, columns := c.columns.cut(db, id)
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	defer c.columns.settle(c.columnMax)
	sel, err := newSelection(snapshot, app, key.today, nil, c.tuning)
	if err != nil {
		return nil, err
	}
	if c.seek > 0 {
		sel.columns, sel.use = columns, c.columns.uses
	}
	if in, err = sel.run(f); err != nil || s.fixed {
		return in, err
	}
	c.put(key, selected{in, now})
	return in, nil
}

func (c *selections) put(key selectionKey, of selected) {
	for k, was := range c.kept {
		if of.at.Sub(was.at) >= c.age {
			c.drop(k)
		}
	}
	size := of.in.GetSizeInBytes()
	if c.bytes+size > selectionBytesMax {
		clear(c.kept)
		c.bytes = 0
	}
	if size > selectionBytesMax || c.age == 0 {
		return
	}
	c.drop(key)
	c.kept[key] = of
	c.bytes += size
}

func (c *selections) drop(key selectionKey) {
	if was, ok := c.kept[key]; ok {
		c.bytes -= was.in.GetSizeInBytes()
		delete(c.kept, key)
	}
}

// SegmentsOf lists the segments in which a person is now.
func (s *Store) SegmentsOf(app spoor.AppID, n spoor.Number) (list []spoor.Collection, err error) {
	err = s.still(func(db pebble.Reader) error {
		of := s.App(app)
		if of == nil {
			return nil
		}
		if n, err = person(db, app, n); err != nil {
			return err
		}
		sel, err := newSelection(db, of, s.today(app), roaring.BitmapOf(uint32(n)), s.selections.tuning)
		if err != nil || sel.all.IsEmpty() {
			return err
		}
		var all []spoor.Collection
		if _, err := scanCollections(db, app, spoor.CollectionSegment, func(c *spoor.Collection) { all = append(all, *c) }); err != nil {
			return err
		}
		for _, c := range all {
			in, err := sel.segment(c.ID)
			if err != nil {
				return err
			}
			if !in.IsEmpty() {
				list = append(list, c)
			}
		}
		return nil
	})
	return list, err
}
