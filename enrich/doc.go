// Package enrich completes hits and cuts them down to what may be kept.
//
// An Enricher is a Sink in front of a Sink. For every hit it finds the place of
// the address, tells device and bot from user agent and client hints, names the
// channel that led here, and minimises addresses, urls and titles. Only then does the hit go on to Options.Next, so
// nothing that is dropped here can be written or spilled behind it. New makes
// an Enricher, Write is its work, Run follows changes of the GeoIP files.
//
// # Adding an enrichment
//
// Write one file named after what is found, with a method or function that
// reads and changes one *spoor.Hit and never fails: what cannot be known stays
// empty. Call it in complete (enrich.go), before minimise if it needs what
// minimise takes away, and have counts collected in tally, which is added to
// the shared counters once per batch. Results that cost more than a
// microsecond belong in a cache. A new stored field goes into spoor.Hit first.
//
// # Caveats
//
// A hit is completed once: after an error of Next its address and urls are
// already cut, so decode it again instead of writing it a second time.
//
// GeoIP files over 4 MiB are copied to Options.TempDir, mapped and unlinked.
// A map of the operator's own file would end the process (SIGBUS) as soon as
// somebody truncates that file.
//
// Caches hold user agents and cut addresses in memory, never whole addresses.
//
// # Data
//
// The embedded demo.mmdb covers documentation ranges only; go generate makes it
// from testdata/geoip/demo.tsv. fetch-geoip.sh fetches a real database.
package enrich
