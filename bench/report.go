package main

import (
	"fmt"
	"io"
	"strings"
)

// report prints the tables as Markdown.
func report(w io.Writer, rows []*outcomeRow) {
	fmt.Fprint(w, "\n| traffic | events/s | p50 | p99 | bare requests/s | ratio to bare | ratio without a store | ratio to native hits | server CPU, s per 1,000 events | refused | target |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		ratio, bare, front, hits := "–", "–", "–", "–"
		if r.ratio > 0 {
			ratio, bare = fmt.Sprintf("%.2f", r.ratio), thousands(int64(r.bareRate))
		}
		if r.front > 0 {
			front = fmt.Sprintf("%.2f", r.front)
		}
		if r.toHits > 0 {
			hits = fmt.Sprintf("%.2f", r.toHits)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %.3f | %d | %s |\n", r.title, thousands(int64(r.rate)), round(r.p50), round(r.p99),
			bare, ratio, front, hits, r.cpu.Seconds()*1000/float64(max(r.events, 1)), r.refused, r.verdict())
	}
	fmt.Fprint(w, "\n| traffic | hits kept | RSS idle | RSS peak | RSS 10 s after | bytes of tables a hit | bytes on disk a hit | store's own figure a hit |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		kept := max(r.audit.found, 1)
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %d | %d | %d |\n", r.title, thousands(r.audit.found), mebi(r.rssIdle), mebi(r.rssPeak), mebi(r.rssAfter),
			r.diskTables/kept, r.diskAll/kept, r.diskReported/kept)
	}
	fmt.Fprint(w, "\nThe ledger: what senders were told against what the stopped store holds.\n\n")
	for _, r := range rows {
		fmt.Fprintf(w, "- %s: %s\n", r.title, r.audit)
		if r.errors > 0 || r.problem != "" {
			fmt.Fprintf(w, "  - %d requests failed: %s\n", r.errors, r.problem)
		}
	}
	for _, r := range rows {
		if r.name == growth.name {
			fmt.Fprintf(w, "\nResident memory in the second half of 5 minutes: %+.2f MiB a minute.\n", r.rssSlope/(1<<20))
		}
	}
	fmt.Fprintf(w, "\nResident memory at load: target %s, idle %s.\n", mebi(rssTarget), mebi(rssIdleTarget))
}

// verdict compares with the target that a scenario has.
func (r *outcomeRow) verdict() string {
	word := func(ok bool) string {
		if ok {
			return "met"
		}
		return "missed"
	}
	switch {
	case r.target > 0:
		return fmt.Sprintf("ratio ≥ %.2f: %s", r.target, word(r.ratio >= r.target))
	case r.ofHits > 0:
		return fmt.Sprintf("of native hits ≥ %.2f: %s", r.ofHits, word(r.toHits >= r.ofHits))
	case r.rateTarget > 0:
		return fmt.Sprintf("≥ %s events/s: %s", thousands(int64(r.rateTarget)), word(r.rate >= r.rateTarget))
	}
	return "–"
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
