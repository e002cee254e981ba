package retention

import (
	"fmt"

	"github.com/spoorhq/spoor"
)

// Judge says whether a profile falls due on a day of its app's calendar.
func Judge(app *spoor.App, p *spoor.Profile, today spoor.Day) (v spoor.Verdict) {
	if p.UserID != "" {
		v.Keeps = append(v.Keeps, "it has a user id")
	}
	for _, c := range []struct{ name, words string }{{spoor.AttrEmail, "an e-mail address"}, {spoor.AttrPhone, "a phone number"}} {
		if p.Text(c.name) != "" {
			v.Keeps = append(v.Keeps, "it has "+c.words)
		}
	}
	if p.Text(spoor.AttrWebPush) == "true" {
		v.Keeps = append(v.Keeps, "it consented to web push")
	}
	if len(p.MobileIDs) > 0 {
		v.Keeps = append(v.Keeps, "it has a mobile identifier")
	}
	if v.LastDay = p.LastDay; p.FirstDay == 0 && p.LastDay == 0 {
		v.LastDay = app.Day(p.CreatedAt)
	}
	idle := app.Settings.IdleDays
	if idle == 0 {
		v.Keeps = append(v.Keeps, "the app's idle_days is 0: nobody falls due")
	}
	contacts := len(v.Keeps)
	if v.Due = v.LastDay + spoor.Day(idle) + 1; v.Due > today && idle > 0 {
		v.Keeps = append(v.Keeps, fmt.Sprintf("it was active on %s, not %d full days ago", v.LastDay, idle))
	}
	if contacts > 0 {
		v.Due = 0
	}
	if end := app.End(); end != 0 {
		if day := app.Day(end); v.Due == 0 || day < v.Due {
			v.Due, v.WithApp = day, true
		}
	}
	askedFor(&v, app, p, today)
	return v
}

// askedFor adds what the law or the person asks for: it keeps for a while, or
// without end.
func askedFor(v *spoor.Verdict, app *spoor.App, p *spoor.Profile, today spoor.Day) {
	keep := func(words string, last spoor.Day) {
		switch {
		case last == spoor.Forever:
			v.Keeps, v.Due = append(v.Keeps, words+", without end"), 0
		case last != 0:
			if last >= today {
				v.Keeps = append(v.Keeps, words+" until the end of "+last.String())
			}
			if v.Due != 0 {
				v.Due = max(v.Due, last+1)
			}
		}
	}
	keep("a legal hold keeps it", p.Rights.Held)
	if !v.WithApp { // an app ends in spite of it
		keep("its processing is restricted", p.Rights.Restricted)
	}
	if last, held := app.Held(today); held {
		keep("a legal hold keeps the whole app", last)
	}
}

// aged is what is too old in an app on a day of its calendar: a day of N days'
// keeping goes at the midnight after N full days, as an idle profile does.
func aged(app *spoor.App, today spoor.Day) (a spoor.Aged) {
	through := func(days int) spoor.Day {
		if days == 0 {
			return 0
		}
		return today - spoor.Day(days) - 1
	}
	a.Hits, a.Statistics = through(app.Settings.HitsDays), through(app.Settings.StatisticsDays)
	for _, c := range app.Settings.Classes() {
		if a.Kinds == nil {
			a.Kinds = map[spoor.Kind]spoor.Day{}
		}
		a.Kinds[c.Kind] = through(c.Days)
	}
	return a
}

// since is the first day on which activity keeps a profile, seen from today.
func since(app *spoor.App, today spoor.Day) spoor.Day {
	return today - spoor.Day(app.Settings.IdleDays)
}
