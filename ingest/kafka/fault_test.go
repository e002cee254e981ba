package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cutter closes connections in the place of an answer to a produce request:
// the record is in the log, and nobody hears of it.
type cutter struct {
	net.Listener
	cuts, done *atomic.Int64
}

func (c cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return &cutConn{Conn: conn, cutter: c}, err
}

type cutConn struct {
	net.Conn
	cutter
	mu      sync.Mutex
	sized   bool // the length of a request was read, its head comes next
	produce bool // what is asked is a produce request
}

func (c *cutConn) Accept() (net.Conn, error) { panic("a connection accepts nothing") }
func (c *cutConn) Addr() net.Addr            { return c.LocalAddr() }
func (c *cutConn) Close() error              { return c.Conn.Close() }

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n == 4 && !c.sized:
		c.sized = true
	case n >= 2 && c.sized:
		c.sized, c.produce = false, p[0] == 0 && p[1] == byte(kmsg.Produce)
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	produce := c.produce
	c.mu.Unlock()
	if produce && c.cuts.Add(-1) >= 0 {
		c.done.Add(1)
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// Goal: an acknowledgement that is lost on the way loses no hit, and what is in
// the log twice can be told to be the same.
// Method: brokers append and cut the connection, or append and answer that too
// few replicas have it, or that time is over, again and again under load. All
// hits must come, some more than once, under the same ids; hits without an id
// under the same digest.
func TestAcknowledgementLost(t *testing.T) {
	var cuts, done atomic.Int64
	c := fakeCluster(t, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return cutter{l, &cuts, &done}, err
	}))
	topic := openTopic(t, c.options(t))
	s := openSink(t, topic)
	fault := c.fake.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic.opts.Topic, Err: kerr.NotEnoughReplicasAfterAppend, Count: 4},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic.opts.Topic, Err: kerr.RequestTimedOut, Count: 4})
	l := newLedger()
	l.load(t, s, 8, func(sent int) bool {
		if sent%10 == 5 {
			cuts.Store(1)
		}
		return sent >= 60
	}).Wait()
	r := newReader(topic, l)
	r.drain(t)
	if doubled := l.check(t); doubled == 0 || done.Load() < 3 || fault.Hits() != 8 {
		t.Errorf("%d hits came more than once after %d cut connections and %d wrong answers; this test shows nothing", doubled, done.Load(), fault.Hits())
	}
	if s.Figures().Retries == 0 {
		t.Error("nothing was sent again")
	}

	cuts.Store(1)
	before := done.Load()
	hits := []spoor.Hit{{App: 1, Name: "nameless"}}
	if err := s.Write(hits); err != nil {
		t.Fatal(err)
	}
	n := len(r.hits)
	r.drainPartition(t, topic.PartitionOf(1))
	came := r.hits[n:]
	if done.Load() != before+1 || len(came) != 2 || came[0].Digest != came[1].Digest || came[0].Digest == [16]byte{} {
		t.Errorf("a hit without an id came as %+v", came)
	}
}

// Goal: brokers that go and come back, and partitions that change their
// leader, lose nothing that was acknowledged.
// Method: writers under way, which send again what is refused as busy, and a
// reader of all partitions beside them that keeps its offsets, while brokers
// restart from their directory, leaders move, and produce requests go to those
// who lead no more. In the end all is counted.
func TestBrokersUnderLoad(t *testing.T) {
	hurt := map[string]func(t *testing.T, c *cluster, topic string){
		"restart": func(t *testing.T, c *cluster, topic string) {
			c.fake.Close()
			c.start(t)
		},
		"leader": func(t *testing.T, c *cluster, topic string) {
			for p := range int32(4) {
				if err := c.fake.MoveTopicPartition(topic, p, (c.fake.LeaderFor(topic, p)+1)%3); err != nil {
					t.Error(err)
				}
			}
		},
	}
	for name, hurt := range hurt {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t)
			topic := openTopic(t, c.options(t))
			s := openSink(t, topic)
			l := newLedger()
			done := make(chan struct{})
			writers := l.load(t, s, 6, until(done))
			r := newReader(topic, l)
			reading, stop := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			var mu sync.Mutex
			for p := range r.next {
				readers.Go(func() {
					err := topic.Consume(reading, p, -1, func(b *Batch) error {
						mu.Lock()
						defer mu.Unlock()
						if r.next[p] >= b.Next {
							t.Errorf("partition %d stands at %d and got a batch up to %d", p, r.next[p], b.Next)
						}
						r.keep(b)
						return nil
					})
					if !errors.Is(err, context.Canceled) {
						t.Errorf("partition %d: %v", p, err)
					}
				})
			}
			for range 3 {
				was := s.Figures().Hits
				poll(t, "hits are acknowledged again", func() bool { return s.Figures().Hits > was+100 })
				hurt(t, c, topic.opts.Topic)
			}
			was := s.Figures().Hits
			poll(t, "hits are acknowledged in the end", func() bool { return s.Figures().Hits > was+100 })
			close(done)
			writers.Wait()
			poll(t, "all hits are read", func() bool {
				mu.Lock()
				defer mu.Unlock()
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.came) >= len(l.sent)
			})
			stop()
			readers.Wait()
			r.drain(t)
			l.check(t)
		})
	}
}

// Goal: brokers that are slow are waited for; slower than a write may wait,
// they cost a refusal and no hit.
// Method: brokers that sleep before they answer, first less than the bound, then
// more.
func TestBrokersSlow(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.wait = time.Second
	topic := openTopic(t, o)
	s := openSink(t, topic)
	var delay atomic.Int64
	c.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		c.fake.SleepControl(func() { time.Sleep(time.Duration(delay.Load())) })
		return nil, nil, false
	})
	delay.Store(int64(150 * time.Millisecond))
	l := newLedger()
	l.load(t, s, 3, upTo(3)).Wait()
	if f := s.Figures(); f.Busy != 0 {
		t.Errorf("brokers within the bound were given up: %+v", f)
	}
	delay.Store(int64(2500 * time.Millisecond))
	start := time.Now()
	if err := s.Write([]spoor.Hit{{App: 1, ID: "slow"}}); !errors.Is(err, spoor.ErrBusy) || time.Since(start) > 2*time.Second {
		t.Errorf("after %v a write to slow brokers gave %v", time.Since(start), err)
	}
	delay.Store(0)
	for errors.Is(s.Write([]spoor.Hit{{App: 1, ID: "slow"}}), spoor.ErrBusy) {
		time.Sleep(5 * time.Millisecond)
	}
	l.sent["slow"] = true
	r := newReader(topic, l)
	r.drain(t)
	l.check(t)
}

// Goal: without brokers a write ends soon and memory is bounded; once they are
// back all goes on.
// Method: brokers are taken away. Writes return ErrBusy within their bound, one
// at a time finds out and the others return at once; what has no room below
// BytesMax returns at once too. The brokers come back from their directory, and the ledger is even.
func TestBrokersAway(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.wait, o.BytesMax, o.RecordBytesMax = 400*time.Millisecond, 1<<20, 128<<10
	topic := openTopic(t, o)
	s := openSink(t, topic)
	l := newLedger()
	l.load(t, s, 4, upTo(5)).Wait()
	c.fake.Close()

	start := time.Now()
	if err := s.Write([]spoor.Hit{{App: 1, ID: "first"}}); !errors.Is(err, spoor.ErrBusy) || time.Since(start) > 2*time.Second {
		t.Errorf("after %v a write without brokers gave %v", time.Since(start), err)
	}
	var probing, many sync.WaitGroup
	probing.Go(func() {
		if err := s.Write([]spoor.Hit{{App: 1, ID: "probe"}}); !errors.Is(err, spoor.ErrBusy) {
			t.Errorf("a probe gave %v", err)
		}
	})
	poll(t, "the probe waits", func() bool { return s.Figures().Waiting > 0 })
	start = time.Now()
	if err := s.Write([]spoor.Hit{{App: 1, ID: "second"}}); !errors.Is(err, spoor.ErrBusy) || time.Since(start) > 200*time.Millisecond {
		t.Errorf("a write beside a probe gave %v after %v", err, time.Since(start))
	}
	probing.Wait()

	// Another partition, that has not failed yet: 80 writes of 20 KiB, of which
	// 1 MiB may wait, in several batches.
	var atOnce, late atomic.Int64
	for range 80 {
		many.Go(func() {
			start := time.Now()
			if err := s.Write([]spoor.Hit{{App: 3, ID: "large", Title: strings.Repeat("x", 20<<10)}}); !errors.Is(err, spoor.ErrBusy) {
				t.Errorf("one of many gave %v", err)
			}
			switch took := time.Since(start); {
			case took < o.wait/2:
				atOnce.Add(1)
			case took > 3*o.wait:
				late.Add(1)
			}
		})
	}
	many.Wait()
	if n := atOnce.Load(); n < 20 || n > 40 {
		t.Errorf("%d of 80 writes were refused at once; 28 have no room", n)
	}
	if n := late.Load(); n > 0 {
		t.Errorf("%d writes were held for more than three times their bound", n)
	}
	if f := s.Figures(); f.Waiting != 0 || f.Busy != 83 {
		t.Errorf("%d bytes wait when nobody does, and %d writes were refused of 83", f.Waiting, f.Busy)
	}

	c.start(t)
	back := []spoor.Hit{{App: 1, ID: "first"}, {App: 1, ID: "probe"}, {App: 3, ID: "large"}}
	poll(t, "brokers are back", func() bool { return s.Write(back) == nil })
	for _, h := range back {
		l.sent[h.ID] = true
	}
	r := newReader(topic, l)
	r.drain(t)
	l.check(t)
}

// Goal: what is written while a topic is deleted is not acknowledged, and who
// writes and reads is told what happened.
// Method: a topic is deleted under a sink and a reader; both return an error
// that names it, and another topic goes on.
func TestTopicDeleted(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.wait, o.gone = 500*time.Millisecond, 500*time.Millisecond
	topic := openTopic(t, o)
	s := openSink(t, topic)
	if err := s.Write([]spoor.Hit{{App: 1, ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	got := make(chan struct{}, 1)
	go func() {
		read <- topic.Consume(t.Context(), 0, -1, func(*Batch) error { got <- struct{}{}; return nil })
	}()
	<-got
	if err := c.fake.DeleteTopic(o.Topic); err != nil {
		t.Fatal(err)
	}
	err := s.Write([]spoor.Hit{{App: 1, ID: "b"}})
	if err == nil || errors.Is(err, spoor.ErrBusy) {
		t.Errorf("writing into a deleted topic gave %v", err)
	}
	oneLine(t, err, o.Topic, "deleted", "--topic")
	select {
	case err := <-read:
		oneLine(t, err, o.Topic, "deleted", "--topic")
	case <-time.After(15 * time.Second):
		t.Error("the reader of a deleted topic says nothing")
	}
	_, _, err = topic.End(t.Context(), 0)
	oneLine(t, err, o.Topic, "deleted")
}

func oneLine(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %v", err)
	}
}

// Goal: a record that holds no hits neither stops its partition nor vanishes.
// Method: foreign bytes, a tombstone and a cut record between good ones, put
// there by the client itself; the reader gets the hits around them, and each of
// them with its offset and bytes.
func TestPoisoned(t *testing.T) {
	c := anyCluster(t)
	topic := openTopic(t, c.options(t))
	good := func(id string) record {
		return record{[]byte("1"), recordOf(spoor.Hit{App: 1, ID: id})}
	}
	cut := good("cut")
	cut.value = cut.value[:len(cut.value)-2]
	records := []record{good("a"), {nil, []byte("hello")}, {[]byte("1"), nil}, good("b"), cut, {[]byte("1"), []byte{}}, good("c")}
	if _, err := topic.brokers.produce(t.Context(), topic.opts.Topic, 0, records); err != nil {
		t.Fatal(err)
	}
	r := newReader(topic, newLedger())
	r.drainPartition(t, 0)
	if len(r.hits) != 3 || r.hits[0].ID != "a" || r.hits[1].ID != "b" || r.hits[2].ID != "c" || r.next[0] != int64(len(records)) {
		t.Errorf("up to %d came %+v", r.next[0], r.hits)
	}
	want := []int64{1, 2, 4, 5}
	for i, b := range r.bad {
		if i >= len(want) || b.Offset != want[i] || string(b.Value) != string(records[b.Offset].value) || b.Why == nil {
			t.Errorf("poisoned record %d is %+v", i, b)
		}
	}
	if len(r.bad) != len(want) {
		t.Errorf("%d records are poisoned, want those at %v", len(r.bad), want)
	}
}

// Goal: a hit that no record can hold is refused with its reason, and takes
// nothing with it; what fits comes through, also where nothing can be
// compressed.
// Method: a Write with hits of random bytes just below and above the limit,
// among small ones; then a topic that takes less than it did when it was opened.
func TestTooLarge(t *testing.T) {
	c := anyCluster(t)
	o := c.options(t)
	topic := openTopic(t, o)
	s := openSink(t, topic)
	random := make([]byte, topic.opts.RecordBytesMax)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	sized := func(id string, n int) spoor.Hit {
		return spoor.Hit{App: 1, Received: 1, Time: 1, ID: id, Properties: random[:n]}
	}
	empty := len(appendHit(nil, &spoor.Hit{Received: 1, Time: 1, ID: "xxx"})) + recordHead
	most := len(random) - empty - 8 // tag and length of properties, a longer length of the hit
	hits := []spoor.Hit{sized("sm1", 5), sized("max", most), sized("sm2", 6), sized("ovr", most+9), sized("sm3", 7),
		{App: 1, ID: "att", Attributes: make([]spoor.Attribute, attributesMax+1)}, sized("ov2", len(random))}
	if err := s.Write(hits); err != nil {
		t.Fatal(err)
	}
	for _, h := range hits {
		refused := h.ID == "ovr" || h.ID == "att" || h.ID == "ov2"
		if refused != (h.Outcome == spoor.Refused) || refused != (h.Reason == spoor.ReasonTooLarge) || !refused && h.Outcome != spoor.Accepted {
			t.Errorf("hit %s is %v (%s)", h.ID, h.Outcome, h.Reason)
		}
	}
	r := newReader(topic, newLedger())
	r.drainPartition(t, 0)
	if len(r.hits) != 4 || len(r.bad) != 0 || len(r.hits[1].Properties) != most {
		t.Errorf("%d hits came, %d poisoned", len(r.hits), len(r.bad))
	}
	if f := s.Figures(); f.Refused != 3 {
		t.Errorf("%d hits are counted as refused", f.Refused)
	}
}

// Goal: a topic that takes less than its settings said refuses the large hits
// alone, by their reason.
// Method: brokers that answer one batch, then its largest record, as too large.
func TestTooLargeForBrokers(t *testing.T) {
	c := fakeCluster(t)
	topic := openTopic(t, c.options(t))
	s := openSink(t, topic)
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic.opts.Topic, Err: kerr.MessageTooLarge, Count: -1, When: func(r kmsg.Request) bool {
		return len(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records) > 20_000
	}})
	large := make([]byte, 30_000)
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	hits := []spoor.Hit{{App: 1, ID: "a"}, {App: 5, ID: "large", Properties: large}, {App: 1, ID: "b"}}
	if err := s.Write(hits); err != nil {
		t.Fatal(err)
	}
	if hits[0].Outcome != spoor.Accepted || hits[2].Outcome != spoor.Accepted || hits[1].Reason != spoor.ReasonTooLarge {
		t.Errorf("the hits became %v, %v (%s), %v", hits[0].Outcome, hits[1].Outcome, hits[1].Reason, hits[2].Outcome)
	}
	r := newReader(topic, newLedger())
	r.drainPartition(t, 0)
	if len(r.hits) != 2 {
		t.Errorf("%d hits came", len(r.hits))
	}
}

// Goal: no offset is given twice and none is passed over, wherever a reader
// begins; what the topic has dropped is counted; an offset behind the end is an
// error and no silence.
// Method: batches of several records; a reader begins at every offset, so also
// amid batches. Then records are deleted by the brokers, and a reader begins
// before and behind what is left.
func TestOffsets(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.gone = 300 * time.Millisecond
	topic := openTopic(t, o)
	const records = 12
	for i := 0; i < records; i += 4 {
		var batch []record
		for j := range 4 {
			batch = append(batch, record{[]byte("1"), recordOf(spoor.Hit{App: 1, Received: int64(i + j)})})
		}
		if _, err := topic.brokers.produce(t.Context(), o.Topic, 0, batch); err != nil {
			t.Fatal(err)
		}
	}
	from := func(offset int64) *reader {
		r := newReader(topic, newLedger())
		r.next[0] = offset
		r.drainPartition(t, 0)
		return r
	}
	for at := range int64(records) {
		r := from(at)
		if len(r.hits) != int(records-at) || r.hits[0].Received != at || r.lost != 0 {
			t.Errorf("from %d on came %d hits", at, len(r.hits))
		}
	}
	if err := c.fake.DeleteRecords(o.Topic, 0, 8); err != nil {
		t.Fatal(err)
	}
	if r := from(3); len(r.hits) != 4 || r.lost != 5 || r.next[0] != records {
		t.Errorf("from 3 on came %d hits, %d are missing, up to %d", len(r.hits), r.lost, r.next[0])
	}
	if r := from(-1); len(r.hits) != 4 || r.lost != 0 {
		t.Errorf("from the oldest on came %d hits, %d are missing", len(r.hits), r.lost)
	}
	first, next, err := topic.End(t.Context(), 0)
	if first != 8 || next != records || err != nil {
		t.Errorf("the partition has %d to %d (%v)", first, next, err)
	}
	never := func(*Batch) error { t.Error("a batch came"); return nil }
	oneLine(t, topic.Consume(t.Context(), 0, records+5, never), "ends at offset 12", "17")
	oneLine(t, topic.Consume(t.Context(), 9, 0, never), "no partition 9")
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if err := topic.Consume(ctx, 0, records, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reader at the end returned %v", err)
	}
}
