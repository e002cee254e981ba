package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// removalSlice is how many profiles one request to the writer removes: few
// enough to keep it for no more than some milliseconds.
const removalSlice = 32

// Anonymous lists the profiles of an app without any contact that were not
// active on a day or after it, as far as sets of numbers can tell: no profile
// is read. Who removes them looks at each once more.
func (s *Store) Anonymous(app spoor.AppID, since spoor.Day) (numbers []spoor.Number, err error) {
	err = s.still(func(db pebble.Reader) error {
		left, err := readMembers(db, app, setLive)
		if err != nil {
			return err
		}
		for _, set := range []byte{setContacts, setAliased} {
			some, err := readMembers(db, app, set)
			if err != nil {
				return err
			}
			left.AndNot(some)
		}
		from := activityKey(nil, app, since, 0, 0)
		err = scanSpan(db, from, after(key1(nil, prefixActivity, app)), func(key, value []byte) error {
			c, err := readSet(value)
			if err == nil && key[9] == activityActive && c.add != nil {
				left.AndNot(roaring.AddOffset(c.add, uint32(binary.BigEndian.Uint16(key[10:]))<<16))
			}
			return err
		})
		for it := left.Iterator(); it.HasNext(); {
			numbers = append(numbers, spoor.Number(it.Next()))
		}
		return err
	})
	return numbers, err
}

// Remove takes profiles out of the store, with their identifiers, former
// numbers and hits, and returns once that is on disk. Each is shown to keeps
// first, by the writer, so that nothing comes between the look and the
// removal; nil keeps none. The hits must lie in days that SealDays has finished,
// or their statistics would go too; a profile with others is kept. Numbers that are gone already are passed over.
//
// Its receipt is that of run, or a new one where run is 0.
func (s *Store) Remove(app spoor.AppID, numbers []spoor.Number, run uint64, keeps func(*spoor.Profile) bool) (sum spoor.Removal, err error) {
	sum.Receipt = run
	at := s.opts.Now().UnixMilli()
	for some := range slices.Chunk(numbers, s.opts.slice(removalSlice)) {
		var part spoor.Removal
		err := s.bulk(func(g *group) (err error) {
			part, err = g.removeAll(app, some, sum.Receipt, at, keeps)
			return err
		})
		if err != nil {
			return sum, err
		}
		sum.Add(part)
	}
	return sum, nil
}

func (g *group) removeAll(id spoor.AppID, numbers []spoor.Number, run uint64, at int64, keeps func(*spoor.Profile) bool) (sum spoor.Removal, err error) {
	a, err := g.w.app(id)
	if err != nil || a == nil {
		return sum, err
	}
	g.touchApp(a)
	a.firstOpen(at)
	j := journal{at: at}
	for _, n := range numbers {
		p, err := g.profile(a, n)
		if err != nil {
			return sum, err
		}
		s, err := g.whole(p)
		if err != nil {
			return sum, err
		}
		if s.created == 0 || p.gone {
			g.drop(p)
			continue
		}
		parts := s.parts(n)
		finished, err := g.finished(a, parts)
		if err != nil {
			return sum, err
		}
		if !finished || keeps != nil && keeps(s.profile(id, n, &a.people)) {
			sum.Kept++
			continue
		}
		hits, err := g.discount(a, parts, &j)
		if err != nil {
			return sum, err
		}
		j.add(records, int64(len(s.appendTo(nil))))
		g.forget(p, s)
		g.tellGone(a, n, s, false, at)
		j.gone = append(j.gone, parts...)
		sum.Profiles++
		sum.Hits += hits
	}
	if len(j.gone) == 0 {
		return sum, nil
	}
	sum.Bytes = j.bytes()
	if sum.Receipt, err = g.removed(a, run, spoor.ReceiptSweep, at, sum); err != nil {
		return sum, err
	}
	j.receipt = sum.Receipt
	return sum, g.journal(a, &j)
}

// finished reports whether none of the days changes any more.
func (g *group) finished(a *appState, parts []former) (bool, error) {
	for _, f := range parts {
		for _, day := range f.days {
			if day > a.sealed {
				return false, nil
			}
			c, err := g.account(a, day)
			if err != nil || !c.sealed {
				return false, err
			}
		}
	}
	return true, nil
}

// discount moves the hits of numbers from present to swept in the accounts of
// their days. What the days counted stays: statistics outlive people.
func (g *group) discount(a *appState, parts []former, j *journal) (sum int64, err error) {
	for _, f := range parts {
		for _, day := range f.days {
			hits, bytes, err := g.size(hitProfileKey(nil, a.app.ID, day, f.number))
			if err != nil {
				return 0, err
			}
			j.add(day, bytes)
			c, err := g.account(a, day)
			if err != nil {
				return 0, err
			}
			c.swept += hits
			sum += hits
		}
	}
	return sum, nil
}

// size is how many records stand under a prefix, and their bytes.
func (g *group) size(prefix []byte) (records, bytes int64, err error) {
	err = scan(g.w.db, prefix, func(key, value []byte) error {
		records++
		bytes += int64(len(key) + len(value))
		return nil
	})
	return records, bytes, err
}

// forget removes a profile's state and all that leads to it.
func (g *group) forget(p *pending, s *state) {
	a := p.app
	id := a.app.ID
	for _, k := range s.members(spoor.LookupKey) {
		g.unpoint(a, spoor.LookupKey, a.salt.ident(spoor.LookupKey, k))
	}
	if user := s.text(spoor.AttrUserID); user != "" {
		g.unpoint(a, spoor.LookupUserID, a.salt.ident(spoor.LookupUserID, user))
	}
	g.reindex(a, p.n, s, new(state))
	public := func(n int64) {
		if n != 0 {
			g.unpoint(a, spoor.LookupPublic, a.salt.ident(spoor.LookupPublic, fmt.Sprint(n)))
		}
	}
	public(s.public)
	for _, f := range s.former {
		public(f.public)
		g.remove(numberKey(nil, id, f.number))
		g.merged[profileRef{id, f.number}] = 0
		g.member(a, setAliased, f.number, false)
	}
	g.member(a, setLive, p.n, false)
	g.member(a, setContacts, p.n, false)
	if onRecord(s.rights()) {
		g.member(a, setHeld, p.n, false)
	}
	if s.rights().Objected != 0 {
		g.member(a, setObjected, p.n, false)
	}
	g.leaveCollections(p, s)
	g.leaveSegments(a, p.n)
	g.removeProfile(profileRef{id, p.n})
	p.gone = true
	g.drop(p)
}

// drop removes a profile from the writer's memory.
func (g *group) drop(p *pending) {
	ref := profileRef{p.app.app.ID, p.n}
	delete(g.profiles, ref)
	g.w.profiles.drop(ref)
}
