package store

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// spareFS hands Pebble a pre-written file for each new write-ahead log. Creating
// one costs a third of the commit rate, since every first write of a block has to
// sync metadata as well. Pebble would write over old logs instead, which would
// keep deleted records on disk, as stale bytes behind the end of the new log:
// remover makes it delete them. A spare that was written with zeros and synced in
// the background costs neither.
type spareFS struct {
	vfs.FS
	dir  string // of the database
	path string // of the spare; not in the folder that Pebble lists
	size int64  // of a log

	fail atomic.Pointer[func(error)] // ends the process on an error of a log; see logFile

	mu      sync.Mutex
	ready   bool           // the spare is written and synced
	plain   bool           // the next log is to be a new file; see growNext
	filling sync.WaitGroup // at most one goroutine
	busy    bool
	closed  bool
}

func newSpareFS(inner vfs.FS, dir, path string, size int64) *spareFS {
	return &spareFS{FS: inner, dir: dir, path: path, size: size}
}

// remover deletes files, by the methods of DeleteCleaner. From the one deeper inside
// it has only the mark by which Pebble knows cleaners that want to see the contents
// of old logs, which then are never written over.
type remover struct {
	pebble.DeleteCleaner
	readsLogs
}

type readsLogs struct{ pebble.ArchiveCleaner }

// newLog opens the spare, or a new file where the spare is not ready, as a log.
func (s *spareFS) newLog(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	s.mu.Lock()
	ready := s.ready && !s.plain
	s.ready, s.plain = false, false
	s.mu.Unlock()
	defer s.fill(category)
	if ready {
		if f, err := s.FS.ReuseForWrite(s.path, name, category); err == nil {
			return f, nil
		}
	}
	return s.FS.Create(name, category)
}

// growNext makes the next log one that grows, so that a copy of it has no zeros
// behind its end.
func (s *spareFS) growNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plain = true
}

// Unwrap gives Pebble the file system below.
func (s *spareFS) Unwrap() vfs.FS { return s.FS }

// fill writes the next spare. A failure leaves none, which is only slower.
func (s *spareFS) fill(category vfs.DiskWriteCategory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.closed {
		return
	}
	s.busy = true
	s.filling.Add(1)
	go func() {
		defer s.filling.Done()
		err := s.writeZeros(category)
		s.mu.Lock()
		s.busy = false
		s.ready = err == nil
		s.mu.Unlock()
	}()
}

func (s *spareFS) writeZeros(category vfs.DiskWriteCategory) error {
	size := s.size
	f, err := s.FS.Create(s.path, category)
	if err != nil {
		return err
	}
	zeros := make([]byte, 256<<10)
	for size > 0 && err == nil {
		n := min(size, int64(len(zeros)))
		_, err = f.Write(zeros[:n])
		size -= n
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// stop waits for a spare that is being written and removes it.
func (s *spareFS) stop() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.filling.Wait()
	_ = s.FS.Remove(s.path) // it may not exist
}
