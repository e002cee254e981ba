package main

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// dist is what the server embeds.
func dist(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	root := os.DirFS(filepath.Join("..", "dist"))
	names, err := fs.Glob(root, "*")
	if err != nil || len(names) == 0 {
		t.Fatalf("dist has no files: %v", err)
	}
	for _, name := range names {
		if files[name], err = fs.ReadFile(root, name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Goal: the files that are served are those of the sources.
// Method: they are built anew, with the packages that package-lock.json pins,
// and compared; no other file lies among them.
func TestDashboardIsBuilt(t *testing.T) {
	if _, err := os.Stat(filepath.Join("..", "node_modules")); err != nil {
		const hint = "the packages are not installed: run make test, or npm ci --ignore-scripts in query/dashboard"
		if os.Getenv("SPOOR_REQUIRE_CLIENTS") != "" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	built, err := build("..")
	if err != nil {
		t.Fatal(err)
	}
	served := dist(t)
	for name, text := range built {
		if !bytes.Equal(text, served[name]) {
			t.Errorf("dist/%s is not what its source gives; run: cd query/dashboard && go run ./build", name)
		}
		delete(served, name)
	}
	for name := range served {
		t.Errorf("dist/%s has no source; remove it", name)
	}
}

// Goal: the first load stays small.
// Method: all files together, the map too, as gzip sends them at its default.
func TestFirstLoadIsSmall(t *testing.T) {
	const bytesMax = 150_000
	var all bytes.Buffer
	for name, text := range dist(t) {
		before := all.Len()
		w := gzip.NewWriter(&all)
		w.Write(text)
		w.Close()
		t.Logf("%s: %d bytes, gzipped %d", name, len(text), all.Len()-before)
	}
	if all.Len() > bytesMax {
		t.Errorf("the first load has %d bytes gzipped; at most %d", all.Len(), bytesMax)
	}
}

// Goal: the page asks for nothing beside it, and needs nothing inline.
// Method: every address in the page is relative; no style attribute, no script
// with a body, no handler. What scripts ask for is watched in a browser, by
// testdata/browser/dashboard.cjs.
func TestPageIsStrict(t *testing.T) {
	page := dist(t)["index.html"]
	addresses := regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllSubmatch(page, -1)
	if len(addresses) < 3 {
		t.Fatalf("the page has %d addresses", len(addresses))
	}
	for _, m := range addresses {
		if !regexp.MustCompile(`^[a-z]+\.[a-z]+$`).Match(m[1]) {
			t.Errorf("%s does not lie beside the page", m[1])
		}
	}
	if inline := regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\s(style|on[a-z]+)=`).Find(page); inline != nil {
		t.Errorf("the page has something inline: %s", inline)
	}
}

// Goal: a source that cannot be built is an error.
func TestBuildFails(t *testing.T) {
	if _, err := build(t.TempDir()); err == nil {
		t.Error("a folder without sources was built")
	}
}
