package query

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// Goal: a link opens the overview of its app and nothing else.
// Method: every route of the table and every method below it, in both places,
// with the link, with a session and with a token beside it.
func TestShareOpensNothingElse(t *testing.T) {
	open := 0
	for _, place := range places {
		for _, r := range routes() {
			a := newDashboard(t, place)
			a.furnish()
			shared := r.method == "GET" && (r.pattern == "/api/session/" || r.pattern == "/api/stats/" || r.pattern == "/api/stats/top/" || r.pattern == "/api/stats/goals/")
			cookie := a.login("shop-admin")
			a.place = "/share/link"
			for _, header := range []string{"X-Spoor-App: 1", cookie, "Authorization: Token shop-admin"} {
				got := a.ask(r.method, pathOf(r), bodies[r.action], header, "X-Spoor-App: 1")
				switch {
				case shared && (got.status == 401 || got.status == 403 || got.status == 404):
					t.Errorf("%s %s: %d %s", r.method, r.pattern, got.status, got.body)
				case shared:
					open++
				case got.status != 404 && got.status != 405, strings.Contains(got.body, "ada"):
					t.Errorf("%s %s by %s is open to who has the link: %d %s", r.method, r.pattern, header, got.status, got.body)
				}
			}
			for _, path := range []string{"/login", "/logout"} {
				if got := a.ask("POST", path, "token=shop-admin", formType); got.status != 404 {
					t.Errorf("POST %s: %d", path, got.status)
				}
			}
			if list := a.audited(); len(list) != 0 {
				t.Errorf("%s %s: audited %+v", r.method, r.pattern, list)
			}
		}
	}
	if open == 0 {
		t.Error("nothing is open, so the rest proves nothing")
	}
}

// Goal: a link is made, replaced and ended by admins, and it alone opens.
func TestShareLife(t *testing.T) {
	a := newDashboard(t, "")
	create := func() (path string) {
		t.Helper()
		r := a.do("POST", "/api/admin/apps/shop/share/", "shop-admin", "")
		var link struct{ Path string }
		if err := json.Unmarshal([]byte(r.body), &link); err != nil || r.status != 201 || len(link.Path) != len("/share/")+43 {
			t.Fatalf("%d %s, %v", r.status, r.body, err)
		}
		return link.Path
	}
	f := func(path string, status int) {
		t.Helper()
		for _, below := range []string{"/", "/style.css", "/api/session/"} {
			if r := a.ask("GET", path+below, ""); r.status != status || status == 404 && r.body != string(errNotFound.body) {
				t.Errorf("%s%s: %d %s, want %d", path, below, r.status, r.body, status)
			}
		}
	}
	for _, none := range []string{"/share", "/share/", "/share//", "/share/x", "/share/%6cink"} {
		f(none, 404)
	}
	first := create()
	f(first, 200)
	if r := a.ask("GET", first+"/api/session/", ""); r.body != `{"app":"shop","role":"read","timezone":"UTC","today":"2026-03-04","goals":[],"public":true}` {
		t.Errorf("the session: %s", r.body)
	}
	if app := a.store.apps.list[0]; strings.Contains(first, app.Share) || app.Share != spoor.HashToken(strings.TrimPrefix(first, "/share/")) {
		t.Error("the store keeps the link itself")
	}
	second := create()
	f(first, 404)
	f(second, 200)
	if r := a.do("GET", "/api/admin/apps/shop/", "shop-admin", ""); !strings.Contains(r.body, `"shared":true`) || strings.Contains(r.body, a.store.apps.list[0].Share) {
		t.Errorf("the app: %s", r.body)
	}
	if r := a.do("DELETE", "/api/admin/apps/shop/share/", "shop-admin", ""); r.status != 204 {
		t.Errorf("the end: %d %s", r.status, r.body)
	}
	f(second, 404)
	f("/share/", 404)
	if r := a.do("DELETE", "/api/admin/apps/shop/share/", "shop-admin", ""); r.status != 404 {
		t.Errorf("the end of none: %d %s", r.status, r.body)
	}
}

// Goal: a link that many open is throttled, and takes nothing from the app's own
// clients.
func TestShareIsThrottled(t *testing.T) {
	a := newDashboard(t, "")
	a.furnish()
	a.store.apps.list[0].Settings.RequestsPerMin = 5
	ask := func() reply { return a.ask("GET", "/share/link/api/session/", "") }
	for i := range sharePerMinute {
		if r := ask(); r.status != 200 {
			t.Fatalf("request %d: %d", i+1, r.status)
		}
	}
	if r := ask(); r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", r.status)
	}
	if r := a.do("GET", "/api/session/", "shop-read", ""); r.status != 200 {
		t.Errorf("the app's client: %d", r.status)
	}
}

// Goal: a shared overview tells no properties, and no text of few visitors, and
// does not let one be guessed by its beginning.
func TestShareHides(t *testing.T) {
	a := newDashboard(t, "")
	a.furnish()
	table := `{"dimension":"%s","from":"2026-03-01","to":"2026-03-04","rows":[{"value":"/","visitors":5,"count":9},{"value":"/ada","visitors":4,"count":8}],"other":{"visitors":1,"count":2},"texts":7}`
	a.serves("/api/stats/top/", func(c *call) error {
		c.ctx.SetBodyString(strings.Replace(table, "%s", string(c.ctx.QueryArgs().Peek("dimension")), 1))
		return nil
	})
	f := func(query string, status int, body string) {
		t.Helper()
		if r := a.ask("GET", "/share/link/api/stats/top/"+query, ""); r.status != status || r.body != body {
			t.Errorf("%s: %d %s, want %d %s", query, r.status, r.body, status, body)
		}
	}
	f("?dimension=path", 200, `{"dimension":"path","from":"2026-03-01","to":"2026-03-04","rows":[{"value":"/","visitors":5,"count":9}],"other":{"visitors":5,"count":10},"texts":7}`)
	f("?dimension=hour", 200, strings.Replace(table, "%s", "hour", 1))
	for _, query := range []string{
		"?dimension=property:plan", "?dimension=path&dimension=property:plan", "?property=price", "?by=plan", "?event=signup",
		"?filter=country==PL", "?filter=title==a*", "?goal=path:/a*", "?dimension=path&x=1",
	} {
		f(query, 403, string(errShareQuery.body))
	}
}

// serves puts a handler in the place of a route's, which is made if need be.
func (ts *testServer) serves(pattern string, f func(*call) error) {
	table := routes()
	found := false
	for i := range table {
		if table[i].pattern == pattern {
			table[i].serve, found = f, true
		}
	}
	if !found {
		table = append(table, route{"GET", pattern, scopeApp, read, "", still, f})
	}
	ts.resources = newResources(table)
}
