package spoor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Metric is a figure that statistics give for a range of days. METRICS.md
// defines each.
type Metric string

// The metrics.
const (
	MetricVisitors      Metric = "visitors"
	MetricVisits        Metric = "visits"
	MetricPageviews     Metric = "pageviews"
	MetricEvents        Metric = "events"
	MetricBounceRate    Metric = "bounce_rate"    // 0 to 1
	MetricVisitDuration Metric = "visit_duration" // seconds, mean
	MetricTimeOnPage    Metric = "time_on_page"   // seconds, mean
	MetricNewVisitors   Metric = "new_visitors"
	MetricReturning     Metric = "returning"
	MetricRegistrations Metric = "registrations"
	MetricActive        Metric = "active"
	MetricIdentified    Metric = "identified"
	MetricBots          Metric = "bots"
	MetricCount         Metric = "count" // of a property of events, as the next four
	MetricSum           Metric = "sum"
	MetricAverage       Metric = "average"
	MetricMin           Metric = "min"
	MetricMax           Metric = "max"
)

// Metrics lists all metrics.
var Metrics = []Metric{
	MetricVisitors, MetricVisits, MetricPageviews, MetricEvents, MetricBounceRate, MetricVisitDuration, MetricTimeOnPage,
	MetricNewVisitors, MetricReturning, MetricRegistrations, MetricActive, MetricIdentified, MetricBots,
	MetricCount, MetricSum, MetricAverage, MetricMin, MetricMax,
}

// OfProperty reports whether the metric is one of a property of events.
func (m Metric) OfProperty() bool {
	switch m {
	case MetricCount, MetricSum, MetricAverage, MetricMin, MetricMax:
		return true
	}
	return false
}

// OfPeople reports whether the metric counts different persons, so that those
// of several days do not add up.
func (m Metric) OfPeople() bool {
	switch m {
	case MetricVisitors, MetricNewVisitors, MetricReturning, MetricRegistrations, MetricIdentified:
		return true
	}
	return false
}

// Interval is what one point of a series covers, in the app's time zone.
type Interval string

// The intervals. A week begins on Monday; the first and the last one of a
// series may reach out of its range and hold only the days within.
const (
	IntervalHour  Interval = "hour"
	IntervalDay   Interval = "day"
	IntervalWeek  Interval = "week"
	IntervalMonth Interval = "month"
)

// The bounds of a query.
const (
	StatisticsDaysMax = 1100
	StatisticsHourMax = 31 // days of a series by hour
	CohortDaysMax     = 371
	FilterMax         = 10 // conditions
	TopMax            = 1000
	GoalsMax          = 200
	FunnelMin         = 2
	FunnelMax         = 8
	GroupsMax         = 100
)

// QueryError is a question that statistics cannot answer.
type QueryError struct {
	Field string // the parameter
	Text  string // one sentence: what is allowed
}

// Error tells what to do.
func (e *QueryError) Error() string { return "cannot answer: " + e.Field + ": " + e.Text }

// Start is the first day of the interval in which a day lies.
func (i Interval) Start(day Day) Day {
	switch i {
	case IntervalWeek:
		return day - ((day+3)%7+7)%7 // 1970-01-01 was a Thursday
	case IntervalMonth:
		_, _, d := time.Unix(int64(day)*86400, 0).UTC().Date()
		return day - Day(d-1)
	}
	return day
}

// Condition is one part of a filter; all parts must hold.
type Condition struct {
	Dimension Dimension
	Text      string // for DimProperty: "name=value"
	Prefix    bool   // Text stands for all that begin so
	Not       bool
}

// ParseText reads the text of a condition or goal: * at the end stands for all
// that begin so. A backslash before ; * or another backslash makes these
// characters themselves.
func ParseText(written string) (text string, prefix bool) {
	var b strings.Builder
	for i := 0; i < len(written); i++ {
		switch last := i+1 == len(written); {
		case written[i] == '*' && last:
			return b.String(), true
		case written[i] == '\\' && !last && strings.IndexByte(`;*\`, written[i+1]) >= 0:
			i++
		}
		b.WriteByte(written[i])
	}
	return b.String(), false
}

// writeText is a form that ParseText reads.
func writeText(text string, prefix bool) string {
	written := strings.ReplaceAll(text, `\`, `\\`)
	switch before, ends := strings.CutSuffix(written, "*"); {
	case prefix:
		return written + "*"
	case ends:
		return before + `\*`
	}
	return written
}

// SeriesQuery asks for one metric over the days From to To, both included.
type SeriesQuery struct {
	App      AppID
	Metric   Metric
	From, To Day
	Interval Interval
	Filter   []Condition

	// Of a property of events; see MetricCount.
	Event    string // name of the event; empty: any
	Property string
	By       string // property to group by; empty: no groups
}

func badQuery(field, format string, args ...any) error {
	return &QueryError{field, fmt.Sprintf(format, args...)}
}

// checkDays refuses ranges that are reversed or too long.
func checkDays(from, to Day, most int) error {
	switch {
	case to < from:
		return badQuery("to", "%s is before from, %s.", to, from)
	case int(to)-int(from) >= most:
		return badQuery("from", "%s to %s are %d days; ask for %d at most.", from, to, int(to)-int(from)+1, most)
	}
	return nil
}

func checkFilter(filter []Condition) error {
	if len(filter) > FilterMax {
		return badQuery("filter", "%d conditions are too many, %d are allowed.", len(filter), FilterMax)
	}
	for _, c := range filter {
		name, text, ok := strings.Cut(c.Text, "=")
		if c.Dimension != DimProperty {
			text = c.Text
		}
		switch {
		case c.Dimension == DimNone || c.Dimension >= DimMeasure:
			return badQuery("filter", "There is no such dimension.")
		case c.Dimension == DimProperty && (!ok || name == ""):
			return badQuery("filter", "A condition on a property reads property:NAME==VALUE.")
		case text == "" && !c.Prefix:
			return badQuery("filter", "The text after == or != is empty; write * for any.")
		}
	}
	return nil
}

// Check says what is wrong with the query, as a *QueryError.
func (q *SeriesQuery) Check() error {
	most := StatisticsDaysMax
	if q.Interval == IntervalHour {
		most = StatisticsHourMax
	}
	if err := checkDays(q.From, q.To, most); err != nil {
		return err
	}
	switch q.Interval {
	case IntervalHour, IntervalDay, IntervalWeek, IntervalMonth:
	default:
		return badQuery("interval", "Give hour, day, week or month.")
	}
	switch {
	case !slices.Contains(Metrics, q.Metric) || q.Metric == MetricActive: // which has no points
		return badQuery("metric", "There is no series of this metric.")
	case q.Metric.OfProperty() && q.Property == "":
		return badQuery("property", "Give the name of a property of events whose numbers are to be summed up.")
	case !q.Metric.OfProperty() && q.Event+q.Property+q.By != "":
		return badQuery("property", "event, property and by go with count, sum, average, min and max alone.")
	case q.Metric == MetricBots && len(q.Filter) > 0:
		return badQuery("filter", "Hits of bots are counted for each day and by nothing else.")
	case q.Interval == IntervalHour && (q.Metric == MetricBots || q.Metric == MetricRegistrations || q.Metric.OfProperty()):
		return badQuery("interval", "This metric is counted by day; give day, week or month.")
	}
	return checkFilter(q.Filter)
}

// Check says what is wrong with the query, as a *QueryError.
func (q *TopQuery) Check() error {
	by := q.By
	switch {
	case q.Limit < 1 || q.Limit > TopMax:
		return badQuery("limit", "Give a number from 1 to %d.", TopMax)
	case by.Dimension == DimNone || by.Dimension >= DimMeasure:
		return badQuery("dimension", "There is no such dimension.")
	case (by.Entry || by.Exit) && (by.Dimension != DimPath || by.Entry && by.Exit):
		return badQuery("dimension", "Visits begin and end on paths.")
	case (by.Dimension == DimProperty) != (by.Property != ""):
		return badQuery("dimension", "Write property:NAME.")
	}
	if err := checkDays(q.From, q.To, StatisticsDaysMax); err != nil {
		return err
	}
	return checkFilter(q.Filter)
}

// ParseGoal reads event:TEXT, path:TEXT or screen:TEXT; see ParseText.
func ParseGoal(text string) (g Goal, err error) {
	dimension, what, _ := strings.Cut(text, ":")
	g = Goal{Name: text}
	g.Text, g.Prefix = ParseText(what)
	switch dimension {
	case "event":
		g.Dimension = DimEvent
	case "path":
		g.Dimension = DimPath
	case "screen":
		g.Dimension = DimScreen
	}
	if !g.valid() {
		return g, fmt.Errorf("%q is no goal; write event:NAME, path:/PATH or screen:NAME, with * at the end for all that begin so", text)
	}
	return g, nil
}

// String is the form that ParseGoal reads.
func (g Goal) String() string { return g.Dimension.String() + ":" + writeText(g.Text, g.Prefix) }

func (g *Goal) valid() bool {
	return (g.Dimension == DimEvent || g.Dimension == DimPath || g.Dimension == DimScreen) && g.Text != "" && len(g.Text) <= 255
}

// checkGoals refuses what ParseGoal does not make.
func checkGoals(field string, goals []Goal, from, to Day, least, most int) error {
	if len(goals) < least || len(goals) > most {
		return badQuery(field, "Give %d to %d.", least, most)
	}
	for _, g := range goals {
		if !g.valid() {
			return badQuery(field, "Write event:NAME, path:/PATH or screen:NAME, with * at the end for all that begin so.")
		}
	}
	return checkDays(from, to, StatisticsDaysMax)
}

// CheckGoals says what is wrong with a question about goals, as a *QueryError.
func CheckGoals(goals []Goal, from, to Day) error {
	return checkGoals("goal", goals, from, to, 0, GoalsMax)
}

// CheckFunnel says what is wrong with the steps of a funnel, as a *QueryError.
func CheckFunnel(steps []Goal, from, to Day) error {
	return checkGoals("step", steps, from, to, FunnelMin, FunnelMax)
}

// CheckCohorts says what is wrong with a range of weeks, as a *QueryError.
func CheckCohorts(from, to Day) error { return checkDays(from, to, CohortDaysMax) }

// Point is one value of a series. A mean of nothing is not Known.
type Point struct {
	Day   Day // first day
	Hour  int // local hour; 0 but for IntervalHour
	Value float64
	Known bool
}

// Series is the answer to a SeriesQuery. Total is not the sum of the points
// where people are counted or a mean is taken.
type Series struct {
	Total  Point
	Points []Point
	Groups []Group // by SeriesQuery.By, at most GroupsMax: the largest first, those not Known and OtherText last

	GroupsLeftOut int // how many more there are
}

// Group is what a SeriesQuery gives for one value of the property By.
type Group struct {
	Text  string
	Total Point
}

// TopQuery asks for the texts of a dimension with the most visitors.
type TopQuery struct {
	App      AppID
	By       TopBy
	From, To Day
	Filter   []Condition
	Limit    int
}

// TopBy is what a table of tops lists: a dimension, or the first or last page
// of visits, or the values of a declared property.
type TopBy struct {
	Dimension Dimension
	Exit      bool   // DimPath only: pages on which visits ended
	Entry     bool   // DimPath only: pages on which visits began
	Property  string // DimProperty only
}

// TopRow is one text. Count is what the dimension counts: views, events or
// visits.
type TopRow struct {
	Text            string
	Visitors, Count int64
}

// Top is the answer to a TopQuery. Other is what had no row of its own on its
// day; see OtherText. Texts is how many there are.
type Top struct {
	Rows  []TopRow
	Other TopRow
	Texts int
}

// OtherText stands for the texts of a day that are too rare, or too many, to
// have rows of their own.
const OtherText = "(other)"

// Goal is a step that visitors take: an event, a page or a screen.
type Goal struct {
	Name      string
	Dimension Dimension // DimEvent, DimPath or DimScreen
	Text      string
	Prefix    bool // Text stands for all that begin so
}

// GoalResult is how often a goal was reached, by whomever, and by how many
// visitors.
type GoalResult struct {
	Goal
	Count, Visitors int64
	Of              int64 // visitors of the same days, with those who did not reach it
}

// Cohort is the new visitors of a week, and how many of them came in that
// week and in each one after it.
type Cohort struct {
	Week Day // its Monday
	Size int64
	Kept []int64 // Kept[0] is Size
}

// FunnelStep is how many people came as far as a step, in this order.
type FunnelStep struct {
	Goal
	Visitors int64
}

// Active is how many visitors there were of late.
type Active struct {
	Now   int64 // in this minute and the five before, since the start of the process
	Day   int64 // today, on the app's calendar
	Week  int64 // in the last 7 days, with today
	Month int64 // in the last 30 days, with today
}
