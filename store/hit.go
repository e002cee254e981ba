package store

import (
	"net/netip"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Tags of a stored hit. Never reuse one.
const (
	hitKind protowire.Number = iota + 1
	hitDoor
	hitID
	hitName
	hitURL
	hitReferrer
	hitTitle
	hitReceived // zigzag of received − time
	hitResolution
	hitLanguage
	hitTimeZone
	hitProperties
	hitConsent
	hitIP
	hitUserAgent
	hitCity
	hitRegion
	hitCountry
	hitOS
	hitOSVersion
	hitBrowser
	hitBrowserVersion
	hitDevice
	hitChannel
	hitSource
	hitMedium
	hitCampaign
	hitTerm
	hitContent
	hitBot
	hitRedacted
	hitPublic
	hitVisit // zigzag of time − start of visit, plus one: present means part of a visit
	hitFirst
	hitMarks
	hitTally // nested
)

// Tags of a hit's tally.
const (
	tallyFlags protowire.Number = iota + 1
	tallyGap
	tallySince // since − gap, plus one
	tallyFrom
)

const (
	tallyNew = 1 << iota
	tallyEngaged
	tallyAside
	tallyTimed
)

func appendTally(dst []byte, t *spoor.Tally) []byte {
	flags := uint64(0)
	for i, on := range [...]bool{t.New, t.Engaged, t.Aside, t.Timed} {
		if on {
			flags |= 1 << i
		}
	}
	dst = putUint(dst, tallyFlags, flags)
	dst = putUint(dst, tallyGap, uint64(t.Gap))
	if t.Since > 0 {
		dst = putUint(dst, tallySince, uint64(t.Since-t.Gap)+1)
	}
	return putString(dst, tallyFrom, t.From)
}

func readTally(b []byte) (t spoor.Tally, err error) {
	past := uint64(0)
	err = rawFields(b, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case tallyFlags:
			t.New, t.Engaged, t.Aside, t.Timed = num&tallyNew != 0, num&tallyEngaged != 0, num&tallyAside != 0, num&tallyTimed != 0
		case tallyGap:
			t.Gap = int64(num)
		case tallySince:
			past = num
		case tallyFrom:
			t.From = string(b)
		}
		return nil
	})
	if past > 0 {
		t.Since = t.Gap + int64(past-1)
	}
	return t, err
}

// appendHit encodes what is kept of a hit. The parts of the key (app, day,
// profile, time) are not repeated, nor is what lives in the profile: the ids
// that the sender used and the attributes it set.
func appendHit(dst []byte, h *spoor.Hit) []byte {
	dst = appendHeader(dst)
	dst = putUint(dst, hitKind, uint64(h.Kind))
	dst = putUint(dst, hitDoor, uint64(h.Door))
	dst = putString(dst, hitID, h.ID)
	dst = putString(dst, hitName, h.Name)
	dst = putString(dst, hitURL, h.URL)
	dst = putString(dst, hitReferrer, h.Referrer)
	dst = putString(dst, hitTitle, h.Title)
	dst = putInt(dst, hitReceived, h.Received-h.Time)
	dst = putString(dst, hitResolution, h.Resolution)
	dst = putString(dst, hitLanguage, h.Language)
	dst = putString(dst, hitTimeZone, h.TimeZone)
	dst = putBytes(dst, hitProperties, h.Properties)
	dst = putUint(dst, hitConsent, uint64(h.Consent))
	if h.IP.IsValid() {
		dst = putBytes(dst, hitIP, h.IP.AsSlice())
	}
	dst = putString(dst, hitUserAgent, h.UserAgent)
	dst = putString(dst, hitCity, h.Place.City)
	dst = putString(dst, hitRegion, h.Place.Region)
	dst = putString(dst, hitCountry, h.Place.Country)
	dst = putString(dst, hitOS, h.Agent.OS)
	dst = putString(dst, hitOSVersion, h.Agent.OSVersion)
	dst = putString(dst, hitBrowser, h.Agent.Browser)
	dst = putString(dst, hitBrowserVersion, h.Agent.BrowserVersion)
	dst = putString(dst, hitDevice, h.Agent.Device)
	dst = putString(dst, hitChannel, h.Campaign.Channel)
	dst = putString(dst, hitSource, h.Campaign.Source)
	dst = putString(dst, hitMedium, h.Campaign.Medium)
	dst = putString(dst, hitCampaign, h.Campaign.Name)
	dst = putString(dst, hitTerm, h.Campaign.Term)
	dst = putString(dst, hitContent, h.Campaign.Content)
	dst = putBool(dst, hitBot, h.Bot)
	dst = putUint(dst, hitRedacted, uint64(h.Redacted))
	dst = putUint(dst, hitPublic, uint64(h.Public))
	if h.Visit != 0 {
		dst = putUint(dst, hitVisit, protowire.EncodeZigZag(h.Time-h.Visit)+1)
	}
	dst = putBool(dst, hitFirst, h.First)
	dst = putUint(dst, hitMarks, uint64(h.Marks))
	if h.Tally != (spoor.Tally{}) {
		var nest [64]byte
		dst = putBytes(dst, hitTally, appendTally(nest[:0], &h.Tally))
	}
	return dst
}

// readHit decodes a stored hit. The hit owns its memory.
func readHit(key, value []byte) (h spoor.Hit, err error) {
	at, err := parseHitKey(key)
	if err != nil {
		return h, err
	}
	h.App, h.Day, h.Profile, h.Time, h.Received = at.app, at.day, at.profile, at.time, at.time
	h.Outcome = spoor.Stored
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) (err error) {
		switch tag {
		case hitKind:
			h.Kind = spoor.Kind(num)
		case hitDoor:
			h.Door = spoor.Door(num)
		case hitReceived:
			h.Received = at.time + zigzag(num)
		case hitProperties:
			h.Properties = append([]byte(nil), b...)
		case hitConsent:
			h.Consent = spoor.Consent(num)
		case hitIP:
			h.IP, _ = netip.AddrFromSlice(b)
		case hitBot:
			h.Bot = num != 0
		case hitRedacted:
			h.Redacted = int(num)
		case hitPublic:
			h.Public = int64(num)
		case hitVisit:
			h.Visit = at.time - zigzag(num-1)
		case hitFirst:
			h.First = num != 0
		case hitMarks:
			h.Marks = spoor.Marks(num)
		case hitTally:
			h.Tally, err = readTally(b)
		default:
			if text := hitText(&h, tag); text != nil {
				*text = string(b)
			}
		}
		return err
	})
	return h, err
}

// hitText is the string field of a hit that a tag stands for, or nil.
func hitText(h *spoor.Hit, tag protowire.Number) *string {
	switch tag {
	case hitID:
		return &h.ID
	case hitName:
		return &h.Name
	case hitURL:
		return &h.URL
	case hitReferrer:
		return &h.Referrer
	case hitTitle:
		return &h.Title
	case hitResolution:
		return &h.Resolution
	case hitLanguage:
		return &h.Language
	case hitTimeZone:
		return &h.TimeZone
	case hitUserAgent:
		return &h.UserAgent
	case hitCity:
		return &h.Place.City
	case hitRegion:
		return &h.Place.Region
	case hitCountry:
		return &h.Place.Country
	case hitOS:
		return &h.Agent.OS
	case hitOSVersion:
		return &h.Agent.OSVersion
	case hitBrowser:
		return &h.Agent.Browser
	case hitBrowserVersion:
		return &h.Agent.BrowserVersion
	case hitDevice:
		return &h.Agent.Device
	case hitChannel:
		return &h.Campaign.Channel
	case hitSource:
		return &h.Campaign.Source
	case hitMedium:
		return &h.Campaign.Medium
	case hitCampaign:
		return &h.Campaign.Name
	case hitTerm:
		return &h.Campaign.Term
	case hitContent:
		return &h.Campaign.Content
	}
	return nil
}
