package query

import (
	"errors"

	"github.com/spoorhq/spoor"
)

// ErrStop ends a walk over a Store early; the Store returns it unchanged.
var ErrStop = errors.New("the walk was stopped")

// Store is what the read side needs of the store. All methods may be called
// concurrently. What a callback is given is valid until it returns.
type Store interface {
	// Profile returns nil if there is none. A former number gives the person
	// it was merged into.
	Profile(app spoor.AppID, n spoor.Number) (*spoor.Profile, error)
	// ProfileByID finds a profile by its public id; nil if there is none.
	ProfileByID(app spoor.AppID, publicID int64) (*spoor.Profile, error)
	// Find returns the profiles that an identifier leads to, oldest first.
	Find(app spoor.AppID, by spoor.Lookup, value string) ([]spoor.Number, error)
	// Profiles walks the profiles behind a number, in order of numbers.
	Profiles(app spoor.AppID, after spoor.Number, fn func(*spoor.Profile) error) error
	ProfileCount(app spoor.AppID) (int64, error)
	// Hits walks a person's hits, newest first, over all former numbers.
	Hits(app spoor.AppID, n spoor.Number, fn func(*spoor.Hit) error) error
	// ScanHits walks the hits of the days from to to, both included.
	ScanHits(app spoor.AppID, from, to spoor.Day, fn func(*spoor.Hit) error) error
	// Edit fails with spoor.ErrTaken if the user id belongs to another
	// profile, and with spoor.ErrNoProfile.
	Edit(e *spoor.Edit) (n spoor.Number, created bool, err error)
	// Collections lists an app's tags, lists or segments by id, without sizes.
	Collections(app spoor.AppID, kind spoor.CollectionKind) ([]spoor.Collection, error)
	// Collection returns nil if there is none.
	Collection(app spoor.AppID, kind spoor.CollectionKind, id uint32) (*spoor.Collection, error)
	// PutCollection makes one (ID 0) or changes one. It fails with
	// spoor.ErrNoCollection and *spoor.CollectionError, as DeleteCollection does.
	PutCollection(app spoor.AppID, c spoor.Collection) (spoor.Collection, error)
	DeleteCollection(app spoor.AppID, kind spoor.CollectionKind, id uint32) error
	// Members counts who is in a collection, stored or not, and walks the
	// profiles behind a number, in order of numbers, if fn is not nil.
	Members(app spoor.AppID, c *spoor.Collection, after spoor.Number, fn func(*spoor.Profile) error) (size int64, err error)
	// SegmentsOf lists the segments in which a person is now.
	SegmentsOf(app spoor.AppID, n spoor.Number) ([]spoor.Collection, error)
	// Sizes lists what was noted of a segment on the days from to to, both
	// included.
	Sizes(app spoor.AppID, segment uint32, from, to spoor.Day) ([]spoor.Size, error)
	// SetRight grants a right to a person until the end of a day, or takes it
	// back with day 0. It fails with spoor.ErrNoProfile.
	SetRight(app spoor.AppID, n spoor.Number, right spoor.Right, until spoor.Day) (*spoor.Profile, error)
	// Object makes hits be refused that name somebody by any of the identifiers,
	// or no more, and tells whether that changed anything.
	Object(app spoor.AppID, text string, by []spoor.Lookup, on bool) (changed bool, err error)
	// Receipts walks the receipts of an app; with 0 those of apps that are gone.
	Receipts(app spoor.AppID, fn func(*spoor.Receipt) error) error
	// Tail gives hits as they are stored, and drops some when the reader is
	// slow. The reader calls stop.
	Tail(app spoor.AppID) (hits <-chan spoor.Hit, stop func())
	// Feed gives the entries of the feed behind a number, oldest first, and the
	// number up to which it has looked. It fails with a *spoor.FeedGap where some
	// of them are gone.
	Feed(app spoor.AppID, behind uint64, fn func(*spoor.FeedEntry) error) (next uint64, err error)
	// FeedEnd is the number of the newest entry, and what is closed when there is
	// a newer one.
	FeedEnd(app spoor.AppID) (newest uint64, more <-chan struct{})
	// Delivery is how far the feed was delivered to the app's webhook.
	Delivery(app spoor.AppID) (spoor.Delivery, error)
	// PutDelivery notes that, and what was given up on the way if dead is not
	// nil, both or none, and counts in d what had to make room for it.
	PutDelivery(app spoor.AppID, d *spoor.Delivery, dead *spoor.DeadLetter) error
	// DeadLetters walks what was given up, oldest first.
	DeadLetters(app spoor.AppID, fn func(*spoor.DeadLetter) error) error
	// ReplaceDeadLetter puts what is left of the one that begins with an entry in
	// its place.
	ReplaceDeadLetter(app spoor.AppID, from uint64, left []spoor.DeadLetter) error
	Partitions(app spoor.AppID) ([]spoor.Partition, error)
	PublicID(app spoor.AppID, n spoor.Number) int64
	// AppByShare finds the app of a shared overview's token; nil if there is none.
	AppByShare(token string) *spoor.App
	// Statistics fail with a *spoor.QueryError if they cannot be answered, and
	// with spoor.ErrBusy if too many read hits at once.
	Series(q *spoor.SeriesQuery) (spoor.Series, error)
	Top(q *spoor.TopQuery) (spoor.Top, error)
	Goals(app spoor.AppID, from, to spoor.Day, goals []spoor.Goal) ([]spoor.GoalResult, error)
	Cohorts(app spoor.AppID, from, to spoor.Day) ([]spoor.Cohort, error)
	Funnel(app spoor.AppID, from, to spoor.Day, steps []spoor.Goal) ([]spoor.FunnelStep, error)
	Active(app spoor.AppID) (spoor.Active, error)
	// CreateApp assigns the id; it fails if the name is taken.
	CreateApp(a *spoor.App) (*spoor.App, error)
	UpdateApp(id spoor.AppID, change func(*spoor.App) error) (*spoor.App, error)
	DeleteApp(id spoor.AppID) error
	// Audit returns once the entry is on disk.
	Audit(a spoor.Access) error
	// AuditEntries walks an app's audit log (app 0: what is about none) from an
	// instant on, in Unix ms, and verifies all of it.
	AuditEntries(app spoor.AppID, since int64, fn func(*spoor.AuditEntry) error) (spoor.AuditEnd, error)
	// Writable is nil, or says why the store cannot write.
	Writable() error
}
