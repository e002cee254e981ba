package main

import (
	"bytes"
	"testing"

	"github.com/spoorhq/spoor/ingest/widget"
)

// Goal: the scripts that are served are those of the sources, and stay small.
// Method: they are built anew and compared; sizes are those of the gzip that
// goes over the wire.
func TestScriptsAreBuilt(t *testing.T) {
	built, err := build("..")
	if err != nil {
		t.Fatal(err)
	}
	core, more := widget.Core(), widget.More()
	f := func(name string, served []byte) {
		t.Helper()
		if !bytes.Equal(built[name], served) {
			t.Errorf("%s is not what its source gives; run go generate ./ingest/widget", name)
		}
	}
	f("widget.js", core.Plain)
	f("widget-more.js", more.Plain)
	const coreBytesMax, bothBytesMax = 2_500, 6_000
	n, both := len(core.Gzip), len(core.Gzip)+len(more.Gzip)
	if n > coreBytesMax || both > bothBytesMax {
		t.Errorf("the core has %d bytes gzipped, both have %d; at most %d and %d", n, both, coreBytesMax, bothBytesMax)
	}
}

// Goal: a source that is no JavaScript is an error that names its line.
func TestBuildFails(t *testing.T) {
	if _, err := build(t.TempDir()); err == nil {
		t.Error("a folder without sources was built")
	}
}
