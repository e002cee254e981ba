package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
)

// Topic is a topic of hits and those beside it on a cluster of brokers. Its
// methods may be called concurrently.
type Topic struct {
	opts       Options
	brokers    brokers
	partitions int
	keeps      time.Duration

	nodesMu    sync.Mutex
	nodesFound bool // the topic of nodes is there and right
}

// Open connects to the brokers and looks at the topics of hits and of apps. What does not exist
// is made; what has other settings than spoor needs is refused, with the
// setting and the command that mends it. The context bounds the whole of it; a
// minute is the most that it takes.
func Open(ctx context.Context, o Options) (*Topic, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := o.mechanism()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	t := &Topic{opts: o, brokers: newSegmentio(o.Brokers, []string{o.Topic, o.apps(), o.salts(), o.nodes()}, o.TLS, m)}
	if err := t.prepare(ctx); err != nil {
		t.brokers.close()
		return nil, err
	}
	return t, nil
}

func (o *Options) apps() string { return o.Topic + ".apps" }

// Partitions is how many partitions the topic of hits has.
func (t *Topic) Partitions() int { return t.partitions }

// Keeps is the longest that a hit stays in the topic, but for the minutes that
// brokers take to look: its retention and the age of a segment, which goes as a
// whole, by its settings as they were when it was opened. 0 if the brokers do not
// show them, negative for ever.
func (t *Topic) Keeps() time.Duration { return t.keeps }

// PartitionOf is the partition that all hits of an app are in.
func (t *Topic) PartitionOf(app spoor.AppID) int {
	return int((uint32(app) - 1) % uint32(t.partitions))
}

// End tells the offsets of a partition of the topic of hits: of the oldest
// record that is still there, and of the next one to be written. What a reader
// that stands at an offset has before it is next − offset.
func (t *Topic) End(ctx context.Context, partition int) (first, next int64, err error) {
	if err := t.known(partition); err != nil {
		return 0, 0, err
	}
	first, next, err = t.brokers.offsets(ctx, t.opts.Topic, partition)
	if errors.Is(err, errGone) {
		return 0, 0, t.opts.missing(t.opts.Topic)
	}
	if err != nil {
		t.brokers.refresh()
		return 0, 0, t.opts.explain(err)
	}
	return first, next, nil
}

func (t *Topic) known(partition int) error {
	if partition < 0 || partition >= t.partitions {
		return fmt.Errorf("topic %s has no partition %d; it has 0 to %d", t.opts.Topic, partition, t.partitions-1)
	}
	return nil
}

// put appends one record and returns its offset. It tries again until ctx ends,
// if that may help; then the record may be there several times. The error is one
// of brokers.
func (t *Topic) put(ctx context.Context, topic string, partition int, r record) (int64, error) {
	var why error // what the brokers said before ctx ended
	start := time.Now()
	for pause := retryPause; ; pause = min(2*pause, retryMost) {
		attempt, cancel := context.WithTimeout(ctx, t.opts.wait)
		offset, err := t.brokers.produce(attempt, topic, partition, []record{r})
		cancel()
		if err == nil {
			return offset, nil
		}
		t.brokers.refresh()
		if why == nil || ctx.Err() == nil {
			why = err
		}
		if gone := errors.Is(err, errGone); !passing(err) && (!gone || time.Since(start) > t.opts.wait) {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, why
		case <-time.After(pause):
		}
	}
}

// why says in one line why put failed, and what to do.
func (t *Topic) why(topic string, r record, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errGone):
		return t.opts.missing(topic)
	case errors.Is(err, ErrTooLarge):
		return fmt.Errorf("%w: %d bytes; raise max.message.bytes of topic %s", ErrTooLarge, len(r.value), topic)
	}
	return t.opts.explain(err)
}

func (o *Options) missing(topic string) error {
	return fmt.Errorf("topic %s is not there any more: somebody deleted it; once it is made anew, start the store node with --new-topic, or use another --topic", topic)
}

// Close ends the connections. Close the Sink and end each Consume before.
func (t *Topic) Close() error {
	t.brokers.close()
	return nil
}
