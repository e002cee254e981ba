package spoor_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/spoorhq/spoor"

// mayImport says which of our packages each package may import beside the
// root, which all may. A package that is not listed fails: adding one is a
// decision. "*": wiring.
var mayImport = map[string][]string{
	".":              {},
	"ingest":         {"ingest/widget"},
	"ingest/certs":   {},
	"ingest/kafka":   {},
	"enrich":         {},
	"store":          {},
	"query":          {},
	"retention":      {},
	"bench":          {"*"},
	"cmd/spoor":      {"*"},
	"cmd/spoor/dist": {},

	"ingest/widget":       {},
	"ingest/widget/build": {},

	"query/dashboard/build": {},
}

// homes says where each heavy dependency lives. Tests may import what they
// need to look behind a stage.
var homes = []struct {
	dependency string // itself and all below it
	packages   []string
}{
	{"github.com/valyala/fasthttp", []string{"ingest", "query", "bench", "cmd/spoor"}},
	{"github.com/cockroachdb/pebble", []string{"store"}},
	{"github.com/oschwald/maxminddb-golang", []string{"enrich"}},
	{"github.com/oschwald/geoip2-golang", []string{"enrich"}},
	{"github.com/mssola/useragent", []string{"enrich"}},
	{"github.com/evanw/esbuild", []string{"ingest/widget/build", "query/dashboard/build"}},
	{"golang.org/x/crypto/acme", []string{"ingest/certs"}},
	{"github.com/segmentio/kafka-go", []string{"ingest/kafka"}},
	{"github.com/twmb/franz-go", []string{"bench"}},
	{"github.com/google/go-containerregistry", []string{"cmd/spoor/dist"}},
}

// Alarms, not rules: what is longer is only printed.
const (
	functionLinesMax = 70
	fileLinesMax     = 500
)

// Goal: the arrows between packages, the homes of heavy dependencies, and a
// comment on every package.
// Method: all files are parsed in this process, because go test caches results
// by the files that it has seen the test open: asking go list in a child
// would say ok for a forbidden import that was just added.
func TestLayout(t *testing.T) {
	files := token.NewFileSet()
	commented := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "data" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		lookAtSize(t, files, path, file)
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		commented[pkg] = commented[pkg] || file.Doc != nil
		checkImports(t, path, pkg, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(commented) < 5 {
		t.Fatalf("only %d packages were found: %v", len(commented), commented)
	}
	for pkg, ok := range commented {
		if !ok {
			t.Errorf("%s has no package comment; say in doc.go what its job is", pkg)
		}
	}
}

func checkImports(t *testing.T, path, pkg string, file *ast.File) {
	allowed, known := mayImport[pkg]
	if !known {
		t.Errorf("%s: %s is not in mayImport", path, pkg)
	}
	for _, spec := range file.Imports {
		to := strings.Trim(spec.Path.Value, `"`)
		if inner, ours := strings.CutPrefix(to, module+"/"); ours && !slices.Contains(allowed, inner) && !slices.Contains(allowed, "*") {
			t.Errorf("%s: %s must not import %s", path, pkg, inner)
		}
		for _, h := range homes {
			if (to == h.dependency || strings.HasPrefix(to, h.dependency+"/")) && !slices.Contains(h.packages, pkg) {
				t.Errorf("%s: %s must not import %s, whose home is %v", path, pkg, to, h.packages)
			}
		}
		if pkg == "." && strings.Contains(to, ".") {
			t.Errorf("%s: the root package imports %s; it may import the standard library alone", path, to)
		}
	}
}

func lookAtSize(t *testing.T, files *token.FileSet, path string, file *ast.File) {
	if lines := files.File(file.FileStart).LineCount(); lines > fileLinesMax {
		t.Logf("%s has %d lines", path, lines)
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if lines := files.Position(f.End()).Line - files.Position(f.Pos()).Line + 1; lines > functionLinesMax {
				t.Logf("%s: %s has %d lines", path, f.Name.Name, lines)
			}
		}
	}
}
