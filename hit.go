package spoor

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// AppID numbers an app (one customer property) within one store. It is the
// first part of every key, so no read can cross apps by accident.
type AppID uint32

// Number is the internal number of a profile: dense per app, counted from 1,
// never used again. It is never shown outside; PublicID is.
type Number uint32

// Kind is what happened. It alone decides what a hit counts as; see Counts.
type Kind uint8

// The kinds of hits. The values are stored: append, never renumber.
const (
	KindNone        Kind = iota
	KindPage             // a page was shown
	KindScreen           // a screen of a mobile app was shown
	KindEvent            // a custom event sent by a widget, pixel or SDK
	KindClick            // a link or button was clicked
	KindProduct          // a product event (view, add to cart, order …)
	KindForm             // a form was submitted
	KindMailOpen         // the pixel of a mail was loaded
	KindMailClick        // a link of a mail was followed
	KindPush             // a push or in-app message was shown, clicked, dismissed
	KindIdentify         // somebody told who the visitor is
	KindPing             // an SDK said hello
	KindAlias            // two ids are the same person
	KindGroup            // a person belongs to a company
	KindServerEvent      // an event posted by the customer's own server
	KindLeave            // a page was left; ends the time on it, and is no event
	kindCount
)

var kindNames = [kindCount]string{
	"none", "page", "screen", "event", "click", "product", "form", "mail_open",
	"mail_click", "push", "identify", "ping", "alias", "group", "server_event", "leave",
}

// String gives the name used on the wire and in exports, such as "page".
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return "unknown"
}

// ParseKind is the reverse of String; ok is false for any other text.
func ParseKind(name string) (k Kind, ok bool) {
	for i, n := range kindNames {
		if n == name && i != 0 {
			return Kind(i), true
		}
	}
	return KindNone, false
}

// Counts says what one hit of this kind adds to. Bots count as nothing, which
// is the caller's to check.
type Counts struct {
	Active  bool // keeps the profile from falling idle
	Visitor bool // makes a visitor and belongs to a visit
	View    bool // is a page view
	Event   bool // is an event
}

// Counts is the table of what counts as what.
func (k Kind) Counts() Counts {
	switch k {
	case KindPage, KindScreen:
		return Counts{Active: true, Visitor: true, View: true}
	case KindEvent, KindClick, KindProduct, KindForm:
		return Counts{Active: true, Visitor: true, Event: true}
	case KindMailOpen, KindMailClick, KindPush, KindServerEvent:
		return Counts{Active: true, Event: true}
	case KindIdentify, KindPing, KindAlias, KindGroup, KindLeave:
		return Counts{Active: true}
	}
	return Counts{}
}

// Door is where something came in. It is kept as the source of every
// attribute that is set. The values are stored: append, never renumber.
type Door uint8

// The doors.
const (
	DoorNone    Door = iota
	DoorNative       // POST /hit
	DoorPixel        // GET /pixel.gif
	DoorSegment      // the Segment-shaped paths
	DoorREST         // the REST API of the read listener
	DoorImport       // a file of contacts
	DoorSDK          // the mobile SDK paths
	DoorDerived      // found out by spoor itself (GeoIP, user agent)
	DoorWidget       // the script in web pages
	DoorClick        // the click and opt-out links of mails
	doorCount
)

var doorNames = [doorCount]string{"none", "native", "pixel", "segment", "rest", "import", "sdk", "derived", "widget", "click"}

// String gives the door's name, such as "segment".
func (d Door) String() string {
	if d < doorCount {
		return doorNames[d]
	}
	return "unknown"
}

// Consent is what a visitor agreed to, two bits for each category.
type Consent uint8

// Choice is the state of one category of consent.
type Choice uint8

// The choices. Unknown means that the sender said nothing.
const (
	ChoiceUnknown Choice = iota
	ChoiceGranted
	ChoiceDenied
)

// Analytics is the choice for being counted and remembered.
func (c Consent) Analytics() Choice { return Choice(c & 3) }

// Marketing is the choice for being addressed.
func (c Consent) Marketing() Choice { return Choice(c >> 2 & 3) }

// Geolocation is the choice for having the place of one's address looked up.
func (c Consent) Geolocation() Choice { return Choice(c >> 4 & 3) }

// NewConsent packs the choices.
func NewConsent(analytics, marketing, geolocation Choice) Consent {
	return Consent(analytics&3) | Consent(marketing&3)<<2 | Consent(geolocation&3)<<4
}

// Brand is one entry of a browser's list of brands (user-agent client hints).
type Brand struct{ Name, Version string }

// Hints are user-agent client hints, from headers or from the payload. They
// are untrusted text.
type Hints struct {
	Brands          []Brand // with full versions where the browser gave them
	Mobile          Choice  // ChoiceGranted: yes, ChoiceDenied: no
	Platform        string  // "Windows"
	PlatformVersion string  // "13.0.0" is Windows 11
	Model           string  // "Pixel 8"
	TouchPoints     int     // navigator.maxTouchPoints; tells an iPad from a Mac
}

// Place is where an address is. Unknown parts are empty.
type Place struct {
	City    string // English name
	Region  string // English name of the first subdivision
	Country string // ISO 3166-1 alpha-2 code
}

// Agent is what a user agent and its hints say about a device.
type Agent struct {
	OS, OSVersion           string
	Browser, BrowserVersion string
	Device                  string // mobile, tablet, desktop, tv, bot; empty if unknown
}

// Campaign is how a visitor was led here.
type Campaign struct {
	Channel                             string // direct, search, social, mail, paid, referral, internal, campaign
	Source, Medium, Name, Term, Content string // the utm_ parameters
}

// Hit is one thing that happened. The first half is what the sender said, as
// a protocol decoded it; the second half is filled by the stages behind it.
// All times are Unix milliseconds, 0 = none.
type Hit struct {
	App      AppID
	Kind     Kind
	Door     Door
	ID       string   // event id as the client gave it; empty if it gave none
	Digest   [16]byte // content hash, for events with a time of their own but no ID; zero: never a duplicate
	Key      string   // cookie value, anonymous id or device id
	UserID   string   // the customer's own id of the person
	FormerID string   // alias only: the id that is the same person as UserID
	Name     string   // name of event, page or screen; of the group for KindGroup
	URL      string
	Referrer string
	Title    string
	Time     int64 // when it happened, corrected for the sender's clock; 0: at Received
	Received int64 // when it reached the front door; set by ingest

	Resolution string // "1440x900"
	Language   string // "pl-PL"
	TimeZone   string // IANA name
	Properties []byte // compact JSON object, or nil
	Attributes []Attribute
	MobileAdd  string // push token to give to the profile; never stored with the hit
	MobileDrop string // push token to take from the profile of Key; such a hit changes tokens alone and is not kept
	Withheld   *Withheld
	Consent    Consent
	Hints      Hints
	IP         netip.Addr // of the visitor; invalid if unknown
	UserAgent  string     // of the visitor; empty if unknown

	// Filled by enrich.
	Place    Place
	Agent    Agent
	Campaign Campaign
	Bot      bool // kept and marked; makes no profile and no visitor
	Redacted int  // values removed by minimisation

	// Filled by store.
	Outcome Outcome
	Reason  Reason // why, when Outcome is Refused
	Public  int64  // public id of the stored hit, below 2^53
	Profile Number // 0 for bots
	Day     Day    // the partition
	Visit   int64  // start of the visit it belongs to; 0 if it makes none
	First   bool   // it began that visit
	Marks   Marks
	Tally   Tally
}

// Withheld is what a sender said of a person and the app's privacy took away
// before anything was done with it. Objections and erasures are looked up by
// it: who objected must not count because nothing is known of who it is.
type Withheld struct {
	Key, UserID, FormerID, MobileAdd string
	Attributes                       []Attribute
}

// Tally is what a hit added to statistics beyond what its kind says, as of the
// moment when it was counted. Times are milliseconds.
type Tally struct {
	New     bool   // the first hit of a visitor
	Engaged bool   // the first view or event of its visit after the instant in which that began
	Aside   bool   // a view that came out of order: it neither ended nor began the time on a page
	Timed   bool   // it ended the time on the page before
	Gap     int64  // by how much it made its visit longer
	Since   int64  // time since the view before, in the same visit and on the same day; 0: there was none
	From    string // that view's path or screen, where it stands under a former number of the person
}

// Marks say what is unusual about a stored hit.
type Marks uint8

// The marks. They are stored: append, never renumber.
const (
	MarkLate      Marks = 1 << iota // older than the window: filed under the first open day
	MarkFuture                      // a time in the future was replaced by the time of receipt
	MarkUncounted                   // of a person who is left out of statistics and feeds; see Rights
)

// Outcome is what became of a hit.
type Outcome uint8

// The outcomes. Pending is the zero value and never leaves a Sink.
const (
	Pending   Outcome = iota
	Stored            // on disk, fsynced
	Duplicate         // its id is on disk, fsynced, from before
	Refused           // not stored; Reason says why
	Accepted          // in the log behind another machine (all in-sync replicas)
)

// String gives the word used in replies, such as "stored".
func (o Outcome) String() string {
	return [...]string{"pending", "stored", "duplicate", "refused", "accepted"}[min(int(o), 4)]
}

// Reason names why a hit or a request was refused, in snake_case. The front
// door's table maps each to a status and a text.
type Reason string

// Reasons that stages behind the front door give.
const (
	ReasonConsent Reason = "consent_denied" // the sender said that analytics is not consented to
	ReasonNobody  Reason = "no_identity"    // neither key nor user id, and the kind needs one
	ReasonErased  Reason = "erased"         // the person was erased after this happened
	ReasonObject  Reason = "objected"       // the person objected to being tracked
	ReasonClosed  Reason = "app_closed"     // the app takes no data any more

	ReasonTooLarge Reason = "hit_too_large" // larger than a record of the log behind another machine
)

// Errors of a Sink that concern a whole batch: none of its hits was taken.
var (
	ErrBusy     = errors.New("the write queue is full")
	ErrReadOnly = errors.New("the store is read-only: the disk is almost full")
	ErrClosed   = errors.New("the store is closed")
)

// ErrNameTaken refuses to create an app under the name of another.
var ErrNameTaken = errors.New("another app has this name")

// ErrNumberTaken refuses to create an app under a number that was given before.
var ErrNumberTaken = errors.New("another app had this number")

// ErrApplied refuses a change at a place of a log up to which the store has come
// already.
var ErrApplied = errors.New("the change was applied before")

// ClockError refuses to remove what is due by time while the clocks of two store
// nodes are far from each other.
type ClockError struct {
	Node  string        // URL of the other one
	Ahead time.Duration // of its clock; negative: it is behind
}

func (e *ClockError) Error() string {
	than := "ahead of"
	if e.Ahead < 0 {
		than = "behind"
	}
	return fmt.Sprintf("the clock of node %s is %s %s this one's", e.Node, e.Ahead.Abs().Round(time.Second), than)
}

// Errors of an Edit.
var (
	ErrTaken     = errors.New("the identifier belongs to another profile")
	ErrNoProfile = errors.New("there is no such profile")
	ErrDaily     = errors.New("a cookieless visitor, known for a day, may be several persons and cannot be made one")
)

// Sink takes hits. Write returns nil once every hit has its final Outcome; it
// blocks until what it calls Stored is fsynced. On an error no outcome of the
// batch may be used, and the sender may send all of it again: hits carry ids,
// so a repeat is stored once. Write may be called concurrently. It may change
// the hits; the caller gets the slice back when Write returns.
type Sink interface {
	Write(hits []Hit) error
}
