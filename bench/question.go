package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// question is one kind of statistics that is asked for. The tables of many
// dimensions count as one kind each.
type question struct {
	title  string
	target time.Duration // of p99; 0: none
	scans  bool          // it reads hits
	ask    func(st *store.Store, app spoor.AppID, from, to spoor.Day) error
}

// Targets of statistics.
const (
	seriesTarget  = 20 * time.Millisecond
	topTarget     = 20 * time.Millisecond
	scanTarget    = 2_000_000 // hits a second
	segmentTarget = 500 * time.Millisecond
)

const (
	askDays     = 90
	askHourDays = 30
	askTimes    = 200
	askSlow     = 20 // times, of a question that takes longer than askSlowFrom
	askScan     = 2  // times, of one that reads all hits
	askSlowFrom = 200 * time.Millisecond
)

// questions lists what is asked. Filters that scan are asked apart.
func questions() (all []question) {
	series := func(title string, metric spoor.Metric, interval spoor.Interval, days int, filter ...spoor.Condition) {
		all = append(all, question{title: title, target: seriesTarget, ask: func(st *store.Store, app spoor.AppID, from, to spoor.Day) error {
			s, err := st.Series(&spoor.SeriesQuery{App: app, Metric: metric, From: max(from, to-spoor.Day(days)+1), To: to, Interval: interval, Filter: filter})
			if err == nil && len(s.Points) == 0 {
				err = errors.New("a series without points")
			}
			return err
		}})
	}
	for _, m := range spoor.Metrics {
		if m.OfProperty() || m == spoor.MetricActive {
			continue
		}
		series(string(m)+" by day", m, spoor.IntervalDay, askDays)
		series(string(m)+" by week", m, spoor.IntervalWeek, askDays)
	}
	series("visitors by hour, 30 days", spoor.MetricVisitors, spoor.IntervalHour, askHourDays)
	series("visitors of one country by day", spoor.MetricVisitors, spoor.IntervalDay, askDays, spoor.Condition{Dimension: spoor.DimCountry, Text: "PL"})
	top := func(title string, by spoor.TopBy) {
		all = append(all, question{title: "top 10: " + title, target: topTarget, ask: func(st *store.Store, app spoor.AppID, from, to spoor.Day) error {
			_, err := st.Top(&spoor.TopQuery{App: app, By: by, From: from, To: to, Limit: 10})
			return err
		}})
	}
	for dim := spoor.DimHour; dim < spoor.DimProperty; dim++ {
		top(dim.String(), spoor.TopBy{Dimension: dim})
	}
	top("entry", spoor.TopBy{Dimension: spoor.DimPath, Entry: true})
	top("exit", spoor.TopBy{Dimension: spoor.DimPath, Exit: true})
	goals := []spoor.Goal{
		{Name: "order", Dimension: spoor.DimEvent, Text: "Order completed"},
		{Name: "page", Dimension: spoor.DimPath, Text: "/shoes/0000-page"},
		{Name: "shoes", Dimension: spoor.DimPath, Text: "/shoes/000", Prefix: true},
	}
	all = append(all,
		question{title: "three goals", target: seriesTarget, ask: func(st *store.Store, app spoor.AppID, from, to spoor.Day) error {
			_, err := st.Goals(app, from, to, goals)
			return err
		}},
		question{title: "cohorts by week", target: seriesTarget, ask: func(st *store.Store, app spoor.AppID, from, to spoor.Day) error {
			_, err := st.Cohorts(app, from, to)
			return err
		}},
		question{title: "active", target: seriesTarget, ask: func(st *store.Store, app spoor.AppID, from, to spoor.Day) error {
			_, err := st.Active(app)
			return err
		}},
		question{title: "funnel of three steps", scans: true, ask: func(st *store.Store, app spoor.AppID, from, to spoor.Day) error {
			_, err := st.Funnel(app, from, to, []spoor.Goal{goals[1], {Name: "cart", Dimension: spoor.DimEvent, Text: "Added to cart"}, goals[0]})
			return err
		}},
		question{title: "visitors by day, two conditions", scans: true, ask: func(st *store.Store, app spoor.AppID, from, to spoor.Day) error {
			_, err := st.Series(&spoor.SeriesQuery{
				App: app, Metric: spoor.MetricVisitors, From: from, To: to, Interval: spoor.IntervalDay,
				Filter: []spoor.Condition{{Dimension: spoor.DimCountry, Text: "PL"}, {Dimension: spoor.DimDevice, Text: "mobile"}},
			})
			return err
		}},
	)
	segment := func(title, filter string, texts []string) {
		n := 0
		all = append(all, question{title: title, target: segmentTarget, ask: func(st *store.Store, app spoor.AppID, _, _ spoor.Day) error {
			n++ // another one each time: answers are remembered for a moment
			f, err := spoor.ParseFilter(fmt.Appendf(nil, filter, texts[n%len(texts)]))
			if err == nil {
				var members int64
				if members, err = st.Members(app, &spoor.Collection{Kind: spoor.CollectionSegment, Filter: f}, 0, nil); n == 1 && members == 0 && err == nil {
					err = errors.New("nobody is in it")
				}
			}
			return err
		}})
	}
	segment("segment: country and device", `{"all":[{"attribute":"country","is":"%s"},{"attribute":"device","is":"mobile"}]}`, massCountries)
	segment("segment: country, and a page twice in 30 days", `{"all":[{"attribute":"country","is":"PL"},{"path":"%s","times":2,"days":30}]}`, massURLs())
	return all
}

// questions are those that were chosen.
func (l *large) questions() (some []question) {
	for _, q := range questions() {
		if l.only.MatchString(q.title) {
			some = append(some, q)
		}
	}
	return some
}

// answered are the times that a question took: the first after the store was
// opened, and those after it.
type answered struct {
	question
	cold time.Duration
	warm []time.Duration
}

func (a *answered) p(percent int) time.Duration {
	return a.warm[min(len(a.warm)*percent/100, len(a.warm)-1)]
}

// once asks, and tells how long it took.
func (l *large) once(q question) (time.Duration, error) {
	began := time.Now()
	if err := q.ask(l.st, l.app.ID, l.from(), l.days[1]); err != nil {
		return 0, fmt.Errorf("cannot answer %q: %w", q.title, err)
	}
	return time.Since(began), nil
}

func (l *large) from() spoor.Day { return max(l.days[0], l.days[1]-askDays+1) }

// ask opens the store and asks all questions: each once after a start, then all
// of them in random order.
func (l *large) ask(w io.Writer) error {
	var all []*answered
	var start time.Duration
	for _, q := range l.questions() {
		began := time.Now()
		if err := l.open(); err != nil {
			return err
		}
		took, err := l.once(q)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			start = time.Since(began)
		}
		all = append(all, &answered{question: q, cold: took})
		if err := l.close(); err != nil {
			return err
		}
	}
	if err := l.open(); err != nil {
		return err
	}
	var order []*answered
	for _, a := range all {
		took, err := l.once(a.question)
		if err != nil {
			return err
		}
		times := l.times
		if took > askSlowFrom {
			times = min(times, askSlow)
		}
		if a.scans {
			times = min(times, askScan)
		}
		order = append(order, slices.Repeat([]*answered{a}, times)...)
	}
	rand.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	for _, a := range order {
		took, err := l.once(a.question)
		if err != nil {
			return err
		}
		a.warm = append(a.warm, took)
	}
	return l.report(w, all, start)
}

// report prints what was measured, as Markdown.
func (l *large) report(w io.Writer, all []*answered, start time.Duration) error {
	parts, err := l.st.Partitions(l.app.ID)
	if err != nil {
		return err
	}
	asked := int64(0)
	for _, p := range parts {
		l.hits += p.Hits
		if p.Day >= l.from() {
			asked += p.Hits
		}
	}
	fmt.Fprintf(w, "\n%s hits in %d days, %s of them in the %d days that are asked for; %.0f bytes a hit", thousands(l.hits), l.size.days,
		thousands(asked), askDays, float64(l.tables)/float64(max(l.hits, 1)))
	if l.built > 0 {
		fmt.Fprintf(w, "; built at %s hits/s", thousands(int64(float64(l.hits)/l.built.Seconds())))
	}
	fmt.Fprintf(w, "\nFrom opening the store after a clean stop to the first answer: %s. First: the answer after a start, with files in the page cache.\n\n", round(start))
	fmt.Fprintln(w, "| question, 90 days | first | p50 | p99 | aim |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
	for _, a := range all {
		slices.Sort(a.warm)
		aim := "–"
		switch {
		case a.scans:
			aim = fmt.Sprintf("%s hits/s", thousands(int64(float64(asked)/a.p(50).Seconds())))
			if a.target == 0 {
				aim += fmt.Sprintf(" of ≥ %s", thousands(scanTarget))
			}
		case a.target > 0:
			aim = "≤ " + a.target.String() + ": met"
			if a.p(99) > a.target {
				aim = "≤ " + a.target.String() + ": **missed**"
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", a.title, round(a.cold), round(a.p(50)), round(a.p(99)), aim)
	}
	return nil
}

// profile asks every question some times, and writes where CPU time went.
func (l *large) profile(path string) (err error) {
	if err := l.open(); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot write the profile: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("cannot start the profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	for _, q := range l.questions() {
		for range askSlow {
			if _, err := l.once(q); err != nil {
				return err
			}
		}
	}
	return nil
}
