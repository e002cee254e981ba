package spoor

import "encoding/base64"

const (
	dailyMark    = '~'
	dailyBytes   = 16
	dailyLetters = 1 + (dailyBytes*8+5)/6
)

// NewDailyKey makes the profile key of a visitor who is known for a day only,
// from a keyed hash of at least 16 bytes.
func NewDailyKey(sum []byte) string {
	b := make([]byte, 0, dailyLetters)
	return string(base64.RawURLEncoding.AppendEncode(append(b, dailyMark), sum[:dailyBytes]))
}

// DailyKey reports whether a profile key is one of NewDailyKey. It may stand for
// several people behind one address, so it is never claimed by anybody nor
// merged into anybody, and no sender may give one.
func DailyKey(key string) bool { return len(key) == dailyLetters && key[0] == dailyMark }
