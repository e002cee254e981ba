package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// fileBytesMax is far more than a chain or a key has.
const fileBytesMax = 1 << 20

// files is a certificate that somebody else renews.
type files struct {
	opts    Options
	current atomic.Pointer[tls.Certificate]
	failed  atomic.Bool

	seen    sum // what was last taken, or said to be bad; of run
	pending sum // what was there at the last look; of run
}

type sum [sha256.Size]byte

func newFiles(o Options) (*files, error) {
	if o.CertFile == "" || o.KeyFile == "" {
		return nil, errors.New("cannot speak TLS with a certificate or a key alone; give the files of both")
	}
	f := &files{opts: o}
	pair, s, err := f.load()
	if err != nil {
		return nil, err
	}
	f.current.Store(pair)
	f.seen, f.pending = s, s
	return f, nil
}

// load reads both files. Its sum changes whenever they do.
func (f *files) load() (pair *tls.Certificate, s sum, err error) {
	cert, certErr := readPEM("certificate", f.opts.CertFile)
	key, keyErr := readPEM("key", f.opts.KeyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, sha256.Sum256([]byte(err.Error())), err
	}
	s = sha256.Sum256(fmt.Appendf(nil, "%d %s%s", len(cert), cert, key))
	p, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, s, fmt.Errorf("cannot use the certificate %s with the key %s: %w", f.opts.CertFile, f.opts.KeyFile, err)
	}
	return &p, s, nil
}

func readPEM(what, path string) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("cannot read the %s: %w; let the user that runs spoor read it", what, err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the %s: %w", what, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, fileBytesMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the %s: %w", what, err)
	case len(data) > fileBytesMax:
		return nil, fmt.Errorf("cannot use the %s %s: it is larger than 1 MiB; give a PEM file", what, path)
	}
	return data, nil
}

func (f *files) run(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.look()
		}
	}
}

// look takes a changed pair. One file is always replaced before the other, so
// what does not fit is given until the next look.
func (f *files) look() {
	pair, s, err := f.load()
	settled := s == f.pending
	f.pending = s
	switch {
	case s == f.seen:
		// Also when a bad pair was taken back.
		f.failed.Store(err != nil)
		return
	case err == nil:
		f.seen = s
		f.current.Store(pair)
		f.failed.Store(false)
		f.opts.Log.Info("certificate replaced", "names", namesOf(pair.Leaf), "until", stamp(pair.Leaf.NotAfter))
	case settled:
		f.seen = s
		f.failed.Store(true)
		f.opts.Log.Error("the changed certificate is not used, the one before it stays", "error", err)
	}
}

func (f *files) find(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.current.Load(), nil }

func (f *files) covers(host string) bool {
	return f.current.Load().Leaf.VerifyHostname(host) == nil
}

func (f *files) leaves() []*x509.Certificate { return []*x509.Certificate{f.current.Load().Leaf} }

func (f *files) failing() bool { return f.failed.Load() }

func (f *files) answer(string, string) []byte { return nil }

// Twenty days are time enough for whoever renews by hand.
func (f *files) warnBefore(*x509.Certificate) time.Duration { return 20 * 24 * time.Hour }
