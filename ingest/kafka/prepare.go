package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	replicasWanted = 3
	segmentShare   = 7                     // a topic of a week has segments of a day
	createPause    = 50 * time.Millisecond // until a new topic is known to all brokers
)

// prepare makes or checks both topics.
func (t *Topic) prepare(ctx context.Context) error {
	o := &t.opts
	hits, err := t.findOrMake(ctx, o.Topic, func(l *layout) {
		if l.partitions = o.Partitions; l.partitions == 0 {
			l.partitions = partitionsNew
		}
		l.settings["cleanup.policy"] = "delete"
		l.settings["retention.ms"] = strconv.FormatInt(o.Retention.Milliseconds(), 10)
		// Brokers drop whole segments, so one adds its age to the retention.
		l.settings["segment.ms"] = strconv.FormatInt((o.Retention / segmentShare).Milliseconds(), 10)
	})
	if err != nil {
		return err
	}
	if err := o.checkHits(hits); err != nil {
		return err
	}
	apps, err := t.findOrMake(ctx, o.apps(), func(l *layout) {
		l.partitions = 1
		l.settings["cleanup.policy"] = "compact"
	})
	if err != nil {
		return err
	}
	if err := o.checkApps(apps); err != nil {
		return err
	}
	t.partitions = hits.partitions
	t.keeps = hits.keeps()
	return nil
}

// keeps is the longest that a record stays in a topic; see Topic.Keeps.
func (l *layout) keeps() time.Duration {
	retention, err := strconv.ParseInt(l.settings["retention.ms"], 10, 64)
	segment, err2 := strconv.ParseInt(l.settings["segment.ms"], 10, 64)
	switch {
	case err != nil || err2 != nil:
		return 0
	case retention < 0:
		return -1
	}
	const most = 100 * 365 * 24 * 3600 * 1000
	return time.Duration(min(retention, most)+min(segment, most)) * time.Millisecond
}

func (t *Topic) findOrMake(ctx context.Context, topic string, plan func(*layout)) (*layout, error) {
	made := false
	for {
		l, err := t.brokers.describe(ctx, topic)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, errGone) {
			return nil, t.opts.explain(err)
		}
		if !made {
			l.replicas = min(replicasWanted, max(l.brokers, 1))
			l.settings = map[string]string{
				"max.message.bytes":   strconv.Itoa(t.opts.RecordBytesMax + frameBytes),
				"min.insync.replicas": strconv.Itoa(max(1, l.replicas-1)),
			}
			plan(l)
			if err := t.brokers.create(ctx, topic, l); err != nil {
				return nil, fmt.Errorf("cannot make topic %s: %w", topic, t.opts.explain(err))
			}
			made = true
			t.opts.Log.Info("topic made", "topic", topic, "partitions", l.partitions, "replicas", l.replicas, "settings", l.settings)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("topic %s was made and cannot be seen yet: %w", topic, ctx.Err())
		case <-time.After(createPause):
			t.brokers.refresh()
		}
	}
}

// checkHits refuses a topic in which hits could be lost or could not be found.
func (o *Options) checkHits(l *layout) error {
	if o.Partitions != 0 && o.Partitions != l.partitions {
		return fmt.Errorf("topic %s has %d partitions and %d are asked for; they cannot change, as apps would move: ask for %d, or use another --topic", o.Topic, l.partitions, o.Partitions, l.partitions)
	}
	if l.settings == nil {
		o.Log.Warn("the brokers do not show the settings of the topic; they are not checked, allow DescribeConfigs", "topic", o.Topic)
		return nil
	}
	if policy := l.settings["cleanup.policy"]; strings.Contains(policy, "compact") {
		return fmt.Errorf("topic %s has cleanup.policy=%s, which drops hits of the same app; run kafka-configs --alter --topic %[1]s --add-config cleanup.policy=delete", o.Topic, policy)
	}
	if err := o.checkBytes(o.Topic, l); err != nil {
		return err
	}
	return o.checkReplicas(o.Topic, l)
}

// checkApps refuses a topic in which apps would expire.
func (o *Options) checkApps(l *layout) error {
	if l.partitions != 1 {
		return fmt.Errorf("topic %s has %d partitions and must have 1; delete it, the store node writes it again", o.apps(), l.partitions)
	}
	if l.settings == nil {
		return nil
	}
	if policy := l.settings["cleanup.policy"]; policy != "compact" {
		return fmt.Errorf("topic %s has cleanup.policy=%s, by which apps would expire; run kafka-configs --alter --topic %[1]s --add-config cleanup.policy=compact", o.apps(), policy)
	}
	return o.checkReplicas(o.apps(), l)
}

func (o *Options) checkBytes(topic string, l *layout) error {
	bytes, err := strconv.Atoi(l.settings["max.message.bytes"])
	if need := o.RecordBytesMax + frameBytes; err == nil && bytes < need {
		return fmt.Errorf("topic %s has max.message.bytes=%d and records may have %d; run kafka-configs --alter --topic %[1]s --add-config max.message.bytes=%[3]d", topic, bytes, need)
	}
	return nil
}

func (o *Options) checkReplicas(topic string, l *layout) error {
	insync, err := strconv.Atoi(l.settings["min.insync.replicas"])
	if err != nil {
		return nil
	}
	if insync > l.replicas {
		return fmt.Errorf("topic %s has min.insync.replicas=%d and %d replicas, so nothing could be written; run kafka-configs --alter --topic %[1]s --add-config min.insync.replicas=%d", topic, insync, l.replicas, max(1, l.replicas-1))
	}
	if l.replicas < 2 || insync < 2 {
		o.Log.Warn("what is acknowledged may be on one broker alone; use three replicas and min.insync.replicas=2", "topic", topic, "replicas", l.replicas, "min.insync.replicas", insync)
	}
	return nil
}
