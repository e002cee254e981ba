package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// Writers of a load, as many as the connections that send batches.
const (
	loadWriters = batchConnections
	loadBatch   = batchEvents
	loadBorn    = 1 << 40 // numbers of visitors whom a load brings
)

// timing is one Write: when it was planned, from the beginning of the load, and
// how long after that it returned.
type timing struct{ planned, took time.Duration }

// pour writes batches until stop is closed: so many a second, or with a rate of 0
// each writer as fast as it can. In an open loop a Write that is late makes the
// next ones late, and that counts as their latency too.
func (f *forgetter) pour(perSecond float64, stop <-chan struct{}) ([]timing, error) {
	var turn atomic.Int64
	parts, errs := make([][]timing, loadWriters), make([]error, loadWriters)
	var wait sync.WaitGroup
	began := time.Now()
	for i := range parts {
		v := &visits{rng: rand.New(rand.NewPCG(f.crowd.salt, rand.Uint64())), active: make([]visit, visitsAtOnce)}
		v.next = func() (visitor, bool) { return f.somebody(v.rng), true }
		wait.Go(func() {
			hits := make([]spoor.Hit, loadBatch)
			for errs[i] == nil {
				select {
				case <-stop:
					return
				default:
				}
				f.load(v, hits)
				s := timing{planned: time.Since(began)}
				if perSecond > 0 {
					s.planned = time.Duration(float64(turn.Add(1)) / perSecond * float64(time.Second))
					time.Sleep(time.Until(began.Add(s.planned)))
				}
				errs[i] = f.write(hits)
				s.took = time.Since(began) - s.planned
				parts[i] = append(parts[i], s)
			}
		})
	}
	wait.Wait()
	return slices.Concat(parts...), errors.Join(errs...)
}

// load draws a batch of hits that happen now.
func (f *forgetter) load(v *visits, hits []spoor.Hit) {
	now := f.clock.ms()
	for i := range hits {
		h, _ := v.draw()
		f.put(&hits[i], h, event{stream: 1, seq: f.events.Add(1)}, now)
	}
}

// somebody is new, or comes again after some days.
func (f *forgetter) somebody(rng *rand.Rand) visitor {
	if rng.Float64() < 1/visitsPerVisitor {
		return visitor(loadBorn + f.born.Add(1))
	}
	for {
		born := f.day - 1 - rng.IntN(returnAfter)
		if v := visitor(born*f.births + rng.IntN(f.births)); v.visits(f.crowd.salt) > 1 {
			return v
		}
	}
}

// percentile99 of the writes that were planned in a stretch of time.
func percentile99(all []timing, from, to time.Duration) time.Duration {
	var took []time.Duration
	for _, s := range all {
		if s.planned >= from && s.planned < to {
			took = append(took, s.took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// forever is behind the end of every load.
const forever = time.Duration(1 << 62)

// capacity is how many batches a second a closed loop of the writers reaches.
func (f *forgetter) capacity(legs int) (perSecond float64, err error) {
	stop := make(chan struct{})
	time.AfterFunc(time.Duration(legs)*f.leg, func() { close(stop) })
	began := time.Now()
	all, err := f.pour(0, stop)
	return float64(len(all)) / time.Since(began).Seconds(), err
}

// during runs work while the load pours.
func (f *forgetter) during(perSecond float64, work func() error) ([]timing, error) {
	stop := make(chan struct{})
	var all []timing
	var poured error
	var wait sync.WaitGroup
	wait.Go(func() { all, poured = f.pour(perSecond, stop) })
	err := work()
	close(stop)
	wait.Wait()
	return all, errors.Join(err, poured)
}

// loadRound is one pair of loads, without a sweep and with one.
type loadRound struct {
	without, with              time.Duration // p99
	sealing, deciding, freeing time.Duration // p99 while the sweep did this
	sealed, decided, took      time.Duration // when it had done that, from its beginning
	profiles                   int64
}

func (r *loadRound) ratio() float64 { return float64(r.with) / float64(max(r.without, 1)) }

// round steps over a midnight and measures, with the sweep first if told so.
func (f *forgetter) round(perSecond float64, sweepFirst bool) (r loadRound, err error) {
	f.nextDay()
	alone := func() error {
		f.quiet()
		all, err := f.during(perSecond, func() error { time.Sleep(f.leg); return nil })
		r.without = percentile99(all, 0, forever)
		return err
	}
	swept := func() error { f.quiet(); return f.sweepUnderLoad(perSecond, &r) }
	if sweepFirst {
		alone, swept = swept, alone
	}
	err = errors.Join(alone(), swept())
	return r, err
}

func (f *forgetter) sweepUnderLoad(perSecond float64, r *loadRound) error {
	all, err := f.during(perSecond, func() error {
		began := time.Now()
		_, _, err := f.st.SealDays(context.Background())
		if r.sealed = time.Since(began); err != nil {
			return err
		}
		s, err := f.sweeper.Sweep(context.Background(), false, true)
		r.decided, r.took = r.sealed+s.Decided, r.sealed+s.Took
		r.profiles = removed(s).Profiles
		return err
	})
	r.with = percentile99(all, 0, forever)
	r.sealing, r.deciding, r.freeing = percentile99(all, 0, r.sealed), percentile99(all, r.sealed, r.decided), percentile99(all, r.decided, forever)
	return err
}

// removed sums a sweep up.
func removed(s spoor.Sweep) (sum spoor.Removal) {
	for _, a := range s.Apps {
		sum.Add(a.Removal)
	}
	return sum
}

// Texts that only the person has who will be erased.
const (
	erasedCookie = "cookie-of-who-is-erased"
	erasedPath   = "/only-read-by-who-is-erased"
)

// visit is what that person does now: three pages.
func (f *forgetter) visit() (spoor.Number, error) {
	hits := make([]spoor.Hit, 3)
	for i := range hits {
		at := f.clock.ms() + int64(i)
		f.put(&hits[i], hit{who: loadBorn - 1}, event{stream: 2, seq: f.events.Add(1)}, at)
		plain := &f.all[(personaCount-1)*actionCount] // neither a bot nor known
		id := hits[i].ID
		hits[i] = *plain
		hits[i].ID, hits[i].Key, hits[i].Time, hits[i].Received = id, erasedCookie, at, at
		hits[i].URL = origins[0] + erasedPath
	}
	err := f.write(hits)
	return hits[0].Profile, err
}

// erasure is what became of the person.
type erasure struct {
	took          time.Duration
	hits          int64
	before, after int // finds in the files
	files         int64
}

// erase removes the person while the load pours, who has just been there.
func (f *forgetter) erase(perSecond float64) (e erasure, err error) {
	n, err := f.visit()
	if err != nil {
		return e, err
	}
	f.quiet()
	if e.before, e.files, err = f.finds(); err != nil {
		return e, err
	}
	_, err = f.during(perSecond, func() error {
		time.Sleep(f.leg / 4)
		if _, err := f.visit(); err != nil {
			return err
		}
		began := time.Now()
		r, err := f.sweeper.Erase(context.Background(), f.app.ID, n, "", true)
		if e.took = time.Since(began); err == nil {
			e.hits = r.Hits
		}
		return err
	})
	if err := errors.Join(err, f.st.Close()); err != nil {
		return e, err
	}
	e.after, _, err = f.finds()
	return e, err
}

// finds counts the texts of the person in the files.
func (f *forgetter) finds() (n int, files int64, err error) {
	r, err := store.Scan(nil, f.dir, []string{erasedCookie, erasedPath})
	if err == nil && len(r.Unreadable) > 0 {
		err = errors.New("files cannot be read: " + r.Unreadable[0])
	}
	for _, find := range r.Finds {
		n += find.Count
	}
	return n, r.Files, err
}
