package store

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// visitGap (ms) ends a visit: a visitor's hits with gaps below it are one visit.
const visitGap = 30 * 60 * 1000

// visit is what a hit must know of the visit that it belongs to. Statistics
// count a visit by its hits one after the other, as they come, and never look
// back: so they can be added up while they happen.
type visit struct {
	start, last int64
	epoch       uint32 // of rowNames, in which what follows was written; of another: it is not known
	first       int64  // the earliest hit, which may have come later than that at the start
	engaged     bool   // there was a view or event at another instant than the start
	uncounted   bool   // it has hits that are not counted: then none of it tells more
	view        view   // the last that came in order
}

// view is a page or screen that is being looked at.
type view struct {
	row    uint32 // of rowNames; 0: there was none
	time   int64
	day    spoor.Day
	number spoor.Number // under which its hit stands
	open   bool         // its time has not ended
}

// visitHit is a hit of this group, which the store does not show yet.
type visitHit struct {
	number      spoor.Number
	visit, time int64
	day         spoor.Day
	kind        spoor.Kind
	row         rowKey
	tally       spoor.Tally
	marks       spoor.Marks
}

// holds reports whether a hit at that time belongs to the visit.
func (v *visit) holds(ms int64) bool { return ms > v.start-visitGap && ms < v.last+visitGap }

// enter says to which visit a hit belongs, or begins one, and what it adds to
// that. A hit that closes the gap between two visits joins one of them; what was
// counted stays. That a page was left begins no visit.
func (g *group) enter(p *pending, h *spoor.Hit) (before rowKey, err error) {
	newest := &p.facts.visit
	v := newest
	switch {
	case newest.last != 0 && newest.holds(h.Time):
		if newest.epoch != g.w.rowNames.epoch {
			err = g.recollect(p, newest, h.Day)
		}
	case h.Kind == spoor.KindLeave && h.Time >= newest.last:
		return before, nil
	case newest.last == 0 || h.Time >= newest.last:
		h.Tally.New = newest.last == 0
		h.First = true
		*newest = visit{start: h.Time, first: h.Time, last: h.Time, epoch: g.w.rowNames.epoch}
	default:
		start, found, err := g.olderVisit(p, h)
		if err != nil || !found && h.Kind == spoor.KindLeave {
			return before, err
		}
		v = &visit{start: h.Time, first: h.Time, last: h.Time} // the newest goes on
		if h.First = !found; found {
			v.start, v.last = start, start
			if err := g.recollect(p, v, h.Day); err != nil {
				return before, err
			}
		}
	}
	if err != nil {
		return before, err
	}
	h.Visit = v.start
	row := viewOf(h)
	before = v.tally(p.n, h, row, g.w.rowNames)
	if v == newest {
		p.add.addVisit(v.start, v.last)
	}
	p.hits = append(p.hits, visitHit{p.n, h.Visit, h.Time, h.Day, h.Kind, row, h.Tally, h.Marks})
	return before, nil
}

// tally notes what a hit, whose view is row, adds to its visit, and gives the
// view that it ended.
func (v *visit) tally(n spoor.Number, h *spoor.Hit, row rowKey, names *rowNames) (before rowKey) {
	length := v.last - v.first
	v.first, v.last = min(v.first, h.Time), max(v.last, h.Time)
	if v.uncounted = v.uncounted || h.Marks&spoor.MarkUncounted != 0; v.uncounted {
		h.Tally.Aside = h.Kind.Counts().View
		return before
	}
	t := &h.Tally
	t.Gap = v.last - v.first - length
	k := h.Kind.Counts()
	if (k.View || k.Event) && !v.engaged && h.Time != v.start {
		t.Engaged, v.engaged = true, true
	}
	there := v.view.row != 0 && v.view.day == h.Day
	was := names.keys[v.view.row]
	switch {
	case k.View && row.text != "":
		switch {
		case there && h.Time <= v.view.time, v.view.row != 0 && h.Day < v.view.day:
			t.Aside = true
			return before
		case there:
			t.Since, t.Timed = h.Time-v.view.time, v.view.open
		}
		if there {
			before = was
		}
		if t.Since > 0 && v.view.number != n {
			t.From = toView(was)
		}
		v.view = view{names.number(row), h.Time, h.Day, n, true}
	case h.Kind == spoor.KindLeave && there && v.view.open && h.Time > v.view.time:
		t.Since, t.Timed, v.view.open = h.Time-v.view.time, true, false
		before = was
		if v.view.number != n {
			t.From = toView(was)
		}
	}
	return before
}

// recollect reads what a visit was until now, from its hits on disk and in this
// group, those under the person's former numbers too. What the writer remembers of it must
// not differ from that.
func (g *group) recollect(p *pending, v *visit, day spoor.Day) error {
	names := g.w.rowNames
	v.epoch, v.first, v.engaged, v.uncounted, v.view = names.epoch, v.start, false, false, view{}
	left := int64(-1) // time of the newest view that was left
	note := func(h *visitHit) {
		if h.visit != v.start {
			return
		}
		v.first, v.last = min(v.first, h.time), max(v.last, h.time)
		if h.marks&spoor.MarkUncounted != 0 {
			v.uncounted = true
			return
		}
		v.engaged = v.engaged || h.tally.Engaged
		if h.kind == spoor.KindLeave && h.tally.Timed {
			left = max(left, h.time-h.tally.Since)
		}
		newer := h.day > v.view.day || h.day == v.view.day && h.time > v.view.time
		if h.row.text != "" && !h.tally.Aside && (v.view.row == 0 || newer) {
			v.view = view{row: names.number(h.row), time: h.time, day: h.day, number: h.number}
		}
	}
	app := p.app.app.ID
	first := min(day-1, p.app.app.Day(v.start))
	numbers, err := g.numbersOf(p)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		for d := first; d <= day+1; d++ {
			from, to := hitTimeKey(nil, app, d, n, v.start-visitGap), after(hitProfileKey(nil, app, d, n))
			err := scanSpan(g.w.db, from, to, func(key, value []byte) error {
				h, err := readHit(key, value)
				if err == nil {
					note(&visitHit{n, h.Visit, h.Time, h.Day, h.Kind, viewOf(&h), h.Tally, h.Marks})
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	for i := range p.hits {
		note(&p.hits[i])
	}
	v.view.open = v.view.row != 0 && left != v.view.time
	return nil
}

// numbersOf is the number of a profile and those that were merged into it.
func (g *group) numbersOf(p *pending) ([]spoor.Number, error) {
	numbers := []spoor.Number{p.n}
	if !p.facts.merged {
		return numbers, nil
	}
	s, err := g.whole(p)
	if err != nil {
		return nil, err
	}
	for _, f := range s.former {
		numbers = append(numbers, f.number)
	}
	return numbers, nil
}

// olderVisit looks for a visit around a hit that came out of order, among the
// hits filed under its day and the day before: that of the earliest hit within
// the gap. Where that hit stands, in this group or on disk, makes no difference.
func (g *group) olderVisit(p *pending, h *spoor.Hit) (start int64, found bool, err error) {
	var earliest visitHit
	consider := func(n visitHit) {
		if !found || n.time < earliest.time || n.time == earliest.time && n.visit < earliest.visit {
			earliest, found = n, true
		}
	}
	for _, n := range p.hits {
		near := n.time > h.Time-visitGap && n.time < h.Time+visitGap
		if near && n.number == p.n && (n.day == h.Day || n.day == h.Day-1) {
			consider(n)
		}
	}
	app := p.app.app.ID
	for _, day := range [2]spoor.Day{h.Day, h.Day - 1} {
		from := hitTimeKey(nil, app, day, p.n, h.Time-visitGap+1)
		to := hitTimeKey(nil, app, day, p.n, h.Time+visitGap)
		err := scanSpan(g.w.db, from, to, func(key, value []byte) error {
			near, err := readHit(key, value)
			if err == nil && near.Visit != 0 {
				consider(visitHit{visit: near.Visit, time: near.Time})
			}
			return err
		})
		if err != nil {
			return 0, false, err
		}
	}
	return earliest.visit, found, nil
}

func readNumber(db pebble.Reader, key []byte) (n spoor.Number, err error) {
	err = get(db, key, func(value []byte) (err error) {
		n, err = parseNumber(value)
		return err
	})
	return n, err
}
