package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/spoorhq/spoor"
)

// At is a view of a Sweeper for one command of a log, which is about one app:
// what is removed through it is removed from st, by a time that stands still. It
// waits for no bytes: Erase and Sweep return when the removals are on disk, and the
// Sweeper's own Run gives the bytes back.
func (s *Sweeper) At(st Store, now time.Time, app spoor.AppID) *Sweeper {
	v := &Sweeper{core: s.core, opts: s.opts, only: app}
	v.opts.Store, v.opts.Now = st, func() time.Time { return now }
	return v
}

// Retain does what falls due in an app by now, as Run does it on its ticks for all:
// it seals days, ends the app, sweeps it once a day and drops what is too old,
// receipts and entries of the feed among it, and notes the sizes of segments. What
// it does depends on the store and on now alone. Where it was interrupted it may be
// called again, with the same time, and ends where it would have ended; the audit
// log may then have an entry more. An app that is not there is nothing to do.
func (s *Sweeper) Retain(ctx context.Context, st Store, app spoor.AppID, now time.Time) (spoor.AppSweep, error) {
	return s.At(st, now, app).retain(ctx, false)
}

// sweepView is Sweep of a view: today's work, also where it was done before.
func (s *Sweeper) sweepView(ctx context.Context) (r spoor.Sweep, err error) {
	began := time.Now()
	part, err := s.retain(ctx, true)
	if part.App != "" {
		r.Apps = append(r.Apps, part)
	}
	r.Decided = time.Since(began)
	r.Took = r.Decided
	return r, err
}

func (s *Sweeper) retain(ctx context.Context, again bool) (r spoor.AppSweep, err error) {
	st, now := s.opts.Store, s.opts.Now()
	a := st.App(s.only)
	if a == nil {
		return r, nil
	}
	r.App, r.Day = a.Name, a.Day(now.UnixMilli())
	days, folded, err := st.SealApp(ctx, a.ID)
	if err != nil {
		return r, fmt.Errorf("cannot seal days of app %q: %w", a.Name, err)
	}
	if s.sealed(days, folded); days > 0 {
		s.Hurry()
	}
	if ended, err := s.endApp(a); ended || err != nil {
		return r, err
	}
	last, err := st.Retained(a.ID)
	if err != nil {
		return r, err
	}
	if last < r.Day || again {
		if r, err = s.retainDay(ctx, a); err != nil {
			return r, err
		}
	}
	if !a.Closed {
		err = st.SizeSegments(ctx, a.ID)
	}
	return r, err
}

// retainDay does what is done once on each day of the app's calendar.
func (s *Sweeper) retainDay(ctx context.Context, a *spoor.App) (r spoor.AppSweep, err error) {
	s.figures.runs.Add(1)
	r, err = s.sweepApp(ctx, a)
	if err == nil {
		err = s.opts.Store.DropReceipts(a.ID, s.opts.Now().AddDate(0, 0, -auditDays(a)))
	}
	if err == nil {
		err = s.opts.Store.EndRetain(ctx, a.ID, r.Day)
	}
	if r.Profiles+r.Aged.Hits > 0 {
		s.Hurry()
	}
	if err != nil {
		s.figures.failures.Add(1)
		return r, err
	}
	s.done.Store(a.ID, r.Day)
	s.figures.last.Store(s.opts.Now().UnixMilli())
	return r, nil
}
