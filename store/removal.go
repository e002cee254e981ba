package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
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
	for some := range slices.Chunk(numbers, removalSlice) {
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
		g.forget(p, s)
		j.gone = append(j.gone, parts...)
		sum.Profiles++
		sum.Hits += hits
	}
	if len(j.gone) == 0 {
		return sum, nil
	}
	sum.Bytes = j.bytes()
	sum.Receipt, err = g.removed(a, run, spoor.ReceiptSweep, at, sum)
	j.receipt = sum.Receipt
	g.journal(a, &j)
	return sum, err
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
		g.member(a, setAliased, f.number, false)
	}
	g.member(a, setLive, p.n, false)
	g.member(a, setContacts, p.n, false)
	if onRecord(s.rights()) {
		g.member(a, setHeld, p.n, false)
	}
	g.remove(profileKey(nil, id, p.n))
	p.gone = true
	g.drop(p)
}

// drop removes a profile from the writer's memory.
func (g *group) drop(p *pending) {
	ref := profileRef{p.app.app.ID, p.n}
	delete(g.profiles, ref)
	g.w.profiles.drop(ref)
}

// journal is a removal whose bytes are not gone yet.
type journal struct {
	at      int64       // of the decision, Unix ms
	erased  bool        // on request, or in stretches: its bytes are due at once
	app     spoor.AppID // that was deleted as a whole; 0: none, but the numbers of gone
	deleted bool        // the hits are covered by tombstones; until then reads leave them out
	gone    []former    // numbers and days
	sizes   []daySize   // what the hits of gone took
	days    []spoor.Day // of which hits, roll-ups and activity went in stretches
	receipt uint64      // number of the receipt
	cleaned bool        // it was there in an earlier run of Reclaim
	settled bool        // the bytes of profiles and of what led to them are gone
}

// daySize is the bytes of removed records of a day.
type daySize struct {
	day   spoor.Day
	bytes int64
}

func (j *journal) bytes() (sum int64) {
	for _, s := range j.sizes {
		sum += s.bytes
	}
	return sum
}

func (j *journal) add(day spoor.Day, bytes int64) {
	for i := range j.sizes {
		if j.sizes[i].day == day {
			j.sizes[i].bytes += bytes
			return
		}
	}
	j.sizes = append(j.sizes, daySize{day, bytes})
}

// journal writes a new journal.
func (g *group) journal(a *appState, j *journal) {
	a.ticks++
	g.set(journalKey(nil, a.app.ID, a.ticks), j.appendTo(nil))
}

const (
	journalAt protowire.Number = iota + 1
	journalDeleted
	journalGone
	journalErased
	journalApp
	journalSize // nested: day, bytes
	journalDays
	journalReceipt
	journalCleaned
	journalSettled
)

func (j *journal) appendTo(dst []byte) []byte {
	dst = putInt(appendHeader(dst), journalAt, j.at)
	dst = putBool(dst, journalDeleted, j.deleted)
	dst = putBool(dst, journalErased, j.erased)
	dst = putUint(dst, journalApp, uint64(j.app))
	for _, f := range j.gone {
		dst = putBytes(dst, journalGone, f.appendTo(nil))
	}
	for _, s := range j.sizes {
		dst = putBytes(dst, journalSize, putInt(putInt(nil, nestDays, int64(s.day)), nestNumber, s.bytes))
	}
	dst = putBytes(dst, journalDays, appendDays(nil, j.days))
	dst = putUint(dst, journalReceipt, j.receipt)
	dst = putBool(dst, journalCleaned, j.cleaned)
	return putBool(dst, journalSettled, j.settled)
}

func readJournal(value []byte) (j journal, err error) {
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case journalAt:
			j.at = zigzag(num)
		case journalDeleted:
			j.deleted = num != 0
		case journalErased:
			j.erased = num != 0
		case journalApp:
			j.app = spoor.AppID(num)
		case journalGone:
			f, err := readFormer(b)
			j.gone = append(j.gone, f)
			return err
		case journalSize:
			s, err := readDaySize(b)
			j.sizes = append(j.sizes, s)
			return err
		case journalDays:
			var err error
			j.days, err = readDays(b)
			return err
		case journalReceipt:
			j.receipt = num
		case journalCleaned:
			j.cleaned = num != 0
		case journalSettled:
			j.settled = num != 0
		}
		return nil
	})
	return j, err
}

func readDaySize(b []byte) (s daySize, err error) {
	err = rawFields(b, func(tag protowire.Number, num uint64, _ []byte) error {
		switch tag {
		case nestDays:
			s.day = spoor.Day(zigzag(num))
		case nestNumber:
			s.bytes = zigzag(num)
		}
		return nil
	})
	return s, err
}

// entry is a journal with its key.
type entry struct {
	journal
	of  spoor.AppID // the app of the numbers
	key []byte
}

// readJournals reads the journals of one app, or of all where app is 0.
func readJournals(db pebble.Reader, app spoor.AppID) (all []entry, err error) {
	prefix := []byte{prefixJournal}
	if app != 0 {
		prefix = key1(nil, prefixJournal, app)
	}
	err = scan(db, prefix, func(key, value []byte) error {
		j, err := readJournal(value)
		if err != nil {
			return fmt.Errorf("cannot read the journal of a removal: %w", err)
		}
		all = append(all, entry{journal: j, of: spoor.AppID(be32(key[1:])), key: slices.Clone(key)})
		return nil
	})
	return all, err
}

// readHidden reads the numbers whose hits still stand there and are removed.
func readHidden(db pebble.Reader, app spoor.AppID) (*roaring.Bitmap, error) {
	hidden := roaring.New()
	all, err := readJournals(db, app)
	for _, e := range all {
		if e.deleted {
			continue
		}
		for _, f := range e.gone {
			hidden.Add(uint32(f.number))
		}
	}
	return hidden, err
}
