package ingest

import (
	"strconv"
	"strings"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	brandsMax      = 16
	hintBytesMax   = 128
	hintsBytesMax  = 2 << 10 // of one header
	touchPointsMax = 256
)

// headerHints reads the Sec-CH-UA headers. Browsers that send any send the
// first one.
func headerHints(h *fasthttp.RequestHeader) (hints spoor.Hints) {
	brands := h.PeekCanonical(headerBrands)
	if len(brands) == 0 {
		return hints
	}
	if full := h.PeekCanonical(headerFullBrands); len(full) > 0 {
		brands = full
	}
	hints.Brands = parseBrands(string(brands))
	switch string(h.PeekCanonical(headerMobile)) {
	case "?1":
		hints.Mobile = spoor.ChoiceGranted
	case "?0":
		hints.Mobile = spoor.ChoiceDenied
	}
	hints.Platform = headerText(h.PeekCanonical(headerPlatform))
	hints.PlatformVersion = headerText(h.PeekCanonical(headerPlatformVersion))
	hints.Model = headerText(h.PeekCanonical(headerModel))
	return hints
}

// headerText is the text of a structured field that holds one string.
func headerText(b []byte) string {
	if len(b) > 2*hintBytesMax {
		return ""
	}
	text, _, ok := quotedText(strings.TrimSpace(string(b)))
	if !ok {
		return ""
	}
	return text
}

// quotedText reads a structured field's string and returns what follows it.
func quotedText(s string) (text, rest string, ok bool) {
	if len(s) < 2 || s[0] != '"' {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			text, _ = cut(b.String(), hintBytesMax)
			return text, s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c < ' ' || c > '~':
			return "", s, false
		default:
			b.WriteByte(c)
		}
	}
	return "", s, false
}

// parseBrands reads `"Chromium";v="124", "Not-A.Brand";v="99"`. It keeps what
// it understood before the first mistake.
func parseBrands(s string) []spoor.Brand {
	if len(s) > hintsBytesMax {
		return nil
	}
	var brands []spoor.Brand
	for len(brands) < brandsMax {
		name, rest, ok := quotedText(strings.TrimLeft(s, " \t,"))
		if !ok {
			return brands
		}
		brand := spoor.Brand{Name: name}
		s = strings.TrimLeft(rest, " \t")
		for strings.HasPrefix(s, ";") {
			param := strings.TrimLeft(s[1:], " \t")
			eq := strings.IndexByte(param, '=')
			if eq < 0 {
				return append(brands, brand)
			}
			value, rest, ok := quotedText(param[eq+1:])
			if !ok {
				return append(brands, brand)
			}
			if param[:eq] == "v" {
				brand.Version = value
			}
			s = strings.TrimLeft(rest, " \t")
		}
		brands = append(brands, brand)
	}
	return brands
}

// readHints reads hints from a payload, over those that are there. Names come
// in snake_case, and in the browser's own camelCase. Hints are best effort: a
// value of the wrong type is passed over.
func readHints(h *spoor.Hints, raw string) {
	if raw[0] != '{' {
		return
	}
	full := false
	for w := enter(raw); w.more(); {
		name, value := w.name(), w.value()
		switch name {
		case "brands":
			if !full {
				h.Brands = hintBrands(value, h.Brands)
			}
		case "full_version_list", "fullVersionList":
			h.Brands, full = hintBrands(value, h.Brands), true
		case "mobile":
			if c, ok := choice(value); ok && c != spoor.ChoiceUnknown {
				h.Mobile = c
			}
		case "platform":
			hintText(&h.Platform, value)
		case "platform_version", "platformVersion":
			hintText(&h.PlatformVersion, value)
		case "model":
			hintText(&h.Model, value)
		case "touch_points", "touchPoints":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= touchPointsMax {
				h.TouchPoints = n
			}
		}
	}
}

func hintText(dst *string, raw string) {
	if s, ok := scalar(raw); ok && s != "" {
		*dst, _ = cut(s, hintBytesMax)
	}
}

func hintBrands(raw string, old []spoor.Brand) []spoor.Brand {
	if raw[0] != '[' {
		return old
	}
	var brands []spoor.Brand
	for w := enter(raw); w.more() && len(brands) < brandsMax; {
		element := w.value()
		if element[0] != '{' {
			continue
		}
		var b spoor.Brand
		for m := enter(element); m.more(); {
			switch name, value := m.name(), m.value(); name {
			case "brand":
				hintText(&b.Name, value)
			case "version":
				hintText(&b.Version, value)
			}
		}
		if b.Name != "" {
			brands = append(brands, b)
		}
	}
	if brands == nil {
		return old
	}
	return brands
}
