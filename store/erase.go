package store

import (
	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Erase removes persons: profile, identifiers, former numbers and all hits, in
// open days too, whose counts are taken back exactly. It returns once that is
// on disk; Reclaim then gives the bytes back. A keyed hash of what led to the
// person stays, so that an event from before the erasure, which a phone sends
// late or somebody sends again, is refused and brings nobody back. What happens
// later begins a new profile. Numbers that are gone already are passed over.
func (s *Store) Erase(app spoor.AppID, numbers []spoor.Number) (sum spoor.Removal, err error) {
	at := s.opts.Now().UnixMilli()
	for _, n := range numbers {
		var part spoor.Removal
		err := s.alone(func(g *group) (err error) {
			part, err = g.erase(app, n, at)
			return err
		})
		if err != nil {
			return sum, err
		}
		sum.Add(part)
	}
	return sum, nil
}

// erase runs in a group of its own: it finds the hits of a profile on disk, and
// those of an earlier request of the group would not be there yet. A group that
// stores nothing puts no counts off, so none of its days waits to be counted.
func (g *group) erase(id spoor.AppID, n spoor.Number, at int64) (sum spoor.Removal, err error) {
	a, err := g.w.app(id)
	if err != nil || a == nil {
		return sum, err
	}
	g.touchApp(a)
	p, err := g.profile(a, n)
	if err != nil {
		return sum, err
	}
	s, err := g.whole(p)
	if err != nil {
		return sum, err
	}
	if s.created == 0 {
		g.drop(p)
		return sum, nil
	}
	parts := append([]former{{number: n, days: s.days}}, s.former...)
	for _, f := range parts {
		for _, day := range f.days {
			hits, err := g.uncount(a, day, f.number)
			if err != nil {
				return sum, err
			}
			sum.Hits += hits
		}
	}
	g.remember(a, s, at)
	g.forget(p, s)
	a.ticks++
	a.erasures++
	j := journal{at: at, erased: true, gone: parts}
	g.set(journalKey(nil, id, a.ticks), j.appendTo(nil))
	sum.Profiles = 1
	return sum, nil
}

// uncount takes the hits of a number back out of what its day counts. A day that
// is finished keeps its numbers: statistics outlive people.
func (g *group) uncount(a *appState, day spoor.Day, n spoor.Number) (hits int64, err error) {
	d, err := g.day(a, day)
	if err != nil {
		return 0, err
	}
	c := &d.account
	touched := map[rowKey]bool{}
	err = scan(g.w.db, hitProfileKey(nil, a.app.ID, day, n), func(key, value []byte) error {
		hits++
		if c.sealed {
			return nil
		}
		h, err := readHit(key, value)
		if err != nil {
			return err
		}
		one := countsOf(&h)
		c.bytes -= int64(len(key) + len(value))
		if h.Marks&spoor.MarkLate != 0 {
			c.late--
		}
		c.views -= one.views
		c.events -= one.events
		c.visits -= one.visits
		less := counts{hits: -one.hits, views: -one.views, events: -one.events, visits: -one.visits}
		rollUp(a.app, &h, func(dim Dimension, text string) {
			row := d.rows[rowKey{dim, text}]
			if row == nil {
				row = new(counts)
				d.rows[rowKey{dim, text}] = row
			}
			row.fold(&less)
			touched[rowKey{dim, text}] = true
		})
		return nil
	})
	c.erased += hits
	if err != nil || c.sealed {
		return hits, err
	}
	for kind := range d.seen {
		d.born[kind].Remove(uint32(n))
		if d.seen[kind].CheckedRemove(uint32(n)) {
			g.putChunks(setChange32{drop: roaring.BitmapOf(uint32(n))}, func(chunk uint16) []byte { return activityKey(nil, a.app.ID, day, byte(kind), chunk) })
		}
	}
	for key := range touched {
		if err := g.dropRow(a, d, key); err != nil {
			return hits, err
		}
	}
	return hits, nil
}

// dropRow removes a roll-up row that counts nothing any more: its text may have
// been the person's alone.
func (g *group) dropRow(a *appState, d *dayState, key rowKey) error {
	k := countKey(nil, a.app.ID, d.day, key.dim, rowHash(&a.salt, key))
	left := d.rows[key].hits
	err := get(g.w.db, k, func(value []byte) error {
		row, err := readCounts(value)
		if err == nil {
			left += row.hits
		}
		return err
	})
	if err == nil && left == 0 {
		delete(d.rows, key)
		g.remove(k)
	}
	return err
}

const erasedAt protowire.Number = 1

// remember keeps keyed hashes of what led to a person.
func (g *group) remember(a *appState, s *state, at int64) {
	note := func(kind spoor.Lookup, text string) {
		if compared(kind, text) == "" {
			return
		}
		id := a.salt.ident(kind, text)
		g.w.erased.add(id)
		g.set(erasedKey(nil, a.app.ID, kind, id), putInt(appendHeader(nil), erasedAt, at))
	}
	for _, e := range s.elems {
		if e.kind == spoor.LookupKey && e.present {
			note(spoor.LookupKey, e.text)
		}
	}
	note(spoor.LookupUserID, s.text(spoor.AttrUserID))
	note(spoor.LookupEmail, s.text(spoor.AttrEmail))
	note(spoor.LookupPhone, s.text(spoor.AttrPhone))
}

// isErased reports whether a hit is of somebody who was erased after it happened.
func (g *group) isErased(a *appState, h *spoor.Hit) (bool, error) {
	if len(g.w.erased.layers) == 0 { // nobody ever was
		return false, nil
	}
	type name struct {
		kind spoor.Lookup
		text string
	}
	names := append(make([]name, 0, 8), name{spoor.LookupKey, h.Key}, name{spoor.LookupUserID, h.UserID},
		name{spoor.LookupKey, h.FormerID}, name{spoor.LookupUserID, h.FormerID})
	for i := range h.Attributes {
		switch at := &h.Attributes[i]; at.Name {
		case spoor.AttrEmail:
			names = append(names, name{spoor.LookupEmail, at.Text})
		case spoor.AttrPhone:
			names = append(names, name{spoor.LookupPhone, at.Text})
		}
	}
	for _, who := range names {
		if compared(who.kind, who.text) == "" {
			continue
		}
		hash := a.salt.ident(who.kind, who.text)
		if !g.w.erased.maybe(hash) {
			continue
		}
		at := int64(0)
		err := get(g.w.db, erasedKey(nil, a.app.ID, who.kind, hash), func(value []byte) error {
			return fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
				if tag == erasedAt {
					at = zigzag(num)
				}
				return nil
			})
		})
		// A pixel tells no time: that of an old mail cannot be told from a visit.
		if err != nil || h.Time < at || at != 0 && h.Door == spoor.DoorPixel {
			return err == nil, err
		}
	}
	return false, nil
}

// loadErased fills the filter in front of the ledger of erased persons.
func loadErased(db *pebble.DB, f *filter) error {
	f.ready = true
	return scan(db, []byte{prefixErased}, func(key, _ []byte) error {
		if len(key) == len(erasedKey(nil, 0, 0, hash{})) {
			f.add(hash(key[6:]))
		}
		return nil
	})
}
