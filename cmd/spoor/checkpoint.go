package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/store"
)

// A checkpoint travels as a tar: the files of a copy of the store, the server's
// secret, and at last the SHA-256 of each, as sha256sum prints and checks them. Its
// global header says how many bytes follow.
const (
	sumsName  = "SHA256SUMS"
	bytesKey  = "SPOOR.bytes"
	filesMax  = 1 << 17   // in a checkpoint
	sumsBytes = 128 << 17 // of their sums
)

// checkpointFile is what a file in a checkpoint may be called.
var checkpointFile = regexp.MustCompile(`^(highwater|secret|db/[A-Za-z0-9][A-Za-z0-9._-]{0,59})$`)

// sender sends a copy of the store.
type sender struct {
	copied *store.Copy
	data   string
}

// checkpoint makes a copy of the store that waits to be sent.
func (f *keepFlags) checkpoint(st *store.Store) (query.Checkpoint, error) {
	copied, err := st.Copy()
	if errors.Is(err, store.ErrCopying) {
		return nil, query.ErrCheckpoint
	}
	if err != nil {
		return nil, err
	}
	return &sender{copied, f.Data}, nil
}

func (s *sender) Close() { s.copied.Close() }

// checkpointPart is a file of a checkpoint.
type checkpointPart struct {
	name, path string
	size       int64
}

// parts lists what is sent.
func (s *sender) parts() (list []checkpointPart, total int64, err error) {
	add := func(name, path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		list = append(list, checkpointPart{name, path, info.Size()})
		total += info.Size()
		return nil
	}
	err = fs.WalkDir(os.DirFS(s.copied.Dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return add(name, filepath.Join(s.copied.Dir, name))
	})
	if err == nil { // a store that never served has none
		if err = add("secret", filepath.Join(s.data, "secret")); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return list, total, err
}

// Send writes the tar.
func (s *sender) Send(w io.Writer) error {
	list, total, err := s.parts()
	if err != nil {
		return fmt.Errorf("cannot list the files of the checkpoint: %w", err)
	}
	out := tar.NewWriter(w)
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{bytesKey: strconv.FormatInt(total, 10)}}); err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, part := range list {
		if !checkpointFile.MatchString(part.name) {
			return fmt.Errorf("cannot send %s: the checkpoint should not hold it", part.name)
		}
		if err := sendPart(out, part, &sums); err != nil {
			return fmt.Errorf("cannot send %s of the checkpoint: %w", part.name, err)
		}
	}
	if err := out.WriteHeader(&tar.Header{Name: sumsName, Mode: 0o600, Size: int64(sums.Len())}); err != nil {
		return err
	}
	if _, err := out.Write(sums.Bytes()); err != nil {
		return err
	}
	return out.Close()
}

func sendPart(out *tar.Writer, part checkpointPart, sums io.Writer) error {
	f, err := os.Open(part.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := out.WriteHeader(&tar.Header{Name: part.name, Mode: 0o600, Size: part.size}); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(out, sum), f, part.size); err != nil {
		return err
	}
	_, err = fmt.Fprintf(sums, "%x  %s\n", sum.Sum(nil), part.name)
	return err
}

// received is what arrived of a checkpoint.
type received struct {
	files int
	bytes int64
}

// incomingName is the folder, in the one it is for, where a checkpoint stays
// until it is complete.
const incomingName = "incoming"

// receive writes a checkpoint into a folder that does not exist yet, and returns
// nil only for one that arrived complete and is on disk. Progress is called
// now and then with what has arrived and what will.
func receive(r io.Reader, dir string, progress func(bytes, of int64)) (got received, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o700); err != nil {
		return got, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return got, err
	}
	defer root.Close()
	var of int64
	var sums bytes.Buffer
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return got, errCut
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrHeader):
			return got, fmt.Errorf("%w: %w", errCut, err)
		case err != nil:
			return got, err
		case h.Typeflag == tar.TypeXGlobalHeader:
			of, _ = strconv.ParseInt(h.PAXRecords[bytesKey], 10, 64) // it is only shown
			continue
		case h.Name == sumsName:
			if err := checkSums(in, sums.Bytes()); err != nil {
				return got, err
			}
			return got, finishReceived(root, sums.Bytes())
		case h.Typeflag != tar.TypeReg || !checkpointFile.MatchString(h.Name):
			return got, fmt.Errorf("it holds %.100q, which no checkpoint does", h.Name)
		case got.files == filesMax:
			return got, fmt.Errorf("it holds more than %d files", filesMax)
		}
		before := got.bytes
		sum := sha256.New()
		watched := writerFunc(func(p []byte) (int, error) {
			got.bytes += int64(len(p))
			progress(got.bytes, of)
			return sum.Write(p)
		})
		if err := receivePart(root, h.Name, io.TeeReader(in, watched)); err != nil {
			return got, err
		}
		if got.bytes-before != h.Size {
			return got, errCut
		}
		got.files++
		fmt.Fprintf(&sums, "%x  %s\n", sum.Sum(nil), h.Name)
	}
}

var errCut = errors.New("it was cut short")

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func receivePart(root *os.Root, name string, in io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCut
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// checkSums compares the sums that were sent with those of what arrived, and
// wants nothing behind them.
func checkSums(in *tar.Reader, arrived []byte) error {
	sent, err := io.ReadAll(io.LimitReader(in, sumsBytes))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(sent, arrived) {
		return errors.New("its sums are not those of what arrived: it was damaged on the way")
	}
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind its sums")
	}
	return nil
}

// finishReceived keeps the sums, and syncs the folders.
func finishReceived(root *os.Root, sums []byte) error {
	if err := receivePart(root, sumsName, bytes.NewReader(sums)); err != nil {
		return err
	}
	for _, dir := range []string{"db", "."} {
		if err := syncFolder(filepath.Join(root.Name(), dir)); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// settle moves a checkpoint that is complete from incoming into the folder it is
// for. The database goes last: with it the folder is a store.
func settle(dir string, names ...string) error {
	for _, name := range append(names, "highwater", "secret", "db") {
		err := os.Rename(filepath.Join(dir, incomingName, name), filepath.Join(dir, name))
		if err != nil && !(name == "secret" && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, incomingName)); err != nil {
		return err
	}
	return syncFolder(dir)
}
