package store

import (
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/spoorhq/spoor"
)

// recentMinutes is how many minutes, the running one included, are remembered.
const recentMinutes = 6

// recent remembers in memory who visited in the last minutes. It is empty after
// a start.
type recent struct {
	mu     sync.Mutex
	apps   map[spoor.AppID]*minutes
	minute int64 // the newest
}

// recentMinute is who visited in one minute, counted from 1970.
type recentMinute struct {
	minute int64
	who    *roaring.Bitmap
}

// show takes in a hit that is on disk.
func (r *recent) show(h *spoor.Hit) {
	if h.Profile == 0 || !counted(h) || !h.Kind.Counts().Visitor {
		return
	}
	minute := h.Time / 60_000
	r.mu.Lock()
	defer r.mu.Unlock()
	if minute > r.minute {
		r.minute = minute
		for app, of := range r.apps {
			if of.newest() <= minute-recentMinutes {
				delete(r.apps, app)
			}
		}
	}
	if minute <= r.minute-recentMinutes {
		return
	}
	of := r.apps[h.App]
	if of == nil {
		if r.apps == nil {
			r.apps = map[spoor.AppID]*minutes{}
		}
		of = new(minutes)
		r.apps[h.App] = of
	}
	m := &of[minute%recentMinutes]
	if m.who == nil || m.minute < minute {
		*m = recentMinute{minute, roaring.New()}
	}
	m.who.Add(uint32(h.Profile))
}

// minutes are those of one app, each at its number modulo their count.
type minutes [recentMinutes]recentMinute

func (m *minutes) newest() (minute int64) {
	for i := range m {
		minute = max(minute, m[i].minute)
	}
	return minute
}

// visitors are those of the minute that runs and of the ones before it.
func (r *recent) visitors(app spoor.AppID, now time.Time) *roaring.Bitmap {
	who := roaring.New()
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.apps[app]; of != nil {
		for _, m := range of {
			if m.who != nil && m.minute > now.UnixMilli()/60_000-recentMinutes {
				who.Or(m.who)
			}
		}
	}
	return who
}
