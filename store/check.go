package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
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
// every audit log is the chain that was written.
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
	for _, step := range []func() error{c.profiles, c.sets, c.collections, c.hits, c.totals, c.idents, c.eventIDs} {
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
// themselves, and looks for what belongs to none.
func (c *checker) collections() error {
	known := map[collectionRef]bool{}
	for kind := spoor.CollectionTag; kind <= spoor.CollectionSegment; kind++ {
		highest := uint32(0)
		newest, err := scanCollections(c.db, c.app.ID, kind, func(x *spoor.Collection) {
			known[collectionRef{kind, x.ID}] = true
			highest = max(highest, x.ID)
		})
		if err != nil {
			return err
		}
		if highest > newest {
			c.bad("%s %d has an id that was not given out", kind, highest)
		}
	}
	members := map[collectionRef]*roaring.Bitmap{}
	err := scan(c.db, key1(nil, prefixMember, c.app.ID), func(key, _ []byte) error {
		at := collectionRef{spoor.CollectionKind(key[5]), be32(key[6:])}
		if members[at] != nil {
			return nil
		}
		if !known[at] {
			c.bad("%s %d has members but is not in the catalogue", at.kind, at.id)
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

// daySum is what the hits of a day add up to.
type dayCount struct {
	have    *dayState // what is counted, on disk and put off
	account account
	seen    [activityNew + 1]*roaring.Bitmap
	rows    sealedRows
	views   views
}

// hits scans all hits of the app, a day at a time.
func (c *checker) hits() error {
	c.events, c.weeks = map[place]uint32{}, map[hash]uint32{}
	sums := map[spoor.Day]bool{}
	var day spoor.Day
	var sum *dayCount
	finish := func() error {
		if sum == nil {
			return nil
		}
		sums[day] = true
		return c.day(day, sum)
	}
	err := scan(c.db, key1(nil, prefixHit, c.app.ID), func(key, value []byte) error {
		h, err := readHit(key, value)
		if err != nil {
			c.bad("a hit cannot be read: %v", err)
			return nil
		}
		if sum == nil || h.Day != day {
			if err := finish(); err != nil {
				return err
			}
			day = h.Day
			if sum, err = c.newDayCount(day); err != nil {
				return err
			}
		}
		if c.hidden.Contains(uint32(h.Profile)) {
			return nil
		}
		c.report.count(&c.report.Hits)
		return c.hit(sum, &h, key, value)
	})
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	days, err := countedDays(c.db, c.app.ID, c.late)
	if err != nil {
		return err
	}
	for _, d := range days {
		c.report.Days++
		if !sums[d] { // a day with an account and no hits left
			sum, err := c.newDayCount(d)
			if err == nil {
				err = c.day(d, sum)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) newDayCount(day spoor.Day) (*dayCount, error) {
	d, err := readDayState(c.db, c.app.ID, day)
	if err == nil {
		err = d.catchUp(c.db, c.app, c.late)
	}
	if err == nil {
		err = d.load()
	}
	sum := &dayCount{have: d, rows: sealedRows{}}
	for kind := range sum.seen {
		sum.seen[kind] = roaring.New()
	}
	return sum, err
}

func (c *checker) hit(sum *dayCount, h *spoor.Hit, key, value []byte) error {
	at, err := parseHitKey(key)
	if err != nil {
		return err
	}
	if h.ID != "" {
		if c.salt.hash(hashEventID, h.ID) != at.id {
			c.bad("a hit of %s lies under the hash of another id", h.Day)
		}
		week := weekOf(h.Received)
		if other, twice := c.weeks[at.id]; twice && week-other+1 <= 2 { // at most a week apart, either way
			c.bad("an event of %s is stored twice", h.Day)
		}
		c.weeks[at.id], c.events[at] = week, week
	}
	a := &sum.account
	a.stored++
	a.bytes += int64(len(key) + len(value))
	if h.Marks&spoor.MarkLate != 0 {
		a.late++
	}
	if h.Bot {
		a.bots++
		return nil
	}
	one := countsOf(h)
	if counted(h) {
		a.add(h, 1)
		sum.rows.add(c.app, &sum.have.account, sum.have.rows, h, sum.views.before(h), sum.have.addends)
	}
	if h.Profile == 0 {
		return nil
	}
	if k := h.Kind.Counts(); counted(h) {
		for kind, there := range [...]bool{activityActive: k.Active, activityVisitor: k.Visitor, activityNew: h.Tally.New} {
			if there {
				sum.seen[kind].Add(uint32(h.Profile))
			}
		}
	}
	now, err := person(c.db, c.app.ID, h.Profile)
	if err != nil {
		return err
	}
	p := c.people[now]
	if p == nil {
		c.bad("a hit of %s belongs to profile %d, which does not exist", h.Day, h.Profile)
		return nil
	}
	if now == h.Profile {
		p.days[h.Day] = true
	} else if !hasFormer(p.state, h.Profile, h.Day) {
		c.bad("profile %d does not know that its former profile %d has hits on %s", now, h.Profile, h.Day)
	}
	p.views, p.events, p.visits = p.views+one.views, p.events+one.events, p.visits+one.visits
	if h.Kind.Counts().Visitor {
		p.first, p.last = least(p.first, h.Time), max(p.last, h.Time)
	}
	return nil
}

func hasFormer(s *state, n spoor.Number, day spoor.Day) bool {
	for _, f := range s.former {
		if f.number == n {
			for _, d := range f.days {
				if d == day {
					return true
				}
			}
		}
	}
	return false
}

// day compares a day's records with its hits. Once people were removed from a
// day, its statistics outlive them: then only the account must balance.
func (c *checker) day(day spoor.Day, sum *dayCount) error {
	d := sum.have
	have := d.account
	have.counted, have.sealed, have.dropped, have.again, have.bare, have.full, have.properties, have.tallied, have.sum, have.goals = 0, false, 0, 0, false, 0, "", false, daySum{}, ""
	if have.stored != sum.account.stored+have.swept+have.erased {
		c.bad("%s: %d stored, but %d present + %d swept + %d erased", day, have.stored, sum.account.stored, have.swept, have.erased)
	}
	if d.account.bare {
		return c.bare(day, d)
	}
	if d.account.sum != (daySum{}) {
		now, err := sumSealed(c.db, c.app.ID, day)
		if err != nil {
			return err
		}
		if now != d.account.sum {
			c.bad("%s: its statistics are not what they were when the day was sealed", day)
		}
		if err := c.tables(day); err != nil {
			return err
		}
	}
	if have.swept != 0 || have.erased != 0 && d.account.sealed {
		return nil
	}
	have.stored, have.erased = have.stored-have.erased, 0 // taken back exactly
	if !d.account.tallied {                               // written before there were such counts
		have.engaged, have.timed, have.visitMS, have.pageMS = sum.account.engaged, sum.account.timed, sum.account.visitMS, sum.account.pageMS
	}
	if have != sum.account {
		c.bad("%s: account %+v, hits give %+v", day, have, sum.account)
	}
	for kind, seen := range sum.seen {
		if have := d.seen[kind]; !have.Equals(seen) {
			c.bad("%s: activity %d counts %d profiles, hits give %d", day, kind, d.seen[kind].GetCardinality(), seen.GetCardinality())
		}
	}
	return c.rows(day, d, sum)
}

// rows compares a day's roll-ups with its hits.
func (c *checker) rows(day spoor.Day, d *dayState, sum *dayCount) error {
	waits := map[string]*row{}
	for k, r := range d.rows {
		if r.dirty {
			waits[string(countKey(nil, c.app.ID, day, k.dim, rowHash(&c.salt, k)))] = r
			r.add.text = k.text
			r.gather()
			r.add.who.add = r.many
		}
	}
	if d.account.sealed {
		foldRare(sum.rows, d.account.full, declaredGoals(d.account.goals))
	}
	wants := map[string]*counts{}
	for k, r := range sum.rows {
		r.text = k.text
		wants[string(countKey(nil, c.app.ID, day, k.dim, rowHash(&c.salt, k)))] = r
	}
	compare := func(key string, have *counts) {
		if !d.account.tallied && countDimension([]byte(key)).OfWayIn() { // counted for every hit then
			return
		}
		want := wants[key]
		if want == nil {
			want = new(counts)
		}
		if have.measured.stale {
			have.measured.least, have.measured.greatest, have.measured.stale = want.measured.least, want.measured.greatest, false
			have.measured.bounded = want.measured.bounded
		}
		if !d.account.tallied {
			have = &counts{text: have.text, hits: have.hits, views: have.views, events: have.events, visits: have.visits, unknown: have.unknown}
			want = &counts{text: want.text, hits: want.hits, views: want.views, events: want.events, visits: want.visits}
		}
		if !have.equal(want) {
			c.bad("%s: a roll-up of dimension %s counts %s; hits give %s", day, countDimension([]byte(key)), have, want)
		}
		if len(have.unknown) > 0 {
			c.bad("%s: a roll-up of dimension %s holds %d parts of an unknown format", day, countDimension([]byte(key)), len(have.unknown))
		}
		delete(wants, key)
	}
	err := scan(c.db, countDayKey(nil, c.app.ID, day), func(key, value []byte) error {
		have, err := readCounts(value)
		if err != nil {
			return err
		}
		if more := waits[string(key)]; more != nil {
			have.fold(&more.add)
			delete(waits, string(key))
		}
		compare(string(key), have)
		return nil
	})
	for key, r := range waits {
		compare(key, &r.add)
	}
	if len(wants) > 0 {
		c.bad("%s: %d roll-up rows are missing", day, len(wants))
	}
	return err
}

// tables compares the tables of a sealed day with its rows.
func (c *checker) tables(day spoor.Day) error {
	rows := map[rowKey]*counts{}
	err := scan(c.db, countDayKey(nil, c.app.ID, day), func(key, value []byte) error {
		row, err := readCounts(value)
		if err == nil {
			rows[rowKey{countDimension(key), row.text}] = row
		}
		return err
	})
	if err != nil {
		return err
	}
	err = scan(c.db, tableDayKey(nil, c.app.ID, day), func(key, value []byte) error {
		return readTable(value, func(have *dayRow) error {
			k := rowKey{spoor.Dimension(key[len(key)-1]), have.text}
			want := rows[k]
			if want == nil {
				want = new(counts)
			}
			plain := *want
			plain.who = setChange{}
			if !have.counts.equal(&plain) || have.visitors != people(&want.who) {
				c.bad("%s: a table of dimension %s counts %s by %d; its row counts %s", day, k.dim, &have.counts, have.visitors, want)
			}
			delete(rows, k)
			return nil
		})
	})
	if len(rows) > 0 {
		c.bad("%s: %d rows are in no table", day, len(rows))
	}
	return err
}

// bare looks for statistics of a day that has none any more.
func (c *checker) bare(day spoor.Day, d *dayState) error {
	if !d.seen[activityActive].IsEmpty() || !d.seen[activityVisitor].IsEmpty() {
		c.bad("%s: its statistics were dropped, but activity is there", day)
	}
	rows := 0
	err := scan(c.db, countDayKey(nil, c.app.ID, day), func(_, _ []byte) error { rows++; return nil })
	if err == nil {
		err = scan(c.db, tableDayKey(nil, c.app.ID, day), func(_, _ []byte) error { rows++; return nil })
	}
	if rows > 0 {
		c.bad("%s: its statistics were dropped, but %d roll-up rows are there", day, rows)
	}
	return err
}

// lost lists the days that lost hits of persons who stay.
func (c *checker) lost() (map[spoor.Day]bool, error) {
	days := map[spoor.Day]bool{}
	err := scan(c.db, writerDaysKey(nil, c.app.ID), func(key, value []byte) error {
		account, err := readAccount(value)
		if account.dropped != 0 {
			days[readDay(key[6:])] = true
		}
		return err
	})
	return days, err
}

// totals compares the counters of profiles with their hits, where none of those
// was dropped for its age.
func (c *checker) totals() error {
	lost, err := c.lost()
	if err != nil {
		return err
	}
	for n, p := range c.people {
		s := p.state
		if slices.ContainsFunc(s.parts(n), func(f former) bool {
			return slices.ContainsFunc(f.days, func(d spoor.Day) bool { return lost[d] })
		}) {
			continue
		}
		if s.views != p.views || s.events != p.events || s.visits != p.visits {
			c.bad("profile %d counts %d views, %d events, %d visits; its hits give %d, %d, %d", n, s.views, s.events, s.visits, p.views, p.events, p.visits)
		}
		if s.firstSeen != p.first || s.lastSeen != p.last {
			c.bad("profile %d was seen from %d to %d; its hits give %d to %d", n, s.firstSeen, s.lastSeen, p.first, p.last)
		}
		if len(s.days) != len(p.days) {
			c.bad("profile %d lists %d days, its hits lie on %d", n, len(s.days), len(p.days))
		}
	}
	return nil
}

// idents makes the list of identifier keys that the profiles call for, and
// compares it with those that exist.
func (c *checker) idents() error {
	want := map[string]spoor.Number{}
	unique := func(kind spoor.Lookup, text string, n spoor.Number) {
		if text != "" {
			want[string(identKey(nil, c.app.ID, kind, c.salt.ident(kind, text)))] = n
		}
	}
	several := func(kind spoor.Lookup, text string, n spoor.Number) {
		if compared(kind, text) != "" {
			want[string(sharedIdentKey(nil, c.app.ID, kind, c.salt.ident(kind, text), n))] = n
		}
	}
	for n, p := range c.people {
		unique(spoor.LookupUserID, p.state.text(spoor.AttrUserID), n)
		for _, k := range p.state.members(spoor.LookupKey) {
			unique(spoor.LookupKey, k, n)
		}
		if p.state.public != 0 {
			unique(spoor.LookupPublic, fmt.Sprint(p.state.public), n)
		}
		several(spoor.LookupEmail, p.state.text(spoor.AttrEmail), n)
		several(spoor.LookupPhone, p.state.text(spoor.AttrPhone), n)
		for _, m := range p.state.members(spoor.LookupMobile) {
			several(spoor.LookupMobile, m, n)
		}
	}
	err := scan(c.db, key1(nil, prefixIdent, c.app.ID), func(key, value []byte) error {
		kind := spoor.Lookup(key[5])
		n, err := parseNumber(value)
		if shared(kind) {
			n = spoor.Number(be32(key[len(key)-4:]))
		}
		if err != nil {
			return err
		}
		if expect, ok := want[string(key)]; !ok && kind == spoor.LookupPublic && c.aliased.Contains(uint32(n)) {
			return nil // an imported id goes on leading to a profile that was merged
		} else if !ok {
			c.bad("an identifier of kind %d leads to profile %d, which does not have it", kind, n)
		} else if expect != n {
			c.bad("an identifier of kind %d leads to profile %d and belongs to %d", kind, n, expect)
		}
		delete(want, string(key))
		return nil
	})
	for key, n := range want {
		c.bad("profile %d has an identifier of kind %d that does not lead to it", n, key[5])
	}
	return err
}

// eventIDs checks that ids and hits point at each other.
func (c *checker) eventIDs() error {
	oldest := ^uint32(0)
	err := scan(c.db, key1(nil, prefixEvent, c.app.ID), func(key, value []byte) error {
		oldest = min(oldest, be32(key[5:]))
		at := place{app: c.app.ID, id: hash(key[9:])}
		err := fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
			switch tag {
			case placeDay:
				at.day = spoor.Day(zigzag(num))
			case placeProfile:
				at.profile = spoor.Number(num)
			case placeTime:
				at.time = zigzag(num)
			}
			return nil
		})
		if err != nil {
			return err
		}
		k := hitKey(nil, at.app, at.day, at.profile, at.time, at.id)
		found := false
		err = get(c.db, k, func(value []byte) error {
			h, err := readHit(k, value)
			found = err == nil && weekOf(h.Received) == be32(key[5:])
			return err
		})
		if !found && at.profile != 0 { // it is known as seen for a while after its profile was removed
			now, err := person(c.db, c.app.ID, at.profile)
			if err != nil {
				return err
			}
			found = c.people[now] == nil
		}
		if !found && at.day <= c.sealed { // or after the hit was dropped for its age
			err := get(c.db, writerDayKey(nil, c.app.ID, at.day), func(value []byte) error {
				account, err := readAccount(value)
				found = account.dropped != 0
				return err
			})
			if err != nil {
				return err
			}
		}
		if !found {
			c.bad("an event id leads to a hit of %s that is not there", at.day)
		}
		delete(c.events, at)
		return err
	})
	if err != nil {
		return err
	}
	for at, week := range c.events {
		if week >= oldest {
			c.bad("a hit of %s has an id that is not known as seen", at.day)
		}
	}
	return nil
}
