package query

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/valyala/fasthttp"
)

// The built dashboard. Its sources stand beside dist.
//
//go:embed dashboard/dist
var distFiles embed.FS

// indexName is the page; all others are what it loads.
const indexName = "index.html"

// asset is one file as it is served. Its bytes must not be changed.
type asset struct {
	plain, gzip []byte // gzip is nil where it would not be smaller
	etag        string // of the plain bytes; weak, because it stands for both
	contentType string
}

// assets are the files of the dashboard by name. They are compressed once.
var assets = sync.OnceValue(func() map[string]*asset {
	list, err := readAssets(distFiles, "dashboard/dist")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return list
})

// contentTypes are given by name, not by what the machine thinks of it.
var contentTypes = map[string]string{
	".html":  "text/html; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".json":  "application/json",
	".svg":   "image/svg+xml",
	".png":   "image/png",
	".ico":   "image/x-icon",
	".woff2": "font/woff2",
	".txt":   "text/plain; charset=utf-8",
}

func readAssets(files fs.FS, dir string) (map[string]*asset, error) {
	list := map[string]*asset{}
	err := fs.WalkDir(files, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		plain, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		a := &asset{plain: plain, contentType: contentTypes[path.Ext(name)]}
		if a.contentType == "" {
			return fmt.Errorf("no content type is known for %s", name)
		}
		var small bytes.Buffer
		z, _ := gzip.NewWriterLevel(&small, gzip.BestCompression) // the level is one that exists
		z.Write(plain)                                            // a buffer takes everything
		z.Close()
		if small.Len() < len(plain) {
			a.gzip = small.Bytes()
		}
		sum := sha256.Sum256(plain)
		a.etag = `W/"` + hex.EncodeToString(sum[:8]) + `"`
		list[name[len(dir)+1:]] = a
		return nil
	})
	if err == nil && list[indexName] == nil {
		err = fmt.Errorf("%s/%s is not embedded", dir, indexName)
	}
	return list, err
}

// serveAsset answers a file, or 304 to who has it. Its name does not change
// with what it holds, so browsers ask each time.
func (c *call) serveAsset(a *asset) error {
	h := &c.ctx.Response.Header
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", a.etag)
	if bytes.Contains(c.ctx.Request.Header.Peek("If-None-Match"), []byte(a.etag)) {
		c.ctx.SetStatusCode(fasthttp.StatusNotModified)
		return nil
	}
	h.SetContentType(a.contentType)
	if a.gzip != nil && c.ctx.Request.Header.HasAcceptEncoding("gzip") {
		h.Set("Content-Encoding", "gzip")
		c.ctx.Response.SetBodyRaw(a.gzip)
		return nil
	}
	c.ctx.Response.SetBodyRaw(a.plain)
	return nil
}
