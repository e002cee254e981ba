package kafka

import (
	"fmt"
	"net/netip"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Tags of a hit: numbers first, then what has bytes. Never reuse one. What the
// store fills is not written.
const (
	hitKind protowire.Number = iota + 1
	hitDoor
	hitReceived // zigzag
	hitTime     // zigzag of received − time
	hitConsent
	hitHintMobile
	hitTouchPoints // zigzag
	hitBot
	hitRedacted // zigzag
)

const (
	hitID protowire.Number = iota + 16
	hitDigest
	hitKey
	hitUserID
	hitFormerID
	hitName
	hitURL
	hitReferrer
	hitTitle
	hitResolution
	hitLanguage
	hitTimeZone
	hitProperties
	hitAttribute // nested
	hitMobileAdd
	hitMobileDrop
	hitWithheld // nested
	hitBrand    // nested
	hitHintPlatform
	hitHintPlatformVersion
	hitHintModel
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
)

// Tags of an attribute, also of one that is withheld.
const (
	attributeType   protowire.Number = 1
	attributeSource protowire.Number = 2
	attributeSetAt  protowire.Number = 3 // zigzag
	attributeName   protowire.Number = 16
	attributeText   protowire.Number = 17
)

// Tags of what is withheld.
const (
	withheldKey protowire.Number = iota + 16
	withheldUserID
	withheldFormerID
	withheldMobileAdd
	withheldAttribute // nested
)

// Tags of a brand.
const (
	brandName    protowire.Number = 16
	brandVersion protowire.Number = 17
)

// appendHit writes what is known of a hit when the store gets it, as a field
// of its record. The app stands in the record.
func appendHit(dst []byte, h *spoor.Hit) []byte {
	dst, from := open(dst, recordHit)
	dst = putUint(dst, hitKind, uint64(h.Kind))
	dst = putUint(dst, hitDoor, uint64(h.Door))
	dst = putInt(dst, hitReceived, h.Received)
	dst = putInt(dst, hitTime, h.Received-h.Time)
	dst = putUint(dst, hitConsent, uint64(h.Consent))
	dst = putUint(dst, hitHintMobile, uint64(h.Hints.Mobile))
	dst = putInt(dst, hitTouchPoints, int64(h.Hints.TouchPoints))
	if h.Bot {
		dst = putUint(dst, hitBot, 1)
	}
	dst = putInt(dst, hitRedacted, int64(h.Redacted))
	dst = putString(dst, hitID, h.ID)
	if h.Digest != [16]byte{} {
		dst = putBytes(dst, hitDigest, h.Digest[:])
	}
	dst = putString(dst, hitKey, h.Key)
	dst = putString(dst, hitUserID, h.UserID)
	dst = putString(dst, hitFormerID, h.FormerID)
	dst = putString(dst, hitName, h.Name)
	dst = putString(dst, hitURL, h.URL)
	dst = putString(dst, hitReferrer, h.Referrer)
	dst = putString(dst, hitTitle, h.Title)
	dst = putString(dst, hitResolution, h.Resolution)
	dst = putString(dst, hitLanguage, h.Language)
	dst = putString(dst, hitTimeZone, h.TimeZone)
	dst = putBytes(dst, hitProperties, h.Properties)
	dst = putAttributes(dst, hitAttribute, h.Attributes)
	dst = putString(dst, hitMobileAdd, h.MobileAdd)
	dst = putString(dst, hitMobileDrop, h.MobileDrop)
	dst = putWithheld(dst, h.Withheld)
	dst = putHints(dst, &h.Hints)
	if h.IP.IsValid() {
		var ip [16]byte
		dst = putBytes(dst, hitIP, addressBytes(ip[:0], h.IP))
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
	return closed(dst, from)
}

// addressBytes appends 4 or 16 bytes. A zone is not written: enrich takes it.
func addressBytes(dst []byte, ip netip.Addr) []byte {
	if ip.Is4() {
		b := ip.As4()
		return append(dst, b[:]...)
	}
	b := ip.As16()
	return append(dst, b[:]...)
}

func putAttributes(dst []byte, tag protowire.Number, all []spoor.Attribute) []byte {
	for i := range all {
		a := &all[i]
		var from int
		dst, from = open(dst, tag)
		dst = putUint(dst, attributeType, uint64(a.Type))
		dst = putUint(dst, attributeSource, uint64(a.Source))
		dst = putInt(dst, attributeSetAt, a.SetAt)
		dst = putString(dst, attributeName, a.Name)
		dst = putString(dst, attributeText, a.Text)
		dst = closed(dst, from)
	}
	return dst
}

func putWithheld(dst []byte, w *spoor.Withheld) []byte {
	if w == nil {
		return dst
	}
	dst, from := open(dst, hitWithheld)
	dst = putString(dst, withheldKey, w.Key)
	dst = putString(dst, withheldUserID, w.UserID)
	dst = putString(dst, withheldFormerID, w.FormerID)
	dst = putString(dst, withheldMobileAdd, w.MobileAdd)
	dst = putAttributes(dst, withheldAttribute, w.Attributes)
	return closed(dst, from)
}

func putHints(dst []byte, h *spoor.Hints) []byte {
	for i := range h.Brands {
		var from int
		dst, from = open(dst, hitBrand)
		dst = putString(dst, brandName, h.Brands[i].Name)
		dst = putString(dst, brandVersion, h.Brands[i].Version)
		dst = closed(dst, from)
	}
	dst = putString(dst, hitHintPlatform, h.Platform)
	dst = putString(dst, hitHintPlatformVersion, h.PlatformVersion)
	return putString(dst, hitHintModel, h.Model)
}

// fits says whether a reader would take the hit, apart from its bytes.
func fits(h *spoor.Hit) bool {
	return len(h.Attributes) <= attributesMax && len(h.Hints.Brands) <= brandsMax &&
		(h.Withheld == nil || len(h.Withheld.Attributes) <= attributesMax)
}

// readHit reads a hit that stands at an offset of text, which is the record.
func readHit(text string, base int, b []byte, h *spoor.Hit) error {
	late := int64(0)
	err := fields(base, b, func(tag protowire.Number, num uint64, at int, b []byte) error {
		if (tag < hitID) != (b == nil) {
			return errWire
		}
		return readHitField(text, h, &late, tag, num, at, b)
	})
	h.Time = h.Received - late
	return err
}

func readHitField(text string, h *spoor.Hit, late *int64, tag protowire.Number, num uint64, at int, b []byte) (err error) {
	switch tag {
	case hitKind:
		h.Kind, err = spoor.Kind(num), oneByte(num)
	case hitDoor:
		h.Door, err = spoor.Door(num), oneByte(num)
	case hitReceived:
		h.Received = protowire.DecodeZigZag(num)
	case hitTime:
		*late = protowire.DecodeZigZag(num)
	case hitConsent:
		h.Consent, err = spoor.Consent(num), oneByte(num)
	case hitHintMobile:
		h.Hints.Mobile, err = spoor.Choice(num), oneByte(num)
	case hitTouchPoints:
		h.Hints.TouchPoints = int(protowire.DecodeZigZag(num))
	case hitBot:
		h.Bot = num != 0
	case hitRedacted:
		h.Redacted = int(protowire.DecodeZigZag(num))
	case hitDigest:
		if len(b) != len(h.Digest) {
			return fmt.Errorf("a digest has %d bytes", len(b))
		}
		copy(h.Digest[:], b)
	case hitProperties:
		h.Properties = append([]byte(nil), b...)
	case hitAttribute:
		h.Attributes, err = readAttribute(text, at, b, h.Attributes)
	case hitWithheld:
		h.Withheld, err = readWithheld(text, at, b)
	case hitBrand:
		return readBrand(text, at, b, &h.Hints)
	case hitIP:
		ip, ok := netip.AddrFromSlice(b)
		if !ok {
			return fmt.Errorf("an address has %d bytes", len(b))
		}
		h.IP = ip
	default:
		if to := hitText(h, tag); to != nil {
			*to = text[at : at+len(b)]
		}
	}
	return err
}

func oneByte(num uint64) error {
	if num > 255 {
		return errWire
	}
	return nil
}

// hitText is the string of a hit that a tag stands for, or nil.
func hitText(h *spoor.Hit, tag protowire.Number) *string {
	switch tag {
	case hitID:
		return &h.ID
	case hitKey:
		return &h.Key
	case hitUserID:
		return &h.UserID
	case hitFormerID:
		return &h.FormerID
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
	case hitMobileAdd:
		return &h.MobileAdd
	case hitMobileDrop:
		return &h.MobileDrop
	case hitHintPlatform:
		return &h.Hints.Platform
	case hitHintPlatformVersion:
		return &h.Hints.PlatformVersion
	case hitHintModel:
		return &h.Hints.Model
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

func readAttribute(text string, base int, b []byte, all []spoor.Attribute) ([]spoor.Attribute, error) {
	if len(all) == attributesMax {
		return all, fmt.Errorf("a hit has more than %d attributes", attributesMax)
	}
	var a spoor.Attribute
	err := fields(base, b, func(tag protowire.Number, num uint64, at int, b []byte) (err error) {
		if (tag < attributeName) != (b == nil) {
			return errWire
		}
		switch tag {
		case attributeType:
			a.Type, err = spoor.Type(num), oneByte(num)
		case attributeSource:
			a.Source, err = spoor.Door(num), oneByte(num)
		case attributeSetAt:
			a.SetAt = protowire.DecodeZigZag(num)
		case attributeName:
			a.Name = text[at : at+len(b)]
		case attributeText:
			a.Text = text[at : at+len(b)]
		}
		return err
	})
	return append(all, a), err
}

func readWithheld(text string, base int, b []byte) (*spoor.Withheld, error) {
	w := new(spoor.Withheld)
	err := fields(base, b, func(tag protowire.Number, num uint64, at int, b []byte) (err error) {
		if b == nil {
			return errWire
		}
		switch tag {
		case withheldKey:
			w.Key = text[at : at+len(b)]
		case withheldUserID:
			w.UserID = text[at : at+len(b)]
		case withheldFormerID:
			w.FormerID = text[at : at+len(b)]
		case withheldMobileAdd:
			w.MobileAdd = text[at : at+len(b)]
		case withheldAttribute:
			w.Attributes, err = readAttribute(text, at, b, w.Attributes)
		}
		return err
	})
	return w, err
}

func readBrand(text string, base int, b []byte, hints *spoor.Hints) error {
	if len(hints.Brands) == brandsMax {
		return fmt.Errorf("a hit has more than %d brands", brandsMax)
	}
	var brand spoor.Brand
	err := fields(base, b, func(tag protowire.Number, num uint64, at int, b []byte) error {
		if b == nil {
			return errWire
		}
		switch tag {
		case brandName:
			brand.Name = text[at : at+len(b)]
		case brandVersion:
			brand.Version = text[at : at+len(b)]
		}
		return nil
	})
	hints.Brands = append(hints.Brands, brand)
	return err
}
