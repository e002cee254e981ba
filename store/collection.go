package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Tags and lists stand at two places: the profile knows the ids of those it is
// in, and a bitmap for each knows its members, so that members and counts are a
// read of one bitmap. A tag that is deleted loses catalogue entry and bitmap at
// once; its id stays in the profiles, means nothing there, and is never given
// out again.

type collectionRef struct {
	kind spoor.CollectionKind
	id   uint32
}

// membership is the kind of the elements of a profile's state that say which
// collections of a kind it is in. They are above all identifiers.
func membership(kind spoor.CollectionKind) spoor.Lookup { return 64 + spoor.Lookup(kind) }

// membershipOf is the reverse; CollectionNone for an identifier.
func membershipOf(kind spoor.Lookup) spoor.CollectionKind {
	if kind <= 64 {
		return spoor.CollectionNone
	}
	return spoor.CollectionKind(kind - 64)
}

// memberOf lists the collections of which the state is a member, sorted by kind
// and id; also those that were deleted.
func (s *state) memberOf() (list []collectionRef) {
	for i := range s.elems {
		if e := &s.elems[i]; e.present && membershipOf(e.kind) != spoor.CollectionNone {
			if id, err := strconv.ParseUint(e.text, 10, 32); err == nil {
				list = append(list, collectionRef{membershipOf(e.kind), uint32(id)})
			}
		}
	}
	slices.SortFunc(list, compareCollections)
	return list
}

func compareCollections(a, b collectionRef) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
}

// collections names what the state is a member of. What find does not know was
// deleted.
func (s *state) collections(find func(collectionRef) (*spoor.Collection, error)) (list []spoor.Collection, err error) {
	for _, at := range s.memberOf() {
		c, err := find(at)
		if err != nil {
			return nil, err
		}
		if c != nil {
			list = append(list, *c)
		}
	}
	return list, nil
}

// catalogue is what the writer knows of the collections of an app.
type catalogue struct {
	byID   map[collectionRef]*spoor.Collection
	tags   map[string]uint32 // by name
	newest [spoor.CollectionSegment + 1]uint32
	count  [spoor.CollectionSegment + 1]int
}

func (c *catalogue) find(at collectionRef) (*spoor.Collection, error) { return c.byID[at], nil }

func (c *catalogue) put(x *spoor.Collection) {
	at := collectionRef{x.Kind, x.ID}
	if old := c.byID[at]; old == nil {
		c.count[x.Kind]++
	} else if old.Kind == spoor.CollectionTag {
		delete(c.tags, old.Name)
	}
	c.byID[at] = x
	if x.Kind == spoor.CollectionTag {
		c.tags[x.Name] = x.ID
	}
	c.newest[x.Kind] = max(c.newest[x.Kind], x.ID)
}

func (c *catalogue) drop(at collectionRef) {
	if x := c.byID[at]; x != nil {
		c.count[at.kind]--
		delete(c.byID, at)
		if at.kind == spoor.CollectionTag {
			delete(c.tags, x.Name)
		}
	}
}

var collectionsMax = [...]int{spoor.CollectionTag: spoor.TagsMax, spoor.CollectionList: spoor.ListsMax, spoor.CollectionSegment: spoor.SegmentsMax}

// catalogue loads the collections of an app on first use.
func (g *group) catalogue(a *appState) (*catalogue, error) {
	if a.catalogue != nil {
		return a.catalogue, nil
	}
	c := &catalogue{byID: map[collectionRef]*spoor.Collection{}, tags: map[string]uint32{}}
	for kind := spoor.CollectionTag; kind <= spoor.CollectionSegment; kind++ {
		newest, err := scanCollections(g.w.db, a.app.ID, kind, func(x *spoor.Collection) { c.put(x) })
		if err != nil {
			return nil, err
		}
		c.newest[kind] = max(c.newest[kind], newest)
	}
	a.catalogue = c
	return c, nil
}

// scanCollections reads the catalogue of one kind in order of ids.
func scanCollections(db pebble.Reader, app spoor.AppID, kind spoor.CollectionKind, f func(*spoor.Collection)) (newest uint32, err error) {
	prefix := catalogueKey(nil, app, collectionRef{kind: kind})
	err = scan(db, prefix[:len(prefix)-4], func(key, value []byte) error {
		id := be32(key[len(key)-4:])
		if id == 0 {
			n, err := parseNumber(value)
			newest = uint32(n)
			return err
		}
		c, err := readCollection(collectionRef{kind, id}, value)
		if err == nil {
			f(c)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot read the catalogue of app %d: %w", app, err)
	}
	return newest, nil
}

const (
	collectionName protowire.Number = iota + 1
	collectionDescription
	collectionCreated
	collectionFilter // JSON
	collectionWatched
)

func appendCollection(dst []byte, c *spoor.Collection) []byte {
	dst = putString(appendHeader(dst), collectionName, c.Name)
	dst = putString(dst, collectionDescription, c.Description)
	dst = putInt(dst, collectionCreated, c.Created)
	if c.Filter != nil {
		dst = putBytes(dst, collectionFilter, c.Filter.JSON())
	}
	return putBool(dst, collectionWatched, c.Watched)
}

func readCollection(at collectionRef, value []byte) (*spoor.Collection, error) {
	c := &spoor.Collection{Kind: at.kind, ID: at.id, Size: -1}
	err := fields(value, func(tag protowire.Number, num uint64, b []byte) (err error) {
		switch tag {
		case collectionName:
			c.Name = string(b)
		case collectionDescription:
			c.Description = string(b)
		case collectionCreated:
			c.Created = zigzag(num)
		case collectionFilter:
			c.Filter, err = spoor.ParseFilter(b)
		case collectionWatched:
			c.Watched = num != 0
		}
		return err
	})
	return c, err
}

// catalogueReader looks collections up in a view of the store, each once.
type catalogueReader struct {
	db    pebble.Reader
	app   spoor.AppID
	known map[collectionRef]*spoor.Collection
}

func newCatalogueReader(db pebble.Reader, app spoor.AppID) *catalogueReader {
	return &catalogueReader{db, app, map[collectionRef]*spoor.Collection{}}
}

func (r *catalogueReader) find(at collectionRef) (c *spoor.Collection, err error) {
	c, ok := r.known[at]
	if ok {
		return c, nil
	}
	err = get(r.db, catalogueKey(nil, r.app, at), func(value []byte) (err error) {
		c, err = readCollection(at, value)
		return err
	})
	r.known[at] = c
	return c, err
}

// Collections lists the tags, lists or segments of an app by id, without sizes.
func (s *Store) Collections(app spoor.AppID, kind spoor.CollectionKind) (list []spoor.Collection, err error) {
	err = s.view(func(db *pebble.DB) error {
		_, err := scanCollections(db, app, kind, func(c *spoor.Collection) { list = append(list, *c) })
		return err
	})
	return list, err
}

// Collection reads a tag, list or segment, without its size; nil if there is none.
func (s *Store) Collection(app spoor.AppID, kind spoor.CollectionKind, id uint32) (c *spoor.Collection, err error) {
	if id == 0 {
		return nil, nil
	}
	err = s.view(func(db *pebble.DB) (err error) {
		c, err = newCatalogueReader(db, app).find(collectionRef{kind, id})
		return err
	})
	return c, err
}

// PutCollection makes a tag, list or segment (ID 0), or changes name,
// description, filter of one and whether it is watched, and returns it once that
// is on disk. Where a tag is renamed, filters that name it follow. Errors: spoor.ErrNoCollection,
// *spoor.CollectionError, and those of a Sink.
func (s *Store) PutCollection(app spoor.AppID, in spoor.Collection) (c spoor.Collection, err error) {
	if err := in.Check(); err != nil {
		return c, err
	}
	in.Created, in.Size = s.opts.Now().UnixMilli(), -1
	err = s.change(func(g *group) (err error) {
		c, err = g.putCollection(app, in)
		return err
	})
	return c, err
}

func (g *group) putCollection(app spoor.AppID, x spoor.Collection) (spoor.Collection, error) {
	a, c, err := g.collectionsOf(app)
	if err != nil {
		return x, err
	}
	at := collectionRef{x.Kind, x.ID}
	old := c.byID[at]
	if x.ID != 0 && old == nil {
		return x, spoor.ErrNoCollection
	}
	if id := c.tags[x.Name]; x.Kind == spoor.CollectionTag && id != 0 && id != x.ID {
		return x, &spoor.CollectionError{Field: "name", What: "Another tag has this name."}
	}
	if x.Kind == spoor.CollectionSegment {
		if err := errors.Join(c.checkSegment(&x), g.checkWatched(a, old, &x)); err != nil {
			return x, err
		}
	}
	if old == nil {
		if err := g.makeCollection(a, c, &x); err != nil || !x.Watched {
			return x, err
		}
		return x, g.watchAs(a, nil, &x)
	}
	x.Created = old.Created
	g.storeCollection(a, c, &x)
	switch {
	case x.Kind == spoor.CollectionSegment:
		return x, g.watchAs(a, old, &x)
	case x.Kind == spoor.CollectionTag && old.Name != x.Name:
		g.renameInFilters(a, c, old.Name, x.Name)
		return x, g.moved(a) // a filter may have had the new name before
	}
	return x, nil
}

var errAppClosed = errors.New("the app takes no data")

// collectionsOf is the catalogue of an app that takes changes.
func (g *group) collectionsOf(app spoor.AppID) (*appState, *catalogue, error) {
	a, err := g.w.app(app)
	if err != nil {
		return nil, nil, err
	}
	if a == nil || a.app.Closed {
		return nil, nil, fmt.Errorf("cannot change the collections of app %d: %w", app, errAppClosed)
	}
	c, err := g.catalogue(a)
	return a, c, err
}

// makeCollection gives out the next id.
func (g *group) makeCollection(a *appState, c *catalogue, x *spoor.Collection) error {
	if c.count[x.Kind] >= collectionsMax[x.Kind] {
		return &spoor.CollectionError{Field: "name", What: fmt.Sprintf("The app has %d of its kind already; delete some first.", c.count[x.Kind])}
	}
	x.ID = c.newest[x.Kind] + 1
	g.set(catalogueKey(nil, a.app.ID, collectionRef{kind: x.Kind}), putUint(appendHeader(nil), identNumber, uint64(x.ID)))
	g.storeCollection(a, c, x)
	return nil
}

func (g *group) storeCollection(a *appState, c *catalogue, x *spoor.Collection) {
	kept := *x
	c.put(&kept)
	g.set(catalogueKey(nil, a.app.ID, collectionRef{x.Kind, x.ID}), appendCollection(nil, x))
}

// DeleteCollection removes a tag, list or segment, and returns once that is on
// disk; its members stay. Errors: spoor.ErrNoCollection, *spoor.CollectionError
// of a segment that others name, and those of a Sink.
func (s *Store) DeleteCollection(app spoor.AppID, kind spoor.CollectionKind, id uint32) error {
	at := collectionRef{kind, id}
	return s.change(func(g *group) error {
		a, c, err := g.collectionsOf(app)
		if err != nil {
			return err
		}
		x := c.byID[at]
		if x == nil {
			return spoor.ErrNoCollection
		}
		if kind == spoor.CollectionSegment {
			if err := c.named(id); err != nil {
				return err
			}
		}
		c.drop(at)
		delete(a.members, at)
		g.remove(catalogueKey(nil, app, at))
		members, sizes := membersKey(nil, app, at), sizesKey(nil, app, id)
		if kind != spoor.CollectionSegment {
			return errors.Join(g.moved(a), g.batch.DeleteRange(members, after(members), nil))
		}
		if err := g.batch.DeleteRange(sizes, after(sizes), nil); err != nil || !x.Watched {
			return err
		}
		return g.watchAs(a, x, nil)
	})
}

// checkMemberships refuses an edit that names what there is not, or too much,
// before anything is changed.
func (g *group) checkMemberships(a *appState, p *pending, e *spoor.Edit) error {
	if len(e.TagAdd)+len(e.ListAdd)+len(e.ListDrop) == 0 {
		return nil
	}
	c, err := g.catalogue(a)
	if err != nil {
		return err
	}
	s := new(state)
	if p != nil {
		if s, err = g.whole(p); err != nil {
			return err
		}
	}
	ever := map[collectionRef]bool{}
	for i := range s.elems {
		if kind := membershipOf(s.elems[i].kind); kind != spoor.CollectionNone {
			id, _ := strconv.ParseUint(s.elems[i].text, 10, 32)
			ever[collectionRef{kind, uint32(id)}] = true
		}
	}
	made := map[string]bool{}
	for _, name := range e.TagAdd {
		if name, err = spoor.CollectionName(name); err != nil {
			return err
		}
		if id := c.tags[name]; id != 0 {
			ever[collectionRef{spoor.CollectionTag, id}] = true
		} else {
			made[name] = true
		}
	}
	if len(made) > 0 && c.count[spoor.CollectionTag]+len(made) > spoor.TagsMax {
		return &spoor.CollectionError{Field: "tags", What: fmt.Sprintf("The app would have more than %d tags; delete some first.", spoor.TagsMax)}
	}
	for _, id := range slices.Concat(e.ListAdd, e.ListDrop) {
		if c.byID[collectionRef{spoor.CollectionList, id}] == nil {
			return spoor.ErrNoCollection
		}
	}
	for _, id := range e.ListAdd {
		ever[collectionRef{spoor.CollectionList, id}] = true
	}
	count := map[spoor.CollectionKind]int{spoor.CollectionTag: len(made)}
	for at := range ever {
		count[at.kind]++
	}
	for kind, n := range count {
		if n > spoor.MembershipsMax {
			return &spoor.CollectionError{Field: kind.String() + "s", What: fmt.Sprintf("The user would have been given more than %d of them.", spoor.MembershipsMax)}
		}
	}
	return nil
}

// changeMemberships puts the profile into, and takes it out of, tags and lists.
// checkMemberships has found no fault.
func (g *group) changeMemberships(p *pending, e *spoor.Edit, at stamp) error {
	if len(e.TagAdd)+len(e.TagDrop)+len(e.ListAdd)+len(e.ListDrop) == 0 {
		return nil
	}
	c, err := g.catalogue(p.app)
	if err != nil {
		return err
	}
	s, err := g.whole(p)
	if err != nil {
		return err
	}
	have := s.memberOf()
	set := func(kind spoor.CollectionKind, id uint32, in bool) {
		of := collectionRef{kind, id}
		if slices.Contains(have, of) != in {
			p.add.put(membership(kind), strconv.FormatUint(uint64(id), 10), in, at)
			g.join(p.app, of, p.n, in)
			g.tell(p.app, e.At, feedMember, uint64(kind), uint64(id), uint64(p.n), protowire.EncodeBool(in))
		}
	}
	for _, name := range e.TagAdd {
		name, err := spoor.CollectionName(name)
		if err != nil {
			return err
		}
		if c.tags[name] == 0 {
			x := spoor.Collection{Kind: spoor.CollectionTag, Name: name, Created: e.At, Size: -1}
			if err := g.makeCollection(p.app, c, &x); err != nil {
				return err
			}
		}
		set(spoor.CollectionTag, c.tags[name], true)
	}
	for _, name := range e.TagDrop {
		if name, err := spoor.CollectionName(name); err == nil && c.tags[name] != 0 {
			set(spoor.CollectionTag, c.tags[name], false)
		}
	}
	for _, id := range e.ListAdd {
		set(spoor.CollectionList, id, true)
	}
	for _, id := range e.ListDrop {
		set(spoor.CollectionList, id, false)
	}
	return nil
}

// join notes a change of who is in a collection.
func (g *group) join(a *appState, of collectionRef, n spoor.Number, in bool) {
	g.touchApp(a)
	if a.members == nil {
		a.members = map[collectionRef]setChange32{}
	}
	change := a.members[of]
	change.put(n, in)
	a.members[of] = change
}

// joinMemberships moves the bits of q, who is merged into p: the states before,
// and what p is after it.
func (g *group) joinMemberships(p, q *pending, ours, theirs, now *state) {
	had, have := ours.memberOf(), now.memberOf()
	for _, of := range theirs.memberOf() {
		g.joinKnown(p.app, of, q.n, false)
	}
	for _, of := range have {
		if !slices.Contains(had, of) {
			g.joinKnown(p.app, of, p.n, true)
		}
	}
	for _, of := range had {
		if !slices.Contains(have, of) {
			g.joinKnown(p.app, of, p.n, false)
		}
	}
}

// leaveCollections takes a profile that goes out of the bitmaps.
func (g *group) leaveCollections(p *pending, s *state) {
	for _, of := range s.memberOf() {
		g.joinKnown(p.app, of, p.n, false)
	}
}

// joinKnown is join for what may be deleted already, and must have no bitmap.
func (g *group) joinKnown(a *appState, of collectionRef, n spoor.Number, in bool) {
	c, err := g.catalogue(a)
	switch {
	case err != nil:
		g.err = errors.Join(g.err, err)
	case c.byID[of] != nil:
		g.join(a, of, n, in)
	}
}
