package enrich

import (
	"sync/atomic"
	"time"
)

// Stats is what an Enricher has counted since it was made, and the state of
// its GeoIP database.
type Stats struct {
	Hits       int64 // pending hits seen
	NoConsent  int64 // of them refused because analytics was denied
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

// tally is what one batch adds to the counters. It is added once per batch, so
// that cores do not fight for the counters' cache lines on every hit.
type tally struct {
	hits, noConsent, bots, redactions         int64
	geoLookups, geoMisses, geoCacheHits       int64
	agentLookups, agentCacheHits, agentPanics int64
}

type counters struct {
	hits, noConsent, bots, redactions         atomic.Int64
	geoLookups, geoMisses, geoCacheHits       atomic.Int64
	agentLookups, agentCacheHits, agentPanics atomic.Int64
}

func (c *counters) add(t *tally) {
	for _, p := range [...]struct {
		to *atomic.Int64
		n  int64
	}{
		{&c.hits, t.hits}, {&c.noConsent, t.noConsent}, {&c.bots, t.bots}, {&c.redactions, t.redactions},
		{&c.geoLookups, t.geoLookups}, {&c.geoMisses, t.geoMisses}, {&c.geoCacheHits, t.geoCacheHits},
		{&c.agentLookups, t.agentLookups}, {&c.agentCacheHits, t.agentCacheHits}, {&c.agentPanics, t.agentPanics},
	} {
		if p.n != 0 {
			p.to.Add(p.n)
		}
	}
}

// Stats reads the counters. It may be called at any time.
func (e *Enricher) Stats() Stats {
	c := &e.counters
	s := Stats{
		Hits:           c.hits.Load(),
		NoConsent:      c.noConsent.Load(),
		Bots:           c.bots.Load(),
		Redactions:     c.redactions.Load(),
		GeoLookups:     c.geoLookups.Load(),
		GeoMisses:      c.geoMisses.Load(),
		GeoCacheHits:   c.geoCacheHits.Load(),
		AgentLookups:   c.agentLookups.Load(),
		AgentCacheHits: c.agentCacheHits.Load(),
		AgentPanics:    c.agentPanics.Load(),
	}
	e.geo.describe(&s)
	return s
}
