package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// dayState is an open day in memory: who was there, and what was counted.
type dayState struct {
	day     spoor.Day
	account account
	seen    [activityNew + 1]*roaring.Bitmap

	// The texts that have rows of their own, and what is to be added to each.
	// They are read when the first hit is counted.
	db     pebble.Reader
	prefix []byte
	loaded bool
	skip   bool // no row is counted: see Options.SkipRollUps
	rows   openRows

	addends *addends // of the writer, or of its own

	// Changes of this group.
	touched bool
	rewrote bool   // records were changed past the counts that may wait
	fresh   []byte // places of the hits, as nestedHits has them

	// Changes since the counts were last written.
	since uint64 // the first group of them; 0: none
	born  [activityNew + 1]*roaring.Bitmap
	dirty []rowKey
}

// row is a roll-up row in memory: what is to be added to that on disk.
type row struct {
	add    counts          // without text and people
	who    []uint32        // people to be added, with repeats
	many   *roaring.Bitmap // more of them; may be nil
	less   []uint32        // people to be taken out before
	hash   uint64          // 0: not known yet
	onDisk bool
	dirty  bool
}

// openRows are a day's rows: each dimension's by text, which is quicker to look
// into than one map of all.
type openRows [spoor.DimMeasure + 1]map[string]*row

// of gives the row of a key; nil if there is none.
func (o *openRows) of(key rowKey) *row { return o[key.dim][key.text] }

func (o *openRows) put(key rowKey, r *row) {
	if o[key.dim] == nil {
		o[key.dim] = map[string]*row{}
	}
	o[key.dim][key.text] = r
}

func (o *openRows) len() (n int) {
	for _, rows := range o {
		n += len(rows)
	}
	return n
}

// whoMax is how many people wait in a list before they go into a bitmap.
const whoMax = 4096

// idle reports whether all that is known of the day is on disk.
func (d *dayState) idle() bool { return !d.touched && d.since == 0 }

// count adds a hit to all that the day counts; bytes are those of its record,
// before is the view that it ended.
func (d *dayState) count(app *spoor.App, h *spoor.Hit, before rowKey, bytes int) error {
	c := &d.account
	if c.stored == 0 {
		c.properties, c.tallied = strings.Join(app.Settings.Properties, ","), true
	}
	c.stored++
	c.bytes += int64(bytes)
	if h.Marks&spoor.MarkLate != 0 {
		c.late++
	}
	if h.Bot {
		c.bots++
	}
	if !counted(h) {
		return nil
	}
	c.add(h, 1)
	if k := h.Kind.Counts(); h.Profile != 0 {
		d.note(activityActive, k.Active, h.Profile)
		d.note(activityVisitor, k.Visitor, h.Profile)
		d.note(activityNew, h.Tally.New, h.Profile)
	}
	if d.skip {
		return nil
	}
	var err error
	d.addends.rollUp(app, c.declared(), h, before, func(key rowKey, add *counts, by bool) {
		r, fail := d.row(app, key)
		if fail != nil {
			err = fail
			return
		}
		r.add.fold(add)
		if n := uint32(h.Profile); by && n != 0 && (len(r.who) == 0 || r.who[len(r.who)-1] != n) {
			if r.who = append(r.who, n); len(r.who) >= whoMax {
				r.gather()
			}
		}
	})
	return err
}

// gather puts the list of people into the bitmap: by way of one of its own,
// because adding in order is cheap, and inserting is not.
func (r *row) gather() {
	slices.Sort(r.who)
	r.many = union(r.many, roaring.BitmapOf(r.who...))
	r.who = r.who[:0]
}

// without takes somebody out who waits to be added.
func (r *row) without(n uint32) {
	r.who = slices.DeleteFunc(r.who, func(m uint32) bool { return m == n })
	if r.many != nil {
		r.many.Remove(n)
	}
}

func (d *dayState) note(kind int, there bool, n spoor.Number) {
	if there && d.seen[kind].CheckedAdd(uint32(n)) {
		d.born[kind].Add(uint32(n))
	}
}

// row gives the row under which a text is counted, to be changed: its own, or
// that of all others once the day has as many texts of the dimension as it may.
// From then on it takes no new ones, whatever becomes of those it has: so a
// text's hits are all in one row.
func (d *dayState) row(app *spoor.App, key rowKey) (*row, error) {
	r := d.rows.of(key)
	if r == nil && !d.loaded {
		if err := d.load(); err != nil {
			return nil, err
		}
		r = d.rows.of(key)
	}
	if r == nil {
		full := uint64(1) << key.dim
		if d.account.full&full == 0 && len(d.rows[key.dim]) >= app.Settings.StatisticsRows && app.Settings.StatisticsRows > 0 {
			d.account.full |= full
		}
		if d.account.full&full != 0 && key.dim != spoor.DimHour && key.text != spoor.OtherText {
			return d.row(app, rowKey{key.dim, spoor.OtherText})
		}
		r = new(row)
		key.text = strings.Clone(key.text) // the hit's is a part of its whole body
		d.rows.put(key, r)
	}
	if !r.dirty {
		r.dirty = true
		d.dirty = append(d.dirty, key)
	}
	return r, nil
}

// load reads which texts have rows.
func (d *dayState) load() error {
	d.loaded = true
	return scan(d.db, d.prefix, func(key, value []byte) error {
		text, err := readCountText(value)
		if err != nil {
			return fmt.Errorf("cannot read a roll-up of %s: %w", d.day, err)
		}
		k := rowKey{countDimension(key), text}
		if int(k.dim) >= len(d.rows) {
			return fmt.Errorf("cannot read a roll-up of %s: it is of dimension %d, which this version does not know; run spoor check, or use the version that wrote it", d.day, k.dim)
		}
		if d.rows.of(k) == nil {
			d.rows.put(k, &row{onDisk: true, hash: be64(key[len(key)-8:])})
		}
		return nil
	})
}

// put writes what is to be added to a row, and forgets it.
func (r *row) put(dst []byte, text string) []byte {
	if r.onDisk {
		text = ""
	}
	r.add.text = text
	if len(r.less) > 0 {
		r.add.who.drop = roaring.BitmapOf(r.less...)
	}
	slices.Sort(r.who)
	if r.who = slices.Compact(r.who); len(r.who) > fewMax || r.many != nil {
		r.gather()
		r.add.who.add = r.many
	}
	dst = r.add.appendTo(dst)
	dst = putFew(dst, countWhoFew, r.who)
	*r = row{who: r.who[:0], hash: r.hash, onDisk: true}
	return dst
}

// fewMax is the size up to which a set of people is written as a list: the
// general form has a head of 16 bytes.
const fewMax = 64

// putFew writes a sorted set of at most fewMax numbers.
func putFew(dst []byte, tag protowire.Number, set []uint32) []byte {
	if len(set) == 0 {
		return dst
	}
	var list [5 * fewMax]byte
	b, last := list[:0], uint32(0)
	for _, n := range set {
		b = protowire.AppendVarint(b, uint64(n-last))
		last = n
	}
	return putBytes(dst, tag, b)
}

func readFew(b []byte) (*roaring.Bitmap, error) {
	var few []uint32
	last := uint64(0)
	for len(b) > 0 {
		n, used := protowire.ConsumeVarint(b)
		if used < 0 || last+n > 1<<32-1 {
			return nil, errValue
		}
		last += n
		few = append(few, uint32(last))
		b = b[used:]
	}
	return roaring.BitmapOf(few...), nil
}
