package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/store"
)

type storeCommand struct {
	kafkaFlags   `embed:"" group:"Kafka"`
	keepFlags    `embed:""`
	joinFlags    `embed:"" group:"Kafka"`
	processFlags `embed:""`

	Partitions partitionList `help:"Partitions to read, like 0-3,6. Without it all." env:"SPOOR_PARTITIONS" placeholder:"LIST"`
	Leave      bool          `help:"Remove from this store what it has of partitions that --partitions leaves out, if another node that is alive has it too."`
	Advertise  string        `help:"URL at which other store nodes reach the read side of this one. [http:// and --admin]" env:"SPOOR_ADVERTISE" placeholder:"URL"`
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
	// A thread in a system call holds its place among GOMAXPROCS until the runtime
	// notices. Compactions make many such calls, and the store's one writer waited for
	// a place a third of the time while a core was idle.
	if !processorsGiven() {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	memory := c.boundMemory(log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.join(ctx, log); err != nil {
		return err
	}
	st, err := c.keepFlags.open(memory, time.Now, log)
	if err != nil {
		return err
	}
	served := c.serve(ctx, st, log)
	return errors.Join(served, st.Close())
}

func (c *storeCommand) serve(ctx context.Context, st *store.Store, log *slog.Logger) error {
	secret, err := lastingSecret(filepath.Join(c.Data, "secret"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("commands of store nodes in topic " + c.Topic))
	topic, err := c.kafkaFlags.open(ctx, 0, mac.Sum(nil), log)
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
	if err := c.leave(ctx, st, topic, partitions, log); err != nil {
		return err
	}
	consumer, err := newConsumer(st, topic, c.Topic, partitions, log)
	if err != nil {
		return err
	}
	if err := consumer.compare(ctx, c.NewTopic); err != nil {
		return err
	}
	life := newLife(ctx, log)
	// What is asked of the API in the last moment waits for the consumer, which so
	// ends behind it.
	reading, end := context.WithCancel(context.Background())
	defer end()
	replica, err := c.replica(life, reading, consumer)
	if err != nil {
		return err
	}
	log.Info("serving", "read_side", replica.kept.private.Addr(), "data", c.Data, "topic", c.Topic, "partitions", len(partitions), "apps", len(st.AllApps()), "node", replica.node.id)
	if len(st.AllApps()) == 0 {
		fmt.Printf("No app exists yet. Make one:\n\n  spoor app create NAME --timezone Europe/Warsaw --data %s\n\n", c.Data)
	}
	cause := life.await()
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err = errors.Join(cause, replica.kept.answer.Shutdown(drain))
	end()
	return errors.Join(err, replica.kept.end())
}

// replica is one of the nodes that hold the same: what is changed at it goes
// through the log, and what the log holds is applied to its store.
type replica struct {
	kept *keep
	node *node
}

// replica wires a node and starts it.
//
//	API ─▶ changes ─▶ log ─▶ consumer ─▶ applier ─▶ store
//	due ───────┘        hits ───┘
func (c *storeCommand) replica(life *life, reading context.Context, consumer *consumer) (r *replica, err error) {
	st, topic, log := consumer.store, consumer.topic, consumer.log
	asked := newChanges(topic)
	marks := newMarks(life, log)
	own := &node{topic: topic, parts: consumer, now: time.Now, log: log}
	teller := &teller{store: st, topic: topic, name: c.Topic, reads: own.reads, made: consumer.made, log: log}
	if err := teller.begin(life); err != nil {
		return nil, err
	}
	asked.node, asked.apps, consumer.apps = own, teller.known, teller.known
	due := &due{store: st, node: own, changes: asked, began: time.Now(), grace: c.SweepGrace, log: log, apps: map[spoor.AppID]*dueApp{}}
	shared := &delivered{store: st, node: own, due: due, told: map[spoor.AppID]uint64{}, notices: map[spoor.AppID][]uint64{}}
	r = &replica{node: own}
	feeds, err := c.feeds(log)
	if err != nil {
		return nil, err
	}
	r.kept, err = c.keep(st, time.Now, log, keepOptions{feeds: feeds, elsewhere: true, mine: shared.mine, noticed: shared.notice, reads: func(o *query.Options) {
		o.Privacy, o.TopicKeeps = c.privacy(topic), topic.Keeps()
		o.CatchUp = consumer.catchUp
		o.Cluster, o.Commands, o.Digests, o.Nodes = own.cluster, asked, &marking{asked, consumer, marks}, others{own, teller}
	}})
	if err != nil {
		return nil, err
	}
	due.stopped = func() bool { return r.kept.sweeper.Figures().Stopped }
	r.kept.figures.consumer = consumer
	consumer.apply = &applier{store: st, sweeper: r.kept.sweeper, answer: r.kept.answer, changes: asked, due: due, shared: shared, marks: marks, log: log}
	if err := r.kept.listen(); err != nil {
		return nil, err
	}
	if err := own.begin(life, c.Data, c.Advertise, r.kept.private.Addr()); err != nil {
		return nil, err
	}
	r.kept.serve(life)
	for _, run := range []func(context.Context){teller.run, own.run, due.run, shared.run} {
		r.kept.background.Go(func() { run(life) })
	}
	r.kept.background.Go(func() { consumer.run(reading); marks.taking.Wait() })
	return r, nil
}

// privacy writes the record of processing of a store node.
func (c *storeCommand) privacy(topic *kafka.Topic) privacyWriter {
	return privacy(time.Now, func(w *lines) {
		w.add("- Data directory: %s, on this machine. Backups are the operator's.", c.Data)
		w.add("- Kafka: what collectors take in stands in topic %s of the brokers at %s, in full, %s. Apps with their keys and settings stand in %s.apps while they exist, salts of cookieless visitors in %s.salts for 48 hours.",
			c.Topic, strings.Join(c.Brokers, ", "), keptText(topic.Keeps()), c.Topic, c.Topic)
		w.add("- Changes that are asked for, such as edits of users and erasures, stand in the same topic with what the request held, for as long.")
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
