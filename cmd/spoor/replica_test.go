package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// replicaToken opens the control plane of the nodes of these tests.
const replicaToken = "a-token-of-the-control-plane"

// compare has two nodes say whether they hold the same, and fails if they do not.
func (k *kafka) compare(a, b *server) {
	k.t.Helper()
	out, err := exec.Command(binary, "check", "--data", a.data, "--against", b.reads).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "hold the same") {
		k.t.Errorf("spoor check --against: %v\n%s", err, out)
	}
}

// editor changes people of the demo app at whatever node is said to be alive, until
// it is told to stop, and counts what it was told is done.
type editor struct {
	at   atomic.Pointer[server]
	stop chan struct{}
	done sync.WaitGroup
	made atomic.Int64
	tags sync.Map // of users, as it was told that they are
}

func (k *kafka) edit(at *server, name string) *editor {
	e := &editor{stop: make(chan struct{})}
	e.at.Store(at)
	e.done.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-e.stop:
				return
			default:
			}
			user := fmt.Sprintf("%s-%d", name, n)
			for !e.change(user) {
				select {
				case <-e.stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
			e.made.Add(1)
		}
	})
	k.t.Cleanup(e.end)
	return e
}

// change makes a user with a tag, and reports whether a node said that it is done.
func (e *editor) change(user string) bool {
	s := e.at.Load()
	r, err := ask(client, "POST", s.reads+"/api/public/users/update_or_create/", fmt.Sprintf(`{"user_id":%q,"tags":["made"],"plan":"pro"}`, user), "Authorization", "Token demo")
	if err != nil || r.status != http.StatusOK {
		return false
	}
	e.tags.Store(user, true)
	return true
}

func (e *editor) end() {
	select {
	case <-e.stop:
	default:
		close(e.stop)
	}
	e.done.Wait()
}

// verify looks each user up at a node.
func (e *editor) verify(s *server) {
	s.t.Helper()
	missing, all := 0, 0
	e.tags.Range(func(user, _ any) bool {
		all++
		r := s.send("GET", s.reads+"/api/public/users-by-id/"+user.(string)+"/", "", "Authorization", "Token demo")
		if r.status != http.StatusOK || !strings.Contains(r.body, `"made"`) {
			missing++
		}
		return true
	})
	if missing > 0 || all == 0 {
		s.t.Errorf("%d of %d users that a node said are made are not there", missing, all)
	}
}

// Goal: two store nodes that read the same partitions hold the same, whichever of
// them is asked for changes and whichever is killed; meanwhile the other one takes
// reads and changes. Nothing that was acknowledged is lost or doubled on either.
// Method: a second node joins under load; hits go to two collectors, changes to
// both nodes: users, apps, settings, a watched segment, erasures, sweeps. Each node
// is killed amid it and started again. At the end the ledger holds on both, and
// spoor check --against finds no difference, under load too.
func TestReplicas(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	one := k.storeNode(demoData(t), "--checkpoints")
	collectors := []*server{k.collector(), k.collector()}
	l := newLedger()
	var loads sync.WaitGroup
	for _, c := range collectors {
		loads.Go(func() { l.load(c.collector, 2, 1) })
	}
	grows := func(by int) {
		t.Helper()
		from, _ := l.count()
		collectors[0].await(30*time.Second, "more to be acknowledged", func() bool { now, _ := l.count(); return now > from+by })
	}
	grows(500)
	one.spoor("app", "set", "demo", "feed_days=7")
	two := k.storeNode(folder(t), "--join", one.reads)
	edits := []*editor{k.edit(one, "a"), k.edit(two, "b")}
	edited := func(e *editor, by int64) {
		t.Helper()
		from := e.made.Load()
		e.at.Load().await(30*time.Second, "changes to be made", func() bool { return e.made.Load() >= from+by })
	}
	edited(edits[0], 10)
	edited(edits[1], 10)
	segment := `{"name":"pro","watched":true,"filter":{"attribute":"plan","is":"pro"}}`
	if r := two.send("POST", two.reads+"/api/public/segments/", segment, "Authorization", "Token demo"); r.status != http.StatusCreated {
		t.Errorf("a watched segment is answered %d %s", r.status, r.body)
	}
	two.spoor("app", "create", "shop")
	one.spoor("app", "set", "demo", "idle_days=30")
	k.compare(one, two)

	one.kill()
	edits[0].at.Store(two)
	grows(500)
	edited(edits[0], 10) // reads and changes go on
	if users := two.spoor("app", "list"); !strings.Contains(users, "shop") {
		t.Errorf("the node that is left lists the apps\n%s", users)
	}
	two.spoor("erase", "--app", "demo", "b-1")
	two.spoor("sweep")
	one = k.storeNode(one.data, "--checkpoints")
	grows(300)

	two.kill()
	for _, e := range edits {
		e.at.Store(one)
	}
	edited(edits[1], 10)
	two = k.storeNode(two.data, "--join", one.reads)
	edits[1].at.Store(two)
	edited(edits[1], 10)
	k.compare(two, one)

	edits[0].at.Store(two)
	edited(edits[0], 10)
	began := time.Now()
	two.stop() // changes that are under way are answered
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a node amid changes takes %s to end", took)
	}
	two = k.storeNode(two.data)
	for _, e := range edits {
		e.at.Store(two)
	}
	edited(edits[0], 10)

	for _, e := range edits {
		e.end()
		e.tags.Delete("b-1")
	}
	for _, c := range collectors {
		c.stop()
	}
	loads.Wait()
	k.settle(l, k.collector(), one)
	k.caughtUp(two)
	for _, s := range []*server{one, two} {
		l.verify(s)
		for _, e := range edits {
			e.verify(s)
		}
	}
	k.compare(one, two)
	if table := one.spoor("cluster"); strings.Count(table, "http://127.0.0.1") != 2 {
		t.Errorf("spoor cluster lists other than 2 nodes\n%s", table)
	}
	acked, _ := l.count()
	t.Logf("%d hits acknowledged, %d changes made", acked, edits[0].made.Load()+edits[1].made.Load())
	for _, s := range []*server{one, two} {
		s.stop()
		checkStore(t, s.data)
	}
}

// Goal: who follows a feed on whichever node is up is not told that entries are gone
// because another node had read further; a cursor that no node knows is told so.
// Method: a node is killed while hits come in, and asked for the other one's newest
// entry from its start on.
func TestFeedOfANodeThatIsBehind(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	one := k.storeNode(demoData(t), "--checkpoints")
	one.spoor("app", "set", "demo", "feed_days=7")
	two := k.storeNode(folder(t), "--join", one.reads)
	c := k.collector()
	feed := func(s *server, query string) reply {
		t.Helper()
		return s.send("GET", s.reads+"/api/feed/?"+query, "", "Authorization", "Token demo")
	}
	newest := func(s *server) int {
		t.Helper()
		var page struct{ Next string }
		r := feed(s, "after=now")
		if err := json.Unmarshal([]byte(r.body), &page); err != nil {
			t.Fatalf("%d %s", r.status, r.body)
		}
		n, err := strconv.Atoi(page.Next)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	waited := 0
	for round := 0; waited == 0 && round < 10; round++ {
		two.kill()
		from := newest(one)
		for range 80 {
			var batch []string
			for range 100 {
				batch = append(batch, fmt.Sprintf(`{"type":"event","name":"e","key":"k-%d"}`, rand.IntN(50)))
			}
			if r := c.send("POST", c.collector+"/hit?k=demo", `{"batch":[`+strings.Join(batch, ",")+`]}`); r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
		}
		one.await(10*time.Second, "the node that is up to store them", func() bool { return newest(one) >= from+8000 })
		to := newest(one)
		two = k.storeNode(two.data)
		if newest(two) < to {
			waited++
		}
		r := feed(two, fmt.Sprint("after=", to))
		for ; r.status == http.StatusServiceUnavailable; r = feed(two, fmt.Sprint("after=", to)) {
			time.Sleep(10 * time.Millisecond)
		}
		if r.status != http.StatusOK {
			t.Fatalf("a node that stood before %d is answered %d %s", to, r.status, r.body)
		}
	}
	if waited == 0 {
		t.Error("the node had always read everything when it was asked: nothing was tried")
	}
	if r := feed(two, fmt.Sprint("after=", newest(two)+1_000_000)); r.status != http.StatusGone {
		t.Errorf("a cursor that no node knows is answered %d %s", r.status, r.body)
	}
	for _, s := range []*server{c, one, two} {
		s.stop()
	}
}

// Goal: nodes that share the partitions between them answer for every app.
// Method: one node reads the even partitions and one the odd ones; the same app is
// asked for at both, read and changed.
func TestAnyNodeAnswers(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	even := k.storeNode(folder(t), "--topic-partitions", "2", "--partitions", "0")
	if out, err := exec.Command(binary, "store", "--kafka", k.addresses(), "--data", folder(t), "--admin", "127.0.0.1:0", "--partitions", "1").CombinedOutput(); err == nil || !strings.Contains(string(out), "with another secret") {
		t.Errorf("a node with another secret ends with %v, %s", err, out)
	}
	made := even.spoor("app", "create", "first")
	key := strings.TrimSpace(made[strings.LastIndex(made, " ")+1:])
	odd := k.storeNode(even.beside(), "--partitions", "1")
	c := k.collector()
	token := strings.TrimSpace(even.spoor("app", "tokens", "first", "--create", "crm", "--role", "admin"))
	token = token[strings.LastIndex(token, " ")+1:]
	c.await(10*time.Second, "a collector to know the app", func() bool {
		return c.send("POST", c.collector+"/hit?k="+key, `{"name":"e","type":"event","user_id":"anna"}`).status == http.StatusOK
	})
	for _, s := range []*server{even, odd} {
		s.await(10*time.Second, "the person to be found", func() bool {
			return s.send("GET", s.reads+"/api/public/users-by-id/anna/", "", "Authorization", "Token "+token).status == http.StatusOK
		})
		if r := s.send("PUT", s.reads+"/api/public/users-by-id/anna/", `{"plan":"pro"}`, "Authorization", "Token "+token); r.status != http.StatusOK {
			t.Errorf("a change is answered %d %s", r.status, r.body)
		}
	}
	if r := odd.send("GET", odd.reads+"/api/public/users-by-id/anna/", "", "Authorization", "Token "+token); r.header.Get("X-Spoor-Node") == "" {
		t.Errorf("a forwarded answer does not name the node: %v", r.header)
	}
	odd.spoor("app", "create", "second")
	for path, body := range map[string]string{"": `{"name":"first"}`, "second/keys/": `{"key":"` + key + `"}`} {
		r := odd.send("POST", odd.reads+"/api/admin/apps/"+path, body, "Authorization", "Token "+replicaToken)
		if r.status != http.StatusBadRequest || !strings.Contains(r.body, "in use") && !strings.Contains(r.body, "has this name") {
			t.Errorf("what an app of the other node has is answered %d %s", r.status, r.body)
		}
	}
	even.kill()
	if r := odd.send("GET", odd.reads+"/api/public/users-by-id/anna/", "", "Authorization", "Token "+token); r.status != http.StatusServiceUnavailable && r.status != http.StatusBadGateway {
		t.Errorf("with nobody left to ask, the answer is %d %s", r.status, r.body)
	}
	odd.await(20*time.Second, "the other node to be taken for dead", func() bool { return !strings.Contains(odd.spoor("cluster"), even.reads) })
	if r := odd.send("GET", odd.reads+"/api/public/users-by-id/anna/", "", "Authorization", "Token "+token); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("a token that may be the dead node's is answered %d %v %s", r.status, r.header, r.body)
	}
}

// Goal: check --against finds what two nodes do not hold alike, and says where.
// Method: a store that was copied is changed behind the log's back, by a process
// that reads no topic: one attribute of one person.
func TestCompareFindsADifference(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	one := k.storeNode(demoData(t), "--checkpoints")
	c := k.collector()
	if r := c.send("POST", c.collector+"/hit", nativeBody("n-1")); r.status != http.StatusOK {
		t.Fatalf("a hit is answered %d %s", r.status, r.body)
	}
	e := &editor{}
	e.at.Store(one)
	if !e.change("anna") {
		t.Fatal("a change was not made")
	}
	two := k.storeNode(folder(t), "--join", one.reads)
	k.caughtUp(two)
	k.compare(one, two)
	two.stop()
	alone := spawn(t, two.data, "--demo")
	alone.awaitServing()
	e.at.Store(alone)
	if r := alone.send("PUT", alone.reads+"/api/public/users-by-id/anna/", `{"plan":"free"}`, "Authorization", "Token demo"); r.status != http.StatusOK {
		t.Fatalf("a change is answered %d %s", r.status, r.body)
	}
	alone.stop()
	two = k.storeNode(two.data)
	out, err := exec.Command(binary, "check", "--data", one.data, "--against", two.reads).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "profiles of app 1") || strings.Contains(string(out), "hits of app 1") {
		t.Errorf("spoor check --against: %v\n%s", err, out)
	}
	if out, err := exec.Command(binary, "check", "--data", one.data, "--against", one.reads).CombinedOutput(); err == nil || !strings.Contains(string(out), "with itself") {
		t.Errorf("spoor check --against itself: %v\n%s", err, out)
	}
}
