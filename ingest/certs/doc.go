// Package certs keeps the certificates with which the collector speaks TLS:
// a pair of files that somebody else renews, or certificates that it fetches
// itself from an authority that speaks ACME.
//
// New reads what is on disk and asks nobody; Run then looks after it until its
// context ends. A handshake gets what is there at that moment and never waits
// for a file or for the network: who made the authority slow must not be able
// to fill the collector with handshakes.
//
// Files are read every two seconds, because they are replaced by rename, by
// links and on network mounts, and a poll sees them all. Only a pair that fits
// together is taken; what does not is said once, and the pair before it stays.
package certs
