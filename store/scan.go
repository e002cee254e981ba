package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Find is a file that holds a text.
type Find struct {
	File  string // below the data directory
	Text  int    // which of the texts
	As    string // the encoding in which it was found
	Count int
}

// ScanReport is what Scan looked at and found.
type ScanReport struct {
	Files, Records, Bytes int64
	Finds                 []Find
	Unreadable            []string // tables and logs that were searched only as they stand
}

// Scan searches every file of a data directory for texts: as it stands, the
// records of tables out of their compressed blocks, and the records of logs out
// of their chunks; in the encodings in which a text could hide. It opens no
// database and may run beside one, whose files then come and go.
func Scan(fs vfs.FS, dir string, texts []string) (r ScanReport, err error) {
	if fs == nil {
		fs = vfs.Default
	}
	var needles []needle
	for i, t := range texts {
		if len(t) < 4 {
			return r, fmt.Errorf("cannot search for a text of %d bytes: it would be found everywhere; give at least 4", len(t))
		}
		needles = append(needles, encodings(i, t)...)
	}
	err = walk(fs, dir, "", func(name string) error {
		s := searcher{name: name, needles: needles, report: &r}
		err := s.file(fs, fs.PathJoin(dir, name))
		if errors.Is(err, os.ErrNotExist) { // a compaction has removed it
			return nil
		}
		r.Files++
		return err
	})
	slices.SortFunc(r.Finds, func(a, b Find) int {
		return strings.Compare(fmt.Sprint(a.Text, " ", a.File, " ", a.As), fmt.Sprint(b.Text, " ", b.File, " ", b.As))
	})
	return r, err
}

func walk(fs vfs.FS, dir, below string, f func(name string) error) error {
	names, err := fs.List(fs.PathJoin(dir, below))
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", fs.PathJoin(dir, below), err)
	}
	for _, name := range names {
		name = fs.PathJoin(below, name)
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		switch {
		case err != nil:
			return err
		case info.IsDir():
			err = walk(fs, dir, name, f)
		case info.Mode().IsRegular():
			err = f(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type needle struct {
	text int
	as   string
	raw  []byte
}

// encodings are the forms of a text that are searched for.
func encodings(i int, text string) (all []needle) {
	add := func(as string, raw []byte) {
		if !slices.ContainsFunc(all, func(n needle) bool { return bytes.Equal(n.raw, raw) }) {
			all = append(all, needle{i, as, raw})
		}
	}
	add("plain", []byte(text))
	add("lower case", []byte(strings.ToLower(text)))
	add("percent-encoded", []byte(url.QueryEscape(text)))
	add("percent-encoded path", []byte(url.PathEscape(text)))
	if quoted, err := json.Marshal(text); err == nil {
		add("JSON", quoted[1:len(quoted)-1])
	}
	add("hex", []byte(hex.EncodeToString([]byte(text))))
	add("HEX", []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))))
	var little, big []byte
	for _, u := range utf16.Encode([]rune(text)) {
		little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
	}
	add("UTF-16LE", little)
	add("UTF-16BE", big)
	// Base64 depends on where in its groups of three the text begins; of each way
	// only the characters that no neighbour changes.
	for shift := range 3 {
		padded := append(make([]byte, shift), text...)
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			out := enc.EncodeToString(padded)
			out = out[(shift*8+5)/6 : len(padded)*8/6]
			if len(out) >= 5 {
				add(name, []byte(out))
			}
		}
	}
	return all
}

// searcher looks through one file.
type searcher struct {
	name    string
	needles []needle
	report  *ScanReport
}

func (s *searcher) search(b []byte) {
	for _, n := range s.needles {
		count := bytes.Count(b, n.raw)
		if count == 0 {
			continue
		}
		same := func(f Find) bool { return f.File == s.name && f.Text == n.text && f.As == n.as }
		if i := slices.IndexFunc(s.report.Finds, same); i >= 0 {
			s.report.Finds[i].Count += count
		} else {
			s.report.Finds = append(s.report.Finds, Find{s.name, n.text, n.as, count})
		}
	}
}

const (
	scanPiece   = 1 << 20
	scanOverlap = 64 << 10 // longer than any text in any encoding
)

func (s *searcher) file(fs vfs.FS, path string) error {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	buf := make([]byte, 0, scanPiece+scanOverlap)
	for {
		n, err := io.ReadFull(f, buf[len(buf):len(buf)+scanPiece])
		s.report.Bytes += int64(n)
		from := len(buf)
		buf = buf[:from+n]
		s.search(buf)
		if err != nil {
			if closed := f.Close(); closed != nil {
				return closed
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("cannot read %s: %w", path, err)
			}
			break
		}
		// What spans two pieces is found in the overlap; what lies in it whole is
		// counted twice, which only makes a find louder.
		keep := min(len(buf), s.overlap())
		buf = append(buf[:0], buf[len(buf)-keep:]...)
	}
	switch {
	case strings.HasSuffix(path, ".sst"):
		err = s.table(fs, path)
	case strings.HasSuffix(path, ".log"):
		err = s.log(fs, path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.report.Unreadable = append(s.report.Unreadable, s.name)
	}
	return nil
}

func (s *searcher) overlap() (n int) {
	for _, needle := range s.needles {
		n = max(n, len(needle.raw)-1)
	}
	return min(n, scanOverlap)
}

// table searches all versions of all records of a table.
func (s *searcher) table(fs vfs.FS, path string) (err error) {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	file, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	opts := &pebble.Options{Merger: merger, FS: fs}
	opts.EnsureDefaults()
	t, err := sstable.NewReader(context.Background(), file, opts.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, file.Close())
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	it, err := t.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for kv := it.First(); kv != nil; kv = it.Next() {
		value, _, err := kv.Value(nil)
		if err != nil {
			return err
		}
		s.report.Records++
		s.search(kv.K.UserKey)
		s.search(value)
	}
	return it.Error()
}

// numbered calls f with a number of a type that Pebble keeps to itself.
func numbered[N ~uint64](f func(io.Reader, N) *record.Reader, r io.Reader, n uint64) *record.Reader {
	return f(r, N(n))
}

// log searches the records of a write-ahead log, up to its torn end.
func (s *searcher) log(fs vfs.FS, path string) (err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var number uint64
	if _, err := fmt.Sscanf(fs.PathBase(path), "%d.log", &number); err != nil {
		return err
	}
	logs := numbered(record.NewReader, io.Reader(f), number)
	for {
		next, err := logs.Next()
		if err != nil {
			return nil // the end, as far as a log has one
		}
		batch, err := io.ReadAll(next)
		if err != nil {
			return nil
		}
		s.report.Records++
		s.search(batch)
	}
}
