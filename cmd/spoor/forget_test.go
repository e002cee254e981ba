package main_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Goal: what a real client sent of anonymous visitors is gone from every byte of
// every file two months later; people who said who they are stay whole, and so
// do the numbers of the day.
// Method: the published client sends to a demo whose clock stands 65 days back,
// half of the visitors with a user id. The files are searched before, as a
// positive control, and after a sweep by a server of today.
func TestRealClientIsForgotten(t *testing.T) {
	needClients(t)
	data := folder(t)
	then := time.Now().AddDate(0, 0, -65)
	s := serve(t, data, "--demo", "--clock", then.UTC().Format(time.RFC3339))
	var calls []call
	var leave, stay []string
	for n := range 60 {
		who := fmt.Sprintf("device-that-leaves-%02d", n%20)
		args := object{"anonymousId": who, "event": "Looked", "properties": object{"secret": "note-of-" + who},
			"context": object{"page": object{"url": "https://shop.example/only/" + who}, "userAgent": surroundings[1].context["userAgent"]}}
		if n%2 == 0 {
			who = fmt.Sprintf("device-that-stays-%02d", n%20)
			args["anonymousId"], args["userId"] = who, "user-of-"+who
			args["properties"] = object{"secret": "note-of-" + who}
			args["context"] = object{"page": object{"url": "https://shop.example/only/" + who}, "userAgent": surroundings[1].context["userAgent"]}
		}
		if n < 20 && n%2 == 0 {
			stay = append(stay, who)
		} else if n < 20 {
			leave = append(leave, who)
		}
		calls = append(calls, call{Kind: "track", Args: args})
	}
	runClient(t, "segment", s.collector, calls)
	if n := len(s.export()); n != len(calls) {
		t.Fatalf("%d hits are stored, %d were sent", n, len(calls))
	}
	s.stop()
	scan := func(texts []string) string {
		out, err := exec.Command(binary, append([]string{"scan", "--data", data}, texts...)...).CombinedOutput()
		if found := !strings.Contains(string(out), "nothing found"); found != (err != nil) {
			t.Fatalf("spoor scan: %v: %s", err, out)
		}
		return string(out)
	}
	for i, who := range leave {
		if out := scan([]string{who, "note-of-" + who, "only/" + who}); !strings.Contains(out, "text 1 as plain") || !strings.Contains(out, "text 2 as") || !strings.Contains(out, "text 3 as") {
			t.Fatalf("positive control %d:\n%s", i, out)
		}
	}
	before := partitionsOf(t, data, then)

	s = serve(t, data, "--demo")
	out, err := exec.Command(binary, "sweep", "--data", data, "--dry-run").Output()
	if err != nil || strings.Count(string(out), "\n") != len(leave) {
		t.Fatalf("the dry run lists %d, want %d: %v\n%s", strings.Count(string(out), "\n"), len(leave), err, out)
	}
	out, err = exec.Command(binary, "sweep", "--data", data, "--full").Output()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d profiles with %d hits removed", len(leave), len(calls)/2)) {
		t.Fatalf("spoor sweep: %v\n%s", err, out)
	}
	var texts []string
	for _, who := range leave {
		texts = append(texts, who, "note-of-"+who, "only/"+who)
	}
	if out := scan(texts); !strings.Contains(out, "nothing found") {
		t.Errorf("after the sweep, served:\n%s", out)
	}
	for _, who := range stay {
		p := s.readObject("/api/public/users-by-id/user-of-" + who + "/")
		timeline := s.readObject("/api/public/users-by-id/user-of-" + who + "/timeline/")
		if p["key"] != who || len(timeline["results"].([]any)) != 3 {
			t.Errorf("%s: %v, %d moments", who, p["key"], len(timeline["results"].([]any)))
		}
	}
	s.stop()
	if out := scan(texts); !strings.Contains(out, "nothing found") {
		t.Errorf("after the sweep, stopped:\n%s", out)
	}
	if out := scan(stay[:1]); strings.Contains(out, "nothing found") {
		t.Error("the neighbours are gone")
	}
	if after := partitionsOf(t, data, then); after.profiles != before.profiles || after.hits != before.hits-int64(len(calls)/2) {
		t.Errorf("the day has %+v, had %+v", after, before)
	}
}

// counted is what spoor partitions says of a day.
type counted struct{ hits, profiles int64 }

func partitionsOf(t *testing.T, data string, day time.Time) (c counted) {
	t.Helper()
	s := serve(t, data, "--demo", "--clock", day.UTC().Format(time.RFC3339))
	defer s.stop()
	out, err := exec.Command(binary, "partitions", "--data", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 6 && f[1] == day.UTC().Format(time.DateOnly) {
			fmt.Sscan(f[2], &c.hits)
			fmt.Sscan(f[3], &c.profiles)
			return c
		}
	}
	t.Fatalf("no row of the day:\n%s", out)
	return c
}

// Goal: what a person is shown is what erasing removes, and both are what is
// found in the files.
// Method: a person with a text of its own in every place that keeps one. Each
// text that the export shows is found by a raw scan before the erasure and by
// none after; the hits that are exported are as many as are erased.
func TestExportedIsErasedIsFound(t *testing.T) {
	s := demo(t)
	places := 0
	mark := func(place string) string {
		places++
		return fmt.Sprintf("mark%02dof%s", places, strings.ReplaceAll(place, " ", ""))
	}
	send := func(body object) {
		t.Helper()
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		if r := s.hit(string(raw)); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	agent := "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 "
	cookie, user, phone := mark("cookie"), mark("user"), mark("phone cookie")
	send(object{"key": cookie, "url": "https://shop.example/" + mark("path"), "referrer": "https://search.example/" + mark("referrer"), "title": mark("title"),
		"user_agent": agent + mark("agent"), "id": mark("event id"), "properties": object{mark("property"): mark("value")}})
	send(object{"key": cookie, "user_id": user, "type": "identify", "user_agent": agent,
		"attributes": object{"email": mark("mail") + "@x.example", "first_name": mark("name"), "plan": mark("attribute"), "phone_number": "+48 123 987 654"}})
	send(object{"key": phone, "user_id": user, "type": "event", "name": mark("event"), "user_agent": agent, "time": time.Now().AddDate(0, 0, -3).Format(time.RFC3339)})
	send(object{"key": phone, "type": "screen", "name": mark("screen"), "user_agent": agent})

	for _, format := range []string{"json", "csv"} {
		out, err := exec.Command(binary, "person", "export", "--data", s.data, "--app", "demo", "--format", format, user).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for n := range places {
			if !strings.Contains(string(out), fmt.Sprintf("mark%02dof", n+1)) {
				t.Errorf("%s: text %d is not exported:\n%s", format, n+1, out)
			}
		}
	}
	out, err := exec.Command(binary, "person", "export", "--data", s.data, "--app", "demo", user).Output()
	var exported struct {
		Hits []object
	}
	if err == nil {
		err = json.Unmarshal(out, &exported)
	}
	if err != nil || len(exported.Hits) != 4 {
		t.Fatalf("%d hits are exported, %v:\n%s", len(exported.Hits), err, out)
	}
	found := func(n int) bool {
		out, err := exec.Command(binary, "scan", "--data", s.data, fmt.Sprintf("mark%02dof", n+1)).CombinedOutput()
		if err == nil != strings.Contains(string(out), "nothing found") {
			t.Fatalf("%v: %s", err, out)
		}
		return err != nil
	}
	for n := range places {
		if !found(n) {
			t.Errorf("positive control: text %d is not found", n+1)
		}
	}
	if out, err := exec.Command(binary, "erase", "--data", s.data, "--app", "demo", user).CombinedOutput(); err != nil || !strings.Contains(string(out), "1 person with 4 hits erased") {
		t.Fatalf("%v: %s", err, out)
	}
	for n := range places {
		if found(n) {
			t.Errorf("text %d is still there", n+1)
		}
	}
}
