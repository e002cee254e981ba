package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// Options say where the brokers are and how to speak with them. Brokers must
// be set; the zero value of every other field means the default in brackets.
type Options struct {
	Brokers    []string // host:port of some of the brokers; the others are found through them
	Topic      string   // of the hits; the others are called Topic + ".apps", ".salts" and ".nodes" ["spoor"]
	Partitions int      // of the hits; never change it for a topic [those of the topic, or 8 for a new one]

	TLS       *tls.Config   // [clear text]
	Mechanism string        // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 [no authentication]
	User      string        // of Mechanism
	Password  string        // of Mechanism
	Retention time.Duration // how long a new topic keeps hits [7 days]
	Prefix    string        // of the flags and variables that errors name, such as feed- [none: --kafka-tls, SPOOR_KAFKA_USER]

	// CommandKey signs commands and announcements of nodes; store nodes share it.
	// Without it neither can be sent, commands that are read are poisoned, and
	// nodes unknown.
	CommandKey []byte

	BytesMax       int64 // bytes of encoded hits that wait for the brokers, over all partitions [64 MiB]
	RecordBytesMax int   // bytes of one record before compression [1,000,000]

	Log *slog.Logger // [slog.Default()]

	wait time.Duration // for the acknowledgement of a Write [5 s]
	gone time.Duration // how long a topic must be missing before a reader gives up [10 s]
}

const (
	partitionsNew = 8
	partitionsMax = 10_000
	// frameBytes is what the brokers add to a record: the head of its batch, its
	// key and lengths, and what zstd adds to bytes that it cannot compress.
	frameBytes = 4 << 10
)

func (o Options) withDefaults() Options {
	if o.Topic == "" {
		o.Topic = "spoor"
	}
	if o.Retention == 0 {
		o.Retention = 7 * 24 * time.Hour
	}
	if o.BytesMax == 0 {
		o.BytesMax = 64 << 20
	}
	if o.RecordBytesMax == 0 {
		o.RecordBytesMax = 1_000_000
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.wait == 0 {
		o.wait = 5 * time.Second
	}
	if o.gone == 0 {
		o.gone = 10 * time.Second
	}
	return o
}

// Kafka takes 249 characters; ".apps" and others are appended to some.
var topicName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$`)

// validate returns everything that is wrong with the options at once.
func (o *Options) validate() error {
	var errs []error
	if len(o.Brokers) == 0 {
		errs = append(errs, errors.New("no broker is named; give at least one as host:9092"))
	}
	for _, address := range o.Brokers {
		errs = append(errs, hostPort(address))
	}
	if !topicName.MatchString(o.Topic) {
		errs = append(errs, fmt.Errorf("topic %q cannot be used; want at most 200 letters, digits, _, - and .", o.Topic))
	}
	if o.Partitions < 0 || o.Partitions > partitionsMax {
		errs = append(errs, fmt.Errorf("%d partitions are asked for; want 1 to %d", o.Partitions, partitionsMax))
	}
	if o.Retention < time.Minute {
		errs = append(errs, fmt.Errorf("retention is %v; want a minute or more, longer than a store node may be away", o.Retention))
	}
	if o.RecordBytesMax < 64<<10 || o.RecordBytesMax > 64<<20 {
		errs = append(errs, fmt.Errorf("RecordBytesMax is %d; want 65536 to 67108864", o.RecordBytesMax))
	}
	if o.BytesMax < int64(o.RecordBytesMax) {
		errs = append(errs, fmt.Errorf("BytesMax is %d; want at least RecordBytesMax, %d", o.BytesMax, o.RecordBytesMax))
	}
	return errors.Join(errs...)
}
