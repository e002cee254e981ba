package store

import (
	"errors"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// Members counts who is in a tag, a list or a segment, and calls fn, if that is
// not nil, with the profiles behind a number, in the order of their numbers. A
// segment is evaluated by its filter, whether it is stored or not; a count or a
// page may be some seconds old. An error of fn ends the walk and is returned
// beside the count.
func (s *Store) Members(app spoor.AppID, c *spoor.Collection, behind spoor.Number, fn func(*spoor.Profile) error) (size int64, err error) {
	err = s.view(func(live *pebble.DB) (err error) {
		var members *roaring.Bitmap
		if c.Kind == spoor.CollectionSegment {
			if members, err = s.selected(live, app, c.Filter); err != nil {
				return err
			}
		}
		db := live.NewSnapshot()
		defer func() { err = errors.Join(err, db.Close()) }()
		if members == nil {
			if members, err = readChunks(db, membersKey(nil, app, collectionRef{c.Kind, c.ID})); err != nil {
				return err
			}
		}
		size = int64(members.GetCardinality())
		if fn == nil {
			return nil
		}
		secret, err := readSalt(db, app)
		if err != nil {
			return err
		}
		people, names := secret.permutation("profile"), newCatalogueReader(db, app)
		it := members.Iterator()
		for it.AdvanceIfNeeded(uint32(behind) + 1); it.HasNext(); {
			n := spoor.Number(it.Next())
			st, err := readProfile(db, app, n)
			if err != nil {
				return err
			}
			if st.created == 0 { // gone since the segment was evaluated
				continue
			}
			p := st.profile(app, n, &people)
			if c.Kind == spoor.CollectionSegment && p.Rights.Uncounted(s.today(app)) {
				continue
			}
			if p.Collections, err = st.collections(names.find); err != nil {
				return err
			}
			if err := fn(p); err != nil {
				return err
			}
		}
		return nil
	})
	return size, err
}

// today is the app's day now; 0 where there is no app.
func (s *Store) today(app spoor.AppID) spoor.Day {
	a := s.App(app)
	if a == nil {
		return 0
	}
	return a.Day(s.opts.Now().UnixMilli())
}
