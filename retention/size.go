package retention

import (
	"context"
	"errors"
	"time"

	"github.com/spoorhq/spoor"
)

// runSizes notes the sizes of segments once on each day of each app, until ctx
// ends. It has a goroutine of its own: a thousand segments take a while.
func (s *Sweeper) runSizes(ctx context.Context) {
	began := time.Now()
	ticks := time.NewTicker(s.tick())
	defer ticks.Stop()
	var failed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if time.Since(began) < s.opts.Grace || time.Since(failed) < retryAfter || s.figures.stopped.Load() {
			continue
		}
		if err := s.noteSizes(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrClosed) {
			failed = time.Now()
			s.opts.Log.Error("cannot note the sizes of segments; it is tried again", "error", err, "in", retryAfter)
		}
	}
}

func (s *Sweeper) tick() time.Duration {
	return min(tick, max(s.opts.Grace/4, 100*time.Millisecond))
}

// noteSizes notes the sizes of the segments of apps whose day has changed.
func (s *Sweeper) noteSizes(ctx context.Context) error {
	for _, a := range s.opts.Store.AllApps() {
		day := a.Day(s.opts.Now().UnixMilli())
		if s.sized[a.ID] == day || a.Closed {
			continue
		}
		if err := s.opts.Store.SizeSegments(ctx, a.ID); err != nil {
			return err
		}
		s.sized[a.ID] = day
	}
	return nil
}
