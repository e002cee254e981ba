package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// report prints the tables as Markdown.
func report(w io.Writer, rows []*outcomeRow, f figures) {
	printTargets(w, judge(f))
	fmt.Fprint(w, "\n| traffic | events/s | p50 | p99 | bare requests/s | ÷ bare | without a store ÷ bare | ÷ other | server CPU µs an event | client CPU µs a request to bare | refused |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		title, cpu := r.Title, float64(r.cpu.Microseconds())/float64(max(r.events, 1))
		if r.half != nil {
			title += ": while it was at full capacity"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d |\n", title, thousands(int64(r.rate)), round(r.p50), round(r.p99),
			orDash("%s", r.bareRate, thousands(int64(r.bareRate))), orDash("%.2f", r.ratio, r.ratio), orDash("%.2f", r.front, r.front), r.others(),
			orDash("%.1f", cpu, cpu), orDash("%.1f", r.client, r.client), r.refused)
	}
	fmt.Fprintf(w, "\nevents/s and latencies are those of all rounds together. What stands behind ÷ is the median of %d rounds in turn, so it is not the quotient of the columns.\n", roundsOfRun)
	fmt.Fprint(w, "\n| traffic | hits kept | RSS idle | RSS peak | RSS after | bytes of tables a hit | bytes on disk a hit | store's own figure a hit |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		kept := max(r.audit.found, 1)
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %d | %d | %d |\n", r.Title, thousands(r.audit.found), mebi(r.rssIdle), mebi(r.rssPeak), mebi(r.rssAfter),
			r.diskTables/kept, r.diskAll/kept, r.diskReported/kept)
	}
	for _, r := range rows {
		if r.half != nil {
			r.half.report(w)
		}
		if r.rssSlope != 0 {
			fmt.Fprintf(w, "\nResident memory in the second half of %s: %+.2f MiB a minute.\n", r.Title, r.rssSlope/(1<<20))
		}
	}
	fmt.Fprint(w, "\nThe ledger: what senders were told against what the stopped store holds.\n\n")
	for _, r := range rows {
		fmt.Fprintf(w, "- %s: %s\n", r.Title, r.audit)
		if r.errors > 0 || r.problem != "" {
			fmt.Fprintf(w, "  - %d requests failed: %s\n", r.errors, r.problem)
		}
	}
}

// others are the ratios to what else was measured in turn.
func (r *outcomeRow) others() string {
	var parts []string
	for _, o := range []struct {
		name  string
		ratio float64
	}{{"native hits", r.toHits}, {"nginx", r.toNginx}, {"one app", r.toOne}, {"-against", r.toOther}} {
		if o.ratio > 0 {
			parts = append(parts, fmt.Sprintf("%s: %.2f", o.name, o.ratio))
		}
	}
	if len(parts) == 0 {
		return "–"
	}
	return strings.Join(parts, ", ")
}

func (h *half) report(w io.Writer) {
	fmt.Fprintf(w, "\nCapacity with %d connections: %s hits/s. At half of it, in an open loop, p99 of each round: %s; the disk's fsync p99 before each: %s; %d requests refused or broken; then %d connections open.\n",
		halfConnections, thousands(int64(h.capacity)), joined(h.p99), joined(h.fsync), h.late, h.idle)
}

// orDash writes a value that may not have been measured.
func orDash(format string, measured float64, value any) string {
	if measured == 0 {
		return "–"
	}
	return fmt.Sprintf(format, value)
}

// document is the report as JSON.
type document struct {
	Machine     string   `json:"machine"`
	Commit      string   `json:"commit"`
	Noisy       bool     `json:"noisy"` // something else kept the machine busy at the start
	Fsync50     float64  `json:"fsync_p50_us"`
	Fsync99     float64  `json:"fsync_p99_us"`
	Connections int      `json:"connections"`
	Seconds     int      `json:"seconds"`
	Targets     []judged `json:"targets"`
	Figures     figures  `json:"figures"`
}

// writeJSON writes the report for programs.
func (b *bench) writeJSON(path string, m machine, f figures) error {
	text, err := json.MarshalIndent(document{
		Machine: strings.TrimSpace(m.String()), Commit: m.commit, Noisy: m.noisy(),
		Fsync50: float64(m.fsync50.Nanoseconds()) / 1000, Fsync99: float64(m.fsync99.Nanoseconds()) / 1000,
		Connections: b.connections, Seconds: b.seconds, Targets: judge(f), Figures: f,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

func mebi(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
