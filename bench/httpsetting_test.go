package main

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkHTTPSettings varies settings of fasthttp around a handler that does
// nothing: bytes/idle is what a connection takes that sent one request and then
// nothing, at both ends, in heap and stacks; cpu-µs/request that of both ends, over 64 busy ones.
//
//	go test ./bench -run '^$' -bench HTTPSettings -benchtime 1x
func BenchmarkHTTPSettings(b *testing.B) {
	for _, v := range []struct {
		name    string
		buffer  int
		reduced bool
	}{{"read-4KiB", 4 << 10, false}, {"read-8KiB", 8 << 10, false}, {"read-16KiB", 16 << 10, false}, {"read-16KiB-reduced", 16 << 10, true}} {
		b.Run(v.name, func(b *testing.B) {
			server := &fasthttp.Server{ReadBufferSize: v.buffer, ReduceMemoryUsage: v.reduced, StreamRequestBody: true}
			server.Handler = func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) }
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- server.Serve(ln) }()
			for b.Loop() {
				before := heldBytes()
				idle := httpClients(b, ln.Addr().String(), 2000)
				b.ReportMetric(float64(heldBytes()-before)/float64(len(idle)), "bytes/idle")
				busy, requests := idle[:64], 1000
				cpu := ownCPU()
				var wait sync.WaitGroup
				for _, c := range busy {
					wait.Go(func() {
						for range requests {
							if err := c.ask(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wait.Wait()
				b.ReportMetric(float64((ownCPU()-cpu).Nanoseconds())/1000/float64(len(busy)*requests), "cpu-µs/request")
				for _, c := range idle {
					c.conn.Close()
				}
			}
			b.ReportMetric(0, "ns/op")
			if err := server.Shutdown(); err != nil {
				b.Fatal(err)
			}
			if err := <-served; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// heldBytes are what heap and stacks hold.
func heldBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools let go in two
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

type httpClient struct{ conn net.Conn }

func httpClients(b *testing.B, address string, n int) (all []httpClient) {
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		c := httpClient{conn}
		if err := c.ask(); err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

var smallRequest = []byte("POST /hit HTTP/1.1\r\nHost: " + collectHost + "\r\nContent-Length: 2\r\n\r\n{}")

func (c httpClient) ask() error {
	if _, err := c.conn.Write(smallRequest); err != nil {
		return err
	}
	var reply [512]byte
	n, err := c.conn.Read(reply[:])
	if err == nil && (n < 12 || string(reply[9:12]) != "204") {
		err = fmt.Errorf("the server answered %q", reply[:n])
	}
	return err
}
