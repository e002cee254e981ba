package main_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// controlSecret is what tests give as SPOOR_ADMIN_TOKEN.
const controlSecret = "a secret of the control plane"

// backup runs spoor backup, and tells what it printed.
func backup(args ...string) (string, error) {
	out, err := exec.Command(binary, append([]string{"backup"}, args...)...).CombinedOutput()
	return string(out), err
}

var backupLine = regexp.MustCompile(`: \d+ bytes in \d+ files, 1 apps, (\d+) hits, in `)

// Goal: a backup of a running server is a whole store with all that was
// acknowledged before, and the server that is started from it goes on as the first
// one did; nothing of it is left beside the data.
// Method: backups are made while load goes on, and of the stopped server; each is
// checked, served from, and compared with the ledger.
func TestBackup(t *testing.T) {
	s := demo(t)
	l := newLedger()
	var load sync.WaitGroup
	load.Go(func() { l.load(s.collector, 3, 1) })
	grows := func(by int) {
		t.Helper()
		from, _ := l.count()
		s.await(20*time.Second, "more to be acknowledged", func() bool { now, _ := l.count(); return now > from+by })
	}
	served := func(dir string, acked []string) {
		t.Helper()
		checkStore(t, dir)
		b := serve(t, dir, "--demo")
		have := b.exportIDs()
		for _, id := range acked {
			if have[id] != 1 {
				t.Errorf("%s holds %d hits %s, which was acknowledged before it was made", dir, have[id], id)
				break
			}
		}
		b.stop()
		one, err := os.ReadFile(filepath.Join(s.data, "secret"))
		two, err2 := os.ReadFile(filepath.Join(dir, "secret"))
		if err != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Errorf("the secret differs: %v %v", err, err2)
		}
	}
	for range 2 {
		grows(1000)
		acked := l.last(1 << 30)
		dir := filepath.Join(folder(t), "copy")
		if out, err := backup(dir, "--data", s.data); err != nil || !backupLine.MatchString(out) {
			t.Fatalf("spoor backup: %v, %s", err, out)
		}
		sums := exec.Command("sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS")
		sums.Dir = dir
		if out, err := sums.CombinedOutput(); err != nil {
			t.Errorf("sha256sum --check: %v, %s", err, out)
		}
		served(dir, acked)
		if out, err := backup(dir, "--data", s.data); err == nil || !strings.Contains(out, "name a new directory") {
			t.Errorf("into a directory that is not empty: %v, %s", err, out)
		}
	}
	if log := s.spoor("audit"); strings.Count(log, "checkpoint") != 2 {
		t.Errorf("the audit log does not hold two checkpoints:\n%s", log)
	}
	s.stop()
	load.Wait()
	dir := folder(t)
	if out, err := backup(dir, "--data", s.data); err != nil || !backupLine.MatchString(out) {
		t.Fatalf("spoor backup of a stopped server: %v, %s", err, out)
	}
	served(dir, l.last(1<<30))
	if _, err := os.Stat(filepath.Join(s.data, "checkpoint")); err == nil {
		t.Error("a copy is left in the data directory")
	}
	if out, err := backup(folder(t), "--data", folder(t)); err == nil || !strings.Contains(out, "there is no store in it") {
		t.Errorf("where there is no store: %v, %s", err, out)
	}
}

// Goal: over HTTP a copy of everything is given only where the process was told so,
// to who has the secret; a copy that was cut or changed on the way, or that would
// write elsewhere, is refused and nothing of it is kept.
// Method: spoor backup --from a real server with and without --checkpoints, and from
// a server that changes what that sends, one way after the other.
func TestBackupFromElsewhere(t *testing.T) {
	refused := func(why string, args ...string) {
		t.Helper()
		dir := filepath.Join(folder(t), "copy")
		out, err := backup(append([]string{dir}, args...)...)
		if err == nil || !strings.Contains(out, why) || strings.Count(out, "\n") > 2 {
			t.Errorf("spoor backup %q: %v, %s; want it to say %q", args, err, out, why)
		}
		if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
			t.Errorf("%q: %v is left", args, left)
		}
	}
	t.Setenv("SPOOR_ADMIN_TOKEN", controlSecret)
	closed := demo(t)
	refused("--checkpoints", "--from", closed.reads)
	s := demo(t, "--checkpoints")
	for n := range 100 {
		s.hit(nativeBody(fmt.Sprint("n-", n)))
	}
	if text := s.spoor("privacy"); !strings.Contains(text, "COPY OF EVERYTHING") || strings.Contains(closed.spoor("privacy"), "COPY OF EVERYTHING") {
		t.Errorf("the record of processing does not say who may fetch a copy:\n%s", text)
	}
	whole := s.send("GET", s.reads+"/api/admin/checkpoint/", "", "Authorization", "Token "+controlSecret).body
	dir := filepath.Join(folder(t), "copy")
	if out, err := backup(dir, "--from", s.reads); err != nil || !backupLine.MatchString(out) {
		t.Fatalf("spoor backup --from: %v, %s", err, out)
	}
	checkStore(t, dir)

	var sent atomic.Pointer[string]
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Token "+controlSecret {
			t.Errorf("the secret is sent as %q", r.Header.Get("Authorization"))
		}
		io.WriteString(w, *sent.Load())
	}))
	defer other.Close()
	for name, test := range map[string]struct{ tar, says string }{
		"nothing":          {"", "cut short"},
		"the first half":   {whole[:len(whole)/2], "cut short"},
		"no sums":          {retar(t, whole, func(h *tar.Header, b []byte) []byte { return drop(h, b, h.Name == "SHA256SUMS") }), "cut short"},
		"half of the sums": {whole[:len(whole)-2000], "cut short"},
		"more":             {retar(t, whole, func(h *tar.Header, b []byte) []byte { return rename(h, b, "highwater", "SHA256SUMS") }), "damaged"},
		"a changed file":   {retar(t, whole, func(h *tar.Header, b []byte) []byte { return flip(b, h.Name == "highwater") }), "damaged"},
		"a missing file":   {retar(t, whole, func(h *tar.Header, b []byte) []byte { return drop(h, b, h.Name == "secret") }), "damaged"},
		"a file elsewhere": {retar(t, whole, func(h *tar.Header, b []byte) []byte { return rename(h, b, "secret", "../evil") }), "no checkpoint does"},
		"a link":           {retar(t, whole, func(h *tar.Header, b []byte) []byte { return link(h, b) }), "no checkpoint does"},
		"a file twice":     {retar(t, whole, func(h *tar.Header, b []byte) []byte { return rename(h, b, "secret", "highwater") }), "exists"},
		"no tar":           {strings.Repeat("<html>", 1000), "cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			sent.Store(&test.tar)
			refused(test.says, "--from", other.URL)
		})
	}
	elsewhere := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	refused("307", "--from", elsewhere.URL)
	refused("no address", "--from", "10.0.0.5:8081")
	t.Setenv("SPOOR_ADMIN_TOKEN", "")
	refused("SPOOR_ADMIN_TOKEN", "--from", s.reads)
	t.Setenv("SPOOR_ADMIN_TOKEN", "another one")
	refused("401", "--from", s.reads)
}

// retar passes each entry of a tar through change; nil leaves it out.
func retar(t *testing.T, whole string, change func(*tar.Header, []byte) []byte) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for r := tar.NewReader(strings.NewReader(whole)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if body = change(h, body); body == nil {
			continue
		}
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func drop(_ *tar.Header, body []byte, it bool) []byte {
	if it {
		return nil
	}
	return body
}

func flip(body []byte, it bool) []byte {
	if it {
		body[len(body)/2] ^= 1
	}
	return body
}

func rename(h *tar.Header, body []byte, from, to string) []byte {
	if h.Name == from {
		h.Name = to
	}
	return body
}

func link(h *tar.Header, body []byte) []byte {
	if h.Name == "secret" {
		h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd"
		return []byte{}
	}
	return body
}

// valve is a way to a server that lets only so many bytes through, then stops or
// breaks off.
type valve struct {
	address string
	left    atomic.Int64
	breaks  atomic.Bool
	reached chan struct{} // closed once nothing is left
}

func newValve(t *testing.T, to string, bytes int64, breaks bool) *valve {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{address: "http://" + l.Addr().String(), reached: make(chan struct{})}
	v.left.Store(bytes)
	v.breaks.Store(breaks)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { in.Close() })
			out, err := net.Dial("tcp", strings.TrimPrefix(to, "http://"))
			if err != nil {
				in.Close()
				continue
			}
			t.Cleanup(func() { out.Close() })
			all.Go(func() {
				io.Copy(out, in)
				out.Close()
			})
			all.Go(func() { v.pass(in, out) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return v
}

func (v *valve) pass(in, out net.Conn) {
	for piece := make([]byte, 4096); ; {
		n, err := out.Read(piece)
		if err != nil {
			in.Close()
			return
		}
		if v.left.Add(-int64(n)) < 0 {
			select {
			case <-v.reached:
			default:
				close(v.reached)
			}
			if v.breaks.Load() {
				in.Close()
				out.Close()
			}
			return
		}
		if _, err := in.Write(piece[:n]); err != nil {
			return
		}
	}
}

// Goal: a second node begins with the store of the first while load goes on, and
// both hold the same in the end; a fetch that is cut or killed leaves no store, and
// is made again.
// Method: real processes. The way to the first node breaks off, then stops until the
// second is killed, then is free. Collectors go on meanwhile. At the end the ids of
// both are compared. Then the second node is started again with the same flags.
func TestJoin(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", controlSecret)
	k := startKafka(t)
	first := k.storeNode(demoData(t), "--checkpoints")
	collector := k.collector()
	l := newLedger()
	var loads sync.WaitGroup
	loads.Go(func() { l.load(collector.collector, 3, 2) })
	grows := func(by int) {
		t.Helper()
		from, _ := l.count()
		collector.await(20*time.Second, "more to be acknowledged", func() bool { now, _ := l.count(); return now > from+by })
	}
	grows(2000)
	data := filepath.Join(folder(t), "data")
	flags := func(from string) []string {
		return []string{"store", "--kafka", k.addresses(), "--data", data, "--admin", "127.0.0.1:0", "--join", from}
	}
	noStore := func(after string) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(data, "db")); err == nil {
			t.Fatalf("after %s there is a store", after)
		}
	}
	cut := newValve(t, first.reads, 100_000, true)
	if out, err := exec.Command(binary, flags(cut.address)...).CombinedOutput(); err == nil || !strings.Contains(string(out), "did not arrive: it was cut short") {
		t.Errorf("with a way that breaks off: %v, %s", err, out)
	}
	noStore("a cut")
	stopped := newValve(t, first.reads, 100_000, false)
	killed := exec.Command(binary, flags(stopped.address)...)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	<-stopped.reached
	first.await(10*time.Second, "something to arrive", func() bool {
		left, err := os.ReadDir(filepath.Join(data, "incoming", "db"))
		return err == nil && len(left) > 0
	})
	killed.Process.Kill()
	killed.Wait()
	noStore("a kill")
	first.await(20*time.Second, "the first node to see that nobody reads", func() bool {
		_, err := os.Stat(filepath.Join(first.data, "checkpoint"))
		return os.IsNotExist(err)
	})
	grows(500)
	second := k.storeNode(data, "--join", first.reads)
	if !strings.Contains(second.log.String(), "a checkpoint arrived complete") {
		t.Errorf("the log does not tell of the checkpoint:\n%s", second.log.String())
	}
	for n, p := range k.stored(second) {
		if p.Missed != 0 || !p.Reading {
			t.Errorf("partition %d of the second node: %+v", n, p)
		}
	}
	grows(1000)
	collector.stop()
	loads.Wait()
	last := k.collector()
	k.settle(l, last, first)
	k.caughtUp(second)
	l.verify(first)
	l.verify(second)
	one, two := first.exportIDs(), second.exportIDs()
	for id, n := range one {
		if two[id] != n {
			t.Fatalf("of %s the first node holds %d, the second %d", id, n, two[id])
		}
	}
	if len(one) != len(two) {
		t.Errorf("the first node holds %d ids, the second %d", len(one), len(two))
	}
	second.stop()
	again := k.storeNode(data, "--join", "http://127.0.0.1:1")
	if !strings.Contains(again.log.String(), "left alone") {
		t.Errorf("a second start does not say that --join is left alone:\n%s", again.log.String())
	}
	again.stop()
	checkStore(t, data)
	first.stop()
	checkStore(t, first.data)
}

// Goal: a node does not begin with a copy from which the topic cannot go on.
// Method: the topic drops records which the only node with the copy has not read;
// the join is refused, names the records, and leaves no store.
func TestJoinRefusesAGap(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", controlSecret)
	k := startKafka(t)
	data := demoData(t)
	first := k.storeNode(data)
	collector := k.collector()
	l := newLedger()
	for n := range 10 {
		l.sendNative(client, collector.collector, fmt.Sprint("n-", n))
	}
	k.caughtUp(first)
	first.stop() // what comes now it does not read
	for n := range 10 {
		l.sendNative(client, collector.collector, fmt.Sprint("n-later-", n))
	}
	k.dropBefore("spoor", 0, 15)
	old := serve(t, data, "--demo", "--checkpoints")
	joins := filepath.Join(folder(t), "data")
	out, err := exec.Command(binary, "store", "--kafka", k.addresses(), "--data", joins, "--admin", "127.0.0.1:0", "--join", old.reads).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the checkpoint ends before record 10 of partition 0, and topic spoor begins with 15") {
		t.Errorf("joining behind a gap: %v, %s", err, out)
	}
	for _, name := range []string{"db", "incoming"} {
		if _, err := os.Stat(filepath.Join(joins, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

// dropBefore makes a partition begin with a record; −1: it is emptied.
func (k *kafka) dropBefore(topic string, partition int32, offset int64) {
	k.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.fake.ListenAddrs()...))
	if err != nil {
		k.t.Fatal(err)
	}
	defer c.Close()
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = partition, offset
	of := kmsg.NewDeleteRecordsRequestTopic()
	of.Topic, of.Partitions = topic, append(of.Partitions, part)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = append(req.Topics, of)
	for _, shard := range c.RequestSharded(context.Background(), req) {
		if shard.Err != nil {
			k.t.Fatal(shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					k.t.Fatalf("cannot drop records: error %d", p.ErrorCode)
				}
			}
		}
	}
}
