package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

const (
	loopback    = "127.0.0.0/8"
	settleQuiet = 500 * time.Millisecond
)

// build compiles the program as make build does.
func build(into string) (string, error) {
	path := filepath.Join(into, "spoor")
	compile := exec.Command("go", "build", "-o", path, "github.com/spoorhq/spoor/cmd/spoor")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does; with C, caches are outside of the Go heap
	compile.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := compile.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot build spoor: %w: %s; run it from within the module", err, bytes.TrimSpace(out))
	}
	return path, nil
}

// server is a running spoor with a data directory of its own.
type server struct {
	*process
	data  string
	token string   // of the control plane
	names []string // of the apps, by their index in the traffic model
	keys  []string // their write keys
}

// startSpoor runs spoor serve: with the open demo app if apps is 1, else with
// so many apps that have the settings of any new app.
func startSpoor(binary, data string, apps, connections int) (*server, error) {
	s := &server{data: data, token: rand.Text()}
	args := []string{
		"serve", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--connections-max", strconv.Itoa(max(4096, 2*connections)), "--connections-per-address-max", strconv.Itoa(max(1024, 2*connections)),
	}
	if apps == 1 {
		args = append(args, "--demo")
	} else {
		args = append(args, "--trusted-proxies", loopback)
	}
	var err error
	if s.process, err = startProcess([]string{"SPOOR_ADMIN_TOKEN=" + s.token}, binary, args...); err != nil {
		return nil, err
	}
	if apps == 1 {
		s.names, s.keys = []string{demoKey}, []string{demoKey}
		return s, nil
	}
	for i := range apps {
		if err := s.createApp(fmt.Sprintf("shop-%04d", i), nil); err != nil {
			s.kill()
			return nil, err
		}
	}
	return s, nil
}

// createApp makes an app as a control plane does.
func (s *server) createApp(name string, settings map[string]string) error {
	body, err := json.Marshal(map[string]any{"name": name, "timezone": "Europe/Warsaw", "settings": settings})
	if err != nil {
		return err
	}
	request, err := http.NewRequest("POST", "http://"+s.readSide+"/api/admin/apps/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Token "+s.token)
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("cannot create app %s: %w", name, err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("cannot create app %s: %w", name, err)
	}
	var app struct{ Keys []struct{ Key string } }
	if err := json.Unmarshal(text, &app); err != nil || len(app.Keys) == 0 {
		return fmt.Errorf("cannot create app %s: the server answered %s: %s", name, reply.Status, bytes.TrimSpace(text))
	}
	s.names, s.keys = append(s.names, name), append(s.keys, app.Keys[0].Key)
	return nil
}

// tableBytes are what the server has written to tables since its start.
type tableBytes struct{ flushed, compacted float64 }

func (s *server) written() tableBytes {
	return tableBytes{s.metric("spoor_flushed_bytes_total"), s.metric("spoor_compacted_bytes_total")}
}

// over is the write amplification since before: bytes written to tables per
// byte that was flushed; 0 if the server does not tell.
func (t tableBytes) over(before tableBytes) float64 {
	flushed := t.flushed - before.flushed
	if flushed <= 0 {
		return 0
	}
	return (flushed + t.compacted - before.compacted) / flushed
}

// metric reads one figure of /metrics; 0 if it is not there.
func (s *server) metric(name string) float64 {
	reply, err := http.Get("http://" + s.readSide + "/metrics")
	if err != nil {
		return 0
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v
		}
	}
	return 0
}

// pause stops the process where it stands, and resume lets it go on, so that
// what it does in the background is not on another's bill.
func (s *server) pause() error  { return s.signal(syscall.SIGSTOP) }
func (s *server) resume() error { return s.signal(syscall.SIGCONT) }

// diskUse is what a data directory takes: all blocks, and the tables alone,
// without logs whose space is taken in advance.
func diskUse(dir string) (all, tables int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			all += s.Blocks * 512
		}
		if strings.HasSuffix(path, ".sst") {
			tables += info.Size()
		}
		return nil
	})
	return all, tables, err
}

// settle opens a stopped store for a while, whereby what is only in its log
// goes into tables, and the compactions come to an end that are due by
// themselves.
func settle(data string) error {
	st, err := store.Open(store.Options{Dir: data})
	if err != nil {
		return err
	}
	untilQuiet(st, settleQuiet)
	return st.Close()
}

// auditStore reads every hit of a stopped server's store, and has the store
// check itself if that is wanted: it takes longer than the traffic did.
func auditStore(data string, names []string, book *ledger, check bool) (*audit, error) {
	st, err := store.Open(store.Options{Dir: data, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	a := new(audit)
	for i, name := range names {
		app := st.AppByName(name)
		if app == nil {
			a.problem("app %s is gone", name)
			continue
		}
		days, err := st.Partitions(app.ID)
		if err != nil {
			return nil, err
		}
		if len(days) == 0 {
			continue
		}
		if err := st.ScanHits(app.ID, days[0].Day, days[len(days)-1].Day, func(h *spoor.Hit) error {
			book.find(a, i, h.ID)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	book.close(a)
	if !check {
		return a, nil
	}
	began := time.Now()
	report, err := st.Check(nil)
	if err != nil {
		return nil, err
	}
	a.checked, a.checkProblems = time.Since(began), report.Found
	for _, p := range report.Problems {
		a.problem("check: %s", p)
	}
	return a, nil
}

// workDir makes a folder for data on a disk: a file system in memory would
// make every fsync free.
func workDir(parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
		if fileSystem(parent) == "tmpfs" {
			parent = "."
		}
	}
	dir, err := os.MkdirTemp(parent, "spoor-bench-")
	if err != nil {
		return "", fmt.Errorf("cannot make a data directory: %w; choose another place with -dir", err)
	}
	return filepath.Abs(dir)
}
