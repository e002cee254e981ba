package retention

import (
	"context"
	"errors"
	"time"

	"github.com/spoorhq/spoor"
)

// trimFeeds removes, once an hour, what apps keep no longer in their feeds; of a
// feed that was switched off that is all of it.
func (s *Sweeper) trimFeeds(ctx context.Context) {
	now := s.opts.Now()
	if by := now.Sub(s.fed); by >= 0 && by < time.Hour {
		return
	}
	s.fed = now
	for _, app := range s.opts.Store.AllApps() {
		before := now.AddDate(0, 0, -app.Settings.FeedDays)
		if app.Settings.FeedDays == 0 {
			before = now.AddDate(1, 0, 0)
		}
		_, err := s.opts.Store.DropFeed(ctx, app.ID, before)
		if err != nil && ctx.Err() == nil && !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrClosed) {
			s.opts.Log.Error("old entries of a feed stay; it is tried again in an hour", "app", app.Name, "error", err)
		}
	}
}
