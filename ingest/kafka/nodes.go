package kafka

import (
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Node is a store node as it announces itself.
type Node struct {
	ID         string          `json:"id"`      // 1 to 128 printable characters of ASCII, no space
	URL        string          `json:"url"`     // where the other nodes reach it: http or https, with no user and no query
	Version    string          `json:"version"` // of spoor
	At         int64           `json:"at"`      // Unix ms, by its own clock
	Partitions []NodePartition `json:"partitions"`
}

// NodePartition is one that a node reads.
type NodePartition struct {
	Number int   `json:"number"`
	Stored int64 `json:"stored"` // the next record to be stored
	End    int64 `json:"end"`    // behind the newest record, as far as the node knows
}

// nodeVersion is that of a node's record. It changes when an older reader would
// misread it.
const nodeVersion = 1

type nodeRecord struct {
	Version   int             `json:"version"`
	Node      json.RawMessage `json:"node"`
	Signature []byte          `json:"signature"` // of the bytes of node; other nodes send requests to its URL
}

// The topic of nodes gets a record a second from each of them and stays small:
// what is written to is closed soon, and then compacted.
const (
	nodesKeep     = time.Hour
	nodesSegment  = 5 * time.Minute
	nodesBytes    = 1 << 20     // of a segment; the least that brokers take
	nodesDeleted  = time.Minute // how long it shows that a node left
	nodesTail     = 10_000      // records that are read at the start; of ten nodes those of a quarter of an hour
	nodesMost     = 1000        // ids that are kept
	nodesMake     = 10 * time.Second
	nodeWait      = 3 * time.Second // for an acknowledgement
	nodeBytesMax  = 1_000_000
	nodeURLMax    = 2048
	segmentsSmall = time.Hour // longer ones are warned of
)

var (
	nodeID   = regexp.MustCompile(`^[!-~]{1,128}$`)
	nodeText = regexp.MustCompile(`^[ -~]{0,128}$`)
	nodeURL  = regexp.MustCompile(`^https?://[!-~]+$`)
)

func (o *Options) nodes() string { return o.Topic + ".nodes" }

// check refuses what could not be read, or would be used unawares: other nodes
// send requests to the URL, and people see the texts on their terminals.
func (n *Node) check(partitions int) error {
	u, err := url.Parse(n.URL)
	switch {
	case !nodeID.MatchString(n.ID):
		return errors.New("its id is not 1 to 128 printable characters")
	case !nodeText.MatchString(n.Version):
		return errors.New("its version is not at most 128 printable characters")
	case err != nil || len(n.URL) > nodeURLMax || !nodeURL.MatchString(n.URL) || u.Hostname() == "" || u.User != nil || strings.ContainsAny(n.URL, "?#"):
		return errors.New("its URL is not like https://node-1.example:8080, without user and query")
	case len(n.Partitions) > partitions:
		return fmt.Errorf("it reads %d partitions, and the topic has %d", len(n.Partitions), partitions)
	}
	for _, p := range n.Partitions {
		if p.Number < 0 || p.Number >= partitions {
			return fmt.Errorf("it reads partition %d, and the topic has 0 to %d", p.Number, partitions-1)
		}
	}
	return nil
}

// Announce puts a node, as it is now, into the topic of nodes, which is called
// Topic + ".nodes" and made if it is not there. It makes one attempt, of 3 s at
// most: the next announcement comes soon.
func (t *Topic) Announce(ctx context.Context, n *Node) error {
	if err := n.check(t.partitions); err != nil {
		return fmt.Errorf("cannot announce node %q: %w", n.ID, err)
	}
	if len(t.opts.CommandKey) == 0 {
		return errors.New("cannot announce a node without Options.CommandKey to sign it")
	}
	value, err := nodeValue(n, t.opts.CommandKey)
	if err == nil {
		err = t.putNode(ctx, n.ID, value)
	}
	if err != nil {
		return fmt.Errorf("cannot announce node %q: %w", n.ID, err)
	}
	return nil
}

func nodeValue(n *Node, key []byte) ([]byte, error) {
	node, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	return json.Marshal(nodeRecord{nodeVersion, node, signature(key, "node", node)})
}

// Leave takes a node out of the topic of nodes. It makes one attempt, of 3 s at
// most; a node that could not leave is known by the age of what it announced.
func (t *Topic) Leave(ctx context.Context, id string) error {
	if err := t.putNode(ctx, id, nil); err != nil {
		return fmt.Errorf("cannot take node %q out: %w", id, err)
	}
	return nil
}

func (t *Topic) putNode(ctx context.Context, id string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, min(nodeWait, t.opts.wait))
	defer cancel()
	if err := t.prepareNodes(ctx); err != nil {
		return err
	}
	r := record{[]byte(id), value}
	_, err := t.brokers.produce(ctx, t.opts.nodes(), 0, []record{r})
	if err != nil {
		t.brokers.refresh()
	}
	if errors.Is(err, errGone) {
		t.nodesMu.Lock()
		t.nodesFound = false
		t.nodesMu.Unlock()
		return fmt.Errorf("topic %s is not there any more; the next announcement looks for it and makes it anew", t.opts.nodes())
	}
	return t.why(t.opts.nodes(), r, err)
}

// prepareNodes makes or checks the topic of nodes, when it is first used: not all
// who open the topic of hits may.
func (t *Topic) prepareNodes(ctx context.Context) error {
	t.nodesMu.Lock()
	defer t.nodesMu.Unlock()
	if t.nodesFound {
		return nil
	}
	l, err := t.findOrMake(ctx, t.opts.nodes(), func(l *layout) {
		l.partitions = 1
		l.settings["cleanup.policy"] = "compact,delete"
		l.settings["retention.ms"] = strconv.FormatInt(nodesKeep.Milliseconds(), 10)
		l.settings["segment.ms"] = strconv.FormatInt(nodesSegment.Milliseconds(), 10)
		l.settings["segment.bytes"] = strconv.Itoa(nodesBytes)
		l.settings["min.cleanable.dirty.ratio"] = "0.1"
		l.settings["delete.retention.ms"] = strconv.FormatInt(nodesDeleted.Milliseconds(), 10)
		l.settings["max.message.bytes"] = strconv.Itoa(nodeBytesMax + frameBytes)
	})
	if err == nil {
		err = t.opts.checkNodes(l)
	}
	t.nodesFound = err == nil
	return err
}

// checkNodes refuses a topic that would grow without end.
func (o *Options) checkNodes(l *layout) error {
	if l.partitions != 1 {
		return fmt.Errorf("topic %s has %d partitions and must have 1; delete it, store nodes make it again", o.nodes(), l.partitions)
	}
	if l.settings == nil {
		return nil
	}
	if policy := l.settings["cleanup.policy"]; !strings.Contains(policy, "compact") {
		return fmt.Errorf("topic %s has cleanup.policy=%s, by which it keeps a record a second of each node; run kafka-configs --alter --topic %[1]s --add-config cleanup.policy=[compact,delete]", o.nodes(), policy)
	}
	if ms, err := strconv.ParseInt(l.settings["segment.ms"], 10, 64); err == nil && ms > segmentsSmall.Milliseconds() {
		o.Log.Warn("the topic of nodes is compacted rarely; run kafka-configs --alter --add-config segment.ms="+strconv.FormatInt(nodesSegment.Milliseconds(), 10), "topic", o.nodes(), "segment.ms", ms)
	}
	return o.checkReplicas(o.nodes(), l)
}

// Nodes is what the store nodes have announced, answered from memory.
type Nodes struct {
	t    *Topic
	mu   sync.Mutex
	byID map[string]heard
	told time.Time // of a record that could not be read

	foreign time.Time // when an announcement was last read that others have signed
}

type heard struct {
	node Node
	at   time.Time // by our clock
}

// FollowNodes reads the topic of nodes, which is made if it is not there. It
// returns once it has read what was there when it was called, of much the newest
// alone; Nodes follows until ctx ends. While the brokers are away it answers as it
// last knew.
func (t *Topic) FollowNodes(ctx context.Context) (*Nodes, error) {
	preparing, cancel := context.WithTimeout(ctx, nodesMake)
	defer cancel()
	if err := t.prepareNodes(preparing); err != nil {
		return nil, fmt.Errorf("cannot read the nodes: %w", err)
	}
	n := &Nodes{t: t, byID: map[string]heard{}}
	at, err := t.readAll(ctx, t.opts.nodes(), nodesTail, n.change)
	if err != nil {
		return nil, fmt.Errorf("cannot read the nodes: %w", t.opts.explain(err))
	}
	go n.follow(ctx, at)
	return n, nil
}

func (n *Nodes) follow(ctx context.Context, from int64) {
	f := follower{t: n.t, topic: n.t.opts.nodes(), missing: func(int64, int64) {}, each: n.change}
	for ctx.Err() == nil {
		if err := f.run(ctx, from); ctx.Err() == nil {
			n.t.opts.Log.Error("announcements of nodes do not arrive", "error", err)
		}
		f.failing, from = time.Time{}, -1
	}
}

// change applies one record. What cannot be read leaves the node as it was.
func (n *Nodes) change(offset int64, key, value []byte) {
	node, err := n.t.readNode(key, value)
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if errors.Is(err, errForged) {
		n.foreign = now
	}
	switch _, known := n.byID[node.ID]; {
	case err != nil:
	case value == nil:
		delete(n.byID, node.ID)
	default:
		if !known && len(n.byID) >= nodesMost {
			n.forget(now)
		}
		if !known && len(n.byID) >= nodesMost {
			err = fmt.Errorf("there are more than %d nodes", nodesMost)
			break
		}
		n.byID[node.ID] = heard{node, now}
	}
	if err != nil && now.Sub(n.told) >= followTell { // a node to come would announce itself every second
		n.told = now
		n.t.opts.Log.Error("the announcement of a node cannot be read; it is left out", "topic", n.t.opts.nodes(), "offset", offset, "error", err)
	}
}

// Foreign is when an announcement was last read that is signed with another key:
// a node that knows nothing of those that have this one. Zero: never.
func (n *Nodes) Foreign() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.foreign
}

// forget drops nodes that were not heard of for as long as the topic keeps them.
func (n *Nodes) forget(now time.Time) {
	for id, h := range n.byID {
		if now.Sub(h.at) > nodesKeep {
			delete(n.byID, id)
		}
	}
}

// readNode reads a record; of an empty value it returns the id alone.
func (t *Topic) readNode(key, value []byte) (Node, error) {
	switch {
	case !nodeID.Match(key):
		return Node{}, errors.New("its key is no id of a node")
	case value == nil:
		return Node{ID: string(key)}, nil
	case len(value) > nodeBytesMax:
		return Node{}, fmt.Errorf("it has %d bytes, and at most %d are taken", len(value), nodeBytesMax)
	}
	var r nodeRecord
	err := json.Unmarshal(value, &r)
	switch {
	case err != nil:
		return Node{}, err
	case r.Version != nodeVersion:
		return Node{}, fmt.Errorf("its version is %d, and %d is known here", r.Version, nodeVersion)
	case len(t.opts.CommandKey) == 0 || !hmac.Equal(r.Signature, signature(t.opts.CommandKey, "node", r.Node)):
		return Node{}, errForged
	}
	var n Node
	if err := json.Unmarshal(r.Node, &n); err != nil {
		return Node{}, err
	}
	if n.ID != string(key) {
		return Node{}, errors.New("it is not the node of its key")
	}
	return n, n.check(t.partitions)
}

// All is what each node announced last, by id. At says who is alive: nodes that
// ended without a word stay for an hour or more. The partitions must not be
// changed.
func (n *Nodes) All() []Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]Node, 0, len(n.byID))
	for _, h := range n.byID {
		all = append(all, h.node)
	}
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return all
}
