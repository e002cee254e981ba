package ingest

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const nativeEvent = `{"id":"01JM3Q9V7Y5T2N8K4W6X0Z1A2B","key":"j3WiRFnxpPqP","type":"event","name":"Added to cart",` +
	`"url":"https://shop.example/shoes/42?utm_source=nl&utm_campaign=spring","referrer":"https://www.google.com/",` +
	`"title":"Red shoes | Shop","time":"2026-03-04T11:59:58.123Z","sent_at":"2026-03-04T11:59:59.001Z","resolution":"1440x900",` +
	`"language":"pl-PL","timezone":"Europe/Warsaw","consent":{"analytics":true,"marketing":false},` +
	`"properties":{"price":129.9,"currency":"PLN","sku":"RS-42","tags":["red","sale"]},"hints":{"mobile":false,"platform":"Windows","platform_version":"15.0.0"}}`

const segmentTrack = `{"timestamp":"2026-03-04T11:59:52.131Z","integrations":{},"event":"Order Completed","type":"track","properties":{"revenue":129.9,"currency":"PLN","products":[{"sku":"RS-42","quantity":1}]},` +
	`"context":{"page":{"path":"/shoes","referrer":"https://www.google.com/","search":"?utm_source=nl","title":"Shoes","url":"https://shop.example/shoes?utm_source=nl"},"locale":"pl-PL","timezone":"Europe/Warsaw",` +
	`"library":{"name":"analytics.js","version":"next-1.84.3"}},"anonymousId":"6b9f1e5c-8f4b-4c56-8d4c-0d8d1f7f9a01","messageId":"ajs-next-1795300912131-12788143-d682-4115-9d19-8cabc158f0cd","_metadata":{"nodeVersion":"v20.20.2"}}`

type yesSink struct{}

func (yesSink) Write(hits []spoor.Hit) error {
	for i := range hits {
		hits[i].Outcome = spoor.Stored
	}
	return nil
}

func benchmark(b *testing.B, path, body string) {
	s, err := New(Options{Sink: yesSink{}, Apps: testApps()})
	if err != nil {
		b.Fatal(err)
	}
	var req fasthttp.Request
	req.SetRequestURI(path)
	req.Header.SetMethod("POST")
	req.Header.Set("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36")
	var ctx fasthttp.RequestCtx
	ctx.Init(&req, nil, nil)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		ctx.Request.SetBodyStream(bytes.NewReader([]byte(body)), len(body))
		ctx.Response.Reset()
		s.route(&ctx, netip.Addr{})
		if ctx.Response.StatusCode() != 200 {
			b.Fatal(string(ctx.Response.Body()))
		}
	}
}

func BenchmarkNative(b *testing.B) { benchmark(b, "/hit?k=k1", nativeEvent) }

func BenchmarkSegmentBatch100(b *testing.B) {
	benchmark(b, "/v1/batch?writeKey=k1", `{"batch":[`+strings.Repeat(segmentTrack+",", 99)+segmentTrack+`],"sentAt":"2026-03-04T11:59:59.001Z"}`)
}

func BenchmarkDecodeNative(b *testing.B) {
	rq := &request{app: testApps()[0]}
	b.SetBytes(int64(len(nativeEvent)))
	b.ReportAllocs()
	for b.Loop() {
		var h spoor.Hit
		if f := decodeNative(rq, nativeEvent, &h); f.reason != "" {
			b.Fatal(f)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	raw := jsontext.Value(nativeEvent)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if !raw.IsValid() || hasNUL(raw) {
			b.Fatal("not valid")
		}
	}
}

// A bomb costs what the limit allows, whatever it would have become.
func BenchmarkGzipBomb(b *testing.B) {
	s, err := New(Options{Sink: yesSink{}, Apps: testApps()})
	if err != nil {
		b.Fatal(err)
	}
	bomb := []byte(gzipped(strings.Repeat("\x00", 64<<20)))
	b.ReportAllocs()
	for b.Loop() {
		rq := new(request)
		if _, reason := s.inflate(rq, bomb); reason != reasonInflatedBytes {
			b.Fatal(reason)
		}
		s.release(&rq.plain)
	}
}
