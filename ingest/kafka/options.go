package kafka

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// Options say where the brokers are and how to speak with them. Brokers must
// be set; the zero value of every other field means the default in brackets.
type Options struct {
	Brokers    []string // host:port of some of the brokers; the others are found through them
	Topic      string   // of the hits; that of the apps is called Topic + ".apps" ["spoor"]
	Partitions int      // of the hits; never change it for a topic [those of the topic, or 8 for a new one]

	TLS       *tls.Config   // [clear text]
	Mechanism string        // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 [no authentication]
	User      string        // of Mechanism
	Password  string        // of Mechanism
	Retention time.Duration // how long a new topic keeps hits [7 days]

	BytesMax       int64 // bytes of encoded hits that wait for the brokers, over all partitions [64 MiB]
	RecordBytesMax int   // bytes of one record before compression [1,000,000]

	Log *slog.Logger // [slog.Default()]
}
