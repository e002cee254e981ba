package store

import (
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// feed verifies that the records of the feed can be read and do not overlap, and
// that no number was given out that the counter does not know.
func (c *checker) feed() error {
	counted, err := readCounter(c.db, c.app.ID, c.late)
	if err != nil {
		return err
	}
	next := uint64(1)
	return walkFeed(c.db, c.app.ID, 1, func(first uint64, value []byte) error {
		if first < next {
			c.bad("entry %d of the feed is there twice", first)
		}
		next = first
		err := readFeed(first, value, func(n uint64, tag protowire.Number, _ int64, b []byte) error {
			next = n + 1
			if tag == feedUser || tag == feedSegment {
				if n, size := protowire.ConsumeVarint(b); size < 0 || spoor.Number(n) > counted.next {
					c.bad("entry %d of the feed tells of a profile that was never made", next-1)
				}
			}
			return nil
		})
		switch {
		case err != nil:
			c.bad("entries from %d on of the feed cannot be read: %v", first, err)
		case next == first:
			c.bad("entry %d of the feed is empty", first)
		case next-1 > counted.entries:
			c.bad("entry %d of the feed has a number that was not given out", next-1)
		}
		return nil
	})
}

// deliveries verifies that dead letters can be read, do not overlap, and lie in
// front of where delivery stands.
func (c *checker) deliveries() error {
	var d spoor.Delivery
	err := get(c.db, deliveryKey(nil, c.app.ID), func(value []byte) error { return readJSON(value, &d) })
	if err != nil {
		c.bad("how far the feed was delivered cannot be read: %v", err)
		return nil
	}
	last := uint64(0)
	return scan(c.db, deadLettersKey(nil, c.app.ID), func(key, value []byte) error {
		var l spoor.DeadLetter
		switch err := readJSON(value, &l); {
		case err != nil:
			c.bad("the dead letter from entry %d on cannot be read: %v", be64(key[6:]), err)
		case l.From != be64(key[6:]) || l.From <= last || l.To < l.From || l.To > d.Cursor:
			c.bad("the dead letter of entries %d to %d is not where it belongs, in front of %d", l.From, l.To, d.Cursor)
		default:
			last = l.To
		}
		return nil
	})
}
