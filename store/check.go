package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// problemsMax is how many findings Check lists before it only counts.
const problemsMax = 100

// Report is what Check found. No finding names a person: they give numbers.
type Report struct {
	Apps, Profiles, Hits, Days int64
	Entries                    int64    // of audit logs
	Found                      int64    // problems in all
	Problems                   []string // the first hundred

	progress func(*Report)
}

// progressEvery is the number of records between two calls of progress.
const progressEvery = 1_000_000

func (r *Report) count(n *int64) {
	if *n++; *n%progressEvery == 0 && r.progress != nil {
		r.progress(r)
	}
}

func (r *Report) problem(format string, args ...any) {
	if r.Found++; len(r.Problems) < problemsMax {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check reads the whole store and verifies what must hold between its records:
// every hit's profile exists and knows the day; activity, accounts and
// roll-ups are a scan of the hits; identifiers point at living profiles and
// back; stored = present + swept + erased; every event id points at its hit;
// every audit log is the chain that was written; offsets of topics can be read.
//
// It needs memory for each profile and event of one app at a time. While it
// works it calls progress, if that is not nil, every million records. An error
// means that the store could not be read to the end.
func (s *Store) Check(progress func(*Report)) (*Report, error) {
	r := &Report{progress: progress}
	err := s.view(func(db *pebble.DB) error {
		snapshot := db.NewSnapshot()
		defer snapshot.Close()
		if s.opts.ReadOnly && s.lost.groups > 0 { // a store that is written has said so when it was opened
			r.problem("%d acknowledged hits in %d groups are missing: the write-ahead log was damaged or cut", s.lost.hits, s.lost.groups)
		}
		late, err := scanUncounted(snapshot)
		if err != nil {
			return err
		}
		for _, app := range s.AllApps() {
			c := &checker{db: snapshot, app: app, report: r, people: map[spoor.Number]*checked{}, late: late}
			if err := c.run(); err != nil {
				return fmt.Errorf("cannot check app %q: %w", app.Name, err)
			}
			r.Apps++
		}
		if err := checkSources(snapshot, r); err != nil {
			return err
		}
		return s.checkAudits(snapshot, r)
	})
	return r, err
}

// checker verifies one app.
type checker struct {
	db      pebble.Reader
	app     *spoor.App
	salt    salt
	report  *Report
	sealed  spoor.Day
	people  map[spoor.Number]*checked
	aliased *roaring.Bitmap
	events  map[place]uint32 // hits with an id of their own → week of receipt
	weeks   map[hash]uint32  // their ids → week of receipt of one of them
	late    []uncounted
	hidden  *roaring.Bitmap // numbers that are removed and whose hits are still there
}

// checked is a profile and what its hits add up to.
type checked struct {
	state                 *state
	views, events, visits int64
	first, last           int64
	days                  map[spoor.Day]bool // of its own number
}

func (c *checker) run() (err error) {
	if c.salt, err = readSalt(c.db, c.app.ID); err != nil {
		return err
	}
	if c.sealed, err = readSealed(c.db, c.app.ID, c.late); err != nil {
		return err
	}
	if c.hidden, err = readHidden(c.db, c.app.ID); err != nil {
		return err
	}
	for _, step := range []func() error{c.profiles, c.sets, c.collections, c.hits, c.totals, c.idents, c.eventIDs, c.feed, c.deliveries} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) bad(format string, args ...any) {
	c.report.problem("app %s: "+format, append([]any{c.app.Name}, args...)...)
}

func (c *checker) profiles() error {
	return scan(c.db, key1(nil, prefixProfile, c.app.ID), func(key, value []byte) error {
		c.report.count(&c.report.Profiles)
		n := spoor.Number(be32(key[5:]))
		st, err := readState(value)
		if err != nil {
			c.bad("profile %d cannot be read: %v", n, err)
			return nil
		}
		if len(st.unknown) > 0 {
			c.bad("profile %d holds %d parts of an unknown format", n, len(st.unknown))
		}
		if st.created == 0 {
			c.bad("profile %d was changed but never made", n)
		}
		c.people[n] = &checked{state: st, days: map[spoor.Day]bool{}}
		return nil
	})
}

// unknown reports parts of bitmaps that could not be read when they were merged.
func (c *checker) unknown(prefix byte) error {
	return scan(c.db, key1(nil, prefix, c.app.ID), func(_, value []byte) error {
		s, err := readSet(value)
		if err == nil && len(s.unknown) > 0 {
			c.bad("a bitmap under %c holds %d parts of an unknown format", prefix, len(s.unknown))
		}
		return err
	})
}

func (c *checker) sets() error {
	if err := errors.Join(c.unknown(prefixSet), c.unknown(prefixActivity), c.unknown(prefixMember)); err != nil {
		return err
	}
	live, err := readMembers(c.db, c.app.ID, setLive)
	if err != nil {
		return err
	}
	contacts, err := readMembers(c.db, c.app.ID, setContacts)
	if err != nil {
		return err
	}
	if c.aliased, err = readMembers(c.db, c.app.ID, setAliased); err != nil {
		return err
	}
	held, err := readMembers(c.db, c.app.ID, setHeld)
	if err != nil {
		return err
	}
	objected, err := readObjected(c.db, c.app.ID)
	if err != nil {
		return err
	}
	for it := objected.Iterator(); it.HasNext(); {
		if n := spoor.Number(it.Next()); c.people[n] == nil {
			c.bad("profile %d is in the set of who objected but does not exist", n)
		}
	}
	for it := held.Iterator(); it.HasNext(); {
		if n := spoor.Number(it.Next()); c.people[n] == nil {
			c.bad("profile %d is in the set of the held but does not exist", n)
		}
	}
	for n, p := range c.people {
		if at := p.state.rights().Objected; objected.Contains(uint32(n)) != (at != 0) {
			c.bad("profile %d: an objection on record is %t, the set of who objected says otherwise", n, at != 0)
		}
		if r := p.state.rights(); held.Contains(uint32(n)) != onRecord(r) {
			c.bad("profile %d: a hold or restriction on record is %t, the set of the held says otherwise", n, onRecord(r))
		}
		if !live.Contains(uint32(n)) {
			c.bad("profile %d is not in the set of living profiles", n)
		}
		if contacts.Contains(uint32(n)) != p.state.contacts() {
			c.bad("profile %d: having a contact is %t, the set of contacts says otherwise", n, p.state.contacts())
		}
	}
	for it := live.Iterator(); it.HasNext(); {
		if n := spoor.Number(it.Next()); c.people[n] == nil {
			c.bad("profile %d is in the set of living profiles but does not exist", n)
		}
	}
	for it := contacts.Iterator(); it.HasNext(); {
		if n := spoor.Number(it.Next()); c.people[n] == nil {
			c.bad("profile %d is in the set of contacts but does not exist", n)
		}
	}
	for it := c.aliased.Iterator(); it.HasNext(); {
		n := spoor.Number(it.Next())
		now, err := person(c.db, c.app.ID, n)
		if err != nil {
			return err
		}
		if now == n || c.people[now] == nil {
			c.bad("former profile %d leads to no living profile", n)
		}
	}
	return nil
}

// collections compares the bitmaps of tags and lists with what profiles say of
// themselves, and looks for what belongs to none. Who is in a watched segment is
// there.
func (c *checker) collections() error {
	known := map[collectionRef]bool{}
	var watched, followed []uint32
	for kind := spoor.CollectionTag; kind <= spoor.CollectionSegment; kind++ {
		highest := uint32(0)
		newest, err := scanCollections(c.db, c.app.ID, kind, func(x *spoor.Collection) {
			known[collectionRef{kind, x.ID}] = true
			if x.Watched {
				watched = append(watched, x.ID)
			}
			highest = max(highest, x.ID)
		})
		if err != nil {
			return err
		}
		if highest > newest {
			c.bad("%s %d has an id that was not given out", kind, highest)
		}
	}
	w, err := readWatch(c.db, c.app.ID)
	if err != nil {
		return err
	}
	for _, x := range w.segments {
		followed = append(followed, x.id)
	}
	if !slices.Equal(watched, followed) {
		c.bad("segments %d are said to be watched, but %d are", watched, followed)
	}
	members := map[collectionRef]*roaring.Bitmap{}
	err = scan(c.db, key1(nil, prefixMember, c.app.ID), func(key, _ []byte) error {
		at := collectionRef{spoor.CollectionKind(key[5]), be32(key[6:])}
		if members[at] != nil {
			return nil
		}
		switch {
		case !known[at]:
			c.bad("%s %d has members but is not in the catalogue", at.kind, at.id)
		case at.kind == spoor.CollectionSegment && !slices.Contains(followed, at.id):
			c.bad("segment %d has members but is not watched", at.id)
		}
		var err error
		members[at], err = readChunks(c.db, membersKey(nil, c.app.ID, at))
		return err
	})
	if err != nil {
		return err
	}
	for n, p := range c.people {
		for _, at := range p.state.memberOf() {
			if known[at] && (members[at] == nil || !members[at].CheckedRemove(uint32(n))) {
				c.bad("profile %d is in %s %d, whose members do not have it", n, at.kind, at.id)
			}
		}
	}
	for at, left := range members {
		if at.kind == spoor.CollectionSegment {
			for it := left.Iterator(); it.HasNext(); {
				if n := spoor.Number(it.Next()); c.people[n] == nil {
					c.bad("profile %d is in segment %d but does not exist", n, at.id)
				}
			}
			continue
		}
		if known[at] && !left.IsEmpty() {
			c.bad("%s %d has %d members that do not say so", at.kind, at.id, left.GetCardinality())
		}
	}
	return scan(c.db, append(key1(nil, prefixCatalogue, c.app.ID), catalogueSize), func(key, _ []byte) error {
		if id := be32(key[6:]); !known[collectionRef{spoor.CollectionSegment, id}] {
			c.bad("segment %d has sizes but is not in the catalogue", id)
		}
		return nil
	})
}
