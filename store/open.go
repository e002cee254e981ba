package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// Options configure a store. The zero value of a field is its default.
type Options struct {
	Dir      string           // where the data is; made if it does not exist
	FS       vfs.FS           // default: the operating system's
	Now      func() time.Time // default: time.Now
	Rand     io.Reader        // for the salts of new apps; default: crypto/rand
	Log      *slog.Logger     // default: slog.Default()
	ReadOnly bool             // only look: no writer runs, nothing is changed

	MemoryBytes   int64                                 // what the process may take; the next four are shares of it, as is what statistics remember; default 400 MiB
	MemTableBytes int                                   // of one of four; default: 8 % of it, and at most a sixty-fourth of the disk, 1 MiB to 64 MiB
	CacheBytes    int64                                 // of Pebble's block cache; default: 20 % of it
	FilterBytes   int                                   // of each of the three filters, at most; default: 4 % of it
	CacheEntries  int                                   // identifiers and profiles that are remembered, each (500 bytes); default: 500 a MiB of it
	QueueBytesMax int64                                 // of hits that wait for the writer; default 32 MiB
	betweenSeal   func()                                // for tests: called between the building and the writing of a sealed day
	sliceMax      int                                   // for tests: profiles, hits or crossings that one request to the writer takes; 0: as many as usual
	commit        func(*pebble.DB, *pebble.Batch) error // for tests, which make it slow or fail: gives a batch to Pebble and does not wait for the sync
	rowNamesMax   int                                   // names of views that are remembered before they are forgotten together; default 65,536
	putOffFrom    int                                   // hits of a group from which on counts may wait (see uncounted.go)
	ReserveBytes  int64                                 // free space below which the store goes read-only; default: a quarter of the disk, at most 512 MiB
	SkipRollUps   bool                                  // for benchmarks: hits add to no roll-up rows; Check says that rows are missing
}

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("cannot open a store without a data directory")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.commit == nil {
		o.commit = func(db *pebble.DB, b *pebble.Batch) error { return db.ApplyNoSyncWait(b, pebble.Sync) }
	}
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 400 << 20
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = int64(o.share(20))
	}
	if o.QueueBytesMax == 0 {
		o.QueueBytesMax = 32 << 20
	}
	set(&o.FilterBytes, int(o.share(4)))
	set(&o.CacheEntries, int(o.MemoryBytes>>20)*500)
	set(&o.putOffFrom, 32)
	set(&o.rowNamesMax, 1<<16)
	if o.MemTableBytes == 0 {
		bytes := int64(o.share(8))
		if disk, err := o.FS.GetDiskUsage(o.Dir); err == nil {
			bytes = min(bytes, int64(disk.TotalBytes/64))
		}
		o.MemTableBytes = int(max(1<<20, min(64<<20, bytes))) // FORMAT.md
	}
	return nil
}

// slice is how many of a lot of work one request to the writer takes, of most.
func (o *Options) slice(most int) int {
	if o.sliceMax > 0 {
		return min(most, o.sliceMax)
	}
	return most
}

// share is some hundredths of the memory.
func (o *Options) share(percent int64) uint64 { return uint64(o.MemoryBytes * percent / 100) }

// Store keeps hits and profiles in one Pebble database. Make one with Open.
type Store struct {
	*core
	opts  Options
	fixed bool   // a view: see At
	carry *carry // of a view, or nil
}

// core is what all views of a store share.
type core struct {
	log     *slog.Logger
	apps    atomic.Pointer[directory]
	queue   *queue
	space   *spaceGuard
	tails   tails
	feeds   feeds
	watches watches
	stats   counters

	aliases aliases
	recent  recent
	people  *keepsake[peopleKey, keptPeople]
	sums    *keepsake[sumKey, *rowSum]
	walks   chan struct{} // a place for each walk over hits

	filtersReady atomic.Bool
	dropped      atomic.Int64

	mu    sync.RWMutex // held for reading by everybody who uses db
	db    *pebble.DB
	spare *spareFS
	high  *highWater
	done  chan struct{} // closed when writer and acker have ended
	stop  chan struct{} // closed by Close
	lost  mark

	selections selections
	sealed     sealedDays
	reclaiming sync.Mutex               // one owner of work on stretches of keys
	copies     chan struct{}            // a place for one Copy
	big        atomic.Pointer[[]bigApp] // by number; see tableEnd
}

const (
	formatVersion = 1
	memTablesMax  = 4
)

// Open opens or makes the store in a directory. On a full disk it opens
// read-only, and starts to write once there is room. Only one process can have
// a store open.
func Open(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if !o.ReadOnly {
		if err := makeDir(o.FS, o.Dir); err != nil {
			return nil, fmt.Errorf("cannot make the data directory %s: %w; use --data to choose another", o.Dir, err)
		}
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Store{opts: o, core: &core{people: newKeepsake(o.share(peopleShare), peopleSize), sums: newKeepsake(o.share(sumsShare), sumSize),
		log: o.Log, queue: newQueue(o.QueueBytesMax), stop: make(chan struct{}), done: make(chan struct{}), walks: make(chan struct{}, walksMax), copies: make(chan struct{}, 1)}}
	s.space = newSpaceGuard(o)
	s.selections = selections{tuning: tuned, age: selectionAge, kept: map[selectionKey]selected{}}
	s.selections.columnMax = int64(o.share(columnsShare))
	if o.ReadOnly {
		s.queue.close(spoor.ErrReadOnly)
		close(s.done)
		if err := s.openDB(true); err != nil {
			return s, err
		}
		return s, s.lookBack()
	}
	if s.space.low() {
		s.log.Error("the disk is almost full: opening read-only", "free_bytes", s.space.free.Load(), "needed_bytes", s.space.need(),
			"hint", "free some space; writing starts again by itself")
		if err := s.openDB(true); err != nil {
			return nil, err
		}
		go s.reopen()
		return s, nil
	}
	if err := s.openDB(false); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.closeDB())
	}
	return s, nil
}

// makeDir makes a folder and its missing parents, and syncs the folders in which
// they appear: a power cut must not take a new store away that has acknowledged.
func makeDir(fs vfs.FS, dir string) error {
	var into []string
	for d := dir; ; {
		if _, err := fs.Stat(d); err == nil {
			break
		}
		parent := fs.PathDir(d)
		if parent == d {
			break
		}
		into, d = append(into, parent), parent
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range into {
		if err := syncDir(fs, d); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s *Store) pebbleOptions(readOnly bool) *pebble.Options {
	o := &pebble.Options{
		FS:                          s.spare,
		Logger:                      pebbleLog{s.log},
		Merger:                      merger,
		Cleaner:                     remover{},
		FormatMajorVersion:          pebble.FormatNewest,
		ReadOnly:                    readOnly,
		CacheSize:                   s.opts.CacheBytes,
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: memTablesMax,
		L0CompactionThreshold:       10, // a tenth less CPU than 4, for reads that look into more tables; FORMAT.md
		L0StopWritesThreshold:       40,
		MaxManifestFileSize:         1 << 20, // an old MANIFEST holds keys that are gone
		MaxOpenFiles:                512,
		FlushDelayDeleteRange:       10 * time.Second, // without it a range deletion reclaims nothing
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	for i := range o.Levels {
		o.Levels[i].BlockSize = 32 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	o.Experimental.SpanPolicyFunc = s.tableEnd
	listener := pebble.EventListener{
		BackgroundError: s.space.backgroundError,
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.stats.corruptions.Add(1)
			s.log.Error("a file of the store is damaged", "file", i.Path, "error", i.Details,
				"hint", "stop spoor, run spoor check --data DIR, restore a backup")
		},
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { s.stats.stalls.Add(1) },
	}
	o.EventListener = &listener
	return o
}

func (s *Store) path(name string) string { return s.opts.FS.PathJoin(s.opts.Dir, name) }

// openDB opens Pebble. A new store writes one record and flushes before
// anything else: until then damage to its first log would go unnoticed.
func (s *Store) openDB(readOnly bool) error {
	if err := s.opts.FS.MkdirAll(s.path("spare"), 0o700); err != nil && !readOnly {
		return fmt.Errorf("cannot write in the data directory %s: %w; let this user write there, or use --data to choose another", s.opts.Dir, err)
	}
	s.spare = newSpareFS(s.opts.FS, s.path("db"), s.opts.FS.PathJoin(s.path("spare"), "wal"), int64(s.opts.MemTableBytes)*11/10)
	db, err := openPebble(s.path("db"), s.pebbleOptions(readOnly))
	if err != nil {
		return openError(s.opts.Dir, err)
	}
	s.db = db
	if !s.opts.ReadOnly {
		s.removeCopy() // of a process that was killed
	}
	logFailed := func(err error) { pebbleLog{s.log}.Fatalf("cannot write the log: %v", err) }
	s.spare.fail.Store(&logFailed)
	version := uint64(0)
	err = get(db, formatKey(), func(value []byte) error {
		return fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
			if tag == 1 {
				version = num
			}
			return nil
		})
	})
	switch {
	case err != nil:
	case version > formatVersion:
		err = fmt.Errorf("cannot open the store in %s: it was written by a newer spoor (format %d, this one knows %d); use that version", s.opts.Dir, version, formatVersion)
	case version == 0 && !readOnly:
		if err = db.Set(formatKey(), putUint(appendHeader(nil), 1, formatVersion), pebble.Sync); err == nil {
			err = db.Flush()
		}
	}
	if err == nil {
		var d *directory
		if d, err = readApps(db); err == nil {
			s.apps.Store(d)
			err = errors.Join(s.measureApps(db), s.loadFeeds(db))
		}
	}
	if err != nil {
		return errors.Join(err, s.closeDB())
	}
	return nil
}

// lookBack compares the database with the high-water file where none is written.
func (s *Store) lookBack() error {
	last, err := readHighWater(s.opts.FS, s.path("highwater"))
	if err != nil {
		return errors.Join(err, s.closeDB())
	}
	stored, _, _, err := readStoreMark(s.db)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot read the state of the store: %w", err), s.closeDB())
	}
	if last.groups > stored.groups {
		s.lost = mark{groups: last.groups - stored.groups, hits: last.hits - min(last.hits, stored.hits)}
	}
	return nil
}

// openPebble returns the errors for which Pebble panics while it opens, such as
// a folder that cannot be synced.
func openPebble(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			failed, ok := p.(error)
			if !ok {
				panic(p)
			}
			err = failed
		}
	}()
	return pebble.Open(dir, o)
}

// openError says what to do about a store that does not open.
func openError(dir string, err error) error {
	switch {
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("cannot open the store in %s: a file is damaged: %w; restore a backup, or keep the folder and ask", dir, err)
	case isLocked(err):
		return fmt.Errorf("cannot open the store in %s: another spoor has it open; stop that one, or use --data to choose another folder", dir)
	}
	return fmt.Errorf("cannot open the store in %s: %w", dir, err)
}

func (s *Store) closeDB() error {
	if s.db == nil {
		return nil
	}
	err := s.db.Close()
	s.db = nil
	s.spare.stop()
	return err
}

// start compares the high-water mark and starts the writer.
func (s *Store) start() error {
	high, last, err := openHighWater(s.opts.FS, s.path("highwater"))
	if err != nil {
		return err
	}
	s.high = high
	if err := syncDir(s.opts.FS, s.opts.Dir); err != nil { // it may be new
		return errors.Join(fmt.Errorf("cannot sync the data directory %s: %w", s.opts.Dir, err), high.close())
	}
	stored, appsMade, appsAlone, err := readStoreMark(s.db)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot read the state of the store: %w", err), high.close())
	}
	if last.groups > stored.groups {
		s.lost = mark{groups: last.groups - stored.groups, hits: last.hits - min(last.hits, stored.hits)}
		s.log.Error("acknowledged writes are missing: the write-ahead log was damaged or cut", "recovered_with_loss_hits", s.lost.hits,
			"recovered_with_loss_groups", s.lost.groups, "hint", "compare with a backup; check the disk")
		stored = mark{groups: last.groups, hits: stored.hits}
	}
	inPartitions := appsAlone < appsMade
	for id := range s.apps.Load().byID {
		appsMade = max(appsMade, uint32(id))
	}
	if !inPartitions {
		appsAlone = appsMade
	}
	loads := make(chan load, 4)
	w := &writer{
		s: s, db: &front{DB: s.db}, mark: stored, appsMade: appsMade, appsAlone: appsAlone, apps: map[spoor.AppID]*appState{},
		idents:   newGenerations[identRef, spoor.Number](s.opts.CacheEntries),
		profiles: newGenerations[profileRef, *profile](s.opts.CacheEntries),
		receipts: map[receiptRef]*storedReceipt{}, rowNames: newRowNames(1),
		known: newFilter(s.opts.FilterBytes), erased: newFilter(erasedFilterBytes), weeks: map[uint32]*filter{}, loads: loads,
	}
	if err := loadErased(s.db, w.erased); err != nil {
		return errors.Join(fmt.Errorf("cannot read who was erased: %w", err), high.close())
	}
	if err := w.recount(); err != nil {
		return errors.Join(fmt.Errorf("cannot count the newest hits of the store: %w", err), high.close())
	}
	if err := s.noteObjected(); err != nil {
		return errors.Join(err, high.close())
	}
	s.filtersReady.Store(false)
	groups := make(chan *group, groupsInFlight)
	loader := make(chan struct{})
	go func() {
		defer close(loader)
		loadFilters(s.db, weekOf(s.opts.Now().UnixMilli()), loads, s.stop, s.log)
	}()
	go w.run(groups)
	go func() {
		defer close(s.done)
		s.acknowledge(groups)
		<-loader
	}()
	return nil
}

// erasedFilterBytes bounds the filter in front of the ledger of the erased.
const erasedFilterBytes = 4 << 20

// groupsInFlight is how many groups may wait for their sync while the writer
// builds the next. More would make groups smaller, and each costs a commit.
const groupsInFlight = 2

// Close stops taking writes, finishes those that were taken, and closes the
// files. Reads must have ended.
func (s *Store) Close() error {
	s.queue.close(spoor.ErrClosed)
	select {
	case <-s.stop:
		return nil
	default:
		close(s.stop)
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tails.close()
	var err error
	if s.high != nil {
		err = s.high.close()
	}
	return errors.Join(err, s.closeDB())
}

// pebbleLog turns Pebble's chatter down to what an operator needs.
type pebbleLog struct{ log *slog.Logger }

func (l pebbleLog) Infof(format string, args ...any) {}
func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("store: " + fmt.Sprintf(format, args...))
}

// Fatalf is called when a write cannot be made durable: after a failed sync
// nobody knows what is on disk, so the process must end and be started again.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.log.Error("store: "+fmt.Sprintf(format, args...), "hint", "check the disk (space, health), then start spoor again; everything acknowledged is on disk")
	fatal()
}
