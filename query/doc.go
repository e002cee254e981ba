// Package query is the read side: it answers for what the store keeps, and
// lets contacts be set, apps be managed and data be exported, over HTTP.
//
// New makes a Server from Options; it sees the store through the interface
// Store. Serve answers on a listener where each request needs a token, or the
// session that a login at the dashboard opens, ServeLocal on the unix socket,
// where the caller is the operator and names the app with ?app=NAME, Handler
// mounts /api/public/ on another server, and AppHandler the dashboard at /app/.
// The table in route.go lists every path with its role.
//
//	/               the dashboard, embedded from dashboard/dist
//	/share/TOKEN/   its overview alone, for who has the link
//	/api/public/…   users, their attributes and their history
//	/api/export/…   users.csv and hits.ndjson, streamed
//	/api/tail       hits as they are stored, one JSON object a line
//	/api/live       the same as server-sent events
//	/api/feed       all that happened in an app, from a cursor on
//	/api/retention  what an app keeps, what falls due next
//	/api/figures    the health of the process
//	/api/find       whom an identifier names
//	/api/session    who asks, and about which app
//	/api/partitions days, sizes, sealed or open
//	/api/stats/…    statistics; METRICS.md says what they mean
//	/api/admin/…    apps, write keys, tokens, settings, the audit log
//	/healthz /readyz /metrics
//
// Adding a path is one row of that table. A row that names an action passes
// the one audit function; no handler can forget to. Its entry is on disk before
// the reply is sent; of a stream, before its last piece.
//
// # Clusters
//
// With Options.Commands a request that changes something is not done at once: it
// becomes a spoor.Command, and Apply does it on every node, where the log has it.
// The column effect of the table says which do. A handler of such a row uses
// nothing but the command, the call's store, retention, time and randomness: what
// it takes from anywhere else parts the nodes. Options.Secret must be the same on
// all, since receipts hold references that are made with it.
//
// # Caveats
//
// The public paths follow an API that clients already know: the Accept header
// chooses between version 1 and 2, enumerations go in as numbers and come out
// as words, and a trailing slash is optional. Pages hold 100 entries. Numbered
// pages shift when profiles vanish between two requests; cursors do not.
//
// An export that fails ends with a line that says so and with a connection
// cut before its last chunk, so that no client takes a part for the whole.
// Streams need HTTP/1.1.
//
// Companies, and filters in the query of users/, are not here; they answer 501,
// and fields of a body that were not kept are named in X-Spoor-Ignored. Who is
// sought by more than an identifier is a segment.
package query
