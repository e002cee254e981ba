package ingest

import "strings"

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
	if strings.Trim(id, "0-") == "" && len(id) > 1 { // all-zero UUIDs and device ids
		return true
	}
	return id != "" && len(id) <= junkLongest && junkIDs[strings.ToLower(id)]
}
