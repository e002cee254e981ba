package kafka

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// Goal: what is written comes out once, complete and in the order of its app.
// Method: real brokers; hits of several apps from several writers, all
// partitions read to their ends, compared field by field and counted.
func TestThrough(t *testing.T) {
	c := anyCluster(t)
	topic := openTopic(t, c.options(t))
	s := openSink(t, topic)
	l := newLedger()
	l.load(t, s, 8, upTo(40)).Wait()
	r := newReader(topic, l)
	r.drain(t)
	if doubled := l.check(t); doubled > 0 {
		t.Errorf("%d hits came more than once without any trouble", doubled)
	}
	if f := s.Figures(); f.Hits != uint64(len(l.sent)) || f.Waiting != 0 || f.Busy != 0 {
		t.Errorf("%d hits were sent, and the figures are %+v", len(l.sent), f)
	}
	order := map[string]int64{}
	for _, h := range r.hits {
		writer, _, _ := strings.Cut(h.ID, "-")
		key := writer + "/" + string(rune('0'+h.App))
		if h.Received < order[key] {
			t.Fatalf("hit %s of app %d came behind a later one", h.ID, h.App)
		}
		order[key] = h.Received
	}
}

// Goal: a batch is whole, whatever it is mixed of, and hits that nobody named
// can be told apart.
// Method: one Write with hits of several apps in turn, one without an id; all
// are read and compared.
func TestThroughMixed(t *testing.T) {
	c := anyCluster(t)
	topic := openTopic(t, c.options(t))
	s := openSink(t, topic)
	var hits []spoor.Hit
	for i := range 2500 {
		hits = append(hits, spoor.Hit{App: spoor.AppID(1 + i/1100), Title: strings.Repeat("t", i%70), Received: int64(i)})
	}
	hits = append(hits, spoor.Hit{App: 1, ID: "named"}, spoor.Hit{App: 2, Digest: [16]byte{1}}, spoor.Hit{App: 1, ID: "last"})
	if err := s.Write(hits); err != nil {
		t.Fatal(err)
	}
	digests := map[[16]byte]bool{}
	byPartition := make([][]spoor.Hit, topic.Partitions())
	for i := range hits {
		h := hits[i]
		if (h.ID == "") != (h.Digest != [16]byte{}) || h.Outcome != spoor.Accepted {
			t.Fatalf("hit %d is %+v", i, h)
		}
		digests[h.Digest] = true
		h.Outcome = 0
		byPartition[topic.PartitionOf(h.App)] = append(byPartition[topic.PartitionOf(h.App)], h)
	}
	if len(digests) != 2502 { // the hits without an id, and the zero of those with one
		t.Errorf("%d digests", len(digests))
	}
	for p, want := range byPartition {
		if len(want) == 0 {
			continue
		}
		r := newReader(topic, newLedger())
		r.drainPartition(t, p)
		if !reflect.DeepEqual(r.hits, want) {
			t.Errorf("partition %d: %d hits came, %d were sent, or they differ", p, len(r.hits), len(want))
		}
	}
	if f := s.Figures(); f.Records < 3 || f.Records > 10 {
		t.Errorf("the hits took %d records", f.Records)
	}
}
