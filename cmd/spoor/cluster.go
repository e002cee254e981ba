package main

import (
	"fmt"
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
	return listPartitions(&all)
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

func listPoisoned(all *query.Cluster) error {
	w := table("TOPIC", "PARTITION", "RECORD", "BYTES", "MET", "SUM", "WHY")
	for _, p := range all.Read {
		for _, r := range p.Newest {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", all.Topic, p.Number, r.Offset, r.Bytes, time.UnixMilli(r.At).UTC().Format(time.RFC3339), r.Sum, r.Why)
		}
	}
	return w.Flush()
}
