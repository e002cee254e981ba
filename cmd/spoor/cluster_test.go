package main_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafka is three brokers in the process of the test, which speak the real
// protocol, keep their log on disk and sync it.
type kafka struct {
	t     testing.TB
	dir   string
	ports []int
	fake  *kfake.Cluster
}

func startKafka(t testing.TB) *kafka {
	t.Helper()
	k := &kafka{t: t, dir: folder(t)}
	k.start()
	for _, a := range k.fake.ListenAddrs() {
		_, port, err := net.SplitHostPort(a)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		k.ports = append(k.ports, n)
	}
	t.Cleanup(k.stop)
	return k
}

// start begins, or goes on from what is on disk at the same addresses.
func (k *kafka) start() {
	k.t.Helper()
	opts := []kfake.Opt{kfake.NumBrokers(3), kfake.DataDir(k.dir), kfake.SyncWrites()}
	if k.ports != nil {
		opts = append(opts, kfake.Ports(k.ports...))
	}
	fake, err := kfake.NewCluster(opts...)
	if err != nil {
		k.t.Fatal(err)
	}
	k.fake = fake
}

func (k *kafka) stop() {
	if k.fake != nil {
		k.fake.Close()
		k.fake = nil
	}
}

func (k *kafka) addresses() string { return strings.Join(k.fake.ListenAddrs(), ",") }

// storeNode starts spoor store on a directory and waits until it serves. The
// store is checked at the end of the test.
func (k *kafka) storeNode(data string, flags ...string) *server {
	k.t.Helper()
	s := k.spawn(data, "store", flags...)
	s.t.Cleanup(func() {
		if s.running() {
			s.stop()
		}
	})
	return s
}

// collector starts spoor collect.
func (k *kafka) collector(flags ...string) *server {
	k.t.Helper()
	return k.spawn(folder(k.t), "collect", append([]string{"--listen", "127.0.0.1:0"}, flags...)...)
}

var nodeLine = regexp.MustCompile(`msg=serving (?:collector=(\S+) )?(?:read_side|health)=(\S+)`)

// spawn starts a node and waits until it serves.
func (k *kafka) spawn(data, command string, flags ...string) *server {
	k.t.Helper()
	s := &server{t: k.t, data: data, ended: make(chan struct{})}
	args := append([]string{command, "--kafka", k.addresses(), "--data", data, "--admin", "127.0.0.1:0"}, flags...)
	s.cmd = exec.Command(binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	k.t.Cleanup(s.kill)
	s.await(startMax, "the node to serve", func() bool {
		m := nodeLine.FindStringSubmatch(s.log.String())
		if m == nil {
			return false
		}
		if m[1] != "" {
			s.collector = "http://" + m[1]
		}
		s.reads = "http://" + m[2]
		return true
	})
	return s
}

// demoData is a data directory with the demo app, as one machine leaves it, which
// has no cluster to show.
func demoData(t testing.TB) string {
	t.Helper()
	data := folder(t)
	s := spawn(t, data, "--demo")
	s.awaitServing()
	if out, err := exec.Command(binary, "cluster", "--data", data).CombinedOutput(); err == nil || !strings.Contains(string(out), "reads no topic") {
		t.Errorf("spoor cluster on one machine: %v, %s", err, out)
	}
	s.stop()
	return data
}

// caughtUp waits until a store node has stored all that is in the partitions that it
// reads.
func (k *kafka) caughtUp(s *server) {
	k.t.Helper()
	s.await(20*time.Second, "the store node to catch up", func() bool {
		stored := k.stored(s)
		for _, p := range k.fake.PartitionInfos("spoor") {
			if there, reads := stored[p.Partition]; reads && there.Stored != p.HighWatermark {
				return false
			}
		}
		return len(stored) > 0
	})
}

// partitionJSON is what a store node says of a partition.
type partitionJSON struct {
	Partition                int32
	Stored, Missed, Poisoned int64
	Reading                  bool
	Newest                   []struct {
		Offset, Bytes int64
		Why           string
	} `json:"newest_poisoned"`
}

func (k *kafka) stored(s *server) map[int32]partitionJSON {
	k.t.Helper()
	socket := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.data, "spoor.sock"))
	}}}
	r, err := ask(socket, "GET", "http://spoor/api/admin/cluster/", "")
	if err != nil || r.status != http.StatusOK {
		k.t.Fatalf("the store node says %d %s, %v", r.status, r.body, err)
	}
	all := map[int32]partitionJSON{}
	for _, p := range parse[struct{ Read []partitionJSON }](k.t, r.body).Read {
		all[p.Partition] = p
	}
	return all
}

// settle sends again what got no answer, as senders do, and lets a store node
// catch up.
func (k *kafka) settle(l *ledger, collector, store *server) {
	k.t.Helper()
	for _, id := range l.takeOpen() {
		collector.await(20*time.Second, "an event to be taken", func() bool {
			r, err := ask(client, "POST", collector.collector+"/v1/track?k=demo", segmentEvent(id))
			if strings.HasPrefix(id, "n") {
				r, err = ask(client, "POST", collector.collector+"/hit", nativeBody(id))
			}
			if err == nil && r.status == http.StatusOK {
				l.ack(id)
				return true
			}
			return false
		})
	}
	k.caughtUp(store)
}

// Goal: over several machines nothing that was acknowledged is lost and nothing is
// stored twice, whichever of them ends.
// Method: three brokers, two collectors and a store node are real processes or
// speak the real protocol; load goes to both collectors. Amid it the store node is
// killed and started again, twice; one collector is killed, and started again; all
// brokers stop and come back. Senders repeat what got no answer. At the end the
// store holds each acknowledged event once, and check agrees.
func TestCluster(t *testing.T) {
	k := startKafka(t)
	data := demoData(t)
	store := k.storeNode(data)
	one, two := k.collector(), k.collector()
	l := newLedger()
	var loads sync.WaitGroup
	load := func(c *server) { loads.Go(func() { l.load(c.collector, 3, 2) }) }
	load(one)
	load(two)
	grows := func(by int) {
		t.Helper()
		from, _ := l.count()
		two.await(20*time.Second, "more to be acknowledged", func() bool { now, _ := l.count(); return now > from+by })
	}
	grows(1000)
	for range 2 {
		store.kill()
		grows(1000) // collectors do not need it
		store = k.storeNode(data)
		grows(500)
	}
	one.kill()
	grows(500)
	one = k.collector()
	load(one)
	grows(500)
	k.stop()
	two.await(10*time.Second, "a collector to see that no broker answers", func() bool {
		r, err := ask(client, "GET", two.reads+"/readyz", "")
		return err == nil && r.status == http.StatusServiceUnavailable
	})
	if r, err := ask(client, "POST", two.collector+"/hit", nativeBody("n-away")); err != nil || r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("without brokers a hit is answered %d %v %s, %v", r.status, r.header, r.body, err)
	}
	l.send("n-away") // it may be kept nevertheless
	k.start()
	grows(500)
	two.await(10*time.Second, "a collector to be ready again", func() bool {
		r, err := ask(client, "GET", two.reads+"/readyz", "")
		return err == nil && r.status == http.StatusOK
	})
	one.stop()
	two.stop()
	loads.Wait()
	three := k.collector()
	k.settle(l, three, store)
	l.verify(store)
	acked, cut := l.count()
	t.Logf("%d acknowledged, %d requests without an answer", acked, cut)
	if cut == 0 {
		t.Error("no request was cut off: the kills met nothing")
	}
	for n, p := range k.stored(store) {
		if p.Missed != 0 || p.Poisoned != 0 || !p.Reading {
			t.Errorf("partition %d: %+v", n, p)
		}
	}
	if table := store.spoor("cluster"); !strings.Contains(table, "demo") || !strings.Contains(table, "reading") {
		t.Errorf("spoor cluster prints\n%s", table)
	}
	store.stop()
	checkStore(t, data)
}

// Goal: collectors know apps, keys and settings as they are on the store node,
// within seconds, without being told by hand; each visitor has one number.
// Method: apps and keys are made and deleted at the store node while collectors
// run; cookieless visits come by both collectors.
func TestCollectorsFollowTheApps(t *testing.T) {
	k := startKafka(t)
	store := k.storeNode(folder(t), "--topic-retention", "70h")
	one, two := k.collector(), k.collector("--event-bytes-max", "4000000", "--body-bytes-max", "6000000")
	if r := one.send("GET", one.reads+"/readyz", ""); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "no app") {
		t.Errorf("a collector that knows no app is ready: %d %s", r.status, r.body)
	}
	made := store.spoor("app", "create", "shop")
	key := strings.TrimSpace(made[strings.LastIndex(made, " ")+1:])
	until := func(c *server, key string, status int) reply {
		t.Helper()
		var r reply
		c.await(10*time.Second, fmt.Sprintf("a write key to be answered %d", status), func() bool {
			r = c.send("POST", c.collector+"/hit?k="+key, `{"name":"e","type":"event","user_id":"u"}`)
			return r.status == status
		})
		return r
	}
	if r := until(one, key, http.StatusOK); !strings.Contains(r.body, `"accepted"`) {
		t.Errorf("a collector answers %s, want accepted", r.body)
	}
	until(two, key, http.StatusOK)
	store.spoor("app", "set", "shop", "webhook=https://crm.example/spoor")
	store.spoor("app", "tokens", "shop", "--create", "crm", "--role", "read")
	k.awaits("spoor.apps", "https://crm.example/spoor") // from here on the topic has what was made before
	store.spoor("app", "set", "shop", "geo=country")
	if text := k.awaits("spoor.apps", `"geo":"country"`); !strings.Contains(text, key) || !strings.Contains(text, `"tokens":null`) || strings.Contains(text, "webhook_secret") {
		t.Errorf("the topic of apps tells %s", text)
	}
	if r := two.send("POST", two.collector+"/hit?k="+key, `{"name":"e","type":"event","properties":{"pad":"`+strings.Repeat("x", 2_000_000)+`"}}`); r.status != http.StatusRequestEntityTooLarge || !strings.Contains(r.body, "hit_too_large") {
		t.Errorf("an event larger than a record is answered %d %.300s", r.status, r.body)
	}
	for _, c := range []*server{one, two, one} {
		if r := c.send("GET", c.collector+"/pixel.gif?k="+key+"&u=https%3A%2F%2Fshop.example%2F", ""); r.status != http.StatusOK {
			t.Errorf("a pixel is answered %d %v", r.status, r.header)
		}
	}
	k.caughtUp(store)
	if parts := store.spoor("partitions", "--app", "shop"); !regexp.MustCompile(`shop\s+\S+\s+\d+\s+2\s`).MatchString(parts) {
		t.Errorf("one visitor without a cookie and one user make other than 2 profiles:\n%s", parts)
	}
	metrics := one.send("GET", one.reads+"/metrics", "").body + store.send("GET", store.reads+"/metrics", "").body
	for _, want := range []string{"spoor_kafka_produced_hits_total", "spoor_kafka_waiting_bytes 0", `spoor_kafka_lag_records{partition="0"}`, `spoor_kafka_stored_offset{partition="0"}`, `spoor_kafka_consumed_total{outcome="stored"}`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if said := store.spoor("erase", "--app", "shop", "u"); !strings.Contains(said, "the topic drops") {
		t.Errorf("erasing a person says %s", said)
	}
	if list := store.spoor("receipts", "--app", "shop", "--json"); !strings.Contains(list, `"stage":"topic_expired"`) {
		t.Errorf("the receipt does not say when the topic drops the person's hits: %s", list)
	}
	store.spoor("app", "delete", "shop", "--yes")
	until(one, key, http.StatusUnauthorized)
	until(two, key, http.StatusUnauthorized)
	if text := store.spoor("privacy"); !strings.Contains(text, "Kafka") || !strings.Contains(text, "for at most 80h") {
		t.Errorf("the record of processing does not say how long the topic keeps hits:\n%s", text)
	}
}

// Goal: a store that is not the one of a topic, and a topic that is not the one of
// a store, are refused before anything is dropped; a record that cannot be read
// holds nothing up and is listed; a topic that was made anew is read when asked.
func TestWrongTopicsAndRecords(t *testing.T) {
	k := startKafka(t)
	data := demoData(t)
	store := k.storeNode(data)
	one := k.collector()
	l := newLedger()
	sendSome := func(name string) {
		t.Helper()
		for n := range 20 {
			if !l.sendNative(client, one.collector, fmt.Sprintf("n-%s-%d", name, n)) {
				t.Fatal("a collector ended")
			}
		}
	}
	sendSome("first")
	k.write("spoor", 0, "this is no record: anna@shop.example")
	k.write("spoor", 0, "\x01\x08\x09\x12\x02\x08\x01") // a hit of an app that nobody ever made
	sendSome("second")
	k.caughtUp(store)
	if p := k.stored(store)[0]; p.Poisoned != 1 || len(p.Newest) != 1 || p.Newest[0].Bytes != 36 || !p.Reading {
		t.Errorf("after a record that cannot be read: %+v", p)
	}
	if list := store.spoor("cluster", "--poisoned"); !strings.Contains(list, "36") || strings.Contains(list, "anna") || strings.Contains(store.log.String(), "anna") {
		t.Errorf("spoor cluster --poisoned prints\n%s\nthe log\n%s", list, store.log.String())
	}
	refused := func(data, why string, flags ...string) {
		t.Helper()
		out, err := exec.Command(binary, append([]string{"store", "--kafka", k.addresses(), "--data", data, "--admin", "127.0.0.1:0"}, flags...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), why) {
			t.Errorf("spoor store ends with %v, %s; want it to say %q", err, out, why)
		}
	}
	refused(folder(t), "which the store does not know")
	refused(folder(t), "cannot read partition 99", "--partitions", "0-3,99")
	if out, err := exec.Command(binary, "collect", "--kafka", k.addresses(), "--kafka-bytes-max", "1").CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot use --kafka-bytes-max 1") {
		t.Errorf("spoor collect ends with %v, %s", err, out)
	}
	store.stop()
	if err := k.fake.DeleteTopic("spoor"); err != nil {
		t.Fatal(err)
	}
	one.stop()
	one = k.collector()
	l.sendNative(client, one.collector, "n-first-0") // known by its id
	sendSome("third")
	refused(data, "with --new-topic")
	store = k.storeNode(data, "--new-topic")
	k.caughtUp(store)
	l.verify(store)
	store.stop()
	checkStore(t, data)
}

// awaits reads a topic from its beginning until a record holds a text, and gives
// that record.
func (k *kafka) awaits(topic, text string) string {
	k.t.Helper()
	ctx, end := context.WithTimeout(k.t.Context(), 20*time.Second)
	defer end()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.fake.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		k.t.Fatal(err)
	}
	defer c.Close()
	for found := ""; ; {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if strings.Contains(string(r.Value), text) {
				found = string(r.Value)
			}
		})
		if found != "" {
			return found
		}
		if ctx.Err() != nil {
			k.t.Fatalf("no record of %s holds %s", topic, text)
		}
	}
}

// write puts a record of one's own into a topic.
func (k *kafka) write(topic string, partition int32, value string) {
	k.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.fake.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		k.t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(k.t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}
