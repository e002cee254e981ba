package spoor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const windowDaysMax = 30

// EventsPerMinuteMin is the promised floor: no app's limit can be set below.
const EventsPerMinuteMin = 1000

// Settings are what an operator may choose for one app. The zero value of a
// field is not a default; DefaultSettings is where defaults stand.
type Settings struct {
	Zones           []ZoneSince `json:"zones"`             // oldest first
	EventsPerMinute int         `json:"events_per_minute"` // collector; 0: no limit
	RequestsPerMin  int         `json:"requests_per_minute"`
	Origins         []string    `json:"origins"`      // allowed web origins; empty: all
	IP              string      `json:"ip"`           // what is kept: cut, full, none
	Geo             string      `json:"geo"`          // precision: city, region, country, none
	QueryAllow      []string    `json:"query_allow"`  // query parameters of urls that are kept beside utm_* and click ids
	TrustSender     bool        `json:"trust_sender"` // take address and user agent from a server-side sender's body
	EmailIdentifies bool        `json:"email_identifies"`
	WindowDays      int         `json:"window_days"` // how late an event may be and still be filed under its own day
	IdleDays        int         `json:"idle_days"`   // anonymous profiles idle for so long are forgotten; 0: never

	HitsDays       int      `json:"hits_days"`       // hits older than that go, whosoever; 0: never
	StatisticsDays int      `json:"statistics_days"` // statistics of days older than that go; 0: never
	ClassDays      []string `json:"class_days"`      // kind:days; hits of a kind that go before hits_days
	Plan           string   `json:"plan"`            // free, trial, paid
	PlanEnded      string   `json:"plan_ended"`      // last day of a trial or paid plan; empty: goes on
	HoldUntil      string   `json:"hold_until"`      // last day of a legal hold of the whole app; empty: none
	BytesGoneHours int      `json:"bytes_gone_hours"`
	BytesGoneDays  int      `json:"bytes_gone_days"`
	BackupDays     int      `json:"backup_days"`  // how long a backup may hold what is gone here
	Purposes       []string `json:"purposes"`     // attribute:purpose, where it is not that of the table
	Recipients     []string `json:"recipients"`   // to whom the customer passes data on, in words
	Webhook        string   `json:"webhook"`      // where the customer is told of objections and erasures; empty: nowhere
	AuditDays      int      `json:"audit_days"`   // how long entries of the audit log are kept
	FeedDays       int      `json:"feed_days"`    // how long entries of the feed are kept; 0: there is none
	FeedWebhook    string   `json:"feed_webhook"` // where entries of the feed are sent; empty: nowhere
	FeedTopic      string   `json:"feed_topic"`   // Kafka topic to which they are sent instead; empty: none

	Mode             string   `json:"mode"`          // of widget, pixel and click: cookieless, exempt, consent
	SDKMode          string   `json:"sdk_mode"`      // of the mobile SDK: key or the same three
	GPC              string   `json:"gpc"`           // what Sec-GPC does: ignore, cookieless, drop
	DNT              string   `json:"dnt"`           // what DNT does: the same three
	Children         bool     `json:"children"`      // nobody is recognised, hits are only counted
	GeoOptIn         bool     `json:"geo_opt_in"`    // no place without consent to geolocation
	CookieDomain     string   `json:"cookie_domain"` // domain for which the collector sets the cookie; empty: the script does
	Errors           bool     `json:"errors"`        // the widget sends JavaScript errors
	Hosts            []string `json:"hosts"`         // host names of the app's pages; empty: all
	ExcludeAddresses []string `json:"exclude_addresses"`
	ExcludePaths     []string `json:"exclude_paths"`
	ExcludeReferrers []string `json:"exclude_referrers"`

	Goals          []string `json:"goals"`           // NAME=event:TEXT, path:TEXT or screen:TEXT
	Properties     []string `json:"properties"`      // of events, that statistics group by; "NAME by OTHER" sums up numbers by another
	StatisticsRows int      `json:"statistics_rows"` // texts of a dimension that get a row of their own each day
}

// The ways in which a door knows a visitor again.
const (
	ModeCookieless = "cookieless" // by a number that is renewed each day; nothing is stored on the device
	ModeExempt     = "exempt"     // by a cookie, for counting visitors only
	ModeConsent    = "consent"    // by a cookie, and nothing at all before consent to analytics
	ModeKey        = "key"        // by the key that the sender gives; mobile SDK only
	ModeOff        = "off"        // not at all: nothing is taken; mobile SDK only
)

// What a signal of the browser does, beside ModeCookieless.
const (
	SignalIgnore = "ignore"
	SignalDrop   = "drop"
)

var signalPolicies = []string{SignalIgnore, ModeCookieless, SignalDrop}

// exemptDaysMax is 25 months: what the French authority (CNIL) allows without
// consent for data of an audience measurement. CookieDays is 13 months, for its
// cookie.
const (
	exemptDaysMax = 760
	CookieDays    = 395
)

// How many days the audit log is kept.
const (
	AuditDaysDefault = 1095
	AuditDaysMin     = 30
)

// FeedDaysMax is the longest that entries of a feed are kept, in days.
const FeedDaysMax = 30

// DefaultSettings are the settings of a new app in the given zone.
func DefaultSettings(zone string) Settings {
	return Settings{
		Zones:           []ZoneSince{{Zone: zone}},
		EventsPerMinute: 600_000,
		RequestsPerMin:  6_000,
		IP:              "cut",
		Geo:             "city",
		WindowDays:      7,
		IdleDays:        60,
		Plan:            "free",
		BytesGoneHours:  24,
		BytesGoneDays:   7,
		BackupDays:      30,
		AuditDays:       AuditDaysDefault,
		Mode:            ModeCookieless,
		SDKMode:         ModeKey,
		GPC:             ModeCookieless,
		DNT:             ModeCookieless,
		StatisticsRows:  1_000,
	}
}

func (s Settings) clone() Settings {
	s.Zones = slices.Clone(s.Zones)
	s.Origins = slices.Clone(s.Origins)
	s.QueryAllow = slices.Clone(s.QueryAllow)
	s.ClassDays = slices.Clone(s.ClassDays)
	s.Purposes = slices.Clone(s.Purposes)
	s.Recipients = slices.Clone(s.Recipients)
	s.Hosts = slices.Clone(s.Hosts)
	s.ExcludeAddresses = slices.Clone(s.ExcludeAddresses)
	s.ExcludePaths = slices.Clone(s.ExcludePaths)
	s.ExcludeReferrers = slices.Clone(s.ExcludeReferrers)
	s.Goals = slices.Clone(s.Goals)
	s.Properties = slices.Clone(s.Properties)
	return s
}

// SettingsTable is every setting, in the order in which they are shown.
var SettingsTable = []Setting{
	{
		Name: "timezone",
		Help: "IANA time zone of the app's days; a change takes effect at the next midnight (default UTC)",
		get:  func(s *Settings) string { return s.Zones[len(s.Zones)-1].Zone },
		set:  setZone,
	},
	rate("events_per_minute", "events the collector takes per minute, 1000 or more, or none (default 600000)",
		func(s *Settings) *int { return &s.EventsPerMinute }),
	rate("requests_per_minute", "requests the REST API answers per minute, 1000 or more, or none (default 6000)",
		func(s *Settings) *int { return &s.RequestsPerMin }),
	list("origins", "web origins that may send, such as https://shop.example, by comma; empty allows all (default empty)",
		func(s *Settings) *[]string { return &s.Origins }, checkOrigin),
	choice("ip", "what is kept of an address: cut (/24 and /48), full, none (default cut)",
		func(s *Settings) *string { return &s.IP }, "cut", "full", "none"),
	choice("geo", "precision of the place that is kept: city, region, country, none (default city)",
		func(s *Settings) *string { return &s.Geo }, "city", "region", "country", "none"),
	list("query_allow", "query parameters of urls to keep beside utm_* and click ids, by comma (default empty)",
		func(s *Settings) *[]string { return &s.QueryAllow }, checkWord),
	flag("trust_sender", "take address and user agent from the body of server-side senders: true, false (default false)",
		func(s *Settings) *bool { return &s.TrustSender }),
	flag("email_identifies", "an e-mail address identifies a person where no user_id is given: true, false (default false)",
		func(s *Settings) *bool { return &s.EmailIdentifies }),
	number("window_days", "days an event may be late and still be filed under its own day, 1 to 30 and less than idle_days (default 7)",
		func(s *Settings) *int { return &s.WindowDays }, 1, windowDaysMax),
	number("idle_days", "days after which an idle anonymous profile is forgotten, 0 = never (default 60)",
		func(s *Settings) *int { return &s.IdleDays }, 0, 36500),
	number("hits_days", "age in days at which all hits go, also those of known persons, more than window_days; 0 = never (default 0)",
		func(s *Settings) *int { return &s.HitsDays }, 0, 36500),
	list("class_days", "age at which hits of a kind go before the others, such as form:365,mail_open:90 (default empty)",
		func(s *Settings) *[]string { return &s.ClassDays }, checkClass),
	number("statistics_days", "age in days at which the statistics of a day go, more than idle_days and window_days; 0 = never (default 0)",
		func(s *Settings) *int { return &s.StatisticsDays }, 0, 36500),
	choice("plan", "free (kept without end), trial (goes 3 months after plan_ended), paid (goes 2 years after plan_ended) (default free)",
		func(s *Settings) *string { return &s.Plan }, "free", "trial", "paid"),
	date("plan_ended", "last day of a trial or paid plan, such as 2026-12-31; empty: it goes on (default empty)",
		func(s *Settings) *string { return &s.PlanEnded }),
	date("hold_until", "last day of a legal hold: until then nothing of the app goes, by no rule and no request (default empty)",
		func(s *Settings) *string { return &s.HoldUntil }),
	number("bytes_gone_hours", "hours in which the bytes of a day leave the files that lost many profiles, 1 to 720; later is an alarm (default 24)",
		func(s *Settings) *int { return &s.BytesGoneHours }, 1, 720),
	number("bytes_gone_days", "days in which the bytes of few removed profiles leave other days, 1 to 30; less writes more (default 7)",
		func(s *Settings) *int { return &s.BytesGoneDays }, 1, 30),
	number("backup_days", "days for which your backups are kept; receipts say until when they may hold what is gone (default 30)",
		func(s *Settings) *int { return &s.BackupDays }, 0, 36500),
	list("purposes", "attribute:purpose, where it is not account, contact, marketing or analytics by the table (default empty)",
		func(s *Settings) *[]string { return &s.Purposes }, checkPurpose),
	list("recipients", "to whom you pass data on, in words, by comma; exports and spoor privacy name them (default empty)",
		func(s *Settings) *[]string { return &s.Recipients }, checkRecipient),
	text("webhook", "http or https address that is told of objections, restrictions and erasures (default empty)",
		func(s *Settings) *string { return &s.Webhook }, checkWebhook),
	number("audit_days", "days that entries of the audit log are kept, 30 to 36500 (default 1095)",
		func(s *Settings) *int { return &s.AuditDays }, AuditDaysMin, 36500),
	number("feed_days", "days that entries of the feed are kept for whoever follows it, 1 to 30; 0 = the app has no feed (default 0)",
		func(s *Settings) *int { return &s.FeedDays }, 0, FeedDaysMax),
	text("feed_webhook", "http or https address to which the entries of the feed are sent as they come, while feed_days is above 0 (default empty)",
		func(s *Settings) *string { return &s.FeedWebhook }, checkWebhook),
	text("feed_topic", "Kafka topic to which the entries of the feed are sent as they come, while feed_days is above 0; instead of feed_webhook (default empty)",
		func(s *Settings) *string { return &s.FeedTopic }, checkTopic),
	mode("mode", "how widget, pixel and click know a visitor again: cookieless (not beyond the day), exempt (cookie; wants hits_days of 760 or less), consent (cookie, nothing before consent) (default cookieless)",
		func(s *Settings) *string { return &s.Mode }),
	mode("sdk_mode", "how the mobile SDK knows a device again: key (as its protocol has it, consent is asked by your app), or cookieless, exempt, consent as above, or off: its paths take nothing (default key)",
		func(s *Settings) *string { return &s.SDKMode }, ModeKey, ModeOff),
	choice("gpc", "what the browser's signal Sec-GPC does: ignore, cookieless, drop (default cookieless)",
		func(s *Settings) *string { return &s.GPC }, signalPolicies...),
	choice("dnt", "what the browser's signal DNT does: ignore, cookieless, drop (default cookieless)",
		func(s *Settings) *string { return &s.DNT }, signalPolicies...),
	flag("children", "the app is for children: hits are counted, nobody is recognised, no profile is made: true, false (default false)",
		func(s *Settings) *bool { return &s.Children }),
	flag("geo_opt_in", "the place of an address is looked up only where the hit says consent to geolocation: true, false (default false)",
		func(s *Settings) *bool { return &s.GeoOptIn }),
	text("cookie_domain", "domain for which the collector itself sets the widget's cookie, such as shop.example, if it is reached under that domain (default empty: the script sets it)",
		func(s *Settings) *string { return &s.CookieDomain }, checkCookieDomain),
	flag("errors", "the widget sends JavaScript errors of pages as events: true, false (default false)",
		func(s *Settings) *bool { return &s.Errors }),
	list("hosts", "host names of the app's pages, with their subdomains, by comma; pages of others are refused; empty allows all (default empty)",
		func(s *Settings) *[]string { return &s.Hosts }, checkDomain),
	list("exclude_addresses", "addresses or networks whose hits are refused, such as 203.0.113.0/24, by comma (default empty)",
		func(s *Settings) *[]string { return &s.ExcludeAddresses }, checkNetwork),
	list("exclude_paths", "paths of pages that are refused, * at the end for all that begin so, such as /admin/*, by comma (default empty)",
		func(s *Settings) *[]string { return &s.ExcludePaths }, checkPath),
	list("exclude_referrers", "hosts, with their subdomains, whose referrals are refused as spam, by comma (default empty)",
		func(s *Settings) *[]string { return &s.ExcludeReferrers }, checkDomain),
	list("properties", "properties of events that statistics group by, on days whose first hit comes later, by comma; \"price by plan\" sums up the numbers of one by the values of another (default empty)",
		func(s *Settings) *[]string { return &s.Properties }, checkProperty),
	list("goals", "goals of the statistics, NAME=event:TEXT, NAME=path:TEXT or NAME=screen:TEXT, with * at the end for all that begin so, by comma (default empty)",
		func(s *Settings) *[]string { return &s.Goals }, checkGoal),
	number("statistics_rows", "texts of a dimension, such as paths, that get rows of their own in the statistics of a day; what comes later counts as (other) (default 1000)",
		func(s *Settings) *int { return &s.StatisticsRows }, 10, 10_000),
}

// checkAges refuses ages that contradict each other.
func (s *Settings) checkAges() error {
	switch {
	case s.IdleDays != 0 && s.WindowDays >= s.IdleDays:
		return errors.New("window_days must be less than idle_days, or a sweep could meet hits that still arrive")
	case s.HitsDays != 0 && s.WindowDays >= s.HitsDays:
		return errors.New("hits_days must be more than window_days, or days would go to which hits still come")
	case s.StatisticsDays != 0 && s.StatisticsDays <= max(s.IdleDays, s.WindowDays):
		return errors.New("statistics_days must be more than idle_days and window_days, or nobody could tell who is idle")
	case (s.Mode == ModeExempt || s.SDKMode == ModeExempt) && (s.IdleDays == 0 || s.IdleDays > exemptDaysMax):
		return fmt.Errorf("mode exempt keeps anonymous profiles for 25 months at most: idle_days must be from 1 to %d with it, and is %d", exemptDaysMax, s.IdleDays)
	case (s.Mode == ModeExempt || s.SDKMode == ModeExempt) && (s.HitsDays == 0 || s.HitsDays > exemptDaysMax):
		return fmt.Errorf("mode exempt keeps hits for 25 months at most: hits_days must be from 1 to %d with it, and is %d", exemptDaysMax, s.HitsDays)
	}
	return nil
}

// Class is how long hits of one kind are kept.
type Class struct {
	Kind Kind
	Days int
}

// Classes reads class_days.
func (s *Settings) Classes() (list []Class) {
	for _, c := range s.ClassDays {
		if class, err := parseClass(c); err == nil {
			list = append(list, class)
		}
	}
	return list
}

func parseClass(text string) (c Class, err error) {
	name, days, _ := strings.Cut(text, ":")
	kind, ok := ParseKind(strings.TrimSpace(name))
	n, err := strconv.Atoi(strings.TrimSpace(days))
	if !ok || err != nil || n <= windowDaysMax || n > 36500 {
		return c, fmt.Errorf("%q is no class; write a kind of hit and days from %d on, such as form:365", text, windowDaysMax+1)
	}
	return Class{kind, n}, nil
}

// DeclaredGoals reads goals.
func (s *Settings) DeclaredGoals() (list []Goal) {
	for _, text := range s.Goals {
		if g, err := parseNamedGoal(text); err == nil {
			list = append(list, g)
		}
	}
	return list
}

func parseNamedGoal(text string) (g Goal, err error) {
	name, goal, ok := strings.Cut(text, "=")
	if !ok || strings.TrimSpace(name) == "" || len(name) > 100 {
		return g, fmt.Errorf("%q is no goal; write a name of at most 100 bytes, = and the goal, such as Signup=event:signup", text)
	}
	g, err = ParseGoal(strings.TrimSpace(goal))
	g.Name = strings.TrimSpace(name)
	return g, err
}
