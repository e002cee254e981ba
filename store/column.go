package store

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// A column is what the profiles of an app have under one name, in memory and by
// their numbers, so that a condition on it reads no profiles: the id of a text in
// a dictionary, or one of the numbers of the state. It is made by a scan of all
// profiles, once scans for that name have cost about as much, and then kept up:
// the writer notes whose profiles it changes, and those are read again before the
// column is used. A name with too many different texts, as e-mail addresses are,
// gets none.
type column struct {
	name  attributeName
	used  int64
	facts []int64  // 0: none
	ids   []uint16 // where it is none of the state's numbers; 0: none
	dict  []registerValue
	index map[columnText]uint16
	texts int         // bytes in dict
	full  atomic.Bool // there are too many texts
}

type columnText struct {
	typ  spoor.Type
	text string
}

const (
	columnsShare   = 10       // hundredths of the memory, for the columns of all apps
	columnBytesMax = 64 << 20 // of them where nobody says how much memory there is
	columnDictMax  = 1 << 16  // texts of a column, with the none
	columnTextsMax = 4 << 20  // bytes of them
	dictEntryBytes = 160      // of a text in dict and index, about
)

func newColumn(name attributeName) *column {
	c := &column{name: name, dict: make([]registerValue, 1), index: map[columnText]uint16{}}
	if name.fact != 0 {
		c.facts = []int64{}
	}
	return c
}

func (c *column) bytes() int64 {
	return 8*int64(cap(c.facts)) + 2*int64(cap(c.ids)) + int64(len(c.dict))*dictEntryBytes + int64(c.texts)
}

// grow makes room for profiles up to a number.
func (c *column) grow(n uint32) {
	if more := int(n) + 1 - max(len(c.facts), len(c.ids)); more > 0 && c.facts != nil {
		c.facts = append(c.facts, make([]int64, more)...)
	} else if more > 0 {
		c.ids = append(c.ids, make([]uint16, more)...)
	}
}

// clear takes a profile out, which may be gone.
func (c *column) clear(n uint32) {
	if c.facts != nil {
		c.facts[n] = 0
	} else {
		c.ids[n] = 0
	}
}

// put takes in the value of a profile. Known is what the caller has seen of the
// dictionary, which mu guards.
func (c *column) put(n uint32, v *registerValue, known map[columnText]uint16, mu *sync.Mutex) {
	switch {
	case c.facts != nil:
		c.facts[n] = v.ms
		return
	case !v.here || c.full.Load():
		return
	}
	id, ok := known[columnText{v.typ, string(v.text)}]
	if !ok {
		text := string(v.text)
		mu.Lock()
		id = c.id(v.typ, text)
		mu.Unlock()
		known[columnText{v.typ, text}] = id
	}
	c.ids[n] = id
}

func (c *column) id(typ spoor.Type, text string) uint16 {
	key := columnText{typ, text}
	id, ok := c.index[key]
	if ok {
		return id
	}
	if len(c.dict) >= columnDictMax || c.texts+len(text) > columnTextsMax {
		c.full.Store(true)
		return 0
	}
	id = uint16(len(c.dict))
	c.dict = append(c.dict, registerValue{typ: typ, text: []byte(text), here: true})
	c.index[key] = id
	c.texts += len(text)
	return id
}

// holding is who of some people fulfils a test.
func (c *column) holding(t *attributeTest, people *roaring.Bitmap) *roaring.Bitmap {
	fits := make([]bool, len(c.dict))
	for id := range c.dict {
		fits[id] = t.holds(&c.dict[id])
	}
	in := roaring.New()
	some, found := make([]uint32, portionNumbers), make([]uint32, 0, portionNumbers)
	for it := people.ManyIterator(); ; {
		n := it.NextMany(some)
		if n == 0 {
			return in
		}
		found = found[:0]
		for _, number := range some[:n] {
			var ok bool
			switch {
			case c.facts != nil:
				v := c.fact(number)
				ok = t.holds(&v)
			case int(number) < len(c.ids):
				ok = fits[c.ids[number]]
			default:
				ok = fits[0]
			}
			if ok {
				found = append(found, number)
			}
		}
		in.AddMany(found)
	}
}

// fact is the value that find gives of such a number.
func (c *column) fact(n uint32) registerValue {
	v := registerValue{typ: spoor.TypeDateTime}
	if int(n) < len(c.facts) {
		v.ms = c.facts[n]
	}
	if c.name.counts() {
		v.typ = spoor.TypeInt
	}
	v.here = v.ms != 0 || c.name.counts()
	return v
}

// kind says which changes concern the column.
func (c *column) kind() int {
	if c.facts != nil {
		return changedFacts
	}
	return changedRegisters
}

// profileChange is a profile that a group wrote or removed.
type profileChange struct {
	profileRef
	registers bool // not only numbers of the state
}

// What changed of profiles: every hit changes numbers, few change attributes.
const (
	changedRegisters = iota
	changedFacts
	changeKinds
)

// columns are those of all apps. One selection at a time uses them.
type columns struct {
	uses int64

	mu   sync.Mutex // of apps and what is noted
	apps map[spoor.AppID]*appColumns
}

type appColumns struct {
	noted  [changeKinds]*roaring.Bitmap // who changed since the last cut; nil: nothing is noted
	stale  [changeKinds]*roaring.Bitmap // who changed before, and was not read since
	byName map[string]*column           // nil: too many texts
	spent  map[string]uint64            // profiles read without a column, by name
}

// apply calls commit, which makes changes visible, and notes them. No cut falls
// between the two.
func (c *columns) apply(changes []profileChange, commit func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range changes {
		of := c.apps[p.app]
		if of == nil || of.noted[changedFacts] == nil {
			continue
		}
		if of.noted[changedFacts].Add(uint32(p.n)); p.registers {
			of.noted[changedRegisters].Add(uint32(p.n))
		}
	}
	return commit()
}

// cut takes a snapshot for a selection, and the columns of an app with the
// changes up to it. From here on changes are noted.
func (c *columns) cut(db *pebble.DB, app spoor.AppID) (*pebble.Snapshot, *appColumns) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.apps[app]
	if of == nil {
		of = &appColumns{byName: map[string]*column{}, spent: map[string]uint64{}}
		if c.apps == nil {
			c.apps = map[spoor.AppID]*appColumns{}
		}
		c.apps[app] = of
	}
	for kind, noted := range of.noted {
		if of.stale[kind] == nil {
			of.stale[kind] = roaring.New()
		}
		if noted != nil {
			of.stale[kind].Or(noted)
		}
		of.noted[kind] = roaring.New()
	}
	c.uses++
	return db.NewSnapshot(), of
}

// settle ends what a selection does with the columns: those that were used
// longest ago go where there are too many, and nothing is noted for nobody.
func (c *columns) settle(bytesMax int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var sum int64
		var of *appColumns
		var name string
		for _, a := range c.apps {
			for n, col := range a.byName {
				if col == nil {
					continue
				}
				if sum += col.bytes(); of == nil || col.used < of.byName[name].used {
					of, name = a, n
				}
			}
		}
		if sum <= bytesMax {
			break
		}
		delete(of.byName, name)
	}
	for _, of := range c.apps {
		some := false
		for _, col := range of.byName {
			some = some || col != nil
		}
		if !some {
			of.noted, of.stale = [changeKinds]*roaring.Bitmap{}, [changeKinds]*roaring.Bitmap{}
		}
	}
}

// forget drops the columns of an app that is gone.
func (c *columns) forget(app spoor.AppID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.apps, app)
}

// askColumns decides conditions on attributes by columns, and returns those for
// which there are none.
func (s *selection) askColumns(root *node, nodes []*node) (rest []*node, err error) {
	if s.columns == nil {
		return nodes, nil
	}
	if err := s.makeColumns(root, nodes); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		c := s.columns.byName[n.filter.Name]
		if c == nil {
			rest = append(rest, n)
			continue
		}
		c.used = s.use
		left := s.undecided(root)
		left.And(roaring.AndNot(n.hi, n.lo))
		n.settle(left, c.holding(newAttributeTest(s.app, n.filter), left))
	}
	return rest, nil
}

// makeColumns brings the columns of some conditions up to the snapshot, and makes
// those that are due.
func (s *selection) makeColumns(root *node, nodes []*node) error {
	of := s.columns
	var kinds [changeKinds]bool
	var missing []string
	live := s.live.GetCardinality()
	cost, due := min(live, s.undecided(root).GetCardinality()*s.seek), false
	for _, n := range nodes {
		name := n.filter.Name
		c, known := of.byName[name]
		switch {
		case c != nil:
			kinds[c.kind()] = true
		case !known && !slices.Contains(missing, name) && s.fitsColumn(name):
			of.spent[name] += cost
			missing, due = append(missing, name), due || of.spent[name] >= live
		}
	}
	for kind, wanted := range kinds {
		if !wanted || of.stale[kind].IsEmpty() {
			continue
		}
		var some []*column
		for _, c := range of.byName {
			if c != nil && c.kind() == kind {
				some = append(some, c)
			}
		}
		if err := s.readColumns(some, of.stale[kind]); err != nil {
			return err
		}
		for name, c := range of.byName { // another one may hold fewer texts
			if c != nil && c.full.Load() {
				delete(of.byName, name)
			}
		}
		of.stale[kind] = roaring.New()
	}
	if !due {
		return nil
	}
	fresh := make([]*column, len(missing))
	for i, name := range missing {
		fresh[i] = newColumn(newAttributeName(name))
	}
	if err := s.readColumns(fresh, s.live); err != nil {
		return err
	}
	for i, name := range missing {
		delete(of.spent, name)
		if of.byName[name] = fresh[i]; fresh[i].full.Load() {
			of.byName[name] = nil
		}
	}
	return nil
}

// fitsColumn reports whether a column of that name leaves room for others.
func (s *selection) fitsColumn(name string) bool {
	if s.live.IsEmpty() {
		return false
	}
	width := int64(2)
	if newAttributeName(name).fact != 0 {
		width = 8
	}
	return width*int64(s.live.Maximum()) <= s.columnMax/2
}

// readColumns takes in what some profiles have, and that others are gone.
func (s *selection) readColumns(some []*column, people *roaring.Bitmap) error {
	names := make([]*attributeName, len(some))
	for i, c := range some {
		names[i] = &c.name
		c.grow(people.Maximum())
		for it := people.Iterator(); it.HasNext(); {
			c.clear(it.Next())
		}
	}
	left := handout{it: people.ManyIterator()}
	var mu sync.Mutex
	return parallel(func() error {
		w := newAttributeWalk(names)
		known := make([]map[columnText]uint16, len(some))
		for i := range known {
			known[i] = map[columnText]uint16{}
		}
		buf := make([]uint32, portionNumbers)
		next := func() []uint32 {
			if !slices.ContainsFunc(some, func(c *column) bool { return !c.full.Load() }) {
				return nil
			}
			return left.next(buf)
		}
		return w.walk(s.db, s.app.ID, next, func(n uint32) {
			for i, c := range some {
				c.put(n, &w.values[i], known[i], &mu)
			}
		})
	})
}
