package main_test

import (
	"fmt"
	"net/http"
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
// every door, answers reads and logins, sweeps, erases, exports and ends, it tries
// no address outside of this machine, not even that of a name server.
// Method: strace writes every attempt down, in a network namespace without a
// route, where none can succeed. The same trace of a demo that was told to call a
// webhook must show that call.
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
		s := serve(t, folder(t), append([]string{"--sweep-grace", "1ms", "--app"}, flags...)...)
		app, key, token := "demo", "demo", "demo"
		if len(flags) == 0 {
			app = "shop"
			key = lastWord(s.spoor("app", "create", app))
			token = lastWord(s.spoor("app", "tokens", app, "--create", "all", "--role", "admin"))
		} else {
			s.spoor("app", "set", app, "webhook=http://203.0.113.9/")
		}
		s.everyDoor(app, key)
		s.everyRead(token)
		s.spoor("person", "object", "--app", app, "u")
		s.spoor("person", "export", "--app", app, "u")
		s.spoor("sweep", "--full")
		s.spoor("erase", "--app", app, "u")
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
	if calls := strings.Join(outside(t, work("--demo", "--webhook-private")), "\n"); !strings.Contains(calls, `inet_addr("203.0.113.9")`) {
		t.Errorf("the trace does not show the call of the webhook: %s", calls)
	}
}

// lastWord is the key or the secret at the end of what a command printed.
func lastWord(text string) string {
	words := strings.Fields(text)
	return words[len(words)-1]
}

// staying is a client that does not go where it is led.
var staying = &http.Client{Timeout: client.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// everyDoor sends by each door of the collector, and wants to be answered as
// one whose hit was taken.
func (s *server) everyDoor(app, key string) {
	s.t.Helper()
	link := func(what ...string) string {
		return strings.TrimSpace(s.spoor(append([]string{"link", "--app", app, "--base", s.collector, "--profile", "a"}, what...)...))
	}
	f := func(status int, method, url, body string, headers ...string) {
		s.t.Helper()
		if r, err := ask(staying, method, url, body, headers...); err != nil || r.status != status || strings.Contains(r.body, "refused") {
			s.t.Errorf("%s %s: %v, %d %.300s, want %d", method, url, err, r.status, r.body, status)
		}
	}
	f(200, "POST", s.collector+"/hit?k="+key, `{"key":"a","user_id":"u","attributes":{"email":"a@shop.example"},"url":"https://shop.example/"}`)
	f(200, "GET", s.collector+"/pixel.gif?k="+key+"&c=b", "")
	f(200, "POST", s.collector+"/v1/track", `{"writeKey":"`+key+`","anonymousId":"c","event":"e"}`)
	f(200, "GET", s.collector+"/widget.js", "")
	f(200, "POST", s.collector+"/w?k="+key, `{"batch":[{"id":"abcdefghij012345-1","type":"page","url":"https://shop.example/"}]}`, "Origin", "https://shop.example")
	f(200, "POST", s.collector+"/api/sdk/v1/batch/", `{"customer":{"user_id":"v"},"device":{"fcm_key":"t"},"events":[{"id":"a1","event":"e"}]}`, "Authorization", "Token "+key, "X-User-Key", "d")
	f(302, "GET", link("--to", "https://shop.example/sale"), "")
	f(200, "GET", link("--opt-out"), "")
	f(200, "POST", link("--opt-out"), "")
}

// everyRead reads from the read side, and through the login of the collector's.
func (s *server) everyRead(token string) {
	s.t.Helper()
	f := func(url string, header, value string) {
		s.t.Helper()
		if r := s.send("GET", url, "", header, value); r.status != http.StatusOK {
			s.t.Errorf("GET %s: %d %.300s", url, r.status, r.body)
		}
	}
	login, err := ask(staying, "POST", s.collector+"/app/login", "token="+token, "Content-Type", "application/x-www-form-urlencoded", "Origin", s.collector)
	session, _, _ := strings.Cut(login.header.Get("Set-Cookie"), ";")
	if err != nil || session == "" {
		s.t.Fatalf("the login: %v, %d %.300s", err, login.status, login.body)
	}
	for _, path := range []string{"/api/public/users/", "/api/export/hits.ndjson", "/api/export/users.csv"} {
		f(s.reads+path, "Authorization", "Token "+token)
		f(s.collector+"/app"+path, "Cookie", session)
	}
	f(s.collector+"/app/", "Cookie", session)
	f(s.reads+"/metrics", "Accept", "text/plain")
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
