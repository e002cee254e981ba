package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// Goal: planned deletions are told, sweeps and erasures reach the one who does
// them, with the right roles, and each leaves its line in the audit.
func TestRetentionOverHTTP(t *testing.T) {
	ts := newTestServer(t)
	one, two := ts.addProfile(1, 1, "u1", "a@x.example"), ts.addProfile(1, 2, "u2", "b@x.example")
	f := func(method, path, token, body string, status int, want ...string) {
		t.Helper()
		r := ts.do(method, path, token, body)
		if r.status != status {
			t.Errorf("%s %s: %d %s, want %d", method, path, r.status, r.body, status)
		}
		for _, w := range want {
			if !strings.Contains(r.body, w) {
				t.Errorf("%s %s: %s lacks %s", method, path, r.body, w)
			}
		}
	}
	day := func(n spoor.Day) string { return (spoor.Day(testNow.Unix()/86400) + n).String() }
	f("GET", "/api/public/users-by-id/u1/retention/", "shop-read", "", 200, `"due":"`+day(0)+`"`, `"last_active":"`+day(-61)+`"`, `"kept_because":[]`)
	f("GET", "/api/public/users-by-id/u2/retention/", "shop-read", "", 200, `"due":"`+day(61)+`"`, `"kept_because":["it has a user id"]`)
	f("GET", "/api/public/users-by-id/nobody/retention/", "shop-read", "", 404)

	f("GET", "/api/admin/sweep/?as_of=2026-05-01&app=shop", "control", "", 200, `{"app":"shop","id":77,"last_active":"2026-03-01","due":"2026-05-01","due_because":"it has no contact and was last active on 2026-03-01","kept_because":[],"page_views":3}`, `{"app":"shop","day":"2025-03-27","hits_at_most":5,"goes_because":"its hits are older than hits_days, 365"}`)
	f("GET", "/api/admin/sweep/?as_of=soon", "control", "", 400, `"as_of":["Write a day as YYYY-MM-DD."]`)
	f("GET", "/api/admin/sweep/?app=nothing", "control", "", 400, "no such app")
	f("GET", "/api/admin/sweep/", "shop-admin", "", 403)
	f("POST", "/api/admin/sweep/", "shop-admin", "", 403)
	f("POST", "/api/admin/sweep/", "control", `{"ful":true}`, 400, "no such field")
	f("POST", "/api/admin/sweep/", "control", "", 200, `"profiles":1`, `"hits":9`, `"partitions_rewritten":0`)
	f("POST", "/api/admin/sweep/", "control", `{"full":true}`, 200, `"partitions_rewritten":2`, `"bytes_freed":1000`)

	f("DELETE", "/api/public/users-by-id/u1/", "shop-write", "", 403)
	f("DELETE", "/api/public/users-by-id/u1/", "shop-erase", "", 204)
	f("DELETE", "/api/public/users-by-id/u2/?wait=true", "shop-erase", "", 200, `"profiles":1`, `"hits":2`, `"subject":"`+ts.reference(1, two.ID)+`"`, `"stage":"bytes_gone"`)
	held, fast := ts.addProfile(1, 8, "u8", ""), ts.addProfile(1, 9, "u9", "")
	f("DELETE", fmt.Sprintf("/api/public/users/%d/", held.ID), "shop-erase", "", 409, "legal hold", "2026-02-16")
	f("DELETE", fmt.Sprintf("/api/public/users/%d/", fast.ID), "shop-erase", "", 404)
	f("DELETE", "/api/public/users-by-id/u2/", "other-erase", "", 404)

	var actions []string
	for _, a := range ts.audited() {
		actions = append(actions, a.Action)
		if p := slices.IndexFunc([]*spoor.Profile{one, two, held, fast}, func(p *spoor.Profile) bool { return a.Ref == ts.reference(1, p.ID) }); a.Action == "users.erase" && a.Ref != "" && p < 0 {
			t.Errorf("an erasure names %q", a.Ref)
		}
	}
	got := strings.Join(actions, " ")
	for action, times := range map[string]int{"users.retention": 2, "users.erase": 2, "sweep.plan": 1, "sweep ": 2} {
		if n := strings.Count(got+" ", action); n < times {
			t.Errorf("%s is in the audit %d times, want %d at least: %s", action, n, times, got)
		}
	}
}
