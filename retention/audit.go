package retention

import (
	"errors"

	"github.com/spoorhq/spoor"
)

// audit enters in the audit log what was removed of an app. A line of the
// process's log stands for an entry that cannot be stored.
func (s *Sweeper) audit(app *spoor.App, action string, profiles int64, complete bool) {
	a := spoor.Access{
		At: s.opts.Now().UnixMilli(), Actor: spoor.ActorRetention, App: app.ID, AppName: app.Name,
		Action: action, Subjects: int(profiles), Complete: complete,
	}
	if err := s.opts.Store.Audit(a); err != nil {
		s.figures.missed.Add(1)
		a.LogMissed(s.opts.Log, err)
	}
}

// noApp stands for what is about no app, among apps.
var noApp = &spoor.App{Name: "none", Settings: spoor.DefaultSettings("UTC")}

// auditDays is how many days the audit log and the receipts of an app are kept.
func auditDays(app *spoor.App) int { return max(app.Settings.AuditDays, spoor.AuditDaysMin) }

// trimAudits removes what is too old to keep from the audit logs, and receipts, once
// a day of each app. Days are counted as 24 hours.
func (s *Sweeper) trimAudits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Now()
	for _, app := range append([]*spoor.App{noApp}, s.opts.Store.AllApps()...) {
		today := app.Day(now.UnixMilli())
		if last, ok := s.trimmed[app.ID]; ok && last >= today {
			continue
		}
		kept := auditDays(app)
		before := now.AddDate(0, 0, -kept)
		removed, err := s.opts.Store.TrimAudit(app.ID, before.UnixMilli())
		if err == nil && (!s.opts.Elsewhere || app == noApp) {
			err = s.opts.Store.DropReceipts(app.ID, before)
		}
		switch {
		case errors.Is(err, spoor.ErrReadOnly), errors.Is(err, spoor.ErrClosed), errors.Is(err, spoor.ErrBusy):
			continue // it is tried again
		case err != nil:
			s.opts.Log.Error("old entries of an audit log, or old receipts, stay", "app", app.Name, "error", err)
		case removed > 0:
			s.opts.Log.Info("old entries of an audit log were removed", "app", app.Name, "entries", removed, "kept_days", kept)
		}
		s.trimmed[app.ID] = today
	}
}
