package enrich

// agentToken is what one token of a user agent proves.
type agentToken struct {
	os, browser string
	rank        uint8 // of os or browser; the highest that is found counts
	flags       agentFlags
	bot         bool
}

func osToken(name string, rank uint8, flags agentFlags) agentToken {
	return agentToken{os: name, rank: rank, flags: flags}
}

func browserToken(name string, rank uint8) agentToken {
	return agentToken{browser: name, rank: rank}
}

var (
	botToken     = agentToken{bot: true}
	libraryToken = agentToken{flags: flagLibrary}
)

// agentTokens is every token that means something, in small letters.
//
// Origin: written for spoor from the user agents that browsers, devices and
// crawlers send and their makers document; not copied from any list. The lines
// of testdata/useragents.tsv hold it to account.
//
// Ranks of systems: a kernel 1, a family 2-5, what is built on one 6 and more.
// Ranks of browsers: an engine's own 3-5, browsers built on it 7, apps that
// show pages inside themselves 8-9.
var agentTokens = map[string]agentToken{
	"linux": osToken("Linux", 1, flagDesktop), "x11": osToken("Linux", 1, flagDesktop), "ubuntu": osToken("Linux", 1, flagDesktop),
	"freebsd": osToken("FreeBSD", 2, flagDesktop), "openbsd": osToken("OpenBSD", 2, flagDesktop), "netbsd": osToken("NetBSD", 2, flagDesktop),
	"sunos": osToken("Solaris", 2, flagDesktop),
	"mac":   osToken("macOS", 2, flagDesktop), "macintosh": osToken("macOS", 2, flagDesktop), "macos": osToken("macOS", 3, flagDesktop),
	"windows": osToken("Windows", 4, flagDesktop), "win64": osToken("Windows", 4, flagDesktop),
	"android": osToken("Android", 5, flagAndroid), "adr": osToken("Android", 5, flagAndroid),
	"cros":   osToken("ChromeOS", 6, flagDesktop),
	"iphone": osToken("iOS", 6, flagMobile), "ipod": osToken("iOS", 6, flagMobile), "ios": osToken("iOS", 6, flagMobile),
	"ipad": osToken("iPadOS", 7, flagTablet), "ipados": osToken("iPadOS", 7, flagTablet),
	"appletv": osToken("tvOS", 8, flagTV), "tvos": osToken("tvOS", 8, flagTV), "watchos": osToken("watchOS", 8, flagMobile),
	"tizen": osToken("Tizen", 7, 0), "web0s": osToken("webOS", 7, flagTV), "webos": osToken("webOS", 7, 0), "hpwos": osToken("webOS", 7, 0),
	"netcast": osToken("NetCast", 7, flagTV), "roku": osToken("Roku", 7, flagTV), "crkey": osToken("Chromecast", 7, flagTV),
	"kaios": osToken("KaiOS", 7, flagMobile), "harmonyos": osToken("HarmonyOS", 7, 0), "openharmony": osToken("HarmonyOS", 7, 0),
	"sailfish": osToken("Sailfish", 7, flagMobile), "meego": osToken("MeeGo", 7, flagMobile),
	"blackberry": osToken("BlackBerry", 7, flagMobile), "bb10": osToken("BlackBerry", 7, flagMobile),
	"symbian": osToken("Symbian", 7, flagMobile), "symbianos": osToken("Symbian", 7, flagMobile), "series60": osToken("Symbian", 7, flagMobile),
	"xbox": osToken("Xbox", 8, flagTV), "playstation": osToken("PlayStation", 8, flagTV), "nintendo": osToken("Nintendo", 8, flagTV),
	"vita": osToken("PlayStation", 9, flagTablet),

	"chrome":   {browser: "Chrome", rank: 3, flags: flagChrome},
	"chromium": {browser: "Chromium", rank: 4, flags: flagChrome},
	"crios":    browserToken("Chrome", 5), "firefox": browserToken("Firefox", 3), "fxios": browserToken("Firefox", 5),
	"msie": browserToken("Internet Explorer", 3), "trident": {browser: "Internet Explorer", rank: 2}, "iemobile": browserToken("Internet Explorer", 8),
	"edg": browserToken("Edge", 7), "edge": browserToken("Edge", 7), "edga": browserToken("Edge", 7), "edgios": browserToken("Edge", 7),
	"opr": browserToken("Opera", 7), "opera": browserToken("Opera", 7), "opios": browserToken("Opera", 7), "opt": browserToken("Opera", 7), "opx": browserToken("Opera", 7),
	"samsungbrowser": browserToken("Samsung Internet", 7), "yabrowser": browserToken("Yandex", 7),
	"ucbrowser": browserToken("UC Browser", 7), "ubrowser": browserToken("UC Browser", 7),
	"vivaldi": browserToken("Vivaldi", 7), "brave": browserToken("Brave", 7), "whale": browserToken("Whale", 7), "silk": browserToken("Silk", 7),
	"miuibrowser": browserToken("MIUI Browser", 7), "huaweibrowser": browserToken("Huawei Browser", 7),
	"heytapbrowser": browserToken("HeyTap Browser", 7), "vivobrowser": browserToken("Vivo Browser", 7),
	"qqbrowser": browserToken("QQ Browser", 7), "mqqbrowser": browserToken("QQ Browser", 7), "baidubrowser": browserToken("Baidu Browser", 7),
	"duckduckgo": browserToken("DuckDuckGo", 7), "ddg": browserToken("DuckDuckGo", 8),
	"focus": browserToken("Firefox Focus", 7), "klar": browserToken("Firefox Focus", 7), "seamonkey": browserToken("SeaMonkey", 7),
	"palemoon": browserToken("Pale Moon", 7), "waterfox": browserToken("Waterfox", 7), "konqueror": browserToken("Konqueror", 7),
	"epiphany": browserToken("Epiphany", 7), "falkon": browserToken("Falkon", 7), "puffin": browserToken("Puffin", 7), "maxthon": browserToken("Maxthon", 7),
	"coc_coc_browser": browserToken("Coc Coc", 7), "oculusbrowser": browserToken("Oculus Browser", 7), "electron": browserToken("Electron", 6),
	"nintendobrowser": browserToken("Nintendo Browser", 7), "nokiabrowser": browserToken("Nokia Browser", 7), "avast": browserToken("Avast", 7),
	"fban": browserToken("Facebook", 8), "fb_iab": browserToken("Facebook", 8), "fbav": browserToken("Facebook", 9), "instagram": browserToken("Instagram", 10),
	"snapchat": browserToken("Snapchat", 8), "musical_ly": browserToken("TikTok", 8), "trill": browserToken("TikTok", 8), "bytedancewebview": browserToken("TikTok", 8),
	"pinterest": browserToken("Pinterest", 8), "twitter": browserToken("Twitter", 8), "linkedinapp": browserToken("LinkedIn", 8),
	"line": browserToken("Line", 8), "micromessenger": browserToken("WeChat", 8), "gsa": browserToken("Google App", 8), "kakaotalk": browserToken("KakaoTalk", 8),

	"safari": {flags: flagSafari}, "wv": {flags: flagWebView}, "k": {flags: flagFrozen},
	"mobile": {flags: flagMobile}, "mobi": {flags: flagMobile}, "midp": {flags: flagMobile}, "mini": {flags: flagMobile},
	"smart-tv": {flags: flagTV}, "smarttv": {flags: flagTV}, "tv": {flags: flagTV}, "hbbtv": {flags: flagTV}, "googletv": {flags: flagTV},
	"bravia": {flags: flagTV}, "viera": {flags: flagTV}, "dtv": {flags: flagTV}, "aquos": {flags: flagTV}, "mitv": {flags: flagTV}, "mibox": {flags: flagTV},
	"chromecast": {flags: flagTV}, "smart": {},
	"kindle": {browser: "Kindle", rank: 7, flags: flagTablet}, "playbook": osToken("BlackBerry", 8, flagTablet), "touchpad": {flags: flagTablet}, "xoom": {flags: flagTablet},
	"transformer": {flags: flagTablet}, "pad": {flags: flagTablet}, "tab": {flags: flagTablet},

	"mozilla": {}, "applewebkit": {}, "gecko": {}, "khtml": {}, "presto": {}, "build": {},

	// Crawlers, previews and monitors whose names do not say so.
	"slurp": botToken, "facebookexternalhit": botToken, "facebookcatalog": botToken, "meta-externalagent": botToken, "meta-externalfetcher": botToken,
	"mediapartners-google": botToken, "apis-google": botToken, "feedfetcher-google": botToken, "google-inspectiontool": botToken,
	"googleother": botToken, "google-read-aloud": botToken, "google-extended": botToken, "google-safety": botToken, "googleassociationservice": botToken,
	"bingpreview": botToken, "adidxbot": botToken, "ia_archiver": botToken, "archive.org_bot": botToken, "chatgpt-user": botToken,
	"anthropic-ai": botToken, "claude-web": botToken, "claude-user": botToken, "perplexity-user": botToken, "cohere-ai": botToken, "youbot": botToken,
	"whatsapp": botToken, "skypeuripreview": botToken, "embedly": botToken, "iframely": botToken, "vkshare": botToken, "redditbot": botToken,
	"feedly": botToken, "feedburner": botToken, "nagios": botToken, "check_http": botToken, "pingdom": botToken, "statuscake": botToken,
	"chrome-lighthouse": botToken, "gtmetrix": botToken, "ptst": botToken, "zgrab": botToken, "masscan": botToken, "nmap": botToken, "nikto": botToken,
	"sqlmap": botToken, "nutch": botToken, "heritrix": botToken, "httrack": botToken, "censysinspect": botToken, "expanse": botToken, "datanyze": botToken,
	"bubing": botToken, "qwantify": botToken, "yeti": botToken, "daum": botToken, "sogou": botToken, "w3c_validator": botToken, "validator.nu": botToken,
	"blackbox-exporter": botToken, "kube-probe": botToken, "googlehc": botToken, "elb-healthchecker": botToken, "site24x7": botToken, "newrelicpinger": botToken,

	// Browsers under a program's control.
	"headlesschrome": botToken, "phantomjs": botToken, "slimerjs": botToken, "puppeteer": botToken, "playwright": botToken, "selenium": botToken, "cypress": botToken,

	// HTTP libraries and tools.
	"curl": botToken, "wget": botToken, "libcurl": botToken, "python-requests": botToken, "python-urllib": botToken, "python": botToken,
	"python-httpx": botToken, "aiohttp": botToken, "httpx": botToken, "go-http-client": botToken, "fasthttp": botToken, "java": botToken, "apache-httpclient": botToken,
	"jakarta": botToken, "axios": botToken, "node-fetch": botToken, "node": botToken, "undici": botToken, "got": botToken, "superagent": botToken,
	"libwww-perl": botToken, "lwp": botToken, "perl": botToken, "ruby": botToken, "faraday": botToken, "php": botToken, "guzzlehttp": botToken, "guzzle": botToken,
	"postmanruntime": botToken, "insomnia": botToken, "httpie": botToken, "winhttp": botToken, "powershell": botToken, "windowspowershell": botToken,
	"reqwest": botToken, "rest-client": botToken, "restsharp": botToken, "typhoeus": botToken, "mechanize": botToken, "colly": botToken, "deno": botToken, "bun": botToken,

	// Libraries that speak for others; what they call themselves is no device.
	"analytics-node": libraryToken, "analytics-python": libraryToken, "analytics-ruby": libraryToken, "analytics-php": libraryToken,
	"analytics-go": libraryToken, "analytics-java": libraryToken, "analytics-csharp": libraryToken, "rudder-sdk-node": libraryToken,
	"rudderanalytics": libraryToken, "rudder-sdk-python": libraryToken, "rudder-sdk-go": libraryToken, "rudder-sdk-java": libraryToken, "jitsu-js": libraryToken,
}
