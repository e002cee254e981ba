package enrich

import (
	"strings"

	"github.com/spoorhq/spoor"
)

// brandsMax is how many brands are looked at; browsers send three.
const brandsMax = 16

// brandNames are brands under the names that user agents give us.
//
// Origin: the brand lists that these browsers send.
var brandNames = map[string]string{
	"google chrome": "Chrome", "microsoft edge": "Edge", "opera": "Opera", "opera gx": "Opera", "operamobile": "Opera",
	"brave": "Brave", "yandex": "Yandex", "yabrowser": "Yandex", "yowser": "Yandex", "samsung internet": "Samsung Internet",
	"vivaldi": "Vivaldi", "whale": "Whale", "duckduckgo": "DuckDuckGo", "silk": "Silk", "headlesschrome": "Headless Chrome",
	"huaweibrowser": "Huawei Browser", "miuibrowser": "MIUI Browser", "oculus browser": "Oculus Browser",
}

// engineBrands say what is built upon; any other brand, and what the user
// agent itself says, is nearer to the truth.
var engineBrands = map[string]bool{"chromium": true, "android webview": true, "microsoft edge webview2": true}

// hintSystems are platforms under our names.
var hintSystems = map[string]string{
	"windows": "Windows", "macos": "macOS", "mac os x": "macOS", "android": "Android", "ios": "iOS", "linux": "Linux",
	"chrome os": "ChromeOS", "chromium os": "ChromeOS", "chromeos": "ChromeOS", "fuchsia": "Fuchsia",
}

// applyHints lets client hints correct what the frozen user agent says.
func applyHints(h *spoor.Hit) {
	in, a := &h.Hints, &h.Agent
	if len(in.Brands) > 0 {
		brandHints(h)
		if h.Bot {
			return
		}
	}
	var small [agentNameMax]byte
	platform := hintSystems[string(appendLower(small[:0], cutText(in.Platform, agentNameMax)))]
	if platform != "" {
		platformHints(a, platform, in.PlatformVersion)
	}
	if in.TouchPoints > 1 && a.OS == "macOS" { // no Mac has a touch screen
		a.OS, a.OSVersion, a.Device = "iPadOS", "", deviceTablet
	}
	deviceHints(a, in, platform)
}

// brandHints prefers a named brand over the engine's and skips the invented
// ones (GREASE) such as "Not A;Brand".
func brandHints(h *spoor.Hit) {
	var small [agentNameMax]byte
	for _, b := range h.Hints.Brands[:min(len(h.Hints.Brands), brandsMax)] {
		lower := string(appendLower(small[:0], cutText(b.Name, agentNameMax)))
		if engineBrands[lower] || strings.Contains(lower, "not") && strings.Contains(lower, "brand") {
			continue
		}
		name, known := brandNames[lower]
		if !known {
			name = plainName(b.Name)
		}
		if name == "" {
			continue
		}
		if name == "Headless Chrome" || isBotName(lower) {
			h.Bot = true
			h.Agent = spoor.Agent{Browser: name, Device: deviceBot}
			return
		}
		// An app or a browser that names itself only in the user agent
		// (Facebook, Vivaldi) sends the brand of Chrome.
		if name == "Chrome" && h.Agent.Browser != "" && h.Agent.Browser != "Chrome" {
			continue
		}
		h.Agent.Browser, h.Agent.BrowserVersion = name, shortVersion(b.Version)
		return
	}
	if h.Agent.Browser == "" {
		for _, b := range h.Hints.Brands[:min(len(h.Hints.Brands), brandsMax)] {
			if strings.EqualFold(b.Name, "Chromium") {
				h.Agent.Browser, h.Agent.BrowserVersion = "Chromium", shortVersion(b.Version)
			}
		}
	}
}

func platformHints(a *spoor.Agent, platform, version string) {
	same := a.OS == platform
	// Systems built on Android or Linux keep the name their user agent gives.
	if !same && a.OS != "" && (platform == "Linux" || platform == "Android" && a.OS != "Linux") {
		return
	}
	a.OS = platform
	if !same {
		a.OSVersion = ""
	}
	switch {
	case version == "":
	case platform == "Windows":
		a.OSVersion = windowsOf(version, a.OSVersion)
	case platform != "Linux": // there it is the kernel's
		a.OSVersion = shortVersion(version)
	}
}

// windowsOf reads the version hint of Windows, which counts releases of an
// API: 13 and more is Windows 11, 1 to 10 is Windows 10, 0 is older. Origin:
// Microsoft's page on detecting Windows 11.
func windowsOf(version, otherwise string) string {
	major := shortVersion(version)
	major, _, _ = strings.Cut(major, ".")
	switch {
	case major == "" || major == "0":
		return otherwise
	case len(major) == 1 || major < "13":
		return "10"
	}
	return "11"
}

// deviceHints trusts Mobile, and models that only tablets have. Mobile: no is
// sent by tablets and televisions as well, so it never makes a desktop of one.
func deviceHints(a *spoor.Agent, in *spoor.Hints, platform string) {
	if in.Model != "" && a.Device != deviceTV {
		if s := scanAgent(cutText(in.Model, agentMax)); s.flags&(flagTablet|flagTV) != 0 {
			a.Device = s.device()
			return
		}
	}
	switch {
	case in.Mobile == spoor.ChoiceGranted && (a.Device == "" || a.Device == deviceDesktop):
		a.Device = deviceMobile
	case in.Mobile == spoor.ChoiceDenied && platform == "Android" && (a.Device == deviceMobile || a.Device == deviceDesktop || a.Device == ""):
		a.Device = deviceTablet
	case a.Device == "" && (platform == "Windows" || platform == "macOS" || platform == "Linux" || platform == "ChromeOS"):
		a.Device = deviceDesktop
	}
}
