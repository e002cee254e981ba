package spoor

import (
	"fmt"
	"math"
)

// Right is what is asked for a person beside access and erasure.
type Right uint8

// The rights.
const (
	RightNone     Right = iota
	RightRestrict       // stored, but in no statistics, segments or feeds
	RightObject         // nothing is taken in any more
	RightHold           // nothing of the person goes, by no rule and no request
	rightCount
)

var rightNames = [rightCount]string{"none", "restriction", "objection", "hold"}

// String gives the word used on the wire, such as "restriction".
func (r Right) String() string {
	if r < rightCount {
		return rightNames[r]
	}
	return "unknown"
}

// Forever is the last day of a right that has no end.
const Forever Day = math.MaxInt32

// Rights are those of one profile. A right ends with its last day, on the
// calendar of the app; 0 is none.
type Rights struct {
	Restricted Day
	Held       Day
	Objected   int64 // since when, Unix ms; 0: not
}

// Uncounted reports whether the person is left out of statistics, segments and
// feeds on a day.
func (r Rights) Uncounted(today Day) bool {
	return r.Objected != 0 || r.Restricted != 0 && today <= r.Restricted
}

// Holds reports whether the person must not go on a day, even if asked for.
func (r Rights) Holds(today Day) bool { return r.Held != 0 && today <= r.Held }

// Keeps reports whether a right keeps an idle person from being swept: whoever
// restricts has a reason to want the data there.
func (r Rights) Keeps(today Day) bool {
	return r.Holds(today) || r.Restricted != 0 && today <= r.Restricted
}

// HeldError refuses to remove what a legal hold keeps until the end of a day.
type HeldError struct{ Until Day }

// Error tells what to do.
func (e *HeldError) Error() string {
	if e.Until == Forever {
		return "a legal hold without end keeps it; lift the hold first"
	}
	return fmt.Sprintf("a legal hold keeps it until the end of %s; lift the hold first, or wait", e.Until)
}
