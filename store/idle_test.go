package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Goal: who was active is known at once, also while the counts of hits wait.
// Method: three days of visitors, with all counts put off and with none.
func TestIdleOfUncountedHits(t *testing.T) {
	for _, putOff := range []int{1, 1000} {
		w := newCrowd(t, vfs.NewMem(), "UTC")
		w.s.opts.putOffFrom = putOff
		first := w.app.Day(w.c.ms())
		for day := range 3 {
			w.visits("regular", 1)
			for i := range day + 1 {
				w.visits(fmt.Sprint("once ", day, i), 1)
			}
			w.c.add(24 * time.Hour)
		}
		f := func(from spoor.Day, days int, want string) {
			t.Helper()
			counts, others, err := w.s.Idle(w.app.ID, from, days)
			if got := fmt.Sprint(counts, len(others)); err != nil || got != want {
				t.Errorf("put off from %d, day %d and %d more: %s, %v; want %s", putOff, from-first, days-1, got, err, want)
			}
		}
		f(first, 3, "[1 2 4] 0")
		f(first, 2, "[1 2] 0")
		f(first+1, 1, "[2] 1")
		f(first+3, 2, "[0 0] 7")
		f(first-5, 2, "[0 0] 0")
	}
	w := newCrowd(t, vfs.NewMem(), "UTC")
	if counts, others, err := w.s.Idle(77, 0, 3); counts != nil || others != nil || err != nil {
		t.Errorf("no app: %v %v %v", counts, others, err)
	}
}
