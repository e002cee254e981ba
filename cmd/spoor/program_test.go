package main_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of this folder run the real program, built once, as its users do:
// by its flags, its files and its two ports. Each test that wrote to a store
// ends with spoor check on it.

const (
	startMax = 15 * time.Second // for a server to serve; machines may be busy
	drainMax = 10 * time.Second // for a server to stop; that much is promised
)

// binary is the path of the program under test.
var binary string

func TestMain(m *testing.M) {
	if inner := os.Getenv(insideVariable); inner != "" {
		os.Exit(m.Run()) // this test in a namespace of its own; see disk_test.go
	}
	os.Exit(build(m))
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "spoor")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "spoor")
	cmd := exec.Command("go", "build", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the program: %v\n%s", err, out)
		return 1
	}
	os.Setenv(binaryVariable, binary)
	return m.Run()
}

// Variables by which a test that starts itself again tells the copy what to do.
const (
	insideVariable = "SPOOR_TEST_INSIDE"
	binaryVariable = "SPOOR_TEST_BINARY"
)

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// server is a running spoor serve.
type server struct {
	t                testing.TB
	data             string
	collector, reads string // base URLs
	token            string // of what is read; empty: that of the demo app
	out, log         output
	cmd              *exec.Cmd
	ended            chan struct{} // closed when the process has ended; err holds how
	err              error
}

// folder is a data directory with a short path, because the name of a unix
// socket has room for a hundred bytes.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// demo starts a server with the demo app on a new data directory. At the end
// of the test it is stopped, and its store checked.
func demo(t testing.TB, flags ...string) *server {
	t.Helper()
	return serve(t, folder(t), append([]string{"--demo"}, flags...)...)
}

// serve starts a server and waits until it serves.
func serve(t testing.TB, data string, flags ...string) *server {
	t.Helper()
	s := spawn(t, data, flags...)
	s.awaitServing()
	t.Cleanup(func() {
		if s.running() {
			s.stop()
		}
		if !t.Failed() {
			checkStore(t, data)
		}
	})
	return s
}

// spawn starts the process and does not wait for it.
func spawn(t testing.TB, data string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, data: data, ended: make(chan struct{})}
	args := append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags...)
	s.cmd = exec.Command(binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(s.kill)
	return s
}

var servingLine = regexp.MustCompile(`msg=serving collector=(\S+) read_side=(\S+)`)

func (s *server) awaitServing() {
	s.t.Helper()
	s.await(startMax, "the server to serve", func() bool {
		m := servingLine.FindStringSubmatch(s.log.String())
		if m == nil {
			return false
		}
		s.collector, s.reads = "http://"+m[1], "http://"+m[2]
		return true
	})
}

func (s *server) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// await polls until a condition holds; the end of the process ends the wait.
func (s *server) await(limit time.Duration, what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for {
		if holds() {
			return
		}
		select {
		case <-tick.C:
		case <-s.ended:
			s.t.Fatalf("the server ended while the test waited for %s: %v\n%s", what, s.err, s.log.String())
		case <-deadline:
			s.t.Fatalf("waited %v for %s\n%s", limit, what, s.log.String())
		}
	}
}

// stop ends the server as an operator does, and holds it to its promise.
func (s *server) stop() {
	s.t.Helper()
	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(drainMax + 5*time.Second):
		s.t.Fatalf("the server did not end after SIGTERM\n%s", s.log.String())
	}
	if took := time.Since(began); took > drainMax {
		s.t.Errorf("the server took %v to stop, promised are %v", took, drainMax)
	}
	if s.err != nil {
		s.t.Errorf("the server ended with %v\n%s", s.err, s.log.String())
	}
}

// kill ends the process at once, as a power cut or the kernel would.
func (s *server) kill() {
	if s.running() {
		s.cmd.Process.Kill()
		<-s.ended
	}
}

// checkStore runs spoor check on the directory of a stopped server.
func checkStore(t testing.TB, data string) {
	t.Helper()
	out, err := exec.Command(binary, "check", "--data", data).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "everything fits together") {
		t.Errorf("spoor check: %v\n%s", err, out)
	}
}

// reply is what a server answered.
type reply struct {
	status int
	header http.Header
	body   string
}

// browser is who the tests are unless they say otherwise: what names itself a
// program is taken for a bot, and makes no profile.
const browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

var client = &http.Client{Timeout: 20 * time.Second}

// send makes a request with headers given as name, value in turn.
func (s *server) send(method, url, body string, headers ...string) reply {
	s.t.Helper()
	r, err := ask(client, method, url, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", method, url, err, s.log.String())
	}
	return r
}

func ask(c *http.Client, method, url, body string, headers ...string) (reply, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("User-Agent", browser)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

// hit posts a native body with the demo key.
func (s *server) hit(body string, headers ...string) reply {
	s.t.Helper()
	return s.send("POST", s.collector+"/hit?k=demo", body, headers...)
}

// read gets a path of the read side with the demo token; it must answer 200.
func (s *server) read(path string) string {
	s.t.Helper()
	r := s.send("GET", s.reads+path, "", "Authorization", "Token "+cmp.Or(s.token, "demo"))
	if r.status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", path, r.status, r.body)
	}
	return r.body
}

// object is a JSON object as a reader without our types sees it.
type object = map[string]any

func (s *server) readObject(path string) object {
	s.t.Helper()
	return parse[object](s.t, s.read(path))
}

func parse[T any](t testing.TB, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("cannot read %.300q: %v", text, err)
	}
	return v
}

// export is every hit of the demo app.
func (s *server) export() []object {
	s.t.Helper()
	var hits []object
	for line := range strings.Lines(s.read("/api/export/hits.ndjson")) {
		hits = append(hits, parse[object](s.t, line))
	}
	return hits
}

// exportIDs counts the hits of each event id.
func (s *server) exportIDs() map[string]int {
	s.t.Helper()
	req, err := http.NewRequest("GET", s.reads+"/api/export/hits.ndjson", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Token "+cmp.Or(s.token, "demo"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	ids := map[string]int{}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var hit struct {
			ID     int64  `json:"id"`
			Event  string `json:"event_id"`
			Failed string `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &hit); err != nil || hit.ID == 0 {
			s.t.Fatalf("the export holds %.200q: %v %s", lines.Bytes(), err, hit.Failed)
		}
		ids[hit.Event]++
	}
	if err := lines.Err(); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("the export: %d %v", resp.StatusCode, err)
	}
	return ids
}

// spoor runs a command on the server's data directory.
func (s *server) spoor(args ...string) string {
	s.t.Helper()
	out, err := exec.Command(binary, append(args, "--data", s.data)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("spoor %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
