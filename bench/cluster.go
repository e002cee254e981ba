package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

const (
	clusterSenders = 16
	clusterStage   = 2 * time.Second  // between two things that happen
	clusterWait    = 60 * time.Second // for the store node to catch up
)

// clusterShow is brokers, two collectors and a store node on this machine, and
// what senders were told by them.
type clusterShow struct {
	binary, work string
	brokers      *kfake.Cluster
	store        *process
	began        time.Time
	addresses    [2]atomic.Pointer[string] // of the collectors

	mu    sync.Mutex
	sent  int64
	acked map[string]bool
	stop  chan struct{}
}

// showCluster runs a cluster under load, kills a collector and the store node
// amid it, starts them again, and prints the ledger. A ledger that does not add up
// is an error.
func (b *bench) showCluster() (err error) {
	c := &clusterShow{binary: b.binary, work: b.work, began: time.Now(), acked: map[string]bool{}, stop: make(chan struct{})}
	if c.brokers, err = kfake.NewCluster(kfake.NumBrokers(3), kfake.DataDir(filepath.Join(b.work, "brokers")), kfake.SyncWrites()); err != nil {
		return fmt.Errorf("cannot start the brokers: %w", err)
	}
	defer c.brokers.Close()
	c.say("three brokers at %s; they speak Kafka's protocol and sync their log, but run in this process", strings.Join(c.brokers.ListenAddrs(), ", "))
	if err := c.makeApp(); err != nil {
		return err
	}
	if err := c.startStore(); err != nil {
		return err
	}
	defer func() { c.store.kill() }()
	var collectors [2]*process
	for i := range collectors {
		if collectors[i], err = c.startCollector(i); err != nil {
			return err
		}
		defer func() { collectors[i].kill() }()
	}
	var senders sync.WaitGroup
	for n := range clusterSenders {
		senders.Go(func() { c.send(n) })
	}
	stages := []func() error{
		func() error { return nil },
		func() error {
			collectors[0].kill()
			c.say("kill -9: collector 1; its senders go to collector 2")
			return nil
		},
		func() error {
			c.store.kill()
			c.say("kill -9: the store node; collectors go on taking")
			return nil
		},
		func() error {
			if err := c.startStore(); err != nil {
				return err
			}
			again, err := c.startCollector(0)
			if err != nil {
				return err
			}
			collectors[0] = again
			c.say("both are started again; the store node reads on from where it was")
			return nil
		},
		func() error { return nil },
	}
	for _, stage := range stages {
		time.Sleep(clusterStage)
		c.progress()
		if err = stage(); err != nil {
			break
		}
	}
	close(c.stop)
	senders.Wait()
	if err != nil {
		return err
	}
	return c.account(collectors[:])
}

func (c *clusterShow) say(format string, args ...any) {
	fmt.Printf("%5.1f s  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

func (c *clusterShow) progress() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.say("%s events acknowledged", thousands(int64(len(c.acked))))
}

func (c *clusterShow) data() string { return filepath.Join(c.work, "store") }

// makeApp makes the open demo app, as spoor serve does on one machine.
func (c *clusterShow) makeApp() error {
	one, err := startProcess(nil, c.binary, "serve", "--demo", "--data", c.data(), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return one.stop()
}

func (c *clusterShow) kafka() string { return strings.Join(c.brokers.ListenAddrs(), ",") }

func (c *clusterShow) startStore() error {
	p, err := startProcess(nil, c.binary, "store", "--kafka", c.kafka(), "--data", c.data(), "--admin", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.store = p
	c.say("spoor store: dashboard and API at http://%s/ (token demo)", p.readSide)
	return nil
}

func (c *clusterShow) startCollector(i int) (*process, error) {
	p, err := startProcess(nil, c.binary, "collect", "--kafka", c.kafka(), "--data", filepath.Join(c.work, fmt.Sprint("collector", i+1)),
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if err == nil {
		c.addresses[i].Store(&p.collector)
		c.say("spoor collect %d: http://%s/", i+1, p.collector)
	}
	return p, err
}

// send sends one event after the other, each until it is acknowledged, as senders
// do: to the other collector if one does not answer.
func (c *clusterShow) send(n int) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for turn := 0; ; turn++ {
		id := fmt.Sprintf("e-%d-%d", n, turn)
		body := fmt.Sprintf(`{"write_key":"demo","id":%q,"key":"visitor-%d-%d","url":"https://shop.example/p/%d","title":"Shoes"}`, id, n, turn/7, turn%50)
		select {
		case <-c.stop:
			return
		default:
		}
		c.mu.Lock()
		c.sent++
		c.mu.Unlock()
		for to := n; !c.try(client, to, body); to++ {
			time.Sleep(10 * time.Millisecond)
		}
		c.mu.Lock()
		c.acked[id] = true
		c.mu.Unlock()
	}
}

func (c *clusterShow) try(client *http.Client, to int, body string) bool {
	address := *c.addresses[to%len(c.addresses)].Load()
	reply, err := client.Post("http://"+address+"/hit", "application/json", strings.NewReader(body))
	if err != nil {
		return false
	}
	reply.Body.Close()
	return reply.StatusCode == http.StatusOK
}

// account compares what the store holds with what was acknowledged.
func (c *clusterShow) account(collectors []*process) error {
	for _, p := range collectors {
		if err := p.stop(); err != nil {
			return err
		}
	}
	c.progress()
	ended := time.Now()
	if err := c.caughtUp(); err != nil {
		return err
	}
	c.say("the store node has caught up, %s after the last event", time.Since(ended).Round(10*time.Millisecond))
	table, err := exec.Command(c.binary, "cluster", "--data", c.data()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot ask the store node: %w: %s", err, table)
	}
	fmt.Printf("\n$ spoor cluster\n%s\n", table)
	found, err := c.export()
	if err != nil {
		return err
	}
	lost, doubled, phantom := 0, 0, 0
	for id := range c.acked {
		if found[id] == 0 {
			lost++
		}
	}
	for id, n := range found {
		if n > 1 {
			doubled++
		}
		if !c.acked[id] {
			phantom++
		}
	}
	if err := c.store.stop(); err != nil {
		return err
	}
	if out, err := exec.Command(c.binary, "check", "--data", c.data()).CombinedOutput(); err != nil {
		return fmt.Errorf("the store does not fit together: %w: %s", err, out)
	}
	fmt.Printf("ledger: sent %s, acknowledged %s, stored %s, lost %d, doubled %d, never sent %d; spoor check: everything fits together\n",
		thousands(c.sent), thousands(int64(len(c.acked))), thousands(int64(len(found))), lost, doubled, phantom)
	if lost+doubled+phantom > 0 || len(c.acked) == 0 || int64(len(c.acked)) != c.sent {
		return errors.New("the ledger does not add up")
	}
	return nil
}

// caughtUp waits until all that is in the topic is stored.
func (c *clusterShow) caughtUp() error {
	for until := time.Now().Add(clusterWait); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		stored, end := int64(0), int64(0)
		for _, p := range c.brokers.PartitionInfos("spoor") {
			end += p.HighWatermark
		}
		for line := range strings.Lines(c.metrics()) {
			if name, value, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "spoor_kafka_stored_offset{") {
				var n float64
				if _, err := fmt.Sscan(value, &n); err == nil {
					stored += int64(n)
				}
			}
		}
		if stored == end {
			return nil
		}
	}
	return fmt.Errorf("the store node has not caught up after %s: %s", clusterWait, c.store.said())
}

func (c *clusterShow) metrics() string {
	reply, err := http.Get("http://" + c.store.readSide + "/metrics")
	if err != nil {
		return ""
	}
	defer reply.Body.Close()
	var text strings.Builder
	_, _ = bufio.NewReader(reply.Body).WriteTo(&text) // what could be read counts
	return text.String()
}

// export counts the stored hits of each event id.
func (c *clusterShow) export() (map[string]int, error) {
	request, err := http.NewRequest("GET", "http://"+c.store.readSide+"/api/export/hits.ndjson", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Token demo")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("cannot read the hits back: %w", err)
	}
	defer reply.Body.Close()
	found := map[string]int{}
	lines := bufio.NewScanner(reply.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var hit struct {
			Event string `json:"event_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &hit); err != nil || hit.Event == "" {
			return nil, fmt.Errorf("cannot read the hits back: a line is no hit")
		}
		found[hit.Event]++
	}
	return found, lines.Err()
}
