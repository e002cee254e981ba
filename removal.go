package spoor

import "time"

// Removal is what happened to profiles that were taken out of the store. From
// its decision on no read shows them. Their bytes leave the files when the days
// of their hits are compacted; see ReclaimReport.
type Removal struct {
	Profiles int64 // removed
	Hits     int64 // of theirs
	Bytes    int64 // of the records of those hits, before compression
	Kept     int64 // profiles that a last look found worth keeping

	Receipt uint64 // number of the receipt; 0: nothing was removed
}

// Add sums up.
func (r *Removal) Add(o Removal) {
	r.Profiles += o.Profiles
	r.Hits += o.Hits
	r.Bytes += o.Bytes
	r.Receipt = max(r.Receipt, o.Receipt)
	r.Kept += o.Kept
}

// ReclaimReport says how far the bytes of removed profiles are gone.
type ReclaimReport struct {
	Partitions int   // days of an app that were rewritten
	Bytes      int64 // of tables that the store has less than before
	Pending    int   // days of an app that still hold some; its profiles count as one more
	Waiting    int64 // bytes of the records of hits in them, before compression
	Overdue    int   // days among them that hold some for longer than was promised
	Oldest     int64 // Unix ms of the oldest decision of which a day, or a profile, is pending; 0: none
}

// Verdict is what the rules of retention say about one profile.
type Verdict struct {
	Keeps   []string // what keeps it, in words; empty: it is due
	LastDay Day      // of activity; of its making if it never was active
	Due     Day      // begins with the midnight that decides, if the profile is idle until then; 0: none is planned
	WithApp bool     // on that day the app goes with all its data
}

// Sweep is what one sweep did.
type Sweep struct {
	Apps      []AppSweep
	Reclaimed ReclaimReport
	Decided   time.Duration // until the removals were on disk
	Took      time.Duration // with the giving back of bytes
}

// Aged is what is too old in an app: each goes up to and with its day, 0 = none.
type Aged struct {
	Hits       Day
	Kinds      map[Kind]Day // hits of one kind
	Statistics Day
}

// AppSweep is a sweep's part in one app.
type AppSweep struct {
	App string
	Day Day // the app's today
	Removal
	Aged Removal // what was too old, whosoever it was
}

// Outlook is what sweeps have done and will do in one app.
type Outlook struct {
	Due                  []DueDay // the next sweeps, by day
	LastSweep, NextSweep int64    // Unix ms; 0: none yet, none planned
}

// DueDay says how many profiles fall due at the midnight that begins a day, if
// they stay idle until then.
type DueDay struct {
	Day      Day
	Profiles int64
}
