package spoor

import (
	"sync"
	"sync/atomic"
	"time"
)

// ZoneSince is a time zone and the instant (Unix milliseconds) from which on
// an app's days are counted in it.
type ZoneSince struct {
	Zone string `json:"zone"`
	From int64  `json:"from"`
}

// zones answers "which day is it" for one app without walking the zone tables
// for each hit: it remembers the bounds of the last day asked for.
type zones struct {
	last atomic.Pointer[daySpan]
}

type daySpan struct {
	from, to int64 // Unix milliseconds, to is exclusive
	day      Day
}

func (z *zones) at(list []ZoneSince, ms int64) *time.Location {
	name := "UTC"
	for _, s := range list {
		if s.From <= ms {
			name = s.Zone
		}
	}
	return location(name)
}

// locations keeps loaded zones; its size is bounded by the IANA list, since
// names are checked when they are set.
var locations sync.Map

func location(name string) *time.Location {
	if loc, ok := locations.Load(name); ok {
		return loc.(*time.Location)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		loc = time.UTC
	}
	locations.Store(name, loc)
	return loc
}

func (z *zones) day(list []ZoneSince, ms int64) Day {
	if z == nil {
		return DayOf(time.UnixMilli(ms), z.at(list, ms))
	}
	if s := z.last.Load(); s != nil && s.from <= ms && ms < s.to {
		return s.day
	}
	loc := z.at(list, ms)
	day := DayOf(time.UnixMilli(ms), loc)
	span := &daySpan{from: day.Start(loc).UnixMilli(), to: (day + 1).Start(loc).UnixMilli(), day: day}
	for _, s := range list { // a change of zone cuts the span
		if s.From > ms {
			span.to = min(span.to, s.From)
		} else {
			span.from = max(span.from, s.From)
		}
	}
	z.last.Store(span)
	return day
}
