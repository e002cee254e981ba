package kafka

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func aNode(id string, at int64) *Node {
	return &Node{ID: id, URL: "https://" + id + ".example:8081/spoor", Version: "v1.2.3", At: at, Partitions: []NodePartition{{0, at, at + 5}, {3, 7, 7}}}
}

func announce(t *testing.T, topic *Topic, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		poll(t, "a node is announced", func() bool { // each is one attempt, which slow brokers may miss
			err := topic.Announce(t.Context(), n)
			if err != nil {
				t.Log(err)
			}
			return err == nil
		})
	}
}

func followNodes(t *testing.T, topic *Topic) *Nodes {
	t.Helper()
	n, err := topic.FollowNodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// idsOf is what All says as one line: ids with what is in At.
func idsOf(n *Nodes) string {
	var words []string
	for _, node := range n.All() {
		words = append(words, fmt.Sprintf("%s:%d", node.ID, node.At))
	}
	return strings.Join(words, " ")
}

// Goal: each node knows what every other announced last, complete, also one that
// starts later; one that left is known no more.
// Method: nodes announce themselves by connections of their own, the first one
// into a topic that is not there yet; one follows from the beginning, another then.
func TestNodes(t *testing.T) {
	o := anyCluster(t).options(t)
	topic, other := openTopic(t, o), openTopic(t, o)
	announce(t, topic, aNode("b", 1))
	n := followNodes(t, other)
	announce(t, other, aNode("a", 2), aNode("c", 3))
	announce(t, topic, aNode("b", 4))
	poll(t, "all are known", func() bool { return idsOf(n) == "a:2 b:4 c:3" })
	if got := n.All()[1]; !reflect.DeepEqual(got, *aNode("b", 4)) {
		t.Errorf("node b announced %+v and is known as %+v", aNode("b", 4), got)
	}
	if err := other.Leave(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	announce(t, topic, aNode("d", 5))
	const want = "a:2 b:4 d:5"
	poll(t, "one left", func() bool { return idsOf(n) == want })
	if got := idsOf(followNodes(t, openTopic(t, o))); got != want {
		t.Errorf("one that starts later knows %s, want %s", got, want)
	}
}

// Goal: what is no announcement, or not one of a store node, changes nothing, and
// is not sent either: other nodes send requests to what it names, and people read
// it on a terminal.
// Method: each way to be wrong, signed or not, put into the topic under the id of
// a node that is known, and given to Announce; then more ids than are kept. Who
// has no key knows and announces none.
func TestNodesPoisoned(t *testing.T) {
	topic := openTopic(t, anyCluster(t).options(t))
	announce(t, topic, aNode("good", 1))
	value := func(n *Node, key []byte) []byte {
		t.Helper()
		b, err := nodeValue(n, key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	signed := func(node string) string {
		return fmt.Sprintf(`"node": %s, "signature": %q`, node, base64.StdEncoding.EncodeToString(signature(testKey, "node", []byte(node))))
	}
	right := signed(`{"id": "good", "url": "http://a.example"}`)
	if _, err := topic.readNode([]byte("good"), []byte(`{"version": 1, `+right+`}`)); err != nil {
		t.Errorf("a record as another program may write it: %v", err)
	}
	bad := []record{
		{[]byte("good"), []byte("{")},
		{[]byte("good"), []byte(`{"version": 1}`)},
		{[]byte("good"), []byte(`{"version": 1, ` + signed("null") + `}`)},
		{[]byte("good"), []byte(`{"version": 1, ` + signed(`{"id": 1}`) + `}`)},
		{[]byte("good"), []byte(`{"version": 2, ` + right + `}`)},
		{[]byte("other"), []byte(`{"version": 1, ` + right + `}`)},
		{[]byte("good"), []byte(`{"version": 1, ` + right + `, "more": "` + strings.Repeat("x", nodeBytesMax) + `"}`)},
		{[]byte("good"), []byte(`{"version": 1, "node": {"id": "good", "url": "http://a.example"}}`)},
		{[]byte("good"), []byte(`{"version": 1, ` + strings.Replace(right, "a.example", "b.example", 1) + `}`)},
		{[]byte("good"), value(aNode("good", 2), []byte("the key of others"))},
		{[]byte("good"), value(aNode("good", 2), nil)},
		{[]byte("good"), []byte{}},
		{[]byte("a b"), nil},
		{nil, nil},
	}
	for name, change := range map[string]func(*Node){
		"no id":               func(n *Node) { n.ID = "" },
		"a long id":           func(n *Node) { n.ID = strings.Repeat("x", 129) },
		"an id with a line":   func(n *Node) { n.ID = "a\nb" },
		"no URL":              func(n *Node) { n.URL = "" },
		"a path":              func(n *Node) { n.URL = "/spoor" },
		"no host":             func(n *Node) { n.URL = "http://:80" },
		"another scheme":      func(n *Node) { n.URL = "file:///etc/passwd" },
		"a user":              func(n *Node) { n.URL = "http://ann:secret@a.example" },
		"a query":             func(n *Node) { n.URL = "http://a.example/?x=" },
		"a long URL":          func(n *Node) { n.URL = "http://a.example/" + strings.Repeat("x", nodeURLMax) },
		"a sign of direction": func(n *Node) { n.URL = "http://a.example/\u202e" },
		"a version of lines":  func(n *Node) { n.Version = "1\x1b[2J" },
		"many partitions":     func(n *Node) { n.Partitions = make([]NodePartition, 5) },
		"partition 4 of 4":    func(n *Node) { n.Partitions = []NodePartition{{Number: 4}} },
		"partition -1":        func(n *Node) { n.Partitions = []NodePartition{{Number: -1}} },
	} {
		n := aNode("good", 2)
		change(n)
		err := topic.Announce(t.Context(), n)
		oneLine(t, err, "cannot announce node")
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error holds a password: %v", name, err)
		}
		bad = append(bad, record{[]byte(n.ID), value(n, testKey)})
	}
	for _, r := range bad {
		if _, err := topic.brokers.produce(t.Context(), topic.opts.nodes(), 0, []record{r}); err != nil {
			t.Fatal(err)
		}
	}
	announce(t, topic, aNode("last", 3))
	n := followNodes(t, topic)
	if got := idsOf(n); got != "good:1 last:3" {
		t.Errorf("known are %s", got)
	}
	stranger := &Topic{opts: topic.opts, brokers: topic.brokers, partitions: topic.partitions}
	stranger.opts.CommandKey = nil
	oneLine(t, stranger.Announce(t.Context(), aNode("a", 1)), "CommandKey")
	if got := idsOf(followNodes(t, stranger)); got != "" {
		t.Errorf("without a key %s are known", got)
	}
	for i := range nodesMost {
		n.change(0, fmt.Append(nil, "n", i), value(aNode(fmt.Sprint("n", i), 4), testKey))
	}
	if got := idsOf(n); len(n.All()) != nodesMost || !strings.Contains(got, "last:3") || !strings.Contains(got, "n997:4") || strings.Contains(got, "n998:4") {
		t.Errorf("of %d nodes %d are known", nodesMost+2, len(n.All()))
	}
	for id, h := range n.byID { // as if an hour had passed without them
		if strings.HasPrefix(id, "n") {
			h.at = h.at.Add(-nodesKeep - time.Second)
			n.byID[id] = h
		}
	}
	n.change(0, []byte("new"), value(aNode("new", 5), testKey))
	if got := idsOf(n); got != "good:1 last:3 new:5" {
		t.Errorf("after an hour %d are known: %.100s", len(n.All()), got)
	}
}

// Goal: the topic stays small, and a start is fast even where nobody compacts it.
// Method: the settings of a new topic; many announcements, of which compaction
// must leave few; then more than a start reads, put there at once: who starts
// knows those at the end and no other.
func TestNodesSmall(t *testing.T) {
	c := fakeCluster(t)
	topic := openTopic(t, c.options(t))
	for at := range int64(100) {
		announce(t, topic, aNode("a", at), aNode("b", at))
	}
	l, err := topic.brokers.describe(t.Context(), topic.opts.nodes())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "3600000", "segment.ms": "300000", "segment.bytes": "1048576",
		"min.cleanable.dirty.ratio": "0.1", "delete.retention.ms": "60000", "max.message.bytes": "1004096"} {
		if l.settings[name] != want || l.partitions != 1 {
			t.Errorf("%s is %q, want %q, in %d partitions", name, l.settings[name], want, l.partitions)
		}
	}
	c.fake.Compact()
	left := 0
	if _, err := topic.readAll(t.Context(), topic.opts.nodes(), -1, func(int64, []byte, []byte) { left++ }); err != nil || left > 3 {
		t.Errorf("%d records are left of 200 (%v)", left, err)
	}
	value, err := nodeValue(aNode("b", 200), testKey)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]record, nodesTail/10)
	for i := range many {
		many[i] = record{[]byte("b"), value}
	}
	for range 10 {
		if _, err := topic.brokers.produce(t.Context(), topic.opts.nodes(), 0, many); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if got := idsOf(followNodes(t, topic)); got != "b:200" {
		t.Errorf("known are %s", got)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a start took %v", took)
	}
}

// Goal: without brokers an announcement fails soon and the nodes stay known; when
// brokers are back, or the topic was deleted, all goes on by itself.
// Method: brokers away and back under a follower, then a deleted topic.
func TestNodesBrokersAway(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.wait, o.gone = time.Second, 200*time.Millisecond
	topic := openTopic(t, o)
	announce(t, topic, aNode("a", 1))
	n := followNodes(t, topic)
	c.fake.Close()
	start := time.Now()
	oneLine(t, topic.Announce(t.Context(), aNode("a", 2)), "cannot announce node \"a\"")
	oneLine(t, topic.Leave(t.Context(), "a"), "cannot take node \"a\" out")
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("two attempts of a second took %v", took)
	}
	if got := idsOf(n); got != "a:1" {
		t.Errorf("without brokers the nodes are %s", got)
	}
	c.start(t)
	at := int64(10)
	heard := func() bool {
		at++
		if topic.Announce(t.Context(), aNode("a", at)) != nil {
			return false
		}
		for _, node := range n.All() {
			if node.ID == "a" && node.At >= at-1 {
				return true
			}
		}
		return false
	}
	poll(t, "the node is heard of again", heard)
	if err := c.fake.DeleteTopic(o.nodes()); err != nil {
		t.Fatal(err)
	}
	var err error
	poll(t, "it is told that the topic is gone", func() bool {
		err = topic.Announce(t.Context(), aNode("a", at))
		return err != nil && strings.Contains(err.Error(), o.nodes())
	})
	oneLine(t, err, "not there any more", "anew")
	poll(t, "the topic is made anew", heard)
}

// Goal: a topic that would grow without end, or where nodes could miss each
// other, is refused with the remedy; one of default segments is taken.
// Method: topics made with one wrong setting each.
func TestNodesRefused(t *testing.T) {
	c := anyCluster(t)
	for _, test := range []struct {
		name       string
		partitions int
		settings   map[string]string
		words      []string // none: it is taken
	}{
		{"compacted rarely", 1, map[string]string{"cleanup.policy": "compact", "segment.ms": "604800000"}, nil},
		{"two partitions", 2, map[string]string{"cleanup.policy": "compact"}, []string{"has 2 partitions", "delete it"}},
		{"never compacted", 1, map[string]string{"cleanup.policy": "delete"}, []string{"cleanup.policy=delete", "--add-config cleanup.policy=[compact,delete]"}},
		{"out of sync", 1, map[string]string{"cleanup.policy": "compact", "min.insync.replicas": "9"}, []string{"min.insync.replicas=9"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			topic := openTopic(t, c.options(t))
			create(t, topic.brokers.(*segmentio), topic.opts.nodes(), &layout{partitions: test.partitions, replicas: 1, settings: test.settings})
			_, ferr := topic.FollowNodes(t.Context())
			aerr := topic.Announce(t.Context(), aNode("a", 1))
			for _, err := range []error{ferr, aerr} {
				if len(test.words) > 0 {
					oneLine(t, err, append(test.words, topic.opts.nodes())...)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Goal: the rights that KAFKA.md lists are enough, and where one is missing the
// error says so: collectors need none on the topic of nodes, and cannot submit
// commands without the right to write.
// Method: brokers with users who have just those rights, on topics that a
// superuser made; each does its work.
func TestRights(t *testing.T) {
	const name = "spoor-test-rights"
	may := func(topic string, operations ...kmsg.ACLOperation) (all []kfake.ACL) {
		for _, op := range operations {
			all = append(all, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: topic, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return all
	}
	const look, configs, read, write = kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationRead, kmsg.ACLOperationWrite
	var collector, store, reader []kfake.ACL
	collector = append(collector, may(name, look, configs, write)...)
	collector = append(collector, may(name+".apps", look, configs, read)...)
	collector = append(collector, may(name+".salts", look, configs, read, write)...)
	store = append(store, may(name, look, configs, read, write)...)
	store = append(store, may(name+".apps", look, configs, read, write)...)
	store = append(store, may(name+".nodes", look, configs, read, write)...)
	reader = append(reader, may(name, look, configs, read)...)
	reader = append(reader, may(name+".apps", look, configs, read)...)
	c := fakeCluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "p"),
		kfake.User("PLAIN", "collector", "p", collector...), kfake.User("PLAIN", "store", "p", store...), kfake.User("PLAIN", "reader", "p", reader...))
	as := func(user string) *Topic {
		o := c.options(t)
		o.Topic, o.Mechanism, o.User, o.Password = name, "PLAIN", user, "p"
		return openTopic(t, o)
	}
	root := as("root")
	announce(t, root, aNode("root", 1))
	salt := func(topic *Topic) error {
		_, _, err := topic.Salts().Share(1, time.Now().UnixMilli(), make([]byte, 32))
		return err
	}
	if err := salt(root); err != nil {
		t.Fatal(err)
	}

	node := as("store")
	publish(t, node, anApp(1, "one", "key-one"))
	submit(t, node, aCommand(1, "{}"))
	announce(t, node, aNode("store", 2))
	if got := idsOf(followNodes(t, node)); got != "root:1 store:2" {
		t.Errorf("the store node knows %s", got)
	}
	if came := collect(t, node, 0); len(came) != 1 || came[0].Command == nil {
		t.Errorf("the store node read %+v", came)
	}

	taker := as("collector")
	if followApps(t, taker).App(1) == nil {
		t.Error("the collector knows no app")
	}
	if err := openSink(t, taker).Write([]spoor.Hit{{App: 1, ID: "a"}}); err != nil {
		t.Error(err)
	}
	if err := salt(taker); err != nil {
		t.Error(err)
	}
	_, err := taker.FollowNodes(t.Context())
	oneLine(t, err, "collector", "do not allow", "KAFKA.md")
	_, err = as("reader").Submit(t.Context(), aCommand(1, "{}"))
	oneLine(t, err, "reader", "do not allow", "KAFKA.md")
	if errors.Is(err, spoor.ErrBusy) {
		t.Errorf("a right that is missing is busy: %v", err)
	}
}
