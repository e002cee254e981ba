package store

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

// Funnel counts how many people came as far as each step, on the days from to
// to: whose hits fulfil the steps one after the other, in order of the days
// under which they are filed, and of time. All numbers of a person together;
// one hit is one step. It reads hits, of those people alone who took the first
// two steps at all. Error: a *spoor.QueryError.
func (s *Store) Funnel(app spoor.AppID, from, to spoor.Day, steps []spoor.Goal) (list []spoor.FunnelStep, err error) {
	if err := spoor.CheckFunnel(steps, from, to); err != nil {
		return nil, err
	}
	err = s.read(app, func(r *reading) error {
		days, err := r.days(from, to)
		if err != nil {
			return err
		}
		took := make([]condition, len(steps))
		for i, g := range steps {
			took[i] = conditionOf(g)
		}
		reached := make([]int64, len(steps))
		sure, read, err := r.candidates(took, days)
		if err != nil {
			return err
		}
		reached[0] = int64(sure.GetCardinality())
		f := funnel{steps: took, at: map[uint32]uint8{}}
		want := tagSet(0)
		for _, c := range took {
			want |= tagsOf(c.dim)
		}
		begin := func(*oneDay) *funnelSum { return &funnelSum{app: r.app, funnel: &f} }
		var day *oneDay
		var waiting []funnelHit
		settle := func() {
			f.follow(r.persons, waiting)
			waiting = waiting[:0]
		}
		numbers := r.persons.numbers(read)
		only := func(d *oneDay) (*roaring.Bitmap, error) {
			var any sets
			for _, c := range took {
				who, err := d.touching(c)
				if who == nil || err != nil {
					return numbers, err
				}
				any = any.with(who)
			}
			return roaring.And(any.union(), numbers), nil
		}
		err = walkHits(r, days, only, want, begin, func(d *oneDay, sum *funnelSum) error {
			if d != day {
				settle()
				day = d
			}
			waiting = append(waiting, sum.hits...)
			return nil
		})
		if err != nil {
			return err
		}
		settle()
		for _, at := range f.at {
			for i := range at {
				reached[i]++
			}
		}
		for i, g := range steps {
			list = append(list, spoor.FunnelStep{Goal: g, Visitors: reached[i]})
		}
		return nil
	})
	return list, err
}

// candidates lists the persons who took the first step and not the second, and
// those whose hits must be read to know.
func (r *reading) candidates(steps []condition, days []*oneDay) (sure, read *roaring.Bitmap, err error) {
	first, perhaps, err := r.took(steps[0], days)
	if err != nil {
		return nil, nil, err
	}
	second, more, err := r.took(steps[1], days)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range days {
		if d.account.dropped != 0 { // rows tell of hits that are gone
			return roaring.New(), roaring.Or(first, perhaps), nil
		}
	}
	live, err := readMembers(r.db, r.app.ID, setLive)
	if err != nil {
		return nil, nil, err
	}
	read = roaring.And(first, roaring.Or(second, more))
	read.Or(roaring.AndNot(perhaps, first))
	sure = roaring.And(first, live)
	sure.AndNot(read)
	return sure, read, nil
}

// took is the persons who took a step, and those who may have: of the rows in
// which rare texts are folded.
func (r *reading) took(c condition, days []*oneDay) (who, perhaps *roaring.Bitmap, err error) {
	var sure, rare sets
	for _, d := range days {
		who, folded, err := d.rowsOf(c)
		if err != nil {
			return nil, nil, err
		}
		sure, rare = sure.with(who), rare.with(folded)
	}
	return r.persons.of(sure.union()), r.persons.of(rare.union()), nil
}

// funnel is how far people came.
type funnel struct {
	steps []condition
	at    map[uint32]uint8
}

// funnelHit is a hit that is one or more of the steps.
type funnelHit struct {
	time   int64
	number uint32
	order  uint32 // in which a profile's hits of one instant are stored
	steps  uint8  // a bit each
}

type funnelSum struct {
	app *spoor.App
	*funnel
	hits []funnelHit
}

func (s *funnelSum) hit(h *spoor.Hit) {
	steps := uint8(0)
	for i := range s.steps {
		if c := &s.steps[i]; c.fits(textOf(s.app, h, c.dim, "")) {
			steps |= 1 << i
		}
	}
	if steps != 0 {
		s.hits = append(s.hits, funnelHit{h.Time, uint32(h.Profile), uint32(len(s.hits)), steps})
	}
}

// follow lets people go on by the hits of one day.
func (f *funnel) follow(p *persons, hits []funnelHit) {
	slices.SortFunc(hits, func(a, b funnelHit) int {
		switch {
		case a.time != b.time:
			return int(min(1, max(-1, a.time-b.time)))
		case a.number != b.number:
			return int(int64(a.number) - int64(b.number))
		}
		return int(int64(a.order) - int64(b.order))
	})
	for _, h := range hits {
		n := p.person(h.number)
		if at := f.at[n]; int(at) < len(f.steps) && h.steps&(1<<at) != 0 {
			f.at[n] = at + 1
		}
	}
}
