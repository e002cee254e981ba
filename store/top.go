package store

import (
	"cmp"
	"container/heap"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

// Top lists the texts of a dimension with the most visitors, from one snapshot.
// Pages on which visits began or ended are listed by how many did; hours of the
// day in their order, all of them. Error: a *spoor.QueryError if the query
// cannot be answered.
func (s *Store) Top(q *spoor.TopQuery) (out spoor.Top, err error) {
	if err := q.Check(); err != nil {
		return out, err
	}
	err = s.read(q.App, func(r *reading) error {
		days, err := r.days(q.From, q.To)
		if err != nil {
			return err
		}
		declared := true
		if q.By.Dimension == spoor.DimProperty {
			for _, d := range days {
				full := d.account.full&(1<<spoor.DimProperty) != 0 // whose row of others is that of all properties
				declared = declared && !full && slices.Contains(d.account.declared(), q.By.Property)
			}
		}
		if len(q.Filter) == 0 && declared {
			out, err = r.topOfRows(q, days)
		} else {
			out, err = r.topOfHits(q, days)
		}
		return err
	})
	return out, err
}

// ranksByCount reports whether rows are ordered by their count.
func ranksByCount(by spoor.TopBy) bool { return by.Entry || by.Exit }

// countFor is what a table counts of a row.
func countFor(by spoor.TopBy, c *counts) int64 {
	switch {
	case by.Exit:
		return c.exits
	case by.Entry:
		return c.visits
	}
	switch by.Dimension {
	case spoor.DimPath, spoor.DimTitle, spoor.DimScreen:
		return c.views
	case spoor.DimEvent, spoor.DimOutbound, spoor.DimDownload, spoor.DimVariant, spoor.DimProperty:
		return c.events
	}
	return c.visits
}

// candidate is a text that may be among the tops.
type candidate struct {
	text  string
	count int64
	bound int64 // visitors, at most
}

// sumKey names the rows of a dimension over some days.
type sumKey struct {
	stillDays
	dim spoor.Dimension
}

// rowSum is the rows of a dimension over some days.
type rowSum struct {
	rows map[string]*dayRow // visitors are added up day by day

	mu   sync.Mutex
	era  *era
	most map[string]int64 // persons, where these were counted once: within an era they only become fewer
}

// sumsShare is how many hundredths of the memory remembered sums may take. Those
// of bench -large take 3 MiB, a dimension of 10,000 texts 5 MiB.
const sumsShare = 3

func sumSize(_ sumKey, sum *rowSum) (n uint64) {
	for text := range sum.rows {
		n += 400 + uint64(len(text))
	}
	return n
}

func (sum *rowSum) add(row *dayRow) {
	into := sum.rows[row.text]
	if into == nil {
		into = &dayRow{counts: counts{text: row.text}}
		sum.rows[row.text] = into
	}
	row.who = setChange{}
	into.counts.fold(&row.counts)
	into.visitors += row.visitors
}

// note remembers how many persons brought a row.
func (sum *rowSum) note(text string, n int64, era *era) {
	sum.mu.Lock()
	defer sum.mu.Unlock()
	if sum.era != era {
		sum.era, sum.most = era, map[string]int64{}
	}
	sum.most[text] = n
}

// known is how many brought each of some rows, at most.
func (sum *rowSum) known(era *era) map[string]int64 {
	sum.mu.Lock()
	defer sum.mu.Unlock()
	if sum.era != era {
		return nil
	}
	return maps.Clone(sum.most)
}

// sums are the rows of a dimension over each part of the days. Those of sealed and
// quiet days are remembered.
func (r *reading) sums(days []*oneDay, dim spoor.Dimension) (sums [parts]*rowSum, err error) {
	for i, part := range partsOf(days) {
		name, keep := nameOf(part)
		k := sumKey{name, dim}
		if keep {
			if sum, ok := r.s.sums.get(k); ok {
				sums[i] = sum
				continue
			}
		}
		sum := &rowSum{rows: map[string]*dayRow{}}
		for _, d := range part {
			if err := d.rows(dim, func(row *dayRow) error { sum.add(row); return nil }); err != nil {
				return sums, err
			}
		}
		if sums[i] = sum; keep {
			r.s.sums.add(k, sum)
		}
	}
	return sums, nil
}

func (r *reading) topOfRows(q *spoor.TopQuery, days []*oneDay) (out spoor.Top, err error) {
	sums, err := r.sums(days, q.By.Dimension)
	if err != nil {
		return out, err
	}
	visitors := func(c candidate) (int64, error) {
		var all sets
		for i, part := range partsOf(days) {
			who, err := r.peopleOfPart(part, broughtText(q.By.Dimension, c.text))
			if err != nil {
				return 0, err
			}
			sums[i].note(c.text, int64(who.GetCardinality()), r.persons.era)
			all = all.with(who)
		}
		return int64(all.union().GetCardinality()), nil
	}
	list, other := candidates(q.By, sums, r.persons.era)
	if other != nil {
		out.Other = spoor.TopRow{Text: spoor.OtherText, Count: other.count}
		if out.Other.Visitors, err = visitors(*other); err != nil {
			return out, err
		}
	}
	out.Texts = len(list)
	out.Rows, err = best(q, list, visitors)
	sortRows(q.By, out.Rows)
	return out, err
}

// propertyPrefix is what the rows of a table begin with.
func propertyPrefix(by spoor.TopBy) string {
	if by.Dimension == spoor.DimProperty {
		return by.Property + "="
	}
	return ""
}

// candidates adds up the rows of the parts. The row of all other texts has no
// rank; it is nil if there is none.
func candidates(by spoor.TopBy, sums [parts]*rowSum, era *era) (list []candidate, other *candidate) {
	var known [parts]map[string]int64
	for i, sum := range sums {
		known[i] = sum.known(era)
	}
	prefix := propertyPrefix(by)
	for i, sum := range sums {
	texts:
		for text := range sum.rows {
			if !strings.HasPrefix(text, prefix) {
				continue
			}
			c := candidate{text: text}
			for k, sum := range sums {
				row := sum.rows[text]
				if row == nil {
					continue
				}
				if k < i { // seen there
					continue texts
				}
				n, ok := known[k][text]
				if !ok {
					n = row.visitors
				}
				c.bound += n
				c.count += countFor(by, &row.counts)
			}
			switch {
			case text == prefix+spoor.OtherText:
				other = &c
			case c.count != 0 || !ranksByCount(by):
				list = append(list, c)
			}
		}
	}
	return list, other
}

// best counts the visitors of the candidates that can be among the first, of
// hours all. The sum over days, or parts of them, is never less than
// the number of different people. So once the last of the best has as many as the next could have at
// most, no other can come before it.
func best(q *spoor.TopQuery, list []candidate, visitors func(candidate) (int64, error)) (rows rowHeap, err error) {
	byCount, hours := ranksByCount(q.By), q.By.Dimension == spoor.DimHour
	slices.SortFunc(list, func(a, b candidate) int {
		first := cmp.Compare(b.bound, a.bound)
		if byCount {
			first = 0
		}
		return cmp.Or(first, cmp.Compare(b.count, a.count), cmp.Compare(a.text, b.text))
	})
	for _, c := range list {
		if !hours && len(rows) == q.Limit && (byCount || rows[0].Visitors >= c.bound) {
			break
		}
		n, err := visitors(c)
		if err != nil {
			return rows, err
		}
		heap.Push(&rows, spoor.TopRow{Text: strings.TrimPrefix(c.text, propertyPrefix(q.By)), Visitors: n, Count: c.count})
		if !hours && len(rows) > q.Limit {
			heap.Pop(&rows)
		}
	}
	return rows, nil
}

func sortRows(by spoor.TopBy, rows []spoor.TopRow) {
	slices.SortFunc(rows, func(a, b spoor.TopRow) int {
		switch {
		case by.Dimension == spoor.DimHour:
			return cmp.Compare(a.Text, b.Text)
		case ranksByCount(by):
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
		}
		return compareRows(a, b)
	})
}

// compareRows puts the row with more visitors first.
func compareRows(a, b spoor.TopRow) int {
	return cmp.Or(cmp.Compare(b.Visitors, a.Visitors), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
}

// rowHeap has the last of its rows at its top.
type rowHeap []spoor.TopRow

func (h rowHeap) Len() int           { return len(h) }
func (h rowHeap) Less(i, j int) bool { return compareRows(h[i], h[j]) > 0 }
func (h rowHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *rowHeap) Push(row any)      { *h = append(*h, row.(spoor.TopRow)) }
func (h *rowHeap) Pop() any {
	last := len(*h) - 1
	row := (*h)[last]
	*h = (*h)[:last]
	return row
}

// topSum adds up the texts of a dimension over the hits of a stretch.
type topSum struct {
	*reading
	by     spoor.TopBy
	filter conditions
	want   tagSet
	texts  map[string]*topText
	trail  trail
	err    error
}

type topText struct {
	counts
	who *roaring.Bitmap
}

func (s *topSum) at(text string) *topText {
	t := s.texts[text]
	if t == nil {
		if len(s.texts) >= groupTextsMax {
			text = spoor.OtherText
			if t = s.texts[text]; t != nil {
				return t
			}
		}
		t = &topText{who: roaring.New()}
		s.texts[strings.Clone(text)] = t
	}
	return t
}

func (s *topSum) hit(h *spoor.Hit) {
	fits := s.filter.match(s.app, h)
	text := ""
	if fits {
		text = textOf(s.app, h, s.by.Dimension, s.by.Property)
	}
	if s.by.Exit {
		s.trail.enter(h)
		s.exit(h)
		s.trail.note(h, fits)
		if n := len(s.trail.views); n > 0 && beginsView(h) {
			s.trail.views[n-1].text = strings.Clone(text)
		}
	}
	if text == "" {
		return
	}
	t := s.at(text)
	t.hits++
	k := h.Kind.Counts()
	if k.View {
		t.views++
		if !h.Tally.Aside && h.Visit != 0 {
			t.exits++
		}
	}
	if k.Event {
		t.events++
	}
	if h.First {
		t.visits++
	}
	if h.Profile != 0 {
		t.who.Add(uint32(h.Profile))
	}
}

// exit takes the end of a visit back from the view that was not the last.
func (s *topSum) exit(h *spoor.Hit) {
	if !endsView(h) || !h.Kind.Counts().View {
		return
	}
	text := ""
	if v := s.trail.view(h); v != nil {
		text = v.text
	} else {
		err := s.elsewhere(h, h.Time-h.Tally.Since, s.want, func(v *spoor.Hit) bool {
			if v.Visit != h.Visit || !beginsView(v) {
				return false
			}
			if s.filter.match(s.app, v) {
				text = strings.Clone(textOf(s.app, v, s.by.Dimension, s.by.Property))
			}
			return true
		}, h.Day)
		s.err = errors.Join(s.err, err)
	}
	if text != "" {
		s.at(text).exits--
	}
}

func (r *reading) topOfHits(q *spoor.TopQuery, days []*oneDay) (out spoor.Top, err error) {
	filter := newConditions(q.Filter)
	want := filter.tags() | tagsOf(q.By.Dimension)
	if q.By.Exit {
		want |= tagsOfViews
	}
	all := map[string]*topText{}
	begin := func(*oneDay) *topSum {
		return &topSum{reading: r, by: q.By, filter: filter, want: want, texts: map[string]*topText{}}
	}
	only := func(d *oneDay) (*roaring.Bitmap, error) { return d.touchingAll(filter) }
	if q.By.Exit { // the view that a hit ended decides
		only = nil
	}
	err = walkHits(r, days, only, want, begin, func(_ *oneDay, sum *topSum) error {
		for text, t := range sum.texts {
			into := all[text]
			if into == nil && len(all) >= groupTextsMax {
				text = spoor.OtherText
				into = all[text]
			}
			if into == nil {
				all[text] = t
				continue
			}
			into.counts.fold(&t.counts)
			into.who.Or(t.who)
		}
		return sum.err
	})
	if err != nil {
		return out, err
	}
	for text, t := range all {
		row := spoor.TopRow{Text: text, Visitors: r.persons.count(t.who), Count: countFor(q.By, &t.counts)}
		switch {
		case text == spoor.OtherText:
			out.Other = row
		case ranksByCount(q.By) && row.Count == 0:
		default:
			out.Rows = append(out.Rows, row)
		}
	}
	out.Texts = len(out.Rows)
	sortRows(q.By, out.Rows)
	if q.By.Dimension != spoor.DimHour {
		out.Rows = out.Rows[:min(len(out.Rows), q.Limit)]
	}
	return out, nil
}
