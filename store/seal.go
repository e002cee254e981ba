package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// A sealed day takes no more hits. Its statistics stay for years, longer than
// the people in it, so nothing in them may point at one: a text that fewer than
// rareProfiles profiles brought (a path with a name in it, a city of one) is
// folded into spoor.OtherText.
const rareProfiles = 5

// SealDays finishes the days that have left the window: it recomputes their
// roll-ups from their hits, folds rare texts, and gives the bytes back. It
// may be called again after an error or a crash. It tells how many days it
// finished, and how many rows it folded.
func (s *Store) SealDays(ctx context.Context) (days, folded int, err error) {
	if err := s.Seal(); err != nil {
		return days, folded, err
	}
	s.reclaiming.Lock()
	defer s.reclaiming.Unlock()
	err = s.view(func(db *pebble.DB) error {
		for _, app := range s.AllApps() {
			part, rows, err := s.sealApp(ctx, db, app, func(day spoor.Day) error { return s.cleanDays(ctx, db, []partition{{app.ID, day}}) })
			days, folded = days+part, folded+rows
			if err != nil {
				return err
			}
		}
		if days > 0 {
			return s.measureApps(db)
		}
		return nil
	})
	return days, folded, err
}

// SealApp does that for one app, and leaves the bytes to the next Reclaim.
func (s *Store) SealApp(ctx context.Context, id spoor.AppID) (days, folded int, err error) {
	app, now := s.App(id), s.opts.Now()
	if app == nil {
		return 0, 0, nil
	}
	if err := s.change(func(g *group) error { return g.seal(id, now) }); err != nil {
		return 0, 0, err
	}
	err = s.view(func(db *pebble.DB) (err error) {
		days, folded, err = s.sealApp(ctx, db, app, func(day spoor.Day) error {
			s.sealed.put(partition{id, day})
			return nil
		})
		if err == nil && days > 0 {
			err = s.measureApps(db)
		}
		return err
	})
	return days, folded, err
}

// sealApp finishes the days of an app, and calls then after each.
func (s *Store) sealApp(ctx context.Context, db *pebble.DB, app *spoor.App, then func(spoor.Day) error) (days, folded int, err error) {
	list, err := unfinishedDays(db, app.ID)
	if err != nil {
		return 0, 0, err
	}
	for _, day := range list {
		if err := ctx.Err(); err != nil {
			return days, folded, err
		}
		rows, err := s.sealDay(db, app, day)
		if err == nil {
			err = then(day)
		}
		if err != nil {
			return days, folded, fmt.Errorf("cannot seal %s of app %q: %w", day, app.Name, err)
		}
		days++
		folded += rows
	}
	return days, folded, nil
}

// sealedDays are days that were finished, and whose former rows are still in the
// files. A restart forgets them: then compactions take those as they come.
type sealedDays struct {
	mu   sync.Mutex
	days []partition
}

func (l *sealedDays) put(days ...partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.days = append(l.days, days...)
}

func (l *sealedDays) take() (days []partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	days, l.days = l.days, nil
	return days
}

// cleanDays gives the bytes of the former rows of finished days back.
func (s *Store) cleanDays(ctx context.Context, db *pebble.DB, days []partition) error {
	var spans []keySpan
	for _, p := range days {
		spans = append(spans, spanOf(countDayKey(nil, p.app, p.day)), spanOf(hitDayKey(nil, p.app, p.day)))
	}
	return s.clean(ctx, db, spans, true)
}

// unfinishedDays lists the sealed days whose roll-ups are as they were counted.
func unfinishedDays(db *pebble.DB, app spoor.AppID) (days []spoor.Day, err error) {
	late, err := scanUncounted(db)
	if err != nil {
		return nil, err
	}
	sealed, err := readSealed(db, app, late)
	if err != nil {
		return nil, err
	}
	all, err := countedDays(db, app, late)
	if err != nil {
		return nil, err
	}
	for _, day := range all {
		if day > sealed {
			break
		}
		finished := false // there may be no account yet, where all was put off
		err := get(db, writerDayKey(nil, app, day), func(value []byte) error {
			c, err := readAccount(value)
			finished = c.sealed
			return err
		})
		if err != nil {
			return nil, err
		}
		if !finished {
			days = append(days, day)
		}
	}
	return days, nil
}

func (s *Store) sealDay(db *pebble.DB, app *spoor.App, day spoor.Day) (folded int, err error) {
	// What waits in memory is written first; nothing is added after it. A person
	// may be erased meanwhile: then the rows are of yesterday.
	rewrites := 0
	err = s.bulk(func(g *group) error {
		g.final = true
		a, err := g.w.app(app.ID)
		if err == nil && a != nil {
			rewrites = a.rewrites
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	rows, err := countDay(db, app, day)
	if err != nil {
		return 0, err
	}
	d, err := readDayState(db, app.ID, day)
	if err != nil {
		return 0, err
	}
	goals := strings.Join(app.Settings.Goals, ",")
	folded = foldRare(rows, d.account.full, declaredGoals(goals))
	records, sum, err := encodeSealed(db, app.ID, day, rows)
	if err != nil {
		return 0, err
	}
	if s.opts.betweenSeal != nil {
		s.opts.betweenSeal()
	}
	err = s.bulk(func(g *group) error {
		a, err := g.w.app(app.ID)
		if err != nil || a == nil {
			return err
		}
		if a.rewrites != rewrites {
			return errMeanwhile
		}
		d, err := g.day(a, day)
		if err != nil {
			return err
		}
		d.rewrote = true
		d.account.sealed, d.account.sum, d.account.goals = true, sum, goals
		for _, sp := range []keySpan{spanOf(countDayKey(nil, app.ID, day)), spanOf(tableDayKey(nil, app.ID, day))} {
			if err := g.batch.DeleteRange(sp.from, sp.to, nil); err != nil {
				return err
			}
		}
		for _, r := range records {
			g.set(r.key, r.value)
		}
		return nil
	})
	if errors.Is(err, errMeanwhile) {
		return s.sealDay(db, app, day)
	}
	return folded, err
}

type keyValue struct{ key, value []byte }

// encodeSealed gives the records of a sealed day, roll-up rows and tables, and
// their sum. The writer need only write them.
func encodeSealed(db pebble.Reader, app spoor.AppID, day spoor.Day, rows sealedRows) (records []keyValue, sum daySum, err error) {
	secret, err := readSalt(db, app)
	if err != nil {
		return nil, sum, err
	}
	records = rows.encode(&secret, app, day)
	h := sha256.New()
	for _, r := range records {
		h.Write(r.key)
		h.Write(r.value)
	}
	if err := hashActivity(h, db, app, day); err != nil {
		return nil, sum, err
	}
	copy(sum[:], h.Sum(nil))
	return append(records, tables(app, day, rows)...), sum, nil
}

// daySum tells whether what a sealed day counts is as it was when it was sealed:
// the beginning of SHA-256 over its roll-up rows and who was there.
type daySum [16]byte

// sumSealed reads what a sealed day counts, for its sum.
func sumSealed(db pebble.Reader, app spoor.AppID, day spoor.Day) (sum daySum, err error) {
	h := sha256.New()
	err = scan(db, countDayKey(nil, app, day), func(key, value []byte) error {
		h.Write(key)
		h.Write(value)
		return nil
	})
	if err == nil {
		err = hashActivity(h, db, app, day)
	}
	copy(sum[:], h.Sum(nil))
	return sum, err
}

func hashActivity(h io.Writer, db pebble.Reader, app spoor.AppID, day spoor.Day) error {
	for kind := byte(0); kind <= activityKnown; kind++ {
		who, err := readActivity(db, app, day, kind)
		if err != nil {
			return err
		}
		h.Write([]byte{kind})
		for _, n := range who.ToArray() {
			h.Write(binary.BigEndian.AppendUint32(nil, n))
		}
	}
	return nil
}

var errMeanwhile = errors.New("somebody was erased or restricted meanwhile")

// sealedRows are the roll-up rows of a day, as its hits give them.
type sealedRows map[rowKey]*counts

// add counts a hit of a day that has the given account. Texts without a row go
// where the writer counted them, if there is no room for more.
func (rows sealedRows) add(app *spoor.App, of *account, known *openRows, h *spoor.Hit, before rowKey, a *addends) {
	a.rollUp(app, of.declared(), h, before, func(key rowKey, add *counts, by bool) {
		if of.full&(1<<key.dim) != 0 && known.of(key) == nil && key.dim != spoor.DimHour {
			key.text = spoor.OtherText
		}
		r := rows[key]
		if r == nil {
			r = &counts{who: setChange{add: roaring.New()}}
			rows[key] = r
		}
		r.fold(add)
		if by && h.Profile != 0 {
			r.who.add.Add(uint32(h.Profile))
		}
	})
}

// encode gives the records of all rows, in order.
func (rows sealedRows) encode(secret *salt, app spoor.AppID, day spoor.Day) (records []keyValue) {
	for key, row := range rows {
		row.text = key.text
		records = append(records, keyValue{countKey(nil, app, day, key.dim, rowHash(secret, key)), row.appendTo(nil)})
	}
	slices.SortFunc(records, func(a, b keyValue) int { return bytes.Compare(a.key, b.key) })
	return records
}

// countDay recomputes a day's roll-ups from its hits.
func countDay(db pebble.Reader, app *spoor.App, day spoor.Day) (sealedRows, error) {
	d, err := readDayState(db, app.ID, day)
	if err == nil && d.account.full != 0 {
		err = d.load()
	}
	if err != nil {
		return nil, err
	}
	hidden, err := readHidden(db, app.ID)
	if err != nil {
		return nil, err
	}
	rows := sealedRows{}
	var seen views
	err = scan(db, hitDayKey(nil, app.ID, day), func(key, value []byte) error {
		h, err := readHit(key, value)
		if err == nil && counted(&h) && !hidden.Contains(uint32(h.Profile)) {
			rows.add(app, &d.account, &d.rows, &h, seen.before(&h), d.addends)
		}
		return err
	})
	return rows, err
}

// foldRare folds rows of few profiles into one of each dimension. The hour of
// a day says nothing about anybody, and the texts of goals are the operator's
// own: they stay, and what begins like a goal that ends with * goes there.
// Values of properties are folded within the property, numbers within what they are numbers of. Of a dimension that ran out
// of rows nobody could tell later what was folded where: only texts of goals stay.
func foldRare(rows sealedRows, full uint64, goals []spoor.Goal) (folded int) {
	for key, r := range rows {
		people := r.who.add.GetCardinality()
		if key.dim == spoor.DimHour || key.text == spoor.OtherText || people >= rareProfiles {
			continue
		}
		into := rowKey{key.dim, spoor.OtherText}
		if full&(1<<key.dim) != 0 {
			if goalOf(goals, key) == key.text {
				continue
			}
		} else if key.dim == spoor.DimMeasure {
			part := strings.Split(key.text, measureSeparator)
			if len(part) != 4 || people == 0 || part[3] == spoor.OtherText {
				continue
			}
			part[3] = spoor.OtherText
			into.text = strings.Join(part, measureSeparator)
		} else if key.dim == spoor.DimProperty {
			into.text = otherOf(key.text)
		}
		if text := goalOf(goals, key); text != "" && full&(1<<key.dim) == 0 {
			into.text = text
		}
		if into == key {
			continue
		}
		if rows[into] == nil {
			rows[into] = &counts{who: setChange{add: roaring.New()}}
		}
		rows[into].fold(r)
		delete(rows, key)
		folded++
	}
	return folded
}

// otherOf is the text of the row of all other values of a property.
func otherOf(text string) string {
	name, _, _ := strings.Cut(text, "=")
	return name + "=" + spoor.OtherText
}

// foldedInto is the texts of the rows of a day into which that of a text, or of
// others that begin like it, may have been folded.
func (c *account) foldedInto(dim spoor.Dimension, text string) []string {
	into := []string{spoor.OtherText}
	if dim == spoor.DimProperty {
		into = append(into, otherOf(text))
	}
	for _, g := range declaredGoals(c.goals) {
		if g.Dimension == dim && g.Prefix && strings.HasPrefix(text, g.Text) {
			into = append(into, g.Text+"*")
		}
	}
	return into
}

// goalOf is the text of the goal that a row belongs to: its own, or else the
// longest that it begins like; empty if there is none.
func goalOf(goals []spoor.Goal, key rowKey) (text string) {
	for _, g := range goals {
		if g.Dimension != key.dim {
			continue
		}
		switch {
		case !g.Prefix && g.Text == key.text:
			return g.Text
		case g.Prefix && strings.HasPrefix(key.text, g.Text) && len(g.Text) >= len(text):
			text = g.Text + "*"
		}
	}
	return text
}
