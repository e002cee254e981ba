package query

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

func TestAdminLifeOfAnApp(t *testing.T) {
	ts := newTestServer(t)
	f := func(method, path, token, body string, status int, contains string) reply {
		t.Helper()
		r := ts.do(method, "/api/admin/apps/"+path, token, body)
		if r.status != status || !strings.Contains(r.body, contains) {
			t.Errorf("%s %s %s: got %d %s, want %d with %s", method, path, body, r.status, r.body, status, contains)
		}
		if strings.Contains(r.body, spoor.HashToken("shop-read")) {
			t.Errorf("%s %s shows the hash of a token", method, path)
		}
		return r
	}
	r := f("POST", "", "control", `{"name":"new-app","timezone":"Europe/Warsaw"}`, 201, `"name":"new-app"`)
	var app struct {
		Keys     []struct{ Key string }
		Settings map[string]string
	}
	json.Unmarshal([]byte(r.body), &app)
	if len(app.Keys) != 1 || len(app.Keys[0].Key) != 32 || app.Settings["timezone"] != "Europe/Warsaw" || len(app.Settings) != len(spoor.SettingsTable) {
		t.Errorf("created %+v", app)
	}
	f("POST", "", "control", `{"name":"new-app"}`, 400, `{"errors":{"name":["Another app has this name."]}}`)
	f("POST", "", "control", `{"name":"New App","timezone":"Mars"}`, 400, `"timezone":[`)
	f("POST", "", "control", `{"name":5}`, 400, `{"errors":{"name":["It has the wrong type."]}}`)
	f("GET", "", "control", "", 200, `"name":"other"`)
	f("GET", "none/", "control", "", 404, "")
	f("GET", "other/", "shop-admin", "", 404, `{"detail":"Not found."}`)

	f("PATCH", "shop/", "shop-admin", `{"settings":{"geo":"country","ip":"none"},"closed":true}`, 200, `"geo":"country"`)
	f("PATCH", "shop/", "shop-admin", `{"settings":{"geo":"city","requests_per_minute":"5"}}`, 400, `"requests_per_minute":["cannot set`)
	f("PATCH", "shop/", "shop-admin", `{"geo":"none"}`, 400, `"geo":["There is no such field here."]`)
	f("PATCH", "shop/", "shop-admin", `{"settings":{"requests_per_minute":2000,"email_identifies":true}}`, 200, `"requests_per_minute":"2000"`)
	f("PATCH", "shop/", "shop-admin", `{"settings":{"requests_per_minute":5}}`, 400, `at least 1000`)
	f("PATCH", "shop/", "shop-admin", `{"settings":{"geo":["city"]}}`, 400, `wrong type`)
	f("PATCH", "shop/", "shop-admin", `{"settings":{"nonsense":"1"}}`, 400,
		`{"errors":{"nonsense":["there is no setting \"nonsense\"; there are timezone, events_per_minute, requests_per_minute, origins, ip, geo, query_allow, trust_sender, email_identifies, window_days, idle_days, hits_days, class_days, statistics_days, plan, plan_ended, hold_until, bytes_gone_hours, bytes_gone_days, backup_days, purposes, recipients, webhook, audit_days, feed_days, feed_webhook, feed_topic, mode, sdk_mode, gpc, dnt, children, geo_opt_in, cookie_domain, errors, hosts, exclude_addresses, exclude_paths, exclude_referrers, properties, goals, statistics_rows"]}}`)
	f("GET", "shop/", "shop-admin", "", 200, `"closed":true`)
	f("GET", "shop/", "shop-admin", "", 200, `"geo":"country"`) // nothing of the refused change
	f("PATCH", "shop/", "shop-admin", `{"closed":false}`, 200, `"closed":false`)

	r = f("POST", "shop/keys/", "shop-admin", `{"label":"old pages","key":"pub_1234"}`, 201, `{"key":"pub_1234","label":"old pages","created":"2026-03-04T05:06:07.000000Z","expires":null}`)
	f("POST", "other/keys/", "control", `{"key":"pub_1234"}`, 400, "in use")
	f("POST", "shop/keys/", "shop-admin", `{"key":"<x>"}`, 400, "Use 4 to 128")
	f("POST", "shop/keys/", "shop-admin", ``, 201, `"label":""`)
	f("DELETE", "shop/keys/pub_1234/", "shop-admin", "", 204, "")
	f("DELETE", "shop/keys/pub_1234/", "shop-admin", "", 404, "")

	r = f("POST", "shop/tokens/", "shop-admin", `{"name":"report","role":"read","expires":"2027-01-01T00:00:00Z"}`, 201, `"expires":"2027-01-01T00:00:00.000000Z"`)
	var token struct{ Secret string }
	json.Unmarshal([]byte(r.body), &token)
	if len(token.Secret) != 43 {
		t.Fatalf("secret %q", token.Secret)
	}
	if r := ts.do("GET", "/api/public/users/", token.Secret, ""); r.status != 200 {
		t.Errorf("the new token: %d", r.status)
	}
	for _, a := range ts.store.apps.list[0].Tokens {
		if strings.Contains(a.Hash, token.Secret) {
			t.Error("the secret was stored")
		}
	}
	f("POST", "shop/tokens/", "shop-admin", `{"name":"report","role":"read"}`, 400, "Another token")
	f("POST", "shop/tokens/", "shop-admin", `{"name":"","role":"king","expires":"2020-01-01T00:00:00Z"}`, 400, `"role":["Use read`)
	f("DELETE", "shop/tokens/report/", "shop-admin", "", 204, "")
	if r := ts.do("GET", "/api/public/users/", token.Secret, ""); r.status != 401 {
		t.Errorf("the deleted token: %d", r.status)
	}

	f("DELETE", "shop/", "shop-admin", "", 400, "?confirm=")
	f("DELETE", "shop/?confirm=other", "shop-admin", "", 400, "?confirm=")
	f("DELETE", "shop/?confirm=shop", "shop-admin", "", 204, "")
	f("GET", "shop/", "control", "", 404, "")
	if r := ts.doVia(ts.local, "GET", "/api/admin/apps", "", ""); r.status != 200 || !strings.Contains(r.body, "new-app") {
		t.Errorf("the operator: %d %s", r.status, r.body)
	}
}

func TestAdminListsAreBounded(t *testing.T) {
	ts := newTestServer(t)
	ts.store.apps.list[0].Keys = make([]spoor.WriteKey, entriesMax)
	for range entriesMax - len(ts.store.apps.list[0].Tokens) {
		ts.store.apps.list[0].Tokens = append(ts.store.apps.list[0].Tokens, spoor.Token{})
	}
	for path, body := range map[string]string{"keys": `{}`, "tokens": `{"name":"n","role":"read"}`} {
		if r := ts.do("POST", "/api/admin/apps/shop/"+path, "shop-admin", body); r.status != 400 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

// Goal: a key can be written on a command line.
func TestSecretsAreNoFlags(t *testing.T) {
	c := &call{random: rand.Reader}
	for range 2000 { // one in 64 would be
		if s := c.secret(8); s[0] == '-' {
			t.Fatalf("the secret %s begins with a dash", s)
		}
	}
}

// Goal: an app with a webhook, of either kind, set when it is made or later, has
// a secret that signs; it stays when another webhook is set.
// Method: the secret that the admin API shows.
func TestWebhooksAreSigned(t *testing.T) {
	ts := newTestServer(t)
	f := func(method, path, body string) string {
		t.Helper()
		r := ts.do(method, "/api/admin/apps/"+path, "control", body)
		var app struct {
			Secret string `json:"webhook_secret"`
		}
		if err := json.Unmarshal([]byte(r.body), &app); err != nil || r.status > 201 {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		return app.Secret
	}
	if s := f("POST", "", `{"name":"one","settings":{"feed_webhook":"https://crm.example/"}}`); len(s) < 32 {
		t.Errorf("made with a webhook: %q", s)
	}
	if s := f("PATCH", "shop/", `{"settings":{"feed_days":"7"}}`); s != "" {
		t.Errorf("without a webhook: %q", s)
	}
	s := f("PATCH", "shop/", `{"settings":{"feed_webhook":"https://crm.example/"}}`)
	if again := f("PATCH", "shop/", `{"settings":{"webhook":"https://crm.example/"}}`); len(s) < 32 || again != s {
		t.Errorf("set later: %q, then %q", s, again)
	}
}
