package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/query"
)

// compareMax bounds how long nodes are waited for: a look at a large store takes
// minutes, and one that is behind has to read up to the mark first.
const (
	compareMax  = time.Hour
	compareLook = 200 * time.Millisecond
	compareSay  = 10 * time.Second
)

// compare puts a mark into the log and has two nodes say what they held when they
// met it. Both go on working meanwhile.
func (c *checkCommand) compare() error {
	r, err := newRemote(c.Against, os.Getenv("SPOOR_ADMIN_TOKEN"), "")
	if err != nil {
		return err
	}
	here, there := newClient(c.Data), r.api()
	var a, b query.Cluster
	if err := here.call("GET", "/api/admin/cluster/", nil, &a); err != nil {
		return err
	}
	if err := there.call("GET", "/api/admin/cluster/", nil, &b); err != nil {
		return fmt.Errorf("%s: %w", c.Against, err)
	}
	if a.Node == b.Node {
		return fmt.Errorf("cannot compare node %s with itself; give --against the URL of another one", a.Node)
	}
	if !slices.ContainsFunc(a.Nodes, func(n query.ClusterNode) bool { return n.ID == b.Node }) {
		return fmt.Errorf("cannot compare with node %s: node %s does not hear of it; they read other topics, or the files secret in their data directories differ", b.Node, a.Node)
	}
	both := commonPartitions(&a, &b)
	if a.Topic != b.Topic || len(both) == 0 {
		return fmt.Errorf("cannot compare node %s, which reads partitions %s of topic %s, with node %s, which reads %s of %s: they have none in common",
			a.Node, ranges(read(&a)), a.Topic, b.Node, ranges(read(&b)), b.Topic)
	}
	var mark struct{ ID string }
	if err := here.call("POST", "/api/admin/digests/", nil, &mark); err != nil {
		return err
	}
	began := time.Now()
	one, err := await(here, mark.ID, both, a.Node)
	if err != nil {
		return err
	}
	two, err := await(there, mark.ID, both, b.Node)
	if err != nil {
		return err
	}
	records, differ := int64(0), 0
	for _, n := range both {
		if one[n].Failed+two[n].Failed != "" {
			return fmt.Errorf("cannot compare partition %d: %s%s", n, one[n].Failed, two[n].Failed)
		}
		if one[n].Offset != two[n].Offset { // whoever wrote the mark wrote it twice
			return fmt.Errorf("cannot compare partition %d: the nodes met the mark at records %d and %d; try again", n, one[n].Offset, two[n].Offset)
		}
		more, lines := different(one[n].Apps, two[n].Apps)
		records += more
		differ += len(lines)
		for _, line := range lines {
			fmt.Printf("partition %d at record %d: %s\n", n, one[n].Offset, line)
		}
	}
	if differ > 0 {
		return fmt.Errorf("nodes %s and %s differ in %d places; keep the one whose spoor check finds nothing, and let the other begin anew with --join", a.Node, b.Node, differ)
	}
	fmt.Printf("nodes %s and %s hold the same in partitions %s: %d records, compared in %s\n", a.Node, b.Node, ranges(both), records, time.Since(began).Round(time.Millisecond))
	return nil
}

func read(c *query.Cluster) (list []int) {
	for _, p := range c.Read {
		list = append(list, p.Number)
	}
	return list
}

func commonPartitions(a, b *query.Cluster) []int {
	other := read(b)
	return slices.DeleteFunc(read(a), func(n int) bool { return !slices.Contains(other, n) })
}

// await asks a node until it has summed up what it held at a mark.
func await(c *client, mark string, partitions []int, node string) (map[int]query.PartitionDigest, error) {
	said := time.Now()
	for end := said.Add(compareMax); time.Now().Before(end); time.Sleep(compareLook) {
		var list []query.PartitionDigest
		if err := c.call("GET", "/api/admin/digests/"+url.PathEscape(mark)+"/", nil, &list); err != nil && !errors.Is(err, errNotThere) {
			return nil, err
		}
		got := map[int]query.PartitionDigest{}
		for _, d := range list {
			got[d.Number] = d
		}
		if !slices.ContainsFunc(partitions, func(n int) bool { _, ok := got[n]; return !ok }) {
			return got, nil
		}
		if time.Since(said) > compareSay {
			said = time.Now()
			fmt.Fprintf(os.Stderr, "node %s has summed up %d of %d partitions\n", node, len(got), len(partitions))
		}
	}
	return nil, fmt.Errorf("node %s has not summed up all its partitions within %s; see with spoor cluster whether it reads on", node, compareMax)
}

// different lists where two nodes differ, and counts the records that were compared.
func different(a, b []spoor.AppDigest) (records int64, lines []string) {
	type place struct {
		app  spoor.AppID
		kind string
	}
	type count struct {
		records int64
		sum     string
	}
	other := map[place]count{}
	for _, app := range b {
		for _, k := range app.Kinds {
			other[place{app.App, k.Kind}] = count{k.Records, k.Sum}
		}
	}
	for _, app := range a {
		for _, k := range app.Kinds {
			at := place{app.App, k.Kind}
			records += k.Records
			if there := other[at]; there.sum != k.Sum || there.records != k.Records {
				lines = append(lines, fmt.Sprintf("%s of app %d: %d records here, %d there", k.Kind, app.App, k.Records, there.records))
			}
			delete(other, at)
		}
	}
	for at, there := range other {
		lines = append(lines, fmt.Sprintf("%s of app %d: none here, %d records there", at.kind, at.app, there.records))
	}
	slices.Sort(lines)
	return records, lines
}
