package kafka

import (
	"context"
	"errors"
)

// brokers is what this package asks of a Kafka client, so that another library
// can take its place; segmentio.go is the one in use.
type brokers interface {
	// produce appends records as one batch and returns the offset of the first
	// once all in-sync replicas have acknowledged it. The records may be read for as long as
	// the client holds on to a request that it gave up: after an error they
	// must never be written again.
	produce(ctx context.Context, topic string, partition int, records []record) (offset int64, err error)
	// fetch waits a moment for records from an offset on and calls each with
	// those that are there, in order; key and value are valid until each
	// returns, and value is nil in a tombstone. It returns the offset to go on
	// from, which is from where nothing came.
	fetch(ctx context.Context, topic string, partition int, from int64, each func(offset int64, key, value []byte)) (next int64, err error)
	// offsets are those of the oldest record and of the next one to come.
	offsets(ctx context.Context, topic string, partition int) (first, next int64, err error)
	// describe says what a topic is like; errGone if there is none.
	describe(ctx context.Context, topic string) (*layout, error)
	// create makes a topic; one that exists is no error.
	create(ctx context.Context, topic string, l *layout) error
	// refresh forgets who leads what. It is cheap when called often.
	refresh()
	close()
}

type record struct{ key, value []byte }

// layout is how a topic is laid out. Settings are nil where the brokers do not
// let us look.
type layout struct {
	partitions, replicas int
	brokers              int // of the cluster
	settings             map[string]string
}

// ErrTooLarge is wrapped by the errors of what is larger than a record may be.
var ErrTooLarge = errors.New("the topic takes no record of this size")

// What a client's errors are told apart by, beside ErrTooLarge. Any other may
// pass by itself.
var (
	errGone   = errors.New("there is no such topic or partition") // a broker may say so for a moment
	errRange  = errors.New("the offset is not in the partition")
	errDenied = errors.New("the brokers do not allow it")
)

// passing says whether trying again may help.
func passing(err error) bool {
	return !errors.Is(err, errGone) && !errors.Is(err, ErrTooLarge) && !lasting(err)
}
