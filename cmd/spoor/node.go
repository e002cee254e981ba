package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/spoorhq/spoor/query"
)

// node is this store node among the others.
type node struct {
	id    string
	url   string // of its read side, as others reach it
	topic *kafka.Topic
	all   *kafka.Nodes
	parts *consumer
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	seen   map[string]sighting // by id
	heard  time.Time           // when the brokers last took an announcement of this node
	firsts map[int]bool        // by partition, as of when they did
}

// sighting is when a node was last heard of, by the clock of this one: theirs may
// be wrong.
type sighting struct {
	at    int64 // Unix ms, as it said
	heard time.Time
	ahead time.Duration // of its clock
}

const (
	nodeTell   = time.Second      // between two announcements
	nodeAlive  = 10 * time.Second // after its last announcement
	nodeSilent = nodeAlive / 2    // without an answer of the brokers: nobody can be heard of
	nodeDepart = 5 * time.Minute  // between the clocks of two nodes
	nodeFile   = "node"           // in the data directory; a copy of a store is another node
)

// begin reads who is there.
func (n *node) begin(ctx context.Context, data, advertise string, admin net.Addr) (err error) {
	if n.url = strings.TrimRight(advertise, "/"); n.url == "" {
		n.url = "http://" + admin.String()
	}
	if n.id, err = lastingID(filepath.Join(data, nodeFile)); err != nil {
		return err
	}
	n.seen, n.firsts = map[string]sighting{}, map[int]bool{}
	if n.all, err = n.topic.FollowNodes(ctx); err != nil {
		return err
	}
	// What stands in the topic may be of nodes that are gone; those that live speak.
	for read := time.Now(); !n.all.Foreign().IsZero() && time.Since(read) < 3*nodeTell; {
		if n.all.Foreign().After(read) {
			return errors.New("cannot run beside store nodes with another secret: they and this one would drop each other's changes; let this one begin in an empty --data with --join, or copy the file secret from the data directory of one of them")
		}
		if !pause(ctx, nodeTell/20) {
			return ctx.Err()
		}
	}
	return nil
}

// lastingID reads the id of a node, or makes one.
func lastingID(path string) (string, error) {
	id, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		id = []byte(strings.ToLower(rand.Text()[:8]) + "\n")
		err = os.WriteFile(path, id, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("cannot use the file that names this node: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// run announces this node until ctx ends.
func (n *node) run(ctx context.Context) {
	var failing, twice bool
	began := n.now()
	for {
		if other := n.double(began); other != "" && !twice {
			twice = true
			n.log.Error("another process says that it is this node, so which of them is first cannot be told", "node", n.id, "there", other,
				"hint", "its data directory is a copy of this one's: stop it, delete the file "+nodeFile+" in it, and start it again")
		}
		err := n.tell(ctx)
		if ctx.Err() == nil && (err != nil) != failing {
			if failing = err != nil; failing {
				n.log.Warn("the other nodes do not hear of this one", "error", err)
			} else {
				n.log.Info("the other nodes hear of this one again")
			}
		}
		if !pause(ctx, nodeTell) {
			break
		}
	}
	leave, cancel := context.WithTimeout(context.Background(), nodeTell)
	defer cancel()
	if err := n.topic.Leave(leave, n.id); err != nil {
		n.log.Debug("cannot say that this node ends; the others see it within seconds", "error", err)
	}
}

// double finds another process that has the id of this one, as it has if a data
// directory was copied with all that is in it.
func (n *node) double(began time.Time) (url string) {
	for _, other := range n.all.All() {
		if other.ID == n.id && other.URL != n.url && other.At > began.Add(nodeAlive).UnixMilli() {
			return other.URL
		}
	}
	return ""
}

func (n *node) tell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*nodeTell)
	defer cancel()
	err := n.topic.Announce(ctx, n.self())
	if err == nil {
		n.hear(time.Now())
	}
	return err
}

// hear notes that the brokers take announcements. While they did not, the others
// could not say either that they are alive: that time does not count.
func (n *node) hear(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if silent := now.Sub(n.heard); !n.heard.IsZero() && silent > nodeSilent {
		for id, s := range n.seen {
			if s.heard = s.heard.Add(silent); s.heard.After(now) {
				s.heard = now
			}
			n.seen[id] = s
		}
	}
	n.heard = now
}

func (n *node) self() *kafka.Node {
	self := &kafka.Node{ID: n.id, URL: n.url, Version: version(), At: n.now().UnixMilli()}
	for _, p := range n.parts.parts {
		p.mu.Lock()
		if !p.stuck { // who cannot read on is nobody to ask
			self.Partitions = append(self.Partitions, kafka.NodePartition{Number: p.number, Stored: p.next, End: max(p.end, p.next)})
		}
		p.mu.Unlock()
	}
	return self
}

// alive lists the nodes that were heard of lately, by id; while brokers are silent,
// those that were alive before.
func (n *node) alive() []kafka.Node {
	list := n.all.All()
	wall, now := n.now(), time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	until := now
	if !n.heard.IsZero() && now.Sub(n.heard) > nodeSilent {
		until = n.heard // see hear
	}
	seen := make(map[string]sighting, len(list))
	list = slices.DeleteFunc(list, func(other kafka.Node) bool {
		s, known := n.seen[other.ID]
		ahead := time.UnixMilli(other.At).Sub(wall)
		switch {
		case known && s.at != other.At, !known && ahead.Abs() < nodeAlive:
			s = sighting{other.At, now, ahead}
		case !known: // what it said before this node began; if it lives it says more
			s.at = other.At
		}
		seen[other.ID] = s
		return until.Sub(s.heard) > nodeAlive
	})
	n.seen = seen
	return list
}

// departed finds another node whose clock is far from that of this one. Which of
// the two is right cannot be told.
func (n *node) departed() (url string, ahead time.Duration) {
	for _, other := range n.alive() {
		n.mu.Lock()
		ahead = n.seen[other.ID].ahead
		n.mu.Unlock()
		if other.ID != n.id && ahead.Abs() > nodeDepart {
			return other.URL, ahead
		}
	}
	return "", 0
}

// first reports whether this node is the one of those alive that does for a
// partition what only one has to do: the one with the lowest id that reads it and
// is not far behind, or of all where all are. Two may think so for seconds; all that
// depends on it may be done twice. Who cannot speak hears nobody either, and stays
// what it was.
func (n *node) first(partition int) bool {
	lowest := n.lowest(partition)
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.heard) < nodeSilent {
		n.firsts[partition] = lowest
	}
	return n.firsts[partition]
}

func (n *node) lowest(partition int) bool {
	far := n.parts.lag(partition) >= nodeBehind
	for _, other := range n.alive() {
		if other.ID == n.id {
			continue
		}
		for _, p := range other.Partitions {
			theirs := p.End-p.Stored >= nodeBehind
			if p.Number == partition && (far && !theirs || far == theirs && other.ID < n.id) {
				return false
			}
		}
	}
	return true
}

const nodeBehind = 100_000 // records; a node with more to read is no first one

// reads reports whether this node reads a partition.
func (n *node) reads(partition int) bool {
	return slices.ContainsFunc(n.parts.parts, func(p *part) bool { return p.number == partition })
}

// others is the query.Nodes of a node: where to ask for an app that it does not
// have. All apps are known from their topic.
type others struct {
	node   *node
	teller *teller
}

// has reports whether this node answers for an app: it reads its partition, and has
// not yet to read that the app was made.
func (o others) has(app *spoor.App) bool {
	return o.node.reads(o.node.topic.PartitionOf(app.ID)) && !o.teller.awaits(app.ID)
}

// Of finds the node that reads the partition of an app and is least behind.
func (o others) Of(name string) (url string, elsewhere bool) {
	app := o.teller.known.AppByName(name)
	if app == nil || o.has(app) {
		return "", false
	}
	return o.node.best(o.node.topic.PartitionOf(app.ID)), true
}

// HasKey reports whether an app that this node does not have has a write key.
func (o others) HasKey(writeKey string) bool {
	app := o.teller.known.AppByKey(writeKey)
	return app != nil && !o.has(app)
}

// AppByShare finds the app of a shared overview that this node does not have.
func (o others) AppByShare(token string) *spoor.App {
	if app := o.teller.known.AppByShare(token); app != nil && !o.has(app) {
		return app
	}
	return nil
}

// Apps lists those that this node does not have.
func (o others) Apps() (list []*spoor.App) {
	for _, app := range o.teller.known.AllApps() {
		if !o.has(app) {
			list = append(list, app)
		}
	}
	return list
}

// Others are nodes that together have what this one has not. Some are away where an
// app has no node that is alive.
func (o others) Others() (urls []string, away bool) {
	lacks := map[int]bool{} // partitions, and whether they have an app
	for partition := range o.node.topic.Partitions() {
		if !o.node.reads(partition) {
			lacks[partition] = false
		}
	}
	for _, app := range o.teller.known.AllApps() {
		if !o.has(app) {
			lacks[o.node.topic.PartitionOf(app.ID)] = true
		}
	}
	for partition := range o.node.topic.Partitions() {
		used, lacking := lacks[partition]
		if !lacking {
			continue
		}
		if url := o.node.best(partition); url == "" {
			away = away || used
		} else if !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls, away
}

// best is the other node that reads a partition and is least behind; empty if
// none is alive.
func (n *node) best(partition int) (url string) {
	least := int64(-1)
	for _, other := range n.alive() {
		for _, p := range other.Partitions {
			if lag := p.End - p.Stored; p.Number == partition && other.ID != n.id && (least < 0 || lag < least) {
				least, url = lag, other.URL
			}
		}
	}
	return url
}

// cluster is what this node knows of the topic, its partitions and the others.
func (n *node) cluster() (*query.Cluster, error) {
	all, err := n.parts.cluster()
	if err != nil {
		return nil, err
	}
	all.Node = n.id
	nodes := slices.DeleteFunc(n.alive(), func(other kafka.Node) bool { return other.ID == n.id })
	nodes = append(nodes, *n.self())
	slices.SortFunc(nodes, func(a, b kafka.Node) int { return strings.Compare(a.ID, b.ID) })
	firsts := map[int]string{} // ids, by partition
	for _, far := range []bool{false, true} {
		for _, other := range nodes {
			for _, p := range other.Partitions {
				if firsts[p.Number] == "" && far == (p.End-p.Stored >= nodeBehind) {
					firsts[p.Number] = other.ID
				}
			}
		}
	}
	for _, other := range nodes {
		one := query.ClusterNode{ID: other.ID, URL: other.URL, Version: other.Version, Seen: other.At}
		for _, p := range other.Partitions {
			one.Partitions = append(one.Partitions, query.ClusterProgress{Number: p.Number, Stored: p.Stored, End: p.End, First: firsts[p.Number] == other.ID})
		}
		all.Nodes = append(all.Nodes, one)
	}
	return all, nil
}

// marking is the query.Digests of a node.
type marking struct {
	changes *changes
	parts   *consumer
	marks   *marks
}

// Mark puts the same mark into each partition that this node reads.
func (m *marking) Mark(ctx context.Context) (string, error) {
	var id [16]byte
	rand.Read(id[:]) // never fails
	for _, p := range m.parts.parts {
		c := m.changes.command(spoor.AppID(p.number+1), spoor.CommandMark) // an app of that number would be in it
		c.ID = id
		if _, err := m.changes.topic.Submit(ctx, c); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(id[:]), nil
}

// Digests are those that are done.
func (m *marking) Digests(id string) []query.PartitionDigest { return m.marks.get(id) }
