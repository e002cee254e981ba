package enrich

import (
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/spoorhq/spoor"
)

// sitesMax is how many hosts are remembered.
const sitesMax = 4096

// site is what is known of a host.
type site struct {
	domain  string // what one owner registered: shop.example.co.uk → example.co.uk
	channel string // search, social, mail or referral
}

// labels tells the channel of a site by its domain without the public suffix,
// so that google stands for google.com and google.co.uk.
//
// Origin: written for spoor from the referrers these services send; not copied
// from any list. Search engines and networks with a world or national
// audience, including those of Central Europe and India.
var labels = map[string]string{
	"google": channelSearch, "bing": channelSearch, "yahoo": channelSearch, "duckduckgo": channelSearch,
	"ecosia": channelSearch, "qwant": channelSearch, "startpage": channelSearch, "yandex": channelSearch,
	"ya": channelSearch, "baidu": channelSearch, "sogou": channelSearch, "naver": channelSearch,
	"daum": channelSearch, "seznam": channelSearch, "kagi": channelSearch, "ask": channelSearch,
	"aol": channelSearch, "mojeek": channelSearch, "swisscows": channelSearch, "presearch": channelSearch,
	"petalsearch": channelSearch, "lycos": channelSearch, "metager": channelSearch, "dogpile": channelSearch,

	"facebook": channelSocial, "fb": channelSocial, "messenger": channelSocial, "instagram": channelSocial,
	"threads": channelSocial, "twitter": channelSocial, "x": channelSocial, "linkedin": channelSocial,
	"lnkd": channelSocial, "pinterest": channelSocial, "pin": channelSocial, "reddit": channelSocial,
	"tiktok": channelSocial, "youtube": channelSocial, "youtu": channelSocial, "vimeo": channelSocial,
	"snapchat": channelSocial, "telegram": channelSocial, "whatsapp": channelSocial, "vk": channelSocial,
	"ok": channelSocial, "weibo": channelSocial, "quora": channelSocial, "tumblr": channelSocial,
	"discord": channelSocial, "mastodon": channelSocial, "bsky": channelSocial, "twitch": channelSocial,
	"wykop": channelSocial, "xing": channelSocial, "ycombinator": channelSocial, "sharechat": channelSocial,
	"medium": channelSocial,
}

// hosts are whole hosts, and Android packages, that differ from their label or
// whose label says nothing.
//
// Origin: as of labels.
var hosts = map[string]string{
	"mail.google.com": channelMail, "com.google.android.gm": channelMail,
	"outlook.live.com": channelMail, "outlook.office.com": channelMail, "outlook.office365.com": channelMail,
	"mail.yahoo.com": channelMail, "mail.yandex.ru": channelMail, "mail.yandex.com": channelMail,
	"mail.proton.me": channelMail, "mail.aol.com": channelMail, "e.mail.ru": channelMail,
	"poczta.onet.pl": channelMail, "poczta.wp.pl": channelMail, "poczta.o2.pl": channelMail,
	"poczta.interia.pl": channelMail, "navigator.gmx.net": channelMail, "webmail.free.fr": channelMail,

	"search.brave.com": channelSearch, "www.so.com": channelSearch, "go.mail.ru": channelSearch,
	"com.google.android.googlequicksearchbox": channelSearch,

	"t.co": channelSocial, "t.me": channelSocial, "wa.me": channelSocial, "com.facebook.katana": channelSocial,
	"org.telegram.messenger": channelSocial, "com.linkedin.android": channelSocial, "com.twitter.android": channelSocial,

	// x, ok, ask and medium are short words; other suffixes are other sites.
	"x.ai": channelReferral,
}

// onlyUnder names the one suffix under which a short label is the service.
var onlyUnder = map[string]string{
	"x": "com", "ok": "ru", "ask": "com", "medium": "com", "ya": "ru", "pin": "it", "youtu": "be", "fb": "com",
	"threads": "net", "discord": "com", "messenger": "com", "bsky": "app",
}

// services are subdomains of search engines that do not search.
var services = map[string]bool{
	"docs": true, "drive": true, "sites": true, "translate": true, "accounts": true, "calendar": true,
	"meet": true, "groups": true, "news": true, "play": true, "support": true, "cloud": true, "console": true,
	"classroom": true, "chat": true, "photos": true, "finance": true, "login": true, "mail": true,
}

// referrerChannel judges by the referrer alone.
func (e *Enricher) referrerChannel(h *spoor.Hit) string {
	from, here := hostOf(h.Referrer), hostOf(h.URL)
	if from == "" {
		// A path is the site's own; an opaque address (data:, about:) says nothing.
		if schemeOf(h.Referrer) == "" {
			return channelInternal
		}
		return channelDirect
	}
	if from == here {
		return channelInternal
	}
	s := e.site(from)
	if here != "" && s.domain != "" && s.domain == e.site(here).domain {
		return channelInternal
	}
	return s.channel
}

// site looks a host up, from memory if it can.
func (e *Enricher) site(host string) site {
	if s, ok := e.sites.get(host); ok {
		return s
	}
	host = strings.Clone(host) // it points into a whole url
	s := describeSite(host)
	e.sites.put(host, s)
	return s
}

func describeSite(host string) site {
	s := site{channel: channelReferral}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		s.domain = domain
	}
	if ch, ok := hosts[host]; ok {
		s.channel = ch
		return s
	}
	label, suffix, _ := strings.Cut(s.domain, ".")
	ch, ok := labels[label]
	if !ok || onlyUnder[label] != "" && onlyUnder[label] != suffix {
		return s
	}
	sub, _, _ := strings.Cut(host, ".")
	if ch == channelSearch && host != s.domain && services[sub] {
		return s
	}
	s.channel = ch
	return s
}

// hostMax is the longest host name that DNS allows, in bytes.
const hostMax = 253

// hostOf is the host of a minimised address in small letters, without port;
// empty if the address is relative or its host is none.
func hostOf(s string) string {
	if !strings.HasPrefix(s, "//") {
		scheme := schemeOf(s)
		if scheme == "" {
			return ""
		}
		s = s[len(scheme):]
	}
	s, ok := strings.CutPrefix(s, "//")
	if !ok {
		return ""
	}
	if end := strings.IndexAny(s, `/\?#`); end >= 0 {
		s = s[:end]
	}
	if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, ']') {
		s = s[:colon]
	}
	s = strings.TrimSuffix(s, ".")
	if len(s) > hostMax || s == redacted {
		return ""
	}
	return strings.ToLower(s)
}
