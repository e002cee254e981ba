package spoor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: what Get prints, Set reads, for every setting, for its default and
// another value.
func TestSettingsRoundTrip(t *testing.T) {
	other := map[string]string{
		"timezone":            "Asia/Kolkata",
		"events_per_minute":   "1000",
		"requests_per_minute": "none",
		"origins":             "https://shop.example,http://localhost:3000",
		"ip":                  "none",
		"geo":                 "country",
		"query_allow":         "q,page",
		"trust_sender":        "true",
		"email_identifies":    "true",
		"window_days":         "3",
		"idle_days":           "0",
		"hits_days":           "365",
		"class_days":          "form:90,mail_open:31",
		"statistics_days":     "3650",
		"plan":                "trial",
		"plan_ended":          "2026-12-31",
		"hold_until":          "2027-01-31",
		"bytes_gone_hours":    "48",
		"bytes_gone_days":     "1",
		"backup_days":         "0",
		"purposes":            "size:account,email:marketing",
		"recipients":          "CRM of Example Ltd",
		"webhook":             "https://crm.example/spoor",
		"audit_days":          "365",
		"feed_days":           "7",
		"feed_webhook":        "https://crm.example/feed",
		"feed_topic":          "shop-feed_1.x",
		"mode":                "consent",
		"sdk_mode":            "cookieless",
		"gpc":                 "drop",
		"dnt":                 "ignore",
		"children":            "true",
		"geo_opt_in":          "true",
		"cookie_domain":       "shop.example",
		"errors":              "true",
		"hosts":               "shop.example,localhost",
		"exclude_addresses":   "203.0.113.0/24,2001:db8::1",
		"exclude_paths":       "/admin/*,/health",
		"exclude_referrers":   "spam.example",
		"properties":          "plan,price by plan",
		"goals":               "Signup=event:signup,Docs=path:/docs/*",
		"statistics_rows":     "500",
	}
	for _, d := range spoor.SettingsTable {
		value, known := other[d.Name]
		if !known {
			t.Errorf("%s: give this test another value of it", d.Name)
			continue
		}
		if !strings.Contains(d.Help, "default") || strings.Contains(d.Help, "\n") {
			t.Errorf("%s: help %q names no default or is longer than a line", d.Name, d.Help)
		}
		s := spoor.DefaultSettings("UTC")
		before := d.Get(&s)
		for _, v := range []string{before, value, before} {
			if err := d.Set(&s, " "+v+" ", time.Time{}); err != nil {
				t.Errorf("%s: %v", d.Name, err)
			}
			if got := d.Get(&s); got != v {
				t.Errorf("%s: set to %q, reads %q", d.Name, v, got)
			}
		}
		if before == value {
			t.Errorf("%s: %q is the default; this shows nothing", d.Name, value)
		}
	}
}

// Goal: a bad value is refused with what would be good, and changes nothing.
func TestSettingsRefuse(t *testing.T) {
	f := func(name, value, hint string) {
		t.Helper()
		d, err := spoor.SettingByName(name)
		if err != nil {
			t.Fatal(err)
		}
		s := spoor.DefaultSettings("UTC")
		before := d.Get(&s)
		err = d.Set(&s, value, time.Time{})
		if err == nil || !strings.Contains(err.Error(), hint) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%q: got %v, want an error with %q", name, value, err, hint)
		}
		if got := d.Get(&s); got != before {
			t.Errorf("%s=%q: was refused and changed %q to %q", name, value, before, got)
		}
	}
	// Below the promise of 1,000 a minute.
	f("events_per_minute", "999", "at least 1000")
	f("events_per_minute", "0", "at least 1000")
	f("events_per_minute", "-1", "at least 1000")
	f("requests_per_minute", "999", "at least 1000")
	f("requests_per_minute", "10000000000", "at most 1000000000")
	f("events_per_minute", "many", "whole number")
	f("events_per_minute", "1e6", "whole number")

	f("timezone", "Mars/Olympus", "IANA name")
	f("timezone", "", "IANA name")
	f("timezone", "Local", "IANA name")
	f("origins", "shop.example", "https://shop.example")
	f("origins", "https://shop.example/path", "https://shop.example")
	f("origins", strings.Repeat("https://a.example,", 201), "200 are allowed")
	f("ip", "half", "cut, full, none")
	f("cookie_domain", "com", "shop.example")
	f("mode", "exempt", "hits_days must be from 1 to 760")
	f("mode", "key", "want one of")
	f("hosts", "https://shop.example", "without scheme")
	f("exclude_addresses", "shop.example", "no network")
	f("exclude_paths", "/a*b", "only at the end")
	f("geo", "street", "city, region, country, none")
	f("query_allow", "a=b", "query parameter")
	f("trust_sender", "perhaps", "true or false")
	f("window_days", "0", "1 to 30")
	f("window_days", "31", "1 to 30")
	f("idle_days", "-1", "0 to 36500")
	f("idle_days", "7", "less than idle_days") // the window is 7
	f("hits_days", "7", "more than window_days")
	f("statistics_days", "60", "more than idle_days")
	f("class_days", "form:30", "from 31 on")
	f("class_days", "forms:90", "no class")
	f("plan", "gold", "free, trial, paid")
	f("plan_ended", "tomorrow", "2027-01-31")
	f("hold_until", "31.1.2027", "2027-01-31")
	f("bytes_gone_hours", "0", "1 to 720")
	f("bytes_gone_days", "31", "1 to 30")
	f("backup_days", "-1", "0 to 36500")
	f("purposes", "size", "attribute:purpose")
	f("goals", "signup", "Signup=event:signup")
	f("goals", "Signup=click:signup", "event:NAME")
	f("goals", "Signup=path:*", "event:NAME")
	f("webhook", "crm.example", "https://crm.example/spoor")
	f("feed_webhook", "crm.example", "https://crm.example/spoor")
	f("feed_topic", "..", "such as shop-feed")
	f("feed_topic", "shop feed", "such as shop-feed")
	f("feed_topic", "shop/feed", "such as shop-feed")
	f("feed_topic", strings.Repeat("a", 250), "at most 249")
	f("webhook", "ftp://crm.example", "https://crm.example/spoor")
	f("webhook", "https://user:pass@crm.example", "without user and password")

	_, err := spoor.SettingByName("colour")
	if err == nil || !strings.Contains(err.Error(), `"colour"`) || !strings.Contains(err.Error(), "window_days") {
		t.Errorf("unknown setting: got %v, want an error that lists the settings", err)
	}
}

// Goal: a change of time zone takes effect at the next local midnight, and a
// second change before it replaces the first.
func TestTimezoneChangesAtMidnight(t *testing.T) {
	d, err := spoor.SettingByName("timezone")
	if err != nil {
		t.Fatal(err)
	}
	app := (&spoor.App{Settings: spoor.DefaultSettings("Europe/Warsaw")}).Clone()
	noon := time.Date(2026, 3, 10, 11, 0, 0, 0, time.UTC) // 12:00 in Warsaw
	for _, zone := range []string{"America/New_York", "Asia/Kolkata"} {
		if err := d.Set(&app.Settings, zone, noon); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(app.Settings.Zones); n != 2 {
		t.Fatalf("%d zones, want 2: the change that never took effect is gone", n)
	}
	midnight := time.Date(2026, 3, 10, 23, 0, 0, 0, time.UTC) // 00:00 in Warsaw
	f := func(at time.Time, zone, day string) {
		t.Helper()
		if got := app.Zone(at.UnixMilli()).String(); got != zone {
			t.Errorf("%v: zone %s, want %s", at, got, zone)
		}
		if got := app.Day(at.UnixMilli()).String(); got != day {
			t.Errorf("%v: day %s, want %s", at, got, day)
		}
	}
	f(noon, "Europe/Warsaw", "2026-03-10")
	f(midnight.Add(-time.Millisecond), "Europe/Warsaw", "2026-03-10")
	f(midnight, "Asia/Kolkata", "2026-03-11") // 04:30 there
	f(midnight.Add(24*time.Hour), "Asia/Kolkata", "2026-03-12")
}

// Goal: the table of what counts as what, as retention/RETENTION.md promises it.
func TestKinds(t *testing.T) {
	type counts = spoor.Counts
	page := counts{Active: true, Visitor: true, View: true}
	event := counts{Active: true, Visitor: true, Event: true}
	distant := counts{Active: true, Event: true}
	quiet := counts{Active: true}
	want := map[string]counts{
		"page": page, "screen": page,
		"event": event, "click": event, "product": event, "form": event,
		"mail_open": distant, "mail_click": distant, "push": distant, "server_event": distant,
		"identify": quiet, "ping": quiet, "alias": quiet, "group": quiet, "leave": quiet,
	}
	for name, c := range want {
		k, ok := spoor.ParseKind(name)
		if !ok || k.String() != name {
			t.Errorf("%s: kind %v, %t", name, k, ok)
		}
		if k.Counts() != c {
			t.Errorf("%s counts as %+v, want %+v", name, k.Counts(), c)
		}
	}
	all := 0
	for k := range spoor.Kind(255) {
		name := k.String()
		if _, ok := spoor.ParseKind(name); ok {
			all++
		} else if k.Counts() != (counts{}) {
			t.Errorf("kind %d, %q, counts as %+v", k, name, k.Counts())
		}
	}
	if all != len(want) {
		t.Errorf("%d kinds have a name, the table knows %d", all, len(want))
	}
	for _, name := range []string{"", "none", "unknown", "Page"} {
		if k, ok := spoor.ParseKind(name); ok {
			t.Errorf("%q is read as %v", name, k)
		}
	}
}
