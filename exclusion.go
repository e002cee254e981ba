package spoor

import (
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
)

// exclusions are the lists of the settings that turn hits away, parsed when
// they are first asked.
type exclusions struct {
	once     sync.Once
	networks []netip.Prefix
}

func (e *exclusions) of(s *Settings) []netip.Prefix {
	e.once.Do(func() {
		for _, text := range s.ExcludeAddresses {
			if p, err := ParseNetwork(text); err == nil {
				e.networks = append(e.networks, p)
			}
		}
	})
	return e.networks
}

// Exclusion names the setting that turns a hit away, such as "exclude_paths";
// empty if none does. It wants the hit as it was sent, with its whole address.
func (a *App) Exclusion(h *Hit) string {
	s := &a.Settings
	if len(s.ExcludeAddresses) > 0 {
		e := a.exclusions
		if e == nil {
			e = new(exclusions)
		}
		ip := h.IP.Unmap().WithZone("")
		for _, p := range e.of(s) {
			if p.Contains(ip) {
				return "exclude_addresses"
			}
		}
	}
	if len(s.Hosts)+len(s.ExcludePaths) > 0 && h.URL != "" {
		u, err := url.Parse(h.URL)
		if err != nil {
			u = &url.URL{} // of no host of ours
		}
		if len(s.Hosts) > 0 && !underAny(u.Hostname(), s.Hosts) {
			return "hosts"
		}
		for _, rule := range s.ExcludePaths {
			if excludes(rule, u.Path) || strings.HasPrefix(u.Fragment, "/") && excludes(rule, u.Fragment) {
				return "exclude_paths"
			}
		}
	}
	if len(s.ExcludeReferrers) > 0 && h.Referrer != "" {
		if u, err := url.Parse(h.Referrer); err == nil && underAny(u.Hostname(), s.ExcludeReferrers) {
			return "exclude_referrers"
		}
	}
	return ""
}

// excludes compares a path, or a route behind a #, as servers do: some slashes
// in a row are one, and /admin/* is /admin too.
func excludes(rule, at string) bool {
	at = path.Clean("/" + at)
	prefix, all := strings.CutSuffix(rule, "*")
	whole := strings.TrimSuffix(prefix, "/")
	return at == path.Clean(prefix) || all && (strings.HasPrefix(at, prefix) || at == whole)
}

func underAny(host string, domains []string) bool {
	for _, d := range domains {
		if Under(host, d) {
			return true
		}
	}
	return false
}

// Under reports whether a host name is a domain or lies below it.
func Under(host, domain string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	rest, ok := strings.CutSuffix(host, domain)
	return ok && domain != "" && (rest == "" || rest[len(rest)-1] == '.')
}
