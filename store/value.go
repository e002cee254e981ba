package store

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Every value begins with two bytes: the version of its format, and the id of
// the key it is encrypted with (0: plain; others are reserved). Tagged fields
// in the wire format of Protocol Buffers follow; unknown ones are skipped.
const (
	valueVersion = 1
	valuePlain   = 0
	headerBytes  = 2
)

var errValue = errors.New("value is damaged or of a newer format")

func appendHeader(dst []byte) []byte { return append(dst, valueVersion, valuePlain) }

// fields walks the tagged fields of a value. f gets varints in num, bytes
// (aliasing the value) in b; it is not called for other wire types.
func fields(value []byte, f func(tag protowire.Number, num uint64, b []byte) error) error {
	if len(value) < headerBytes || value[0] != valueVersion || value[1] != valuePlain {
		return errValue
	}
	return rawFields(value[headerBytes:], f)
}

// rawFields is fields for a nested message, which has no header.
func rawFields(b []byte, f func(tag protowire.Number, num uint64, b []byte) error) error {
	for len(b) > 0 {
		tag, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errValue
		}
		b = b[n:]
		var num uint64
		var raw []byte
		switch typ {
		case protowire.VarintType:
			num, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			num, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			if n = protowire.ConsumeFieldValue(tag, typ, b); n < 0 {
				return errValue
			}
			b = b[n:]
			continue
		}
		if n < 0 {
			return errValue
		}
		b = b[n:]
		if err := f(tag, num, raw); err != nil {
			return err
		}
	}
	return nil
}

// The put functions leave a field out that has its zero value.

func putUint(dst []byte, tag protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, tag, protowire.VarintType), v)
}

func putInt(dst []byte, tag protowire.Number, v int64) []byte {
	return putUint(dst, tag, protowire.EncodeZigZag(v))
}

func putFixed(dst []byte, tag protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendFixed64(protowire.AppendTag(dst, tag, protowire.Fixed64Type), v)
}

func putString(dst []byte, tag protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, tag, protowire.BytesType), s)
}

func putBytes(dst []byte, tag protowire.Number, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, tag, protowire.BytesType), b)
}

func putBool(dst []byte, tag protowire.Number, v bool) []byte {
	return putUint(dst, tag, protowire.EncodeBool(v))
}

// putUnknown keeps operands that could not be read, empty ones too.
func putUnknown(dst []byte, tag protowire.Number, operands [][]byte) []byte {
	for _, b := range operands {
		dst = protowire.AppendBytes(protowire.AppendTag(dst, tag, protowire.BytesType), b)
	}
	return dst
}

func zigzag(v uint64) int64 { return protowire.DecodeZigZag(v) }
