package ingest

import "github.com/spoorhq/spoor"

// Reasons that the front door itself gives. Stages behind it give those of
// package spoor; refusals has a line for each.
const (
	reasonFraming        spoor.Reason = "bad_framing"
	reasonTarget         spoor.Reason = "bad_target"
	reasonVersion        spoor.Reason = "http_version"
	reasonMethodUnknown  spoor.Reason = "unknown_method"
	reasonHeaderCount    spoor.Reason = "too_many_headers"
	reasonHeaderBytes    spoor.Reason = "headers_too_large"
	reasonTimeout        spoor.Reason = "request_timeout"
	reasonTruncated      spoor.Reason = "truncated_body"
	reasonNotFound       spoor.Reason = "not_found"
	reasonMethod         spoor.Reason = "method_not_allowed"
	reasonBodyBytes      spoor.Reason = "body_too_large"
	reasonInflatedBytes  spoor.Reason = "inflated_too_large"
	reasonGzip           spoor.Reason = "bad_gzip"
	reasonEncoding       spoor.Reason = "unsupported_encoding"
	reasonMultipart      spoor.Reason = "multipart"
	reasonEmptyBody      spoor.Reason = "empty_body"
	reasonEmptyBatch     spoor.Reason = "empty_batch"
	reasonEvents         spoor.Reason = "too_many_events"
	reasonEventBytes     spoor.Reason = "event_too_large"
	reasonDepth          spoor.Reason = "too_deep"
	reasonJSON           spoor.Reason = "invalid_json"
	reasonValue          spoor.Reason = "bad_value"
	reasonTime           spoor.Reason = "bad_time"
	reasonIDLength       spoor.Reason = "id_too_long"
	reasonNameLength     spoor.Reason = "name_too_long"
	reasonNoName         spoor.Reason = "name_missing"
	reasonType           spoor.Reason = "unknown_type"
	reasonOtherKey       spoor.Reason = "other_write_key"
	reasonNoKey          spoor.Reason = "no_write_key"
	reasonUnknownKey     spoor.Reason = "unknown_write_key"
	reasonOrigin         spoor.Reason = "origin_not_allowed"
	reasonRate           spoor.Reason = "rate_limited"
	reasonQueue          spoor.Reason = "queue_full"
	reasonDisk           spoor.Reason = "disk_full"
	reasonStopping       spoor.Reason = "shutting_down"
	reasonStore          spoor.Reason = "store_failed"
	reasonMemory         spoor.Reason = "overloaded"
	reasonConnections    spoor.Reason = "too_many_connections"
	reasonPerAddress     spoor.Reason = "too_many_from_address"
	reasonPanic          spoor.Reason = "internal_error"
	reasonConsentMissing spoor.Reason = "consent_missing"
	reasonSignal         spoor.Reason = "opted_out"
	reasonChildren       spoor.Reason = "children"
	reasonSDKOff         spoor.Reason = "sdk_off"
	reasonLink           spoor.Reason = "link_not_signed"
	reasonLinkExpired    spoor.Reason = "link_expired"
	reasonLinkTarget     spoor.Reason = "link_target"
	reasonExcluded       spoor.Reason = "excluded"
	reasonHandshakes     spoor.Reason = "too_many_handshakes"
	reasonClear          spoor.Reason = "https_only"
	reasonHost           spoor.Reason = "unknown_host"
	reasonOther          spoor.Reason = "refused"
)

// refusal is what a sender is told. The reason is also the name of its
// counters in Stats.
type refusal struct {
	reason spoor.Reason
	status int
	text   string // what to do; never repeats what the client sent
	retry  int    // seconds for Retry-After; 0: a repeat does not help
	close  bool   // end the connection: its framing cannot be trusted any more, or it has to go
}

// refusals is every reason to turn a request or an event away. No other file
// names a refusal status. Three choices follow from how published clients
// act: what may succeed later is 429 or 503, because those are repeated; a
// full disk is 503 and not 507, which few clients know; an erased person is
// 403 and not 410, which some clients repeat.
var refusals = []refusal{
	{reasonFraming, 400, "the request is not well-formed HTTP; send one Content-Length or one chunked Transfer-Encoding, one Host, and no folded header lines", 0, true},
	{reasonTarget, 400, "the request target must begin with a slash and hold no NUL; send the path, not a whole URL", 0, true},
	{reasonVersion, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here; put a proxy in front for other versions", 0, true},
	{reasonMethodUnknown, 501, "this method is not known; use GET, HEAD, POST or OPTIONS", 0, true},
	{reasonHeaderCount, 431, "too many header lines; send fewer", 0, true},
	{reasonHeaderBytes, 431, "the headers are too large; send fewer cookies or a shorter query", 0, true},
	{reasonTimeout, 408, "the request did not arrive in time; send it again", 1, true},
	{reasonTruncated, 400, "the body ended before its announced length; send it again whole", 0, true},
	{reasonNotFound, 404, "nothing is here; send hits to POST /hit, GET /pixel.gif, POST /v1/track, page, screen, identify, alias, group, batch, or below /api/sdk/v1/; pages load /widget.js", 0, false},
	{reasonMethod, 405, "this path wants another method; see the Allow header", 0, false},
	{reasonBodyBytes, 413, "the body is too large; send smaller batches", 0, false},
	{reasonInflatedBytes, 413, "the body is too large after decompression; send smaller batches", 0, false},
	{reasonGzip, 400, "the body is not whole gzip; send it again, or uncompressed", 0, false},
	{reasonEncoding, 415, "this Content-Encoding is not understood; use gzip or none", 0, false},
	{reasonMultipart, 415, "multipart bodies are not taken; send JSON", 0, false},
	{reasonEmptyBody, 400, "the body is empty; send a JSON object, an array of objects, or one object per line", 0, false},
	{reasonEmptyBatch, 400, "the batch holds no event; send at least one", 0, false},
	{reasonEvents, 413, "too many events in one request; split the batch", 0, false},
	{reasonEventBytes, 413, "the event is too large; send less with it", 0, false},
	{reasonDepth, 400, "the JSON is nested too deeply; flatten it", 0, false},
	{reasonJSON, 400, "the JSON is not valid; check UTF-8, surrogates, repeated names and commas", 0, false},
	{reasonValue, 400, "a field has the wrong type or holds a NUL; see field, and the list of fields", 0, false},
	{reasonTime, 400, "a time cannot be read; send ISO 8601, or Unix seconds, milliseconds or microseconds", 0, false},
	{reasonIDLength, 400, "an id is longer than 512 bytes; send a shorter one", 0, false},
	{reasonNameLength, 400, "the name of the event is longer than 256 bytes; put what varies into properties", 0, false},
	{reasonNoName, 400, "the event has no name; send one", 0, false},
	{reasonType, 400, "the type is not known; send page, screen, event or track, identify, alias or group", 0, false},
	{reasonOtherKey, 400, "the event names another write key than the request; send one request for each key", 0, false},
	{reasonNoKey, 401, "there is no write key; send it as write_key, as k in the query, in X-Write-Key, or in Authorization as Token, Bearer or the user of Basic", 0, false},
	{reasonUnknownKey, 401, "the write key is not known or has expired; check it against the keys of the app", 0, false},
	{reasonOrigin, 403, "this web origin may not send to the app; add it to the app's origins", 0, false},
	{reasonRate, 429, "the app sends more events than its limit; wait as Retry-After says and send again", 1, false},
	{reasonQueue, 503, "the server cannot take more at this moment; send again, with the same id, as Retry-After says", 1, false},
	{reasonDisk, 503, "the disk of the server is almost full; nothing was kept, free space and send again", 30, false},
	{reasonStopping, 503, "the server is stopping; nothing was kept, send again", 2, true},
	{reasonStore, 503, "the store could not keep this; send again as Retry-After says, and see the server's log", 5, false},
	{reasonMemory, 503, "too many request bodies are in flight; send again as Retry-After says", 1, true},
	{reasonConnections, 503, "too many connections are open; use fewer, or raise the limit", 2, true},
	{reasonPerAddress, 503, "too many connections from this address; use fewer, or name the proxy in front as trusted", 2, true},
	{reasonHandshakes, 503, "too many TLS handshakes are under way; use fewer new connections, or raise the limits of connections", 2, true},
	{reasonClear, 403, "this port is not encrypted and takes nothing in, nothing was kept; send to the same path by https", 0, true},
	{reasonHost, 421, "this server has no certificate for that host; use one of its names, by https", 0, true},
	{reasonPanic, 500, "the server made a mistake with this request; it was counted and logged", 0, true},
	{reasonConsentMissing, 403, "the app takes nothing before consent to analytics; ask, and send consent with the hit", 0, false},
	{reasonSignal, 403, "the browser signals that its user does not want this (Sec-GPC or DNT), and the app heeds it; nothing was kept", 0, false},
	{reasonChildren, 403, "the app is for children and recognises nobody; send no persons", 0, false},
	{reasonSDKOff, 403, "the app takes nothing from mobile SDKs; its setting sdk_mode is off", 0, false},
	{reasonExcluded, 403, "the app excludes such hits; field names the setting", 0, false},
	{reasonLink, 403, "it is not signed by the app it names, or was changed; make it with spoor link", 0, false},
	{reasonLinkExpired, 410, "it has expired; look for a newer one", 0, false},
	{reasonLinkTarget, 400, "its target is no address of http or https of at most 4096 bytes", 0, false},
	{reasonOther, 400, "the hit was refused by a later stage", 0, false},

	{spoor.ReasonConsent, 403, "the sender said that analytics is not consented to; nothing was kept", 0, false},
	{spoor.ReasonNobody, 400, "neither a profile key nor a user id says who this is; send one", 0, false},
	{spoor.ReasonErased, 403, "the person was erased after this happened; nothing was kept", 0, false},
	{spoor.ReasonObject, 403, "the person objected to being tracked; nothing was kept, stop sending for this person", 0, false},
	{spoor.ReasonClosed, 403, "the app takes no data any more", 0, false},
	{spoor.ReasonTooLarge, 413, "the event is larger than the log takes in one record; nothing of it was kept, send less with it", 0, false},
}

// refusalIndex finds a reason's line; it never changes after start.
var refusalIndex = func() map[spoor.Reason]int {
	m := make(map[spoor.Reason]int, len(refusals))
	for i, r := range refusals {
		m[r.reason] = i
	}
	return m
}()

// lookup is the index of a reason's line. A reason that the table does not
// know, from a newer stage, is answered as reasonOther.
func lookup(reason spoor.Reason) int {
	if i, ok := refusalIndex[reason]; ok {
		return i
	}
	return refusalIndex[reasonOther]
}

// Advice is what a sender who was refused for a reason is told to do; empty for
// a reason that is not known.
func Advice(reason spoor.Reason) string {
	if i, ok := refusalIndex[reason]; ok {
		return refusals[i].text
	}
	return ""
}
