package ingest

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/spoorhq/spoor"
)

var gzipMagic = []byte{0x1f, 0x8b}

// gzipReaders are reused: a reader holds some 40 KiB of tables.
var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// inflate undoes gzip of one or several members, up to the limit. Bytes behind
// the last member that begin no other one are ignored, as gzip itself does:
// all data before them was whole, by its checksum.
func (s *Server) inflate(rq *request, packed []byte) ([]byte, spoor.Reason) {
	z := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(z)
	// The pool's next user resets the reader before use; until then it must not
	// hold on to this body.
	defer func() { _ = z.Reset(bytes.NewReader(nil)) }()

	if c := cap(rq.plain.b); c > firstBytes {
		rq.plain.booked = c
		s.counters.inFlight.Add(int64(c))
	}
	in := bytes.NewReader(packed)
	for in.Len() > 0 {
		rest := packed[len(packed)-in.Len():]
		if !bytes.HasPrefix(rest, gzipMagic) {
			break
		}
		if err := z.Reset(in); err != nil {
			return nil, reasonGzip
		}
		z.Multistream(false)
		tooLarge, reason, err := s.fill(&rq.plain, io.Reader(z), s.opts.InflatedBytesMax)
		switch {
		case err != nil:
			return nil, reasonGzip
		case tooLarge:
			return nil, reasonInflatedBytes
		case reason != "":
			return nil, reason
		}
	}
	return rq.plain.b, ""
}
