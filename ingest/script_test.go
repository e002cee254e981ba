package ingest

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/spoorhq/spoor/ingest/widget"
)

// Goal: browsers get the scripts from any page, in the encoding they ask for,
// and only once.
func TestScripts(t *testing.T) {
	b := start(t)
	f := func(path string, script widget.Script) {
		t.Helper()
		plain := b.send(t, "GET", path+"?1", "", "Origin", "https://shop.example")
		if plain.status != 200 || plain.body != string(script.Plain) {
			t.Fatalf("%s: %d, %d bytes", path, plain.status, len(plain.body))
		}
		for name, want := range map[string]string{
			"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "public, max-age=3600", "Etag": script.ETag,
			"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin", "Vary": "Accept-Encoding",
			"X-Content-Type-Options": "nosniff", "Content-Encoding": "",
		} {
			if have := plain.head.Get(name); have != want {
				t.Errorf("%s: %s is %q, want %q", path, name, have, want)
			}
		}
		packed := b.send(t, "GET", path, "", "Accept-Encoding", "gzip")
		z, err := gzip.NewReader(bytes.NewReader([]byte(packed.body)))
		if err != nil || packed.head.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: %v, %v", path, err, packed.head)
		}
		if text, err := io.ReadAll(z); err != nil || string(text) != string(script.Plain) {
			t.Errorf("%s: %v, %d bytes after gzip", path, err, len(text))
		}
		again := b.send(t, "GET", path, "", "If-None-Match", script.ETag)
		if again.status != 304 || again.body != "" {
			t.Errorf("%s: who has it got %d and %d bytes", path, again.status, len(again.body))
		}
		if other := b.send(t, "GET", path, "", "If-None-Match", `W/"0"`); other.status != 200 {
			t.Errorf("%s: who has an older one got %d", path, other.status)
		}
		if head := b.send(t, "HEAD", path, ""); head.status != 200 || head.body != "" || head.head.Get("Etag") != script.ETag {
			t.Errorf("%s: HEAD got %d, %v", path, head.status, head.head)
		}
		if post := b.send(t, "POST", path, "x"); post.status != 405 {
			t.Errorf("%s: POST got %d", path, post.status)
		}
	}
	f("/widget.js", widget.Core())
	f("/widget-more.js", widget.More())
}
