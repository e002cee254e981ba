package store

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// readSparse decodes some fields of a stored hit into h, and leaves the others
// empty. Texts and properties use the memory of the value.
func readSparse(key, value []byte, want tagSet, h *spoor.Hit) error {
	at, err := parseHitKey(key)
	if err != nil {
		return err
	}
	if len(value) < headerBytes || value[0] != valueVersion || value[1] != valuePlain {
		return errValue
	}
	*h = spoor.Hit{App: at.app, Day: at.day, Profile: at.profile, Time: at.time}
	for b := value[headerBytes:]; len(b) > 0; {
		head, n := protowire.ConsumeVarint(b)
		if n < 0 || head>>3 == 0 || head>>3 > math.MaxInt32 {
			return errValue
		}
		b = b[n:]
		tag := protowire.Number(head >> 3)
		wanted := tag < 64 && want&(1<<tag) != 0
		var num uint64
		var raw []byte
		switch typ := protowire.Type(head & 7); typ {
		case protowire.VarintType:
			num, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			num, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			n, wanted = protowire.ConsumeFieldValue(tag, typ, b), false
		}
		if n < 0 {
			return errValue
		}
		if b = b[n:]; !wanted {
			continue
		}
		switch tag { // what is of another type than it is written with counts as readHit has it
		case hitKind:
			h.Kind = spoor.Kind(num)
		case hitBot:
			h.Bot = num != 0
		case hitVisit:
			h.Visit = at.time - zigzag(num-1)
		case hitFirst:
			h.First = num != 0
		case hitMarks:
			h.Marks = spoor.Marks(num)
		case hitTally:
			if h.Tally, err = readTally(raw); err != nil {
				return err
			}
		case hitProperties:
			h.Properties = raw
		default:
			if text := hitText(h, tag); text != nil {
				*text = unsafe.String(unsafe.SliceData(raw), len(raw))
			}
		}
	}
	return nil
}

// scanned is what a walk over hits adds up in: one for each stretch.
type scanned interface {
	// hit takes a counted hit in. Those of a profile come in a row, in order of
	// time; hit and texts are valid until it returns.
	hit(h *spoor.Hit)
}

// stretch is the hits of some profiles of a day.
type stretch struct {
	day      *oneDay
	from, to spoor.Number // to is exclusive; 0: all
}

// walkHits shows the counted hits of some days, several stretches at once. Only,
// if it is not nil, is asked once a day for the profiles whose hits are wanted;
// nil is all. begin makes what a stretch adds up in; done gets them one by one,
// in order.
func walkHits[T scanned](r *reading, days []*oneDay, only func(*oneDay) (*roaring.Bitmap, error), want tagSet, begin func(d *oneDay) T, done func(d *oneDay, sum T) error) error {
	leave, err := r.s.enterWalk()
	if err != nil {
		return err
	}
	defer leave()
	hidden, err := readHidden(r.db, r.app.ID)
	if err != nil {
		return err
	}
	all, err := r.stretches(days)
	if err != nil {
		return err
	}
	type result struct {
		sum T
		err error
	}
	some := map[*oneDay]func() (*roaring.Bitmap, error){}
	for _, d := range days {
		some[d] = sync.OnceValues(func() (*roaring.Bitmap, error) {
			if only == nil {
				return nil, nil
			}
			return only(d)
		})
	}
	workers := min(runtime.GOMAXPROCS(0), len(all))
	results := make([]chan result, len(all))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	tickets := make(chan struct{}, 2*workers+1) // sums that wait to be taken
	stop := make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait() // the snapshot must outlive them
	defer close(stop)
	next := make(chan int)
	running.Go(func() {
		defer close(next)
		for i := range all {
			select {
			case tickets <- struct{}{}:
			case <-stop:
				return
			}
			select {
			case next <- i:
			case <-stop:
				return
			}
		}
	})
	for range workers {
		running.Go(func() {
			for i := range next {
				sum := begin(all[i].day)
				only, err := some[all[i].day]()
				if err == nil {
					err = all[i].walk(hidden, only, tagsAlways|want, sum, stop)
				}
				results[i] <- result{sum, err}
			}
		})
	}
	for i := range all {
		var got result
		select {
		case got = <-results[i]:
			<-tickets
		case <-r.s.stop:
			return spoor.ErrClosed
		}
		if got.err != nil {
			return got.err
		}
		if err := done(all[i].day, got.sum); err != nil {
			return err
		}
	}
	return nil
}

// rowsOf is the profiles that brought the rows which a condition asks for, and
// those of rows into which such texts may be folded: all hits of one text stand
// in one row. Neither set must be changed.
func (d *oneDay) rowsOf(c condition) (sure, folded *roaring.Bitmap, err error) {
	var who, rare sets
	hits := int64(0)
	err = d.matching(c, true, func(row *counts) {
		hits += row.hits
		who = who.with(row.who.add)
	})
	if err != nil || hits != 0 && !c.prefix {
		return who.union(), nobody, err
	}
	for _, text := range d.account.foldedInto(c.dim, c.row()) {
		more, err := d.whoOf(c.dim, text)
		if err != nil {
			return nil, nil, err
		}
		rare = rare.with(more)
	}
	return who.union(), rare.union(), nil
}

// touching is the profiles that may have a hit on the day which fulfils a
// condition; nil means that the rows do not tell.
func (d *oneDay) touching(c condition) (*roaring.Bitmap, error) {
	a := &d.account
	if c.not || a.bare || !a.tallied || c.dim == spoor.DimProperty && !slices.Contains(a.declared(), c.name) {
		return nil, nil
	}
	sure, folded, err := d.rowsOf(c)
	if err != nil {
		return nil, err
	}
	return roaring.Or(sure, folded), nil
}

// touchingAll is the profiles that may have a hit on the day which fulfils all
// conditions. Hits of nobody have profile 0.
func (d *oneDay) touchingAll(f conditions) (all *roaring.Bitmap, err error) {
	for _, c := range f {
		who, err := d.touching(c)
		switch {
		case err != nil:
			return nil, err
		case who == nil:
		case all == nil:
			all = who
		default:
			all.And(who)
		}
	}
	if all != nil {
		all.Add(0)
	}
	return all, nil
}

// A walk keeps all processors busy, so few run at once, and others wait a while.
const (
	walksMax = 2
	walkWait = 10 * time.Second
)

func (s *Store) enterWalk() (leave func(), err error) {
	wait := time.NewTimer(walkWait)
	defer wait.Stop()
	select {
	case s.walks <- struct{}{}:
		return func() { <-s.walks }, nil
	case <-s.stop:
		return nil, spoor.ErrClosed
	case <-wait.C:
		return nil, spoor.ErrBusy
	}
}

// stretchesMin is how many stretches a walk has at least, if there are as many profiles.
const stretchesMin = 8

// stretches cuts few days at profiles, so that no processor is idle.
func (r *reading) stretches(days []*oneDay) (all []stretch, err error) {
	parts := 1
	if len(days) > 0 && len(days) < stretchesMin {
		parts = (stretchesMin + len(days) - 1) / len(days)
	}
	newest := spoor.Number(0)
	if parts > 1 {
		if newest, err = r.newestProfile(); err != nil {
			return nil, err
		}
	}
	step := newest/spoor.Number(parts) + 1
	for _, d := range days {
		if parts == 1 || newest < 1000 {
			all = append(all, stretch{day: d})
			continue
		}
		for p := range spoor.Number(parts) {
			s := stretch{d, p * step, (p + 1) * step}
			if int(p) == parts-1 {
				s.to = 0
			}
			all = append(all, s)
		}
	}
	return all, nil
}

func (r *reading) newestProfile() (n spoor.Number, err error) {
	var c counter
	err = get(r.db, writerAppKey(nil, r.app.ID), func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, _ []byte) error { c.field(tag, num); return nil })
	})
	n = c.next
	for _, u := range r.late {
		n = max(n, u.apps[r.app.ID].next)
	}
	return n, err
}

// seekFrom is how many profiles are passed one by one: to seek costs as much as
// to read some hits.
const seekFrom = 4

// walk shows the counted hits of a stretch.
func (s stretch) walk(hidden, only *roaring.Bitmap, want tagSet, into scanned, stop <-chan struct{}) (err error) {
	id := s.day.app.ID
	from, to := hitProfileKey(nil, id, s.day.day, s.from), after(hitDayKey(nil, id, s.day.day))
	if s.to != 0 {
		to = hitProfileKey(nil, id, s.day.day, s.to)
	}
	it, err := s.day.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("cannot read the store: %w", err)
	}
	defer func() {
		if e := it.Close(); err == nil {
			err = e
		}
	}()
	var h spoor.Hit
	var next roaring.IntPeekable
	if only != nil {
		next = only.Iterator()
	}
	some := !hidden.IsEmpty()
	for n, ok := 0, it.First(); ok; n++ {
		if n&0xfff == 0xfff {
			select {
			case <-stop:
				return nil
			default:
			}
		}
		if only != nil {
			at := be32(it.Key()[9:])
			next.AdvanceIfNeeded(at)
			if !next.HasNext() {
				break
			}
			if wanted := next.PeekNext(); wanted > at+seekFrom {
				ok = it.SeekGE(hitProfileKey(nil, id, s.day.day, spoor.Number(wanted)))
				continue
			} else if wanted != at {
				ok = it.Next()
				continue
			}
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("cannot read the store: %w", err)
		}
		if err := readSparse(it.Key(), value, want, &h); err != nil {
			return fmt.Errorf("cannot read a hit of %s: %w", s.day.day, err)
		}
		if counted(&h) && !(some && hidden.Contains(uint32(h.Profile))) {
			into.hit(&h)
		}
		ok = it.Next()
	}
	return it.Error()
}

// trail follows the visits and views of one profile at a time, in a walk over
// a day: of a hit that goes on with a visit, or ends the time on a page, it
// tells whether what that began fits the question.
type trail struct {
	profile spoor.Number
	views   []trailView
	visits  []trailVisit
}

type trailView struct {
	text        string // of its row, where that is asked for; its own memory
	time, visit int64
	fits        bool
}

type trailVisit struct {
	start int64
	fits  bool
}

// enter must be called with every counted hit, before the others.
func (t *trail) enter(h *spoor.Hit) {
	if h.Profile != t.profile || h.Profile == 0 {
		t.profile, t.views, t.visits = h.Profile, t.views[:0], t.visits[:0]
	}
}

// note remembers a hit.
func (t *trail) note(h *spoor.Hit, fits bool) {
	if h.First {
		t.visits = append(t.visits, trailVisit{h.Visit, fits})
	}
	if beginsView(h) {
		t.views = append(t.views, trailView{time: h.Time, visit: h.Visit, fits: fits})
	}
}

// visit tells whether the hit that began the visit of a hit fits; known is false
// if that is filed under another day or number.
func (t *trail) visit(h *spoor.Hit) (fits, known bool) {
	for i := len(t.visits) - 1; i >= 0; i-- {
		if t.visits[i].start == h.Visit {
			return t.visits[i].fits, true
		}
	}
	return false, false
}

// view is the view whose time a hit ended, or behind which it came; nil if that
// stands under another number.
func (t *trail) view(h *spoor.Hit) *trailView {
	for i := len(t.views) - 1; i >= 0; i-- {
		if v := &t.views[i]; v.visit == h.Visit && v.time == h.Time-h.Tally.Since {
			return v
		}
	}
	return nil
}

// elsewhere calls f with the counted hits of an instant, of all numbers of the
// person behind a hit, filed under some days, until f has found what it looks
// for.
func (r *reading) elsewhere(h *spoor.Hit, ms int64, want tagSet, f func(*spoor.Hit) (found bool), days ...spoor.Day) error {
	numbers := []spoor.Number{h.Profile}
	st, err := readProfile(r.db, r.app.ID, spoor.Number(r.persons.person(uint32(h.Profile))))
	if err != nil {
		return err
	}
	for _, part := range st.parts(spoor.Number(r.persons.person(uint32(h.Profile)))) {
		if part.number != h.Profile {
			numbers = append(numbers, part.number)
		}
	}
	for _, n := range numbers {
		for _, day := range days {
			err := scan(r.db, hitTimeKey(nil, r.app.ID, day, n, ms), func(key, value []byte) error {
				var other spoor.Hit
				err := readSparse(key, value, tagsAlways|want, &other)
				if err == nil && counted(&other) && f(&other) {
					err = errSome
				}
				return err
			})
			if errors.Is(err, errSome) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
