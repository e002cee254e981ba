package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// reuseFS watches what becomes of logs.
type reuseFS struct {
	vfs.FS
	t      testing.TB
	mu     sync.Mutex
	spares int // spares that became logs
	old    int // logs that were used again
}

func (f *reuseFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasSuffix(old, ".log") {
		f.old++
	} else if f.spares++; len(bytes.Trim(readFile(f.t, f.FS, old), "\x00")) > 0 {
		f.t.Errorf("the spare that becomes %s holds something", name)
	}
	return f.FS.ReuseForWrite(old, name, c)
}

func (f *reuseFS) Unwrap() vfs.FS { return f.FS }

// logsWith counts the logs of a store that hold some bytes.
func logsWith(t testing.TB, fs vfs.FS, what string) (n int) {
	t.Helper()
	names, err := fs.List("data/db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		f, err := fs.Open("data/db/" + name)
		if errors.Is(err, os.ErrNotExist) {
			continue // its table was finished since the directory was listed
		} else if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(what)) {
			n++
		}
	}
	return n
}

// Goal: the spare becomes the next log, an old log never does, and what an app
// left in logs is gone once the app is deleted and the logs have moved on.
// Method: a marker is written under one app while logs rotate; the app is
// deleted, flushed and compacted away, and one more write is flushed.
func TestDeletedBytesLeaveTheLogs(t *testing.T) {
	const marker = "marker-4c1f"
	c := newClock()
	fs := &reuseFS{FS: vfs.NewMem(), t: t}
	o := testOptions(t, fs, c)
	o.MemTableBytes = 64 << 10
	s := open(t, o)
	gone, stays := newApp(t, s, "gone", "UTC"), newApp(t, s, "stays", "UTC")
	put := func(app *spoor.App, n int, title string) {
		h := page(app, c, "visitor1", n)
		h.Title, h.Properties = title, bytes.Repeat([]byte(fmt.Sprint(n)), 300)
		write(t, s, h)
	}
	for round := range 6 {
		for n := range 40 {
			put(gone, round*100+n, marker)
		}
		if logsWith(t, fs, marker) == 0 {
			t.Fatal("the marker is in no log: this test would prove nothing")
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		s.spare.filling.Wait()
	}
	if err := s.DeleteApp(gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	put(stays, 1, "other")
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := logsWith(t, fs, marker); n > 0 {
		t.Errorf("%d logs still hold the marker", n)
	}
	if logsWith(t, fs, "other") > 1 {
		t.Error("a log that was flushed is still there")
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.spares == 0 || fs.old > 0 {
		t.Errorf("%d spares and %d old logs were used; want some and none", fs.spares, fs.old)
	}
}

// Goal: without a spare, or with one that cannot be written, logs go on.
// Method: the file system refuses to make the spare.
func TestNoSpareIsOnlySlower(t *testing.T) {
	c := newClock()
	fs := &noSpareFS{FS: vfs.NewMem()}
	o := testOptions(t, fs, c)
	o.MemTableBytes = 64 << 10
	s := open(t, o)
	app := newApp(t, s, "shop", "UTC")
	for n := range 50 {
		h := page(app, c, "visitor1", n)
		h.Properties = make([]byte, 4000)
		write(t, s, h)
		if n%10 == 0 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
			s.spare.filling.Wait()
		}
	}
	if n := missing(t, s, app.ID, []string{"visitor1-0", "visitor1-49"}); n > 0 {
		t.Errorf("%d hits are gone", n)
	}
	s.spare.mu.Lock()
	defer s.spare.mu.Unlock()
	if s.spare.ready {
		t.Error("a spare that could not be written is said to be ready")
	}
}

type noSpareFS struct{ vfs.FS }

func (f *noSpareFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.Contains(name, "spare") {
		return nil, fmt.Errorf("cannot make %s", name)
	}
	return f.FS.Create(name, c)
}

func (f *noSpareFS) Unwrap() vfs.FS { return f.FS }
