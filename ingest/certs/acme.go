package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
	"golang.org/x/net/idna"
)

const (
	hostsMax = 100

	// retryFirst is the wait after a first failure, retryMax after many; each
	// wait is four times the one before. Authorities count failures by the
	// hour, and few are allowed.
	retryFirst = 15 * time.Second
	retryMax   = time.Hour

	answerMax = 30 * time.Second // for the authority to answer one request

	challengeProtocol = acme.ALPNProto
	accountFile       = "account.pem"
	causeBytesMax     = 500 // of what an authority says was wrong
)

// ACME is an authority that is asked for certificates. To give hosts is to
// accept its terms of service.
type ACME struct {
	Hosts     []string // names to have certificates for, and no others
	Email     string   // told by the authority of trouble; may be empty
	Directory string   // URL [Let's Encrypt]
	CAFile    string   // PEM roots of a private authority's own server; empty: the system's
	Dir       string   // where account and certificates are kept
	HTTP      bool     // Answer is served on the hosts' port 80
}

// issued are certificates that an authority gave. Each host has its own, so
// that one whose name leads elsewhere keeps no other from its certificate.
type issued struct {
	opts   Options
	sites  map[string]*site // by host
	client func() *acme.Client
}

// site is one host. Its certificate is what was last seen of the manager, which
// renews it: asking the manager itself may wait for the authority.
type site struct {
	host   string
	cert   atomic.Pointer[tls.Certificate] // nil: none yet
	failed atomic.Bool
	way    atomic.Pointer[way]
}

// way is one attempt to have certificates. A manager that failed remembers it
// for a while of its own; a new one does not.
type way struct {
	manager *autocert.Manager
	answer  http.Handler // nil: not by HTTP
}

func newIssued(o Options) (*issued, error) {
	hosts, err := checkHosts(o.ACME.Hosts)
	if err != nil {
		return nil, err
	}
	if o.ACME.Directory == "" {
		o.ACME.Directory = autocert.DefaultACMEDirectory
	}
	if !strings.HasPrefix(o.ACME.Directory, "https://") {
		return nil, fmt.Errorf("cannot ask %q for certificates: it is no https address; give that of the authority's directory", o.ACME.Directory)
	}
	roots, err := readRoots(o.ACME.CAFile)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.ACME.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of certificates: %w", err)
	}
	if err := os.Chmod(o.ACME.Dir, 0o700); err != nil { // it may have been there
		return nil, fmt.Errorf("cannot keep others out of the directory of certificates: %w", err)
	}
	key, err := accountKey(filepath.Join(o.ACME.Dir, accountFile))
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	a := &issued{opts: o, sites: make(map[string]*site)}
	a.client = func() *acme.Client {
		return &acme.Client{
			Key: key, DirectoryURL: o.ACME.Directory, UserAgent: "spoor",
			HTTPClient: &http.Client{Transport: transport, Timeout: answerMax},
		}
	}
	for _, host := range hosts {
		s := &site{host: host}
		a.sites[host] = s
		a.begin(s)
		if pair := kept(filepath.Join(o.ACME.Dir, host), host); pair != nil {
			s.cert.Store(pair)
		}
	}
	return a, nil
}

// checkHosts returns names as they stand in handshakes.
func checkHosts(hosts []string) (list []string, err error) {
	if len(hosts) > hostsMax {
		return nil, fmt.Errorf("cannot ask for certificates of %d hosts; give %d at most", len(hosts), hostsMax)
	}
	for _, h := range hosts {
		name, err := idna.Lookup.ToASCII(strings.TrimSuffix(h, "."))
		if err != nil || !strings.Contains(name, ".") || net.ParseIP(name) != nil || strings.ContainsAny(name, "*/:") {
			return nil, fmt.Errorf("cannot ask for a certificate of %q: it is no host name; give names such as track.example, with commas between", h)
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readPEM("authority's roots", path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("cannot use %s: it holds no certificate; give the roots as PEM", path)
	}
	return pool, nil
}

// accountKey is the key that the authority knows us by, made on the first start.
func accountKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeAccountKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the key of the ACME account: %w", err)
	}
	if block, _ := pem.Decode(data); block != nil {
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("cannot use the key of the ACME account %s: it is damaged; delete it to make a new account", path)
}

func makeAccountKey(path string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key for the ACME account: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key for the ACME account: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := writeWhole(path, data); err != nil {
		return nil, fmt.Errorf("cannot keep the key of the ACME account: %w", err)
	}
	return key, nil
}

// kept is a certificate of an earlier run, also one that has ended: what is on
// disk is better than nothing while the authority cannot be reached.
func kept(path, host string) *tls.Certificate {
	data, err := readPEM("certificate", path)
	if err != nil {
		return nil
	}
	pair, err := tls.X509KeyPair(data, data) // the cache keeps both in one file
	if err != nil || pair.Leaf.VerifyHostname(host) != nil {
		return nil
	}
	return &pair
}

// begin gives a site a new manager.
func (a *issued) begin(s *site) {
	w := &way{manager: &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      cache{autocert.DirCache(a.opts.ACME.Dir)},
		HostPolicy: autocert.HostWhitelist(s.host),
		Client:     a.client(),
		Email:      a.opts.ACME.Email,
	}}
	if a.opts.ACME.HTTP {
		w.answer = w.manager.HTTPHandler(http.NotFoundHandler())
	}
	s.way.Store(w)
}

func (a *issued) run(ctx context.Context) {
	for _, s := range a.sites {
		go a.keep(ctx, s)
	}
}

// keep has a certificate for a site, and takes over what the manager renews.
func (a *issued) keep(ctx context.Context, s *site) {
	again := retryFirst
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		pair, err := s.way.Load().manager.GetCertificate(modern(s.host))
		if err != nil {
			s.failed.Store(true)
			a.opts.Log.Warn("cannot have a certificate; it is tried again", "host", s.host, "in", again, "error", short(err))
			a.begin(s)
			wait, again = again, min(4*again, retryMax)
			continue
		}
		s.failed.Store(false)
		wait, again = poll, retryFirst
		if old := s.cert.Swap(pair); old == nil || !old.Leaf.Equal(pair.Leaf) {
			a.opts.Log.Info("certificate issued", "names", namesOf(pair.Leaf), "until", stamp(pair.Leaf.NotAfter))
		}
	}
}

// modern is a client that takes what all do that know TLS 1.2, an ECDSA
// certificate; the manager would make a second one, RSA, for others.
func modern(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
}

// short is what an authority says, of a length that a log can bear.
func short(err error) string {
	text := err.Error()
	if len(text) > causeBytesMax {
		text = strings.ToValidUTF8(text[:causeBytesMax], "") + "…"
	}
	return text
}

var (
	errForeignHost = errors.New("no certificate is kept for this host")
	errNotYet      = errors.New("there is no certificate for this host yet")
)

func (a *issued) find(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := a.sites[strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))]
	if s == nil {
		return nil, errForeignHost
	}
	// With other protocols beside it the manager would take it for any client.
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol {
		return s.way.Load().manager.GetCertificate(hello) // from memory or the cache
	}
	if pair := s.cert.Load(); pair != nil {
		return pair, nil
	}
	return nil, errNotYet
}

func (a *issued) covers(host string) bool { return a.sites[host] != nil }

func (a *issued) leaves() (list []*x509.Certificate) {
	for _, s := range a.sites {
		if pair := s.cert.Load(); pair != nil {
			list = append(list, pair.Leaf)
		}
	}
	return list
}

func (a *issued) failing() bool {
	for _, s := range a.sites {
		if s.failed.Load() {
			return true
		}
	}
	return false
}

func (a *issued) answer(host, path string) []byte {
	s := a.sites[host]
	if s == nil || !a.opts.ACME.HTTP {
		return nil
	}
	r, err := http.NewRequest(http.MethodGet, "http://"+host+path, nil)
	if err != nil || r.URL.Path != path {
		return nil
	}
	w := &keepAnswer{head: http.Header{}, status: http.StatusOK}
	s.way.Load().answer.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return nil
	}
	return w.body
}

// The manager renews when a third of the time is left; by half of that it has
// failed for long.
func (a *issued) warnBefore(leaf *x509.Certificate) time.Duration {
	return min(leaf.NotAfter.Sub(leaf.NotBefore)/6, 20*24*time.Hour)
}

// cache is autocert's own, but for a power cut, which must not leave half of a
// file that then stands in the way.
type cache struct{ autocert.DirCache }

func (c cache) Put(_ context.Context, name string, data []byte) error {
	return writeWhole(filepath.Join(string(c.DirCache), filepath.Base(name)), data)
}

// writeWhole leaves the old file, or all of the new one, on disk.
func writeWhole(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, ".new-") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var _ autocert.Cache = cache{}
