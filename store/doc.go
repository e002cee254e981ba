// Package store keeps hits and profiles on disk: one Pebble database, keys
// that begin with the app, partitions by app and day.
//
// Open makes a Store. Write, its Sink, returns once the hits are fsynced and
// says of each whether it was stored, was a duplicate, or was refused and why.
// Edit changes a profile without a hit. Profile, Find, Hits and ScanHits read;
// Check verifies every invariant.
//
// One goroutine decides everything (writer.go): it takes what has queued,
// resolves who a hit belongs to (identity.go), drops duplicates, files the hit
// under a day (take.go), and fills one batch a group (group.go). While Pebble takes
// that in it decides about the next group, and what it reads is as if that were done
// (front.go). Another goroutine waits for the syncs in order and wakes the callers
// (ack.go). So there are no locks between hits, merges and edits, and two stores that
// are fed the same requests hold the same data.
//
// A segment is evaluated when it is asked for, from what is cheap to what is dear
// (select.go): sets, roll-ups, attributes, hits. Attributes that are asked for
// often are kept in memory as columns (column.go), of which the writer is told
// whose profiles change.
//
// A segment that is watched has a bitmap of its members. Watch follows the feeds
// (feed.go), evaluates the segment for whom they tell of, and has the writer note
// who crossed (watch.go).
//
// Changes can be commands of a log that several stores read. At gives a view for
// one: its time and its randomness decide, and the first change brings with it how
// far the log is applied. Stores that apply the same commands hold the same, as
// Mark and Digest show.
//
// FORMAT.md draws keys and values. Keys hold numbers and keyed hashes only,
// never personal data: Pebble copies keys into its MANIFEST, where they would
// outlive the record.
//
// # Caveats
//
// Values passed to callbacks are valid until the callback returns, if nothing
// else is said. All methods may be called concurrently; reads must have ended
// before Close. After a failed fsync the process ends: what was acknowledged is
// on disk, and nobody can know what else is.
package store
