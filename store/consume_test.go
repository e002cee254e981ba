package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// recordOf is what a topic holds at an offset: hits without an id of any kind, so
// that nothing but the offset can tell a repeat.
func recordOf(app *spoor.App, c *clock, offset int64) []spoor.Hit {
	hits := make([]spoor.Hit, 1+offset%3)
	for i := range hits {
		hits[i] = page(app, c, fmt.Sprint("visitor", offset%9), int(offset))
		hits[i].ID, hits[i].Title = "", fmt.Sprint(offset)
	}
	return hits
}

// portion is a run of records of a partition.
func portion(app *spoor.App, c *clock, partition int, first, next int64) *Portion {
	p := &Portion{Topic: "spoor", Partition: partition, First: first, Next: next}
	for at := first; at < next; at++ {
		p.Hits = append(p.Hits, recordOf(app, c, at)...)
	}
	return p
}

func consume(t testing.TB, s *Store, p *Portion) {
	t.Helper()
	if err := s.Consume(p); err != nil {
		t.Fatalf("records %d to %d: %v", p.First, p.Next-1, err)
	}
}

// offset is how far a partition is stored.
func offset(t testing.TB, s *Store, partition int) (o Offset) {
	t.Helper()
	list, err := s.Offsets()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list {
		if one.Partition == partition {
			return one
		}
	}
	return Offset{}
}

// whole fails the test unless the store has each record below next, once.
func whole(t testing.TB, s *Store, app *spoor.App, c *clock, next int64) {
	t.Helper()
	there := map[string]int{}
	if err := s.ScanHits(app.ID, -100_000, 100_000, func(h *spoor.Hit) error { there[h.Title]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for at := range next {
		if got, want := there[fmt.Sprint(at)], len(recordOf(app, c, at)); got != want {
			t.Errorf("of record %d %d hits are stored, want %d", at, got, want)
		}
	}
	if len(there) != int(next) {
		t.Errorf("hits of %d records are stored, want %d", len(there), next)
	}
}

// Goal: a portion that comes again changes nothing, whatever is in it; one that
// is half stored is refused; what is missing before one is counted and said;
// partitions and restarts do not touch each other.
// Method: hits without any id, so that counts show each repeat.
func TestConsume(t *testing.T) {
	c := newClock()
	var said bytes.Buffer
	o := testOptions(t, vfs.NewMem(), c)
	o.Log = slog.New(slog.NewTextHandler(&said, nil))
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	for range 2 {
		p := portion(app, c, 0, 0, 5)
		consume(t, s, p)
		whole(t, s, app, c, 5)
	}
	again := portion(app, c, 0, 1, 4)
	consume(t, s, again)
	for i := range again.Hits {
		if again.Hits[i].Outcome != spoor.Duplicate {
			t.Errorf("hit %d of a repeat: %v, want duplicate", i, again.Hits[i].Outcome)
		}
	}
	var off *OffsetError
	if err := s.Consume(portion(app, c, 0, 3, 8)); !errors.As(err, &off) || off.Stored != 5 {
		t.Errorf("a portion of which a part is stored: %v, want an OffsetError at 5", err)
	}
	if err := s.Consume(portion(app, c, 0, 6, 8)); !errors.As(err, &off) || off.Stored != 5 {
		t.Errorf("a portion before which a record is left out: %v, want an OffsetError at 5", err)
	}
	whole(t, s, app, c, 5)
	asOneGroup(t, s,
		func() { consume(t, s, portion(app, c, 0, 5, 7)) },
		func() { consume(t, s, portion(app, c, 0, 5, 7)) },
		func() { consume(t, s, portion(app, c, 0, 7, 9)) })
	whole(t, s, app, c, 9)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	consume(t, s, portion(app, c, 0, 7, 9))
	whole(t, s, app, c, 9)
	if got := offset(t, s, 0); got.Topic != "spoor" || got.Next != 9 || got.Missed != 0 {
		t.Errorf("partition 0 stands at %+v, want 9 and nothing missed", got)
	}
	if said.Len() > 0 {
		t.Errorf("it said %s", said.String())
	}
	consume(t, s, &Portion{Topic: "spoor", Partition: 1, First: 30, Next: 40, Missing: 30})
	consume(t, s, &Portion{Topic: "spoor", Partition: 1, First: 42, Next: 43, Missing: 2})
	if got := offset(t, s, 1); got.Next != 43 || got.Missed != 32 || !strings.Contains(said.String(), "records=30") {
		t.Errorf("partition 1 stands at %+v, want 43 and 32 missed; it said %s", got, said.String())
	}
	if err := s.Rewind("spoor", 1); err != nil || offset(t, s, 1).Next != 0 {
		t.Errorf("a partition that is read again: %v, %+v", err, offset(t, s, 1))
	}
	for _, bad := range []*Portion{{Next: 1}, {Topic: "x", Partition: -1, Next: 1}, {Topic: "x", First: 5, Next: 5}, {Topic: "x", First: 5, Next: 6, Missing: 6}, {Topic: strings.Repeat("x", 300), Next: 1}} {
		if err := s.Consume(bad); err == nil {
			t.Errorf("%+v was stored", bad)
		}
	}
}

// Goal: a record that cannot be read is listed, with nothing of what it holds;
// the list is bounded, and says how many there were.
// Method: more records than are kept; the newest are listed; no byte of a value
// is in the files; two stores have different sums of one value.
func TestPoisonedRecordsAreListed(t *testing.T) {
	c := newClock()
	fs := vfs.NewMem()
	s := open(t, testOptions(t, fs, c))
	secret := "anna.kowalska@shop.example"
	const all = poisonedKept + 10
	for at := range int64(all) {
		consume(t, s, &Portion{Topic: "spoor", First: at, Next: at + 1,
			Poisoned: []Poisoned{{Offset: at, Value: []byte(secret), Why: "not a record " + strings.Repeat("x", 300)}}})
	}
	got := offset(t, s, 0)
	if got.Next != all || got.Poisoned != all || len(got.Newest) != poisonedKept {
		t.Fatalf("%d records, %d of them poisoned, %d listed; want %d, all, %d", got.Next, got.Poisoned, len(got.Newest), all, poisonedKept)
	}
	for i, p := range got.Newest {
		if p.Offset != int64(all-1-i) || p.Bytes != int64(len(secret)) || p.At != c.ms() || len(p.Why) != poisonedWhy || p.Sum == [16]byte{} || p.Value != nil {
			t.Errorf("listed %+v", p)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("data/db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := fs.Open("data/db/" + name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(f)
		if err != nil || bytes.Contains(raw, []byte(secret)) {
			t.Errorf("%s holds the record: %v", name, err)
		}
		f.Close()
	}
	o := testOptions(t, vfs.NewMem(), c)
	o.Rand = strings.NewReader(strings.Repeat("another 32 bytes of randomness. ", 4))
	other := open(t, o)
	consume(t, other, &Portion{Topic: "spoor", Next: 1, Poisoned: []Poisoned{{Value: []byte(secret)}}})
	if offset(t, other, 0).Newest[0].Sum == got.Newest[0].Sum {
		t.Error("two stores have the same sum of a record: it is not keyed")
	}
}

// Goal: Check sees an offset and a list that do not fit.
func TestCheckSeesDamagedOffsets(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	consume(t, s, &Portion{Topic: "spoor", Next: 1, Poisoned: []Poisoned{{Value: []byte("x")}}})
	ref := sourceRef{topic: topicHash("spoor")}
	for what, key := range map[string][]byte{
		"a listed record that is gone":  poisonedKey(nil, ref, 0),
		"one that is too many":          poisonedKey(nil, ref, 9),
		"an offset that cannot be read": sourceKey(nil, ref),
		"a key of another length":       {prefixTopic, 1},
	} {
		var before []byte
		if err := get(s.db, key, func(v []byte) error { before = bytes.Clone(v); return nil }); err != nil {
			t.Fatal(err)
		}
		damage := func() error { return s.db.Set(key, []byte{9}, nil) }
		if what == "a listed record that is gone" {
			damage = func() error { return s.db.Delete(key, nil) }
		}
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Check(nil); err != nil || r.Found == 0 {
			t.Errorf("%s: %v, %d problems", what, err, r.Found)
		}
		if before == nil {
			if err := s.db.Delete(key, nil); err != nil {
				t.Fatal(err)
			}
		} else if err := s.db.Set(key, before, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: hits and offset are stored together or not at all, wherever the machine
// stops: what comes again after a crash is stored once, also what has no id.
// Method: two partitions are consumed in portions of any size; at random moments
// copies are taken as a crash would leave the disk. Each copy is opened: it has
// exactly the records below its own offset, and no fewer than were acknowledged.
// It then consumes from its offset on, some portions twice, as a consumer that was
// killed would, and must end with every record once. The seed is printed by a failure.
func TestConsumeAcrossCrashes(t *testing.T) {
	t.Parallel()
	const lives, copies, records = 6, 8, 150
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newClock()
	torn := 0
	for range lives {
		fs := newCrashFS(vfs.NewCrashableMem())
		o := testOptions(t, fs, c)
		o.MemTableBytes = 64 << 10
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		apps := []*spoor.App{newApp(t, s, "shop", "UTC"), newApp(t, s, "blog", "UTC")}
		run := func(s *Store, partition int, rng *rand.Rand, at int64, told func(int64)) {
			for at < records {
				next := min(records, at+1+rng.Int64N(4))
				for range 1 + rng.IntN(2) {
					if err := s.Consume(portion(apps[partition], c, partition, at, next)); err != nil {
						t.Error(err)
						return
					}
				}
				at = next
				told(at)
			}
		}
		told := make(chan [2]int64, 1)
		told <- [2]int64{}
		ended := make(chan struct{}, len(apps))
		work := make(chan struct{}, records) // how much may be consumed, so that copies are taken amid it
		for partition := range apps {
			own := rand.New(rand.NewPCG(rng.Uint64(), 0))
			go func() {
				defer func() { ended <- struct{}{} }()
				run(s, partition, own, 0, func(at int64) { now := <-told; now[partition] = at; told <- now; <-work })
			}()
		}
		for range copies {
			target := s.stats.groups.Load() + 1 + rng.Int64N(6)
			for range 10 {
				work <- struct{}{}
			}
			eventually(t, "the store has consumed", func() bool { return s.stats.groups.Load() >= target })
			acked := <-told
			told <- acked
			copied, err := Open(testOptions(t, fs.crash([]int{0, 50, 100}[rng.IntN(3)], rng.Uint64()), c))
			if err != nil {
				t.Fatal(err)
			}
			for partition, app := range apps {
				at := offset(t, copied, partition).Next
				if at < acked[partition] {
					t.Errorf("partition %d stands at %d after a crash, %d records were acknowledged", partition, at, acked[partition])
				}
				if at > 0 && at < records {
					torn++
				}
				whole(t, copied, app, c, at)
				run(copied, partition, rng, at, func(int64) {})
				whole(t, copied, app, c, records)
			}
			check(t, copied)
			if err := copied.Close(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				break
			}
		}
		close(work)
		for range apps {
			<-ended
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
	if torn < lives*copies {
		t.Errorf("only %d copies were taken amid work", torn)
	}
}

// Goal: a group that fails leaves neither hits nor an offset, on disk or in
// memory, and the same portion can be given again.
// Method: the salt of an app that a portion needs is taken away, and put back.
func TestFailedConsumeCanBeRepeated(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app, other := newApp(t, s, "shop", "UTC"), newApp(t, s, "other", "UTC")
	consume(t, s, portion(app, c, 0, 0, 3))
	var salt []byte
	if err := get(s.db, appKey(other.ID, appSalt), func(v []byte) error { salt = bytes.Clone(v); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.change(func(g *group) error { delete(g.w.apps, other.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Delete(appKey(other.ID, appSalt), nil); err != nil {
		t.Fatal(err)
	}
	p := portion(app, c, 0, 3, 6)
	p.Hits = append(p.Hits, page(other, c, "visitor1", 1))
	if err := s.Consume(p); err == nil {
		t.Fatal("a portion was stored without the salt of its app")
	}
	for i := range p.Hits {
		if p.Hits[i].Outcome != spoor.Pending {
			t.Errorf("hit %d of a portion that failed: %v", i, p.Hits[i].Outcome)
		}
	}
	if got := offset(t, s, 0); got.Next != 3 {
		t.Errorf("the partition stands at %d after a failure, want 3", got.Next)
	}
	whole(t, s, app, c, 3)
	if err := s.db.Set(appKey(other.ID, appSalt), salt, nil); err != nil {
		t.Fatal(err)
	}
	consume(t, s, p)
	whole(t, s, app, c, 6)
	if ok, err := s.HasEvent(other.ID, "visitor1-1"); !ok || err != nil {
		t.Errorf("the hit of the other app is not there: %v", err)
	}
}

// Goal: a command that stands in the log twice is known, also after a restart, for
// as many commands as are kept.
// Method: more commands than are kept move the offset of a partition, by themselves
// and with a change.
func TestCommandsAreKnown(t *testing.T) {
	o := testOptions(t, vfs.NewMem(), newClock())
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	id := func(n int) (id [16]byte) {
		binary.BigEndian.PutUint32(id[:], uint32(n+1))
		return id
	}
	const all = commandsKept + 7
	for n := range all {
		p := &Portion{Topic: "spoor", Partition: 2, First: int64(n), Next: int64(n + 1), Command: id(n)}
		if n%1000 == 1 { // with a change of its own
			if err := s.At(o.Now(), o.Rand, p).Audit(spoor.Access{Actor: "a", Role: "read", Action: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Consume(p); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		ids, err := s.Commands("spoor", 2)
		if err != nil || len(ids) != commandsKept || ids[0] != id(all-commandsKept) || ids[commandsKept-1] != id(all-1) {
			t.Fatalf("%d commands are known, %v", len(ids), err)
		}
		check(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(o); err != nil {
			t.Fatal(err)
		}
	}
	if ids, err := s.Commands("spoor", 3); err != nil || len(ids) != 0 {
		t.Errorf("of another partition %d are known, %v", len(ids), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Goal: what a store leaves to another one goes from it, and nothing else does; its
// bytes are asked for, no receipt says that it is gone from the world, and its
// partition is never stored again.
// Method: two apps in partitions of their own, of which one is left, though it is
// held; before and after a restart.
func TestLeave(t *testing.T) {
	c := newClock()
	fs := vfs.NewMem()
	o := testOptions(t, fs, c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	apps := []*spoor.App{newApp(t, s, "gone", "UTC"), newApp(t, s, "stays", "UTC")}
	if _, err := s.UpdateApp(apps[0].ID, func(a *spoor.App) error { a.Settings.HoldUntil = "2099-01-31"; return nil }); err != nil {
		t.Fatal(err)
	}
	for n, app := range apps {
		consume(t, s, portion(app, c, n, 0, 5))
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	records := func(app *spoor.App) (n int) {
		for _, prefix := range appPrefixes {
			if err := scan(s.db, key1(nil, prefix, app.ID), func(_, _ []byte) error { n++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if records(apps[0]) == 0 {
		t.Fatal("the app has no records: this test would prove nothing")
	}
	if err := s.Leave("spoor", 0, []spoor.AppID{apps[0].ID, 99}); err != nil {
		t.Fatal(err)
	}
	for again := range 2 {
		if s.App(apps[0].ID) != nil || s.App(apps[1].ID) == nil {
			t.Errorf("the apps are %v", s.AllApps())
		}
		if left, stays := offset(t, s, 0), offset(t, s, 1); !left.Left || left.Next != 5 || stays.Left {
			t.Errorf("the partitions stand at %+v and %+v", left, stays)
		}
		if err := s.Consume(portion(apps[0], c, 0, 5, 7)); err == nil {
			t.Error("a partition that was left is stored")
		}
		consume(t, s, portion(apps[1], c, 1, int64(5+again), int64(6+again)))
		whole(t, s, apps[1], c, int64(6+again))
		if err := s.Receipts(0, func(r *spoor.Receipt) error { t.Errorf("there is a receipt %+v", r); return nil }); err != nil {
			t.Error(err)
		}
		if _, err := s.Reclaim(t.Context(), true); err != nil {
			t.Error(err)
		}
		if journals, err := readJournals(s.db, 0); records(apps[0]) > 0 || len(journals) > 0 || err != nil {
			t.Errorf("%d records are left, and %d removals are not done: %v", records(apps[0]), len(journals), err)
		}
		check(t, s)
		if again == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, o)
		}
	}
}
