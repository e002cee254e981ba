package query

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// fakeNodes says where apps are.
type fakeNodes struct {
	of     map[string]string // by name of the app
	key    string            // of one of them
	shared *spoor.App        // one whose link is "link"
	apps   []*spoor.App      // that this node does not have
	others []string
	away   bool
}

func (n fakeNodes) Of(app string) (url string, elsewhere bool) {
	url, elsewhere = n.of[app]
	return url, elsewhere
}

func (n fakeNodes) HasKey(writeKey string) bool { return writeKey == n.key }

func (n fakeNodes) AppByShare(token string) *spoor.App {
	if token != "link" {
		return nil
	}
	return n.shared
}

func (n fakeNodes) Apps() []*spoor.App { return n.apps }

func (n fakeNodes) Others() ([]string, bool) { return n.others, n.away }

// farAway is a node that has the app "shop", by its URL, and one that is asked
// and has the app "other" alone; both are in one cluster.
func farAway(t *testing.T, change ...func(*fakeNodes)) (asked, far *testServer, url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url = "http://" + l.Addr().String()
	far = newTestServer(t)
	far.store.apps.list = far.store.apps.list[:1]
	far.furnish()
	go far.Serve(l)
	t.Cleanup(func() { l.Close() })
	nodes := fakeNodes{of: map[string]string{"shop": url}, others: []string{url}}
	for _, f := range change {
		f(&nodes)
	}
	asked = newTestServer(t, func(o *Options) { o.Nodes = nodes })
	asked.store.apps.list = asked.store.apps.list[1:]
	t.Cleanup(asked.forwards.client.CloseIdleConnections)
	return asked, far, url
}

// Goal: whichever node is asked, the answer is that of the node that has the app,
// to the byte, and the access is entered there alone.
// Method: requests of each scope, with tokens that only the other node knows, at
// both nodes; a stream, a body, a refusal, an escaped path.
func TestForward(t *testing.T) {
	asked, far, url := farAway(t)
	far.addProfile(1, 2, "a/b %", "b@example.com")
	for range 3000 {
		far.addHit(1, 1, spoor.KindPage, "") // more than is passed on whole
	}
	for _, q := range []struct{ method, path, token, body string }{
		{"GET", "/api/public/users/?page=1", "shop-read", ""},
		{"HEAD", "/api/public/users/1001/", "shop-read", ""},
		{"GET", "/api/public/users-by-id/a%2Fb%20%25/", "shop-read", ""},
		{"PATCH", "/api/public/users/1001/", "shop-write", `{"a":1,"companies":[]}`},
		{"PATCH", "/api/public/users/1001/", "shop-read", `{"a":1}`},
		{"GET", "/api/export/hits.ndjson/?from=2026-03-03&to=2026-03-05", "shop-read", ""},
		{"GET", "/api/public/users/1001/timeline/", "shop-read", ""},
		{"GET", "/api/session/", "shop-read", ""},
		{"GET", "/api/admin/apps/shop/", "shop-admin", ""},
		{"GET", "/api/admin/apps/shop/", "control", ""},
		{"GET", "/api/admin/apps/shop/", "nobody", ""},
		{"GET", "/api/admin/receipts/?app=shop", "control", ""},
	} {
		for _, header := range []string{"Accept: */*", "Accept: */*; version=2"} {
			want := far.do(q.method, q.path, q.token, q.body, header)
			entered := len(far.audited())
			got := asked.do(q.method, q.path, q.token, q.body, header)
			if got.status != want.status || got.body != want.body {
				t.Errorf("%s %s by %s: %d %.200s, there %d %.200s", q.method, q.path, q.token, got.status, got.body, want.status, want.body)
			}
			for name := range want.header {
				if name != "Date" && name != "Content-Length" && strings.Join(got.header[name], "|") != strings.Join(want.header[name], "|") {
					t.Errorf("%s %s: %s is %q, there %q", q.method, q.path, name, got.header[name], want.header[name])
				}
			}
			if got.header.Get("X-Spoor-Node") != url {
				t.Errorf("%s %s: answered by %q", q.method, q.path, got.header.Get("X-Spoor-Node"))
			}
			if n := len(far.audited()); n != entered || len(asked.audited()) != 0 {
				t.Errorf("%s %s: %d entries there, directly %d", q.method, q.path, n, entered)
			}
		}
	}
	if rep := asked.do("GET", "/api/public/users/", "other-read", ""); rep.status != 200 || rep.header.Get("X-Spoor-Node") != "" {
		t.Errorf("its own app: %d, by %q", rep.status, rep.header.Get("X-Spoor-Node"))
	}
	if n := len(asked.forwards.slots); n != 0 {
		t.Errorf("%d requests are still on their way", n)
	}
}

// Goal: a tail through another node tells each hit when it happens, and ends with
// either side.
// Method: a hit is sent after the tail has begun, and read before the next; then
// the client leaves, and the other node notices.
func TestForwardTail(t *testing.T) {
	asked, far, _ := farAway(t)
	far.heartbeat = 10 * time.Millisecond
	req, err := http.NewRequest("GET", "http://spoor.test/api/tail", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Token shop-read")
	resp, err := asked.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		far.store.send(spoor.Hit{App: 1, Kind: spoor.KindEvent, Name: fmt.Sprint("event ", i), Public: 1})
		for lines.Scan() && lines.Text() == "" {
		}
		if !strings.Contains(lines.Text(), fmt.Sprint("event ", i)) {
			t.Fatalf("hit %d: %q, %v", i, lines.Text(), lines.Err())
		}
	}
	if asked.Stats().Streams != 1 || far.Stats().Streams != 1 {
		t.Errorf("streams: %d here, %d there", asked.Stats().Streams, far.Stats().Streams)
	}
	resp.Body.Close()
	for end := time.Now().Add(10 * time.Second); asked.Stats().Streams+far.Stats().Streams+len(asked.forwards.slots) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("streams: %d here, %d there; %d on their way", asked.Stats().Streams, far.Stats().Streams, len(asked.forwards.slots))
		}
	}
}

// Goal: who cannot be answered learns why, and whether a change may have been
// made; nothing goes round in circles, and nothing is sent that carries no token.
// Method: nodes that are away, break off, or send requests back; the operator, a
// session and nobody; too many at once.
func TestForwardFails(t *testing.T) {
	hangsUp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangsUp.Close()
	go func() {
		for {
			c, err := hangsUp.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1<<10))
			c.Close()
		}
	}()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away, cut := "http://"+gone.Addr().String(), "http://"+hangsUp.Addr().String()
	gone.Close()
	ts, far, url := farAway(t, func(n *fakeNodes) {
		n.of["round"] = n.of["shop"]
		n.of["gone"], n.of["cut"], n.of["dead"] = away, cut, ""
		n.others = []string{away, n.others[0]}
	})
	f := func(rep reply, status int, contains, retry string) {
		t.Helper()
		if rep.status != status || !strings.Contains(rep.body, contains) || rep.header.Get("Retry-After") != retry {
			t.Errorf("%d %s, Retry-After %q; want %d %q", rep.status, rep.body, rep.header.Get("Retry-After"), status, contains)
		}
	}
	apps := "/api/admin/apps/"
	f(ts.do("GET", apps+"gone/", "any", ""), 503, "does not answer", "5")
	f(ts.do("PATCH", apps+"gone/", "any", "{}"), 503, "nothing was changed", "5")
	f(ts.do("GET", apps+"gone/", "control", ""), 503, "does not answer", "5")
	f(ts.do("PATCH", apps+"gone/", "control", "{}"), 503, "nothing was changed", "5")
	f(ts.do("PATCH", apps+"cut/", "any", "{}"), 503, "nothing was changed", "5") // it got the token alone
	f(ts.do("GET", apps+"cut/", "control", ""), 502, "broke off", "5")
	f(ts.do("PATCH", apps+"cut/", "control", "{}"), 502, "may have been made", "")
	f(ts.do("GET", apps+"dead/", "any", ""), 503, "No node", "5")
	f(ts.do("GET", apps+"shop/", "any", "", "X-Spoor-Forwarded: 1"), 508, "Another node says", "")
	far.opt.Nodes = fakeNodes{of: map[string]string{"round": url}}
	f(ts.do("GET", apps+"round/", "any", ""), 401, "Invalid token", "")
	f(ts.do("GET", apps+"round/", "control", ""), 508, "Another node says", "")
	f(ts.do("GET", "/api/public/users/", "shop-read", "", "X-Spoor-Forwarded: 1"), 401, "Invalid token", "")
	f(ts.do("GET", "/api/public/users/", "shop-read", ""), 200, `"id":1001`, "") // past the one that is away
	f(ts.do("GET", "/api/public/users/", "nobody", ""), 503, "some do not answer", "5")
	f(ts.do("GET", apps+"shop/", "", ""), 401, "not provided", "")
	f(ts.doVia(ts.local, "GET", apps+"shop/", "", ""), 421, url, "")
	f(ts.doVia(ts.local, "GET", "/api/public/users/?app=shop", "", ""), 421, url, "")
	f(ts.doVia(ts.local, "GET", "/api/public/users/?app=shop", "control", ""), 421, url, "")
	if far.Stats().Requests != 5 { // twice the round, twice the token that it knows, and the one that nobody knows
		t.Errorf("the other node was asked %d times", far.Stats().Requests)
	}
	for range forwardsMax {
		ts.forwards.slots <- struct{}{}
	}
	f(ts.do("GET", apps+"shop/", "control", ""), 503, "Too many requests", "1")
	for range forwardsMax {
		<-ts.forwards.slots
	}
	if _, err := io.WriteString(ts.log, ""); err != nil || strings.Contains(ts.log.String(), "shop-read") {
		t.Error("the log has a token")
	}
}

// Goal: two apps of one name, or with one write key, are refused on whichever node
// they meet; what stands in the log already is applied all the same.
// Method: a node alone and one whose changes go through the log, beside a node that
// has the app "far" with the key "far-key"; then the same two as commands.
func TestNamesAndKeysOfOtherNodes(t *testing.T) {
	for _, clustered := range []bool{false, true} {
		ts, _, log := node(t, clustered)
		ts.opt.Nodes = fakeNodes{of: map[string]string{"far": ""}, key: "far-key"}
		ts.store.apps.list[1].Keys = []spoor.WriteKey{{Key: "near-key"}}
		f := func(path, body string, status int, contains string) {
			t.Helper()
			rep := ts.do("POST", "/api/admin/apps/"+path, "control", body)
			if rep.status != status || !strings.Contains(rep.body, contains) {
				t.Errorf("through the log %v: %s %s: %d %s", clustered, path, body, rep.status, rep.body)
			}
		}
		name, key := `{"errors":{"name":["Another app has this name."]}}`, `{"errors":{"key":["This key is in use."]}}`
		f("", `{"name":"far"}`, 400, name)
		f("", `{"name":"other"}`, 400, name)
		f("shop/keys/", `{"key":"far-key"}`, 400, key)
		f("shop/keys/", `{"key":"near-key"}`, 400, key)
		if len(log.sent) != 0 {
			t.Errorf("%d of them are in the log", len(log.sent))
		}
		f("shop/keys/", `{"key":"new-key"}`, 201, `"key":"new-key"`)
		f("shop/keys/", `{}`, 201, `"key":"`)
		f("", `{"name":"new"}`, 201, `"name":"new"`)
		for app, r := range map[spoor.AppID]request{9: {Path: "/api/admin/apps/", Body: []byte(`{"name":"far"}`)}, 1: {Path: "/api/admin/apps/shop/keys/", Body: []byte(`{"key":"far-key"}`)}} {
			r.Actor, r.Role, r.Method = "t", admin, "POST"
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			reply, err := ts.Apply(t.Context(), &spoor.Command{App: app, Kind: spoor.CommandRequest, Body: text}, ts.opt.Store, ts.opt.Retention)
			if err != nil || reply.Status != 201 {
				t.Errorf("%s is applied as %+v, %v", r.Path, reply, err)
			}
		}
	}
}

// Goal: a token that is not known here is answered for an app that this node has, or
// that nobody knows, as by one machine alone, and goes nowhere; so is who says that
// the request was forwarded.
// Method: such requests beside a node that knows the token, and that believes that
// this one has the app.
func TestNotForwarded(t *testing.T) {
	ts, far, _ := farAway(t)
	far.opt.Nodes = fakeNodes{of: map[string]string{"other": "http://192.0.2.1"}}
	const apps, forwarded = "/api/admin/apps/", headerForwarded + ": 1"
	for _, q := range []struct {
		path, token, header string
		status              int
	}{
		{apps + "other/", "nobody", "", 401},
		{apps + "other/", "shop-admin", "", 401},
		{apps + "none/", "nobody", "", 401},
		{apps + "none/", "control", "", 404},
		{"/api/admin/receipts/?app=other", "shop-admin", "", 401},
		{apps + "other/", "nobody", forwarded, 401},
		{apps + "none/", "nobody", forwarded, 401},
		{apps + "none/", "control", forwarded, 404},
		{apps + "other/", "control", forwarded, 200},
		{apps + "none/", "other-admin", forwarded, 404},
		{"/api/public/users/", "other-read", forwarded, 200},
		{"/api/public/users/", "shop-read", forwarded, 401},
		{apps + "shop/", "control", forwarded, 508},
	} {
		if rep := ts.do("GET", q.path, q.token, "", cmp.Or(q.header, "Accept: */*")); rep.status != q.status || rep.header.Get(headerNode) != "" {
			t.Errorf("%s by %s, %s: %d %s", q.path, q.token, q.header, rep.status, rep.body)
		}
	}
	if n := far.Stats().Requests; n != 0 {
		t.Errorf("the other node was asked %d times", n)
	}
}

// Goal: a node that hangs holds up nobody who wants another one, whoever asks for it,
// and what is refused for it is refused at once.
// Method: as many tokens that nobody knows, and as many requests for an app, as may wait
// for a node that takes connections and says nothing; then more of both.
func TestNodeHangs(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	hang := make(chan net.Conn, 64)
	go func() {
		for {
			c, err := mute.Accept()
			if err != nil {
				return
			}
			hang <- c
		}
	}()
	hung := "http://" + mute.Addr().String()
	ts, _, _ := farAway(t, func(n *fakeNodes) {
		n.of["hung"] = hung
		n.others = []string{hung, n.others[0]}
	})
	f := func(what string, rep reply, status int, contains string) {
		t.Helper()
		if rep.status != status || !strings.Contains(rep.body, contains) {
			t.Errorf("%s: %d %s", what, rep.status, rep.body)
		}
	}
	waiting := func(p *nodePlaces, n int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			p.mu.Lock()
			there, nodes := p.taken[hung], len(p.taken)
			p.mu.Unlock()
			if there == n && nodes <= 1 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d wait for the node, want %d; %d nodes are waited for", there, n, nodes)
			}
		}
	}
	fw := ts.forwards
	ts.web.Timeout = 20 * time.Second
	const users, apps = "/api/public/users/", "/api/admin/apps/"
	f("one token", func() reply { fw.knowsFor = 10 * time.Millisecond; return ts.do("GET", users, "nobody", "") }(), 503, "some do not answer")
	f("one app", ts.do("GET", apps+"hung/", "nobody", ""), 503, "nothing was changed")
	waiting(&fw.unknown, 0)
	fw.knowsFor = time.Minute
	var held sync.WaitGroup
	for i := range unknownMax {
		held.Go(func() { ts.do("GET", users, fmt.Sprint("nobody-", i), "") })
		waiting(&fw.unknown, i+1)
	}
	const poll = apps + "hung/?wait=30"
	for range pollsMax {
		held.Go(func() { ts.do("GET", poll, "control", "") })
	}
	waiting(&fw.polls, pollsMax)
	f("one long poll more", ts.do("GET", poll, "control", ""), 503, "Too many requests")
	for range waitsMax {
		held.Go(func() { ts.do("GET", apps+"hung/", "control", "") })
	}
	waiting(&fw.waits, waitsMax)
	f("one token more", ts.do("GET", users, "nobody", ""), 503, "Too many requests")
	f("one app more, by nobody", ts.do("GET", apps+"hung/", "nobody", ""), 503, "Too many requests")
	f("one app more", ts.do("GET", apps+"hung/", "control", ""), 503, "Too many requests")
	f("a token of the other node", ts.do("GET", users, "shop-read", ""), 200, `"id":1001`)
	f("an app of the other node", ts.do("GET", apps+"shop/", "control", ""), 200, `"name":"shop"`)
	mute.Close()
	ended := make(chan bool)
	go func() { held.Wait(); close(ended) }()
	for done := false; !done; {
		select {
		case c := <-hang:
			c.Close()
		case <-ended:
			done = true
		case <-time.After(10 * time.Second):
			t.Fatal("requests still wait for a node that is gone")
		}
	}
	waiting(&fw.unknown, 0)
	waiting(&fw.waits, 0)
	waiting(&fw.polls, 0)
	if n := len(fw.slots); n != 0 {
		t.Errorf("%d requests are still on their way", n)
	}
}

// Goal: while somebody asks for tokens that nobody knows, those that a node knew
// before are known on; and where nobody is alive who may know a token, 503 says so.
// Method: a token that was asked about once, one that was not, and one of nobody's,
// while all places are taken; then an app without a node.
func TestTokensOfOtherNodes(t *testing.T) {
	const users = "/api/public/users/"
	ts, _, url := farAway(t)
	f := func(token string, status int, headers ...string) {
		t.Helper()
		rep := ts.do("GET", users, token, "", headers...)
		if rep.status != status || (status == 503) != (rep.header.Get("Retry-After") != "") {
			t.Errorf("%s: %d %s, Retry-After %q; want %d", token, rep.status, rep.body, rep.header.Get("Retry-After"), status)
		}
	}
	f("shop-read", 200)
	for range unknownMax {
		ts.forwards.unknown.take(url)
	}
	f("nobody", 503)
	f("shop-write", 503)
	f("shop-read", 200)
	for range unknownMax {
		ts.forwards.unknown.free(url)
	}
	f("nobody", 401)
	f("shop-write", 200)
	for i := range latelyMax {
		ts.forwards.lately.add(url, fmt.Sprint(i))
	}
	if n := len(ts.forwards.lately.node); n > latelyMax {
		t.Errorf("%d tokens are remembered", n)
	}

	ts, _, _ = farAway(t, func(n *fakeNodes) { n.away = true })
	f("shop-read", 200)
	f("other-read", 200)
	f("nobody", 503)
	f("nobody", 503, headerForwarded+": 1")
}

// Goal: a request through another node costs its app one request a minute, not two.
// Method: as many as are left, by a token that only the other node knows.
func TestForwardLimit(t *testing.T) {
	ts, far, _ := farAway(t)
	far.opt.Nodes = fakeNodes{}
	far.store.apps.change(func(a *spoor.App) { a.Settings.RequestsPerMin = 3 })
	for i, status := range []int{200, 200, 200, 429} {
		if rep := ts.do("GET", "/api/public/users/", "shop-read", ""); rep.status != status {
			t.Errorf("request %d: %d %s", i, rep.status, rep.body)
		}
	}
}
