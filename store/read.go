package store

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// view calls f with the database, which stays open until f returns.
func (s *Store) view(f func(db *pebble.DB) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return spoor.ErrClosed
	}
	return f(s.db)
}

// still is view of one moment. Who follows merges needs it: between two reads a
// profile could become part of another, and be found under neither number.
func (s *Store) still(f func(db pebble.Reader) error) error {
	return s.view(func(db *pebble.DB) (err error) {
		snapshot := db.NewSnapshot()
		defer func() { err = errors.Join(err, snapshot.Close()) }()
		return f(snapshot)
	})
}

func parseNumber(value []byte) (n spoor.Number, err error) {
	err = fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
		if tag == identNumber {
			n = spoor.Number(num)
		}
		return nil
	})
	return n, err
}

// readProfile reads a profile's state; an empty one if there is none.
func readProfile(db pebble.Reader, app spoor.AppID, n spoor.Number) (s *state, err error) {
	s = new(state)
	err = get(db, profileKey(nil, app, n), func(value []byte) (err error) {
		s, err = readState(value)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read profile %d of app %d: %w", n, app, err)
	}
	return s, nil
}

// person follows merges: the number under which a profile lives now.
func person(db pebble.Reader, app spoor.AppID, n spoor.Number) (spoor.Number, error) {
	for range 64 { // each merge points at a living profile, so one step is the rule
		next, err := readNumber(db, numberKey(nil, app, n))
		if err != nil || next == 0 {
			return n, err
		}
		n = next
	}
	return 0, fmt.Errorf("cannot follow the merges of profile %d of app %d: the store is damaged", n, app)
}

// Profile reads a profile by its number, or by a former number of it; nil if
// there is none.
func (s *Store) Profile(app spoor.AppID, n spoor.Number) (p *spoor.Profile, err error) {
	err = s.still(func(db pebble.Reader) error {
		secret, err := readSalt(db, app)
		if err != nil {
			return err
		}
		if n, err = person(db, app, n); err != nil {
			return err
		}
		st, err := readProfile(db, app, n)
		if err != nil || st.created == 0 {
			return err
		}
		people := secret.permutation("profile")
		p = st.profile(app, n, &people)
		p.Collections, err = st.collections(newCatalogueReader(db, app).find)
		return err
	})
	return p, err
}

// ProfileByID reads a profile by its public id; nil if there is none.
func (s *Store) ProfileByID(app spoor.AppID, publicID int64) (*spoor.Profile, error) {
	if publicID < publicBase {
		numbers, err := s.Find(app, spoor.LookupPublic, fmt.Sprint(publicID))
		if err != nil || len(numbers) == 0 {
			return nil, err
		}
		return s.Profile(app, numbers[0])
	}
	var n uint64
	err := s.view(func(db *pebble.DB) error {
		secret, err := readSalt(db, app)
		people := secret.permutation("profile")
		n = people.private(publicID)
		return err
	})
	if err != nil || publicID >= 2*publicBase || n == 0 || n > math.MaxUint32 {
		return nil, err
	}
	p, err := s.Profile(app, spoor.Number(n))
	if err != nil || p == nil || p.Number == spoor.Number(n) && p.ID != publicID {
		return nil, err // an imported profile answers to its own id alone
	}
	return p, nil
}

// PublicID is the public id of a profile, of the person it was merged into
// where it is a former number; also of one that is gone.
func (s *Store) PublicID(app spoor.AppID, n spoor.Number) (id int64) {
	err := s.still(func(db pebble.Reader) error {
		secret, err := readSalt(db, app)
		if err != nil {
			return err
		}
		if n, err = person(db, app, n); err != nil {
			return err
		}
		st, err := readProfile(db, app, n)
		if err != nil {
			return err
		}
		if id = st.public; id == 0 {
			people := secret.permutation("profile")
			id = people.public(uint64(n))
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return id
}

// Find lists the profiles to which an identifier leads, oldest first.
func (s *Store) Find(app spoor.AppID, by spoor.Lookup, value string) (numbers []spoor.Number, err error) {
	if compared(by, value) == "" {
		return nil, nil
	}
	err = s.view(func(db *pebble.DB) error {
		secret, err := readSalt(db, app)
		if err != nil {
			return err
		}
		key := identKey(nil, app, by, secret.ident(by, value))
		if !shared(by) {
			n, err := readNumber(db, key)
			if n != 0 {
				numbers = append(numbers, n)
			}
			return err
		}
		return scan(db, key, func(key, _ []byte) error {
			numbers = append(numbers, spoor.Number(be32(key[len(key)-4:])))
			return nil
		})
	})
	return numbers, err
}

// Profiles calls fn with all profiles behind a number, in the order of their
// numbers, from one consistent view. An error of fn ends it and is returned.
func (s *Store) Profiles(app spoor.AppID, behind spoor.Number, fn func(*spoor.Profile) error) error {
	return s.view(func(db *pebble.DB) error {
		secret, err := readSalt(db, app)
		if err != nil {
			return err
		}
		people := secret.permutation("profile")
		names := newCatalogueReader(db, app)
		prefix := key1(nil, prefixProfile, app)
		return scanSpan(db, profileKey(nil, app, behind+1), after(prefix), func(key, value []byte) error {
			st, err := readState(value)
			if err != nil {
				return fmt.Errorf("cannot read a profile of app %d: %w", app, err)
			}
			p := st.profile(app, spoor.Number(be32(key[5:])), &people)
			if p.Collections, err = st.collections(names.find); err != nil {
				return err
			}
			return fn(p)
		})
	})
}

// ProfileCount is how many profiles an app has now.
func (s *Store) ProfileCount(app spoor.AppID) (n int64, err error) {
	err = s.view(func(db *pebble.DB) error {
		live, err := readMembers(db, app, setLive)
		if err == nil {
			n = int64(live.GetCardinality())
		}
		return err
	})
	return n, err
}

// choice reads a register of consent, which holds one digit.
func choice(text string) spoor.Choice {
	if len(text) != 1 {
		return spoor.ChoiceUnknown
	}
	return spoor.Choice(text[0] - '0')
}

// profile makes the outside form of a state.
func (s *state) profile(app spoor.AppID, n spoor.Number, people *permutation) *spoor.Profile {
	p := &spoor.Profile{
		App: app, Number: n, ID: s.public, Keys: s.members(spoor.LookupKey), UserID: s.text(spoor.AttrUserID),
		CreatedAt: s.created, UpdatedAt: s.updated, FirstSeen: s.firstSeen, LastSeen: s.lastSeen,
		LastContacted: s.contacted, LastHeardFrom: s.heard, LastEmailOpened: s.opened, LastEmailClicked: s.clicked,
		Views: s.views, Events: s.events, Visits: s.visits, MobileIDs: s.members(spoor.LookupMobile),
	}
	if p.ID == 0 {
		p.ID = people.public(uint64(n))
	}
	days := s.days
	for _, f := range s.former {
		p.Former = append(p.Former, f.number)
		days = foldDays(days, f.days)
	}
	if len(days) > 0 {
		p.FirstDay, p.LastDay = days[0], days[len(days)-1]
	}
	var consent [3]spoor.Choice
	for _, r := range s.regs {
		switch {
		case r.typ == spoor.TypeNull || r.name == spoor.AttrUserID:
		case r.name == regConsentAnalytics:
			consent[0] = choice(r.text)
		case r.name == regConsentMarketing:
			consent[1] = choice(r.text)
		case r.name == regConsentPlace:
			consent[2] = choice(r.text)
		case strings.HasPrefix(r.name, "\x00"): // see rights
		default:
			p.Attributes = append(p.Attributes, spoor.Attribute{Name: r.name, Type: r.typ, Text: r.text, Source: r.source, SetAt: r.time})
		}
	}
	p.Consent = spoor.NewConsent(consent[0], consent[1], consent[2])
	p.Rights = s.rights()
	return p
}

// Hits calls fn with the hits of a profile, of all its former numbers too,
// newest day first and newest first within a day. The hit owns its memory. An
// error of fn ends it and is returned.
func (s *Store) Hits(app spoor.AppID, n spoor.Number, fn func(*spoor.Hit) error) error {
	return s.still(func(db pebble.Reader) error {
		n, err := person(db, app, n)
		if err != nil {
			return err
		}
		st, err := readProfile(db, app, n)
		if err != nil {
			return err
		}
		type stretch struct {
			day spoor.Day
			n   spoor.Number
		}
		var all []stretch
		for _, d := range st.days {
			all = append(all, stretch{d, n})
		}
		for _, f := range st.former {
			for _, d := range f.days {
				all = append(all, stretch{d, f.number})
			}
		}
		slices.SortStableFunc(all, func(a, b stretch) int { return cmp.Compare(b.day, a.day) })
		for len(all) > 0 {
			same := 1
			for same < len(all) && all[same].day == all[0].day {
				same++
			}
			var prefixes [][]byte
			for _, t := range all[:same] {
				prefixes = append(prefixes, hitProfileKey(nil, app, t.day, t.n))
			}
			if err := newestFirst(db, prefixes, fn); err != nil {
				return err
			}
			all = all[same:]
		}
		return nil
	})
}

// newestFirst walks several runs of hits backwards at once, by time.
func newestFirst(db pebble.Reader, prefixes [][]byte, fn func(*spoor.Hit) error) (err error) {
	its := make([]*pebble.Iterator, 0, len(prefixes))
	defer func() {
		for _, it := range its {
			err = errors.Join(err, it.Close())
		}
	}()
	for _, p := range prefixes {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: p, UpperBound: after(p)})
		if err != nil {
			return fmt.Errorf("cannot read the store: %w", err)
		}
		its = append(its, it)
		it.Last()
	}
	for {
		var best *pebble.Iterator
		for _, it := range its {
			// The time and what follows it stand at the same place in all keys.
			if it.Valid() && (best == nil || string(it.Key()[13:]) > string(best.Key()[13:])) {
				best = it
			}
		}
		if best == nil {
			return nil
		}
		value, err := best.ValueAndErr()
		if err != nil {
			return fmt.Errorf("cannot read the store: %w", err)
		}
		h, err := readHit(best.Key(), value)
		if err != nil {
			return err
		}
		if err := fn(&h); err != nil {
			return err
		}
		best.Prev()
	}
}

// ScanHits calls fn with all hits of the days from, to (both inclusive), day
// by day. The hit is valid until fn returns; its texts may be kept.
func (s *Store) ScanHits(app spoor.AppID, from, to spoor.Day, fn func(*spoor.Hit) error) error {
	if from > to {
		return fmt.Errorf("cannot scan from %s to %s: the end is before the start", from, to)
	}
	return s.still(func(db pebble.Reader) error {
		hidden, err := readHidden(db, app)
		if err != nil {
			return err
		}
		return scanSpan(db, hitDayKey(nil, app, from), after(hitDayKey(nil, app, to)), func(key, value []byte) error {
			h, err := readHit(key, value)
			if err != nil {
				return err
			}
			if hidden.Contains(uint32(h.Profile)) {
				return nil
			}
			return fn(&h)
		})
	})
}

// HasEvent reports whether the event with this id was stored, as far as the
// window of de-duplication reaches back.
func (s *Store) HasEvent(app spoor.AppID, id string) (found bool, err error) {
	err = s.view(func(db *pebble.DB) error {
		secret, err := readSalt(db, app)
		if err != nil {
			return err
		}
		week := weekOf(s.opts.Now().UnixMilli())
		for _, w := range [2]uint32{week, week - 1} {
			if found, err = has(db, eventKey(nil, app, w, secret.hash(hashEventID, id))); found || err != nil {
				break
			}
		}
		return err
	})
	return found, err
}

// Partitions lists the days of an app that hold hits, or held some.
func (s *Store) Partitions(app spoor.AppID) (list []spoor.Partition, err error) {
	err = s.view(func(db *pebble.DB) (err error) {
		of := s.App(app)
		if of == nil {
			return nil
		}
		snapshot := db.NewSnapshot()
		defer func() { err = errors.Join(err, snapshot.Close()) }()
		late, err := scanUncounted(snapshot)
		if err != nil {
			return err
		}
		sealed, err := readSealed(snapshot, app, late)
		if err != nil {
			return err
		}
		days, err := countedDays(snapshot, app, late)
		if err != nil {
			return err
		}
		for _, day := range days {
			d, err := readDayState(snapshot, app, day)
			if err != nil {
				return err
			}
			if err := d.catchUp(snapshot, of, late); err != nil {
				return err
			}
			c := d.account
			bytes, err := db.EstimateDiskUsage(hitDayKey(nil, app, day), after(hitDayKey(nil, app, day)))
			if err != nil {
				return fmt.Errorf("cannot estimate the size of a partition: %w", err)
			}
			if bytes == 0 { // not flushed yet: as it stands in the log
				bytes = uint64(c.bytes)
			}
			list = append(list, spoor.Partition{
				App: app, Day: day, Hits: c.stored - c.swept - c.erased,
				Profiles: int64(d.seen[activityActive].GetCardinality()), Bytes: int64(bytes), Sealed: day <= sealed,
			})
		}
		return nil
	})
	return list, err
}

// countedDays lists the days of an app that were ever counted, in order.
func countedDays(db pebble.Reader, app spoor.AppID, late []uncounted) (days []spoor.Day, err error) {
	prefix := writerDayKey(nil, app, 0)
	err = scan(db, prefix[:len(prefix)-4], func(key, _ []byte) error {
		days = append(days, readDay(key[len(key)-4:]))
		return nil
	})
	for _, u := range late {
		for _, at := range u.hits {
			if at.app == app && (len(days) == 0 || days[len(days)-1] != at.day) {
				days = append(days, at.day)
			}
		}
	}
	slices.Sort(days)
	return slices.Compact(days), err
}

// readCounter reads an app's counters, also where groups have put them off.
func readCounter(db pebble.Reader, app spoor.AppID, late []uncounted) (c counter, err error) {
	counted := uint64(0)
	err = get(db, writerAppKey(nil, app), func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
			if tag == writerCounted {
				counted = num
			}
			c.field(tag, num)
			return nil
		})
	})
	for _, u := range late {
		if newer, ok := u.apps[app]; ok && u.group > counted {
			c = newer
		}
	}
	return c, err
}

// readSealed reads sealed-through.
func readSealed(db pebble.Reader, app spoor.AppID, late []uncounted) (spoor.Day, error) {
	c, err := readCounter(db, app, late)
	return c.sealed, err
}

// Seal moves sealed-through of every app to where the clock says it stands, for
// apps to which nothing comes any more. Ingest does it on its own.
func (s *Store) Seal() error {
	now := s.opts.Now()
	return s.change(func(g *group) error { return g.w.seal(g, now) })
}

// Stats are figures of a running store, for metrics.
type Stats struct {
	Hits, Duplicates, Refused int64   // since the start
	DroppedAttributes         int64   // that did not fit their type or were too many
	Groups                    int64   // batches written
	FsyncSeconds              float64 // how long the last group waited for its sync
	QueueBytes                int64
	QueueRequests             int
	DiskFreeBytes             int64 // 0 if the file system cannot tell
	DiskBytes                 int64 // taken by Pebble's files
	WrittenBytes              int64 // since the store was opened: to logs and by flushes, compactions and ingests
	FlushedBytes              int64 // of tables, since then: what left memory
	CompactedBytes            int64 // of tables, since then: written again, so that reads look into few
	LostHits, LostGroups      int64 // missing at the last open although acknowledged
	Corruptions, WriteStalls  int64
	FiltersReady              bool
	TailDropped               int64 // hits not shown to slow watchers
}

// Stats reads the figures.
func (s *Store) Stats() Stats {
	bytes, waiting := s.queue.fill()
	st := Stats{
		Hits: s.stats.hits.Load(), Duplicates: s.stats.duplicates.Load(), Refused: s.stats.refused.Load(),
		DroppedAttributes: s.dropped.Load(), Groups: s.stats.groups.Load(), FsyncSeconds: float64(s.stats.fsyncNanos.Load()) / 1e9,
		QueueBytes: bytes, QueueRequests: waiting, DiskFreeBytes: s.space.free.Load(),
		LostHits: int64(s.lost.hits), LostGroups: int64(s.lost.groups),
		Corruptions: s.stats.corruptions.Load(), WriteStalls: s.stats.stalls.Load(),
		FiltersReady: s.filtersReady.Load(), TailDropped: s.tails.dropped.Load(),
	}
	// Without a database there is nothing to add.
	_ = s.view(func(db *pebble.DB) error {
		m := db.Metrics()
		st.DiskBytes = int64(m.DiskSpaceUsage())
		total := m.Total() // its flushes include logs and ingests
		st.WrittenBytes = int64(total.TableBytesFlushed + total.TableBytesCompacted)
		for _, level := range m.Levels {
			st.FlushedBytes += int64(level.TableBytesFlushed)
			st.CompactedBytes += int64(level.TableBytesCompacted)
		}
		return nil
	})
	return st
}
