package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server under test in a process of its own.
type process struct {
	cmd       *exec.Cmd
	collector string // addresses; readSide is empty for the bare server
	readSide  string
	ended     chan struct{}

	mu   sync.Mutex
	tail []string // last lines it printed, for errors
}

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	tailLines    = 20
)

var addressWord = regexp.MustCompile(`\b(collector|read_side)=(\S+)`)

// startProcess runs a server and waits until it has said where it listens.
func startProcess(environment []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{})}
	// Settings of whoever runs this must not leak into the measurement.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SPOOR_") })
	p.cmd.Env = append(p.cmd.Env, environment...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	p.cmd.Stdout, p.cmd.Stderr = in, in
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	in.Close()
	ready := make(chan struct{})
	go p.watch(out, ready)
	select {
	case <-ready:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("cannot start %s: %s", name, p.said())
	case <-time.After(startTimeout):
		p.kill()
		return nil, fmt.Errorf("cannot start %s: it does not listen after %s: %s", name, startTimeout, p.said())
	}
}

// watch reads what the process prints until it ends.
func (p *process) watch(out io.ReadCloser, ready chan struct{}) {
	defer close(p.ended)
	defer out.Close()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		for _, m := range addressWord.FindAllStringSubmatch(line, -1) {
			if m[1] == "read_side" {
				p.readSide = m[2]
			} else {
				p.collector = m[2]
			}
		}
		p.mu.Lock()
		p.tail = append(p.tail, line)
		p.tail = p.tail[max(0, len(p.tail)-tailLines):]
		p.mu.Unlock()
		if p.collector+p.readSide != "" && ready != nil {
			close(ready)
			ready = nil
		}
	}
	// A signal that we sent shows as an error too; stop judges by what was said.
	_ = p.cmd.Wait()
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "\n")
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// stop ends the process as an operator would, and fails if it did not end well.
func (p *process) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("cannot stop the server: %w: %s", err, p.said())
	}
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.kill()
		return fmt.Errorf("cannot stop the server: it still ran after %s", stopTimeout)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server ended with status %d: %s", code, p.said())
	}
	return nil
}

// Linux counts CPU time in hundredths of a second for every program.
const tick = 10 * time.Millisecond

// cpu is the CPU time that the process has used.
func (p *process) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	return cpuOf(string(text))
}

// cpuOf reads user and system time from the line of /proc/PID/stat. The name
// of the program, in brackets, may hold anything.
func cpuOf(stat string) time.Duration {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick
}

// rest waits until the process does little, such as compactions of what came
// before, but not longer than most.
func (p *process) rest(most time.Duration) {
	const look, little = 250 * time.Millisecond, 25 * time.Millisecond
	for until := time.Now().Add(most); time.Now().Before(until); {
		before := p.cpu()
		time.Sleep(look)
		if p.cpu()-before <= little {
			return
		}
	}
}

// memory gives the resident memory now and at its highest, in bytes.
func (p *process) memory() (now, peak int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	return statusBytes(string(text), "VmRSS:"), statusBytes(string(text), "VmHWM:")
}

// ownCPU is the CPU time that this process, the client, has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// statusBytes reads a field such as "VmRSS:  1234 kB".
func statusBytes(status, field string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, _ := strconv.ParseInt(f[0], 10, 64)
				return n << 10
			}
		}
	}
	return 0
}
