package store

import (
	"math"
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

// peopleOf says which people of a day are meant: who was active in some way, or
// brought some row.
type peopleOf struct {
	kind uint16
	text string
	read func(*oneDay) (*roaring.Bitmap, error) // by number; nil: nobody
}

// Kinds of people by row, to which the dimension is added; kinds of activity are
// below.
const (
	broughtRow           = (iota + 1) << 8 // or brought one with that beginning
	broughtBeginning                       //
	visitedWithRow                         // those of them who visited on that day
	visitedWithBeginning                   //
)

func active(kind int) peopleOf {
	return peopleOf{uint16(kind), "", func(d *oneDay) (*roaring.Bitmap, error) { return d.activity(kind) }}
}

var visited = active(activityVisitor)

// broughtText is who brought the row of a text, on any day.
func broughtText(dim spoor.Dimension, text string) peopleOf {
	return peopleOf{uint16(broughtRow) + uint16(dim), text, func(d *oneDay) (*roaring.Bitmap, error) { return d.whoOf(dim, text) }}
}

// brought is who brought a row that a condition asks for, on any day.
func brought(c condition) peopleOf {
	if !c.prefix {
		return broughtText(c.dim, c.row())
	}
	return peopleOf{uint16(broughtBeginning) + uint16(c.dim), c.row(), func(d *oneDay) (*roaring.Bitmap, error) { return d.brought(c) }}
}

// visitedWith is who brought such a row on a day of a visit.
func visitedWith(c condition) peopleOf {
	kind := visitedWithRow
	if c.prefix {
		kind = visitedWithBeginning
	}
	return peopleOf{uint16(kind) + uint16(c.dim), c.row(), func(d *oneDay) (*roaring.Bitmap, error) {
		who, err := d.brought(c)
		if err != nil || who == nil {
			return nil, err
		}
		visitors, err := d.activity(activityVisitor)
		return roaring.And(who, visitors), err
	}}
}

// brought is the profiles that brought a row of the day that a condition asks
// for; nil if nobody did. The set must not be changed.
func (d *oneDay) brought(c condition) (*roaring.Bitmap, error) {
	if !c.prefix {
		return d.whoOf(c.dim, c.row())
	}
	var who sets
	err := d.matching(c, true, func(row *counts) { who = who.with(row.who.add) })
	return who.union(), err
}

// stillDays names days of which something can be remembered together: sealed ones,
// or open ones of which all is counted. newest is the last group that wrote the
// account of one of the open; whatever changes one of them is by a later group.
type stillDays struct {
	app         spoor.AppID
	first, last spoor.Day
	days        int
	newest      uint64
}

// parts of days, each in order.
const (
	partSealed = iota // nothing of what they counted can change any more
	partQuiet         // open, and their accounts tell when it changes
	partBusy          // open, with hits that are not counted yet
	parts
)

// partsOf leaves out days of which nothing is left but the account.
func partsOf(days []*oneDay) (all [parts][]*oneDay) {
	for _, d := range days {
		part := partQuiet
		switch {
		case d.late != nil:
			part = partBusy
		case d.account.bare:
			continue
		case d.account.sealed:
			part = partSealed
		}
		all[part] = append(all[part], d)
	}
	return all
}

// nameOf names the days of a part; false: they are busy, or none.
func nameOf(days []*oneDay) (name stillDays, ok bool) {
	if len(days) == 0 {
		return name, false
	}
	name = stillDays{app: days[0].app.ID, first: days[0].day, last: days[len(days)-1].day, days: len(days)}
	for _, d := range days {
		if d.late != nil {
			return name, false
		}
		if !d.account.sealed {
			name.newest = max(name.newest, d.account.counted)
		}
	}
	return name, true
}

// peopleKey names the people of some days.
type peopleKey struct {
	stillDays
	kind uint16
	text string
}

// keptPeople are remembered as persons, under the numbers that these had at a
// version of an era. So former numbers need not be looked up each time, and what
// was merged since is soon made up for.
type keptPeople struct {
	who     *roaring.Bitmap
	era     *era
	version int
}

// peopleShare is how many hundredths of the memory remembered people may take.
// All that bench -large asks about 90 days of a million profiles, of whom 33,000
// come each day, takes 41 MiB.
const peopleShare = 12

func peopleSize(k peopleKey, p keptPeople) uint64 {
	return p.who.GetSizeInBytes() + uint64(len(k.text)) + 300
}

// remembered is the people of some days as they are now, if they are
// remembered.
func (r *reading) remembered(k peopleKey) (*roaring.Bitmap, bool) {
	p, ok := r.s.people.get(k)
	if !ok || p.era != r.persons.era {
		return nil, false
	}
	who, ok := r.persons.follow(p.who, p.version)
	if ok && p.version != r.persons.version() {
		r.s.people.add(k, keptPeople{who, p.era, r.persons.version()})
	}
	return who, ok
}

// people is the persons who are meant on any of the days. The set must not be
// changed.
func (r *reading) people(days []*oneDay, of peopleOf) (*roaring.Bitmap, error) {
	var all sets
	for _, part := range partsOf(days) {
		who, err := r.peopleOfPart(part, of)
		if err != nil {
			return nil, err
		}
		if !who.IsEmpty() {
			all = all.with(who)
		}
	}
	return all.union(), nil
}

// peopleOfPart is those of days of one part, as one if they can be remembered.
func (r *reading) peopleOfPart(days []*oneDay, of peopleOf) (*roaring.Bitmap, error) {
	if len(days) == 0 {
		return nobody, nil
	}
	name, keep := nameOf(days)
	// Who became known is told by no hit of the day, and not by its account.
	keep = keep && (of.kind != activityKnown || name.newest == 0)
	k := peopleKey{name, of.kind, of.text}
	if keep {
		if who, ok := r.remembered(k); ok {
			return who, nil
		}
	}
	var all sets
	for _, d := range days {
		b, ok := (*roaring.Bitmap)(nil), false
		if keep && len(days) > 1 {
			name, _ := nameOf([]*oneDay{d})
			b, ok = r.remembered(peopleKey{name, of.kind, of.text}) // a person stands for herself
		}
		if !ok {
			var err error
			if b, err = of.read(d); err != nil {
				return nil, err
			}
		}
		all = all.with(b)
	}
	who := r.persons.of(all.union())
	if keep {
		r.s.people.add(k, keptPeople{who, r.persons.era, r.persons.version()})
	}
	return who, nil
}

// firsts lists for each day the persons of whom no number came on an earlier day,
// also before the range, into a set of activity.
func (r *reading) firsts(kind int, days []*oneDay, from spoor.Day) (all []*roaring.Bitmap, err error) {
	before, err := r.days(math.MinInt32, from-1)
	if err != nil {
		return nil, err
	}
	earlier, err := r.people(before, active(kind))
	if err != nil {
		return nil, err
	}
	came := earlier.Clone()
	for i := range days {
		b, err := r.people(days[i:i+1], active(kind))
		if err != nil {
			return nil, err
		}
		fresh := roaring.AndNot(b, came)
		came.Or(fresh)
		all = append(all, fresh)
	}
	return all, nil
}

// daysOf is the days that lie in a bucket.
func (l *axis) daysOf(days []*oneDay, b *bucket) []*oneDay {
	from, _ := slices.BinarySearchFunc(days, b.day, func(d *oneDay, day spoor.Day) int { return int(d.day) - int(day) })
	to := from
	for to < len(days) && l.interval.Start(days[to].day) == b.day {
		to++
	}
	return days[from:to]
}

// seriesOfPeople answers for the metrics that count them.
func (r *reading) seriesOfPeople(q *spoor.SeriesQuery, days []*oneDay, points *axis, out *spoor.Series) error {
	who, err := r.peopleOfPoints(q, days, points)
	if err != nil {
		return err
	}
	value, err := r.countOfPeople(q, days, points, who)
	if err != nil {
		return err
	}
	for _, b := range points.buckets {
		out.Points = append(out.Points, b.point(value(b), true))
	}
	out.Total = points.total.point(value(&points.total), true)
	return nil
}

// peopleOfPoints is the visitors of each point of a series and of its whole.
func (r *reading) peopleOfPoints(q *spoor.SeriesQuery, days []*oneDay, points *axis) (map[*bucket]*roaring.Bitmap, error) {
	who := map[*bucket]*roaring.Bitmap{}
	f := newConditions(q.Filter)
	byHour := q.Interval == spoor.IntervalHour
	if len(f) > 0 && (byHour || !f.inRows(q.Metric, days)) {
		cells, err := r.cellsOfHits(q.Metric, f, byHour, days)
		if err != nil {
			return nil, err
		}
		for _, c := range cells {
			points.add(c)
		}
		for _, b := range append(slices.Clip(points.buckets), &points.total) {
			who[b] = r.persons.of(b.all.union())
		}
		return who, nil
	}
	of := visited
	if len(f) > 0 {
		of = visitedWith(f[0])
	}
	for _, b := range points.buckets {
		here := of
		if byHour {
			here = visitedWith(condition{dim: spoor.DimHour, text: hours[b.hour]})
		}
		people, err := r.people(points.daysOf(days, b), here)
		if err != nil {
			return nil, err
		}
		who[b] = people
	}
	people, err := r.people(days, of)
	who[&points.total] = people
	return who, err
}

// countOfPeople makes a metric of the visitors of a point.
func (r *reading) countOfPeople(q *spoor.SeriesQuery, days []*oneDay, points *axis, who map[*bucket]*roaring.Bitmap) (func(*bucket) float64, error) {
	switch q.Metric {
	case spoor.MetricVisitors:
		return func(b *bucket) float64 { return float64(who[b].GetCardinality()) }, nil
	case spoor.MetricIdentified:
		known, err := readMembers(r.db, r.app.ID, setContacts)
		field := known.ToDense()
		var scratch []uint64
		return func(b *bucket) float64 {
			if size := int(who[b].DenseSize()); size > len(scratch) {
				scratch = make([]uint64, size)
			}
			clear(scratch)
			n := 0
			who[b].WriteDenseTo(scratch)
			for i, word := range scratch[:min(len(scratch), len(field))] {
				n += bits.OnesCount64(word & field[i])
			}
			return float64(n)
		}, err
	}
	kind := activityNew
	if q.Metric == spoor.MetricRegistrations {
		kind = activityKnown
	}
	first, err := r.firsts(kind, days, q.From)
	if err != nil {
		return nil, err
	}
	in := map[*bucket]sets{} // nobody is in two of them
	for i, d := range days {
		in[&points.total] = in[&points.total].with(first[i])
		if q.Interval != spoor.IntervalHour {
			b := points.at(d.day, 0)
			in[b] = in[b].with(first[i])
			continue
		}
		left := first[i].Clone() // of the day, who comes in a later hour
		for hour := range hours {
			people, err := r.people(days[i:i+1], visitedWith(condition{dim: spoor.DimHour, text: hours[hour]}))
			if err != nil {
				return nil, err
			}
			here := roaring.And(left, people)
			left.AndNot(here)
			if b := points.index[[2]int{int(d.day), hour}]; b != nil {
				in[b] = in[b].with(here)
			}
		}
	}
	return func(b *bucket) float64 {
		n := uint64(0)
		for _, people := range in[b] {
			if len(q.Filter) > 0 {
				n += who[b].AndCardinality(people)
			} else {
				n += people.GetCardinality()
			}
		}
		if q.Metric == spoor.MetricReturning {
			n = who[b].GetCardinality() - n
		}
		return float64(n)
	}, nil
}

// Active counts the visitors of late.
func (s *Store) Active(app spoor.AppID) (a spoor.Active, err error) {
	now := s.opts.Now()
	err = s.read(app, func(r *reading) error {
		a.Now = r.persons.count(s.recent.visitors(app, now))
		today := r.app.Day(now.UnixMilli())
		days, err := r.days(today-29, today)
		if err != nil {
			return err
		}
		for _, part := range []struct {
			days spoor.Day
			into *int64
		}{{1, &a.Day}, {7, &a.Week}, {30, &a.Month}} {
			late := days
			for len(late) > 0 && late[0].day <= today-part.days {
				late = late[1:]
			}
			who, err := r.people(late, visited)
			if err != nil {
				return err
			}
			*part.into = int64(who.GetCardinality())
		}
		return nil
	})
	return a, err
}
