package spoor_test

import (
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: days begin and end at local midnight, also where a clock change makes
// them 23 or 25 hours long, and where midnight does not exist.
// Method: for each zone, days around its changes: the first and last instant.
func TestDayOverClockChanges(t *testing.T) {
	f := func(zone, day string, hours float64) {
		t.Helper()
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		d, err := spoor.ParseDay(day)
		if err != nil {
			t.Fatal(err)
		}
		if d.String() != day {
			t.Errorf("%s reads back as %s", day, d)
		}
		start, next := d.Start(loc), (d + 1).Start(loc)
		if got := next.Sub(start).Hours(); got != hours {
			t.Errorf("%s in %s has %v hours, want %v", day, zone, got, hours)
		}
		if got := spoor.DayOf(start, loc); got != d {
			t.Errorf("%s in %s: its first instant %v is of %s", day, zone, start, got)
		}
		if got := spoor.DayOf(start.Add(-time.Millisecond), loc); got != d-1 {
			t.Errorf("%s in %s: a millisecond before is of %s", day, zone, got)
		}
		if got := spoor.DayOf(next.Add(-time.Millisecond), loc); got != d {
			t.Errorf("%s in %s: its last millisecond is of %s", day, zone, got)
		}
		app := (&spoor.App{Settings: spoor.DefaultSettings(zone)}).Clone()
		for at := start.UnixMilli(); at < next.UnixMilli(); at += 900_000 {
			if got := app.Day(at); got != d {
				t.Fatalf("%s in %s: the app says %s at %d", day, zone, got, at)
			}
		}
	}
	f("UTC", "2026-03-29", 24)
	f("UTC", "1970-01-01", 24)
	f("UTC", "1969-12-31", 24)
	f("UTC", "2106-02-07", 24)
	f("Europe/Warsaw", "2026-03-28", 24)
	f("Europe/Warsaw", "2026-03-29", 23)
	f("Europe/Warsaw", "2026-10-25", 25)
	f("Asia/Kolkata", "2026-03-29", 24)
	f("America/New_York", "2026-03-08", 23)
	f("America/New_York", "2026-11-01", 25)
	// Midnight is skipped: the day begins at one.
	f("Asia/Beirut", "2026-03-29", 23)
	f("America/Havana", "2026-03-08", 23)
	f("Africa/Cairo", "2026-04-24", 23)
	f("Australia/Lord_Howe", "2026-04-05", 24.5)
	f("Australia/Lord_Howe", "2026-10-04", 23.5)
}

func TestParseDayRefuses(t *testing.T) {
	for _, s := range []string{"", "today", "2026-3-1", "2026-02-30", "20260301", "2026-03-01T00:00:00Z"} {
		if d, err := spoor.ParseDay(s); err == nil {
			t.Errorf("%q is read as %s", s, d)
		}
	}
}
