// Package widget holds the scripts that sites include: widget.js, the core,
// and widget-more.js, which the core loads on pages that use what is in it.
//
// src holds the sources, in plain commented JavaScript; go generate makes the
// scripts of them. The comment on top of src/core.js says how the script works
// and what it never does.
package widget

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"sync"

	"github.com/klauspost/compress/gzip"
)

//go:generate go run ./build

var (
	//go:embed widget.js
	core []byte
	//go:embed widget-more.js
	more []byte
)

// Script is one file as it is served. Its bytes must not be changed.
type Script struct {
	Plain, Gzip []byte
	ETag        string // of the plain bytes; weak, because it stands for both
}

// Core and More give the two scripts.
var (
	Core = sync.OnceValue(func() Script { return newScript(core) })
	More = sync.OnceValue(func() Script { return newScript(more) })
)

func newScript(plain []byte) Script {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one that exists
	z.Write(plain)                                        // a buffer takes everything
	z.Close()
	sum := sha256.Sum256(plain)
	return Script{Plain: plain, Gzip: b.Bytes(), ETag: `W/"` + hex.EncodeToString(sum[:8]) + `"`}
}
