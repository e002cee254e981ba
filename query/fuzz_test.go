package query

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// ask runs one request through the handler, as the server would.
func ask(t *testing.T, s *Server, method, uri, body string) *fasthttp.RequestCtx {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetMethod(method)
	ctx.Request.Header.SetRequestURI(uri)
	ctx.Request.Header.SetHost("spoor.test")
	ctx.Request.Header.Set("Authorization", "Token shop-admin")
	ctx.Request.SetBodyString(body)
	s.handle(&ctx, doorWeb)
	if n := s.Stats().Panics; n != 0 {
		t.Fatalf("%s %q panicked", method, uri)
	}
	if b := ctx.Response.Body(); len(b) > 0 && !ctx.Response.IsBodyStream() &&
		string(ctx.Response.Header.ContentType()) == "application/json" && !jsontext.Value(b).IsValid() {
		t.Fatalf("%s %q answered %q", method, uri, b)
	}
	return &ctx
}

func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"/api/public/users/?page=2", "/api/public/users/1001/", "/api/public/users-by-id/a%40b=/events?cursor=x", "/api/public/users/search/?email=a+b@c/&many=true",
		"/api/public/users/..%2f..%2fadmin/", "/api/export/hits.ndjson?from=2026-01-01", "/api/admin/apps/shop/keys/%00", "/%252e%252e/", "//", "/?", "/", "/style.css", "/share/link/", "/share/link/api/session/", "/share//api/public/users/", "/api/find/?q=stranger@example.com", "/api/public/companies/", "/api/public/users/1;x/",
	} {
		f.Add("GET", path)
		f.Add("DELETE", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		ts := newTestServer(t, func(o *Options) { o.Metrics = nil })
		ts.store.tailEnds = true
		ts.furnish()
		ts.addProfile(2, 1, "stranger", "stranger@example.com")
		ctx := ask(t, ts.Server, method, path, "")
		if strings.Contains(string(ctx.Response.Body()), "stranger") && !strings.Contains(path, "stranger") {
			t.Fatalf("%q shows the other app", path)
		}
	})
}

func FuzzEditBody(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"user_id":"u1","email":"a@b.c","gender":2}`, `{"a":1e400}`, `{"a":"2026-03-04T00:00:00Z","b":null,"c":[{}]}`, `{"attribute":"x","value":[]}`,
		`{"user_key":"k","custom_id":5}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"settings":{"geo":"x"},"closed":true}`, `{"name":"n","role":"read","expires":"x"}`, `{"a":[[[[`,
		`{"d":"0000-01-01T00:00:00+23:00","e":"9999-12-31T23:59:59-23:00"}`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		ts := newTestServer(t)
		ts.addProfile(1, 1, "ada", "a@b.c")
		for _, path := range []string{"/api/public/users/", "/api/public/users/update_or_create/", "/api/public/users/1001/set_attribute/", "/api/admin/apps/shop/keys/", "/api/admin/apps/shop/tokens/"} {
			ask(t, ts.Server, "POST", path, body)
		}
		ask(t, ts.Server, "PATCH", "/api/admin/apps/shop/", body)
		for _, e := range ts.store.edits {
			if !plainText(e.UserID) || !plainText(e.Key) {
				t.Fatalf("%q reached the store as an id", e.UserID)
			}
			for _, a := range e.Attributes {
				if !utf8.ValidString(a.Text) || len(a.Text) > max(textBytesMax, valueBytesMax) || len(a.Name) > nameBytesMax {
					t.Fatalf("%q = %q reached the store", a.Name, a.Text)
				}
				if a.Type == spoor.TypeJSON && !json.Valid([]byte(a.Text)) {
					t.Fatalf("%q is no JSON", a.Text)
				}
			}
		}
	})
}

func FuzzItems(f *testing.F) {
	f.Add([]byte(`{"a":1,"a":[2]}`))
	f.Add([]byte(`{"a":`))
	f.Add([]byte("{\"\xff\":1}"))
	f.Fuzz(func(t *testing.T, properties []byte) {
		var w jsonWriter
		w.begin('{')
		w.key("items")
		writeItems(&w, properties)
		w.raw("all", properties)
		w.text("text", string(properties))
		w.end('}')
		if !jsontext.Value(w.b).IsValid() || strings.ContainsAny(string(w.b), "\r\n") {
			t.Fatalf("%q became %q", properties, w.b)
		}
	})
}

func FuzzCursor(f *testing.F) {
	s, err := New(Options{Store: &fakeStore{}, Apps: &fakeApps{}, Retention: fakeRetention{}, Secret: []byte("x")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.seal(cursorUsers, 1, 7))
	f.Add("AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("")
	f.Fuzz(func(t *testing.T, cursor string) {
		position, err := s.open(cursorUsers, 1, cursor)
		if err == nil && s.seal(cursorUsers, 1, position)[:21] != cursor[:21] {
			t.Fatalf("%q was made up", cursor)
		}
		if _, err := s.open(cursorHistory, 1, s.seal(cursorUsers, 1, 7)); err == nil {
			t.Fatal("a cursor works for another list")
		}
		if _, err := s.open(cursorUsers, 2, s.seal(cursorUsers, 1, 7)); err == nil {
			t.Fatal("a cursor works for another app")
		}
	})
}

// Goal: whatever comes to /app, nothing is shown, done or opened without a
// session or a secret.
func FuzzApp(f *testing.F) {
	for _, body := range []string{"token=guess", "token=%00", "token=a&token=b", "token", "&&=%", "token=" + strings.Repeat("a", 600)} {
		f.Add("POST", "/login", "spoor_session=x", "application/x-www-form-urlencoded", "http://spoor.test", body)
	}
	f.Add("GET", "/api/public/users/", "spoor_session="+strings.Repeat("0", 64), "", "", "")
	f.Add("DELETE", "/api/public/users/1001/", "spoor_session=a; spoor_session=b", "", "null", "")
	f.Add("GET", "/../api/public/users/", "", "", "%", "")
	f.Add("POST", "/logout", "=;;spoor_session", "", "http://[::1", "")
	f.Fuzz(func(t *testing.T, method, uri, cookie, contentType, origin, body string) {
		ts := newTestServer(t, func(o *Options) { o.AdminTokenHash = "" })
		ts.store.tailEnds = true
		ts.addProfile(1, 1, "stranger", "stranger@example.com")
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod(method)
		ctx.Request.Header.SetRequestURI("/app" + uri)
		ctx.Request.Header.SetHost("spoor.test")
		ctx.Request.Header.Set("Cookie", cookie)
		ctx.Request.Header.SetContentType(contentType)
		ctx.Request.Header.Set("Origin", origin)
		ctx.Request.Header.Set("X-Spoor-App", "1")
		ctx.Request.SetBodyString(body)
		ts.AppHandler(nil)(&ctx)
		st := ts.Stats()
		if code := ctx.Response.StatusCode(); st.Panics != 0 || code >= 500 && code != 505 {
			t.Fatalf("%d, %+v", code, st)
		}
		if strings.Contains(body, "shop-") || strings.Contains(body, "other-") {
			return // a secret of the test's
		}
		if st.Sessions != 0 || len(ts.audited()) != 0 || strings.Contains(string(ctx.Response.Body()), "stranger") && !strings.Contains(uri, "stranger") {
			t.Fatalf("%+v, %s", st, ctx.Response.Body())
		}
	})
}
