package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// follower is who keeps a copy of a feed: it writes down each line before it
// asks for what is behind it.
type follower struct {
	t      testing.TB
	after  string
	lines  map[string]string // by id of the entry
	events map[string]int    // ids of events, as often as they were in different entries
	kills  int
}

func newFollower(t testing.TB) *follower {
	return &follower{t: t, lines: map[string]string{}, events: map[string]int{}}
}

// take notes a line. One that came before must be the same.
func (f *follower) take(line string) {
	var entry struct {
		ID, Type string
		Hit      struct {
			Event string `json:"event_id"`
		}
	}
	if json.Unmarshal([]byte(line), &entry) != nil {
		return // cut off when one end was killed
	}
	f.after = entry.ID
	if entry.Type != "hit" {
		return
	}
	if before, known := f.lines[entry.ID]; known {
		if before != line {
			f.t.Errorf("entry %s was\n%s\nand is now\n%s", entry.ID, before, line)
		}
		return
	}
	f.lines[entry.ID] = line
	f.events[entry.Hit.Event]++
}

// follow runs spoor feed for a while and kills it.
func (f *follower) follow(data string, lasts time.Duration) {
	f.t.Helper()
	cmd := exec.Command(binary, "feed", "--app", "demo", "--data", data, "--after", f.after)
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	timer := time.AfterFunc(lasts, func() { cmd.Process.Kill() })
	defer timer.Stop()
	in := bufio.NewScanner(out)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		f.take(in.Text())
	}
	_ = cmd.Wait() // it was killed, or its server was
	f.kills++
}

// Goal: who follows the feed misses nothing that was acknowledged and gets
// nothing twice but under the same id, however often either end is killed.
// Method: spoor feed is killed a hundred times while hits are stored, goes on
// from the last entry that it had, every tenth time from an older one; the
// server is killed five times meanwhile. What was told is compared with the
// ledger of what was acknowledged and with what is stored.
func TestFeedFollowersThatAreKilled(t *testing.T) {
	const kills, serverKills = 100, 5
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 7))
	data := folder(t)
	l, f := newLedger(), newFollower(t)
	for round := range serverKills {
		s := spawn(t, data, "--demo")
		s.awaitServing()
		if round == 0 {
			s.spoor("app", "set", "demo", "feed_days=7")
		}
		l.resend(s, l.takeOpen())
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			l.load(s.collector, 2, 1)
		}()
		for f.kills < kills*(round+1)/serverKills {
			if f.kills%10 == 9 && len(f.lines) > 50 {
				n := json.Number(f.after)
				at, err := n.Int64()
				if err != nil {
					t.Fatal(err)
				}
				f.after = fmt.Sprint(max(1, at-50))
			}
			f.follow(data, time.Duration(20+random.IntN(60))*time.Millisecond)
		}
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.ended
		<-loaded
	}
	s := serve(t, data, "--demo")
	l.resend(s, l.takeOpen())
	want := s.exportIDs()
	s.await(30*time.Second, "the follower to have all", func() bool {
		f.follow(data, 300*time.Millisecond)
		return len(f.events) >= len(want)
	})
	l.verify(s)
	for id, n := range f.events {
		if n != 1 || want[id] != 1 {
			t.Errorf("event %s is in %d entries and stored %d times", id, n, want[id])
		}
	}
	for id := range l.acked {
		if f.events[id] == 0 {
			t.Errorf("event %s was acknowledged and is not in the feed", id)
		}
	}
	acked, _ := l.count()
	t.Logf("%d followers killed, %d acknowledged, %d told", f.kills, acked, len(f.events))
	if acked < 1000 {
		t.Errorf("only %d hits were acknowledged: this shows nothing", acked)
	}
	s.stop()
}

// Goal: an erasure reaches the feed as a tombstone with the person's id, and the
// person is gone from what the feed told before; no text of the person is in a
// file, with a feed too.
// Method: two persons, one is erased; the feed is read from its beginning.
func TestFeedTellsOfErasures(t *testing.T) {
	s := demo(t)
	s.spoor("app", "set", "demo", "feed_days=7")
	for _, who := range []string{"ada", "bob"} {
		r := s.hit(fmt.Sprintf(`{"k":"demo","type":"page","key":"cookie-of-%s","user_id":"%s-77","url":"https://shop.example/%s"}`, who, who, who))
		if r.status != 200 {
			t.Fatal(r.status, r.body)
		}
	}
	id := fmt.Sprint(s.readObject("/api/public/users-by-id/ada-77/")["id"])
	told := func() string { return s.read("/api/feed/") }
	if text := told(); !strings.Contains(text, "shop.example/ada") || !strings.Contains(text, "ada-77") {
		t.Fatalf("positive control: %s", text)
	}
	s.spoor("erase", "--app", "demo", "ada-77")
	var page struct {
		Entries []struct {
			Type  string
			Users []struct{ ID json.Number }
		}
	}
	text := told()
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatal(err)
	}
	last := page.Entries[len(page.Entries)-1]
	if last.Type != "erased" || len(last.Users) != 1 || fmt.Sprint(parse[float64](t, string(last.Users[0].ID))) != fmt.Sprint(parse[float64](t, id)) {
		t.Errorf("the last entry is %+v, want that %s was erased", last, id)
	}
	if strings.Contains(text, "/ada") || strings.Contains(text, "ada-77") || !strings.Contains(text, "shop.example/bob") {
		t.Errorf("the feed tells %s", text)
	}
	s.spoor("scan", "cookie-of-ada") // fails if it is found
}
