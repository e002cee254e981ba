package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// notify leaves a notice for the app's webhook, if it has one.
func (g *group) notify(a *appState, n spoor.Notice) error {
	if a.app.Settings.Webhook == "" {
		return nil
	}
	a.ticks++
	n.ID = a.ticks
	return g.putNotice(a.app.ID, &n)
}

func (g *group) putNotice(app spoor.AppID, n *spoor.Notice) error {
	value, err := appendJSON(nil, n)
	if err != nil {
		return fmt.Errorf("cannot write a notice: %w", err)
	}
	g.set(noticeKey(nil, app, n.ID), value)
	return nil
}

// Notices calls fn with the notices of an app that wait, oldest first. An error
// of fn ends it and is returned.
func (s *Store) Notices(app spoor.AppID, fn func(*spoor.Notice) error) error {
	return s.view(func(db *pebble.DB) error {
		return scan(db, key1(nil, prefixNotice, app), func(_, value []byte) error {
			var n spoor.Notice
			if err := readJSON(value, &n); err != nil {
				return fmt.Errorf("cannot read a notice: %w", err)
			}
			return fn(&n)
		})
	})
}

// PutNotice notes that a notice failed and when it is tried again; done removes it.
func (s *Store) PutNotice(app spoor.AppID, n *spoor.Notice, done bool) error {
	return s.bulk(func(g *group) error {
		if s.App(app) == nil {
			return nil // it went with the app
		}
		if done {
			g.remove(noticeKey(nil, app, n.ID))
			return nil
		}
		return g.putNotice(app, n)
	})
}
