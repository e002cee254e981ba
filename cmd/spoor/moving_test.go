package main_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// beside is a data directory for another node of a cluster: empty, but for the
// secret.
func (s *server) beside() (data string) {
	s.t.Helper()
	data = folder(s.t)
	secret, err := os.ReadFile(filepath.Join(s.data, "secret"))
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "secret"), secret, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// open lets the ledger's hits into an app, and gives a token that reads them.
func (s *server) open(app string) (token string) {
	s.t.Helper()
	if r := s.send("POST", s.reads+"/api/admin/apps/"+app+"/keys/", `{"key":"demo"}`, "Authorization", "Token "+replicaToken); r.status != http.StatusCreated {
		s.t.Fatalf("a write key is answered %d %s", r.status, r.body)
	}
	made := strings.TrimSpace(s.spoor("app", "tokens", app, "--create", "crm", "--role", "admin"))
	return made[strings.LastIndex(made, " ")+1:]
}

// answers asks a node for the app of a token; by is the node that has to answer,
// empty for itself.
func (s *server) answers(token, by string) {
	s.t.Helper()
	r := s.send("GET", s.reads+"/api/session/", "", "Authorization", "Token "+token)
	if got := r.header.Get("X-Spoor-Node"); r.status != http.StatusOK || got != by {
		s.t.Errorf("the token is answered %d %s by %q, want %q", r.status, r.body, got, by)
	}
}

// Goal: partitions change hands under load, and nothing is lost or doubled: a node
// that has yet to read what it was given asks the one that has it, and one that
// leaves something removes it, but only what another one has.
// Method: one node reads the partitions 0-3 and one 4-7; the second one is started
// again with 2-7, and kept from partition 2 at first by the brokers; the first one
// leaves 2 and 3. Then a third one joins for 2 and 3 alone, and the second one
// leaves them. Load goes to an app of partition 2.
func TestPartitionsChangeHands(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	a := k.storeNode(folder(t), "--partitions", "0-3")
	b := k.storeNode(a.beside(), "--partitions", "4-7")
	for _, name := range []string{"first", "second", "shop"} { // of the partitions 0, 1 and 2
		a.spoor("app", "create", name)
	}
	b.spoor("app", "create", "far") // of partition 4
	token := a.open("shop")
	node := func(data string, flags ...string) *server {
		t.Helper()
		s := k.storeNode(data, flags...)
		s.token = token
		return s
	}
	refused := func(data, why string, flags ...string) {
		t.Helper()
		out, err := exec.Command(binary, append([]string{"store", "--kafka", k.addresses(), "--data", data, "--admin", "127.0.0.1:0"}, flags...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), why) {
			t.Errorf("with %s spoor store ends with %v, %s", flags, err, out)
		}
	}
	collectors := []*server{k.collector(), k.collector()}
	l := newLedger()
	var loads sync.WaitGroup
	for _, c := range collectors {
		c.await(10*time.Second, "a collector to know the app", func() bool { return l.sendBatch(client, c.collector, "b-first", 1) && l.acknowledged() > 0 })
		loads.Go(func() { l.load(c.collector, 2, 1) })
	}
	grows := func(by int) {
		t.Helper()
		from := l.acknowledged()
		collectors[0].await(30*time.Second, "more to be acknowledged", func() bool { return l.acknowledged() > from+by })
	}
	answers := func(s *server, by string) {
		t.Helper()
		s.answers(token, by)
	}
	grows(500)
	answers(b, a.reads)

	b.stop()
	grows(300)
	held := k.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Partitions: []int32{2}, Err: kerr.LeaderNotAvailable, Count: -1, When: fromBeginning(2)})
	b = node(b.data, "--partitions", "2-7", "--checkpoints")
	b.await(10*time.Second, "the brokers to hold it up", func() bool { return held.Hits() > 0 })
	answers(b, a.reads)
	control := []string{"Authorization", "Token " + replicaToken}
	if r := b.send("GET", b.reads+"/api/admin/apps/shop/", "", control...); r.status != http.StatusOK || r.header.Get("X-Spoor-Node") != a.reads {
		t.Errorf("an app that the node has yet to read is answered %d %s", r.status, r.body)
	}
	if r := b.send("POST", b.reads+"/api/admin/apps/", `{"name":"shop"}`, control...); r.status != http.StatusBadRequest {
		t.Errorf("one more app of that name is answered %d %s", r.status, r.body)
	}
	a.stop()
	refused(a.data, "no node that is alive has all of it", "--partitions", "0-1", "--leave")
	a = node(a.data, "--partitions", "0-3")
	held.Remove()
	k.compare(a, b)
	answers(b, "")

	a.stop()
	grows(300)
	refused(a.data, "cannot leave partition 2 out", "--partitions", "0-1")
	a = node(a.data, "--partitions", "0-1", "--leave")
	answers(a, b.reads)
	a.spoor("sweep")
	if list := a.spoor("app", "list"); !regexp.MustCompile(`(?m)^shop .* on `+regexp.QuoteMeta(b.reads)+`$`).MatchString(list) || !regexp.MustCompile(`(?m)^second .* open$`).MatchString(list) {
		t.Errorf("it lists the apps\n%s", list)
	}

	c := node(folder(t), "--join", b.reads, "--partitions", "2-3", "--leave")
	k.compare(c, b)
	b.kill()
	grows(300)
	answers(c, "")
	b = node(b.data, "--partitions", "4-7", "--leave")
	answers(b, c.reads)
	grows(300)
	for _, s := range collectors {
		s.stop()
	}
	loads.Wait()
	k.settle(l, k.collector(), c)
	for _, s := range []*server{a, b, c} {
		l.verify(s)
	}
	a.stop()
	refused(a.data, "has left it", "--partitions", "0-2")
	t.Logf("%d hits acknowledged", l.acknowledged())
	for _, s := range []*server{a, b, c} {
		if s.running() {
			s.stop()
		}
		checkStore(t, s.data)
	}
}

// fromBeginning finds the requests of who reads a partition from its beginning.
func fromBeginning(partition int32) func(kmsg.Request) bool {
	return func(r kmsg.Request) bool {
		for _, topic := range r.(*kmsg.FetchRequest).Topics {
			for _, p := range topic.Partitions {
				if p.Partition == partition && p.FetchOffset == 0 {
					return true
				}
			}
		}
		return false
	}
}

// Goal: a node that is given a partition of which the topic has dropped the beginning
// says so, drops nothing of it, and is in nobody's way: another one answers, and it
// can be started without that partition again.
// Method: the brokers delete the records that made an app; more hits of it come; a
// node that has other partitions is started with that one too.
func TestPartitionThatTheTopicDropped(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	a := k.storeNode(folder(t), "--partitions", "0")
	b := k.storeNode(a.beside(), "--partitions", "4-7")
	a.spoor("app", "create", "shop") // of partition 0
	b.spoor("app", "create", "far")  // of partition 4
	token := a.open("shop")
	c := k.collector()
	l := newLedger()
	c.await(10*time.Second, "a collector to know the app", func() bool { return l.sendBatch(client, c.collector, "b-first", 1) && l.acknowledged() > 0 })
	k.caughtUp(a)
	k.dropBefore("spoor", 0, -1)
	b.stop()
	if !l.sendBatch(client, c.collector, "b-second", 1) {
		t.Fatal("a batch was not taken")
	}
	b = k.storeNode(b.data, "--partitions", "0,4-7")
	b.await(20*time.Second, "the partition to be stopped", func() bool { return !k.stored(b)[0].Reading })
	if log := b.log.String(); !strings.Contains(log, "let it begin anew with --join") {
		t.Errorf("the log says\n%s", log)
	}
	b.answers(token, a.reads)
	if p := k.stored(b)[4]; !p.Reading {
		t.Errorf("another partition: %+v", p)
	}
	b.stop()
	b = k.storeNode(b.data, "--partitions", "4-7")
	k.settle(l, c, a)
	for _, s := range []*server{a, b} {
		s.token = token
		l.verify(s)
	}
}
