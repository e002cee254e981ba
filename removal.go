package spoor

import "time"

// Removal is what happened to profiles that were taken out of the store. From
// its decision on no read shows them. Their bytes leave the files when the days
// of their hits are compacted; see ReclaimReport.
type Removal struct {
	Profiles int64 // removed
	Hits     int64 // of theirs
	Kept     int64 // profiles that a last look found worth keeping
}

// Add sums up.
func (r *Removal) Add(o Removal) {
	r.Profiles += o.Profiles
	r.Hits += o.Hits
	r.Kept += o.Kept
}

// ReclaimReport says how far the bytes of removed profiles are gone.
type ReclaimReport struct {
	Partitions int   // days of an app that were rewritten
	Bytes      int64 // of tables that the store has less than before
	Pending    int   // days of an app that still hold some
	Oldest     int64 // Unix ms of the oldest decision that is pending; 0: none
}

// Verdict is what the rules of retention say about one profile.
type Verdict struct {
	Keeps   []string // what keeps it, in words; empty: it is due
	LastDay Day      // of activity; of its making if it never was active
	Due     Day      // begins with the midnight that decides, if the profile is idle until then; 0: none is planned
}

// Sweep is what one sweep did.
type Sweep struct {
	Apps      []AppSweep
	Reclaimed ReclaimReport
	Decided   time.Duration // until nobody who went is read any more; the rest of Took gave bytes back
	Took      time.Duration
}

// AppSweep is a sweep's part in one app.
type AppSweep struct {
	App string
	Day Day // the app's today
	Removal
}
