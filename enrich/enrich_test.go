package enrich

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// kept is a sink that remembers what reached it and answers with the hits' ids.
type kept struct {
	hits  []spoor.Hit
	calls int
	err   error
}

func (k *kept) Write(hits []spoor.Hit) error {
	k.calls++
	k.hits = append(k.hits, hits...)
	for i := range hits {
		hits[i].Outcome = spoor.Stored
		fmt.Sscan(hits[i].ID, &hits[i].Public)
	}
	return k.err
}

type appTable map[spoor.AppID]*spoor.App

func (a appTable) App(id spoor.AppID) *spoor.App { return a[id] }

func newTestEnricher(t testing.TB, o Options) *Enricher {
	t.Helper()
	if o.Next == nil {
		o.Next = new(kept)
	}
	if o.Apps == nil {
		o.Apps = appTable{}
	}
	o.TempDir = t.TempDir()
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testHit() spoor.Hit {
	return spoor.Hit{
		App: 1, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: "7", Key: "abc",
		URL:        "https://shop.example/p/1?utm_source=news&utm_medium=email&email=jane@example.com",
		Referrer:   "https://www.google.com/search?q=jane@example.com",
		Title:      "Hello jane@example.com",
		Properties: []byte(`{"email":"jane@example.com"}`),
		IP:         netip.MustParseAddr("203.0.113.207"), UserAgent: uaWindows,
		Hints: spoor.Hints{Platform: "Windows", PlatformVersion: "15.0.0"},
	}
}

func TestWriteCompletesHits(t *testing.T) {
	next := new(kept)
	e := newTestEnricher(t, Options{Next: next})
	hits := []spoor.Hit{testHit()}
	if err := e.Write(hits); err != nil {
		t.Fatal(err)
	}
	h := next.hits[0]
	check := func(name string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	check("place", h.Place, spoor.Place{City: "Berlin", Region: "State of Berlin", Country: "DE"})
	check("address", h.IP, "203.0.113.0")
	check("agent", h.Agent, spoor.Agent{OS: "Windows", OSVersion: "11", Browser: "Chrome", BrowserVersion: "120", Device: "desktop"})
	check("campaign", h.Campaign, spoor.Campaign{Channel: "mail", Source: "news", Medium: "email"})
	check("url", h.URL, "https://shop.example/p/1?utm_source=news&utm_medium=email")
	check("referrer", h.Referrer, "https://www.google.com/search")
	check("title", h.Title, "Hello (redacted)")
	check("properties", string(h.Properties), `{"email":"jane@example.com"}`)
	check("redacted", h.Redacted, 1)
	check("hints", h.Hints, spoor.Hints{})
	check("outcome", hits[0].Outcome, spoor.Stored)
	check("bot", h.Bot, false)
	s := e.Stats()
	if s.Hits != 1 || s.Redactions != 1 || s.GeoLookups != 1 || s.GeoMisses != 0 || s.AgentLookups != 1 || s.GeoSource != "embedded" || s.GeoBuilt.IsZero() {
		t.Errorf("stats: %+v", s)
	}
}

func TestBotsAreMarkedAndKept(t *testing.T) {
	next := new(kept)
	e := newTestEnricher(t, Options{Next: next})
	h := testHit()
	h.UserAgent = "curl/8.4.0"
	if err := e.Write([]spoor.Hit{h}); err != nil {
		t.Fatal(err)
	}
	if got := next.hits[0]; !got.Bot || got.Agent.Device != deviceBot || e.Stats().Bots != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestAppSettings(t *testing.T) {
	f := func(ip, geo, addr, wantIP string, want spoor.Place) {
		t.Helper()
		app := &spoor.App{ID: 1, Settings: spoor.DefaultSettings("UTC")}
		app.Settings.IP, app.Settings.Geo = ip, geo
		next := new(kept)
		h := testHit()
		h.IP = netip.MustParseAddr(addr)
		if err := newTestEnricher(t, Options{Next: next, Apps: appTable{1: app}}).Write([]spoor.Hit{h}); err != nil {
			t.Fatal(err)
		}
		if got := next.hits[0]; got.IP.String() != wantIP || got.Place != want {
			t.Errorf("ip=%s geo=%s: got %v in %+v, want %s in %+v", ip, geo, got.IP, got.Place, wantIP, want)
		}
	}
	warsaw := spoor.Place{City: "Warsaw", Region: "Mazovia", Country: "PL"}
	f("cut", "city", "203.0.113.7", "203.0.113.0", warsaw)
	f("full", "city", "203.0.113.7", "203.0.113.7", warsaw)
	f("none", "city", "203.0.113.7", "invalid IP", warsaw)
	f("", "city", "203.0.113.7", "203.0.113.0", warsaw)
	f("cut", "region", "203.0.113.7", "203.0.113.0", spoor.Place{Region: "Mazovia", Country: "PL"})
	f("cut", "country", "203.0.113.7", "203.0.113.0", spoor.Place{Country: "PL"})
	f("cut", "none", "203.0.113.7", "203.0.113.0", spoor.Place{})
	f("cut", "city", "::ffff:203.0.113.7", "203.0.113.0", warsaw)
	f("cut", "city", "2001:db8:1:2:3::4%eth0", "2001:db8:1::", spoor.Place{City: "New York", Region: "New York", Country: "US"})
	f("full", "city", "10.1.2.3", "10.1.2.3", spoor.Place{})
}

// Goal: place, address and ids of clicks follow the app's settings and what was
// consented to.
func TestPrivacySettings(t *testing.T) {
	f := func(what string, set func(*spoor.Settings), consent spoor.Consent, place, address, click bool) {
		t.Helper()
		app := &spoor.App{ID: 1, Settings: spoor.DefaultSettings("UTC")}
		set(&app.Settings)
		next := new(kept)
		h := testHit()
		h.Consent, h.URL = consent, "https://shop.example/?gclid=abc123"
		if err := newTestEnricher(t, Options{Next: next, Apps: appTable{1: app}}).Write([]spoor.Hit{h}); err != nil {
			t.Fatal(err)
		}
		got := next.hits[0]
		if (got.Place.City != "") != place || got.IP.IsValid() != address || strings.Contains(got.URL, "gclid") != click {
			t.Errorf("%s: %+v %v %s", what, got.Place, got.IP, got.URL)
		}
		if got.Campaign.Channel != channelPaid {
			t.Errorf("%s: channel %q; how somebody came is no id", what, got.Campaign.Channel)
		}
	}
	yes, no, unsaid := spoor.ChoiceGranted, spoor.ChoiceDenied, spoor.ChoiceUnknown
	f("default", func(*spoor.Settings) {}, 0, true, true, true)
	optIn := func(s *spoor.Settings) { s.GeoOptIn = true }
	f("no opt-in", optIn, spoor.NewConsent(yes, yes, unsaid), false, true, true)
	f("opt-in denied", optIn, spoor.NewConsent(yes, yes, no), false, true, true)
	f("opt-in", optIn, spoor.NewConsent(unsaid, unsaid, yes), true, true, true)
	f("children", func(s *spoor.Settings) { s.Children = true }, spoor.NewConsent(yes, yes, yes), true, false, false)
	f("denied", func(*spoor.Settings) {}, spoor.NewConsent(yes, no, yes), true, true, false)
	consent := func(s *spoor.Settings) { s.Mode = spoor.ModeConsent }
	f("no marketing", consent, spoor.NewConsent(yes, unsaid, yes), true, true, false)
	f("marketing denied", consent, spoor.NewConsent(yes, no, yes), true, true, false)
	f("marketing", consent, spoor.NewConsent(yes, yes, yes), true, true, true)
	for _, door := range []spoor.Door{spoor.DoorWidget, spoor.DoorPixel, spoor.DoorClick} {
		h := testHit()
		if h.Door = door; mayAdvertise(&h, &defaults) {
			t.Errorf("%v keeps ids of clicks without consent to marketing", door)
		}
		if h.Consent = spoor.NewConsent(unsaid, yes, unsaid); !mayAdvertise(&h, &defaults) {
			t.Errorf("%v keeps no ids of clicks", door)
		}
	}
}

func TestErrorsOfNextPass(t *testing.T) {
	e := newTestEnricher(t, Options{Next: &kept{err: spoor.ErrBusy}})
	if err := e.Write([]spoor.Hit{testHit()}); !errors.Is(err, spoor.ErrBusy) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsNameAllProblems(t *testing.T) {
	_, err := New(Options{GeoIPPoll: 1, PlacesMax: -1, AgentsMax: 1})
	for _, name := range []string{"Next", "Apps", "GeoIPPoll", "PlacesMax", "AgentsMax"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// drop is the cheapest sink.
type drop struct{}

func (drop) Write([]spoor.Hit) error { return nil }

// BenchmarkWrite is one page view with warm caches: eight user agents, 4,096
// addresses, and a url whose query is cut.
func BenchmarkWrite(b *testing.B) {
	settings := spoor.DefaultSettings("UTC")
	e := newTestEnricher(b, Options{Next: drop{}, Apps: appTable{1: {ID: 1, Settings: settings}}})
	rows := readTable(b, "../testdata/useragents.tsv", 5)
	batch := make([]spoor.Hit, 4096)
	for i := range batch {
		h := testHit()
		h.Title, h.UserAgent = "Red shoes | Shop", rows[i%8][4]
		h.IP = netip.AddrFrom4([4]byte{198, 51, byte(100 + i>>8), byte(i)})
		batch[i] = h
	}
	work := make([]spoor.Hit, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		work[0] = batch[i%len(batch)]
		if err := e.Write(work); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWriteParallel is BenchmarkWrite from many connections at once, with
// the brands that Chrome sends.
func BenchmarkWriteParallel(b *testing.B) {
	e := newTestEnricher(b, Options{Next: drop{}, Apps: appTable{1: {ID: 1, Settings: spoor.DefaultSettings("UTC")}}})
	rows := readTable(b, "../testdata/useragents.tsv", 5)
	brands := []spoor.Brand{{Name: "Google Chrome", Version: "131"}, {Name: "Chromium", Version: "131"}, {Name: "Not_A Brand", Version: "24"}}
	batch := make([]spoor.Hit, 4096)
	for i := range batch {
		h := testHit()
		h.Title, h.UserAgent = "Red shoes | Shop", rows[i%8][4]
		h.Hints.Brands = brands
		h.IP = netip.AddrFrom4([4]byte{198, 51, byte(100 + i>>8), byte(i)})
		batch[i] = h
	}
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		work := make([]spoor.Hit, 1)
		for i := 0; pb.Next(); i++ {
			work[0] = batch[i*61%len(batch)]
			if err := e.Write(work); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkParseAgent is the cost of a user agent that was never seen.
func BenchmarkParseAgent(b *testing.B) {
	rows := readTable(b, "../testdata/useragents.tsv", 5)
	var t tally
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		parseAgent(rows[i%len(rows)][4], &t)
	}
}
