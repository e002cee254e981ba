package query

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spoorhq/spoor"
)

// scope says which app a route is about.
type scope uint8

const (
	scopeNone     scope = iota // none; no token is asked for
	scopeApp                   // the token's app; on the local socket that of ?app=
	scopeAllApps               // all: the control plane and the operator only
	scopeNamedApp              // the one named in the path
	scopeSelf                  // the token's app; none for the control plane and, without ?app=, the operator
)

// route is one row of the table.
type route struct {
	method  string
	pattern string // segments beginning with ":" are arguments, "*" is the rest
	scope   scope
	role    spoor.Role
	action  string // name in the audit log; empty: touches no personal data
	effect  effect
	serve   func(*call) error
}

// effect says what a route does to what is stored, and so whether it goes
// through the log of a cluster.
type effect uint8

const (
	still    effect = iota // reads or computes, and changes nothing
	logged                 // a change in one commit
	stepped                // a change in several commits; applied again it comes to the same
	unsigned               // as logged while the app has no secret for links, then still
	spread                 // its handler sends commands of its own, to each app
	local                  // changes what each node has for itself: where delivery stands
)

const (
	read  = spoor.RoleRead
	write = spoor.RoleWrite
	erase = spoor.RoleErase
	admin = spoor.RoleAdmin
)

const (
	apiPrefix    = "/api/"
	publicPrefix = "/api/public/"
	sessionPath  = "/api/session/"
)

// routes is every path that is served. Where two patterns fit a path, the
// first one does.
func routes() []route {
	table := []route{
		{"GET", "/healthz/", scopeNone, "", "", still, (*call).health},
		{"GET", "/readyz/", scopeNone, "", "", still, (*call).ready},
		{"GET", "/metrics/", scopeNone, "", "", still, (*call).metrics},

		{"GET", "/api/public/users/", scopeApp, read, "users.list", still, (*call).listUsers},
		{"POST", "/api/public/users/", scopeApp, write, "users.create", logged, (*call).createUser},
		{"POST", "/api/public/users/update_or_create/", scopeApp, write, "users.update_or_create", logged, (*call).updateOrCreateUser},
		{"POST", "/api/public/objections/", scopeApp, write, "objections.add", stepped, (*call).addObjection},
		{"DELETE", "/api/public/objections/", scopeApp, write, "objections.lift", stepped, (*call).liftObjection},
		{"GET", "/api/public/users/search/", scopeApp, read, "users.search", still, (*call).searchUsers},
	}
	for _, one := range []string{"/api/public/users/:id/", "/api/public/users-by-id/:custom_id/"} {
		table = append(table,
			route{"GET", one, scopeApp, read, "users.read", still, (*call).readUser},
			route{"PUT", one, scopeApp, write, "users.update", logged, (*call).updateUser},
			route{"PATCH", one, scopeApp, write, "users.update", logged, (*call).updateUser},
			route{"DELETE", one, scopeApp, erase, "users.erase", stepped, (*call).eraseUser},
			route{"GET", one + "export/", scopeApp, read, "users.export", still, (*call).exportPerson},
			route{"POST", one + "restriction/", scopeApp, write, "users.restrict", logged, (*call).restrict},
			route{"DELETE", one + "restriction/", scopeApp, write, "users.unrestrict", logged, (*call).unrestrict},
			route{"POST", one + "objection/", scopeApp, write, "users.object", logged, (*call).object},
			route{"DELETE", one + "objection/", scopeApp, write, "users.unobject", logged, (*call).unobject},
			route{"POST", one + "hold/", scopeApp, admin, "users.hold", logged, (*call).hold},
			route{"DELETE", one + "hold/", scopeApp, admin, "users.unhold", logged, (*call).unhold},
			route{"GET", one + "retention/", scopeApp, read, "users.retention", still, (*call).retentionOf},
			route{"POST", one + "set_attribute/", scopeApp, write, "users.set_attribute", logged, (*call).setAttribute},
			route{"POST", one + "set_multiple_attributes/", scopeApp, write, "users.set_attributes", logged, (*call).setAttributes},
			route{"DELETE", one + "remove_attribute/", scopeApp, write, "users.remove_attribute", logged, (*call).removeAttribute},
			route{"POST", one + "remove_attribute/", scopeApp, write, "users.remove_attribute", logged, (*call).removeAttribute},
			route{"GET", one + "ping_hits/", scopeApp, read, "users.ping_hits", still, (*call).pingHits},
			route{"GET", one + "events/", scopeApp, read, "users.events", still, (*call).events},
			route{"GET", one + "timeline/", scopeApp, read, "users.timeline", still, (*call).timeline},
			route{"GET", one + "segments/", scopeApp, read, "users.segments", still, (*call).segmentsOf},
			route{"POST", one + "add_tag/", scopeApp, write, "users.add_tag", logged, (*call).addTag},
			route{"POST", one + "add_many_tags/", scopeApp, write, "users.add_tags", logged, (*call).addManyTags},
			route{"POST", one + "add_to_list/", scopeApp, write, "users.add_to_list", logged, (*call).addToList},
		)
		for _, method := range []string{"POST", "DELETE"} { // clients differ
			table = append(table,
				route{method, one + "remove_tag/", scopeApp, write, "users.remove_tag", logged, (*call).removeTag},
				route{method, one + "remove_from_list/", scopeApp, write, "users.remove_from_list", logged, (*call).removeFromList},
			)
		}
	}
	table = append(table, collectionRoutes()...)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		for _, pattern := range []string{"/api/public/companies/*", "/api/public/companies-by-id/*"} {
			table = append(table, route{method, pattern, scopeApp, read, "", still, (*call).companies})
		}
	}
	return append(table,
		route{"GET", "/api/export/users.csv/", scopeApp, read, "export.users", still, (*call).exportUsers},
		route{"GET", "/api/export/hits.ndjson/", scopeApp, read, "export.hits", still, (*call).exportHits},
		route{"GET", "/api/tail/", scopeApp, read, "tail", still, (*call).tail},
		route{"GET", "/api/live/", scopeApp, read, "tail", still, (*call).live},
		route{"GET", "/api/feed/", scopeApp, read, "feed", still, (*call).feed},
		route{"GET", "/api/feed/dead/", scopeApp, read, "", still, (*call).deadLetters},
		route{"POST", "/api/feed/dead/retry/", scopeApp, write, "feed.retry", local, (*call).retryDeadLetters},
		route{"GET", "/api/partitions/", scopeApp, read, "", still, (*call).partitions},

		route{"GET", "/api/retention/", scopeApp, read, "", still, (*call).readRetention},
		route{"GET", "/api/figures/", scopeSelf, admin, "", still, (*call).readFigures},
		route{"GET", sessionPath, scopeSelf, read, "", still, (*call).readSession},
		route{"GET", "/api/find/", scopeApp, read, "users.search", still, (*call).findPeople},
		route{"GET", "/api/stats/", scopeApp, read, "", still, (*call).series},
		route{"GET", "/api/stats/top/", scopeApp, read, "", still, (*call).top},
		route{"GET", "/api/stats/goals/", scopeApp, read, "", still, (*call).goals},
		route{"GET", "/api/stats/retention/", scopeApp, read, "", still, (*call).cohorts},
		route{"GET", "/api/stats/funnel/", scopeApp, read, "", still, (*call).funnel},

		route{"GET", "/api/admin/checkpoint/", scopeAllApps, admin, "checkpoint", still, (*call).checkpoint},
		route{"GET", "/api/admin/sweep/", scopeAllApps, admin, "sweep.plan", still, (*call).planSweep},
		route{"POST", "/api/admin/sweep/", scopeAllApps, admin, "sweep", spread, (*call).sweep},
		route{"GET", "/api/admin/receipts/", scopeAllApps, admin, "", still, (*call).receipts},
		route{"GET", "/api/admin/privacy/", scopeAllApps, admin, "", still, (*call).privacy},
		route{"GET", "/api/admin/cluster/", scopeAllApps, admin, "", still, (*call).cluster},
		route{"POST", "/api/admin/digests/", scopeAllApps, admin, "", spread, (*call).takeDigest},
		route{"GET", "/api/admin/digests/:id/", scopeAllApps, admin, "", still, (*call).readDigest},
		route{"GET", "/api/admin/audit/", scopeAllApps, admin, "audit.read", still, (*call).readAudit},
		route{"GET", "/api/admin/apps/", scopeAllApps, admin, "", still, (*call).listApps},
		route{"POST", "/api/admin/apps/", scopeAllApps, admin, "apps.create", logged, (*call).createApp},
		route{"GET", "/api/admin/apps/:name/", scopeNamedApp, admin, "", still, (*call).readApp},
		route{"GET", "/api/admin/apps/:name/receipts/", scopeNamedApp, admin, "", still, (*call).receipts},
		route{"GET", "/api/admin/apps/:name/privacy/", scopeNamedApp, admin, "", still, (*call).privacy},
		route{"GET", "/api/admin/apps/:name/find/", scopeNamedApp, admin, "", still, (*call).findAny},
		route{"PATCH", "/api/admin/apps/:name/", scopeNamedApp, admin, "apps.update", logged, (*call).updateApp},
		route{"DELETE", "/api/admin/apps/:name/", scopeNamedApp, admin, "apps.delete", logged, (*call).deleteApp},
		route{"GET", "/api/admin/apps/:name/audit/", scopeNamedApp, admin, "audit.read", still, (*call).readAudit},
		route{"POST", "/api/admin/apps/:name/keys/", scopeNamedApp, admin, "apps.keys.create", logged, (*call).createKey},
		route{"DELETE", "/api/admin/apps/:name/keys/:key/", scopeNamedApp, admin, "apps.keys.delete", logged, (*call).deleteKey},
		route{"POST", "/api/admin/apps/:name/links/", scopeNamedApp, admin, "apps.links.create", unsigned, (*call).createLink},
		route{"POST", "/api/admin/apps/:name/share/", scopeNamedApp, admin, "apps.share.create", logged, (*call).createShare},
		route{"DELETE", "/api/admin/apps/:name/share/", scopeNamedApp, admin, "apps.share.delete", logged, (*call).endShare},
		route{"POST", "/api/admin/apps/:name/tokens/", scopeNamedApp, admin, "apps.tokens.create", logged, (*call).createToken},
		route{"DELETE", "/api/admin/apps/:name/tokens/:token/", scopeNamedApp, admin, "apps.tokens.delete", logged, (*call).deleteToken},
	)
}

// resource is all routes of one pattern.
type resource struct {
	segments []string
	methods  map[string]*route
	allow    string // value of the Allow header
	shared   bool   // open to who has the link of a shared overview
}

func newResources(table []route) []*resource {
	var list []*resource
	byPattern := map[string]*resource{}
	for i := range table {
		r := &table[i]
		res := byPattern[r.pattern]
		if res == nil {
			res = &resource{segments: splitPath(r.pattern), methods: map[string]*route{}, shared: slices.Contains(sharedPatterns, r.pattern)}
			byPattern[r.pattern] = res
			list = append(list, res)
		}
		res.methods[r.method] = r
		if r.method == "GET" {
			res.methods["HEAD"] = r
		}
	}
	for _, res := range list {
		var allow []string
		for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"} {
			if res.methods[m] != nil {
				allow = append(allow, m)
			}
		}
		res.allow = strings.Join(append(allow, "OPTIONS"), ", ")
	}
	return list
}

// splitPath cuts a path at its slashes; one slash at the end does not count.
func splitPath(path string) []string {
	return strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
}

// match compares raw segments, and decodes only those that are arguments, once:
// nothing that is encoded can reach another route.
func (r *resource) match(path []string) (args []string, ok bool) {
	for i, want := range r.segments {
		if want == "*" {
			return args, true
		}
		if i >= len(path) {
			return nil, false
		}
		if !strings.HasPrefix(want, ":") {
			if path[i] != want {
				return nil, false
			}
			continue
		}
		arg, err := url.PathUnescape(path[i])
		if err != nil || !plainText(arg) || arg == "" {
			return nil, false
		}
		args = append(args, arg)
	}
	return args, len(path) == len(r.segments)
}

// plainText reports whether outside text may be used as an identifier.
func plainText(s string) bool {
	return len(s) <= idBytesMax && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

const idBytesMax = 512

// find returns the resource of a raw request path; nil if there is none.
func (s *Server) find(path string, door door) (*resource, []string) {
	if door == doorPublic && !strings.HasPrefix(path, publicPrefix) {
		return nil, nil
	}
	segments := splitPath(path)
	for _, r := range s.resources {
		if args, ok := r.match(segments); ok {
			if door == doorShare && !r.shared {
				return nil, nil
			}
			return r, slices.Clip(args)
		}
	}
	return nil, nil
}
