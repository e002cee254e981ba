package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

func init() {
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_AUTHZREUSE", "0") // each certificate is proved anew
}

// authority is Let's Encrypt's own test server, which proves who answers for a
// host as the real one does, by a DNS that leads every name to this machine.
type authority struct {
	t       *testing.T
	address string
	handler http.Handler
	server  *httptest.Server // nil: it is down
	cert    tls.Certificate  // of its own https
	ca      string           // file of the root of that
	roots   *x509.CertPool   // of what it issues
	log     output
}

func newAuthority(t *testing.T, tlsPort, httpPort int, validity time.Duration) *authority {
	t.Helper()
	dir := folder(t)
	a := &authority{t: t, address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), roots: x509.NewCertPool()}
	certFile, keyFile := writePair(t, dir, "authority.example", time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	a.ca, a.cert = certFile, pair

	names := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	silent := log.New(&bytes.Buffer{}, "", 0)
	dns, err := challtestsrv.New(challtestsrv.Config{Log: silent, DNSAddrs: []string{names}})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv4("127.0.0.1")
	dns.SetDefaultDNSIPv6("")
	dns.Run()
	t.Cleanup(dns.Shutdown)

	told := log.New(&a.log, "", 0)
	memory := db.NewMemoryStore()
	issuer := ca.New(told, memory, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: uint64(validity.Seconds())}})
	prover := va.New(told, httpPort, tlsPort, false, names, memory)
	front := wfe.New(told, memory, prover, issuer, []string{"authority.example"}, false, false, 1, 1)
	a.handler = front.Handler()
	root, _ := pem.Decode(issuer.GetRootCert(0).PEM())
	cert, err := x509.ParseCertificate(root.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(cert)
	t.Cleanup(a.stop)
	return a
}

func (a *authority) start() {
	a.t.Helper()
	l, err := net.Listen("tcp", a.address)
	if err != nil {
		a.t.Fatal(err)
	}
	a.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: a.handler}, TLS: &tls.Config{Certificates: []tls.Certificate{a.cert}}}
	a.server.StartTLS()
}

func (a *authority) stop() {
	if a.server != nil {
		a.server.CloseClientConnections()
		a.server.Close()
		a.server = nil
	}
}

// flags ask it for certificates.
func (a *authority) flags(hosts string) []string {
	return []string{"--acme", hosts, "--acme-directory", "https://" + a.address + wfe.DirectoryPath, "--acme-ca", a.ca, "--acme-email", "ops@track.example"}
}

// leaf is the certificate that a client is shown which asks for a host.
func (a *authority) leaf(address, host string) (*x509.Certificate, error) {
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: a.roots, ServerName: host}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Goal: a certificate is issued, used by a restart that cannot reach the
// authority, and renewed while connections go on; only named hosts get one.
func TestACME(t *testing.T) {
	t.Parallel() // both wait more than they work
	port := freePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	a := newAuthority(t, port, 1, 24*time.Second)
	a.start()
	data := folder(t)
	flags := append(a.flags("track.example.test,Second.example.test"), "--listen", address, "--demo")
	s := serve(t, data, flags...)
	var first *x509.Certificate
	for _, host := range []string{"track.example.test", "second.example.test"} {
		s.await(15*time.Second, "a certificate", func() (ok bool) {
			leaf, err := a.leaf(address, host)
			if err == nil {
				first = leaf
			}
			return err == nil
		})
	}
	for _, host := range []string{"third.example.test", "", "127.0.0.1", "..", "track.example.test+token"} {
		if _, err := a.leaf(address, host); err == nil {
			t.Errorf("%q was shown a certificate", host)
		}
	}
	if n := strings.Count(a.log.String(), "Issued certificate"); n != 2 {
		t.Errorf("%d certificates were issued, want 2\n%s", n, a.log.String())
	}
	private(t, filepath.Join(data, "acme"))
	s.stop()
	a.stop()

	s = serve(t, data, flags...)
	again, err := a.leaf(address, "second.example.test")
	if err != nil || !again.Equal(first) {
		t.Errorf("the restart shows another certificate than before, %v", err)
	}
	if !strings.Contains(s.log.String(), `names="second.example.test track.example.test" until=20`) {
		t.Errorf("the log names no certificates:\n%s", s.log.String())
	}
	a.start()
	web := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots, ServerName: "second.example.test"}}}
	var seen int
	s.await(30*time.Second, "a renewed certificate", func() bool {
		if r := over(t, web, "POST", "https://"+address+"/hit?k=demo", `{"key":"a"}`); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
		seen++
		leaf, err := a.leaf(address, "second.example.test")
		return err == nil && !leaf.Equal(first)
	})
	if n := len(s.export()); n != seen {
		t.Errorf("%d hits were acknowledged, %d are stored", seen, n)
	}
}

// Goal: with an authority that is down the collector starts all the same, and
// has its certificate soon after; the port of plain HTTP can be its proof.
func TestACMEDownAtStart(t *testing.T) {
	t.Parallel()
	clear := freePort(t)
	a := newAuthority(t, 1, clear, time.Hour) // by TLS it finds nobody
	s := demo(t, append(a.flags("track.example.test"), "--http", fmt.Sprintf("127.0.0.1:%d", clear))...)
	address := strings.TrimPrefix(s.collector, "http://")
	if _, err := a.leaf(address, "track.example.test"); err == nil {
		t.Error("a certificate was shown before one was issued")
	}
	for _, want := range []string{"until=\"there is no certificate yet\"", "level=WARN msg=\"cannot have a certificate; it is tried again\" host=track.example.test in=15s"} {
		s.await(5*time.Second, want, func() bool { return strings.Contains(s.log.String(), want) })
	}
	metrics := s.send("GET", s.reads+"/metrics", "").body
	for _, want := range []string{"spoor_tls_certificate_expires_seconds 0\n", "spoor_tls_certificate_failing 1\n"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	a.start()
	s.await(30*time.Second, "a certificate", func() bool {
		_, err := a.leaf(address, "track.example.test")
		return err == nil
	})
	r := over(t, client, "GET", fmt.Sprintf("http://127.0.0.1:%d/.well-known/acme-challenge/x", clear), "")
	if r.status != http.StatusNotFound || strings.Contains(r.body, "acme-challenge") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if strings.Count(s.log.String(), "cannot have a certificate") != 1 {
		t.Errorf("the log is\n%s", s.log.String())
	}
}

// private tells of files that others may read.
func private(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 4 { // itself, the account, two hosts
		t.Errorf("%d files in %s, %v", files, dir, err)
	}
}
