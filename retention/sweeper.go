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
	DeleteApp(id spoor.AppID) error
	SealDays(ctx context.Context) (days, folded int, err error)
	Anonymous(app spoor.AppID, since spoor.Day) ([]spoor.Number, error)
	Profile(app spoor.AppID, n spoor.Number) (*spoor.Profile, error)
	Remove(app spoor.AppID, numbers []spoor.Number, keeps func(*spoor.Profile) bool) (spoor.Removal, error)
	Erase(app spoor.AppID, numbers []spoor.Number) (spoor.Removal, error)
	Reclaim(ctx context.Context, full bool) (spoor.ReclaimReport, error)
	Pending() (spoor.ReclaimReport, error)
}

// Options configure a Sweeper. Store is needed.
type Options struct {
	Store Store
	Now   func() time.Time // default: time.Now
	Log   *slog.Logger     // default: slog.Default()
	Grace time.Duration    // before the first sweep of Run
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
	opts      Options
	mu        sync.Mutex // one sweep at a time
	done      map[spoor.AppID]spoor.Day
	reclaimed time.Time // when bytes were last given back
	erased    chan struct{}
	figures   figures
}

type figures struct {
	profiles, hits, runs, failures, partitions, erased atomic.Int64
	pending, oldest, last                              atomic.Int64
	stopped                                            atomic.Bool
}

// Figures are counters for metrics, since the start.
type Figures struct {
	Profiles, Hits int64 // swept
	Erased         int64 // persons, on request
	Runs, Failures int64
	Partitions     int64 // days of apps that were rewritten
	PendingDays    int64 // days of apps that still hold bytes of removed hits
	OldestPending  int64 // Unix ms of the oldest decision among them; 0: none
	LastRun        int64 // Unix ms; 0: none yet
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
	return &Sweeper{opts: o, done: map[spoor.AppID]spoor.Day{}, erased: make(chan struct{}, 1)}
}

// Figures reads the counters.
func (s *Sweeper) Figures() Figures {
	f := &s.figures
	return Figures{
		Profiles: f.profiles.Load(), Erased: f.erased.Load(), Hits: f.hits.Load(), Runs: f.runs.Load(), Failures: f.failures.Load(), Partitions: f.partitions.Load(),
		PendingDays: f.pending.Load(), OldestPending: f.oldest.Load(), LastRun: f.last.Load(), Stopped: f.stopped.Load(),
	}
}

// Run sweeps every app at its midnight until ctx ends. A sweep that was missed
// while the program did not run is made up for after the grace period.
func (s *Sweeper) Run(ctx context.Context) {
	s.notePending()
	s.announce()
	if s.figures.pending.Load() > 0 { // a removal was decided before the start; no clock is needed to finish it
		s.Hurry()
	}
	began := time.Now()
	watch := newWatch(s.opts.Now)
	ticks := time.NewTicker(min(tick, max(s.opts.Grace/4, 100*time.Millisecond)))
	defer ticks.Stop()
	var failed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.erased: // whoever asked to be forgotten waits for no midnight, and for no clock
			if err := s.Reclaim(ctx); err != nil && ctx.Err() == nil {
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
		if err := s.seal(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrClosed) {
			s.opts.Log.Error("cannot seal days; it is tried again", "error", err)
		}
		if err := s.endApps(); err != nil && !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrClosed) {
			s.opts.Log.Error("cannot end an app; it is tried again", "error", err)
		}
		if time.Since(began) < s.opts.Grace || time.Since(failed) < retryAfter {
			continue
		}
		if err := s.reclaimLeft(ctx); err != nil && ctx.Err() == nil {
			failed = time.Now()
			s.opts.Log.Error("cannot give the bytes of removed profiles back; it is tried again", "error", err, "in", retryAfter)
			continue
		}
		if _, err := s.sweep(ctx, s.fallenDue(), false); errors.Is(err, spoor.ErrReadOnly) || errors.Is(err, spoor.ErrClosed) {
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
	if days > 0 {
		s.opts.Log.Info("sealed", "days", days, "rare_texts_folded", folded)
	}
	return err
}

// reclaimLeft goes on where no sweep does: after a failure or a restart, or when
// nobody falls due any more. Once an hour is enough for a promise of days.
func (s *Sweeper) reclaimLeft(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.figures.pending.Load() == 0 || time.Since(s.reclaimed) < time.Hour {
		return nil
	}
	return s.reclaimLocked(ctx)
}

// Reclaim gives back the bytes of what was removed on request, and what else is
// due.
func (s *Sweeper) Reclaim(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reclaimLocked(ctx)
}

func (s *Sweeper) reclaimLocked(ctx context.Context) error {
	s.reclaimed = time.Now()
	r, err := s.opts.Store.Reclaim(ctx, false)
	s.figures.partitions.Add(int64(r.Partitions))
	s.notePending()
	return err
}

// Erase removes a person and returns once that is on disk; with wait, once no
// byte of it is left in the files. Without, Run sees to that.
func (s *Sweeper) Erase(ctx context.Context, app spoor.AppID, n spoor.Number, wait bool) (spoor.Removal, error) {
	r, err := s.opts.Store.Erase(app, []spoor.Number{n})
	s.figures.erased.Add(r.Profiles)
	if err != nil {
		return r, err
	}
	if wait {
		return r, s.Reclaim(ctx)
	}
	s.notePending()
	s.Hurry()
	return r, nil
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
	now := s.opts.Now().UnixMilli()
	for _, a := range s.opts.Store.AllApps() {
		if a.Ends == 0 || a.Ends > now {
			continue
		}
		if err := s.opts.Store.DeleteApp(a.ID); err != nil {
			return fmt.Errorf("cannot delete app %q: %w", a.Name, err)
		}
		s.opts.Log.Info("an app ended: all its data is removed", "app", a.Name)
		s.Hurry()
	}
	return nil
}

// fallenDue lists the apps whose day has changed since their last sweep.
func (s *Sweeper) fallenDue() (apps []*spoor.App) {
	now := s.opts.Now().UnixMilli()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.opts.Store.AllApps() {
		if done, ok := s.done[a.ID]; a.Settings.IdleDays > 0 && (!ok || done < a.Day(now)) {
			apps = append(apps, a)
		}
	}
	return apps
}

// announce logs what the first sweep will remove.
func (s *Sweeper) announce() {
	if s.opts.Grace <= 0 {
		return
	}
	now := s.opts.Now().UnixMilli()
	for _, a := range s.opts.Store.AllApps() {
		if a.Settings.IdleDays == 0 {
			continue
		}
		numbers, err := s.opts.Store.Anonymous(a.ID, since(a, a.Day(now)))
		if err != nil {
			s.opts.Log.Error("cannot tell what will be swept", "app", a.Name, "error", err)
		} else if len(numbers) > 0 {
			s.opts.Log.Info("a sweep will follow", "app", a.Name, "profiles_at_most", len(numbers), "in", s.opts.Grace,
				"hint", "spoor sweep --dry-run lists them; spoor app set idle_days=0 keeps them")
		}
	}
}

// Sweep removes what is due now in all apps. With full, all bytes are given
// back before it returns; else those that are due.
func (s *Sweeper) Sweep(ctx context.Context, full bool) (spoor.Sweep, error) {
	if s.figures.stopped.Load() {
		return spoor.Sweep{}, errors.New("cannot sweep: the clock departed while spoor ran; set it right and start spoor again")
	}
	if err := s.endApps(); err != nil {
		return spoor.Sweep{}, err
	}
	var apps []*spoor.App
	for _, a := range s.opts.Store.AllApps() {
		if a.Settings.IdleDays > 0 {
			apps = append(apps, a)
		}
	}
	return s.sweep(ctx, apps, full)
}

func (s *Sweeper) sweep(ctx context.Context, apps []*spoor.App, full bool) (r spoor.Sweep, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(apps) == 0 && !full {
		return r, nil
	}
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
			return r, fmt.Errorf("cannot sweep app %q: %w", a.Name, err)
		}
		r.Apps = append(r.Apps, part)
		s.done[a.ID] = part.Day
		if part.Profiles > 0 {
			s.opts.Log.Info("swept", "app", a.Name, "day", part.Day, "profiles", part.Profiles, "hits", part.Hits, "kept_at_last_look", part.Kept)
		}
	}
	r.Decided = time.Since(began)
	s.reclaimed = time.Now()
	if r.Reclaimed, err = s.opts.Store.Reclaim(ctx, full); err != nil {
		return r, fmt.Errorf("cannot give the bytes of removed profiles back: %w", err)
	}
	s.figures.partitions.Add(int64(r.Reclaimed.Partitions))
	r.Took = time.Since(began)
	return r, nil
}

func (s *Sweeper) sweepApp(ctx context.Context, a *spoor.App) (r spoor.AppSweep, err error) {
	r.App, r.Day = a.Name, a.Day(s.opts.Now().UnixMilli())
	numbers, err := s.opts.Store.Anonymous(a.ID, since(a, r.Day))
	if err != nil {
		return r, err
	}
	keeps := func(p *spoor.Profile) bool { return len(Judge(a, p, r.Day).Keeps) > 0 }
	for len(numbers) > 0 {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		n := min(portion, len(numbers))
		part, err := s.opts.Store.Remove(a.ID, numbers[:n], keeps)
		if r.Add(part); err != nil {
			return r, err
		}
		s.figures.profiles.Add(part.Profiles)
		s.figures.hits.Add(part.Hits)
		numbers = numbers[n:]
	}
	return r, nil
}

// Judge is the rule as a method, for whoever knows a Sweeper only.
func (s *Sweeper) Judge(app *spoor.App, p *spoor.Profile, today spoor.Day) spoor.Verdict {
	return Judge(app, p, today)
}

// Plan calls fn with each profile of an app that would go on a day, and why. An
// error of fn ends it and is returned.
func (s *Sweeper) Plan(a *spoor.App, day spoor.Day, fn func(*spoor.Profile, spoor.Verdict) error) error {
	if a.Settings.IdleDays == 0 {
		return nil
	}
	numbers, err := s.opts.Store.Anonymous(a.ID, since(a, day))
	if err != nil {
		return err
	}
	for _, n := range numbers {
		p, err := s.opts.Store.Profile(a.ID, n)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		if v := Judge(a, p, day); len(v.Keeps) == 0 {
			if err := fn(p, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Sweeper) notePending() {
	p, err := s.opts.Store.Pending()
	if err != nil {
		s.opts.Log.Error("cannot tell what is still to be reclaimed", "error", err)
		return
	}
	s.figures.pending.Store(int64(p.Pending))
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
