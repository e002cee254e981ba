package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/store"
)

// leave removes the apps of partitions that this node does not read any more, if
// that is asked for and another node has them. Without it they would stay as they
// are: never swept, never erased.
func (c *storeCommand) leave(ctx context.Context, st *store.Store, topic *kafka.Topic, partitions []int, log *slog.Logger) error {
	offsets, err := st.Offsets()
	if err != nil {
		return err
	}
	next := map[int]int64{}
	for _, o := range offsets {
		if o.Topic != c.Topic {
			continue
		}
		if next[o.Partition] = o.Next; o.Left && slices.Contains(partitions, o.Partition) {
			return fmt.Errorf("cannot read partition %d: this store has left it, and what came since it does not have; begin with an empty --data, and --join a node that reads it", o.Partition)
		}
	}
	left := map[int][]spoor.AppID{}
	for _, app := range st.AllApps() {
		n := topic.PartitionOf(app.ID)
		if slices.Contains(partitions, n) {
			continue
		}
		if left[n] = append(left[n], app.ID); !c.Leave {
			return fmt.Errorf("cannot leave partition %d out: this store has app %q, which belongs to it, and would neither sweep nor erase in it any more; read that partition too, or, where another node has it, remove it here with --leave", n, app.Name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodeAlive)
	defer cancel()
	nodes, err := topic.FollowNodes(ctx)
	if err != nil {
		return err
	}
	before := nodes.All()
	for _, n := range slices.Sorted(maps.Keys(left)) {
		for there := ""; there == ""; {
			if there = holder(nodes.All(), before, n, next[n]); there != "" {
				log.Info("leaving a partition; the bytes of its apps are given back by and by", "partition", n, "apps", len(left[n]), "there", there)
			} else if !pause(ctx, nodeTell/20) {
				return fmt.Errorf("cannot leave partition %d: no node that is alive has all of it up to record %d, as this store has; nothing of it was removed; start one that reads it, and see with spoor cluster when it has caught up", n, next[n])
			}
		}
		if err := st.Leave(c.Topic, n, left[n]); err != nil {
			return err
		}
	}
	return nil
}

// holder is a node that has a partition up to a record and has said so since
// before: what stood in the topic then may be of nodes that are gone.
func holder(nodes, before []kafka.Node, partition int, next int64) (url string) {
	for _, n := range nodes {
		if slices.ContainsFunc(before, func(b kafka.Node) bool { return b.ID == n.ID && b.At == n.At }) {
			continue
		}
		if slices.ContainsFunc(n.Partitions, func(p kafka.NodePartition) bool { return p.Number == partition && p.Stored >= next }) {
			return n.URL
		}
	}
	return ""
}
