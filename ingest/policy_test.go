package ingest

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// doorways are how a hit of one person, with a key, a user id and an attribute
// where the door has them, comes in by each door. They say which of the three
// the door takes.
var doorways = []struct {
	door            spoor.Door
	key, user, attr bool
	send            func(t *testing.T, b *bench, n int, key, user string, consent spoor.Choice, headers []string)
}{
	{spoor.DoorNative, true, true, true, sendJSON("/hit?k=k1")},
	{spoor.DoorWidget, true, true, true, sendJSON("/w?k=k1")},
	{spoor.DoorSegment, true, true, false, func(t *testing.T, b *bench, n int, key, user string, consent spoor.Choice, headers []string) {
		body := fmt.Sprintf(`{"event":"e","messageId":"m%d","anonymousId":%q,"userId":%q,"context":{"consent":{"categoryPreferences":{%s}}}}`, n, key, user, choiceJSON("Analytics", consent))
		b.send(t, "POST", "/v1/track?k=k1", body, headers...)
	}},
	{spoor.DoorPixel, true, false, false, func(t *testing.T, b *bench, n int, key, _ string, consent spoor.Choice, headers []string) {
		b.send(t, "GET", fmt.Sprintf("/pixel.gif?k=k1&i=m%d&c=%s&a=%s", n, key, [...]string{"", "1", "0"}[consent]), "", headers...)
	}},
	{spoor.DoorSDK, true, false, false, func(t *testing.T, b *bench, n int, key, _ string, consent spoor.Choice, headers []string) {
		body := fmt.Sprintf(`{"events":[{"id":"m%d","event":"e"}],"consent":{%s}}`, n, choiceJSON("analytics", consent))
		b.send(t, "POST", "/api/sdk/v1/batch/?k=k1", body, append(headers, "X-User-Key", key)...)
	}},
	{spoor.DoorClick, true, false, false, func(t *testing.T, b *bench, n int, key, _ string, consent spoor.Choice, headers []string) {
		link := spoor.Link{Key: "k1", Target: fmt.Sprintf("https://shop.example/%d", n), Profile: key, Expires: noon.Unix() + 60}
		a := b.send(t, "GET", link.Path("secret")+"&a="+[...]string{"", "1", "0"}[consent], "", headers...)
		if a.status != 302 || a.head.Get("Location") != link.Target {
			t.Errorf("click: %d %v", a.status, a.head)
		}
	}},
}

func sendJSON(path string) func(*testing.T, *bench, int, string, string, spoor.Choice, []string) {
	return func(t *testing.T, b *bench, n int, key, user string, consent spoor.Choice, headers []string) {
		body := fmt.Sprintf(`{"batch":[{"id":"%s-%d","key":%q,"user_id":%q,"consent":{%s},"attributes":{"colour":"red"}}]}`, load, n, key, user, choiceJSON("analytics", consent))
		b.send(t, "POST", path, body, headers...)
	}
}

func choiceJSON(name string, c spoor.Choice) string {
	if c == spoor.ChoiceUnknown {
		return ""
	}
	return fmt.Sprintf(`%q:%v`, name, c == spoor.ChoiceGranted)
}

// Goal: every door keeps of a person what mode, signal, policy, consent and the
// children flag allow together, and not more.
// Method: all combinations, against rules written once more, the other way
// round: from what is wanted to when it is so.
func TestPrivacyMatrix(t *testing.T) {
	apps := testApps()
	b := start(t)
	b.opts.Apps = apps
	app := apps[0]
	app.LinkSecret = "secret"
	set := &app.Settings
	n := 0
	signals := []struct {
		headers  []string
		gpc, dnt bool
	}{{nil, false, false}, {[]string{"Sec-GPC", "1"}, true, false}, {[]string{"DNT", "1"}, false, true}, {[]string{"Sec-GPC", "0", "DNT", "null"}, false, false}}
	for _, way := range doorways {
		own := way.door == spoor.DoorWidget || way.door == spoor.DoorPixel || way.door == spoor.DoorClick || way.door == spoor.DoorSDK
		for _, mode := range []string{"cookieless", "exempt", "consent"} {
			for _, policy := range []string{"ignore", "cookieless", "drop"} {
				for _, children := range []bool{false, true} {
					for _, signal := range signals {
						for _, consent := range []spoor.Choice{spoor.ChoiceUnknown, spoor.ChoiceGranted, spoor.ChoiceDenied} {
							for _, who := range []string{"", "key", "user", "key+user"} {
								n++
								key, user := "", ""
								if strings.Contains(who, "key") {
									key = "8Uh7Fp9wMj5l"
								}
								if strings.Contains(who, "user") && way.user {
									user = "ada"
								}
								// Only one of the two policies matters for a signal.
								set.Mode, set.SDKMode, set.GPC, set.DNT, set.Children = mode, mode, policy, policy, children
								before := len(b.sink.all())
								way.send(t, b, n, key, user, consent, signal.headers)
								hits := b.sink.all()[before:]
								name := fmt.Sprintf("%v mode=%s policy=%s children=%v gpc=%v dnt=%v consent=%d who=%q", way.door, mode, policy, children, signal.gpc, signal.dnt, consent, who)

								signalled := signal.gpc || signal.dnt
								stored := consent != spoor.ChoiceDenied && !(signalled && policy == "drop") && !(own && mode == "consent" && consent != spoor.ChoiceGranted)
								if stored != (len(hits) == 1) {
									t.Errorf("%s: %d hits", name, len(hits))
									continue
								}
								if !stored {
									continue
								}
								h := hits[0]
								lasting := !children && !(own && mode == "cookieless") && !(signalled && policy == "cookieless")
								if got := h.Key != "" && !spoor.DailyKey(h.Key); got && !lasting {
									t.Errorf("%s: the lasting key %q is kept", name, h.Key)
								} else if !got && lasting && key != "" {
									t.Errorf("%s: the key is lost", name)
								}
								if (h.UserID != "") != (user != "" && !children) {
									t.Errorf("%s: user id %q", name, h.UserID)
								}
								if spoor.DailyKey(h.Key) && (h.UserID != "" || len(h.Attributes) > 0) {
									t.Errorf("%s: a visitor of the day is told to be somebody: %+v", name, h)
								}
								if children && (h.Key != "" || len(h.Attributes) > 0) {
									t.Errorf("%s: a child is recognised: %+v", name, h)
								}
								if !children && own && h.Key == "" && h.UserID == "" {
									t.Errorf("%s: a visitor is not counted", name)
								}
								if way.attr && lasting && len(h.Attributes) != 1 && h.Key != "" && !spoor.DailyKey(h.Key) {
									t.Errorf("%s: the attribute is lost", name)
								}
							}
						}
					}
				}
			}
		}
	}
	if n != len(doorways)*3*3*2*4*3*4 {
		t.Errorf("%d combinations", n)
	}
}

// Goal: each of the two signals follows its own policy, and the stricter wins.
func TestSignals(t *testing.T) {
	b := start(t)
	apps := testApps()
	b.opts.Apps = apps
	set := &apps[0].Settings
	set.Mode = spoor.ModeExempt
	for _, c := range []struct {
		gpc, dnt, header string
		want             string
	}{
		{"drop", "ignore", "Sec-GPC", "dropped"}, {"drop", "ignore", "DNT", "key"}, {"ignore", "drop", "Sec-GPC", "key"}, {"ignore", "drop", "DNT", "dropped"},
		{"cookieless", "drop", "both", "dropped"}, {"drop", "cookieless", "both", "dropped"}, {"cookieless", "ignore", "both", "daily"}, {"ignore", "cookieless", "both", "daily"},
	} {
		set.GPC, set.DNT = c.gpc, c.dnt
		headers := []string{c.header, "1"}
		if c.header == "both" {
			headers = []string{"Sec-GPC", "1", "DNT", "1"}
		}
		before := len(b.sink.all())
		a := b.send(t, "GET", "/pixel.gif?k=k1&c=8Uh7Fp9wMj5l", "", headers...)
		got := "dropped"
		if hits := b.sink.all()[before:]; len(hits) == 1 {
			if got = "key"; spoor.DailyKey(hits[0].Key) {
				got = "daily"
			}
		}
		if got != c.want || (got == "dropped") != (a.head.Get("X-Spoor-Refused") == string(reasonSignal)) {
			t.Errorf("%+v: %s %v", c, got, a.head)
		}
	}
}

// Goal: what an app excludes is refused with the name of the setting, at every
// door; what only looks alike is not.
func TestExclusions(t *testing.T) {
	b := start(t)
	f := func(set func(*spoor.Settings), hit, want string) {
		t.Helper()
		apps := testApps()
		set(&apps[0].Settings)
		b.opts.Apps = apps
		for _, path := range []string{"/hit?k=k1", "/w?k=k1"} {
			a := b.send(t, "POST", path, `{"batch":[`+hit+`]}`)
			got := ""
			if _, after, ok := strings.Cut(a.body, `"reason":"excluded","field":"`); ok {
				got, _, _ = strings.Cut(after, `"`)
			} else if !strings.Contains(a.body, `"stored"`) {
				got = a.body
			}
			if got != want {
				t.Errorf("%s %s: got %q, want %q", path, hit, got, want)
			}
		}
	}
	addresses := func(list ...string) func(*spoor.Settings) {
		return func(s *spoor.Settings) { s.ExcludeAddresses = list }
	}
	f(addresses("127.0.0.1"), `{}`, "exclude_addresses")
	f(addresses("2001:db8::/32", "127.0.0.0/8"), `{}`, "exclude_addresses")
	f(addresses("127.0.0.2", "10.0.0.0/8"), `{}`, "")
	paths := func(s *spoor.Settings) { s.ExcludePaths = []string{"/admin/*", "/health"} }
	f(paths, `{"url":"https://shop.example/admin/users?a=1#x"}`, "exclude_paths")
	f(paths, `{"url":"https://shop.example/%61dmin/"}`, "exclude_paths")
	f(paths, `{"url":"https://shop.example/health"}`, "exclude_paths")
	f(paths, `{"url":"https://shop.example/admin"}`, "exclude_paths")
	f(paths, `{"url":"https://shop.example//admin//x"}`, "exclude_paths")
	f(paths, `{"url":"https://shop.example/x/../admin/x"}`, "exclude_paths")
	f(paths, `{"url":"https://shop.example/#/admin/x"}`, "exclude_paths")
	f(paths, `{"url":"https://shop.example/administration"}`, "")
	f(paths, `{"url":"https://shop.example/healthy"}`, "")
	f(paths, `{"url":"https://shop.example/the/admin/"}`, "")
	hosts := func(s *spoor.Settings) { s.Hosts = []string{"shop.example"} }
	f(hosts, `{"url":"https://www.SHOP.example.:8443/"}`, "")
	f(hosts, `{"url":"https://shop.example/"}`, "")
	f(hosts, `{}`, "")
	f(hosts, `{"url":"https://shop.example.evil.example/"}`, "hosts")
	f(hosts, `{"url":"https://myshop.example/"}`, "hosts")
	f(hosts, `{"url":"https://shop.example@evil.example/"}`, "hosts")
	f(hosts, `{"url":"http://[::1"}`, "hosts")
	spam := func(s *spoor.Settings) { s.ExcludeReferrers = []string{"spam.example"} }
	f(spam, `{"referrer":"https://free.spam.example/x"}`, "exclude_referrers")
	f(spam, `{"referrer":"https://notspam.example/"}`, "")
	f(spam, `{"referrer":"%%"}`, "")
}

// Goal: a signed link leads on and counts; anything else leads nowhere.
func TestClick(t *testing.T) {
	b := start(t)
	apps := testApps()
	apps[0].LinkSecret, apps[0].Settings.Mode = "secret", spoor.ModeExempt
	b.opts.Apps = apps
	link := spoor.Link{Key: "k1", Target: "https://shop.example/sale?a=1&b=%C5%82#c", Profile: "8Uh7Fp9wMj5l", Expires: noon.Unix() + 60}
	good := link.Path("secret")
	a := b.send(t, "GET", good, "")
	if a.status != 302 || a.head.Get("Location") != link.Target || a.head.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", a.status, a.head)
	}
	h := b.sink.all()[0]
	if h.Kind != spoor.KindMailClick || h.Door != spoor.DoorClick || h.Key != link.Profile || h.URL != link.Target {
		t.Errorf("%+v", h)
	}
	if a = b.send(t, "HEAD", good, ""); a.status != 302 || len(b.sink.all()) != 1 {
		t.Errorf("HEAD: %d, %d hits", a.status, len(b.sink.all()))
	}
	f := func(path string, status int, reason spoor.Reason) {
		t.Helper()
		a := b.send(t, "GET", path, "")
		if a.status != status || a.head.Get("X-Spoor-Refused") != string(reason) || a.head.Get("Location") != "" || !strings.HasPrefix(a.body, "This link does not work: ") {
			t.Errorf("%s: %d %v %s", path, a.status, a.head, a.body)
		}
	}
	q, _ := url.ParseQuery(strings.TrimPrefix(good, "/c?"))
	with := func(name, value string) string {
		changed := url.Values{}
		for n, v := range q {
			changed[n] = v
		}
		if changed.Set(name, value); value == "" {
			changed.Del(name)
		}
		return "/c?" + changed.Encode()
	}
	for _, name := range []string{"u", "p", "x", "s"} {
		f(with(name, ""), 403, reasonLink)
	}
	f(with("u", "https://evil.example/"), 403, reasonLink)
	f(with("u", link.Target+"/"), 403, reasonLink)
	f(with("p", "somebody"), 403, reasonLink)
	f(with("x", "99999999999"), 403, reasonLink)
	f(with("k", "k1b"), 403, reasonLink) // another key of the same app
	f(with("k", "k2"), 403, reasonLink)  // an app without a secret
	f(with("k", "none"), 401, reasonUnknownKey)
	f(with("k", ""), 401, reasonNoKey)
	for _, target := range []string{"javascript:alert(1)", "//evil.example", "/relative", "https://u@shop.example/"} {
		bad := spoor.Link{Key: "k1", Target: target, Profile: "p", Expires: link.Expires}
		f(bad.Path("secret"), 400, reasonLinkTarget)
	}
	split := spoor.Link{Key: "k1", Target: "https://shop.example/\r\nSet-Cookie: a=b", Expires: link.Expires}
	f(split.Path("secret"), 403, reasonLink)
	old := link
	old.Expires = noon.Unix()
	f(old.Path("secret"), 410, reasonLinkExpired)
	if n := len(b.sink.all()); n != 1 {
		t.Errorf("%d hits", n)
	}

	// The person gets on also where nothing can be kept.
	b.sink.fail = func([]spoor.Hit) error { return spoor.ErrBusy }
	if a = b.send(t, "GET", good, ""); a.status != 302 || a.head.Get("X-Spoor-Refused") != string(reasonQueue) {
		t.Errorf("full: %d %v", a.status, a.head)
	}
	apps[0].Closed = true
	if a = b.send(t, "GET", good, ""); a.status != 302 || a.head.Get("X-Spoor-Refused") != string(spoor.ReasonClosed) {
		t.Errorf("closed: %d %v", a.status, a.head)
	}
}

// Goal: an opt-out link asks, and objects only when the person agrees.
func TestOptOut(t *testing.T) {
	b := start(t)
	apps := testApps()
	apps[0].LinkSecret = "secret"
	b.opts.Apps = apps
	var objected []string
	var fails error
	b.opts.Object = func(app *spoor.App, key string) error {
		objected = append(objected, fmt.Sprint(app.ID, key))
		return fails
	}
	link := spoor.Link{Key: "k1", Profile: "8Uh7Fp9wMj5l", Expires: noon.Add(time.Hour).Unix()}
	path := link.Path("secret")
	for _, method := range []string{"GET", "HEAD"} {
		if a := b.send(t, method, path, ""); a.status != 200 || len(objected) > 0 || method == "GET" && !strings.Contains(a.body, "<button>") || !strings.Contains(a.head.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatalf("%s: %d %s %v", method, a.status, a.body, objected)
		}
	}
	if a := b.send(t, "POST", path, "List-Unsubscribe=One-Click"); a.status != 200 || !strings.Contains(a.body, "You have opted out") || len(objected) != 1 || objected[0] != "18Uh7Fp9wMj5l" {
		t.Errorf("%d %s %v", a.status, a.body, objected)
	}
	f := func(method, path string, status int) {
		t.Helper()
		before := len(objected)
		if a := b.send(t, method, path, ""); a.status != status || len(objected) != before {
			t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		}
	}
	f("POST", strings.Replace(path, "8Uh7", "9Uh7", 1), 403)
	f("POST", "/o?k=k1", 403)
	nobody := spoor.Link{Key: "k1", Expires: link.Expires}
	f("POST", nobody.Path("secret"), 403)
	toClick := spoor.Link{Key: "k1", Target: "https://shop.example/", Profile: link.Profile, Expires: link.Expires}
	f("POST", "/o?"+strings.TrimPrefix(toClick.Path("secret"), "/c?"), 403)
	f("DELETE", path, 405)
	fails = spoor.ErrReadOnly
	if a := b.send(t, "POST", path, ""); a.status != 503 || a.head.Get("X-Spoor-Refused") != string(reasonDisk) {
		t.Errorf("full disk: %d %v", a.status, a.head)
	}
}

// Goal: an app for children takes nothing that only says who somebody is.
func TestChildrenTellNothing(t *testing.T) {
	b := start(t)
	apps := testApps()
	apps[0].Settings.Children = true
	b.opts.Apps = apps
	for _, kind := range []string{"identify", "alias", "group", "ping"} {
		b.send(t, "POST", "/hit?k=k1", `{"type":"`+kind+`","user_id":"a","former_id":"b","name":"n"}`).refused(t, reasonChildren)
	}
	b.send(t, "POST", "/hit?k=k1", `{"type":"form","user_id":"a"}`).ok(t)
}

// Goal: nobody can speak as a cookieless visitor, who may be another person.
func TestDailyKeysAreOurs(t *testing.T) {
	b := start(t)
	daily := spoor.NewDailyKey([]byte("0123456789abcdef"))
	b.send(t, "POST", "/hit?k=k1", `{"key":"`+daily+`","user_id":"`+daily+`"}`).ok(t)
	b.send(t, "POST", "/v1/alias?k=k1", `{"previousId":"`+daily+`","userId":"ada","anonymousId":"`+daily+`"}`).refused(t, spoor.ReasonNobody)
	if h := b.sink.all()[0]; h.Key != "" || h.UserID != "" || b.Stats().JunkIDs < 4 {
		t.Errorf("%+v %+v", h, b.Stats())
	}
}

// Goal: what the gate takes away is told for objections to be looked up by it.
func TestWithheld(t *testing.T) {
	b := start(t)
	apps := testApps()
	b.opts.Apps = apps
	set := &apps[0].Settings
	f := func(headers ...string) *spoor.Withheld {
		b.send(t, "POST", "/w?k=k1", `{"batch":[{"key":"abc","former_id":"old","attributes":{"email":"a@b.c"}}]}`, headers...).ok(t)
		all := b.sink.all()
		return all[len(all)-1].Withheld
	}
	if w := f(); w != nil {
		t.Errorf("exempt takes nothing away: %+v", w)
	}
	want := func(what string, w *spoor.Withheld) {
		if w == nil || w.Key != "abc" || w.FormerID != "old" || len(w.Attributes) != 1 || w.Attributes[0].Text != "a@b.c" {
			t.Errorf("%s: %+v", what, w)
		}
	}
	want("signal", f("Sec-GPC", "1"))
	set.Mode = spoor.ModeCookieless
	want("cookieless", f())
	set.Mode, set.Children = spoor.ModeExempt, true
	want("children", f())
}

// Goal: where a device is not to be known again, nothing by which it could be is
// kept of its ping.
func TestPingOfNobody(t *testing.T) {
	b := start(t)
	apps := testApps()
	b.opts.Apps = apps
	set := &apps[0].Settings
	f := func(properties bool) {
		t.Helper()
		b.send(t, "POST", "/api/sdk/v1/ping/?k=k1", `{"device":{"os_type":"Android","android_id":"a1b2","fcm_key":"token","nested":{"idfv":"x"}}}`).ok(t)
		all := b.sink.all()
		if h := all[len(all)-1]; (h.Properties != nil) != properties || (h.MobileAdd != "") != properties {
			t.Errorf("%s: %s %q", set.SDKMode, h.Properties, h.MobileAdd)
		}
	}
	f(true)
	set.SDKMode = spoor.ModeCookieless
	f(false)
}

// Goal: an app without a mobile app can close the paths of its SDK.
func TestSDKOff(t *testing.T) {
	b := start(t)
	apps := testApps()
	apps[0].Settings.SDKMode = spoor.ModeOff
	b.opts.Apps = apps
	b.send(t, "POST", "/api/sdk/v1/ping/?k=k1", `{}`).refused(t, reasonSDKOff)
	b.send(t, "POST", "/api/sdk/v1/ping/?k=k2", `{}`).ok(t)
}

// Goal: without a cookie, who says who he is is that person, and only then.
func TestCookielessPersons(t *testing.T) {
	b := start(t)
	apps := testApps()
	set := &apps[0].Settings
	set.Mode = spoor.ModeCookieless
	b.opts.Apps = apps
	f := func(event string, daily bool, attributes int) {
		t.Helper()
		b.send(t, "POST", "/w?k=k1", `{"batch":[`+event+`]}`).ok(t)
		all := b.sink.all()
		if h := all[len(all)-1]; spoor.DailyKey(h.Key) != daily || !daily && h.Key != "" || len(h.Attributes) != attributes {
			t.Errorf("%s: %+v", event, h)
		}
	}
	f(`{"key":"abc","user_id":"ada","attributes":{"plan":"pro"}}`, false, 1)
	f(`{"key":"abc","attributes":{"email":"ada@shop.example"}}`, true, 0)
	set.EmailIdentifies = true
	f(`{"key":"abc","attributes":{"email":"ada@shop.example"}}`, false, 1)
	f(`{"key":"abc","attributes":{"plan":"pro"}}`, true, 0)
}

// FuzzLink changes signed links: only what was signed leads on, and only to an
// address of http or https.
func FuzzLink(f *testing.F) {
	f.Add("k1", "https://shop.example/", "8Uh7Fp9wMj5l", int64(1), "https://shop.example/")
	f.Add("k1", "https://shop.example/\nx", "", int64(60), "x")
	f.Add("k1", "javascript:alert(1)", "a\x00", int64(-1), "//evil.example")
	apps := testApps()
	apps[0].LinkSecret = "secret"
	s, err := New(Options{Sink: new(memorySink), Apps: apps, Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.salts.close)
	f.Fuzz(func(t *testing.T, key, target, profile string, life int64, other string) {
		link := spoor.Link{Key: key, Target: target, Profile: profile, Expires: noon.Unix() + life%1000}
		q := url.Values{"k": {key}, "u": {target}, "p": {profile}, "x": {fmt.Sprint(link.Expires)}, "s": {link.Sign("secret")}}
		ask := func() *fasthttp.RequestCtx {
			var ctx fasthttp.RequestCtx
			ctx.Init(&fasthttp.Request{}, nil, nil)
			ctx.Request.Header.SetRequestURI("/c?" + q.Encode())
			s.handle(&ctx, s.route)
			return &ctx
		}
		for _, ctx := range []*fasthttp.RequestCtx{ask(), func() *fasthttp.RequestCtx { q.Set("u", other); return ask() }()} {
			to := string(ctx.Response.Header.Peek("Location"))
			if to == "" {
				continue
			}
			if to != target || !strings.HasPrefix(strings.ToLower(to), "http") || strings.ContainsAny(to, "\r\n") || life%1000 <= 0 || key != "k1" {
				t.Fatalf("%q leads to %q", ctx.Request.URI(), to)
			}
		}
		if s.Stats().Panics > 0 {
			t.Fatal("it panicked")
		}
	})
}
