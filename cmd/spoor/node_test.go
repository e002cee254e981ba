package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor/ingest/kafka"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Goal: a node is alive as long as it goes on speaking, whatever its clock says, and
// not because of what it said before; one that is far behind is not the first of a
// partition; clocks that are far from each other are seen; while brokers are silent
// nobody dies of that.
// Method: nodes announce themselves on real brokers, one of them with a clock that
// is an hour ahead.
func TestWhoIsAlive(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer brokers.Close()
	topic, err := kafka.Open(t.Context(), kafka.Options{Brokers: brokers.ListenAddrs(), CommandKey: []byte("a key of nodes"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer topic.Close()
	say := func(id string, at time.Time, lag int64) {
		t.Helper()
		n := &kafka.Node{ID: id, URL: "http://" + id + ".example", At: at.UnixMilli(), Partitions: []kafka.NodePartition{{Number: 0, Stored: 10, End: 10 + lag}}}
		if err := topic.Announce(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	say("dead", time.Now().Add(-time.Minute), 0)
	say("ended-ahead", time.Now().Add(time.Hour), 0)
	own := &node{id: "m", topic: topic, parts: &consumer{}, now: time.Now, seen: map[string]sighting{}, firsts: map[int]bool{}, heard: time.Now()}
	if own.all, err = topic.FollowNodes(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := func() string {
		var list []string
		for _, n := range own.alive() {
			list = append(list, n.ID)
		}
		return strings.Join(list, " ")
	}
	becomes := func(want string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ids() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("alive are %q, want %q", ids(), want)
			}
		}
	}
	becomes("")
	say("a", time.Now(), nodeBehind+1)
	becomes("a")
	if url, _ := own.departed(); url != "" || !own.first(0) || own.best(0) != "http://a.example" {
		t.Errorf("beside a node that is far behind: departed %q, first %v", url, own.first(0))
	}
	say("a", time.Now(), 0)
	for end := time.Now().Add(10 * time.Second); own.first(0) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	if own.first(0) || !own.first(1) {
		t.Error("a node with a lower id is not the first one of its partition")
	}
	own.parts = &consumer{parts: []*part{{number: 1, end: nodeBehind}}} // this one is far behind
	if !own.lowest(1) {
		t.Error("a node that is far behind and alone is not the first one")
	}
	reads := func(id string, lag int64) {
		t.Helper()
		n := &kafka.Node{ID: id, URL: "http://" + id + ".example", At: time.Now().UnixMilli(), Partitions: []kafka.NodePartition{{Number: 1, End: lag}}}
		if err := topic.Announce(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		becomes("a x")
	}
	reads("x", nodeBehind)
	if !own.lowest(1) {
		t.Error("of two nodes that are far behind both wait for the other")
	}
	reads("x", nodeBehind-1)
	for end := time.Now().Add(10 * time.Second); own.lowest(1) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	if own.lowest(1) {
		t.Error("a node that is far behind goes before one that is not")
	}
	own.parts = &consumer{}
	if err := topic.Leave(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	becomes("a")
	own.heard = time.Now().Add(-nodeAlive) // the brokers are away
	if err := topic.Leave(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	becomes("")
	if own.first(0) || !own.first(1) {
		t.Error("who cannot speak with the brokers takes over")
	}
	own.heard = time.Now()
	if !own.first(0) {
		t.Error("nobody takes over from a node that has left")
	}
	say("a", time.Now(), 0)
	becomes("a")
	spoke := func(ago time.Duration) { // a did, for the last time
		own.mu.Lock()
		defer own.mu.Unlock()
		last := own.seen["a"]
		last.heard = time.Now().Add(-ago)
		own.seen["a"] = last
	}
	spoke(time.Minute)
	own.heard = time.Now().Add(-59 * time.Second) // since then the brokers are silent
	if got := ids(); got != "a" || own.best(0) == "" {
		t.Errorf("while brokers are silent %q are alive, want who was before", got)
	}
	if own.hear(time.Now()); ids() != "a" {
		t.Error("who could not speak while the brokers were silent is not alive when they are back")
	}
	if spoke(2 * nodeAlive); ids() != "" {
		t.Error("who is silent for longer than the brokers were is alive")
	}
	say("a", time.Now().Add(time.Millisecond), 0)
	becomes("a")
	say("z", time.Now().Add(time.Hour), 0)
	time.Sleep(50 * time.Millisecond)
	if got := ids(); got != "a" { // it may have ended before
		t.Errorf("alive are %q", got)
	}
	say("z", time.Now().Add(time.Hour+time.Second), 0)
	becomes("a z")
	if url, ahead := own.departed(); url != "http://z.example" || ahead < 59*time.Minute {
		t.Errorf("a clock that is an hour ahead: %q, %s", url, ahead)
	}
}
