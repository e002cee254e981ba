package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

// Goal: the retention benchmark measures what it says: in balance each night as
// many go as came on one day, an erased person is found before and not after, and
// the store is whole at the end.
// Method: few profiles, few days, and no look at times.
func TestForget(t *testing.T) {
	plan := forgetPlan{
		profiles: 360, salt: testSalt, idle: 14, buildDays: 18, month: 3, rounds: 1,
		leg: 200 * time.Millisecond, pause: 10 * time.Millisecond, check: true, say: io.Discard,
	}
	r, err := measureForget(t.TempDir(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if r.anonymous < plan.profiles*2/3 || r.anonymous > plan.profiles*4/3 {
		t.Errorf("%d anonymous profiles, want about %d", r.anonymous, plan.profiles)
	}
	for i, n := range r.nights {
		if n.Profiles < 8 || n.Profiles > 40 || n.Hits < n.Profiles || n.partitions == 0 {
			t.Errorf("night %d: %+v", i, n)
		}
	}
	if r.dropped.hits == 0 || r.dropped.decided == 0 || r.dropped.took < r.dropped.decided {
		t.Errorf("dropped %+v", r.dropped)
	}
	if len(r.nights) != plan.month || r.first.Profiles < int64(plan.profiles/firstShare) {
		t.Errorf("%d nights; %d went at once", len(r.nights), r.first.Profiles)
	}
	if r.swept.pebble <= 0 || r.kept.pebble <= 0 || r.capacity <= 0 || len(r.rounds) != 1 || r.rounds[0].profiles == 0 {
		t.Errorf("%+v", r)
	}
	if r.erased.before == 0 || r.erased.after != 0 || r.erased.hits < 6 || r.problems != 0 {
		t.Errorf("erased %+v, %d problems", r.erased, r.problems)
	}
	var text strings.Builder
	r.report(&text)
	for _, want := range []string{"| retention | measured | target |", "decide", "per byte freed", "erasing", "RSS peak", "dropping a year-old day", "| 3 |"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
}
