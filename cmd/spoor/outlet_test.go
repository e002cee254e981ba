package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// hook is a customer's receiver of a feed, which can be killed and comes back on
// the same port. It answers by a script, again and again.
type hook struct {
	t       testing.TB
	address string
	down    func() error // kills it

	mu      sync.Mutex
	script  []string // what it does with one request after the other
	turn    int
	counts  map[string]int
	lines   map[string]string // entries by id
	newest  int64
	late    bool           // entries may come behind newer ones: dead letters
	again   int            // entries that came again
	events  map[string]int // ids of events, as often as they were in different entries
	samples []signed
	delays  []time.Duration // from the receipt of a hit to here
	several bool            // nodes tell it: at is that of a group, and each groups by itself
	came    map[string]time.Time
	since   time.Time // when the oldest of the entries that came again came first
}

// signed is a request to be verified.
type signed struct{ header, body string }

func newHook(t testing.TB, script ...string) *hook {
	h := &hook{t: t, address: "127.0.0.1:0", script: script, counts: map[string]int{}, lines: map[string]string{}, events: map[string]int{}, came: map[string]time.Time{}, since: time.Now()}
	h.up()
	t.Cleanup(func() { h.down() })
	return h
}

func (h *hook) url() string { return "http://" + h.address + "/feed" }

// up starts it, again on the port that it had.
func (h *hook) up() {
	l, err := net.Listen("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.address = l.Addr().String()
	s := &http.Server{Handler: h}
	h.down = s.Close // its connections too
	go s.Serve(l)
}

func (h *hook) act(script ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script, h.turn = script, 0
}

func (h *hook) count(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[what]
}

func (h *hook) told() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.events)
}

// repeats tells how long before an instant the oldest entry came that came again
// since this was last asked.
func (h *hook) repeats(before time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := before.Sub(h.since)
	h.since = time.Now()
	return d
}

// exact compares what came with what was acknowledged and is stored: each once.
func (h *hook) exact(l *ledger, want map[string]int) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, n := range h.events {
		if n != 1 || want[id] != 1 {
			h.t.Errorf("event %s is in %d entries and stored %d times", id, n, want[id])
		}
	}
	for id := range l.acked {
		if h.events[id] == 0 {
			h.t.Errorf("event %s was acknowledged and did not come", id)
		}
	}
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off when one end was killed
	}
	h.mu.Lock()
	what := h.script[h.turn%len(h.script)]
	h.turn++
	h.counts[what]++
	if h.turn%50 == 1 && len(h.samples) < 20 {
		h.samples = append(h.samples, signed{r.Header.Get("X-Spoor-Signature"), string(body)})
	}
	if what == "ok" || what == "late" || what == "mute" {
		h.take(body)
	}
	h.mu.Unlock()
	switch what {
	case "ok":
		w.WriteHeader(http.StatusNoContent)
	case "late":
		select {
		case <-time.After(200 * time.Millisecond):
		case <-r.Context().Done():
		}
	case "hang": // longer than it is waited for
		<-r.Context().Done()
	case "mute", "hangup": // the one took it, the other not
		panic(http.ErrAbortHandler)
	case "302":
		http.Redirect(w, r, "/feed", http.StatusFound)
	default:
		status, _ := strconv.Atoi(what)
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
	}
}

// take notes the entries of a request: each is new and behind all that came, or
// the same as before.
func (h *hook) take(body []byte) {
	var parcel struct {
		App     string
		Entries []json.RawMessage
	}
	if err := json.Unmarshal(body, &parcel); err != nil || parcel.App != "demo" || len(parcel.Entries) == 0 || len(parcel.Entries) > 100 {
		h.t.Errorf("it got %.300q, %v", body, err)
	}
	for _, raw := range parcel.Entries {
		var entry struct {
			ID, Type string
			Hit      struct {
				Event    string `json:"event_id"`
				Received time.Time
			}
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			h.t.Errorf("an entry is %s: %v", raw, err)
		}
		id, err := strconv.ParseInt(entry.ID, 10, 64)
		if h.several && entry.Type == "hit" {
			raw = parse[struct{ Hit json.RawMessage }](h.t, string(raw)).Hit
		}
		if before, known := h.lines[entry.ID]; known {
			if h.again++; entry.Type == "hit" && before != string(raw) {
				h.t.Errorf("entry %d was\n%s\nand is now\n%s", id, before, raw)
			}
			if first := h.came[entry.ID]; first.Before(h.since) {
				h.since = first
			}
			continue
		}
		h.came[entry.ID] = time.Now()
		if err != nil || id <= h.newest && !h.late {
			h.t.Errorf("entry %q came first behind %d", entry.ID, h.newest)
		}
		h.newest, h.lines[entry.ID] = max(h.newest, id), string(raw)
		if entry.Type == "hit" {
			h.events[entry.Hit.Event]++
			h.delays = append(h.delays, time.Since(entry.Hit.Received))
		}
	}
}

// verify has openssl recompute the signatures of some requests.
func (h *hook) verify(secret string) {
	h.t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		h.t.Fatal("openssl is not installed, which verifies signatures: apt-get install openssl")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.samples) == 0 {
		h.t.Error("no request to verify")
	}
	for _, s := range h.samples {
		at, sum, _ := strings.Cut(strings.TrimPrefix(s.header, "t="), ",v1=")
		if sec, err := strconv.ParseInt(at, 10, 64); err != nil || time.Since(time.Unix(sec, 0)).Abs() > time.Hour {
			h.t.Errorf("signed at %q", at)
		}
		for key, same := range map[string]bool{secret: true, secret + "x": false} {
			cmd := exec.Command("openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", "key:"+key, "-r")
			cmd.Stdin = strings.NewReader(at + "." + s.body)
			out, err := cmd.Output()
			if err != nil {
				h.t.Fatal(err)
			}
			if got, _, _ := strings.Cut(string(out), " "); (got == sum) != same {
				h.t.Errorf("signature %q, openssl says %s with key %q", s.header, got, key)
			}
		}
	}
}

// webhookSecret is what the app's admin is shown.
func (s *server) webhookSecret() string {
	s.t.Helper()
	secret, _ := s.readObject("/api/admin/apps/demo/")["webhook_secret"].(string)
	if len(secret) < 32 {
		s.t.Fatalf("the secret is %q", secret)
	}
	return secret
}

// Goal: whatever a webhook does, nothing that was acknowledged is missing from
// what it got, nothing came twice but under the same id, and all came in order,
// signed.
// Method: a receiver that answers 500, 429, 400, redirects, hangs up before and
// after it took a request, answers late and once not at all, and is killed and
// comes back; the server is killed five times meanwhile, under load. What it got
// is compared with the ledger of what was acknowledged.
func TestFeedWebhookThatFails(t *testing.T) {
	const serverKills = 5
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 8))
	data := folder(t)
	oks := slices.Repeat([]string{"ok"}, 12)
	h := newHook(t, append([]string{"ok", "hang"}, oks...)...)
	flags := []string{"--demo", "--webhook-private", "--feed-retry", "10ms"}
	l := newLedger()
	for round := range serverKills {
		s := spawn(t, data, flags...)
		s.awaitServing()
		if round == 0 {
			s.spoor("app", "set", "demo", "feed_days=7", "feed_webhook="+h.url())
		}
		l.resend(s, l.takeOpen())
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			l.load(s.collector, 2, 1)
		}()
		if round == 1 {
			h.act(append([]string{"500", "400", "hangup", "302", "mute", "429", "late"}, oks...)...)
		}
		before, _ := l.count()
		for range 2 {
			s.await(startMax, "hits", func() bool { n, _ := l.count(); return n > before+300+random.IntN(300) })
			before, _ = l.count()
			if err := h.down(); err != nil {
				t.Fatal(err)
			}
			s.await(startMax, "hits meanwhile", func() bool { n, _ := l.count(); return n > before+50+random.IntN(200) })
			h.up()
		}
		told := h.told()
		s.await(30*time.Second, "more to be told", func() bool { return h.told() > told })
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.ended
		<-loaded
	}
	s := serve(t, data, flags...)
	l.resend(s, l.takeOpen())
	want := s.exportIDs()
	s.await(2*time.Minute, "the receiver to have all", func() bool { return h.told() >= len(want) })
	l.verify(s)
	h.verify(s.webhookSecret())
	h.exact(l, want)
	h.mu.Lock()
	defer h.mu.Unlock()
	if dead := s.spoor("feed", "--app", "demo", "--dead"); strings.Count(dead, "\n") != 2 {
		t.Errorf("dead letters:\n%s", dead)
	}
	acked, _ := l.count()
	t.Logf("%d acknowledged, %d told, %d entries came again, requests %v", acked, len(h.events), h.again, h.counts)
	for _, what := range []string{"500", "400", "hangup", "302", "mute", "429", "late", "hang"} {
		if h.counts[what] == 0 {
			t.Errorf("the receiver never did %s: this shows too little", what)
		}
	}
	if acked < 3000 || h.again == 0 {
		t.Errorf("%d acknowledged, %d came again: this shows too little", acked, h.again)
	}
}

// poster is the node that does for partition 0 what only one has to do.
func (s *server) poster(all ...*server) *server {
	s.t.Helper()
	r := s.send("GET", s.reads+"/api/admin/cluster/", "", "Authorization", "Token "+replicaToken)
	var cluster struct {
		Nodes []struct {
			URL        string
			Partitions []struct {
				Number int
				First  bool
			}
		}
	}
	if err := json.Unmarshal([]byte(r.body), &cluster); err != nil {
		s.t.Fatalf("the nodes are %d %s: %v", r.status, r.body, err)
	}
	for _, n := range cluster.Nodes {
		for _, p := range n.Partitions {
			if i := slices.IndexFunc(all, func(s *server) bool { return s.reads == n.URL }); p.Number == 0 && p.First && i >= 0 {
				return all[i]
			}
		}
	}
	s.t.Fatalf("nobody is the first node: %s", r.body)
	return nil
}

// Goal: of two store nodes one posts to the webhook, and the other goes on within
// ten seconds when that is killed; nothing is missing, and what comes again is of the
// seconds before, under the same ids. While brokers are away nobody takes over.
// Method: two nodes hold the same, load goes to a collector. The node that posts is
// killed amid it and comes back; then the brokers are stopped until the nodes do not
// hear of each other any more.
func TestFeedWebhookOfTwoNodes(t *testing.T) {
	const repeatMax = 8 * time.Second // where a second or two are promised: machines may be busy; the other node is away for longer
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	h := newHook(t, "ok")
	h.several = true
	flags := []string{"--checkpoints", "--webhook-private", "--feed-retry", "10ms"}
	one := k.storeNode(demoData(t), flags...)
	one.spoor("app", "set", "demo", "feed_days=7", "feed_webhook="+h.url())
	collector := k.collector()
	l := newLedger()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.load(collector.collector, 2, 0) // not as fast as it goes: what is told stands behind the hits
	}()
	more := func() {
		t.Helper()
		acked, told := l.acknowledged(), h.told()
		collector.await(30*time.Second, "hits, and more to be told", func() bool { return l.acknowledged() > acked+300 && h.told() > told+300 })
	}
	more()
	two := k.storeNode(folder(t), append(flags, "--join", one.reads)...)
	more()
	posts, other := one.poster(one, two), one
	if posts == one {
		other = two
	}
	posts.await(20*time.Second, "the first node to post", func() bool { return posts.metric("spoor_feed_webhook_entries_total") > 1000 })
	silent := func() bool {
		posted := other.metric("spoor_feed_webhook_entries_total")
		more()
		return other.metric("spoor_feed_webhook_entries_total") == posted
	}
	other.await(20*time.Second, "the other node to be silent", silent)
	again := func(from time.Time, what string) {
		t.Helper()
		d := h.repeats(from)
		if t.Logf("%s, what came up to %s before comes again", what, d); d > repeatMax {
			t.Errorf("%s, more than the seconds before come again", what)
		}
	}
	h.repeats(time.Now())
	killed := time.Now()
	posts.kill()
	told := h.told()
	other.await(30*time.Second, "the other node to go on", func() bool { return h.told() > told+100 })
	if took := time.Since(killed); took > 15*time.Second {
		t.Errorf("the other node goes on after %s", took)
	}
	again(killed, "when the other node goes on")
	more()
	h.repeats(time.Now())
	back := time.Now()
	node := k.storeNode(posts.data, flags...)
	k.caughtUp(node)
	node.await(20*time.Second, "the first node to post again", func() bool { return node.metric("spoor_feed_webhook_entries_total") > 1000 })
	again(back, "when the first node is back")

	other.await(20*time.Second, "the other node to be silent again", silent)
	h.repeats(time.Now())
	stopped := time.Now()
	k.stop()
	for _, s := range []*server{node, other} {
		s.await(30*time.Second, "the brokers to be silent for longer than a node may be", func() bool { return time.Since(stopped) > 12*time.Second })
		if list := s.spoor("cluster"); strings.Count(list, "http://127.0.0.1") != 2 {
			t.Errorf("while brokers are silent a node says of the others\n%s", list)
		}
	}
	k.start()
	more()
	again(stopped, "once the brokers are back")
	other.await(20*time.Second, "the other node to be silent then", silent)
	collector.stop()
	<-loaded
	k.settle(l, k.collector(), node)
	k.caughtUp(other)
	want := other.exportIDs()
	node.await(time.Minute, "the receiver to have all", func() bool { return h.told() >= len(want) })
	l.verify(node)
	h.verify(node.webhookSecret())
	k.compare(node, other)
	h.exact(l, want)
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%d acknowledged, %d told, %d entries came again", l.acknowledged(), len(h.events), h.again)
	if h.again > len(h.events)/2 { // all that the other node posted, if it did not tell
		t.Errorf("%d of %d entries came again: this is more than the seconds before", h.again, len(h.events))
	}
}

// Goal: a name that leads into a private network is refused, whatever it is called;
// nothing is skipped meanwhile.
// Method: localhost, first without --webhook-private, then with it.
func TestFeedWebhookInAPrivateNetwork(t *testing.T) {
	h := newHook(t, "ok")
	s := demo(t, "--feed-retry", "10ms")
	_, port, _ := strings.Cut(h.address, ":")
	s.spoor("app", "set", "demo", "feed_days=7", "feed_webhook=http://localhost:"+port+"/")
	for n := range 5 {
		s.hit(fmt.Sprintf(`{"id":"e%d","key":"cookie","url":"https://shop.example/"}`, n))
	}
	s.await(startMax, "refusals", func() bool {
		return strings.Contains(s.send("GET", s.reads+"/metrics", "").body, "spoor_feed_webhook_failed_total 3")
	})
	if log := s.log.String(); !strings.Contains(log, "private address; --webhook-private") || strings.Contains(log, "localhost") {
		t.Errorf("the log says\n%s", log)
	}
	s.stop()
	if n := h.told() + h.count("ok"); n != 0 {
		t.Fatalf("it was called %d times", n)
	}
	s = serve(t, s.data, "--demo", "--webhook-private")
	s.await(startMax, "all", func() bool { return h.told() == 5 })
}

// Goal: what a webhook refuses eight times is on a list that names nobody, and
// holds up nothing behind it; sent again it comes as it is by then: without who
// was erased. The record of processing names the recipient.
// Method: a receiver that answers 400, then takes what comes.
func TestFeedDeadLetters(t *testing.T) {
	h := newHook(t, "400")
	s := demo(t, "--webhook-private", "--feed-retry", "5ms")
	s.spoor("app", "set", "demo", "feed_days=7", "feed_webhook="+h.url())
	say := func(who string) {
		t.Helper()
		if r := s.hit(fmt.Sprintf(`{"id":"event-of-%s","user_id":"%s-77","url":"https://shop.example/%s"}`, who, who, who)); r.status != 200 {
			t.Fatal(r.status, r.body)
		}
	}
	say("ada")
	s.await(startMax, "eight refusals", func() bool { return h.count("400") == 8 })
	say("bob")
	s.await(startMax, "eight more", func() bool { return h.count("400") == 16 })
	h.act("ok")
	say("cid")
	s.await(startMax, "what is behind", func() bool { return h.told() == 1 })
	list := s.spoor("feed", "--app", "demo", "--dead")
	if strings.Count(list, " 400 ") != 2 || strings.Contains(list, "ada") {
		t.Errorf("the list is\n%s", list)
	}
	s.spoor("erase", "--app", "demo", "ada-77")
	h.mu.Lock()
	h.late = true
	h.mu.Unlock()
	if out := s.spoor("feed", "--app", "demo", "--retry"); !strings.HasPrefix(out, "2 entries") { // hit and user
		t.Errorf("sent again: %s", out)
	}
	h.mu.Lock()
	all := fmt.Sprint(h.lines)
	h.mu.Unlock()
	if strings.Contains(all, "ada") || !strings.Contains(all, "event-of-bob") || !strings.Contains(all, `"type":"erased"`) {
		t.Errorf("it got %s", all)
	}
	if list := s.spoor("feed", "--app", "demo", "--dead"); strings.Contains(list, " 400 ") {
		t.Errorf("the list is\n%s", list)
	}
	if text := s.spoor("privacy"); !strings.Contains(text, "- feed webhook "+h.url()) || !strings.Contains(text, "IN CLEAR TEXT") {
		t.Errorf("the record of processing does not name it:\n%s", text)
	}
}
