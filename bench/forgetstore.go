package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/enrich"
	"github.com/spoorhq/spoor/retention"
	"github.com/spoorhq/spoor/store"
)

// The model of a crowd over months. A visitor's number says on which day it
// first came, and hashes of it on which days it came again, so nobody needs to
// be remembered: a day asks the earlier ones who of theirs comes.
const (
	returnAfter = 14  // a visitor who comes again does so within so many days
	returnDays  = 120 // and not later than so long after the first visit
	daysOfCrowd = 4   // more than idle_days: of so many days' births the store holds profiles when it is in balance
)

// crowd are visitors who are born in equal numbers on each day.
type crowd struct {
	salt   uint64
	births int
}

// comesOn reports whether a visitor of an earlier day comes on a day.
func (c crowd) comesOn(v visitor, born, day int) bool {
	for n, at := 1, born; n < v.visits(c.salt) && at < day; n++ {
		if at += 1 + int(v.hash(c.salt, uint64(16+n))%returnAfter); at == day {
			return true
		}
	}
	return false
}

// on lists who comes on a day, in a random order.
func (c crowd) on(day int) (all []visitor) {
	for born := max(0, day-returnDays); born <= day; born++ {
		for i := range c.births {
			if v := visitor(born*c.births + i); born == day || c.comesOn(v, born, day) {
				all = append(all, v)
			}
		}
	}
	r := rand.New(rand.NewPCG(c.salt, uint64(day)))
	r.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	return all
}

// visits draws hits of visits that go on at once, as a stream of the model does.
type visits struct {
	rng    *rand.Rand
	next   func() (visitor, bool) // who comes; false: nobody any more
	active []visit
}

func (s *visits) draw() (h hit, ok bool) {
	for len(s.active) > 0 {
		i := s.rng.IntN(len(s.active))
		v := &s.active[i]
		if v.hits == 0 {
			if v.who, ok = s.next(); !ok {
				last := len(s.active) - 1
				s.active[i] = s.active[last]
				s.active = s.active[:last]
				continue
			}
			for v.hits = 1; s.rng.Float64() > 1.0/hitsOfVisit; v.hits++ {
			}
		}
		v.hits--
		return hit{who: v.who, action: s.rng.IntN(actionCount)}, true
	}
	return h, false
}

// moments makes the hits of the native protocol as they come out of enrich. The
// front door and enrich are measured elsewhere; here they would only slow down.
type moments struct {
	salt uint64
	app  spoor.AppID
	all  []spoor.Hit // persona × action
}

func newMoments(st *store.Store, app spoor.AppID, salt uint64) (*moments, error) {
	m := &moments{salt: salt, app: app}
	personas := newPersonas(salt)
	for i := range personas {
		for _, a := range actions {
			m.all = append(m.all, moment(app, &personas[i], a))
		}
	}
	enricher, err := enrich.New(enrich.Options{Next: discard{}, Apps: st})
	if err != nil {
		return nil, err
	}
	if err := enricher.Write(m.all); err != nil {
		return nil, err
	}
	for i := range m.all {
		m.all[i].Outcome = spoor.Pending
	}
	return m, nil
}

// moment is the hit that traffic.native writes as JSON.
func moment(app spoor.AppID, p *persona, a action) spoor.Hit {
	h := spoor.Hit{
		App: app, Door: spoor.DoorNative, Name: a.name, URL: p.origin + a.path + a.query, Referrer: a.referrer, Title: a.title,
		Resolution: p.screen, Language: p.language, TimeZone: p.zone, UserAgent: p.agent, IP: netip.MustParseAddr(p.address),
	}
	h.Kind, _ = spoor.ParseKind(a.kind)
	if p.platform != "" {
		h.Hints = spoor.Hints{Mobile: spoor.ChoiceDenied, Platform: p.platform, PlatformVersion: "15.0.0"}
		if p.mobile == "?1" {
			h.Hints.Mobile = spoor.ChoiceGranted
		}
	}
	if a.properties != "" {
		h.Properties = []byte(a.properties)
	}
	switch {
	case h.Kind == spoor.KindIdentify && p.known:
		h.Attributes = []spoor.Attribute{ // traits
			{Name: spoor.AttrFirstName, Type: spoor.TypeString, Text: "Ada"}, {Name: spoor.AttrCity, Type: spoor.TypeString, Text: "Gdynia"},
			{Name: "plan", Type: spoor.TypeString, Text: "gold"}, {Name: "newsletter", Type: spoor.TypeBool, Text: "true"},
			{Name: "orders", Type: spoor.TypeInt, Text: "7"},
		}
	case h.Kind == spoor.KindIdentify:
		h.Kind = spoor.KindPing
	}
	return h
}

// put makes a hit that happens at an instant.
func (m *moments) put(into *spoor.Hit, h hit, e event, at int64) {
	persona := h.who.persona(m.salt)
	*into = m.all[persona*actionCount+h.action]
	var text [idBytes + keyBytes]byte
	into.ID = string(e.appendID(text[:0], at, m.salt))
	into.Key = string(appendKey(text[:0], h.who, m.salt))
	if isKnown(persona) {
		into.UserID = string(appendBase62(append(text[:0], 'c'), h.who.hash(m.salt, 6)))
	}
	into.Time, into.Received = at, at
}

// clock is a simulated one. It can be set ahead, and else runs like any other.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time   { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) set(at time.Time) { c.ahead.Store(int64(time.Until(at))) }
func (c *clock) ms() int64        { return c.now().UnixMilli() }

// forgetter is a store in simulated time, with what is needed to fill it.
type forgetter struct {
	forgetPlan
	crowd
	*moments
	clock   *clock
	dir     string
	st      *store.Store
	sweeper *retention.Sweeper
	app     *spoor.App
	day     int           // since the beginning
	events  atomic.Uint32 // so far
	born    atomic.Uint64 // visitors of loads
	stored  atomic.Int64
}

// simulatedStart is the first midnight; any would do.
var simulatedStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newForgetter makes a store with one app, or opens one that is there.
func newForgetter(dir string, plan forgetPlan, day int) (*forgetter, error) {
	f := &forgetter{forgetPlan: plan, crowd: crowd{salt: plan.salt, births: max(1, plan.profiles/(plan.idle+daysOfCrowd))}, clock: new(clock), dir: dir, day: day}
	f.clock.set(f.midnight())
	if err := f.open(); err != nil {
		return nil, err
	}
	err := f.prepare()
	if err != nil {
		return nil, errors.Join(err, f.st.Close())
	}
	return f, nil
}

// prepare finds or makes the app.
func (f *forgetter) prepare() (err error) {
	if f.app = f.st.AppByName(demoKey); f.app == nil {
		settings := spoor.DefaultSettings("UTC")
		settings.IdleDays = f.idle
		if f.app, err = f.st.CreateApp(&spoor.App{Name: demoKey, Created: f.clock.ms(), Settings: settings}); err != nil {
			return err
		}
	}
	f.moments, err = newMoments(f.st, f.app.ID, f.crowd.salt)
	return err
}

func (f *forgetter) open() (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	f.st, err = store.Open(store.Options{Dir: f.dir, Now: f.clock.now, Log: log})
	f.sweeper = retention.New(retention.Options{Store: f.st, Now: f.clock.now, Log: log})
	return err
}

// midnight begins the simulated day.
func (f *forgetter) midnight() time.Time { return simulatedStart.AddDate(0, 0, f.day) }

// nextDay steps the clock over midnight.
func (f *forgetter) nextDay() {
	f.day++
	f.clock.set(f.midnight().Add(time.Minute))
}

const (
	fillWriters = 8
	fillBatch   = 256 // 8 of them are what one group of the store takes
)

// fill writes the hits of the simulated day. The clock goes on by the hour.
func (f *forgetter) fill() error {
	who := f.on(f.day)
	came, hour := 0, 0
	v := &visits{rng: rand.New(rand.NewPCG(f.crowd.salt+1, uint64(f.day))), active: make([]visit, min(64, 1+len(who)/64))}
	v.next = func() (visitor, bool) {
		if came == len(who) {
			return 0, false
		}
		came++
		return who[came-1], true
	}
	var mu sync.Mutex // over the draws
	next := func(hits []spoor.Hit) []spoor.Hit {
		mu.Lock()
		defer mu.Unlock()
		for len(hits) < fillBatch {
			h, ok := v.draw()
			if !ok {
				break
			}
			at := f.midnight().Add(2*time.Minute + 23*time.Hour*time.Duration(came)/time.Duration(len(who)))
			if at.Hour() > hour {
				hour = at.Hour()
				f.clock.set(at)
			}
			hits = hits[:len(hits)+1]
			f.put(&hits[len(hits)-1], h, event{seq: f.events.Add(1)}, at.UnixMilli())
		}
		return hits
	}
	errs := make([]error, fillWriters)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() {
			room := make([]spoor.Hit, 0, fillBatch)
			for hits := next(room); len(hits) > 0 && errs[i] == nil; hits = next(room) {
				errs[i] = f.write(hits)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// write stores hits, all of which must be new.
func (f *forgetter) write(hits []spoor.Hit) error {
	if err := f.st.Write(hits); err != nil {
		return fmt.Errorf("cannot write hits: %w", err)
	}
	for i := range hits {
		if hits[i].Outcome != spoor.Stored {
			return fmt.Errorf("a hit is %s (%s)", hits[i].Outcome, hits[i].Reason)
		}
	}
	f.stored.Add(int64(len(hits)))
	return nil
}

// quiet waits until the store has written what it owes, compactions included.
func (f *forgetter) quiet() (written int64) { return untilQuiet(f.st, f.pause) }

func untilQuiet(st *store.Store, pause time.Duration) (written int64) {
	for range 100 {
		before := st.Stats().WrittenBytes
		time.Sleep(pause)
		if written = st.Stats().WrittenBytes; written == before {
			break
		}
	}
	return written
}

// tables closes the store and tells what its tables take. Opening it once more
// puts into tables what is only in the log, and removes files that are not used.
func (f *forgetter) tables() (bytes int64, err error) {
	if err := f.st.Close(); err != nil {
		return 0, err
	}
	if err := f.open(); err != nil {
		return 0, err
	}
	f.quiet()
	if err := f.st.Close(); err != nil {
		return 0, err
	}
	_, bytes, err = diskUse(filepath.Join(f.dir, "db"))
	return bytes, err
}

// copyStore copies a store that is closed.
func copyStore(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("cannot copy a store: %w", err)
	}
	return nil
}
