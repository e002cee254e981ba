package store

import (
	"errors"
	"slices"
	"strings"

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
// later begins a new profile. Numbers that are gone already are passed over. Subject
// stands in the receipts. Error: *spoor.HeldError.
func (s *Store) Erase(app spoor.AppID, numbers []spoor.Number, subject string) (sum spoor.Removal, err error) {
	at := s.opts.Now().UnixMilli()
	for _, n := range numbers {
		var part spoor.Removal
		err := s.alone(func(g *group) (err error) {
			part, err = g.erase(app, n, subject, at)
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
func (g *group) erase(id spoor.AppID, n spoor.Number, subject string, at int64) (sum spoor.Removal, err error) {
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
	if until, held := a.app.Held(a.app.Day(at)); held {
		return sum, &spoor.HeldError{Until: until}
	}
	if r := s.rights(); r.Holds(a.app.Day(at)) {
		return sum, &spoor.HeldError{Until: r.Held}
	}
	parts := s.parts(n)
	j := journal{at: at, erased: true}
	for _, f := range parts {
		for _, day := range f.days {
			_, bytes, err := g.size(hitProfileKey(nil, id, day, f.number))
			if err != nil {
				return sum, err
			}
			hits, err := g.uncount(a, day, f.number, false)
			if err != nil {
				return sum, err
			}
			j.add(day, bytes)
			sum.Hits += hits
		}
		g.notKnown(a, f.number, at)
	}
	if err := g.noteErasure(a, s, at); err != nil {
		return sum, err
	}
	g.forget(p, s)
	g.tellGone(a, n, s, true, at)
	a.rewrites++
	j.gone = parts
	sum.Profiles, sum.Bytes = 1, j.bytes()
	if sum.Receipt, err = g.removed(a, 0, spoor.ReceiptErasure, at, sum); err != nil {
		return sum, err
	}
	j.receipt = sum.Receipt
	if err := g.journal(a, &j); err != nil {
		return sum, err
	}
	if err := g.notify(a, spoor.Notice{What: "erased", Person: s.profile(id, n, &a.people).ID, At: at}); err != nil {
		return sum, err
	}
	return sum, g.receipt(receiptRef{id, j.receipt}, func(r *storedReceipt) { r.Subject = subject })
}

// uncount takes the hits of a number back out of what its day counts. A day that
// is finished keeps its numbers: statistics outlive people. With stay the hits
// stay in the store, marked.
func (g *group) uncount(a *appState, day spoor.Day, n spoor.Number, stay bool) (hits int64, err error) {
	d, err := g.day(a, day)
	if err != nil {
		return 0, err
	}
	c := &d.account
	d.rewrote = true
	touched := map[rowKey]*row{}
	var seen views
	err = scan(g.w.db, hitProfileKey(nil, a.app.ID, day, n), func(key, value []byte) error {
		hits++
		if c.sealed {
			return nil
		}
		h, err := readHit(key, value)
		if err != nil {
			return err
		}
		was := h.Marks&spoor.MarkUncounted == 0
		switch {
		case stay && !was:
			return nil
		case stay:
			marked := h
			marked.Marks |= spoor.MarkUncounted
			record := appendHit(nil, &marked)
			g.set(slices.Clone(key), record)
			c.bytes += int64(len(record) - len(value))
		default:
			c.bytes -= int64(len(key) + len(value))
			if h.Marks&spoor.MarkLate != 0 {
				c.late--
			}
		}
		if !was {
			return nil
		}
		c.add(&h, -1)
		d.addends.rollUp(a.app, c.declared(), &h, seen.before(&h), func(key rowKey, add *counts, _ bool) {
			r, fail := d.row(a.app, key)
			if fail != nil {
				err = fail
				return
			}
			r.add.fold(add.minus())
			touched[key] = r
		})
		return err
	})
	if !stay {
		c.erased += hits
	}
	if err != nil || c.sealed {
		return hits, err
	}
	for _, r := range touched {
		r.without(uint32(n))
		r.less = append(r.less, uint32(n))
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
	r := d.rows.of(key)
	if r == nil { // counted under that of all others
		key.text = spoor.OtherText
		if r = d.rows.of(key); r == nil {
			return nil
		}
	}
	left := r.add.hits
	k := countKey(nil, a.app.ID, d.day, key.dim, rowHash(&a.salt, key))
	err := get(g.w.db, k, func(value []byte) error {
		row, err := readCounts(value)
		if err == nil {
			left += row.hits
		}
		return err
	})
	if err == nil && left == 0 {
		delete(d.rows[key.dim], key.text)
		g.remove(k)
	}
	return err
}

// Tags of an entry of the ledger.
const (
	erasedAt protowire.Number = iota + 1
	objectedAt
)

// barrier is an entry of the ledger: why hits with an identifier are refused.
type barrier struct {
	erased   int64 // hits before it are
	objected int64 // all are; 0: none
}

func (b barrier) appendTo(dst []byte) []byte {
	dst = putInt(appendHeader(dst), erasedAt, b.erased)
	return putInt(dst, objectedAt, b.objected)
}

func readBarrier(value []byte) (b barrier, err error) {
	err = fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
		switch tag {
		case erasedAt:
			b.erased = zigzag(num)
		case objectedAt:
			b.objected = zigzag(num)
		}
		return nil
	})
	return b, err
}

// noteErasure keeps keyed hashes of what led to a person who is erased.
func (g *group) noteErasure(a *appState, s *state, at int64) error {
	return g.bar(a, s, func(b *barrier) { b.erased = at })
}

// noteObjection keeps keyed hashes of what leads to a person who objected, or
// drops them when the objection is taken back.
func (g *group) noteObjection(a *appState, s *state) error {
	return g.bar(a, s, func(b *barrier) { b.objected = s.rights().Objected })
}

// bar changes the ledger's entries of all that leads to a person. It runs in a
// group of its own: the entries are read from disk.
func (g *group) bar(a *appState, s *state, change func(*barrier)) error {
	note := func(kind spoor.Lookup, text string) error {
		_, err := g.barOne(a, kind, text, change)
		return err
	}
	for _, e := range s.elems {
		if e.present && membershipOf(e.kind) == spoor.CollectionNone {
			if err := note(e.kind, e.text); err != nil {
				return err
			}
		}
	}
	return errors.Join(note(spoor.LookupUserID, s.text(spoor.AttrUserID)), note(spoor.LookupEmail, s.text(spoor.AttrEmail)), note(spoor.LookupPhone, s.text(spoor.AttrPhone)))
}

// barOne changes the ledger's entry of one identifier.
func (g *group) barOne(a *appState, kind spoor.Lookup, text string, change func(*barrier)) (changed bool, err error) {
	if compared(kind, text) == "" {
		return false, nil
	}
	id := a.salt.ident(kind, text)
	key := erasedKey(nil, a.app.ID, kind, id)
	var b barrier
	err = get(g.w.db, key, func(value []byte) (err error) {
		b, err = readBarrier(value)
		return err
	})
	if err != nil {
		return false, err
	}
	before := b
	switch change(&b); b {
	case before:
		return false, nil
	case barrier{}:
		g.remove(key)
	default:
		g.w.erased.add(id)
		g.set(key, b.appendTo(nil))
	}
	return true, nil
}

// barred says why a hit is refused: it is of somebody who was erased after it
// happened, or who objected; empty if it is not.
func (g *group) barred(a *appState, h *spoor.Hit) (spoor.Reason, error) {
	if len(g.w.erased.layers) == 0 { // nobody ever was
		return "", nil
	}
	type name struct {
		kind spoor.Lookup
		text string
	}
	names := make([]name, 0, 8)
	said := func(key, user, former, mobile string, attributes []spoor.Attribute) {
		names = append(names, name{spoor.LookupKey, key}, name{spoor.LookupUserID, user},
			name{spoor.LookupKey, former}, name{spoor.LookupUserID, former}, name{spoor.LookupMobile, mobile})
		if strings.Contains(user, "@") { // some sites use the address as their id
			names = append(names, name{spoor.LookupEmail, user})
		}
		for i := range attributes {
			switch at := &attributes[i]; at.Name {
			case spoor.AttrEmail:
				names = append(names, name{spoor.LookupEmail, at.Text})
			case spoor.AttrPhone:
				names = append(names, name{spoor.LookupPhone, at.Text})
			}
		}
	}
	said(h.Key, h.UserID, h.FormerID, h.MobileAdd, h.Attributes)
	if w := h.Withheld; w != nil {
		said(w.Key, w.UserID, w.FormerID, w.MobileAdd, w.Attributes)
	}
	for _, who := range names {
		if compared(who.kind, who.text) == "" {
			continue
		}
		hash := a.salt.ident(who.kind, who.text)
		if !g.w.erased.maybe(hash) {
			continue
		}
		var b barrier
		err := get(g.w.db, erasedKey(nil, a.app.ID, who.kind, hash), func(value []byte) (err error) {
			b, err = readBarrier(value)
			return err
		})
		switch {
		case err != nil:
			return "", err
		case b.objected != 0:
			return spoor.ReasonObject, nil
		// A pixel tells no time: that of an old mail cannot be told from a visit.
		case b.erased != 0 && (h.Time < b.erased || h.Door == spoor.DoorPixel):
			return spoor.ReasonErased, nil
		}
	}
	return "", nil
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
