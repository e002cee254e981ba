package spoor

import (
	"fmt"
	"time"
)

// Day is a calendar day in an app's time zone, as days since 1970-01-01.
type Day int32

// DayOf is the day on which the instant falls, in the given zone.
func DayOf(t time.Time, zone *time.Location) Day {
	y, m, d := t.In(zone).Date()
	return Day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// Start is the first instant of the day in the given zone. Where a clock
// change removes midnight, it is the first instant that exists.
func (d Day) Start(zone *time.Location) time.Time {
	y, m, dd := time.Unix(int64(d)*86400, 0).UTC().Date()
	t := time.Date(y, m, dd, 0, 0, 0, 0, zone)
	if DayOf(t, zone) < d { // midnight was skipped and Date went backwards
		for DayOf(t, zone) < d {
			t = t.Add(15 * time.Minute)
		}
	}
	return t
}

// String is the day as YYYY-MM-DD.
func (d Day) String() string {
	return time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly)
}

// ParseDay reads YYYY-MM-DD.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("cannot read day %q: want YYYY-MM-DD", s)
	}
	return Day(t.Unix() / 86400), nil
}

// Partition is all hits of one app on one day.
type Partition struct {
	App      AppID
	Day      Day
	Hits     int64 // hits present
	Profiles int64 // profiles that were active
	Bytes    int64 // estimate of the bytes on disk
	Sealed   bool  // no hit is added any more
}
