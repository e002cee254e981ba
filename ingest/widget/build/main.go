// Command build makes widget.js and widget-more.js of the sources beside them.
// It runs in the folder of package widget, by go generate or by
//
//	cd ingest/widget && go run ./build
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	scripts, err := build(".")
	for name, text := range scripts {
		err = errors.Join(err, os.WriteFile(name, text, 0o644))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// parts are the scripts in the order in which they are built.
var parts = []struct {
	source, name string
	format       api.Format
}{
	{"core.js", "widget.js", api.FormatIIFE},
	{"more.js", "widget-more.js", api.FormatESModule},
}

// build gives the scripts by name. Names that both share are shortened alike:
// what the first part calls them is passed on to the second.
func build(dir string) (map[string][]byte, error) {
	scripts := map[string][]byte{}
	shared := map[string]any{} // none is not the same as empty: nothing would be given back
	for _, p := range parts {
		r := api.Build(api.BuildOptions{
			EntryPoints: []string{filepath.Join(dir, "src", p.source)},
			Format:      p.format,
			Target:      api.ES2021,
			Bundle:      true,
			Charset:     api.CharsetUTF8,
			MangleProps: "_$",
			MangleCache: shared,

			MinifyWhitespace:  true,
			MinifyIdentifiers: true,
			MinifySyntax:      true,
		})
		if len(r.Errors) > 0 {
			e := r.Errors[0]
			at := ""
			if e.Location != nil {
				at = fmt.Sprintf("%s:%d: ", e.Location.File, e.Location.Line)
			}
			return nil, fmt.Errorf("cannot build %s: %s%s", p.name, at, e.Text)
		}
		shared = r.MangleCache
		scripts[p.name] = r.OutputFiles[0].Contents
	}
	return scripts, nil
}
