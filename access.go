package spoor

import "log/slog"

// Access is one read, export, change or erasure of personal data, or one change
// of an app: an entry of the audit log. It holds no personal data itself.
type Access struct {
	At       int64  // Unix ms when it was entered; of a stream, its end
	Actor    string // name of the token, or one of the actors below
	Role     Role   // empty: spoor itself
	App      AppID  // 0: none or all
	AppName  string // stored only where the app is gone
	Action   string // such as "users.read"
	Subjects int    // persons shown or changed; hits for exports of hits and tails
	Ref      string // keyed hash of the person if it is one, else empty
	Complete bool   // false: a stream ended before its end, or a change before all of it was done
}

// Actors that are no tokens. No token may be called so.
const (
	ActorOperator  = "operator"      // on the local socket, or at the files of a stopped store
	ActorControl   = "control-plane" // with the secret of SPOOR_ADMIN_TOKEN
	ActorRetention = "retention"     // spoor, when somebody falls due
	ActorPerson    = "person"        // somebody, by a signed link of a mail
)

// LogMissed puts an entry that could not be stored into the log, whole.
func (a *Access) LogMissed(log *slog.Logger, why error) {
	log.Error("cannot store an entry of the audit log; this line stands for it", "error", why,
		"at", a.At, "actor", a.Actor, "role", string(a.Role), "app", uint32(a.App), "app_name", a.AppName,
		"action", a.Action, "subjects", a.Subjects, "ref", a.Ref, "complete", a.Complete)
}

// AuditEntry is an entry of the audit log as it is stored. Each app has a log of
// its own, numbered from 1; app 0 stands for what is about none.
type AuditEntry struct {
	Access
	Number uint64
	Sum    [32]byte // over the sum of the entry before and all of this one
}

// AuditEnd says where an audit log ends, and whether it is whole.
type AuditEnd struct {
	Newest uint64 // number of the newest entry ever; 0: none
	Sum    [32]byte
	Broken string // the first thing that does not fit; empty: the chain is intact
}
