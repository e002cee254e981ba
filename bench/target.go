package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// target is a row of the table: what a figure should be.
type target struct {
	figure  string // its name; see figures
	title   string
	unit    string // as it is printed behind a value
	want    float64
	bound   string  // the figure that is the bound; empty: want is
	aim     float64 // better than the target; 0: none
	atLeast bool    // else at most
	option  string  // what measures it, beside a run without options
	needs   string  // what must be installed beside that
}

var targets = []target{
	{figure: "new.ratio", title: "JSON hits, visitors new ÷ bare 204", want: 0.60, aim: 0.75, atLeast: true},
	{figure: "returning.ratio", title: "JSON hits, visitors returning ÷ bare 204", want: 0.65, aim: 0.75, atLeast: true},
	{figure: "model.ratio", title: "JSON hits, mixed ÷ bare 204", want: 0.60, aim: 0.75, atLeast: true},
	{figure: "apps.to_one", title: "1,000 apps by Zipf, limiter on ÷ one app", want: 0.9, atLeast: true},
	{figure: "pixel.to_nginx", title: "pixel GET ÷ nginx empty_gif with access log", want: 0.80, atLeast: true, needs: "nginx"},
	{figure: "batch.rate", title: "batches of 100, a minute", unit: " events/s", want: 70_000, aim: 115_000, atLeast: true},
	{figure: "batch10.rate", title: "batches of 100, ten minutes", unit: " events/s", want: 50_000, atLeast: true, option: "-long"},
	{figure: "batch.cpu_us", title: "server CPU per event of a batch", unit: " µs", want: 20, aim: 12},
	{figure: "limited.rate", title: "one app, limiter on, batches of 75", unit: " events/s", want: 60_000, aim: 75_000, atLeast: true},
	{figure: "model.cpu_to_bare", title: "server CPU per single hit ÷ the bare handler's", want: 2.2, aim: 1.7},
	{figure: "allocations", title: "allocations per hit, decode to queue", want: 2},
	{figure: "size10.table_bytes", title: "bytes on disk per hit, ten hits a visitor", unit: " B", want: 130},
	{figure: "size1.table_bytes", title: "bytes on disk per hit, one hit a visitor", unit: " B", want: 180},
	{figure: "batch.amplification", title: "table write amplification", unit: " ×", want: 5},
	{figure: "half.p99_ms", title: "p99 at half capacity ≤ 3 × fsync p99 + 15 ms", unit: " ms", bound: "half.bound_ms"},
	{figure: "half.rss_mib", title: "RSS at capacity, 1,000 connections", unit: " MiB", want: 512},
	{figure: "half.rss_idle_connections_mib", title: "RSS with 10,000 idle connections after that", unit: " MiB", want: 768},
	{figure: "rss_idle_mib", title: "RSS idle", unit: " MiB", want: 64},
	{figure: "large.rate_ratio", title: "rate after 50 M stored hits ÷ rate after 1 M", want: 0.9, atLeast: true, option: "-large"},
	{figure: "large.start_ms", title: "start with 50 M hits after a clean stop", unit: " ms", want: 1000, option: "-large"},
	{figure: "large.start_killed_ms", title: "start with 50 M hits after kill -9", unit: " ms", want: 5000, option: "-large"},
	{figure: "half.user_p50_ms", title: "user by id, 1 M profiles, half load: p50", unit: " ms", want: 2},
	{figure: "half.user_p99_ms", title: "user by id: p99", unit: " ms", want: 15},
	{figure: "half.email_p50_ms", title: "search by e-mail, 1 M profiles, half load: p50", unit: " ms", want: 2},
	{figure: "half.email_p99_ms", title: "search by e-mail: p99", unit: " ms", want: 15},
	{figure: "lost", title: "events acknowledged and lost", want: 0},
	{figure: "doubled", title: "events stored twice", want: 0},
}

// figures are what a run measured, by name: that of the scenario and what of
// it. What was not measured is not there.
type figures map[string]float64

// judged is a row with what was measured.
type judged struct {
	Figure  string   `json:"figure"`
	Title   string   `json:"title"`
	Unit    string   `json:"unit,omitempty"`
	AtLeast bool     `json:"at_least"` // else at most
	Target  *float64 `json:"target"`   // null: depends on what was not measured
	Aim     float64  `json:"aim,omitempty"`
	Value   *float64 `json:"value"` // null: not measured
	Verdict string   `json:"verdict"`
}

// judge compares with the targets.
func judge(f figures) (rows []judged) {
	for _, t := range targets {
		row := judged{Figure: t.figure, Title: t.title, Unit: t.unit, AtLeast: t.atLeast, Aim: t.aim, Verdict: "not in this run"}
		if t.option != "" {
			row.Verdict = "see " + t.option
		}
		name, _, _ := strings.Cut(t.figure, ".")
		if _, ran := f[name+".rate"]; ran && t.needs != "" {
			row.Verdict = "needs " + t.needs
		}
		if hits, ok := f["large.hits"]; ok {
			row.Title = strings.Replace(row.Title, "50 M", millions(hits), 1)
		}
		bound, ok := t.want, true
		if t.bound != "" {
			bound, ok = f[t.bound]
		}
		if ok {
			row.Target = &bound
		}
		if v, measured := f[t.figure]; measured && ok {
			row.Value = &v
			row.Verdict = "missed"
			if t.atLeast && v >= bound || !t.atLeast && v <= bound {
				row.Verdict = "met"
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// printTargets prints the rows as Markdown.
func printTargets(w io.Writer, rows []judged) {
	fmt.Fprint(w, "\n| | target | aim | measured | |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		want, aim, got := "–", "–", "–"
		sign := "≤ "
		if r.AtLeast {
			sign = "≥ "
		}
		if r.Target != nil {
			want = sign + short(*r.Target) + r.Unit
		}
		if r.Aim > 0 {
			aim = short(r.Aim)
		}
		if r.Value != nil {
			got = short(*r.Value) + r.Unit
		}
		verdict := r.Verdict
		if verdict == "missed" {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", r.Title, want, aim, got, verdict)
	}
}

// millions writes 37056038 as 37 M, and fewer than ten million with a digit more.
func millions(n float64) string {
	digits := 0
	if n < 10e6 {
		digits = 1
	}
	return strconv.FormatFloat(n/1e6, 'f', digits, 64) + " M"
}

// short writes three digits or so.
func short(v float64) string {
	switch {
	case v >= 1000:
		return thousands(int64(v + 0.5))
	case v >= 100, v == float64(int64(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// add takes over what a scenario measured.
func (f figures) add(r *outcomeRow) {
	set := func(what string, v float64) {
		if v != 0 {
			f[r.name+"."+what] = v
		}
	}
	set("rate", r.rate)
	set("p50_ms", float64(r.p50.Microseconds())/1000)
	set("p99_ms", float64(r.p99.Microseconds())/1000)
	set("ratio", r.ratio)
	set("bare_rate", r.bareRate)
	set("front_ratio", r.front)
	set("to_hits", r.toHits)
	set("to_nginx", r.toNginx)
	set("to_one", r.toOne)
	set("to_other", r.toOther)
	set("cpu_us", float64(r.cpu.Microseconds())/float64(max(r.events, 1)))
	set("cpu_to_bare", r.cpuToBare)
	set("client_cpu_us", r.client)
	set("amplification", r.amplification)
	set("rss_peak_mib", mib(r.rssPeak))
	set("rss_after_mib", mib(r.rssAfter))
	set("rss_slope_mib_per_minute", r.rssSlope/(1<<20))
	f["rss_idle_mib"] = max(f["rss_idle_mib"], mib(r.rssIdle))
	if a := r.audit; a != nil {
		kept := float64(max(a.found, 1))
		set("hits", float64(a.found))
		set("table_bytes", float64(r.diskTables)/kept)
		set("disk_bytes", float64(r.diskAll)/kept)
		f["lost"] += float64(a.lost)
		f["doubled"] += float64(a.duplicate)
	}
	if h := r.half; h != nil {
		h.add(set)
	}
}

func (h *half) add(set func(string, float64)) {
	ms := func(what string, v interface{ Microseconds() int64 }) { set(what, float64(v.Microseconds())/1000) }
	set("rate", h.capacity)
	ms("p99_ms", middle(h.p99))
	ms("bound_ms", h.bound())
	ms("fsync_p99_ms", middle(h.fsync))
	set("refused", float64(h.late))
	set("rss_mib", mib(h.rss))
	set("rss_idle_connections_mib", mib(h.rssIdle))
	set("idle_connections", float64(h.idle))
	ms("user_p50_ms", h.byUser.p50)
	ms("user_p99_ms", h.byUser.p99)
	ms("email_p50_ms", h.byEmail.p50)
	ms("email_p99_ms", h.byEmail.p99)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
