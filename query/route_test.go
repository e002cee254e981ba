package query

import (
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

func TestVersionOfAccept(t *testing.T) {
	f := func(accept string, want bool) {
		t.Helper()
		if got := acceptsVersion2([]byte(accept)); got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	}
	f("*/*; version=2", true)
	f("*/*;version=2", true)
	f(" */*; version=2", true)
	f("application/json; version = \"2\"", true)
	f("text/html, */*;Version=2;q=0.8", true)
	f("", false)
	f("*/*", false)
	f("*/*; version=1", false)
	f("*/*; version=22", false)
	f(";;;=,", false)
}

func TestErrors(t *testing.T) {
	ts := newTestServer(t)
	f := func(method, path, token string, status int, body string, headers ...string) {
		t.Helper()
		r := ts.do(method, path, token, "", headers...)
		if r.status != status || r.body != body {
			t.Errorf("%s %s: got %d %s, want %d %s", method, path, r.status, r.body, status, body)
		}
		if (status == 401) != (r.header.Get("WWW-Authenticate") == "Token") {
			t.Errorf("%s %s: WWW-Authenticate %q", method, path, r.header.Get("WWW-Authenticate"))
		}
		for name, want := range map[string]string{"Server": "", "Access-Control-Allow-Origin": "", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s %s: header %s is %q, want %q", method, path, name, got, want)
			}
		}
	}
	const none, bad, missing = `{"detail":"Authentication credentials were not provided."}`, `{"detail":"Invalid token."}`, `{"detail":"Not found."}`
	f("GET", "/api/public/users/", "", 401, none)
	f("GET", "/api/public/users/", "", 401, none, "Authorization: Basic eDp5")
	f("GET", "/api/public/users/", "wrong", 401, bad)
	f("GET", "/api/public/users/", "shop-expired", 401, bad)
	f("GET", "/api/public/users/77/", "", 404, missing, "Authorization: Bearer shop-read")
	f("GET", "/api/public/users/77/", "", 404, missing, "authorization: token   shop-read ")
	f("GET", "/api/public/users-by-id/nobody/", "shop-read", 404, missing)
	f("GET", "/api/public/users/search/?email=x%40y.z", "shop-read", 404, missing)
	f("GET", "/api/nothing", "shop-read", 404, missing)
	f("GET", "/api/public/users//", "shop-read", 404, missing)
	f("GET", "//api/public/users/", "shop-read", 404, missing)
	f("GET", "/api/public/%75sers/", "shop-read", 404, missing)
	f("GET", "/api/public/x/../users/", "shop-read", 404, missing)
	f("GET", "/api/public/users/%00/", "shop-read", 404, missing)
	f("GET", "/api/public/users/%ff/", "shop-read", 404, missing)
	f("GET", "/api/public/users/%252e%252e/", "shop-read", 404, missing)
	f("DELETE", "/api/public/users/77/", "shop-erase", 404, missing)
	f("DELETE", "/api/public/users/77/", "shop-write", 403, `{"detail":"This token's role does not allow this."}`)
	f("GET", "/api/public/companies/5/", "shop-read", 501, `{"detail":"Companies are not built; /v1/group is kept as a hit."}`)
	f("GET", "/api/public/users/?email__contains=a", "shop-read", 501, string(errNoFilters.body))
	f("GET", "/api/public/users/?page_size=5", "shop-read", 200, `{"count":0,"next":null,"previous":null,"results":[]}`)
	f("GET", "/api/public/users/?page=0", "shop-read", 404, `{"detail":"Invalid page."}`)
	f("GET", "/api/public/users/?cursor=AAAAAAAAAAAAAAAAAAAAAA", "shop-read", 404, `{"detail":"Invalid cursor."}`, "Accept: */*;version=2")
	f("GET", "/api/public/users/search/?email=%00", "shop-read", 400, string(errBadQuery.body))
	f("PUT", "/api/public/users/search/", "shop-admin", 405, `{"detail":"This path takes GET, HEAD, OPTIONS."}`)
	r := ts.do("OPTIONS", "/api/public/users/1/", "", "")
	if r.status != 200 || r.header.Get("Allow") != "GET, PUT, PATCH, DELETE, HEAD, OPTIONS" {
		t.Errorf("OPTIONS: %d %q", r.status, r.header.Get("Allow"))
	}
	if got := ts.do("OPTIONS", "/api/public/users/", "", "").header.Get("Allow"); got != "GET, POST, HEAD, OPTIONS" {
		t.Errorf("Allow of users: %q", got)
	}
	if r := ts.do("HEAD", "/api/public/users/", "shop-read", ""); r.status != 200 || r.body != "" {
		t.Errorf("HEAD: %d %q", r.status, r.body)
	}
}

// bodies and queries make a request of each route one that is answered.
var bodies = map[string]string{
	"users.create": `{"email":"new@example.com"}`, "users.update_or_create": `{"user_id":"ada"}`,
	"users.set_attribute": `{"attribute":"a","value":1}`, "users.remove_attribute": `{"attribute":"a"}`,
	"users.set_attributes": `{"a":1}`, "users.update": `{"a":1}`, "apps.create": `{"name":"fresh"}`,
	"objections.add": `{"who":"a@x.example"}`, "objections.lift": `{"who":"known@x.example"}`,
	"apps.tokens.create": `{"name":"n","role":"read"}`,
	"apps.links.create":  `{"to":"https://shop.example/sale"}`,
	"tags.create":        `{"name":"new"}`, "lists.create": `{"name":"new"}`, "segments.create": `{"name":"new","filter":{"tag":"vip"}}`,
	"tags.update": `{"name":"newer"}`, "lists.update": `{"name":"newer"}`, "segments.update": `{"name":"newer"}`,
	"segments.preview": `{"filter":{"tag":"vip"}}`, "users.add_tag": `{"name":"vip"}`, "users.remove_tag": `{"name":"vip"}`,
	"users.add_tags": `{"tag_names":["vip"]}`, "users.add_to_list": `{"list":20}`, "users.remove_from_list": `{"list":20}`,
}

var queries = map[string]string{
	"/api/public/users/search/": "?user_id=ada", "/api/find/": "?q=ada", "DELETE /api/admin/apps/:name/": "?confirm=shop",
	"/api/stats/": "?metric=visits", "/api/stats/top/": "?dimension=path", "/api/stats/funnel/": "?step=path:/a&step=event:b",
}

// pathOf is a path of a route that there is in testServer, once ada is.
func pathOf(r route) string {
	return strings.NewReplacer("/tags/:id", "/tags/20", "/lists/:id", "/lists/20", "/segments/:id", "/segments/20", ":id", "1001", ":custom_id", "ada", ":name", "shop", ":key", "pub", ":token", "shop-read", "*", "1/").Replace(r.pattern) + queries[r.pattern] + queries[r.method+" "+r.pattern]
}

// Goal: nobody gets more than the table says, and each access is audited.
// Method: every route, by every kind of actor, on both apps.
func TestRoutesByRole(t *testing.T) {
	roles := []spoor.Role{read, write, erase, admin}
	for _, r := range routes() {
		if r.pattern == "/api/admin/apps/:name/find/" || r.pattern == "/api/figures/" {
			continue // see TestFindAny, TestFiguresWho
		}
		path := pathOf(r)
		ask := func(token string) (reply, []spoor.Access) {
			ts := newTestServer(t, func(o *Options) { o.PrivateMetrics = true })
			ts.furnish()
			if r.action == "tail" { // the stream would not end by itself
				ts.store.tailEnds = true
			}
			rep := ts.do(r.method, path, token, bodies[r.action])
			return rep, ts.audited()
		}
		check := func(token string, allowed bool, refusals ...int) {
			t.Helper()
			rep, audited := ask(token)
			refused := false
			for _, s := range refusals {
				refused = refused || rep.status == s
			}
			switch {
			case !allowed && !refused:
				t.Errorf("%s %s with %q: got %d, want one of %v", r.method, path, token, rep.status, refusals)
			case !allowed && len(audited) != 0:
				t.Errorf("%s %s with %q: refused, but audited", r.method, path, token)
			case allowed && (rep.status == 401 || rep.status == 403 || rep.status == 404 || rep.status == 400):
				t.Errorf("%s %s with %q: got %d %s", r.method, path, token, rep.status, rep.body)
			case allowed && r.action != "" && (len(audited) != 1 || audited[0].Action != r.action):
				t.Errorf("%s %s with %q: audited %+v, want one entry of %s", r.method, path, token, audited, r.action)
			case allowed && r.action == "" && len(audited) != 0:
				t.Errorf("%s %s: audited without an action", r.method, path)
			}
		}
		switch {
		case r.pattern == "/metrics/":
			check("", false, 401)
			check("shop-admin", false, 403)
			check("control", true)
			continue
		case r.scope == scopeNone:
			check("", true)
			continue
		}
		check("", false, 401)
		check("wrong", false, 401)
		check("shop-expired", false, 401)
		for _, role := range roles {
			check("shop-"+string(role), role.Allows(r.role) && r.scope != scopeAllApps, 403)
		}
		check("control", r.scope != scopeApp, 403)
		if r.scope == scopeNamedApp {
			for _, role := range roles {
				check("other-"+string(role), false, 403, 404)
			}
		}
		if r.scope == scopeApp && strings.Contains(r.pattern, ":") && r.role != erase {
			rep, _ := ask("other-admin")
			if rep.status != 404 {
				t.Errorf("%s %s with the other app's token: %d %s", r.method, path, rep.status, rep.body)
			}
		}
	}
}
