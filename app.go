package spoor

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// App is one customer property: its keys, tokens and settings. Values handed
// out by Apps are shared and must not be changed; use Clone.
type App struct {
	ID            AppID      `json:"id"`
	Name          string     `json:"name"` // unique, [a-z0-9-], for the command line
	Created       int64      `json:"created"`
	Keys          []WriteKey `json:"keys"`
	Tokens        []Token    `json:"tokens"`
	Settings      Settings   `json:"settings"`
	Closed        bool       `json:"closed,omitempty"`         // takes no data any more
	Ends          int64      `json:"ends,omitempty"`           // Unix ms when the app was told to go; see End
	EndAsked      int64      `json:"end_asked,omitempty"`      // Unix ms when it was
	WebhookSecret string     `json:"webhook_secret,omitempty"` // signs what is sent to Settings.Webhook and FeedWebhook
	LinkSecret    string     `json:"link_secret,omitempty"`    // signs links in mails
	Share         string     `json:"share,omitempty"`          // HashToken of what opens the shared overview; empty: there is none
	Demo          bool       `json:"demo,omitempty"`           // the open app of serve --demo
	Version       int64      `json:"version,omitempty"`        // counts the changes; of two records of an app the higher one is newer

	zones      *zones      // remembers the last day asked for; nil works, slower
	exclusions *exclusions // the settings' lists, parsed; nil works, slower
}

// ValidAppName reports whether an app may have this name: 1 to 63 of a-z, 0-9
// and -, with no - at the ends.
func ValidAppName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= 63 && name[0] != '-' && name[len(name)-1] != '-'
}

// WriteKey lets a sender put data in. It is public: it stands in web pages.
type WriteKey struct {
	Key     string `json:"key"`
	Label   string `json:"label,omitempty"`
	Created int64  `json:"created"`
	Expires int64  `json:"expires,omitempty"` // Unix milliseconds; 0: never
}

// Role is what a token allows. Each role includes those before it.
type Role string

// The roles, weakest first.
const (
	RoleRead  Role = "read"
	RoleWrite Role = "write"
	RoleErase Role = "erase"
	RoleAdmin Role = "admin"
)

var roleRank = map[Role]int{RoleRead: 1, RoleWrite: 2, RoleErase: 3, RoleAdmin: 4}

// Allows reports whether the role includes what need asks for. An unknown role
// allows nothing.
func (r Role) Allows(need Role) bool {
	return roleRank[need] != 0 && roleRank[r] >= roleRank[need]
}

// Token is a secret that opens the REST API of one app. Only its hash is kept.
type Token struct {
	Name    string `json:"name"`
	Role    Role   `json:"role"`
	Hash    string `json:"hash"` // hex of SHA-256 of the secret
	Created int64  `json:"created"`
	Expires int64  `json:"expires,omitempty"` // Unix milliseconds; 0: never
}

// HashToken is the form in which a token's secret is stored and looked up.
// Plain SHA-256 is enough because secrets hold at least 128 random bits.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Live reports whether an expiry (0: never) lies after now.
func Live(expires int64, now time.Time) bool {
	return expires == 0 || now.UnixMilli() < expires
}

// Clone is a deep copy that may be changed. An App that comes from JSON is
// cloned before use: the copy answers Day from memory.
func (a *App) Clone() *App {
	b := *a
	b.zones = new(zones)
	b.exclusions = new(exclusions)
	b.Keys = append([]WriteKey(nil), a.Keys...)
	b.Tokens = append([]Token(nil), a.Tokens...)
	b.Settings = a.Settings.clone()
	return &b
}

// Apps is the directory of apps, answered from memory.
type Apps interface {
	App(id AppID) *App                              // nil if there is none
	AppByName(name string) *App                     // nil if there is none
	AppByKey(writeKey string) *App                  // nil if unknown or expired
	AppByToken(secret string) (app *App, tok Token) // nil if unknown or expired
	AllApps() []*App                                // by id
}

// Day is the app's local day of an instant, by the zone that is valid then.
func (a *App) Day(unixMilli int64) Day { return a.zones.day(a.Settings.Zones, unixMilli) }

// End is when the app goes with all its data, Unix ms; 0: never. It was ended by
// hand, or its plan ended: a trial 3 months ago, a paid one 2 years ago.
func (a *App) End() int64 {
	at := a.Ends
	last, err := ParseDay(a.Settings.PlanEnded)
	if err != nil {
		return at
	}
	from := (last + 1).Start(a.Zone(a.Created))
	var by time.Time
	switch a.Settings.Plan {
	case "trial":
		by = from.AddDate(0, 3, 0)
	case "paid":
		by = from.AddDate(2, 0, 0)
	default:
		return at
	}
	if ms := by.UnixMilli(); at == 0 || ms < at {
		at = ms
	}
	return at
}

// Held reports whether a legal hold keeps all of the app on a day, and until when.
func (a *App) Held(today Day) (until Day, held bool) {
	until, err := ParseDay(a.Settings.HoldUntil)
	return until, err == nil && today <= until
}

// Zone is the app's time zone at an instant; UTC if the name is unknown here.
func (a *App) Zone(unixMilli int64) *time.Location {
	return a.zones.at(a.Settings.Zones, unixMilli)
}

// HourOf is the hour (0 to 23) on the app's clock at an instant.
func (a *App) HourOf(unixMilli int64) int {
	return time.UnixMilli(unixMilli).In(a.Zone(unixMilli)).Hour()
}
