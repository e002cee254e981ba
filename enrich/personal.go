package enrich

import "strings"

// redacted stands where a value was that looked like an e-mail address or a
// secret.
const redacted = "(redacted)"

// tokenMin is the length of the shortest token that isToken recognises. Text
// without an escape, an at sign and so long a run cannot be personal.
const tokenMin = 16

// harmless is the quick test that nearly all text passes: there is nothing to
// look for in it. It may be wrong only in saying no.
func harmless(s string) bool {
	run := 0
	for i := 0; i < len(s); i++ {
		c := classes[s[i]]
		if c&classHidden != 0 {
			return false
		}
		if c&(classAlnum|classJoin) == 0 {
			run = 0
		} else if run++; run >= tokenMin {
			return false
		}
	}
	return true
}

// isPersonal reports whether the text holds what looks like an e-mail address
// or a token, under any percent-encoding. With params it also reports text
// that carries parameters of its own (name=value), which could be anything.
func isPersonal(s string, params bool) bool {
	for range decodeDepth {
		if hasEmail(s) || hasToken(s) {
			return true
		}
		inner := unescape(s)
		if inner == s {
			return params && strings.Contains(strings.TrimRight(s, "="), "=")
		}
		s = inner
	}
	return true
}

// hasEmail looks for something@domain.name. It is generous: anything may stand
// before the at sign but the start or a slash, so that /@name stays, and the
// domain needs a label that begins with a letter, so that pkg@1.2.3 stays.
func hasEmail(s string) bool {
	for {
		at := strings.IndexByte(s, '@')
		if at < 0 {
			return false
		}
		local, domain := s[:at], s[at+1:]
		s = domain
		if local == "" || strings.HasSuffix(local, "/") {
			continue
		}
		if strings.HasPrefix(domain, "[") || hasDomain(domain) {
			return true
		}
	}
}

func hasDomain(s string) bool {
	for i := 0; i < len(s); i++ {
		b := s[i]
		switch {
		case b == '.':
			if i > 0 && i+1 < len(s) && (isLetter(s[i+1]) || s[i+1] >= 0x80) {
				return true
			}
		case classes[b]&classAlnum == 0 && b != '-' && b != '_' && b < 0x80:
			return false
		}
	}
	return false
}

// hasToken looks at each run of letters, digits and joining characters.
func hasToken(s string) bool {
	for start := 0; start < len(s); {
		end := start
		for end < len(s) && classes[s[end]]&(classAlnum|classJoin) != 0 {
			end++
		}
		if end-start >= tokenMin && isToken(s[start:end]) {
			return true
		}
		start = end + 1
	}
	return false
}

// secretPrefixes begin secrets of well-known services, as their documentation
// gives them: Stripe, GitHub, GitLab, Slack, AWS, Google, npm, OpenAI.
var secretPrefixes = []string{
	"sk_", "pk_", "rk_", "whsec_", "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
	"glpat-", "xoxb-", "xoxp-", "xoxa-", "AKIA", "ASIA", "AIza", "npm_",
}

// isToken judges one run of at least tokenMin characters. Tokens are:
//   - a JSON web token, or the beginning of one
//   - 32 or more hexadecimal digits in a row (UUIDs with dashes stay)
//   - 24 or more letters and digits in a row, with capitals, small letters and digits
//   - the same with joining characters between, if it switches between the
//     three as random text does; slugs such as Summer-Sale-2026 do not
//   - a known prefix of secrets before 12 or more characters with a digit
func isToken(run string) bool {
	if i := strings.Index(run, "eyJ"); i >= 0 && len(run)-i >= tokenMin {
		return true
	}
	var hex, piece, length, switches int
	var pieceKinds, kinds, last uint8
	for i := 0; i < len(run); i++ {
		c := classes[run[i]]
		if c&classAlnum == 0 {
			hex, piece, pieceKinds, last = 0, 0, 0, 0
			continue
		}
		if c&classHex != 0 {
			hex++
		} else {
			hex = 0
		}
		kind := c & classAlnum
		kinds |= kind
		pieceKinds |= kind
		piece++
		length++
		if last != 0 && kind != last {
			switches++
		}
		last = kind
		if hex >= 32 || piece >= 24 && pieceKinds == classAlnum {
			return true
		}
	}
	if length >= 24 && kinds == classAlnum && switches*5 >= length*2 {
		return true
	}
	return hasSecretPrefix(run)
}

func hasSecretPrefix(run string) bool {
	run = run[strings.LastIndexByte(strings.TrimRight(run, "="), '=')+1:]
	for _, p := range secretPrefixes {
		if rest, ok := strings.CutPrefix(run, p); ok && len(rest) >= 12 && strings.ContainsAny(rest, "0123456789") {
			return true
		}
	}
	return false
}
