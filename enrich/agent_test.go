package enrich

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spoorhq/spoor"
)

// Goal: the tokens and the library behind them know what visitors really use.
// Method: every line of the table; a column that is wrong names its line.
func TestUserAgentTable(t *testing.T) {
	rows := readTable(t, "../testdata/useragents.tsv", 5)
	if len(rows) < 150 {
		t.Fatalf("the table has %d lines, want 150 or more", len(rows))
	}
	wrong := [4]int{}
	for _, row := range rows {
		k := parseAgent(row[4], new(tally))
		bot := ""
		if k.bot {
			bot = "bot"
		}
		want := [4]string{row[0], row[1], row[2], strings.TrimPrefix(row[3], "-")}
		got := [4]string{joined(k.agent.OS, k.agent.OSVersion), joined(k.agent.Browser, k.agent.BrowserVersion), k.agent.Device, bot}
		for i := range want {
			if got[i] != want[i] {
				wrong[i]++
				t.Errorf("%s\n\tgot %q, want %q", row[4], got[i], want[i])
			}
		}
	}
	for i, name := range [...]string{"os", "browser", "device", "bot"} {
		t.Logf("%-7s %5.1f %% of %d", name, 100*float64(len(rows)-wrong[i])/float64(len(rows)), len(rows))
	}
}

func joined(name, version string) string { return strings.TrimSpace(name + " " + version) }

const (
	uaWindows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
	uaMac     = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Safari/605.1.15"
	uaAndroid = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36"
	uaFold    = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
)

func TestHintsCorrectTheUserAgent(t *testing.T) {
	f := func(ua string, hints spoor.Hints, want spoor.Agent) {
		t.Helper()
		h := spoor.Hit{UserAgent: ua, Hints: hints}
		newAgents(64).describe(&h, new(tally))
		if h.Agent != want {
			t.Errorf("got %+v, want %+v", h.Agent, want)
		}
	}
	grease := spoor.Brand{Name: "Not_A Brand", Version: "8.0.0.0"}
	chromium := spoor.Brand{Name: "Chromium", Version: "120.0.6099.71"}
	chrome := spoor.Brand{Name: "Google Chrome", Version: "120.0.6099.71"}
	brands := []spoor.Brand{grease, chromium, chrome}

	// Windows
	windows := func(version string) spoor.Hints {
		return spoor.Hints{Brands: brands, Platform: "Windows", PlatformVersion: version, Mobile: spoor.ChoiceDenied}
	}
	f(uaWindows, windows("15.0.0"), spoor.Agent{OS: "Windows", OSVersion: "11", Browser: "Chrome", BrowserVersion: "120", Device: "desktop"})
	f(uaWindows, windows("13.0.0"), spoor.Agent{OS: "Windows", OSVersion: "11", Browser: "Chrome", BrowserVersion: "120", Device: "desktop"})
	f(uaWindows, windows("10.0.0"), spoor.Agent{OS: "Windows", OSVersion: "10", Browser: "Chrome", BrowserVersion: "120", Device: "desktop"})
	f(uaWindows, windows("0.3.0"), spoor.Agent{OS: "Windows", OSVersion: "10", Browser: "Chrome", BrowserVersion: "120", Device: "desktop"})

	// frozen versions
	f(uaAndroid, spoor.Hints{Brands: brands, Platform: "Android", PlatformVersion: "14.0.0", Model: "Pixel 8", Mobile: spoor.ChoiceGranted},
		spoor.Agent{OS: "Android", OSVersion: "14", Browser: "Chrome", BrowserVersion: "120", Device: "mobile"})
	f(uaMac, spoor.Hints{Platform: "macOS", PlatformVersion: "14.2.1"},
		spoor.Agent{OS: "macOS", OSVersion: "14.2", Browser: "Safari", BrowserVersion: "17.2", Device: "desktop"})

	// named brands
	f(uaWindows, spoor.Hints{Brands: []spoor.Brand{chromium, {Name: "Brave", Version: "120"}, grease}},
		spoor.Agent{OS: "Windows", OSVersion: "10", Browser: "Brave", BrowserVersion: "120", Device: "desktop"})
	f(uaWindows+" OPR/106.0.0.0", spoor.Hints{Brands: []spoor.Brand{chromium, grease}},
		spoor.Agent{OS: "Windows", OSVersion: "10", Browser: "Opera", BrowserVersion: "106", Device: "desktop"})
	f("", spoor.Hints{Brands: []spoor.Brand{chromium, {Name: "(Not(A:Brand", Version: "99"}}, Platform: "Linux", PlatformVersion: "6.5.0"},
		spoor.Agent{OS: "Linux", Browser: "Chromium", BrowserVersion: "120", Device: "desktop"})
	f(uaWindows, spoor.Hints{Brands: []spoor.Brand{{Name: "<script>alert(1)</script>", Version: "1"}}},
		spoor.Agent{OS: "Windows", OSVersion: "10", Browser: "Chrome", BrowserVersion: "120", Device: "desktop"})
	f(uaWindows, spoor.Hints{Brands: []spoor.Brand{{Name: "HeadlessChrome", Version: "120"}}},
		spoor.Agent{Browser: "Headless Chrome", Device: "bot"})

	// iPads and tablets
	f(uaMac, spoor.Hints{TouchPoints: 5}, spoor.Agent{OS: "iPadOS", Browser: "Safari", BrowserVersion: "17.2", Device: "tablet"})
	f(uaMac, spoor.Hints{TouchPoints: 1}, spoor.Agent{OS: "macOS", Browser: "Safari", BrowserVersion: "17.2", Device: "desktop"})
	f(uaFold, spoor.Hints{Platform: "Android", Mobile: spoor.ChoiceDenied, Model: "SM-X910"},
		spoor.Agent{OS: "Android", Browser: "Chrome", BrowserVersion: "120", Device: "tablet"})
	f(uaAndroid, spoor.Hints{Platform: "Android", Mobile: spoor.ChoiceGranted, Model: "SM-T870"},
		spoor.Agent{OS: "Android", Browser: "Chrome", BrowserVersion: "120", Device: "tablet"})
}

func TestUserAgentIsCleaned(t *testing.T) {
	f := func(ua, want string) {
		t.Helper()
		k := parseAgent(ua, new(tally))
		if k.text != want {
			t.Errorf("got %q, want %q", k.text, want)
		}
	}
	f("Foo/1.0\x00 \x1b[31m(x)", "Foo/1.0 [31m(x)")
	f("Foo/1.0 \xff\xfe bar", "Foo/1.0  bar")
	f("Foo/1.0 (jane@example.com) bar", "Foo/1.0 (redacted) bar")
	f("Foo/1.0\r\nX: y", "Foo/1.0  X: y")
	f(strings.Repeat("ż", 400), strings.Repeat("ż", 256))
}

func TestPanicLeavesTheAgentEmpty(t *testing.T) {
	_, _, ok := guarded(func(ua string) (spoor.Agent, bool) { return spoor.Agent{OS: ua[9:]}, true }, "short")
	if ok {
		t.Error("a panic was not noticed")
	}
	if a, bot, ok := guarded(readAgent, uaMac); !ok || bot || a.OS != "macOS" {
		t.Errorf("got %+v, %v, %v", a, bot, ok)
	}
}

// Goal: no user agent is remembered beyond the limit, nor costs a parse twice.
func TestAgentsAreBounded(t *testing.T) {
	a, tl := newAgents(64), new(tally)
	for i := range 10_000 {
		h := spoor.Hit{UserAgent: "Thing/" + strings.Repeat("1", i%600)}
		a.describe(&h, tl)
	}
	if n := a.known.len(); n > 2*64 {
		t.Errorf("%d user agents are remembered, want at most 128", n)
	}
	h := spoor.Hit{UserAgent: uaMac}
	a.describe(&h, tl)
	before := tl.agentCacheHits
	h = spoor.Hit{UserAgent: uaMac}
	if a.describe(&h, tl); tl.agentCacheHits != before+1 {
		t.Error("the second look at a user agent was no cache hit")
	}
}

func FuzzUserAgent(f *testing.F) {
	for _, row := range readTable(f, "../testdata/useragents.tsv", 5) {
		f.Add(row[4], "Brand", "13.0")
	}
	// Inputs on which hand-made indexing has failed elsewhere.
	for _, s := range []string{"", "(", "Mozilla/5.0 (", "Mozilla AppleWebKit", "a b c d (", "Mozilla/5.0 () AppleWebKit/1 ()", "[", "Symbian ()", "Opera", "Mozilla/5.0 (;;;;) Gecko/1 x y"} {
		f.Add(s, "", "")
	}
	f.Fuzz(func(t *testing.T, ua, brand, version string) {
		h := spoor.Hit{UserAgent: ua, Hints: spoor.Hints{
			Brands: []spoor.Brand{{Name: brand, Version: version}}, Platform: brand, PlatformVersion: version, Model: ua}}
		newAgents(64).describe(&h, new(tally))
		if len(h.UserAgent) > agentMax || !utf8.ValidString(h.UserAgent) || hasEmail(h.UserAgent) {
			t.Fatalf("kept %q", h.UserAgent)
		}
		for _, s := range []string{h.Agent.Browser, h.Agent.BrowserVersion, h.Agent.OS, h.Agent.OSVersion} {
			if len(s) > agentNameMax || s != plainName(s) && s != shortVersion(s) && windowsNames[s] == "" {
				t.Fatalf("%q is no plain name: %+v", s, h.Agent)
			}
		}
	})
}

var windowsNames = map[string]string{"8.1": "8.1", "XP": "XP"}

func TestAppendLower(t *testing.T) {
	for _, s := range []string{"", "Google Chrome", "not;a@[`{BRAND", "Ünïcode KÄSE", "\u212aelvin", "bad\xffUTF8"} {
		if got, want := string(appendLower([]byte("x"), s)), "x"+strings.ToLower(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}
