package query

import (
	"math"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"golang.org/x/time/rate"
)

// limits are the token buckets of the REST API, one for each app that was
// asked for. A bucket holds a full minute, so that nobody who keeps to the
// promised number in any minute is refused.
type limits struct {
	mu      sync.Mutex
	buckets map[spoor.AppID]*bucket
}

type bucket struct {
	perMinute int
	limiter   *rate.Limiter
}

// bucketsMax bounds the memory; above it all are dropped and begin full.
const bucketsMax = 100_000

// take returns 0 if the app may have one more request of so many a minute (0:
// no limit), else the whole seconds after which it may.
func (l *limits) take(app spoor.AppID, perMinute int, now time.Time) (waitSec int) {
	if perMinute == 0 {
		return 0
	}
	l.mu.Lock()
	b := l.buckets[app]
	if b == nil || b.perMinute != perMinute {
		if l.buckets == nil || len(l.buckets) >= bucketsMax {
			l.buckets = map[spoor.AppID]*bucket{}
		}
		b = &bucket{perMinute: perMinute, limiter: rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)}
		l.buckets[app] = b
	}
	l.mu.Unlock()
	r := b.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return 0
	}
	r.CancelAt(now)
	return int(math.Ceil(wait.Seconds()))
}

func (l *limits) forget(app spoor.AppID) {
	l.mu.Lock()
	delete(l.buckets, app)
	l.mu.Unlock()
}
