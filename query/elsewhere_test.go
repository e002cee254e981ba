package query

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

const asksJSON = "Accept: application/json"

// dashboardAway is the dashboard of a node that does not have the app "shop", and
// the node that has it, by its URL.
func dashboardAway(t *testing.T, change ...func(*fakeNodes)) (a *dashboard, far *testServer, url string) {
	t.Helper()
	asked, far, url := farAway(t, change...)
	at := *asked.web
	at.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &dashboard{asked, "", &at}, far, url
}

// Goal: with a session on any node the API answers as with its token on the node
// that has the app, which enters it, and no more is open.
// Method: every route, by a session of the node that does not have the app, and by
// the token on one that does.
func TestSessionElsewhereByRole(t *testing.T) {
	for _, r := range routes() {
		for _, token := range []string{"shop-read", "shop-admin", "control"} {
			if r.scope == scopeNone || token == "control" && (r.scope == scopeAllApps || r.scope == scopeSelf) {
				continue // the node that is asked answers itself
			}
			path := pathOf(r)
			_, there, _ := farAway(t)
			there.store.tailEnds = r.action == "tail"
			want := there.do(r.method, path, token, bodies[r.action])
			entered := there.audited()
			a, far, url := dashboardAway(t)
			far.store.tailEnds = r.action == "tail"
			cookie := a.login(token)
			asked := far.Stats().Requests
			f := func(what string, status int, headers ...string) {
				t.Helper()
				if got := a.ask(r.method, path, bodies[r.action], headers...); got.status != status || far.Stats().Requests != asked {
					t.Errorf("%s %s %s: %d %s, and the other node got %d requests", r.method, path, what, got.status, got.body, far.Stats().Requests-asked)
				}
			}
			f("from another site", 403, cookie, "X-Spoor-App: 1", "Sec-Fetch-Site: cross-site")
			if r.method != "GET" {
				f("without the header", 403, cookie)
			}
			got := a.ask(r.method, path, bodies[r.action], cookie, "X-Spoor-App: 1")
			if got.status != want.status || r.method == "GET" && got.body != want.body {
				t.Errorf("%s %s with %s:\n%d %s, there\n%d %s", r.method, path, token, got.status, got.body, want.status, want.body)
			}
			if far.Stats().Requests == asked+1 && (got.header.Get(headerNode) != url || got.header.Get("Content-Security-Policy") != contentPolicy) {
				t.Errorf("%s %s with %s: %v", r.method, path, token, got.header)
			}
			if g := far.audited(); !reflect.DeepEqual(g, entered) || len(a.audited()) != 0 {
				t.Errorf("%s %s with %s: entered %+v, by token %+v", r.method, path, token, g, entered)
			}
		}
	}
}

// Goal: no session sees what its token does not open, and none gets through another
// node what it would not get from its own.
func TestSessionElsewhereOpensNothingElse(t *testing.T) {
	a, far, _ := dashboardAway(t)
	far.opt.Nodes = fakeNodes{of: map[string]string{"other": "http://192.0.2.1"}}
	f := func(token, path string, status int) {
		t.Helper()
		if r := a.ask("GET", path, "", a.login(token)); r.status != status {
			t.Errorf("%s by %s: %d %s", path, token, r.status, r.body)
		}
	}
	const apps, checkpoint = "/api/admin/apps/", "/api/admin/checkpoint/"
	f("shop-admin", apps+"shop/", 200)
	f("shop-admin", apps+"other/", 404)
	f("shop-admin", apps+"none/", 404)
	f("shop-admin", "/api/admin/receipts/?app=other", 403)
	f("shop-read", apps+"shop/", 403)
	f("other-admin", apps+"other/", 200)
	f("other-admin", apps+"shop/", 404)
	f("control", apps+"shop/", 200)
	f("control", "/api/admin/receipts/?app=shop", 200)
	f("control", checkpoint, 403)
	f("control", checkpoint+"?app=shop", 403) // there it would pass for a request of the token
	if r := a.do("GET", apps+"shop/", "other-admin", ""); r.status != 404 {
		t.Errorf("a token with another app: %d %s", r.status, r.body)
	}
}

// Goal: a session ends with its token, wherever that ends, and by logging out; not
// because a node is away. The table of sessions holds no token.
func TestSessionElsewhereEnds(t *testing.T) {
	a, far, url := dashboardAway(t)
	use := func(cookie string, status int, contains string) {
		t.Helper()
		r := a.ask("GET", "/api/session/", "", cookie)
		if r.status != status || !strings.Contains(r.body, contains) || a.open(cookie) == (status == 401) {
			t.Errorf("%d %s, open %v; want %d", r.status, r.body, a.open(cookie), status)
		}
	}
	nodes := func(of map[string]string, others ...string) { a.opt.Nodes = fakeNodes{of: of, others: others} }
	there := map[string]string{"shop": url}
	out, later := a.login("shop-read"), a.login("shop-read")
	use(out, 200, `"app":"shop"`)
	for _, s := range a.sessions.byID {
		if s.elsewhere != "shop" || s.app != 0 || len(s.sealed) == 0 || bytes.Contains(s.sealed, []byte("shop-read")) {
			t.Errorf("the session is %+v", s)
		}
	}
	if r := a.ask("POST", "/logout", "", out, asksJSON); r.status != 200 {
		t.Errorf("logout: %d %s", r.status, r.body)
	}
	use(out, 401, "log in")
	use(later, 200, `"app":"shop"`)

	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := "http://" + gone.Addr().String()
	gone.Close()
	nodes(map[string]string{"shop": away}, away)
	use(later, 503, "does not answer")
	nodes(map[string]string{"shop": ""})
	use(later, 503, "No node")
	nodes(nil, away)
	use(later, 503, "some do not answer")
	nodes(nil, url) // this one has not heard of the app yet
	use(later, 200, `"app":"shop"`)
	nodes(there, url)
	use(later, 200, `"app":"shop"`)
	far.store.apps.change(func(app *spoor.App) { app.Tokens = app.Tokens[1:] })
	use(later, 401, "log in")

	expires := a.login("shop-write")
	use(expires, 200, `"role":"write"`)
	far.store.apps.change(func(app *spoor.App) { app.Tokens[0].Expires = testNow.UnixMilli() })
	use(expires, 401, "log in")

	deleted := a.login("shop-admin")
	use(deleted, 200, `"role":"admin"`)
	far.store.apps.list = nil
	nodes(nil, url)
	use(deleted, 401, "log in")

	idle := a.login("control")
	a.later(sessionIdle)
	use(idle, 401, "log in")
}

// Goal: a guess at a token of another node counts as one here, and for all nodes
// together; a login that succeeds counts nowhere.
func TestLoginElsewhere(t *testing.T) {
	a, far, _ := dashboardAway(t)
	f := func(token string, status int, asked int64) {
		t.Helper()
		before := far.Stats().Requests
		if r := a.try(token, asksJSON); r.status != status || (status != 200) != (r.header.Get("Set-Cookie") == "") {
			t.Errorf("login with %q: %d %s %v", token, r.status, r.body, r.header)
		}
		if n := far.Stats().Requests - before; n != asked {
			t.Errorf("login with %q: the other node was asked %d times, want %d", token, n, asked)
		}
	}
	for range 2 * attemptsBurst {
		f("shop-read", 200, 1)
	}
	f("other-read", 200, 0)
	f("line\nbreak", 401, 0)
	for range attemptsBurst/2 - 1 { // two nodes
		f("guess", 401, 1)
	}
	f("guess", 429, 0)
	f("shop-read", 429, 0)
	a.later(2 * time.Minute)
	f("shop-read", 200, 1)
	f("shop-expired", 401, 1)
	f("shop-read", 429, 0)
	a.later(time.Hour)
	a.opt.Nodes = fakeNodes{others: []string{"http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1"}}
	f("guess", 503, 0)
	f("guess", 503, 0)
	f("guess", 429, 0)
	if st := a.Stats(); st.LoginsFailed != 12 || strings.Contains(a.log.String(), "guess") {
		t.Errorf("%d logins failed, the log is %s", st.LoginsFailed, a.log)
	}
}

// Goal: who watches hits through another node sees each as it happens, until the
// session ends on this node or the token on that one.
func TestLiveElsewhere(t *testing.T) {
	for what, end := range map[string]func(a *dashboard, far *testServer, cookie string){
		"logout": func(a *dashboard, _ *testServer, cookie string) { a.ask("POST", "/logout", "", cookie) },
		"token": func(_ *dashboard, far *testServer, _ string) {
			far.store.apps.change(func(app *spoor.App) { app.Tokens = nil })
		},
	} {
		a, far, _ := dashboardAway(t)
		far.heartbeat = 10 * time.Millisecond
		cookie := a.login("shop-read")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://spoor.test/api/live/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", strings.TrimPrefix(cookie, "Cookie: "))
		resp, err := a.at.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%d %v", resp.StatusCode, resp.Header)
		}
		far.store.send(spoor.Hit{App: 1, Kind: spoor.KindEvent, Name: "signup", Public: 1})
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() && !strings.Contains(lines.Text(), "signup") {
		}
		if lines.Err() != nil || !strings.HasPrefix(lines.Text(), "data: ") {
			t.Fatalf("the hit: %q, %v", lines.Text(), lines.Err())
		}
		end(a, far, cookie)
		for lines.Scan() {
		}
		if lines.Err() != nil {
			t.Errorf("the stream goes on after %s: %v", what, lines.Err())
		}
		resp.Body.Close()
		await(t, "the end of both streams after "+what, func() bool {
			return a.Server.Stats().Streams+far.Stats().Streams+len(a.forwards.slots) == 0
		})
	}
}

// Goal: a shared overview opens on any node, and nothing else with it.
// Method: every route through the node that does not have the app, and on the one
// that has it; links that are none, have ended, or lead to a node that is away.
func TestShareElsewhere(t *testing.T) {
	a, far, url := dashboardAway(t)
	away := fakeNodes{of: map[string]string{"shop": ""}, shared: far.store.apps.list[0], others: []string{url}}
	known := away
	known.of = map[string]string{"shop": url}
	a.opt.Nodes = known
	open := 0
	for _, r := range routes() {
		path := "/share/link" + pathOf(r)
		for _, header := range []string{"X-Spoor-App: 1", "Authorization: Token shop-admin"} {
			want, got := far.do(r.method, path, "", bodies[r.action], header), a.do(r.method, path, "", bodies[r.action], header)
			if got.status != want.status || got.body != want.body {
				t.Errorf("%s %s: %d %s, there %d %s", r.method, path, got.status, got.body, want.status, want.body)
			}
			if got.status == 200 {
				open++
			}
		}
	}
	if open == 0 || len(a.audited())+len(far.audited()) != 0 {
		t.Errorf("%d of them are open", open)
	}
	f := func(path string, status int, asked int64, headers ...string) {
		t.Helper()
		before := far.Stats().Requests
		if r := a.ask("GET", path, "", headers...); r.status != status || far.Stats().Requests != before+asked {
			t.Errorf("%s: %d %s, the other node was asked %d times", path, r.status, r.body, far.Stats().Requests-before)
		}
	}
	f("/share/link/", 200, 0)
	f("/share/link/style.css", 200, 0)
	f("/share/none/", 404, 0)
	f("/share/none/api/session/", 404, 0)
	f("/share/link/api/stats/?filter=country==PL", 403, 0)
	f("/share/link/api/session/", 508, 0, "X-Spoor-Forwarded: 1")
	if r := a.ask("GET", "/share/link/api/session/", ""); !strings.Contains(r.body, `"public":true`) || r.header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("the session: %s %v", r.body, r.header)
	}
	for range sharesMax {
		a.forwards.shares.take(url)
	}
	f("/share/link/api/session/", 503, 0)
	if r := a.do("GET", "/api/session/", "shop-read", ""); r.status != 200 {
		t.Errorf("a token beside them: %d %s", r.status, r.body)
	}
	for range sharesMax {
		a.forwards.shares.free(url)
	}
	a.opt.Nodes = away
	f("/share/link/api/session/", 503, 0)
	a.opt.Nodes = fakeNodes{shared: known.shared} // the app is gone since
	f("/share/link/api/session/", 404, 0)
	a.opt.Nodes = known
	far.store.apps.change(func(app *spoor.App) { app.Share = "" })
	f("/share/link/api/session/", 404, 1) // this node has not heard of it yet
	if n := len(a.forwards.slots) + len(a.forwards.shares.taken); n != 0 {
		t.Errorf("%d requests are still on their way", n)
	}
}

// Goal: any node lists all apps, says where those are that it does not have, and
// tells nothing secret of them.
func TestListElsewhere(t *testing.T) {
	away := &spoor.App{ID: 7, Name: "away", Settings: spoor.DefaultSettings("UTC"), LinkSecret: "secret", WebhookSecret: "secret", Share: "secret", Tokens: []spoor.Token{{Name: "secret"}}}
	shop := &spoor.App{ID: 1, Name: "shop", Settings: spoor.DefaultSettings("Europe/Warsaw"), Keys: []spoor.WriteKey{{Key: "pub"}}}
	a, _, url := dashboardAway(t, func(n *fakeNodes) {
		n.of["away"], n.apps = "", []*spoor.App{shop, away}
	})
	const path = "/api/admin/apps/"
	for what, r := range map[string]reply{"control": a.do("GET", path, "control", ""), "session": a.ask("GET", path, "", a.login("control")), "operator": a.doVia(a.local, "GET", path, "", "")} {
		names := strings.Index(r.body, `"name":"shop"`) < strings.Index(r.body, `"name":"other"`) && strings.Index(r.body, `"name":"other"`) < strings.Index(r.body, `"name":"away"`)
		if r.status != 200 || !names || strings.Count(r.body, `"node":"`+url+`"`) != 1 || strings.Count(r.body, `"node":null`) != 1 || strings.Count(r.body, `"tokens":`) != 1 ||
			strings.Contains(r.body, `"secret"`) || !strings.Contains(r.body, `"timezone":"Europe/Warsaw"`) || !strings.Contains(r.body, `"key":"pub"`) {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	if r := a.do("GET", "/api/session/", "control", ""); !strings.Contains(r.body, `"apps":["shop","other","away"]`) {
		t.Errorf("the session: %s", r.body)
	}
	for _, token := range []string{"shop-admin", "other-admin"} {
		if r := a.do("GET", path, token, ""); r.status != 403 {
			t.Errorf("by %s: %d %s", token, r.status, r.body)
		}
	}
}
