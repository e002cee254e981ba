package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"reflect"
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

const bodyMax = 1000

// Goal: a command comes back as it was, with every field that it has, and at the
// edges.
// Method: reflection fills every field, as for hits; then extreme times, numbers
// and kinds, no body and the largest one.
func TestCommandRecord(t *testing.T) {
	var filled spoor.Command
	n := 0
	fill(t, reflect.ValueOf(&filled).Elem(), "Command", &n)
	all := []spoor.Command{
		filled,
		{App: 1, Kind: 1},
		{App: 1<<32 - 1, Kind: 255, At: -1 << 63, Seed: [32]byte{31: 1}},
		{App: 1, Kind: spoor.CommandRequest, At: 1<<63 - 1, ID: [16]byte{15: 1}, Body: bytes.Repeat([]byte{0xff}, bodyMax)},
	}
	for _, c := range all {
		value := appendCommand(nil, &c, testKey)
		if len(value) > commandHead+len(c.Body) {
			t.Errorf("a command takes %d bytes beside its body, and %d are reckoned with", len(value)-len(c.Body), commandHead)
		}
		got, err := readCommand(value, bodyMax, testKey)
		if err != nil || !reflect.DeepEqual(*got, c) {
			t.Errorf("%+v went in, %+v came back (%v)", c, got, err)
		}
		clear(value)
		if !reflect.DeepEqual(*got, c) {
			t.Errorf("the command shares memory with its record: %+v", got)
		}
	}
}

// Goal: a record that is no whole command is an error; fields to come are not.
// Method: each way to be wrong, signed nevertheless; signatures that are none; and
// tags that nobody uses.
func TestCommandPoisoned(t *testing.T) {
	c := spoor.Command{App: 7, ID: [16]byte{1}, At: 5, Seed: [32]byte{2}, Kind: spoor.CommandRequest, Body: []byte("{}")}
	good := appendUnsigned(nil, &c)
	with := func(fields ...[]byte) []byte { return bytes.Join(append([][]byte{good}, fields...), nil) }
	without := func(change func(*spoor.Command)) []byte {
		c := c
		change(&c)
		return appendUnsigned(nil, &c)
	}
	head := []byte{commandVersion}
	for name, value := range map[string][]byte{
		"nothing behind the version": head,
		"cut":                        good[:len(good)-1],
		"more behind it":             with([]byte{0xff}),
		"no app":                     without(func(c *spoor.Command) { c.App = 0 }),
		"no kind":                    without(func(c *spoor.Command) { c.Kind = 0 }),
		"no id":                      putBytes(putUint(putUint(head[:1:1], commandApp, 1), commandKind, 1), commandSeed, c.Seed[:]),
		"no seed":                    putBytes(putUint(putUint(head[:1:1], commandApp, 1), commandKind, 1), commandID, c.ID[:]),
		"a short id":                 with(putBytes(nil, commandID, c.ID[:15])),
		"a long seed":                with(putBytes(nil, commandSeed, make([]byte, 33))),
		"a large app":                with(putUint(nil, commandApp, 1<<32)),
		"a large kind":               with(putUint(nil, commandKind, 256)),
		"a large body":               with(putBytes(nil, commandBody, make([]byte, bodyMax+1))),
		"a text for a number":        with(putString(nil, commandAt, "now")),
		"a number for a text":        with(putUint(nil, commandBody, 1)),
		"text":                       []byte("\x02{\"app\": 1}"),
	} {
		value = signCommand(bytes.Clone(value), testKey)
		if got, err := readCommand(value, bodyMax, testKey); err == nil || got != nil || errors.Is(err, errForged) {
			t.Errorf("%s: got %+v and %v", name, got, err)
		}
		if hits, err := readRecord(value, nil); err == nil {
			t.Errorf("%s: it was read as %d hits", name, len(hits))
		}
	}
	signed := signCommand(bytes.Clone(good), testKey)
	changed := bytes.Clone(signed)
	changed[3]++
	for name, value := range map[string][]byte{
		"no signature":              good,
		"the key of others":         signCommand(bytes.Clone(good), []byte("another")),
		"no key":                    signCommand(bytes.Clone(good), nil),
		"a field that was changed":  changed,
		"a field behind":            append(bytes.Clone(signed), putUint(nil, 15, 7)...),
		"a signature that is cut":   signed[:len(signed)-1],
		"nothing but the signature": signCommand(nil, testKey),
	} {
		if got, err := readCommand(value, bodyMax, testKey); !errors.Is(err, errForged) || got != nil {
			t.Errorf("%s: got %+v and %v", name, got, err)
		}
	}
	if _, err := readCommand(signCommand(bytes.Clone(good), nil), bodyMax, nil); !errors.Is(err, errForged) {
		t.Errorf("who has no key takes a command: %v", err)
	}
	later := signCommand(with(putUint(nil, 15, 7), putString(nil, 900, "later"), []byte{0xd5, 0x3e, 1, 2, 3, 4}), testKey)
	if got, err := readCommand(later, bodyMax, testKey); err != nil || !reflect.DeepEqual(*got, c) {
		t.Errorf("with fields to come: %+v (%v)", got, err)
	}
}

// Goal: whatever bytes stand behind the version of a command, reading them
// neither panics nor takes memory out of proportion, and what is read is written
// and read again the same.
// Method: fuzzing, from real commands and broken ones.
func FuzzCommand(f *testing.F) {
	f.Add(appendUnsigned(nil, &spoor.Command{App: 7, ID: [16]byte{1}, At: 5, Seed: [32]byte{2}, Kind: spoor.CommandRequest, Body: []byte("{}")}))
	f.Add(appendUnsigned(nil, &spoor.Command{App: 1<<32 - 1, At: -1, Kind: 200}))
	f.Add([]byte{commandVersion, 0x32, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) == 0 || value[0] != commandVersion {
			return
		}
		if _, err := readCommand(value, bodyMax, testKey); err == nil {
			t.Fatalf("the signature of %x was guessed", value)
		}
		c, err := readCommand(signCommand(bytes.Clone(value), testKey), bodyMax, testKey)
		if err != nil {
			if c != nil {
				t.Fatalf("a command beside the error %v", err)
			}
			return
		}
		if len(c.Body) > bodyMax || c.App == 0 || c.Kind == 0 {
			t.Fatalf("%+v was read", c)
		}
		if again, err := readCommand(appendCommand(nil, c, testKey), bodyMax, testKey); err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v was written and read as %+v (%v)", c, again, err)
		}
	})
}

// testKey signs the commands of these tests.
var testKey = []byte("a key that store nodes have")

func aCommand(app spoor.AppID, body string) *spoor.Command {
	c := &spoor.Command{App: app, At: 1_764_000_000_000, Kind: spoor.CommandRequest, Body: []byte(body)}
	rand.Read(c.ID[:])
	rand.Read(c.Seed[:])
	return c
}

func submit(t *testing.T, topic *Topic, c *spoor.Command) int64 {
	t.Helper()
	offset, err := topic.Submit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

// Goal: a command takes its place between the hits of its app, alone in its
// batch, under the offset that Submit returned; what is none, or of an app that
// another partition has, is poisoned and stops nobody.
// Method: hits, commands and broken records of one partition in turn, two of a
// kind beside each other too; read in one go, and from each command on. What came
// is written down as a line and compared.
func TestSubmitInOrder(t *testing.T) {
	c := anyCluster(t)
	topic := openTopic(t, c.options(t))
	s := openSink(t, topic)
	write := func(id string) {
		t.Helper()
		if err := s.Write([]spoor.Hit{{App: 1, ID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	put := func(value []byte) {
		t.Helper()
		if _, err := topic.brokers.produce(t.Context(), topic.opts.Topic, 0, []record{{[]byte("1"), value}}); err != nil {
			t.Fatal(err)
		}
	}
	commands := map[int64]*spoor.Command{}
	send := func(app spoor.AppID, body string) {
		t.Helper()
		command := aCommand(app, body)
		commands[submit(t, topic, command)] = command
	}
	send(1, "A")
	write("b")
	write("c")
	send(1, "D")
	send(5, "E")
	write("f")
	put(appendCommand(nil, aCommand(2, "of partition 1"), testKey))
	put([]byte{commandVersion})
	write("g")
	send(1, "H")
	const want = "A b c D E f ! ! g H"

	read := func(from int64) (came []string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		next := from
		err := topic.Consume(ctx, 0, from, func(b *Batch) error {
			if b.Command != nil {
				if len(b.Hits)+len(b.Poisoned)+int(b.Missing) > 0 || b.Next != next+1 || !reflect.DeepEqual(b.Command, commands[b.Next-1]) {
					t.Errorf("behind %d came command %+v in %+v", next, b.Command, b)
				}
				came = append(came, string(b.Command.Body))
			}
			records := make([]string, b.Next-next)
			for _, bad := range b.Poisoned {
				records[bad.Offset-next] = "!"
			}
			hits := b.Hits
			for i := range records {
				if records[i] == "" && len(hits) > 0 {
					records[i], hits = hits[0].ID, hits[1:]
				}
				if records[i] != "" {
					came = append(came, records[i])
				}
			}
			if next = b.Next; next == 10 {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
		return came
	}
	for from := range commands {
		if got := strings.Join(read(from), " "); got != want[2*from:] {
			t.Errorf("from %d on came %q, want %q", from, got, want[2*from:])
		}
	}
	if len(commands) != 4 {
		t.Errorf("4 commands stand at %d offsets", len(commands))
	}
}

// Goal: records that the topic dropped behind a command are not counted into its
// batch, whose Next would pass over them unseen.
// Method: a callee holds the batch of a command back until the records behind it
// are deleted; the next batch must count them.
func TestMissingBehindCommand(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	topic := openTopic(t, o)
	for i := range 3 {
		submit(t, topic, aCommand(1, fmt.Sprint(i)))
	}
	var came []string
	err := topic.Consume(t.Context(), 0, 0, func(b *Batch) error {
		if b.Command == nil {
			came = append(came, fmt.Sprintf("%d missing", b.Missing))
			return nil
		}
		came = append(came, string(b.Command.Body))
		switch b.Next {
		case 1: // the others of this fetch are underway; what is fetched next is not there any more
			for i := range 3 {
				submit(t, topic, aCommand(1, fmt.Sprint(3+i)))
			}
			return c.fake.DeleteRecords(o.Topic, 0, 5)
		case 6:
			return errEnough
		}
		return nil
	})
	if got := strings.Join(came, ", "); got != "0, 1, 2, 2 missing, 5" || !errors.Is(err, errEnough) {
		t.Errorf("came %s (%v)", got, err)
	}
}

// Goal: a command that no record can hold is refused with the limit, also by
// brokers that take less than before; one of the largest size comes through.
// Method: random bytes at the limit and one more; brokers that refuse.
func TestSubmitTooLarge(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	topic := openTopic(t, o)
	body := make([]byte, topic.CommandBytesMax()+1)
	rand.Read(body)
	_, err := topic.Submit(t.Context(), aCommand(1<<32-1, string(body)))
	oneLine(t, err, fmt.Sprint(len(body)), fmt.Sprint(topic.CommandBytesMax()))
	if !errors.Is(err, ErrTooLarge) || errors.Is(err, spoor.ErrBusy) {
		t.Errorf("a large command gave %v", err)
	}
	largest := aCommand(1<<32-1, string(body[1:]))
	largest.At, largest.Kind = -1<<63, 255
	submit(t, topic, largest)
	came := collect(t, topic, topic.PartitionOf(largest.App))
	if len(came) != 1 || !reflect.DeepEqual(came[0].Command, largest) {
		t.Error("the largest command did not come through")
	}
	c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: o.Topic, Err: kerr.MessageTooLarge, Count: 1})
	_, err = topic.Submit(t.Context(), aCommand(1, "{}"))
	oneLine(t, err, o.Topic, "max.message.bytes")
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("a command that the brokers find too large gave %v", err)
	}
	for _, c := range []*spoor.Command{{Kind: 1}, {App: 1}} {
		_, err = topic.Submit(t.Context(), c)
		oneLine(t, err, "must be set")
	}
}

// collect reads the commands of a partition from its beginning to its end.
func collect(t *testing.T, topic *Topic, partition int) (all []*Batch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, end, err := topic.End(ctx, partition)
	if err != nil || end == 0 {
		if err != nil {
			t.Fatal(err)
		}
		return nil
	}
	err = topic.Consume(ctx, partition, 0, func(b *Batch) error {
		all = append(all, b)
		if b.Next >= end {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	return all
}

// Goal: a command that Submit said is in the log is there, under its offset,
// once or more often with the same bytes, whatever happens to the brokers.
// Method: several submit under load of hits, while acknowledgements are cut off
// behind the append, brokers answer too late, restart from their directory, and
// leaders move. What is refused as busy is sent again. In the end all partitions
// are read, and compared with what was acknowledged.
func TestSubmitUnderTrouble(t *testing.T) {
	var cuts, done atomic.Int64
	c := fakeCluster(t, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return cutter{l, &cuts, &done}, err
	}))
	topic := openTopic(t, c.options(t))
	s := openSink(t, topic)
	ended := make(chan struct{})
	l := newLedger()
	load := l.load(t, s, 2, until(ended))

	type place struct {
		command *spoor.Command
		offset  int64
	}
	var mu sync.Mutex
	sent, acknowledged := map[[16]byte]place{}, 0
	var submitters sync.WaitGroup
	for n := range 4 {
		submitters.Go(func() {
			for i := 0; !until(ended)(i); i++ {
				command := aCommand(spoor.AppID(1+(n+i)%ledgerApps), fmt.Sprintf("%d-%d", n, i))
				offset, err := topic.Submit(t.Context(), command)
				for ; errors.Is(err, spoor.ErrBusy); offset, err = topic.Submit(t.Context(), command) {
					time.Sleep(5 * time.Millisecond)
				}
				if err != nil {
					t.Errorf("Submit: %v", err)
					return
				}
				mu.Lock()
				sent[command.ID] = place{command, offset}
				acknowledged++
				mu.Unlock()
			}
		})
	}
	more := func(what string) {
		t.Helper()
		mu.Lock()
		was := acknowledged
		mu.Unlock()
		poll(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return acknowledged > was+30
		})
	}
	more("commands are acknowledged")
	for range 4 {
		cuts.Store(2)
		more("commands are acknowledged after a cut")
	}
	fault := c.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic.opts.Topic, Err: kerr.RequestTimedOut, Count: 4})
	more("commands are acknowledged after late answers")
	c.fake.Close()
	c.start(t)
	more("commands are acknowledged after a restart")
	for p := range int32(4) {
		if err := c.fake.MoveTopicPartition(topic.opts.Topic, p, (c.fake.LeaderFor(topic.opts.Topic, p)+1)%3); err != nil {
			t.Error(err)
		}
	}
	more("commands are acknowledged by new leaders")
	close(ended)
	submitters.Wait()
	load.Wait()

	came := map[[16]byte]int{}
	for p := range topic.Partitions() {
		for _, b := range collect(t, topic, p) {
			if len(b.Poisoned) > 0 {
				t.Errorf("partition %d has %d poisoned records", p, len(b.Poisoned))
			}
			for i := range b.Hits {
				l.came[b.Hits[i].ID]++
			}
			if b.Command == nil {
				continue
			}
			was, known := sent[b.Command.ID]
			if !known || !reflect.DeepEqual(was.command, b.Command) {
				t.Errorf("command %x came and was not sent so", b.Command.ID)
			}
			came[b.Command.ID]++
			if was.offset == b.Next-1 {
				delete(sent, b.Command.ID)
				sent[b.Command.ID] = place{was.command, -1} // found where it was said to be
			}
		}
	}
	doubled := 0
	for id, was := range sent {
		if came[id] == 0 || was.offset != -1 {
			t.Errorf("command %x is not at offset %d where Submit said; it came %d times", id, was.offset, came[id])
		}
		if came[id] > 1 {
			doubled++
		}
	}
	l.check(t)
	t.Logf("%d commands acknowledged, %d of them are in the log more than once", len(sent), doubled)
	if doubled == 0 || done.Load() < 4 || fault.Hits() < 4 {
		t.Errorf("%d doubled after %d cut connections and %d late answers: this test shows nothing", doubled, done.Load(), fault.Hits())
	}
}

// Goal: who submits without brokers hears so in time, with what can be done, and
// whether trying again helps.
// Method: brokers away and back, a context that ends early, a topic that is
// deleted; each answer within its bound.
func TestSubmitBrokersAway(t *testing.T) {
	c := fakeCluster(t)
	o := c.options(t)
	o.wait = time.Second
	topic := openTopic(t, o)
	reached := func() bool {
		_, err := topic.Submit(t.Context(), aCommand(1, "first"))
		return err == nil
	}
	poll(t, "brokers are there", reached)
	c.fake.Close()
	start := time.Now()
	_, err := topic.Submit(t.Context(), aCommand(1, "second"))
	if took := time.Since(start); !errors.Is(err, spoor.ErrBusy) || took > 3*time.Second {
		t.Errorf("without brokers Submit gave %v after %v", err, took)
	}
	oneLine(t, err, "app 1", "check the addresses")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	_, err = topic.Submit(ctx, aCommand(1, "third"))
	if took := time.Since(start); !errors.Is(err, spoor.ErrBusy) || took > 800*time.Millisecond {
		t.Errorf("with a context of 50 ms Submit gave %v after %v", err, took)
	}
	c.start(t)
	poll(t, "brokers are back", reached)
	if err := c.fake.DeleteTopic(o.Topic); err != nil {
		t.Fatal(err)
	}
	poll(t, "it is told that the topic is gone", func() bool {
		_, err = topic.Submit(t.Context(), aCommand(1, "fourth"))
		return err != nil && !errors.Is(err, spoor.ErrBusy)
	})
	oneLine(t, err, o.Topic, "deleted", "--topic")
}
