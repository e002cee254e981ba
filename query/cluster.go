package query

import (
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"
)

// Cluster is what a store node knows of the topic that it reads.
type Cluster struct {
	Topic      string             `json:"topic"`
	Partitions int                `json:"partitions"` // of the topic
	Node       string             `json:"node"`       // this one's id
	Read       []ClusterPartition `json:"read"`       // those that this node reads, by number
	Nodes      []ClusterNode      `json:"nodes"`      // all that were heard of lately, this one too, by id
}

// ClusterNode is a store node as it said of itself a moment ago.
type ClusterNode struct {
	ID         string            `json:"id"`
	URL        string            `json:"url"` // of its read side
	Version    string            `json:"version"`
	Seen       int64             `json:"seen"` // Unix ms
	Partitions []ClusterProgress `json:"partitions"`
}

// ClusterProgress is how far a node has stored a partition.
type ClusterProgress struct {
	Number int   `json:"partition"`
	Stored int64 `json:"stored"`
	End    int64 `json:"end"`
	First  bool  `json:"first"` // this node does what only one has to do: it posts to webhooks, and asks for what falls due
}

// ClusterPartition is one partition of the topic. Records are numbered from 0
// on; what waits is End − Stored.
type ClusterPartition struct {
	Number   int              `json:"partition"`
	First    int64            `json:"first"`    // the oldest record that the topic has
	Stored   int64            `json:"stored"`   // the first record that is not stored
	End      int64            `json:"end"`      // behind the newest record, as of a moment ago
	Missed   int64            `json:"missed"`   // records that the topic dropped before they were read
	Poisoned int64            `json:"poisoned"` // records that could not be read
	Reading  bool             `json:"reading"`  // false: the log says why not
	Apps     []string         `json:"apps"`     // whose hits are in it
	Newest   []PoisonedRecord `json:"newest_poisoned"`
}

// PoisonedRecord says of a record that could not be read where it stands in the
// topic. Nothing of what it holds is kept.
type PoisonedRecord struct {
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"`
	At     int64  `json:"at"` // Unix ms when it was met
	Why    string `json:"why"`
	Sum    string `json:"sum"` // keyed hash, hex: equal ones are of equal records of the partition
}

// cluster answers with how far the partitions of the topic are stored.
func (c *call) cluster() error {
	if c.s.opt.Cluster == nil {
		return detail(fasthttp.StatusConflict, "This process reads no topic; ask a store node.")
	}
	if err := c.onlyQuery(); err != nil {
		return err
	}
	all, err := c.s.opt.Cluster()
	if err != nil {
		return fmt.Errorf("cannot tell how the cluster is: %w", err)
	}
	body, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("cannot tell how the cluster is: %w", err)
	}
	c.ctx.SetStatusCode(fasthttp.StatusOK)
	c.ctx.Response.Header.SetContentType("application/json")
	c.ctx.Response.SetBodyRaw(body)
	return nil
}
