package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
)

type privacyCommand struct {
	dataFlag
	App string `help:"Only this app." placeholder:"NAME"`
}

// Run asks the running server, whose configuration counts.
func (c *privacyCommand) Run() error {
	path := "/api/admin/privacy/"
	if c.App != "" {
		path = appPath(c.App) + "privacy/"
	}
	text, err := newClient(c.Data).stream("GET", path, nil)
	if err != nil {
		return err
	}
	defer text.Close()
	_, err = io.Copy(os.Stdout, text)
	return err
}

// privacy writes the record of processing: what is collected, for how long,
// where it lies, and who may read it. All of it comes from the configuration
// that is in force.
func (c *serveCommand) privacy(now func() time.Time) privacyWriter {
	return privacy(now, func(w *lines) {
		w.add("- Data directory: %s, on this machine; no copy is sent to anybody but the recipients below. Backups are the operator's.", c.Data)
		w.add("- Collector, which only takes data in: %s. Read side: %s%s.", c.Listen, c.Admin, onlyIf(c.PublicAPI, "; its REST API is also served by the collector")+onlyIf(c.App, "; all of it is also served by the collector under /app, behind a login"))
		w.add("- The collector speaks %s.", onlyIf(!c.HTTPS.given(), "plain HTTP; https is up to a proxy before it")+onlyIf(c.HTTPS.given(), "https, TLS 1.2 or newer")+onlyIf(len(c.HTTPS.ACME) > 0, "; its certificates come from an authority, which is told the host names and the operator's address"))
		if len(c.Feed.Brokers) > 0 {
			w.add("- Feeds of apps that have a feed_topic go to the Kafka brokers at %s, in %s.", strings.Join(c.Feed.Brokers, ", "), onlyIf(c.Feed.KafkaTLS, "TLS 1.2 or newer")+onlyIf(!c.Feed.KafkaTLS, "CLEAR TEXT; --feed-kafka-tls encrypts it"))
		}
		c.writeAccess(w)
	})
}

// writeAccess says who may read everything of what is kept here.
func (f *keepFlags) writeAccess(w *lines) {
	w.add("- Operator's socket: whoever may open files of the data directory may read everything.")
	w.add("- A control plane with its own token %s; it manages apps and reads no personal data but receipts and the audit log.", onlyIf(f.AdminToken == "", "is not set up")+onlyIf(f.AdminToken != "", "is set up"))
	if f.Checkpoints && f.AdminToken != "" {
		w.add("- WHO HAS THE CONTROL PLANE'S TOKEN MAY FETCH A COPY OF EVERYTHING (--checkpoints).")
	}
}

// privacyWriter writes the record of processing of some apps.
type privacyWriter = func(io.Writer, []*spoor.App) error

// privacy writes the record of some apps; where says where data lies.
func privacy(now func() time.Time, where func(*lines)) privacyWriter {
	return func(out io.Writer, apps []*spoor.App) error {
		at := now()
		w := &lines{out: out}
		w.add("# Record of processing, %s", at.UTC().Format(time.RFC3339))
		w.add("")
		w.add("Written by spoor from the configuration in force. What the law asks for beyond that (controller, legal basis, contracts) is yours to add.")
		w.add("")
		w.add("## Where")
		w.add("")
		where(w)
		w.add("- Log: no addresses, identifiers or contents.")
		for _, a := range apps {
			writeAppPrivacy(w, a, at)
		}
		return w.err
	}
}

func writeAppPrivacy(w *lines, a *spoor.App, at time.Time) {
	s := &a.Settings
	w.add("")
	w.add("## App %s", a.Name)
	w.add("")
	w.add("### What is collected")
	w.add("")
	w.add("- From visitors: a cookie or device id, pages, screens and events with time, address of the page and of the one before (without query parameters but utm_*, click ids of advertisers%s), title, resolution, language, time zone, the user agent in full, consent as the site told it, and the properties that the site sends.", onlyIf(len(s.QueryAllow) > 0, ", "+strings.Join(s.QueryAllow, ", ")))
	w.add("- How widget, pixel and mail links know a visitor again: mode %s. Mobile SDK: %s. Servers and clients of others: by the key they send.", modeText(s.Mode), modeText(s.SDKMode))
	w.add("- The browser's signals: Sec-GPC %s, DNT %s.%s", signalText(s.GPC), signalText(s.DNT), onlyIf(s.Children, " THE APP IS FOR CHILDREN: nobody is recognised, no profile is made, no address kept."))
	w.add("- Of persons who say who they are: user id, e-mail address, phone number, consent to web push, mobile identifiers.")
	w.add("- Keyed hashes: of all identifiers, to find a person; of erased and objecting persons, without end, to refuse what would bring them back; of event ids, %d days at most, to recognise repeats.", (s.WindowDays+6)/7*7+21)
	w.add("- Notices to the webhook that were not taken yet: the public id, three days.")
	w.add("- Address: %s. Place, from the address: %s. Device, browser and system, from the user agent.", map[string]string{
		"cut": "cut to /24 or /48 before anything is written", "full": "kept whole", "none": "not kept",
	}[s.IP], map[string]string{"city": "city", "region": "region", "country": "country", "none": "not kept"}[s.Geo]+onlyIf(s.GeoOptIn, ", only with consent to geolocation"))
	w.add("- Attributes of persons, by purpose:")
	for _, purpose := range purposesOf(a) {
		if s.Geo == "none" {
			purpose.attributes = slices.DeleteFunc(purpose.attributes, func(name string) bool {
				return name == spoor.AttrCity || name == spoor.AttrRegion || name == spoor.AttrCountry
			})
		}
		w.add("  - %s: %s", purpose.name, strings.Join(purpose.attributes, ", "))
	}
	w.add("  - %s: custom attributes, unless the setting purposes says otherwise", a.Purpose("\x00"))
	w.add("- Web origins that may send: %s. Write keys: %d.", orWord(strings.Join(s.Origins, ", "), "all"), len(a.Keys))
	w.add("")
	w.add("### For how long")
	w.add("")
	if s.IdleDays == 0 {
		w.add("- Anonymous profiles: without end (idle_days is 0).")
	} else {
		w.add("- Anonymous profiles and their hits: until idle for %d full days; decided at midnight in %s.", s.IdleDays, a.Zone(at.UnixMilli()))
	}
	w.add("- Persons with a contact: until erased, or the app ends. Hits of anybody: %s.", daysOr(s.HitsDays, "as long as the person"))
	for _, class := range s.Classes() {
		w.add("- Hits of kind %s: %d days.", class.Kind, class.Days)
	}
	w.add("- Statistics without persons (texts of fewer than five profiles are folded): %s.", daysOr(s.StatisticsDays, "without end"))
	w.add("- Bytes of what was removed leave the files within %d hours, where little of a day went within %d days; on request at once. Backups: %d days more.", s.BytesGoneHours, s.BytesGoneDays, s.BackupDays)
	if s.FeedDays > 0 {
		w.add("- Feed of what happened, which refers to the data above and copies nothing of it: %d days. Its readers are told of erasures.", s.FeedDays)
	}
	if s.FeedDays > 0 && s.FeedTopic != "" {
		w.add("- Kafka topic %s has a copy of that feed for as long as its retention says, which is the operator's. Nothing is taken back from it: what is erased is told there, and who reads it must erase that too.", s.FeedTopic)
	}
	w.add("- Audit log (who read, exported, changed, erased; never whose in plain) and receipts of removals: %d days.", s.AuditDays)
	w.add("- Plan %s%s.", s.Plan, onlyIf(s.PlanEnded != "", ", ended on "+s.PlanEnded))
	if end := a.End(); end != 0 {
		w.add("- The app goes with all its data at %s.", time.UnixMilli(end).UTC().Format(time.RFC3339))
	}
	if until, held := a.Held(a.Day(at.UnixMilli())); held {
		w.add("- LEGAL HOLD: nothing of the app goes until the end of %s.", until)
	}
	w.add("")
	w.add("### Who may read")
	w.add("")
	if len(a.Tokens) == 0 {
		w.add("- Nobody but the operator: the app has no token.")
	}
	for _, t := range a.Tokens {
		until := "without end"
		if t.Expires != 0 {
			until = "until " + time.UnixMilli(t.Expires).UTC().Format(time.DateOnly)
		}
		w.add("- Token %s: role %s, since %s, %s.", t.Name, t.Role, time.UnixMilli(t.Created).UTC().Format(time.DateOnly), until)
	}
	if a.Share != "" {
		w.add("- Everybody who has the link of the shared overview: statistics without persons, with no text of fewer than five visitors and no properties of events.")
	}
	w.add("")
	w.add("### Recipients")
	w.add("")
	for _, r := range a.Recipients() {
		w.add("- %s", r)
	}
	if len(a.Recipients()) == 0 {
		w.add("- None.")
	}
}

// modeText says in words what a mode does.
func modeText(mode string) string {
	switch mode {
	case spoor.ModeCookieless:
		return "cookieless (a keyed hash of address and user agent, by app and day; nothing is stored on the device; the key is renewed daily and deleted after 48 hours)"
	case spoor.ModeExempt:
		return fmt.Sprintf("exempt (a first-party cookie of %d days that is not renewed; hits are kept 25 months at most; opt-out by UE.optOut and by link)", spoor.CookieDays)
	case spoor.ModeConsent:
		return fmt.Sprintf("consent (nothing before consent to analytics; then a first-party cookie of %d days that is not renewed; advertisers' click ids only with consent to marketing)", spoor.CookieDays)
	}
	if mode == spoor.ModeOff {
		return "off (nothing is taken)"
	}
	return "key (the device's key is kept; the app on it asks for consent)"
}

func signalText(policy string) string {
	switch policy {
	case spoor.SignalDrop:
		return "is heeded: nothing is kept"
	case spoor.ModeCookieless:
		return "is heeded: cookieless"
	}
	return "is ignored"
}

// purpose is what some attributes are kept for.
type purpose struct {
	name       string
	attributes []string
}

// purposesOf groups the standard attributes by purpose.
func purposesOf(a *spoor.App) (list []purpose) {
	by := map[string][]string{a.Purpose(spoor.AttrUserID): {spoor.AttrUserID}}
	for name := range spoor.Standard {
		by[a.Purpose(name)] = append(by[a.Purpose(name)], name)
	}
	for _, p := range a.Settings.Purposes {
		if name, purpose, _ := strings.Cut(p, ":"); !slices.Contains(by[purpose], name) {
			by[purpose] = append(by[purpose], name)
		}
	}
	for name, attributes := range by {
		slices.Sort(attributes)
		list = append(list, purpose{name, attributes})
	}
	slices.SortFunc(list, func(a, b purpose) int { return strings.Compare(a.name, b.name) })
	return list
}

// lines writes lines until one fails.
type lines struct {
	out io.Writer
	err error
}

func (l *lines) add(format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.out, format+"\n", args...)
	}
}

func onlyIf(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

func orWord(text, word string) string {
	if text == "" {
		return word
	}
	return text
}

func daysOr(days int, word string) string {
	if days == 0 {
		return word
	}
	return fmt.Sprintf("%d days", days)
}
