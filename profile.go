package spoor

import (
	"fmt"
	"strings"
	"unicode"
)

// Type is the type of an attribute's value.
type Type uint8

// The types. They are stored: append, never renumber. The text of a value is
// canonical: decimal digits for numbers, "true" or "false", YYYY-MM-DD, RFC
// 3339 in UTC, compact JSON.
const (
	TypeNull Type = iota // the value was removed
	TypeString
	TypeInt
	TypeFloat
	TypeBool
	TypeDate
	TypeDateTime
	TypeJSON
	typeCount
)

var typeNames = [typeCount]string{"null", "string", "integer", "float", "boolean", "date", "datetime", "json"}

// String gives the type's name, such as "integer".
func (t Type) String() string {
	if t < typeCount {
		return typeNames[t]
	}
	return "unknown"
}

// Attribute is one named value of a profile. Name is a standard name (see
// Standard) or the customer's own.
type Attribute struct {
	Name   string
	Type   Type
	Text   string
	Source Door  // who set it; filled by the store
	SetAt  int64 // when, Unix milliseconds; filled by the store
}

// The names of attributes that spoor knows.
const (
	AttrUserID         = "user_id"
	AttrEmail          = "email"
	AttrPhone          = "phone_number"
	AttrWebPush        = "web_push_consent"
	AttrFirstName      = "first_name"
	AttrLastName       = "last_name"
	AttrName           = "name"
	AttrGender         = "gender"
	AttrStatus         = "status"
	AttrScore          = "score"
	AttrUnsubscribed   = "unsubscribed"
	AttrNotifications  = "notifications"
	AttrAssignedTo     = "assigned_to"
	AttrGravatar       = "gravatar_url"
	AttrFacebook       = "facebook_url"
	AttrLinkedIn       = "linkedin_url"
	AttrTwitter        = "twitter_url"
	AttrGoogle         = "google_url"
	AttrTimeZone       = "timezone"
	AttrCity           = "city"
	AttrRegion         = "region"
	AttrCountry        = "country" // ISO code
	AttrLastIP         = "last_ip"
	AttrLanguage       = "browser_language"
	AttrOS             = "os_type"
	AttrOSVersion      = "os_version"
	AttrResolution     = "resolution"
	AttrDevice         = "device"
	AttrBrowser        = "browser"
	AttrBrowserVersion = "browser_version"
)

// Standard lists the standard attributes with their types: what a sender or
// the REST API may set by these names. A value that does not convert to the
// type is ignored and counted. Any other name is a custom attribute, whose
// type is that of its first value.
var Standard = map[string]Type{
	AttrEmail: TypeString, AttrPhone: TypeString, AttrWebPush: TypeBool,
	AttrFirstName: TypeString, AttrLastName: TypeString, AttrName: TypeString,
	AttrGender: TypeInt, AttrStatus: TypeString, AttrScore: TypeInt,
	AttrUnsubscribed: TypeBool, AttrNotifications: TypeBool, AttrAssignedTo: TypeString,
	AttrGravatar: TypeString, AttrFacebook: TypeString, AttrLinkedIn: TypeString,
	AttrTwitter: TypeString, AttrGoogle: TypeString,
	AttrTimeZone: TypeString, AttrCity: TypeString, AttrRegion: TypeString, AttrCountry: TypeString,
	AttrLastIP: TypeString, AttrLanguage: TypeString, AttrOS: TypeString, AttrOSVersion: TypeString,
	AttrResolution: TypeString, AttrDevice: TypeString, AttrBrowser: TypeString, AttrBrowserVersion: TypeString,
}

// Profile is a person or device of one app, as read from the store. Times are
// Unix milliseconds, 0 = never.
type Profile struct {
	App    AppID
	Number Number
	ID     int64    // public, below 2^53
	Keys   []string // cookie values and device ids that lead here, oldest first
	UserID string

	CreatedAt, UpdatedAt              int64
	FirstSeen, LastSeen               int64 // visits only
	LastContacted, LastHeardFrom      int64
	LastEmailOpened, LastEmailClicked int64
	Views, Events, Visits             int64
	FirstDay, LastDay                 Day // of activity; both 0 if never active
	MobileIDs                         []string
	Consent                           Consent
	Rights                            Rights
	Former                            []Number     // profiles merged into this one
	Attributes                        []Attribute  // sorted by name; standard and custom; no TypeNull
	Collections                       []Collection // tags, then lists, by id; their Size is not filled
}

// Plausible reports whether a text can be what a standard attribute holds: an
// e-mail address has two sides and no blanks, a phone number has a digit. An
// empty text is plausible: it says that there is none.
func Plausible(name, text string) bool {
	switch name {
	case AttrEmail:
		user, domain, ok := strings.Cut(strings.TrimSpace(text), "@")
		bad := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
		return strings.TrimSpace(text) == "" || ok && user != "" && domain != "" && len(text) <= emailBytesMax && !strings.ContainsFunc(strings.TrimSpace(text), bad)
	case AttrPhone:
		return strings.TrimSpace(text) == "" || len(text) <= phoneBytesMax && strings.ContainsAny(text, "0123456789")
	}
	return true
}

const (
	emailBytesMax = 254 // as mail servers take it
	phoneBytesMax = 64
)

// Attribute finds an attribute by name; its Type is TypeNull if not set.
func (p *Profile) Attribute(name string) Attribute {
	for i := range p.Attributes {
		if p.Attributes[i].Name == name {
			return p.Attributes[i]
		}
	}
	return Attribute{Name: name}
}

// Text is the text of an attribute, or empty.
func (p *Profile) Text(name string) string { return p.Attribute(name).Text }

// MisfitError refuses an Edit: a value does not convert to the type that the
// attribute has had since its first value.
type MisfitError struct {
	Name string // of the attribute
	Type Type   // it has; TypeNull: the app has as many attributes as it may
}

// Error tells what would be taken.
func (e *MisfitError) Error() string {
	if e.Type == TypeNull {
		return fmt.Sprintf("cannot add attribute %q: the app has too many, or the name or value is too long", e.Name)
	}
	return fmt.Sprintf("cannot set attribute %q: it is of type %s, and the value does not convert", e.Name, e.Type)
}

// Edit creates or changes a profile without a hit: the REST API, an import.
// It is no activity. With Number 0 the profile is found by UserID, then by
// Key, and made if there is none. A set UserID is given to the profile.
type Edit struct {
	App        AppID
	Number     Number
	MustCreate bool  // fail with ErrTaken if UserID or Key is known
	ID         int64 // public id to keep for a new profile (imports); 0: make one
	Key        string
	UserID     string
	Attributes []Attribute // TypeNull removes
	MobileAdd  []string
	MobileDrop []string
	TagAdd     []string // names; a tag that is new is made
	TagDrop    []string // names; unknown ones are passed over
	ListAdd    []uint32 // ids; ErrNoCollection if there is none
	ListDrop   []uint32
	Door       Door
	At         int64 // when it was received
}

// Lookup names a kind of identifier by which a profile is found.
type Lookup uint8

// The lookups. They are stored: append, never renumber.
const (
	LookupNone   Lookup = iota
	LookupKey           // cookie, anonymous id, device id
	LookupUserID        // the customer's own id
	LookupEmail         // compared in lower case; several profiles may share one
	LookupPhone         // compared by digits; several may share one
	LookupMobile        // push token or other identifier of a mobile app
	LookupPublic        // an imported public id
)
