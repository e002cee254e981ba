package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine says on what the figures were measured.
type machine struct {
	cpu, kernel, disk, goVersion, commit string
	cores                                int
	memory                               int64
	fsync50, fsync99                     time.Duration
	busy                                 float64 // share of all cores that others took for a moment, before anything was measured
}

func describeMachine(dir, binary string) (machine, error) {
	m := machine{
		cpu: field("/proc/cpuinfo", "model name"), kernel: firstLine("/proc/sys/kernel/osrelease"),
		disk: fileSystem(dir), goVersion: runtime.Version(), commit: commitOf(binary), cores: runtime.NumCPU(),
	}
	if kib, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.memory = kib << 10
	}
	before := firstLine("/proc/stat")
	time.Sleep(busyFor)
	m.busy = busyBetween(before, firstLine("/proc/stat"))
	var err error
	m.fsync50, m.fsync99, err = fsyncLatency(dir)
	return m, err
}

func (m machine) String() string {
	text := fmt.Sprintf("%s, %d cores, %.0f GiB memory, Linux %s, data on %s\n", m.cpu, m.cores, float64(m.memory)/(1<<30), m.kernel, m.disk)
	text += fmt.Sprintf("fsync of 4 KiB: p50 %s, p99 %s\n", round(m.fsync50), round(m.fsync99))
	text += fmt.Sprintf("%s, commit %s, %.0f %% of the cores busy before anything was measured\n", m.goVersion, m.commit, 100*m.busy)
	if m.noisy() {
		text += "**Something else keeps this machine busy: read the ratios, not the rates.**\n"
	}
	return text
}

func (m machine) noisy() bool { return m.busy > 0.25 }

// busyFor is how long this program stands still to see what others do. The
// load average would also tell of its own build.
const busyFor = time.Second

// busyBetween is the share of time in which processors were not idle between
// two readings of the first line of /proc/stat.
func busyBetween(before, after string) float64 {
	const idle, ioWait = 4, 5 // columns
	var rest, all float64
	was := strings.Fields(before)
	for i, text := range strings.Fields(after) {
		if i == 0 || i > 8 || i >= len(was) { // the name; guests count among the first
			continue
		}
		from, _ := strconv.ParseFloat(was[i], 64)
		to, _ := strconv.ParseFloat(text, 64)
		all += to - from
		if i == idle || i == ioWait {
			rest += to - from
		}
	}
	if all <= 0 {
		return 0
	}
	return 1 - rest/all
}

// field is the first value of a name in a file of "name : value" lines.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return string(line)
}

// fileSystem names the type of the file system that holds a folder: that of
// the longest mount point above it.
func fileSystem(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "unknown"
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	kind, longest := "unknown", -1
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		at := f[1]
		inside := at == "/" || dir == at || strings.HasPrefix(dir, at+"/")
		if inside && len(at) >= longest {
			kind, longest = f[2], len(at)
		}
	}
	return kind
}

const fsyncTries = 200

// fsyncLatency overwrites and syncs blocks of a file whose space is taken, as
// a write-ahead log does.
func fsyncLatency(dir string) (p50, p99 time.Duration, err error) {
	f, err := os.CreateTemp(dir, "fsync-")
	if err != nil {
		return 0, 0, fmt.Errorf("cannot measure fsync: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<10)
	if _, err = f.Write(make([]byte, fsyncTries*len(block))); err == nil {
		err = f.Sync()
	}
	took := make([]time.Duration, 0, fsyncTries)
	for i := 0; i < fsyncTries && err == nil; i++ {
		began := time.Now()
		if _, err = f.WriteAt(block, int64(i*len(block))); err == nil {
			err = syscall.Fdatasync(int(f.Fd()))
		}
		took = append(took, time.Since(began))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cannot measure fsync: %w", err)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], nil
}

// commitOf is what the build recorded, or else what git says. Neither need be
// there.
func commitOf(binary string) string {
	commit, dirty := "", ""
	if info, err := buildinfo.ReadFile(binary); err == nil {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = " with changes"
			}
		}
	}
	if commit == "" {
		commit = gitSays("rev-parse", "HEAD")
		if gitSays("status", "--porcelain") != "" {
			dirty = " with changes"
		}
	}
	if commit == "" {
		return "unknown"
	}
	return commit[:min(12, len(commit))] + dirty
}

func gitSays(args ...string) string {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// round keeps three digits or so of a latency.
func round(d time.Duration) time.Duration {
	switch {
	case d > 100*time.Millisecond:
		return d.Round(time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
