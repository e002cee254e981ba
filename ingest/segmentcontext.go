package ingest

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/spoorhq/spoor"
)

// segmentContext is what an event's context says about its surroundings. A
// batch's context is the default of its events. Nothing in a context makes an
// event bad: what cannot be read is passed over.
type segmentContext struct {
	url, referrer, title, path, search string
	language, timeZone, resolution     string
	ip, agent, library                 string
	campaign                           [len(campaignNames)]string
	traits                             string // raw JSON object
	hints                              spoor.Hints
	consent                            spoor.Consent
}

// campaignNames pairs the members of context.campaign with url parameters.
var campaignNames = [...]struct{ member, param string }{
	{"source", "utm_source"}, {"medium", "utm_medium"}, {"name", "utm_campaign"},
	{"term", "utm_term"}, {"content", "utm_content"},
}

// deviceLibraries speak for the device that they run on. All others that are
// no browser are servers, which speak for people elsewhere.
var deviceLibraries = map[string]bool{
	"analytics-ios": true, "analytics-swift": true, "analytics-android": true, "analytics-kotlin": true,
	"analytics-react-native": true, "@segment/analytics-react-native": true, "analytics_flutter": true,
	"rudder-ios-library": true, "rudder-android-client": true, "com.rudderstack.android.sdk.core": true,
	"rudder-react-native": true, "rudder-flutter": true,
}

// serverLibraries are servers whatever user agent they borrow.
var serverLibraries = map[string]bool{
	"@segment/analytics-node": true, "analytics-node": true, "analytics-python": true, "analytics-ruby": true,
	"analytics-go": true, "analytics-java": true, "analytics-php": true, "Analytics.NET": true,
	"@rudderstack/rudder-sdk-node": true, "rudder-sdk-node": true, "rudder-analytics-python": true, "rudder-sdk-go": true,
}

func (c *segmentContext) decode(rq *request, raw string) {
	if raw[0] != '{' {
		return
	}
	for w := enter(raw); w.more(); {
		name, value := w.name(), w.value()
		switch name {
		case "page":
			c.decodePage(value)
		case "locale":
			softText(&c.language, value)
		case "timezone":
			softText(&c.timeZone, value)
		case "screen":
			c.decodeScreen(value)
		case "ip":
			softText(&c.ip, value)
		case "userAgent":
			softText(&c.agent, value)
		case "userAgentData":
			readHints(&c.hints, value)
		case "library":
			if value[0] == '{' {
				for m := enter(value); m.more(); {
					if n, v := m.name(), m.value(); n == "name" {
						softText(&c.library, v)
					}
				}
			}
		case "campaign":
			c.decodeCampaign(value)
		case "traits":
			if value[0] == '{' {
				c.traits = value
			}
		case "consent":
			c.decodeConsent(value)
		}
	}
}

// softText reads a text that may be of any type.
func softText(dst *string, raw string) {
	if s, ok := scalar(raw); ok && s != "" {
		*dst = s
	}
}

func (c *segmentContext) decodePage(raw string) {
	if raw[0] != '{' {
		return
	}
	// An event's own page replaces the batch's: parts of two are no page.
	c.url, c.referrer, c.title, c.path, c.search = "", "", "", "", ""
	for w := enter(raw); w.more(); {
		switch name, value := w.name(), w.value(); name {
		case "url":
			softText(&c.url, value)
		case "referrer":
			softText(&c.referrer, value)
		case "title":
			softText(&c.title, value)
		case "path":
			softText(&c.path, value)
		case "search":
			softText(&c.search, value)
		}
	}
	if c.url == "" && c.path != "" {
		c.url = c.path + c.search
	}
}

func (c *segmentContext) decodeScreen(raw string) {
	if raw[0] != '{' {
		return
	}
	var width, height float64
	for w := enter(raw); w.more(); {
		switch name, value := w.name(), w.value(); name {
		case "width":
			width, _ = strconv.ParseFloat(value, 64)
		case "height":
			height, _ = strconv.ParseFloat(value, 64)
		}
	}
	if width >= 1 && height >= 1 && width < 1e5 && height < 1e5 {
		c.resolution = strconv.Itoa(int(width)) + "x" + strconv.Itoa(int(height))
	}
}

func (c *segmentContext) decodeCampaign(raw string) {
	if raw[0] != '{' {
		return
	}
	for w := enter(raw); w.more(); {
		name, value := w.name(), w.value()
		for i, n := range campaignNames {
			if name == n.member {
				softText(&c.campaign[i], value)
			}
		}
	}
}

// decodeConsent reads {"categoryPreferences": {"Analytics": true, …}}. The
// categories are the customer's; those that are named like ours are read.
func (c *segmentContext) decodeConsent(raw string) {
	if raw[0] != '{' {
		return
	}
	analytics, marketing, geolocation := c.consent.Analytics(), c.consent.Marketing(), c.consent.Geolocation()
	for w := enter(raw); w.more(); {
		name, value := w.name(), w.value()
		if name != "categoryPreferences" || value[0] != '{' {
			continue
		}
		for m := enter(value); m.more(); {
			category, v := m.name(), m.value()
			got, ok := choice(v)
			switch {
			case !ok:
			case strings.EqualFold(category, "analytics"):
				analytics = got
			case strings.EqualFold(category, "marketing"), strings.EqualFold(category, "advertising"):
				marketing = got
			case strings.EqualFold(category, "geolocation"):
				geolocation = got
			}
		}
	}
	c.consent = spoor.NewConsent(analytics, marketing, geolocation)
}

// fill completes a hit from its context. What the event itself said stays.
func (c *segmentContext) fill(rq *request, h *spoor.Hit) {
	set := func(dst *string, v string) {
		if *dst == "" {
			*dst = v
		}
	}
	if h.Kind != spoor.KindGroup && h.Kind != spoor.KindAlias {
		set(&h.URL, c.url)
		set(&h.Referrer, c.referrer)
		set(&h.Title, c.title)
		h.URL = c.tagged(h.URL)
	}
	h.Language, h.TimeZone, h.Resolution, h.Consent = c.language, c.timeZone, c.resolution, c.consent
	c.fillSender(rq, h)
}

// fillSender decides whose address and user agent the request's are. A server
// speaks for people elsewhere: its own would put them all into its data
// centre. What its body says instead is taken where the app trusts senders.
func (c *segmentContext) fillSender(rq *request, h *spoor.Hit) {
	browser := strings.HasPrefix(rq.agent, "Mozilla/") && !serverLibraries[c.library]
	device := !browser && deviceLibraries[c.library]
	if browser {
		h.UserAgent, h.Hints = rq.agent, merged(rq.hints, c.hints)
	} else {
		h.Hints = c.hints
	}
	if browser || device {
		h.IP = rq.ip
	} else if h.Kind == spoor.KindEvent {
		h.Kind = spoor.KindServerEvent
	}
	if !browser && rq.app.Settings.TrustSender {
		readIP(&h.IP, c.ip)
		h.UserAgent = c.agent
	}
}

// merged puts a payload's hints over those of the headers.
func merged(head, body spoor.Hints) spoor.Hints {
	if len(body.Brands) > 0 {
		head.Brands = body.Brands
	}
	if body.Mobile != spoor.ChoiceUnknown {
		head.Mobile = body.Mobile
	}
	if body.Platform != "" {
		head.Platform = body.Platform
	}
	if body.PlatformVersion != "" {
		head.PlatformVersion = body.PlatformVersion
	}
	if body.Model != "" {
		head.Model = body.Model
	}
	if body.TouchPoints != 0 {
		head.TouchPoints = body.TouchPoints
	}
	return head
}

// tagged puts a campaign that the client took apart back into the url, so that
// campaigns are read in one place. An url with utm_ of its own stays.
func (c *segmentContext) tagged(page string) string {
	if page == "" || c.campaign == [len(campaignNames)]string{} || strings.Contains(page, "utm_") {
		return page
	}
	base, fragment, hasFragment := strings.Cut(page, "#")
	var b strings.Builder
	b.WriteString(base)
	separator := byte('?')
	if strings.Contains(base, "?") {
		separator = '&'
	}
	for i, n := range campaignNames {
		if c.campaign[i] == "" {
			continue
		}
		b.WriteByte(separator)
		b.WriteString(n.param)
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(c.campaign[i]))
		separator = '&'
	}
	if hasFragment {
		b.WriteByte('#')
		b.WriteString(fragment)
	}
	return b.String()
}
