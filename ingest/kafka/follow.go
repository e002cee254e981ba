package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	followPause = 50 * time.Millisecond
	followMost  = 2 * time.Second
	followTell  = 30 * time.Second // between two lines of the log about the same trouble
)

// follower reads one partition for ever and gets over what passes by itself.
type follower struct {
	t         *Topic
	topic     string
	partition int
	each      func(offset int64, key, value []byte)
	missing   func(records, next int64) // the topic dropped records before they were read

	at      int64
	failing time.Time // since when the same trouble lasts
	told    time.Time
	pause   time.Duration
}

// run reads from an offset on, −1 for the oldest record, until ctx ends or the
// partition cannot be read on.
func (f *follower) run(ctx context.Context, from int64) error {
	f.at, f.pause = from, followPause
	for ctx.Err() == nil {
		err := f.step(ctx)
		if err == nil {
			if !f.failing.IsZero() {
				f.t.opts.Log.Info("the brokers answer again", "topic", f.topic, "partition", f.partition, "offset", f.at)
			}
			f.failing, f.told, f.pause = time.Time{}, time.Time{}, followPause
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if err := f.trouble(err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(f.pause):
		}
		f.pause = min(2*f.pause, followMost)
	}
	return ctx.Err()
}

func (f *follower) step(ctx context.Context) (err error) {
	if f.at < 0 {
		if f.at, _, err = f.t.brokers.offsets(ctx, f.topic, f.partition); err != nil {
			f.at = -1
			return err
		}
	}
	f.at, err = f.t.brokers.fetch(ctx, f.topic, f.partition, f.at, f.each)
	if !errors.Is(err, errRange) {
		return err
	}
	first, next, oerr := f.t.brokers.offsets(ctx, f.topic, f.partition)
	switch {
	case oerr != nil:
		return oerr
	case f.at < first:
		f.missing(first-f.at, first)
		f.at = first
		return nil
	case f.at > next:
		return &beyond{f.topic, f.partition, f.at, next}
	}
	return err // a new leader that does not know its end yet
}

// trouble returns an error that does not pass by itself.
func (f *follower) trouble(err error) error {
	f.t.brokers.refresh()
	now := time.Now()
	if f.failing.IsZero() {
		f.failing = now
	}
	if now.Sub(f.failing) >= f.t.opts.gone {
		var end *beyond
		if errors.Is(err, errGone) {
			return f.t.opts.missing(f.topic)
		} else if errors.As(err, &end) {
			return err
		}
	}
	if now.Sub(f.told) >= followTell {
		f.told = now
		f.t.opts.Log.Warn("a partition cannot be read; it is tried again", "topic", f.topic, "partition", f.partition, "offset", f.at, "error", f.t.opts.explain(err))
	}
	return nil
}

// beyond is an offset that lies behind the end of its partition.
type beyond struct {
	topic     string
	partition int
	at, next  int64
}

func (e *beyond) Error() string {
	return fmt.Sprintf("partition %d of topic %s ends at offset %d and %d was read before: the topic was made anew, or its brokers lost records; look which; if it was made anew, start the store node with --new-topic, or use another --topic", e.partition, e.topic, e.next, e.at)
}

// readAll calls each with the records of a topic of one partition that are there
// now, or with the last ones, if most is not negative; it returns the offset
// behind them. What may pass is tried again for a while.
func (t *Topic) readAll(ctx context.Context, topic string, most int64, each func(offset int64, key, value []byte)) (at int64, err error) {
	var end int64
	read := func() error {
		if end == 0 {
			first, next, err := t.brokers.offsets(ctx, topic, 0)
			if err != nil {
				return err
			}
			if at, end = first, next; most >= 0 {
				at = max(first, next-most)
			}
		}
		for at < end {
			next, err := t.brokers.fetch(ctx, topic, 0, at, each)
			if at = next; errors.Is(err, errRange) {
				end = 0 // what was there is dropped meanwhile
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	start := time.Now()
	for pause := retryPause; ; pause = min(2*pause, retryMost) {
		if err = read(); err == nil || lasting(err) || ctx.Err() != nil || time.Since(start) > t.opts.wait {
			return at, err
		}
		t.brokers.refresh()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
