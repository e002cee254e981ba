package store

import (
	"cmp"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// A table holds what the rows of one dimension of a sealed day count, without
// the people: tops over months are read from one record a day. The row with the
// most visitors stands first.
const tableRow protowire.Number = 1

// rowVisitors is how many profiles brought a row of a table. Its other tags are
// those of a roll-up row.
const rowVisitors protowire.Number = 64

// tables gives the tables of a day that is sealed.
func tables(app spoor.AppID, day spoor.Day, rows sealedRows) (records []keyValue) {
	byDim := map[spoor.Dimension][]*dayRow{}
	for key, c := range rows {
		r := &dayRow{counts: *c, visitors: int64(c.who.add.GetCardinality())}
		r.text, r.who = key.text, setChange{}
		byDim[key.dim] = append(byDim[key.dim], r)
	}
	for dim, table := range byDim {
		slices.SortFunc(table, func(a, b *dayRow) int {
			return cmp.Or(cmp.Compare(b.visitors, a.visitors), cmp.Compare(a.text, b.text))
		})
		value := appendHeader(nil)
		var nest []byte
		for _, r := range table {
			nest = r.appendTo(nest[:0])
			nest = putInt(nest, rowVisitors, r.visitors)
			value = putBytes(value, tableRow, nest[headerBytes:])
		}
		records = append(records, keyValue{tableKey(nil, app, day, dim), value})
	}
	return records
}

// readRows reads the rows of one dimension of a day, without what waits in
// memory. Of an open day they hold the people, of a sealed day they do not. A
// row is valid until f returns.
func readRows(db pebble.Reader, app spoor.AppID, day spoor.Day, dim spoor.Dimension, f func(*dayRow) error) error {
	found := false
	err := get(db, tableKey(nil, app, day, dim), func(value []byte) error {
		found = true
		return readTable(value, f)
	})
	if found || err != nil {
		return err
	}
	prefix := append(countDayKey(nil, app, day), byte(dim))
	return scan(db, prefix, func(_, value []byte) error {
		c, err := readCounts(value)
		if err != nil {
			return err
		}
		r := dayRow{counts: *c}
		if c.who.add != nil {
			r.visitors = int64(c.who.add.GetCardinality())
		}
		return f(&r)
	})
}

// readTable calls f with the rows of a table.
func readTable(value []byte, f func(*dayRow) error) error {
	return fields(value, func(tag protowire.Number, _ uint64, b []byte) error {
		if tag != tableRow {
			return nil
		}
		var r dayRow
		err := rawFields(b, func(tag protowire.Number, num uint64, b []byte) error {
			if tag == rowVisitors {
				r.visitors = zigzag(num)
			}
			return r.field(tag, num, b)
		})
		if err != nil {
			return err
		}
		return f(&r)
	})
}
