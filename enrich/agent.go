package enrich

import (
	"strings"

	"github.com/mssola/useragent"

	"github.com/spoorhq/spoor"
)

const (
	agentMax     = 512 // bytes of a user agent that are read and kept
	agentNameMax = 32  // bytes of a name taken from a user agent
)

// The device classes.
const (
	deviceMobile  = "mobile"
	deviceTablet  = "tablet"
	deviceDesktop = "desktop"
	deviceTV      = "tv"
	deviceBot     = "bot"
)

// agents answers what a user agent is, from memory if it can.
type agents struct {
	known *cache[string, knownAgent]
}

// knownAgent is all that follows from a user agent alone.
type knownAgent struct {
	text    string // as it is kept
	removed int    // values redacted in text
	agent   spoor.Agent
	bot     bool
}

func newAgents(max int) *agents { return &agents{known: newCache[string, knownAgent](max)} }

// describe fills Agent and Bot from user agent and hints, and cuts the user
// agent down to what is kept.
func (a *agents) describe(h *spoor.Hit, t *tally) {
	h.Agent, h.Bot = spoor.Agent{}, false
	if h.UserAgent != "" {
		k := a.lookup(h.UserAgent, t)
		h.UserAgent, h.Agent, h.Bot = k.text, k.agent, k.bot
		h.Redacted += k.removed
	}
	if !h.Bot {
		applyHints(h)
	}
}

func (a *agents) lookup(ua string, t *tally) knownAgent {
	t.agentLookups++
	if len(ua) > agentMax {
		ua = cleanText(ua, agentMax)
	}
	if k, ok := a.known.get(ua); ok {
		t.agentCacheHits++
		return k
	}
	ua = strings.Clone(ua) // it may be part of something larger
	k := parseAgent(ua, t)
	a.known.put(ua, k)
	return k
}

func parseAgent(ua string, t *tally) (k knownAgent) {
	text := cleanText(ua, agentMax)
	k.text, k.removed = redactEmails(text)
	var ok bool
	if k.agent, k.bot, ok = guarded(readAgent, text); !ok {
		t.agentPanics++
	}
	return k
}

// guarded keeps a panic from ending the process: the library behind readAgent
// indexes by hand. After one the agent is empty and ok false.
func guarded(read func(string) (spoor.Agent, bool), ua string) (a spoor.Agent, bot, ok bool) {
	defer func() {
		if recover() != nil {
			a, bot, ok = spoor.Agent{}, false, false
		}
	}()
	a, bot = read(ua)
	return a, bot, true
}

// redactEmails works by words. Only addresses are looked for: what looks like
// a token in a user agent is a build number.
func redactEmails(s string) (string, int) {
	if !hasEmail(s) {
		return s, 0
	}
	words, n := strings.Split(s, " "), 0
	for i, w := range words {
		if hasEmail(w) {
			words[i], n = redacted, n+1
		}
	}
	return cutText(strings.Join(words, " "), agentMax), n
}

// readAgent scans the tokens, and asks mssola/useragent for what they leave
// open. Versions are cut to two numbers: more tells browsers apart, not kinds.
func readAgent(ua string) (spoor.Agent, bool) {
	s := scanAgent(ua)
	if s.flags&flagLibrary != 0 {
		return spoor.Agent{}, false
	}
	if s.bot != "" {
		return spoor.Agent{Browser: plainName(s.bot), Device: deviceBot}, true
	}
	a := spoor.Agent{OS: s.os, OSVersion: s.osVersion(), Browser: s.browser, BrowserVersion: shortVersion(s.browserVersion)}
	if a.OS == "" || a.Browser == "" {
		base := useragent.New(ua)
		if base.Bot() {
			name, _ := base.Browser()
			return spoor.Agent{Browser: plainName(name), Device: deviceBot}, true
		}
		if a.OS == "" {
			info := base.OSInfo()
			a.OS, a.OSVersion = plainName(info.Name), shortVersion(info.Version)
		}
		if a.Browser == "" {
			name, version := base.Browser()
			a.Browser, a.BrowserVersion = plainName(name), shortVersion(version)
		}
		if base.Mobile() {
			s.flags |= flagMobile
		}
	}
	a.Device = s.device()
	return a, false
}

// plainName lets a name through that is short and made of letters, digits,
// spaces and -_.! only, and begins with a letter; anything else is empty.
// Names become rows of statistics, and come from outside.
func plainName(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > agentNameMax || !isLetter(s[0]) || hasToken(s) {
		return ""
	}
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&classAlnum == 0 && strings.IndexByte(" -_.!", s[i]) < 0 {
			return ""
		}
	}
	return s
}

// shortVersion keeps the first two numbers of a version, and drops a second
// one that is 0: 17_2_1 → 17.2, 120.0.6099.71 → 120.
func shortVersion(s string) string {
	major := leadingDigits(s)
	if major == 0 || major > 5 {
		return ""
	}
	if len(s) == major || s[major] != '.' && s[major] != '_' {
		return s[:major]
	}
	minor := leadingDigits(s[major+1:])
	rest := s[major+1 : major+1+minor]
	if minor == 0 || minor > 4 || strings.Trim(rest, "0") == "" {
		return s[:major]
	}
	return s[:major] + "." + rest
}

func leadingDigits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}
