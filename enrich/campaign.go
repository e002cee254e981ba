package enrich

import (
	"strings"

	"github.com/spoorhq/spoor"
)

// The channels, as spoor.Campaign.Channel has them.
const (
	channelDirect   = "direct"
	channelSearch   = "search"
	channelSocial   = "social"
	channelMail     = "mail"
	channelPaid     = "paid"
	channelReferral = "referral"
	channelInternal = "internal"
	channelCampaign = "campaign"
)

// clickID is a query parameter that an advertiser or mailer adds to a link.
type clickID struct {
	channel string // what it proves; empty: nothing
	keep    bool   // its value is the id of a click, not of a person
}

// clickIDs is every parameter known by its name.
//
// Origin: the help pages of the services named, on the links they tag. Ids of
// a recipient prove a mail, and are dropped. fbclid and igshid are added to
// unpaid links as well.
var clickIDs = map[string]clickID{
	"gclid":         {channelPaid, true}, // Google Ads
	"gbraid":        {channelPaid, true},
	"wbraid":        {channelPaid, true},
	"gad_source":    {channelPaid, true},
	"dclid":         {channelPaid, true},   // Google Display & Video
	"msclkid":       {channelPaid, true},   // Microsoft Advertising
	"ttclid":        {channelPaid, true},   // TikTok
	"twclid":        {channelPaid, true},   // X
	"li_fat_id":     {channelPaid, true},   // LinkedIn
	"yclid":         {channelPaid, true},   // Yandex Direct
	"rdt_cid":       {channelPaid, true},   // Reddit
	"epik":          {channelPaid, true},   // Pinterest
	"sccid":         {channelPaid, true},   // Snapchat
	"irclickid":     {channelPaid, true},   // impact.com
	"fbclid":        {channelSocial, true}, // Facebook, Instagram
	"igshid":        {channelSocial, false},
	"mc_cid":        {channelMail, true},  // Mailchimp: the campaign
	"mc_eid":        {channelMail, false}, // Mailchimp: the recipient
	"_hsenc":        {channelMail, false}, // HubSpot: the recipient
	"_hsmi":         {channelMail, true},  // HubSpot: the mailing
	"mkt_tok":       {channelMail, false}, // Marketo: the recipient
	"vero_id":       {channelMail, false}, // Vero: the recipient
	"ml_subscriber": {channelMail, false}, // MailerLite: the recipient
}

const clickIDMax = 512 // bytes

func isClickID(s string) bool {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&classAlnum == 0 && strings.IndexByte("-_.~", s[i]) < 0 {
			return false
		}
	}
	return len(s) <= clickIDMax
}

// led is what an address says about how its visitor came.
type led struct {
	source, medium, name, term, content string
	paid, social, mail                  bool // proven by a click id
}

func (l *led) note(channel string) {
	switch channel {
	case channelPaid:
		l.paid = true
	case channelSocial:
		l.social = true
	case channelMail:
		l.mail = true
	}
}

// utm notes one utm_ parameter; the first of a name counts.
func (l *led) utm(name, value string) {
	var to *string
	switch name {
	case "utm_source":
		to = &l.source
	case "utm_medium":
		to = &l.medium
	case "utm_campaign":
		to = &l.name
	case "utm_term":
		to = &l.term
	case "utm_content":
		to = &l.content
	default:
		return
	}
	if *to == "" {
		*to = cleanText(unescape(strings.ReplaceAll(value, "+", " ")), utmMax)
	}
}

// media tells the channel of a utm_medium, in small letters.
//
// Origin: the media that the public documentation of Google Analytics' default
// channel groups and the link builders of mailing services name.
var media = map[string]string{
	"email": channelMail, "e-mail": channelMail, "e_mail": channelMail, "e mail": channelMail,
	"mail": channelMail, "mailing": channelMail, "newsletter": channelMail,
	"social": channelSocial, "social-network": channelSocial, "social-media": channelSocial,
	"social_media": channelSocial, "sm": channelSocial, "social network": channelSocial, "social media": channelSocial,
	"organic": channelSearch, "search": channelSearch,
	"referral": channelReferral, "affiliate": channelReferral, "link": channelReferral, "partner": channelReferral,
	"display": channelPaid, "banner": channelPaid, "expandable": channelPaid, "interstitial": channelPaid,
	"cpc": channelPaid, "ppc": channelPaid, "cpm": channelPaid, "cpv": channelPaid, "cpa": channelPaid,
	"cpp": channelPaid, "cpi": channelPaid, "sem": channelPaid, "ads": channelPaid, "ad": channelPaid,
	"retargeting": channelPaid, "remarketing": channelPaid,
}

func mediumChannel(medium string) string {
	m := strings.ToLower(medium)
	if strings.HasPrefix(m, "paid") {
		return channelPaid
	}
	return media[m]
}

// campaign names the channel of a hit whose url and referrer are minimised.
// What a link says about itself goes before what the referrer says.
func (e *Enricher) campaign(h *spoor.Hit, l led) spoor.Campaign {
	c := spoor.Campaign{Source: l.source, Medium: l.medium, Name: l.name, Term: l.term, Content: l.content}
	tagged := l.source != "" || l.medium != "" || l.name != ""
	medium := ""
	if l.medium != "" {
		medium = mediumChannel(l.medium)
	}
	switch {
	case l.paid || medium == channelPaid:
		c.Channel = channelPaid
	case l.mail || h.Kind == spoor.KindMailOpen || h.Kind == spoor.KindMailClick:
		c.Channel = channelMail
	case medium != "":
		c.Channel = medium
	case l.social:
		c.Channel = channelSocial
	case tagged:
		c.Channel = sourceChannel(l.source)
	case h.Referrer != "":
		c.Channel = e.referrerChannel(h)
	case h.URL != "" || h.Kind == spoor.KindPage:
		c.Channel = channelDirect
	}
	return c
}

// sourceChannel is for links that name a source but no known medium.
func sourceChannel(source string) string {
	if source == "" {
		return channelCampaign
	}
	s := strings.ToLower(source)
	if ch := media[s]; ch == channelMail || ch == channelSocial {
		return ch
	}
	if ch := labels[s]; ch == channelSocial {
		return ch
	}
	return channelCampaign
}
