package query

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
)

// audit is the one way by which an access is entered. The entry is on disk when
// it returns, which is before the reply. Where the store cannot write, reads go
// on, and a line of the log stands for the entry.
func (c *call) audit(complete bool) {
	if c.route.action == "" || c.passed {
		return
	}
	a := spoor.Access{
		Actor: c.who.name, Role: c.who.role, Action: c.route.action,
		Subjects: c.subjects, Complete: complete,
	}
	if c.app != nil {
		a.App, a.AppName = c.app.ID, c.app.Name
		a.Ref = c.s.reference(c.app.ID, c.subject)
	}
	if a.At = c.s.opt.Now().UnixMilli(); c.applied {
		a.At = c.now.UnixMilli()
	}
	c.s.enter(c.store, a)
}

func (s *Server) enter(st Store, a spoor.Access) {
	s.counters.accesses.Add(1)
	if err := st.Audit(a); err != nil {
		s.counters.missed.Add(1)
		a.LogMissed(s.opt.Log, err)
	}
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

// readAudit streams an audit log, one entry a line, and at the end where the log
// ends. The whole log is verified, whatever is shown of it.
func (c *call) readAudit() error {
	if err := c.onlyQuery("since", "subject"); err != nil {
		return err
	}
	if err := c.auditedApp(); err != nil {
		return err
	}
	since, err := c.since()
	if err != nil {
		return err
	}
	subjects, err := c.auditSubjects()
	if err != nil {
		return err
	}
	return c.startStream("application/x-ndjson", cutLine, func(w *bufio.Writer) error {
		return c.writeAudit(w, since, subjects)
	}, nil)
}

// auditedApp finds the app of ?app= where the path names none. Without, the log
// is that of what is about no app.
func (c *call) auditedApp() error {
	name, err := c.query("app")
	if err != nil || name == "" || c.route.scope != scopeAllApps {
		return err
	}
	if c.app = c.s.opt.Apps.AppByName(name); c.app == nil {
		return fieldError("app", "There is no such app.")
	}
	return nil
}

// since reads ?since=: a day on the app's calendar, an instant, or how long ago.
func (c *call) since() (ms int64, err error) {
	text, err := c.query("since")
	if err != nil || text == "" {
		return 0, err
	}
	if day, err := spoor.ParseDay(text); err == nil {
		zone := time.UTC
		if c.app != nil {
			zone = c.app.Zone(c.now.UnixMilli())
		}
		return day.Start(zone).UnixMilli(), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UnixMilli(), nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return c.now.Add(-ago).UnixMilli(), nil
	}
	return 0, fieldError("since", "Write a day as YYYY-MM-DD, a time such as 2027-01-31T00:00:00Z, or how long ago, such as 24h.")
}

// auditSubjects reads ?subject=: public ids, by comma, also of persons who were
// erased. Nil means everybody.
func (c *call) auditSubjects() (refs []string, err error) {
	text, err := c.query("subject")
	if err != nil || text == "" {
		return nil, err
	}
	for _, one := range strings.Split(text, ",") {
		id, ok := publicID(one)
		if !ok || id == 0 || c.app == nil {
			return nil, fieldError("subject", "Give public ids of an app's users, with commas between.")
		}
		refs = append(refs, c.s.reference(c.app.ID, id))
	}
	return refs, nil
}

func (c *call) writeAudit(out *bufio.Writer, since int64, subjects []string) error {
	var app spoor.AppID
	if c.app != nil {
		app = c.app.ID
	}
	var w jsonWriter
	end, err := c.store.AuditEntries(app, since, func(e *spoor.AuditEntry) error {
		if subjects != nil && !slices.Contains(subjects, e.Ref) {
			return c.s.closing()
		}
		c.subjects++
		w.b = w.b[:0]
		c.writeEntry(&w, e)
		if _, err := out.Write(w.b); err != nil {
			return fmt.Errorf("cannot write an entry: %w", err)
		}
		return c.s.closing()
	})
	if err != nil {
		return err
	}
	w.b = w.b[:0]
	w.begin('{')
	w.int("entries", int64(c.subjects))
	w.int("newest", int64(end.Newest))
	w.text("sum", hex.EncodeToString(end.Sum[:]))
	if end.Broken != "" {
		w.text("broken", end.Broken)
	}
	w.end('}')
	w.b = append(w.b, '\n')
	_, err = out.Write(w.b)
	return err
}

func (c *call) writeEntry(w *jsonWriter, e *spoor.AuditEntry) {
	name := e.AppName
	if name == "" && c.app != nil && c.app.ID == e.App {
		name = c.app.Name
	}
	w.begin('{')
	w.int("number", int64(e.Number))
	w.time("time", e.At)
	w.text("actor", e.Actor)
	w.text("role", string(e.Role))
	w.int("app", int64(e.App))
	w.textOrNull("app_name", name)
	w.text("action", e.Action)
	w.int("count", int64(e.Subjects))
	w.textOrNull("subject", e.Ref)
	w.bool("complete", e.Complete)
	w.text("sum", hex.EncodeToString(e.Sum[:]))
	w.end('}')
	w.b = append(w.b, '\n')
}

// ownActor reports whether a name would pass for one of spoor's own in the log.
func ownActor(name string) bool {
	return slices.ContainsFunc([]string{spoor.ActorOperator, spoor.ActorControl, spoor.ActorRetention, spoor.ActorPerson}, func(own string) bool {
		return strings.EqualFold(strings.TrimSpace(name), own)
	})
}

// serveRoute calls the handler, and enters what it showed or changed. A look-up
// that found nobody was a look-up all the same, and what was changed before an
// error, or a panic, is changed.
func (c *call) serveRoute() (err error) {
	returned := false
	defer func() {
		done := returned && (err == nil || errors.Is(err, errNotFound) || errors.Is(err, spoor.ErrNoProfile))
		if c.stream == nil && (done || c.changed) {
			c.audit(done)
		}
	}()
	err = c.route.serve(c)
	returned = true
	return err
}
