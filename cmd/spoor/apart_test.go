package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// ahead builds the program with a clock of its store nodes that is ten minutes
// ahead: the compiler reads another store.go than the one that is there.
func ahead(t testing.TB) (path string) {
	t.Helper()
	dir := folder(t)
	file, err := filepath.Abs("store.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), "time.Now") < 4 {
		t.Fatal("store.go does not give the clock to the parts of a node any more")
	}
	changed := strings.ReplaceAll(string(text), "time.Now", "nowAhead") + "\nfunc nowAhead() time.Time { return time.Now().Add(10 * time.Minute) }\n"
	other := filepath.Join(dir, "store.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: other}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	for name, content := range map[string][]byte{other: []byte(changed), list: overlay} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, "spoor")
	cmd := exec.Command("go", "build", "-overlay", list, "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the program: %v\n%s", err, out)
	}
	return path
}

// Goal: while the clocks of two nodes are more than five minutes apart, nothing is
// removed by time on either of them, though it is due; both say so, both take
// changes and hold the same. Once they agree it is removed, on both.
// Method: a store with somebody who was idle for a hundred days, and a node that
// joins with a clock that is ten minutes ahead; then the same node with the right
// one.
func TestClocksApart(t *testing.T) {
	t.Setenv("SPOOR_ADMIN_TOKEN", replicaToken)
	const token = "a-token-of-the-shop"
	data := folder(t)
	then := time.Now().AddDate(0, 0, -100)
	st, err := store.Open(store.Options{Dir: data, Now: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	app, err := st.CreateApp(&spoor.App{
		Name: "shop", Created: then.UnixMilli(), Settings: spoor.DefaultSettings("UTC"),
		Tokens: []spoor.Token{{Name: "crm", Role: spoor.RoleAdmin, Hash: spoor.HashToken(token)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	hits := []spoor.Hit{{App: app.ID, ID: "old", Kind: spoor.KindPage, Door: spoor.DoorNative, Key: "visitor", Time: then.UnixMilli(), Received: then.UnixMilli()}}
	if err := st.Write(hits); err != nil || hits[0].Outcome != spoor.Stored {
		t.Fatal(err, hits[0].Outcome)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	k := startKafka(t)
	node := func(data string, flags ...string) *server {
		t.Helper()
		s := k.storeNode(data, append(flags, "--checkpoints", "--sweep-grace", "1s")...)
		s.token = token
		return s
	}
	right := binary
	binary = ahead(t)
	defer func() { binary = right }()
	wrong := node(data)
	binary = right
	began := time.Now()
	other := node(folder(t), "--join", wrong.reads)
	both := []*server{wrong, other}
	for _, s := range both {
		s.await(15*time.Second, "the node to say that the clocks differ", func() bool {
			return strings.Contains(s.log.String(), "level=ERROR msg=\"the clock of another node is far from this one's")
		})
	}
	for n := 0; time.Since(began) < 15*time.Second; n++ { // it is due after ten
		for _, s := range both {
			user := fmt.Sprintf(`{"user_id":"user-%d","plan":"pro"}`, n)
			if r := s.send("POST", s.reads+"/api/public/users/update_or_create/", user, "Authorization", "Token "+token); r.status != 200 && r.status != 201 {
				t.Fatalf("a change is answered %d %s", r.status, r.body)
			}
		}
		if n%20 == 0 {
			for _, s := range both {
				if s.exportIDs()["old"] != 1 {
					t.Fatal("what is due was removed while the clocks differ")
				}
			}
		}
	}
	for _, s := range both {
		if said := s.refused("sweep"); !strings.Contains(said, "Nothing was removed: the clock of node") {
			t.Errorf("spoor sweep says %s", said)
		}
	}
	k.compare(other, wrong)

	wrong.stop()
	mended := node(wrong.data)
	for _, s := range []*server{mended, other} {
		s.await(30*time.Second, "what is due to be removed", func() bool { return s.exportIDs()["old"] == 0 })
	}
	k.compare(other, mended)
	for _, s := range []*server{mended, other} {
		s.stop()
		checkStore(t, s.data)
	}
}
