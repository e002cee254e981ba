package store

import (
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

func newBitmap(numbers ...uint32) *roaring.Bitmap { return roaring.BitmapOf(numbers...) }

// scriptedDisk says how much space is left.
type scriptedDisk struct {
	vfs.FS
	free atomic.Int64
}

func (d *scriptedDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(d.free.Load()), TotalBytes: 1 << 30}, nil
}

// until waits for a condition that other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

// Goal: the store stops writing before the disk is full, goes on reading, and
// writes again by itself when there is room.
// Method: a file system that says whatever space it is told to.
func TestSpaceGuard(t *testing.T) {
	c := newClock()
	disk := &scriptedDisk{FS: vfs.NewMem()}
	disk.free.Store(900 << 20)
	o := testOptions(t, disk, c)
	s := open(t, o)
	app := newApp(t, s, "shop", "UTC")
	write(t, s, page(app, c, "k1", 1))

	disk.free.Store(1 << 20)
	until(t, "read-only", func() bool { return errors.Is(s.Writable(), spoor.ErrReadOnly) })
	if err := s.Write([]spoor.Hit{page(app, c, "k1", 2)}); !errors.Is(err, spoor.ErrReadOnly) {
		t.Errorf("writing on a full disk: %v, want ErrReadOnly", err)
	}
	if p, err := s.Profile(app.ID, 1); err != nil || p == nil {
		t.Errorf("reading on a full disk: %v, %v", p, err)
	}
	disk.free.Store(900 << 20)
	until(t, "writable", func() bool { return s.Writable() == nil })
	write(t, s, page(app, c, "k1", 2))
}

// Goal: a store whose disk is full at the start opens, answers, and writes
// once there is room, without a restart.
func TestOpenOnFullDisk(t *testing.T) {
	c := newClock()
	disk := &scriptedDisk{FS: vfs.NewMem()}
	disk.free.Store(900 << 20)
	s := open(t, testOptions(t, disk, c))
	app := newApp(t, s, "shop", "UTC")
	write(t, s, page(app, c, "k1", 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	disk.free.Store(1 << 20)
	s = open(t, testOptions(t, disk, c))
	if err := s.Write([]spoor.Hit{page(app, c, "k1", 2)}); !errors.Is(err, spoor.ErrReadOnly) {
		t.Errorf("writing on a full disk: %v, want ErrReadOnly", err)
	}
	if p, err := s.Profile(app.ID, 1); err != nil || p == nil || p.Views != 1 {
		t.Errorf("reading on a full disk: %+v, %v", p, err)
	}
	disk.free.Store(900 << 20)
	until(t, "writable", func() bool { return s.Writable() == nil })
	write(t, s, page(app, c, "k1", 2))
}

// Goal: no write-ahead log holds bytes of an older one.
// Method: a marker is written, removed and compacted away; the logs rotate twice by
// flushes; then no log on a real disk holds the marker, though it did before.
func TestNoLogIsReused(t *testing.T) {
	dir := t.TempDir()
	spare := newSpareFS(vfs.Default, filepath.Join(dir, "db"), filepath.Join(dir, "spare"), 1<<20)
	db, err := pebble.Open(filepath.Join(dir, "db"), &pebble.Options{
		FS: spare, MemTableSize: 256 << 10, FormatMajorVersion: pebble.FormatNewest, Logger: pebbleLog{nil}, Cleaner: remover{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer spare.stop()
	defer db.Close()
	const marker = "MARKER-7f3a"
	holding := func() (n int) {
		logs, err := filepath.Glob(filepath.Join(dir, "db", "*.log"))
		if err != nil || len(logs) == 0 {
			t.Fatalf("%d logs, %v", len(logs), err)
		}
		for _, path := range logs {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			n += strings.Count(string(b), marker)
		}
		return n
	}
	filler := make([]byte, 1000)
	rand.New(rand.NewSource(1)).Read(filler)
	for i := range 100 {
		if err := db.Set([]byte{byte(i)}, append([]byte(marker), filler...), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if holding() == 0 {
		t.Fatal("the marker is not in the log: this test would prove nothing")
	}
	for range 2 {
		for i := range 100 {
			if err := db.Delete([]byte{byte(i)}, pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "gone after two rotations", func() bool { return holding() == 0 })
}
