package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Goal: a run that is ended from outside leaves neither its folder nor a
// server behind, and fails.
// Method: the real program, ended while a server of its takes hits: by a signal
// to it, and by one that its measuring process cannot catch.
func TestGuard(t *testing.T) {
	program := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, v := range []struct {
		name string
		end  func(pid int) error
	}{
		{"signal", func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }},
		{"broken", func(pid int) error {
			threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is well formed
			var child string
			for _, path := range threads {
				text, _ := os.ReadFile(path) // a thread may have ended
				child += string(text)
			}
			n, err := strconv.Atoi(strings.TrimSpace(child))
			if err != nil {
				return err
			}
			return syscall.Kill(n, syscall.SIGKILL)
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			dir := t.TempDir()
			var said bytes.Buffer
			cmd := exec.Command(program, "-rollups", "-dir", dir)
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			defer cmd.Process.Signal(syscall.SIGTERM) // if the test fails half way
			for until := time.Now().Add(startTimeout); len(processesWith(dir)) == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatal("no server was started")
				}
			}
			if err := v.end(cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || !strings.Contains(said.String(), "bench: the run was ended") {
				t.Errorf("it ended with %v and said %s", err, said.String())
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
			if left := processesWith(dir); len(left) > 0 {
				t.Errorf("%q still run", left)
			}
		})
	}
}

// processesWith are the servers whose data are below a folder.
func processesWith(dir string) (lines []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well formed
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(commandWired)) && bytes.Contains(text, []byte(dir)) { // it may have ended
			lines = append(lines, string(text))
		}
	}
	return lines
}
