package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/sasl"

	"github.com/spoorhq/spoor"
)

const (
	feedIdle        = 10 * time.Minute // after which a topic's connections end
	feedBatchBytes  = 1_000_000        // before compression, but for a record that is larger by itself
	feedConnectWait = 10 * time.Second // for the look at a topic, or until it is made
)

// Feeds writes feeds of apps to topics of their own. All records of a topic go to
// its first partition, so that they have one order: who reads more than one
// partition could meet a person's hits behind the tombstone.
//
// A topic is looked at before the first write to it. One that does not exist is
// made, with one partition and the brokers' retention; one that is compacted, or
// a topic of hits, is refused.
type Feeds struct {
	opts      Options
	mechanism sasl.Mechanism

	mu     sync.Mutex
	topics map[string]*feedTopic
}

type feedTopic struct {
	brokers brokers
	used    time.Time // Feeds.mu

	mu    sync.Mutex // one Write at a time
	known bool       // the topic was looked at, and is good
	most  int        // bytes of a batch
}

// NewFeeds checks the options; it does not connect. Of those about topics, Topic
// alone counts: that name and all that begin with it and a dot belong to spoor.
func NewFeeds(o Options) (*Feeds, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := o.mechanism()
	if err != nil {
		return nil, err
	}
	return &Feeds{opts: o, mechanism: m, topics: map[string]*feedTopic{}}, nil
}

// Check refuses a topic that is known to be spoor's own. The brokers are not
// asked.
func (f *Feeds) Check(topic string) error {
	if own := f.opts.Topic; topic == own || strings.HasPrefix(topic, own+".") {
		return fmt.Errorf("topics %s and %[1]s.* are spoor's own; use another name, such as shop-feed", own)
	}
	return nil
}

// Write appends records in order, batch by batch, and gives how many, counted
// from the first, all in-sync replicas have acknowledged; nil if they have all.
// With an error others may be in the topic too, now or in a moment.
// spoor.ErrFeedRecord is about the next record alone: the topic takes none of its
// size. Brokers are tried again for five seconds. The records must never be
// written again.
func (f *Feeds) Write(ctx context.Context, topic string, records []spoor.FeedRecord) (n int, err error) {
	if err := f.Check(topic); err != nil {
		return 0, err
	}
	t := f.topic(topic)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known {
		if err := f.look(ctx, topic, t); err != nil {
			t.brokers.refresh()
			return 0, err
		}
	}
	for n < len(records) {
		batch, bytes := t.batch(records[n:])
		err := f.produce(ctx, topic, t, batch)
		switch {
		case err == nil:
			n += len(batch)
		case !errors.Is(err, ErrTooLarge):
			return n, err
		case len(batch) == 1:
			return n, spoor.ErrFeedRecord
		default:
			t.most = bytes / 2
		}
	}
	return n, nil
}

// batch takes what fits, one record at least.
func (t *feedTopic) batch(records []spoor.FeedRecord) (batch []record, bytes int) {
	for i := range records {
		r := &records[i]
		size := len(r.Key) + len(r.Value)
		if len(batch) > 0 && bytes+size > t.most {
			break
		}
		bytes += size
		batch = append(batch, record{key: r.Key, value: r.Value})
	}
	return batch, bytes
}

// produce writes one batch. While a leader is elected brokers fail for a moment.
func (f *Feeds) produce(ctx context.Context, topic string, t *feedTopic, batch []record) error {
	ctx, cancel := context.WithTimeout(ctx, f.opts.wait)
	defer cancel()
	pause := retryPause
	var why error // what the brokers said last
	for {
		_, err := t.brokers.produce(ctx, topic, 0, batch)
		if err == nil || errors.Is(err, ErrTooLarge) {
			return err
		}
		if why == nil || ctx.Err() == nil {
			why = err
		}
		t.brokers.refresh()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			if !lasting(err) {
				pause = min(2*pause, retryMost)
				continue
			}
		}
		t.known = false // it may have been deleted, or altered
		if errors.Is(why, errGone) {
			return fmt.Errorf("topic %s is not there any more", topic)
		}
		return f.opts.explain(why)
	}
}

// topic gives the connections of a topic, and ends those of topics that nobody
// writes to any more.
func (f *Feeds) topic(name string) *feedTopic {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for other, t := range f.topics {
		if other != name && now.Sub(t.used) > feedIdle {
			t.brokers.close()
			delete(f.topics, other)
		}
	}
	t := f.topics[name]
	if t == nil {
		t = &feedTopic{brokers: newSegmentio(f.opts.Brokers, []string{name, appsOf(name)}, f.opts.TLS, f.mechanism)}
		f.topics[name] = t
	}
	t.used = now
	return t
}

func appsOf(topic string) string { return (&Options{Topic: topic}).apps() }

// look makes a topic, or refuses one that cannot hold a feed.
func (f *Feeds) look(ctx context.Context, name string, t *feedTopic) error {
	ctx, cancel := context.WithTimeout(ctx, feedConnectWait)
	defer cancel()
	switch _, err := t.brokers.describe(ctx, appsOf(name)); {
	case err == nil:
		return fmt.Errorf("topic %s holds hits, for there is %s; use another name", name, appsOf(name))
	case !errors.Is(err, errGone) && !errors.Is(err, errDenied):
		return f.opts.explain(err)
	}
	l, err := (&Topic{opts: f.opts, brokers: t.brokers}).findOrMake(ctx, name, func(l *layout) {
		l.partitions = 1
		l.settings["cleanup.policy"] = "delete"
	})
	if err != nil {
		return err
	}
	if policy := l.settings["cleanup.policy"]; strings.Contains(policy, "compact") {
		return fmt.Errorf("topic %s has cleanup.policy=%s, which drops all entries of a person but the newest; run kafka-configs --alter --topic %[1]s --add-config cleanup.policy=delete, or use another", name, policy)
	}
	if err := f.opts.checkReplicas(name, l); err != nil {
		return err
	}
	t.most = feedBatchBytes
	if bytes, err := strconv.Atoi(l.settings["max.message.bytes"]); err == nil {
		t.most = min(t.most, max(bytes-frameBytes, 1))
	}
	t.known = true
	return nil
}

// Close ends the connections. End what writes before.
func (f *Feeds) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.topics {
		t.brokers.close()
	}
	return nil
}
