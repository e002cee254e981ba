package main

import (
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// Goal: the large store is what the model says, is whole, is found again, and
// all questions are answered.
// Method: few profiles and days, and no look at times.
func TestLarge(t *testing.T) {
	l := &large{size: massSize{days: 20, profiles: 1000, hits: 20_000}, times: 1, only: regexp.MustCompile(""), clock: new(clock), dir: filepath.Join(t.TempDir(), "large")}
	for range 2 {
		l.built = 0
		if err := l.prepare(); err != nil {
			t.Fatal(err)
		}
	}
	if l.built != 0 {
		t.Error("the store was built a second time")
	}
	var text strings.Builder
	if err := l.ask(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| visitors by week |", "| top 10: exit |", "| cohorts by week |", "hits/s of ≥", "bytes a hit"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
	r, err := l.st.Check(nil)
	if err != nil || r.Found > 0 {
		t.Errorf("check found %v, %v", r.Problems, err)
	}
	if off := math.Abs(float64(r.Hits)/float64(l.size.hits) - 1); off > 0.15 {
		t.Errorf("%d hits, want about %d", r.Hits, l.size.hits)
	}
	if want := l.size.profiles - l.size.profiles/massKnownEvery; r.Profiles < int64(want) || r.Profiles > int64(l.size.profiles)-10 {
		t.Errorf("%d profiles, want %d and those who are not merged yet", r.Profiles, want)
	}
	parts, err := l.st.Partitions(l.app.ID)
	if err != nil || len(parts) != l.size.days || !parts[l.size.days-9].Sealed || parts[l.size.days-8].Sealed {
		t.Errorf("partitions %+v, %v; want 8 open days", parts, err)
	}
	series, err := l.st.Series(&spoor.SeriesQuery{App: l.app.ID, Metric: spoor.MetricVisits, From: l.days[0], To: l.days[1], Interval: spoor.IntervalDay})
	if err != nil || series.Total.Value < float64(r.Hits)/8 || series.Total.Value > float64(r.Hits)/3 {
		t.Errorf("%.0f visits of %d hits, %v", series.Total.Value, r.Hits, err)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}
