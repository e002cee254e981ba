package store

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spareFS hands Pebble a pre-written file whenever it wants to reuse an old
// write-ahead log. Reusing the old one would keep deleted records on disk as
// stale bytes behind the end of the new log. Removing it and creating a new
// one costs a third of the commit rate, since every first write of a block has
// to sync metadata as well. A spare that was written with zeros and synced in
// the background costs neither.
type spareFS struct {
	vfs.FS
	path string // of the spare; not in the folder that Pebble lists

	fail atomic.Pointer[func(error)] // ends the process on an error of a log; see logFile

	mu      sync.Mutex
	ready   bool           // the spare is written and synced
	filling sync.WaitGroup // at most one goroutine
	busy    bool
	closed  bool
}

func newSpareFS(inner vfs.FS, path string) *spareFS {
	return &spareFS{FS: inner, path: path}
}

// ReuseForWrite removes the old log and opens the spare, or a new file where
// the spare is not ready, under the new name.
func (s *spareFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	var size int64
	if info, err := s.FS.Stat(oldname); err == nil {
		size = info.Size()
	}
	if err := s.FS.Remove(oldname); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, s.fatal(err)
	}
	s.mu.Lock()
	ready := s.ready
	s.ready = false
	s.mu.Unlock()
	defer s.fill(size, category)
	if ready {
		if f, err := s.FS.ReuseForWrite(s.path, newname, category); err == nil {
			return s.log(newname, f, nil)
		}
	}
	return s.Create(newname, category)
}

// Unwrap gives Pebble the file system below.
func (s *spareFS) Unwrap() vfs.FS { return s.FS }

// fill writes the next spare. A failure leaves none, which is only slower.
func (s *spareFS) fill(size int64, category vfs.DiskWriteCategory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.closed || size == 0 {
		return
	}
	s.busy = true
	s.filling.Add(1)
	go func() {
		defer s.filling.Done()
		err := s.writeZeros(size, category)
		s.mu.Lock()
		s.busy = false
		s.ready = err == nil
		s.mu.Unlock()
	}()
}

func (s *spareFS) writeZeros(size int64, category vfs.DiskWriteCategory) error {
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
