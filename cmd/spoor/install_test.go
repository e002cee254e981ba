package main_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	serverAddress  = "198.51.100.1" // of the new server
	visitorAddress = "203.0.113.7"  // of who looks at the site
	commandMax     = time.Minute    // for one command of the README
)

// serverTools is what the new server has beside what the package brings: dpkg
// and what dpkg calls, a shell and small things. No Go, no Node, no make. What other
// packages bring is there if our package asks for them: see depend.
var serverTools = strings.Fields(`sh dpkg dpkg-deb dpkg-split dpkg-query tar rm diff ldconfig start-stop-daemon
	cat chmod chown cp env getent id install ls mkdir sed setpriv sleep test tr`)

// Goal: the commands of the README, as they stand there, lead from the package
// to the first page view over https with its city, on a machine without a
// toolchain; removing the package keeps the data, purging deletes them.
// Method: a root of its own with little more than dpkg in it, in namespaces
// without any network but loopback. There a test server of Let's Encrypt's
// makers is the certificate authority and a server of ours has the GeoIP database;
// a script starts the unit's program as the unit says, because systemd does not run there.
func TestInstallOnAServer(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		needRoot(t, "only root can install a package into a root of its own")
		dir := t.TempDir()
		cmd := exec.Command("go", "run", "./dist", "-out", dir, "-arch", runtime.GOARCH, "-version", "1.2.3")
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1767225600")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make dist: %v\n%s", err, out)
		}
		t.Setenv(packageVariable, filepath.Join(dir, "spoor_1.2.3_"+runtime.GOARCH+".deb"))
		inNamespace(t, syscall.CLONE_NEWNET|syscall.CLONE_NEWPID)
		return
	}
	binary = os.Getenv(binaryVariable)
	for _, args := range []string{"link set lo up", "addr add " + serverAddress + "/32 dev lo", "addr add " + visitorAddress + "/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	m := newMachine(t)
	commands := readmeCommands(t)
	if len(commands) > 5 {
		t.Errorf("the README has %d commands, promised are five", len(commands))
	}
	m.depend(os.Getenv(packageVariable))
	m.copyIn(os.Getenv(packageVariable), "root/"+filepath.Base(os.Getenv(packageVariable)))
	places := m.servePlaces()
	a := newAuthority(t, 443, 80, time.Hour)
	a.start()

	var said, watch string
	for i, command := range commands {
		if strings.Contains(command, " tail ") { // it goes on until somebody ends it
			watch = command
			continue
		}
		if strings.Contains(command, "systemctl") {
			places.Close() // its port is the collector's now
			m.copyIn(a.ca, "etc/ssl/authority.pem")
			m.add("etc/default/spoor", "SPOOR_ACME_DIRECTORY=https://"+a.address+"/dir\nSPOOR_ACME_CA=/etc/ssl/authority.pem\n")
		}
		if strings.Contains(command, " init ") {
			m.refusesCertificate()
		}
		out := m.do(command)
		if strings.Contains(command, " init ") {
			said = out
		}
		t.Logf("%d: %s\n%s", i+1, command, out)
	}
	m.looksRight()
	m.findsData()
	snippet := regexp.MustCompile(`<script async src="(https://track\.shop\.example)/widget\.js" data-key="(\w{20,})"></script>`).FindStringSubmatch(said)
	token := regexp.MustCompile(`(?m)^  (\w{20,})$`).FindStringSubmatch(said)
	if snippet == nil || token == nil {
		t.Fatalf("spoor init printed no snippet or no token:\n%s", said)
	}
	hits := m.watch(watch)
	wait(t, "the server to show hits to "+watch, func() bool {
		r, err := http.Get("http://127.0.0.1:8081/metrics")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(text), "spoor_api_streams 1\n")
	})
	m.firstPageView(a, snippet[1], snippet[2], token[1])
	wait(t, "the hit to be shown by "+watch, func() bool {
		return strings.Contains(hits.String(), `"city":"Gdansk"`) && strings.Contains(hits.String(), `"url":"https://shop.example/shoes"`)
	})
	m.removeAndPurge(commands[0])
}

const packageVariable = "SPOOR_TEST_PACKAGE"

// needRoot fails where the test must run, as in make test.
func needRoot(t *testing.T, why string) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	why += ": run the tests as root"
	if os.Getenv("SPOOR_REQUIRE_CLIENTS") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// readmeCommands are the indented lines of the README's section about servers.
func readmeCommands(t *testing.T) (commands []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Install on a server\n")
	if !ok {
		t.Fatal("the README has no section Install on a server")
	}
	for line := range strings.Lines(section) {
		switch command, indented := strings.CutPrefix(line, "    "); {
		case indented:
			commands = append(commands, strings.TrimSpace(command))
		case len(commands) > 0:
			return commands
		}
	}
	return commands
}

// machine is the new server's root.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t, folder(t)}
	if err := os.Chmod(m.root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range strings.Fields("usr/bin usr/sbin usr/lib usr/lib64 etc/default etc/ssl/certs root proc dev run/systemd/system tmp var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/log") {
		if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(m.root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	m.mount("proc", "proc", "proc", 0)
	for _, device := range []string{"null", "urandom"} {
		m.write("dev/"+device, "", 0o666)
		m.mount("/dev/"+device, "dev/"+device, "", syscall.MS_BIND)
	}
	for _, tool := range serverTools {
		m.copyTool(tool)
	}
	m.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	m.write("etc/group", "root:x:0:\n", 0o644)
	m.write("etc/shadow", "root:*:19000::::::\n", 0o600)
	m.write("etc/gshadow", "root:*::\n", 0o600)
	m.write("etc/login.defs", "SYS_UID_MIN 100\nSYS_UID_MAX 999\nSYS_GID_MIN 100\nSYS_GID_MAX 999\n", 0o644)
	m.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files\n", 0o644)
	m.write("etc/hosts", "127.0.0.1 localhost download.db-ip.com\n", 0o644)
	m.write("var/lib/dpkg/status", "", 0o644)
	m.write("usr/bin/sudo", "#!/bin/sh\n[ \"$1\" != -u ] || { user=$2; shift 2; exec setpriv --reuid $user --regid $user --init-groups \"$@\"; }\nexec \"$@\"\n", 0o755)
	m.copyIn("testdata/install/systemctl", "usr/bin/systemctl")
	if err := os.Chmod(filepath.Join(m.root, "usr/bin/systemctl"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.listenToUnit()
	return m
}

// rootsFile are the authorities that a Debian system trusts.
const rootsFile = "etc/ssl/certs/ca-certificates.crt"

// depend installs what the package depends on, as far as this machine has it, and
// nothing that it does not ask for.
func (m *machine) depend(deb string) {
	m.t.Helper()
	names, err := exec.Command("dpkg-deb", "-f", deb, "Depends").Output()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimSpace(string(names)), ", ") {
		switch name {
		case "passwd":
			m.copyTool("groupadd")
			m.copyTool("useradd")
		case "ca-certificates":
			m.copyIn("/"+rootsFile, rootsFile)
		default:
			m.t.Fatalf("the package depends on %s: say here what that brings", name)
		}
		m.add("var/lib/dpkg/status", "Package: "+name+"\nStatus: install ok installed\nMaintainer: nobody <nobody@shop.example>\nArchitecture: "+runtime.GOARCH+"\nVersion: 1:4.13\nDescription: of Debian\n\n")
	}
}

func (m *machine) mount(source, to, kind string, flags uintptr) {
	m.t.Helper()
	to = filepath.Join(m.root, to)
	if err := syscall.Mount(source, to, kind, flags, ""); err != nil {
		m.t.Fatalf("cannot mount %s: %v", to, err)
	}
	m.t.Cleanup(func() { syscall.Unmount(to, syscall.MNT_DETACH) })
}

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.root, name), []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) add(name, text string) {
	m.t.Helper()
	m.write(name, m.read(name)+text, 0o644)
}

func (m *machine) read(name string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

func (m *machine) copyIn(from, to string) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(to, string(data), 0o644)
}

// copyTool copies a program of this machine and the libraries that it needs.
func (m *machine) copyTool(name string) {
	m.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		m.t.Fatalf("this machine lacks a tool of the new one: %v; install dpkg and util-linux", err)
	}
	files := []string{path}
	if out, err := exec.Command("ldd", path).Output(); err == nil { // else it is static, or a script
		files = append(files, regexp.MustCompile(`/\S+`).FindAllString(string(out), -1)...)
	}
	for _, file := range files {
		to := filepath.Join(m.root, file)
		if _, err := os.Stat(to); err == nil {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			m.t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
}

// listenToUnit is systemd's ear: the program says there that it serves.
func (m *machine) listenToUnit() {
	m.t.Helper()
	path := filepath.Join(m.root, "run/systemd/notify")
	ear, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { ear.Close() })
	go func() {
		for b := make([]byte, 100); ; {
			n, err := ear.Read(b)
			if err != nil {
				return
			}
			if string(b[:n]) == "READY=1" {
				os.WriteFile(filepath.Join(m.root, "run/ready"), nil, 0o644)
			}
		}
	}()
}

// command is a line for the new server's shell, with nothing of this machine.
func (m *machine) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Dir, cmd.Env = "/root", []string{"PATH=/usr/sbin:/usr/bin", "HOME=/root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: m.root, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// do runs a line and wants it to end well.
func (m *machine) do(line string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandMax)
	defer cancel()
	var out output
	cmd := m.command(ctx, line)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, time.Second
	if err := cmd.Run(); err != nil {
		m.t.Fatalf("%s: %v\n%s", line, err, out.String())
	}
	return out.String()
}

// watch runs a line until the test ends.
func (m *machine) watch(line string) *output {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := new(output)
	cmd := m.command(ctx, line)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second // what it started may hold its output open
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	var once sync.Once
	m.t.Cleanup(func() { once.Do(func() { cancel(); cmd.Wait() }) })
	return out
}

// servePlaces stands for download.db-ip.com: it has last month's database and
// not yet this month's.
func (m *machine) servePlaces() *httptest.Server {
	m.t.Helper()
	demo, err := os.ReadFile("../../enrich/demo.mmdb")
	if err != nil {
		m.t.Fatal(err)
	}
	packed, last := packedPlaces(string(demo)), lastMonth().Format("/free/dbip-city-lite-2006-01.mmdb.gz")
	cert, key := writePair(m.t, m.t.TempDir(), "download.db-ip.com", time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		m.t.Fatal(err)
	}
	own, err := os.ReadFile(cert)
	if err != nil {
		m.t.Fatal(err)
	}
	m.add(rootsFile, string(own))
	l, err := net.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		m.t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "download.db-ip.com" || r.URL.Path != last {
			http.NotFound(w, r)
			return
		}
		w.Write(packed)
	})}}
	s.StartTLS()
	m.t.Cleanup(s.Close)
	return s
}

// looksRight checks who owns what, and what the service may do.
func (m *machine) looksRight() {
	m.t.Helper()
	user := strings.Fields(strings.NewReplacer("uid=", "", "gid=", "", "(spoor)", "").Replace(m.do("id spoor")))
	f := func(name, owner, group string, mode os.FileMode) {
		m.t.Helper()
		info, err := os.Stat(filepath.Join(m.root, name))
		if err != nil {
			m.t.Error(err)
			return
		}
		s := info.Sys().(*syscall.Stat_t)
		if fmt.Sprint(s.Uid) != owner || fmt.Sprint(s.Gid) != group || info.Mode().Perm() != mode {
			m.t.Errorf("%s belongs to %d:%d with mode %v, want %s:%s and %v", name, s.Uid, s.Gid, info.Mode(), owner, group, mode)
		}
	}
	f("etc/spoor", "0", user[1], 0o750)
	f("etc/spoor/spoor.env", "0", user[1], 0o640)
	f("var/lib/spoor", user[0], user[1], 0o700)
	f("var/lib/spoor/db", user[0], user[1], 0o755)
	f("var/lib/spoor/geoip/geoip.mmdb", user[0], user[1], 0o644)

	status := m.read("proc/" + strings.TrimSpace(m.read("run/spoor.pid")) + "/status")
	for _, want := range []string{
		"Name:\tspoor\n",
		"Uid:\t" + strings.Repeat(user[0]+"\t", 3) + user[0] + "\n",
		"Groups:\t" + user[1] + " \n",
		"CapEff:\t0000000000000400\n", // CAP_NET_BIND_SERVICE alone
		"CapBnd:\t0000000000000400\n",
		"NoNewPrivs:\t1\n",
	} {
		if !strings.Contains(status, want) {
			m.t.Errorf("the service has not %q:\n%s", want, status)
		}
	}
	for _, tool := range []string{"go", "node", "npm", "make", "cc"} {
		if found := m.do("command -v " + tool + " || echo none"); found != "none\n" {
			m.t.Errorf("the machine has %s: %s", tool, found)
		}
	}
	if again := m.fail("spoor init --host track.shop.example --site https://shop.example"); !strings.Contains(again, "cannot set up again: /etc/spoor/spoor.env exists") {
		m.t.Errorf("a second spoor init says %q", again)
	}
}

// fail runs a line and wants it not to end well.
func (m *machine) fail(line string) string {
	m.t.Helper()
	out, err := m.command(context.Background(), line).CombinedOutput()
	if err == nil {
		m.t.Errorf("%s ended well: %s", line, out)
	}
	return string(out)
}

// refusesCertificate tries to set up with a certificate that root may read and
// the service may not, by its mode or by that of its folder.
func (m *machine) refusesCertificate() {
	m.t.Helper()
	dir := filepath.Join(m.root, "etc/ssl/own")
	if err := os.Mkdir(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	writePair(m.t, dir, "track.shop.example", time.Now().Add(time.Hour)) // mode 0600
	const setUp = "spoor init --host track.shop.example --site https://shop.example --tls-cert /etc/ssl/own/cert.pem --tls-key /etc/ssl/own/key.pem --data /tmp/own --env /tmp/own.env"
	f := func(prepare string, want ...string) {
		m.t.Helper()
		m.do("cd /etc/ssl/own; " + prepare)
		said := m.fail(setUp)
		if strings.Count(said, "user spoor may not read it") != len(want) || m.do("ls -A /tmp") != "" {
			m.t.Errorf("after %s spoor init says %q and leaves %s", prepare, said, m.do("ls -A /tmp"))
		}
		for _, file := range want {
			if !strings.Contains(said, "cannot use /etc/ssl/own/"+file+": user spoor may not read it; ") {
				m.t.Errorf("after %s spoor init does not name %s: %q", prepare, file, said)
			}
		}
	}
	f(":", "cert.pem", "key.pem")
	f("chmod 0644 cert.pem", "key.pem")
	f("chown root:spoor key.pem; chmod 0640 key.pem; chmod 0700 .", "cert.pem", "key.pem")
	m.do("chmod 0755 /etc/ssl/own; " + setUp)
	m.do("rm -r /tmp/own /tmp/own.env")
}

// findsData checks that commands need no directory, and send those on who may not
// know it.
func (m *machine) findsData() {
	m.t.Helper()
	if log := m.do("cd /tmp; spoor audit --app shop-example"); !strings.Contains(log, "apps.create") {
		m.t.Errorf("spoor audit shows %q", log)
	}
	const nobody = "cd /tmp; setpriv --reuid 65534 --regid 65534 --clear-groups "
	if said := m.fail(nobody + "spoor audit --app shop-example"); !strings.Contains(said, "no spoor runs on the data directory /tmp/data; ") || !strings.Contains(said, "or use sudo: /etc/spoor/spoor.env, ") {
		m.t.Errorf("to others spoor audit says %q", said)
	}
	if said := m.fail(nobody + "spoor audit --app shop-example --data /tmp/data"); strings.Contains(said, "sudo") {
		m.t.Errorf("to others, of a directory of theirs, spoor audit says %q", said)
	}
	if said := m.fail(nobody + "spoor audit --app shop-example --data /var/lib/spoor"); !strings.Contains(said, "permission denied; use sudo") {
		m.t.Errorf("to others spoor audit --data says %q", said)
	}
}

// firstPageView is what the widget sends, from a visitor's address, over https.
// The operator then logs in with the token that was shown once, and finds the visitor,
// who in a new app has a number for the day and no name.
func (m *machine) firstPageView(a *authority, collector, key, token string) {
	m.t.Helper()
	visitor := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: a.roots},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(visitorAddress)}}
			return d.DialContext(ctx, network, serverAddress+":"+port)
		},
	}}
	var r reply
	wait(m.t, "the certificate", func() (ok bool) {
		var err error
		r, err = ask(visitor, "POST", collector+"/w?k="+key, `{"batch":[{"id":"abcdefghij012345-1","type":"page","url":"https://shop.example/shoes"}]}`, "Origin", "https://shop.example")
		return err == nil
	})
	if r.status != http.StatusOK || !strings.Contains(r.body, `"status":"stored"`) || r.header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		m.t.Errorf("the page view: %d %s %v", r.status, r.body, r.header)
	}
	if r = over(m.t, visitor, "POST", collector+"/w?k="+key, `{"batch":[{"id":"abcdefghij012345-2"}]}`, "Origin", "https://other.example"); r.status != http.StatusForbidden {
		m.t.Errorf("a page view of another site: %d %s", r.status, r.body)
	}
	// Plain HTTP leads to https.
	if r = over(m.t, visitor, "GET", strings.Replace(collector, "https:", "http:", 1)+"/pixel.gif?k="+key, ""); r.status != http.StatusOK {
		m.t.Errorf("by way of plain HTTP: %d %s", r.status, r.body)
	}
	visitor.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	login := over(m.t, visitor, "POST", collector+"/app/login", "token="+token, "Content-Type", "application/x-www-form-urlencoded", "Origin", collector)
	session, _, _ := strings.Cut(login.header.Get("Set-Cookie"), ";")
	r = over(m.t, visitor, "GET", collector+"/app/api/public/users/", "", "Cookie", session)
	if session == "" || r.status != http.StatusOK || !strings.Contains(r.body, `"city":"Gdansk"`) {
		m.t.Errorf("the login: %d %s; the visitors: %d %s", login.status, login.body, r.status, r.body)
	}
}

// removeAndPurge ends the service, keeps the data, takes the package again, and
// then deletes all.
func (m *machine) removeAndPurge(install string) {
	m.t.Helper()
	there := func(names ...string) {
		m.t.Helper()
		for _, name := range []string{"usr/bin/spoor", "var/lib/spoor/db", "etc/spoor/spoor.env", "etc/default/spoor"} {
			_, err := os.Lstat(filepath.Join(m.root, name))
			if want := slices.Contains(names, name); (err == nil) != want {
				m.t.Errorf("%s: there is %v, want %v", name, err == nil, want)
			}
		}
	}
	m.do(install) // an upgrade, as far as dpkg can tell
	there("usr/bin/spoor", "var/lib/spoor/db", "etc/spoor/spoor.env", "etc/default/spoor")
	if !strings.Contains(m.read("etc/default/spoor"), "\nSPOOR_ACME_CA=") {
		m.t.Error("the upgrade took the administrator's settings away")
	}
	if n := strings.Count(m.read("run/spoor.log"), "msg=serving"); n < 2 {
		m.t.Errorf("the upgrade did not restart the service:\n%s", m.read("run/spoor.log"))
	}
	m.do("dpkg -r spoor")
	there("var/lib/spoor/db", "etc/spoor/spoor.env", "etc/default/spoor")
	if !strings.Contains(m.read("run/spoor.log"), "stopping: finishing what is in flight") {
		m.t.Errorf("the service was not told to stop:\n%s", m.read("run/spoor.log"))
	}
	checkStore(m.t, filepath.Join(m.root, "var/lib/spoor"))
	m.do(install)
	if list := m.do("systemctl enable --now spoor && spoor app list --data /var/lib/spoor"); !strings.Contains(list, "shop-example") {
		m.t.Errorf("the app is gone after the package was removed and installed again: %s", list)
	}
	m.do("dpkg -P spoor")
	there()
	m.do("id spoor") // keeps its number
}

// wait polls until a condition holds.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}
