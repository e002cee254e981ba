package store

import (
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// persons leads from the former numbers of an app to those of the persons they
// were merged into. Bits in the bitmaps of days stay where they were set, so
// whoever counts people asks here. It never changes; with makes another.
type persons struct {
	former *roaring.Bitmap    // numbers that lead elsewhere
	to     []*[1 << 16]uint32 // by the upper half of a number; nil: none lead elsewhere

	era   *era
	moves []move // the last merges of the era, in order
	gone  int    // merges of the era before those
}

// era is a time in which persons were merged and none was parted: what was told
// of them before can be brought up to date.
type era struct{ _ byte }

// move says that a person became part of another.
type move struct{ from, to uint32 }

// movesMax bounds what is known of merges. To follow as many takes about as long
// as to read a set of a day again.
const movesMax = 1 << 13

func (p *persons) person(n uint32) uint32 {
	if high := int(n >> 16); high < len(p.to) && p.to[high] != nil {
		if to := p.to[high][n&0xffff]; to != 0 {
			return to
		}
	}
	return n
}

// alias says that a number leads to a person, or with 0 no more.
type alias struct{ former, person spoor.Number }

// newPersons is those of an app in which nobody was merged.
func newPersons() *persons { return &persons{former: roaring.New(), era: new(era)} }

// with is p after some changes.
func (p *persons) with(news []alias) *persons {
	if len(news) == 0 {
		return p
	}
	q := p.apply(news)
	q.note(p, news)
	return q
}

// apply is with without a word about what it changed. It shares what did not
// change.
func (p *persons) apply(news []alias) *persons {
	q := &persons{former: p.former.Clone(), to: slices.Clone(p.to), era: p.era, moves: slices.Clip(p.moves), gone: p.gone}
	own := map[uint32]bool{}
	for _, a := range news {
		n := uint32(a.former)
		high := n >> 16
		for int(high) >= len(q.to) {
			q.to = append(q.to, nil)
		}
		if !own[high] {
			own[high] = true
			chunk := new([1 << 16]uint32)
			if q.to[high] != nil {
				*chunk = *q.to[high]
			}
			q.to[high] = chunk
		}
		q.to[high][n&0xffff] = uint32(a.person)
		if a.person == 0 {
			q.former.Remove(n)
		} else {
			q.former.Add(n)
		}
	}
	return q
}

// note adds to the moves what became of the persons of p. Where one was not
// moved as a whole, a new era begins.
func (q *persons) note(p *persons, news []alias) {
	noted := map[uint32]bool{}
	for _, a := range news {
		m := move{p.person(uint32(a.former)), q.person(uint32(a.former))}
		switch {
		case m.from == m.to || noted[m.from]:
		case q.person(m.from) != m.to || q.person(m.to) != m.to:
			q.era, q.moves, q.gone = new(era), nil, 0
			return
		default:
			noted[m.from] = true
			q.moves = append(q.moves, m)
		}
	}
	if n := len(q.moves) - movesMax; n > 0 {
		n += movesMax / 2
		q.gone += n
		q.moves = slices.Clone(q.moves[n:])
	}
}

// version counts the merges of the era.
func (p *persons) version() int { return p.gone + len(p.moves) }

// follow is a set of persons of an earlier version as it is now: who itself,
// which it leaves as it is, if nobody in it was merged. False: too much happened
// since, or the version is a later one.
func (p *persons) follow(who *roaring.Bitmap, version int) (*roaring.Bitmap, bool) {
	if version < p.gone || version > p.version() {
		return nil, false
	}
	own := false
	for _, m := range p.moves[version-p.gone:] {
		if !who.Contains(m.from) {
			continue
		}
		if !own {
			who, own = who.Clone(), true
		}
		who.Remove(m.from)
		who.Add(m.to)
	}
	return who, true
}

func (p *persons) bytes() (n int64) {
	for _, chunk := range p.to {
		if chunk != nil {
			n += 4 << 16
		}
	}
	return n + int64(p.former.GetSizeInBytes())
}

// of is the persons behind some numbers: each once, under the number that the
// person has now. It may return b itself, which it leaves as it is.
func (p *persons) of(b *roaring.Bitmap) *roaring.Bitmap {
	if !p.former.Intersects(b) {
		return b
	}
	former := roaring.And(b, p.former)
	people := make([]uint32, 0, former.GetCardinality())
	most := b.Maximum()
	for it := former.ManyIterator(); ; {
		var some [1024]uint32
		n := it.NextMany(some[:])
		if n == 0 {
			break
		}
		for _, f := range some[:n] {
			person := p.person(f)
			people = append(people, person)
			most = max(most, person)
		}
	}
	out := roaring.AndNot(b, former)
	words := int(most>>6) + 1
	if len(people) < words/16 || words > fieldWordsMax {
		slices.Sort(people) // to add in order is cheap
		out.AddMany(people)
		return out
	}
	field := make([]uint64, max(words, int(out.DenseSize())))
	out.WriteDenseTo(field)
	for _, n := range people {
		field[n>>6] |= 1 << (n & 63)
	}
	return roaring.FromDense(field, true)
}

// count is how many persons stand behind some numbers.
func (p *persons) count(b *roaring.Bitmap) int64 {
	return int64(p.of(b).GetCardinality())
}

// numbers is all numbers, former ones too, of some persons.
func (p *persons) numbers(people *roaring.Bitmap) *roaring.Bitmap {
	all := roaring.New()
	all.Or(people)
	for it := p.former.Iterator(); it.HasNext(); {
		if n := it.Next(); people.Contains(p.person(n)) {
			all.Add(n)
		}
	}
	return all
}

// readPersons reads where the former numbers of an app lead.
func readPersons(db pebble.Reader, app spoor.AppID) (*persons, error) {
	var all []alias
	err := scan(db, key1(nil, prefixNumber, app), func(key, value []byte) error {
		n, err := parseNumber(value)
		all = append(all, alias{spoor.Number(be32(key[5:])), n})
		return err
	})
	if err != nil {
		return nil, err
	}
	return newPersons().apply(all), nil
}

// aliases keeps the persons of the apps that were asked about of late. The
// writer tells it of every change once a reader could see it.
type aliases struct {
	mu   sync.Mutex
	apps map[spoor.AppID]*aliasesOf
	uses int64
}

type aliasesOf struct {
	reading sync.Mutex
	persons *persons // nil: not read yet
	news    []alias  // since then
	used    int64
}

const (
	aliasBytesMax = 64 << 20 // of all apps but the one that is asked for
	aliasNewsMax  = 1 << 16  // of an app about which nobody asks
)

// note takes in what a group has changed.
func (a *aliases) note(changes map[profileRef]spoor.Number) {
	if len(changes) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for ref, person := range changes {
		of := a.apps[ref.app]
		if of == nil {
			continue
		}
		if of.news = append(of.news, alias{ref.n, person}); len(of.news) > aliasNewsMax {
			delete(a.apps, ref.app)
		}
	}
}

// of gives the persons of an app as they are now.
func (a *aliases) of(db *pebble.DB, app spoor.AppID) (*persons, error) {
	a.mu.Lock()
	if a.apps == nil {
		a.apps = map[spoor.AppID]*aliasesOf{}
	}
	of := a.apps[app]
	if of == nil { // from here on changes are noted, so that none falls between
		of = new(aliasesOf)
		a.apps[app] = of
	}
	a.uses++
	of.used = a.uses
	a.mu.Unlock()

	of.reading.Lock()
	defer of.reading.Unlock()
	a.mu.Lock()
	p, news := of.persons, of.news
	if p != nil {
		of.news = nil
	}
	a.mu.Unlock()
	if p != nil {
		p = p.with(news)
	} else {
		var err error
		if p, err = readPersons(db, app); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	of.persons = p
	a.evict(app)
	return p, nil
}

// evict forgets the apps that were asked for longest ago.
func (a *aliases) evict(but spoor.AppID) {
	for {
		var sum int64
		var oldest spoor.AppID
		for app, of := range a.apps {
			if of.persons == nil || app == but {
				continue
			}
			sum += of.persons.bytes()
			if oldest == 0 || of.used < a.apps[oldest].used {
				oldest = app
			}
		}
		if sum <= aliasBytesMax {
			return
		}
		delete(a.apps, oldest)
	}
}
