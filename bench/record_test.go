package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/spoorhq/spoor/store"
)

// BenchmarkRecords writes the store's records into Pebble in several ways and
// tells what each costs: bytes/hit in the tables once all is compacted, CPU
// time of all work on them, and hits/s while every group is synced. Run it on
// a disk, each variant once (SPOOR_BENCH_DIR chooses another place):
//
//	go test ./bench -run '^$' -bench Records -benchtime 1x
//
// The variants whose names begin with set- vary one of Pebble's settings and
// begin with those that the store has. Their memory tables are an eighth as large, so that
// as many are flushed as by eight times the hits. They also tell written/hit,
// bytes of tables before all is compacted, and absent-µs: the CPU time of
// asking for an id that is not there, before that too.
//
// The records are real: hits of the model's mix go through the real stages,
// and the batches are read back from the write-ahead logs that the store
// wrote. What writes them again is Pebble alone with the store's options, one
// goroutine, one sync per group. It folds less work than the store: of two
// operands of a profile or a count it keeps the longer one, which has about
// the size of their sum; bitmaps it unites. Read hits/s as a comparison of the
// variants, not as the store's speed.
func BenchmarkRecords(b *testing.B) {
	dir, err := workDir(os.Getenv("SPOOR_BENCH_DIR"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	log := captureRecords(b, dir)
	for _, v := range recordVariants {
		b.Run(v.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				v.replay(b, filepath.Join(dir, fmt.Sprint(v.name, i)), log)
			}
		})
	}
}

// recordVariant is one way to keep the records.
type recordVariant struct {
	name        string
	without     string // prefixes of keys that are left out
	packed      string // prefixes of which the records of a group become one for each app and day (week, of E)
	compression pebble.DBCompressionSettings
	block       int
	filterBits  int                   // a key; 0: no filters
	set         func(*pebble.Options) // from what the store has; nil: from what these were measured with at first
}

var recordVariants = append(slices.Clone(keptVariants), settingVariants...)

var keptVariants = []recordVariant{
	{name: "full", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "without-E", without: "E", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "without-P", without: "P", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "without-B", without: "BL", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "without-C", without: "C", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "without-I", without: "I", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "without-U", without: "U", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "H-alone", without: "EPBLCIUWNDA", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "E-packed", packed: "E", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "H-E-packed", packed: "HE", compression: pebble.DBCompressionBalanced, block: 32 << 10, filterBits: 10},
	{name: "H-E-packed-good", packed: "HE", compression: pebble.DBCompressionGood, block: 32 << 10, filterBits: 10},
	{name: "compression-none", compression: pebble.DBCompressionNone, block: 32 << 10, filterBits: 10},
	{name: "compression-fastest", compression: pebble.DBCompressionFastest, block: 32 << 10, filterBits: 10},
	{name: "compression-good", compression: pebble.DBCompressionGood, block: 32 << 10, filterBits: 10},
	{name: "block-4KiB", compression: pebble.DBCompressionBalanced, block: 4 << 10, filterBits: 10},
	{name: "block-64KiB", compression: pebble.DBCompressionBalanced, block: 64 << 10, filterBits: 10},
	{name: "no-filters", compression: pebble.DBCompressionBalanced, block: 32 << 10},
}

var settingVariants = []recordVariant{
	setting("store", nil),
	setting("compactions-1-1", func(o *pebble.Options) { o.CompactionConcurrencyRange = func() (int, int) { return 1, 1 } }),
	setting("compactions-2-2", func(o *pebble.Options) { o.CompactionConcurrencyRange = func() (int, int) { return 2, 2 } }),
	setting("L0-compaction-2", func(o *pebble.Options) { o.L0CompactionThreshold = 2 }),
	setting("L0-compaction-4", func(o *pebble.Options) { o.L0CompactionThreshold = 4 }),
	setting("L0-compaction-20", func(o *pebble.Options) { o.L0CompactionThreshold = 20 }),
	setting("L0-stop-12", func(o *pebble.Options) { o.L0StopWritesThreshold = 12 }),
	setting("L0-stop-24", func(o *pebble.Options) { o.L0StopWritesThreshold = 24 }),
	setting("sync-256KiB", func(o *pebble.Options) { o.BytesPerSync = 256 << 10 }),
	setting("sync-4MiB", func(o *pebble.Options) { o.BytesPerSync = 4 << 20 }),
	setting("bloom-none", bloomBits(0)),
	setting("bloom-not-last", func(o *pebble.Options) { o.Levels[len(o.Levels)-1].FilterPolicy = pebble.NoFilterPolicy }),
	setting("bloom-8", bloomBits(8)),
	setting("bloom-14", bloomBits(14)),
	setting("compression-balanced", compression(pebble.DBCompressionBalanced)),
	setting("compression-good", compression(pebble.DBCompressionGood)),
	setting("compression-good-below", compression(func() pebble.DBCompressionSettings {
		upper := pebble.DBCompressionFastest
		upper.Levels[len(upper.Levels)-1] = pebble.DBCompressionGood.Levels[len(upper.Levels)-1]
		return upper
	}())),
}

// setting is a variant that differs in one setting from what the store has.
func setting(name string, change func(*pebble.Options)) recordVariant {
	return recordVariant{name: "set-" + name, compression: pebble.DBCompressionFastest, block: 32 << 10, filterBits: 10, set: func(o *pebble.Options) {
		o.MemTableSize = 4 << 20
		o.L0CompactionThreshold, o.L0StopWritesThreshold = 10, 40
		if change != nil {
			change(o)
		}
	}}
}

func bloomBits(n int) func(*pebble.Options) {
	return func(o *pebble.Options) {
		for i := range o.Levels {
			o.Levels[i].FilterPolicy = pebble.NoFilterPolicy
			if n > 0 {
				o.Levels[i].FilterPolicy = bloom.FilterPolicy(n)
			}
		}
	}
}

func compression(c pebble.DBCompressionSettings) func(*pebble.Options) {
	return func(o *pebble.Options) { o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return c }) }
}

// recordLog is what a store wrote: whole batches, in order.
type recordLog struct {
	batches [][]byte
	hits    int
	kinds   map[byte]int // records by prefix
	ids     [][]byte     // keys of some event ids
}

const (
	recordStreams  = 32
	recordRequests = 64 // per stream, of batchEvents hits each
)

// captureRecords sends hits through the stages and reads the logs of the store.
func captureRecords(b *testing.B, dir string) *recordLog {
	b.Helper()
	kept := filepath.Join(dir, "logs")
	if err := os.MkdirAll(kept, 0o700); err != nil {
		b.Fatal(err)
	}
	data := filepath.Join(dir, "store")
	st, err := store.Open(store.Options{Dir: data, FS: keepLogs{vfs.Default, kept}})
	if err != nil {
		b.Fatal(err)
	}
	feed(b, st)
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	rest, err := filepath.Glob(filepath.Join(data, "db", "*.log"))
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range rest {
		if err := os.Rename(path, filepath.Join(kept, filepath.Base(path))); err != nil {
			b.Fatal(err)
		}
	}
	log := &recordLog{kinds: map[byte]int{}}
	names, err := filepath.Glob(filepath.Join(kept, "*.log"))
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(names) // numbers of one width
	for _, path := range names {
		if err := log.read(path); err != nil {
			b.Fatal(err)
		}
	}
	log.hits = log.kinds['H']
	b.Logf("%d hits in %d groups; records per hit by prefix: %s", log.hits, len(log.batches), log.perHit())
	return log
}

// keepLogs keeps a second name of every write-ahead log that goes.
type keepLogs struct {
	vfs.FS
	into string
}

func (k keepLogs) Remove(name string) error {
	if strings.HasSuffix(name, ".log") {
		if err := k.FS.Rename(name, filepath.Join(k.into, filepath.Base(name))); err != nil {
			return err
		}
		return nil
	}
	return k.FS.Remove(name)
}

// feed sends the same number of hits each time.
func feed(b *testing.B, st *store.Store) {
	b.Helper()
	collector, err := wire(st, st)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- collector.Serve(ln) }()
	tr := newTraffic(1, []string{demoKey}, doorArray)
	book := newLedger(1, recordStreams)
	errs := make([]error, recordStreams)
	var wait sync.WaitGroup
	for i := range errs {
		w := &worker{
			load:    load{address: ln.Addr().String(), door: doorArray, batch: batchEvents, duration: 1},
			traffic: tr, stream: newStream(i, 1, 1, 0), ledger: book,
		}
		wait.Go(func() {
			errs[i] = w.dial()
			for n := 0; n < recordRequests && errs[i] == nil; n++ {
				w.prepare(time.Now())
				var status int
				if status, errs[i] = w.exchange(); errs[i] == nil && status != 200 {
					errs[i] = fmt.Errorf("the collector answered %d", status)
				}
			}
			w.close()
		})
	}
	wait.Wait()
	if err := errors.Join(append(errs, collector.Shutdown(context.Background()), <-served)...); err != nil {
		b.Fatal(err)
	}
}

// read appends the batches of one log. Its end is where no record follows.
func (l *recordLog) read(path string) error {
	number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".log"), 10, 64)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for r := numbered(record.NewReader, bytes.NewReader(text), number); ; {
		one, err := r.Next()
		if err == nil {
			var repr []byte
			if repr, err = io.ReadAll(one); err == nil {
				l.count(repr)
				l.batches = append(l.batches, repr)
				continue
			}
		}
		if errors.Is(err, io.EOF) || record.IsInvalidRecord(err) {
			return nil
		}
		return err
	}
}

// numbered calls a function whose second parameter has a type that Pebble
// does not let others name.
func numbered[N ~uint64](open func(io.Reader, N) *record.Reader, r io.Reader, number uint64) *record.Reader {
	return open(r, N(number))
}

func (l *recordLog) count(repr []byte) {
	for r := batchrepr.Read(repr); ; {
		_, key, _, ok, err := r.Next()
		if !ok || err != nil {
			return
		}
		if len(key) == 0 {
			continue
		}
		l.kinds[key[0]]++
		if key[0] == 'E' && l.kinds['E']%8 == 0 {
			l.ids = append(l.ids, slices.Clone(key))
		}
	}
}

func (l *recordLog) perHit() string {
	var b strings.Builder
	for _, prefix := range []byte("HEPBLCIW") {
		fmt.Fprintf(&b, " %c %.2f", prefix, float64(l.kinds[prefix])/float64(l.hits))
	}
	return b.String()
}

// replay writes the log into a new database and reports what it came to.
func (v *recordVariant) replay(b *testing.B, dir string, log *recordLog) {
	options := &pebble.Options{
		Merger: roughMerger, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{},
		CacheSize: 64 << 20, MemTableSize: 32 << 20, MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 4, L0StopWritesThreshold: 24, BytesPerSync: 1 << 20,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return v.compression })
	for i := range options.Levels {
		options.Levels[i].BlockSize = v.block
	}
	bloomBits(v.filterBits)(options)
	if v.set != nil {
		v.set(options)
	}
	db, err := pebble.Open(dir, options)
	if err != nil {
		b.Fatal(err)
	}
	began, cpu := time.Now(), ownCPU()
	for group, repr := range log.batches {
		batch := db.NewBatch()
		if err := v.copy(batch, repr, group); err != nil {
			b.Fatal(err)
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			b.Fatal(err)
		}
	}
	written := time.Since(began)
	if v.set != nil {
		if err := db.Flush(); err != nil {
			b.Fatal(err)
		}
		for db.Metrics().Compact.NumInProgress > 0 {
			time.Sleep(time.Millisecond)
		}
		m := db.Metrics().Total()
		b.ReportMetric(float64(m.TableBytesFlushed+m.TableBytesCompacted)/float64(log.hits), "written/hit")
		asked := ownCPU()
		if err := log.askAbsent(db); err != nil {
			b.Fatal(err)
		}
		asked = ownCPU() - asked
		b.ReportMetric(float64(asked.Nanoseconds())/1000/float64(len(log.ids)), "absent-µs")
		cpu += asked
	}
	err = errors.Join(db.Flush(), db.Compact(context.Background(), []byte{0}, []byte{0xff}, false))
	if err != nil {
		b.Fatal(err)
	}
	cpu = ownCPU() - cpu
	m := db.Metrics().Total()
	b.ReportMetric(float64(m.TablesSize)/float64(log.hits), "bytes/hit")
	b.ReportMetric(float64(log.hits)/written.Seconds(), "hits/s")
	b.ReportMetric(float64(cpu.Microseconds())/float64(log.hits), "cpu-µs/hit")
	b.ReportMetric(0, "ns/op") // says nothing beside the two
	if err := errors.Join(db.Close(), os.RemoveAll(dir)); err != nil {
		b.Fatal(err)
	}
}

// askAbsent asks for as many ids that are not there as are there.
func (l *recordLog) askAbsent(db *pebble.DB) error {
	r := rand.New(rand.NewPCG(1, 'a'))
	for _, id := range l.ids {
		key := slices.Clone(id)
		binary.BigEndian.PutUint64(key[packedPrefix:], r.Uint64())
		_, done, err := db.Get(key)
		if err == nil {
			err = errors.Join(done.Close(), errors.New("an id was there that was not sent"))
		}
		if !errors.Is(err, pebble.ErrNotFound) {
			return err
		}
	}
	return nil
}

// copy takes over the records that the variant keeps.
func (v *recordVariant) copy(batch *pebble.Batch, repr []byte, group int) error {
	packs := map[string][][]byte{}
	for r := batchrepr.Read(repr); ; {
		kind, key, value, ok, err := r.Next()
		if err != nil {
			return err
		}
		if !ok {
			return pack(batch, packs, group)
		}
		if len(key) == 0 || strings.IndexByte(v.without, key[0]) >= 0 {
			continue
		}
		if strings.IndexByte(v.packed, key[0]) >= 0 {
			under := string(key[:packedPrefix])
			packs[under] = append(packs[under], slices.Concat(key[packedPrefix:], value))
			continue
		}
		switch kind {
		case pebble.InternalKeyKindSet:
			err = batch.Set(key, value, nil)
		case pebble.InternalKeyKindMerge:
			err = batch.Merge(key, value, nil)
		case pebble.InternalKeyKindDelete:
			err = batch.Delete(key, nil)
		}
		if err != nil {
			return err
		}
	}
}

// packedPrefix is what the keys of hits and ids begin with: prefix, app, day or week.
const packedPrefix = 1 + 4 + 4

// pack writes the records of a group under one key for each prefix, in their
// order, each with its length in front.
func pack(batch *pebble.Batch, packs map[string][][]byte, group int) error {
	for under, records := range packs {
		slices.SortFunc(records, bytes.Compare)
		var value []byte
		for _, r := range records {
			value = protowire.AppendBytes(value, r)
		}
		if err := batch.Set(binary.BigEndian.AppendUint64([]byte(under), uint64(group)), value, nil); err != nil {
			return err
		}
	}
	return nil
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }
func (quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// roughMerger gives results of the right size without knowing the formats; see
// BenchmarkRecords.
var roughMerger = &pebble.Merger{
	Name: "bench",
	Merge: func(key, value []byte) (pebble.ValueMerger, error) {
		m := &roughValue{bitmap: len(key) > 0 && (key[0] == 'B' || key[0] == 'L')}
		return m, m.MergeNewer(value)
	},
}

type roughValue struct {
	bitmap bool
	sum    *roaring.Bitmap
	value  []byte
}

func (m *roughValue) MergeNewer(value []byte) error {
	if !m.bitmap {
		if len(value) > len(m.value) {
			m.value = slices.Clone(value)
		}
		return nil
	}
	if m.sum == nil {
		m.sum = roaring.New()
	}
	for b := value[min(2, len(value)):]; len(b) > 0; { // behind version and key id
		tag, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if tag == 1 && kind == protowire.BytesType {
			raw, _ := protowire.ConsumeBytes(b)
			one := roaring.New()
			if err := one.UnmarshalBinary(raw); err != nil {
				return err
			}
			m.sum.Or(one)
		}
		if n = protowire.ConsumeFieldValue(tag, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	return nil
}

func (m *roughValue) MergeOlder(value []byte) error { return m.MergeNewer(value) }

func (m *roughValue) Finish(bool) ([]byte, io.Closer, error) {
	if !m.bitmap {
		return m.value, nil, nil
	}
	m.sum.RunOptimize()
	raw, err := m.sum.ToBytes()
	return protowire.AppendBytes(protowire.AppendTag([]byte{1, 0}, 1, protowire.BytesType), raw), nil, err
}
