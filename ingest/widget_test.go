package ingest

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const load = "abcdefghijklmnop" // of a page load

type widgetReply struct {
	Mode, Keep, Key string
	Days            int
	Errors          bool
	Results         []struct{ Status, Reason, Field, ID string }
}

// Goal: the reply tells the device what to store, and never more than the mode
// allows; parallel first requests of a page load agree on the key.
func TestWidgetReply(t *testing.T) {
	apps := testApps()
	b := start(t)
	b.opts.Apps = apps
	set := &apps[0].Settings
	set.EventsPerMinute = 0
	n := 0
	f := func(event string, headers ...string) (r widgetReply, cookies []string) {
		t.Helper()
		n++
		body := strings.ReplaceAll(`{"batch":[`+event+`]}`, "LOAD", load)
		a := b.send(t, "POST", "/w?k=k1", body, append([]string{"Origin", "https://www.shop.example"}, headers...)...)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if err := json.Unmarshal([]byte(a.body), &r); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		return r, a.head.Values("Set-Cookie")
	}
	set.Mode, set.HitsDays = spoor.ModeCookieless, 0
	r, _ := f(`{"id":"LOAD-1","key":"fromanother"}`)
	if r.Mode != "cookieless" || r.Keep != "no" || r.Key != "" || r.Results[0].Status != "stored" || !spoor.DailyKey(b.sink.all()[0].Key) {
		t.Errorf("%+v %q", r, b.sink.all()[0].Key)
	}
	set.Mode = spoor.ModeExempt
	first, cookies := f(`{"id":"LOAD-2"}`)
	second, _ := f(`{"id":"LOAD-3"}`)
	if first.Keep != "script" || len(first.Key) != keyLetters || first.Days != spoor.CookieDays || second.Key != first.Key || len(cookies) > 0 || first.Errors {
		t.Errorf("%+v %+v %v", first, second, cookies)
	}
	if r, _ = f(`{"id":"zyxwvutsrqponmlk-1"}`); r.Key == first.Key {
		t.Error("two page loads get one key")
	}
	if r, _ = f(`{"id":"LOAD-4","key":"mine","user_id":"u"}`); r.Key != "mine" || r.Keep != "script" {
		t.Errorf("a key that was sent: %+v", r)
	}
	set.Errors = true
	if r, _ = f(`{"id":"LOAD-5","type":"event"}`); r.Keep != "" || !r.Errors || r.Results[0].Reason != "name_missing" {
		t.Errorf("a bad event changes what is kept: %+v", r)
	}

	set.Mode = spoor.ModeConsent
	if r, _ = f(`{"id":"LOAD-6"}`); r.Keep != "no" || r.Results[0].Reason != "consent_missing" {
		t.Errorf("%+v", r)
	}
	if r, _ = f(`{"id":"LOAD-6","consent":{"analytics":false}}`); r.Keep != "no" || r.Results[0].Reason != "consent_denied" {
		t.Errorf("%+v", r)
	}
	if r, _ = f(`{"id":"LOAD-6","consent":{"analytics":true}}`); r.Keep != "script" || r.Key != first.Key {
		t.Errorf("%+v", r)
	}

	for _, planted := range []string{strings.Repeat("x", 3000), "~AAAAAAAAAAAAAAAAAAAAAA", "<script>", "a b", "\\u0142", "null"} {
		if r, _ = f(`{"id":"LOAD-6","consent":{"analytics":true},"key":"` + planted + `"}`); r.Keep != "script" || r.Key != first.Key {
			t.Errorf("a planted cookie %.30q: %+v", planted, r)
		}
	}

	set.CookieDomain = "shop.example"
	r, cookies = f(`{"id":"LOAD-7","consent":{"analytics":true}}`, "Host", "track.shop.example:8443")
	want := "__ca__chat=" + first.Key + "; max-age=34128000; domain=shop.example; path=/; secure; SameSite=Lax"
	if r.Keep != "server" || len(cookies) != 1 || cookies[0] != want {
		t.Errorf("%+v\n got %v\nwant %v", r, cookies, want)
	}
	r, cookies = f(`{"id":"LOAD-8","consent":{"analytics":true},"key":"stale"}`, "Host", "track.shop.example", "Cookie", "a=b; __ca__chat=mine")
	if r.Keep != "server" || r.Key != "mine" || len(cookies) > 0 {
		t.Errorf("the cookie is renewed, or loses against the script: %+v %v", r, cookies)
	}
	r, cookies = f(`{"id":"LOAD-9","consent":{"analytics":true},"key":"mine"}`, "Host", "track.other.example", "Cookie", "__ca__chat=foreign")
	if r.Keep != "script" || r.Key != "mine" || len(cookies) > 0 {
		t.Errorf("under another host: %+v %v", r, cookies)
	}
	r, _ = f(`{"id":"LOAD-10","consent":{"analytics":true}}`, "Host", "track.shop.example", "Cookie", `__ca__chat="x\"y"`)
	if r.Key != first.Key {
		t.Errorf("a hostile cookie: %+v", r)
	}
	b.sink.fail = func(hits []spoor.Hit) error {
		hits[0].Outcome, hits[0].Reason = spoor.Refused, spoor.ReasonObject
		return nil
	}
	if r, _ = f(`{"id":"LOAD-11","consent":{"analytics":true}}`); r.Keep != "no" || r.Results[0].Reason != "objected" {
		t.Errorf("who objected keeps a cookie: %+v", r)
	}
}

// Goal: a page speaks for nobody but its visitor, even where servers may.
func TestWidgetIsNoServer(t *testing.T) {
	b := start(t)
	b.send(t, "POST", "/w?k=k2", `{"batch":[{"id":"`+load+`-1","ip":"203.0.113.7","user_agent":"Other"}]}`, "User-Agent", "Mozilla/5.0").ok(t)
	if h := b.sink.all()[0]; h.IP.String() != "127.0.0.1" || h.UserAgent != "Mozilla/5.0" {
		t.Errorf("%v %q", h.IP, h.UserAgent)
	}
}

// FuzzWidget sends hostile bodies, cookies and hosts: the reply is JSON, a
// cookie is set only for a key that is safe in one, and a lasting key is kept
// only where the mode has one.
func FuzzWidget(f *testing.F) {
	f.Add([]byte(`{"batch":[{"id":"abcdefghijklmnop-1","key":"a"}]}`), "__ca__chat=mine", "track.shop.example", "https://shop.example", byte(1))
	f.Add([]byte(`[{"user_id":"a\"b","attributes":{"email":"a@b.c"},"consent":true}]`), "__ca__chat=\"\r\n", "[::1]:80", "null", byte(2))
	f.Add([]byte(`{"id":"abcdefghijklmnop-","consent":{"analytics":1}}`), "a;b=c", "shop.example.", "", byte(6))
	f.Add([]byte(`{"key":"a\"; b"}`), "", "", "", byte(1))
	f.Fuzz(func(t *testing.T, body []byte, cookie, host, origin string, settings byte) {
		apps := testApps()
		set := &apps[0].Settings
		set.Mode = [...]string{spoor.ModeCookieless, spoor.ModeExempt, spoor.ModeConsent}[settings%3]
		set.Children = settings&8 != 0
		if settings&4 != 0 {
			set.CookieDomain = "shop.example"
		}
		s, err := New(Options{Sink: new(memorySink), Apps: apps, Now: func() time.Time { return noon }})
		if err != nil {
			t.Fatal(err)
		}
		defer s.salts.close()
		var ctx fasthttp.RequestCtx
		conn, peer := net.Pipe() // a rest of a body is read with a deadline
		defer conn.Close()
		defer peer.Close()
		ctx.Init2(conn, silence{}, false)
		h := &ctx.Request.Header
		h.SetMethod("POST")
		h.SetRequestURI("/w?k=k1")
		h.SetHost(host)
		h.Set("Origin", origin)
		h.Set("Cookie", cookie)
		ctx.Request.SetBodyStream(bytes.NewReader(body), len(body))
		s.handle(&ctx, s.route)
		if s.Stats().Panics > 0 {
			t.Fatal("it panicked")
		}
		out := ctx.Response.Body()
		var r widgetReply
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %q", err, out)
		}
		if r.Keep == "script" || r.Keep == "server" {
			if set.Mode == spoor.ModeCookieless || set.Children || r.Key == "" || spoor.DailyKey(r.Key) {
				t.Fatalf("mode %s: %s", set.Mode, out)
			}
		}
		cookies := ctx.Response.Header.PeekAll("Set-Cookie")
		for _, line := range cookies {
			if len(line) == 0 { // how none is told
				continue
			}
			if r.Keep != "server" || !cookieSafe(r.Key) || strings.ContainsAny(string(line), "\r\n") || !strings.HasPrefix(string(line), cookieName+"="+r.Key+"; ") {
				t.Fatalf("cookie %q with %s", line, out)
			}
		}
	})
}
