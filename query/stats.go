package query

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// statsDays is the range of statistics where none is asked for: this many days,
// today the last.
const statsDays = 30

// filterBytesMax bounds a filter.
const filterBytesMax = 4096

// statsRepeat are the parameters that may be given several times.
var statsRepeat = []string{"filter", "goal", "step"}

// onlyStats is only for statistics, which all have a range of days.
func (c *call) onlyStats(known ...string) error { return c.only(append(known, "from", "to")...) }

// only refuses parameters that a route does not know, that are given again, or
// that name another app than that of the token.
func (c *call) only(known ...string) error {
	known = append(known, "app")
	given := map[string]bool{}
	for name := range c.ctx.QueryArgs().All() {
		if !slices.Contains(known, string(name)) {
			if !plainText(string(name)) {
				return errBadQuery
			}
			return fieldError(string(name), "There is no such parameter; there are "+strings.Join(known, ", ")+".")
		}
		if given[string(name)] && !slices.Contains(statsRepeat, string(name)) {
			return fieldError(string(name), "Give this parameter once.")
		}
		given[string(name)] = true
	}
	if app := c.ctx.QueryArgs().Peek("app"); given["app"] && string(app) != c.app.Name {
		return fieldError("app", "Leave this out: a token is of one app, and this one is of another.")
	}
	return nil
}

// statsRange is the days that are asked for.
func (c *call) statsRange() (from, to spoor.Day, err error) {
	day := func(name string, otherwise spoor.Day) (spoor.Day, error) {
		text, err := c.query(name)
		if err != nil || text == "" {
			return otherwise, err
		}
		d, err := spoor.ParseDay(text)
		if err != nil {
			return 0, fieldError(name, "Write a day as YYYY-MM-DD.")
		}
		return d, nil
	}
	if to, err = day("to", c.app.Day(c.now.UnixMilli())); err != nil {
		return 0, 0, err
	}
	from, err = day("from", to-statsDays+1)
	return from, to, err
}

// filter reads conditions such as country==PL;path!=/admin/*, of all filters
// that are given.
func (c *call) filter() (list []spoor.Condition, err error) {
	bytes := 0
	for _, value := range c.ctx.QueryArgs().PeekMulti("filter") {
		text := string(value)
		if bytes += len(text); bytes > filterBytesMax || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return nil, fieldError("filter", "Give valid text of at most "+strconv.Itoa(filterBytesMax)+" bytes.")
		}
		if text == "" {
			continue
		}
		for _, part := range splitFilter(text) {
			one, err := parseCondition(part)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
	}
	return list, nil
}

// splitFilter cuts a filter at each ; without a backslash before it.
func splitFilter(text string) (parts []string) {
	begin := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case ';':
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

func parseCondition(text string) (one spoor.Condition, err error) {
	i, j := strings.Index(text, "=="), strings.Index(text, "!=")
	if one.Not = j >= 0 && (i < 0 || j < i); one.Not {
		i = j
	}
	if i < 0 {
		return one, fieldError("filter", `Write dimension==text or dimension!=text, several parted by ; with * at the end of a text for all that begin so, and \ before a ; or * of the text.`)
	}
	name := text[:i]
	one.Text, one.Prefix = spoor.ParseText(text[i+2:])
	property, ok := strings.CutPrefix(name, "property:")
	if ok {
		one.Dimension, one.Text = spoor.DimProperty, property+"="+one.Text
		return one, nil
	}
	if one.Dimension, ok = spoor.ParseDimension(name); !ok || one.Dimension == spoor.DimProperty {
		return one, fieldError("filter", "There is no such dimension; there are "+dimensionNames()+".")
	}
	return one, nil
}

// dimensionNames lists what tables and filters can be asked by.
func dimensionNames() string {
	var names []string
	for d := spoor.DimHour; d < spoor.DimProperty; d++ {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ") + ", property:NAME"
}

// series is one metric over a range of days.
func (c *call) series() error {
	if err := c.onlyStats("metric", "interval", "filter", "compare", "event", "property", "by"); err != nil {
		return err
	}
	q := spoor.SeriesQuery{App: c.app.ID}
	var compare string
	for name, into := range map[string]*string{
		"metric": (*string)(&q.Metric), "interval": (*string)(&q.Interval), "compare": &compare,
		"event": &q.Event, "property": &q.Property, "by": &q.By,
	} {
		var err error
		if *into, err = c.query(name); err != nil {
			return err
		}
	}
	var err error
	if q.From, q.To, err = c.statsRange(); err != nil {
		return err
	}
	if q.Filter, err = c.filter(); err != nil {
		return err
	}
	if q.Interval == "" {
		q.Interval = spoor.IntervalDay
	}
	switch {
	case !slices.Contains(spoor.Metrics, q.Metric):
		var names []string
		for _, m := range spoor.Metrics {
			names = append(names, string(m))
		}
		return fieldError("metric", "Give one of "+strings.Join(names, ", ")+".")
	case compare != "" && compare != "previous":
		return fieldError("compare", "Give previous, or nothing.")
	case q.Metric == spoor.MetricActive:
		return c.active(&q, compare)
	}
	got, err := c.store.Series(&q)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.text("metric", string(q.Metric))
	w.text("interval", string(q.Interval))
	w.text("from", q.From.String())
	w.text("to", q.To.String())
	writeSeries(&w, q.Interval, &got)
	if q.By != "" {
		w.key("groups")
		w.begin('[')
		for _, g := range got.Groups {
			w.begin('{')
			w.text("value", g.Text)
			w.number("total", g.Total.Value, g.Total.Known)
			w.end('}')
		}
		w.end(']')
		w.int("groups_left_out", int64(got.GroupsLeftOut))
	}
	if compare != "" {
		before := q
		before.From, before.To = q.From-(q.To-q.From+1), q.From-1
		then, err := c.store.Series(&before)
		if err != nil {
			return err
		}
		w.key("previous")
		w.begin('{')
		w.text("from", before.From.String())
		w.text("to", before.To.String())
		known := got.Total.Known && then.Total.Known && then.Total.Value != 0
		change := 0.0
		if known {
			change = (got.Total.Value - then.Total.Value) / then.Total.Value
		}
		w.number("change", change, known)
		writeSeries(&w, q.Interval, &then)
		w.end('}')
	}
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// active is who was there of late. It has no range.
func (c *call) active(q *spoor.SeriesQuery, compare string) error {
	for _, name := range []string{"from", "to", "interval", "filter", "compare", "event", "property", "by"} {
		if c.ctx.QueryArgs().Has(name) {
			return fieldError(name, "The metric active takes no parameters.")
		}
	}
	a, err := c.store.Active(q.App)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.text("metric", string(spoor.MetricActive))
	w.int("now", a.Now)
	w.int("day", a.Day)
	w.int("week", a.Week)
	w.int("month", a.Month)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

func writeSeries(w *jsonWriter, interval spoor.Interval, s *spoor.Series) {
	w.number("total", s.Total.Value, s.Total.Known)
	w.key("points")
	w.begin('[')
	for _, p := range s.Points {
		at := p.Day.String()
		if interval == spoor.IntervalHour {
			at += "T" + string([]byte{'0' + byte(p.Hour/10), '0' + byte(p.Hour%10)}) + ":00"
		}
		w.begin('{')
		w.text("at", at)
		w.number("value", p.Value, p.Known)
		w.end('}')
	}
	w.end(']')
}

// top is a table of a dimension.
func (c *call) top() error {
	if err := c.onlyStats("dimension", "filter", "limit"); err != nil {
		return err
	}
	q := spoor.TopQuery{App: c.app.ID, Limit: 10}
	name, err := c.query("dimension")
	if err != nil {
		return err
	}
	property, ofProperty := strings.CutPrefix(name, "property:")
	switch {
	case ofProperty && property != "":
		q.By = spoor.TopBy{Dimension: spoor.DimProperty, Property: property}
	case name == "entry" || name == "exit":
		q.By = spoor.TopBy{Dimension: spoor.DimPath, Entry: name == "entry", Exit: name == "exit"}
	default:
		d, ok := spoor.ParseDimension(name)
		if q.By.Dimension = d; !ok || d == spoor.DimProperty {
			return fieldError("dimension", "Give one of entry, exit, "+dimensionNames()+".")
		}
	}
	limit, err := c.query("limit")
	if err != nil {
		return err
	}
	if limit != "" {
		if q.Limit, err = strconv.Atoi(limit); err != nil {
			return fieldError("limit", "Give a number from 1 to "+strconv.Itoa(spoor.TopMax)+".")
		}
	}
	if q.From, q.To, err = c.statsRange(); err != nil {
		return err
	}
	if q.Filter, err = c.filter(); err != nil {
		return err
	}
	got, err := c.store.Top(&q)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.text("dimension", name)
	w.text("from", q.From.String())
	w.text("to", q.To.String())
	w.key("rows")
	w.begin('[')
	for _, r := range got.Rows {
		w.begin('{')
		w.text("value", r.Text)
		w.int("visitors", r.Visitors)
		w.int("count", r.Count)
		w.end('}')
	}
	w.end(']')
	w.key("other")
	w.begin('{')
	w.int("visitors", got.Other.Visitors)
	w.int("count", got.Other.Count)
	w.end('}')
	w.int("texts", int64(got.Texts))
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// goalsOf reads the goals under a name of the query.
func (c *call) goalsOf(name string) (list []spoor.Goal, err error) {
	for _, text := range c.ctx.QueryArgs().PeekMulti(name) {
		if !plainText(string(text)) {
			return nil, errBadQuery
		}
		g, err := spoor.ParseGoal(string(text))
		if err != nil {
			return nil, fieldError(name, "Write event:NAME, path:/PATH or screen:NAME, with * at the end for all that begin so.")
		}
		list = append(list, g)
	}
	return list, nil
}

// goals is how often goals were reached: those of the query, or else those that
// the app declares.
func (c *call) goals() error {
	if err := c.onlyStats("goal"); err != nil {
		return err
	}
	goals, err := c.goalsOf("goal")
	if err != nil {
		return err
	}
	declared := c.app.Settings.DeclaredGoals()
	for i, g := range goals {
		for _, d := range declared {
			if d.String() == g.String() {
				goals[i] = d
			}
		}
	}
	if len(goals) == 0 {
		goals = declared
	}
	from, to, err := c.statsRange()
	if err != nil {
		return err
	}
	of, err := c.store.Series(&spoor.SeriesQuery{App: c.app.ID, Metric: spoor.MetricVisitors, From: from, To: to, Interval: spoor.IntervalMonth})
	if err != nil {
		return err
	}
	visitors := int64(of.Total.Value)
	got, err := c.store.Goals(c.app.ID, from, to, goals)
	if err != nil {
		return err
	}
	if len(got) > 0 {
		visitors = got[0].Of // of the same moment
	}
	var w jsonWriter
	w.begin('{')
	w.text("from", from.String())
	w.text("to", to.String())
	w.int("visitors", visitors)
	w.key("goals")
	w.begin('[')
	for _, g := range got {
		w.begin('{')
		w.text("name", g.Name)
		w.text("goal", g.Goal.String())
		w.int("count", g.Count)
		w.int("visitors", g.Visitors)
		w.number("conversion", float64(g.Visitors)/float64(max(g.Of, 1)), g.Of > 0)
		w.end('}')
	}
	w.end(']')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// cohorts is how many new visitors came back, week by week.
func (c *call) cohorts() error {
	if err := c.onlyStats(); err != nil {
		return err
	}
	from, to, err := c.statsRange()
	if err != nil {
		return err
	}
	got, err := c.store.Cohorts(c.app.ID, from, to)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.key("weeks")
	w.begin('[')
	for _, week := range got {
		w.begin('{')
		w.text("week", week.Week.String())
		w.int("size", week.Size)
		w.key("kept")
		w.begin('[')
		for _, n := range week.Kept {
			w.comma()
			w.b = strconv.AppendInt(w.b, n, 10)
		}
		w.end(']')
		w.end('}')
	}
	w.end(']')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// funnel is how many people came as far as each step.
func (c *call) funnel() error {
	if err := c.onlyStats("step"); err != nil {
		return err
	}
	steps, err := c.goalsOf("step")
	if err != nil {
		return err
	}
	from, to, err := c.statsRange()
	if err != nil {
		return err
	}
	got, err := c.store.Funnel(c.app.ID, from, to, steps)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.text("from", from.String())
	w.text("to", to.String())
	w.key("steps")
	w.begin('[')
	for _, s := range got {
		w.begin('{')
		w.text("step", s.Goal.String())
		w.int("visitors", s.Visitors)
		w.number("rate", float64(s.Visitors)/float64(max(got[0].Visitors, 1)), got[0].Visitors > 0)
		w.end('}')
	}
	w.end(']')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}
