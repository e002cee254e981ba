package ingest

import (
	"bytes"

	"github.com/spoorhq/spoor/ingest/widget"
	"github.com/valyala/fasthttp"
)

// The headers of scripts. Pages of any origin may load them, also by import,
// which asks for CORS even where no credentials go.
var (
	scriptType    = fixed("Content-Type", "text/javascript; charset=utf-8")
	scriptCache   = fixed("Cache-Control", "public, max-age=3600")
	scriptOrigin  = fixed("Access-Control-Allow-Origin", "*")
	scriptPolicy  = fixed("Cross-Origin-Resource-Policy", "cross-origin")
	scriptVary    = fixed("Vary", "Accept-Encoding")
	scriptGzip    = fixed("Content-Encoding", "gzip")
	headerNoMatch = []byte("If-None-Match")
)

func (s *Server) serveCore(rq *request) { serveScript(rq.ctx, widget.Core()) }
func (s *Server) serveMore(rq *request) { serveScript(rq.ctx, widget.More()) }

// serveScript answers a file of the widget, or 304 to who has it.
func serveScript(ctx *fasthttp.RequestCtx, script widget.Script) {
	h := &ctx.Response.Header
	for _, line := range []*header{&scriptCache, &scriptOrigin, &scriptPolicy, &scriptVary, &noSniff} {
		line.set(h)
	}
	h.Set("ETag", script.ETag)
	if bytes.Contains(ctx.Request.Header.PeekCanonical(headerNoMatch), []byte(script.ETag)) {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	scriptType.set(h)
	if ctx.Request.Header.HasAcceptEncoding("gzip") {
		scriptGzip.set(h)
		ctx.SetBody(script.Gzip)
		return
	}
	ctx.SetBody(script.Plain)
}
