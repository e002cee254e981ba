// Command build makes the files of ../dist, which the server embeds, of the
// sources in ../src. It wants Node and the packages of package.json, and runs by
//
//	cd query/dashboard && npm ci --ignore-scripts && go run ./build
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	files, err := build(".")
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join("dist", name), text, 0o644))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// build gives the files of dist by name.
func build(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range []string{"index.html", "icon.svg"} { // as they are
		text, err := os.ReadFile(filepath.Join(dir, "src", name))
		if err != nil {
			return nil, fmt.Errorf("cannot build the dashboard: %w", err)
		}
		files[name] = text
	}
	for source, name := range map[string]string{"main.jsx": "app.js", "style.css": "style.css"} {
		text, err := bundle(filepath.Join(dir, "src", source))
		if err != nil {
			return nil, fmt.Errorf("cannot build %s: %w", name, err)
		}
		files[name] = text
	}
	world := exec.Command("node", filepath.Join("build", "world.mjs"))
	world.Dir, world.Stderr = dir, os.Stderr
	text, err := world.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot build world.json: %w", err)
	}
	files["world.json"] = text
	var licences bytes.Buffer
	for _, name := range []string{"preact", "uplot", "world-atlas"} { // of whom something is in these files
		text, err := os.ReadFile(filepath.Join(dir, "node_modules", name, "LICENSE"))
		if err != nil {
			return nil, fmt.Errorf("cannot build licences.txt: %w", err)
		}
		fmt.Fprintf(&licences, "%s\n\n%s\n\n", name, bytes.TrimSpace(text))
	}
	files["licences.txt"] = licences.Bytes()
	return files, nil
}

func bundle(entry string) ([]byte, error) {
	r := api.Build(api.BuildOptions{
		EntryPoints:     []string{entry},
		Format:          api.FormatIIFE,
		Target:          api.ES2022,
		Bundle:          true,
		Charset:         api.CharsetUTF8,
		JSX:             api.JSXAutomatic,
		JSXImportSource: "preact",
		LegalComments:   api.LegalCommentsNone,

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
		return nil, errors.New(at + e.Text)
	}
	return r.OutputFiles[0].Contents, nil
}
