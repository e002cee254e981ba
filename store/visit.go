package store

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// visitGap (ms) ends a visit: a visitor's hits with gaps below it are one visit.
const visitGap = 30 * 60 * 1000

// holds reports whether a hit at that time belongs to the visit.
func (v span) holds(ms int64) bool { return ms > v.start-visitGap && ms < v.last+visitGap }

// visit says to which visit a hit belongs, or begins one. A hit that closes
// the gap between two visits joins the earlier one; what was counted stays.
func (g *group) visit(p *pending, h *spoor.Hit) error {
	f := p.facts
	newest := span{f.visitStart, f.visitLast}
	switch {
	case newest.last != 0 && newest.holds(h.Time):
		h.Visit = newest.start
	case newest.last == 0 || h.Time >= newest.last:
		h.Visit, h.First = h.Time, true
	default:
		start, found, err := g.olderVisit(p, h)
		if err != nil {
			return err
		}
		if h.Visit = start; !found {
			h.Visit, h.First = h.Time, true
		}
		p.note(h)
		return nil // the newest visit goes on
	}
	f.visitStart, f.visitLast = h.Visit, max(h.Time, newest.last)
	p.add.addVisit(f.visitStart, f.visitLast)
	p.note(h)
	return nil
}

// note remembers a hit of this group, which the store does not show yet.
func (p *pending) note(h *spoor.Hit) {
	p.spans = append(p.spans, span{h.Visit, h.Time})
	p.days = append(p.days, h.Day)
}

// olderVisit looks for a visit around a hit that came out of order, among the
// hits filed under its day and the day before: that of the earliest hit within
// the gap. Where that hit stands, in this group or on disk, makes no difference.
func (g *group) olderVisit(p *pending, h *spoor.Hit) (start int64, found bool, err error) {
	earliest := span{}
	consider := func(visit, at int64) {
		if !found || at < earliest.last || at == earliest.last && visit < earliest.start {
			earliest, found = span{visit, at}, true
		}
	}
	for i, s := range p.spans {
		near := s.last > h.Time-visitGap && s.last < h.Time+visitGap
		if near && (p.days[i] == h.Day || p.days[i] == h.Day-1) {
			consider(s.start, s.last)
		}
	}
	app := p.app.app.ID
	for _, day := range [2]spoor.Day{h.Day, h.Day - 1} {
		from := hitTimeKey(nil, app, day, p.n, h.Time-visitGap+1)
		to := hitTimeKey(nil, app, day, p.n, h.Time+visitGap)
		err := scanSpan(g.w.db, from, to, func(key, value []byte) error {
			near, err := readHit(key, value)
			if err == nil && near.Visit != 0 {
				consider(near.Visit, near.Time)
			}
			return err
		})
		if err != nil {
			return 0, false, err
		}
	}
	return earliest.start, found, nil
}

func readNumber(db pebble.Reader, key []byte) (n spoor.Number, err error) {
	err = get(db, key, func(value []byte) (err error) {
		n, err = parseNumber(value)
		return err
	})
	return n, err
}
