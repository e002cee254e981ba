// Package kafka joins the stages over machines: a Sink that hands hits to
// Kafka, and a consumer that gives them back in order, with the offset that a
// store keeps beside them.
//
//	ingest ─▶ enrich ─▶ Sink ─▶ topic ─▶ Consume ─▶ store
//
// Open looks at the brokers and makes or checks two topics. The topic of hits
// is partitioned by app: all hits of an app meet in one partition in order, and
// between them the commands that store nodes Submit. The topic of apps is
// compacted and holds the directory: store nodes publish each App, collectors
// Follow it. Two more are made when they are first used: collectors agree on
// Salts, store nodes Announce themselves to each other. KAFKA.md says what is on
// the wire and what an acknowledgement means.
//
// Feeds write what happened in an app to a topic that is the app's own, for
// whoever wants to know of it.
//
// # Caveats
//
// A record may be in the log twice: its acknowledgement can be lost after the
// append. Every hit carries an id or a digest (the Sink gives one to those that
// have neither), and the store drops what it knows. A command carries an ID.
//
// Offsets are the caller's: there is no consumer group. A partition is read by
// whoever asks for it.
//
// Who may write to the topics is trusted with memory: a batch is inflated
// before its records are looked at.
package kafka
