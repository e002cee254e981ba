package ingest

import "github.com/valyala/fasthttp"

// The names of headers as fasthttp keeps them. Looking up and setting by any
// other spelling costs a copy and a normalisation each time; put together
// that was a tenth of all work on a hit.
var (
	headerAuthorization = []byte("Authorization")
	headerKey           = []byte("X-Write-Key")
	headerOrigin        = []byte("Origin")
	headerUserKey       = []byte("X-User-Key")
	headerUserKeyOld    = []byte("User-Key")
	headerIdempotency   = []byte("Idempotency-Key")

	headerBrands          = []byte("Sec-Ch-Ua")
	headerFullBrands      = []byte("Sec-Ch-Ua-Full-Version-List")
	headerMobile          = []byte("Sec-Ch-Ua-Mobile")
	headerPlatform        = []byte("Sec-Ch-Ua-Platform")
	headerPlatformVersion = []byte("Sec-Ch-Ua-Platform-Version")
	headerModel           = []byte("Sec-Ch-Ua-Model")
)

// hintHeaders are those that headerHints reads.
var hintHeaders = [][]byte{headerBrands, headerFullBrands, headerMobile, headerPlatform, headerPlatformVersion, headerModel}

// header is a line of a reply that is always the same.
type header struct{ name, value []byte }

func fixed(name, value string) header { return header{[]byte(name), []byte(value)} }

func (f *header) set(h *fasthttp.ResponseHeader) { h.SetCanonical(f.name, f.value) }

var noSniff = fixed("X-Content-Type-Options", "nosniff")
