package spoor

import (
	"errors"
	"fmt"
)

// FeedKind is what an entry of a feed tells. The words are those of the wire.
type FeedKind string

// The kinds of entries.
const (
	FeedHit     FeedKind = "hit"             // a hit was stored
	FeedUser    FeedKind = "user"            // a profile was made or changed
	FeedMerge   FeedKind = "merge"           // a profile turned out to be another's
	FeedTagOn   FeedKind = "tag.added"       // somebody got a tag
	FeedTagOff  FeedKind = "tag.removed"     // … or lost it
	FeedListOn  FeedKind = "list.added"      // somebody was put into a list
	FeedListOff FeedKind = "list.removed"    // … or taken out of it
	FeedEntered FeedKind = "segment.entered" // somebody is in a watched segment now
	FeedLeft    FeedKind = "segment.left"    // … or is not any more
	FeedSwept   FeedKind = "swept"           // profiles were forgotten because they were idle
	FeedErased  FeedKind = "erased"          // a person was erased on request: whoever copied the feed erases too
	FeedRight   FeedKind = "right"           // an objection or restriction was set or lifted
	FeedExpired FeedKind = "expired"         // hits of a day went because of their age
)

// FeedEntry is one thing that happened in an app, in the order in which it was
// committed. An entry refers to what it is about: hits and profiles are as they
// are when the feed is read, and entries whose hit or person has gone or is left
// out since (see Rights) are passed over.
type FeedEntry struct {
	Number  uint64 // counts per app from 1, with gaps; the same whenever it is read
	Kind    FeedKind
	At      int64       // Unix ms: when what made it was received
	Hit     *Hit        // of FeedHit
	Profile *Profile    // of FeedUser
	Person  int64       // public id of whom it is about, also of FeedHit, 0 for bots and nobody; of the person for FeedMerge
	Gone    []int64     // public ids: of the former profile for FeedMerge; of FeedSwept and FeedErased, former ones included
	Of      *Collection // the tag, list or segment; without a name if that is deleted
	What    string      // of FeedRight: "objection.set", "restriction.lifted", …
	Day     Day         // of FeedExpired
	Class   Kind        // of FeedExpired: KindNone for all hits of the day
}

// FeedGap says that entries behind a cursor are not there any more.
type FeedGap struct {
	After  uint64 // the cursor that was asked for
	Oldest uint64 // the cursor from which on all is there
}

func (e *FeedGap) Error() string {
	return fmt.Sprintf("the feed does not go back to %d any more, only to %d: entries between them are gone", e.After, e.Oldest)
}

// FeedTarget tells to where the feed is delivered: the address of a webhook, or
// kafka: and a topic; empty: nowhere.
func (s *Settings) FeedTarget() string {
	switch {
	case s.FeedDays == 0:
		return ""
	case s.FeedTopic != "":
		return "kafka:" + s.FeedTopic
	}
	return s.FeedWebhook
}

// FeedRecord is an entry of a feed as a topic gets it.
type FeedRecord struct {
	Number uint64
	Key    []byte // public id of the person that it is about in decimal, or the app's name
	Value  []byte // JSON
}

// ErrFeedRecord says that a topic takes no record of this size.
var ErrFeedRecord = errors.New("the topic takes no record of this size")

// Delivery is how far the feed of an app was delivered to its webhook or topic.
type Delivery struct {
	Cursor  uint64 `json:"cursor"`            // entries up to this one were taken or given up
	Dropped int64  `json:"dropped,omitempty"` // dead letters that made room for newer ones
}

// DeadLettersMax is how many dead letters of an app are kept.
const DeadLettersMax = 1000

// DeadLetter is a stretch of a feed that the webhook or topic did not get. It holds
// nothing of the entries but their numbers.
type DeadLetter struct {
	From     uint64 `json:"from"`
	To       uint64 `json:"to"`                 // included
	Entries  int    `json:"entries,omitempty"`  // how many; 0 if they are lost, for numbers have gaps
	At       int64  `json:"at"`                 // Unix ms: when it was given up
	Status   int    `json:"status,omitempty"`   // what the webhook answered last, 413 for a record that is too large for the topic; 0: the entries are lost
	Attempts int    `json:"attempts,omitempty"` // that were refused
}

// Lost reports whether the entries are not in the feed any more: they were too
// old before they could be delivered.
func (l *DeadLetter) Lost() bool { return l.Status == 0 }
