package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger remembers what was sent and what was acknowledged, by event id.
type ledger struct {
	mu    sync.Mutex
	sent  map[string]bool
	acked map[string]bool
	order []string // acknowledged ids, oldest first
	open  []string // ids of the last requests that got no answer
	cut   int      // requests that got no answer, in all
	turns map[string]int
}

func newLedger() *ledger {
	return &ledger{sent: map[string]bool{}, acked: map[string]bool{}, turns: map[string]int{}}
}

func (l *ledger) send(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.sent[id] = true
	}
}

func (l *ledger) ack(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.acked[id] {
		l.acked[id] = true
		l.order = append(l.order, id)
	}
}

func (l *ledger) unanswered(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, ids...)
	l.cut++
}

// turn numbers the events of a worker without end.
func (l *ledger) turn(worker string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turns[worker]++
	return l.turns[worker]
}

// last is up to n of the newest acknowledged ids.
func (l *ledger) last(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.order[max(0, len(l.order)-n):]...)
}

// takeOpen gives the ids without an answer, once.
func (l *ledger) takeOpen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := l.open
	l.open = nil
	return ids
}

func (l *ledger) count() (acked, cut int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), l.cut
}

// verify compares what the server holds with the ledger: nothing acknowledged
// is missing, nothing is there twice, nothing is there that was never sent.
func (l *ledger) verify(s *server) {
	s.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	have := s.exportIDs()
	var lost, twice, phantom []string
	for id := range l.acked {
		if have[id] == 0 {
			lost = append(lost, id)
		}
	}
	for id, n := range have {
		if n > 1 {
			twice = append(twice, id)
		}
		if !l.sent[id] {
			phantom = append(phantom, id)
		}
	}
	for what, ids := range map[string][]string{"lost": lost, "stored twice": twice, "never sent": phantom} {
		if len(ids) > 0 {
			s.t.Errorf("%d of %d acknowledged are %s, such as %.60v", len(ids), len(l.acked), what, ids[0])
		}
	}
}

// body of one native hit and of one Segment event, by id. The same id always
// gives the same body, so that it can be sent again.
func nativeBody(id string) string {
	return fmt.Sprintf(`{"write_key":"demo","id":%q,"key":"k-%s","url":"https://shop.example/p/%s?utm_source=news","title":"Shoes","properties":{"pad":%q}}`,
		id, person(id), person(id), strings.Repeat("x", 200))
}

func segmentEvent(id string) string {
	return fmt.Sprintf(`{"type":"track","event":"Added","messageId":%q,"anonymousId":"k-%s","properties":{"pad":%q}}`,
		id, person(id), strings.Repeat("y", 100))
}

// person shares a profile between some hundred ids, so that hits of one
// person come over several connections.
func person(id string) string {
	var h uint32 = 2166136261
	for _, c := range []byte(id) {
		h = (h ^ uint32(c)) * 16777619
	}
	return fmt.Sprint(h % 500)
}

const batchSize = 20

// load sends until requests fail: native workers one hit at a time, batch
// workers Segment batches. It returns when all have ended.
func (l *ledger) load(collector string, natives, batches int) {
	transport := &http.Transport{MaxIdleConnsPerHost: natives + batches}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	var wg sync.WaitGroup
	worker := func(name string, send func(n int) bool) {
		wg.Go(func() {
			for send(l.turn(name)) {
			}
		})
	}
	for i := range natives {
		name := fmt.Sprintf("n%d", i)
		worker(name, func(n int) bool { return l.sendNative(c, collector, fmt.Sprintf("%s-%d", name, n)) })
	}
	for i := range batches {
		name := fmt.Sprintf("b%d", i)
		worker(name, func(n int) bool { return l.sendBatch(c, collector, name, n) })
	}
	wg.Wait()
}

// sendNative reports whether the worker should go on.
func (l *ledger) sendNative(c *http.Client, collector, id string) bool {
	l.send(id)
	r, err := ask(c, "POST", collector+"/hit", nativeBody(id))
	switch {
	case err != nil:
		l.unanswered(id)
		return false
	case r.status != http.StatusOK:
		return r.status == http.StatusServiceUnavailable && r.header.Get("X-Spoor-Refused") != "shutting_down"
	}
	l.ack(id)
	return true
}

func (l *ledger) sendBatch(c *http.Client, collector, name string, n int) bool {
	ids := make([]string, batchSize)
	events := make([]string, batchSize)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%d-%d", name, n, i)
		events[i] = segmentEvent(ids[i])
	}
	l.send(ids...)
	r, err := ask(c, "POST", collector+"/v1/batch?k=demo", `{"batch":[`+strings.Join(events, ",")+`]}`)
	switch {
	case err != nil:
		l.unanswered(ids...)
		return false
	case r.status != http.StatusOK:
		return r.status == http.StatusServiceUnavailable && r.header.Get("X-Spoor-Refused") != "shutting_down"
	}
	for _, id := range ids {
		l.ack(id)
	}
	return true
}

// resend sends single ids again and returns how many the server knew.
func (l *ledger) resend(s *server, ids []string) (known int) {
	s.t.Helper()
	for _, id := range ids {
		r := reply{}
		if strings.HasPrefix(id, "b") {
			r = s.send("POST", s.collector+"/v1/track?k=demo", segmentEvent(id))
		} else {
			r = s.send("POST", s.collector+"/hit", nativeBody(id))
		}
		if r.status != http.StatusOK {
			s.t.Fatalf("sending %s again: %d %s", id, r.status, r.body)
		}
		switch {
		case strings.Contains(r.body, `"status":"duplicate"`):
			known++
		case !strings.Contains(r.body, `"status":"stored"`):
			s.t.Fatalf("sending %s again: %s", id, r.body)
		}
		l.ack(id)
	}
	return known
}

// Goal: kill -9 at any moment loses nothing that was acknowledged, stores
// nothing twice and invents nothing.
// Method: kills at random moments under load over several connections, native
// hits and batches; after each restart the newest acknowledged ids are sent
// again and must be known, those without an answer are sent again as clients
// do, and every ten kills and at the end all is compared with the ledger.
func TestKill(t *testing.T) {
	const kills = 55
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	data := folder(t)
	l := newLedger()
	interrupted := 0
	for kill := range kills {
		s := spawn(t, data, "--demo")
		s.awaitServing()
		if log := s.log.String(); strings.Contains(log, "level=ERROR") {
			t.Fatalf("after kill %d the server says:\n%s", kill, log)
		}
		again := l.last(20)
		if known := l.resend(s, again); known != len(again) {
			t.Fatalf("after kill %d: %d of the last %d acknowledged ids are not known any more", kill, len(again)-known, len(again))
		}
		l.resend(s, l.takeOpen())
		if kill%10 == 9 {
			l.verify(s)
		}
		_, before := l.count()
		timer := time.AfterFunc(time.Duration(50+random.IntN(351))*time.Millisecond, func() { s.cmd.Process.Kill() })
		l.load(s.collector, 6, 3)
		timer.Stop()
		<-s.ended
		if _, after := l.count(); after > before {
			interrupted++
		}
	}
	s := serve(t, data, "--demo")
	l.verify(s)
	acked, cut := l.count()
	t.Logf("%d kills, %d acknowledged, %d requests cut off", kills, acked, cut)
	if interrupted < kills/2 || acked < 100*kills {
		t.Errorf("the load was too thin to show anything: %d kills met requests in flight, %d were acknowledged", interrupted, acked)
	}
	s.stop()
}

// Goal: SIGTERM under load ends well within ten seconds, and all that was
// acknowledged is kept.
func TestDrainUnderLoad(t *testing.T) {
	s := demo(t)
	l := newLedger()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.load(s.collector, 8, 3)
	}()
	s.await(startMax, "load", func() bool { acked, _ := l.count(); return acked > 2000 })
	s.stop()
	<-done
	again := serve(t, s.data, "--demo")
	l.verify(again)
}

// Goal: a request that is in flight at SIGTERM is answered, truly.
// Method: a body of which half has arrived when the signal does; the rest
// comes after the server said that it is stopping.
func TestDrainAnswersWhatIsInFlight(t *testing.T) {
	s := demo(t)
	body := nativeBody("n-in-flight")
	r, w := io.Pipe()
	req, err := http.NewRequest("POST", s.collector+"/hit", r)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(body))
	type answer struct {
		status int
		body   string
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		answers <- answer{resp.StatusCode, string(text), err}
	}()
	half := len(body) / 2
	if _, err := io.WriteString(w, body[:half]); err != nil {
		t.Fatal(err)
	}
	s.await(startMax, "the request to be in flight", func() bool {
		return strings.Contains(s.send("GET", s.reads+"/metrics", "").body, "spoor_connections 1")
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stop()
	}()
	s.await(startMax, "the server to stop taking requests", func() bool { return strings.Contains(s.log.String(), "stopping") })
	io.WriteString(w, body[half:])
	w.Close()
	got := <-answers
	<-stopped
	if got.err != nil || got.status != http.StatusOK || !strings.Contains(got.body, `"stored"`) {
		t.Errorf("the request in flight got %d %s %v, want 200 stored", got.status, got.body, got.err)
	}
	if n := serve(t, s.data, "--demo").exportIDs()["n-in-flight"]; n != 1 {
		t.Errorf("it is stored %d times after the restart, want once", n)
	}
}

// Goal: somebody who began a request to the read side and never ended it keeps
// the server from stopping neither in time nor well.
func TestHalfARequestDoesNotHoldTheDrain(t *testing.T) {
	s := demo(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.reads, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	s.stop() // fails the test if the exit status is not 0
	if took := time.Since(began); took > drainMax {
		t.Errorf("it took %s", took)
	}
}

// Goal: a re-sent batch stores nothing twice, also across a restart.
func TestResentBatch(t *testing.T) {
	s := demo(t)
	l := newLedger()
	for range 2 {
		if !l.sendBatch(client, s.collector, "b", 1) {
			t.Fatal("a batch was not taken")
		}
	}
	s.stop()
	again := serve(t, s.data, "--demo")
	if !l.sendBatch(client, again.collector, "b", 1) {
		t.Fatal("a batch was not taken after the restart")
	}
	l.verify(again)
	if known := l.resend(again, l.last(batchSize)); known != batchSize {
		t.Errorf("%d of %d events are known", known, batchSize)
	}
}
