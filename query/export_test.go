package query

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// unharm is what a program that reads users.csv does.
func unharm(cell string) string {
	if strings.HasPrefix(cell, "'") && isFormula(cell) {
		return cell[1:]
	}
	return cell
}

func TestHarmless(t *testing.T) {
	f := func(cell, want string) {
		t.Helper()
		if got := harmless(cell); got != want {
			t.Errorf("%q: got %q, want %q", cell, got, want)
		}
		if got := unharm(want); got != cell {
			t.Errorf("%q: read back as %q", cell, got)
		}
	}
	for _, formula := range []string{
		"=1+1", "+48600", "-1+1", "@SUM(A1)", "\t=1", "\rx", " =1", "\u00a0=1", "\n=1", "\r\n@x", " \u00a0 -x", "\ufeff=1", "\u200b=1",
		"'=1", "' =1", "''=1", "＝1", "＋1", "－1", "＠x", "-", "=", "-5,5", "--5", "=HYPERLINK(\"http://evil.example\")", "\u3000=1", "\v=1", "\u2028=1",
	} {
		f(formula, "'"+formula)
	}
	for _, text := range []string{"", " ", "a", "a=1", "'", "'a", "it's", "-5", "-123456789012", "5", "Łódź", "1+1", "{\"a\":1}", "'5"} {
		f(text, text)
	}
}

func FuzzHarmless(f *testing.F) {
	for _, s := range []string{"=1", "'=1", " -x", "-5", "'-5", "\u00a0@", "\xff=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cell string) {
		got := harmless(cell)
		if unharm(got) != cell && !isNumber(cell) {
			t.Errorf("%q became %q and is read as %q", cell, got, unharm(got))
		}
		lead := strings.TrimLeft(got, " \u00a0\n")
		if lead != "" && strings.ContainsAny(lead[:1], "=+@\t\r") {
			t.Errorf("%q is a formula still: %q", cell, got)
		}
	})
}

func TestExportUsers(t *testing.T) {
	ts := newTestServer(t)
	read := func() [][]string {
		t.Helper()
		r := ts.do("GET", "/api/export/users.csv", "shop-read", "")
		if r.status != 200 || r.header.Get("Content-Type") != "text/csv; charset=utf-8" {
			t.Fatalf("%d %s", r.status, r.header.Get("Content-Type"))
		}
		rows, err := csv.NewReader(strings.NewReader(r.body)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if rows := read(); len(rows) != 1 || rows[0][0] != "id" || rows[0][len(rows[0])-1] != "lists" {
		t.Errorf("an export of nothing is %q", rows)
	}
	p := ts.addProfile(1, 1, "=cmd|' /C calc'!A0", "ada@example.com")
	p.Attributes = append(p.Attributes, spoor.Attribute{Name: "+x", Type: spoor.TypeString, Text: "two\nlines, \"quoted\""})
	for n := range 1200 {
		ts.addProfile(1, spoor.Number(n+2), fmt.Sprint("u", n), "x@example.com")
	}
	ts.audited()
	rows := read()
	if len(rows) != 1202 {
		t.Fatalf("%d rows", len(rows))
	}
	got := map[string]string{}
	for i, name := range rows[0] {
		got[name] = unharm(rows[1][i])
	}
	for name, want := range map[string]string{
		"id": "1001", "key": "cookie000001", "user_id": "=cmd|' /C calc'!A0", "phone_number": "+48600100200", "score": "-5", "country": "Poland",
		"country_code": "PL", "created_at": "2026-03-04T05:06:07.000000Z", "gender": "female", "visits": "2", "mobile_ids": "push-1", "notifications": "true",
		"attributes": `{"nested":{"a":[1]},"plan":"gold","paid":true,"spent":12.5,"+x":"two\nlines, \"quoted\""}`,
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if i := 2; rows[1][i] != "'=cmd|' /C calc'!A0" {
		t.Errorf("the formula is %q", rows[1][i])
	}
	if rows[1201][2] != "u1199" {
		t.Errorf("the last row is %q", rows[1201])
	}
	if a := ts.audited(); len(a) != 1 || a[0].Subjects != 1201 || !a[0].Complete || a[0].Action != "export.users" {
		t.Errorf("audited %+v", a)
	}
}

// No short file may pass for a whole one: the reader meets an error, and the
// text ends with a line that says so.
func TestExportThatFailsIsSeen(t *testing.T) {
	for _, path := range []string{"/api/export/users.csv", "/api/export/hits.ndjson"} {
		ts := newTestServer(t)
		for n := range 700 {
			ts.addProfile(1, spoor.Number(n+1), "u", "x@example.com")
			ts.addHit(1, 1, spoor.KindPage, "p")
		}
		ts.store.failAt = 600
		req, _ := http.NewRequest("GET", "http://spoor.test"+path, nil)
		req.Header.Set("Authorization", "Token shop-read")
		resp, err := ts.web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: the reader met %v", path, err)
		}
		all := strings.TrimSpace(string(body))
		if last := all[strings.LastIndexByte(all, '\n')+1:]; !strings.Contains(last, "export cut short") {
			t.Errorf("%s: the last line is %q", path, last)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := ts.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if a := ts.audited(); len(a) != 1 || a[0].Complete || a[0].Subjects < 500 {
			t.Errorf("%s: audited %+v", path, a)
		}
		if !strings.Contains(ts.log.String(), "bad block") || ts.Stats().Streams != 0 {
			t.Errorf("%s: log %s, stats %+v", path, ts.log, ts.Stats())
		}
	}
}

func TestExportHits(t *testing.T) {
	ts := newTestServer(t)
	ts.addHit(1, 1, spoor.KindPage, "Home").Day = 20515
	h := ts.addHit(1, 1, spoor.KindEvent, "bought\n")
	h.ID, h.Key, h.UserID, h.Consent, h.Marks, h.Visit, h.First = "e1", "k", "ada", spoor.NewConsent(spoor.ChoiceGranted, spoor.ChoiceDenied, spoor.ChoiceUnknown), spoor.MarkLate, h.Time, true
	h.Properties = []byte("{\n\"a\": 1}")
	h.Attributes = []spoor.Attribute{{Name: "plan", Type: spoor.TypeInt, Text: "3"}}
	h.Campaign = spoor.Campaign{Channel: "search", Source: "x"}
	ts.store.hits[1] = append(ts.store.hits[1], spoor.Hit{Kind: spoor.KindPage, Day: 20517, Public: 9, Bot: true, URL: "bad \xff utf"})
	f := func(query string, want ...string) {
		t.Helper()
		r := ts.do("GET", "/api/export/hits.ndjson"+query, "shop-read", "")
		var got []string
		for line := range strings.Lines(r.body) {
			var o map[string]any
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			got = append(got, fmt.Sprint(o["id"]))
		}
		if r.status != 200 || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %d %v, want %v", query, r.status, got, want)
		}
	}
	f("", "5000", "5001") // up to today, and the bot is of tomorrow
	f("?to=2026-03-05", "5000", "5001", "9")
	f("?from=2026-03-04&to=2026-03-04", "5001")
	f("?from=2026-03-03&to=2026-03-03", "5000")
	f("?from=1950-01-01&to=1960-01-01")
	r := ts.do("GET", "/api/export/hits.ndjson?from=2026-03-04", "shop-read", "")
	want := `{"id":5001,"client":1001,"day":"2026-03-04","time":"2026-03-04T05:06:08.000000Z","received":"2026-03-04T05:06:08.000000Z","type":"event","door":"native","event_id":"e1","key":"k","user_id":"ada","name":"bought\n",` +
		`"url":"https://shop.example/a?utm_source=x","referrer":"https://search.example/","title":"A \"page\"","ip":"203.0.113.0","user_agent":"Mozilla/5.0","resolution":"1920x1080","language":"pl","timezone":"Europe/Warsaw",` +
		`"city":"Gdańsk","region":"Pomerania","country":"PL","os":"Windows","os_version":"11","browser":"Firefox","browser_version":"150","device":"desktop","channel":"search","utm_source":"x",` +
		`"visit":"2026-03-04T05:06:08.000000Z","first":true,"late":true,"consent":{"analytics":"granted","marketing":"denied"},"properties":{"a":1},"attributes":{"plan":3}}` + "\n"
	if r.body != want {
		t.Errorf("got %s\nwant %s", r.body, want)
	}
	for _, bad := range []string{"?from=x", "?from=2026-03-04&to=2026-03-03", "?to=2026-13-01"} {
		if r := ts.do("GET", "/api/export/hits.ndjson"+bad, "shop-read", ""); r.status != 400 || !strings.HasPrefix(r.body, `{"errors":{`) {
			t.Errorf("%s: %d %s", bad, r.status, r.body)
		}
	}
	if r := ts.do("GET", "/api/export/hits.ndjson?name=x", "shop-read", ""); r.status != 501 {
		t.Errorf("an unknown filter: %d", r.status)
	}
}

// Memory must not grow with the export.
func TestExportMemoryIsConstant(t *testing.T) {
	ts := newTestServer(t)
	for range 20_000 {
		ts.addHit(1, 1, spoor.KindPage, "p")
	}
	var before, after runtime.MemStats
	req, _ := http.NewRequest("GET", "http://spoor.test/api/export/hits.ndjson", nil)
	req.Header.Set("Authorization", "Token shop-read")
	runtime.GC()
	runtime.ReadMemStats(&before)
	resp, err := ts.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 1<<20) // in the middle of some 12 MB
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

func TestStreamsAreBoundedAndNeedHTTP11(t *testing.T) {
	ts := newTestServer(t, func(o *Options) { o.StreamsMax = 1 })
	req, _ := http.NewRequest("GET", "http://spoor.test/api/tail", nil)
	req.Header.Set("Authorization", "Token shop-read")
	resp, err := ts.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if r := ts.do("GET", "/api/export/users.csv", "shop-read", ""); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("the second stream: %d", r.status)
	}
	c := ts.raw()
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	go io.WriteString(c, "GET /api/export/users.csv HTTP/1.0\r\nHost: a\r\nAuthorization: Token shop-read\r\n\r\n")
	if line, _ := lines(c)(); !strings.Contains(line, "505") {
		t.Errorf("HTTP/1.0 got %q", line)
	}
}

func TestTail(t *testing.T) {
	ts := newTestServer(t)
	ts.Server.heartbeat = 10 * time.Millisecond
	req, _ := http.NewRequest("GET", "http://spoor.test/api/tail/", nil)
	req.Header.Set("Authorization", "Token shop-read")
	resp, err := ts.web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	next := lines(resp.Body)
	if line, err := next(); line != "\n" || err != nil {
		t.Fatalf("first comes a heartbeat, not %q, %v", line, err)
	}
	h := *ts.addHit(1, 1, spoor.KindPage, "Home")
	for range 2 {
		ts.store.send(h)
	}
	for got := 0; got < 2; {
		line, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if line != "\n" {
			got++
			if !strings.HasPrefix(line, `{"id":5000,"client":1001,"day":"2026-03-04",`) {
				t.Errorf("line %s", line)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := ts.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the end of a tail is a good end, not %v", err)
	}
	if len(ts.store.tails) != 0 || ts.Stats().Streams != 0 {
		t.Errorf("left open: %d tails, stats %+v", len(ts.store.tails), ts.Stats())
	}
	if a := ts.audited(); len(a) != 1 || a[0].Subjects != 2 || !a[0].Complete {
		t.Errorf("audited %+v", a)
	}
}

// A reader that has gone is noticed by a heartbeat.
func TestTailEndsWithItsReader(t *testing.T) {
	ended := make(chan spoor.Access, 1)
	ts := newTestServer(t)
	ts.store.told = ended
	ts.Server.heartbeat = time.Millisecond
	c := ts.raw()
	io.WriteString(c, "GET /api/tail HTTP/1.1\r\nHost: a\r\nAuthorization: Token shop-read\r\n\r\n")
	lines(c)()
	c.Close()
	select {
	case a := <-ended:
		if a.Complete {
			t.Error("it did not end by itself")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the tail goes on without a reader")
	}
}
