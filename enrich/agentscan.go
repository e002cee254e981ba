package enrich

import (
	"cmp"
	"strings"
)

// agentScan is what one pass over the tokens of a user agent finds.
type agentScan struct {
	flags                          agentFlags
	os, browser, bot               string
	osRank, browserRank, botRank   uint8
	osNumber, appleNumber, version string // versions as they stand
	browserVersion                 string
	windows                        string // the number behind NT
	product                        string // the last versioned name that no table has
}

// agentFlags are traits of the device that single tokens prove.
type agentFlags uint16

const (
	flagMobile agentFlags = 1 << iota
	flagTablet
	flagTV
	flagDesktop
	flagAndroid
	flagSafari  // the token Safari, which nearly all browsers carry
	flagChrome  // the Chromium engine
	flagLibrary // the library of a server-side sender, which is no visitor
	flagWebView
	flagFrozen // the version of Android is made up
)

// scanAgent reads the user agent token by token. A token is a run without
// spaces, slashes, brackets, commas, colons and semicolons; the token behind a
// slash or a space is its version if it begins with a digit.
func scanAgent(ua string) *agentScan {
	var lowered [agentMax]byte
	low := lowered[:0]
	for i := 0; i < len(ua) && i < agentMax; i++ {
		low = append(low, ua[i]|classes[ua[i]]&classUpper<<5)
	}
	s := new(agentScan)
	var before []byte // the token before
	for i := 0; i < len(low); {
		if isSplit(low[i]) {
			i++
			continue
		}
		end := tokenEnd(low, i)
		token := low[i:end]
		number := ""
		if end+1 < len(low) && (low[end] == '/' || low[end] == ' ' || low[end] == ':') && isDigit(low[end+1]) {
			number = ua[end+1 : tokenEnd(low, end+1)]
		}
		s.take(token, before, ua[i:end], number, low[end:])
		before, i = token, end
	}
	s.settle()
	return s
}

func isSplit(b byte) bool {
	switch b {
	case ' ', '/', '(', ')', ';', ',', ':', '[', ']', '"':
		return true
	}
	return false
}

func tokenEnd(s []byte, i int) int {
	for i < len(s) && !isSplit(s[i]) {
		i++
	}
	return i
}

// take judges one token. Name is the token as it was written, number the
// version behind it or empty, rest what follows.
func (s *agentScan) take(token, before []byte, name, number string, rest []byte) {
	switch string(token) {
	case "nt":
		s.windows = number
	case "os", "x":
		if s.appleNumber == "" {
			s.appleNumber = number
		}
	case "version":
		s.version = number
	case "rv":
		if s.browser == "Internet Explorer" {
			s.browserVersion = number
		}
	case "nexus":
		if number == "7" || number == "9" || number == "10" {
			s.flags |= flagTablet
		}
	case "phone":
		if string(before) == "windows" {
			s.setOS("Windows Phone", 9, number)
			s.flags |= flagMobile
		}
	case "tablet":
		if !strings.HasPrefix(string(rest), " pc") { // Windows with a pen says so
			s.flags |= flagTablet
		}
	case "http", "https":
		if strings.HasPrefix(string(rest), "://") { // a visitor's browser links to nobody
			s.setBot(cmp.Or(s.product, "bot"), 1)
		}
	default:
		if t, ok := agentTokens[string(token)]; ok {
			s.apply(t, name, number)
		} else {
			s.guess(string(token), name, number)
		}
	}
}

func (s *agentScan) apply(t agentToken, name, number string) {
	s.flags |= t.flags
	if t.os != "" {
		s.setOS(t.os, t.rank, number)
	}
	if t.browser != "" && t.rank > s.browserRank {
		s.browser, s.browserRank, s.browserVersion = t.browser, t.rank, number
	}
	if t.bot {
		s.setBot(name, 2)
	}
}

func (s *agentScan) setOS(name string, rank uint8, number string) {
	if rank > s.osRank || rank == s.osRank && s.osNumber == "" {
		s.os, s.osRank, s.osNumber = name, rank, number
	}
}

func (s *agentScan) setBot(name string, rank uint8) {
	if rank > s.botRank {
		s.bot, s.botRank = name, rank
	}
}

// guess judges a token that is in no table by its shape.
func (s *agentScan) guess(token, name, number string) {
	switch {
	case isBotName(token):
		s.setBot(name, 2)
	case strings.HasPrefix(token, "ipad"): // iPad13,4
		s.apply(agentTokens["ipad"], name, "")
	case strings.HasPrefix(token, "iphone"):
		s.apply(agentTokens["iphone"], name, "")
	case hasAnyPrefix(token, "sm-t", "sm-x", "sm-p", "gt-p", "gt-n51", "gt-n80", "tb-", "tb3", "tb8", "mediapad"):
		s.flags |= flagTablet
	case strings.HasPrefix(name, "KF") && len(name) >= 4 && len(name) <= 8 && name == strings.ToUpper(name): // Kindle Fire
		s.flags |= flagTablet
	case strings.HasPrefix(name, "AFT") && len(name) >= 4 && len(name) <= 8: // Fire TV
		s.flags |= flagTV
	case number != "":
		s.product = name
	}
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// isBotName knows a crawler by what it calls itself. Cubot makes phones.
func isBotName(token string) bool {
	if i := strings.LastIndex(token, "bot"); i >= 0 && !strings.HasPrefix(token, "cubot") {
		rest := token[i+len("bot"):]
		if rest == "" || classes[rest[0]]&classLetter == 0 {
			return true
		}
	}
	return strings.Contains(token, "crawl") || strings.Contains(token, "spider") || strings.Contains(token, "scrap")
}

// settle decides what no single token can.
func (s *agentScan) settle() {
	apple := s.os == "iOS" || s.os == "iPadOS" || s.os == "macOS" || s.os == "tvOS"
	switch {
	case s.browser == "" && s.flags&flagSafari != 0 && s.flags&flagAndroid != 0:
		s.browser, s.browserVersion = "Android Browser", s.version
	case s.browser == "" && s.flags&flagSafari != 0 && apple:
		s.browser, s.browserVersion = "Safari", s.version
	case s.browser == "Chrome" && s.flags&flagWebView != 0:
		s.browser = "Android WebView"
	case strings.HasPrefix(s.browserVersion, "9.80"): // Opera/9.80 … Version/12.16
		s.browserVersion = s.version
	}
	if s.osNumber == "" && apple {
		s.osNumber = s.appleNumber
	}
}

// windowsVersions are the names of the numbers behind NT, as Microsoft gives
// them. 10.0 is sent by Windows 10 and 11; only client hints tell them apart.
var windowsVersions = map[string]string{
	"5.0": "2000", "5.1": "XP", "5.2": "XP", "6.0": "Vista", "6.1": "7", "6.2": "8", "6.3": "8.1", "10.0": "10",
}

// osVersion is empty where browsers send one frozen value for all versions.
func (s *agentScan) osVersion() string {
	switch {
	case s.os == "Windows":
		return windowsVersions[s.windows]
	case s.os == "macOS" && (strings.HasPrefix(s.osNumber, "10_15") || s.osNumber == "10.15"):
		return ""
	case s.os == "Android" && s.flags&flagFrozen != 0:
		return ""
	case s.os == "BlackBerry": // the number of a model
		return ""
	}
	return shortVersion(s.osNumber)
}

// device is the class that the flags add up to. An Android browser that does
// not say Mobile is on a tablet; an app that does not is on a phone.
func (s *agentScan) device() string {
	f := s.flags
	switch {
	case f&flagTV != 0:
		return deviceTV
	case f&flagTablet != 0:
		return deviceTablet
	case f&flagMobile != 0:
		return deviceMobile
	case f&flagAndroid != 0 && f&flagSafari != 0:
		return deviceTablet
	case f&flagAndroid != 0:
		return deviceMobile
	case f&flagDesktop != 0:
		return deviceDesktop
	}
	return ""
}
