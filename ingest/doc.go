// Package ingest is the front door: it takes hits in over HTTP and gives them
// to a Sink. A 2xx means that the Sink has returned: what the reply calls
// stored is on disk.
//
// Make a Server with New, hand it a listener with Serve, end it with Shutdown.
// The way of a request: gate.go refuses ambiguous HTTP, route.go finds the
// protocol, body.go reads within limits, envelope.go finds the events, a
// decoder (native.go, segment.go, pixel.go, sdk.go) makes each a Hit, policy.go permits
// it, intake.go writes them and replies. refusal.go holds every refusal. A new protocol is a file
// with a decoder and its lines in route.go.
//
// Before a hit goes on, policy.go asks whether it may be taken and under whose
// name: the privacy mode of the app, signals of the browser, consent, children,
// exclusions. It is the only place that decides so.
//
// # Native fields
//
// POST /hit takes an object, an array, one object per line, or
// {"batch": […], "sent_at", "write_key"}, of any content type, also gzipped.
// Every field is optional; unknown ones are ignored; null means absent.
//
//	write_key   or Authorization (Basic user, Bearer), X-Write-Key, query k: these win
//	key         of the profile: a cookie's value or a device's id
//	user_id     the customer's own id of the person; former_id: alias only
//	type        page (default), screen, event, click, product, form, mail_open,
//	            mail_click, push, identify, ping, alias, group, server_event, leave
//	name        of page, event or group; an event needs one
//	url, referrer, title, resolution ("1440x900"), language, timezone
//	time        ISO 8601, or Unix s, ms, µs; sent_at corrects the sender's clock
//	id          of the event: stored once, however often it is sent
//	hints       {brands: [{brand, version}], full_version_list, mobile, platform,
//	            platform_version, model, touch_points}
//	consent     {analytics, marketing, geolocation}: true, false, "granted", "denied"
//	properties  of the hit: any object; attributes (or traits) of the profile
//	ip, user_agent  of the visitor, where the app trusts its senders
//
// # Mobile SDK
//
// The paths below /api/sdk/v1/ take one object each, with Authorization: Token
// and the write key, and the user's key as X-User-Key:
//
//	ping              {customer: {user_id, email, … own attributes}, device: {os_type,
//	                  version, model, fcm_key, language, timezone, … kept as properties}}
//	event             {event, timestamp, data}
//	product_event     {event_type, timestamp, data}; also as event with event: "product"
//	screen_event      {timestamp, data: {event: "opened", screen_name, …}}
//	push-notification/ID/ACTION, in-app-message/ID/ACTION
//	                  {url}; ACTION is clicked, displayed or dismissed
//	delete-fcm-token  {fcm_key}
//	batch             {sent_at, customer, device, consent, events: [{id, path, … as above}]}
//
// Any of them may have consent, and all but a batch the header Idempotency-Key
// with an id of the event. All is optional but an event's name and the
// token of delete-fcm-token. A batch and its answer:
//
//	{"sent_at": "2026-11-22T10:05:00Z", "customer": {"user_id": "u1"},
//	 "device": {"os_type": "Android", "version": "14"},
//	 "events": [{"id": "a1", "event": "Opened menu", "timestamp": "2026-11-22T10:04:10Z"},
//	            {"id": "a2", "path": "screen_event", "data": {"screen_name": "Cart"}}]}
//
//	{"user": {"key": "8uh7fp9wmj5l"}, "ping": {"status": "stored"},
//	 "results": [{"status": "stored", "id": "a1"}, {"status": "stored", "id": "a2"}]}
//
// # Caveats
//
// Ids over 512 bytes and event names over 256 are refused; urls are cut at
// 8 KiB, titles, user agents at 1 KiB, page names at 256 bytes. Ids such as
// "null" count as absent. An event without id but with a time is recognised by
// its bytes; one without both is stored as often as it comes.
package ingest
