package kafka

import (
	"errors"

	"github.com/spoorhq/spoor"
)

// Sink hands hits to the brokers. It is the spoor.Sink at the end of a
// collector.
type Sink struct{}

// Sink begins to produce. Every call makes another one with its own bound of
// what waits; a collector needs one.
func (t *Topic) Sink() *Sink { return &Sink{} }

// Write returns nil once all in-sync replicas have acknowledged the hits, whose
// Outcome is then spoor.Accepted. A hit that no record can hold is Refused with
// spoor.ReasonTooLarge. spoor.ErrBusy means that too much waits already, or
// that the brokers did not acknowledge in time; the sender may repeat. A hit
// with neither ID nor Digest is given a random Digest.
func (s *Sink) Write(hits []spoor.Hit) error { return errors.New("not yet") }

// Close waits for what is under way, at most as long as a Write may take, and
// ends the Sink. A later Write returns spoor.ErrClosed.
func (s *Sink) Close() error { return nil }

// Figures are what a Sink has counted since it was made.
type Figures struct {
	Hits     uint64 // acknowledged by the brokers
	Records  uint64 // that held them
	Bytes    uint64 // of those records, before compression
	Requests uint64 // to the brokers that were acknowledged
	Retries  uint64 // requests that failed and were sent again
	Busy     uint64 // calls of Write that returned spoor.ErrBusy
	Refused  uint64 // hits that were too large
	Waiting  int64  // bytes that wait for an acknowledgement now
}

// Figures reads the counters. It may be called at any time.
func (s *Sink) Figures() Figures { return Figures{} }
