// Package spoor holds the plain words that every stage shares: App, Hit,
// Profile, Day, and the one verb that joins the stages, Sink.
//
// A hit is one thing that happened: a page seen, an event, an identify. It
// enters at a door (ingest), is completed and cut down to what may be kept
// (enrich), is written and fsynced (store), leaves when its time is over
// (retention) and is read back (query):
//
//	ingest ─▶ enrich ─▶ store ─▶ query
//	                      ▲
//	                  retention
//
// Each arrow is a Sink. A stage takes a batch of hits, writes the outcome of
// every hit into the hit, and returns once all outcomes are final. An outcome
// Stored means: on disk and fsynced.
//
// This package imports nothing but the standard library, and nothing of ours.
//
// # Caveats
//
// A Hit owns its memory: strings and byte slices in it must not point into a
// request's buffers. App and Token values handed out by Apps are immutable
// snapshots; they may be kept, and grow old.
package spoor
