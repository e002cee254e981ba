package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
)

// Store is what a Sweeper needs of the store.
type Store interface {
	AllApps() []*spoor.App
	App(id spoor.AppID) *spoor.App
	DeleteApp(id spoor.AppID) error
	SealDays(ctx context.Context) (days, folded int, err error)
	SealApp(ctx context.Context, app spoor.AppID) (days, folded int, err error)
	Retained(app spoor.AppID) (spoor.Day, error)
	EndRetain(ctx context.Context, app spoor.AppID, day spoor.Day) error
	Anonymous(app spoor.AppID, since spoor.Day) ([]spoor.Number, error)
	Idle(app spoor.AppID, from spoor.Day, days int) (counts []int64, others []spoor.Number, err error)
	Profile(app spoor.AppID, n spoor.Number) (*spoor.Profile, error)
	Remove(app spoor.AppID, numbers []spoor.Number, run uint64, keeps func(*spoor.Profile) bool) (spoor.Removal, error)
	Drop(ctx context.Context, app *spoor.App, aged spoor.Aged) (spoor.Removal, error)
	Erase(app spoor.AppID, numbers []spoor.Number, subject string) (spoor.Removal, error)
	Receipt(app spoor.AppID, id uint64) (*spoor.Receipt, error)
	Reclaim(ctx context.Context, full bool) (spoor.ReclaimReport, error)
	Pending() (spoor.ReclaimReport, error)
	Partitions(app spoor.AppID) ([]spoor.Partition, error)
	Audit(a spoor.Access) error
	TrimAudit(app spoor.AppID, before int64) (removed int64, err error)
	DropReceipts(app spoor.AppID, before time.Time) error
	DropFeed(ctx context.Context, app spoor.AppID, before time.Time) (records int64, err error)
	SizeSegments(ctx context.Context, app spoor.AppID) error
}

// Options configure a Sweeper. Store is needed.
type Options struct {
	Store Store
	Now   func() time.Time // default: time.Now
	Log   *slog.Logger     // default: slog.Default()
	Grace time.Duration    // before the first sweep of Run

	// Elsewhere says that Retain does what falls due in apps. Run then only gives
	// bytes back and shortens audit logs, which every store has for itself.
	Elsewhere bool
}

const (
	tick       = 30 * time.Second // how often midnights are looked for
	departMax  = 5 * time.Minute  // between the wall clock and the monotonic one
	portion    = 1024             // candidates between two looks at the context
	retryAfter = 10 * time.Minute // a sweep that failed
)

// Sweeper removes the profiles that fall due. Its methods may be called
// concurrently; one sweep runs at a time.
type Sweeper struct {
	*core
	opts Options
	only spoor.AppID // of a view: see At
}

// core is what the views of a Sweeper share.
type core struct {
	store     Store                     // where bytes are given back
	mu        sync.Mutex                // one sweep at a time
	done      sync.Map                  // by AppID the Day of the last sweep; read while one runs
	first     atomic.Int64              // when Run sweeps first, Unix ms; 0: it does not run
	trimmed   map[spoor.AppID]spoor.Day // when old entries of the audit logs were last removed
	reclaimed time.Time                 // when bytes were last given back
	fed       time.Time                 // when old entries of feeds were last removed; of Run alone
	sized     map[spoor.AppID]spoor.Day // when sizes of segments were last noted; of runSizes alone
	erased    chan struct{}
	waits     sync.Map // by AppID of apps that should end, the Day until when holds last
	figures   figures
}

type figures struct {
	profiles, hits, aged, runs, failures, partitions, erased, missed atomic.Int64
	pending, waiting, overdue, oldest, last                          atomic.Int64
	stopped                                                          atomic.Bool
}

// Figures are counters for metrics, since the start.
type Figures struct {
	Profiles, Hits int64 // swept
	Aged           int64 // hits that were too old
	Erased         int64 // persons, on request
	Runs, Failures int64
	Partitions     int64 // days of apps that were rewritten
	PendingDays    int64 // days of apps that still hold bytes of removed hits
	PendingBytes   int64 // of those hits' records, before compression
	OverdueDays    int64 // days of apps that hold some for longer than was promised
	OldestPending  int64 // Unix ms of the oldest decision of which bytes are left; 0: none
	LastRun        int64 // Unix ms; 0: none yet
	AuditMissed    int64 // entries of the audit log that could not be stored, and are in the process's log
	Stopped        bool  // by a clock that cannot be trusted
}

// New makes a Sweeper.
func New(o Options) *Sweeper {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Sweeper{opts: o, core: &core{
		store: o.Store, trimmed: map[spoor.AppID]spoor.Day{}, sized: map[spoor.AppID]spoor.Day{}, erased: make(chan struct{}, 1),
	}}
}

// Figures reads the counters.
func (s *Sweeper) Figures() Figures {
	f := &s.figures
	return Figures{
		Profiles: f.profiles.Load(), Erased: f.erased.Load(), Aged: f.aged.Load(), Hits: f.hits.Load(), Runs: f.runs.Load(), Failures: f.failures.Load(), Partitions: f.partitions.Load(),
		PendingDays: f.pending.Load(), PendingBytes: f.waiting.Load(), OverdueDays: f.overdue.Load(), OldestPending: f.oldest.Load(), LastRun: f.last.Load(), Stopped: f.stopped.Load(),
		AuditMissed: f.missed.Load(),
	}
}

// Run sweeps every app at its midnight until ctx ends. A sweep that was missed
// while the program did not run is made up for after the grace period. It also
// notes the sizes of segments once a day.
func (s *Sweeper) Run(ctx context.Context) {
	s.notePending()
	s.announce()
	if s.figures.oldest.Load() > 0 { // a removal was decided before the start; no clock is needed to finish it
		s.Hurry()
	}
	var sizes sync.WaitGroup
	if !s.opts.Elsewhere {
		sizes.Go(func() { s.runSizes(ctx) })
	}
	defer sizes.Wait()
	began := time.Now()
	s.first.Store(s.opts.Now().Add(s.opts.Grace).UnixMilli())
	watch := newWatch(s.opts.Now)
	ticks := time.NewTicker(s.tick())
	defer ticks.Stop()
	var failed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.erased: // whoever asked to be forgotten waits for no midnight, and for no clock
			if _, err := s.Reclaim(ctx, false); err != nil && ctx.Err() == nil {
				s.opts.Log.Error("cannot give the bytes of an erased person back; it is tried again", "error", err)
			}
			continue
		case <-ticks.C:
		}
		if by := watch.departed(); by > departMax || by < -departMax {
			if !s.figures.stopped.Swap(true) {
				s.opts.Log.Error("the wall clock departed from the monotonic one: sweeping has stopped", "by", by.Round(time.Second),
					"hint", "set the clock right, then start spoor again")
			}
			continue
		}
		if time.Since(began) < s.opts.Grace { // a wrong date must have time to be seen
			continue
		}
		if s.opts.Elsewhere {
			s.trimAudits()
			if time.Since(failed) < retryAfter {
				continue
			}
			if err := s.reclaimLeft(ctx); err != nil && ctx.Err() == nil {
				failed = time.Now()
				s.opts.Log.Error("cannot give the bytes of removed profiles back; it is tried again", "error", err, "in", retryAfter)
			}
			continue
		}
		if err := s.seal(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrClosed) {
			s.opts.Log.Error("cannot seal days; it is tried again", "error", err)
		}
		if err := s.endApps(); err != nil && !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrClosed) {
			s.opts.Log.Error("cannot end an app; it is tried again", "error", err)
		}
		if time.Since(failed) < retryAfter {
			continue
		}
		s.trimAudits()
		s.trimFeeds(ctx)
		if err := s.reclaimLeft(ctx); err != nil && ctx.Err() == nil {
			failed = time.Now()
			s.opts.Log.Error("cannot give the bytes of removed profiles back; it is tried again", "error", err, "in", retryAfter)
			continue
		}
		due := s.fallenDue()
		if len(due) == 0 {
			continue
		}
		if _, err := s.sweep(ctx, due, false, true); errors.Is(err, spoor.ErrReadOnly) || errors.Is(err, spoor.ErrClosed) {
			continue // the store says so itself
		} else if err != nil && ctx.Err() == nil {
			failed = time.Now()
			s.opts.Log.Error("cannot sweep; it is tried again", "error", err, "in", retryAfter)
		}
	}
}

// seal finishes days that have left the window. Nothing of it needs a true
// clock: a day that is sealed early only takes late hits elsewhere.
func (s *Sweeper) seal(ctx context.Context) error {
	days, folded, err := s.opts.Store.SealDays(ctx)
	s.sealed(days, folded)
	return err
}

func (s *Sweeper) sealed(days, folded int) {
	if days > 0 {
		s.opts.Log.Info("sealed", "days", days, "rare_texts_folded", folded)
	}
}

// reclaimLeft goes on where no sweep does: after a failure or a restart, or when
// nobody falls due any more. Once an hour is enough for a promise of days.
func (s *Sweeper) reclaimLeft(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.figures.oldest.Load() == 0 || time.Since(s.reclaimed) < time.Hour {
		return nil
	}
	_, err := s.reclaimLocked(ctx, false)
	return err
}

// Reclaim gives back the bytes of what was removed on request, and what else is
// due; with full all that was removed.
func (s *Sweeper) Reclaim(ctx context.Context, full bool) (spoor.ReclaimReport, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reclaimLocked(ctx, full)
}

func (s *Sweeper) reclaimLocked(ctx context.Context, full bool) (spoor.ReclaimReport, error) {
	s.reclaimed = time.Now()
	r, err := s.store.Reclaim(ctx, full)
	s.figures.partitions.Add(int64(r.Partitions))
	s.notePending()
	return r, err
}

// Erase removes a person and returns the receipt once that is on disk; with wait,
// once no byte of it is left in the files. Without, Run sees to that. Subject is
// the keyed hash that the receipt shows. The receipt is nil if nobody was erased;
// beside an error it says that somebody was.
func (s *Sweeper) Erase(ctx context.Context, app spoor.AppID, n spoor.Number, subject string, wait bool) (*spoor.Receipt, error) {
	r, err := s.opts.Store.Erase(app, []spoor.Number{n}, subject)
	s.figures.erased.Add(r.Profiles)
	if err != nil || r.Receipt == 0 {
		return nil, err
	}
	if wait && s.only == 0 {
		_, err = s.Reclaim(ctx, false)
	} else {
		s.notePending()
		s.Hurry()
	}
	receipt, unread := s.opts.Store.Receipt(app, r.Receipt)
	return receipt, errors.Join(err, unread)
}

// Hurry asks Run to give back the bytes of what was removed on request.
func (s *Sweeper) Hurry() {
	select {
	case s.erased <- struct{}{}:
	default:
	}
}

// endApps deletes the apps whose time has come.
func (s *Sweeper) endApps() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.opts.Store.AllApps() {
		if _, err := s.endApp(a); err != nil {
			return err
		}
	}
	return nil
}

// endApp deletes an app if its time has come.
func (s *Sweeper) endApp(a *spoor.App) (ended bool, err error) {
	now := s.opts.Now().UnixMilli()
	if end := a.End(); end == 0 || end > now {
		return false, nil
	}
	if _, held := a.Held(a.Day(now)); held {
		return false, nil
	}
	var held *spoor.HeldError
	if err := s.opts.Store.DeleteApp(a.ID); errors.As(err, &held) {
		if was, _ := s.waits.Swap(a.ID, held.Until); was != held.Until {
			s.opts.Log.Warn("an app should end, but somebody in it is under a legal hold: it stays closed until then", "app", a.Name, "last_day", held.Until)
		}
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("cannot delete app %q: %w", a.Name, err)
	}
	s.opts.Log.Info("an app ended: all its data is removed", "app", a.Name)
	s.audit(a, "apps.end", 0, true)
	s.Hurry()
	return true, nil
}

// fallenDue lists the apps whose day has changed since their last sweep.
func (s *Sweeper) fallenDue() (apps []*spoor.App) {
	now := s.opts.Now().UnixMilli()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.opts.Store.AllApps() {
		if !s.swept(a, a.Day(now)) {
			apps = append(apps, a)
		}
	}
	return apps
}

// swept reports whether an app's sweep of a day was made, since the start.
func (s *Sweeper) swept(a *spoor.App, day spoor.Day) bool {
	done, ok := s.done.Load(a.ID)
	if !ok && s.opts.Elsewhere {
		last, err := s.opts.Store.Retained(a.ID)
		return err == nil && last >= day
	}
	return ok && done.(spoor.Day) >= day
}

// Sweep removes what is due now in all apps, and returns once that is on disk.
// With wait the bytes that are due are given back before it returns, with full
// all bytes; else Run sees to that.
func (s *Sweeper) Sweep(ctx context.Context, full, wait bool) (spoor.Sweep, error) {
	if s.only != 0 { // by the command's time, whatever the clock here
		return s.sweepView(ctx)
	}
	if s.figures.stopped.Load() {
		return spoor.Sweep{}, errors.New("cannot sweep: the clock departed while spoor ran; set it right and start spoor again")
	}
	if err := s.endApps(); err != nil {
		return spoor.Sweep{}, err
	}
	s.trimAudits()
	return s.sweep(ctx, s.opts.Store.AllApps(), full, full || wait)
}

func (s *Sweeper) sweep(ctx context.Context, apps []*spoor.App, full, wait bool) (r spoor.Sweep, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	began := time.Now()
	if _, _, err := s.opts.Store.SealDays(ctx); err != nil {
		return r, err
	}
	defer func() {
		s.figures.runs.Add(1)
		if err != nil {
			s.figures.failures.Add(1)
		}
		s.figures.last.Store(s.opts.Now().UnixMilli())
		s.notePending()
	}()
	for _, a := range apps {
		part, err := s.sweepApp(ctx, a)
		if err != nil {
			return r, err
		}
		r.Apps = append(r.Apps, part)
		s.done.Store(a.ID, part.Day)
	}
	r.Decided = time.Since(began)
	if !wait {
		s.Hurry()
		r.Took = r.Decided
		return r, nil
	}
	s.reclaimed = time.Now()
	if r.Reclaimed, err = s.opts.Store.Reclaim(ctx, full); err != nil {
		return r, fmt.Errorf("cannot give the bytes of removed profiles back: %w", err)
	}
	s.figures.partitions.Add(int64(r.Reclaimed.Partitions))
	r.Took = time.Since(began)
	return r, nil
}

// sweepApp removes what is due in an app, and enters that in its audit log.
func (s *Sweeper) sweepApp(ctx context.Context, a *spoor.App) (spoor.AppSweep, error) {
	r, err := s.removeDue(ctx, a)
	if r.Profiles > 0 {
		s.audit(a, "sweep", r.Profiles, err == nil)
	}
	if r.Aged.Hits > 0 {
		s.audit(a, "expire", r.Aged.Hits, err == nil)
	}
	if err != nil {
		return r, fmt.Errorf("cannot sweep app %q: %w", a.Name, err)
	}
	if r.Profiles > 0 {
		s.opts.Log.Info("swept", "app", a.Name, "day", r.Day, "profiles", r.Profiles, "hits", r.Hits, "kept_at_last_look", r.Kept)
	}
	return r, nil
}

func (s *Sweeper) removeDue(ctx context.Context, a *spoor.App) (r spoor.AppSweep, err error) {
	r.App, r.Day = a.Name, a.Day(s.opts.Now().UnixMilli())
	if _, held := a.Held(r.Day); held {
		return r, nil
	}
	if err := s.sweepIdle(ctx, a, &r); err != nil {
		return r, err
	}
	if r.Aged, err = s.opts.Store.Drop(ctx, a, aged(a, r.Day)); err == nil && r.Aged.Hits > 0 {
		s.figures.aged.Add(r.Aged.Hits)
		s.opts.Log.Info("dropped what was too old", "app", a.Name, "day", r.Day, "hits", r.Aged.Hits)
	}
	return r, err
}

// sweepIdle removes the profiles that are due.
func (s *Sweeper) sweepIdle(ctx context.Context, a *spoor.App, r *spoor.AppSweep) error {
	if a.Settings.IdleDays == 0 {
		return nil
	}
	numbers, err := s.opts.Store.Anonymous(a.ID, since(a, r.Day))
	if err != nil {
		return err
	}
	keeps := func(p *spoor.Profile) bool { return len(Judge(a, p, r.Day).Keeps) > 0 }
	for len(numbers) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(portion, len(numbers))
		part, err := s.opts.Store.Remove(a.ID, numbers[:n], r.Receipt, keeps)
		if r.Add(part); err != nil {
			return err
		}
		s.figures.profiles.Add(part.Profiles)
		s.figures.hits.Add(part.Hits)
		numbers = numbers[n:]
	}
	return nil
}

func (s *Sweeper) notePending() {
	p, err := s.store.Pending()
	if err != nil {
		s.opts.Log.Error("cannot tell what is still to be reclaimed", "error", err)
		return
	}
	s.figures.pending.Store(int64(p.Pending))
	s.figures.waiting.Store(p.Waiting)
	if s.figures.overdue.Swap(int64(p.Overdue)) < int64(p.Overdue) {
		s.opts.Log.Error("bytes of what was removed are still in the files after the promised time", "days_of_apps", p.Overdue,
			"hint", "look for earlier errors of the sweep; spoor sweep --full gives them back now")
	}
	s.figures.oldest.Store(p.Oldest)
}

// watch compares a wall clock with the monotonic one.
type watch struct {
	now   func() time.Time
	wall  time.Time
	began time.Time
}

func newWatch(now func() time.Time) *watch {
	return &watch{now: now, wall: now().Round(0), began: time.Now()}
}

// departed is how far the wall clock is ahead.
func (w *watch) departed() time.Duration {
	return w.now().Round(0).Sub(w.wall) - time.Since(w.began)
}
