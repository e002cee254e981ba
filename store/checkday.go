package store

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

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
		sum.rows.add(c.app, &sum.have.account, &sum.have.rows, h, sum.views.before(h), sum.have.addends)
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
	for _, k := range d.dirty {
		if r := d.rows.of(k); r != nil && r.dirty {
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
