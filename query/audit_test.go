package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: each route that names an action makes exactly one entry of it, with who
// asked, about which app and person, and how many were shown; a look-up of
// nobody too.
// Method: every route of the table, asked by the weakest who may.
func TestAuditOfEveryRoute(t *testing.T) {
	counts := map[string]int{ // of records; where a route is missing here, the one person
		"users.list": 2, "export.users": 2, "export.hits": 3, "users.erase": 1, "tail": 0, "feed": 0, "feed.retry": 0, "sweep.plan": 2, "sweep": 1, "audit.read": 1, "checkpoint": 2,
		"apps.create": 0, "apps.update": 0, "apps.delete": 0, "apps.keys.create": 0, "apps.keys.delete": 0, "apps.tokens.create": 0, "apps.share.create": 0, "apps.share.delete": 0, "apps.links.create": 0, "apps.tokens.delete": 0,
		"segments.users": 2, "segments.preview": 2, "tags.users": 0, "lists.users": 0,
	}
	for _, name := range []string{"tags", "lists", "segments"} { // nobody has them
		counts[name+".create"], counts[name+".update"], counts[name+".delete"] = 0, 0, 0
	}
	asked := 0
	for _, r := range routes() {
		if r.action == "" {
			continue
		}
		asked++
		ts := newTestServer(t)
		ts.furnish()
		ts.addProfile(1, 2, "bob", "bob@example.com")
		for range 3 {
			ts.addHit(1, 1, spoor.KindPage, "p")
		}
		ts.store.tailEnds = true
		want := spoor.Access{At: testNow.UnixMilli(), Actor: "shop-" + string(r.role), Role: r.role, App: 1, AppName: "shop", Action: r.action, Complete: true}
		token := want.Actor
		if r.scope == scopeAllApps {
			token, want.Actor, want.App, want.AppName = "control", spoor.ActorControl, 0, ""
		}
		if r.action == "apps.create" {
			want.App, want.AppName = 3, "fresh"
		}
		if r.action == "audit.read" {
			ts.store.Audit(spoor.Access{App: want.App, Action: "before"})
		}
		rep := ts.do(r.method, pathOf(r), token, bodies[r.action])
		if rep.status >= 300 {
			t.Errorf("%s %s: %d %s", r.method, r.pattern, rep.status, rep.body)
		}
		list := ts.audited()
		if r.action == "audit.read" && len(list) > 0 {
			list = list[1:]
		}
		count, counted := counts[r.action]
		if want.Subjects = count; !counted {
			want.Subjects = 1
		}
		if strings.Contains(r.pattern, "users/:id") || strings.Contains(r.pattern, ":custom_id") || r.action == "users.search" || r.action == "users.update_or_create" {
			want.Ref = ts.reference(1, 1001)
		}
		if r.action == "users.create" {
			want.Ref = ts.reference(1, 1003)
		}
		if len(list) != 1 || list[0] != want {
			t.Errorf("%s %s entered %+v\nwant %+v", r.method, r.pattern, list, want)
		}
		if n := ts.Stats(); n.Accesses != 1 || n.AuditMissed != 0 {
			t.Errorf("%s %s is counted as %+v", r.method, r.pattern, n)
		}
		if !strings.Contains(r.pattern, ":id") && !strings.Contains(r.pattern, ":custom_id") {
			continue
		}
		nobody := strings.NewReplacer("1001", "77", "ada", "nobody", "/20/", "/77/").Replace(pathOf(r))
		rep = ts.do(r.method, nobody, token, bodies[r.action])
		want.Subjects, want.Ref = 0, ""
		if list := ts.audited(); rep.status != 404 || len(list) != 1 || list[0] != want {
			t.Errorf("%s %s of nobody: %d, entered %+v", r.method, r.pattern, rep.status, list)
		}
	}
	if asked < 40 {
		t.Errorf("only %d routes name an action", asked)
	}
}

// Goal: nobody is answered to the end before the entry is on disk.
func TestReplyWaitsForItsEntry(t *testing.T) {
	for _, path := range []string{"/api/public/users/1001/", "/api/export/users.csv", "/api/public/users/77/"} {
		ts := newTestServer(t)
		ts.addProfile(1, 1, "ada", "ada@example.com")
		ts.store.hold = make(chan struct{})
		answered := make(chan reply, 1)
		go func() { answered <- ts.do("GET", path, "shop-read", "") }()
		select {
		case r := <-answered:
			t.Errorf("%s was answered %d before its entry was stored", path, r.status)
			answered <- r
		case <-time.After(30 * time.Millisecond):
		}
		close(ts.store.hold)
		<-answered
		if len(ts.audited()) != 1 {
			t.Errorf("%s: no entry", path)
		}
	}
}

// Goal: where the store cannot write, reads go on, and one line of the log has
// all that the entry would have had.
func TestAuditThatCannotBeStored(t *testing.T) {
	ts := newTestServer(t)
	ts.addProfile(1, 1, "ada", "ada@example.com")
	ts.store.readOnly = spoor.ErrReadOnly
	for _, path := range []string{"/api/public/users/1001/", "/api/export/users.csv"} {
		if r := ts.do("GET", path, "shop-read", ""); r.status != 200 {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := ts.do("PUT", "/api/public/users/1001/", "shop-write", `{"a":1}`); r.status != 503 {
		t.Errorf("a change: %d %s", r.status, r.body)
	}
	log := ts.log.String()
	for _, want := range []string{
		"level=ERROR", "actor=shop-read role=read app=1 app_name=shop action=users.read subjects=1 ref=" + ts.reference(1, 1001) + " complete=true",
		"action=export.users subjects=1 ref=\"\" complete=true", fmt.Sprint("at=", testNow.UnixMilli()),
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "ada") || strings.Contains(log, "1001") || strings.Contains(log, "users.update") {
		t.Errorf("the log says too much:\n%s", log)
	}
	if n := ts.Stats(); n.AuditMissed != 2 || n.Accesses != 2 {
		t.Errorf("%+v", n)
	}
}

// failingRetention erases, and then cannot give the bytes back.
type failingRetention struct{ fakeRetention }

var errHeld = errors.New("the bytes are held")

func (f failingRetention) Erase(ctx context.Context, app spoor.AppID, n spoor.Number, subject string, wait bool) (*spoor.Receipt, error) {
	r, _ := f.fakeRetention.Erase(ctx, app, n, subject, wait)
	return r, errHeld
}

func (f failingRetention) Sweep(ctx context.Context, full, wait bool) (spoor.Sweep, error) {
	r, _ := f.fakeRetention.Sweep(ctx, full, wait)
	return r, errHeld
}

func (failingRetention) Reclaim(context.Context, bool) (spoor.ReclaimReport, error) {
	return spoor.ReclaimReport{}, errHeld
}

// Goal: a change that was made is entered, also where the call fails after it.
func TestAuditOfAChangeThatFailsLater(t *testing.T) {
	ts := newTestServer(t, func(o *Options) { o.Retention = failingRetention{} })
	ts.addProfile(1, 1, "ada", "ada@example.com")
	f := func(method, path, token, action string, count int) {
		t.Helper()
		r := ts.do(method, path, token, "")
		list := ts.audited()
		if r.status != 500 || len(list) != 1 || list[0].Action != action || list[0].Complete || list[0].Subjects != count {
			t.Errorf("%s %s: %d, entered %+v", method, path, r.status, list)
		}
	}
	f("DELETE", "/api/public/users/1001/?wait=true", "shop-erase", "users.erase", 1)
	f("POST", "/api/admin/sweep/", "control", "sweep", 1)
	f("DELETE", "/api/admin/apps/shop/?confirm=shop&wait=true", "shop-admin", "apps.delete", 0)
	if r := ts.do("DELETE", "/api/public/users/1001/?wait=maybe&x=1", "other-erase", ""); r.status < 400 || len(ts.audited()) != 0 {
		t.Errorf("a refused call was entered: %d", r.status)
	}
}

// Goal: the log is read by the control plane for every app and for none, by an
// app's admin for its own; since when, and of whom; and says if it is broken.
func TestReadAudit(t *testing.T) {
	ts := newTestServer(t)
	ts.store.apps.list[0].Settings = spoor.DefaultSettings("Asia/Kolkata") // 5:30 ahead
	enter := func(app spoor.AppID, ago time.Duration, ref string) {
		name := map[spoor.AppID]string{1: "shop"}[app]
		ts.store.Audit(spoor.Access{At: testNow.Add(-ago).UnixMilli(), Actor: "crm", Role: read, App: app, AppName: name, Action: fmt.Sprint("ago ", ago), Ref: ref, Complete: true})
	}
	fill := func() {
		ts.audited()
		enter(1, 100*time.Hour, ts.reference(1, 1001))
		enter(1, 6*time.Hour, ts.reference(1, 1002)) // 2026-03-04 04:36 in the app's zone
		enter(1, 11*time.Hour, "")                   // 2026-03-03 23:36
		enter(0, time.Hour, "")
		enter(1, time.Minute, ts.reference(1, 1001))
	}
	f := func(token, path string, numbers ...int) (last map[string]any) {
		t.Helper()
		fill()
		r := ts.do("GET", path, token, "")
		var got []int
		for line := range strings.Lines(r.body) {
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%s: %q: %v", path, line, err)
			}
			if n, ok := v["number"]; ok {
				got = append(got, int(n.(float64)))
			}
			last = v
		}
		if r.status != 200 || fmt.Sprint(got) != fmt.Sprint(numbers) || last["entries"] != float64(len(numbers)) {
			t.Errorf("%s: %d, entries %v, want %v, last %v", path, r.status, got, numbers, last)
		}
		if e := ts.audited(); len(e) != 6 || e[5].Action != "audit.read" || e[5].Subjects != len(numbers) {
			t.Errorf("%s: the reading was entered as %+v", path, e)
		} else if wantApp := spoor.AppID(map[bool]int{true: 1}[strings.Contains(path, "shop")]); e[5].App != wantApp {
			t.Errorf("%s: the reading was entered under app %d", path, e[5].App)
		}
		return last
	}
	f("control", "/api/admin/audit/?app=shop", 1, 2, 3, 5)
	f("shop-admin", "/api/admin/apps/shop/audit/", 1, 2, 3, 5)
	f("control", "/api/admin/audit/", 4)
	f("shop-admin", "/api/admin/apps/shop/audit/?since=24h", 2, 3, 5)
	f("shop-admin", "/api/admin/apps/shop/audit/?since=2026-03-04", 2, 5)
	f("shop-admin", "/api/admin/apps/shop/audit/?since=2026-03-04T00:00:00Z", 5)
	f("shop-admin", "/api/admin/apps/shop/audit/?subject=1001", 1, 5)
	f("shop-admin", "/api/admin/apps/shop/audit/?subject=1002,7", 2)
	last := f("shop-admin", "/api/admin/apps/shop/audit/?subject=7")
	if last["newest"] != 5.0 || last["sum"] != "05"+strings.Repeat("00", 31) || last["broken"] != nil {
		t.Errorf("the end is %v", last)
	}
	ts.store.broken = "entry 3 is missing"
	if last := f("control", "/api/admin/audit/?app=shop&since=1s"); last["broken"] != "entry 3 is missing" {
		t.Errorf("the end of a broken log is %v", last)
	}
	fill()
	if r := ts.do("GET", "/api/admin/apps/shop/audit/?subject=1002", "shop-admin", ""); !strings.HasPrefix(r.body,
		`{"number":2,"time":"2026-03-03T23:06:07.000000Z","actor":"crm","role":"read","app":1,"app_name":"shop","action":"ago 6h0m0s","count":0,"subject":"`+ts.reference(1, 1002)+`","complete":true,"sum":"02`) {
		t.Errorf("a line is %s", r.body)
	}
	refused := func(token, path string, status int) {
		t.Helper()
		ts.audited()
		if r := ts.do("GET", path, token, ""); r.status != status {
			t.Errorf("%s: %d %s, want %d", path, r.status, r.body, status)
		}
		if status != 404 && len(ts.audited()) != 0 {
			t.Errorf("%s was entered", path)
		}
	}
	refused("control", "/api/admin/audit/?app=none", 400)
	refused("control", "/api/admin/audit/?since=soon", 400)
	refused("control", "/api/admin/audit/?since=-5h", 400)
	refused("control", "/api/admin/audit/?subject=5", 400)
	refused("shop-admin", "/api/admin/apps/shop/audit/?subject=ada", 400)
	refused("shop-admin", "/api/admin/apps/shop/audit/?whom=5", 501)
	refused("shop-admin", "/api/admin/audit/?app=shop", 403)
	refused("shop-erase", "/api/admin/apps/shop/audit/", 403)
	refused("other-admin", "/api/admin/apps/shop/audit/", 404)
}

// Goal: no token passes in the log for the operator, the control plane or spoor.
func TestTokensCannotBeCalledAsSpoorsOwn(t *testing.T) {
	ts := newTestServer(t)
	for _, name := range []string{"operator", "Control-Plane", " retention "} {
		body, err := json.Marshal(map[string]string{"name": name, "role": "read"})
		if err != nil {
			t.Fatal(err)
		}
		if r := ts.do("POST", "/api/admin/apps/shop/tokens/", "shop-admin", string(body)); r.status != 400 || !strings.Contains(r.body, "choose another") {
			t.Errorf("%q: %d %s", name, r.status, r.body)
		}
	}
}
