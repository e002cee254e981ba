package main

import (
	"strings"
	"testing"
	"time"
)

func TestReadings(t *testing.T) {
	f := func(name string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	f("median of none", median(nil), 0.0)
	f("median of three", median([]float64{9, 1, 4}), 4.0)
	f("median of four", median([]float64{9, 1, 4, 2}), 3.0)
	f("thousands", thousands(1234567), "1,234,567")
	f("thousands, short", thousands(999), "999")
	f("slope", slope([]float64{0, 1, 2, 3}, []float64{5, 7, 9, 11}), 2.0)
	f("slope of one", slope([]float64{1}, []float64{5}), 0.0)
	f("cpu", cpuOf("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20"), 3*time.Second)
	f("cpu of nothing", cpuOf("12 (a)"), time.Duration(0))
	f("memory", statusBytes("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), int64(12<<10))
	f("memory, absent", statusBytes("VmPeak:\t 9 kB\n", "VmRSS:"), int64(0))
}

// Goal: a report says which targets were met and that hits were lost.
func TestReport(t *testing.T) {
	row := &outcomeRow{scenario: scenarios[0], ratio: 0.5, rate: 41_234, events: 10, cpu: time.Second, audit: &audit{found: 10, lost: 3}}
	missed := &outcomeRow{scenario: scenarios[7], rate: 29_000, audit: new(audit)}
	var b strings.Builder
	slow := &outcomeRow{scenario: scenarios[5], toHits: 0.49, audit: new(audit)}
	report(&b, []*outcomeRow{row, missed, slow})
	for _, want := range []string{"ratio ≥ 0.45: met", "≥ 30,000 events/s: missed", "of native hits ≥ 0.50: missed", "41,234", "3 lost"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

func TestOptions(t *testing.T) {
	if err := (options{seconds: 0, connections: 1 << 20}).validate(); err == nil || !strings.Contains(err.Error(), "-seconds") || !strings.Contains(err.Error(), "-connections") {
		t.Errorf("both problems should be told: %v", err)
	}
	if _, err := (options{only: "nothing"}).chosen(); err == nil {
		t.Error("traffic of no name was chosen")
	}
	if list, err := (options{only: "batch,growth"}).chosen(); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}
