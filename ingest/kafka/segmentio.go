package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"
)

const (
	metadataTTL   = 2 * time.Second // kafka-go looks for new leaders at random times within it
	refreshPause  = 250 * time.Millisecond
	fetchWait     = 500 * time.Millisecond // how long a broker holds a fetch back when there is nothing
	fetchSlack    = 10 * time.Second       // what a fetch may take beyond that
	fetchBytesMax = 512 << 10              // of one fetch, compressed
)

// segmentio speaks by way of segmentio/kafka-go. Its Client is used and not
// its Writer and Reader: those keep memory and offsets of their own.
type segmentio struct {
	transport *kafka.Transport
	client    kafka.Client

	mu        sync.Mutex
	refreshed time.Time
}

func newSegmentio(addresses []string, topics []string, t *tls.Config, m sasl.Mechanism) *segmentio {
	transport := &kafka.Transport{
		Dial:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		DialTimeout:    5 * time.Second,
		MetadataTTL:    metadataTTL,
		MetadataTopics: topics,
		ClientID:       "spoor",
		TLS:            t,
		SASL:           m,
	}
	return &segmentio{
		transport: transport,
		client:    kafka.Client{Addr: kafka.TCP(addresses...), Transport: transport},
	}
}

// kafka-go has one level of compression for all of a process. The lowest takes six
// tenths of the usual one's time, and hits are 2 % larger.
func init() { compress.ZstdCodec.Level = 1 }

// recordReader gives records to kafka-go. Each request needs one of its own:
// one that was given up may still be read from.
type recordReader struct {
	records    []record
	next       int
	current    protocol.Record
	key, value byteReader
}

func (r *recordReader) ReadRecord() (*protocol.Record, error) {
	if r.next == len(r.records) {
		return nil, io.EOF
	}
	rec := r.records[r.next]
	r.next++
	r.key.of(rec.key)
	r.current = protocol.Record{Key: &r.key}
	if rec.value != nil {
		r.value.of(rec.value)
		r.current.Value = &r.value
	}
	return &r.current, nil
}

// byteReader is a protocol.Bytes that can be used again.
type byteReader struct{ all, rest []byte }

func (b *byteReader) of(p []byte) { b.all, b.rest = p, p }
func (b *byteReader) Close() error {
	return nil
}
func (b *byteReader) Len() int { return len(b.rest) }

func (b *byteReader) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *byteReader) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at >= int64(len(b.all)) {
		return 0, io.EOF
	}
	n := copy(p, b.all[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo spares io.Copy a buffer.
func (b *byteReader) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.rest)
	b.rest = b.rest[n:]
	return int64(n), err
}

func (s *segmentio) produce(ctx context.Context, topic string, partition int, records []record) (offset int64, err error) {
	res, err := s.client.Produce(ctx, &kafka.ProduceRequest{
		Topic:        topic,
		Partition:    partition,
		RequiredAcks: kafka.RequireAll,
		Records:      &recordReader{records: records},
		Compression:  kafka.Zstd,
	})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return 0, s.sort(ctx, err, topic)
	}
	return res.BaseOffset, nil
}

func (s *segmentio) fetch(ctx context.Context, topic string, partition int, from int64, each func(offset int64, key, value []byte)) (next int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWait+fetchSlack)
	defer cancel()
	res, err := s.client.Fetch(ctx, &kafka.FetchRequest{
		Topic:     topic,
		Partition: partition,
		Offset:    from,
		MinBytes:  1,
		MaxBytes:  fetchBytesMax,
		MaxWait:   fetchWait,
	})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return from, s.sort(ctx, err, topic)
	}
	next = from
	var key, value []byte
	for {
		r, err := res.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			if key, err = readBytes(r.Key, key); err == nil {
				value, err = readBytes(r.Value, value)
			}
		}
		if err != nil {
			return next, fmt.Errorf("a batch of topic %s, partition %d, behind offset %d cannot be read: %w", topic, partition, next-1, err)
		}
		if r.Offset < next {
			continue // a batch may begin before the offset that was asked for
		}
		next = r.Offset + 1
		each(r.Offset, key, value)
	}
	if next > from {
		return next, nil
	}
	return skipEmpty(res.Records, from), nil
}

// skipEmpty passes batches without a record that counts, of markers or after
// compaction: a broker would answer with the same ones for ever.
func skipEmpty(records kafka.RecordReader, from int64) int64 {
	stream, ok := records.(*protocol.RecordStream)
	if !ok || len(stream.Records) == 0 {
		return from
	}
	next := from + 1
	for _, batch := range stream.Records {
		if b, ok := batch.(interface{ Offset() int64 }); ok {
			next = max(next, b.Offset()+1)
		}
	}
	return next
}

// readBytes reads b into the memory of into; nil stays nil.
func readBytes(b protocol.Bytes, into []byte) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	n := b.Len()
	if cap(into) < n || into == nil {
		into = make([]byte, n)
	}
	_, err := io.ReadFull(b, into[:n])
	return into[:n], err
}

func (s *segmentio) offsets(ctx context.Context, topic string, partition int) (first, next int64, err error) {
	res, err := s.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition)}},
	})
	if err == nil {
		for _, p := range res.Topics[topic] {
			if p.Partition == partition {
				return p.FirstOffset, p.LastOffset, s.sort(ctx, p.Error, topic)
			}
		}
		err = errors.New("the brokers name no offset")
	}
	return 0, 0, s.sort(ctx, err, topic)
}

func (s *segmentio) describe(ctx context.Context, topic string) (*layout, error) {
	res, err := s.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	l := &layout{brokers: len(res.Brokers)}
	if len(res.Topics) != 1 || errors.Is(res.Topics[0].Error, kafka.UnknownTopicOrPartition) {
		return l, errGone
	}
	if err := res.Topics[0].Error; err != nil {
		return l, s.sort(ctx, err, topic)
	}
	l.partitions = len(res.Topics[0].Partitions)
	if l.partitions > 0 {
		l.replicas = len(res.Topics[0].Partitions[0].Replicas)
	}
	settings, err := s.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		return l, err
	}
	for _, r := range settings.Resources {
		if r.Error != nil {
			if err := s.sort(ctx, r.Error, topic); !errors.Is(err, errDenied) {
				return l, err
			}
			return l, nil
		}
		l.settings = map[string]string{}
		for _, e := range r.ConfigEntries {
			l.settings[e.ConfigName] = e.ConfigValue
		}
	}
	return l, nil
}

func (s *segmentio) create(ctx context.Context, topic string, l *layout) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: l.partitions, ReplicationFactor: l.replicas}
	for name, value := range l.settings {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	res, err := s.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	if err == nil {
		err = res.Errors[topic]
	}
	if errors.Is(err, kafka.TopicAlreadyExists) {
		return nil
	}
	return s.sort(ctx, err, topic)
}

// refresh lets go of the connections: kafka-go has no other way to ask for the
// leaders anew. Requests under way keep theirs.
func (s *segmentio) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.refreshed) > refreshPause {
		s.refreshed = now
		s.transport.CloseIdleConnections()
	}
}

func (s *segmentio) close() { s.transport.CloseIdleConnections() }

// sort makes an error of kafka-go one of those that this package tells apart.
func (s *segmentio) sort(ctx context.Context, err error, topic string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kafka.OffsetOutOfRange):
		return errRange
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
		return ErrTooLarge
	case errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: %w", errDenied, err)
	case errors.Is(err, kafka.UnknownTopicOrPartition):
		return errGone
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition):
		// kafka-go says so too while it knows of no broker.
		if res, merr := s.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}}); merr != nil {
			return merr
		} else if len(res.Topics) == 1 && errors.Is(res.Topics[0].Error, kafka.UnknownTopicOrPartition) {
			return errGone
		}
	}
	return err
}

// hostPort checks one address of a broker.
func hostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
		return fmt.Errorf("broker %q is no address; write it as host:9092", address)
	}
	return nil
}
