package store

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/spoorhq/spoor"
)

// groupTextsMax bounds the texts that one answer tells apart.
const groupTextsMax = 100_000

// measures answers for the numbers of a property of events: from the rows of
// days on which the app declared it, else from hits.
func (r *reading) measures(q *spoor.SeriesQuery, days []*oneDay, l *axis, out *spoor.Series) error {
	groups := map[string]*measured{}
	add := func(day spoor.Day, sums map[string]*measured) {
		for text, m := range sums {
			l.add(&cell{day: day, counts: counts{measured: *m}})
			measuredOf(groups, text).fold(m)
		}
	}
	var rest []*oneDay
	for _, d := range days {
		sums, ok, err := d.measures(q)
		if err != nil {
			return err
		}
		if !ok {
			rest = append(rest, d)
			continue
		}
		add(d.day, sums)
	}
	want := conditions(newConditions(q.Filter))
	tags := want.tags() | tagsOf(spoor.DimProperty)
	begin := func(*oneDay) *measureSum {
		return &measureSum{app: r.app, query: q, filter: want, sums: map[string]*measured{}}
	}
	err := walkHits(r, rest, nil, tags, begin, func(d *oneDay, sum *measureSum) error {
		add(d.day, sum.sums)
		return nil
	})
	if err != nil {
		return err
	}
	for _, b := range l.buckets {
		out.Points = append(out.Points, b.point(b.measured.value(q.Metric)))
	}
	out.Total = l.total.point(l.total.measured.value(q.Metric))
	if q.By == "" {
		return nil
	}
	for text, m := range groups {
		v, known := m.value(q.Metric)
		out.Groups = append(out.Groups, spoor.Group{Text: text, Total: spoor.Point{Day: q.From, Value: v, Known: known}})
	}
	slices.SortFunc(out.Groups, compareGroups)
	if n := len(out.Groups); n > spoor.GroupsMax {
		out.GroupsLeftOut = n - spoor.GroupsMax
		rest := out.Groups[n-1]
		out.Groups = out.Groups[:spoor.GroupsMax]
		if rest.Text == spoor.OtherText {
			out.Groups[spoor.GroupsMax-1] = rest
		}
	}
	return nil
}

// compareGroups puts the larger group first, then those without a value, and
// what had no group of its own last.
func compareGroups(a, b spoor.Group) int {
	switch {
	case a.Text == b.Text:
		return 0
	case a.Text == spoor.OtherText:
		return 1
	case b.Text == spoor.OtherText:
		return -1
	case a.Total.Known != b.Total.Known:
		if a.Total.Known {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(b.Total.Value, a.Total.Value), cmp.Compare(a.Text, b.Text))
}

// measuredOf is the sum of a text, or of all others where there are too many.
func measuredOf(sums map[string]*measured, text string) *measured {
	if sums[text] == nil && len(sums) >= groupTextsMax {
		text = spoor.OtherText
	}
	if sums[text] == nil {
		sums[strings.Clone(text)] = new(measured)
	}
	return sums[text]
}

// measures sums up by the group's text what the rows of the day have; ok is
// false where they cannot tell: all properties share the bound of a day's rows,
// and where it was reached the rest is in one row.
func (d *oneDay) measures(q *spoor.SeriesQuery) (sums map[string]*measured, ok bool, err error) {
	declared := q.Property
	parts := 2
	if q.By != "" {
		declared += " by " + q.By
		parts = 4
	}
	if len(q.Filter) > 0 || d.account.full&(1<<spoor.DimMeasure) != 0 || !slices.Contains(d.account.declared(), declared) {
		return nil, false, nil
	}
	event := measureText(q.Event)
	sums, ok = map[string]*measured{}, true
	err = d.rows(spoor.DimMeasure, func(r *dayRow) error {
		part := strings.SplitN(r.text, measureSeparator, 4)
		if len(part) != parts || event != "" && part[0] != event || part[1] != q.Property {
			return nil
		}
		text := ""
		if q.By != "" {
			if part[2] != q.By {
				return nil
			}
			text = part[3]
		}
		if r.measured.stale && (q.Metric == spoor.MetricMin || q.Metric == spoor.MetricMax) {
			ok = false
		}
		measuredOf(sums, text).fold(&r.measured)
		return nil
	})
	return sums, ok, err
}

// measureSum sums up the numbers of the hits of a stretch.
type measureSum struct {
	app    *spoor.App
	query  *spoor.SeriesQuery
	filter conditions
	sums   map[string]*measured
}

func (s *measureSum) hit(h *spoor.Hit) {
	q := s.query
	if !h.Kind.Counts().Event || q.Event != "" && measureText(h.Name) != measureText(q.Event) {
		return
	}
	_, number := property(h.Properties, q.Property)
	if math.IsNaN(number) || !s.filter.match(s.app, h) {
		return
	}
	of := ""
	if q.By != "" {
		if of, _ = property(h.Properties, q.By); of == "" {
			return
		}
		of = measureText(of)
	}
	one := measure(number)
	measuredOf(s.sums, of).fold(&one)
}

// value is a metric of numbers; known is false where there were none.
func (m *measured) value(metric spoor.Metric) (v float64, known bool) {
	sum := float64(m.whole) + float64(m.millionth)/1e6
	switch metric {
	case spoor.MetricCount:
		return float64(m.count), true
	case spoor.MetricSum:
		return sum, true
	case spoor.MetricAverage:
		if m.count > 0 {
			return sum / float64(m.count), true
		}
	case spoor.MetricMin:
		return m.least, m.count > 0 && m.bounded
	case spoor.MetricMax:
		return m.greatest, m.count > 0 && m.bounded
	}
	return 0, false
}
