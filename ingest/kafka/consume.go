package kafka

import (
	"context"
	"errors"

	"github.com/spoorhq/spoor"
)

// Batch is what a partition holds next: whole records, in order.
type Batch struct {
	Partition int
	Next      int64       // the offset to go on from once this batch is kept
	Hits      []spoor.Hit // of all records that could be read; strings of one record share memory
	Poisoned  []Poisoned  // records that could not be read
	Missing   int64       // records before this batch that the topic had dropped before they were read
}

// Poisoned is a record that could not be decoded. Offset tells where it stands.
type Poisoned struct {
	Offset int64
	Value  []byte
	Why    error
}

// Consume reads a partition from an offset on, −1 for the oldest record, and
// calls fn with one batch after the other. fn returns once the hits and Next
// are kept together; Consume never goes back, and gives no record twice. The
// batch and its slices are the callee's.
//
// It returns ctx.Err() when ctx ends, the error of fn, or why the partition can
// not be read on: its topic is gone, or ends before the offset. Brokers that do
// not answer are asked again for ever.
func (t *Topic) Consume(ctx context.Context, partition int, from int64, fn func(*Batch) error) error {
	return errors.New("not yet")
}
