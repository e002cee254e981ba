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
	serve   func(*call) error
}

const (
	read  = spoor.RoleRead
	write = spoor.RoleWrite
	erase = spoor.RoleErase
	admin = spoor.RoleAdmin
)

const (
	apiPrefix    = "/api/"
	publicPrefix = "/api/public/"
)

// routes is every path that is served. Where two patterns fit a path, the
// first one does.
func routes() []route {
	table := []route{
		{"GET", "/healthz/", scopeNone, "", "", (*call).health},
		{"GET", "/readyz/", scopeNone, "", "", (*call).ready},
		{"GET", "/metrics/", scopeNone, "", "", (*call).metrics},

		{"GET", "/api/public/users/", scopeApp, read, "users.list", (*call).listUsers},
		{"POST", "/api/public/users/", scopeApp, write, "users.create", (*call).createUser},
		{"POST", "/api/public/users/update_or_create/", scopeApp, write, "users.update_or_create", (*call).updateOrCreateUser},
		{"POST", "/api/public/objections/", scopeApp, write, "objections.add", (*call).addObjection},
		{"DELETE", "/api/public/objections/", scopeApp, write, "objections.lift", (*call).liftObjection},
		{"GET", "/api/public/users/search/", scopeApp, read, "users.search", (*call).searchUsers},
	}
	for _, one := range []string{"/api/public/users/:id/", "/api/public/users-by-id/:custom_id/"} {
		table = append(table,
			route{"GET", one, scopeApp, read, "users.read", (*call).readUser},
			route{"PUT", one, scopeApp, write, "users.update", (*call).updateUser},
			route{"PATCH", one, scopeApp, write, "users.update", (*call).updateUser},
			route{"DELETE", one, scopeApp, erase, "users.erase", (*call).eraseUser},
			route{"GET", one + "export/", scopeApp, read, "users.export", (*call).exportPerson},
			route{"POST", one + "restriction/", scopeApp, write, "users.restrict", (*call).restrict},
			route{"DELETE", one + "restriction/", scopeApp, write, "users.unrestrict", (*call).unrestrict},
			route{"POST", one + "objection/", scopeApp, write, "users.object", (*call).object},
			route{"DELETE", one + "objection/", scopeApp, write, "users.unobject", (*call).unobject},
			route{"POST", one + "hold/", scopeApp, admin, "users.hold", (*call).hold},
			route{"DELETE", one + "hold/", scopeApp, admin, "users.unhold", (*call).unhold},
			route{"GET", one + "retention/", scopeApp, read, "users.retention", (*call).retentionOf},
			route{"POST", one + "set_attribute/", scopeApp, write, "users.set_attribute", (*call).setAttribute},
			route{"POST", one + "set_multiple_attributes/", scopeApp, write, "users.set_attributes", (*call).setAttributes},
			route{"DELETE", one + "remove_attribute/", scopeApp, write, "users.remove_attribute", (*call).removeAttribute},
			route{"POST", one + "remove_attribute/", scopeApp, write, "users.remove_attribute", (*call).removeAttribute},
			route{"GET", one + "ping_hits/", scopeApp, read, "users.ping_hits", (*call).pingHits},
			route{"GET", one + "events/", scopeApp, read, "users.events", (*call).events},
			route{"GET", one + "timeline/", scopeApp, read, "users.timeline", (*call).timeline},
			route{"GET", one + "segments/", scopeApp, read, "users.segments", (*call).segmentsOf},
			route{"POST", one + "add_tag/", scopeApp, write, "users.add_tag", (*call).addTag},
			route{"POST", one + "add_many_tags/", scopeApp, write, "users.add_tags", (*call).addManyTags},
			route{"POST", one + "add_to_list/", scopeApp, write, "users.add_to_list", (*call).addToList},
		)
		for _, method := range []string{"POST", "DELETE"} { // clients differ
			table = append(table,
				route{method, one + "remove_tag/", scopeApp, write, "users.remove_tag", (*call).removeTag},
				route{method, one + "remove_from_list/", scopeApp, write, "users.remove_from_list", (*call).removeFromList},
			)
		}
	}
	table = append(table, collectionRoutes()...)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		for _, pattern := range []string{"/api/public/companies/*", "/api/public/companies-by-id/*"} {
			table = append(table, route{method, pattern, scopeApp, read, "", (*call).companies})
		}
	}
	return append(table,
		route{"GET", "/api/export/users.csv/", scopeApp, read, "export.users", (*call).exportUsers},
		route{"GET", "/api/export/hits.ndjson/", scopeApp, read, "export.hits", (*call).exportHits},
		route{"GET", "/api/tail/", scopeApp, read, "tail", (*call).tail},
		route{"GET", "/api/live/", scopeApp, read, "tail", (*call).live},
		route{"GET", "/api/feed/", scopeApp, read, "feed", (*call).feed},
		route{"GET", "/api/feed/dead/", scopeApp, read, "", (*call).deadLetters},
		route{"POST", "/api/feed/dead/retry/", scopeApp, write, "feed.retry", (*call).retryDeadLetters},
		route{"GET", "/api/partitions/", scopeApp, read, "", (*call).partitions},

		route{"GET", "/api/retention/", scopeApp, read, "", (*call).readRetention},
		route{"GET", "/api/figures/", scopeSelf, admin, "", (*call).readFigures},
		route{"GET", "/api/session/", scopeSelf, read, "", (*call).readSession},
		route{"GET", "/api/find/", scopeApp, read, "users.search", (*call).findPeople},
		route{"GET", "/api/stats/", scopeApp, read, "", (*call).series},
		route{"GET", "/api/stats/top/", scopeApp, read, "", (*call).top},
		route{"GET", "/api/stats/goals/", scopeApp, read, "", (*call).goals},
		route{"GET", "/api/stats/retention/", scopeApp, read, "", (*call).cohorts},
		route{"GET", "/api/stats/funnel/", scopeApp, read, "", (*call).funnel},

		route{"GET", "/api/admin/sweep/", scopeAllApps, admin, "sweep.plan", (*call).planSweep},
		route{"POST", "/api/admin/sweep/", scopeAllApps, admin, "sweep", (*call).sweep},
		route{"GET", "/api/admin/receipts/", scopeAllApps, admin, "", (*call).receipts},
		route{"GET", "/api/admin/privacy/", scopeAllApps, admin, "", (*call).privacy},
		route{"GET", "/api/admin/cluster/", scopeAllApps, admin, "", (*call).cluster},
		route{"GET", "/api/admin/audit/", scopeAllApps, admin, "audit.read", (*call).readAudit},
		route{"GET", "/api/admin/apps/", scopeAllApps, admin, "", (*call).listApps},
		route{"POST", "/api/admin/apps/", scopeAllApps, admin, "apps.create", (*call).createApp},
		route{"GET", "/api/admin/apps/:name/", scopeNamedApp, admin, "", (*call).readApp},
		route{"GET", "/api/admin/apps/:name/receipts/", scopeNamedApp, admin, "", (*call).receipts},
		route{"GET", "/api/admin/apps/:name/privacy/", scopeNamedApp, admin, "", (*call).privacy},
		route{"GET", "/api/admin/apps/:name/find/", scopeNamedApp, admin, "", (*call).findAny},
		route{"PATCH", "/api/admin/apps/:name/", scopeNamedApp, admin, "apps.update", (*call).updateApp},
		route{"DELETE", "/api/admin/apps/:name/", scopeNamedApp, admin, "apps.delete", (*call).deleteApp},
		route{"GET", "/api/admin/apps/:name/audit/", scopeNamedApp, admin, "audit.read", (*call).readAudit},
		route{"POST", "/api/admin/apps/:name/keys/", scopeNamedApp, admin, "apps.keys.create", (*call).createKey},
		route{"DELETE", "/api/admin/apps/:name/keys/:key/", scopeNamedApp, admin, "apps.keys.delete", (*call).deleteKey},
		route{"POST", "/api/admin/apps/:name/links/", scopeNamedApp, admin, "apps.links.create", (*call).createLink},
		route{"POST", "/api/admin/apps/:name/share/", scopeNamedApp, admin, "apps.share.create", (*call).createShare},
		route{"DELETE", "/api/admin/apps/:name/share/", scopeNamedApp, admin, "apps.share.delete", (*call).endShare},
		route{"POST", "/api/admin/apps/:name/tokens/", scopeNamedApp, admin, "apps.tokens.create", (*call).createToken},
		route{"DELETE", "/api/admin/apps/:name/tokens/:token/", scopeNamedApp, admin, "apps.tokens.delete", (*call).deleteToken},
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
