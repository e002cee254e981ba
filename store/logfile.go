package store

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logFile is a write-ahead log, or the folder that lists them. Pebble panics on
// most of their errors, in the midst of its locks, with a dump that tells an
// operator nothing; and it goes on for a while after others. So the first error
// ends the process here, with a line that says why.
type logFile struct {
	vfs.File
	fs *spareFS
}

func (f logFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.fatal(err)
}

func (f logFile) Sync() error { return f.fs.fatal(f.File.Sync()) }

func (f logFile) SyncData() error { return f.fs.fatal(f.File.SyncData()) }

func (f logFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.fatal(err)
}

// fatal ends the process on an error of a log, once the store is open. Until
// then Pebble returns errors, and so does Open.
func (s *spareFS) fatal(err error) error {
	if fail := s.fail.Load(); err != nil && fail != nil {
		(*fail)(err)
	}
	return err
}

// Create makes a file, or opens the spare as a log. Logs of a checkpoint are files
// like others.
func (s *spareFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") || s.FS.PathDir(name) != s.dir {
		return s.FS.Create(name, category)
	}
	f, err := s.newLog(name, category)
	if err != nil {
		return nil, s.fatal(err)
	}
	return logFile{f, s}, nil
}

// OpenDir opens a folder.
func (s *spareFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil || name != s.dir {
		return f, err
	}
	return logFile{f, s}, nil
}
