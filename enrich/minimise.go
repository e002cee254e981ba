package enrich

import (
	"slices"
	"strings"

	"github.com/spoorhq/spoor"
)

// Limits of what is kept, in bytes.
const (
	urlMax   = 2048
	titleMax = 1024
	utmMax   = 256 // one value, decoded
)

// minimiser cuts the texts of one hit down to what may be kept.
type minimiser struct {
	allow   []string // query parameters the app keeps
	unpaid  bool     // ids of clicks on advertisements go
	removed int      // values replaced or credentials dropped
	led     *led     // where to note what led here; nil: nowhere
}

// minimise cuts url, referrer, title and, where it is written by a page
// rather than by the customer, name; language, time zone and resolution go if
// they look personal. Properties and attributes are the
// customer's and stay. It returns what the url says about how the visitor
// came.
func minimise(h *spoor.Hit, allow []string, clicks bool) led {
	var found led
	m := minimiser{allow: allow, unpaid: !clicks}
	h.Referrer = m.url(h.Referrer)
	m.led = &found
	h.URL = m.url(h.URL)
	m.led = nil
	h.Title = m.text(h.Title)
	if h.Kind == spoor.KindPage || h.Kind == spoor.KindScreen {
		h.Name = m.text(h.Name)
	}
	for _, short := range []*string{&h.Language, &h.TimeZone, &h.Resolution} {
		if !harmless(*short) && isPersonal(*short, true) {
			*short = ""
			m.removed++
		}
	}
	h.Redacted += m.removed
	return found
}

// text redacts word by word. A word that is an address is cut like one: a
// browser shows the address as the title of a page that has none.
func (m *minimiser) text(s string) string {
	s = cleanText(s, len(s))
	if harmless(s) {
		return cutText(s, titleMax)
	}
	var out []byte
	changed := false
	done := 0 // s[:done] is in out
	for start := 0; start < len(s); {
		end := len(s)
		if i := strings.IndexByte(s[start:], ' '); i >= 0 {
			end = start + i
		}
		if word := s[start:end]; word != "" {
			if kept := m.word(word); kept != word {
				out = append(append(out, s[done:start]...), kept...)
				done, changed = end, true
			}
		}
		start = end + 1
	}
	if changed { // a first word that went altogether leaves out empty
		s = string(append(out, s[done:]...))
	}
	return cutText(strings.TrimSpace(s), titleMax)
}

func (m *minimiser) word(w string) string {
	if strings.Contains(w, "://") || strings.ContainsAny(w, "?#") && strings.ContainsAny(w, "/=") {
		return m.url(w)
	}
	if isPersonal(w, false) {
		m.removed++
		return redacted
	}
	return w
}

// url cuts an address: credentials, most query parameters and fragments go,
// and what looks personal in the rest is redacted. It never fails: the parts
// are found by their delimiters alone, in whatever stands between them.
func (m *minimiser) url(raw string) string {
	s := cleanURL(raw)
	if isBare(s) {
		return cutURL(s)
	}
	rest, fragment, _ := strings.Cut(s, "#")
	rest, query, _ := strings.Cut(rest, "?")
	scheme := schemeOf(rest)
	if scheme != "" && (!strings.HasPrefix(rest[len(scheme):], "//") || strings.EqualFold(scheme, "file:")) {
		// data:, javascript:, mailto:, tel:, blob:, file:. What follows is
		// content, an address or a path with a user's name, not a page.
		return scheme
	}
	var scratch [512]byte
	out := scratch[:0]
	if host := rest[len(scheme):]; harmless(host) && strings.IndexByte(host, ':') < 0 {
		out = append(out, rest...)
	} else {
		out = m.location(append(out, scheme...), host)
	}
	out = m.query(out, query)
	if fragment = route(fragment); fragment != "" {
		out = m.path(append(out, '#'), fragment)
	}
	if n := len(out); n <= len(s) && string(out) == s[:n] { // spares the copy
		return cutURL(s[:n])
	}
	return cutURL(string(out))
}

// isBare is the quick test that most referrers and many pages pass: a web
// address of harmless host and path, with nothing behind them.
func isBare(s string) bool {
	host, ok := strings.CutPrefix(s, "https://")
	if !ok {
		host, ok = strings.CutPrefix(s, "http://")
	}
	return ok && harmless(host) && strings.IndexByte(host, ':') < 0
}

// cutURL shortens to urlMax bytes without splitting a character or an escape.
// The end is trimmed, for what stood behind a space may be gone.
func cutURL(s string) string {
	if len(s) > urlMax {
		s = cutText(s, urlMax)
		if i := strings.LastIndexByte(s, '%'); i >= 0 && i >= len(s)-2 {
			s = s[:i]
		}
	}
	return strings.TrimSpace(s)
}

// schemeOf is the scheme with its colon, or empty for a relative address and
// for host:port.
func schemeOf(s string) string {
	colon := strings.IndexByte(s, ':')
	if colon <= 0 || !isLetter(s[0]) {
		return ""
	}
	for i := 1; i < colon; i++ {
		if classes[s[i]]&classAlnum == 0 && s[i] != '+' && s[i] != '-' && s[i] != '.' {
			return ""
		}
	}
	port, _, _ := strings.Cut(s[colon+1:], "/")
	if isPort(port) {
		return ""
	}
	return s[:colon+1]
}

func isPort(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 5
}

// route is the part of a fragment that names a page of a single-page
// application (#/path, #!/path); all other fragments are dropped.
func route(fragment string) string {
	if !strings.HasPrefix(fragment, "/") && !strings.HasPrefix(fragment, "!/") {
		return ""
	}
	if i := strings.IndexAny(fragment, "?#"); i >= 0 {
		return fragment[:i]
	}
	return fragment
}

// location appends host and path.
func (m *minimiser) location(dst []byte, s string) []byte {
	if !strings.HasPrefix(s, "//") {
		return m.path(dst, s)
	}
	dst = append(dst, "//"...)
	s = s[2:]
	end := strings.IndexAny(s, `/\`) // browsers take a backslash for a slash
	if end < 0 {
		end = len(s)
	}
	return m.path(m.host(dst, s[:end]), s[end:])
}

// host appends host and port without credentials.
func (m *minimiser) host(dst []byte, s string) []byte {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		s = s[at+1:]
		m.removed++
	}
	colon := strings.LastIndexByte(s, ':')
	oddPort := colon > strings.LastIndexByte(s, ']') && colon+1 < len(s) && !isPort(s[colon+1:])
	if oddPort || isPersonal(s, true) { // user:password with its host lost, or worse
		m.removed++
		return append(dst, redacted...)
	}
	return append(dst, s...)
}

// path appends a path, judging segment by segment.
func (m *minimiser) path(dst []byte, s string) []byte {
	for {
		end := strings.IndexAny(s, `/\`)
		if end < 0 {
			return m.segment(dst, s)
		}
		dst = append(m.segment(dst, s[:end]), s[end])
		s = s[end+1:]
	}
}

// segment appends one segment. Parameters hidden in it (;jsessionid=…, or
// &name=value without a question mark) go the way of the query.
func (m *minimiser) segment(dst []byte, s string) []byte {
	if strings.IndexByte(s, '=') >= 0 {
		s = s[:strings.IndexAny(s, ";&=")]
	}
	if !harmless(s) && isPersonal(s, true) {
		m.removed++
		return append(dst, redacted...)
	}
	return append(dst, s...)
}

// parametersMax is how many query parameters are looked at; none of the
// others is kept.
const parametersMax = 100

// query appends the parameters that may be kept, with a question mark before.
func (m *minimiser) query(dst []byte, query string) []byte {
	mark := byte('?')
	for n := 0; query != "" && n < parametersMax; n++ {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		kept, ok := m.parameter(name, value)
		if !ok {
			continue
		}
		dst = append(append(dst, mark), name...)
		if len(pair) > len(name) {
			dst = append(append(dst, '='), kept...)
		}
		mark = '&'
	}
	return dst
}

// parameterNameMax bounds the names of kept parameters, in bytes.
const parameterNameMax = 40

// parameter decides on one parameter; ok is false if it is dropped.
func (m *minimiser) parameter(name, value string) (kept string, ok bool) {
	if name == "" || len(name) > parameterNameMax {
		return "", false
	}
	var small [parameterNameMax]byte
	lower := small[:0]
	for i := 0; i < len(name); i++ {
		lower = append(lower, name[i]|classes[name[i]]&classUpper<<5)
	}
	utm := strings.HasPrefix(string(lower), "utm_")
	click, known := clickID{}, false
	if !utm { // no click id begins so
		click, known = clickIDs[string(lower)]
	}
	if known {
		if m.led != nil {
			m.led.note(click.channel)
		}
		if !click.keep || m.unpaid {
			return "", false
		}
		if !isClickID(value) {
			m.removed++
			return redacted, true
		}
		return value, true
	}
	utm = utm && isPlainName(name)
	if !utm && !slices.Contains(m.allow, name) {
		return "", false
	}
	if !harmless(value) && isPersonal(value, true) {
		m.removed++
		value = redacted
	}
	if utm && m.led != nil {
		m.led.utm(string(lower), value)
	}
	return value, true
}

func isPlainName(s string) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&classAlnum == 0 && s[i] != '_' && s[i] != '-' {
			return false
		}
	}
	return !hasToken(s)
}
