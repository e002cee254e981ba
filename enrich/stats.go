package enrich

import (
	"sync"
	"time"
)

// Stats is what an Enricher has counted since it was made, and the state of
// its GeoIP database.
type Stats struct {
	Hits       int64 // seen
	Bots       int64 // marked as bots
	Redactions int64 // values that looked like e-mail addresses or tokens

	GeoLookups   int64 // addresses looked up
	GeoMisses    int64 // of them without a place
	GeoCacheHits int64 // of them answered from memory

	AgentLookups   int64 // user agents looked up
	AgentCacheHits int64 // of them answered from memory
	AgentPanics    int64 // user agents on which a parser panicked; the agent stayed empty

	GeoSource       string    // file names without their folders, or "embedded"
	GeoBuilt        time.Time // when the oldest of the files was built
	GeoLoaded       time.Time // when they were loaded
	GeoReloads      int64     // later loads that succeeded
	GeoReloadFailed bool      // the last attempt failed; the database before it answers
}

// tally is what one batch adds to the counters. It is added once per batch,
// under one lock: cores would fight for the cache line of every single counter.
type tally struct {
	hits, bots, redactions                    int64
	geoLookups, geoMisses, geoCacheHits       int64
	agentLookups, agentCacheHits, agentPanics int64
}

type counters struct {
	mu  sync.Mutex
	sum tally
}

func (c *counters) add(t *tally) {
	c.mu.Lock()
	s := &c.sum
	s.hits += t.hits
	s.bots += t.bots
	s.redactions += t.redactions
	s.geoLookups += t.geoLookups
	s.geoMisses += t.geoMisses
	s.geoCacheHits += t.geoCacheHits
	s.agentLookups += t.agentLookups
	s.agentCacheHits += t.agentCacheHits
	s.agentPanics += t.agentPanics
	c.mu.Unlock()
}

func (c *counters) load() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum
}

// Stats reads the counters. It may be called at any time.
func (e *Enricher) Stats() Stats {
	c := e.counters.load()
	s := Stats{
		Hits:           c.hits,
		Bots:           c.bots,
		Redactions:     c.redactions,
		GeoLookups:     c.geoLookups,
		GeoMisses:      c.geoMisses,
		GeoCacheHits:   c.geoCacheHits,
		AgentLookups:   c.agentLookups,
		AgentCacheHits: c.agentCacheHits,
		AgentPanics:    c.agentPanics,
	}
	e.geo.describe(&s)
	return s
}
