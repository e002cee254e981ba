package store

import (
	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

// Goals counts how often each goal was reached on the days from to to, and by
// how many different people, from one snapshot. Error: a *spoor.QueryError.
func (s *Store) Goals(app spoor.AppID, from, to spoor.Day, goals []spoor.Goal) (list []spoor.GoalResult, err error) {
	if err := spoor.CheckGoals(goals, from, to); err != nil {
		return nil, err
	}
	err = s.read(app, func(r *reading) error {
		days, err := r.days(from, to)
		if err != nil {
			return err
		}
		var visitors *roaring.Bitmap
		for _, d := range days {
			some, err := d.activity(activityVisitor)
			if err != nil {
				return err
			}
			visitors = also(visitors, some)
		}
		of := int64(r.of(visitors).GetCardinality())
		for _, g := range goals {
			result := spoor.GoalResult{Goal: g, Of: of}
			var who *roaring.Bitmap
			for _, d := range days {
				err := d.matching(conditionOf(g), true, func(_ string, row *counts) {
					result.Count += countFor(spoor.TopBy{Dimension: g.Dimension}, row)
					who = also(who, row.who.add)
				})
				if err != nil {
					return err
				}
			}
			result.Visitors = int64(r.of(who).GetCardinality())
			list = append(list, result)
		}
		return nil
	})
	return list, err
}

func conditionOf(g spoor.Goal) condition {
	return newConditions([]spoor.Condition{{Dimension: g.Dimension, Text: g.Text}})[0]
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
		came, born := make([]*roaring.Bitmap, weeks), make([]*roaring.Bitmap, weeks)
		for _, d := range days {
			week := int(d.day-from) / 7
			visitors, err := d.activity(activityVisitor)
			if err != nil {
				return err
			}
			came[week] = also(came[week], visitors)
			born[week] = also(born[week], first[hourOfDay{d.day, 0}])
		}
		for i := range came {
			came[i] = r.of(came[i])
		}
		for i, people := range born {
			c := spoor.Cohort{Week: from + spoor.Day(7*i)}
			if people == nil {
				people = nobody
			}
			c.Size = int64(people.GetCardinality())
			for _, later := range came[i:] {
				c.Kept = append(c.Kept, int64(people.AndCardinality(later)))
			}
			list = append(list, c)
		}
		return nil
	})
	return list, err
}
