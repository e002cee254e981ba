package kafka

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/spoorhq/spoor"
	"github.com/twmb/franz-go/pkg/kfake"
)

func openFeeds(t *testing.T, o Options) *Feeds {
	t.Helper()
	f, err := NewFeeds(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// entries makes records by number, with a value of so many bytes that cannot be
// compressed to less than half.
func entries(from, to, bytes int) (list []spoor.FeedRecord) {
	for n := from; n <= to; n++ {
		noise := make([]byte, bytes/2)
		rand.Read(noise)
		list = append(list, spoor.FeedRecord{Number: uint64(n), Key: fmt.Append(nil, n%7), Value: fmt.Appendf(nil, `{"id":"%d","noise":"%s"}`, n, hex.EncodeToString(noise))})
	}
	return list
}

// readFeedTopic reads all that is in a topic, as "KEY VALUE", and says how many
// partitions it has.
func readFeedTopic(t *testing.T, c *cluster, topic string) (lines []string, partitions int) {
	t.Helper()
	client := newSegmentio(c.addresses, []string{topic}, nil, nil)
	defer client.close()
	l, err := client.describe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range l.partitions {
		first, end, err := client.offsets(t.Context(), topic, p)
		if err != nil {
			t.Fatal(err)
		}
		for at := first; at < end; {
			if at, err = client.fetch(t.Context(), topic, p, at, func(_ int64, key, value []byte) {
				lines = append(lines, string(key)+" "+string(value))
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return lines, l.partitions
}

func linesOf(records []spoor.FeedRecord) (lines []string) {
	for _, r := range records {
		lines = append(lines, string(r.Key)+" "+string(r.Value))
	}
	return lines
}

// Goal: records are in the topic in their order, with their keys, however large
// they are together; a topic that does not exist is made.
// Method: three batches' worth are written and read back.
func TestFeedsWrite(t *testing.T) {
	c := anyCluster(t)
	o := c.options(t)
	f := openFeeds(t, o)
	topic := "feed-" + o.Topic
	want := entries(1, 250, 10_000)
	for _, part := range [][]spoor.FeedRecord{want[:1], want[1:]} {
		if n, err := f.Write(t.Context(), topic, part); n != len(part) || err != nil {
			t.Fatalf("%d of %d were written: %v", n, len(part), err)
		}
	}
	got, partitions := readFeedTopic(t, c, topic)
	if partitions != 1 || strings.Join(got, "\n") != strings.Join(linesOf(want), "\n") {
		t.Errorf("%d records came, in %d partitions", len(got), partitions)
	}
}

// Goal: of records that a topic takes, all are there in order; one that is too
// large is told by its place, and holds up nothing behind it.
// Method: a topic that takes 20 kB, which is first visible in its settings and
// then lowered behind our back.
func TestFeedsTooLarge(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	f := openFeeds(t, o)
	limit := func(bytes int) {
		t.Helper()
		client := newSegmentio(c.addresses, []string{"shop-feed"}, nil, nil)
		defer client.close()
		if err := client.create(t.Context(), "shop-feed", &layout{partitions: 3, replicas: 3, settings: map[string]string{"max.message.bytes": strconv.Itoa(bytes)}}); err != nil {
			t.Fatal(err)
		}
		res, err := client.client.AlterConfigs(t.Context(), &kafka.AlterConfigsRequest{Resources: []kafka.AlterConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: "shop-feed", Configs: []kafka.AlterConfigRequestConfig{{Name: "max.message.bytes", Value: strconv.Itoa(bytes)}},
		}}})
		if err != nil || errors.Join(values(res.Errors)...) != nil {
			t.Fatal(err, res.Errors)
		}
	}
	var want []spoor.FeedRecord
	for round, bytes := range []int{20_000, 8_000} {
		limit(bytes)
		all := entries(100*round+1, 100*round+60, 1000)
		all[30] = entries(100*round+31, 100*round+31, 100_000)[0]
		n, err := f.Write(t.Context(), "shop-feed", all)
		if n != 30 || !errors.Is(err, spoor.ErrFeedRecord) {
			t.Fatalf("below %d bytes %d were written: %v", bytes, n, err)
		}
		if n, err := f.Write(t.Context(), "shop-feed", all[30:]); n != 0 || !errors.Is(err, spoor.ErrFeedRecord) {
			t.Errorf("from the large one on %d were written: %v", n, err)
		}
		if n, err := f.Write(t.Context(), "shop-feed", all[31:]); n != 29 || err != nil {
			t.Errorf("behind it %d were written: %v", n, err)
		}
		want = append(append(want, all[:30]...), all[31:]...)
	}
	if got, _ := readFeedTopic(t, c, "shop-feed"); strings.Join(got, "\n") != strings.Join(linesOf(want), "\n") {
		t.Errorf("%d records came, want %d", len(got), len(want))
	}
}

func values[K comparable, V any](m map[K]V) (list []V) {
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

// Goal: no feed goes into a topic of hits or of what belongs to them, nor into one
// that forgets entries; the error says which and what to do, and who knows too
// little asks for more.
// Method: topics of the process itself, of another cluster of spoor on the same
// brokers, and a compacted one.
func TestFeedsRefuseTopics(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	other := c.options(t)
	openTopic(t, other)
	client := newSegmentio(c.addresses, []string{"compacted"}, nil, nil)
	defer client.close()
	if err := client.create(t.Context(), "compacted", &layout{partitions: 1, replicas: 1, settings: map[string]string{"cleanup.policy": "compact"}}); err != nil {
		t.Fatal(err)
	}
	f := openFeeds(t, o)
	for topic, want := range map[string]string{
		o.Topic: "spoor's own", o.Topic + ".apps": "spoor's own", o.Topic + ".anything": "spoor's own",
		other.Topic: "holds hits", other.Topic + ".apps": "cleanup.policy=delete", "compacted": "cleanup.policy=delete",
	} {
		n, err := f.Write(t.Context(), topic, entries(1, 1, 10))
		if n != 0 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d written, %v, want %q", topic, n, err, want)
		}
		if known := f.Check(topic) != nil; known != (want == "spoor's own") {
			t.Errorf("%s: refused without asking the brokers: %v", topic, known)
		}
	}
	if n, err := f.Write(t.Context(), o.Topic+"-feed", entries(1, 1, 10)); n != 1 || err != nil {
		t.Errorf("positive control: %d, %v", n, err)
	}
	if _, err := NewFeeds(Options{Brokers: []string{"b1"}, Mechanism: "PLAIN", Prefix: "feed-"}); err == nil || !strings.Contains(err.Error(), "host:9092") {
		t.Errorf("options without a port: %v", err)
	}
	_, err := NewFeeds(Options{Brokers: []string{"b1:9092"}, Mechanism: "PLAIN", Prefix: "feed-"})
	if err == nil || !strings.Contains(err.Error(), "SPOOR_FEED_KAFKA_PASSWORD") {
		t.Errorf("options without a user: %v", err)
	}
}

// Goal: what is said to be written is in the topic after brokers that went and
// came back, in order; while they are away an error says so in a few seconds, and
// a topic that was deleted is made again.
// Method: acknowledgements are cut off, brokers are restarted between and during
// writes, then the topic is deleted.
func TestFeedsOverBrokersThatFail(t *testing.T) {
	var cuts, done atomic.Int64
	c := fakeCluster(t, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return cutter{l, &cuts, &done}, err
	}))
	o := c.options(t)
	o.wait = time.Second
	f := openFeeds(t, o)
	var want []spoor.FeedRecord
	write := func(list []spoor.FeedRecord) {
		t.Helper()
		poll(t, "the brokers to take records", func() bool {
			n, err := f.Write(t.Context(), "shop-feed", list)
			list = list[n:]
			return err == nil
		})
	}
	for round := range 3 {
		next := entries(10*round+1, 10*round+10, 100)
		want = append(want, next...)
		cuts.Store(1)
		write(next[:5])
		c.fake.Close()
		if round == 0 {
			began := time.Now()
			if n, err := f.Write(t.Context(), "shop-feed", next[5:]); n != 0 || err == nil || time.Since(began) > 5*time.Second {
				t.Errorf("without brokers %d were written after %s: %v", n, time.Since(began), err)
			}
		}
		up := make(chan struct{})
		time.AfterFunc(100*time.Millisecond, func() { c.start(t); close(up) })
		write(next[5:])
		<-up
	}
	var seen []string
	known := map[string]bool{}
	got, _ := readFeedTopic(t, c, "shop-feed")
	for _, line := range got {
		if !known[line] {
			seen = append(seen, line)
		}
		known[line] = true
	}
	if strings.Join(seen, "\n") != strings.Join(linesOf(want), "\n") {
		t.Errorf("%d different records came in %d, want %d in order", len(seen), len(got), len(want))
	}
	if len(got) == len(seen) || done.Load() == 0 {
		t.Error("no acknowledgement was lost: this shows too little")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := f.Write(ctx, "shop-feed", want[:1]); n != 0 || err == nil {
		t.Errorf("without time %d were written, %v", n, err)
	}
	client := newSegmentio(c.addresses, []string{"shop-feed"}, nil, nil)
	defer client.close()
	if _, err := client.client.DeleteTopics(t.Context(), &kafka.DeleteTopicsRequest{Topics: []string{"shop-feed"}}); err != nil {
		t.Fatal(err)
	}
	write(want[:2])
	if got, _ := readFeedTopic(t, c, "shop-feed"); len(got) < 2 || got[0] != linesOf(want)[0] {
		t.Errorf("the new topic has %d", len(got))
	}
}
