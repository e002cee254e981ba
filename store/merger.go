package store

import (
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// merger folds the operands of profiles, bitmaps and roll-ups. Its name is
// stored; Pebble refuses to open a store with another.
//
// It never fails: an error would stop compactions for good. An operand that
// cannot be read is kept verbatim inside the result, and Check reports it. It
// never deletes: a merger that does so can crash Pebble 2.1.7 (pebble#6168).
var merger = &pebble.Merger{
	Name: "spoor.1",
	Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		m := new(operands)
		m.newer = m.mem[:0:1]
		m.older = m.mem[1:1]
		if len(key) > 0 {
			m.prefix = key[0]
		}
		return m, m.MergeNewer(value)
	},
}

// operands collects the values under one key. They are decoded at the end, and
// not at all if there is only one, which is what most profiles have.
type operands struct {
	prefix       byte
	newer, older [][]byte // newer: oldest first; older: newest first
	mem          [2][]byte
}

func (m *operands) MergeNewer(value []byte) error {
	m.newer = append(m.newer, append([]byte(nil), value...))
	return nil
}

func (m *operands) MergeOlder(value []byte) error {
	m.older = append(m.older, append([]byte(nil), value...))
	return nil
}

func (m *operands) Finish(bool) ([]byte, io.Closer, error) {
	if len(m.older) == 0 && len(m.newer) == 1 {
		return m.newer[0], nil, nil
	}
	all := make([][]byte, 0, len(m.older)+len(m.newer))
	for i := len(m.older) - 1; i >= 0; i-- {
		all = append(all, m.older[i])
	}
	all = append(all, m.newer...)
	switch m.prefix {
	case prefixProfile:
		return foldValues(all, readState, (*state).fold, func(raw []byte) *state { return &state{unknown: [][]byte{raw}} }), nil, nil
	case prefixActivity, prefixSet, prefixMember:
		return foldValues(all, readSet, (*setChange).fold, func(raw []byte) *setChange { return &setChange{unknown: [][]byte{raw}} }), nil, nil
	case prefixCount:
		return foldValues(all, readCounts, (*counts).fold, func(raw []byte) *counts { return &counts{unknown: [][]byte{raw}} }), nil, nil
	}
	return all[len(all)-1], nil, nil // nothing else is merged
}

type encoder interface{ appendTo(dst []byte) []byte }

func foldValues[T encoder](values [][]byte, read func([]byte) (T, error), fold func(T, T), keep func([]byte) T) []byte {
	var sum T
	size := 0
	for i, v := range values {
		size += len(v)
		x, err := read(v)
		if err != nil {
			x = keep(v)
		}
		if i == 0 {
			sum = x
		} else {
			fold(sum, x)
		}
	}
	return sum.appendTo(make([]byte, 0, size))
}
