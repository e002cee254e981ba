package main_test

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// apart is two nodes that share the partitions between them, and a collector. The
// app "first" is on one, where a token of it was made, and "second" on the other.
func (k *kafka) apart() (one, two, collector *server, key, token string) {
	k.t.Helper()
	one = k.storeNode(folder(k.t), "--topic-partitions", "2", "--partitions", "0")
	made := one.spoor("app", "create", "first")
	key = strings.TrimSpace(made[strings.LastIndex(made, " ")+1:])
	token = strings.TrimSpace(one.spoor("app", "tokens", "first", "--create", "crm", "--role", "admin"))
	two = k.storeNode(one.beside(), "--partitions", "1")
	two.spoor("app", "create", "second")
	return one, two, k.collector(), key, token
}

// Goal: the dashboard of any node shows every app, with hits as they come; links of
// shared overviews open there, and the list of apps is whole, also when the node of
// an app is gone. A session ends with its token.
// Method: two nodes share the partitions; one logs in at the node that does not have
// the app, looks, changes somebody and watches; then the token goes, and the node.
func TestDashboardOfAnyNode(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	k := startKafka(t)
	one, two, c, key, token := k.apart()
	login := func(token string) (r reply, cookie string) {
		t.Helper()
		r = two.send("POST", two.reads+"/login", url.Values{"token": {token}}.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json")
		cookie, _, _ = strings.Cut(r.header.Get("Set-Cookie"), ";")
		return r, cookie
	}
	var cookie string
	two.await(10*time.Second, "the nodes to know each other", func() (ok bool) {
		_, cookie = login(token)
		return cookie != ""
	})
	if r, cookie := login("nobody"); r.status != http.StatusUnauthorized || cookie != "" {
		t.Errorf("a token that nobody knows: %d %s", r.status, r.body)
	}
	see := func(path string, status int, contains string) {
		t.Helper()
		if r := two.send("GET", two.reads+path, "", "Cookie", cookie); r.status != status || !strings.Contains(r.body, contains) {
			t.Errorf("%s with the session: %d %s, want %d %q", path, r.status, r.body, status, contains)
		}
	}
	see("/api/session/", http.StatusOK, `"app":"first","role":"admin"`)
	see("/api/admin/apps/second/", http.StatusNotFound, "")

	ctx, end := context.WithTimeout(t.Context(), 30*time.Second)
	defer end()
	req, err := http.NewRequestWithContext(ctx, "GET", two.reads+"/api/live/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	c.await(10*time.Second, "a collector to know the app", func() bool {
		return c.send("POST", c.collector+"/hit?k="+key, `{"name":"signup","type":"event","user_id":"anna"}`).status == http.StatusOK
	})
	live := bufio.NewScanner(resp.Body)
	for live.Scan() && !strings.Contains(live.Text(), "signup") {
	}
	if live.Err() != nil {
		t.Fatalf("the hit does not come live: %v", live.Err())
	}
	see("/api/find/?q=anna", http.StatusOK, "anna")
	see("/api/stats/?metric=events", http.StatusOK, `"total":1`)
	if r := two.send("PUT", two.reads+"/api/public/users-by-id/anna/", `{"plan":"pro"}`, "Cookie", cookie); r.status != http.StatusForbidden {
		t.Errorf("a change that another site could send: %d %s", r.status, r.body)
	}
	if r := two.send("PUT", two.reads+"/api/public/users-by-id/anna/", `{"plan":"pro"}`, "Cookie", cookie, "X-Spoor-App", "1"); r.status != http.StatusOK {
		t.Errorf("a change: %d %s", r.status, r.body)
	}
	if log := one.spoor("audit", "--app", "first"); !strings.Contains(log, "crm") || !strings.Contains(log, "users.update") {
		t.Errorf("the audit log where the app is:\n%s", log)
	}

	shared := one.spoor("app", "share", "first")
	link := shared[:strings.Index(shared, "\n")]
	two.await(10*time.Second, "the link to open", func() bool { return two.send("GET", two.reads+link, "").status == http.StatusOK })
	if r := two.send("GET", two.reads+link+"api/stats/?metric=visitors", ""); r.status != http.StatusOK || r.header.Get("X-Spoor-Node") != one.reads {
		t.Errorf("the shared overview: %d %s %v", r.status, r.body, r.header)
	}
	one.spoor("app", "share", "first", "--end")
	two.await(10*time.Second, "the link to end", func() bool { return two.send("GET", two.reads+link, "").status == http.StatusNotFound })

	lists := func(s *server, here, elsewhere, where string) {
		t.Helper()
		list := s.spoor("app", "list")
		if !regexp.MustCompile(here+`\s+UTC\s+1\s+\d+\s+open\n`).MatchString(list) || !regexp.MustCompile(elsewhere+`\s+UTC\s+1\s+-\s+open, `+where+`\n`).MatchString(list) {
			t.Errorf("the apps at the node of %s, beside %s %s:\n%s", here, elsewhere, where, list)
		}
	}
	lists(one, "first", "second", "on "+two.reads)
	lists(two, "second", "first", "on "+one.reads)
	if out := two.spoor("partitions"); !strings.Contains(out, "on "+one.reads) {
		t.Errorf("the partitions:\n%s", out)
	}
	if out, err := exec.Command(binary, "app", "set", "first", "--data", two.data).CombinedOutput(); err == nil || !strings.Contains(string(out), one.reads) {
		t.Errorf("a command at the other node: %v, %s", err, out)
	}

	one.spoor("app", "tokens", "first", "--delete", "crm")
	see("/api/session/", http.StatusUnauthorized, "log in")
	for live.Scan() {
	}
	if live.Err() != nil {
		t.Errorf("who watches is not cut off with the token: %v", live.Err())
	}
	if text := two.log.String() + one.log.String(); strings.Contains(text, token) || strings.Contains(text, os.Getenv("SPOOR_ADMIN_TOKEN")) {
		t.Error("a log has a token")
	}
	one.kill()
	two.await(20*time.Second, "the node to be missed", func() bool { return strings.Contains(two.spoor("app", "list"), "no node that is alive") })
	lists(two, "second", "first", "on no node that is alive")
}
