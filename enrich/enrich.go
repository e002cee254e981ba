package enrich

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spoorhq/spoor"
)

// Enricher is a spoor.Sink that completes hits and hands them on. Its methods
// may be called concurrently.
type Enricher struct {
	opts     Options
	geo      *geo
	agents   *agents
	sites    *cache[string, site]
	counters counters
}

// New opens the GeoIP database and makes an Enricher. The error names every
// option that is wrong, or the database that cannot be used.
func New(opts Options) (*Enricher, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("cannot start enrichment: %w", err)
	}
	g, err := newGeo(opts)
	if err != nil {
		return nil, err
	}
	return &Enricher{
		opts:   opts,
		geo:    g,
		agents: newAgents(opts.AgentsMax),
		sites:  newCache[string, site](sitesMax),
	}, nil
}

// Reload reads the GeoIP files again. After an error the database in use
// before goes on answering; lookups under way are never disturbed.
func (e *Enricher) Reload() error { return e.geo.reload() }

// Run swaps the GeoIP database in whenever its files change, until ctx is
// done. A file that cannot be used is logged once and the old one kept.
func (e *Enricher) Run(ctx context.Context) { e.geo.run(ctx) }

// defaults hold for a hit whose app is gone: the private ones.
var defaults = spoor.DefaultSettings("UTC")

// Write completes the hits and writes them to Options.Next.
func (e *Enricher) Write(hits []spoor.Hit) error {
	var t tally
	var app spoor.AppID
	settings := &defaults
	for i := range hits {
		h := &hits[i]
		if i == 0 || h.App != app { // batches are of one app nearly always
			app, settings = h.App, &defaults
			if a := e.opts.Apps.App(h.App); a != nil {
				settings = &a.Settings
			}
		}
		e.complete(h, settings, &t)
	}
	t.hits = int64(len(hits))
	e.counters.add(&t)
	return e.opts.Next.Write(hits)
}

// complete does all work on one hit. The address goes last: place and site
// need it whole.
func (e *Enricher) complete(h *spoor.Hit, s *spoor.Settings, t *tally) {
	h.IP = h.IP.Unmap().WithZone("")
	precision := s.Geo
	if s.GeoOptIn && h.Consent.Geolocation() != spoor.ChoiceGranted {
		precision = "none"
	}
	h.Place = e.geo.place(h.IP, precision, t)
	e.agents.describe(h, t)
	h.Hints = spoor.Hints{}
	led := minimise(h, s.QueryAllow, mayAdvertise(h, s))
	h.Campaign = e.campaign(h, led)
	if h.IP = cutAddress(h.IP, s.IP); s.Children {
		h.IP = netip.Addr{}
	}
	if h.Bot {
		t.bots++
	}
	t.redactions += int64(h.Redacted)
}

// mayAdvertise says whether an advertiser's id of a click may be kept: it is one
// person's and is for marketing. At the app's own doors it wants consent to
// that; who sends by other doors has asked, unless the hit says otherwise.
func mayAdvertise(h *spoor.Hit, s *spoor.Settings) bool {
	marketing := h.Consent.Marketing()
	switch {
	case s.Children || marketing == spoor.ChoiceDenied:
		return false
	case marketing == spoor.ChoiceGranted:
		return true
	}
	own := h.Door == spoor.DoorWidget || h.Door == spoor.DoorPixel || h.Door == spoor.DoorClick
	return !own && s.Mode != spoor.ModeConsent
}

// cutAddress keeps of an address what the app's setting allows: "full",
// "none", or else the network of 256 (IPv4) or 2^80 (IPv6) addresses.
func cutAddress(ip netip.Addr, keep string) netip.Addr {
	if !ip.IsValid() || keep == "full" {
		return ip
	}
	if keep == "none" {
		return netip.Addr{}
	}
	network, err := ip.Prefix(keptBits(ip))
	if err != nil { // cannot be, for bits fit the family
		return netip.Addr{}
	}
	return network.Addr()
}

func keptBits(ip netip.Addr) int {
	if ip.Is4() {
		return 24
	}
	return 48
}
