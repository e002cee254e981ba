package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicEntry is what a consumer knows of a record.
type topicEntry struct {
	id         int64
	key, value string
	kind       string
	event      string // of a hit
	person     string // id of whom a hit is of
	hit        string // without what is around it: at is that of a group, and each node groups by itself
}

// readTopic reads a topic from its beginning to its end, as consumers do.
func (k *kafka) readTopic(topic string) (list []topicEntry) {
	k.t.Helper()
	var end int64
	for _, p := range k.fake.PartitionInfos(topic) {
		if p.Partition != 0 && p.HighWatermark != 0 {
			k.t.Errorf("partition %d has %d records", p.Partition, p.HighWatermark)
		}
		end += p.HighWatermark
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.fake.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	for int64(len(list)) < end {
		records := client.PollFetches(ctx)
		if err := records.Err0(); err != nil {
			k.t.Fatalf("%d of %d records of %s: %v", len(list), end, topic, err)
		}
		records.EachRecord(func(r *kgo.Record) {
			var v struct {
				ID, Type string
				Hit      struct {
					Event  string `json:"event_id"`
					Client json.Number
				}
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				k.t.Errorf("a record is %q: %v", r.Value, err)
			}
			id, err := strconv.ParseInt(v.ID, 10, 64)
			if err != nil {
				k.t.Errorf("a record has the id %q", v.ID)
			}
			var raw struct{ Hit json.RawMessage }
			if err := json.Unmarshal(r.Value, &raw); err != nil {
				k.t.Error(err)
			}
			list = append(list, topicEntry{id, string(r.Key), string(r.Value), v.Type, v.Hit.Event, v.Hit.Client.String(), string(raw.Hit)})
		})
	}
	return list
}

// inOrder drops what came again, as consumers do, and tells how much that was.
func inOrder(t testing.TB, all []topicEntry) (list []topicEntry, again int) {
	t.Helper()
	known := map[int64]topicEntry{}
	newest := int64(0)
	for _, e := range all {
		if before, ok := known[e.id]; ok {
			if again++; e.kind != before.kind || e.key != before.key || e.hit != before.hit {
				t.Errorf("entry %d was %v and is now %v", e.id, before, e)
			}
			continue
		}
		if e.id <= newest {
			t.Errorf("entry %d came first behind %d", e.id, newest)
		}
		newest, known[e.id] = e.id, e
		list = append(list, e)
	}
	return list, again
}

// Goal: a topic gets each entry of the feed that belongs to what was acknowledged,
// in order, again only under the same id, whichever end is killed. The server goes
// on without brokers.
// Method: under load the server is killed four times, in turn between a batch and
// its acknowledgement and without brokers, which are closed and started twice in
// each life; the topic is then read and compared with the ledger and with what is
// stored.
func TestFeedTopicThatFails(t *testing.T) {
	const serverKills = 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 9))
	k := startKafka(t)
	data := folder(t)
	flags := []string{"--demo", "--feed-retry", "10ms", "--feed-kafka", k.addresses()}
	l := newLedger()
	down := 0
	for round := range serverKills {
		s := spawn(t, data, flags...)
		s.awaitServing()
		if round == 0 {
			s.spoor("app", "set", "demo", "feed_days=7", "feed_topic=demo-feed")
		}
		l.resend(s, l.takeOpen())
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			l.load(s.collector, 2, 1)
		}()
		taken := func() int64 { return s.metric("spoor_feed_topic_entries_total") }
		for range 2 {
			before, entries := l.acknowledged(), taken()
			s.await(30*time.Second, "hits, and their entries", func() bool {
				return l.acknowledged() > before+200+random.IntN(200) && taken() > entries
			})
			k.stop()
			before = l.acknowledged()
			s.await(startMax, "hits without brokers, and a failure", func() bool {
				return l.acknowledged() > before+50+random.IntN(200) && (round > 0 || s.metric("spoor_feed_topic_down") == 1)
			})
			k.start()
		}
		entries := taken()
		s.await(30*time.Second, "more entries", func() bool { return taken() > entries })
		if log := s.log.String(); round == 0 {
			down = strings.Count(log, "a topic did not take entries")
			if up := strings.Count(log, "a topic takes entries of the feed again"); down == 0 || up != down || down > 4 {
				t.Errorf("the log says %d times that it fails and %d times that it does not any more:\n%s", down, up, log)
			}
		}
		if round%2 == 0 {
			k.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "demo-feed", Observe: true, When: func(kmsg.Request) bool {
				return s.cmd.Process.Kill() == nil
			}})
		} else {
			k.stop()
			if err := s.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		<-s.ended
		<-loaded
		if round%2 == 1 {
			k.start()
		}
	}
	s := serve(t, data, flags...)
	l.resend(s, l.takeOpen())
	want := s.exportIDs()
	s.await(time.Minute, "all to be delivered", func() bool {
		at := parse[struct{ Delivered, Newest string }](t, s.read("/api/feed/dead/"))
		return at.Delivered == at.Newest
	})
	l.verify(s)
	list, again := inOrder(t, k.readTopic("demo-feed"))
	events := map[string]int{}
	for _, e := range list {
		if e.kind == "hit" {
			events[e.event]++
		}
		if e.kind == "hit" && e.key != e.person {
			t.Errorf("the key of an entry is %s, its person is %s", e.key, e.person)
		}
	}
	for id, n := range events {
		if n != 1 || want[id] != 1 {
			t.Errorf("event %s is in %d entries and stored %d times", id, n, want[id])
		}
	}
	for id := range l.acked {
		if events[id] == 0 {
			t.Errorf("event %s was acknowledged and did not come", id)
		}
	}
	acked, _ := l.count()
	t.Logf("%d acknowledged, %d entries, %d came again; %d failures in the first life", acked, len(list), again, down)
	if acked < 2000 || again == 0 {
		t.Errorf("%d acknowledged, %d came again: this shows too little", acked, again)
	}
}

func (l *ledger) acknowledged() int {
	n, _ := l.count()
	return n
}

// refused runs a command that must fail, and gives what it says.
func (s *server) refused(args ...string) string {
	s.t.Helper()
	out, err := exec.Command(binary, append(args, "--data", s.data)...).CombinedOutput()
	if err == nil {
		s.t.Errorf("spoor %s was not refused: %s", strings.Join(args, " "), out)
	}
	return string(out)
}

// metric reads a number without labels from /metrics.
func (s *server) metric(name string) int64 {
	s.t.Helper()
	for line := range strings.Lines(s.send("GET", s.reads+"/metrics", "").body) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			return int64(parse[float64](s.t, text))
		}
	}
	s.t.Fatalf("there is no %s", name)
	return 0
}

// Goal: what is erased reaches the topic as a tombstone, behind all that was told
// of the person; who is restricted is not told of. Lines are those of the feed,
// and the record of processing names the topic. A store node delivers to the
// brokers that it reads from, but not into the topics that it lives on.
// Method: two persons, of whom one is erased, on spoor serve and then on spoor
// store with the same data.
func TestFeedTopicTellsOfErasures(t *testing.T) {
	k := startKafka(t)
	s := demo(t, "--feed-kafka", k.addresses())
	s.spoor("app", "set", "demo", "feed_days=7", "feed_topic=demo-feed")
	for _, who := range []string{"ada", "bob", "cid"} {
		if r := s.hit(fmt.Sprintf(`{"id":"event-of-%s","user_id":"%s-77","url":"https://shop.example/%s"}`, who, who, who)); r.status != 200 {
			t.Fatal(r.status, r.body)
		}
	}
	ada := fmt.Sprintf("%.0f", s.readObject("/api/public/users-by-id/ada-77/")["id"])
	delivered := func(s *server) func() bool {
		return func() bool {
			at := parse[struct{ Delivered, Newest string }](t, s.read("/api/feed/dead/"))
			return at.Delivered == at.Newest
		}
	}
	s.await(startMax, "delivery", delivered(s))
	list, _ := inOrder(t, k.readTopic("demo-feed"))
	page := parse[struct{ Entries []json.RawMessage }](t, s.read("/api/feed/"))
	if len(list) != len(page.Entries) || len(list) != 6 {
		t.Fatalf("the topic has %d entries, the feed %d", len(list), len(page.Entries))
	}
	for i, e := range list {
		if e.value != string(page.Entries[i]) {
			t.Errorf("the topic has\n%s\nand the feed\n%s", e.value, page.Entries[i])
		}
	}
	s.spoor("person", "restrict", "--app", "demo", "cid-77", "--until", "2099-01-31")
	s.hit(`{"id":"second-of-cid","user_id":"cid-77","url":"https://shop.example/2"}`)
	s.spoor("erase", "--app", "demo", "ada-77")
	s.await(startMax, "the tombstone", delivered(s))
	list, _ = inOrder(t, k.readTopic("demo-feed"))
	last := list[len(list)-1]
	if last.kind != "erased" || last.key != ada || !strings.Contains(last.value, ada) {
		t.Errorf("the last record is %+v, want that %s was erased", last, ada)
	}
	for _, e := range list {
		if strings.Contains(e.value, "second-of-cid") {
			t.Errorf("of who is restricted came %s", e.value)
		}
	}
	if text := s.spoor("privacy"); !strings.Contains(text, "Kafka topic demo-feed") || !strings.Contains(text, "CLEAR TEXT; --feed-kafka-tls") {
		t.Errorf("the record of processing does not name it:\n%s", text)
	}
	s.stop()

	node := k.storeNode(s.data)
	before := len(list)
	node.spoor("person", "restrict", "--app", "demo", "bob-77", "--until", "2099-01-31")
	node.await(startMax, "an entry of a store node", delivered(node))
	if list, _ = inOrder(t, k.readTopic("demo-feed")); len(list) != before+1 || list[before].kind != "restriction.set" {
		t.Errorf("the topic has %d entries, had %d", len(list), before)
	}
	for topic, why := range map[string]string{"spoor": "own", "spoor.apps": "own", "a b": "such as shop-feed"} {
		if out := node.refused("app", "set", "demo", "feed_topic="+topic); !strings.Contains(out, why) {
			t.Errorf("feed_topic=%s: %s", topic, out)
		}
	}
}

// Goal: a topic is refused where it cannot be reached, and beside a webhook or
// another app's feed, with what to do; an app that has one from before is served,
// and the log names the flag.
// Method: settings on a server without brokers, then with some, then again
// without.
func TestFeedTopicIsRefused(t *testing.T) {
	k := startKafka(t)
	s := demo(t)
	try := func(want string, args ...string) {
		t.Helper()
		if out := s.refused(append([]string{"app", "set"}, args...)...); !strings.Contains(out, want) {
			t.Errorf("%s: %s, want %q", args, out, want)
		}
	}
	try("--feed-kafka", "demo", "feed_days=7", "feed_topic=demo-feed")
	s.stop()
	s = serve(t, s.data, "--demo", "--feed-kafka", k.addresses())
	s.spoor("app", "set", "demo", "feed_days=7", "feed_webhook=https://crm.example/spoor")
	try("not to both", "demo", "feed_topic=demo-feed")
	s.spoor("app", "set", "demo", "feed_webhook=", "feed_topic=demo-feed")
	try("not to both", "demo", "feed_webhook=https://crm.example/spoor")
	s.spoor("app", "create", "shop", "--timezone", "UTC")
	try("this app's alone", "shop", "feed_topic=demo-feed")
	s.stop()
	s = serve(t, s.data, "--demo")
	s.hit(`{"id":"one","key":"cookie","url":"https://shop.example/"}`)
	s.await(startMax, "a failure", func() bool { return s.metric("spoor_feed_topic_down") == 1 })
	if log := s.log.String(); !strings.Contains(log, "--feed-kafka") {
		t.Errorf("the log says\n%s", log)
	}
	s.spoor("app", "set", "demo", "geo=country") // other settings can be changed
	s.spoor("app", "set", "demo", "feed_topic=")
	s.await(startMax, "the end of it", func() bool { return s.metric("spoor_feed_topic_down") == 0 })
}

// Goal: of two store nodes one writes the feed to the topic, and the other goes on
// when that is killed: each entry that belongs to what was acknowledged is there,
// in order, again only under the same id.
// Method: two nodes hold the same, load goes to a collector; each node is killed
// amid it in turn.
func TestFeedTopicOfTwoNodes(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	nodes := []*server{k.storeNode(demoData(t), "--checkpoints")}
	nodes[0].spoor("app", "set", "demo", "feed_days=7", "feed_topic=demo-feed")
	collector := k.collector()
	l := newLedger()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.load(collector.collector, 2, 1)
	}()
	grows := func() {
		t.Helper()
		from := l.acknowledged()
		collector.await(30*time.Second, "more to be acknowledged", func() bool { return l.acknowledged() > from+500 })
	}
	grows()
	nodes = append(nodes, k.storeNode(folder(t), "--join", nodes[0].reads))
	end := func() int64 {
		for _, p := range k.fake.PartitionInfos("demo-feed") {
			if p.Partition == 0 {
				return p.HighWatermark
			}
		}
		return 0
	}
	for n := range nodes {
		grows()
		nodes[n].kill()
		told := end()
		nodes[1-n].await(time.Minute, "the other node to go on", func() bool { return end() > told+500 })
		nodes[n] = k.storeNode(nodes[n].data, "--checkpoints")
	}
	collector.stop()
	<-loaded
	k.settle(l, k.collector(), nodes[0])
	k.caughtUp(nodes[1])
	for _, s := range nodes {
		s.await(time.Minute, "all to be delivered", func() bool {
			at := parse[struct{ Delivered, Newest string }](t, s.read("/api/feed/dead/?app=demo"))
			return at.Delivered == at.Newest
		})
	}
	list, again := inOrder(t, k.readTopic("demo-feed"))
	events := map[string]int{}
	for _, e := range list {
		if e.kind == "hit" {
			events[e.event]++
		}
	}
	want := nodes[1].exportIDs()
	for id := range want {
		if events[id] != 1 {
			t.Errorf("event %s is in %d entries", id, events[id])
		}
	}
	for id := range l.acked {
		if events[id] == 0 {
			t.Errorf("event %s was acknowledged and did not come", id)
		}
	}
	t.Logf("%d acknowledged, %d entries, %d came again", l.acknowledged(), len(list), again)
	if len(events) != len(want) {
		t.Errorf("%d events are stored, %d came", len(want), len(events))
	}
	k.compare(nodes[0], nodes[1])
}
