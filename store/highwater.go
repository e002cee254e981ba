package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// highWater is a small file beside the database that says how far the store
// had acknowledged. A damaged tail of the newest write-ahead log looks to
// Pebble like the end of the log, so it opens and says nothing; the mark in
// this file is the only witness that acknowledged hits are missing.
//
// It is written after each acknowledged group, in turn into one of two slots,
// and synced once a second: it may be behind the database, never ahead of it.
type highWater struct {
	file vfs.File
	slot int64
	buf  [slotBytes]byte
}

// mark is a point in the sequence of all groups that were ever written.
type mark struct {
	groups uint64 // groups written
	hits   uint64 // hits stored in them
}

const (
	slotBytes  = 64
	slotMagic  = "SPOORHW1"
	slotSpread = 4096 // slots on different pages, so that a torn write hits one
)

func openHighWater(fs vfs.FS, path string) (w *highWater, last mark, err error) {
	f, err := fs.OpenReadWrite(path, "spoor-highwater")
	if err != nil {
		return nil, mark{}, fmt.Errorf("cannot open the high-water file: %w", err)
	}
	w = &highWater{file: f}
	last = w.read()
	return w, last, nil
}

// readHighWater reads the mark without writing anything; zero if there is none.
func readHighWater(fs vfs.FS, path string) (mark, error) {
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, fmt.Errorf("cannot open the high-water file: %w", err)
	}
	last := (&highWater{file: f}).read()
	return last, f.Close()
}

// read finds the newer of the two slots.
func (w *highWater) read() (last mark) {
	for slot := int64(0); slot < 2; slot++ {
		var b [slotBytes]byte
		if n, _ := w.file.ReadAt(b[:], slot*slotSpread); n < slotBytes {
			continue
		}
		if m, ok := readMark(b[:]); ok && m.groups >= last.groups {
			last, w.slot = m, 1-slot
		}
	}
	return last
}

func readMark(b []byte) (m mark, ok bool) {
	sum := binary.LittleEndian.Uint32(b[slotBytes-4:])
	if string(b[:8]) != slotMagic || crc32.ChecksumIEEE(b[:slotBytes-4]) != sum {
		return mark{}, false
	}
	return mark{groups: binary.LittleEndian.Uint64(b[8:]), hits: binary.LittleEndian.Uint64(b[16:])}, true
}

// write records the mark; it reaches the disk with the next sync.
func (w *highWater) write(m mark) error {
	b := w.buf[:]
	copy(b, slotMagic)
	binary.LittleEndian.PutUint64(b[8:], m.groups)
	binary.LittleEndian.PutUint64(b[16:], m.hits)
	binary.LittleEndian.PutUint32(b[slotBytes-4:], crc32.ChecksumIEEE(b[:slotBytes-4]))
	if _, err := w.file.WriteAt(b, w.slot*slotSpread); err != nil {
		return fmt.Errorf("cannot write the high-water file: %w", err)
	}
	w.slot = 1 - w.slot
	return nil
}

func (w *highWater) sync() error { return w.file.Sync() }

func (w *highWater) close() error {
	if err := w.file.Sync(); err != nil {
		return err
	}
	return w.file.Close()
}
