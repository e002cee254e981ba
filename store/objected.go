package store

import (
	"errors"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// objectedKnown reports whether an app has the set of who objected: a store that
// was written before there was one does not.
func objectedKnown(db pebble.Reader, app spoor.AppID) (known bool, err error) {
	prefix := setKey(nil, app, setObjected, 0)
	err = scan(db, prefix[:len(prefix)-2], func(_, _ []byte) error { known = true; return errSome })
	if errors.Is(err, errSome) {
		err = nil
	}
	return known, err
}

// readObjected reads who objected; without the set from the profiles, if the
// ledger knows of any objection.
func readObjected(db pebble.Reader, app spoor.AppID) (*roaring.Bitmap, error) {
	known, err := objectedKnown(db, app)
	if err != nil {
		return nil, err
	}
	if known {
		return readMembers(db, app, setObjected)
	}
	in, some := roaring.New(), false
	err = scan(db, key1(nil, prefixErased, app), func(_, value []byte) error {
		b, err := readBarrier(value)
		if err == nil && b.objected != 0 {
			some, err = true, errSome
		}
		return err
	})
	if err != nil && !errors.Is(err, errSome) || !some {
		return in, err
	}
	return in, scan(db, key1(nil, prefixProfile, app), func(key, value []byte) error {
		s, err := readState(value)
		if err == nil && s.rights().Objected != 0 {
			in.Add(be32(key[5:]))
		}
		return err
	})
}

// noteObjected makes the set of who objected for apps that have none.
func (s *Store) noteObjected() error {
	for _, app := range s.AllApps() {
		known, err := objectedKnown(s.db, app.ID)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		in, err := readObjected(s.db, app.ID)
		if err != nil {
			return fmt.Errorf("cannot find out who objected in app %q: %w", app.Name, err)
		}
		g := &group{w: new(writer), batch: s.db.NewBatch(), written: new(written)}
		g.merge(setKey(nil, app.ID, setObjected, 0), new(setChange).appendTo(nil)) // it is there from now on
		g.putChunks(setChange32{add: in}, func(chunk uint16) []byte { return setKey(nil, app.ID, setObjected, chunk) })
		if err := errors.Join(g.err, g.batch.Commit(pebble.Sync)); err != nil {
			return fmt.Errorf("cannot note who objected in app %q: %w", app.Name, err)
		}
	}
	return nil
}
