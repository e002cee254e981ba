package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
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
	clusterWait    = 60 * time.Second // for a store node to catch up
	clusterToken   = "demo-cluster"   // of the control plane
	// What says that it is a program makes no profile.
	clusterBrowser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
)

// clusterShow is brokers, two collectors and two store nodes on this machine, and
// what senders were told by them.
type clusterShow struct {
	binary, work string
	brokers      *kfake.Cluster
	stores       [2]*process
	began        time.Time
	addresses    [2]atomic.Pointer[string] // of the collectors

	mu    sync.Mutex
	sent  int64
	acked map[string]bool
	stop  chan struct{}
}

// showCluster runs a cluster under load, kills a collector and a store node amid
// it, starts them again, and prints the ledger of both store nodes. A ledger that
// does not add up is an error, and so is a difference between the nodes.
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
	defer func() {
		for _, p := range c.stores {
			if p != nil {
				p.kill()
			}
		}
	}()
	if err := c.startStore(0); err != nil {
		return err
	}
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
		func() error { return c.startStore(1) },
		func() error {
			collectors[0].kill()
			c.say("kill -9: collector 1; its senders go to collector 2")
			return nil
		},
		func() error {
			c.stores[0].kill()
			c.say("kill -9: store node 1; collectors go on taking, and node 2 answers:")
			return c.askSecond()
		},
		func() error {
			if err := c.startStore(0); err != nil {
				return err
			}
			again, err := c.startCollector(0)
			if err != nil {
				return err
			}
			collectors[0] = again
			c.say("both are started again; store node 1 reads on from where it was")
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

// data is the directory of a store node.
func (c *clusterShow) data(i int) string { return filepath.Join(c.work, fmt.Sprint("store", i+1)) }

// makeApp makes the open demo app, as spoor serve does on one machine.
func (c *clusterShow) makeApp() error {
	one, err := startProcess(nil, c.binary, "serve", "--demo", "--data", c.data(0), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return one.stop()
}

func (c *clusterShow) kafka() string { return strings.Join(c.brokers.ListenAddrs(), ",") }

// startStore starts a store node. The second one begins from a copy that it takes
// of the first one.
func (c *clusterShow) startStore(i int) error {
	args := []string{"store", "--kafka", c.kafka(), "--data", c.data(i), "--admin", "127.0.0.1:0", "--checkpoints"}
	if i > 0 {
		args = append(args, "--join", "http://"+c.stores[0].readSide)
	}
	began := time.Now()
	p, err := startProcess([]string{"SPOOR_ADMIN_TOKEN=" + clusterToken}, c.binary, args...)
	if err != nil {
		return err
	}
	c.stores[i] = p
	how := ""
	if i > 0 {
		how = fmt.Sprintf(", from a copy of node 1 in %s", time.Since(began).Round(10*time.Millisecond))
	}
	c.say("spoor store %d%s: dashboard and API at http://%s/ (token demo)", i+1, how, p.readSide)
	return nil
}

// askSecond reads from the second node and makes a change there, while the first
// one is away.
func (c *clusterShow) askSecond() error {
	out, err := c.spoor(1, "partitions", "--app", "demo")
	if err != nil {
		return err
	}
	fmt.Printf("\n$ spoor partitions --app demo\n%s\n", out)
	if out, err = c.spoor(1, "app", "create", "second-shop"); err != nil {
		return err
	}
	first, _, _ := strings.Cut(out, "\n")
	fmt.Printf("$ spoor app create second-shop\n%s\n\n", first)
	return nil
}

// spoor runs a command on the data directory of a store node.
func (c *clusterShow) spoor(node int, args ...string) (string, error) {
	cmd := exec.Command(c.binary, append(args, "--data", c.data(node))...)
	cmd.Env = append(os.Environ(), "SPOOR_ADMIN_TOKEN="+clusterToken)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("spoor %s on node %d: %w: %s", strings.Join(args, " "), node+1, err, out)
	}
	return string(out), nil
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
	request, err := http.NewRequest("POST", "http://"+address+"/hit", strings.NewReader(body))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", clusterBrowser)
	reply, err := client.Do(request)
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
	for i := range c.stores {
		if err := c.caughtUp(i); err != nil {
			return err
		}
	}
	c.say("both store nodes have caught up, %s after the last event", time.Since(ended).Round(10*time.Millisecond))
	for _, args := range [][]string{{"cluster"}, {"app", "list"}, {"check", "--against", "http://" + c.stores[1].readSide}} {
		out, err := c.spoor(0, args...)
		if err != nil {
			return err
		}
		fmt.Printf("\n$ spoor %s\n%s", strings.Join(args, " "), out)
	}
	fmt.Println()
	wrong := int64(len(c.acked)) != c.sent || len(c.acked) == 0
	for i := range c.stores {
		lost, doubled, phantom, stored, err := c.compare(i)
		if err != nil {
			return err
		}
		if err := c.stores[i].stop(); err != nil {
			return err
		}
		if _, err := c.spoor(i, "check"); err != nil {
			return err
		}
		fmt.Printf("ledger of node %d: sent %s, acknowledged %s, stored %s, lost %d, doubled %d, never sent %d; spoor check: everything fits together\n",
			i+1, thousands(c.sent), thousands(int64(len(c.acked))), thousands(stored), lost, doubled, phantom)
		wrong = wrong || lost+doubled+phantom > 0
	}
	if wrong {
		return errors.New("the ledger does not add up")
	}
	return nil
}

// compare counts what a node holds against what was acknowledged.
func (c *clusterShow) compare(i int) (lost, doubled, phantom int, stored int64, err error) {
	found, err := c.export(i)
	if err != nil {
		return 0, 0, 0, 0, err
	}
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
	return lost, doubled, phantom, int64(len(found)), nil
}

// caughtUp waits until a node has stored all that is in the topic.
func (c *clusterShow) caughtUp(i int) error {
	for until := time.Now().Add(clusterWait); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		stored, end := int64(0), int64(0)
		for _, p := range c.brokers.PartitionInfos("spoor") {
			end += p.HighWatermark
		}
		for line := range strings.Lines(c.metrics(i)) {
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
	return fmt.Errorf("store node %d has not caught up after %s: %s", i+1, clusterWait, c.stores[i].said())
}

func (c *clusterShow) metrics(i int) string {
	reply, err := http.Get("http://" + c.stores[i].readSide + "/metrics")
	if err != nil {
		return ""
	}
	defer reply.Body.Close()
	var text strings.Builder
	_, _ = bufio.NewReader(reply.Body).WriteTo(&text) // what could be read counts
	return text.String()
}

// export counts the stored hits of each event id on a node.
func (c *clusterShow) export(i int) (map[string]int, error) {
	request, err := http.NewRequest("GET", "http://"+c.stores[i].readSide+"/api/export/hits.ndjson", nil)
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
