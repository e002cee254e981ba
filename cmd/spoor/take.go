package main

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/enrich"
	"github.com/spoorhq/spoor/ingest"
	"github.com/spoorhq/spoor/ingest/certs"
)

// take is the half that takes hits in and completes them.
type take struct {
	flags     *takeFlags
	keeper    *certs.Keeper // nil: plain HTTP
	enricher  *enrich.Enricher
	collector *ingest.Server
	front     front
}

// directory is what taking hits in asks about apps.
type directory interface {
	ingest.Apps
	enrich.Apps
}

// take wires what is before a sink; more sets further options of the collector.
func (f *takeFlags) take(next spoor.Sink, apps directory, data string, now func() time.Time, log *slog.Logger, more func(*ingest.Options)) (*take, error) {
	t := &take{flags: f}
	var err error
	if t.keeper, err = f.HTTPS.keeper(data, now, log); err != nil {
		return nil, err
	}
	t.enricher, err = enrich.New(enrich.Options{Next: next, Apps: apps, GeoIPPath: f.GeoIP, TempDir: data, Now: now, Log: log})
	if err != nil {
		return nil, err
	}
	l := f.Limits
	o := ingest.Options{
		Now: now, Sink: t.enricher, Apps: apps, SaltFile: filepath.Join(data, "salts"), TrustedProxies: prefixes(f.TrustedProxies), Log: log,
		BodyBytesMax: l.BodyBytesMax, InflatedBytesMax: l.InflatedBytesMax, InFlightBytesMax: l.InFlightBytesMax,
		EventsMax: l.EventsMax, EventBytesMax: l.EventBytesMax, JSONDepthMax: l.JSONDepthMax,
		HeaderCountMax: l.HeaderCountMax, HeaderBytesMax: l.HeaderBytesMax,
		ConnectionsMax: l.ConnectionsMax, ConnectionsPerAddressMax: l.ConnectionsPerAddressMax,
		ReadTimeout: l.ReadTimeout, WriteTimeout: l.WriteTimeout, IdleTimeout: l.IdleTimeout,
	}
	more(&o)
	t.collector, err = ingest.New(o)
	return t, err
}

// listen opens what the public reaches.
func (t *take) listen() (err error) {
	t.front, err = t.flags.openFront(t.keeper)
	return err
}

// serve starts what listen has opened.
func (t *take) serve(l *life) {
	t.front.serve(l, t.collector, l.start, l.log)
	go t.enricher.Run(l)
}
