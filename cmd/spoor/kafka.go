package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spoorhq/spoor/ingest/kafka"
)

// kafkaFlags are of what speaks with Kafka: collect and store.
type kafkaFlags struct {
	Brokers         []string      `name:"kafka" help:"Some of the brokers, by comma; the others are found through them." required:"" env:"SPOOR_KAFKA" placeholder:"HOST:PORT"`
	Topic           string        `help:"Topic of the hits and changes; beside it are TOPIC.apps, TOPIC.salts and TOPIC.nodes. [${default}]" default:"spoor" env:"SPOOR_TOPIC" placeholder:"TOPIC"`
	TopicPartitions int           `help:"Partitions of the topic. 0: those that it has, or 8 where it is made. [${default}]" default:"0" env:"SPOOR_TOPIC_PARTITIONS" placeholder:"N"`
	TopicRetention  time.Duration `help:"How long a topic that is made keeps hits. [${default}]" default:"168h" env:"SPOOR_TOPIC_RETENTION" placeholder:"TIME"`
	brokerFlags     `embed:"" envprefix:"SPOOR_"`
}

// brokerFlags say how to speak with brokers. Their variables get a prefix.
type brokerFlags struct {
	KafkaTLS      bool   `name:"kafka-tls" help:"Speak TLS with the brokers." env:"KAFKA_TLS"`
	KafkaCA       string `name:"kafka-ca" help:"Roots of a private authority that signed the brokers' certificates, PEM." env:"KAFKA_CA" placeholder:"FILE"`
	KafkaLogin    string `name:"kafka-login" help:"How to log in at the brokers, with the variables that end in KAFKA_USER and KAFKA_PASSWORD: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512." env:"KAFKA_LOGIN" placeholder:"HOW"`
	KafkaUser     string `help:"User at the brokers." env:"KAFKA_USER" hidden:""`
	KafkaPassword string `help:"Password at the brokers. Only the environment, so that it shows in no process list." env:"KAFKA_PASSWORD" hidden:""`
}

// feedFlags are of serve, whose feeds may go to Kafka. The names of the flags
// begin with feed-.
type feedFlags struct {
	Brokers     []string `name:"kafka" help:"Some of the brokers to which feeds of apps go that have a feed_topic, by comma." env:"SPOOR_FEED_KAFKA" placeholder:"HOST:PORT"`
	brokerFlags `embed:"" envprefix:"SPOOR_FEED_"`
}

// feeds checks the flags; nil if there are no brokers.
func (f *feedFlags) feeds(log *slog.Logger) (*kafka.Feeds, error) {
	if len(f.Brokers) == 0 {
		if f.brokerFlags != (brokerFlags{}) {
			return nil, errors.New("cannot speak with brokers that are not named: give --feed-kafka")
		}
		return nil, nil
	}
	o, err := f.options(kafka.Options{Brokers: f.Brokers, Prefix: "feed-", Log: log})
	if err != nil {
		return nil, err
	}
	f.warn(log, "--feed-kafka-tls")
	return kafka.NewFeeds(o)
}

// kafkaOpenMax bounds how long brokers are waited for at the start; a supervisor
// tries again.
const kafkaOpenMax = 30 * time.Second

// open connects to the brokers and looks at the topics. Who has no key for
// commands can neither read nor make them.
func (f *kafkaFlags) open(ctx context.Context, bytesMax int64, commandKey []byte, log *slog.Logger) (*kafka.Topic, error) {
	o, err := f.topicOptions(log)
	if err != nil {
		return nil, err
	}
	o.BytesMax, o.CommandKey = bytesMax, commandKey
	f.warn(log, "--kafka-tls")
	ctx, cancel := context.WithTimeout(ctx, kafkaOpenMax)
	defer cancel()
	return kafka.Open(ctx, o)
}

// feeds writes feeds of apps to topics on the same brokers.
func (f *kafkaFlags) feeds(log *slog.Logger) (*kafka.Feeds, error) {
	o, err := f.topicOptions(log)
	if err != nil {
		return nil, err
	}
	return kafka.NewFeeds(o)
}

func (f *kafkaFlags) topicOptions(log *slog.Logger) (kafka.Options, error) {
	return f.options(kafka.Options{
		Brokers: f.Brokers, Topic: f.Topic, Partitions: f.TopicPartitions, Retention: f.TopicRetention, Log: log,
	})
}

// warn tells of a password that others can read.
func (f *brokerFlags) warn(log *slog.Logger, flag string) {
	if f.KafkaLogin == "PLAIN" && !f.KafkaTLS {
		log.Warn("the password for the brokers goes over the network in clear text; use " + flag)
	}
}

// options adds how to speak with the brokers.
func (f *brokerFlags) options(o kafka.Options) (kafka.Options, error) {
	o.Mechanism, o.User, o.Password = f.KafkaLogin, f.KafkaUser, f.KafkaPassword
	flag, variable := "--"+o.Prefix+"kafka-", "SPOOR_"+strings.ToUpper(strings.ReplaceAll(o.Prefix, "-", "_"))+"KAFKA_"
	switch {
	case f.KafkaLogin != "" && (f.KafkaUser == "" || f.KafkaPassword == ""):
		return o, fmt.Errorf("cannot log in at the brokers without a user and a password: set %sUSER and %[1]sPASSWORD", variable)
	case f.KafkaLogin == "" && (f.KafkaUser != "" || f.KafkaPassword != ""):
		return o, fmt.Errorf("cannot log in at the brokers without knowing how: give %slogin", flag)
	case f.KafkaCA != "" && !f.KafkaTLS:
		return o, fmt.Errorf("cannot use %sca without %[1]stls", flag)
	}
	if !f.KafkaTLS {
		return o, nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.KafkaCA == "" {
		return o, nil
	}
	pem, err := os.ReadFile(f.KafkaCA)
	if err != nil {
		return o, fmt.Errorf("cannot read the roots for the brokers: %w", err)
	}
	o.TLS.RootCAs = x509.NewCertPool()
	if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return o, fmt.Errorf("cannot use %s: it holds no certificate in PEM", f.KafkaCA)
	}
	return o, nil
}
