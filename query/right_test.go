package query

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: rights are granted and taken back by whoever may, show in the profile,
// the planned deletion and the export, and a last day in the past is refused.
func TestRightsOverHTTP(t *testing.T) {
	ts := newTestServer(t)
	p := ts.addProfile(1, 1, "u1", "a@x.example")
	one := "/api/public/users-by-id/u1/"
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
	f("POST", one+"restriction/", "shop-read", "", 403)
	f("POST", one+"restriction/", "shop-write", `{"until":"`+day(3)+`"}`, 200, `"restricted_until":"`+day(3)+`"`, `"held_until":null`)
	f("POST", one+"restriction/", "shop-write", `{"until":"`+day(-1)+`"}`, 400, "today or later")
	f("POST", one+"restriction/", "shop-write", `{"until":"soon"}`, 400, "YYYY-MM-DD")
	f("POST", one+"restriction/", "shop-write", `{"til":"2030-01-01"}`, 400, "no such field")
	f("POST", one+"objection/", "shop-write", "", 200, `"objected_at":"20`)
	f("POST", one+"objection/", "shop-write", `{"until":"`+day(3)+`"}`, 400, "an objection has none")
	f("POST", one+"hold/", "shop-erase", "", 403)
	f("POST", one+"hold/", "shop-admin", "", 200, `"held_until":"forever"`)
	f("GET", one, "shop-read", "", 200, `"held_until":"forever"`, `"restricted_until":"`+day(3)+`"`)
	f("GET", one+"export/", "shop-read", "", 200, `{"name":"held_until","value":"forever"`, `{"name":"email","value":"a@x.example","source":"none","purpose":"contact"`)
	f("GET", one+"export/?format=csv", "shop-read", "", 200, "profile,held_until,forever")
	f("DELETE", one+"hold/", "shop-admin", "", 200, `"held_until":null`)
	f("DELETE", one+"objection/", "shop-write", "", 200, `"objected_at":null`)
	f("DELETE", one+"restriction/", "shop-write", "", 200, `"restricted_until":null`)
	f("POST", "/api/public/users-by-id/nobody/hold/", "shop-admin", "", 404)
	f("POST", one+"hold/", "other-admin", "", 404)
	f("POST", "/api/public/objections/", "shop-read", `{"who":"b@x.example"}`, 403)
	f("POST", "/api/public/objections/", "shop-write", `{}`, 400, "Give a cookie")
	f("DELETE", "/api/public/objections/", "shop-write", `{"who":"b@x.example"}`, 404)
	f("POST", "/api/public/objections/", "shop-write", `{"who":"b@x.example"}`, 204)
	f("DELETE", "/api/public/objections/", "shop-write", `{"who":"b@x.example"}`, 204)
	f("POST", "/api/public/objections/", "shop-write", `{"who":"+48 600"}`, 204)
	if !ts.store.objected[fmt.Sprint(spoor.LookupPhone, " +48 600")] || ts.store.objected[fmt.Sprint(spoor.LookupEmail, " +48 600")] {
		t.Errorf("objected: %v", ts.store.objected)
	}
	seen := map[string]int{}
	for _, a := range ts.audited() {
		if seen[a.Action]++; a.Ref != "" && a.Ref != ts.reference(1, p.ID) {
			t.Errorf("%s names %q", a.Action, a.Ref)
		}
	}
	for _, action := range []string{"users.restrict", "users.unrestrict", "users.object", "users.unobject", "users.hold", "users.unhold"} {
		if seen[action] == 0 {
			t.Errorf("%s is not in the audit", action)
		}
	}
}

// Goal: receipts and the record of processing are for the app's admin and for
// the control plane, each with what is theirs.
func TestReceiptsAndPrivacyOverHTTP(t *testing.T) {
	ts := newTestServer(t)
	f := func(path, token string, status int, want string) {
		t.Helper()
		if r := ts.do("GET", path, token, ""); r.status != status || !strings.Contains(r.body, want) {
			t.Errorf("GET %s: %d %s, want %d with %s", path, r.status, r.body, status, want)
		}
	}
	sweep := func(app string) string {
		return `{"id":1,"app":"` + app + `","what":"sweep","profiles":3,"hits":0,"bytes":0,"stages":[{"stage":"removed","at":"1970-01-01T00:00:01.000000Z"},{"stage":"bytes_gone","at":"1970-01-01T00:00:02.000000Z"},{"stage":"backups_expired","at":"1970-01-01T00:00:03.000000Z"}]}`
	}
	gone := `{"id":9,"app":"gone","what":"termination","profiles":0,"hits":0,"bytes":0,"stages":[{"stage":"removed","at":"1970-01-01T00:00:01.000000Z"}]}`
	f("/api/admin/receipts/", "control", 200, gone+"\n"+sweep("shop")+"\n"+sweep("other")+"\n")
	f("/api/admin/receipts/?app=gone", "control", 200, gone+"\n")
	f("/api/admin/receipts/", "shop-admin", 403, "role")
	f("/api/admin/apps/shop/receipts/", "shop-admin", 200, sweep("shop"))
	f("/api/admin/apps/shop/receipts/", "shop-erase", 403, "role")
	f("/api/admin/apps/other/receipts/", "shop-admin", 404, "Not found")
	f("/api/admin/privacy/", "control", 200, "# Record of 2 apps, the first is shop")
	f("/api/admin/apps/other/privacy/", "other-admin", 200, "# Record of 1 apps, the first is other")
	f("/api/admin/apps/shop/privacy/", "shop-write", 403, "role")
	if r := ts.do("GET", "/api/admin/receipts/?app=nothing", "control", ""); r.body != "" {
		t.Errorf("an app that never was: %s", r.body)
	}
}

// Goal: only the operator finds persons by whatever names them; nobody's token
// does, since what was found is in the audit log only with what follows.
func TestFindAny(t *testing.T) {
	ts := newTestServer(t)
	ts.addProfile(1, 1, "u1", "a@x.example")
	for _, token := range []string{"shop-admin", "control", "shop-read"} {
		if r := ts.do("GET", "/api/admin/apps/shop/find/?who=u1", token, ""); r.status < 400 {
			t.Errorf("%s: %d %s", token, r.status, r.body)
		}
	}
	for who, want := range map[string]string{"u1": `[{"id":1001}]`, "a@x.example": `[{"id":1001}]`, "1001": `[{"id":1001}]`, "nobody": `[]`} {
		if r := ts.doVia(ts.local, "GET", "/api/admin/apps/shop/find/?who="+who, "", ""); r.status != 200 || r.body != want {
			t.Errorf("%s: %d %s, want %s", who, r.status, r.body, want)
		}
	}
}

// Goal: an objection by identifier is that of whoever is known by it, as a whole.
func TestObjectionOfSomebodyKnown(t *testing.T) {
	ts := newTestServer(t)
	p := ts.addProfile(1, 1, "u1", "a@x.example")
	if r := ts.do("POST", "/api/public/objections/", "shop-write", `{"who":"a@x.example"}`); r.status != 204 || p.Rights.Objected == 0 {
		t.Errorf("%d %s, rights %+v", r.status, r.body, p.Rights)
	}
	if a := ts.audited(); len(a) != 1 || a[0].Ref != ts.reference(1, p.ID) {
		t.Errorf("audited %+v", a)
	}
	if r := ts.do("DELETE", "/api/public/objections/", "shop-write", `{"who":"u1"}`); r.status != 204 || p.Rights.Objected != 0 {
		t.Errorf("%d %s, rights %+v", r.status, r.body, p.Rights)
	}
}

// Goal: all data of a terminated app is gone after 30 days, by the server's clock.
func TestEndsWithinThirtyDays(t *testing.T) {
	ts := newTestServer(t)
	f := func(body string, status int, want string) {
		t.Helper()
		if r := ts.do("PATCH", "/api/admin/apps/shop/", "shop-admin", body); r.status != status || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d %s, want %d with %s", body, r.status, r.body, status, want)
		}
	}
	f(`{"ends_in":"48h"}`, 200, `"ends":"`+testNow.Add(48*time.Hour).UTC().Format("2006-01-02T15:04"))
	f(`{"ends_in":"721h"}`, 400, "30 days")
	f(`{"ends_in":"-1h"}`, 400, "ends_in")
	f(`{"ends":"2099-01-01T00:00:00Z"}`, 400, "30 days")
	f(`{"ends":""}`, 200, `"ends":null`)
}
