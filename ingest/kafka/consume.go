package kafka

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/spoorhq/spoor"
)

// Batch is what a partition holds next: whole records, in order. A command comes
// in a batch of its own, behind one with what is before it.
type Batch struct {
	Partition int
	Next      int64          // the offset to go on from once this batch is kept
	Hits      []spoor.Hit    // of all records that could be read; strings of one record share memory
	Command   *spoor.Command // if it is not nil, all that this batch holds: its offset is Next − 1
	Poisoned  []Poisoned     // records that could not be read
	Missing   int64          // records before this batch that the topic had dropped before they were read
}

// Poisoned is a record that could not be decoded. Offset tells where it stands.
type Poisoned struct {
	Offset int64
	Value  []byte
	Why    error
}

// A batch is full when it holds so much. A record more may come on top.
const (
	batchHitsMin     = 64 // that there is room for
	batchHitsMax     = 4096
	batchBytesMax    = 4 << 20
	batchPoisonedMax = 100
)

// Consume reads a partition from an offset on, −1 for the oldest record, and
// calls fn with one batch after the other: about 4096 hits, or what is there.
// fn returns once the hits and Next are kept together. No record comes twice
// and none is left out, but for those that Missing counts. The batch and all in
// it are the callee's. While fn works, the next batch is read.
//
// It returns ctx.Err() when ctx ends, the error of fn, or why the partition can
// not be read on: its topic is gone, or ends before the offset. Brokers that do
// not answer are asked again for ever.
func (t *Topic) Consume(ctx context.Context, partition int, from int64, fn func(*Batch) error) error {
	if err := t.known(partition); err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	in := &inbox{t: t, partition: partition, batch: &Batch{Partition: partition}}
	in.change = sync.NewCond(&in.mu)
	defer context.AfterFunc(inner, in.wake)()
	var reading sync.WaitGroup
	reading.Go(func() {
		f := follower{t: t, topic: t.opts.Topic, partition: partition, each: in.put(inner), missing: in.miss(inner)}
		in.end(f.run(inner, from))
	})
	defer reading.Wait()
	defer cancel()
	for {
		b, err := in.take(inner)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := fn(b); err != nil {
			return err
		}
	}
}

// inbox is the batch that fills up while the one before is being kept.
type inbox struct {
	t         *Topic
	partition int

	mu     sync.Mutex
	change *sync.Cond
	batch  *Batch
	bytes  int
	before int // hits of the batch before this one; the next may be alike
	ended  bool
	err    error
}

func (in *inbox) wake() {
	in.mu.Lock()
	in.change.Broadcast()
	in.mu.Unlock()
}

func (in *inbox) end(err error) {
	in.mu.Lock()
	in.ended, in.err = true, err
	in.change.Broadcast()
	in.mu.Unlock()
}

// put decodes a record into the batch, once there is room.
func (in *inbox) put(ctx context.Context) func(offset int64, key, value []byte) {
	return func(offset int64, _, value []byte) {
		command, err := in.command(value)
		in.mu.Lock()
		defer in.mu.Unlock()
		for (in.full() || command != nil && !in.empty()) && ctx.Err() == nil {
			in.change.Wait()
		}
		if ctx.Err() != nil {
			return // nothing is taken any more
		}
		b := in.batch
		if b.Command = command; command == nil && err == nil {
			if b.Hits == nil {
				b.Hits = make([]spoor.Hit, 0, max(batchHitsMin, in.before))
			}
			b.Hits, err = readRecord(value, b.Hits)
		}
		if err != nil {
			b.Poisoned = append(b.Poisoned, Poisoned{Offset: offset, Value: bytes.Clone(value), Why: err})
		}
		b.Next = offset + 1
		in.bytes += len(value)
		in.change.Broadcast()
	}
}

// command reads a record that is a command; nil if it is none. One of another
// partition's app would be applied out of that one's order.
func (in *inbox) command(value []byte) (*spoor.Command, error) {
	if len(value) == 0 || value[0] != commandVersion {
		return nil, nil
	}
	c, err := readCommand(value, in.t.opts.RecordBytesMax, in.t.opts.CommandKey)
	if err == nil && in.t.PartitionOf(c.App) != in.partition {
		return nil, fmt.Errorf("it is a command of app %d, whose partition is %d", c.App, in.t.PartitionOf(c.App))
	}
	return c, err
}

func (in *inbox) full() bool {
	return in.batch.Command != nil || len(in.batch.Hits) >= batchHitsMax || in.bytes >= batchBytesMax || len(in.batch.Poisoned) >= batchPoisonedMax
}

// miss notes records that were dropped before they could be read, once what
// is before them is handed on.
func (in *inbox) miss(ctx context.Context) func(records, next int64) {
	return func(records, next int64) {
		in.mu.Lock()
		defer in.mu.Unlock()
		for !in.empty() && ctx.Err() == nil {
			in.change.Wait()
		}
		in.batch.Missing += records
		in.batch.Next = next
		in.change.Broadcast()
	}
}

// take waits for something to be in the batch and hands it out.
func (in *inbox) take(ctx context.Context) (*Batch, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.empty() && !in.ended && ctx.Err() == nil {
		in.change.Wait()
	}
	if in.empty() {
		return nil, in.err
	}
	b := in.batch
	in.batch, in.bytes = &Batch{Partition: in.partition}, 0
	if b.Command == nil {
		in.before = len(b.Hits)
	}
	in.change.Broadcast()
	return b, nil
}

func (in *inbox) empty() bool {
	return len(in.batch.Hits) == 0 && in.batch.Command == nil && len(in.batch.Poisoned) == 0 && in.batch.Missing == 0
}
