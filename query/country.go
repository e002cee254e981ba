package query

import (
	"strings"
	"sync"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

var regionNames = display.English.Regions()

// countryName is the English name of an ISO 3166-1 code. Anything else is
// what somebody wrote, and is shown as it is.
func countryName(code string) string {
	if !isCountryCode(code) {
		return code
	}
	region, err := language.ParseRegion(code)
	if err != nil || !region.IsCountry() {
		return code
	}
	if name := regionNames.Name(region); name != "" {
		return name
	}
	return code
}

func isCountryCode(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// countryCodes is the reverse of countryName, by lower-case name.
var countryCodes = sync.OnceValue(func() map[string]string {
	codes := map[string]string{}
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string([]rune{a, b})
			region, err := language.ParseRegion(code)
			if err != nil || !region.IsCountry() || region.Canonicalize() != region {
				continue
			}
			if name := regionNames.Name(region); name != "" {
				codes[strings.ToLower(name)] = code
			}
		}
	}
	return codes
})

// countryCode turns a code in any case, or an English name, into the ISO code.
// Text that is neither stays as it is.
func countryCode(s string) string {
	if up := strings.ToUpper(s); isCountryCode(up) {
		if region, err := language.ParseRegion(up); err == nil {
			return region.Canonicalize().String() // UK is GB
		}
		return up
	}
	if code := countryCodes()[strings.ToLower(s)]; code != "" {
		return code
	}
	return s
}
