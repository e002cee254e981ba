package ingest

import (
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"golang.org/x/time/rate"
)

// buckets limit the events of each app. An app's bucket refills at its
// events_per_minute and holds two seconds' worth, but always enough for the
// largest batch that is allowed, which could never pass otherwise. There are
// as many buckets as apps that have sent, so memory is bounded by the apps.
type buckets struct {
	eventsMax int
	byApp     sync.Map // spoor.AppID → *bucket
}

type bucket struct {
	perMinute int
	limiter   *rate.Limiter
}

// drain takes n events that come in any case, or as many as there are left: a
// debt would keep the app's other senders out for as long as this one floods.
func (b *buckets) drain(app *spoor.App, n int, now time.Time) {
	if limiter := b.limiter(app); limiter != nil {
		limiter.AllowN(now, min(n, max(0, int(limiter.TokensAt(now)))))
	}
}

// limiter is the app's; nil if it has no limit.
func (b *buckets) limiter(app *spoor.App) *rate.Limiter {
	perMinute := app.Settings.EventsPerMinute
	if perMinute <= 0 {
		return nil
	}
	v, ok := b.byApp.Load(app.ID)
	if !ok || v.(*bucket).perMinute != perMinute { // new, or the setting has changed
		burst := max(perMinute/30, b.eventsMax)
		v = &bucket{perMinute, rate.NewLimiter(rate.Limit(float64(perMinute)/60), burst)}
		b.byApp.Store(app.ID, v)
	}
	return v.(*bucket).limiter
}

// take asks for n events. If they are too many it returns how long to wait
// and takes nothing.
func (b *buckets) take(app *spoor.App, n int, now time.Time) time.Duration {
	limiter := b.limiter(app)
	if limiter == nil || limiter.AllowN(now, n) { // nearly always, and it allocates nothing
		return 0
	}
	r := limiter.ReserveN(now, n)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}
