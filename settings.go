package spoor

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
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
	BackupDays     int      `json:"backup_days"` // how long a backup may hold what is gone here
	Purposes       []string `json:"purposes"`    // attribute:purpose, where it is not that of the table
	Recipients     []string `json:"recipients"`  // to whom the customer passes data on, in words
	Webhook        string   `json:"webhook"`     // where the customer is told of objections and erasures; empty: nowhere
	AuditDays      int      `json:"audit_days"`  // how long entries of the audit log are kept
}

// How many days the audit log is kept.
const (
	AuditDaysDefault = 1095
	AuditDaysMin     = 30
)

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
	}
}

func (s Settings) clone() Settings {
	s.Zones = slices.Clone(s.Zones)
	s.Origins = slices.Clone(s.Origins)
	s.QueryAllow = slices.Clone(s.QueryAllow)
	s.ClassDays = slices.Clone(s.ClassDays)
	s.Purposes = slices.Clone(s.Purposes)
	s.Recipients = slices.Clone(s.Recipients)
	return s
}

// Setting describes one setting for the command line and the admin API.
type Setting struct {
	Name string
	Help string // one line: what it does, its values and its default
	get  func(*Settings) string
	set  func(s *Settings, value string, now time.Time) error
}

// Get prints the setting's value in the form that Set reads.
func (d Setting) Get(s *Settings) string { return d.get(s) }

// Set parses and checks a value. Now matters for the time zone, which changes
// at the next midnight.
func (d Setting) Set(s *Settings, value string, now time.Time) error {
	if err := d.set(s, strings.TrimSpace(value), now); err != nil {
		return fmt.Errorf("cannot set %s to %q: %w", d.Name, value, err)
	}
	return nil
}

// SettingByName finds a setting.
func SettingByName(name string) (Setting, error) {
	for _, d := range SettingsTable {
		if d.Name == name {
			return d, nil
		}
	}
	names := make([]string, len(SettingsTable))
	for i, d := range SettingsTable {
		names[i] = d.Name
	}
	return Setting{}, fmt.Errorf("there is no setting %q; there are %s", name, strings.Join(names, ", "))
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
}

func setZone(s *Settings, value string, now time.Time) error {
	if value == "" || value == "Local" {
		return fmt.Errorf("give an IANA name such as Europe/Warsaw")
	}
	if _, err := time.LoadLocation(value); err != nil {
		return fmt.Errorf("unknown time zone; give an IANA name such as Europe/Warsaw")
	}
	if len(s.Zones) == 0 || now.IsZero() {
		s.Zones = []ZoneSince{{Zone: value}}
		return nil
	}
	at := now.UnixMilli()
	s.Zones = slices.DeleteFunc(s.Zones, func(z ZoneSince) bool { return z.From > at })
	last := s.Zones[len(s.Zones)-1]
	if last.Zone == value {
		return nil
	}
	loc := location(last.Zone)
	s.Zones = append(s.Zones, ZoneSince{Zone: value, From: (DayOf(now, loc) + 1).Start(loc).UnixMilli()})
	return nil
}

func checkOrigin(v string) error {
	if (!strings.HasPrefix(v, "https://") && !strings.HasPrefix(v, "http://")) || strings.Count(v, "/") != 2 {
		return fmt.Errorf("%q is no origin; write scheme and host, such as https://shop.example", v)
	}
	return nil
}

func checkWord(v string) error {
	if strings.ContainsAny(v, " &=?#") {
		return fmt.Errorf("%q is no name of a query parameter", v)
	}
	return nil
}

func rate(name, help string, field func(*Settings) *int) Setting {
	return Setting{
		Name: name, Help: help,
		get: func(s *Settings) string {
			if n := *field(s); n != 0 {
				return strconv.Itoa(n)
			}
			return "none"
		},
		set: func(s *Settings, v string, _ time.Time) error {
			if v == "none" {
				*field(s) = 0
				return nil
			}
			n, err := strconv.Atoi(v)
			if err != nil {
				return fmt.Errorf("want a whole number or none")
			}
			if n < EventsPerMinuteMin || n > 1_000_000_000 {
				return fmt.Errorf("want at least %d (that much is promised to every app) and at most 1000000000, or none", EventsPerMinuteMin)
			}
			*field(s) = n
			return nil
		},
	}
}

func number(name, help string, field func(*Settings) *int, low, high int) Setting {
	return Setting{
		Name: name, Help: help,
		get: func(s *Settings) string { return strconv.Itoa(*field(s)) },
		set: func(s *Settings, v string, _ time.Time) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < low || n > high {
				return fmt.Errorf("want a whole number from %d to %d", low, high)
			}
			old := *field(s)
			*field(s) = n
			if err := s.checkAges(); err != nil {
				*field(s) = old
				return err
			}
			return nil
		},
	}
}

func flag(name, help string, field func(*Settings) *bool) Setting {
	return Setting{
		Name: name, Help: help,
		get: func(s *Settings) string { return strconv.FormatBool(*field(s)) },
		set: func(s *Settings, v string, _ time.Time) error {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return fmt.Errorf("want true or false")
			}
			*field(s) = b
			return nil
		},
	}
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

func checkClass(v string) error {
	_, err := parseClass(v)
	return err
}

func checkPurpose(v string) error {
	if name, purpose, ok := strings.Cut(v, ":"); !ok || name == "" || purpose == "" || len(v) > 200 {
		return fmt.Errorf("%q is no purpose; write attribute:purpose, such as plan:account", v)
	}
	return nil
}

func checkRecipient(v string) error {
	if len(v) > 200 {
		return fmt.Errorf("a recipient of %d bytes is too long, 200 are allowed", len(v))
	}
	return nil
}

func checkWebhook(v string) error {
	u, err := url.Parse(v)
	if v != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(v) > 500) {
		return errors.New("want an address such as https://crm.example/spoor, without user and password")
	}
	return nil
}

func text(name, help string, field func(*Settings) *string, check func(string) error) Setting {
	return Setting{
		Name: name, Help: help,
		get: func(s *Settings) string { return *field(s) },
		set: func(s *Settings, v string, _ time.Time) error {
			if err := check(v); err != nil {
				return err
			}
			*field(s) = v
			return nil
		},
	}
}

func date(name, help string, field func(*Settings) *string) Setting {
	return text(name, help, field, func(v string) error {
		if _, err := ParseDay(v); v != "" && err != nil {
			return errors.New("want a day such as 2027-01-31, or nothing")
		}
		return nil
	})
}

func choice(name, help string, field func(*Settings) *string, values ...string) Setting {
	return Setting{
		Name: name, Help: help,
		get: func(s *Settings) string { return *field(s) },
		set: func(s *Settings, v string, _ time.Time) error {
			if !slices.Contains(values, v) {
				return fmt.Errorf("want one of %s", strings.Join(values, ", "))
			}
			*field(s) = v
			return nil
		},
	}
}

func list(name, help string, field func(*Settings) *[]string, check func(string) error) Setting {
	return Setting{
		Name: name, Help: help,
		get: func(s *Settings) string { return strings.Join(*field(s), ",") },
		set: func(s *Settings, v string, _ time.Time) error {
			var out []string
			for _, item := range strings.Split(v, ",") {
				if item = strings.TrimSpace(item); item == "" {
					continue
				}
				if err := check(item); err != nil {
					return err
				}
				out = append(out, item)
			}
			if len(out) > 200 {
				return fmt.Errorf("%d entries are too many, 200 are allowed", len(out))
			}
			*field(s) = out
			return nil
		},
	}
}
