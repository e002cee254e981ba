package store

import (
	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

// Goals counts how often each goal was reached on the days from to to, and by
// how many different visitors of those days, from one snapshot. Error: a
// *spoor.QueryError.
func (s *Store) Goals(app spoor.AppID, from, to spoor.Day, goals []spoor.Goal) (list []spoor.GoalResult, err error) {
	if err := spoor.CheckGoals(goals, from, to); err != nil {
		return nil, err
	}
	err = s.read(app, func(r *reading) error {
		days, err := r.days(from, to)
		if err != nil {
			return err
		}
		visitors, err := visitorsOf(days)
		if err != nil {
			return err
		}
		people := r.persons.of(visitors.union())
		for _, g := range goals {
			result := spoor.GoalResult{Goal: g, Of: int64(people.GetCardinality())}
			var who sets
			c := conditionOf(g)
			if !c.prefix {
				if who, err = whoOfAll(days, c.dim, c.row()); err != nil {
					return err
				}
			}
			for _, d := range days {
				err := d.matching(c, c.prefix, func(row *counts) {
					result.Count += countFor(spoor.TopBy{Dimension: g.Dimension}, row)
					who = who.with(row.who.add)
				})
				if err != nil {
					return err
				}
			}
			result.Visitors = int64(r.persons.of(who.union()).AndCardinality(people))
			list = append(list, result)
		}
		return nil
	})
	return list, err
}

func conditionOf(g spoor.Goal) condition {
	return newConditions([]spoor.Condition{{Dimension: g.Dimension, Text: g.Text, Prefix: g.Prefix}})[0]
}

// Cohorts follows the new visitors of each week over the weeks of a range, which
// is widened to whole weeks, from one snapshot. Error: a *spoor.QueryError.
func (s *Store) Cohorts(app spoor.AppID, from, to spoor.Day) (list []spoor.Cohort, err error) {
	if err := spoor.CheckCohorts(from, to); err != nil {
		return nil, err
	}
	from = spoor.IntervalWeek.Start(from)
	to = spoor.IntervalWeek.Start(to) + 6
	err = s.read(app, func(r *reading) error {
		days, err := r.days(from, to)
		if err != nil {
			return err
		}
		first, err := r.firsts(activityNew, days, from)
		if err != nil {
			return err
		}
		weeks := int(to-from+1) / 7
		came, born := make([]sets, weeks), make([]sets, weeks)
		for _, d := range days {
			week := int(d.day-from) / 7
			visitors, err := d.activity(activityVisitor)
			if err != nil {
				return err
			}
			came[week] = came[week].with(visitors)
			born[week] = born[week].with(first[hourOfDay{d.day, 0}])
		}
		people := make([]*roaring.Bitmap, weeks)
		for i := range came {
			people[i] = r.persons.of(came[i].union())
		}
		for i := range born {
			fresh := born[i].union()
			c := spoor.Cohort{Week: from + spoor.Day(7*i), Size: int64(fresh.GetCardinality())}
			for _, later := range people[i:] {
				c.Kept = append(c.Kept, int64(fresh.AndCardinality(later)))
			}
			list = append(list, c)
		}
		return nil
	})
	return list, err
}
