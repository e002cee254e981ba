package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
)

// saltLife is how long the salt of a day may be used, and how long its topic keeps
// it. A segment of an hour lets the brokers drop it soon after.
const (
	saltLife    = 48 * time.Hour
	saltSegment = time.Hour
	saltWait    = 3 * time.Second // for an agreement
	saltPause   = time.Second     // after a failure, during which all that ask fail at once
	saltsMost   = 10_000          // records that are looked through
)

// saltRecord is what stands in the topic of salts.
type saltRecord struct {
	Day  spoor.Day `json:"day"`
	Made int64     `json:"made"` // Unix ms
	Salt []byte    `json:"salt"`
}

// Salts agrees with other collectors on what makes the numbers of cookieless
// visitors. Its topic is called Topic + ".salts", has one partition, and keeps
// records for 48 hours. Make one with Topic.Salts.
type Salts struct {
	t     *Topic
	mu    sync.Mutex
	found bool // the topic is known to be there and to be right
	err   error
	until time.Time // err is the answer until then
}

// Salts makes one. It does not speak with the brokers yet.
func (t *Topic) Salts() *Salts { return &Salts{t: t} }

// Share offers a salt of a day, made at an instant in Unix ms, and returns the
// one that counts and when that was made: the first of the day in the topic that
// is not too old by then. It takes three seconds at most, and is meant to be
// called once a day.
func (s *Salts) Share(day spoor.Day, made int64, salt []byte) (int64, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && time.Now().Before(s.until) {
		return 0, nil, s.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), saltWait)
	defer cancel()
	r, err := s.share(ctx, &saltRecord{day, made, salt})
	if err != nil {
		s.t.brokers.refresh()
		s.err, s.until = s.t.opts.explain(err), time.Now().Add(saltPause)
		return 0, nil, s.err
	}
	s.err = nil
	return r.Made, r.Salt, nil
}

// share looks for a salt of the day, and puts its own behind what is there if
// there is none. Others may do so at the same time: the first in the topic counts.
func (s *Salts) share(ctx context.Context, own *saltRecord) (*saltRecord, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	r, err := s.first(ctx, own)
	if r != nil || err != nil {
		return r, err
	}
	value, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	key := strconv.AppendInt(nil, int64(own.Day), 10)
	if _, err := s.t.brokers.produce(ctx, s.t.opts.salts(), 0, []record{{key, value}}); err != nil {
		return nil, err
	}
	if r, err = s.first(ctx, own); r == nil && err == nil {
		err = errors.New("a salt was put into the topic and is not there")
	}
	return r, err
}

// prepare makes or checks the topic.
func (s *Salts) prepare(ctx context.Context) error {
	if s.found {
		return nil
	}
	topic := s.t.opts.salts()
	l, err := s.t.findOrMake(ctx, topic, func(l *layout) {
		l.partitions = 1
		l.settings["cleanup.policy"] = "delete"
		l.settings["retention.ms"] = strconv.FormatInt(saltLife.Milliseconds(), 10)
		l.settings["segment.ms"] = strconv.FormatInt(saltSegment.Milliseconds(), 10)
	})
	if err != nil {
		return err
	}
	if l.partitions != 1 {
		return fmt.Errorf("topic %s has %d partitions and must have 1; delete it, collectors make it again", topic, l.partitions)
	}
	if l.settings != nil {
		kept, err := strconv.ParseInt(l.settings["retention.ms"], 10, 64)
		if strings.Contains(l.settings["cleanup.policy"], "compact") || err == nil && (kept < 0 || kept > saltLife.Milliseconds()) {
			return fmt.Errorf("topic %s keeps salts for longer than %s, by which visitors could be known again; run kafka-configs --alter --topic %[1]s --add-config cleanup.policy=delete,retention.ms=%d", topic, saltLife, saltLife.Milliseconds())
		}
	}
	s.found = true
	return nil
}

// first is the first salt of a day that is not too old; nil if there is none.
func (s *Salts) first(ctx context.Context, own *saltRecord) (found *saltRecord, err error) {
	topic := s.t.opts.salts()
	at, next, err := s.t.brokers.offsets(ctx, topic, 0)
	if err != nil {
		return nil, err
	}
	at = max(at, next-saltsMost)
	for at < next && found == nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at, err = s.t.brokers.fetch(ctx, topic, 0, at, func(_ int64, _, value []byte) {
			var r saltRecord
			if found != nil || json.Unmarshal(value, &r) != nil || r.Day != own.Day {
				return
			}
			if age := time.Duration(own.Made-r.Made) * time.Millisecond; age < saltLife && age > -saltLife {
				found = &r
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (o *Options) salts() string { return o.Topic + ".salts" }
