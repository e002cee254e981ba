package store

import (
	"sync"
	"sync/atomic"

	"github.com/spoorhq/spoor"
)

// tails are those who watch hits as they are stored.
type tails struct {
	mu      sync.Mutex
	list    map[*tail]struct{}
	count   atomic.Int32
	dropped atomic.Int64
	closed  bool
}

type tail struct {
	app  spoor.AppID
	hits chan spoor.Hit
}

// tailHitsMax is how many hits wait for a slow watcher before some are dropped.
const tailHitsMax = 1024

// Tail shows the hits of an app once they are on disk, in the order in which
// they were stored. A reader that is too slow misses some. The channel is
// closed by stop and when the store closes.
func (s *Store) Tail(app spoor.AppID) (hits <-chan spoor.Hit, stop func()) {
	t := &tail{app: app, hits: make(chan spoor.Hit, tailHitsMax)}
	ts := &s.tails
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		close(t.hits)
		return t.hits, func() {}
	}
	if ts.list == nil {
		ts.list = map[*tail]struct{}{}
	}
	ts.list[t] = struct{}{}
	ts.count.Add(1)
	return t.hits, func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.drop(t)
	}
}

func (ts *tails) drop(t *tail) {
	if _, there := ts.list[t]; there {
		delete(ts.list, t)
		ts.count.Add(-1)
		close(t.hits)
	}
}

// show passes a stored hit on. It costs one atomic read while nobody watches.
func (ts *tails) show(h *spoor.Hit) {
	if ts.count.Load() == 0 || h.Marks&spoor.MarkUncounted != 0 {
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := range ts.list {
		if t.app != h.App {
			continue
		}
		select {
		case t.hits <- *h:
		default:
			ts.dropped.Add(1)
		}
	}
}

func (ts *tails) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closed = true
	for t := range ts.list {
		ts.drop(t)
	}
}
