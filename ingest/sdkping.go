package ingest

import (
	"crypto/rand"
	"strconv"
	"strings"

	"github.com/spoorhq/spoor"
)

// advertising names the ids that the system lends to advertisers. They follow
// a person across apps, and nothing here needs them: they are never kept.
var advertising = map[string]bool{
	"idfa": true, "iosidfa": true, "gaid": true, "gpsadid": true, "googleadid": true, "aaid": true, "adid": true, "oaid": true,
	"advertisingid": true, "advertisingidentifier": true, "androidadvertisingid": true, "idforadvertisers": true,
}

const advertisingLongest = 40

// forAdvertisers reports whether a name is one of an id for advertisers, in
// whatever spelling: advertising_id, advertisingId.
func forAdvertisers(name string) bool {
	if len(name) > advertisingLongest {
		return false
	}
	plain := make([]byte, 0, advertisingLongest)
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			plain = append(plain, c+'a'-'A')
		case c != '_' && c != '-' && c != '.' && c != '$':
			plain = append(plain, c)
		}
	}
	return advertising[string(plain)]
}

// sdkDevice is what an SDK says about the device that it runs on.
type sdkDevice struct {
	hints                      spoor.Hints
	language, zone, resolution string
	token                      string
	properties                 []byte // what else it says: version of the app, carrier …
}

// decodePing reads who uses the device, and which device it is. Without a key
// the client is given one.
func (rq *request) decodePing(f *flaw, h *spoor.Hit, b *sdkBody, device *sdkDevice) {
	d := &rq.sdk
	h.Kind = spoor.KindPing
	var key string
	if b.customer != "" {
		rq.readCustomer(f, h, &key, b.customer)
	}
	if d.key == "" {
		d.sent, d.key = key, key
	}
	if d.key == "" {
		d.key = mint(h.App, seed("ping", d.id, b.customer, b.device))
	}
	if b.device != "" {
		if b.device[0] != '{' {
			f.set(reasonValue, "device")
			return
		}
		device.read(rq, b.device)
	}
	if h.MobileAdd == "" {
		h.MobileAdd = device.token
	}
	h.Properties = closed(device.properties)
}

// seed is what a key is minted from: the id of what brings none with all that it
// says of person and device, so that it is given the same key when it is sent
// again; or chance, if others could have the same id.
func seed(form, id, customer, device string) string {
	if len(id) < loadBytesMin {
		return rand.Text()
	}
	return strings.Join([]string{form, id, customer, device}, "\n")
}

// readCustomer reads user id, key and attributes.
func (rq *request) readCustomer(f *flaw, h *spoor.Hit, key *string, raw string) {
	if raw[0] != '{' {
		if raw != "null" {
			f.set(reasonValue, "customer")
		}
		return
	}
	for w := enter(raw); w.more(); {
		name, value := w.name(), w.value()
		switch name {
		case "userKey", "user_key":
			rq.readID(f, key, value, "userKey")
			continue
		case "user_id":
			rq.readID(f, &h.UserID, value, name)
			continue
		case "fcm_key":
			rq.readToken(&h.MobileAdd, value)
			continue
		case "device": // one SDK says 1 to everybody
			continue
		}
		if forAdvertisers(name) {
			continue
		}
		if canonical, ok := attributeNames[name]; ok {
			name = canonical
		}
		rq.addAttribute(h, name, value)
	}
}

// readToken reads a push token. One that cannot be a token is left out: the
// rest of the ping is worth more.
func (rq *request) readToken(dst *string, raw string) {
	var f flaw
	if rq.readID(&f, dst, raw, "fcm_key"); f.reason != "" {
		rq.cut++
	}
}

// read reads a device from an object. The system's name and version become
// hints, which tell more than the user agent of the SDK's HTTP library.
func (d *sdkDevice) read(rq *request, raw string) {
	var width, height float64
	for w := enter(raw); w.more(); {
		w.skip()
		start := w.i
		name, value := w.name(), w.value()
		if forAdvertisers(name) || name == "identifier" { // so one SDK calls the IDFA
			continue
		}
		switch name {
		case "os_type":
			hintText(&d.hints.Platform, value)
			continue
		case "version", "os_version":
			hintText(&d.hints.PlatformVersion, value)
			continue
		case "fcm_key":
			rq.readToken(&d.token, value)
			continue
		case "language":
			softText(&d.language, value)
			continue
		case "timezone":
			softText(&d.zone, value)
			continue
		case "model":
			hintText(&d.hints.Model, value)
		case "screen_width":
			width, _ = strconv.ParseFloat(value, 64)
		case "screen_height":
			height, _ = strconv.ParseFloat(value, 64)
		}
		d.properties = appendRaw(d.properties, raw[start:w.i])
	}
	switch strings.ToLower(strings.TrimSpace(d.hints.Platform)) {
	case "android", "ios": // tablets are told by their model
		d.hints.Mobile = spoor.ChoiceGranted
	}
	if width >= 1 && height >= 1 && width < 1e5 && height < 1e5 {
		d.resolution = strconv.Itoa(int(width)) + "x" + strconv.Itoa(int(height))
	}
}

// describe tells the hit where it comes from. The user agent of an HTTP library
// says nothing about the device, and some would pass for a bot's; that of a
// browser (an app made of web pages) or of Android itself does.
func (d *sdkDevice) describe(rq *request, h *spoor.Hit) {
	h.IP, h.Hints = rq.ip, d.hints
	h.Language, h.TimeZone, h.Resolution = d.language, d.zone, d.resolution
	if strings.HasPrefix(rq.agent, "Mozilla/") || strings.HasPrefix(rq.agent, "Dalvik/") {
		h.UserAgent, h.Hints = rq.agent, merged(rq.hints, d.hints)
	}
}
