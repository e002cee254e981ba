package spoor

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
)

// Link is a signed link in a mail: a click that leads on to Target, or, without
// one, the way to opt out.
type Link struct {
	Key     string // write key
	Target  string // absolute address; empty: an opt-out link
	Profile string // key of the person who got the mail; empty: nobody
	Expires int64  // Unix seconds
}

// Sign is the hex of HMAC-SHA256, with the app's link secret, over the fields
// joined by newlines: key, target, profile, expiry.
func (l *Link) Sign(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join([]string{l.Key, l.Target, l.Profile, strconv.FormatInt(l.Expires, 10)}, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

// Signed reports whether a signature is the one of Sign. An app without a
// secret has signed nothing.
func (l *Link) Signed(secret, signature string) bool {
	// A newline in a field could move text from one into the next.
	return secret != "" && !strings.Contains(l.Key+l.Target+l.Profile, "\n") && hmac.Equal([]byte(l.Sign(secret)), []byte(signature))
}

// Path is the signed link without scheme and host.
func (l *Link) Path(secret string) string {
	path := "/c"
	q := url.Values{"k": {l.Key}, "x": {strconv.FormatInt(l.Expires, 10)}, "s": {l.Sign(secret)}}
	if l.Target == "" {
		path = "/o"
	} else {
		q.Set("u", l.Target)
	}
	if l.Profile != "" {
		q.Set("p", l.Profile)
	}
	return path + "?" + q.Encode()
}

// LinkTarget reports whether a link may lead to an address: it is absolute, of
// http or https, and has no user.
func LinkTarget(target string) bool {
	u, err := url.Parse(target)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && len(target) <= linkTargetMax
}

const linkTargetMax = 4096 // bytes
