package main

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// door is a way into the collector.
type door int

const (
	doorHit    door = iota // POST /hit, one object
	doorArray              // POST /hit, an array
	doorBatch              // POST /v1/batch, as a server library of Segment sends it
	doorPixel              // GET /pixel.gif
	doorPing               // POST /api/sdk/v1/ping/
	doorSDK                // POST /api/sdk/v1/event/ and screen_event/
	doorOpen               // GET /pixel.gif in a mail
	doorPerson             // POST /hit, an array: each visitor tells user id and e-mail address
	doorCount
)

// Lengths of the texts that are put into a prepared piece.
const (
	keyBytes     = 12 // of a visitor's cookie
	userBytes    = 12
	anonymous    = 36 // anonymousId, a UUID
	momentBytes  = 24 // 2026-03-04T11:59:52.131Z
	momentLayout = "2006-01-02T15:04:05.000Z"
	mailDomain   = "@mail.example"
	collectHost  = "collect.shop.example"
)

// piece is a prepared part of a request, and where the texts go that differ
// from one request to the next; 0 means nowhere.
type piece struct {
	raw                       []byte
	id, key, user, anon, time int
	writeKey, mail            int
}

// traffic prepares requests, so that sending one costs little more than a
// copy. It is shared by all connections and never changes.
type traffic struct {
	salt      uint64
	writeKeys []string           // by app; all of one length
	at        *url.URL           // of another server that takes these requests; nil: spoor's own paths
	pieces    [doorCount][]piece // persona × action: whole requests, or events of an array or a batch
}

// newTraffic prepares what goes through the given doors.
func newTraffic(salt uint64, writeKeys []string, doors ...door) *traffic {
	return newTrafficAt(nil, salt, writeKeys, doors...)
}

// newTrafficAt prepares the same for another server. A user in its URL takes
// the place of the write keys.
func newTrafficAt(at *url.URL, salt uint64, writeKeys []string, doors ...door) *traffic {
	if at != nil && at.User.Username() != "" {
		writeKeys = slices.Repeat([]string{at.User.Username()}, len(writeKeys))
	}
	t := &traffic{salt: salt, writeKeys: writeKeys, at: at}
	for i := range writeKeys {
		if len(writeKeys[i]) != len(writeKeys[0]) {
			panic("BUG: write keys of several lengths") // prepared requests have one place for them
		}
	}
	personas := newPersonas(salt)
	for _, d := range doors {
		if t.pieces[d] != nil {
			continue
		}
		t.pieces[d] = make([]piece, 0, len(personas)*len(actions))
		for i := range personas {
			for _, a := range actions {
				t.pieces[d] = append(t.pieces[d], marked(t.aim(t.text(d, &personas[i], a))))
			}
		}
	}
	return t
}

func (t *traffic) text(d door, p *persona, a action) string {
	switch d {
	case doorHit:
		return post("/hit", "text/plain;charset=UTF-8", p, t.native(p, a))
	case doorArray: // sent by the customer's server, which says for whom
		return strings.TrimSuffix(t.native(p, a), "}") + fmt.Sprintf(`,"ip":"%s","user_agent":"%s"}`, p.address, p.agent)
	case doorPerson:
		return t.person(p)
	case doorBatch:
		return segment(p, a)
	case doorPing:
		return t.sdkPing(p)
	case doorSDK:
		return t.sdkEvent(p, a)
	}
	if d == doorOpen {
		return t.open(p)
	}
	return t.pixel(p, a)
}

// Marks stand in a text where the parts go that differ. They have the length
// of what replaces them.
var (
	markID     = strings.Repeat("\x01", idBytes)
	markKey    = strings.Repeat("\x02", keyBytes)
	markUser   = strings.Repeat("\x03", userBytes)
	markAnon   = strings.Repeat("\x04", anonymous)
	markMoment = strings.Repeat("\x05", momentBytes)
	markMail   = strings.Repeat("\x07", userBytes)
)

func (t *traffic) markWriteKey() string { return strings.Repeat("\x06", len(t.writeKeys[0])) }

func marked(text string) piece {
	at := func(mark string) int { return max(0, strings.Index(text, mark)) }
	return piece{
		raw: []byte(text), id: at(markID), key: at(markKey), user: at(markUser), anon: at(markAnon), time: at(markMoment),
		writeKey: at("\x06"), mail: at(markMail),
	}
}

// native is a hit of the native protocol, as a script in a page sends it.
func (t *traffic) native(p *persona, a action) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"write_key":"%s","id":"%s","key":"%s"`, t.markWriteKey(), markID, markKey)
	if p.known {
		fmt.Fprintf(&b, `,"user_id":"%s"`, markUser)
	}
	if a.kind == "identify" && !p.known {
		a.kind = "ping"
	}
	fmt.Fprintf(&b, `,"type":"%s"`, a.kind)
	if a.name != "" {
		fmt.Fprintf(&b, `,"name":"%s"`, a.name)
	}
	fmt.Fprintf(&b, `,"url":"%s%s%s"`, p.origin, a.path, a.query)
	if a.referrer != "" {
		fmt.Fprintf(&b, `,"referrer":"%s"`, a.referrer)
	}
	fmt.Fprintf(&b, `,"title":"%s","resolution":"%s","language":"%s","timezone":"%s"`, a.title, p.screen, p.language, p.zone)
	if p.platform != "" {
		fmt.Fprintf(&b, `,"hints":{"mobile":%t,"platform":"%s","platform_version":"15.0.0"}`, p.mobile == "?1", p.platform)
	}
	if a.properties != "" {
		fmt.Fprintf(&b, `,"properties":%s`, a.properties)
	}
	if a.kind == "identify" {
		fmt.Fprintf(&b, `,"attributes":%s`, traits)
	}
	b.WriteByte('}')
	return b.String()
}

// person is what a customer's server tells of somebody.
func (t *traffic) person(p *persona) string {
	return fmt.Sprintf(`{"write_key":"%s","id":"%s","key":"%s","user_id":"%s","type":"identify","language":"%s","attributes":{"email":"%s%s","plan":"gold"},"ip":"%s","user_agent":"%s"}`,
		t.markWriteKey(), markID, markKey, markUser, p.language, markMail, mailDomain, p.address, p.agent)
}

// aim turns a whole request to the other server, if there is one.
func (t *traffic) aim(text string) string {
	method, rest, ok := strings.Cut(text, " ")
	if t.at == nil || !ok || method != "GET" && method != "POST" { // events of an array are no requests
		return text
	}
	path, rest, _ := strings.Cut(rest, " ")
	return method + " " + t.target(path) + " " + strings.Replace(rest, "Host: "+collectHost, "Host: "+t.host(), 1)
}

// target is what stands in the request line: the other server's path with our
// query.
func (t *traffic) target(path string) string {
	if t.at == nil {
		return path
	}
	_, query, _ := strings.Cut(path, "?")
	to := url.URL{Path: cmp.Or(t.at.Path, "/"), RawPath: t.at.RawPath, RawQuery: t.at.RawQuery}
	switch {
	case to.RawQuery == "":
		to.RawQuery = query
	case query != "":
		to.RawQuery += "&" + query
	}
	return to.RequestURI()
}

func (t *traffic) host() string {
	if t.at == nil {
		return collectHost
	}
	return t.at.Host
}

// userID is the id of a person at the customer's, which is also what the
// person's e-mail address begins with.
func userID(v visitor, salt uint64) string { return string(appendUserID(nil, v, salt)) }

func appendUserID(dst []byte, v visitor, salt uint64) []byte {
	return appendBase62(append(dst, 'c'), v.hash(salt, 6))
}

// post is a request as it leaves a browser and passes a proxy.
func post(path, contentType string, p *persona, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: collect.shop.example\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		path, p.headers("cors", "empty"), contentType, len(body), body)
}

// headers are what the persona's browser adds to a request across sites.
func (p *persona) headers(mode, destination string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "User-Agent: %s\r\nAccept: */*\r\nAccept-Language: %s,en;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n", p.agent, p.language)
	if mode == "cors" {
		fmt.Fprintf(&b, "Origin: %s\r\n", p.origin)
	}
	fmt.Fprintf(&b, "Referer: %s/\r\n", p.origin)
	if p.brands != "" {
		fmt.Fprintf(&b, "Sec-CH-UA: %s\r\nSec-CH-UA-Mobile: %s\r\nSec-CH-UA-Platform: \"%s\"\r\n", p.brands, p.mobile, p.platform)
	}
	fmt.Fprintf(&b, "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: %s\r\nSec-Fetch-Dest: %s\r\nX-Forwarded-For: %s\r\n", mode, destination, p.address)
	return b.String()
}

// pixel is the request of an image in a page.
func (t *traffic) pixel(p *persona, a action) string {
	escape := strings.NewReplacer(":", "%3A", "/", "%2F", "?", "%3F", "=", "%3D", "&", "%26", " ", "%20", "|", "%7C").Replace
	query := fmt.Sprintf("k=%s&c=%s&i=%s&u=%s&t=%s&s=%s&l=%s", t.markWriteKey(), markKey, markID,
		escape(p.origin+a.path+a.query), escape(a.title), p.screen, p.language)
	if a.referrer != "" {
		query += "&r=" + escape(a.referrer)
	}
	if a.name != "" {
		query += "&e=" + escape(a.name)
	}
	return fmt.Sprintf("GET /pixel.gif?%s HTTP/1.1\r\nHost: collect.shop.example\r\n%s\r\n", query, p.headers("no-cors", "image"))
}

// open is the request of a mail program for the image in a mail.
func (t *traffic) open(p *persona) string {
	return fmt.Sprintf("GET /pixel.gif?k=%s&c=%s&i=%s&y=mail_open HTTP/1.1\r\nHost: collect.shop.example\r\nUser-Agent: %s\r\nAccept: image/*\r\nX-Forwarded-For: %s\r\n\r\n",
		t.markWriteKey(), markKey, markID, p.agent, p.address)
}

// sdk is a request of a mobile SDK. An id is not sent by those of others; the
// ledger needs one.
func (t *traffic) sdk(p *persona, path, body string) string {
	return fmt.Sprintf("POST /api/sdk/v1/%s HTTP/1.1\r\nUser-Agent: Dart/3.5 (dart:io)\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\nContent-Length: %d\r\n"+
		"Authorization: Token %s\r\nX-User-Key: %s\r\nIdempotency-Key: %s\r\nHost: collect.shop.example\r\nX-Forwarded-For: %s\r\n\r\n%s",
		path, len(body), t.markWriteKey(), markKey, markID, p.address, body)
}

// sdkPing is what an app sends at each start. Each device has a push token.
func (t *traffic) sdkPing(p *persona) string {
	user := ""
	if p.known {
		user = `,"user_id":"` + markUser + `"`
	}
	return t.sdk(p, "ping/", fmt.Sprintf(`{"customer":{"userKey":"","device":1%s},"device":{"lib_version":"0.0.5","os_type":"Android","version":"14","sdk":"34",`+
		`"device":"shiba","model":"Pixel 8","manufacturer":"Google","fcm_key":"%s","is_root":false}}`, user, markAnon))
}

// sdkEvent is a page as a screen, and all else as an event.
func (t *traffic) sdkEvent(p *persona, a action) string {
	switch {
	case a.kind == "page":
		return t.sdk(p, "screen_event/", fmt.Sprintf(`{"data":{"event":"opened","screen_name":"%s"},"event":"ScreenEvent"}`, a.title))
	case a.kind == "product":
		return t.sdk(p, "event/", fmt.Sprintf(`{"event":"product","timestamp":"%s","event_type":"%s","data":%s}`, markMoment, a.name, a.properties))
	case a.name == "":
		return t.sdk(p, "event/", `{"event":"logout","logout":true}`)
	}
	return t.sdk(p, "event/", fmt.Sprintf(`{"event":"%s","timestamp":"%s","data":%s}`, a.name, markMoment, a.properties))
}

// segment is an event as Segment's library for Node sends it in a batch.
func segment(p *persona, a action) string {
	kind, rest := "track", ""
	page := fmt.Sprintf(`{"path":"%s","url":"%s%s%s","referrer":"%s","title":"%s"}`, a.path, p.origin, a.path, a.query, a.referrer, a.title)
	switch {
	case a.kind == "page":
		kind, rest = "page", fmt.Sprintf(`"name":"%s","properties":%s`, a.title, page)
	case a.kind == "identify" && p.known:
		kind, rest = "identify", `"traits":`+traits
	case a.name == "":
		rest = `"event":"Seen","properties":{}`
	default:
		rest = fmt.Sprintf(`"event":"%s","properties":%s`, a.name, a.properties)
	}
	user := ""
	if p.known {
		user = `"userId":"` + markUser + `",`
	}
	return fmt.Sprintf(`{"type":"%s",%s,%s"anonymousId":"%s","messageId":"node-next-%s","timestamp":"%s",`+
		`"context":{"ip":"%s","userAgent":"%s","locale":"%s","timezone":"%s","page":%s,"library":{"name":"@segment/analytics-node","version":"3.1.0"}},`+
		`"_metadata":{"nodeVersion":"22.11.0","jsRuntime":"node"},"integrations":{}}`,
		kind, rest, user, markAnon, markID, markMoment, p.address, p.agent, p.language, p.zone, page)
}

// messagePrefix stands before the id in a messageId.
const messagePrefix = "node-next-"

// appendPiece appends a piece for a hit, and numbers the event.
func (t *traffic) appendPiece(dst []byte, p *piece, h hit, e event, now time.Time) []byte {
	at := len(dst)
	dst = append(dst, p.raw...)
	e.appendID(dst[at+p.id:at+p.id:len(dst)], now.UnixMilli(), t.salt)
	if p.writeKey > 0 {
		copy(dst[at+p.writeKey:], t.writeKeys[h.app])
	}
	if p.key > 0 {
		appendKey(dst[at+p.key:at+p.key:len(dst)], h.who, t.salt)
	}
	if p.user > 0 {
		appendUserID(dst[at+p.user:at+p.user:len(dst)], h.who, t.salt)
	}
	if p.mail > 0 {
		appendUserID(dst[at+p.mail:at+p.mail:len(dst)], h.who, t.salt)
	}
	if p.anon > 0 {
		appendUUID(dst[at+p.anon:at+p.anon:len(dst)], h.who.hash(t.salt, 7), h.who.hash(t.salt, 8))
	}
	if p.time > 0 {
		copy(dst[at+p.time:], now.Format(momentLayout)) // AppendFormat writes past what it keeps
	}
	return dst
}

func (t *traffic) choose(d door, h hit) *piece {
	return &t.pieces[d][h.who.persona(t.salt)*actionCount+h.action]
}

// appendRequest appends a whole request with the given hits, of which the
// first event is e and the others follow in sequence. now is in UTC.
func (t *traffic) appendRequest(dst []byte, d door, hits []hit, e event, now time.Time) []byte {
	if d != doorArray && d != doorBatch && d != doorPerson {
		return t.appendPiece(dst, t.choose(d, hits[0]), hits[0], e, now)
	}
	open, end := "[", "]"
	path, auth := "/hit", ""
	if d == doorBatch {
		open = `{"batch":[`
		end = `],"sentAt":"` + now.Format(momentLayout) + `"}`
		path = "/v1/batch"
		auth = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(t.writeKeys[hits[0].app]+":")) + "\r\n"
	}
	length := len(open) + len(end) + len(hits) - 1
	for _, h := range hits {
		length += len(t.choose(d, h).raw)
	}
	dst = fmt.Appendf(dst, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: axios/1.7.9\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", t.target(path), t.host(), auth, length, open)
	for i, h := range hits {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = t.appendPiece(dst, t.choose(d, h), h, e, now)
		e.seq++
	}
	return append(dst, end...)
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// appendBase62 appends 11 characters, which hold 64 bits.
func appendBase62(dst []byte, n uint64) []byte {
	for range 11 {
		dst = append(dst, base62[n%62])
		n /= 62
	}
	return dst
}

// appendKey appends the visitor's cookie.
func appendKey(dst []byte, v visitor, salt uint64) []byte {
	h := v.hash(salt, 5)
	return append(appendBase62(dst, h), base62[mix(h)%62])
}

func appendUUID(dst []byte, a, b uint64) []byte {
	const digits = "0123456789abcdef"
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			dst = append(dst, '-')
		}
		n := a
		if i >= 16 {
			n = b
		}
		dst = append(dst, digits[n>>(4*(i&15))&15])
	}
	return dst
}
