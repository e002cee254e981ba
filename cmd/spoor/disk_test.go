package main_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	diskBytes    = 128 << 20
	ballastBytes = 32 << 20
	recoverMax   = 10 * time.Second // for a server to open on a full disk, and to write again
)

// Goal: a disk that fills up costs nothing that was acknowledged and does not
// end the process: it refuses with a reason while there is still room for
// what is in memory, goes on reading, starts on a full disk, and writes again
// by itself when there is room.
// Method: a small disk in memory, mounted where only this test sees it: the
// test starts itself again in a mount namespace of its own.
func TestFullDisk(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		inNamespace(t, 0)
		return
	}
	binary = os.Getenv(binaryVariable)
	dir := folder(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
		t.Fatalf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, ballastBytes)
	data := filepath.Join(dir, "data")
	l := newLedger()

	s := spawn(t, data, "--demo")
	s.awaitServing()
	l.fillDisk(s)
	if avail := availBytes(t, dir); avail < 1<<20 {
		t.Errorf("hits were refused only when %d bytes were left", avail)
	}
	full(t, s, l)

	// Another program takes the rest.
	fill(t, filepath.Join(dir, "rest"), diskBytes)
	full(t, s, l)

	// The process ends at the worst of times, and starts on the full disk.
	s.kill()
	began := time.Now()
	s = spawn(t, data, "--demo")
	s.awaitServing()
	if took := time.Since(began); took > recoverMax {
		t.Errorf("the start on a full disk took %v, want at most %v", took, recoverMax)
	}
	full(t, s, l)

	// Room again, without a restart.
	for _, name := range []string{"rest", "ballast"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.await(recoverMax, "hits to be taken again", func() bool {
		return s.send("POST", s.collector+"/hit", nativeBody("n-after")).status == http.StatusOK
	})
	l.send("n-after")
	l.ack("n-after")
	s.await(recoverMax, "the server to be ready", func() bool { return s.send("GET", s.reads+"/readyz", "").status == http.StatusOK })
	l.verify(s)
	l.verifyKnown(s)
	s.stop()
	checkStore(t, data)
}

// inNamespace runs this test again where it may mount, with more namespaces of
// its own as clone's flags name them.
func inNamespace(t *testing.T, more uintptr) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), insideVariable+"=1", binaryVariable+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Cloneflags: more, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%v (if it could not mount: run the tests as root, or allow user namespaces)", err)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatal("the test did not run in the namespace")
	}
}

// fill writes a file of the size, or as much of it as fits.
func fill(t *testing.T, path string, size int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for range size / len(block) {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}

func availBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	return int64(disk.Bavail) * disk.Bsize
}

// fillDisk sends large hits over several connections until all are refused.
func (l *ledger) fillDisk(s *server) {
	s.t.Helper()
	var next atomic.Int64
	// A flush that ends gives room back: full is what stays full.
	for quiet := 0; quiet < 5; {
		before, _ := l.count()
		l.fillOnce(s, &next)
		if acked, _ := l.count(); acked > before {
			quiet = 0
		}
		quiet++
		time.Sleep(200 * time.Millisecond)
	}
	if acked, _ := l.count(); acked < 1000 {
		s.t.Errorf("only %d hits fitted on the disk", acked)
	}
}

func (l *ledger) fillOnce(s *server, next *atomic.Int64) {
	s.t.Helper()
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(worker)})
			pad := make([]byte, 15_000)
			for {
				id := fmt.Sprintf("d%d", next.Add(1))
				io.ReadFull(random, pad)
				l.send(id)
				r, err := ask(client, "POST", s.collector+"/hit?k=demo", fmt.Sprintf(`{"id":%q,"key":"k-%s","properties":{"pad":%q}}`, id, person(id), base64.StdEncoding.EncodeToString(pad)))
				if err != nil {
					s.t.Errorf("a hit got no answer: %v", err)
					return
				}
				if r.status != http.StatusOK {
					if reason := r.header.Get("X-Spoor-Refused"); reason != "disk_full" || r.status != 503 && r.status != 507 || r.header.Get("Retry-After") == "" {
						s.t.Errorf("a hit was refused with %d %s", r.status, reason)
					}
					return
				}
				l.ack(id)
			}
		})
	}
	wg.Wait()
}

// full checks a server on a full disk: it runs, refuses, and reads.
func full(t *testing.T, s *server, l *ledger) {
	t.Helper()
	r := s.send("POST", s.collector+"/hit?k=demo", `{"key":"a"}`)
	if r.header.Get("X-Spoor-Refused") != "disk_full" || !strings.Contains(r.body, "free space") {
		t.Errorf("a hit on the full disk got %d %s", r.status, r.body)
	}
	r = s.send("POST", s.reads+"/api/public/users/", `{"email":"a@b.example"}`, "Authorization", "Token demo")
	if r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "disk is almost full") {
		t.Errorf("a change on the full disk got %d %s", r.status, r.body)
	}
	if r := s.send("GET", s.reads+"/readyz", ""); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "disk") {
		t.Errorf("/readyz: %d %s", r.status, r.body)
	}
	if r := s.send("GET", s.reads+"/healthz", ""); r.status != http.StatusOK {
		t.Errorf("/healthz: %d %s", r.status, r.body)
	}
	s.read("/api/public/users/search/?key=k-" + person(l.last(1)[0]))
	l.verify(s)
	if log := s.log.String(); strings.Contains(log, "no space left") {
		t.Errorf("the store ran into the full disk:\n%s", log)
	}
	if log := s.log.String(); !strings.Contains(log, "almost full") {
		t.Errorf("the log does not say that the disk is full:\n%s", log)
	}
	if !s.running() {
		t.Fatal("the process ended")
	}
}

// verifyKnown sends some of the acknowledged ids again.
func (l *ledger) verifyKnown(s *server) {
	s.t.Helper()
	for _, id := range l.last(50) {
		r := s.send("POST", s.collector+"/hit?k=demo", fmt.Sprintf(`{"id":%q,"key":"k-%s"}`, id, person(id)))
		if !strings.Contains(r.body, `"duplicate"`) {
			s.t.Errorf("%s sent again got %d %s", id, r.status, r.body)
		}
	}
}
