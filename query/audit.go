package query

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"time"

	"github.com/spoorhq/spoor"
)

// Access is one read, export or change of personal data, or one change of an
// app. It holds no personal data itself.
type Access struct {
	At       time.Time
	Actor    string // name of the token; "operator" on the local socket; "control-plane"
	Role     spoor.Role
	App      spoor.AppID // 0: none or all
	Action   string      // such as "users.read"; see the table of routes
	Subjects int         // persons shown or changed; hits for exports of hits and tails
	Ref      string      // keyed hash of the person if it is one, else empty
	Complete bool        // false: a stream ended before its end
}

func logAccess(log *slog.Logger) func(Access) {
	return func(a Access) {
		log.Info("access", "actor", a.Actor, "role", string(a.Role), "app", uint32(a.App),
			"action", a.Action, "subjects", a.Subjects, "ref", a.Ref, "complete", a.Complete)
	}
}

// audit is the one way by which an access is reported.
func (c *call) audit(complete bool) {
	if c.route.action == "" {
		return
	}
	a := Access{
		At: c.now, Actor: c.who.name, Role: c.who.role, Action: c.route.action,
		Subjects: c.subjects, Complete: complete,
	}
	if c.app != nil {
		a.App = c.app.ID
		a.Ref = c.s.reference(c.app.ID, c.subject)
	}
	c.s.counters.accesses.Add(1)
	c.s.opt.Audit(a)
}

// reference names a person in the audit log. Without Options.Secret nobody
// can compute it, and with it an erased person's entries can still be found.
func (s *Server) reference(app spoor.AppID, publicID int64) string {
	if publicID == 0 {
		return ""
	}
	mac := hmac.New(sha256.New, s.opt.Secret)
	mac.Write([]byte("audit reference"))
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(app)))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(publicID)))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
