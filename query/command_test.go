package query

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// recorder writes down what changes the fake store, and with what.
type recorder struct {
	*fakeStore
	fakeRetention
	calls  []string
	failed error // what changes fail with, if not nil
}

func (r *recorder) note(name string, args ...any) error {
	text, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	r.calls = append(r.calls, name+string(text))
	return r.failed
}

func (r *recorder) Edit(e *spoor.Edit) (spoor.Number, bool, error) {
	if err := r.note("Edit", e); err != nil {
		return 0, false, err
	}
	return r.fakeStore.Edit(e)
}

func (r *recorder) PutCollection(app spoor.AppID, c spoor.Collection) (spoor.Collection, error) {
	if err := r.note("PutCollection", app, c); err != nil {
		return c, err
	}
	return r.fakeStore.PutCollection(app, c)
}

func (r *recorder) DeleteCollection(app spoor.AppID, kind spoor.CollectionKind, id uint32) error {
	if err := r.note("DeleteCollection", app, kind, id); err != nil {
		return err
	}
	return r.fakeStore.DeleteCollection(app, kind, id)
}

func (r *recorder) SetRight(app spoor.AppID, n spoor.Number, right spoor.Right, until spoor.Day) (*spoor.Profile, error) {
	if err := r.note("SetRight", app, n, right, until); err != nil {
		return nil, err
	}
	return r.fakeStore.SetRight(app, n, right, until)
}

func (r *recorder) Object(app spoor.AppID, text string, by []spoor.Lookup, on bool) (bool, error) {
	if err := r.note("Object", app, text, by, on); err != nil {
		return false, err
	}
	return r.fakeStore.Object(app, text, by, on)
}

func (r *recorder) CreateApp(a *spoor.App) (*spoor.App, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	app, err := r.fakeStore.CreateApp(a)
	_ = r.note("CreateApp", app)
	return app, err
}

func (r *recorder) UpdateApp(id spoor.AppID, change func(*spoor.App) error) (*spoor.App, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	app, err := r.fakeStore.UpdateApp(id, change)
	_ = r.note("UpdateApp", id, app)
	return app, err
}

func (r *recorder) DeleteApp(id spoor.AppID) error {
	if err := r.note("DeleteApp", id); err != nil {
		return err
	}
	return r.fakeStore.DeleteApp(id)
}

func (r *recorder) Audit(a spoor.Access) error {
	_ = r.note("Audit", a)
	return r.fakeStore.Audit(a)
}

func (r *recorder) Erase(ctx context.Context, app spoor.AppID, n spoor.Number, subject string, wait bool) (*spoor.Receipt, error) {
	if err := r.note("Erase", app, n, subject, wait); err != nil {
		return nil, err
	}
	return r.fakeRetention.Erase(ctx, app, n, subject, wait)
}

func (r *recorder) Reclaim(_ context.Context, full bool) (spoor.ReclaimReport, error) {
	return spoor.ReclaimReport{Partitions: 3}, r.note("Reclaim", full)
}

// fakeLog has no brokers: a command is applied at once.
type fakeLog struct {
	s       *Server
	sent    []*spoor.Command
	fails   error // what Submit and Retain fail with, if not nil
	numbers []spoor.AppID
}

func (l *fakeLog) Submit(ctx context.Context, c *spoor.Command) (*Reply, error) {
	if l.fails != nil {
		return nil, l.fails
	}
	l.sent = append(l.sent, c)
	return l.s.Apply(ctx, c, l.s.opt.Store, l.s.opt.Retention)
}

func (l *fakeLog) Retain(_ context.Context, app spoor.AppID) (spoor.AppSweep, error) {
	return spoor.AppSweep{App: fmt.Sprint("app ", app), Day: 20000, Removal: spoor.Removal{Profiles: 1, Hits: 9}}, l.fails
}

func (l *fakeLog) NewNumber(after spoor.AppID) (spoor.AppID, error) {
	l.numbers = append(l.numbers, after)
	return max(3, after+1), nil
}

// node is a store node of a cluster, or with clustered false a process alone.
func node(t *testing.T, clustered bool) (*testServer, *recorder, *fakeLog) {
	t.Helper()
	rec, log := &recorder{}, &fakeLog{}
	ts := newTestServer(t, func(o *Options) {
		rec.fakeStore = o.Store.(*fakeStore)
		o.Store, o.Retention = rec, rec
		if clustered {
			o.Commands = log
		}
	})
	log.s = ts.Server
	ts.furnish()
	return ts, rec, log
}

// Goal: whatever changes something goes through the log, or the table says why
// not.
// Method: every route: what reads changes nothing, and of the others those that
// are not logged are these few.
func TestRoutesThatTravel(t *testing.T) {
	apart := map[string]effect{
		"segments.preview":              still, // counts
		"/api/public/companies/*":       still, // answers 501
		"/api/public/companies-by-id/*": still,
		"/api/admin/digests/":           spread, // a mark in each partition
		"feed.retry":                    local,
		"sweep":                         spread,
		"apps.links.create":             unsigned,
		"users.erase":                   stepped, // gives back, removes, receipts
		"objections.add":                stepped, // a barrier and each profile
		"objections.lift":               stepped,
		"apps.create":                   logged,
		"users.set_attribute":           logged,
	}
	seen := map[string]bool{}
	for _, r := range routes() {
		name := cmp.Or(r.action, r.pattern)
		want, named := apart[name]
		switch {
		case r.method == "GET":
			want = still
		case !named:
			want = logged
		}
		seen[name] = true
		if r.effect != want {
			t.Errorf("%s %s: effect %d, want %d", r.method, r.pattern, r.effect, want)
		}
	}
	for name := range apart {
		if !seen[name] {
			t.Errorf("there is no %q", name)
		}
	}
}

// random is what is drawn: secrets, and what is made of them.
var random = regexp.MustCompile(`[0-9a-f]{64}|[A-Za-z0-9_-]{43}|"[A-Za-z0-9_-]{32}"`)

func masked(s string) string { return random.ReplaceAllString(s, "RANDOM") }

// Goal: a change that goes through the log is answered as one that is made at
// once, and changes the same; each node that applies the command comes to the
// same, to the byte.
// Method: every logged route with a body that fits, with none, and with broken
// ones, in both versions, by the admin of the app, the control plane and the
// operator: of a process alone, of the node that is asked, and of another node.
func TestCommandsDoTheSame(t *testing.T) {
	changes := 0
	for _, r := range routes() {
		if r.effect != logged && r.effect != stepped && r.effect != unsigned {
			continue
		}
		for _, body := range []string{bodies[r.action], "", `{"name":"x"`, `{"name":7,"who":8,"list":"no","user_id":"anonymous","a":{"b":[1]}}`} {
			for _, headers := range [][]string{nil, {"Accept: */*; version=2"}} {
				alone, ra, _ := node(t, false)
				asked, rb, log := node(t, true)
				other, rc, _ := node(t, true)
				ask := func(ts *testServer) reply {
					switch {
					case r.scope == scopeAllApps:
						return ts.do(r.method, pathOf(r), "control", body, headers...)
					case r.method == "POST" && r.scope == scopeNamedApp:
						return ts.doVia(ts.local, r.method, pathOf(r), "", body, headers...)
					}
					return ts.do(r.method, pathOf(r), "shop-admin", body, headers...)
				}
				name := fmt.Sprintf("%s %s %s %s", r.method, r.pattern, body, headers)
				want, got := ask(alone), ask(asked)
				if got.status != want.status || masked(got.body) != masked(want.body) {
					t.Errorf("%s:\n%d %s, alone\n%d %s", name, got.status, got.body, want.status, want.body)
				}
				for _, h := range []string{"Content-Type", "X-Spoor-Ignored", "X-Spoor-Receipt", "Retry-After", "Cache-Control"} {
					if got.header.Get(h) != want.header.Get(h) {
						t.Errorf("%s: %s is %q, alone %q", name, h, got.header.Get(h), want.header.Get(h))
					}
				}
				for i := range rb.calls {
					if !slices.EqualFunc(ra.calls, rb.calls, func(a, b string) bool { return masked(a) == masked(b) }) {
						t.Fatalf("%s:\n%s\nalone\n%s", name, strings.Join(rb.calls, "\n"), strings.Join(ra.calls, "\n"))
					}
					changes += i
				}
				switch {
				case len(log.sent) == 0 && (want.status < 300 || len(ra.calls)+len(rb.calls) > 0):
					t.Errorf("%s: it was made without the log", name)
				case len(log.sent) > 0:
					other.mu.Lock()
					other.now = other.now.AddDate(0, 0, 3) // its own clock says nothing
					other.mu.Unlock()
					if _, err := other.Apply(t.Context(), log.sent[0], rc, rc); err != nil {
						t.Errorf("%s on another node: %v", name, err)
					}
					if !slices.Equal(rb.calls, rc.calls) {
						t.Errorf("%s:\n%s\non another node\n%s", name, strings.Join(rb.calls, "\n"), strings.Join(rc.calls, "\n"))
					}
				}
			}
		}
	}
	if changes < 20 {
		t.Errorf("only %d changes", changes)
	}
}

// Goal: what is shown once can neither be read nor be drawn again from the log,
// and no token of a request is in it.
// Method: a token and a shared overview by a token whose name is not its secret;
// the reply's secret opens the app, the log has its hash alone.
func TestCommandsHoldNoSecrets(t *testing.T) {
	ts, _, log := node(t, true)
	ts.store.apps.change(func(a *spoor.App) {
		a.Tokens = append(a.Tokens, spoor.Token{Name: "mine", Role: admin, Hash: spoor.HashToken("brought-secret")})
	})
	for path, field := range map[string]string{"tokens": "secret", "share": "path"} {
		rep := ts.do("POST", "/api/admin/apps/shop/"+path+"/", "brought-secret", `{"name":"n","role":"read"}`)
		var got map[string]any
		if err := json.Unmarshal([]byte(rep.body), &got); err != nil || rep.status != 201 {
			t.Fatal(path, rep.status, rep.body, err)
		}
		secret := strings.TrimPrefix(fmt.Sprint(got[field]), sharePrefix)
		cmd := log.sent[len(log.sent)-1]
		if len(secret) != 43 || bytes.Contains(cmd.Body, []byte(secret)) || bytes.Contains(cmd.Body, []byte("brought-secret")) || !bytes.Contains(cmd.Body, []byte(spoor.HashToken(secret))) {
			t.Errorf("%s: secret %q, command %s", path, secret, cmd.Body)
		}
		if !bytes.Contains(cmd.Body, []byte(`"mine"`)) {
			t.Errorf("%s: the command does not name its actor: %s", path, cmd.Body)
		}
		switch app, _ := ts.store.apps.AppByToken(secret); {
		case path == "tokens" && app == nil:
			t.Error("the token opens nothing")
		case path == "share" && ts.store.AppByShare(secret) == nil:
			t.Error("the link opens nothing")
		}
		c, err := ts.commanded(cmd)
		if err != nil || c.once != "" {
			t.Fatal(c.once, err)
		}
		for range 4 {
			if c.secret(32) == secret {
				t.Error("the seed gives the secret")
			}
		}
	}
}

// Goal: only what was not decided is tried again; whatever else happens to a
// command ends in a reply, and the next one can come.
// Method: commands that fail, panic, are too late or cannot be read.
func TestApplyDecides(t *testing.T) {
	command := func(app spoor.AppID, method, path, body string) *spoor.Command {
		text, err := json.Marshal(request{Actor: "t", Role: admin, Method: method, Path: path, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		return &spoor.Command{App: app, At: testNow.UnixMilli(), Kind: spoor.CommandRequest, Body: text}
	}
	const one = "/api/public/users/1001/"
	update := command(1, "PATCH", one, `{"a":1}`)
	for _, again := range []error{spoor.ErrBusy, spoor.ErrReadOnly, spoor.ErrClosed, errDisk, context.Canceled} {
		ts, rec, _ := node(t, true)
		rec.failed = fmt.Errorf("cannot: %w", again)
		if got, err := ts.Apply(t.Context(), update, rec, rec); !errors.Is(err, again) || got != nil || len(ts.audited()) != 0 {
			t.Errorf("%v: %+v, %v", again, got, err)
		}
		rec.failed = nil
		if got, err := ts.Apply(t.Context(), update, rec, rec); err != nil || got.Status != 200 || len(ts.audited()) != 1 {
			t.Errorf("%v, then: %+v, %v", again, got, err)
		}
	}
	ts, rec, _ := node(t, true)
	f := func(cmd *spoor.Command, status int, contains string) {
		t.Helper()
		got, err := ts.Apply(t.Context(), cmd, rec, rec)
		if err != nil || got.Status != status || !strings.Contains(string(got.Body), contains) {
			t.Errorf("%d %q: got %+v %s, %v", status, contains, got, got.Body, err)
		}
	}
	rec.failed = spoor.ErrApplied
	f(update, 200, "made already")
	f(command(1, "POST", "/api/admin/apps/shop/keys/", ""), 200, "made already")
	rec.failed = spoor.ErrTaken
	f(update, 400, "Another user")
	rec.failed = nil
	f(command(7, "PATCH", one, `{"a":1}`), 404, "Not found")
	f(command(1, "PATCH", "/api/public/users/77/", `{"a":1}`), 404, "Not found")
	f(command(1, "POST", "/api/admin/apps/", `{"name":"shop"}`), 409, "Several apps")
	if before := ts.Stats(); before.Unknown != 0 || before.Applied != 6 {
		t.Errorf("%+v", before)
	}
	f(command(1, "POST", "/api/public/tomorrow/", ""), 501, "same version")
	f(command(1, "GET", one, ""), 501, "same version")
	f(command(1, "POST", "/api/admin/sweep/", ""), 501, "same version")
	f(command(1, "POST", "/api/feed/dead/retry/", ""), 501, "same version")
	f(&spoor.Command{App: 1, Kind: spoor.CommandRequest, Body: []byte(`{"method":"PATCH","path":"` + one + `","unless":1}`)}, 501, "same version")
	f(&spoor.Command{App: 1, Kind: spoor.CommandRequest, Body: []byte("\x00")}, 501, "same version")
	f(&spoor.Command{App: 1, Kind: spoor.CommandRetain}, 501, "same version")
	ts.store.panics = true
	f(update, 500, "in its log")
	ts.store.panics = false
	f(update, 200, `"id":1001`)
	if after := ts.Stats(); after.Unknown != 7 || after.Panics != 1 {
		t.Errorf("%+v", after)
	}
	if ts.Repeatable(update) || !ts.Repeatable(command(1, "DELETE", one, "")) || ts.Repeatable(&spoor.Command{}) {
		t.Error("only what makes several commits is repeatable")
	}
}

// Goal: who asks learns whether a change may have been made; what is too large or
// makes no sense does not reach the log.
// Method: a log that fails in each way, requests of both sides of the limit.
func TestSubmitFails(t *testing.T) {
	ts, rec, log := node(t, true)
	f := func(body string, status int, contains, retry string) {
		t.Helper()
		rep := ts.do("PATCH", "/api/public/users/1001/", "shop-write", body)
		if rep.status != status || !strings.Contains(rep.body, contains) || rep.header.Get("Retry-After") != retry {
			t.Errorf("got %d %s, Retry-After %q", rep.status, rep.body, rep.header.Get("Retry-After"))
		}
	}
	log.fails = fmt.Errorf("no broker: %w", spoor.ErrBusy)
	f(`{"a":1}`, 503, "look before you repeat it", "5")
	log.fails = spoor.ErrClosed
	f(`{"a":1}`, 503, "shutting down", "5")
	log.fails = context.DeadlineExceeded
	f(`{"a":1}`, 503, "may have been made", "")
	log.fails = nil
	f(`{"a":"`+strings.Repeat("x", changeBytesMax)+`"}`, 413, "send it in parts", "")
	if len(log.sent) != 0 || len(rec.calls) != 0 {
		t.Errorf("sent %d, changed %v", len(log.sent), rec.calls)
	}
	f(`{"a":"b"`+strings.Repeat(" ", changeBytesMax-9)+`}`, 200, `"id":1001`, "")
	if len(log.sent) != 1 || len(log.sent[0].Body) > commandBytesMax {
		t.Errorf("sent %d", len(log.sent))
	}
	log.fails = spoor.ErrBusy
	for path, body := range map[string]string{"/api/admin/apps/": `{"name":"fresh"}`, "/api/admin/sweep/": ""} {
		if rep := ts.do("POST", path, "control", body); rep.status != 503 || !strings.Contains(rep.body, "brokers") {
			t.Errorf("%s: %d %s", path, rep.status, rep.body)
		}
	}
}

// Goal: two nodes that make an app at once get two numbers.
// Method: the number that is proposed first belongs to another app already.
func TestNumberOfANewApp(t *testing.T) {
	ts, rec, log := node(t, true)
	if _, err := rec.fakeStore.CreateApp(&spoor.App{ID: 3, Name: "faster"}); err != nil {
		t.Fatal(err)
	}
	rep := ts.do("POST", "/api/admin/apps/", "control", `{"name":"fresh"}`)
	if rep.status != 201 || !strings.Contains(rep.body, `{"id":4,"name":"fresh"`) || !slices.Equal(log.numbers, []spoor.AppID{0, 3}) {
		t.Errorf("%d %s, asked for numbers after %v", rep.status, rep.body, log.numbers)
	}
	if rep := ts.do("POST", "/api/admin/apps/", "control", `{"name":"fresh"}`); rep.status != 400 || len(log.sent) != 2 {
		t.Errorf("%d %s", rep.status, rep.body)
	}
}

// Goal: only the node that was asked waits for bytes to be given back, behind the
// application; a sweep of all apps is one command for each.
// Method: the calls of it and of another node.
func TestWaitIsLocal(t *testing.T) {
	ts, rec, log := node(t, true)
	other, ro, _ := node(t, true)
	ts.store.receipts = []spoor.Receipt{{ID: 7, App: "shop", What: spoor.ReceiptErasure, Decided: 1000, Gone: 2000}}
	reclaims := func(r *recorder) (n int) {
		for _, call := range r.calls {
			if strings.HasPrefix(call, "Reclaim") {
				n++
			}
		}
		return n
	}
	f := func(method, path, token, body string, status int, contains string, commands int) {
		t.Helper()
		rec.calls, ro.calls, log.sent = nil, nil, nil
		rep := ts.do(method, path, token, body)
		if rep.status != status || !strings.Contains(rep.body, contains) || reclaims(rec) != 1 || len(log.sent) != commands {
			t.Errorf("%s %s: %d %s, %v", method, path, rep.status, rep.body, rec.calls)
		}
		if rec.calls[len(rec.calls)-1][:7] != "Reclaim" && commands > 0 {
			t.Errorf("%s %s: it waits while it is applied: %v", method, path, rec.calls)
		}
		for _, cmd := range log.sent {
			if _, err := other.Apply(t.Context(), cmd, ro, ro); err != nil || reclaims(ro) != 0 {
				t.Errorf("%s %s on another node: %v, %v", method, path, ro.calls, err)
			}
		}
	}
	f("DELETE", "/api/public/users/1001/?wait=true", "shop-erase", "", 200, `"stage":"bytes_gone"`, 1)
	f("POST", "/api/admin/sweep/", "control", `{"wait":true}`, 200, `"app":"app 2"`, 0)
	f("DELETE", "/api/admin/apps/shop/?confirm=shop&wait=true", "shop-admin", "", 204, "", 1)
}
