package spoor

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

// Condition is one part of a filter; all parts must hold. A text that ends
// with * stands for all that begin so.
type Condition struct {
	Dimension Dimension
	Text      string // for DimProperty: "name=value"
	Not       bool
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
	Groups []Group // by SeriesQuery.By, the largest first, at most 100
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

// Goal is a step that visitors take: an event, a page or a screen. A text
// that ends with * stands for all that begin so.
type Goal struct {
	Name      string
	Dimension Dimension // DimEvent, DimPath or DimScreen
	Text      string
}

// GoalResult is how often a goal was reached, and by how many people.
type GoalResult struct {
	Goal
	Count, Visitors int64
	Of              int64 // visitors of the same days
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
