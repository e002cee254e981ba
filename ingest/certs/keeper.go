package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// poll is how often files are looked at, and whether a certificate was renewed.
const poll = 2 * time.Second

// Options say where certificates come from: CertFile and KeyFile, or ACME.
type Options struct {
	CertFile string // PEM, the server's own certificate first
	KeyFile  string // PEM
	ACME     ACME

	Now func() time.Time // [time.Now]
	Log *slog.Logger     // [slog.Default()]
}

// Keeper holds the certificates in force. Its methods may be called
// concurrently.
type Keeper struct {
	opts   Options
	source source
	warned time.Time // when an end was last warned of; of Run
}

// source is where certificates come from.
type source interface {
	find(*tls.ClientHelloInfo) (*tls.Certificate, error) // must not wait
	covers(host string) bool
	leaves() []*x509.Certificate // in force
	run(context.Context)
	failing() bool
	answer(host, path string) []byte // to a challenge
	warnBefore(*x509.Certificate) time.Duration
}

// Stats is what is in force now.
type Stats struct {
	Names   []string  // of all certificates
	Ends    time.Time // of the one that ends first; zero: there is none
	Failing bool      // the newest files do not fit, or the authority refused
}

// New makes a Keeper of what is on disk. It returns all that is wrong with the
// options; given files must fit together.
func New(o Options) (*Keeper, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	k := &Keeper{opts: o}
	given := o.CertFile != "" || o.KeyFile != ""
	var err error
	switch {
	case given && len(o.ACME.Hosts) > 0:
		return nil, errors.New("cannot use a certificate from files and one by ACME; give either")
	case given:
		k.source, err = newFiles(o)
	default:
		k.source, err = newIssued(o)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// TLSConfig is for the collector: TLS 1.2 or newer, HTTP/1.1.
func (k *Keeper) TLSConfig() *tls.Config {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: k.source.find,
	}
	if _, ok := k.source.(*issued); ok {
		c.NextProtos = append(c.NextProtos, challengeProtocol)
	}
	return c
}

// Run renews certificates, and warns of those that are about to end, until ctx
// ends.
func (k *Keeper) Run(ctx context.Context) {
	go k.source.run(ctx)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		k.warn()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Covers reports whether a certificate is, or will be, there for a host.
func (k *Keeper) Covers(host string) bool { return k.source.covers(host) }

// Answer is what an authority looks for at a path of a host, to see who
// answers there; nil if nothing is asked for.
func (k *Keeper) Answer(host, path string) []byte { return k.source.answer(host, path) }

// Stats may be called at any time.
func (k *Keeper) Stats() Stats {
	s := Stats{Failing: k.source.failing()}
	for _, leaf := range k.source.leaves() {
		s.Names = append(s.Names, namesOf(leaf)...)
		if s.Ends.IsZero() || leaf.NotAfter.Before(s.Ends) {
			s.Ends = leaf.NotAfter
		}
	}
	slices.Sort(s.Names)
	s.Names = slices.Compact(s.Names)
	return s
}

// warn logs once a day that a certificate is about to end.
func (k *Keeper) warn() {
	now := k.opts.Now()
	if now.Sub(k.warned) < 24*time.Hour {
		return
	}
	for _, leaf := range k.source.leaves() {
		left := leaf.NotAfter.Sub(now)
		switch {
		case left <= 0:
			k.opts.Log.Error("a certificate has ended; clients refuse to connect until there is a new one", "names", namesOf(leaf), "ended", stamp(leaf.NotAfter))
		case left < k.source.warnBefore(leaf):
			k.opts.Log.Warn("a certificate ends soon; it should have been renewed by now", "names", namesOf(leaf), "ends", stamp(leaf.NotAfter), "days", int(left.Hours()/24))
		default:
			continue
		}
		k.warned = now
	}
}

func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// keepAnswer is the ResponseWriter for a handler whose body alone matters.
type keepAnswer struct {
	head   http.Header
	status int
	body   []byte
}

func (a *keepAnswer) Header() http.Header    { return a.head }
func (a *keepAnswer) WriteHeader(status int) { a.status = status }
func (a *keepAnswer) Write(p []byte) (int, error) {
	a.body = append(a.body, p...)
	return len(p), nil
}
