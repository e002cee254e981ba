package store

import (
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// journal is a removal whose bytes are not gone yet.
type journal struct {
	at      int64       // of the decision, Unix ms
	erased  bool        // on request, or in stretches: its bytes are due at once
	app     spoor.AppID // that was deleted as a whole; 0: none, but the numbers of gone
	deleted bool        // the hits are covered by tombstones; until then reads leave them out
	gone    []former    // numbers and days
	sizes   []daySize   // what the hits of gone took
	days    []spoor.Day // of which hits, roll-ups and activity went in stretches
	receipt uint64      // number of the receipt
	cleaned bool        // it was there in an earlier run of Reclaim
	settled bool        // the bytes of profiles and of what led to them are gone
}

// daySize is the bytes of removed records of a day.
type daySize struct {
	day   spoor.Day
	bytes int64
}

func (j *journal) bytes() (sum int64) {
	for _, s := range j.sizes {
		sum += s.bytes
	}
	return sum
}

func (j *journal) add(day spoor.Day, bytes int64) {
	for i := range j.sizes {
		if j.sizes[i].day == day {
			j.sizes[i].bytes += bytes
			return
		}
	}
	j.sizes = append(j.sizes, daySize{day, bytes})
}

// journal writes a new journal, under a number above those that are left. How
// many there are is nobody else's business: no decision counts them.
func (g *group) journal(a *appState, j *journal) error {
	if a.journals == 0 {
		err := scan(g.w.db, key1(nil, prefixJournal, a.app.ID), func(key, _ []byte) error {
			a.journals = be64(key[5:])
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot number the journal of a removal: %w", err)
		}
	}
	a.journals++
	g.set(journalKey(nil, a.app.ID, a.journals), j.appendTo(nil))
	return nil
}

const (
	journalAt protowire.Number = iota + 1
	journalDeleted
	journalGone
	journalErased
	journalApp
	journalSize // nested: day, bytes
	journalDays
	journalReceipt
	journalCleaned
	journalSettled
)

func (j *journal) appendTo(dst []byte) []byte {
	dst = putInt(appendHeader(dst), journalAt, j.at)
	dst = putBool(dst, journalDeleted, j.deleted)
	dst = putBool(dst, journalErased, j.erased)
	dst = putUint(dst, journalApp, uint64(j.app))
	for _, f := range j.gone {
		dst = putBytes(dst, journalGone, f.appendTo(nil))
	}
	for _, s := range j.sizes {
		dst = putBytes(dst, journalSize, putInt(putInt(nil, nestDays, int64(s.day)), nestNumber, s.bytes))
	}
	dst = putBytes(dst, journalDays, appendDays(nil, j.days))
	dst = putUint(dst, journalReceipt, j.receipt)
	dst = putBool(dst, journalCleaned, j.cleaned)
	return putBool(dst, journalSettled, j.settled)
}

func readJournal(value []byte) (j journal, err error) {
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case journalAt:
			j.at = zigzag(num)
		case journalDeleted:
			j.deleted = num != 0
		case journalErased:
			j.erased = num != 0
		case journalApp:
			j.app = spoor.AppID(num)
		case journalGone:
			f, err := readFormer(b)
			j.gone = append(j.gone, f)
			return err
		case journalSize:
			s, err := readDaySize(b)
			j.sizes = append(j.sizes, s)
			return err
		case journalDays:
			var err error
			j.days, err = readDays(b)
			return err
		case journalReceipt:
			j.receipt = num
		case journalCleaned:
			j.cleaned = num != 0
		case journalSettled:
			j.settled = num != 0
		}
		return nil
	})
	return j, err
}

func readDaySize(b []byte) (s daySize, err error) {
	err = rawFields(b, func(tag protowire.Number, num uint64, _ []byte) error {
		switch tag {
		case nestDays:
			s.day = spoor.Day(zigzag(num))
		case nestNumber:
			s.bytes = zigzag(num)
		}
		return nil
	})
	return s, err
}

// entry is a journal with its key.
type entry struct {
	journal
	of  spoor.AppID // the app of the numbers
	key []byte
}

// readJournals reads the journals of one app, or of all where app is 0.
func readJournals(db pebble.Reader, app spoor.AppID) (all []entry, err error) {
	prefix := []byte{prefixJournal}
	if app != 0 {
		prefix = key1(nil, prefixJournal, app)
	}
	err = scan(db, prefix, func(key, value []byte) error {
		j, err := readJournal(value)
		if err != nil {
			return fmt.Errorf("cannot read the journal of a removal: %w", err)
		}
		all = append(all, entry{journal: j, of: spoor.AppID(be32(key[1:])), key: slices.Clone(key)})
		return nil
	})
	return all, err
}

// readHidden reads the numbers whose hits still stand there and are removed.
func readHidden(db pebble.Reader, app spoor.AppID) (*roaring.Bitmap, error) {
	hidden := roaring.New()
	all, err := readJournals(db, app)
	for _, e := range all {
		if e.deleted {
			continue
		}
		for _, f := range e.gone {
			hidden.Add(uint32(f.number))
		}
	}
	return hidden, err
}
