package store

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// slowFS holds every sync of a write-ahead log until the gate is open.
type slowFS struct {
	vfs.FS
	mu   sync.Mutex
	gate chan struct{} // closed: syncs pass
}

func newSlowFS() *slowFS {
	f := &slowFS{FS: vfs.NewMem(), gate: make(chan struct{})}
	close(f.gate)
	return f
}

// shut holds the syncs from now on, until the returned function is called.
func (f *slowFS) shut() (open func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	f.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

func (f *slowFS) wait() {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	<-gate
}

func (f *slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(name)(f.FS.Create(name, c))
}

func (f *slowFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(name)(f.FS.ReuseForWrite(old, name, c))
}

func (f *slowFS) Unwrap() vfs.FS { return f.FS }

func (f *slowFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(file vfs.File, err error) (vfs.File, error) {
		if err != nil || !strings.HasSuffix(name, ".log") {
			return file, err
		}
		return slowFile{file, f}, nil
	}
}

type slowFile struct {
	vfs.File
	fs *slowFS
}

func (f slowFile) Sync() error     { f.fs.wait(); return f.File.Sync() }
func (f slowFile) SyncData() error { f.fs.wait(); return f.File.SyncData() }
func (f slowFile) SyncTo(n int64) (bool, error) {
	f.fs.wait()
	return f.File.SyncTo(n)
}

// eventually waits for something that another goroutine will bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for tries := 0; !holds(); tries++ {
		if tries < 100 {
			runtime.Gosched()
			continue
		}
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-time.After(50 * time.Microsecond):
		}
	}
}

// asOneGroup makes the writer take several calls as one group, in their order:
// it is held up until all of them have queued. It returns when all have.
func asOneGroup(t testing.TB, s *Store, calls ...func()) {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.change(func(*group) error { close(held); <-release; return nil }); err != nil {
			t.Errorf("cannot hold the writer: %v", err)
		}
	})
	<-held
	for i, call := range calls {
		all.Go(call)
		eventually(t, "a call has queued", func() bool { _, n := s.queue.fill(); return n == i+1 })
	}
	close(release)
	all.Wait()
}

// ask queues hits without waiting for the answer.
func ask(t testing.TB, s *Store, hits ...spoor.Hit) *request {
	t.Helper()
	r := &request{hits: hits, bytes: weight(hits), done: make(chan struct{}, 1)}
	if err := s.queue.put(r, false); err != nil {
		t.Fatal(err)
	}
	return r
}

// passed waits until the writer has decided about all that queued before.
func passed(t testing.TB, s *Store) {
	t.Helper()
	seen := make(chan struct{})
	r := &request{do: func(*group) error { close(seen); return nil }, done: make(chan struct{}, 1)}
	if err := s.queue.put(r, false); err != nil {
		t.Fatal(err)
	}
	<-seen
}

func answered(r *request) bool { return len(r.done) > 0 }

// Goal: a duplicate is not answered before its original is on disk, although
// its own group has nothing to sync.
// Method: the log's sync is held; original and duplicate go in as two groups;
// once the writer has moved on to a third, neither may have been answered.
func TestDuplicateWaitsForItsOriginal(t *testing.T) {
	c, fs := newClock(), newSlowFS()
	s := open(t, testOptions(t, fs, c))
	app := newApp(t, s, "shop", "UTC")
	letGo := fs.shut()
	defer letGo()
	first := ask(t, s, page(app, c, "visitor1", 1))
	passed(t, s)
	second := ask(t, s, page(app, c, "visitor1", 1))
	passed(t, s)
	for range 1000 { // room for an answer that must not come
		runtime.Gosched()
	}
	if answered(first) || answered(second) {
		t.Fatalf("answered before the sync: original %t, duplicate %t", answered(first), answered(second))
	}
	letGo()
	<-second.done
	if !answered(first) {
		t.Error("the duplicate was answered before its original")
	}
	if o := first.hits[0].Outcome; first.err != nil || o != spoor.Stored {
		t.Errorf("original: %v, %v", o, first.err)
	}
	if o := second.hits[0].Outcome; second.err != nil || o != spoor.Duplicate {
		t.Errorf("duplicate: %v, %v", o, second.err)
	}
}

// Goal: groups are acknowledged in their order, those without hits too.
// Method: the sync is held while three groups are built: a hit, an edit that
// is refused (it writes nothing), a hit; when one is answered, all before it are.
func TestGroupsAreAnsweredInOrder(t *testing.T) {
	c, fs := newClock(), newSlowFS()
	s := open(t, testOptions(t, fs, c))
	app := newApp(t, s, "shop", "UTC")
	letGo := fs.shut()
	defer letGo()
	var asked []*request
	asked = append(asked, ask(t, s, page(app, c, "visitor1", 1)))
	eventually(t, "the writer took it", func() bool { _, n := s.queue.fill(); return n == 0 })
	refused := &request{do: func(g *group) error { return spoor.ErrNoProfile }, done: make(chan struct{}, 1)}
	if err := s.queue.put(refused, false); err != nil {
		t.Fatal(err)
	}
	asked = append(asked, refused)
	passed(t, s)
	for i, r := range asked {
		if answered(r) {
			t.Errorf("request %d was answered before the sync", i)
		}
	}
	asked = append(asked, ask(t, s, page(app, c, "visitor1", 2)))
	letGo()
	<-asked[2].done
	for i, r := range asked[:2] {
		if !answered(r) {
			t.Errorf("request 2 was answered before request %d", i)
		}
	}
	if !errors.Is(refused.err, spoor.ErrNoProfile) {
		t.Errorf("the refused edit: %v", refused.err)
	}
}

// Goal: a full queue refuses at once with ErrBusy, and what waits is bounded.
// Method: while the sync is held, hits are written until one is refused; the
// queue never exceeds its bound; all that were taken are stored afterwards.
func TestFullQueueIsBusy(t *testing.T) {
	c, fs := newClock(), newSlowFS()
	o := testOptions(t, fs, c)
	o.QueueBytesMax = 32 << 10
	s := open(t, o)
	app := newApp(t, s, "shop", "UTC")
	letGo := fs.shut()
	defer letGo()
	var taken []*request
	// One group waits for its sync, some wait behind it, one waits to be passed
	// on: from then on the writer takes nothing.
	for i := range groupsInFlight + 2 {
		taken = append(taken, ask(t, s, page(app, c, "visitor1", i)))
		eventually(t, "the writer took it", func() bool { _, n := s.queue.fill(); return n == 0 })
	}
	busy := false
	for i := 100; i < 10_000 && !busy; i++ {
		hits := []spoor.Hit{page(app, c, "visitor1", i)}
		r := &request{hits: hits, bytes: weight(hits), done: make(chan struct{}, 1)}
		switch err := s.queue.put(r, false); {
		case err == nil:
			taken = append(taken, r)
		case errors.Is(err, spoor.ErrBusy):
			busy = true
			if err := s.Write(hits); !errors.Is(err, spoor.ErrBusy) {
				t.Errorf("Write: %v, want ErrBusy", err)
			}
		default:
			t.Fatal(err)
		}
		if st := s.Stats(); st.QueueBytes > o.QueueBytesMax || st.QueueRequests == 0 {
			t.Fatalf("%d bytes of %d requests queue, the bound is %d", st.QueueBytes, st.QueueRequests, o.QueueBytesMax)
		}
	}
	if !busy {
		t.Fatal("10,000 hits queue in 32 KiB")
	}
	letGo()
	for _, r := range taken {
		<-r.done
		if r.err != nil || r.hits[0].Outcome != spoor.Stored {
			t.Errorf("a hit that was taken: %v, %v", r.hits[0].Outcome, r.err)
		}
	}
	if _, n := s.queue.fill(); n != 0 {
		t.Errorf("%d requests were left", n)
	}
	write(t, s, page(app, c, "visitor1", 20_000)) // and it takes again
}

// Goal: the bound of the queue is about bytes that senders control.
// Method: each text of a hit, however deep, is made long in turn; the hit must
// weigh at least as much.
func TestEveryTextHasWeight(t *testing.T) {
	const long = 100_000
	text := strings.Repeat("x", long)
	var walk func(path string, v reflect.Value, root *spoor.Hit)
	walk = func(path string, v reflect.Value, root *spoor.Hit) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(text)
			if w := weight([]spoor.Hit{*root}); w < long {
				t.Errorf("%s of %d bytes weighs %d", path, long, w)
			}
			v.SetString("")
		case reflect.Pointer:
			if v.Type() != reflect.TypeFor[*spoor.Withheld]() { // that of an address leads to its zone
				return
			}
			v.Set(reflect.New(v.Type().Elem()))
			walk(path, v.Elem(), root)
			v.SetZero()
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.Name != "Reason" && f.Name != "Tally" { // ours
					walk(path+"."+f.Name, v.Field(i), root)
				}
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Uint8 {
				v.SetBytes([]byte(text))
				if w := weight([]spoor.Hit{*root}); w < long {
					t.Errorf("%s of %d bytes weighs %d", path, long, w)
				}
			} else {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
				walk(path+"[0]", v.Index(0), root)
			}
			v.SetZero()
		}
	}
	var h spoor.Hit
	walk("hit", reflect.ValueOf(&h).Elem(), &h)
}

// Goal: Close finishes what was taken and takes no more.
// Method: writes queue behind a held sync, Close is called, the sync goes on;
// all writes succeed, a later one is refused, and a reopened store has all.
func TestCloseDrains(t *testing.T) {
	c, fs := newClock(), newSlowFS()
	o := testOptions(t, fs, c)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(t, s, "shop", "UTC")
	letGo := fs.shut()
	defer letGo()
	var taken []*request
	for i := range 50 {
		taken = append(taken, ask(t, s, page(app, c, "visitor1", i)))
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	eventually(t, "the store takes no more", func() bool { return s.Writable() != nil })
	if err := s.Write([]spoor.Hit{page(app, c, "late", 0)}); !errors.Is(err, spoor.ErrClosed) {
		t.Errorf("a write after Close: %v, want ErrClosed", err)
	}
	select {
	case err := <-closed:
		t.Fatalf("Close returned before the sync: %v", err)
	default:
	}
	letGo()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	for i, r := range taken {
		if !answered(r) || r.err != nil || r.hits[0].Outcome != spoor.Stored {
			t.Errorf("hit %d: answered %t, %v, %v", i, answered(r), r.hits[0].Outcome, r.err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	s = open(t, o)
	for i := range 50 {
		if ok, err := s.HasEvent(app.ID, page(app, c, "visitor1", i).ID); !ok || err != nil {
			t.Errorf("hit %d is gone: %v", i, err)
		}
	}
}

// Goal: on an error no outcome may look final, so that the same slice can be
// sent again and is then really stored.
// Method: a group fails because the app's salt is unreadable; once that is
// mended the same slice is written again.
func TestFailedWriteCanBeRepeated(t *testing.T) {
	c := newClock()
	s := open(t, testOptions(t, vfs.NewMem(), c))
	app := newApp(t, s, "shop", "UTC")
	other := newApp(t, s, "other", "UTC")
	var salt []byte
	if err := get(s.db, appKey(other.ID, appSalt), func(v []byte) error { salt = append(salt, v...); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.change(func(g *group) error { delete(g.w.apps, other.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Delete(appKey(other.ID, appSalt), nil); err != nil {
		t.Fatal(err)
	}
	hits := []spoor.Hit{page(app, c, "visitor1", 1), page(other, c, "visitor1", 1)}
	if err := s.Write(hits); err == nil {
		t.Fatal("a write without a salt succeeded")
	}
	if err := s.db.Set(appKey(other.ID, appSalt), salt, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(hits); err != nil {
		t.Fatal(err)
	}
	for i := range hits {
		if hits[i].Outcome != spoor.Stored {
			t.Errorf("hit %d: %v, want stored", i, hits[i].Outcome)
		}
		if ok, err := s.HasEvent(hits[i].App, hits[i].ID); !ok || err != nil {
			t.Errorf("hit %d was called stored and is not there: %v", i, err)
		}
	}
}
