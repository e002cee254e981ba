package main_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Goal: by default the program calls nobody: while it serves, takes hits by
// every door, sweeps, erases, exports and ends, it tries no address outside of
// this machine, not even that of a name server.
// Method: strace writes every attempt down, in a network namespace without a
// route, where none can succeed. The same trace of a server that was told to
// call a webhook must show that call.
func TestNoOutboundCalls(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		if _, err := exec.LookPath("strace"); err != nil {
			const hint = "strace is not installed: run make test, or apt-get install strace"
			if os.Getenv("SPOOR_REQUIRE_CLIENTS") != "" {
				t.Fatal(hint)
			}
			t.Skip(hint)
		}
		inNamespace(t, syscall.CLONE_NEWNET)
		return
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("ip: %v %s", err, out)
	}
	program := os.Getenv(binaryVariable)
	work := func(flags ...string) (traces string) {
		defer func() { binary = program }()
		traces = folder(t)
		binary = filepath.Join(traces, "traced") // -D: the process keeps the number that its signals are sent to
		script := fmt.Sprintf("#!/bin/sh\nexec strace -D -f -qq -e signal=none -e trace=connect,sendto,sendmsg,sendmmsg -o %s/$$.trace %s \"$@\"\n", traces, program)
		if err := os.WriteFile(binary, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		s := demo(t, append([]string{"--sweep-grace", "1ms"}, flags...)...)
		s.hit(`{"key":"a","user_id":"u","attributes":{"email":"a@shop.example"},"url":"https://shop.example/"}`)
		s.send("GET", s.collector+"/pixel.gif?k=demo&key=b", "")
		s.send("POST", s.collector+"/v1/track", `{"writeKey":"demo","anonymousId":"c","event":"e"}`)
		s.read("/api/public/users/")
		s.export()
		if len(flags) > 0 {
			s.spoor("app", "set", "demo", "webhook=http://203.0.113.9/")
		}
		s.spoor("person", "object", "--app", "demo", "u")
		s.spoor("sweep", "--full")
		s.spoor("erase", "--app", "demo", "u")
		s.spoor("privacy")
		if len(flags) > 0 {
			s.await(startMax, "the webhook to be called", func() bool { return len(outside(t, traces)) > 0 })
		}
		s.stop()
		return traces
	}
	if calls := outside(t, work()); len(calls) > 0 {
		t.Errorf("the program called:\n%s", strings.Join(calls, "\n"))
	}
	if calls := strings.Join(outside(t, work("--webhook-private")), "\n"); !strings.Contains(calls, `inet_addr("203.0.113.9")`) {
		t.Errorf("the trace does not show the call of the webhook: %s", calls)
	}
}

var (
	tracedFamily  = regexp.MustCompile(`sa_family=(AF_\w+)`)
	tracedAddress = regexp.MustCompile(`inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"`)
)

// outside are the lines of traces that name an address outside of this machine.
func outside(t *testing.T, traces string) (calls []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(traces, "*.trace"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces in %s, %v", traces, err)
	}
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			family := tracedFamily.FindStringSubmatch(line)
			if family == nil {
				continue // it answers on a connection that is open
			}
			seen++
			if family[1] == "AF_UNIX" {
				continue
			}
			m := tracedAddress.FindStringSubmatch(line)
			if m == nil {
				calls = append(calls, line)
				continue
			}
			if a, err := netip.ParseAddr(m[1] + m[2]); err != nil || !a.Unmap().IsLoopback() {
				calls = append(calls, line)
			}
		}
	}
	if seen == 0 {
		t.Errorf("the traces show not even the calls over the program's own socket")
	}
	return calls
}
