package kafka

import (
	"errors"
	"fmt"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// recordVersion is the first byte of every record of hits. It changes when an
// older reader would misread what follows; a field that is added does not
// change it, and is skipped by readers that do not know it.
const recordVersion = 1

// Tags of a record behind its version. Never reuse one.
const (
	recordApp  protowire.Number = 1
	recordHit  protowire.Number = 2 // nested; see hit.go
	recordHead                  = 1 + 1 + 5
)

// What one record may hold, on both sides: bytes from outside must not make
// more memory than their length warrants.
const (
	recordHitsMax   = 1000
	attributesMax   = 16 << 10 // of one hit
	brandsMax       = 64       // of one hit
	hitHeadBytesMax = 1 + 5    // tag and length in the record
)

var (
	errShort   = errors.New("it ends early")
	errVersion = errors.New("its version is not known; a newer spoor wrote it")
	errWire    = errors.New("a field has another wire type than it must have")
)

func appendRecord(dst []byte, app spoor.AppID) []byte {
	dst = append(dst, recordVersion)
	return putUint(dst, recordApp, uint64(app))
}

// readRecord appends the hits of a record. On an error hits is as it was. The
// strings of the hits share one copy of the record; value is not kept.
func readRecord(value []byte, hits []spoor.Hit) ([]spoor.Hit, error) {
	before := len(hits)
	if len(value) == 0 {
		return hits, errShort
	}
	if value[0] != recordVersion {
		return hits, errVersion
	}
	text := string(value)
	app := uint64(0)
	err := fields(1, value[1:], func(tag protowire.Number, num uint64, at int, b []byte) error {
		switch tag {
		case recordApp:
			if b != nil || num > 1<<32-1 {
				return errWire
			}
			app = num
		case recordHit:
			if b == nil {
				return errWire
			}
			if len(hits)-before == recordHitsMax {
				return fmt.Errorf("it holds more than %d hits", recordHitsMax)
			}
			hits = append(hits, spoor.Hit{})
			return readHit(text, at, b, &hits[len(hits)-1])
		}
		return nil
	})
	if err == nil && len(hits) == before {
		err = errors.New("it holds no hit")
	}
	if err != nil {
		clear(hits[before:])
		return hits[:before], err
	}
	for i := before; i < len(hits); i++ {
		hits[i].App = spoor.AppID(app)
	}
	return hits, nil
}

// fields calls f with each field of a message that stands at an offset of its
// record: with num for numbers, where b is nil, else with b and its offset.
func fields(base int, b []byte, f func(tag protowire.Number, num uint64, at int, b []byte) error) error {
	for len(b) > 0 {
		tag, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errShort
		}
		base, b = base+n, b[n:]
		var err error
		switch wire {
		case protowire.VarintType:
			var num uint64
			if num, n = protowire.ConsumeVarint(b); n >= 0 {
				err = f(tag, num, 0, nil)
			}
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				err = f(tag, 0, base+n-len(v), v)
			}
		default: // not written so far
			n = protowire.ConsumeFieldValue(tag, wire, b)
		}
		if n < 0 {
			return errShort
		}
		if err != nil {
			return err
		}
		base, b = base+n, b[n:]
	}
	return nil
}

// What is zero is not written.

func putUint(dst []byte, tag protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, tag, protowire.VarintType), v)
}

func putInt(dst []byte, tag protowire.Number, v int64) []byte {
	return putUint(dst, tag, protowire.EncodeZigZag(v))
}

func putString(dst []byte, tag protowire.Number, v string) []byte {
	if v == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, tag, protowire.BytesType), v)
}

func putBytes(dst []byte, tag protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, tag, protowire.BytesType), v)
}

// open begins a nested message; close ends it, and makes room for a length of
// more than one byte, which is cheaper than a second buffer.
func open(dst []byte, tag protowire.Number) (_ []byte, from int) {
	dst = append(protowire.AppendTag(dst, tag, protowire.BytesType), 0)
	return dst, len(dst)
}

func closed(dst []byte, from int) []byte {
	n := len(dst) - from
	more := protowire.SizeVarint(uint64(n)) - 1
	for range more {
		dst = append(dst, 0)
	}
	copy(dst[from+more:], dst[from:from+n])
	protowire.AppendVarint(dst[:from-1], uint64(n))
	return dst
}
