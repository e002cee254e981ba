package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
)

// forgetPlan says how much of the retention benchmark is run.
type forgetPlan struct {
	profiles  int
	salt      uint64
	idle      int           // idle_days of the app
	buildDays int           // until each day as many go as come, and some days more
	month     int           // days that are measured
	rounds    int           // of the load
	leg       time.Duration // of one load
	pause     time.Duration // in which a store that writes nothing counts as quiet
	check     bool          // have the store check itself, which takes long and much memory
	say       io.Writer     // progress
}

// fullForgetPlan is that of the flag. Few profiles are for a quick look, so the
// load is short then, and says little.
func fullForgetPlan(profiles int) forgetPlan {
	leg := min(max(time.Duration(profiles)*8*time.Microsecond, time.Second/2), 8*time.Second)
	return forgetPlan{
		profiles: profiles, salt: 20260304, idle: 60, buildDays: 76, month: 30, rounds: roundsOfRun,
		leg: leg, pause: leg / 8, say: os.Stderr,
	}
}

// A store takes more for some seconds than while it also compacts what it took.
const capacityLegs = 4

// Below so many hardly anybody falls due in a night.
const profilesMin = 640

// Targets.
const (
	decideTarget       = 10 * time.Second
	amplifyTarget      = 5.0
	slowerTarget       = 2.0
	firstDecideTarget  = 60 * time.Second
	firstReclaimTarget = 10 * time.Minute
	firstShare         = 4 // one in so many falls due at once
	eraseTarget        = time.Hour
	dropTarget         = 100 * time.Millisecond
	rssReached         = 414 << 20 // what ingest reaches at most, by the README
)

// night is one midnight: what was sealed, who went.
type night struct {
	sealed, decided, reclaimed time.Duration
	spoor.Removal
	partitions, pending int
}

// written is what a month wrote, and what the tables took after it.
type written struct {
	pebble int64 // Stats.WrittenBytes: logs, flushes, compactions, ingests
	kernel int64 // write_bytes of /proc/self/io: also logs' space that is taken in advance, MANIFESTs, and every page that was touched twice
	tables int64
}

// forgotten is what the benchmark came to.
type forgotten struct {
	forgetPlan
	built       time.Duration
	hits        int64
	anonymous   int
	tables      int64
	nights      []night
	swept, kept written // a month with sweeping, and the same without
	capacity    float64 // hits a second
	rounds      []loadRound
	first       firstSweep
	erased      erasure
	dropped     dropped
	peaks       []peak
	problems    int64 // of the store's own check
}

// firstSweep is one in which many fall due at once.
type firstSweep struct {
	idle          int
	decided, took time.Duration
	freed         int64
	spoor.Removal
}

// dropped is the slowest of some days that went for its age.
type dropped struct {
	decided, took time.Duration
	hits          int64
}

// peak is the highest resident memory of a part of the run.
type peak struct {
	name  string
	bytes int64
}

// forgetAndReport is the flag -forget.
func (b *bench) forgetAndReport() error {
	m, err := describeMachine(b.work, b.self)
	if err != nil {
		return err
	}
	fmt.Print(m)
	r, err := measureForget(b.work, fullForgetPlan(b.profiles))
	if err != nil {
		return err
	}
	r.report(os.Stdout)
	if r.problems > 0 || r.erased.before == 0 || r.erased.after > 0 {
		return errors.New("the store does not hold what it should: see above")
	}
	return nil
}

// measureForget runs the retention benchmark in a folder.
func measureForget(dir string, plan forgetPlan) (*forgotten, error) {
	debug.SetMemoryLimit(memoryBytes)
	debug.SetGCPercent(gcPercent)
	r := &forgotten{forgetPlan: plan}
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"filling", func() error { return r.fill(path("swept")) }},
		{"copying", func() error {
			return errors.Join(copyStore(path("swept"), path("kept")), copyStore(path("swept"), path("first")))
		}},
		{"a first sweep", func() error { return errors.Join(r.firstSweep(path("first")), os.RemoveAll(path("first"))) }},
		{"a month without sweeping", func() error { return errors.Join(r.monthWithout(path("kept")), os.RemoveAll(path("kept"))) }},
		{"a month", func() error { return r.monthWith(path("swept")) }},
		{"load", func() error { return r.underLoad(path("swept")) }},
	} {
		fmt.Fprintf(plan.say, "%s …\n", part.name)
		syscall.Sync() // what earlier parts left in the kernel's memory would slow every fsync
		forgetPeak()
		began := time.Now()
		if err := part.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		r.peaks = append(r.peaks, peak{part.name, ownPeak()})
		fmt.Fprintf(plan.say, "%s took %s\n", part.name, time.Since(began).Round(100*time.Millisecond))
	}
	return r, nil
}

// dayAfterMonth is the last simulated day that months fill.
func (p forgetPlan) dayAfterMonth() int { return p.buildDays + p.month }

// fill makes the store and lets it live until as many go as come.
func (r *forgotten) fill(dir string) error {
	f, err := newForgetter(dir, r.forgetPlan, 0)
	if err != nil {
		return err
	}
	began := time.Now()
	for f.day < r.buildDays {
		n, err := f.liveOn(true)
		if err != nil {
			return err
		}
		if f.day%5 == 0 {
			fmt.Fprintf(r.say, "  day %d of %d: %s hits, %s a second; %d profiles went in the last night, %s\n", f.day, r.buildDays,
				thousands(f.stored.Load()), thousands(int64(float64(f.stored.Load())/time.Since(began).Seconds())), n.Profiles, n.took().Round(time.Millisecond))
		}
	}
	r.built, r.hits = time.Since(began), f.stored.Load()
	all, err := f.st.Anonymous(f.app.ID, spoor.Day(1<<30))
	if r.anonymous = len(all); err != nil {
		return err
	}
	r.tables, err = f.tables()
	return err
}

// liveOn fills the day, steps over midnight, seals, and sweeps.
func (f *forgetter) liveOn(sweep bool) (n night, err error) {
	if err := f.fill(); err != nil {
		return n, err
	}
	f.nextDay()
	began := time.Now()
	_, _, err = f.st.SealDays(context.Background())
	if n.sealed = time.Since(began); err != nil || !sweep {
		return n, err
	}
	s, err := f.sweeper.Sweep(context.Background(), false, true)
	n.decided, n.reclaimed = s.Decided, s.Took-s.Decided
	n.Removal, n.partitions, n.pending = removed(s), s.Reclaimed.Partitions, s.Reclaimed.Pending
	return n, err
}

func (n *night) took() time.Duration { return n.sealed + n.decided + n.reclaimed }

// monthWith measures every night of a month.
func (r *forgotten) monthWith(dir string) error {
	f, err := newForgetter(dir, r.forgetPlan, r.buildDays)
	if err != nil {
		return err
	}
	r.swept, err = f.liveFor(r.month, func() error {
		if f.day%5 == 0 { // who will be erased is a guest of many days
			if _, err := f.visit(); err != nil {
				return err
			}
		}
		n, err := f.liveOn(true)
		r.nights = append(r.nights, n)
		fmt.Fprintf(r.say, "  night %d: sealed %s, decided %s, reclaimed %s; %d profiles, %d hits\n", len(r.nights), n.sealed.Round(time.Millisecond),
			n.decided.Round(time.Millisecond), n.reclaimed.Round(time.Millisecond), n.Profiles, n.Hits)
		return err
	})
	return err
}

// monthWithout is the same month where nobody falls due.
func (r *forgotten) monthWithout(dir string) error {
	f, err := newForgetter(dir, r.forgetPlan, r.buildDays)
	if err != nil {
		return err
	}
	if err := f.setIdle(0); err != nil {
		return err
	}
	r.kept, err = f.liveFor(r.month, func() error {
		_, err := f.liveOn(false)
		return err
	})
	if err != nil {
		return err
	}
	return r.drop(dir)
}

// dropDays is how many of the oldest days are dropped, one by one.
const dropDays = 5

// drop has the oldest days go for their age.
func (r *forgotten) drop(dir string) error {
	f, err := newForgetter(dir, r.forgetPlan, r.dayAfterMonth())
	if err != nil {
		return err
	}
	days, err := f.st.Partitions(f.app.ID)
	for _, p := range days[:min(dropDays, len(days))] {
		if err != nil {
			break
		}
		var d dropped
		var gone spoor.Removal
		began := time.Now()
		gone, err = f.st.Drop(context.Background(), f.app, spoor.Aged{Hits: p.Day})
		if d.decided, d.hits = time.Since(began), gone.Hits; err == nil {
			_, err = f.st.Reclaim(context.Background(), false)
		}
		if d.took = time.Since(began); d.decided > r.dropped.decided {
			r.dropped = d
		}
	}
	return errors.Join(err, f.st.Close())
}

func (f *forgetter) setIdle(days int) (err error) {
	f.app, err = f.st.UpdateApp(f.app.ID, func(a *spoor.App) error {
		a.Settings.IdleDays = days
		return nil
	})
	return err
}

// liveFor lives so many days and measures what is written.
func (f *forgetter) liveFor(days int, day func() error) (w written, err error) {
	f.quiet()
	kernel, pebble := kernelWrote(), f.st.Stats().WrittenBytes
	for range days {
		if err := day(); err != nil {
			return w, err
		}
	}
	w.pebble = f.quiet() - pebble
	w.kernel = kernelWrote() - kernel
	w.tables, err = f.tables()
	return w, err
}

// firstSweep shortens the time that the app keeps people, so that a quarter of
// them falls due at once.
func (r *forgotten) firstSweep(dir string) error {
	f, err := newForgetter(dir, r.forgetPlan, r.buildDays)
	if err != nil {
		return err
	}
	f.nextDay()
	today := f.app.Day(f.clock.ms())
	for r.first.idle = r.idle; r.first.idle > f.app.Settings.WindowDays+1; r.first.idle-- {
		due, err := f.st.Anonymous(f.app.ID, today-spoor.Day(r.first.idle))
		if err != nil {
			return err
		}
		if len(due)*firstShare >= r.profiles {
			break
		}
	}
	if err := f.setIdle(r.first.idle); err != nil {
		return err
	}
	if _, _, err := f.st.SealDays(context.Background()); err != nil {
		return err
	}
	f.quiet()
	s, err := f.sweeper.Sweep(context.Background(), true, true)
	r.first.decided, r.first.took, r.first.Removal, r.first.freed = s.Decided, s.Took, removed(s), s.Reclaimed.Bytes
	return errors.Join(err, f.st.Close())
}

// underLoad measures what hits feel of a sweep, and erases somebody.
func (r *forgotten) underLoad(dir string) error {
	f, err := newForgetter(dir, r.forgetPlan, r.dayAfterMonth())
	if err != nil {
		return err
	}
	if _, err := f.capacity(1); err != nil { // what it does first is fill caches and filters
		return err
	}
	f.quiet()
	batches, err := f.capacity(capacityLegs)
	if err != nil {
		return err
	}
	r.capacity = batches * loadBatch
	fmt.Fprintf(r.say, "  capacity: %s hits a second\n", thousands(int64(r.capacity)))
	for i := range r.forgetPlan.rounds {
		one, err := f.round(batches/2, i%2 == 1)
		if err != nil {
			return err
		}
		r.rounds = append(r.rounds, one)
		fmt.Fprintf(r.say, "  round %d: p99 %s without a sweep, %s with one: %.2f\n", i+1, round(one.without), round(one.with), one.ratio())
	}
	if r.erased, err = f.erase(batches / 2); err != nil {
		return err
	}
	if !r.check {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	report, err := f.st.Check(nil)
	r.problems = report.Found
	return errors.Join(err, f.st.Close())
}

// forgetPeak makes the kernel begin anew with the highest resident memory.
func forgetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // else the peak is that of all parts before
}

func ownPeak() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return statusBytes(string(text), "VmHWM:")
}

// kernelWrote is what this process has made the kernel write.
func kernelWrote() int64 {
	n, _ := strconv.ParseInt(field("/proc/self/io", "write_bytes"), 10, 64)
	return n
}

// amplification is bytes written for the sweeping per byte freed by it.
func (r *forgotten) amplification(of func(written) int64) float64 {
	return float64(of(r.swept)-of(r.kept)) / float64(max(r.kept.tables-r.swept.tables, 1))
}

// longest and middle of a duration of the nights.
func (r *forgotten) overNights(of func(night) time.Duration) (longest, middle time.Duration) {
	var all []float64
	for _, n := range r.nights {
		longest = max(longest, of(n))
		all = append(all, float64(of(n)))
	}
	return longest, time.Duration(median(all))
}

// report prints the tables as Markdown.
func (r *forgotten) report(w io.Writer) {
	fmt.Fprintf(w, "\n%s anonymous profiles, %s hits in %d simulated days, %s of tables, filled in %s\n",
		thousands(int64(r.anonymous)), thousands(r.hits), r.buildDays, mebi(r.tables), r.built.Round(time.Second))
	fmt.Fprint(w, "\n| retention | measured | target |\n|---|---|---|\n")
	row := func(name, measured, target string) { fmt.Fprintf(w, "| %s | %s | %s |\n", name, measured, target) }
	r.reportNights(row)
	r.reportBytes(row)
	r.reportLoad(row)
	f := r.first
	row(fmt.Sprintf("%s profiles fall due at once (idle_days %d): decide", thousands(f.Profiles), f.idle), round(f.decided).String(), met("≤ 60 s", f.decided <= firstDecideTarget))
	row("… until every byte is given back", fmt.Sprintf("%s; %s hits, %s less", round(f.took), thousands(f.Hits), mebi(f.freed)), met("≤ 10 min", f.took <= firstReclaimTarget))
	row("erasing who is active, at half of the capacity", fmt.Sprintf("%s; %d hits; found %d times before, %d after, in %d files", round(r.erased.took), r.erased.hits,
		r.erased.before, r.erased.after, r.erased.files), met("≤ 1 h, aim 1 min", r.erased.took <= eraseTarget && r.erased.before > 0 && r.erased.after == 0))
	highest := slices.MaxFunc(r.peaks, func(a, b peak) int { return int(a.bytes - b.bytes) })
	row("RSS peak", fmt.Sprintf("%s (%s)", mebi(highest.bytes), highest.name), met("≤ "+mebi(rssReached)+" (ingest's peak)", highest.bytes <= rssReached))
	row("dropping a year-old day", fmt.Sprintf("%s for %s hits, %s until no byte is left", round(r.dropped.decided), thousands(r.dropped.hits), round(r.dropped.took)),
		met("≤ 100 ms", r.dropped.decided <= dropTarget))
	fmt.Fprint(w, "\nRSS peaks: ")
	for i, p := range r.peaks {
		fmt.Fprintf(w, "%s%s %s", []string{"", ", "}[min(i, 1)], p.name, mebi(p.bytes))
	}
	fmt.Fprintln(w)
	r.details(w)
}

func met(target string, ok bool) string {
	if ok {
		return target + ": met"
	}
	return target + ": **missed**"
}

func (r *forgotten) reportNights(row func(name, measured, target string)) {
	longest, middle := r.overNights(func(n night) time.Duration { return n.decided })
	sum := spoor.Removal{}
	for _, n := range r.nights {
		sum.Add(n.Removal)
	}
	row(fmt.Sprintf("a night: decide (%s profiles, %s hits)", thousands(sum.Profiles/int64(len(r.nights))), thousands(sum.Hits/int64(len(r.nights)))),
		fmt.Sprintf("%s at most, median %s", round(longest), round(middle)), met("≤ 10 s", longest <= decideTarget))
	longest, middle = r.overNights(func(n night) time.Duration { return n.reclaimed })
	row("a night: reclaim", fmt.Sprintf("%s at most, median %s", round(longest), round(middle)), "–")
	longest, middle = r.overNights(func(n night) time.Duration { return n.sealed })
	row("a night: seal, with or without sweeping", fmt.Sprintf("%s at most, median %s", round(longest), round(middle)), "–")
}

func (r *forgotten) reportBytes(row func(name, measured, target string)) {
	a := r.amplification(func(w written) int64 { return w.pebble })
	row(fmt.Sprintf("bytes written per byte freed, %d days", r.month), fmt.Sprintf("%.1f: (%s − %s) / (%s − %s); as the kernel counts writes %.1f", a,
		mebi(r.swept.pebble), mebi(r.kept.pebble), mebi(r.kept.tables), mebi(r.swept.tables), r.amplification(func(w written) int64 { return w.kernel })),
		met("≤ 5", a <= amplifyTarget))
}

func (r *forgotten) reportLoad(row func(name, measured, target string)) {
	var ratios, without, with []float64
	for _, one := range r.rounds {
		ratios, without, with = append(ratios, one.ratio()), append(without, float64(one.without)), append(with, float64(one.with))
	}
	row(fmt.Sprintf("p99 of a Write while a sweep runs, at half of %s hits/s", thousands(int64(r.capacity))),
		fmt.Sprintf("× %.2f (%s, without %s; medians of %d)", median(ratios), round(time.Duration(median(with))), round(time.Duration(median(without))), len(ratios)),
		met("≤ 2 ×", median(ratios) <= slowerTarget))
}

// details are the single nights and rounds.
func (r *forgotten) details(w io.Writer) {
	fmt.Fprint(w, "\n| night | profiles | hits | kept at last look | seal | decide | reclaim | days rewritten | days wait |\n|---|---|---|---|---|---|---|---|---|\n")
	for i, n := range r.nights {
		fmt.Fprintf(w, "| %d | %s | %s | %d | %s | %s | %s | %d | %d |\n", i+1, thousands(n.Profiles), thousands(n.Hits), n.Kept,
			round(n.sealed), round(n.decided), round(n.reclaimed), n.partitions, n.pending)
	}
	fmt.Fprint(w, "\n| round | p99 without | p99 with | ratio | p99 while sealing | deciding | reclaiming | seal | decide | reclaim |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for i, o := range r.rounds {
		fmt.Fprintf(w, "| %d | %s | %s | %.2f | %s | %s | %s | %s | %s | %s |\n", i+1, round(o.without), round(o.with), o.ratio(),
			round(o.sealing), round(o.deciding), round(o.freeing), round(o.sealed), round(o.decided-o.sealed), round(o.took-o.decided))
	}
	fmt.Fprintln(w, "\n"+strings.Join([]string{
		fmt.Sprintf("Written in the month: with sweeping %s (kernel %s), without %s (kernel %s).", mebi(r.swept.pebble), mebi(r.swept.kernel), mebi(r.kept.pebble), mebi(r.kept.kernel)),
		fmt.Sprintf("Tables after it: %s and %s.", mebi(r.swept.tables), mebi(r.kept.tables)),
	}, " "))
}
