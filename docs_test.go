package spoor_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	codeBlock = regexp.MustCompile("(?ms)^```.*?^```$|^    .*?$")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	mdLink    = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]*)\)`)
)

// Goal: every link of every document leads to a file of the repository, and
// to a heading of it, and every document is reached from the README.
func TestDocLinks(t *testing.T) {
	reached := map[string]bool{"README.md": true}
	documents := allDocuments(t)
	for _, path := range documents {
		for _, m := range mdLink.FindAllStringSubmatch(codeSpan.ReplaceAllString(prose(t, path), ""), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			file, anchor, anchored := strings.Cut(m[1], "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			if !filepath.IsLocal(to) {
				t.Errorf("%s: %s leads out of the repository", path, m[1])
				continue
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s leads to no file", path, m[1])
				continue
			}
			if anchored && !anchors(t, to)[anchor] {
				t.Errorf("%s: %s leads to no heading", path, m[1])
			}
			if path == "README.md" {
				reached[to] = true
			}
		}
	}
	for _, path := range documents {
		if !reached[path] {
			t.Errorf("no link of the README leads to %s", path)
		}
	}
}

func allDocuments(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "data" || name == "bin"):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".md"):
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 5 {
		t.Fatalf("only %d documents were found: %v", len(paths), paths)
	}
	return paths
}

// prose is a document without its blocks of code, which hold neither links nor
// headings.
func prose(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return codeBlock.ReplaceAllString(string(text), "")
}

// anchors are the names under which GitHub shows the headings of a document:
// lower case, spaces as hyphens, other punctuation left out.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(prose(t, path), -1) {
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])] = true
	}
	return names
}
