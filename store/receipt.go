package store

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// receiptRef names a receipt. Those of apps that are gone stand under app 0,
// with the app's number.
type receiptRef struct {
	app spoor.AppID
	id  uint64
}

// storedReceipt is a receipt with what is needed to finish it.
type storedReceipt struct {
	spoor.Receipt
	BackupDays int `json:"backup_days"`
}

// receipt changes a receipt; one that is not there is made.
func (g *group) receipt(ref receiptRef, change func(*storedReceipt)) error {
	r := g.w.receipts[ref]
	if r == nil {
		r = &storedReceipt{Receipt: spoor.Receipt{ID: ref.id}}
		err := get(g.w.db, receiptKey(nil, ref.app, ref.id), func(value []byte) error { return readJSON(value, r) })
		if err != nil {
			return fmt.Errorf("cannot read a receipt: %w", err)
		}
		g.w.receipts[ref] = r
	}
	change(r)
	value, err := appendJSON(nil, r)
	if err != nil {
		return fmt.Errorf("cannot write a receipt: %w", err)
	}
	g.set(receiptKey(nil, ref.app, ref.id), value)
	if r.Gone != 0 {
		delete(g.w.receipts, ref)
	}
	return nil
}

// removed adds a removal to the receipt of its run. A run without one gets one,
// but for one that was interrupted and began at the same instant: it goes on with
// its own.
func (g *group) removed(a *appState, id uint64, what string, at int64, sum spoor.Removal) (uint64, error) {
	if id == 0 && what != spoor.ReceiptErasure {
		err := scan(g.w.db, key1(nil, prefixReceipt, a.app.ID), func(_, value []byte) error {
			var r storedReceipt
			err := readJSON(value, &r)
			if r.What == what && r.Decided == at {
				id = r.ID
			}
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("cannot read the receipts of app %d: %w", a.app.ID, err)
		}
	}
	if id == 0 {
		a.ticks++
		id = a.ticks
	}
	return id, g.receipt(receiptRef{a.app.ID, id}, func(r *storedReceipt) {
		r.App, r.What, r.BackupDays = a.app.Name, what, a.app.Settings.BackupDays
		if r.Decided = max(r.Decided, at); r.Asked == 0 && what == spoor.ReceiptErasure {
			r.Asked = at
		}
		r.Profiles += sum.Profiles
		r.Hits += sum.Hits
		r.Bytes += sum.Bytes
	})
}

// Receipts calls fn with the receipts of an app in their order; with app 0,
// with those of apps that are gone. An error of fn ends it and is returned.
func (s *Store) Receipts(app spoor.AppID, fn func(*spoor.Receipt) error) error {
	return s.view(func(db *pebble.DB) error {
		return scan(db, key1(nil, prefixReceipt, app), func(_, value []byte) error {
			var r storedReceipt
			if err := readJSON(value, &r); err != nil {
				return fmt.Errorf("cannot read a receipt: %w", err)
			}
			return fn(&r.Receipt)
		})
	})
}

// Receipt reads one receipt; nil if there is none.
func (s *Store) Receipt(app spoor.AppID, id uint64) (r *spoor.Receipt, err error) {
	err = s.Receipts(app, func(one *spoor.Receipt) error {
		if one.ID == id {
			r = one
		}
		return nil
	})
	return r, err
}

// unfinished lists the receipts of removals whose bytes are not gone as far as
// is recorded, and none of whose journals is left.
func unfinished(db *pebble.DB) (list []receiptRef, err error) {
	waits := map[receiptRef]bool{}
	entries, err := readJournals(db, 0)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		waits[receiptRef{e.of, e.receipt}] = true
	}
	err = scan(db, []byte{prefixReceipt}, func(key, value []byte) error {
		var r storedReceipt
		if err := readJSON(value, &r); err != nil {
			return fmt.Errorf("cannot read a receipt: %w", err)
		}
		ref := receiptRef{spoor.AppID(be32(key[1:])), be64(key[5:])}
		if r.Gone == 0 && !waits[ref] {
			list = append(list, ref)
		}
		return nil
	})
	return list, err
}

// finishReceipts notes that the bytes of removals are gone.
func (s *Store) finishReceipts(list []receiptRef) error {
	now := s.opts.Now()
	return s.bulk(func(g *group) error {
		for _, ref := range list {
			err := g.receipt(ref, func(r *storedReceipt) {
				r.Gone = now.UnixMilli()
				r.Backups = now.Add(time.Duration(r.BackupDays) * 24 * time.Hour).UnixMilli()
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// DropReceipts removes the receipts of an app that were finished before an
// instant; through a view those of what was to be gone by then, since when it is
// gone differs between stores that apply the same commands.
func (s *Store) DropReceipts(app spoor.AppID, before time.Time) error {
	var old [][]byte
	promised := int64(0)
	if a := s.App(app); a != nil {
		promised = (time.Duration(a.Settings.BytesGoneDays) * 24 * time.Hour).Milliseconds()
	}
	err := s.view(func(db *pebble.DB) error {
		return scan(db, key1(nil, prefixReceipt, app), func(key, value []byte) error {
			var r storedReceipt
			err := readJSON(value, &r)
			gone := r.Gone
			if s.fixed {
				gone = r.Decided + promised
			}
			if err == nil && gone != 0 && gone < before.UnixMilli() {
				old = append(old, append([]byte(nil), key...))
			}
			return err
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return s.bulk(func(g *group) error {
		for _, key := range old {
			delete(g.w.receipts, receiptRef{app, be64(key[5:])})
			g.remove(key)
		}
		return nil
	})
}
