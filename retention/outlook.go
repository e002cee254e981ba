package retention

import "github.com/spoorhq/spoor"

const (
	outlookDays = 7
	lookedAtMax = 10_000 // profiles of whom sets cannot tell; what is beyond counts as due first
)

// Outlook says how many profiles of an app the next sweeps will remove, as far
// as can be known today, and when. It may be called while a sweep runs.
func (s *Sweeper) Outlook(a *spoor.App) (o spoor.Outlook, err error) {
	now := s.opts.Now()
	today := a.Day(now.UnixMilli())
	o.LastSweep = s.figures.last.Load()
	first := today
	if s.swept(a, today) {
		first++
		o.NextSweep = first.Start(a.Zone(now.UnixMilli())).UnixMilli()
	} else if at := s.first.Load(); at != 0 {
		o.NextSweep = max(at, now.UnixMilli())
	}
	if s.figures.stopped.Load() {
		o.NextSweep = 0
	}
	if a.Settings.IdleDays == 0 {
		return o, nil
	}
	o.Due, err = s.due(a, first)
	return o, err
}

// due counts who falls due on each of the days from first on.
func (s *Sweeper) due(a *spoor.App, first spoor.Day) ([]spoor.DueDay, error) {
	counts, others, err := s.opts.Store.Idle(a.ID, since(a, first)-1, outlookDays)
	if err != nil || len(counts) == 0 {
		return nil, err
	}
	list := make([]spoor.DueDay, outlookDays)
	for i := range list {
		list[i].Day = first + spoor.Day(i)
	}
	last, held := a.Held(first)
	end := a.End()
	add := func(day spoor.Day, n int64) {
		if held {
			day = max(day, last+1)
		}
		if end != 0 && day > a.Day(end) { // they go with the app
			return
		}
		if i := max(day, first) - first; i < outlookDays {
			list[i].Profiles += n
		}
	}
	for i, n := range counts {
		add(first+spoor.Day(i), n)
	}
	for i, n := range others {
		if i == lookedAtMax {
			add(first, int64(len(others)-i))
			break
		}
		p, err := s.opts.Store.Profile(a.ID, n)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		if v := Judge(a, p, first); v.Due != 0 && !v.WithApp {
			add(v.Due, 1)
		}
	}
	return list, nil
}
