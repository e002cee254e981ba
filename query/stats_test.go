package query

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// ask notes a question of statistics.
func (f *fakeStore) ask(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

func (f *fakeStore) Series(q *spoor.SeriesQuery) (s spoor.Series, err error) {
	f.ask("series %+v", *q)
	if err := q.Check(); err != nil {
		return s, err
	}
	at := q.From
	for i, v := range []float64{3, 0.25, 0} {
		s.Points = append(s.Points, spoor.Point{Day: at, Hour: 9 + i, Value: v, Known: v > 0})
		at++
	}
	s.Total = spoor.Point{Day: q.From, Value: float64(q.To), Known: true}
	if q.By != "" {
		s.Groups = []spoor.Group{{Text: "7", Total: spoor.Point{Value: 12.5, Known: true}}, {Text: "8"}}
		s.GroupsLeftOut = 3
	}
	return s, nil
}

func (f *fakeStore) Top(q *spoor.TopQuery) (t spoor.Top, err error) {
	f.ask("top %+v", *q)
	return spoor.Top{
		Rows: []spoor.TopRow{{Text: `/"a"`, Visitors: 2, Count: 5}}, Other: spoor.TopRow{Text: spoor.OtherText, Visitors: 3, Count: 4}, Texts: 17,
	}, q.Check()
}

func (f *fakeStore) Goals(_ spoor.AppID, from, to spoor.Day, goals []spoor.Goal) (list []spoor.GoalResult, err error) {
	f.ask("goals %s %s %+v", from, to, goals)
	for i, g := range goals {
		list = append(list, spoor.GoalResult{Goal: g, Count: 9, Visitors: 2, Of: int64(8 * (1 - i))})
	}
	return list, spoor.CheckGoals(goals, from, to)
}

func (f *fakeStore) Cohorts(_ spoor.AppID, from, to spoor.Day) ([]spoor.Cohort, error) {
	f.ask("cohorts %s %s", from, to)
	return []spoor.Cohort{{Week: 20409, Size: 4, Kept: []int64{4, 1}}, {Week: 20416, Kept: []int64{0}}}, spoor.CheckCohorts(from, to)
}

func (f *fakeStore) Funnel(_ spoor.AppID, from, to spoor.Day, steps []spoor.Goal) (list []spoor.FunnelStep, err error) {
	f.ask("funnel %s %s %+v", from, to, steps)
	for i, g := range steps {
		list = append(list, spoor.FunnelStep{Goal: g, Visitors: int64(10 / (i + 1))})
	}
	return list, spoor.CheckFunnel(steps, from, to)
}

func (f *fakeStore) Active(spoor.AppID) (spoor.Active, error) {
	return spoor.Active{Now: 1, Day: 2, Week: 3, Month: 4}, nil
}

// Goal: parameters reach the store as they are meant, replies have the shapes
// that REST.md tells, and what cannot be answered is refused with the name of
// the parameter and what is allowed. Statistics leave nothing in the audit.
// Method: requests to a fake that says what it was asked.
func TestStatsOverHTTP(t *testing.T) {
	ts := newTestServer(t)
	ts.store.apps.list[0].Settings.Goals = []string{"Signup=event:signup", "Docs=path:/docs/*"}
	const range0 = "&from=2026-03-02&to=2026-03-04"
	for _, tc := range []struct {
		query  string
		status int
		want   []string // parts of the reply
		asked  []string // parts of what the store was asked
	}{
		{"?metric=visitors" + range0, 200, []string{
			`{"metric":"visitors","interval":"day","from":"2026-03-02","to":"2026-03-04","total":20516,"points":[{"at":"2026-03-02","value":3},{"at":"2026-03-03","value":0.25},{"at":"2026-03-04","value":null}]}`,
		}, []string{"Metric:visitors From:2026-03-02 To:2026-03-04 Interval:day Filter:[]"}},
		{"?metric=visits&interval=hour" + range0, 200, []string{`{"at":"2026-03-02T09:00","value":3},{"at":"2026-03-03T10:00"`}, []string{"Interval:hour"}},
		{"?metric=visitors", 200, nil, []string{"From:2026-02-03 To:2026-03-04"}}, // 30 days to today
		{"?metric=events&compare=previous" + range0, 200, []string{
			`"previous":{"from":"2026-02-27","to":"2026-03-01","change":0.0001462`, `"points":[{"at":"2026-02-27","value":3}`,
		}, []string{"From:2026-02-27 To:2026-03-01"}},
		{"?metric=visits&filter=country==PL;path!=/admin/*;property:plan==a==b", 200, nil,
			[]string{"Filter:[{Dimension:country Text:PL Prefix:false Not:false} {Dimension:path Text:/admin/ Prefix:true Not:true} {Dimension:property Text:plan=a==b Prefix:false Not:false}]"}},
		{`?metric=visits&filter=path==/a\;b\*;title==C:\\\*&filter=&filter=path==\x*;property:p==*`, 200, nil, []string{
			`Filter:[{Dimension:path Text:/a;b* Prefix:false Not:false} {Dimension:title Text:C:\* Prefix:false Not:false} ` +
				`{Dimension:path Text:\x Prefix:true Not:false} {Dimension:property Text:p= Prefix:true Not:false}]`,
		}},
		{"?metric=visits&filter=path==" + strings.Repeat("a", 4000) + "&filter=path==" + strings.Repeat("b", 100), 400, []string{`"filter":["Give valid text of at most 4096`}, nil},
		{"?metric=visits&filter=path==a;;", 400, []string{`"filter":["Write dimension==text`}, nil},
		{"?metric=visits&filter=property:p==", 400, []string{`"filter":["The text after`}, nil},
		{"?metric=visits&metric=events", 400, []string{`"metric":["Give this parameter once."]`}, nil},
		{"?metric=visits&app=shop", 200, nil, nil},
		{"?metric=visits&app=blog", 400, []string{`"app":["Leave this out`}, nil},
		{`goals/?goal=event:sign\*&goal=path:/a\\*`, 200, []string{`"goal":"event:sign\\*"`, `"goal":"path:/a\\\\*"`}, []string{`[event:sign\* path:/a\\*]`}},
		{"?metric=average&event=reply&property=seconds&by=agent", 200, []string{`"groups":[{"value":"7","total":12.5},{"value":"8","total":null}],"groups_left_out":3`},
			[]string{"Event:reply Property:seconds By:agent"}},
		{"?metric=active", 200, []string{`{"metric":"active","now":1,"day":2,"week":3,"month":4}`}, nil},
		{"?metric=active&from=2026-03-02", 400, []string{`"from":["The metric active takes no parameters."]`}, nil},
		{"?metric=clicks", 400, []string{`"metric":["Give one of visitors, visits, `}, nil},
		{"", 400, []string{`"metric":["Give one of`}, nil},
		{"?metric=visits&interval=year", 400, []string{`"interval":["Give hour, day, week or month."]`}, nil},
		{"?metric=visits&from=yesterday", 400, []string{`"from":["Write a day as YYYY-MM-DD."]`}, nil},
		{"?metric=visits&from=2026-03-02&to=2026-03-01", 400, []string{`"to":["2026-03-01 is before from, 2026-03-02."]`}, nil},
		{"?metric=visits&from=2020-03-02&to=2026-03-01", 400, []string{`"from":["2020-03-02 to 2026-03-01 are 2191 days; ask for 1100 at most."]`}, nil},
		{"?metric=visits&interval=hour&from=2026-01-01&to=2026-02-01", 400, []string{"are 32 days; ask for 31 at most."}, nil},
		{"?metric=visits&filter=country", 400, []string{`"filter":["Write dimension==text`}, nil},
		{"?metric=visits&filter=planet==Mars", 400, []string{`"filter":["There is no such dimension; there are hour, path, `}, nil},
		{"?metric=visits&filter=" + strings.Repeat("a", 4097), 400, []string{`"filter":["Give valid text`}, nil},
		{"?metric=visits&filter=path==", 400, []string{`"filter":["The text after`}, nil},
		{"?metric=visits&filter=" + strings.Repeat("path!=a;", 10) + "path!=b", 400, []string{`"filter":["11 conditions are too many, 10 are allowed."]`}, nil},
		{"?metric=bots&filter=path==a", 400, []string{`"filter":["Hits of bots are counted`}, nil},
		{"?metric=sum", 400, []string{`"property":["Give the name`}, nil},
		{"?metric=visits&event=x", 400, []string{`"property":["event, property and by go with`}, nil},
		{"?metric=visits&compare=next", 400, []string{`"compare":["Give previous`}, nil},
		{"?metric=visits&plane=1", 400, []string{`"plane":["There is no such parameter; there are metric, `}, nil},

		{"top/?dimension=path" + range0, 200, []string{
			`{"dimension":"path","from":"2026-03-02","to":"2026-03-04","rows":[{"value":"/\"a\"","visitors":2,"count":5}],"other":{"visitors":3,"count":4},"texts":17}`,
		}, []string{"By:{Dimension:path Exit:false Entry:false Property:} From:2026-03-02 To:2026-03-04 Filter:[] Limit:10"}},
		{"top/?dimension=exit&limit=1000&filter=os==iOS", 200, []string{`{"dimension":"exit"`}, []string{"Exit:true Entry:false", "Text:iOS", "Limit:1000"}},
		{"top?dimension=property:plan", 200, []string{`{"dimension":"property:plan"`}, []string{"Dimension:property Exit:false Entry:false Property:plan"}},
		{"top/?dimension=property", 400, []string{`"dimension":["Give one of entry, exit, hour, path, `}, nil},
		{"top/?dimension=measure", 400, []string{`"dimension":["Give one of`}, nil},
		{"top/?dimension=path&limit=1001", 400, []string{`"limit":["Give a number from 1 to 1000."]`}, nil},
		{"top/?dimension=path&limit=x", 400, []string{`"limit":["Give a number from 1 to 1000."]`}, nil},

		{"goals/?from=2026-03-02&to=2026-03-04", 200, []string{
			`{"from":"2026-03-02","to":"2026-03-04","visitors":8,"goals":[{"name":"Signup","goal":"event:signup","count":9,"visitors":2,"conversion":0.25},{"name":"Docs","goal":"path:/docs/*","count":9,"visitors":2,"conversion":null}]}`,
		}, nil},
		{"goals/?goal=path:/docs/*&goal=screen:Home", 200, []string{`"name":"Docs"`, `"name":"screen:Home","goal":"screen:Home"`}, nil},
		{"goals/?goal=order", 400, []string{`"goal":["Write event:NAME`}, nil},
		{"retention/?from=2026-03-02&to=2026-03-04", 200, []string{
			`{"weeks":[{"week":"2025-11-17","size":4,"kept":[4,1]},{"week":"2025-11-24","size":0,"kept":[0]}]}`,
		}, []string{"cohorts 2026-03-02 2026-03-04"}},
		{"retention/?from=2025-02-17&to=2026-03-01", 400, []string{"are 378 days; ask for 371 at most."}, nil},
		{"funnel/?step=path:/pricing&step=event:signup&step=event:order" + range0, 200, []string{
			`{"from":"2026-03-02","to":"2026-03-04","steps":[{"step":"path:/pricing","visitors":10,"rate":1},{"step":"event:signup","visitors":5,"rate":0.5},{"step":"event:order","visitors":3,"rate":0.3}]}`,
		}, []string{"funnel 2026-03-02 2026-03-04 [path:/pricing event:signup event:order]"}},
		{"funnel/?step=path:/pricing", 400, []string{`"step":["Give 2 to 8."]`}, nil},
		{"funnel/?" + strings.Repeat("step=path:/a&", 9), 400, []string{`"step":["Give 2 to 8."]`}, nil},
	} {
		ts.store.asked = nil
		r := ts.do("GET", "/api/stats/"+tc.query, "shop-read", "")
		if r.status != tc.status {
			t.Errorf("%s: %d %s, want %d", tc.query, r.status, r.body, tc.status)
		}
		for _, want := range tc.want {
			if !strings.Contains(r.body, want) {
				t.Errorf("%s: %s lacks %s", tc.query, r.body, want)
			}
		}
		for _, want := range tc.asked {
			if asked := strings.Join(ts.store.asked, "\n"); !strings.Contains(asked, want) {
				t.Errorf("%s: the store was asked %s, which lacks %s", tc.query, asked, want)
			}
		}
	}
	if list := ts.audited(); len(list) > 0 {
		t.Errorf("statistics are in the audit: %+v", list)
	}
	if r := ts.do("GET", "/api/stats/?metric=visits", "", ""); r.status != 401 {
		t.Errorf("without a token: %d", r.status)
	}
}

// Goal: without goals asked for or declared the visitors are told all the same.
// Method: an app that declares none.
func TestGoalsOfNobody(t *testing.T) {
	ts := newTestServer(t)
	r := ts.do("GET", "/api/stats/goals/?from=2026-03-02&to=2026-03-04", "shop-read", "")
	if want := `{"from":"2026-03-02","to":"2026-03-04","visitors":20516,"goals":[]}`; r.body != want {
		t.Errorf("got %s, want %s", r.body, want)
	}
}
