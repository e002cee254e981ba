package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// folder is where a test keeps its certificate, with a log that it can read.
type folder struct {
	t    *testing.T
	dir  string
	log  bytes.Buffer
	now  time.Time
	keep *Keeper
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// pair makes a certificate of a host and its key, as PEM.
func pair(t *testing.T, host string, ends time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(noon.Unix()), DNSNames: []string{host}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ends.AddDate(0, 0, -90), NotAfter: ends,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func given(t *testing.T, host string, ends time.Time) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir(), now: noon}
	cert, key := pair(t, host, ends)
	f.write("cert.pem", cert)
	f.write("key.pem", key)
	k, err := New(Options{
		CertFile: f.path("cert.pem"), KeyFile: f.path("key.pem"), Now: func() time.Time { return f.now },
		Log: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.keep = k
	return f
}

// shown is the name in the certificate that a client is shown.
func (f *folder) shown() string {
	f.t.Helper()
	c, err := f.keep.TLSConfig().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		f.t.Fatal(err)
	}
	return c.Leaf.DNSNames[0]
}

func (f *folder) lines(text string) int { return strings.Count(f.log.String(), text) }

// Goal: a changed pair is taken once both files are there; until then, and if
// they never fit, the one before it stays and one line says so.
func TestReload(t *testing.T) {
	f := given(t, "a.example", noon.AddDate(0, 0, 60))
	look := f.keep.source.(*files).look
	expect := func(host string, failing bool, replaced, bad int) {
		t.Helper()
		if got := f.shown(); got != host || f.keep.Stats().Failing != failing {
			t.Errorf("%s is shown, failing %v; want %s, %v", got, f.keep.Stats().Failing, host, failing)
		}
		if f.lines("certificate replaced") != replaced || f.lines("is not used") != bad {
			t.Errorf("want %d replaced and %d bad in\n%s", replaced, bad, f.log.String())
		}
	}
	certA, keyA := pair(t, "a.example", noon.AddDate(0, 0, 60))
	f.write("cert.pem", certA)
	f.write("key.pem", keyA)
	look()
	expect("a.example", false, 1, 0) // the same name, another certificate
	cert, key := pair(t, "b.example", noon.AddDate(0, 0, 60))
	f.write("cert.pem", cert)
	look()
	expect("a.example", false, 1, 0) // the key may follow
	f.write("key.pem", key)
	look()
	expect("b.example", false, 2, 0)
	for _, broken := range [][]byte{[]byte("no PEM"), nil, cert[:len(cert)/2], certA} {
		before := f.lines("is not used")
		f.write("cert.pem", broken)
		for range 4 {
			look()
		}
		expect("b.example", true, 2, before+1)
	}
	if err := os.Remove(f.path("key.pem")); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		look()
	}
	expect("b.example", true, 2, 5)
	f.write("cert.pem", cert)
	f.write("key.pem", key)
	look()
	expect("b.example", false, 3, 5)
	if strings.Contains(f.log.String(), "PRIVATE") {
		t.Error("the log holds a key")
	}
}

func TestWarning(t *testing.T) {
	f := given(t, "a.example", noon.AddDate(0, 0, 21))
	expect := func(warnings, errors int) {
		t.Helper()
		f.keep.warn()
		if f.lines("ends soon") != warnings || f.lines("has ended") != errors {
			t.Errorf("at %v: want %d warnings, %d errors in\n%s", f.now, warnings, errors, f.log.String())
		}
	}
	expect(0, 0)
	f.now = noon.AddDate(0, 0, 1).Add(time.Second)
	expect(1, 0)
	expect(1, 0) // once a day
	f.now = f.now.Add(23 * time.Hour)
	expect(1, 0)
	f.now = f.now.Add(time.Hour)
	expect(2, 0)
	f.now = noon.AddDate(0, 0, 21)
	expect(2, 1)
	if s := f.keep.Stats(); !s.Ends.Equal(noon.AddDate(0, 0, 21)) || strings.Join(s.Names, " ") != "127.0.0.1 a.example" {
		t.Errorf("%+v", s)
	}
}

func TestCovers(t *testing.T) {
	f := given(t, "*.a.example", noon.AddDate(0, 0, 60))
	for host, want := range map[string]bool{"x.a.example": true, "127.0.0.1": true, "a.example": false, "b.example": false, "": false} {
		if f.keep.Covers(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

// Goal: what cannot be used is refused at the start, in one line that says what
// to do.
func TestRefusedAtStart(t *testing.T) {
	dir := t.TempDir()
	f := &folder{t: t, dir: dir}
	cert, key := pair(t, "a.example", noon)
	other, _ := pair(t, "a.example", noon)
	f.write("cert", cert)
	f.write("key", key)
	f.write("other", other)
	f.write("large", bytes.Repeat([]byte("x"), fileBytesMax+1))
	refused := func(o Options, contains string) {
		t.Helper()
		_, err := New(o)
		if err == nil || !strings.Contains(err.Error(), contains) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%+v: %v, want %q", o, err, contains)
		}
	}
	refused(Options{CertFile: f.path("cert")}, "give the files of both")
	refused(Options{KeyFile: f.path("key")}, "give the files of both")
	refused(Options{CertFile: f.path("none"), KeyFile: f.path("key")}, "cannot read the certificate")
	refused(Options{CertFile: f.path("cert"), KeyFile: f.path("none")}, "cannot read the key")
	refused(Options{CertFile: f.path("other"), KeyFile: f.path("key")}, "does not match")
	refused(Options{CertFile: f.path("large"), KeyFile: f.path("key")}, "larger than 1 MiB")
	refused(Options{CertFile: f.path("cert"), KeyFile: f.path("key"), ACME: ACME{Hosts: []string{"a.example"}}}, "give either")
	for _, host := range []string{"", "localhost", "127.0.0.1", "::1", "*.a.example", "a.example:443", "https://a.example", "a b.example", "../a.example"} {
		refused(Options{ACME: ACME{Hosts: []string{host}, Dir: f.path("acme")}}, "it is no host name")
	}
	refused(Options{ACME: ACME{Hosts: make([]string, hostsMax+1), Dir: f.path("acme")}}, "give 100 at most")
	refused(Options{ACME: ACME{Hosts: []string{"a.example"}, Dir: f.path("acme"), Directory: "http://a.example"}}, "no https address")
	refused(Options{ACME: ACME{Hosts: []string{"a.example"}, Dir: f.path("acme"), CAFile: f.path("key")}}, "holds no certificate")
	refused(Options{ACME: ACME{Hosts: []string{"a.example"}, Dir: f.path("cert")}}, "cannot make the directory")
}
