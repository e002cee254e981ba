package store

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// spaceGuard makes the store read-only before the disk is full. Pebble ends
// the process when a log write fails, and cannot open on a full disk: it waits
// without end for a flush. So what is in memory must always still fit.
type spaceGuard struct {
	fs      vfs.FS
	dir     string
	reserve int64
	now     func() time.Time
	log     *slog.Logger
	next    atomic.Int64 // when to look again, Unix nanoseconds
	free    atomic.Int64
	full    atomic.Bool
	watched bool // false where the file system cannot tell
}

// spaceLookEvery is how stale the figure may be. At 100 MB/s that is 5 MB.
const spaceLookEvery = 50 * time.Millisecond

func newSpaceGuard(o Options) *spaceGuard {
	g := &spaceGuard{fs: o.FS, dir: o.Dir, reserve: o.ReserveBytes, now: o.Now, log: o.Log}
	disk, err := o.FS.GetDiskUsage(o.Dir)
	if err != nil {
		return g
	}
	g.watched = true
	if g.reserve == 0 {
		// For memtables that are not flushed yet, their logs and the spare
		// log, and for compactions, which write before they remove.
		g.reserve = min(512<<20, int64(disk.TotalBytes/4))
	}
	return g
}

// need is how many bytes must be free to write.
func (g *spaceGuard) need() int64 {
	if g.full.Load() {
		return g.reserve + g.reserve/8 // not to flap
	}
	return g.reserve
}

// low reports whether the store must not be written to.
func (g *spaceGuard) low() bool {
	if !g.watched {
		return false
	}
	now := time.Now().UnixNano() // not the injected clock: this is about the real disk
	if due := g.next.Load(); now >= due && g.next.CompareAndSwap(due, now+int64(spaceLookEvery)) {
		if disk, err := g.fs.GetDiskUsage(g.dir); err == nil {
			g.free.Store(int64(disk.AvailBytes))
			g.turn(int64(disk.AvailBytes) < g.need())
		}
	}
	return g.full.Load()
}

// backgroundError hears of failed flushes and compactions.
func (g *spaceGuard) backgroundError(err error) {
	if errors.Is(err, syscall.ENOSPC) {
		g.turn(true)
	}
}

// turn notes whether the disk is full, and says so when that changes.
func (g *spaceGuard) turn(full bool) {
	if g.full.Swap(full) == full {
		return
	}
	if full {
		g.log.Error("the disk is almost full: only reading from now on", "free_bytes", g.free.Load(), "needed_bytes", g.reserve,
			"hint", "free some space; writing goes on by itself")
	} else {
		g.log.Info("there is room on the disk again: writing", "free_bytes", g.free.Load())
	}
}

// reopen waits for room on a disk that was full at the start, then opens the
// store for writing.
func (s *Store) reopen() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			s.queue.refuse(spoor.ErrClosed) // there is no writer to take them
			close(s.done)
			return
		case <-tick.C:
		}
		if s.space.low() {
			continue
		}
		s.mu.Lock()
		err := s.closeDB()
		if err == nil {
			err = s.openDB(false)
		}
		if err == nil {
			err = s.start()
		}
		s.mu.Unlock()
		if err == nil {
			s.log.Info("there is room on the disk again: writing")
			return
		}
		s.log.Error("cannot open the store for writing", "error", err)
	}
}

// Writable is nil, or says why the store takes no writes now.
func (s *Store) Writable() error {
	if s.space.low() {
		return spoor.ErrReadOnly
	}
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return s.queue.err
}
