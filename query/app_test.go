package query

import (
	"bufio"
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

// appServer serves /app as the collector would: a request's address is what the
// header From says.
type appServer struct {
	*testServer
	app *http.Client
}

func newAppServer(t *testing.T, change ...func(*Options)) *appServer {
	t.Helper()
	ts := newTestServer(t, change...)
	l := fasthttputil.NewInmemoryListener()
	handler := ts.AppHandler(nil)
	host := &fasthttp.Server{DisablePreParseMultipartForm: true, Handler: func(ctx *fasthttp.RequestCtx) {
		if from := string(ctx.Request.Header.Peek("From")); from != "" {
			ctx.SetRemoteAddr(&net.TCPAddr{IP: net.ParseIP(from)})
		}
		handler(ctx)
	}}
	go host.Serve(l)
	c := client(l)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		c.CloseIdleConnections()
		l.Close()
	})
	return &appServer{ts, c}
}

func (a *appServer) ask(method, path, body string, headers ...string) reply {
	a.t.Helper()
	return a.doVia(a.app, method, path, "", body, headers...)
}

func (a *appServer) later(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

const formType = "Content-Type: application/x-www-form-urlencoded"

func (a *appServer) try(token string, headers ...string) reply {
	a.t.Helper()
	return a.ask("POST", "/app/login", url.Values{"token": {token}}.Encode(), append(headers, formType)...)
}

// login opens a session and returns the header that carries it.
func (a *appServer) login(token string, headers ...string) (cookie string) {
	a.t.Helper()
	r := a.try(token, headers...)
	if r.status != 303 || r.header.Get("Location") != "/app/" {
		a.t.Fatalf("login with %q: %d %s", token, r.status, r.body)
	}
	cookie, _, _ = strings.Cut(r.header.Get("Set-Cookie"), ";")
	return "Cookie: " + cookie
}

// open reports whether a session goes on, without counting as its use.
func (a *appServer) open(cookie string) bool {
	_, value, _ := strings.Cut(cookie, "=")
	_, ok := a.visitor([]byte(value), false)
	return ok
}

// Goal: with a session /app/api/… answers as /api/… does with that token, and
// enters the same into the audit log; without one, and for changes without the
// header, it does nothing.
// Method: every route by every kind of actor, through both doors.
func TestAppByRole(t *testing.T) {
	const appHeader = "X-Spoor-App: 1"
	tokens := []string{"control"}
	for _, app := range []string{"shop-", "other-"} {
		for _, role := range []spoor.Role{read, write, erase, admin} {
			tokens = append(tokens, app+string(role))
		}
	}
	for _, r := range routes() {
		prepared := func() *appServer {
			a := newAppServer(t)
			a.addProfile(1, 1, "ada", "ada@example.com")
			a.store.apps.list[0].Keys = []spoor.WriteKey{{Key: "pub"}}
			a.store.tailEnds = r.action == "tail" // the stream would not end by itself
			return a
		}
		path := pathOf(r)
		if r.scope == scopeNone {
			a := prepared()
			if got := a.ask(r.method, "/app"+path, "", a.login("control")); got.status != 404 {
				t.Errorf("/app%s: %d", path, got.status)
			}
			continue
		}
		for _, token := range tokens {
			byToken, byCookie := prepared(), prepared()
			want := byToken.do(r.method, path, token, bodies[r.action])
			cookie := byCookie.login(token)
			if got := byCookie.ask(r.method, "/app"+path, bodies[r.action], appHeader); got.status != 401 {
				t.Errorf("%s /app%s without a cookie: %d", r.method, path, got.status)
			}
			if got := byCookie.ask(r.method, "/app"+path, bodies[r.action], appHeader, "Authorization: Token "+token); got.status != 401 {
				t.Errorf("%s /app%s with a token instead: %d", r.method, path, got.status)
			}
			if r.method != "GET" {
				if got := byCookie.ask(r.method, "/app"+path, bodies[r.action], cookie); got.status != 403 || got.body != string(errNoAppHeader.body) {
					t.Errorf("%s /app%s without the header: %d %s", r.method, path, got.status, got.body)
				}
				if got := byCookie.ask(r.method, "/app"+path, bodies[r.action], cookie, appHeader, "Sec-Fetch-Site: same-site"); got.status != 403 || got.body != string(errOtherSite.body) {
					t.Errorf("%s /app%s from another site: %d %s", r.method, path, got.status, got.body)
				}
			}
			if entries := byCookie.audited(); len(entries) != 0 {
				t.Fatalf("%s /app%s: refused, but audited: %+v", r.method, path, entries)
			}
			got := byCookie.ask(r.method, "/app"+path, bodies[r.action], cookie, appHeader)
			if got.status != want.status || r.method == "GET" && strings.ReplaceAll(got.body, "/app/api/", "/api/") != want.body {
				t.Errorf("%s /app%s with %s:\n%d %s, by token\n%d %s", r.method, path, token, got.status, got.body, want.status, want.body)
			}
			if g, w := byCookie.audited(), byToken.audited(); !reflect.DeepEqual(g, w) {
				t.Errorf("%s /app%s with %s: audited %+v, by token %+v", r.method, path, token, g, w)
			}
		}
	}
}

// Goal: no other site can make a browser log in, log out or change anything.
func TestAppFromOtherSites(t *testing.T) {
	a := newAppServer(t, func(o *Options) { o.PublicURL = "https://track.example" })
	f := func(allowed bool, headers ...string) {
		t.Helper()
		cookie := a.login("shop-write")
		login, logout := a.try("shop-read", headers...), a.ask("POST", "/app/logout", "", append(headers, cookie)...)
		if (login.status == 303) != allowed || (logout.status == 303) != allowed || a.open(cookie) == allowed {
			t.Errorf("%v: login %d, logout %d, open %v", headers, login.status, logout.status, a.open(cookie))
		}
		if !allowed && login.header.Get("Set-Cookie")+logout.header.Get("Set-Cookie") != "" {
			t.Errorf("%v: a cookie was set", headers)
		}
		cookie = a.login("shop-write")
		change := a.ask("POST", "/app/api/public/users/", `{"email":"x@y.example"}`, append(headers, cookie, "X-Spoor-App: 1")...)
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
func TestAppFixation(t *testing.T) {
	a := newAppServer(t)
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
	if got := attributes(a.try("shop-read")); !slices.Equal(got, []string{"httponly", "max-age=604800", "path=/app", "samesite=strict"}) {
		t.Errorf("over http: %v", got)
	}
	b := newAppServer(t, func(o *Options) { o.PublicURL = "https://track.example" })
	if got := attributes(b.try("shop-read")); !slices.Equal(got, []string{"httponly", "max-age=604800", "path=/app", "samesite=strict", "secure"}) {
		t.Errorf("over https: %v", got)
	}
}

// Goal: secrets cannot be guessed by trying; who has one is let in again, and
// the memory of it all is bounded.
func TestAppBruteForce(t *testing.T) {
	a := newAppServer(t)
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
		a.attempts.begin(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), testNow)
	}
	if n := len(a.attempts.young) + len(a.attempts.old); n > attemptAddressesMax {
		t.Errorf("%d addresses are remembered", n)
	}
	if st := a.Stats(); st.Logins != 32 || st.LoginsFailed == 0 || strings.Contains(a.log.String(), "192.0.2") {
		t.Errorf("%+v, log %s", st, a.log)
	}
}

func TestAppSessionsEnd(t *testing.T) {
	a := newAppServer(t)
	use := func(cookie string) bool {
		t.Helper()
		r := a.ask("GET", "/app/api/partitions", "", cookie)
		if r.status != 200 && (r.status != 401 || r.body != string(errNoSession.body)) {
			t.Errorf("%d %s", r.status, r.body)
		}
		home := a.ask("GET", "/app/", "", cookie)
		if strings.Contains(home.body, "Log out") != (r.status == 200) {
			t.Errorf("the API answered %d, the page is\n%s", r.status, home.body)
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
		a.ask("GET", "/app/", "", cookie)
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
	r := a.ask("POST", "/app/logout", "", cookie)
	if r.status != 303 || !strings.HasPrefix(r.header.Get("Set-Cookie"), "spoor_session=;") || !strings.Contains(strings.ToLower(r.header.Get("Set-Cookie")), "expires=") {
		t.Errorf("logout: %d %v", r.status, r.header)
	}
	if use(cookie) || !use(other) {
		t.Error("a logout is of one session")
	}
}

// Goal: a session is its token: it changes with it and ends with it.
func TestAppTokenRevoked(t *testing.T) {
	shop := func(a *appServer) *spoor.App { return a.store.apps.list[0] }
	f := func(what string, status int, change func(*appServer)) {
		t.Helper()
		a := newAppServer(t)
		cookie := a.login("shop-admin")
		ask := func() int { return a.ask("GET", "/app/api/admin/apps/shop/", "", cookie).status }
		if s := ask(); s != 200 {
			t.Fatalf("before: %d", s)
		}
		change(a)
		if s := ask(); s != status || a.open(cookie) != (status != 401) {
			t.Errorf("%s: %d, open %v; want %d", what, s, a.open(cookie), status)
		}
	}
	f("deleted", 401, func(a *appServer) {
		shop(a).Tokens = slices.DeleteFunc(shop(a).Tokens, func(t spoor.Token) bool { return t.Name == "shop-admin" })
	})
	f("made anew under its name", 401, func(a *appServer) { shop(a).Tokens[3].Hash = spoor.HashToken("another") })
	f("expired", 401, func(a *appServer) { shop(a).Tokens[3].Expires = testNow.UnixMilli() })
	f("of a lesser role", 403, func(a *appServer) { shop(a).Tokens[3].Role = read })
	f("the app is gone", 401, func(a *appServer) { a.store.apps.list = a.store.apps.list[1:] })
	f("another token", 200, func(a *appServer) { shop(a).Tokens[0].Expires = testNow.UnixMilli() })

	a := newAppServer(t)
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

// Goal: a tail ends when the session does.
func TestAppTailEnds(t *testing.T) {
	a := newAppServer(t)
	a.heartbeat = 5 * time.Millisecond
	cookie := a.login("shop-read")
	req, _ := http.NewRequest("GET", "http://spoor.test/app/api/tail", nil)
	name, value, _ := strings.Cut(cookie, ": ")
	req.Header.Set(name, value)
	resp, err := a.app.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for range 3 {
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatalf("the tail ended before its session: %v", err)
		}
	}
	a.ask("POST", "/app/logout", "", cookie)
	ended := make(chan bool)
	go func() {
		for {
			if _, err := lines.ReadString('\n'); err != nil {
				close(ended)
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the tail goes on after the logout")
	}
}

func TestAppSessionsAreBounded(t *testing.T) {
	a := newAppServer(t)
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
		table.open(1, "new", testNow.Add(time.Minute))
		if n := table.count(); n != sessionsMax || table.byID[[32]byte{byte(i)}] != nil || table.byID[[32]byte{byte(i + 1)}] == nil {
			t.Fatalf("after %d more logins than fit, %d sessions are kept, or others than the newest", i+1, n)
		}
	}
	table.open(1, "later", testNow.Add(sessionIdle+time.Hour))
	if n := table.count(); n != 1 {
		t.Errorf("%d sessions are kept that have ended", n)
	}
}

// Goal: pages load what is beside them and nothing else, and hold nothing
// inline; what others named is text.
func TestAppPages(t *testing.T) {
	a := newAppServer(t)
	a.store.apps.list[0].Tokens[0].Name = `<b onload="x">`
	cookies := map[string]string{"": "Cookie: x=y"}
	for _, token := range []string{"shop-read", "shop-admin", "control"} {
		cookies[token] = a.login(token)
	}
	inline := regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|<[^>]*\s(?:on\w+|style)=|javascript:|https?:`)
	address := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	f := func(path, token string, status int, contains ...string) {
		t.Helper()
		r := a.ask("GET", path, "", cookies[token])
		if r.status != status {
			t.Errorf("%s with %q: %d %s", path, token, r.status, r.body)
		}
		for _, text := range contains {
			if !strings.Contains(r.body, text) {
				t.Errorf("%s with %q lacks %s:\n%s", path, token, text, r.body)
			}
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Access-Control-Allow-Origin": "",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
			return
		}
		if bad := inline.FindString(r.body); bad != "" {
			t.Errorf("%s with %q holds %q", path, token, bad)
		}
		for _, m := range address.FindAllStringSubmatch(r.body, -1) {
			if !strings.HasPrefix(m[1], "/app/") {
				t.Errorf("%s leads to %q", path, m[1])
			}
			method := "GET"
			if strings.HasSuffix(m[1], "/login") || strings.HasSuffix(m[1], "/logout") {
				continue
			}
			if r := a.ask(method, m[1], "", cookies[token]); r.status != 200 {
				t.Errorf("%s with %q leads to %s, which answers %d", path, token, m[1], r.status)
			}
		}
	}
	f("/app/", "", 200, `<form method="post" action="/app/login">`, `<label for="token">`, `lang="en"`, "width=device-width")
	f("/app/", "shop-read", 200, "<h1>shop</h1>", "&lt;b onload=", `href="/app/tail"`, "Log out")
	f("/app/", "shop-admin", 200, `href="/app/api/admin/apps/shop/receipts/"`)
	f("/app/", "control", 200, "<h1>Control plane</h1>", `href="/app/api/admin/apps/"`)
	f("/app/tail", "shop-read", 200, `<script src="/app/tail.js"></script>`)
	f("/app/tail", "control", 303)
	f("/app/tail", "", 303)
	f("/app", "", 303)
	f("/app?x=y", "", 303)
	f("/app/style.css", "", 200, "color-scheme: light dark")
	f("/app/tail.js", "", 200, "textContent")
	f("/app/page.html", "shop-read", 404)
	f("/app/../metrics", "shop-read", 404)
	f("/app//api/partitions", "shop-read", 404)
	f("/app/metrics", "control", 404)
	f("/app/healthz", "control", 404)
	f("/app/login", "", 405)
	f("/app/logout", "shop-read", 405)
	f("/app/api", "shop-read", 404)
	f("/app/%61pi/partitions", "shop-read", 404)
	f("/app/api/%70artitions", "shop-read", 404)
	if r := a.ask("GET", "/application", ""); r.status != 404 || r.header.Get("Content-Security-Policy") != "" {
		t.Errorf("/application: %d %v", r.status, r.header)
	}
}

func TestAppLoginForm(t *testing.T) {
	a := newAppServer(t)
	f := func(contentType, body string, status int) {
		t.Helper()
		if r := a.ask("POST", "/app/login", body, "Content-Type: "+contentType); r.status != status || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%s %.40s: %d %s", contentType, body, r.status, r.body)
		}
	}
	const form = "application/x-www-form-urlencoded"
	f("text/plain", "token=shop-read", 415)
	f("application/json", `{"token":"shop-read"}`, 415)
	f("multipart/form-data; boundary=x", "token=shop-read", 415)
	f(form, "token=%zz", 415)
	f(form, "token=shop-read&x="+strings.Repeat("x", loginBytesMax), 413)
	f(form, "", 401)
	f(form, "token=", 401)
	f(form, "token=Token+shop-read", 401)
	if r := a.try("wrong<script>"); r.status != 401 || r.header.Get("WWW-Authenticate") != "Token" || strings.Contains(r.body, "wrong") || !strings.Contains(r.body, `role="alert"`) {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	a.login(" shop-read\n") // as it is pasted
}
