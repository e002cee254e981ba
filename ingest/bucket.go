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

// take asks for n events. If they are too many it returns how long to wait
// and takes nothing.
func (b *buckets) take(app *spoor.App, n int, now time.Time) time.Duration {
	perMinute := app.Settings.EventsPerMinute
	if perMinute <= 0 {
		return 0
	}
	v, ok := b.byApp.Load(app.ID)
	if !ok || v.(*bucket).perMinute != perMinute { // new, or the setting has changed
		burst := max(perMinute/30, b.eventsMax)
		v = &bucket{perMinute, rate.NewLimiter(rate.Limit(float64(perMinute)/60), burst)}
		b.byApp.Store(app.ID, v)
	}
	limiter := v.(*bucket).limiter
	if limiter.AllowN(now, n) { // nearly always, and it allocates nothing
		return 0
	}
	r := limiter.ReserveN(now, n)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}
