package store

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

var update = flag.Bool("update", false, "rewrite the golden files: the format on disk has changed on purpose")

// Goal: the format does not change by accident.
// Method: samples of all keys and values as hex.
func TestFormatIsGolden(t *testing.T) {
	h := sampleHit()
	a := counter{next: 5, sequence: 900, sealed: 20500, clock: 1773144000000, ticks: 17}
	var text strings.Builder
	line := func(name string, b []byte) { fmt.Fprintf(&text, "%s %s\n", name, hex.EncodeToString(b)) }
	id := hash{1, 2, 3, 15: 16}
	line("key-hit", hitKey(nil, 3, 20522, 9, 1773144000000, id))
	line("key-event", eventKey(nil, 3, 2931, id))
	line("key-profile", profileKey(nil, 3, 9))
	line("key-ident", identKey(nil, 3, spoor.LookupKey, id))
	line("key-shared-ident", sharedIdentKey(nil, 3, spoor.LookupEmail, id, 9))
	line("key-activity", activityKey(nil, 3, 20522, activityVisitor, 2))
	line("key-count", countKey(nil, 3, 20522, spoor.DimPath, 0x0102030405060708))
	line("key-set", setKey(nil, 3, setContacts, 2))
	line("key-number", numberKey(nil, 3, 7))
	line("key-define", defineKey(nil, 3, 0x0102030405060708))
	line("key-app", appKey(3, appSalt))
	line("key-writer-app", writerAppKey(nil, 3))
	line("key-writer-day", writerDayKey(nil, 3, 20522))
	line("key-uncounted", uncountedKey(5))
	line("key-receipt", receiptKey(nil, 3, 7))
	line("key-notice", noticeKey(nil, 3, 7))
	line("key-delivery", deliveryKey(nil, 3))
	line("key-dead-letter", deadLetterKey(nil, 3, 7))
	line("key-erased", erasedKey(nil, 3, spoor.LookupKey, id))
	line("key-journal", journalKey(nil, 3, 7))
	line("key-audit", auditKey(nil, 3, 7))
	line("key-catalogue", catalogueKey(nil, 3, collectionRef{spoor.CollectionList, 7}))
	line("key-size", sizeKey(nil, 3, 7, 20522))
	line("key-member", memberKey(nil, 3, collectionRef{spoor.CollectionTag, 7}, 2))
	from := sourceRef{topicHash("spoor"), 5}
	line("key-topic", sourceKey(nil, from))
	line("key-poisoned", poisonedKey(nil, from, 7))
	line("key-known-command", knownCommandKey(nil, from, 7))
	line("topic", (&source{Offset: Offset{Topic: "spoor", Next: 900, Missed: 5, Poisoned: 1}, salt: salt{1, 2, 3}, made: 6, last: 2}).appendTo(nil))
	line("poisoned", (&Poisoned{Offset: 0, Bytes: 12, Why: "not a record", At: 1773144000000, Sum: [16]byte{9}}).appendTo(nil))
	line("key-watch", watchKey(3))
	line("watch", (&watch{cursor: 9, day: 20522, changes: 3, seen: 2, segments: []watchedSegment{{1, true}, {4, false}}}).appendTo(nil))
	line("collection-watched", appendCollection(nil, &spoor.Collection{Name: "vip", Filter: &spoor.Filter{Op: spoor.FilterTag, Name: "a"}, Watched: true}))
	line("collection", appendCollection(nil, &spoor.Collection{Name: "vip", Description: "x", Created: 5, Filter: &spoor.Filter{Op: spoor.FilterTag, Name: "a"}}))
	line("hit", appendHit(nil, &h))
	line("state", sampleState().appendTo(nil))
	line("set", (&setChange{add: newBitmap(1, 5, 65535), drop: newBitmap(2)}).appendTo(nil))
	line("counts", (&counts{text: "/a", hits: 3, views: 2, events: 1, visits: 1}).appendTo(nil))
	line("account", (&account{stored: 5, swept: 1, erased: 2, bots: 1, late: 1, views: 3, events: 1, visits: 2, bytes: 900, counted: 12}).appendTo(nil))
	line("account-of-old", (&account{stored: 5, swept: 5, bytes: 900, counted: 12, sealed: true, dropped: 1 << spoor.KindForm, again: 1 << spoor.KindPage, bare: true}).appendTo(nil))
	line("journal", (&journal{at: 5, erased: true, gone: []former{{number: 9, days: []spoor.Day{3, 5}}}, sizes: []daySize{{3, 400}}, days: []spoor.Day{1}, receipt: 7, cleaned: true}).appendTo(nil))
	line("barrier", barrier{erased: 5, objected: 6}.appendTo(nil))
	line("definition", appendDefinition(nil, definition{name: "plan", typ: spoor.TypeInt, since: 5, source: spoor.DoorREST}))
	line("writer-app", putUint(a.appendTo(appendHeader(nil)), writerCounted, 12))
	line("uncounted", sampleUncounted())
	access := spoor.Access{At: 1773144000000, Actor: "crm", Role: spoor.RoleRead, App: 3, Action: "users.read", Subjects: 1, Ref: "0a0b", Complete: true}
	entry := appendAccess(nil, &access, 3)
	seal := sum{9}.next(auditKey(nil, 3, 7), entry)
	line("access", putBytes(entry, auditSum, seal[:]))
	access = spoor.Access{At: 5, Actor: spoor.ActorRetention, App: 4, AppName: "gone", Action: "apps.end", Complete: true}
	line("access-elsewhere", appendAccess(nil, &access, 0))
	line("chain", (&chain{removed: link{2, sum{1}}, newest: link{7, sum{2}}}).appendTo(nil))
	secret := salt{1, 2, 3}
	ident := secret.ident(spoor.LookupEmail, " A@b.Example ")
	line("ident-hash", ident[:])
	people := secret.permutation("profile")
	fmt.Fprintf(&text, "public-id %d\n", people.public(1))

	golden := filepath.Join("testdata", "format.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the format on disk has changed:\n%s\nwant\n%s", text.String(), want)
	}
}

// Goal: a store of a former release opens, fits together and says what it said.
// Method: a store written once by this format, kept in testdata.
func TestOpensFormerStore(t *testing.T) {
	kept := filepath.Join("testdata", "store-v1")
	c := newClock()
	if _, err := os.Stat(kept); *update && err != nil { // never written again
		o := testOptions(t, vfs.Default, c)
		o.Dir, o.MemTableBytes = kept, 64<<10
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		app := newApp(t, s, "shop", "Europe/Warsaw")
		for i := range 20 {
			h := page(app, c, fmt.Sprint("visitor", i%4), i)
			if i == 11 {
				h.UserID, h.Kind = "u1", spoor.KindIdentify
				h.Attributes = []spoor.Attribute{{Name: spoor.AttrEmail, Type: spoor.TypeString, Text: "u1@shop.example"}, {Name: "plan", Type: spoor.TypeInt, Text: "3"}}
			}
			write(t, s, h)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, empty := range []string{"spare"} { // git keeps no empty folders
			_ = os.Remove(filepath.Join(kept, empty))
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	o := testOptions(t, vfs.Default, c)
	o.Dir = dir
	s := open(t, o)
	app := s.AppByName("shop")
	if app == nil {
		t.Fatal("the app is not there")
	}
	n, err := s.Find(app.ID, spoor.LookupEmail, "U1@shop.example")
	if err != nil || len(n) != 1 {
		t.Fatalf("found %v, %v", n, err)
	}
	p, err := s.Profile(app.ID, n[0])
	if err != nil || p.UserID != "u1" || p.Text("plan") != "3" || p.Views != 4 || p.Visits != 1 || p.Text(spoor.AttrCity) != "Warsaw" {
		t.Errorf("profile %+v, %v", p, err)
	}
	hits := 0
	if err := s.ScanHits(app.ID, 0, 100000, func(*spoor.Hit) error { hits++; return nil }); err != nil || hits != 20 {
		t.Errorf("%d hits, %v; want 20", hits, err)
	}
	// What it did not know is as by default, and what came since works on it.
	if d := spoor.DefaultSettings(""); app.Settings.BackupDays != d.BackupDays || app.Settings.AuditDays != d.AuditDays || app.Settings.Plan != d.Plan {
		t.Errorf("settings %+v", app.Settings)
	}
	if _, err := s.SetRight(app.ID, n[0], spoor.RightRestrict, spoor.Forever); err != nil {
		t.Error(err)
	}
	check(t, s)
	if r, err := s.Erase(app.ID, n, "subject"); err != nil || r.Profiles != 1 {
		t.Errorf("erased %+v, %v", r, err)
	}
	check(t, s)
}

// Goal: so does one that was amid removing, with rights, receipts, notices and an
// audit log; and what it had begun can be finished.
func TestOpensFormerStoreOfRemovals(t *testing.T) {
	kept := filepath.Join("testdata", "store-v1-removals")
	c := newClock()
	day := func(w *crowd) spoor.Day { return w.app.Day(newClock().ms()) }
	if _, err := os.Stat(kept); *update && err != nil { // never written again
		o := testOptions(t, vfs.Default, c)
		o.Dir, o.MemTableBytes = kept, 64<<10
		s := open(t, o)
		w := &crowd{town: &town{TB: t, c: c, s: s, app: newApp(t, s, "shop", "Europe/Warsaw")}, o: o}
		var err error
		if w.app, err = s.UpdateApp(w.app.ID, func(a *spoor.App) error { a.Settings.Webhook = "https://crm.example/"; return nil }); err != nil {
			t.Fatal(err)
		}
		var numbers []spoor.Number
		for i := range 40 {
			numbers = append(numbers, w.say(fmt.Sprint("cookie-", i), "", c.Now()).Profile)
		}
		w.right(numbers[0], spoor.RightHold, day(w)+500)
		w.right(numbers[1], spoor.RightRestrict, spoor.Forever)
		w.right(numbers[2], spoor.RightObject, spoor.Forever)
		w.erase(numbers[3])
		w.sealAfter(62)
		if _, err := s.Remove(w.app.ID, numbers[4:6], 0, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Audit(spoor.Access{At: c.ms(), Actor: "crm", Role: spoor.RoleRead, App: w.app.ID, Action: "users.read", Complete: true}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(kept, "spare")) // git keeps no empty folders
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	c.add(63 * 24 * time.Hour)
	o := testOptions(t, vfs.Default, c)
	o.Dir = dir
	s := open(t, o)
	w := &crowd{town: &town{TB: t, c: c, s: s, app: s.AppByName("shop")}, o: o}
	check(t, s)
	var notices, receipts []string
	if err := s.Notices(w.app.ID, func(n *spoor.Notice) error { notices = append(notices, n.What); return nil }); err != nil || !slices.Equal(notices, []string{"restriction.set", "objection.set", "erased"}) {
		t.Errorf("notices %q, %v", notices, err)
	}
	w.reclaim(true)
	if err := s.Receipts(w.app.ID, func(r *spoor.Receipt) error {
		receipts = append(receipts, fmt.Sprint(r.What, r.Profiles, r.Hits, r.Gone != 0))
		return nil
	}); err != nil || !slices.Equal(receipts, []string{"erasure1 1 true", "sweep2 2 true"}) {
		t.Errorf("receipts %q, %v", receipts, err)
	}
	if end, err := s.AuditEntries(w.app.ID, 0, func(*spoor.AuditEntry) error { return nil }); err != nil || end.Newest != 1 || end.Broken != "" {
		t.Errorf("audit %+v, %v", end, err)
	}
	if h := w.say("cookie-2", "", c.Now()); h.Reason != spoor.ReasonObject {
		t.Errorf("who objected: %v %q", h.Outcome, h.Reason)
	}
	if r := w.drop(spoor.Aged{Hits: day(w)}); r.Hits != 40-1-2-2 { // erased, swept, kept
		t.Errorf("dropped %+v", r)
	}
	check(t, s)
}
