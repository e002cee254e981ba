package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spoorhq/spoor/store"
)

// joinFlags let a new store node begin with the store of another.
type joinFlags struct {
	Join   string `help:"Where the data directory holds no store yet: begin with a copy of the store node at this address, that of its read side. Its secret must be the same SPOOR_ADMIN_TOKEN, and it must run with --checkpoints." env:"SPOOR_JOIN" placeholder:"URL"`
	JoinCA string `name:"join-ca" help:"Roots of a private authority for --join, PEM." env:"SPOOR_JOIN_CA" placeholder:"FILE"`
}

// joinSays is how often a line of the log says how far it is.
const joinSays = 5 * time.Second

// join brings the store of another node into an empty data directory. A copy that
// was cut, or that the topic cannot go on from, never becomes the store.
func (c *storeCommand) join(ctx context.Context, log *slog.Logger) error {
	incoming := filepath.Join(c.Data, incomingName)
	if err := os.RemoveAll(incoming); err != nil { // half of one, of a process that was killed
		return fmt.Errorf("cannot remove what is left of a checkpoint: %w", err)
	}
	if c.Join == "" {
		return nil
	}
	switch _, err := os.Stat(filepath.Join(c.Data, "db")); {
	case err == nil:
		log.Info("there is a store already, so --join is left alone", "data", c.Data)
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot look into the data directory: %w", err)
	}
	r, err := newRemote(c.Join, c.AdminToken, c.JoinCA)
	if err != nil {
		return err
	}
	if err := c.fetch(ctx, r, incoming, log); err != nil {
		return errors.Join(fmt.Errorf("cannot join %s: %w", r.url.Host, err), os.RemoveAll(incoming))
	}
	if err := os.Remove(filepath.Join(incoming, sumsName)); err != nil { // of files that will change
		return err
	}
	if err := settle(c.Data); err != nil {
		return fmt.Errorf("cannot put the checkpoint in its place: %w", err)
	}
	return nil
}

// fetch receives a checkpoint that the topic can go on from.
func (c *storeCommand) fetch(ctx context.Context, r *remote, dir string, log *slog.Logger) error {
	if r.clear() {
		log.Warn("everything comes in clear text; put a proxy with https before the other node, or use a network that nobody listens to", "from", r.url.Host)
	}
	log.Info("fetching a checkpoint", "from", r.url.Host)
	from, err := r.checkpoint(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	last := began
	got, err := receive(from, dir, func(bytes, of int64) {
		if now := time.Now(); now.Sub(last) >= joinSays {
			last = now
			log.Info("fetching a checkpoint", "bytes", bytes, "of", of)
			tellSupervisor("EXTEND_TIMEOUT_USEC=120000000", log)
		}
	})
	if err = errors.Join(err, from.Close()); err != nil {
		return fmt.Errorf("the checkpoint did not arrive: %w", err)
	}
	log.Info("a checkpoint arrived complete", "bytes", got.bytes, "files", got.files, "took", time.Since(began).Round(time.Millisecond))
	return c.follows(ctx, dir, log)
}

// follows refuses a checkpoint behind which the topic has dropped records.
func (c *storeCommand) follows(ctx context.Context, dir string, log *slog.Logger) error {
	st, err := store.Open(store.Options{Dir: dir, ReadOnly: true, Log: newLog("error")})
	if err != nil {
		return err
	}
	offsets, err := st.Offsets()
	if err = errors.Join(err, st.Close()); err != nil {
		return err
	}
	next := map[int]int64{}
	for _, o := range offsets {
		if o.Topic == c.Topic {
			next[o.Partition] = o.Next
		}
	}
	topic, err := c.kafkaFlags.open(ctx, 0, nil, log)
	if err != nil {
		return err
	}
	defer topic.Close()
	partitions, err := c.Partitions.of(topic.Partitions())
	if err != nil {
		return err
	}
	for _, n := range partitions {
		first, _, err := topic.End(ctx, n)
		if err != nil {
			return fmt.Errorf("cannot see where partition %d of topic %s begins: %w", n, c.Topic, err)
		}
		if first > next[n] {
			return fmt.Errorf("the checkpoint ends before record %d of partition %d, and topic %s begins with %d: what is between is lost; join a node that reads this partition and has caught up, see spoor cluster there, or give the topic a longer retention", next[n], n, c.Topic, first)
		}
	}
	return nil
}
