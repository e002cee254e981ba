package retention

import (
	"fmt"

	"github.com/spoorhq/spoor"
)

// announce logs what the first sweep will remove.
func (s *Sweeper) announce() {
	if s.opts.Grace <= 0 || s.opts.Elsewhere {
		return
	}
	then := s.opts.Now().Add(s.opts.Grace).UnixMilli()
	for _, a := range s.opts.Store.AllApps() {
		if err := s.announceApp(a, then); err != nil {
			s.opts.Log.Error("cannot tell what will be swept", "app", a.Name, "error", err)
		}
	}
}

func (s *Sweeper) announceApp(a *spoor.App, then int64) error {
	say := func(what string, args ...any) {
		s.opts.Log.Info(what, append([]any{"app", a.Name, "in", s.opts.Grace, "hint", "spoor sweep --dry-run lists it; spoor app set " + a.Name + " hold_until=DAY keeps it"}, args...)...)
	}
	day := a.Day(then)
	if end := a.End(); end != 0 && end <= then {
		say("an app will end, with all its data")
	}
	if a.Settings.IdleDays > 0 {
		numbers, err := s.opts.Store.Anonymous(a.ID, since(a, day))
		if err != nil {
			return err
		}
		if len(numbers) > 0 {
			say("a sweep will follow", "profiles_at_most", len(numbers))
		}
	}
	days, hits := 0, int64(0)
	err := s.PlanDays(a, day, func(p spoor.Partition, _ string) error {
		days, hits = days+1, hits+p.Hits
		return nil
	})
	if days > 0 {
		say("what is too old will go", "days", days, "hits_at_most", hits)
	}
	return err
}

// Judge is the rule as a method, for whoever knows a Sweeper only.
func (s *Sweeper) Judge(app *spoor.App, p *spoor.Profile, today spoor.Day) spoor.Verdict {
	return Judge(app, p, today)
}

// Plan calls fn with each profile of an app that would go on a day, and why. An
// error of fn ends it and is returned.
func (s *Sweeper) Plan(a *spoor.App, day spoor.Day, fn func(*spoor.Profile, spoor.Verdict) error) error {
	if a.Settings.IdleDays == 0 {
		return nil
	}
	numbers, err := s.opts.Store.Anonymous(a.ID, since(a, day))
	if err != nil {
		return err
	}
	for _, n := range numbers {
		p, err := s.opts.Store.Profile(a.ID, n)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		if v := Judge(a, p, day); len(v.Keeps) == 0 {
			if err := fn(p, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// PlanDays calls fn with each day of an app of which hits or statistics would go
// for their age on a day, and why. An error of fn ends it and is returned.
func (s *Sweeper) PlanDays(a *spoor.App, day spoor.Day, fn func(spoor.Partition, string) error) error {
	old := aged(a, day)
	if _, held := a.Held(day); held || old.Hits == 0 && old.Statistics == 0 && len(old.Kinds) == 0 {
		return nil
	}
	days, err := s.opts.Store.Partitions(a.ID)
	if err != nil {
		return err
	}
	for _, p := range days {
		say := func(why string) {
			if err == nil {
				err = fn(p, why)
			}
		}
		if p.Hits > 0 && p.Day <= old.Hits {
			say(fmt.Sprintf("its hits are older than hits_days, %d", a.Settings.HitsDays))
		} else if p.Hits > 0 {
			for _, c := range a.Settings.Classes() {
				if p.Day <= old.Kinds[c.Kind] {
					say(fmt.Sprintf("its hits of kind %s are older than class_days, %d", c.Kind, c.Days))
				}
			}
		}
		if p.Profiles > 0 && p.Day <= old.Statistics {
			say(fmt.Sprintf("its statistics are older than statistics_days, %d", a.Settings.StatisticsDays))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
