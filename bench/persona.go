package main

import (
	"fmt"
	"math/rand/v2"
)

// persona is one browser, or one bot, as requests show it.
type persona struct {
	agent, address, language, screen, zone string
	brands, platform, mobile               string // client hints; empty where the browser sends none
	origin                                 string
	known                                  bool // sends a user id
}

// browser makes the user agents of one family. Chromium's are frozen but for
// the version; apps and phones of others name builds and models, so a site
// sees some hundreds.
type browser struct {
	weight           int
	screens          []string
	brand            string // of the client hints
	platform, mobile string
	agent            func(r *rand.Rand) string
}

const (
	desktopChrome = "Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36"
	windows       = "Windows NT 10.0; Win64; x64"
	macintosh     = "Macintosh; Intel Mac OS X 10_15_7"
)

var (
	desktopScreens = []string{"1920x1080", "1536x864", "1366x768", "1440x900", "2560x1440"}
	phoneScreens   = []string{"390x844", "393x873", "360x800", "412x915", "430x932"}
	tabletScreens  = []string{"820x1180", "810x1080", "800x1280"}
)

func chromeVersion(r *rand.Rand) int { return 120 + r.IntN(24) }

var browsers = []browser{
	{weight: 26, screens: desktopScreens, brand: "Google Chrome", platform: "Windows", mobile: "?0", agent: func(r *rand.Rand) string {
		return fmt.Sprintf(desktopChrome, windows, chromeVersion(r))
	}},
	{weight: 24, screens: phoneScreens, brand: "Google Chrome", platform: "Android", mobile: "?1", agent: func(r *rand.Rand) string {
		return fmt.Sprintf("Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Mobile Safari/537.36", chromeVersion(r))
	}},
	{weight: 20, screens: phoneScreens, agent: func(r *rand.Rand) string {
		major, minor := 16+r.IntN(3), r.IntN(7)
		return fmt.Sprintf("Mozilla/5.0 (iPhone; CPU iPhone OS %d_%d like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%d.%d Mobile/15E148 Safari/604.1", major, minor, major, minor)
	}},
	{weight: 7, screens: desktopScreens, agent: func(r *rand.Rand) string {
		return fmt.Sprintf("Mozilla/5.0 (%s) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%d.%d Safari/605.1.15", macintosh, 16+r.IntN(3), r.IntN(6))
	}},
	{weight: 6, screens: desktopScreens, brand: "Microsoft Edge", platform: "Windows", mobile: "?0", agent: func(r *rand.Rand) string {
		n := chromeVersion(r)
		return fmt.Sprintf(desktopChrome+" Edg/%d.0.0.0", windows, n, n)
	}},
	{weight: 5, screens: desktopScreens, agent: func(r *rand.Rand) string {
		n := 115 + r.IntN(25)
		return fmt.Sprintf("Mozilla/5.0 (%s; rv:%d.0) Gecko/20100101 Firefox/%d.0", windows, n, n)
	}},
	{weight: 4, screens: phoneScreens, brand: "Samsung Internet", platform: "Android", mobile: "?1", agent: func(r *rand.Rand) string {
		return fmt.Sprintf("Mozilla/5.0 (Linux; Android 14; SM-S9%d8B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/%d.0 Chrome/117.0.0.0 Mobile Safari/537.36", r.IntN(4), 22+r.IntN(5))
	}},
	{weight: 4, screens: phoneScreens, agent: func(r *rand.Rand) string {
		return fmt.Sprintf("Mozilla/5.0 (iPhone; CPU iPhone OS 17_%d like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21%c%d [FBAN/FBIOS;FBDV/iPhone15,%d;FBMD/iPhone;FBSN/iOS;FBSV/17.%d]",
			r.IntN(7), 'A'+rune(r.IntN(6)), 100+r.IntN(300), 2+r.IntN(4), r.IntN(7))
	}},
	{weight: 2, screens: tabletScreens, agent: func(r *rand.Rand) string {
		return fmt.Sprintf("Mozilla/5.0 (iPad; CPU OS %d_%d like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%d.0 Mobile/15E148 Safari/604.1", 15+r.IntN(3), r.IntN(7), 15+r.IntN(3))
	}},
	{weight: 2, screens: tabletScreens, brand: "Google Chrome", platform: "Android", mobile: "?0", agent: func(r *rand.Rand) string {
		return fmt.Sprintf("Mozilla/5.0 (Linux; Android 13; SM-X%d00) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", 2+r.IntN(7), chromeVersion(r))
	}},
}

var botAgents = []string{
	"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
	"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
	"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.6367.78 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
	"Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
	"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
	"Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
}

var locales = []struct{ language, zone string }{
	{"pl-PL", "Europe/Warsaw"}, {"pl", "Europe/Warsaw"}, {"de-DE", "Europe/Berlin"}, {"en-GB", "Europe/London"},
	{"en-US", "America/New_York"}, {"pt-PT", "Europe/Lisbon"}, {"en-IN", "Asia/Kolkata"}, {"uk-UA", "Europe/Kyiv"},
}

// origins are the customer's sites.
var origins = []string{"https://shop.example", "https://www.shop.example", "https://blog.shop.example"}

// newPersonas makes the same personas for the same salt: people with a user id
// first, then bots, then everybody else.
func newPersonas(salt uint64) []persona {
	r := rand.New(rand.NewPCG(salt, 'p'))
	all := make([]persona, personaCount)
	for i := range all {
		p := &all[i]
		place := locales[r.IntN(len(locales))]
		p.address, p.language, p.zone = address(r), place.language, place.zone
		p.origin, p.known = origins[r.IntN(len(origins))], isKnown(i)
		if isBot(i) {
			p.agent, p.screen = botAgents[r.IntN(len(botAgents))], "1024x768"
			continue
		}
		b := pickBrowser(r)
		p.agent, p.screen = b.agent(r), b.screens[r.IntN(len(b.screens))]
		p.platform, p.mobile = b.platform, b.mobile
		if b.brand != "" {
			n := chromeVersion(r)
			p.brands = fmt.Sprintf(`"Chromium";v="%d", "%s";v="%d", "Not-A.Brand";v="99"`, n, b.brand, n)
		}
	}
	return all
}

func pickBrowser(r *rand.Rand) browser {
	total := 0
	for _, b := range browsers {
		total += b.weight
	}
	n := r.IntN(total)
	for _, b := range browsers {
		if n -= b.weight; n < 0 {
			return b
		}
	}
	return browsers[0]
}

// address is one of those reserved for documentation (RFC 5737, RFC 3849): the
// embedded GeoIP database knows them, and they are nobody's.
func address(r *rand.Rand) string {
	switch n := r.IntN(10); {
	case n < 4:
		return fmt.Sprintf("203.0.113.%d", r.IntN(256))
	case n < 6:
		return fmt.Sprintf("198.51.100.%d", r.IntN(256))
	case n < 8:
		return fmt.Sprintf("192.0.2.%d", r.IntN(256))
	}
	return fmt.Sprintf("2001:db8:%x:%x::%x", r.IntN(1<<16), r.IntN(1<<16), 1+r.IntN(1<<16-1))
}
