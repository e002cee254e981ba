package enrich

import (
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spoorhq/spoor"
)

func TestMinimiseURL(t *testing.T) {
	f := func(in, want string, removed int) {
		t.Helper()
		m := minimiser{allow: []string{"page", "q"}}
		if got := m.url(in); got != want || m.removed != removed {
			t.Errorf("%q:\n got %q (%d removed)\nwant %q (%d removed)", in, got, m.removed, want, removed)
		}
	}
	// nothing to take away
	f("", "", 0)
	f("https://shop.example/a/b", "https://shop.example/a/b", 0)
	f("https://shop.example/blog/How-To-Build-A-House-In-2026-And-Live", "https://shop.example/blog/How-To-Build-A-House-In-2026-And-Live", 0)
	f("https://shop.example/order/123e4567-e89b-12d3-a456-426614174000", "https://shop.example/order/123e4567-e89b-12d3-a456-426614174000", 0)
	f("https://social.example/@jane/posts", "https://social.example/@jane/posts", 0)
	f("https://npm.example/pkg@1.2.3", "https://npm.example/pkg@1.2.3", 0)
	f("https://shop.example/zażółć/gęś", "https://shop.example/zażółć/gęś", 0)

	// the query
	f("https://shop.example/?email=a@b.c&token=x", "https://shop.example/", 0)
	f("https://shop.example/?utm_source=news&x=1&utm_campaign=May", "https://shop.example/?utm_source=news&utm_campaign=May", 0)
	f("https://shop.example/?page=2&Page=3&q=red+shoes", "https://shop.example/?page=2&q=red+shoes", 0)
	f("https://shop.example/?gclid=EAIaIQobChMI9_abc-DEF123&s=1", "https://shop.example/?gclid=EAIaIQobChMI9_abc-DEF123", 0)
	f("https://shop.example/?gclid=jane%40example.com", "https://shop.example/?gclid=(redacted)", 1)
	f("https://shop.example/?mc_eid=0123456789", "https://shop.example/", 0)
	f("?a=b", "", 0)

	// e-mail addresses in what is kept
	f("https://shop.example/u/jane@example.com/edit", "https://shop.example/u/(redacted)/edit", 1)
	f("https://shop.example/u/JANE%40EXAMPLE.COM", "https://shop.example/u/(redacted)", 1)
	f("https://shop.example/u/jane%2540example.com", "https://shop.example/u/(redacted)", 1)
	f("https://shop.example/u/j%61ne%252540example%2Ecom", "https://shop.example/u/(redacted)", 1)
	f("https://shop.example/?q=jane@example.com&page=1", "https://shop.example/?q=(redacted)&page=1", 1)
	f("https://shop.example/?utm_content=jane%2Bx%40example.com", "https://shop.example/?utm_content=(redacted)", 1)
	f("jane@example.com", "(redacted)", 1)
	f("https://shop.example/ja\nne@exam\tple.com", "https://shop.example/(redacted)", 1)

	// tokens in what is kept
	f("https://shop.example/r/0123456789abcdef0123456789ABCDEF", "https://shop.example/r/(redacted)", 1)
	f("https://shop.example/r/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "https://shop.example/r/(redacted)", 1)
	f("https://shop.example/r/aB3dE5fG7hI9jK1lM3nO5pQ7", "https://shop.example/r/(redacted)", 1)
	f("https://shop.example/r/aB3dE-5fG7h_I9jK1-lM3nO5pQ7", "https://shop.example/r/(redacted)", 1)
	f("https://shop.example/r/sk_live_4eC39HqLyjWDarjt", "https://shop.example/r/(redacted)", 1)
	f("https://shop.example/r/ghp_16C7e42F292c6912E7710c83", "https://shop.example/r/(redacted)", 1)
	f("https://shop.example/?q=0123456789abcdef0123456789abcdef", "https://shop.example/?q=(redacted)", 1)

	// parameters that are not in the query
	f("https://shop.example/p;jsessionid=AB12?x=1", "https://shop.example/p", 0)
	f("https://shop.example/p&token=abc", "https://shop.example/p", 0)
	f("https://shop.example/token=abc/x", "https://shop.example/token/x", 0)
	f("https://shop.example/p%3Ftoken%3Dabc", "https://shop.example/(redacted)", 1)
	f("https://shop.example/?q=https%3A%2F%2Fx.example%2F%3Ftoken%3Dabc", "https://shop.example/?q=(redacted)", 1)
	f("https://shop.example/?utm_source=a;token=abc", "https://shop.example/?utm_source=(redacted)", 1)

	// credentials and hosts
	f("https://jane:secret@shop.example/a", "https://shop.example/a", 1)
	f("https://jane:se#cret@shop.example/a", "https://(redacted)", 1)
	f("//jane@shop.example:8080/a", "//shop.example:8080/a", 1)
	f(`https://jane:x\@shop.example`, `https://(redacted)\@shop.example`, 1)
	f("https://jane%40example.com/a", "https://(redacted)/a", 1)
	f("http://[2001:db8::1]:8080/a?x=1", "http://[2001:db8::1]:8080/a", 0)

	// fragments
	f("https://app.example/#section", "https://app.example/", 0)
	f("https://app.example/#access_token=abc", "https://app.example/", 0)
	f("https://app.example/#/cart/7?token=x", "https://app.example/#/cart/7", 0)
	f("https://app.example/#!/u/jane@example.com", "https://app.example/#!/u/(redacted)", 1)
	f("https://app.example/?utm_source=a#/x=1", "https://app.example/?utm_source=a#/x", 0)

	// other addresses
	f("/cart?token=x", "/cart", 0)
	f("cart/list?token=x", "cart/list", 0)
	f("localhost:3000/cart?token=x", "localhost:3000/cart", 0)
	f("data:text/html,jane@example.com", "data:", 0)
	f("javascript:alert(1)", "javascript:", 0)
	f("java\nscript:alert(1)", "javascript:", 0)
	f("mailto:jane@example.com", "mailto:", 0)
	f("file:///home/jane/tax.html", "file:", 0)
	f("about:blank", "about:", 0)
	f("android-app://com.example.shop/", "android-app://com.example.shop/", 0)
	f("http://%zz/%?a=b", "http://%zz/%", 0)
	f("::::?a#b", "::::", 0)
	f("\xff\x00https://shop.example/\xfe", "https://shop.example/", 0)
}

func TestMinimiseText(t *testing.T) {
	f := func(in, want string, removed int) {
		t.Helper()
		var m minimiser
		if got := m.text(in); got != want || m.removed != removed {
			t.Errorf("%q:\n got %q (%d removed)\nwant %q (%d removed)", in, got, m.removed, want, removed)
		}
	}
	f("Red shoes: 50 % off? | Shop", "Red shoes: 50 % off? | Shop", 0)
	f("C# and F#: what now?", "C# and F#: what now?", 0)
	f("Inbox (3) - jane@example.com - Mail", "Inbox (3) - (redacted) - Mail", 1)
	f("Jane<JANE@EXAMPLE.COM>, hello", "(redacted) hello", 1)
	f("jane%40example.com", "(redacted)", 1)
	f("a\nb\x00c", "a bc", 0)
	f("https://shop.example/reset?token=abc", "https://shop.example/reset", 0)
	f("shop.example/reset?token=abc loading", "shop.example/reset loading", 0)
	f("key 0123456789abcdef0123456789abcdef end", "key (redacted) end", 1)
}

func TestShortTextsHoldNobody(t *testing.T) {
	h := spoor.Hit{Language: "zs1@b.example", TimeZone: "zs2%40b.example", Resolution: "zs3@b.example"}
	if minimise(&h, nil, true); h.Language != "" || h.TimeZone != "" || h.Resolution != "" || h.Redacted != 3 {
		t.Errorf("%q %q %q, %d redacted", h.Language, h.TimeZone, h.Resolution, h.Redacted)
	}
	h = spoor.Hit{Language: "zh-Hant-TW", TimeZone: "America/Argentina/Buenos_Aires", Resolution: "1440x900"}
	if minimise(&h, nil, true); h.Language != "zh-Hant-TW" || h.TimeZone != "America/Argentina/Buenos_Aires" || h.Resolution != "1440x900" || h.Redacted != 0 {
		t.Errorf("%q %q %q, %d redacted", h.Language, h.TimeZone, h.Resolution, h.Redacted)
	}
}

func TestLongTextsAreCut(t *testing.T) {
	var m minimiser
	for _, unit := range []string{"/a", "/%C5%BC", "/ż"} {
		got := m.url("https://shop.example" + strings.Repeat(unit, 3000))
		if len(got) > urlMax || len(got) < urlMax-8 || !utf8.ValidString(got) || strings.LastIndexByte(got, '%') >= len(got)-2 {
			t.Errorf("%q: %d bytes, ends in %q", unit, len(got), got[len(got)-6:])
		}
	}
	if got := m.text(strings.Repeat("ż ", 3000)); len(got) > titleMax || !utf8.ValidString(got) {
		t.Errorf("a title has %d bytes", len(got))
	}
}

// Goal: what is personal survives in no form, wherever it stands.
// Method: random addresses around an e-mail address or a secret parameter,
// encoded at random; the result, decoded fully, must not hold it.
func TestNothingPersonalSurvives(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	escape := func(s string) string {
		for range rng.IntN(4) {
			switch rng.IntN(3) {
			case 0:
				s = url.QueryEscape(s)
			case 1:
				s = strings.ReplaceAll(s, "@", "%40")
			case 2:
				s = strings.ReplaceAll(s, "%", "%25")
			}
		}
		return s
	}
	for range 50_000 {
		secret := []string{"jane.doe@example.com", "JANE+x@Sub.Example.CO.UK", "token=hunter2", "password=hunter2&x=1"}[rng.IntN(4)]
		places := []string{
			"https://h.example/a/" + escape(secret) + "/b?x=1",
			"https://h.example/a?" + escape(secret),
			"https://h.example/a?v=" + escape(secret),
			"https://h.example/a?q=" + escape(secret) + "&page=2",
			"https://h.example/a?utm_content=" + escape(secret),
			"https://h.example/a?gclid=" + escape(secret) + "#/x",
			"https://h.example/a#" + escape(secret),
			"https://h.example/a#/r/" + escape(secret),
			"https://h.example/a#!/r?" + escape(secret),
			"//h.example/" + escape(secret),
			escape(secret), "/" + escape(secret), "?" + escape(secret), "#" + escape(secret),
			"data:" + escape(secret), "app://" + escape(secret) + "/x",
		}
		in := places[rng.IntN(len(places))]
		h := spoor.Hit{Kind: spoor.KindPage, URL: in, Referrer: in, Title: "see " + in, Name: in}
		minimise(&h, []string{"q", "page"}, true)
		for i, out := range []string{h.URL, h.Referrer} {
			checkNothingPersonal(t, i, in, out, "jane.doe", "jane+x", "hunter2")
		}
		for i, out := range []string{h.Title, h.Name} {
			checkNothingPersonal(t, i+2, in, out, "jane.doe", "jane+x")
		}
	}
}

func checkNothingPersonal(t *testing.T, field int, in, out string, parts ...string) {
	t.Helper()
	plain := out
	for range 10 {
		plain = unescape(plain)
	}
	for _, part := range parts {
		if strings.Contains(strings.ToLower(plain), strings.ToLower(part)) {
			t.Fatalf("field %d: %q became %q, which holds %q", field, in, out, part)
		}
	}
}

// plainEmail is a second opinion: what anybody would call an address.
var plainEmail = regexp.MustCompile(`[a-zA-Z0-9]@[a-zA-Z0-9]+\.[a-zA-Z]`)

func FuzzMinimise(f *testing.F) {
	for _, s := range []string{
		"", "0 @[", "https://a.example/x?y=z#w", "https://u:p@a.example:1/x;y=z/@w?utm_source=a%40b.c&gclid=x#!/r?q",
		"%", "%25%25", "//", "//@", "://", "a:b@c", "?&&=&=#", "#/", `\\a\b`, "[", "http://[", "javascript:%0a", "\xff\xff@\xff.\xff",
		"x@y.z " + strings.Repeat("a", 3000), "https://a.example/?" + strings.Repeat("utm_a=b&", 300), "eyJ", strings.Repeat("%25", 100) + "40",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		h := spoor.Hit{Kind: spoor.KindPage, URL: in, Referrer: in, Title: in, Name: in}
		minimise(&h, []string{"q"}, true)
		for _, out := range []string{h.URL, h.Referrer, h.Title, h.Name} {
			if len(out) > urlMax || !utf8.ValidString(out) || strings.ContainsAny(out, "\x00\n\r\x1b") {
				t.Fatalf("%q became %q", in, out)
			}
			if len(in) < titleMax && (strings.Contains(out, "a@b.c") || plainEmail.MatchString(out)) {
				t.Fatalf("%q became %q, which holds an e-mail address", in, out)
			}
		}
		// Cutting once is cutting for good, but for a relative path that comes
		// to begin with //: that is read as a host the next time.
		if strings.HasPrefix(h.URL, "//") {
			return
		}
		again := minimiser{allow: []string{"q"}}
		if out := again.url(h.URL); len(h.URL) < urlMax-2 && out != h.URL {
			t.Fatalf("%q became %q and then %q", in, h.URL, out)
		}
	})
}
