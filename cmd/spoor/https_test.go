package main_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writePair makes a certificate of a host until an instant, and its key.
func writePair(t *testing.T, dir, host string, ends time.Time) (cert, key string) {
	t.Helper()
	cert, key, err := makePair(dir, host, ends)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func makePair(dir, host string, ends time.Time) (cert, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ends.Add(-90 * 24 * time.Hour), NotAfter: ends, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, k.Public(), k)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return "", "", err
		}
	}
	return cert, key, nil
}

// trusting is a client that trusts the certificates of a file.
func trusting(t *testing.T, roots string) *http.Client {
	t.Helper()
	data, err := os.ReadFile(roots)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("%s holds no certificate", roots)
	}
	return &http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// over makes a request that must be answered, with headers as name and value.
func over(t *testing.T, c *http.Client, method, url, body string, headers ...string) reply {
	t.Helper()
	r, err := ask(c, method, url, body, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return r
}

var httpAddress = regexp.MustCompile(`msg="serving https".* http=(\S+)`)

// Goal: with a given certificate the collector speaks https, takes a renewed
// one without losing a connection, and the port of plain HTTP leads there.
func TestGivenCertificate(t *testing.T) {
	dir := folder(t)
	cert, key := writePair(t, dir, "track.example", time.Now().Add(10*24*time.Hour))
	s := demo(t, "--tls-cert", cert, "--tls-key", key, "--http", "127.0.0.1:0")
	secure := strings.Replace(s.collector, "http:", "https:", 1)
	clear := "http://" + httpAddress.FindStringSubmatch(s.log.String())[1]
	for _, want := range []string{`msg="serving https".*names="127.0.0.1 track.example" until=20`, `level=WARN msg="a certificate ends soon.*days=9`} {
		// The keeper of certificates logs from its own goroutine, beside the greeting.
		line := regexp.MustCompile(want)
		s.await(10*time.Second, "a line with "+want, func() bool { return line.MatchString(s.log.String()) })
	}
	if !strings.Contains(s.out.String(), "curl -s "+secure+"/hit") {
		t.Errorf("the greeting is\n%s", s.out.String())
	}
	first := trusting(t, cert)
	hit := func(c *http.Client, id string) {
		t.Helper()
		if r := over(t, c, "POST", secure+"/hit?k=demo", `{"key":"a","id":"`+id+`"}`); r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	hit(first, "h1")
	if _, err := ask(client, "GET", secure+"/healthz", ""); err == nil {
		t.Error("a client that trusts others got an answer")
	}

	refused := over(t, first, "POST", clear+"/hit?k=demo", `{"key":"a","id":"clear"}`)
	if refused.status != http.StatusForbidden || refused.header.Get("X-Spoor-Refused") != "https_only" {
		t.Errorf("a hit in clear: %d %s", refused.status, refused.body)
	}
	sent := over(t, first, "GET", clear+"/pixel.gif?k=demo", "")
	if sent.status != http.StatusPermanentRedirect || sent.header.Get("Location") != secure+"/pixel.gif?k=demo" {
		t.Errorf("a reader in clear: %d %v", sent.status, sent.header)
	}

	writePair(t, dir, "new.example", time.Now().Add(60*24*time.Hour))
	s.await(10*time.Second, "the new certificate", func() bool { return strings.Contains(s.log.String(), `msg="certificate replaced"`) })
	hit(first, "h2") // on the old connection, whose certificate the client still trusts
	second := trusting(t, cert)
	hit(second, "h3")
	first.CloseIdleConnections()
	if _, err := ask(first, "GET", secure+"/healthz", ""); err == nil {
		t.Error("a new connection was shown the old certificate")
	}
	if ids := s.exportIDs(); len(ids) != 3 {
		t.Errorf("stored are %v", ids)
	}
	metrics := over(t, client, "GET", s.reads+"/metrics", "").body
	for _, want := range []string{
		`spoor_tls_certificate_expires_seconds 1\.[0-9]+e\+09`, `spoor_tls_certificate_failing 0`, `spoor_tls_handshakes_total 2`, `spoor_tls_handshakes_failed_total 2`,
		`spoor_refused_total\{reason="https_only"\} 1`,
	} {
		if !regexp.MustCompile(want).MatchString(metrics) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if strings.Contains(s.log.String(), "handshake") {
		t.Errorf("the log speaks of a handshake:\n%s", s.log.String())
	}
}

// Goal: what cannot work is refused at the start in one line that says what to do.
func TestHTTPSRefusedAtStart(t *testing.T) {
	dir := folder(t)
	cert, key := writePair(t, dir, "track.example", time.Now().Add(time.Hour))
	f := func(contains string, flags ...string) {
		t.Helper()
		args := append([]string{"serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags...)
		out, err := exec.Command(binary, args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), contains) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v: %v\n%s", flags, err, out)
		}
	}
	f("give the files of both", "--tls-cert", cert)
	f("give the files of both", "--tls-key", key)
	f("cannot read the certificate", "--tls-cert", cert+"x", "--tls-key", key)
	f("give --tls-cert and --tls-key, or --acme", "--http", "127.0.0.1:0")
	f("without --acme", "--acme-email", "ops@track.example")
	f("give either", "--tls-cert", cert, "--tls-key", key, "--acme", "track.example")
	f("it is no host name", "--acme", "track.example,*")
	f("cannot serve a login on 0.0.0.0:0 without https", "--app", "--listen", "0.0.0.0:0")
	f("--http or SPOOR_HTTP", "--tls-cert", cert, "--tls-key", key, "--http", "nowhere")
	f("cannot serve the demo app on 0.0.0.0:0", "--demo", "--tls-cert", cert, "--tls-key", key, "--http", "0.0.0.0:0")
}

// Goal: the read side behind a login works on the collector's own port, over
// https, with its cookie for https alone; streams outlive the time of a reply
// and end when the server stops.
func TestApp(t *testing.T) {
	dir := folder(t)
	cert, key := writePair(t, dir, "track.example", time.Now().Add(60*24*time.Hour))
	s := demo(t, "--tls-cert", cert, "--tls-key", key, "--app", "--write-timeout", "1s")
	secure := strings.Replace(s.collector, "http:", "https:", 1)
	web := trusting(t, cert)
	page := over(t, web, "GET", secure+"/app/", "")
	if page.status != http.StatusOK || !strings.Contains(page.body, "<title>") {
		t.Fatalf("%d %s", page.status, page.body)
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	// The limit is of the visitor's address, here by a trusted proxy.
	for i := range 12 {
		want := http.StatusUnauthorized
		if i >= 10 {
			want = http.StatusTooManyRequests
		}
		if r := over(t, web, "POST", secure+"/app/login", "token=guess", append(form, "X-Forwarded-For", "203.0.113.7")...); r.status != want {
			t.Errorf("guess %d: %d", i, r.status)
		}
	}
	login := over(t, web, "POST", secure+"/app/login", "token=demo", append(form, "Sec-Fetch-Site", "same-origin", "Origin", secure)...)
	cookie, attributes, _ := strings.Cut(login.header.Get("Set-Cookie"), ";")
	if login.status != http.StatusSeeOther || !strings.Contains(strings.ToLower(attributes), "secure") {
		t.Fatalf("%d %v %s", login.status, login.header, login.body)
	}

	req, err := http.NewRequest("GET", secure+"/app/api/tail", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	tail, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Body.Close()
	time.Sleep(1500 * time.Millisecond) // longer than a whole reply may take
	if r := over(t, web, "POST", secure+"/hit?k=demo", `{"key":"8Uh7Fp9wMj5l","url":"https://shop.example/"}`); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	line, err := bufio.NewReader(tail.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, "https://shop.example/") {
		t.Errorf("the tail shows %q, %v", line, err)
	}

	var more []string
	for i := range 100 {
		more = append(more, fmt.Sprintf(`{"key":"visitor%05d"}`, i))
	}
	if r := over(t, web, "POST", secure+"/hit?k=demo", "["+strings.Join(more, ",")+"]"); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	users := parse[object](t, over(t, web, "GET", secure+"/app/api/public/users/", "", "Cookie", cookie).body)
	if users["count"] != 101.0 || users["next"] != secure+"/app/api/public/users/?page=2" {
		t.Errorf("%v users, next %v", users["count"], users["next"])
	}
	if log := s.spoor("audit", "--app", "demo"); !regexp.MustCompile(`demo +admin .*users\.list`).MatchString(log) {
		t.Errorf("the audit log has no entry by the token's name:\n%s", log)
	}
	for _, path := range []string{"/api/public/users/", "/api/partitions", "/metrics", "/app/metrics"} {
		if r := over(t, web, "GET", secure+path, "", "Cookie", cookie, "Authorization", "Token demo"); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	began := time.Now()
	s.stop() // with the tail open
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the open tail held the server up for %v", took)
	}
}

func TestAppIsOff(t *testing.T) {
	s := demo(t)
	for _, path := range []string{"/app", "/app/", "/app/login", "/app/api/public/users/"} {
		if r := s.send("GET", s.collector+path, ""); r.status != http.StatusNotFound || r.header.Get("X-Spoor-Refused") != "not_found" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

// Goal: who may not use a port below 1024 is told how to be allowed.
// Method: a network of its own, where that is as by default, and a process
// without the privilege.
func TestPrivilegedPort(t *testing.T) {
	cmd := exec.Command("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service",
		binary, "serve", "--data", folder(t), "--listen", ":443", "--admin", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	stop := time.AfterFunc(startMax, func() { cmd.Process.Kill() })
	defer stop.Stop()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "setcap cap_net_bind_service=+ep") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}
