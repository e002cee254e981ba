package query

import (
	"strings"
	"unicode"

	"github.com/spoorhq/spoor"
)

// column is one column of users.csv.
type column struct {
	name string
	cell func(*spoor.Profile) string
}

// userColumns is the order of users.csv. Columns are added at the end, never
// moved: people point spreadsheets at them.
var userColumns = []column{
	{"id", func(p *spoor.Profile) string { return decimal(p.ID) }},
	{"key", firstKey},
	{"user_id", func(p *spoor.Profile) string { return p.UserID }},
	{"status", func(p *spoor.Profile) string { return statusWord(p.Text(spoor.AttrStatus)) }},
	{"name", displayName},
	attr(spoor.AttrFirstName), attr(spoor.AttrLastName), attr(spoor.AttrEmail), attr(spoor.AttrPhone),
	{"gender", func(p *spoor.Profile) string { return genderWord(p.Text(spoor.AttrGender)) }},
	{"score", func(p *spoor.Profile) string { return decimal(score(p)) }},
	{"unsubscribed", func(p *spoor.Profile) string { return truth(p.Text(spoor.AttrUnsubscribed) == "true") }},
	{"notifications", func(p *spoor.Profile) string { return truth(p.Text(spoor.AttrNotifications) != "false") }},
	{"web_push_subscription", func(p *spoor.Profile) string { return truth(p.Text(spoor.AttrWebPush) == "true") }},
	{"created_at", func(p *spoor.Profile) string { return formatTime(p.CreatedAt) }},
	{"updated_at", func(p *spoor.Profile) string { return formatTime(p.UpdatedAt) }},
	{"first_seen", func(p *spoor.Profile) string { return formatTime(p.FirstSeen) }},
	{"last_seen", func(p *spoor.Profile) string { return formatTime(p.LastSeen) }},
	{"last_contacted", func(p *spoor.Profile) string { return formatTime(p.LastContacted) }},
	{"last_heard_from", func(p *spoor.Profile) string { return formatTime(p.LastHeardFrom) }},
	{"last_email_opened", func(p *spoor.Profile) string { return formatTime(p.LastEmailOpened) }},
	{"last_email_clicked", func(p *spoor.Profile) string { return formatTime(p.LastEmailClicked) }},
	{"page_views", func(p *spoor.Profile) string { return decimal(p.Views) }},
	{"events", func(p *spoor.Profile) string { return decimal(p.Events) }},
	{"visits", func(p *spoor.Profile) string { return decimal(p.Visits) }},
	attr(spoor.AttrLastIP), attr(spoor.AttrTimeZone), attr(spoor.AttrCity), attr(spoor.AttrRegion),
	{"country", func(p *spoor.Profile) string { return countryName(p.Text(spoor.AttrCountry)) }},
	{"country_code", func(p *spoor.Profile) string { return isoOnly(p.Text(spoor.AttrCountry)) }},
	attr(spoor.AttrLanguage), attr(spoor.AttrBrowser), attr(spoor.AttrBrowserVersion),
	attr(spoor.AttrOS), attr(spoor.AttrOSVersion), attr(spoor.AttrDevice), attr(spoor.AttrResolution),
	attr(spoor.AttrAssignedTo), attr(spoor.AttrGravatar), attr(spoor.AttrFacebook),
	attr(spoor.AttrLinkedIn), attr(spoor.AttrTwitter), attr(spoor.AttrGoogle),
	{"mobile_ids", func(p *spoor.Profile) string { return strings.Join(p.MobileIDs, " ") }},
	{"attributes", customJSON},
	collections("tags", spoor.CollectionTag), collections("lists", spoor.CollectionList),
}

func attr(name string) column {
	return column{name, func(p *spoor.Profile) string { return p.Text(name) }}
}

// collections is a column with the names of tags or lists, as a JSON array: they
// may hold any sign.
func collections(name string, kind spoor.CollectionKind) column {
	return column{name, func(p *spoor.Profile) string {
		var w jsonWriter
		for i := range p.Collections {
			if p.Collections[i].Kind == kind {
				if w.b == nil {
					w.begin('[')
				}
				w.item(p.Collections[i].Name)
			}
		}
		if w.b == nil {
			return ""
		}
		w.end(']')
		return string(w.b)
	}}
}

// customJSON is the customer's own attributes as one JSON object.
func customJSON(p *spoor.Profile) string {
	var w jsonWriter
	for i := range p.Attributes {
		a := &p.Attributes[i]
		if !isCustom(a.Name) {
			continue
		}
		if w.b == nil {
			w.begin('{')
		}
		w.key(a.Name)
		writeValue(&w, a)
	}
	if w.b == nil {
		return ""
	}
	w.end('}')
	return string(w.b)
}

// harmless keeps a spreadsheet from running a cell as a formula: what could
// be one gets an apostrophe in front, which spreadsheets do not show. Whoever
// reads the file by program takes one away where a sign follows.
func harmless(cell string) string {
	if isFormula(cell) && !isNumber(cell) {
		return "'" + cell
	}
	return cell
}

// isFormula looks at the first character that is neither blank nor an
// apostrophe. Tab and carriage return count wherever they lead, and so do the
// full-width forms of the signs, which some spreadsheets take for the signs.
func isFormula(cell string) bool {
	for _, r := range cell {
		switch r {
		case '=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠':
			return true
		case '\'', '\ufeff', '\u200b':
			continue
		}
		if !unicode.IsSpace(r) {
			return false
		}
	}
	return false
}

// isNumber is true for negative whole numbers, which need no apostrophe.
func isNumber(cell string) bool {
	digits, negative := strings.CutPrefix(cell, "-")
	return negative && digits != "" && strings.Trim(digits, "0123456789") == ""
}
