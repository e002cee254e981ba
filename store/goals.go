package store

import (
	"strings"

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
		visitors, err := r.people(days, visited)
		if err != nil {
			return err
		}
		for _, g := range goals {
			result := spoor.GoalResult{Goal: g, Of: int64(visitors.GetCardinality())}
			c := conditionOf(g)
			who, err := r.people(days, brought(c))
			if err != nil {
				return err
			}
			result.Visitors = int64(who.AndCardinality(visitors))
			if result.Count, err = r.countOf(days, c); err != nil {
				return err
			}
			list = append(list, result)
		}
		return nil
	})
	return list, err
}

// countOf is how often rows that a condition asks for were seen.
func (r *reading) countOf(days []*oneDay, c condition) (n int64, err error) {
	sums, err := r.sums(days, c.dim)
	if err != nil {
		return 0, err
	}
	by := spoor.TopBy{Dimension: c.dim}
	for _, sum := range sums {
		if !c.prefix {
			if row := sum.rows[c.row()]; row != nil {
				n += countFor(by, &row.counts)
			}
			continue
		}
		for text, row := range sum.rows {
			if strings.HasPrefix(text, c.row()) && text != spoor.OtherText {
				n += countFor(by, &row.counts)
			}
		}
	}
	return n, nil
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
		of, born, people := make([][]*oneDay, weeks), make([]sets, weeks), make([]*roaring.Bitmap, weeks)
		for i, d := range days {
			week := int(d.day-from) / 7
			of[week] = append(of[week], d)
			born[week] = born[week].with(first[i])
		}
		for i := range people {
			if people[i], err = r.people(of[i], visited); err != nil {
				return err
			}
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
