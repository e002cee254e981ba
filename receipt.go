package spoor

// Receipt tells of one removal: what went, when, and until when a copy may
// exist elsewhere. It names nobody. Times are Unix ms, 0 = not yet.
type Receipt struct {
	ID       uint64 `json:"id"` // counts per app
	App      string `json:"app"`
	What     string `json:"what"`              // erasure, sweep, expiry, termination
	Subject  string `json:"subject,omitempty"` // keyed hash of the person, as in the audit log
	Profiles int64  `json:"profiles"`
	Hits     int64  `json:"hits"`
	Bytes    int64  `json:"bytes"`             // of the records of those hits, before compression
	Asked    int64  `json:"asked,omitempty"`   // where somebody asked
	Decided  int64  `json:"decided,omitempty"` // on disk: from here on no read shows it
	Gone     int64  `json:"gone,omitempty"`    // no byte of it is left in the files
	Backups  int64  `json:"backups,omitempty"` // until then a backup may hold it, by the app's backup_days
}

// What a receipt is about.
const (
	ReceiptErasure     = "erasure"
	ReceiptSweep       = "sweep"
	ReceiptExpiry      = "expiry"
	ReceiptTermination = "termination"
)
