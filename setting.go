package spoor

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

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

func checkDomain(v string) error {
	if v == "" {
		return nil
	}
	for _, label := range strings.Split(v, ".") {
		if !ValidAppName(label) { // the same letters and length
			return fmt.Errorf("%q is no host name; write it in small letters without scheme and port, such as shop.example", v)
		}
	}
	if len(v) > 253 {
		return fmt.Errorf("a host name of %d bytes is too long, 253 are allowed", len(v))
	}
	return nil
}

func checkCookieDomain(v string) error {
	if v != "" && !strings.Contains(v, ".") {
		return fmt.Errorf("browsers take no cookie for %q; give the domain of the site, such as shop.example", v)
	}
	return checkDomain(v)
}

func checkNetwork(v string) error {
	if _, err := ParseNetwork(v); err != nil {
		return fmt.Errorf("%q is no network; write an address or a range, such as 203.0.113.0/24", v)
	}
	return nil
}

// ParseNetwork reads a range such as 203.0.113.0/24, or one address.
func ParseNetwork(v string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(v); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(v)
	return p.Masked(), err
}

func checkPath(v string) error {
	if v[0] != '/' || strings.ContainsAny(strings.TrimSuffix(v, "*"), "*?# ") || len(v) > 500 {
		return fmt.Errorf("%q is no path; begin with / and put * only at the end, such as /admin/*", v)
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

func checkClass(v string) error {
	_, err := parseClass(v)
	return err
}

func checkGoal(v string) error {
	_, err := parseNamedGoal(v)
	return err
}

func checkPurpose(v string) error {
	if name, purpose, ok := strings.Cut(v, ":"); !ok || name == "" || purpose == "" || len(v) > 200 {
		return fmt.Errorf("%q is no purpose; write attribute:purpose, such as plan:account", v)
	}
	return nil
}

func checkProperty(v string) error {
	name, by, grouped := strings.Cut(v, " by ")
	for _, n := range []string{name, by} {
		if n == "" && (n == name || grouped) || len(n) > 64 || strings.ContainsFunc(n, unicode.IsControl) || strings.Contains(n, "=") {
			return fmt.Errorf("%q is no property; write NAME or NAME by OTHER, each at most 64 bytes, such as price by plan", v)
		}
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

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// checkTopic knows what Kafka takes; whose topic it is others know.
func checkTopic(v string) error {
	if v != "" && (!topicName.MatchString(v) || v == "." || v == "..") {
		return errors.New("want at most 249 letters, digits, _, - and ., such as shop-feed")
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

// mode is a choice that contradicts some ages.
func mode(name, help string, field func(*Settings) *string, more ...string) Setting {
	d := choice(name, help, field, append(more, ModeCookieless, ModeExempt, ModeConsent)...)
	set := d.set
	d.set = func(s *Settings, v string, now time.Time) error {
		old := *field(s)
		err := set(s, v, now)
		if err == nil {
			err = s.checkAges()
		}
		if err != nil {
			*field(s) = old
		}
		return err
	}
	return d
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

// propertiesMax bounds what each event is looked through for.
const propertiesMax = 16

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
			most := 200
			if name == "properties" {
				most = propertiesMax
			}
			if len(out) > most {
				return fmt.Errorf("%d entries are too many, %d are allowed", len(out), most)
			}
			*field(s) = out
			return nil
		},
	}
}
