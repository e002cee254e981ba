package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// Delivery reads how far the feed of an app was delivered.
func (s *Store) Delivery(app spoor.AppID) (d spoor.Delivery, err error) {
	err = s.view(func(db *pebble.DB) error {
		return get(db, deliveryKey(nil, app), func(value []byte) error {
			if err := readJSON(value, &d); err != nil {
				return fmt.Errorf("cannot read how far the feed was delivered: %w", err)
			}
			return nil
		})
	})
	return d, err
}

// beginDelivery makes the delivery of a feed begin with what comes from now on,
// unless it began before: then it goes on from there.
func (g *group) beginDelivery(app spoor.AppID) error {
	known, err := has(g.w.db, deliveryKey(nil, app))
	if err != nil || known {
		return err
	}
	a, err := g.w.app(app)
	if err != nil || a == nil {
		return err
	}
	return g.putDelivery(app, &spoor.Delivery{Cursor: a.entries})
}

func (g *group) putDelivery(app spoor.AppID, d *spoor.Delivery) error {
	value, err := appendJSON(nil, d)
	if err != nil {
		return fmt.Errorf("cannot write how far the feed was delivered: %w", err)
	}
	g.set(deliveryKey(nil, app), value)
	return nil
}

// PutDelivery notes how far the feed of an app was delivered and, if dead is not
// nil, what was given up on the way; both or none. Where the dead letters are
// more than spoor.DeadLettersMax the oldest go, and d.Dropped counts them. It
// returns once that is on disk.
func (s *Store) PutDelivery(app spoor.AppID, d *spoor.Delivery, dead *spoor.DeadLetter) error {
	next := *d
	err := s.bulk(func(g *group) error {
		if s.App(app) == nil {
			return nil // it went with the app
		}
		if dead != nil {
			gone, err := g.makeRoom(app)
			if err != nil {
				return err
			}
			next.Dropped += gone
			if err := g.putDeadLetter(app, dead); err != nil {
				return err
			}
		}
		return g.putDelivery(app, &next)
	})
	if err == nil {
		*d = next
	}
	return err
}

// makeRoom removes the oldest dead letters until there is room for one.
func (g *group) makeRoom(app spoor.AppID) (gone int64, err error) {
	var keys [][]byte
	err = scan(g.w.db, deadLettersKey(nil, app), func(key, _ []byte) error {
		keys = append(keys, append([]byte(nil), key...))
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot count dead letters: %w", err)
	}
	for _, key := range keys[:max(0, len(keys)+1-spoor.DeadLettersMax)] {
		g.remove(key)
		gone++
	}
	return gone, nil
}

func (g *group) putDeadLetter(app spoor.AppID, l *spoor.DeadLetter) error {
	value, err := appendJSON(nil, l)
	if err != nil {
		return fmt.Errorf("cannot write a dead letter: %w", err)
	}
	g.set(deadLetterKey(nil, app, l.From), value)
	return nil
}

// DeadLetters calls fn with the dead letters of an app, oldest first. An error of
// fn ends it and is returned.
func (s *Store) DeadLetters(app spoor.AppID, fn func(*spoor.DeadLetter) error) error {
	return s.view(func(db *pebble.DB) error {
		return scan(db, deadLettersKey(nil, app), func(_, value []byte) error {
			var l spoor.DeadLetter
			if err := readJSON(value, &l); err != nil {
				return fmt.Errorf("cannot read a dead letter: %w", err)
			}
			return fn(&l)
		})
	})
}

// ReplaceDeadLetter removes the dead letter that begins with an entry and puts
// what is left of it in its place. It returns once that is on disk.
func (s *Store) ReplaceDeadLetter(app spoor.AppID, from uint64, left []spoor.DeadLetter) error {
	return s.bulk(func(g *group) error {
		if s.App(app) == nil {
			return nil // it went with the app
		}
		g.remove(deadLetterKey(nil, app, from))
		for i := range left {
			if err := g.putDeadLetter(app, &left[i]); err != nil {
				return err
			}
		}
		return nil
	})
}
