package store

import (
	"errors"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// reading answers a question about the statistics of one app from one
// snapshot.
type reading struct {
	s       *Store
	db      pebble.Reader
	app     *spoor.App
	secret  salt
	persons *persons
	late    []uncounted
}

// read calls f with what there is to know of an app; nothing if there is none.
func (s *Store) read(id spoor.AppID, f func(*reading) error) error {
	return s.view(func(db *pebble.DB) (err error) {
		r := &reading{s: s, app: s.App(id)}
		if r.app == nil {
			return nil
		}
		snapshot := db.NewSnapshot()
		defer func() { err = errors.Join(err, snapshot.Close()) }()
		r.db = snapshot
		if r.secret, err = readSalt(snapshot, id); err != nil {
			return err
		}
		if r.late, err = scanUncounted(snapshot); err != nil {
			return err
		}
		// A merge that is newer than the snapshot only makes one of two.
		if r.persons, err = s.aliases.of(db, id); err != nil {
			return err
		}
		return f(r)
	})
}

// oneDay is what one day counted.
type oneDay struct {
	*reading
	day     spoor.Day
	account account
	late    *dayState                          // with what groups have put off; nil: nothing
	active  [activityKnown + 1]*roaring.Bitmap // once they were read
}

// days lists the days of a range that counted anything, in order.
func (r *reading) days(from, to spoor.Day) (days []*oneDay, err error) {
	id := r.app.ID
	err = scanSpan(r.db, writerDayKey(nil, id, from), after(writerDayKey(nil, id, to)), func(key, value []byte) error {
		c, err := readAccount(value)
		days = append(days, &oneDay{reading: r, day: readDay(key[len(key)-4:]), account: c})
		return err
	})
	if err != nil {
		return nil, err
	}
	groups := map[spoor.Day]uint64{} // the newest that put hits off
	for _, u := range r.late {
		for _, at := range u.hits {
			if at.app == id && from <= at.day && at.day <= to {
				groups[at.day] = max(groups[at.day], u.group)
			}
		}
	}
	for day, group := range groups {
		i, there := slices.BinarySearchFunc(days, day, func(d *oneDay, day spoor.Day) int { return int(d.day) - int(day) })
		if there && group <= days[i].account.counted {
			continue
		}
		open, err := readOpenDay(r.db, r.app, day, r.late)
		if err != nil {
			return nil, err
		}
		d := &oneDay{reading: r, day: day, account: open.account, late: open}
		if there {
			days[i] = d
		} else {
			days = slices.Insert(days, i, d)
		}
	}
	return days, nil
}

// readOpenDay is what a day counted, with the hits whose counting was put off.
// Its rows hold nothing but those.
func readOpenDay(db pebble.Reader, app *spoor.App, day spoor.Day, late []uncounted) (*dayState, error) {
	d, err := readDayState(db, app.ID, day)
	if err == nil {
		err = d.catchUp(db, app, late)
	}
	return d, err
}

// activity is a set of profiles of the day. It must not be changed.
func (d *oneDay) activity(kind int) (b *roaring.Bitmap, err error) {
	if d.late != nil && kind < len(d.late.seen) {
		return d.late.seen[kind], nil
	}
	if d.active[kind] == nil {
		d.active[kind], err = readActivity(d.db, d.app.ID, d.day, byte(kind))
	}
	return d.active[kind], err
}

// row is a roll-up row with the profiles that brought it; nil if there is none.
func (d *oneDay) row(dim spoor.Dimension, text string) (*counts, error) {
	c, err := readRow(d.db, d.app.ID, &d.secret, d.day, dim, text)
	if err != nil {
		return nil, err
	}
	if d.late != nil {
		if r := d.late.rows.of(rowKey{dim, text}); r != nil {
			r.foldInto(c)
		}
	}
	return c, nil
}

// foldInto adds what waits in a row to what is on disk.
func (r *row) foldInto(c *counts) {
	add := r.add
	if len(r.less) > 0 {
		add.who.drop = roaring.BitmapOf(r.less...)
	}
	if len(r.who) > 0 {
		add.who.add = roaring.BitmapOf(r.who...)
	}
	c.fold(&add)
}

// rows calls f with the rows of a dimension. Those of a sealed day come without
// the profiles that brought them; see who.
func (d *oneDay) rows(dim spoor.Dimension, f func(r *dayRow) error) error {
	left := map[string]*row{}
	if d.late != nil {
		for _, key := range d.late.dirty {
			if key.dim == dim && d.late.rows.of(key) != nil {
				left[key.text] = d.late.rows.of(key)
			}
		}
	}
	err := readRows(d.db, d.app.ID, d.day, dim, func(r *dayRow) error {
		if more := left[r.text]; more != nil {
			delete(left, r.text)
			more.foldInto(&r.counts)
			r.visitors = people(&r.who)
		}
		return f(r)
	})
	if err != nil {
		return err
	}
	for text, more := range left {
		r := dayRow{counts: counts{text: text}}
		more.foldInto(&r.counts)
		r.visitors = people(&r.who)
		if err := f(&r); err != nil {
			return err
		}
	}
	return nil
}

// who is the profiles that brought a row that rows gave; nil if nobody did.
func (d *oneDay) who(dim spoor.Dimension, r *dayRow) (*roaring.Bitmap, error) {
	if r.who.add != nil || r.visitors == 0 {
		return r.who.add, nil
	}
	return d.whoOf(dim, r.text)
}
