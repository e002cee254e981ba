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
		return v
	}
	contacts := len(v.Keeps)
	if v.Due = v.LastDay + spoor.Day(idle) + 1; v.Due > today {
		v.Keeps = append(v.Keeps, fmt.Sprintf("it was active on %s, not %d full days ago", v.LastDay, idle))
	}
	if contacts > 0 {
		v.Due = 0
	}
	return v
}

// since is the first day on which activity keeps a profile, seen from today.
func since(app *spoor.App, today spoor.Day) spoor.Day {
	return today - spoor.Day(app.Settings.IdleDays)
}
