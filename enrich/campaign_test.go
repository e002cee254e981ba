package enrich

import (
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

func TestChannel(t *testing.T) {
	e := newTestEnricher(t, Options{})
	f := func(url, referrer, want string) {
		t.Helper()
		h := spoor.Hit{Kind: spoor.KindPage, URL: url, Referrer: referrer}
		led := minimise(&h, nil, true)
		if got := e.campaign(&h, led).Channel; got != want {
			t.Errorf("%q from %q: got %q, want %q", url, referrer, got, want)
		}
	}
	const here = "https://www.shop.co.uk/a"
	f(here, "", "direct")
	f("", "", "direct")
	f(here, "about:blank", "direct")

	// the same owner
	f(here, "https://www.shop.co.uk/b", "internal")
	f(here, "https://WWW.SHOP.CO.UK:443/b", "internal")
	f(here, "https://blog.shop.co.uk/", "internal")
	f(here, "/b", "internal")
	f(here, "https://other.co.uk/", "referral")
	f("https://me.github.io/", "https://you.github.io/", "referral")
	f("http://localhost:3000/", "http://localhost:3001/", "internal")

	// search
	f(here, "https://www.google.co.uk/", "search")
	f(here, "https://google.com/", "search")
	f(here, "android-app://com.google.android.googlequicksearchbox/", "search")
	f(here, "https://duckduckgo.com/", "search")
	f(here, "https://yandex.ru/search/?text=x", "search")
	f(here, "https://search.brave.com/", "search")
	f(here, "https://docs.google.com/document/1", "referral")
	f(here, "https://google.evil.example/", "referral")
	f(here, "https://notgoogle.com/", "referral")

	// social
	f(here, "https://l.facebook.com/l.php?u=x", "social")
	f(here, "https://t.co/abc", "social")
	f(here, "https://x.com/", "social")
	f(here, "https://x.org/", "referral")
	f(here+"?fbclid=IwAR0abc", "", "social")
	f(here+"?utm_source=facebook", "", "social")
	f(here+"?utm_medium=social&utm_source=x", "", "social")

	// mail
	f(here, "https://mail.google.com/", "mail")
	f(here, "https://poczta.onet.pl/", "mail")
	f(here+"?utm_medium=Email&utm_source=may", "https://www.google.com/", "mail")
	f(here+"?utm_source=newsletter", "", "mail")
	f(here+"?mc_eid=abc", "", "mail")

	// paid
	f(here+"?gclid=abc", "https://www.google.com/", "paid")
	f(here+"?utm_medium=cpc&utm_source=google", "", "paid")
	f(here+"?utm_medium=paid_social&fbclid=x", "", "paid")

	// named by the link
	f(here+"?utm_source=partner42&utm_campaign=x", "https://www.google.com/", "campaign")
	f(here+"?utm_medium=affiliate&utm_source=x", "", "referral")
	f(here+"?utm_medium=organic&utm_source=google", "", "search")
}

func TestCampaignFields(t *testing.T) {
	e := newTestEnricher(t, Options{})
	h := spoor.Hit{Kind: spoor.KindPage, URL: "https://shop.example/?utm_source=May+news&utm_medium=email&UTM_Campaign=Sale%202026" +
		"&utm_term=shoes&utm_content=jane%40example.com&utm_source=second&token=x"}
	got := e.campaign(&h, minimise(&h, nil, true))
	want := spoor.Campaign{Channel: "mail", Source: "May news", Medium: "email", Name: "Sale 2026", Term: "shoes", Content: redacted}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if h.Redacted != 1 {
		t.Errorf("%d values redacted, want 1", h.Redacted)
	}

	// A server's event without addresses was led by nothing.
	h = spoor.Hit{Kind: spoor.KindServerEvent}
	if got := e.campaign(&h, minimise(&h, nil, true)); got != (spoor.Campaign{}) {
		t.Errorf("got %+v, want nothing", got)
	}
	h = spoor.Hit{Kind: spoor.KindMailClick, URL: "https://shop.example/"}
	if got := e.campaign(&h, minimise(&h, nil, true)).Channel; got != channelMail {
		t.Errorf("got %q, want mail", got)
	}
}

// Goal: the tables use only channels that exist.
func TestChannelTables(t *testing.T) {
	known := map[string]bool{"": true, channelSearch: true, channelSocial: true, channelMail: true, channelPaid: true, channelReferral: true}
	for name, click := range clickIDs {
		if !known[click.channel] || len(name) > parameterNameMax {
			t.Errorf("click id %q: channel %q", name, click.channel)
		}
	}
	for _, table := range []map[string]string{media, labels, hosts} {
		for name, channel := range table {
			if !known[channel] || channel == "" {
				t.Errorf("%q: channel %q", name, channel)
			}
		}
	}
	for label := range onlyUnder {
		if labels[label] == "" {
			t.Errorf("%q is narrowed but not known", label)
		}
	}
}

// utm_ parameters are not looked up among the click ids.
func TestNoClickIDBeginsAsUTM(t *testing.T) {
	for name := range clickIDs {
		if strings.HasPrefix(name, "utm_") {
			t.Errorf("%s would never be found", name)
		}
	}
}
