package query

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: a link is signed with the app's secret over what it says, the secret is
// made once, and only good links are made.
func TestCreateLink(t *testing.T) {
	ts := newTestServer(t)
	app := ts.store.apps.list[0]
	app.Keys = []spoor.WriteKey{{Key: "old", Expires: 1}, {Key: "pub"}}
	ts.store.apps.list[1].Keys = []spoor.WriteKey{{Key: "other"}}
	f := func(body string, status int, hint string) (link url.Values, path string) {
		t.Helper()
		r := ts.do("POST", "/api/admin/apps/shop/links/", "shop-admin", body)
		if r.status != status || !strings.Contains(r.body, hint) {
			t.Fatalf("%s: %d %s", body, r.status, r.body)
		}
		var out struct{ Path string }
		json.Unmarshal([]byte(r.body), &out)
		path, query, _ := strings.Cut(out.Path, "?")
		link, _ = url.ParseQuery(query)
		return link, path
	}
	q, path := f(`{"to":"https://shop.example/sale?a=1&b=2","profile":"8Uh7Fp9wMj5l"}`, 201, `"key":"pub"`)
	secret := ts.store.apps.list[0].LinkSecret
	expires := testNow.AddDate(0, 0, linkDays).Unix()
	want := spoor.Link{Key: "pub", Target: "https://shop.example/sale?a=1&b=2", Profile: "8Uh7Fp9wMj5l", Expires: expires}
	if path != "/c" || q.Get("x") != strconv.FormatInt(expires, 10) || q.Get("u") != want.Target || q.Get("p") != want.Profile || !want.Signed(secret, q.Get("s")) {
		t.Errorf("%s %v", path, q)
	}
	q, path = f(`{"profile":"8Uh7Fp9wMj5l","expires":"`+testNow.Add(time.Hour).UTC().Format(time.RFC3339)+`"}`, 201, "")
	if path != "/o" || q.Has("u") || ts.store.apps.list[0].LinkSecret != secret || len(secret) != 43 {
		t.Errorf("%s %v %q", path, q, secret)
	}
	f(`{"to":"javascript:alert(1)"}`, 400, `"to":["Give an address`)
	f(`{"to":"https://user@shop.example/"}`, 400, `"to":["Give an address`)
	f(`{}`, 400, `"profile":["Give the key`)
	f(`{"to":"https://shop.example/","key":"other"}`, 400, `"key":["Give a write key`)
	f(`{"to":"https://shop.example/","expires":"2020-01-01T00:00:00Z"}`, 400, `"expires":[`)
}

// Goal: the signature is the documented one, computed by hand here, and covers
// every field.
func TestLinkSignature(t *testing.T) {
	link := spoor.Link{Key: "KEY", Target: "https://shop.example/", Profile: "8Uh7Fp9wMj5l", Expires: 1800000000}
	// printf 'KEY\nhttps://shop.example/\n8Uh7Fp9wMj5l\n1800000000' | openssl dgst -sha256 -hmac secret
	const want = "4f2082c9f8166184caacc134c3562871a1b388f298852c39b3ca93d8613bd564"
	if got := link.Sign("secret"); got != want || !link.Signed("secret", want) {
		t.Errorf("got %s", got)
	}
	for what, change := range map[string]func(*spoor.Link){
		"key":     func(l *spoor.Link) { l.Key = "KEZ" },
		"target":  func(l *spoor.Link) { l.Target = "https://evil.example/" },
		"profile": func(l *spoor.Link) { l.Profile = "other" },
		"expiry":  func(l *spoor.Link) { l.Expires++ },
		"place":   func(l *spoor.Link) { l.Target, l.Profile = l.Target+"\n"+l.Profile, "" },
	} {
		other := link
		if change(&other); other.Signed("secret", want) {
			t.Errorf("another %s passes", what)
		}
	}
	if link.Signed("", link.Sign("")) {
		t.Error("an app without a secret has signed")
	}
}
