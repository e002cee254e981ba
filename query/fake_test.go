package query

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp/fasthttputil"
)

// fakeStore keeps everything in maps; it follows the contract of Store.
type fakeStore struct {
	mu       sync.Mutex
	apps     *fakeApps
	profiles map[spoor.AppID][]*spoor.Profile // by number
	hits     map[spoor.AppID][]spoor.Hit      // by time
	tails    []chan spoor.Hit
	readOnly error
	failAt   int // walks fail after so many entries; 0: never
	panics   bool
	tailEnds bool // tails are closed from the start
	edits    []spoor.Edit
	objected map[string]bool // kind and text
	receipts []spoor.Receipt // of each app, behind the first
	asked    []string        // questions of statistics
	shelf    map[spoor.AppID][]spoor.Collection

	feed []spoor.FeedEntry // of every app
	more chan struct{}     // closed when there is more of it
	gap  uint64            // entries up to this one are gone

	delivery spoor.Delivery
	dead     []spoor.DeadLetter

	entries []spoor.AuditEntry
	broken  string            // what is said of the audit log
	told    chan spoor.Access // gets entries too, if not nil
	hold    chan struct{}     // entries wait for it to be closed, if not nil
}

var errDisk = errors.New("bad block")

func (f *fakeStore) Profile(app spoor.AppID, n spoor.Number) (*spoor.Profile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("bug")
	}
	for _, p := range f.profiles[app] {
		if p.Number == n {
			return p, nil
		}
	}
	return nil, nil
}

func (f *fakeStore) ProfileByID(app spoor.AppID, id int64) (*spoor.Profile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.profiles[app] {
		if p.ID == id {
			return p, nil
		}
	}
	return nil, nil
}

func (f *fakeStore) Find(app spoor.AppID, by spoor.Lookup, value string) (found []spoor.Number, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.profiles[app] {
		var has bool
		switch by {
		case spoor.LookupKey:
			has = slices.Contains(p.Keys, value)
		case spoor.LookupUserID:
			has = p.UserID == value
		case spoor.LookupEmail:
			has = strings.EqualFold(p.Text(spoor.AttrEmail), value)
		case spoor.LookupPhone:
			has = p.Text(spoor.AttrPhone) == strings.TrimSpace(value)
		}
		if has {
			found = append(found, p.Number)
		}
	}
	return found, nil
}

func (f *fakeStore) Profiles(app spoor.AppID, after spoor.Number, fn func(*spoor.Profile) error) error {
	f.mu.Lock()
	list := slices.Clone(f.profiles[app])
	f.mu.Unlock()
	for i, p := range list {
		if f.failAt > 0 && i == f.failAt {
			return errDisk
		}
		if p.Number > after {
			if err := fn(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeStore) ProfileCount(app spoor.AppID) (int64, error) {
	return int64(len(f.profiles[app])), nil
}

func (f *fakeStore) Hits(app spoor.AppID, n spoor.Number, fn func(*spoor.Hit) error) error {
	for _, h := range slices.Backward(f.hits[app]) {
		if h.Profile == n {
			if err := fn(&h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeStore) ScanHits(app spoor.AppID, from, to spoor.Day, fn func(*spoor.Hit) error) error {
	for i, h := range f.hits[app] {
		if f.failAt > 0 && i == f.failAt {
			return errDisk
		}
		if h.Day >= from && h.Day <= to {
			if err := fn(&h); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetRight gives rights as the store does, and forgets nothing of who objected.
func (f *fakeStore) SetRight(app spoor.AppID, n spoor.Number, right spoor.Right, until spoor.Day) (*spoor.Profile, error) {
	p, err := f.Profile(app, n)
	if err != nil || p == nil {
		return nil, spoor.ErrNoProfile
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch right {
	case spoor.RightRestrict:
		p.Rights.Restricted = until
	case spoor.RightHold:
		p.Rights.Held = until
	case spoor.RightObject:
		if p.Rights.Objected = 0; until != 0 {
			p.Rights.Objected = testNow.UnixMilli()
		}
	}
	return p, nil
}

func (f *fakeStore) Object(_ spoor.AppID, text string, by []spoor.Lookup, on bool) (bool, error) {
	if f.objected == nil {
		f.objected = map[string]bool{fmt.Sprint(spoor.LookupEmail, " known@x.example"): true}
	}
	changed := false
	for _, kind := range by {
		key := fmt.Sprint(kind, " ", text)
		changed = changed || f.objected[key] != on
		f.objected[key] = on
	}
	return changed, nil
}

func (f *fakeStore) Receipts(app spoor.AppID, fn func(*spoor.Receipt) error) error {
	if app == 0 {
		return fn(&spoor.Receipt{ID: 9, App: "gone", What: spoor.ReceiptTermination, Decided: 1000})
	}
	err := fn(&spoor.Receipt{ID: 1, App: f.apps.App(app).Name, What: spoor.ReceiptSweep, Profiles: 3, Decided: 1000, Gone: 2000, Backups: 3000})
	for i := range f.receipts {
		if err == nil {
			err = fn(&f.receipts[i])
		}
	}
	return err
}

func (f *fakeStore) Edit(e *spoor.Edit) (spoor.Number, bool, error) {
	if f.readOnly != nil {
		return 0, false, f.readOnly
	}
	byUser, _ := f.Find(e.App, spoor.LookupUserID, e.UserID)
	byKey, _ := f.Find(e.App, spoor.LookupKey, e.Key)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.edits = append(f.edits, *e)
	var p *spoor.Profile
	for _, q := range f.profiles[e.App] {
		switch {
		case e.Number != 0 && q.Number == e.Number,
			e.Number == 0 && e.UserID != "" && slices.Contains(byUser, q.Number):
			p = q
		case e.Number == 0 && p == nil && e.Key != "" && slices.Contains(byKey, q.Number):
			p = q
		}
	}
	switch {
	case p != nil && e.MustCreate, p != nil && e.UserID != "" && len(byUser) > 0 && byUser[0] != p.Number:
		return 0, false, fmt.Errorf("cannot edit: %w", spoor.ErrTaken)
	case p == nil && e.Number != 0:
		return 0, false, spoor.ErrNoProfile
	}
	created := p == nil
	if created {
		n := spoor.Number(1)
		if list := f.profiles[e.App]; len(list) > 0 {
			n = list[len(list)-1].Number + 1
		}
		key := e.Key
		if key == "" {
			key = fmt.Sprintf("key%09d", n)
		}
		p = &spoor.Profile{App: e.App, Number: n, ID: 1000 + int64(n), Keys: []string{key}, CreatedAt: e.At}
		f.profiles[e.App] = append(f.profiles[e.App], p)
	}
	p.UpdatedAt = e.At
	if e.UserID != "" {
		p.UserID = e.UserID
	}
	for _, a := range e.Attributes {
		p.Attributes = slices.DeleteFunc(p.Attributes, func(b spoor.Attribute) bool { return b.Name == a.Name })
		if a.Type != spoor.TypeNull {
			p.Attributes = append(p.Attributes, a)
		}
	}
	change := func(kind spoor.CollectionKind, id uint32, name string, in bool) {
		p.Collections = slices.DeleteFunc(p.Collections, func(c spoor.Collection) bool { return c.Kind == kind && (c.Name == name || c.ID == id) })
		if in {
			p.Collections = append(p.Collections, spoor.Collection{Kind: kind, ID: id, Name: name})
		}
	}
	for _, name := range e.TagAdd {
		change(spoor.CollectionTag, 20, name, true)
	}
	for _, name := range e.TagDrop {
		change(spoor.CollectionTag, 0, name, false)
	}
	for _, id := range e.ListAdd {
		change(spoor.CollectionList, id, "list", true)
	}
	for _, id := range e.ListDrop {
		change(spoor.CollectionList, id, "list", false)
	}
	slices.SortFunc(p.Attributes, func(a, b spoor.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return p.Number, created, nil
}

func (f *fakeStore) Collections(app spoor.AppID, kind spoor.CollectionKind) (list []spoor.Collection, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.shelf[app] {
		if c.Kind == kind {
			list = append(list, c)
		}
	}
	return list, nil
}

func (f *fakeStore) Collection(app spoor.AppID, kind spoor.CollectionKind, id uint32) (*spoor.Collection, error) {
	list, err := f.Collections(app, kind)
	for i := range list {
		if list[i].ID == id {
			return &list[i], err
		}
	}
	return nil, err
}

func (f *fakeStore) PutCollection(app spoor.AppID, c spoor.Collection) (spoor.Collection, error) {
	if f.readOnly != nil {
		return c, f.readOnly
	}
	if err := c.Check(); err != nil {
		return c, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.ID == 0 {
		c.ID, c.Created = 21, testNow.UnixMilli()
	}
	f.shelf[app] = append(slices.DeleteFunc(f.shelf[app], func(x spoor.Collection) bool { return x.Kind == c.Kind && x.ID == c.ID }), c)
	return c, nil
}

func (f *fakeStore) DeleteCollection(app spoor.AppID, kind spoor.CollectionKind, id uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shelf[app] = slices.DeleteFunc(f.shelf[app], func(x spoor.Collection) bool { return x.Kind == kind && x.ID == id })
	return nil
}

// Members has everybody in every segment.
func (f *fakeStore) Members(app spoor.AppID, c *spoor.Collection, after spoor.Number, fn func(*spoor.Profile) error) (size int64, err error) {
	f.mu.Lock()
	list := slices.Clone(f.profiles[app])
	f.mu.Unlock()
	in := func(p *spoor.Profile) bool {
		return c.Kind == spoor.CollectionSegment || slices.ContainsFunc(p.Collections, func(x spoor.Collection) bool { return x.Kind == c.Kind && x.ID == c.ID })
	}
	for _, p := range list {
		if in(p) {
			size++
			if fn != nil && err == nil && p.Number > after {
				err = fn(p)
			}
		}
	}
	return size, err
}

func (f *fakeStore) SegmentsOf(app spoor.AppID, _ spoor.Number) ([]spoor.Collection, error) {
	return f.Collections(app, spoor.CollectionSegment)
}

func (f *fakeStore) Sizes(_ spoor.AppID, _ uint32, from, to spoor.Day) (list []spoor.Size, err error) {
	for day := max(from, to-2); day < to; day++ { // not noted today
		list = append(list, spoor.Size{Day: day, Count: int64(to-day) + 1})
	}
	return list, nil
}

// addCollections gives an app a tag, a list and a segment, each of id 20.
func (ts *testServer) addCollections(app spoor.AppID) {
	for kind := spoor.CollectionTag; kind <= spoor.CollectionSegment; kind++ {
		c := spoor.Collection{Kind: kind, ID: 20, Name: "vip", Description: "dear", Created: testNow.UnixMilli()}
		if kind == spoor.CollectionSegment {
			c.Filter = &spoor.Filter{Op: spoor.FilterTag, Name: "vip"}
		}
		ts.store.shelf[app] = append(ts.store.shelf[app], c)
	}
}

func (f *fakeStore) Tail(spoor.AppID) (<-chan spoor.Hit, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan spoor.Hit, 10)
	if f.tailEnds {
		close(ch)
		return ch, func() {}
	}
	f.tails = append(f.tails, ch)
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tails = slices.DeleteFunc(f.tails, func(c chan spoor.Hit) bool { return c == ch })
	}
}

func (f *fakeStore) Feed(_ spoor.AppID, behind uint64, fn func(*spoor.FeedEntry) error) (uint64, error) {
	f.mu.Lock()
	list := slices.Clone(f.feed)
	gap := f.gap
	f.mu.Unlock()
	if behind > 0 && behind < gap {
		return behind, &spoor.FeedGap{After: behind, Oldest: gap}
	}
	for i := range list {
		if list[i].Number > behind {
			if err := fn(&list[i]); err != nil {
				return behind, err
			}
			behind = list[i].Number
		}
	}
	return behind, nil
}

func (f *fakeStore) FeedEnd(spoor.AppID) (newest uint64, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.feed) > 0 {
		newest = f.feed[len(f.feed)-1].Number
	}
	if f.more == nil {
		f.more = make(chan struct{})
	}
	return newest, f.more
}

func (f *fakeStore) Delivery(spoor.AppID) (spoor.Delivery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.delivery, nil
}

func (f *fakeStore) PutDelivery(_ spoor.AppID, d *spoor.Delivery, dead *spoor.DeadLetter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readOnly != nil {
		return f.readOnly
	}
	if dead != nil {
		f.dead = append(f.dead, *dead)
	}
	f.delivery = *d
	return nil
}

func (f *fakeStore) DeadLetters(_ spoor.AppID, fn func(*spoor.DeadLetter) error) error {
	f.mu.Lock()
	list := slices.Clone(f.dead)
	f.mu.Unlock()
	for i := range list {
		if err := fn(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeStore) ReplaceDeadLetter(_ spoor.AppID, from uint64, left []spoor.DeadLetter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readOnly != nil {
		return f.readOnly
	}
	f.dead = append(slices.DeleteFunc(f.dead, func(l spoor.DeadLetter) bool { return l.From == from }), left...)
	slices.SortFunc(f.dead, func(a, b spoor.DeadLetter) int { return cmp.Compare(a.From, b.From) })
	return nil
}

// tell adds an entry to the feed.
func (f *fakeStore) tell(e spoor.FeedEntry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.feed = append(f.feed, e)
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

func (f *fakeStore) send(h spoor.Hit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ch := range f.tails {
		ch <- h
	}
}

func (f *fakeStore) Partitions(app spoor.AppID) ([]spoor.Partition, error) {
	return []spoor.Partition{{App: app, Day: 20000, Hits: 3, Profiles: 2, Bytes: 512, Sealed: true}}, nil
}

func (f *fakeStore) PublicID(_ spoor.AppID, n spoor.Number) int64 { return 1000 + int64(n) }

func (f *fakeStore) AppByShare(token string) *spoor.App {
	return f.apps.find(func(a *spoor.App) bool { return a.Share != "" && a.Share == spoor.HashToken(token) })
}

func (f *fakeStore) CreateApp(a *spoor.App) (*spoor.App, error) {
	if a = a.Clone(); a.ID == 0 {
		a.ID = spoor.AppID(len(f.apps.list) + 1)
	} else if f.apps.App(a.ID) != nil {
		return nil, spoor.ErrNumberTaken
	}
	f.apps.list = append(f.apps.list, a)
	return a, nil
}

func (f *fakeStore) UpdateApp(id spoor.AppID, change func(*spoor.App) error) (*spoor.App, error) {
	for i, a := range f.apps.list {
		if a.ID == id {
			b := a.Clone()
			if err := change(b); err != nil {
				return nil, fmt.Errorf("cannot update app: %w", err)
			}
			f.apps.list[i] = b
			return b, nil
		}
	}
	return nil, errors.New("no app")
}

func (f *fakeStore) DeleteApp(id spoor.AppID) error {
	f.apps.list = slices.DeleteFunc(f.apps.list, func(a *spoor.App) bool { return a.ID == id })
	return nil
}

func (f *fakeStore) Audit(a spoor.Access) error {
	if f.readOnly != nil {
		return f.readOnly
	}
	if f.hold != nil {
		<-f.hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := uint64(len(f.entries) + 1)
	f.entries = append(f.entries, spoor.AuditEntry{Number: n, Access: a, Sum: [32]byte{byte(n)}})
	if f.told != nil {
		f.told <- a
	}
	return nil
}

func (f *fakeStore) AuditEntries(app spoor.AppID, since int64, fn func(*spoor.AuditEntry) error) (end spoor.AuditEnd, err error) {
	f.mu.Lock()
	list := slices.Clone(f.entries)
	f.mu.Unlock()
	end.Broken = f.broken
	for i := range list {
		if list[i].App != app {
			continue
		}
		if end.Newest, end.Sum = list[i].Number, list[i].Sum; list[i].At >= since {
			if err := fn(&list[i]); err != nil {
				return end, err
			}
		}
	}
	return end, nil
}

func (f *fakeStore) Writable() error { return f.readOnly }

type fakeApps struct {
	mu   sync.Mutex
	list []*spoor.App
}

// change replaces the first app, as a store would while requests run.
func (f *fakeApps) change(how func(*spoor.App)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.list[0].Clone()
	how(a)
	f.list = append([]*spoor.App{a}, f.list[1:]...)
}

func (f *fakeApps) find(fits func(*spoor.App) bool) *spoor.App {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.list {
		if fits(a) {
			return a
		}
	}
	return nil
}

func (f *fakeApps) App(id spoor.AppID) *spoor.App {
	return f.find(func(a *spoor.App) bool { return a.ID == id })
}

func (f *fakeApps) AppByName(name string) *spoor.App {
	return f.find(func(a *spoor.App) bool { return a.Name == name })
}

func (f *fakeApps) AppByKey(key string) *spoor.App {
	return f.find(func(a *spoor.App) bool {
		return slices.ContainsFunc(a.Keys, func(k spoor.WriteKey) bool { return k.Key == key })
	})
}

func (f *fakeApps) AppByToken(secret string) (app *spoor.App, tok spoor.Token) {
	hash := spoor.HashToken(secret)
	app = f.find(func(a *spoor.App) bool {
		i := slices.IndexFunc(a.Tokens, func(t spoor.Token) bool { return t.Hash == hash })
		if i >= 0 {
			tok = a.Tokens[i]
		}
		return i >= 0
	})
	return app, tok
}

func (f *fakeApps) AllApps() []*spoor.App { return f.list }

var testNow = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// testServer is a Server on in-memory listeners, with two apps, "shop" and
// "other", that have one token of each role named APP-ROLE.
type testServer struct {
	*Server
	t     *testing.T
	store *fakeStore
	web   *http.Client
	local *http.Client
	raw   func() net.Conn
	log   *bytes.Buffer

	outlet *Outlet

	mu  sync.Mutex
	now time.Time
}

func newTestServer(t *testing.T, change ...func(*Options)) *testServer {
	t.Helper()
	apps := &fakeApps{}
	for i, name := range []string{"shop", "other"} {
		a := &spoor.App{ID: spoor.AppID(i + 1), Name: name, Settings: spoor.DefaultSettings("UTC")}
		for _, role := range []spoor.Role{read, write, erase, admin} {
			a.Tokens = append(a.Tokens, spoor.Token{Name: name + "-" + string(role), Role: role, Hash: spoor.HashToken(name + "-" + string(role))})
		}
		a.Tokens = append(a.Tokens, spoor.Token{Name: "old", Role: admin, Hash: spoor.HashToken(name + "-expired"), Expires: testNow.UnixMilli()})
		apps.list = append(apps.list, a.Clone())
	}
	ts := &testServer{t: t, now: testNow, log: new(bytes.Buffer)}
	ts.store = &fakeStore{apps: apps, profiles: map[spoor.AppID][]*spoor.Profile{}, hits: map[spoor.AppID][]spoor.Hit{}, shelf: map[spoor.AppID][]spoor.Collection{}}
	log := slog.New(slog.NewTextHandler(ts.log, nil))
	ts.outlet = NewOutlet(OutletOptions{
		Store: ts.store, Apps: apps, Now: func() time.Time { return testNow }, Log: log, Private: true, RetryFirst: time.Millisecond,
	})
	opt := Options{
		Outlet: ts.outlet, Store: ts.store, Apps: apps, Retention: fakeRetention{},
		Secret:         []byte("secret of the test"),
		AdminTokenHash: spoor.HashToken("control"),
		Privacy: func(w io.Writer, apps []*spoor.App) error {
			_, err := fmt.Fprintf(w, "# Record of %d apps, the first is %s\n", len(apps), apps[0].Name)
			return err
		},
		Checkpoint: func() (Checkpoint, error) { return new(fakeCheckpoint), nil }, CheckpointByToken: true,
		Figures: func() Figures { return Figures{Refusals: []Refusal{{"no_write_key", 3, "there is no write key"}}} },
		Metrics: func(w io.Writer) error { _, err := io.WriteString(w, "spoor_up 1\n"); return err },
		Log:     log,
		Now: func() time.Time {
			ts.mu.Lock()
			defer ts.mu.Unlock()
			return ts.now
		},
	}
	for _, f := range change {
		f(&opt)
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ts.Server = s
	s.sampleEvery = time.Hour // tests take samples themselves
	web, local := fasthttputil.NewInmemoryListener(), fasthttputil.NewInmemoryListener()
	go s.Serve(web)
	go s.ServeLocal(local)
	ts.web, ts.local = client(web), client(local)
	ts.raw = func() net.Conn {
		c, err := web.Dial()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Cleanup(func() {
		ts.web.CloseIdleConnections()
		ts.local.CloseIdleConnections()
		web.Close()
		local.Close()
	})
	return ts
}

func client(l *fasthttputil.InmemoryListener) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return l.Dial() },
	}}
}

// reply is what came back.
type reply struct {
	status int
	body   string
	header http.Header
}

// do sends a request. The token may be empty; headers come as "Name: value".
func (ts *testServer) do(method, path, token, body string, headers ...string) reply {
	ts.t.Helper()
	return ts.doVia(ts.web, method, path, token, body, headers...)
}

func (ts *testServer) doVia(c *http.Client, method, path, token, body string, headers ...string) reply {
	ts.t.Helper()
	req, err := http.NewRequest(method, "http://spoor.test"+path, strings.NewReader(body))
	if err != nil {
		ts.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Token "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		ts.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		ts.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{resp.StatusCode, string(b), resp.Header}
}

// audited returns and forgets the entries of the audit.
func (ts *testServer) audited() (list []spoor.Access) {
	ts.store.mu.Lock()
	defer ts.store.mu.Unlock()
	for _, e := range ts.store.entries {
		list = append(list, e.Access)
	}
	ts.store.entries = nil
	return list
}

// addProfile adds ada, who has every field.
func (ts *testServer) addProfile(app spoor.AppID, n spoor.Number, userID, email string) *spoor.Profile {
	at := func(min int) int64 { return testNow.Add(time.Duration(min) * time.Minute).UnixMilli() }
	text := func(name, v string) spoor.Attribute {
		return spoor.Attribute{Name: name, Type: spoor.TypeString, Text: v}
	}
	p := &spoor.Profile{
		App: app, Number: n, ID: 1000 + int64(n), Keys: []string{fmt.Sprintf("cookie%06d", n), "device-1"}, UserID: userID,
		CreatedAt: at(0), UpdatedAt: at(1), FirstSeen: at(2), LastSeen: at(3), LastContacted: at(4),
		LastHeardFrom: at(5), LastEmailOpened: at(6), LastEmailClicked: at(7),
		Views: 7, Events: 8, Visits: 2, MobileIDs: []string{"push-1"},
		Attributes: []spoor.Attribute{
			text("assigned_to", "12"), text("browser", "Firefox"), text("browser_language", "pl"),
			text("browser_version", "150"), text("city", "Gdańsk"), text("country", "PL"), text("device", "desktop"),
			text("email", email), text("first_name", "Ada"), {Name: "gender", Type: spoor.TypeInt, Text: "3"},
			text("last_ip", "203.0.113.0"), text("last_name", "Byron"), {Name: "nested", Type: spoor.TypeJSON, Text: `{"a":[1]}`},
			text("os_type", "Windows"), text("os_version", "11"), text("phone_number", "+48600100200"),
			{Name: "plan", Type: spoor.TypeString, Text: "gold"}, text("region", "Pomerania"),
			{Name: "paid", Type: spoor.TypeBool, Text: "true"}, text("resolution", "1920x1080"),
			{Name: "score", Type: spoor.TypeInt, Text: "-5"}, {Name: "spent", Type: spoor.TypeFloat, Text: "12.5"},
			text("status", "user"), text("timezone", "Europe/Warsaw"),
			{Name: "web_push_consent", Type: spoor.TypeBool, Text: "true"},
		},
	}
	ts.store.profiles[app] = append(ts.store.profiles[app], p)
	return p
}

// furnish gives the first app a person, a write key and a shared overview.
func (ts *testServer) furnish() {
	ts.addProfile(1, 1, "ada", "ada@example.com")
	ts.addCollections(1)
	app := ts.store.apps.list[0]
	app.Keys = []spoor.WriteKey{{Key: "pub"}}
	app.Share = spoor.HashToken("link")
	app.Settings.FeedDays, app.Settings.FeedWebhook = 7, "http://192.0.2.1/"
}

// addHit adds a page view or another hit of profile n.
func (ts *testServer) addHit(app spoor.AppID, n spoor.Number, kind spoor.Kind, name string) *spoor.Hit {
	i := len(ts.store.hits[app])
	ts.store.hits[app] = append(ts.store.hits[app], spoor.Hit{
		App: app, Kind: kind, Door: spoor.DoorNative, Name: name, Profile: n, Public: int64(5000 + i), Day: 20516,
		Time: testNow.UnixMilli() + int64(i)*1000, Received: testNow.UnixMilli() + int64(i)*1000,
		URL: "https://shop.example/a?utm_source=x", Referrer: "https://search.example/", Title: "A \"page\"",
		Resolution: "1920x1080", Language: "pl", TimeZone: "Europe/Warsaw", IP: netip.MustParseAddr("203.0.113.0"),
		UserAgent: "Mozilla/5.0", Properties: []byte(`{"price":1.5,"tags":["a"],"note":"x"}`),
		Place: spoor.Place{City: "Gdańsk", Region: "Pomerania", Country: "PL"},
		Agent: spoor.Agent{OS: "Windows", OSVersion: "11", Browser: "Firefox", BrowserVersion: "150", Device: "desktop"},
	})
	return &ts.store.hits[app][i]
}

// fakeRetention keeps everybody but profile 1, and sweeps one profile.
type fakeRetention struct{}

func (fakeRetention) Judge(_ *spoor.App, p *spoor.Profile, today spoor.Day) spoor.Verdict {
	if p.Number == 1 {
		return spoor.Verdict{LastDay: today - 61, Due: today}
	}
	return spoor.Verdict{LastDay: today, Due: today + 61, Keeps: []string{"it has a user id"}}
}

func (fakeRetention) Plan(_ *spoor.App, day spoor.Day, fn func(*spoor.Profile, spoor.Verdict) error) error {
	return fn(&spoor.Profile{Number: 1, ID: 77, Views: 3}, spoor.Verdict{LastDay: day - 61, Due: day})
}

func (fakeRetention) PlanDays(_ *spoor.App, day spoor.Day, fn func(spoor.Partition, string) error) error {
	return fn(spoor.Partition{Day: day - 400, Hits: 5}, "its hits are older than hits_days, 365")
}

func (fakeRetention) Sweep(_ context.Context, full, wait bool) (spoor.Sweep, error) {
	r := spoor.Sweep{Apps: []spoor.AppSweep{{App: "shop", Day: 20000, Removal: spoor.Removal{Profiles: 1, Hits: 9}}}}
	if full {
		r.Reclaimed = spoor.ReclaimReport{Partitions: 2, Bytes: 1000}
	}
	return r, nil
}

func (fakeRetention) Erase(_ context.Context, _ spoor.AppID, n spoor.Number, subject string, wait bool) (*spoor.Receipt, error) {
	switch n {
	case 8:
		return nil, &spoor.HeldError{Until: 20500}
	case 9:
		return nil, nil
	}
	r := &spoor.Receipt{ID: 7, App: "shop", What: spoor.ReceiptErasure, Subject: subject, Profiles: 1, Hits: int64(n), Asked: 1000, Decided: 1000}
	if wait {
		r.Gone, r.Backups = 2000, 3000
	}
	return r, nil
}

func (fakeRetention) Outlook(a *spoor.App) (o spoor.Outlook, err error) {
	return spoor.Outlook{Due: []spoor.DueDay{{Day: 20517, Profiles: int64(a.ID)}, {Day: 20518}}, LastSweep: 1000}, nil
}

func (fakeRetention) Hurry() {}

func (fakeRetention) Reclaim(context.Context, bool) (spoor.ReclaimReport, error) {
	return spoor.ReclaimReport{}, nil
}
