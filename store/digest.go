package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	sum256 "hash"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// digestKinds are what two stores that apply the same commands have in common,
// with the name of each in a digest. Left out are what each store does for
// itself: audit logs, journals of bytes that are not gone yet, what webhooks were
// told, counts that wait, and how far topics are stored.
var digestKinds = []struct {
	prefix byte
	name   string
}{
	{prefixApp, "settings"}, {prefixActivity, "activity"}, {prefixCount, "rollups"}, {prefixDefine, "attributes"}, {prefixEvent, "event_ids"},
	{prefixErased, "erased"}, {prefixHit, "hits"}, {prefixIdent, "identifiers"}, {prefixCatalogue, "catalogue"}, {prefixSet, "sets"},
	{prefixMember, "members"}, {prefixNumber, "merged"}, {prefixProfile, "profiles"}, {prefixReceipt, "receipts"}, {prefixTable, "tables"},
	{prefixFeed, "feed"}, {prefixWriter, "accounts"},
}

// Marked is what a store holds at a place, to be digested later.
type Marked struct {
	s    *Store
	db   *pebble.Snapshot
	apps []spoor.AppID
}

// Mark keeps what the store holds of some apps now. It returns soon; Digest or
// Release must be called once.
func (s *Store) Mark(apps []spoor.AppID) (*Marked, error) {
	if err := s.change(func(g *group) error { g.final = true; return nil }); err != nil {
		return nil, err
	}
	s.mu.RLock()
	if s.db == nil {
		s.mu.RUnlock()
		return nil, spoor.ErrClosed
	}
	return &Marked{s, s.db.NewSnapshot(), apps}, nil
}

// Release gives it up without a digest.
func (m *Marked) Release() error {
	defer m.s.mu.RUnlock()
	return m.db.Close()
}

// Digest reads all that was marked, which takes as long as a check of the store.
// It fails with spoor.ErrClosed where the store is being closed.
func (m *Marked) Digest(ctx context.Context) (list []spoor.AppDigest, err error) {
	defer m.s.mu.RUnlock()
	defer func() {
		if fail := m.db.Close(); err == nil {
			err = fail
		}
	}()
	for _, app := range m.apps {
		d, err := m.digest(ctx, app)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

func (m *Marked) digest(ctx context.Context, app spoor.AppID) (d spoor.AppDigest, err error) {
	d.App = app
	c, err := newCanon(m.db, app)
	if err != nil {
		return d, err
	}
	for _, kind := range digestKinds {
		sum := summer{h: sha256.New()}
		err := scan(m.db, key1(nil, kind.prefix, app), func(key, value []byte) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-m.s.stop:
				return spoor.ErrClosed
			default:
				return c.record(key, value, sum.add)
			}
		})
		if err != nil {
			return d, fmt.Errorf("cannot digest the %s of app %d: %w", kind.name, app, err)
		}
		d.Kinds = append(d.Kinds, spoor.KindDigest{Kind: kind.name, Records: sum.records, Sum: hex.EncodeToString(sum.h.Sum(nil))})
	}
	return d, nil
}

// summer hashes records, each with its lengths.
type summer struct {
	h       sum256.Hash
	records int64
	buf     []byte
}

func (s *summer) add(key, value []byte) {
	s.records++
	s.buf = binary.AppendUvarint(s.buf[:0], uint64(len(key)))
	s.buf = binary.AppendUvarint(s.buf, uint64(len(value)))
	s.h.Write(s.buf)
	s.h.Write(key)
	s.h.Write(value)
}

// canon gives records in one form of the several that say the same.
type canon struct {
	hidden *roaring.Bitmap // removed, and their hits are still there
	floor  uint64          // entries of the feed up to here may be gone
}

func newCanon(db pebble.Reader, app spoor.AppID) (c canon, err error) {
	if c.hidden, err = readHidden(db, app); err != nil {
		return c, err
	}
	r, err := readRetained(db, app)
	c.floor = r.floor
	return c, err
}

// record calls f with what a record of an app says, with nothing where it says
// nothing, and with each entry of a record of a feed. Numbers of groups are left
// out: they say how requests happened to meet, and nothing is derived from them.
func (c *canon) record(key, value []byte, f func(key, value []byte)) error {
	switch {
	case key[0] == prefixHit && c.hidden.Contains(be32(key[9:])):
		return nil
	case key[0] == prefixActivity || key[0] == prefixSet || key[0] == prefixMember:
		x, err := readSet(value)
		if err == nil && x.add != nil && !x.add.IsEmpty() {
			f(key, appendNumbers(nil, x.add))
		}
		return err
	case key[0] == prefixCount:
		x, err := readCounts(value)
		if err != nil {
			return err
		}
		who := x.who.add
		if x.who = (setChange{}); who == nil {
			who = nobody
		}
		f(key, appendNumbers(x.appendTo(nil), who))
		return nil
	case key[0] == prefixReceipt: // when bytes were gone is the matter of each store
		var r storedReceipt
		if err := readJSON(value, &r); err != nil {
			return err
		}
		r.Gone, r.Backups = 0, 0
		value, err := appendJSON(nil, &r)
		if err == nil {
			f(key, value)
		}
		return err
	case key[0] == prefixFeed: // how entries fall into records differs
		entry := bytes.Clone(key[:5])
		return readFeed(be64(key[5:]), value, func(n uint64, tag protowire.Number, _ int64, b []byte) error {
			if n > c.floor {
				f(binary.BigEndian.AppendUint64(entry[:5], n), append(binary.AppendUvarint(nil, uint64(tag)), b...))
			}
			return nil
		})
	case key[0] == prefixWriter && key[5] == writerDay:
		x, err := readAccount(value)
		x.counted = 0
		f(key, x.appendTo(nil))
		return err
	case key[0] == prefixWriter && key[5] == writerApp:
		var x counter
		err := fields(value, func(tag protowire.Number, num uint64, _ []byte) error { x.field(tag, num); return nil })
		f(key, x.appendTo(nil))
		return err
	}
	f(key, value)
	return nil
}

// appendNumbers writes out a set: several encodings of a bitmap are equal.
func appendNumbers(dst []byte, set *roaring.Bitmap) []byte {
	for it := set.Iterator(); it.HasNext(); {
		dst = binary.BigEndian.AppendUint32(dst, it.Next())
	}
	return dst
}
