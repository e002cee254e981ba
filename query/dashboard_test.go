package query

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// places are the paths at which the dashboard stands.
var places = []string{"", appPath}

// dashboard is a place of the dashboard. At /app it stands within another
// server, as in the collector, where a request's address is what the header
// From says.
type dashboard struct {
	*testServer
	place string
	at    *http.Client
}

func newDashboard(t *testing.T, place string, change ...func(*Options)) *dashboard {
	t.Helper()
	ts := newTestServer(t, change...)
	l := fasthttputil.NewInmemoryListener()
	if place == "" {
		go ts.Serve(l)
	} else {
		handler := ts.AppHandler(nil)
		host := &fasthttp.Server{DisablePreParseMultipartForm: true, Handler: func(ctx *fasthttp.RequestCtx) {
			if from := string(ctx.Request.Header.Peek("From")); from != "" {
				ctx.SetRemoteAddr(&net.TCPAddr{IP: net.ParseIP(from)})
			}
			handler(ctx)
		}}
		go host.Serve(l)
	}
	c := client(l)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		c.CloseIdleConnections()
		l.Close()
	})
	return &dashboard{ts, place, c}
}

// ask sends a request to a path below the place.
func (a *dashboard) ask(method, path, body string, headers ...string) reply {
	a.t.Helper()
	return a.doVia(a.at, method, a.place+path, "", body, headers...)
}

func (a *dashboard) later(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

const formType = "Content-Type: application/x-www-form-urlencoded"

func (a *dashboard) try(token string, headers ...string) reply {
	a.t.Helper()
	return a.ask("POST", "/login", url.Values{"token": {token}}.Encode(), append(headers, formType)...)
}

// login opens a session and returns the header that carries it.
func (a *dashboard) login(token string, headers ...string) (cookie string) {
	a.t.Helper()
	r := a.try(token, headers...)
	if r.status != 303 || r.header.Get("Location") != a.place+"/" {
		a.t.Fatalf("login with %q: %d %s", token, r.status, r.body)
	}
	cookie, _, _ = strings.Cut(r.header.Get("Set-Cookie"), ";")
	return "Cookie: " + cookie
}

// open reports whether a session goes on, without counting as its use.
func (a *dashboard) open(cookie string) bool {
	_, value, _ := strings.Cut(cookie, "=")
	_, ok := a.visitor([]byte(value), false)
	return ok
}

// Goal: with a session the API below a place answers as /api/… does with that
// token, and enters the same into the audit log; without one, and for changes
// without the header, it does nothing. At the root a token wins over a cookie.
// Method: every route by every kind of actor, in both places, with a token and
// with a cookie.
func TestDashboardByRole(t *testing.T) {
	const appHeader = "X-Spoor-App: 1"
	tokens := []string{"control"}
	for _, app := range []string{"shop-", "other-"} {
		for _, role := range []spoor.Role{read, write, erase, admin} {
			tokens = append(tokens, app+string(role))
		}
	}
	for _, r := range routes() {
		path := pathOf(r)
		prepared := func(place string) *dashboard {
			a := newDashboard(t, place)
			a.furnish()
			a.store.tailEnds = r.action == "tail" // the stream would not end by itself
			return a
		}
		if r.scope == scopeNone {
			a := prepared(appPath)
			if got := a.ask(r.method, path, "", a.login("control")); got.status != 404 {
				t.Errorf("/app%s: %d", path, got.status)
			}
			continue
		}
		for _, token := range tokens {
			byToken := prepared("")
			want := byToken.do(r.method, path, token, bodies[r.action])
			wantAudit := byToken.audited()
			for _, place := range places {
				a := prepared(place)
				cookie := a.login(token)
				f := func(what string, status int, body *problem, headers ...string) {
					t.Helper()
					got := a.ask(r.method, path, bodies[r.action], headers...)
					if got.status != status || body != nil && got.body != string(body.body) {
						t.Errorf("%s %s%s %s: %d %s", r.method, place, path, what, got.status, got.body)
					}
				}
				f("without a cookie", 401, nil, appHeader)
				f("with a cookie of no session", 401, errNoSession, "Cookie: spoor_session=x", appHeader)
				f("from a page on another port", 403, errOtherSite, cookie, appHeader, "Sec-Fetch-Site: same-site")
				f("from another site", 403, errOtherSite, cookie, appHeader, "Sec-Fetch-Site: cross-site")
				if r.method != "GET" {
					f("without the header", 403, errNoAppHeader, cookie)
				}
				if place == "" {
					f("with a wrong token too", 401, errInvalidToken, cookie, appHeader, "Authorization: Token wrong")
				} else {
					f("with a token instead", 401, errNoSession, appHeader, "Authorization: Token "+token)
				}
				if entries := a.audited(); len(entries) != 0 {
					t.Fatalf("%s %s%s: refused, but audited: %+v", r.method, place, path, entries)
				}
				if r.action == "checkpoint" {
					f("by a browser", 403, nil, cookie, appHeader)
					continue
				}
				got := a.ask(r.method, path, bodies[r.action], cookie, appHeader)
				if got.status != want.status || r.method == "GET" && strings.ReplaceAll(got.body, place+"/api/", "/api/") != want.body {
					t.Errorf("%s %s%s with %s:\n%d %s, by token\n%d %s", r.method, place, path, token, got.status, got.body, want.status, want.body)
				}
				if got.header.Get("Content-Security-Policy") != contentPolicy {
					t.Errorf("%s %s%s: what a browser opens is not kept in this origin: %v", r.method, place, path, got.header)
				}
				if g := a.audited(); !reflect.DeepEqual(g, wantAudit) {
					t.Errorf("%s %s%s with %s: audited %+v, by token %+v", r.method, place, path, token, g, wantAudit)
				}
			}
		}
	}
}

// Goal: no other site can make a browser log in, log out or change anything.
func TestDashboardFromOtherSites(t *testing.T) {
	a := newDashboard(t, appPath, func(o *Options) { o.PublicURL = "https://track.example" })
	f := func(allowed bool, headers ...string) {
		t.Helper()
		cookie := a.login("shop-write")
		login, logout := a.try("shop-read", headers...), a.ask("POST", "/logout", "", append(headers, cookie)...)
		if (login.status == 303) != allowed || (logout.status == 303) != allowed || a.open(cookie) == allowed {
			t.Errorf("%v: login %d, logout %d, open %v", headers, login.status, logout.status, a.open(cookie))
		}
		if !allowed && login.header.Get("Set-Cookie")+logout.header.Get("Set-Cookie") != "" {
			t.Errorf("%v: a cookie was set", headers)
		}
		cookie = a.login("shop-write")
		change := a.ask("POST", "/api/public/users/", `{"email":"x@y.example"}`, append(headers, cookie, "X-Spoor-App: 1")...)
		if (change.status == 201) != allowed || !allowed && change.status != 403 {
			t.Errorf("%v: a change is answered %d %s", headers, change.status, change.body)
		}
	}
	f(true)
	f(true, "Sec-Fetch-Site: same-origin")
	f(true, "Origin: http://spoor.test")
	f(true, "Origin: https://track.example") // a proxy that gives us another Host
	f(false, "Sec-Fetch-Site: cross-site")
	f(false, "Sec-Fetch-Site: same-site")
	f(false, "Sec-Fetch-Site: none")
	f(false, "Sec-Fetch-Site: cross-site", "Origin: http://spoor.test")
	f(false, "Origin: null")
	f(false, "Origin: http://evil.example")
	f(false, "Origin: http://spoor.test.evil.example")
	f(false, "Origin: https://track.example.evil.example")
	f(false, "Origin: http://track.example")
	f(false, "Origin: %")
}

// Goal: nobody can prepare a session for another, and a cookie is of this path,
// this site and no script.
func TestDashboardFixation(t *testing.T) {
	a := newDashboard(t, appPath)
	planted := "spoor_session=" + strings.Repeat("a", 64)
	first := a.login("shop-read", "Cookie: "+planted)
	if strings.Contains(first, planted) || a.open(planted) {
		t.Error("the server took a session that it did not make")
	}
	second := a.login("shop-admin", first)
	if second == first || a.open(first) || !a.open(second) {
		t.Error("a login goes on with the session of before")
	}
	if len(first) != len("Cookie: spoor_session=")+64 {
		t.Errorf("%q has not 256 bits", first)
	}
	attributes := func(r reply) []string {
		list := strings.Split(strings.ToLower(r.header.Get("Set-Cookie")), "; ")
		slices.Sort(list[1:])
		return list[1:]
	}
	f := func(place, publicURL, path string, secure bool, headers ...string) {
		t.Helper()
		b := newDashboard(t, place, func(o *Options) { o.PublicURL = publicURL })
		want := []string{"httponly", "max-age=604800", "path=" + path, "samesite=strict"}
		if secure {
			want = append(want, "secure")
		}
		if got := attributes(b.try("shop-read", headers...)); !slices.Equal(got, want) {
			t.Errorf("at %q with %q, %v: %v, want %v", place, publicURL, headers, got, want)
		}
	}
	f("/app", "", "/app", false)
	f("/app", "https://track.example", "/app", true)
	f("/app", "", "/app", true, "Origin: https://spoor.test")
	f("", "", "/", false)
	f("", "https://track.example", "/", false, "Origin: http://spoor.test") // by a tunnel; the address is another server's
	f("", "", "/", true, "Origin: https://spoor.test")                      // a proxy before it
}

// Goal: secrets cannot be guessed by trying; who has one is let in again, and
// the memory of it all is bounded.
func TestDashboardBruteForce(t *testing.T) {
	a := newDashboard(t, appPath)
	f := func(from, token string, status int) {
		t.Helper()
		r := a.try(token, "From: "+from)
		if r.status != status || (status == 429) != (r.header.Get("Retry-After") != "") || status != 303 && r.header.Get("Set-Cookie") != "" {
			t.Errorf("%q from %s: %d, Retry-After %q; want %d", token, from, r.status, r.header.Get("Retry-After"), status)
		}
	}
	for range 30 {
		f("192.0.2.1", "shop-read", 303) // what succeeds does not count
	}
	for range attemptsBurst {
		f("192.0.2.1", "guess", 401)
	}
	f("192.0.2.1", "guess", 429)
	f("192.0.2.1", "shop-read", 429) // or a guess would be told from the right one
	f("192.0.2.2", "shop-read", 303)
	a.later(time.Minute)
	f("192.0.2.1", "shop-read", 303)
	f("192.0.2.1", "guess", 401)
	f("192.0.2.1", "guess", 429)
	for i := range attemptsBurst {
		f(fmt.Sprintf("2001:db8::%x", i+1), "", 401) // one subscriber
	}
	f("2001:db8::ffff", "guess", 429)
	f("2001:db8:0:1::1", "guess", 401)
	a.later(time.Hour) // all is as at first
	for i := range attemptsAllBurst {
		f(fmt.Sprintf("198.51.%d.%d", i/250, i%250), "shop-expired", 401)
	}
	f("203.0.113.1", "shop-read", 429)
	a.later(time.Second)
	for range attemptsAllPerS {
		f("203.0.113.1", "guess", 401)
	}
	f("203.0.113.1", "guess", 429)
	for i := range 3 * attemptAddressesMax {
		a.attempts.begin(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1, testNow)
	}
	if n := len(a.attempts.young) + len(a.attempts.old); n > attemptAddressesMax {
		t.Errorf("%d addresses are remembered", n)
	}
	if st := a.Stats(); st.Logins != 32 || st.LoginsFailed == 0 || strings.Contains(a.log.String(), "192.0.2") {
		t.Errorf("%+v, log %s", st, a.log)
	}
}

func TestDashboardSessionsEnd(t *testing.T) {
	a := newDashboard(t, appPath)
	use := func(cookie string) bool {
		t.Helper()
		r := a.ask("GET", "/api/partitions", "", cookie)
		if r.status != 200 && (r.status != 401 || r.body != string(errNoSession.body)) {
			t.Errorf("%d %s", r.status, r.body)
		}
		return r.status == 200
	}
	cookie := a.login("shop-read")
	a.later(12*time.Hour - time.Second)
	if !use(cookie) {
		t.Error("ended before it was idle for 12 hours")
	}
	a.later(12*time.Hour - time.Second)
	if !use(cookie) {
		t.Error("a use does not count")
	}
	a.later(12 * time.Hour)
	if use(cookie) {
		t.Error("goes on after 12 idle hours")
	}
	cookie = a.login("shop-read")
	for range 14 { // 6 days, 22 hours
		a.later(12*time.Hour - 10*time.Minute)
		a.ask("GET", "/api/session/", "", cookie)
	}
	a.later(time.Hour)
	if !use(cookie) {
		t.Error("ended before 7 days")
	}
	a.later(2 * time.Hour)
	if use(cookie) {
		t.Error("goes on after 7 days")
	}
	if n := a.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions are kept that have ended", n)
	}

	cookie = a.login("shop-read")
	other := a.login("shop-read")
	r := a.ask("POST", "/logout", "", cookie)
	if r.status != 303 || !strings.HasPrefix(r.header.Get("Set-Cookie"), "spoor_session=;") || !strings.Contains(strings.ToLower(r.header.Get("Set-Cookie")), "expires=") {
		t.Errorf("logout: %d %v", r.status, r.header)
	}
	if use(cookie) || !use(other) {
		t.Error("a logout is of one session")
	}
}

// Goal: a session is its token: it changes with it and ends with it.
func TestDashboardTokenRevoked(t *testing.T) {
	shop := func(a *dashboard) *spoor.App { return a.store.apps.list[0] }
	f := func(what string, status int, change func(*dashboard)) {
		t.Helper()
		a := newDashboard(t, appPath)
		cookie := a.login("shop-admin")
		ask := func() int { return a.ask("GET", "/api/admin/apps/shop/", "", cookie).status }
		if s := ask(); s != 200 {
			t.Fatalf("before: %d", s)
		}
		change(a)
		if s := ask(); s != status || a.open(cookie) != (status != 401) {
			t.Errorf("%s: %d, open %v; want %d", what, s, a.open(cookie), status)
		}
	}
	f("deleted", 401, func(a *dashboard) {
		shop(a).Tokens = slices.DeleteFunc(shop(a).Tokens, func(t spoor.Token) bool { return t.Name == "shop-admin" })
	})
	f("made anew under its name", 401, func(a *dashboard) { shop(a).Tokens[3].Hash = spoor.HashToken("another") })
	f("expired", 401, func(a *dashboard) { shop(a).Tokens[3].Expires = testNow.UnixMilli() })
	f("of a lesser role", 403, func(a *dashboard) { shop(a).Tokens[3].Role = read })
	f("the app is gone", 401, func(a *dashboard) { a.store.apps.list = a.store.apps.list[1:] })
	f("another token", 200, func(a *dashboard) { shop(a).Tokens[0].Expires = testNow.UnixMilli() })

	a := newDashboard(t, appPath)
	cookie := a.login("control")
	a.opt.AdminTokenHash = spoor.HashToken("new")
	if a.open(cookie) {
		t.Error("the control plane's session goes on with another secret")
	}
	a.opt.AdminTokenHash = ""
	if r := a.try("control"); r.status != 401 {
		t.Errorf("login without a control plane: %d", r.status)
	}
}

// Goal: hits are followed as they are stored, and no longer than the session.
// Method: both forms of the stream, in both places: a beat, a hit, the logout.
func TestDashboardFollows(t *testing.T) {
	f := func(place, path, contentType, beat, before, after string) {
		t.Helper()
		a := newDashboard(t, place)
		a.heartbeat = 5 * time.Millisecond
		hit := *a.addHit(1, 1, spoor.KindPage, "p")
		hit.Title = "two\nlines"
		want := a.ask("GET", "/api/export/hits.ndjson?from=2026-03-04&to=2026-03-04", "", a.login("shop-read")).body
		want = strings.Replace(want, `A \"page\"`, `two\nlines`, 1)
		a.audited()
		cookie := a.login("shop-read")
		req, _ := http.NewRequest("GET", "http://spoor.test"+place+path, nil)
		name, value, _ := strings.Cut(cookie, ": ")
		req.Header.Set(name, value)
		resp, err := a.at.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); got != contentType || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s%s: %v", place, path, resp.Header)
		}
		read := make(chan string)
		go func() {
			defer close(read)
			var b [4096]byte
			for {
				n, err := resp.Body.Read(b[:])
				if err != nil {
					return
				}
				read <- string(b[:n])
			}
		}()
		all := ""
		until := func(what string, seen func() bool) {
			t.Helper()
			for limit := time.After(5 * time.Second); !seen(); {
				select {
				case more, open := <-read:
					if all += more; !open {
						t.Fatalf("%s%s ended before %s: %q", place, path, what, all)
					}
				case <-limit:
					t.Fatalf("%s%s: no %s: %q", place, path, what, all)
				}
			}
		}
		until("three beats", func() bool { return strings.Count(all, beat) >= 3 })
		a.store.send(hit)
		until("the hit", func() bool { return strings.Contains(all, before+want+after) })
		if r := a.ask("POST", "/logout", "", cookie); r.status != 303 {
			t.Errorf("logout: %d", r.status)
		}
		for limit := time.After(5 * time.Second); ; {
			select {
			case _, open := <-read:
				if open {
					continue
				}
			case <-limit:
				t.Errorf("%s%s goes on after the logout", place, path)
			}
			break
		}
		if list := a.audited(); len(list) != 1 || list[0].Action != "tail" || list[0].Subjects != 1 || list[0].Actor != "shop-read" {
			t.Errorf("%s%s: audited %+v", place, path, list)
		}
	}
	for _, place := range places {
		f(place, "/api/tail", "application/x-ndjson", "\n", "", "")
		f(place, "/api/live/", "text/event-stream", "event: beat\ndata:\n\n", "event: hit\ndata: ", "\n")
	}
}

func TestDashboardSessionsAreBounded(t *testing.T) {
	a := newDashboard(t, appPath)
	var cookies []string
	other := a.login("other-read")
	for range sessionsPerTokenMax + 5 {
		cookies = append(cookies, a.login("shop-read"))
		a.later(time.Second)
	}
	for i, c := range cookies {
		if a.open(c) != (i >= 5) {
			t.Errorf("session %d of %d: open %v", i, len(cookies), a.open(c))
		}
	}
	if !a.open(other) {
		t.Error("one token pushed out the session of another")
	}
	table := sessions{byID: map[[32]byte]*session{}}
	for i := range sessionsMax {
		table.byID[[32]byte{byte(i), byte(i >> 8)}] = &session{app: 1, hash: fmt.Sprint(i), begun: testNow, used: testNow.Add(time.Duration(i))}
	}
	for i := range 10 {
		table.open(session{app: 1, hash: "new"}, nil, testNow.Add(time.Minute))
		if n := table.count(); n != sessionsMax || table.byID[[32]byte{byte(i)}] != nil || table.byID[[32]byte{byte(i + 1)}] == nil {
			t.Fatalf("after %d more logins than fit, %d sessions are kept, or others than the newest", i+1, n)
		}
	}
	table.open(session{app: 1, hash: "later"}, nil, testNow.Add(sessionIdle+time.Hour))
	if n := table.count(); n != 1 {
		t.Errorf("%d sessions are kept that have ended", n)
	}
}

// Goal: the page loads what is beside it and nothing else, holds nothing
// inline, and is kept by browsers as long as it is the same.
// Method: all files of the dashboard, in all places, with exact headers.
func TestDashboardPages(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|<[^>]*\s(?:on\w+|style)=|javascript:`)
	address := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	for _, place := range append(places, "/share/link") {
		a := newDashboard(t, strings.TrimSuffix(place, "/share/link"))
		a.furnish()
		a.place = place
		f := func(path, body string, status int, etag string, headers ...string) {
			t.Helper()
			r := a.ask("GET", path, "", headers...)
			if r.status != status || body != "*" && r.body != body {
				t.Errorf("%s%s: %d %s", place, path, r.status, r.body)
			}
			want := map[string]string{
				"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Access-Control-Allow-Origin": "",
				"Etag": etag, "X-Robots-Tag": "",
			}
			if etag != "" {
				want["Cache-Control"], want["Vary"] = "no-cache", "Accept-Encoding"
			}
			if place == "/share/link" {
				want["Referrer-Policy"], want["X-Robots-Tag"] = "no-referrer", "noindex"
			}
			for name, want := range want {
				if got := r.header.Get(name); got != want {
					t.Errorf("%s%s: %s is %q, want %q", place, path, name, got, want)
				}
			}
		}
		for name, file := range assets() {
			path := "/" + name
			if name == indexName {
				path = "/"
			}
			f(path, string(file.plain), 200, file.etag)
			f(path, "", 304, file.etag, "If-None-Match: "+file.etag)
			packed := a.ask("GET", path, "", "Accept-Encoding: gzip") // asked for by hand, so it comes as it is
			if file.gzip != nil && (packed.header.Get("Content-Encoding") != "gzip" || packed.body != string(file.gzip)) {
				t.Errorf("%s%s: not compressed: %v", place, path, packed.header)
			}
			if r := a.ask("HEAD", path, ""); r.status != 200 || r.body != "" || r.header.Get("Content-Type") != file.contentType {
				t.Errorf("HEAD %s%s: %d %v", place, path, r.status, r.header)
			}
		}
		page := a.ask("GET", "/", "").body
		if bad := inline.FindString(page); bad != "" {
			t.Errorf("the page holds %q", bad)
		}
		for _, m := range address.FindAllStringSubmatch(page, -1) {
			if m[1] == "login" || strings.HasPrefix(m[1], "#") {
				continue
			}
			if r := a.ask("GET", "/"+m[1], ""); r.status != 200 {
				t.Errorf("the page leads to %s, which answers %d", m[1], r.status)
			}
		}
		for _, path := range []string{"/index.html", "/app/app", "/x", "/../style.css", "//style.css", "/style.css/", "/%73tyle.css", "/src/", "/dashboard/dist/style.css", "/api", "/%61pi/partitions", "/api/%70artitions"} {
			if r := a.ask("GET", path, ""); r.status != 404 {
				t.Errorf("%s%s: %d", place, path, r.status)
			}
		}
		if place == "" {
			continue
		}
		f("", "", 303, "")
		f("?x=y", "", 303, "")
		f("/metrics", "*", 404, "")
		f("/healthz", "*", 404, "")
		if r := a.ask("GET", "", ""); r.header.Get("Location") != place+"/" {
			t.Errorf("%s leads to %q", place, r.header.Get("Location"))
		}
	}
	a := newDashboard(t, appPath)
	if r := a.doVia(a.at, "GET", "/application", "", ""); r.status != 404 || r.header.Get("Content-Security-Policy") != "" {
		t.Errorf("/application: %d %v", r.status, r.header)
	}
	if r := a.doVia(a.web, "GET", "/app/", "", ""); r.status != 404 {
		t.Errorf("/app/ on the read side's own listener: %d", r.status)
	}
	if r := a.doVia(a.local, "GET", "/", "", ""); r.status != 404 {
		t.Errorf("/ on the socket: %d", r.status)
	}
}

// Goal: a login answers a form with the page and a script with JSON, one line if
// it failed, and never repeats a secret.
func TestDashboardLogin(t *testing.T) {
	const form, wantJSON = "application/x-www-form-urlencoded", "Accept: application/json"
	for _, place := range places {
		a := newDashboard(t, place)
		f := func(contentType, body string, status int) {
			t.Helper()
			if r := a.ask("POST", "/login", body, "Content-Type: "+contentType); r.status != status || r.header.Get("Set-Cookie") != "" {
				t.Errorf("%s %.40s: %d %s", contentType, body, r.status, r.body)
			}
		}
		f("text/plain", "token=shop-read", 415)
		f("application/json", `{"token":"shop-read"}`, 415)
		f("multipart/form-data; boundary=x", "token=shop-read", 415)
		f(form, "token=%zz", 415)
		f(form, "token=shop-read&x="+strings.Repeat("x", loginBytesMax), 413)
		f(form, "", 401)
		f(form, "token=", 401)
		f(form, "token=Token+shop-read", 401)
		if r := a.try("wrong<script>", wantJSON); r.status != 401 || r.header.Get("WWW-Authenticate") != "Token" || r.body != string(errLoginUnknown.body) {
			t.Errorf("%d %v %s", r.status, r.header, r.body)
		}
		a.login(" shop-read\n") // as it is pasted
		in := a.try("shop-read", wantJSON)
		if in.status != 200 || in.body != `{"ok":true}` || in.header.Get("Location") != "" {
			t.Errorf("login by a script: %d %s", in.status, in.body)
		}
		cookie, _, _ := strings.Cut(in.header.Get("Set-Cookie"), ";")
		if r := a.ask("POST", "/logout", "", "Cookie: "+cookie, wantJSON); r.status != 200 || r.body != `{"ok":true}` || a.open("Cookie: "+cookie) {
			t.Errorf("logout by a script: %d %s", r.status, r.body)
		}
		for _, path := range []string{"/login", "/logout"} {
			if r := a.ask("GET", path, ""); r.status != 405 || r.header.Get("Allow") != "POST, OPTIONS" {
				t.Errorf("GET %s: %d", path, r.status)
			}
		}
	}
}

// Goal: the page learns who looks, or that nobody is logged in.
func TestSession(t *testing.T) {
	a := newDashboard(t, "")
	a.store.apps.list[0].Settings.Zones = []spoor.ZoneSince{{Zone: "Pacific/Auckland"}}
	a.store.apps.list[0].Settings.Goals = []string{"Signup=event:signup", "Thanks=path:/thanks*"}
	f := func(what string, r reply, status int, body string) {
		t.Helper()
		if r.status != status || r.body != body {
			t.Errorf("%s: %d %s, want %d %s", what, r.status, r.body, status, body)
		}
	}
	f("nobody", a.ask("GET", "/api/session/", ""), 401, string(errNoCredentials.body))
	f("a reader", a.ask("GET", "/api/session/", "", a.login("shop-read")), 200,
		`{"app":"shop","role":"read","timezone":"Pacific/Auckland","today":"2026-03-04",`+
			`"goals":[{"name":"Signup","goal":"event:signup"},{"name":"Thanks","goal":"path:/thanks*"}],"public":false}`)
	f("the control plane", a.ask("GET", "/api/session/", "", a.login("control")), 200,
		`{"app":null,"apps":["shop","other"],"role":"admin","timezone":"UTC","today":"2026-03-04","goals":[],"public":false}`)
	f("the operator", a.doVia(a.local, "GET", "/api/session/?app=other", "", ""), 200,
		`{"app":"other","role":"admin","timezone":"UTC","today":"2026-03-04","goals":[],"public":false}`)
	f("the operator, of no app", a.doVia(a.local, "GET", "/api/session/?app=none", "", ""), 404, string(errNotFound.body))
}
