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
		err := c.topic.Consume(ctx, p.number, from, func(b *kafka.Batch) error { return c.keep(ctx, p, b) })
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

// keep stores a batch, and waits while the store is full.
func (c *consumer) keep(ctx context.Context, p *part, b *kafka.Batch) error {
	p.fail(nil)
	if b.Next <= p.next {
		return nil
	}
	missing := min(b.Missing, b.Next-1-p.next)
	portion := &store.Portion{
		Topic: c.name, Partition: p.number, Partitions: c.topic.Partitions(), First: p.next + missing, Next: b.Next, Missing: missing, Hits: b.Hits,
	}
	for _, bad := range b.Poisoned {
		portion.Poisoned = append(portion.Poisoned, store.Poisoned{Offset: bad.Offset, Value: bad.Value, Why: bad.Why.Error()})
	}
	command := b.Command
	if command != nil && p.known.has[command.ID] {
		command = nil // its acknowledgement was lost and it was sent again
	}
	if command != nil && (command.Kind == spoor.CommandRequest || command.Kind == spoor.CommandRetain) { // the others may be made twice
		portion.Command = command.ID
	}
	if err := c.belong(b.Hits); err != nil {
		return err
	}
	var result any
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, fullPauseMax) {
		var err error
		if command != nil {
			if result, err = c.apply.command(ctx, command, portion); err != nil {
				result, err = c.giveUp(p, portion, err)
			}
		}
		if err == nil { // also where the command has moved the offset already
			err = c.store.Consume(portion)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, spoor.ErrBusy) && !errors.Is(err, spoor.ErrReadOnly) {
			return err
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
	if portion.Command != [16]byte{} {
		p.known.add(command.ID)
	}
	if command != nil {
		c.apply.done(command, result)
	}
	if len(b.Poisoned) > 0 { // a line a batch: whoever floods the topic must not flood the log
		bad := b.Poisoned[0]
		c.log.Error("records cannot be read; they are listed and left out", "topic", c.name, "partition", p.number, "records", len(b.Poisoned),
			"first", bad.Offset, "bytes", len(bad.Value), "error", bad.Why, "hint", "see spoor cluster --poisoned; the records stand in the topic until it drops them")
	}
	p.note(portion)
	return nil
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
