package main_test

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Goal: what an operator sees at a terminal, word for word where it matters.
// Method: shell transcripts in testdata/scripts, run with the real program.
// Beside testscript's own commands they have those of scriptCommands.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	noEarlyEnd(t, filepath.Join(root, "testdata", "scripts"))
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join(root, "testdata", "scripts"),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		WorkdirRoot:         folder(t),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(binary)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv("ROOT", root)
			return nil
		},
		Cmds: scriptCommands,
	})
}

// noEarlyEnd refuses testscript's own commands that end a script and call it
// passed: what stands behind one would never run.
func noEarlyEnd(t *testing.T, dir string) {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in %s, %v", dir, err)
	}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if early := regexp.MustCompile(`(?m)^(\[.*\] )?(stop|skip)\b.*`).Find(text); early != nil {
			t.Errorf("%s ends with %q before its end", filepath.Base(path), early)
		}
	}
}

var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"serve":     scriptServe,
	"quit":      scriptQuit,
	"watch":     scriptWatch,
	"gone":      scriptGone,
	"await":     scriptAwait,
	"curllines": scriptCurlLines,
	"occupy":    scriptOccupy,
	"oneline":   scriptOneLine,
	"places":    scriptPlaces,
	"pair":      scriptPair,
}

// scriptServe starts a server in the background: serve NAME flags. Its output
// goes to NAME.out and NAME.err; NAME_COLLECTOR and NAME_READS name its ports.
// Without --data and addresses in the flags it uses NAME as data directory and
// ports of its own.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve NAME flags")
	}
	name, flags := args[0], args[1:]
	given := strings.Join(flags, " ") + " "
	for flag, value := range map[string]string{"--data": name, "--listen": "127.0.0.1:0", "--admin": "127.0.0.1:0"} {
		variable := "SPOOR_" + strings.ToUpper(strings.TrimPrefix(flag, "--"))
		if !strings.Contains(given, flag+" ") && ts.Getenv(variable) == "" {
			flags = append(flags, flag, value)
		}
	}
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	log, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command(binary, append([]string{"serve"}, flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, v := range []string{"DATA", "LISTEN", "ADMIN", "GEOIP", "DEMO", "ADMIN_TOKEN", "EVENTS_MAX", "PUBLIC_API"} {
		if value := ts.Getenv("SPOOR_" + v); value != "" {
			cmd.Env = append(cmd.Env, "SPOOR_"+v+"="+value)
		}
	}
	cmd.Env = append(os.Environ(), cmd.Env...)
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	background.Store(ts.MkAbs(name), &process{cmd, ended})
	ts.Defer(func() { cmd.Process.Kill() })
	text := awaitFile(ts, name+".err", servingLine, startMax)
	m := servingLine.FindStringSubmatch(text)
	ts.Setenv(name+"_COLLECTOR", m[1])
	ts.Setenv(name+"_READS", m[2])
}

// scriptQuit ends a server by SIGTERM: quit NAME. It must end well and in time.
func scriptQuit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: quit NAME")
	}
	s := backgroundOf(ts, args[0])
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.ended:
		if err != nil {
			ts.Fatalf("the server ended with %v\n%s", err, ts.ReadFile(args[0]+".err"))
		}
	case <-time.After(drainMax):
		ts.Fatalf("the server did not end within %v of SIGTERM", drainMax)
	}
}

// scriptWatch runs a command in the background, its output in NAME.out: watch
// NAME COMMAND. It is a group of its own, so that what a shell started ends
// with it.
func scriptWatch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: watch NAME COMMAND")
	}
	out, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	defer out.Close()
	cmd := exec.Command("env", args[1:]...) // env looks in the PATH that it is given
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), out, out
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	background.Store(ts.MkAbs(args[0]), &process{cmd, ended})
	ts.Defer(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
}

// scriptGone waits until a watched command has ended well by itself: gone NAME.
func scriptGone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gone NAME")
	}
	select {
	case err := <-backgroundOf(ts, args[0]).ended:
		ts.Check(err)
	case <-time.After(drainMax):
		ts.Fatalf("%s still runs", args[0])
	}
}

// background holds the processes that scripts started, by work directory and
// name. Scripts run in parallel.
var background sync.Map

type process struct {
	cmd   *exec.Cmd
	ended chan error
}

func backgroundOf(ts *testscript.TestScript, name string) *process {
	p, ok := background.Load(ts.MkAbs(name))
	if !ok {
		ts.Fatalf("%s was not started", name)
	}
	return p.(*process)
}

// scriptAwait waits until a file matches: await FILE REGEXP.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	awaitFile(ts, args[0], regexp.MustCompile(`(?m)`+args[1]), startMax)
}

func awaitFile(ts *testscript.TestScript, name string, want *regexp.Regexp, limit time.Duration) string {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for {
		text, err := os.ReadFile(ts.MkAbs(name))
		if err == nil && want.Match(text) {
			return string(text)
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("waited %v for %s to match %s; it holds:\n%s", limit, name, want, text)
		}
	}
}

// scriptCurlLines writes the commands that a server printed to line1.sh,
// line2.sh …, as they stand: curllines FILE.
func scriptCurlLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: curllines FILE")
	}
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") {
			n++
			ts.Check(os.WriteFile(ts.MkAbs(fmt.Sprintf("line%d.sh", n)), []byte(line+"\n"), 0o600))
		}
	}
	if n != 3 {
		ts.Fatalf("%s prints %d curl lines, want 3", args[0], n)
	}
}

// scriptOccupy listens on a port until the script ends; OCCUPIED names it.
func scriptOccupy(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv("OCCUPIED", l.Addr().String())
}

// scriptPlaces serves GeoIP databases until the script ends, at PLACES, and at
// SECURE by https with the certificate places.pem. It has last month's, not this
// month's, things that are no database, and some that lead elsewhere.
func scriptPlaces(ts *testscript.TestScript, neg bool, args []string) {
	packed := packedPlaces(ts.ReadFile(filepath.Join(ts.Getenv("ROOT"), "enrich", "demo.mmdb")))
	last := lastMonth().Format("/city-2006-01.mmdb.gz")
	var clear string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case last, "/city.mmdb.gz":
			w.Write(packed)
		case "/elsewhere":
			http.Redirect(w, r, "/city.mmdb.gz", http.StatusFound)
		case "/insecure":
			http.Redirect(w, r, clear+"/city.mmdb.gz", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/cut.mmdb.gz":
			w.Write(packed[:len(packed)/2])
		case "/page.html":
			w.Write([]byte("<html>Please log in to this network.</html>"))
		case "/empty":
		default:
			http.NotFound(w, r)
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	clear = plain.URL
	ts.Defer(plain.Close)
	ts.Defer(secure.Close)
	ts.Check(os.WriteFile(ts.MkAbs("places.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	ts.Setenv("PLACES", plain.URL)
	ts.Setenv("SECURE", secure.URL)
}

// scriptPair makes a certificate of a host that ends after some time, and its
// key, as DIR/cert.pem and DIR/key.pem: pair DIR HOST TIME.
func scriptPair(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pair DIR HOST TIME")
	}
	left, err := time.ParseDuration(args[2])
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o755))
	_, _, err = makePair(ts.MkAbs(args[0]), args[1], time.Now().Add(left))
	ts.Check(err)
}

// packedPlaces is the embedded database, gzipped, with another name and another
// city of the same lengths, so that the two can be told apart.
func packedPlaces(demo string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, strings.NewReplacer("Warsaw", "Gdansk", "GeoIP2-City", "DBIP-City-L").Replace(demo))
	w.Close()
	return b.Bytes()
}

func lastMonth() time.Time {
	now := time.Now().UTC()
	return time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC)
}

// scriptOneLine checks that the last command's error is one line that begins
// with the program's name: oneline [PREFIX].
func scriptOneLine(ts *testscript.TestScript, neg bool, args []string) {
	prefix := "spoor: "
	if len(args) == 1 {
		prefix = args[0]
	}
	text := ts.ReadFile("stderr")
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, prefix) {
		ts.Fatalf("want one line that begins with %q, got:\n%s", prefix, text)
	}
}
