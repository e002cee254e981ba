package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spoorhq/spoor/ingest/kafka"
)

// kafkaFlags are of what speaks with Kafka: collect and store.
type kafkaFlags struct {
	Brokers         []string      `name:"kafka" help:"Some of the brokers, by comma; the others are found through them." required:"" env:"SPOOR_KAFKA" placeholder:"HOST:PORT"`
	Topic           string        `help:"Topic of the hits; the apps are in TOPIC.apps. [${default}]" default:"spoor" env:"SPOOR_TOPIC" placeholder:"TOPIC"`
	TopicPartitions int           `help:"Partitions of the topic. 0: those that it has, or 8 where it is made. [${default}]" default:"0" env:"SPOOR_TOPIC_PARTITIONS" placeholder:"N"`
	TopicRetention  time.Duration `help:"How long a topic that is made keeps hits. [${default}]" default:"168h" env:"SPOOR_TOPIC_RETENTION" placeholder:"TIME"`
	KafkaTLS        bool          `name:"kafka-tls" help:"Speak TLS with the brokers." env:"SPOOR_KAFKA_TLS"`
	KafkaCA         string        `name:"kafka-ca" help:"Roots of a private authority that signed the brokers' certificates, PEM." env:"SPOOR_KAFKA_CA" placeholder:"FILE"`
	KafkaLogin      string        `name:"kafka-login" help:"How to log in at the brokers, with SPOOR_KAFKA_USER and SPOOR_KAFKA_PASSWORD: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512." env:"SPOOR_KAFKA_LOGIN" placeholder:"HOW"`
	KafkaUser       string        `help:"User at the brokers." env:"SPOOR_KAFKA_USER" hidden:""`
	KafkaPassword   string        `help:"Password at the brokers. Only the environment, so that it shows in no process list." env:"SPOOR_KAFKA_PASSWORD" hidden:""`
}

// kafkaOpenMax bounds how long brokers are waited for at the start; a supervisor
// tries again.
const kafkaOpenMax = 30 * time.Second

// open connects to the brokers and looks at the topics.
func (f *kafkaFlags) open(ctx context.Context, bytesMax int64, log *slog.Logger) (*kafka.Topic, error) {
	o := kafka.Options{
		Brokers: f.Brokers, Topic: f.Topic, Partitions: f.TopicPartitions, Retention: f.TopicRetention, BytesMax: bytesMax,
		Mechanism: f.KafkaLogin, User: f.KafkaUser, Password: f.KafkaPassword, Log: log,
	}
	switch {
	case f.KafkaLogin != "" && (f.KafkaUser == "" || f.KafkaPassword == ""):
		return nil, errors.New("cannot log in at the brokers without a name: set SPOOR_KAFKA_USER and SPOOR_KAFKA_PASSWORD")
	case f.KafkaLogin == "" && (f.KafkaUser != "" || f.KafkaPassword != ""):
		return nil, errors.New("cannot log in at the brokers without knowing how: give --kafka-login")
	case f.KafkaCA != "" && !f.KafkaTLS:
		return nil, errors.New("cannot use --kafka-ca without --kafka-tls")
	case f.KafkaLogin == "PLAIN" && !f.KafkaTLS:
		log.Warn("the password for the brokers goes over the network in clear text; use --kafka-tls")
	}
	if f.KafkaTLS {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if f.KafkaCA != "" {
			pem, err := os.ReadFile(f.KafkaCA)
			if err != nil {
				return nil, fmt.Errorf("cannot read the roots for the brokers: %w", err)
			}
			o.TLS.RootCAs = x509.NewCertPool()
			if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("cannot use %s: it holds no certificate in PEM", f.KafkaCA)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaOpenMax)
	defer cancel()
	return kafka.Open(ctx, o)
}
