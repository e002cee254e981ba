package store

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/spoorhq/spoor"
)

// salt is the secret of one app. It never changes: keys depend on it.
type salt [32]byte

// hash is a keyed hash, domain separated by what. SHA-256 of salt and text,
// cut to 16 bytes, is a sound pseudo-random function here: the salt has a
// fixed length, and a cut digest cannot be extended.
func (s *salt) hash(what byte, text string) (h hash) {
	var buf [256]byte
	b := append(append(buf[:0], s[:]...), what)
	b = append(b, text...)
	sum := sha256.Sum256(b)
	copy(h[:], sum[:])
	return h
}

// Domains of hash, beside the kinds of identifiers (spoor.Lookup, below 64).
const (
	hashEventID  = 64 + iota // an id that the client gave
	hashDigest               // a content hash in place of an id
	hashSequence             // a number in place of both
	hashEdit                 // the tie of an edit
	hashPermute              // keys of the permutation
	hashPoisoned             // a record that cannot be read, keyed by its partition's salt
)

// ident is the keyed hash of an identifier in its compared form.
func (s *salt) ident(kind spoor.Lookup, text string) hash {
	return s.hash(byte(kind), compared(kind, text))
}

// compared is the form in which two spellings of one identifier are equal.
func compared(kind spoor.Lookup, text string) string {
	switch kind {
	case spoor.LookupEmail:
		return strings.ToLower(strings.TrimSpace(text))
	case spoor.LookupPhone:
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, text)
	}
	return text
}

// event is the keyed hash under which a hit is known, and whether a second hit
// with the same hash is a duplicate.
func (s *salt) event(h *spoor.Hit, sequence uint64) (id hash, unique bool) {
	switch {
	case h.ID != "":
		return s.hash(hashEventID, h.ID), true
	case h.Digest != [16]byte{}:
		return s.hash(hashDigest, string(h.Digest[:])), true
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], sequence)
	return s.hash(hashSequence, string(b[:])), false
}

// permutation turns internal numbers into public ids and back, so that ids
// tell nothing about how many there are and need no index. It is a four-round
// Feistel network over 52 bits; the ids are in [2^52, 2^53), which a JavaScript
// number holds exactly. Ids that were imported are below.
type permutation [4]uint64

const (
	publicBase = 1 << 52
	halfBits   = 26
	halfMask   = 1<<halfBits - 1
)

func (s *salt) permutation(what string) (p permutation) {
	for i := range p {
		h := s.hash(hashPermute, what+string(rune('0'+i)))
		p[i] = binary.BigEndian.Uint64(h[:])
	}
	return p
}

func round(key, half uint64) uint64 {
	x := (half ^ key) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x = (x + key) * 0xbf58476d1ce4e5b9
	return (x ^ x>>32) & halfMask
}

func (p *permutation) public(n uint64) int64 {
	l, r := n>>halfBits&halfMask, n&halfMask
	for _, key := range p {
		l, r = r, l^round(key, r)
	}
	return int64(publicBase | l<<halfBits | r)
}

func (p *permutation) private(id int64) uint64 {
	l, r := uint64(id)>>halfBits&halfMask, uint64(id)&halfMask
	for i := len(p) - 1; i >= 0; i-- {
		l, r = r^round(p[i], l), l
	}
	return l<<halfBits | r
}
