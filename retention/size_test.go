package retention

import (
	"fmt"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: the size of a segment is noted once on each day of the app's calendar,
// as it was then, also by a program that was started anew; a day on which none
// ran is missing; what is 400 days old goes, and all of it with the segment.
// Method: a clock that goes from day to day while the segment grows.
func TestSizesOfSegments(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, "Asia/Kolkata", time.Date(2026, 3, 1, 18, 0, 0, 0, time.UTC)) // 23:30 there
	filter, err := spoor.ParseFilter([]byte(`{"tag":"vip"}`))
	if err != nil {
		t.Fatal(err)
	}
	segment, err := w.st.PutCollection(w.app.ID, spoor.Collection{Kind: spoor.CollectionSegment, Name: "vips", Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	people := 0
	grow := func() {
		people++
		w.edit(0, func(e *spoor.Edit) { e.UserID, e.TagAdd = fmt.Sprint("u", people), []string{"vip"} })
	}
	note := func(s *Sweeper) {
		t.Helper()
		if err := s.noteSizes(ctx); err != nil {
			t.Fatal(err)
		}
	}
	sizes := func(want ...string) {
		t.Helper()
		list, err := w.st.Sizes(w.app.ID, segment.ID, 0, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, s := range list {
			got = append(got, fmt.Sprint(s.Day, " ", s.Count))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("sizes %v, want %v", got, want)
		}
	}
	grow()
	note(w.s)
	w.at(w.Now().Add(time.Hour)) // the next day there
	grow()
	note(w.s)
	w.at(w.Now().Add(time.Hour))
	grow()
	note(w.s)
	note(New(w.s.opts)) // as after a restart
	sizes("2026-03-01 1", "2026-03-02 2")
	w.at(w.Now().AddDate(0, 0, 2))
	note(w.s)
	sizes("2026-03-01 1", "2026-03-02 2", "2026-03-04 3")
	w.at(time.Date(2027, 4, 5, 12, 0, 0, 0, time.UTC)) // 399 days after the second of March
	note(w.s)
	sizes("2026-03-02 2", "2026-03-04 3", "2027-04-05 3")
	if err := w.st.DeleteCollection(w.app.ID, spoor.CollectionSegment, segment.ID); err != nil {
		t.Fatal(err)
	}
	note(New(w.s.opts))
	sizes()
}
