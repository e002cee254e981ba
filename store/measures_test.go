package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Goal: numbers of properties are right also on a day that has more of them
// than rows, while it is open and when it is sealed.
// Method: 48 events of three names and eight agents, 10 rows; what is asked is
// summed up by hand.
func TestMeasuresOfAFullDay(t *testing.T) {
	c := newClock()
	s, err := Open(testOptions(t, vfs.NewMem(), c))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	app := newApp(t, s, "shop", "UTC")
	app = must(s.UpdateApp(app.ID, func(a *spoor.App) error {
		a.Settings.StatisticsRows, a.Settings.Properties = 10, []string{"lat by agent", "lat"}
		return nil
	}))
	day := app.Day(c.ms())
	names := []string{"reply", "call", "mail"}
	for i := range 48 {
		write(t, s, spoor.Hit{
			App: app.ID, Kind: spoor.KindEvent, Name: names[i%3], Key: fmt.Sprint("k", i%7), Received: c.ms() + int64(i),
			Properties: fmt.Appendf(nil, `{"lat":%d.5,"agent":"a%d"}`, i, i%8),
		})
	}
	compare := func() {
		t.Helper()
		for _, event := range []string{"", "reply", "call", "mail", "none"} {
			for _, by := range []string{"", "agent"} {
				sums, most, counts := map[string]float64{}, map[string]float64{}, map[string]float64{}
				all, greatest, number := 0.0, 0.0, 0.0
				for i := range 48 {
					v := float64(i) + 0.5
					if event != "" && names[i%3] != event {
						continue
					}
					agent := fmt.Sprint("a", i%8)
					sums[agent] += v
					most[agent] = max(most[agent], v)
					counts[agent]++
					all, greatest, number = all+v, max(greatest, v), number+1
				}
				for _, want := range []struct {
					metric spoor.Metric
					total  float64
					groups map[string]float64
				}{{spoor.MetricSum, all, sums}, {spoor.MetricMax, greatest, most}, {spoor.MetricCount, number, counts}} {
					got, err := s.Series(&spoor.SeriesQuery{
						App: app.ID, Metric: want.metric, From: day, To: day, Interval: spoor.IntervalDay, Event: event, Property: "lat", By: by,
					})
					if err != nil || got.Total.Value != want.total {
						t.Errorf("%s of %q by %q: %+v, %v; want %v", want.metric, event, by, got.Total, err, want.total)
					}
					if by == "" {
						continue
					}
					if len(got.Groups) != len(want.groups) {
						t.Errorf("%s of %q: groups %+v, want %v", want.metric, event, got.Groups, want.groups)
					}
					for _, g := range got.Groups {
						if g.Total.Value != want.groups[g.Text] {
							t.Errorf("%s of %q: group %s is %v, want %v", want.metric, event, g.Text, g.Total.Value, want.groups[g.Text])
						}
					}
				}
			}
		}
	}
	compare()
	check(t, s)
	c.add(9 * 24 * time.Hour)
	if _, _, err := s.SealDays(context.Background()); err != nil {
		t.Fatal(err)
	}
	compare()
	check(t, s)
}

// Goal: an answer has the largest groups, and what has no group of its own last.
// Method: one event of each of 120 agents, and one of an agent of that name.
func TestGroupsAreTheLargest(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	for i := range 121 {
		agent := fmt.Sprint("a", i)
		if i == 60 {
			agent = spoor.OtherText
		}
		write(t, s, spoor.Hit{
			App: app.ID, Kind: spoor.KindEvent, Name: "reply", Key: "k", Received: c.ms() + int64(i),
			Properties: fmt.Appendf(nil, `{"lat":%d,"agent":%q}`, i-10, agent),
		})
	}
	day := app.Day(c.ms())
	got := must(s.Series(&spoor.SeriesQuery{App: app.ID, Metric: spoor.MetricSum, From: day, To: day, Interval: spoor.IntervalDay, Property: "lat", By: "agent"}))
	n := len(got.Groups)
	if n != spoor.GroupsMax || got.GroupsLeftOut != 21 || got.Groups[0].Text != "a120" || got.Groups[n-2].Text != "a21" || got.Groups[n-1].Text != spoor.OtherText {
		t.Errorf("%d groups: %+v", n, got.Groups)
	}
}

// Goal: groups without a value come after those below zero, (other) after them.
// Method: one of each kind, sorted.
func TestGroupsWithoutAValueComeLast(t *testing.T) {
	group := func(text string, v float64, known bool) spoor.Group {
		return spoor.Group{Text: text, Total: spoor.Point{Value: v, Known: known}}
	}
	want := []spoor.Group{group("a", 5, true), group("b", -5, true), group("c", 0, false), group(spoor.OtherText, 9, true)}
	got := []spoor.Group{want[3], want[2], want[1], want[0]}
	slices.SortFunc(got, compareGroups)
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Goal: the table of a property tells of that property alone, before its day is
// sealed and after, also of what was folded.
// Method: two properties, one of whose values nobody shares; then the day is
// sealed.
func TestTopOfAProperty(t *testing.T) {
	c := newClock()
	s, err := Open(testOptions(t, vfs.NewMem(), c))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	app := newApp(t, s, "shop", "UTC")
	app = must(s.UpdateApp(app.ID, func(a *spoor.App) error { a.Settings.Properties = []string{"plan", "amount"}; return nil }))
	day := app.Day(c.ms())
	for i := range 7 {
		plan := "pro"
		if i == 6 {
			plan = "gold"
		}
		write(t, s, spoor.Hit{
			App: app.ID, Kind: spoor.KindEvent, Name: "buy", Key: fmt.Sprint("k", i), Received: c.ms(),
			Properties: fmt.Appendf(nil, `{"plan":%q,"amount":%d}`, plan, i),
		})
	}
	ask := func(property string) spoor.Top {
		t.Helper()
		return must(s.Top(&spoor.TopQuery{App: app.ID, By: spoor.TopBy{Dimension: spoor.DimProperty, Property: property}, From: day, To: day, Limit: 10}))
	}
	row := func(text string, n int64) spoor.TopRow { return spoor.TopRow{Text: text, Visitors: n, Count: n} }
	if got := ask("plan"); !slices.Equal(got.Rows, []spoor.TopRow{row("pro", 6), row("gold", 1)}) || got.Other.Count != 0 {
		t.Errorf("open: %+v", got)
	}
	c.add(9 * 24 * time.Hour)
	if sealed, _, err := s.SealDays(context.Background()); sealed == 0 || err != nil {
		t.Fatalf("%d days sealed, %v", sealed, err)
	}
	if got := ask("plan"); !slices.Equal(got.Rows, []spoor.TopRow{row("pro", 6)}) || got.Other != row(spoor.OtherText, 1) || got.Texts != 1 {
		t.Errorf("sealed: %+v", got)
	}
	if got := ask("amount"); len(got.Rows) != 0 || got.Other != row(spoor.OtherText, 7) {
		t.Errorf("sealed, each value once: %+v", got)
	}
	check(t, s)
}
