package ingest

import (
	"strings"

	"github.com/spoorhq/spoor"
)

// junkIDs are texts that programs send in place of an id. Taken at their word
// they would make one person of everybody who has none.
var junkIDs = map[string]bool{
	"null": true, "undefined": true, "none": true, "nil": true, "nan": true,
	"true": true, "false": true, "0": true, "-1": true, "(null)": true, "(none)": true,
	"[object object]": true, "anonymous": true, "guest": true, "unknown": true,
	"not_authenticated": true, "distinct_id": true, "anonymousid": true, "userid": true, "user_id": true,
	"{}": true, "[]": true, `""`: true, "''": true, "<nil>": true,
}

const junkLongest = 17 // not_authenticated

// junk reports whether an id identifies nobody. An empty one does not count:
// it is absent.
func junk(id string) bool {
	if id == "" {
		return false
	}
	if (id[0] == '0' || id[0] == '-') && len(id) > 1 && strings.Trim(id, "0-") == "" { // all-zero UUIDs and device ids
		return true
	}
	if len(id) > junkLongest {
		return spoor.DailyKey(id) // ours to give
	}
	var lower [junkLongest]byte // strings.ToLower would allocate for most good ids
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 0x80: // the Kelvin sign is a k
			return junkIDs[strings.ToLower(id)]
		case c >= 'A' && c <= 'Z':
			lower[i] = c + 'a' - 'A'
		default:
			lower[i] = c
		}
	}
	return junkIDs[string(lower[:len(id)])]
}
