package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
)

// countedDay is a day of the app with what is known of it.
type countedDay struct {
	day     spoor.Day
	account account
	late    *roaring.Bitmap // numbers with hits that are in no roll-up yet
}

// countedDays reads the days that a condition is about.
func (s *selection) countedDays(f *spoor.Filter) ([]countedDay, error) {
	if s.days == nil {
		if err := s.readDays(); err != nil {
			return nil, err
		}
	}
	days := s.days
	if f.Days > 0 {
		first := s.today - spoor.Day(f.Days) + 1
		i := sort.Search(len(days), func(i int) bool { return days[i].day >= first })
		days = days[i:]
	}
	return days, nil
}

func (s *selection) readDays() error {
	late, err := scanUncounted(s.db)
	if err != nil {
		return err
	}
	all, err := countedDays(s.db, s.app.ID, late)
	if err != nil {
		return err
	}
	s.days = make([]countedDay, len(all))
	at := map[spoor.Day]*countedDay{}
	for i, day := range all {
		s.days[i] = countedDay{day: day, late: roaring.New()}
		at[day] = &s.days[i]
	}
	err = scan(s.db, writerDaysKey(nil, s.app.ID), func(key, value []byte) (err error) {
		at[readDay(key[6:])].account, err = readAccount(value)
		return err
	})
	for _, u := range late {
		for _, hit := range u.hits {
			if hit.app == s.app.ID && u.group > at[hit.day].account.counted {
				at[hit.day].late.Add(uint32(hit.profile))
			}
		}
	}
	return err
}

// formerNumbers is who became whom, by former number.
type formerNumbers struct{ numbers, persons []uint32 }

func (f *formerNumbers) add(number, person uint32) {
	f.numbers, f.persons = append(f.numbers, number), append(f.persons, person)
}

// personOf is the number under which a former one lives; 0 if it is gone.
func (f *formerNumbers) personOf(n uint32) uint32 {
	if i, found := slices.BinarySearch(f.numbers, n); found {
		return f.persons[i]
	}
	return 0
}

// formers reads who became whom, of all or of those who are asked about.
func (s *selection) formers() (*formerNumbers, error) {
	if s.former != nil {
		return s.former, nil
	}
	f := new(formerNumbers)
	var err error
	if s.some == nil {
		err = scan(s.db, key1(nil, prefixNumber, s.app.ID), func(key, value []byte) error {
			n, err := parseNumber(value)
			f.add(be32(key[5:]), uint32(n))
			return err
		})
	} else {
		err = s.formersOf(f)
	}
	s.former = f
	return f, err
}

// formersOf reads the former numbers of those who are asked about.
func (s *selection) formersOf(f *formerNumbers) error {
	became := map[uint32]uint32{}
	for it := s.all.Iterator(); it.HasNext(); {
		n := it.Next()
		parts, err := s.partsOf(n)
		if err != nil {
			return err
		}
		for _, was := range parts[1:] {
			became[uint32(was.number)] = n
		}
	}
	for _, n := range slices.Sorted(maps.Keys(became)) {
		f.add(n, became[n])
	}
	return nil
}

// partsOf is the numbers of a person, the present one first, with the days of
// their hits.
func (s *selection) partsOf(n uint32) ([]former, error) {
	parts, ok := s.parts[n]
	if ok {
		return parts, nil
	}
	st, err := readProfile(s.db, s.app.ID, spoor.Number(n))
	parts = st.parts(spoor.Number(n))
	s.parts[n] = parts
	return parts, err
}

// persons turns numbers of hits into those of the persons, as far as they can be
// found.
func (s *selection) persons(numbers *roaring.Bitmap) (*roaring.Bitmap, error) {
	in := roaring.And(numbers, s.all)
	former := roaring.And(numbers, s.aliased)
	if former.IsEmpty() {
		return in, nil
	}
	f, err := s.formers()
	if err != nil {
		return nil, err
	}
	for it := former.Iterator(); it.HasNext(); {
		if n := f.personOf(it.Next()); n != 0 && s.all.Contains(n) {
			in.Add(n)
		}
	}
	return in, nil
}

// numbersOf adds the former numbers of some persons.
func (s *selection) numbersOf(persons *roaring.Bitmap) (*roaring.Bitmap, error) {
	f, err := s.formers()
	if err != nil {
		return nil, err
	}
	numbers := persons.Clone()
	for i, n := range f.persons {
		if persons.Contains(n) {
			numbers.Add(f.numbers[i])
		}
	}
	return numbers, nil
}

// hitPlan says on which days whose hits may fulfil a condition.
type hitPlan struct{ days []plannedDay }

// plannedDay: sure numbers have such a hit on the day, others may have some.
type plannedDay struct {
	day         spoor.Day
	sure, maybe *roaring.Bitmap
	once        bool // each of the sure has exactly one
	rows        int
	everybody   bool // there are no statistics of the day any more
}

// ladderMax is up to how many days are counted in bitmaps.
const ladderMax = 8

// narrow gives a condition its bounds by the roll-ups: who has such hits on as
// many days as hits are wanted surely fulfils it.
func (s *selection) narrow(n *node) error {
	plan, err := s.planByDays(n)
	if err != nil {
		return err
	}
	n.plan = plan
	ladder := make([]*roaring.Bitmap, min(n.need, ladderMax))
	for i := range ladder {
		ladder[i] = roaring.New()
	}
	may := roaring.New()
	for _, d := range plan.days {
		sure, err := s.persons(d.sure)
		if err != nil {
			return err
		}
		maybe := s.all
		if !d.everybody {
			if maybe, err = s.persons(d.maybe); err != nil {
				return err
			}
		}
		for i := len(ladder) - 1; i > 0; i-- {
			ladder[i].Or(roaring.And(ladder[i-1], sure))
		}
		ladder[0].Or(sure)
		if may.Or(maybe); !d.once || n.need > len(ladder) {
			may.Or(sure)
		}
	}
	may.Or(ladder[len(ladder)-1])
	if n.hi = may; len(ladder) == n.need {
		n.lo = ladder[len(ladder)-1]
	}
	return nil
}

// planByDays reads the roll-ups of the days of a condition.
func (s *selection) planByDays(n *node) (*hitPlan, error) {
	days, err := s.countedDays(n.filter)
	if err != nil {
		return nil, err
	}
	plan := &hitPlan{days: make([]plannedDay, len(days))}
	for i := range days {
		if plan.days[i], err = s.planDay(n, &days[i]); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

var hitDimensions = map[spoor.FilterOp]spoor.Dimension{spoor.FilterEvent: spoor.DimEvent, spoor.FilterPath: spoor.DimPath, spoor.FilterScreen: spoor.DimScreen}

func (s *selection) planDay(n *node, d *countedDay) (p plannedDay, err error) {
	p = plannedDay{day: d.day, sure: roaring.New(), maybe: d.late.Clone(), everybody: d.account.bare}
	if d.account.bare {
		return p, nil
	}
	if n.op == spoor.FilterActive {
		p.sure, err = s.activeOn(d.day)
		return p, err
	}
	dim, text := hitDimensions[n.op], n.filter.Name
	if begin, ok := strings.CutSuffix(text, "*"); ok {
		prefix := append(countDayKey(nil, s.app.ID, d.day), byte(dim))
		folded := d.account.foldedInto(dim, begin)
		return p, scan(s.db, prefix, func(_, value []byte) error {
			text, err := readCountText(value)
			mine, cut := strings.HasPrefix(text, begin), len(text) >= rowTextMax-utf8.UTFMax && strings.HasPrefix(begin, text)
			if err != nil || !mine && !cut && !slices.Contains(folded, text) {
				return err
			}
			row, err := readCounts(value)
			if err != nil {
				return err
			}
			return s.planRow(&p, n, d, row, mine)
		})
	}
	row, err := readRow(s.db, s.app.ID, &s.salt, d.day, dim, cutText(text))
	if err != nil {
		return p, err
	}
	// A text that was cut shares its row with others.
	if err := s.planRow(&p, n, d, row, len(text) < rowTextMax-utf8.UTFMax); err != nil || row.hits != 0 {
		return p, err // all of a text's hits of a day are in one row
	}
	for _, text := range d.account.foldedInto(dim, text) {
		if row, err = readRow(s.db, s.app.ID, &s.salt, d.day, dim, text); err != nil {
			return p, err
		}
		if err := s.planRow(&p, n, d, row, false); err != nil {
			return p, err
		}
	}
	return p, nil
}

// planRow takes a roll-up row into a day's plan. Mine says that all its hits have
// the text that is asked for.
func (s *selection) planRow(p *plannedDay, n *node, d *countedDay, row *counts, mine bool) error {
	if row.hits == 0 {
		return nil
	}
	p.rows++
	if !d.account.tallied { // it was begun when rows named nobody
		active, err := s.activeOn(d.day)
		if err != nil {
			return err
		}
		p.maybe.Or(active)
	}
	switch {
	case row.who.add == nil:
	case !mine, row.text == spoor.OtherText, n.filter.Property != "", d.account.dropped != 0:
		p.maybe.Or(row.who.add)
	default:
		p.sure.Or(row.who.add)
		p.once = p.rows == 1 && row.hits == people(&row.who) && !row.who.add.Intersects(s.aliased)
	}
	return nil
}

// activeOn reads who was active on a day, once.
func (s *selection) activeOn(day spoor.Day) (in *roaring.Bitmap, err error) {
	if in = s.active[day]; in == nil {
		in, err = readActivity(s.db, s.app.ID, day, activityActive)
		s.active[day] = in
	}
	return in, err
}

// planByPeople reads the days of some persons from their profiles.
func (s *selection) planByPeople(n *node, persons *roaring.Bitmap) (*hitPlan, *roaring.Bitmap, error) {
	first := spoor.Day(math.MinInt32)
	if n.filter.Days > 0 {
		first = s.today - spoor.Day(n.filter.Days) + 1
	}
	at, numbers := map[spoor.Day]*roaring.Bitmap{}, roaring.New()
	for it := persons.Iterator(); it.HasNext(); {
		parts, err := s.partsOf(it.Next())
		if err != nil {
			return nil, nil, err
		}
		for _, part := range parts {
			numbers.Add(uint32(part.number))
			for _, day := range part.days {
				if day < first {
					continue
				}
				if at[day] == nil {
					at[day] = roaring.New()
				}
				at[day].Add(uint32(part.number))
			}
		}
	}
	plan := new(hitPlan)
	for day, maybe := range at {
		plan.days = append(plan.days, plannedDay{day: day, sure: roaring.New(), maybe: maybe})
	}
	return plan, numbers, nil
}

// narrowByPeople is narrow for a condition on the activity of some persons: it
// reads the sets of the days on which they came, for their hits may be gone.
func (s *selection) narrowByPeople(n *node) error {
	plan, _, err := s.planByPeople(n, s.all)
	if err != nil {
		return err
	}
	lo := roaring.New()
	for _, d := range plan.days {
		active, err := s.activeOn(d.day)
		if err != nil {
			return err
		}
		in, err := s.persons(roaring.And(active, d.maybe))
		if err != nil {
			return err
		}
		lo.Or(in)
	}
	n.plan, n.lo = plan, lo
	return nil
}

// readHits counts the hits of some persons, and returns who has as many as the
// condition wants.
func (s *selection) readHits(n *node, persons *roaring.Bitmap) (*roaring.Bitmap, error) {
	plan, numbers := n.plan, (*roaring.Bitmap)(nil)
	var err error
	switch {
	case plan == nil && (s.some != nil || persons.GetCardinality() <= s.few):
		plan, numbers, err = s.planByPeople(n, persons)
	case plan == nil:
		plan, err = s.planByDays(n)
	}
	if err == nil && numbers == nil {
		numbers, err = s.numbersOf(persons)
	}
	if err != nil {
		return nil, err
	}
	former, err := s.formers()
	if err != nil {
		return nil, err
	}
	c := &hitCounter{n: n, counts: map[uint32]int{}, in: roaring.New()}
	var next atomic.Int64
	err = parallel(func() error {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(plan.days) {
				return nil
			}
			d := &plan.days[i]
			some := numbers
			if !d.everybody {
				some = roaring.And(numbers, roaring.Or(d.sure, d.maybe))
			}
			if some.IsEmpty() {
				continue
			}
			if err := c.day(s.db, s.app.ID, d.day, some, former); err != nil {
				return err
			}
		}
	})
	c.in.And(persons)
	return c.in, err
}

// hitCounter counts the hits of persons over days, until there are enough.
type hitCounter struct {
	n      *node
	mu     sync.Mutex
	counts map[uint32]int
	in     *roaring.Bitmap
}

func (c *hitCounter) enough(person uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.Contains(person)
}

func (c *hitCounter) add(person uint32, hits int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hits += c.counts[person]; hits >= c.n.need {
		c.in.Add(person)
		delete(c.counts, person)
		return
	}
	c.counts[person] = hits
}

func (c *hitCounter) day(db pebble.Reader, app spoor.AppID, day spoor.Day, numbers *roaring.Bitmap, former *formerNumbers) (err error) {
	prefix := hitDayKey(nil, app, day)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("cannot read the store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	want := slices.Clone(prefix)
	for who := numbers.Iterator(); who.HasNext(); {
		number := who.Next()
		person := number
		if p := former.personOf(number); p != 0 {
			person = p
		}
		if c.enough(person) {
			continue
		}
		want = binary.BigEndian.AppendUint32(want[:len(prefix)], number)
		hits := 0
		for ok := it.SeekGE(want); ok && string(it.Key()[:len(want)]) == string(want) && hits < c.n.need; ok = it.Next() {
			value, err := it.ValueAndErr()
			if err != nil {
				return fmt.Errorf("cannot read the store: %w", err)
			}
			fits, err := c.n.fits(value)
			if err != nil {
				return err
			}
			if fits {
				hits++
			}
		}
		if hits > 0 {
			c.add(person, hits)
		}
	}
	return it.Error()
}

// fits reports whether a stored hit is one that the condition asks for. It
// decodes no more of it than that takes: most hits are of another kind or text.
func (n *node) fits(value []byte) (bool, error) {
	if len(value) < headerBytes || value[0] != valueVersion || value[1] != valuePlain {
		return false, errValue
	}
	var properties []byte
	right, named := false, n.op == spoor.FilterActive
	for at := headerBytes; at < len(value); {
		f, ok := fieldAt(value, at)
		if at = f.to; !ok {
			return false, errValue
		}
		switch f.tag {
		case hitKind:
			if right = n.ofKind(spoor.Kind(f.num)); !right {
				return false, nil
			}
		case hitName:
			if n.op == spoor.FilterEvent || n.op == spoor.FilterScreen {
				if named = n.named(string(value[f.from:f.to])); !named {
					return false, nil
				}
			}
		case hitURL:
			if n.op == spoor.FilterPath {
				path, _ := pathAndHost(string(value[f.from:f.to]))
				if named = n.named(path); !named {
					return false, nil
				}
			}
		case hitProperties:
			properties = value[f.from:f.to]
		case hitBot:
			if f.num != 0 {
				return false, nil
			}
		case hitMarks:
			if spoor.Marks(f.num)&spoor.MarkUncounted != 0 {
				return false, nil
			}
		}
	}
	return right && named && (n.filter.Property == "" || hasProperty(properties, n.filter)), nil
}

func (n *node) ofKind(kind spoor.Kind) bool {
	switch n.op {
	case spoor.FilterActive:
		return kind.Counts().Active
	case spoor.FilterEvent:
		return kind.Counts().Event
	case spoor.FilterScreen:
		return kind == spoor.KindScreen
	case spoor.FilterPath:
		return kind == spoor.KindPage
	}
	return false
}

// named compares a text of a hit with that of the condition.
func (n *node) named(text string) bool {
	if begin, ok := strings.CutSuffix(n.filter.Name, "*"); ok {
		return text != "" && strings.HasPrefix(text, begin)
	}
	return text == n.filter.Name
}

// hasProperty looks for a member of a hit's properties with the value that the
// condition names. Numbers are equal by value.
func hasProperty(properties []byte, f *spoor.Filter) bool {
	if len(properties) == 0 {
		return false
	}
	dec := jsontext.NewDecoder(strings.NewReader(string(properties)), jsontext.AllowDuplicateNames(true))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return false
	}
	for dec.PeekKind() == '"' {
		key, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if key.String() != f.Property {
			if dec.SkipValue() != nil {
				return false
			}
			continue
		}
		value, err := dec.ReadValue()
		if err != nil {
			return false
		}
		switch value.Kind() {
		case '"':
			text, err := jsontext.AppendUnquote(nil, value)
			return err == nil && string(text) == f.Value.Text
		case '0':
			return sameNumber(string(value), f.Value.Text)
		}
		return string(value) == f.Value.Text
	}
	return false
}
