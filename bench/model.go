package main

import (
	"math/rand/v2"
	"sort"
)

// The traffic model. All figures of this folder are measured with it.
//
//	apps        one, or 1,000 whose shares follow Zipf's law (1/rank)
//	visitors    95 of 100 anonymous, the others send a user id;
//	            75 of 100 come for one visit, the others for four on average
//	visits      four hits on average (geometric)
//	bots        make 5 of 100 hits
//	hits        2 of 3 are pages, the others events, clicks, product events, forms,
//	            and one identify among the hits of known people
//	repeats     2 of 1,000 requests are sent again, as clients do after a timeout
//	personas    400 browsers and bots with address, language, screen, time zone
//
// A run lasts seconds, and no visit is over before it ends. What returns is
// therefore told apart by what the store knows: visitors of an earlier phase
// (the population), who are in its files and perhaps no more in its caches.
const (
	personaCount    = 400
	personaKnown    = 20 // of these, people with a user id: 5 of 100
	personaBots     = 20 // and bots: 5 of 100
	visitsOnceShare = 0.75
	visitsOfOthers  = 4
	hitsOfVisit     = 4
	visitsAtOnce    = 8 // visits that one connection carries in turn
	repeatShare     = 0.002
	poolMax         = 4096 // visitors of a stream that will return
)

// visitsPerVisitor is the mean; its inverse is the share of visits that are
// made by somebody new.
const visitsPerVisitor = visitsOnceShare + (1-visitsOnceShare)*visitsOfOthers

// Mix says who sends the hits.
type Mix int

// The mixes.
const (
	MixModel     Mix = iota // as the model says
	MixNew                  // every hit is the first of a new visitor
	MixReturning            // every hit is of a visitor that the store knows
)

// String is the name in the report.
func (m Mix) String() string { return [...]string{"model", "new", "returning"}[m] }

// visitor numbers somebody, uniquely over all streams.
type visitor uint64

// hash is a number that is the visitor's own for one purpose.
func (v visitor) hash(salt, purpose uint64) uint64 { return mix(mix(uint64(v)^salt) + purpose) }

// persona is the browser (or the bot) that the visitor uses.
func (v visitor) persona(salt uint64) int { return int(v.hash(salt, 1) % personaCount) }

// visits is how often the visitor comes in all.
func (v visitor) visits(salt uint64) int {
	if share(v.hash(salt, 2)) < visitsOnceShare {
		return 1
	}
	n := 2 // a geometric number from 2, with the mean visitsOfOthers
	for h := v.hash(salt, 3); share(h) > 1.0/(visitsOfOthers-1) && n < 50; h = mix(h + 1) {
		n++
	}
	return n
}

// share maps a hash to [0, 1).
func share(h uint64) float64 { return float64(h>>11) / (1 << 53) }

func isKnown(persona int) bool { return persona < personaKnown }
func isBot(persona int) bool {
	return persona >= personaKnown && persona < personaKnown+personaBots
}

// hit is one draw of the model: who does what.
type hit struct {
	who    visitor
	app    int
	action int
}

// stream draws the hits of one connection. Streams with the same salt and
// number draw the same.
type stream struct {
	number     int
	salt       uint64
	apps       []float64 // cumulated shares
	from       int       // number of the first of them
	population uint32    // visitors of this stream that the store knows
	times      int       // hits of each by which it gets to know them; 0 means 1
	told       uint32    // of these hits so far
	born       uint32    // visitors so far
	seq        uint32    // events so far
	rng        *rand.Rand
	active     [visitsAtOnce]visit
	pool       []returning
}

type visit struct {
	who    visitor
	hits   int // still to come
	visits int // after this one
}

type returning struct {
	who    visitor
	visits int // still to come
}

func newStream(number int, salt uint64, apps int, population int) *stream {
	s := &stream{
		number: number, salt: salt, apps: zipf(apps), population: uint32(population),
		rng: rand.New(rand.NewPCG(salt, uint64(number))),
	}
	return s
}

// zipf gives the cumulated shares of n apps, the k-th having a share of 1/k.
func zipf(n int) []float64 {
	sums := make([]float64, n)
	total := 0.0
	for k := range sums {
		total += 1 / float64(k+1)
		sums[k] = total
	}
	for k := range sums {
		sums[k] /= total
	}
	return sums
}

func (s *stream) visitor(n uint32) visitor { return visitor(uint64(s.number)<<32 | uint64(n)) }

// app is the app whose page the visitor is on.
func (s *stream) app(v visitor) int {
	if len(s.apps) == 1 {
		return s.from
	}
	return s.from + min(sort.SearchFloat64s(s.apps, share(v.hash(s.salt, 4))), len(s.apps)-1)
}

// birth is a visitor that was never seen before.
func (s *stream) birth() visitor {
	s.born++
	return s.visitor(s.born - 1)
}

// first is a hit by which the population becomes known to the store; ok is
// false when all of it is. All come once, then all of them again.
func (s *stream) first() (h hit, ok bool) {
	if s.born >= s.population {
		if s.told >= s.population*uint32(max(s.times, 1)) {
			return h, false
		}
		s.told++
		return s.hit(s.visitor((s.told - 1) % s.population)), true
	}
	s.told++
	v := s.birth()
	if left := v.visits(s.salt) - 1; left > 0 && len(s.pool) < poolMax {
		s.pool = append(s.pool, returning{v, left})
	}
	return s.hit(v), true
}

// next draws a hit.
func (s *stream) next(m Mix) hit {
	switch {
	case m == MixNew:
		return s.hit(s.birth())
	case m == MixReturning && s.population > 0:
		return s.hit(s.visitor(s.rng.Uint32N(s.population)))
	}
	v := &s.active[s.rng.IntN(len(s.active))]
	if v.hits == 0 {
		if v.visits > 0 && len(s.pool) < poolMax {
			s.pool = append(s.pool, returning{v.who, v.visits})
		}
		*v = s.visit()
	}
	v.hits--
	return s.hit(v.who)
}

// visit begins a visit, of somebody new or of somebody who returns.
func (s *stream) visit() visit {
	v := visit{hits: 1}
	for s.rng.Float64() > 1.0/hitsOfVisit {
		v.hits++
	}
	if len(s.pool) > 0 && s.rng.Float64() > 1/visitsPerVisitor {
		i := s.rng.IntN(len(s.pool))
		v.who, v.visits = s.pool[i].who, s.pool[i].visits-1
		last := len(s.pool) - 1
		s.pool[i] = s.pool[last]
		s.pool = s.pool[:last]
		return v
	}
	v.who = s.birth()
	v.visits = v.who.visits(s.salt) - 1
	return v
}

func (s *stream) hit(v visitor) hit {
	return hit{who: v, app: s.app(v), action: s.rng.IntN(actionCount)}
}

// event numbers the next event of the stream.
func (s *stream) event(app int) event {
	s.seq++
	return event{stream: s.number, app: app, seq: s.seq - 1}
}
