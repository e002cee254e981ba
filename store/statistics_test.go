package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"pgregory.net/rapid"
)

// naive answers the same questions from all hits that are in the store, in the
// words of METRICS.md: no bitmaps, no rows, no days put off.
type naive struct {
	app     *spoor.App
	hits    []spoor.Hit                         // counted ones
	bots    map[spoor.Day]int64                 //
	person  map[spoor.Number]spoor.Number       // of a number
	contact map[spoor.Number]bool               // of a person
	firsts  map[spoor.Number][]spoor.Day        // of a person: days on which its numbers were new
	visits  map[[2]int64]*spoor.Hit             // person and start → the hit that began the visit
	visitor map[spoor.Day]map[spoor.Number]bool // by number
	views   map[int64]*spoor.Hit                // hit that ended the time on a page (by public id) → the view
}

type failer interface {
	Fatalf(format string, args ...any)
}

func newNaive(t failer, s *Store, app *spoor.App) *naive {
	n := &naive{
		app: app, bots: map[spoor.Day]int64{}, person: map[spoor.Number]spoor.Number{}, contact: map[spoor.Number]bool{},
		firsts: map[spoor.Number][]spoor.Day{}, visits: map[[2]int64]*spoor.Hit{}, visitor: map[spoor.Day]map[spoor.Number]bool{}, views: map[int64]*spoor.Hit{},
	}
	err := s.ScanHits(app.ID, -100000, 100000, func(h *spoor.Hit) error {
		if h.Bot {
			n.bots[h.Day]++
		} else if h.Marks&spoor.MarkUncounted == 0 {
			n.hits = append(n.hits, *h)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	for i := range n.hits {
		h := &n.hits[i]
		if h.Profile == 0 {
			continue
		}
		if _, known := n.person[h.Profile]; !known {
			p, err := s.Profile(app.ID, h.Profile)
			if err != nil || p == nil {
				t.Fatalf("profile %d: %v, %v", h.Profile, p, err)
			}
			n.person[h.Profile] = p.Number
			n.contact[p.Number] = p.UserID != "" || p.Text(spoor.AttrEmail) != ""
		}
		who := n.person[h.Profile]
		if h.Tally.New {
			n.firsts[who] = append(n.firsts[who], h.Day)
		}
		if h.First {
			n.visits[[2]int64{int64(who), h.Visit}] = h
		}
		if h.Kind.Counts().Visitor {
			if n.visitor[h.Day] == nil {
				n.visitor[h.Day] = map[spoor.Number]bool{}
			}
			n.visitor[h.Day][h.Profile] = true
		}
	}
	for i := range n.hits {
		h := &n.hits[i]
		for j := range n.hits {
			v := &n.hits[j]
			same := v.Profile != 0 && h.Profile != 0 && n.person[v.Profile] == n.person[h.Profile] && v.Visit == h.Visit && v.Day == h.Day
			if same && v != h && !v.Tally.Aside && v.Kind.Counts().View && (h.Tally.Since > 0 || h.Tally.Timed) && v.Time == h.Time-h.Tally.Since && v.Time <= h.Time && naiveText(n.app, v, viewDim(v)) != "" {
				if o := n.views[h.Public]; o == nil || v.Profile == h.Profile && o.Profile != h.Profile {
					n.views[h.Public] = v
				}
			}
		}
	}
	return n
}

func viewDim(h *spoor.Hit) spoor.Dimension {
	if h.Kind == spoor.KindScreen {
		return spoor.DimScreen
	}
	return spoor.DimPath
}

// naiveText is what METRICS.md says of some dimensions.
func naiveText(app *spoor.App, h *spoor.Hit, dim spoor.Dimension) string {
	k := h.Kind.Counts()
	ofVisit := k.Visitor || h.Visit != 0
	switch dim {
	case spoor.DimEvent:
		if k.Event {
			return h.Name
		}
	case spoor.DimPath:
		if u, err := url.Parse(h.URL); err == nil && h.Kind == spoor.KindPage {
			return u.Path
		}
	case spoor.DimScreen:
		if h.Kind == spoor.KindScreen {
			return h.Name
		}
	case spoor.DimCountry:
		if ofVisit {
			return h.Place.Country
		}
	case spoor.DimSource:
		if h.First {
			return h.Campaign.Source
		}
	case spoor.DimHour:
		if ofVisit {
			return fmt.Sprintf("%02d", time.UnixMilli(h.Time).In(app.Zone(h.Time)).Hour())
		}
	}
	return ""
}

func (n *naive) fits(h *spoor.Hit, filter []spoor.Condition) bool {
	for _, c := range filter {
		text := naiveText(n.app, h, c.Dimension)
		yes := text == c.Text
		if c.Prefix {
			yes = text != "" && strings.HasPrefix(text, c.Text)
		}
		if yes == c.Not {
			return false
		}
	}
	return true
}

// value is one metric of some of the days, or of one hour (-1: all).
func (n *naive) value(m spoor.Metric, filter []spoor.Condition, from, to spoor.Day, hour int) (float64, bool) {
	clock := func(ms int64) int { return time.UnixMilli(ms).In(n.app.Zone(ms)).Hour() }
	within := func(h *spoor.Hit, ms int64) bool {
		return h.Day >= from && h.Day <= to && (hour < 0 || clock(ms) == hour)
	}
	var visits, views, events, engaged, length, timed, onPage float64
	who := map[spoor.Number]bool{}
	firstHour := map[spoor.Number]int{}
	for i := range n.hits {
		h := &n.hits[i]
		k := h.Kind.Counts()
		person := n.person[h.Profile]
		begin := h
		if h.Visit != 0 {
			if b := n.visits[[2]int64{int64(person), h.Visit}]; b != nil {
				begin = b
			}
		}
		ofVisit := h.Visit != 0 && n.fits(begin, filter)
		at := h.Time
		if begin.Day == h.Day && h.Visit != 0 && n.app.Day(h.Visit) == h.Day {
			at = h.Visit
		}
		if m == spoor.MetricBounceRate || m == spoor.MetricVisitDuration {
			if within(h, at) && ofVisit {
				if h.First {
					visits++
				}
				if h.Tally.Engaged {
					engaged++
				}
				length += float64(h.Tally.Gap)
			}
			continue
		}
		if m == spoor.MetricTimeOnPage {
			v := n.views[h.Public]
			if h.Tally.Timed && within(h, h.Time-h.Tally.Since) && (len(filter) == 0 || v != nil && n.fits(v, filter)) {
				timed++
				onPage += float64(h.Tally.Since)
			}
			continue
		}
		if h.Profile != 0 && h.Day >= from && h.Day <= to && (k.Visitor || h.Visit != 0) && n.visitor[h.Day][h.Profile] {
			if was, ok := firstHour[person]; !ok || clock(h.Time) < was {
				firstHour[person] = clock(h.Time)
			}
		}
		if !within(h, h.Time) || !n.fits(h, filter) {
			continue
		}
		if k.View {
			views++
		}
		if k.Event && (hour < 0 || h.Visit != 0 || k.Visitor) {
			events++
		}
		if h.First {
			visits++
		}
		switch {
		case h.Profile == 0:
		case hour >= 0:
			if (k.Visitor || h.Visit != 0) && n.visitor[h.Day][h.Profile] {
				who[person] = true
			}
		case n.visitor[h.Day][h.Profile]: // who did this on a day of a visit
			who[person] = true
		}
	}
	isNew := func(p spoor.Number) bool {
		if len(n.firsts[p]) == 0 {
			return false
		}
		first := slices.Min(n.firsts[p])
		return first >= from && first <= to && (hour < 0 || firstHour[p] == hour)
	}
	fresh, contacts := 0.0, 0.0
	for p := range who {
		if isNew(p) {
			fresh++
		}
		if n.contact[p] {
			contacts++
		}
	}
	mean := func(a, b float64) (float64, bool) {
		if b == 0 {
			return 0, false
		}
		return a / b, true
	}
	switch m {
	case spoor.MetricVisitors:
		return float64(len(who)), true
	case spoor.MetricVisits:
		return visits, true
	case spoor.MetricPageviews:
		return views, true
	case spoor.MetricEvents:
		return events, true
	case spoor.MetricBounceRate:
		v, ok := mean(max(0, visits-engaged), visits)
		return v, ok
	case spoor.MetricVisitDuration:
		v, ok := mean(length/1000, visits)
		return v, ok
	case spoor.MetricTimeOnPage:
		return mean(onPage/1000, timed)
	case spoor.MetricNewVisitors:
		return fresh, true
	case spoor.MetricReturning:
		return float64(len(who)) - fresh, true
	case spoor.MetricIdentified:
		return contacts, true
	}
	return 0, false
}

var naiveMetrics = []spoor.Metric{
	spoor.MetricVisitors, spoor.MetricVisits, spoor.MetricPageviews, spoor.MetricEvents, spoor.MetricBounceRate, spoor.MetricVisitDuration,
	spoor.MetricTimeOnPage, spoor.MetricNewVisitors, spoor.MetricReturning, spoor.MetricIdentified,
}

var someFilters = [][]spoor.Condition{
	nil,
	{{Dimension: spoor.DimCountry, Text: "PL"}},
	{{Dimension: spoor.DimPath, Text: "/p", Prefix: true}},
	{{Dimension: spoor.DimPath, Text: "/p1"}},
	{{Dimension: spoor.DimSource, Text: "news", Not: true}},
	{{Dimension: spoor.DimEvent, Text: "signup"}},
	{{Dimension: spoor.DimPath, Text: "/p1"}, {Dimension: spoor.DimCountry, Text: "P", Prefix: true}},
}

// compareSeries holds series against the naive ones.
func compareSeries(t failer, s *Store, n *naive, from, to spoor.Day, filters [][]spoor.Condition) {
	for _, filter := range filters {
		for _, m := range naiveMetrics {
			for _, interval := range []spoor.Interval{spoor.IntervalHour, spoor.IntervalDay, spoor.IntervalWeek, spoor.IntervalMonth} {
				if interval == spoor.IntervalHour && (len(filter) > 0 || to-from >= 5) && m != spoor.MetricVisits {
					continue
				}
				q := &spoor.SeriesQuery{App: n.app.ID, Metric: m, From: from, To: to, Interval: interval, Filter: filter}
				got, err := s.Series(q)
				if err != nil {
					t.Fatalf("%s by %s of %v: %v", m, interval, filter, err)
				}
				same := func(what string, p spoor.Point, v float64, known bool) {
					if p.Known != known || math.Abs(p.Value-v) > 1e-9 {
						t.Fatalf("%s by %s of %v from %s to %s, %s: %v %v, want %v %v", m, interval, filter, from, to, what, p.Value, p.Known, v, known)
					}
				}
				hours := 0
				for i, p := range got.Points {
					a, b, hour := max(p.Day, from), to, -1
					if interval == spoor.IntervalHour {
						a, b, hour = p.Day, p.Day, p.Hour
						hours++
					} else if i+1 < len(got.Points) {
						b = got.Points[i+1].Day - 1
					}
					v, known := n.value(m, filter, a, b, hour)
					same(fmt.Sprint("point ", p.Day, " ", p.Hour), p, v, known)
				}
				v, known := n.value(m, filter, from, to, -1)
				if interval == spoor.IntervalHour && m == spoor.MetricEvents {
					continue // by hour, those of visits alone
				}
				same("total", got.Total, v, known)
				if interval == spoor.IntervalHour && hours < 23*int(to-from+1) {
					t.Fatalf("%d hours on %d days", hours, to-from+1)
				}
			}
		}
	}
	bots := int64(0)
	for day, some := range n.bots {
		if day >= from && day <= to {
			bots += some
		}
	}
	got, err := s.Series(&spoor.SeriesQuery{App: n.app.ID, Metric: spoor.MetricBots, From: from, To: to, Interval: spoor.IntervalDay})
	if err != nil || int64(got.Total.Value) != bots {
		t.Fatalf("bots: %v, %v; want %d", got.Total, err, bots)
	}
}

// top is the rows of a dimension, by hits of the naive kind.
func (n *naive) top(by spoor.TopBy, filter []spoor.Condition, from, to spoor.Day) (rows []spoor.TopRow) {
	count, who := map[string]int64{}, map[string]map[spoor.Number]bool{}
	for i := range n.hits {
		h := &n.hits[i]
		if h.Day < from || h.Day > to {
			continue
		}
		if v := n.views[h.Public]; by.Exit && v != nil && h.Kind.Counts().View && n.fits(v, filter) {
			count[naiveText(n.app, v, by.Dimension)]--
		}
		text := naiveText(n.app, h, by.Dimension)
		if text == "" || !n.fits(h, filter) {
			continue
		}
		k := h.Kind.Counts()
		switch {
		case by.Exit:
			if !h.Tally.Aside && h.Visit != 0 {
				count[text]++
			}
		case by.Entry, by.Dimension == spoor.DimCountry, by.Dimension == spoor.DimHour:
			if h.First {
				count[text]++
			}
		case by.Dimension == spoor.DimEvent || k.View:
			count[text]++
		}
		if who[text] == nil {
			who[text] = map[spoor.Number]bool{}
		}
		if h.Profile != 0 {
			who[text][n.person[h.Profile]] = true
		}
	}
	for text := range who {
		if !by.Entry && !by.Exit || count[text] != 0 {
			rows = append(rows, spoor.TopRow{Text: text, Visitors: int64(len(who[text])), Count: count[text]})
		}
	}
	slices.SortFunc(rows, func(a, b spoor.TopRow) int {
		switch {
		case by.Dimension == spoor.DimHour:
			return cmp.Compare(a.Text, b.Text)
		case by.Entry || by.Exit:
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
		}
		return cmp.Or(cmp.Compare(b.Visitors, a.Visitors), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	return rows
}

func compareTops(t failer, s *Store, n *naive, from, to spoor.Day, filters [][]spoor.Condition) {
	for _, filter := range filters {
		for _, by := range []spoor.TopBy{
			{Dimension: spoor.DimPath}, {Dimension: spoor.DimPath, Entry: true}, {Dimension: spoor.DimPath, Exit: true},
			{Dimension: spoor.DimCountry}, {Dimension: spoor.DimEvent}, {Dimension: spoor.DimHour},
		} {
			want := n.top(by, filter, from, to)
			got, err := s.Top(&spoor.TopQuery{App: n.app.ID, By: by, From: from, To: to, Filter: filter, Limit: 1000})
			if err != nil || !slices.Equal(got.Rows, want) || got.Texts != len(want) {
				t.Fatalf("top %+v of %v from %s to %s: %+v, %v; want %+v", by, filter, from, to, got, err, want)
			}
			if by.Dimension == spoor.DimHour {
				continue
			}
			// Of rows with the same number any may come last.
			few, err := s.Top(&spoor.TopQuery{App: n.app.ID, By: by, From: from, To: to, Filter: filter, Limit: 2})
			if err != nil || len(few.Rows) != min(2, len(want)) {
				t.Fatalf("top 2 %+v: %+v, %v", by, few, err)
			}
			for i, row := range few.Rows {
				if row.Visitors != want[i].Visitors && !by.Entry && !by.Exit || !slices.Contains(want, row) {
					t.Fatalf("top 2 %+v of %v: row %d is %+v, want %+v", by, filter, i, row, want[i])
				}
			}
		}
	}
}

func compareGoals(t failer, s *Store, n *naive, from, to spoor.Day) {
	goals := []spoor.Goal{
		{Dimension: spoor.DimEvent, Text: "signup"}, {Dimension: spoor.DimPath, Text: "/p", Prefix: true}, {Dimension: spoor.DimPath, Text: "/p2"}, {Dimension: spoor.DimScreen, Text: "s", Prefix: true},
	}
	got, err := s.Goals(n.app.ID, from, to, goals)
	if err != nil {
		t.Fatalf("goals: %v", err)
	}
	all, _ := n.value(spoor.MetricVisitors, nil, from, to, -1)
	fits := func(h *spoor.Hit, g spoor.Goal) bool {
		return n.fits(h, []spoor.Condition{{Dimension: g.Dimension, Text: g.Text, Prefix: g.Prefix}})
	}
	visited := map[spoor.Number]bool{}
	for day, numbers := range n.visitor {
		for number := range numbers {
			if day >= from && day <= to {
				visited[n.person[number]] = true
			}
		}
	}
	for i, g := range goals {
		count, who := int64(0), map[spoor.Number]bool{}
		for j := range n.hits {
			if h := &n.hits[j]; h.Day >= from && h.Day <= to && fits(h, g) {
				count++
				if visited[n.person[h.Profile]] {
					who[n.person[h.Profile]] = true
				}
			}
		}
		if want := (spoor.GoalResult{Goal: g, Count: count, Visitors: int64(len(who)), Of: int64(all)}); got[i] != want {
			t.Fatalf("goal %+v, want %+v", got[i], want)
		}
	}
	for _, steps := range [][]spoor.Goal{{goals[1], goals[0]}, {goals[2], goals[1], goals[0]}, {goals[1], goals[1], goals[1]}} {
		at := map[spoor.Number]int{}
		order := slices.Clone(n.hits)
		slices.SortStableFunc(order, func(a, b spoor.Hit) int {
			return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Time, b.Time), cmp.Compare(a.Profile, b.Profile))
		})
		for i := range order {
			h := &order[i]
			if p := n.person[h.Profile]; p != 0 && h.Day >= from && h.Day <= to && at[p] < len(steps) && fits(h, steps[at[p]]) {
				at[p]++
			}
		}
		got, err := s.Funnel(n.app.ID, from, to, steps)
		if err != nil {
			t.Fatalf("funnel: %v", err)
		}
		for i := range steps {
			want := int64(0)
			for _, reached := range at {
				if reached > i {
					want++
				}
			}
			if got[i].Visitors != want {
				t.Fatalf("step %d of %+v: %+v, want %d", i, steps, got, want)
			}
		}
	}
}

func compareCohorts(t failer, s *Store, n *naive, from, to spoor.Day) {
	got, err := s.Cohorts(n.app.ID, from, to)
	if err != nil {
		t.Fatalf("cohorts: %v", err)
	}
	week := func(d spoor.Day) spoor.Day { return spoor.IntervalWeek.Start(d) }
	came := map[spoor.Day]map[spoor.Number]bool{}
	for day, who := range n.visitor {
		for number := range who {
			if came[week(day)] == nil {
				came[week(day)] = map[spoor.Number]bool{}
			}
			came[week(day)][n.person[number]] = true
		}
	}
	at := week(from)
	for _, c := range got {
		if c.Week != at {
			t.Fatalf("cohort of %s, want %s", c.Week, at)
		}
		at += 7
		for i, kept := range c.Kept {
			want := int64(0)
			for p, days := range n.firsts {
				if week(slices.Min(days)) == c.Week && came[c.Week+spoor.Day(7*i)][p] {
					want++
				}
			}
			if kept != want || i == 0 && c.Size != want {
				t.Fatalf("week %s: %+v, want %d after %d", c.Week, c, want, i)
			}
		}
	}
	if at != week(to)+7 {
		t.Fatalf("cohorts end before %s, want %s", at, week(to)+7)
	}
}

// visitOf makes hits of a few people who come back, change devices and log in.
func visitOf(app *spoor.App, c *clock, id *int) *rapid.Generator[spoor.Hit] {
	return rapid.Custom(func(t *rapid.T) spoor.Hit {
		*id++
		h := spoor.Hit{App: app.ID, Received: c.ms(), Door: spoor.DoorNative, ID: fmt.Sprint("e", *id)}
		h.Kind = rapid.SampledFrom([]spoor.Kind{
			spoor.KindPage, spoor.KindPage, spoor.KindPage, spoor.KindEvent, spoor.KindEvent, spoor.KindScreen, spoor.KindLeave, spoor.KindServerEvent, spoor.KindIdentify,
		}).Draw(t, "kind")
		h.Key = rapid.SampledFrom([]string{"", "k1", "k2", "k3", "k4", "k5", "k6", "k7"}).Draw(t, "key")
		h.UserID = rapid.SampledFrom([]string{"", "", "", "u1", "u2"}).Draw(t, "user")
		h.Bot = rapid.IntRange(0, 15).Draw(t, "bot") == 0
		h.Time = h.Received - int64(rapid.SampledFrom([]int{0, 0, 0, 61, 25 * 60, 3 * 3600}).Draw(t, "ago"))*1000 - int64(*id%1000) // visits that begin at one instant could be confused
		switch h.Kind {
		case spoor.KindPage, spoor.KindLeave:
			h.URL = rapid.SampledFrom([]string{"https://x.example/p1?a=1", "https://x.example/p2", "https://x.example/q"}).Draw(t, "url")
		default:
			h.Name = rapid.SampledFrom([]string{"signup", "s1", "s2"}).Draw(t, "name")
		}
		h.Place.Country = rapid.SampledFrom([]string{"PL", "LV", ""}).Draw(t, "country")
		h.Campaign.Source = rapid.SampledFrom([]string{"news", "", ""}).Draw(t, "source")
		return h
	})
}

// Goal: open days give what a scan of their hits by other code gives: all
// metrics, by hour to month, filtered and not, tops, goals, funnels, cohorts;
// and sealed days keep it, and follow when people are merged after that.
// Method: random visits with merges, restrictions and bots, some counted
// later, around clock changes of one hour and of half an hour; questions in
// between, so that something is remembered when the next hits come.
func TestStatisticsEqualScan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newClock()
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Warsaw", "Asia/Kolkata", "Australia/Lord_Howe"}).Draw(rt, "zone")
		c.now = rapid.SampledFrom([]time.Time{
			time.Date(2026, 3, 28, 21, 40, 0, 0, time.UTC),
			time.Date(2026, 10, 24, 21, 10, 0, 0, time.UTC),
			time.Date(2026, 4, 4, 12, 30, 0, 0, time.UTC), // Lord Howe gains half an hour
		}).Draw(rt, "start")
		o := testOptions(t, vfs.NewMem(), c)
		o.putOffFrom = rapid.SampledFrom([]int{1, 32}).Draw(rt, "put off")
		s, err := Open(o)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { s.Close() }()
		app := newApp(t, s, "shop", zone)
		if rapid.Bool().Draw(rt, "with goals") {
			app, err = s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.Goals = []string{"pages=path:/p*"}; return nil })
			if err != nil {
				rt.Fatal(err)
			}
		}
		from := app.Day(c.ms())
		id := 0
		for range rapid.IntRange(1, 12).Draw(rt, "requests") {
			c.add(time.Duration(rapid.SampledFrom([]int{1, 400, 29 * 60, 31 * 60, 2 * 3600, 7 * 3600}).Draw(rt, "pause")) * time.Second)
			if err := s.Write(rapid.SliceOfN(visitOf(app, c, &id), 1, 6).Draw(rt, "hits")); err != nil {
				rt.Fatal(err)
			}
			if rapid.IntRange(0, 2).Draw(rt, "ask") == 0 {
				askSome(rt, s, app, from, app.Day(c.ms()))
			}
			if n := rapid.IntRange(0, 30).Draw(rt, "restricted"); n > 0 && n < 5 {
				if p, err := s.Profile(app.ID, spoor.Number(n)); err == nil && p != nil {
					if _, err := s.SetRight(app.ID, p.Number, spoor.RightRestrict, spoor.Forever); err != nil {
						rt.Fatal(err)
					}
				}
			}
		}
		to := app.Day(c.ms())
		n := newNaive(rt, s, app)
		compareSeries(rt, s, n, from, to, someFilters)
		compareSeries(rt, s, n, from+1, max(from+1, to-1), someFilters[:2])
		compareTops(rt, s, n, from, to, someFilters[:5])
		compareGoals(rt, s, n, from, to)
		compareCohorts(rt, s, n, from, to)

		c.add(40 * 24 * time.Hour)
		if _, _, err := s.SealDays(context.Background()); err != nil {
			rt.Fatal(err)
		}
		compareSeries(rt, s, n, from, to, someFilters[:1])
		compareSeries(rt, s, n, from, to, someFilters[4:5]) // by a scan
		compareSeries(rt, s, n, from, to, someFilters[6:7]) // by a scan of the hits of some
		compareTops(rt, s, n, from, to, someFilters[4:5])
		compareCohorts(rt, s, n, from, to)

		for i := range rapid.IntRange(1, 4).Draw(rt, "logins") {
			h := spoor.Hit{App: app.ID, Received: c.ms(), Time: c.ms(), Door: spoor.DoorNative, ID: fmt.Sprint("login", i), Kind: spoor.KindIdentify}
			h.Key = rapid.SampledFrom([]string{"k1", "k2", "k3", "k4", "k5", "k6", "k7"}).Draw(rt, "key")
			h.UserID = rapid.SampledFrom([]string{"u1", "u2"}).Draw(rt, "user")
			if err := s.Write([]spoor.Hit{h}); err != nil {
				rt.Fatal(err)
			}
		}
		n = newNaive(rt, s, app)
		compareSeries(rt, s, n, from, to, someFilters[:1])
		compareSeries(rt, s, n, from, to, someFilters[4:5])
		compareCohorts(rt, s, n, from, to)
	})
}

// askSome asks what is answered from sets of people and from sums of rows.
func askSome(t failer, s *Store, app *spoor.App, from, to spoor.Day) {
	for _, interval := range []spoor.Interval{spoor.IntervalHour, spoor.IntervalDay, spoor.IntervalWeek} {
		for _, filter := range someFilters[:3] {
			if _, err := s.Series(&spoor.SeriesQuery{App: app.ID, Metric: spoor.MetricReturning, From: from, To: to, Interval: interval, Filter: filter}); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	for _, dim := range []spoor.Dimension{spoor.DimPath, spoor.DimCountry, spoor.DimEvent, spoor.DimHour} {
		if _, err := s.Top(&spoor.TopQuery{App: app.ID, By: spoor.TopBy{Dimension: dim}, From: from, To: to, Limit: 2}); err != nil {
			t.Fatalf("%v", err)
		}
	}
	if _, err := s.Goals(app.ID, from, to, []spoor.Goal{{Dimension: spoor.DimEvent, Text: "signup"}, {Dimension: spoor.DimPath, Text: "/p", Prefix: true}}); err != nil {
		t.Fatalf("%v", err)
	}
}
