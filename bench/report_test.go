package main

import (
	"encoding/json"
	"os"
	"path/filepath"
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
	f("busy", busyBetween("cpu 100 0 50 1000 10 0 0 0 7 0", "cpu 130 0 60 1050 20 0 0 0 99 0"), 0.4)
	f("busy, nothing passed", busyBetween("cpu 100 0 50 1000 10", "cpu 100 0 50 1000 10"), 0.0)
	f("busy, unknown", busyBetween("unknown", "unknown"), 0.0)
	f("memory", statusBytes("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), int64(12<<10))
	f("memory, absent", statusBytes("VmPeak:\t 9 kB\n", "VmRSS:"), int64(0))
}

// Goal: a report says which targets were met and missed, which were not
// measured and by what they would be, and that hits were lost.
// Method: rows with made-up figures, and the printed text and JSON of them.
func TestReport(t *testing.T) {
	rows := []*outcomeRow{
		{scenario: scenarioOf(t, "new"), ratio: 0.61, rate: 41_234, events: 10, cpu: time.Second, audit: &audit{found: 10, lost: 3}},
		{scenario: scenarioOf(t, "apps"), toOne: 0.89, audit: new(audit)},
		{scenario: scenarioOf(t, "pixel"), rate: 17_000, audit: new(audit)},
		{scenario: scenarioOf(t, "batch"), rate: 80_000, events: 1000, cpu: 21 * time.Millisecond, audit: new(audit)},
		{scenario: scenarioOf(t, "half"), audit: new(audit), half: &half{
			p99: []time.Duration{9 * time.Millisecond, 40 * time.Millisecond, 18 * time.Millisecond}, fsync: []time.Duration{time.Millisecond},
		}},
	}
	f := figures{}
	for _, r := range rows {
		f.add(r)
	}
	var b strings.Builder
	report(&b, rows, f)
	for _, want := range []string{
		"| JSON hits, visitors new ÷ bare 204 | ≥ 0.60 | 0.75 | 0.61 | met |",
		"| 1,000 apps by Zipf, limiter on ÷ one app | ≥ 0.90 | – | 0.89 | **missed** |",
		"| batches of 100, a minute | ≥ 70,000 events/s | 115,000 | 80,000 events/s | met |",
		"| batches of 100, ten minutes | ≥ 50,000 events/s | – | – | see -long |",
		"| pixel GET ÷ nginx empty_gif with access log | ≥ 0.80 | – | – | needs nginx |",
		"| start with 50 M hits after a clean stop | ≤ 1,000 ms | – | – | see -large |",
		"| pixels | 17,000 | 0s | 0s | – | – | – | – | – | – | 0 |",
		": while it was at full capacity | 0 |", "not the quotient of the columns",
		"| table write amplification | ≤ 5 × | – | – | not in this run |",
		"| server CPU per event of a batch | ≤ 20 µs | 12 | 21 µs | **missed** |",
		"| p99 at half capacity ≤ 3 × fsync p99 + 15 ms | ≤ 18 ms | – | 18 ms | met |",
		"| events acknowledged and lost | ≤ 0 | – | 3 | **missed** |",
		"| events stored twice | ≤ 0 | – | 0 | met |",
		"41,234", "3 lost",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
	path := filepath.Join(t.TempDir(), "report.json")
	if err := new(bench).writeJSON(path, machine{cores: 2}, f); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back document
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if first := back.Targets[0]; len(back.Targets) != len(targets) || first.Value == nil || *first.Value != 0.61 || first.Verdict != "met" || back.Figures["new.ratio"] != 0.61 {
		t.Errorf("the report as JSON: %s", text)
	}
}

// Goal: the rows of a large store tell how many hits it has, not how many
// were wanted.
func TestReportLarge(t *testing.T) {
	f := figures{}
	(&aged{hits: 37_056_038, ratio: 1, clean: 240 * time.Millisecond, killed: 6 * time.Second}).add(f)
	var b strings.Builder
	printTargets(&b, judge(f))
	for _, want := range []string{
		"| rate after 37 M stored hits ÷ rate after 1 M | ≥ 0.90 | – | 1 | met |",
		"| start with 37 M hits after kill -9 | ≤ 5,000 ms | – | 6,000 ms | **missed** |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
	if got := millions(195_000); got != "0.2 M" {
		t.Errorf("195,000 hits are told as %s", got)
	}
}

// Goal: no row of the table waits for a scenario that there is not.
func TestTargets(t *testing.T) {
	for _, target := range targets {
		for _, figure := range []string{target.figure, target.bound} {
			if name, _, ok := strings.Cut(figure, "."); ok && name != "large" {
				scenarioOf(t, name)
			}
		}
	}
}

func scenarioOf(t *testing.T, name string) scenario {
	t.Helper()
	list, err := options{only: name}.chosen()
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func TestOptions(t *testing.T) {
	if err := (options{seconds: 0, connections: 1 << 20}).validate(); err == nil || !strings.Contains(err.Error(), "-seconds") || !strings.Contains(err.Error(), "-connections") {
		t.Errorf("both problems should be told: %v", err)
	}
	path := filepath.Join(t.TempDir(), "none", "report")
	late := options{seconds: 1, connections: 1, profiles: profilesMin, hits: massDays, json: path, cpuProfile: path, memProfile: path, against: "ftp://x"}
	for _, flag := range []string{"-json", "-cpuprofile", "-memprofile", "-against"} {
		if err := late.validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("what is wrong with %s should be told: %v", flag, err)
		}
	}
	path = filepath.Join(t.TempDir(), "report")
	if err := tryFile(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("trying a file left it there")
	}
	if _, err := (options{only: "nothing"}).chosen(); err == nil {
		t.Error("traffic of no name was chosen")
	}
	if list, err := (options{only: "batch,growth"}).chosen(); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}
