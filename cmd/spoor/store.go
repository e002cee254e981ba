package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/store"
)

type storeCommand struct {
	kafkaFlags   `embed:"" group:"Kafka"`
	keepFlags    `embed:""`
	processFlags `embed:""`

	Partitions partitionList `help:"Partitions to read, like 0-3,6. Without it all." env:"SPOOR_PARTITIONS" placeholder:"LIST"`
	NewTopic   bool          `help:"The topic was deleted and made anew: read partitions that end before what is stored from their beginning. What is stored already is known by its ids." env:"SPOOR_NEW_TOPIC"`
}

// Run wires a store node and serves until a signal:
//
//	Kafka ─▶ store ◀─ query ◀─ read side, unix socket
func (c *storeCommand) Run() error {
	if err := c.keepFlags.Store.check(); err != nil {
		return err
	}
	log := newLog(c.Log)
	memory := c.boundMemory(log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	st, err := c.keepFlags.open(memory, time.Now, log)
	if err != nil {
		return err
	}
	served := c.serve(ctx, st, log)
	return errors.Join(served, st.Close())
}

func (c *storeCommand) serve(ctx context.Context, st *store.Store, log *slog.Logger) error {
	topic, err := c.kafkaFlags.open(ctx, 0, log)
	if err != nil {
		return err
	}
	return errors.Join(c.serveTopic(ctx, st, topic, log), topic.Close())
}

func (c *storeCommand) serveTopic(ctx context.Context, st *store.Store, topic *kafka.Topic, log *slog.Logger) error {
	partitions, err := c.Partitions.of(topic.Partitions())
	if err != nil {
		return err
	}
	if err := demoStays(st.AppByName(demoName), c.Admin); err != nil {
		return err
	}
	teller := &teller{store: st, topic: topic, name: c.Topic, log: log}
	if err := teller.begin(ctx); err != nil {
		return err
	}
	consumer, err := newConsumer(st, topic, c.Topic, partitions, log)
	if err != nil {
		return err
	}
	if err := consumer.compare(ctx, c.NewTopic); err != nil {
		return err
	}
	kept, err := c.keep(st, time.Now, log, func(o *query.Options) {
		o.Privacy, o.Cluster, o.TopicKeeps = c.privacy(topic), consumer.cluster, topic.Keeps()
	})
	if err != nil {
		return err
	}
	kept.figures.consumer = consumer
	if err := kept.listen(); err != nil {
		return err
	}
	life := newLife(ctx, log)
	kept.serve(life)
	kept.background.Go(func() { teller.run(life) })
	kept.background.Go(func() { consumer.run(life) })
	log.Info("serving", "read_side", kept.private.Addr(), "data", c.Data, "topic", c.Topic, "partitions", len(partitions), "apps", len(st.AllApps()))
	if len(st.AllApps()) == 0 {
		fmt.Printf("No app exists yet. Make one:\n\n  spoor app create NAME --timezone Europe/Warsaw --data %s\n\n", c.Data)
	}
	cause := life.await()
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err = errors.Join(cause, kept.answer.Shutdown(drain))
	kept.background.Wait()
	return err
}

// privacy writes the record of processing of a store node.
func (c *storeCommand) privacy(topic *kafka.Topic) privacyWriter {
	return privacy(time.Now, func(w *lines) {
		w.add("- Data directory: %s, on this machine. Backups are the operator's.", c.Data)
		w.add("- Kafka: what collectors take in stands in topic %s of the brokers at %s, in full, %s. Apps with their keys and settings stand in %s.apps while they exist, salts of cookieless visitors in %s.salts for 48 hours.",
			c.Topic, strings.Join(c.Brokers, ", "), keptText(topic.Keeps()), c.Topic, c.Topic)
		w.add("- What is erased, swept or too old here goes from the topic by that time alone, and is not brought back from it.")
		w.add("- Between collectors, brokers and this node: %s.", onlyIf(c.KafkaTLS, "TLS 1.2 or newer")+onlyIf(!c.KafkaTLS, "CLEAR TEXT; --kafka-tls encrypts it"))
		w.add("- Collectors run elsewhere and keep no hits. Read side: %s.", c.Admin)
		c.writeAccess(w)
	})
}

// keptText says how long a topic keeps what is in it.
func keptText(d time.Duration) string {
	switch {
	case d < 0:
		return "FOR EVER (its retention.ms is -1): what is erased stays there; set a retention"
	case d == 0:
		return "for a time that the brokers do not show (retention.ms and segment.ms of the topic)"
	}
	return fmt.Sprintf("for at most %s, but for the minutes that brokers take to look", d)
}

// partitionList is a set of partitions, like 0-3,6; empty means all.
type partitionList []int

const partitionsMax = 10_000

func (p *partitionList) UnmarshalText(text []byte) error {
	*p = nil
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, err := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || a < 0 || b < a || b >= partitionsMax {
			return fmt.Errorf("%q is no list of partitions; write numbers and ranges like 0-3,6", text)
		}
		for n := a; n <= b; n++ {
			*p = append(*p, n)
		}
	}
	return nil
}

// of gives the partitions of the list in a topic that has so many.
func (p partitionList) of(count int) ([]int, error) {
	var list []int
	seen := map[int]bool{}
	for _, n := range p {
		if n >= count {
			return nil, fmt.Errorf("cannot read partition %d: the topic has %d, the last is %d", n, count, count-1)
		}
		if !seen[n] {
			list = append(list, n)
		}
		seen[n] = true
	}
	for n := 0; len(p) == 0 && n < count; n++ {
		list = append(list, n)
	}
	return list, nil
}
