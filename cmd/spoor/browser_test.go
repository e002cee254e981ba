package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	browserFolder = "../../testdata/browser"
	browserMax    = 8 * time.Minute // it takes two or three; machines may be busy
)

// needBrowser fails where the browser must be there, as in make test.
func needBrowser(t *testing.T) {
	t.Helper()
	_, noNode := exec.LookPath("node")
	_, noBrowser := exec.LookPath("chromium")
	_, noModules := os.Stat(filepath.Join(browserFolder, "node_modules", "axe-core")) // the newest of them
	if noNode == nil && noBrowser == nil && noModules == nil {
		return
	}
	const hint = "the browser is not installed: run make test, or install chromium and npm ci --ignore-scripts in testdata/browser"
	if os.Getenv("SPOOR_REQUIRE_CLIENTS") != "" {
		t.Fatal(hint)
	}
	t.Skip(hint)
}

// Goal: what visitors of a site do in a real browser is found again over REST,
// once and under the right person, and the device holds what the app's mode
// allows and nothing else.
// Method: testdata/browser/run.cjs drives Chromium on pages of its own against
// the running program; each of its cases is one line of its output.
func TestBrowser(t *testing.T) {
	runDemo(t, "run.cjs", "cases.cjs")
}

// Goal: the dashboard shows what is stored, as it comes, to people with a
// mouse, a keyboard alone, a phone or a dark screen, and asks nobody else.
// Method: testdata/browser/dashboard.cjs drives Chromium against the running
// program; axe-core looks at every page in both themes.
func TestDashboard(t *testing.T) {
	runDemo(t, "dashboard.cjs", "dashboard.cjs")
}

// Goal: the dashboard of a node shows an app of another one in a browser, as it
// comes.
// Method: some cases of dashboard.cjs, whose apps are made at one node, with the
// dashboard of the other.
func TestDashboardOfAnyNodeInBrowser(t *testing.T) {
	needBrowser(t)
	t.Setenv("SPOOR_ADMIN_TOKEN", "controlplanesecret")
	k := startKafka(t)
	one, two, c, _, _ := k.apart()
	t.Setenv("SPOOR_DASHBOARD", two.reads)
	cases := []string{"a wrong token, the right one, and out", "a hit arrives live", "figures move while one looks"}
	if passed := runBrowser(t, append([]string{"dashboard.cjs", c.collector, one.reads}, cases...)...); passed != len(cases) && !t.Failed() {
		t.Errorf("%d cases passed of %d", passed, len(cases))
	}
}

// runDemo runs a script against a demo. Each case whose name stands in the file
// cases must pass.
func runDemo(t *testing.T, script, cases string) {
	t.Helper()
	needBrowser(t)
	t.Setenv("SPOOR_ADMIN_TOKEN", "controlplanesecret")
	s := demo(t, "--app")
	passed := runBrowser(t, script, s.collector, s.reads)
	if n := browserCases(t, cases); passed != n && !t.Failed() {
		t.Errorf("%d cases passed of %d", passed, n)
	}
}

// runBrowser runs a script, and counts its cases that pass.
func runBrowser(t *testing.T, script ...string) (passed int) {
	t.Helper()
	cmd := exec.Command("node", script...)
	cmd.Dir = browserFolder
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(browserMax, func() { cmd.Process.Kill() })
	defer limit.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "ok ") {
			passed++
			t.Log(line)
		} else {
			t.Error(line)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the browser suite: %v", err)
	}
	return passed
}

// browserCases counts the cases by their names at the margin of the file.
func browserCases(t *testing.T, file string) (n int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(browserFolder, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "  async '") {
			n++
		}
	}
	return n
}

// Goal: the demo page, and what it shows of visitors, is there in a demo only.
func TestDemoPageOnlyInDemo(t *testing.T) {
	s := demo(t)
	page := s.send("GET", s.collector+"/demo", "")
	if page.status != 200 || !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") || strings.Contains(page.body, "<script>") {
		t.Errorf("the demo page: %d, %v", page.status, page.header)
	}
	s.read("/readyz") // whatever was stored before is no business of the list
	first := parse[object](t, s.send("GET", s.collector+"/demo/hits?after=0", "").body)
	s.hit(`{"key":"8Uh7Fp9wMj5l","url":"https://shop.example/shoes"}`)
	var body string
	s.await(5*time.Second, "the hit in the list", func() bool {
		body = s.send("GET", s.collector+"/demo/hits?after=0", "").body
		return strings.Contains(body, "https://shop.example/shoes")
	})
	if strings.Contains(body, "8Uh7Fp9wMj5l") || len(first["hits"].([]any)) != 0 {
		t.Errorf("the list: %v, then %s", first, body)
	}
	plain := serve(t, folder(t))
	for _, path := range []string{"/demo", "/demo/demo.js", "/demo/hits"} {
		if r := plain.send("GET", plain.collector+path, ""); r.status != 404 {
			t.Errorf("%s without --demo: %d", path, r.status)
		}
	}
}
