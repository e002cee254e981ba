package query

import (
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
)

// writeUser appends a profile as the JSON of a user. The keys up to the
// customer's own id have the order that clients have seen for years; what
// came later follows. Version 2 calls the own id custom_id.
func writeUser(w *jsonWriter, p *spoor.Profile, v2 bool) {
	w.begin('{')
	w.int("id", p.ID)
	w.textOrNull("key", firstKey(p))
	w.textOrNull("name", displayName(p))
	w.textOrNull("email", p.Text(spoor.AttrEmail))
	w.text("gender", genderWord(p.Text(spoor.AttrGender)))
	w.text("status", statusWord(p.Text(spoor.AttrStatus)))
	w.textOrNull("phone_number", p.Text(spoor.AttrPhone))
	w.time("first_seen", p.FirstSeen)
	w.time("last_seen", p.LastSeen)
	w.int("page_views", p.Views)
	w.textOrNull("last_ip", p.Text(spoor.AttrLastIP))
	w.textOrNull("timezone", p.Text(spoor.AttrTimeZone))
	w.textOrNull("city", p.Text(spoor.AttrCity))
	w.textOrNull("region", p.Text(spoor.AttrRegion))
	w.textOrNull("country", countryName(p.Text(spoor.AttrCountry)))
	w.bool("unsubscribed", p.Text(spoor.AttrUnsubscribed) == "true")
	w.textOrNull("browser_language", p.Text(spoor.AttrLanguage))
	w.int("score", score(p))
	w.textOrNull("browser", p.Text(spoor.AttrBrowser))
	w.textOrNull("os_type", p.Text(spoor.AttrOS))
	w.textOrNull("resolution", p.Text(spoor.AttrResolution))
	w.time("created_at", p.CreatedAt)
	w.time("updated_at", p.UpdatedAt)
	emptyList(w, "companies")
	writeAttributes(w, p)
	w.textOrNull("gravatar_url", p.Text(spoor.AttrGravatar))
	writeMemberships(w, p)
	w.bool("notifications", p.Text(spoor.AttrNotifications) != "false")
	w.textOrNull("facebook_url", p.Text(spoor.AttrFacebook))
	w.textOrNull("linkedin_url", p.Text(spoor.AttrLinkedIn))
	w.textOrNull("twitter_url", p.Text(spoor.AttrTwitter))
	w.textOrNull("google_url", p.Text(spoor.AttrGoogle))
	w.time("last_contacted", p.LastContacted)
	if v2 {
		w.textOrNull("custom_id", p.UserID)
	} else {
		w.textOrNull("user_id", p.UserID)
	}
	writeLaterFields(w, p)
	w.end('}')
}

func writeLaterFields(w *jsonWriter, p *spoor.Profile) {
	w.textOrNull("device", p.Text(spoor.AttrDevice))
	w.time("last_heard_from", p.LastHeardFrom)
	w.time("last_email_opened", p.LastEmailOpened)
	w.time("last_email_clicked", p.LastEmailClicked)
	assigned := p.Text(spoor.AttrAssignedTo)
	if n, err := strconv.ParseInt(assigned, 10, 64); err == nil {
		w.int("assigned_to", n)
	} else {
		w.textOrNull("assigned_to", assigned)
	}
	w.bool("web_push_subscription", p.Text(spoor.AttrWebPush) == "true")
	w.textOrNull("first_name", p.Text(spoor.AttrFirstName))
	w.textOrNull("last_name", p.Text(spoor.AttrLastName))
	w.textOrNull("country_code", isoOnly(p.Text(spoor.AttrCountry)))
	w.textOrNull("os_version", p.Text(spoor.AttrOSVersion))
	w.textOrNull("browser_version", p.Text(spoor.AttrBrowserVersion))
	w.key("mobile_ids")
	w.begin('[')
	for _, id := range p.MobileIDs {
		w.item(id)
	}
	w.end(']')
	if p.Rights != (spoor.Rights{}) {
		writeRights(w, p)
	}
}

func emptyList(w *jsonWriter, name string) {
	w.key(name)
	w.b = append(w.b, '[', ']')
}

// writeMemberships appends the lists and tags.
func writeMemberships(w *jsonWriter, p *spoor.Profile) {
	w.key("lists")
	w.begin('[')
	for i := range p.Collections {
		if c := &p.Collections[i]; c.Kind == spoor.CollectionList {
			w.begin('{')
			w.int("id", int64(c.ID))
			w.text("name", c.Name)
			w.text("description", c.Description)
			w.end('}')
		}
	}
	w.end(']')
	w.key("tags")
	w.begin('[')
	for i := range p.Collections {
		if c := &p.Collections[i]; c.Kind == spoor.CollectionTag {
			w.begin('{')
			w.text("name", c.Name)
			w.int("id", int64(c.ID))
			w.end('}')
		}
	}
	w.end(']')
}

// writeAttributes appends the customer's own attributes.
func writeAttributes(w *jsonWriter, p *spoor.Profile) {
	w.key("attributes")
	w.begin('[')
	for i := range p.Attributes {
		a := &p.Attributes[i]
		if !isCustom(a.Name) {
			continue
		}
		w.begin('{')
		w.int("id", nameID(a.Name))
		w.text("name", a.Name)
		w.text("name_std", a.Name)
		w.key("value")
		writeValue(w, a)
		w.int("value_type", valueTypes[a.Type])
		w.end('}')
	}
	w.end(']')
}

// valueTypes are the numbers by which clients know the types.
var valueTypes = map[spoor.Type]int64{
	spoor.TypeBool: 1, spoor.TypeInt: 2, spoor.TypeDate: 3, spoor.TypeString: 4,
	spoor.TypeDateTime: 5, spoor.TypeFloat: 7, spoor.TypeJSON: 8,
}

func isCustom(name string) bool {
	_, standard := spoor.Standard[name]
	return !standard && name != spoor.AttrUserID
}

// nameID is a stable number for a name, where clients expect the number of a
// catalogue entry.
func nameID(name string) int64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return int64(h.Sum64()>>12) + 1 // below 2^53
}

// writeValue appends the value alone, in the JSON type of the attribute.
func writeValue(w *jsonWriter, a *spoor.Attribute) {
	switch a.Type {
	case spoor.TypeInt, spoor.TypeFloat:
		if v := jsontext.Value(a.Text); v.IsValid() && v.Kind() == '0' {
			w.b = append(w.b, a.Text...)
			return
		}
	case spoor.TypeBool:
		if a.Text == "true" || a.Text == "false" {
			w.b = append(w.b, a.Text...)
			return
		}
	case spoor.TypeJSON:
		w.rawValue([]byte(a.Text))
		return
	}
	w.quote(a.Text)
}

func firstKey(p *spoor.Profile) string {
	if len(p.Keys) == 0 {
		return ""
	}
	return p.Keys[0]
}

// displayName is derived each time; it is no source of truth.
func displayName(p *spoor.Profile) string {
	name := strings.TrimSpace(p.Text(spoor.AttrFirstName) + " " + p.Text(spoor.AttrLastName))
	if name == "" {
		name = p.Text(spoor.AttrName)
	}
	if name == "" {
		name = p.Text(spoor.AttrEmail)
	}
	return name
}

func score(p *spoor.Profile) int64 {
	n, err := strconv.ParseInt(p.Text(spoor.AttrScore), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func isoOnly(country string) string {
	if isCountryCode(country) {
		return country
	}
	return ""
}

// genders are stored as the numbers 1, 2, 3.
var genders = []string{"unknown", "male", "female"}

func genderWord(text string) string {
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(genders) {
		return genders[n-1]
	}
	return genders[0]
}

var statuses = []string{"visitor", "user"}

func statusWord(text string) string {
	if text == statuses[1] {
		return text
	}
	return statuses[0]
}
