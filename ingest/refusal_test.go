package ingest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// Every line is complete, no reason (and so no counter) stands twice, and
// every reason that is named in a constant, here or in package spoor, has one.
func TestRefusalTable(t *testing.T) {
	seen := map[spoor.Reason]bool{}
	for _, r := range refusals {
		if r.reason == "" || r.status < 400 || r.status > 599 || len(r.text) < 20 {
			t.Errorf("incomplete: %+v", r)
		}
		if seen[r.reason] {
			t.Errorf("%s stands twice", r.reason)
		}
		seen[r.reason] = true
		if strings.ContainsAny(r.text, "\"\\\n") || strings.Trim(string(r.reason), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%s: reason and text go into JSON as they are", r.reason)
		}
		if retried := r.status == 429 || r.status == 503 || r.status == 408; retried != (r.retry > 0) {
			t.Errorf("%s: status %d, Retry-After %d", r.reason, r.status, r.retry)
		}
	}
	for _, dir := range []string{".", ".."} {
		for _, reason := range reasonConstants(t, dir) {
			if !seen[reason] {
				t.Errorf("%s has no line in the table", reason)
			}
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d reasons", len(seen))
	}
}

// reasonConstants are the constants of type Reason in the sources of a folder.
func reasonConstants(t *testing.T, dir string) (found []spoor.Reason) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal("no sources", err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !isReason(spec.Type) {
				return true
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
				text, _ := strconv.Unquote(lit.Value)
				found = append(found, spoor.Reason(text))
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatalf("no reasons found in %s", dir)
	}
	return found
}

func isReason(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name == "Reason"
	case *ast.SelectorExpr:
		return x.Sel.Name == "Reason"
	}
	return false
}

func TestUnknownReason(t *testing.T) {
	if refusals[lookup("from_a_newer_stage")].reason != reasonOther {
		t.Error("an unknown reason has no line to fall back to")
	}
}
