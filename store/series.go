package store

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

// Series answers for one metric over a range of days, from one snapshot: from
// the accounts, bitmaps and roll-ups of the days, or where the filter asks for
// more than one text of a dimension, from their hits. Error: a
// *spoor.QueryError if the query cannot be answered.
func (s *Store) Series(q *spoor.SeriesQuery) (out spoor.Series, err error) {
	if err := q.Check(); err != nil {
		return out, err
	}
	err = s.read(q.App, func(r *reading) error {
		points := r.axis(q)
		days, err := r.days(q.From, q.To)
		if err != nil {
			return err
		}
		if q.Metric.OfProperty() {
			return r.measures(q, days, points, &out)
		}
		if q.Metric.OfPeople() {
			return r.seriesOfPeople(q, days, points, &out)
		}
		cells, err := r.cells(q, days)
		if err != nil {
			return err
		}
		for _, c := range cells {
			points.add(c)
		}
		for _, b := range points.buckets {
			out.Points = append(out.Points, b.point(valueOf(q.Metric, &b.counts)))
		}
		out.Total = points.total.point(valueOf(q.Metric, &points.total.counts))
		return nil
	})
	return out, err
}

// cell is what a day, or one local hour of it, adds to a series.
type cell struct {
	day  spoor.Day
	hour int
	counts
	who *roaring.Bitmap // nil: nobody; in place of that of counts
}

// bucket is what one point of a series covers.
type bucket struct {
	cell
	all sets // of its cells
}

func (b *bucket) point(v float64, known bool) spoor.Point {
	return spoor.Point{Day: b.day, Hour: b.hour, Value: v, Known: known}
}

func (b *bucket) add(c *cell) {
	c.counts.who = setChange{}
	b.counts.fold(&c.counts)
	b.all = b.all.with(c.who)
}

// axis is the points of a series in the making, in order.
type axis struct {
	interval spoor.Interval
	buckets  []*bucket
	index    map[[2]int]*bucket
	total    bucket
}

func (r *reading) axis(q *spoor.SeriesQuery) *axis {
	l := &axis{interval: q.Interval, index: map[[2]int]*bucket{}}
	l.total.day = q.From
	for day := q.From; day <= q.To; day++ {
		if q.Interval != spoor.IntervalHour {
			l.at(day, 0)
			continue
		}
		for _, hour := range hoursOf(r.app, day) {
			l.at(day, hour)
		}
	}
	return l
}

// at gives the bucket of a day and hour.
func (l *axis) at(day spoor.Day, hour int) *bucket {
	key := [2]int{int(l.interval.Start(day)), 0}
	if l.interval == spoor.IntervalHour {
		key[1] = hour
	}
	b := l.index[key]
	if b == nil {
		b = &bucket{cell: cell{day: spoor.Day(key[0]), hour: key[1]}}
		l.index[key] = b
		l.buckets = append(l.buckets, b)
	}
	return b
}

func (l *axis) add(c *cell) {
	// A hit that came late may tell an hour that its day does not have.
	b := l.index[[2]int{int(l.interval.Start(c.day)), c.hour}]
	if b != nil {
		b.add(c)
	}
	l.total.add(c)
}

// hoursOf lists the local hours that a day has, in order. One that comes twice
// is listed once.
func hoursOf(app *spoor.App, day spoor.Day) (list []int) {
	const step = 15 * 60 * 1000
	noon := (int64(day)*24 + 12) * 3600_000 // UTC; no zone is further away than 14 hours
	for ms := noon - 28*3600_000; ms < noon+28*3600_000; ms += step {
		if app.Day(ms) != day {
			continue
		}
		if hour := app.HourOf(ms); !slices.Contains(list, hour) {
			list = append(list, hour)
		}
	}
	slices.Sort(list)
	return list
}

// valueOf is a metric that needs no people.
func valueOf(m spoor.Metric, c *counts) (v float64, known bool) {
	mean := func(sum, of int64) (float64, bool) {
		if of <= 0 {
			return 0, false
		}
		return float64(sum) / float64(of), true
	}
	switch m {
	case spoor.MetricVisits:
		return float64(c.visits), true
	case spoor.MetricPageviews:
		return float64(c.views), true
	case spoor.MetricEvents:
		return float64(c.events), true
	case spoor.MetricBounceRate:
		// A visit that goes on after midnight is engaged on a day that it did not begin.
		v, known = mean(c.visits-min(c.engaged, c.visits), c.visits)
		return v, known
	case spoor.MetricVisitDuration:
		v, known = mean(c.visitMS, c.visits)
		return v / 1000, known
	case spoor.MetricTimeOnPage:
		v, known = mean(c.pageMS, c.timed)
		return v / 1000, known
	case spoor.MetricBots:
		return float64(c.hits), true
	}
	return 0, false
}

// cells reads what a series of no people adds up, from where it can be read fastest.
func (r *reading) cells(q *spoor.SeriesQuery, days []*oneDay) ([]*cell, error) {
	byHour := q.Interval == spoor.IntervalHour
	switch f := newConditions(q.Filter); {
	case len(f) > 0 && f.inRows(q.Metric, days) && !byHour:
		return r.cellsOfRow(f[0], days)
	case len(f) > 0:
		return r.cellsOfHits(q.Metric, f, byHour, days)
	case byHour && (q.Metric == spoor.MetricBounceRate || q.Metric == spoor.MetricVisitDuration || q.Metric == spoor.MetricTimeOnPage):
		return r.cellsOfHits(q.Metric, nil, true, days)
	case byHour:
		return r.cellsOfHours(days)
	}
	var cells []*cell
	for _, d := range days {
		a := &d.account
		c := &cell{day: d.day, counts: counts{
			views: a.views, events: a.events, visits: a.visits, engaged: a.engaged, timed: a.timed, visitMS: a.visitMS, pageMS: a.pageMS,
		}}
		if q.Metric == spoor.MetricBots {
			c.hits = a.bots
		}
		cells = append(cells, c)
	}
	return cells, nil
}

func (r *reading) cellsOfHours(days []*oneDay) (cells []*cell, err error) {
	for _, d := range days {
		err := d.rows(spoor.DimHour, func(row *dayRow) error {
			cells = append(cells, &cell{day: d.day, hour: slices.Index(hours[:], row.text), counts: row.counts})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return cells, nil
}

// inRows reports whether one roll-up row of each day, or for a prefix some,
// has all that a metric needs.
func (f conditions) inRows(m spoor.Metric, days []*oneDay) bool {
	if len(f) != 1 || f[0].not {
		return false
	}
	c := &f[0]
	switch {
	case m == spoor.MetricBounceRate || m == spoor.MetricVisitDuration:
		// What comes after its first hit is counted under the texts of later hits.
		return false
	case m == spoor.MetricTimeOnPage:
		return c.dim == spoor.DimPath || c.dim == spoor.DimScreen
	case c.dim == spoor.DimProperty:
		for _, d := range days {
			if !slices.Contains(d.account.declared(), c.name) {
				return false
			}
		}
	}
	return true
}

func (r *reading) cellsOfRow(c condition, days []*oneDay) (cells []*cell, err error) {
	for _, d := range days {
		sum := &cell{day: d.day}
		cells = append(cells, sum)
		err = d.matching(c, false, func(row *counts) {
			row.who = setChange{}
			sum.counts.fold(row)
		})
		if err != nil {
			return nil, err
		}
	}
	return cells, nil
}

// matching calls f with the rows of a day that a condition asks for, if they are
// to tell of people with the profiles that brought them. It may change the row,
// and not that set.
func (d *oneDay) matching(c condition, people bool, f func(row *counts)) error {
	if !c.prefix {
		row, err := d.rowWith(c.dim, c.row(), people)
		if err == nil {
			f(row)
		}
		return err
	}
	prefix := c.row()
	return d.rows(c.dim, func(row *dayRow) error {
		if !strings.HasPrefix(row.text, prefix) || row.text == spoor.OtherText || c.dim == spoor.DimProperty && row.text == otherOf(row.text) {
			return nil
		}
		if people {
			who, err := d.who(c.dim, row)
			if err != nil {
				return err
			}
			row.who.add = who
		}
		f(&row.counts)
		return nil
	})
}

// cellsOfHits adds up the hits that fulfil a filter. A visit fulfils it if the
// hit that began it does; the time on a page, if the view does.
func (r *reading) cellsOfHits(m spoor.Metric, f conditions, byHour bool, days []*oneDay) (cells []*cell, err error) {
	want := f.tags()
	visits := m == spoor.MetricBounceRate || m == spoor.MetricVisitDuration
	if m == spoor.MetricTimeOnPage {
		want |= tagsOfViews
	}
	begin := func(d *oneDay) *hitSum {
		return &hitSum{reading: r, filter: f, want: want, metric: m, visits: visits, byHour: byHour, day: d.day, hours: map[int]*cell{}}
	}
	only := func(d *oneDay) (*roaring.Bitmap, error) { return d.touchingAll(f) }
	if visits || m == spoor.MetricTimeOnPage { // what began a visit or view decides, maybe on another day
		only = nil
	}
	err = walkHits(r, days, only, want, begin, func(d *oneDay, sum *hitSum) error {
		for _, hour := range slices.Sorted(maps.Keys(sum.hours)) {
			c := sum.hours[hour]
			if m.OfPeople() {
				visitors, err := d.activity(activityVisitor)
				if err != nil {
					return err
				}
				c.who.And(visitors)
			}
			cells = append(cells, c)
		}
		return sum.err
	})
	return cells, err
}

// hitSum adds up the hits of a stretch.
type hitSum struct {
	*reading
	filter conditions
	want   tagSet
	metric spoor.Metric
	visits bool // something of whole visits is asked for
	byHour bool
	day    spoor.Day
	hours  map[int]*cell
	last   *cell
	trail  trail
	err    error
}

// at is the cell of an instant on the day of the stretch.
func (s *hitSum) at(ms int64) *cell {
	hour := 0
	if s.byHour {
		hour = s.app.HourOf(ms)
	}
	if s.last != nil && s.last.hour == hour {
		return s.last
	}
	c := s.hours[hour]
	if c == nil {
		c = &cell{day: s.day, hour: hour, who: roaring.New()}
		s.hours[hour] = c
	}
	s.last = c
	return c
}

func (s *hitSum) hit(h *spoor.Hit) {
	fits := s.filter.match(s.app, h)
	switch {
	case s.visits:
		s.trail.enter(h)
		s.trail.note(h, fits)
		if !h.First && !h.Tally.Engaged && h.Tally.Gap == 0 {
			return
		}
		ofVisit, known := s.trail.visit(h)
		if !known {
			var err error
			ofVisit, err = s.visitFits(h)
			s.err = errors.Join(s.err, err)
			s.trail.visits = append(s.trail.visits, trailVisit{h.Visit, ofVisit})
		}
		if !ofVisit {
			return
		}
	case s.metric == spoor.MetricTimeOnPage:
		s.trail.enter(h)
		if h.Tally.Timed {
			ofView, err := s.viewFits(h)
			s.err = errors.Join(s.err, err)
			if ofView {
				c := s.at(h.Time - h.Tally.Since)
				c.timed++
				c.pageMS += h.Tally.Since
			}
		}
		s.trail.note(h, fits)
		return
	case !fits:
		return
	case s.byHour && !h.Kind.Counts().Visitor && h.Visit == 0: // as the rows of hours have it
		return
	}
	ms := h.Time
	if s.visits && s.byHour && s.app.Day(h.Visit) == s.day {
		ms = h.Visit
	}
	c := s.at(ms)
	one := countsOf(h)
	c.hits += one.hits
	c.views += one.views
	c.events += one.events
	c.visits += one.visits
	c.engaged += one.engaged
	c.visitMS += one.visitMS
	if h.Profile != 0 && s.metric.OfPeople() {
		c.who.Add(uint32(h.Profile))
	}
}

// visitFits looks for the hit that began the visit of a hit, where it is later,
// filed under the day before or after, or under another number of the person.
func (s *hitSum) visitFits(h *spoor.Hit) (fits bool, err error) {
	err = s.elsewhere(h, h.Visit, s.want, func(first *spoor.Hit) bool {
		if !first.First {
			return false
		}
		fits = s.filter.match(s.app, first)
		return true
	}, h.Day, h.Day-1, h.Day+1)
	return fits, err
}

// viewFits does that for the view whose time a hit ended.
func (s *hitSum) viewFits(h *spoor.Hit) (fits bool, err error) {
	if v := s.trail.view(h); v != nil {
		return v.fits, nil
	}
	err = s.elsewhere(h, h.Time-h.Tally.Since, s.want, func(v *spoor.Hit) bool {
		if v.Visit != h.Visit || !beginsView(v) {
			return false
		}
		fits = s.filter.match(s.app, v)
		return true
	}, h.Day)
	return fits, err
}
