package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spoorhq/spoor/query"
)

type clusterCommand struct {
	dataFlag
	Poisoned bool `help:"List the newest records that could not be read."`
}

// Run asks the running store node.
func (c *clusterCommand) Run() error {
	var all query.Cluster
	if err := newClient(c.Data).call("GET", "/api/admin/cluster/", nil, &all); err != nil {
		return err
	}
	if c.Poisoned {
		return listPoisoned(&all)
	}
	if err := listPartitions(&all); err != nil {
		return err
	}
	fmt.Println()
	return listNodes(&all)
}

func listPartitions(all *query.Cluster) error {
	w := table("TOPIC", "PARTITION", "STORED", "END", "LAG", "MISSED", "POISONED", "STATE", "APPS")
	for _, p := range all.Read {
		state := "reading"
		if !p.Reading {
			state = "stopped"
		}
		fmt.Fprintf(w, "%s\t%d of %d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", all.Topic, p.Number, all.Partitions, p.Stored, p.End, p.End-p.Stored, p.Missed, p.Poisoned, state, strings.Join(p.Apps, " "))
	}
	return w.Flush()
}

func listNodes(all *query.Cluster) error {
	w := table("NODE", "URL", "PARTITIONS", "FIRST OF", "LAG", "SEEN")
	for _, n := range all.Nodes {
		var reads, first []int
		lag := int64(0)
		for _, p := range n.Partitions {
			reads = append(reads, p.Number)
			lag += p.End - p.Stored
			if p.First {
				first = append(first, p.Number)
			}
		}
		name := n.ID
		if n.ID == all.Node {
			name += " (this)"
		}
		ago := max(0, time.Since(time.UnixMilli(n.Seen)).Round(time.Second))
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s ago\n", name, n.URL, ranges(reads), ranges(first), lag, ago)
	}
	return w.Flush()
}

// ranges writes ascending numbers as --partitions takes them.
func ranges(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		last := i
		for last+1 < len(list) && list[last+1] == list[last]+1 {
			last++
		}
		part := strconv.Itoa(list[i])
		if last > i {
			part += "-" + strconv.Itoa(list[last])
		}
		parts = append(parts, part)
		i = last + 1
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ",")
}

func listPoisoned(all *query.Cluster) error {
	w := table("TOPIC", "PARTITION", "RECORD", "BYTES", "MET", "SUM", "WHY")
	for _, p := range all.Read {
		for _, r := range p.Newest {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", all.Topic, p.Number, r.Offset, r.Bytes, time.UnixMilli(r.At).UTC().Format(time.RFC3339), r.Sum, r.Why)
		}
	}
	return w.Flush()
}
