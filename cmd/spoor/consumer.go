package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/store"
)

// consumer brings what is in the partitions of a topic into the store.
type consumer struct {
	store *store.Store
	topic *kafka.Topic
	name  string
	log   *slog.Logger
	parts []*part
	apps  *kafka.Directory // all that the topic knows; set before run, as apply is
	apply *applier
}

// part is one partition.
type part struct {
	number int
	mu     sync.Mutex
	next   int64 // the first record that is not stored
	first  int64 // the oldest record of the topic
	end    int64 // behind the newest
	failed error // why it is not read; nil: it is
	stuck  bool  // what is next could not be read or kept the last time
	counts partCounts
	// Of its reader alone:
	known *knownCommands
	tried int64 // record of the command that failed last
	tries int
}

// knownCommands are the ids of the commands of a partition that were applied
// lately.
type knownCommands struct {
	order [][16]byte
	has   map[[16]byte]bool
	next  int // slot of the oldest, once all are taken
}

func (k *knownCommands) add(id [16]byte) {
	if len(k.order) < commandsKnown {
		k.order = append(k.order, id)
	} else {
		delete(k.has, k.order[k.next])
		k.order[k.next] = id
		k.next = (k.next + 1) % commandsKnown
	}
	k.has[id] = true
}

// partCounts are since the start.
type partCounts struct {
	stored, duplicates int64
	refused            map[spoor.Reason]int64
}

const (
	consumerLook  = time.Second     // between two looks at where the topic ends
	consumerPause = 5 * time.Second // before a partition that failed is read again
	fullPauseMax  = time.Second     // before a store that is full is asked again
	commandsKnown = 4096            // what the store keeps of a partition
	commandTries  = 12              // of a command that fails, with a pause between
	batchesBegun  = 1               // of a partition, behind the one that is waited for; one more is lined up when the next has been read
)

func newConsumer(st *store.Store, topic *kafka.Topic, name string, partitions []int, log *slog.Logger) (*consumer, error) {
	c := &consumer{store: st, topic: topic, name: name, log: log}
	for _, n := range partitions {
		c.parts = append(c.parts, &part{number: n, counts: partCounts{refused: map[spoor.Reason]int64{}}})
	}
	return c, c.recall(c.parts...)
}

// recall reads from the store how far partitions are stored.
func (c *consumer) recall(parts ...*part) error {
	offsets, err := c.store.Offsets()
	if err != nil {
		return err
	}
	next := map[int]int64{}
	for _, o := range offsets {
		if o.Topic == c.name {
			next[o.Partition] = o.Next
		}
	}
	for _, p := range parts {
		ids, err := c.store.Commands(c.name, p.number)
		if err != nil {
			return err
		}
		p.known = &knownCommands{has: map[[16]byte]bool{}}
		for _, id := range ids {
			p.known.add(id)
		}
		p.mu.Lock()
		p.next = next[p.number]
		p.mu.Unlock()
	}
	return nil
}

// compare refuses a topic that ends before what was stored from it: it was made
// anew, and its first records would be taken for ones that are stored.
func (c *consumer) compare(ctx context.Context, anew bool) error {
	for _, p := range c.parts {
		if err := c.look(ctx, p); err != nil {
			return fmt.Errorf("cannot see where partition %d of topic %s ends: %w", p.number, c.name, err)
		}
		if p.end >= p.next {
			continue
		}
		if !anew {
			return fmt.Errorf("cannot read partition %d of topic %s: it ends at record %d, and %d are stored from it; it was deleted and made anew, or lost its end, or is another one; with --new-topic it is read from its beginning", p.number, c.name, p.end, p.next)
		}
		if err := c.store.Rewind(c.name, p.number); err != nil {
			return err
		}
		c.log.Warn("a partition is read from its beginning", "topic", c.name, "partition", p.number, "stored", p.next, "end", p.end)
		p.next = 0
	}
	return nil
}

// look asks where a partition begins and ends. One that has what is to be read
// next counts as being read again.
func (c *consumer) look(ctx context.Context, p *part) error {
	ctx, cancel := context.WithTimeout(ctx, kafkaOpenMax)
	defer cancel()
	first, end, err := c.topic.End(ctx, p.number)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first, p.end = first, end
	if end >= p.next {
		p.failed = nil
	}
	return nil
}

// run consumes until ctx ends.
func (c *consumer) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, p := range c.parts {
		all.Go(func() { c.read(ctx, p) })
		all.Go(func() { c.watch(ctx, p) })
	}
	all.Wait()
}

// watch keeps knowing where the topic ends.
func (c *consumer) watch(ctx context.Context, p *part) {
	for pause(ctx, consumerLook) {
		if err := c.look(ctx, p); err != nil {
			c.log.Debug("cannot see where a partition ends", "topic", c.name, "partition", p.number, "error", err)
		}
	}
}

// read consumes a partition until ctx ends. What cannot be read on is tried again:
// other partitions and readers go on meanwhile.
func (c *consumer) read(ctx context.Context, p *part) {
	for ctx.Err() == nil {
		p.mu.Lock()
		from := p.next
		p.mu.Unlock()
		f := c.flow(ctx, p, from)
		err := f.end(c.topic.Consume(f.ctx, p.number, from, f.keep))
		if ctx.Err() != nil {
			return
		}
		p.fail(err)
		p.stick(true)
		c.log.Error("a partition is not read; it is tried again", "topic", c.name, "partition", p.number, "from", from, "error", err,
			"hint", "if the topic was deleted and made anew, start again with --new-topic")
		if !pause(ctx, consumerPause) {
			return
		}
		if err := c.recall(p); err != nil {
			c.log.Error("cannot read how far a partition is stored", "partition", p.number, "error", err)
		}
	}
}

// flow is a partition on its way into the store. While one batch is fsynced, the
// next is decided about and one more waits for that.
type flow struct {
	*consumer
	p    *part
	ctx  context.Context // ends with the flow
	stop context.CancelCauseFunc
	next int64 // the first record that is not on its way

	begun chan begun
	going sync.WaitGroup // what was begun and is not finished
	ended chan struct{}
}

// begun is a batch that was lined up.
type begun struct {
	*kafka.Batch
	*store.Portion
	wait func() error
}

func (c *consumer) flow(ctx context.Context, p *part, from int64) *flow {
	f := &flow{consumer: c, p: p, next: from, begun: make(chan begun, batchesBegun), ended: make(chan struct{})}
	f.ctx, f.stop = context.WithCancelCause(ctx)
	go func() {
		defer close(f.ended)
		for one := range f.begun {
			f.finish(one)
			f.going.Done()
		}
	}()
	return f
}

// end waits for what was begun and gives the error that ended the flow.
func (f *flow) end(err error) error {
	close(f.begun)
	<-f.ended
	if cause := context.Cause(f.ctx); cause != nil {
		err = cause
	}
	f.stop(nil)
	return err
}

// keep lines a batch up for the store. A command waits for what is before it, and
// what is behind it waits for the command.
func (f *flow) keep(b *kafka.Batch) error {
	f.p.fail(nil)
	if b.Next <= f.next {
		return nil
	}
	missing := min(b.Missing, b.Next-1-f.next)
	portion := &store.Portion{
		Topic: f.name, Partition: f.p.number, Partitions: f.topic.Partitions(), First: f.next + missing, Next: b.Next, Missing: missing, Hits: b.Hits,
	}
	for _, bad := range b.Poisoned {
		portion.Poisoned = append(portion.Poisoned, store.Poisoned{Offset: bad.Offset, Value: bad.Value, Why: bad.Why.Error()})
	}
	if b.Command != nil {
		f.going.Wait()
		if err := context.Cause(f.ctx); err != nil {
			return err
		}
		if err := f.command(b.Command, portion); err != nil {
			return err
		}
		f.note(b, portion)
	} else {
		if err := f.belong(b.Hits); err != nil {
			return err
		}
		f.going.Add(1)
		f.begun <- begun{b, portion, f.store.StartConsume(portion)}
	}
	f.next = b.Next
	return nil
}

// finish waits until a batch is stored. Where the store was full, or a batch before
// this one was refused for that, it is offered again.
func (f *flow) finish(one begun) {
	err := one.wait()
	if err != nil && f.ctx.Err() == nil {
		err = f.patiently(func() error { return f.store.Consume(one.Portion) })
	}
	if err != nil {
		f.stop(err)
		return
	}
	f.note(one.Batch, one.Portion)
}

// patiently does what a store that is full, or takes nothing now, refuses, until
// it is done.
func (f *flow) patiently(do func() error) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, fullPauseMax) {
		err := do()
		if !errors.Is(err, spoor.ErrBusy) && !errors.Is(err, spoor.ErrReadOnly) {
			return err
		}
		if !pause(f.ctx, wait) {
			return f.ctx.Err()
		}
	}
}

// command applies a command, and waits while the store is full.
func (f *flow) command(command *spoor.Command, portion *store.Portion) error {
	if f.p.known.has[command.ID] { // its acknowledgement was lost and it was sent again
		return f.patiently(func() error { return f.store.Consume(portion) })
	}
	if command.Kind == spoor.CommandRequest || command.Kind == spoor.CommandRetain { // the others may be made twice
		portion.Command = command.ID
	}
	var result any
	err := f.patiently(func() (err error) {
		if result, err = f.apply.command(f.ctx, command, portion); err != nil {
			result, err = f.giveUp(f.p, portion, err)
		}
		if err == nil { // also where the command has moved the offset already
			err = f.store.Consume(portion)
		}
		return err
	})
	if err != nil {
		return err
	}
	if portion.Command != [16]byte{} {
		f.p.known.add(command.ID)
	}
	f.apply.done(command, result)
	return nil
}

// note tells what became of a batch that is stored.
func (f *flow) note(b *kafka.Batch, portion *store.Portion) {
	if len(b.Poisoned) > 0 { // a line a batch: whoever floods the topic must not flood the log
		bad := b.Poisoned[0]
		f.log.Error("records cannot be read; they are listed and left out", "topic", f.name, "partition", f.p.number, "records", len(b.Poisoned),
			"first", bad.Offset, "bytes", len(bad.Value), "error", bad.Why, "hint", "see spoor cluster --poisoned; the records stand in the topic until it drops them")
	}
	f.p.note(portion)
}

// giveUp decides what follows where a command failed: it is tried again, but what
// fails for a minute must not hold up the hits behind it for ever.
func (c *consumer) giveUp(p *part, portion *store.Portion, err error) (result any, again error) {
	if errors.Is(err, spoor.ErrBusy) || errors.Is(err, spoor.ErrReadOnly) || errors.Is(err, spoor.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil, err
	}
	if p.tried != portion.First {
		p.tried, p.tries = portion.First, 0
	}
	if p.tries++; p.tries < commandTries {
		return nil, err
	}
	c.log.Error("a change of the log cannot be made; it is left out, and this node may differ from the others now", "topic", c.name, "partition", p.number,
		"record", portion.First, "error", err, "hint", "spoor check --against compares this node with another one; one that differs begins anew with --join")
	return err, nil
}

// belong refuses hits of an app that the topic has and this store never had: it is
// not the store of the topic, and would drop them. What nobody knows is left to the
// store, which refuses it: it must not hold up the hits of others.
func (c *consumer) belong(hits []spoor.Hit) error {
	for i := range hits {
		id := hits[i].App
		if i > 0 && id == hits[i-1].App || c.store.App(id) != nil || c.apps.App(id) == nil {
			continue
		}
		if made, err := c.made(id); err != nil {
			return err
		} else if !made {
			return fmt.Errorf("there are hits of app %d, which this store never had, and they would be dropped: it is not the store of this topic, or began too late; check --data and --topic, and let it begin anew with --join", id)
		}
	}
	return nil
}

// made reports whether an app was ever made, as far as its partition is stored.
func (c *consumer) made(id spoor.AppID) (bool, error) {
	return c.store.AppMade(c.name, c.topic.PartitionOf(id), id)
}

// catchUp waits until what the topic has of an app now is stored.
func (c *consumer) catchUp(ctx context.Context, app spoor.AppID) error {
	number := c.topic.PartitionOf(app)
	_, end, err := c.topic.End(ctx, number)
	for err == nil && c.stored(number) < end {
		if !pause(ctx, 20*time.Millisecond) {
			err = ctx.Err()
		}
	}
	return err
}

// stored is the first record of a partition that is not stored.
func (c *consumer) stored(partition int) int64 {
	for _, p := range c.parts {
		if p.number == partition {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.next
		}
	}
	return 0
}

// lag is how many records of a partition are not stored yet.
func (c *consumer) lag(partition int) int64 {
	for _, p := range c.parts {
		if p.number == partition {
			p.mu.Lock()
			defer p.mu.Unlock()
			return max(p.end, p.next) - p.next
		}
	}
	return 0
}

func (p *part) stick(stuck bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stuck = stuck
}

func (p *part) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
}

// note counts what became of the hits of a portion.
func (p *part) note(portion *store.Portion) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.stuck = portion.Next, false
	p.end = max(p.end, p.next)
	for i := range portion.Hits {
		switch h := &portion.Hits[i]; h.Outcome {
		case spoor.Stored:
			p.counts.stored++
		case spoor.Duplicate:
			p.counts.duplicates++
		case spoor.Refused:
			p.counts.refused[h.Reason]++
		}
	}
}

// counts are those of all partitions.
func (c *consumer) counts() (sum partCounts) {
	sum.refused = map[spoor.Reason]int64{}
	for _, p := range c.parts {
		p.mu.Lock()
		sum.stored += p.counts.stored
		sum.duplicates += p.counts.duplicates
		for reason, n := range p.counts.refused {
			sum.refused[reason] += n
		}
		p.mu.Unlock()
	}
	return sum
}

// cluster is what this node knows of the topic and its partitions.
func (c *consumer) cluster() (*query.Cluster, error) {
	offsets, err := c.store.Offsets()
	if err != nil {
		return nil, err
	}
	stored := map[int]store.Offset{}
	for _, o := range offsets {
		if o.Topic == c.name {
			stored[o.Partition] = o
		}
	}
	apps := map[int][]string{}
	for _, p := range c.parts {
		apps[p.number] = []string{}
	}
	for _, a := range c.store.AllApps() {
		n := c.topic.PartitionOf(a.ID)
		apps[n] = append(apps[n], a.Name)
	}
	all := &query.Cluster{Topic: c.name, Partitions: c.topic.Partitions()}
	for _, p := range c.parts {
		o := stored[p.number]
		p.mu.Lock()
		one := query.ClusterPartition{
			Number: p.number, First: p.first, Stored: o.Next, End: max(p.end, o.Next), Missed: o.Missed, Poisoned: o.Poisoned, Apps: apps[p.number], Reading: p.failed == nil,
		}
		p.mu.Unlock()
		one.Newest = make([]query.PoisonedRecord, 0, len(o.Newest))
		for _, bad := range o.Newest {
			one.Newest = append(one.Newest, query.PoisonedRecord{Offset: bad.Offset, Bytes: bad.Bytes, At: bad.At, Why: bad.Why, Sum: fmt.Sprintf("%x", bad.Sum[:])})
		}
		all.Read = append(all.Read, one)
	}
	return all, nil
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
