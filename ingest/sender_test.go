package ingest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// Goal: what is remembered of a sender is what its headers say, and no two
// senders that differ in a single header are taken for each other.
func TestSendersTellApart(t *testing.T) {
	var s senders
	var scratch []byte
	requests := make([]*fasthttp.RequestHeader, 0, 16)
	add := func(pairs ...string) {
		h := new(fasthttp.RequestHeader)
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		requests = append(requests, h)
	}
	brands := `"Chromium";v="124"`
	add()
	add("User-Agent", "a")
	add("User-Agent", "a\xff")
	add("User-Agent", "a", "Sec-CH-UA-Model", `"x"`) // not read without the brands
	add("User-Agent", "a", "Sec-CH-UA", brands)
	add("User-Agent", "b", "Sec-CH-UA", brands)
	add("User-Agent", "a", "Sec-CH-UA", brands, "Sec-CH-UA-Mobile", "?1")
	add("User-Agent", "a", "Sec-CH-UA", brands, "Sec-CH-UA-Mobile", "?0")
	add("User-Agent", "a", "Sec-CH-UA", brands, "Sec-CH-UA-Platform", `"x"`)
	add("User-Agent", "a", "Sec-CH-UA", brands, "Sec-CH-UA-Platform-Version", `"x"`)
	add("User-Agent", "a", "Sec-CH-UA", brands, "Sec-CH-UA-Model", `"x"`)
	add("User-Agent", "a", "Sec-CH-UA", brands, "Sec-CH-UA-Full-Version-List", `"x";v="1"`)
	add("User-Agent", strings.Repeat("a", 2*senderBytesMax), "Sec-CH-UA", brands)
	for round := range 3 {
		for i, h := range requests {
			var got sender
			got, scratch = s.of(h, scratch)
			if want := readSender(h); !reflect.DeepEqual(got, want) {
				t.Errorf("round %d, request %d: %+v, want %+v", round, i, got, want)
			}
		}
	}
}

func TestSendersAreBounded(t *testing.T) {
	var s senders
	var h fasthttp.RequestHeader
	for i := range 3 * sendersMax {
		h.SetUserAgent(fmt.Sprint("agent ", i))
		s.of(&h, nil)
	}
	if n := len(s.young) + len(s.old); n > sendersMax || n < sendersMax/2 {
		t.Errorf("%d are remembered, want at most %d", n, sendersMax)
	}
	h.SetUserAgent(strings.Repeat("a", senderBytesMax+1))
	s.of(&h, nil)
	if _, ok := s.young[string(h.UserAgent())]; ok {
		t.Error("a large sender is remembered")
	}
}
