package spoor

// Notice is what the customer's own systems are told by webhook: that a person
// objected, is restricted, or was erased, so that they stop or erase too. It
// names the person by the public id alone.
type Notice struct {
	ID       uint64 `json:"id"` // counts per app
	What     string `json:"what"`
	Person   int64  `json:"person"` // public id
	At       int64  `json:"at"`     // Unix ms
	Until    Day    `json:"until,omitempty"`
	Attempts int    `json:"attempts,omitempty"` // that failed
	Next     int64  `json:"next,omitempty"`     // Unix ms before which it is not tried again
}
