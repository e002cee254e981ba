package store

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// sizeDays is how long the sizes of segments are kept.
const sizeDays = 400

const sizeCount protowire.Number = 1

// SizeSegments notes how many people are in each segment of an app today, if
// that is not noted yet, and drops what was noted too long ago. A day on which
// it is not called stays without.
func (s *Store) SizeSegments(ctx context.Context, app spoor.AppID) error {
	day := s.today(app)
	list, err := s.Collections(app, spoor.CollectionSegment)
	if err != nil {
		return err
	}
	for i := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		var done bool
		err := s.view(func(db *pebble.DB) (err error) {
			done, err = has(db, sizeKey(nil, app, list[i].ID, day))
			return err
		})
		if err != nil {
			return err
		}
		if done {
			continue
		}
		size, err := s.Members(app, &list[i], 0, nil)
		if err != nil {
			return err
		}
		err = s.bulk(func(g *group) error { return g.noteSize(app, list[i].ID, spoor.Size{Day: day, Count: size}) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *group) noteSize(app spoor.AppID, segment uint32, size spoor.Size) error {
	_, c, err := g.collectionsOf(app)
	if errors.Is(err, errAppClosed) || err == nil && c.byID[collectionRef{spoor.CollectionSegment, segment}] == nil {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	g.set(sizeKey(nil, app, segment, size.Day), putInt(appendHeader(nil), sizeCount, size.Count))
	var old [][]byte
	err = scanSpan(g.w.db, sizesKey(nil, app, segment), sizeKey(nil, app, segment, size.Day-sizeDays+1), func(key, _ []byte) error {
		old = append(old, slices.Clone(key))
		return nil
	})
	for _, key := range old {
		g.remove(key)
	}
	return err
}

// Sizes lists what was noted of a segment on the days from to to, both included.
func (s *Store) Sizes(app spoor.AppID, segment uint32, from, to spoor.Day) (list []spoor.Size, err error) {
	err = s.view(func(db *pebble.DB) error {
		return scanSpan(db, sizeKey(nil, app, segment, from), after(sizeKey(nil, app, segment, to)), func(key, value []byte) error {
			size := spoor.Size{Day: readDay(key[len(key)-4:])}
			err := fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
				if tag == sizeCount {
					size.Count = zigzag(num)
				}
				return nil
			})
			list = append(list, size)
			return err
		})
	})
	return list, err
}
