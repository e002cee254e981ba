package main_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Goal: bad input is refused with its status and its reason, in the header
// and in the body, stores what it says it stores and no more, and never hurts
// the process.
// Method: one server, all cases one after another; the count of stored hits
// is compared after each.
func TestBadInput(t *testing.T) {
	s := demo(t)
	stored := 0
	check := func(name string, r reply, status int, reason string, more int) {
		t.Helper()
		if r.status != status {
			t.Errorf("%s: status %d, want %d; %.200s", name, r.status, status, r.body)
		}
		if got := r.header.Get("X-Spoor-Refused"); got != reason {
			t.Errorf("%s: X-Spoor-Refused is %q, want %q", name, got, reason)
		}
		if reason != "" && !strings.Contains(r.body, `"error":"`+reason+`"`) && !strings.HasPrefix(r.body, "GIF89a") {
			t.Errorf("%s: the body does not give the reason %s: %.200s", name, reason, r.body)
		}
		stored += more
		if got := len(s.export()); got != stored {
			t.Errorf("%s: %d hits are stored, want %d", name, got, stored)
			stored = got
		}
	}
	f := func(name, path, body string, status int, reason string, more int, headers ...string) {
		t.Helper()
		check(name, s.send("POST", s.collector+path, body, headers...), status, reason, more)
	}
	const hit = "/hit?k=demo"
	long := strings.Repeat("x", 10_000)

	// JSON that is none.
	f("cut JSON", hit, `{"key":"a"`, 400, "invalid_json", 0)
	f("no JSON", hit, `hello`, 400, "invalid_json", 0)
	f("trailing comma", hit, `{"key":"a",}`, 400, "invalid_json", 0)
	f("twice the same name", hit, `{"key":"a","key":"b"}`, 400, "invalid_json", 0)
	f("NaN", hit, `{"key":"a","properties":{"n":NaN}}`, 400, "invalid_json", 0)
	f("Infinity", hit, `{"key":"a","properties":{"n":-Infinity}}`, 400, "invalid_json", 0)
	f("invalid UTF-8", hit, "{\"key\":\"a\xff\"}", 400, "invalid_json", 0)
	f("lone surrogate", hit, `{"key":"\ud800"}`, 400, "invalid_json", 0)
	f("raw control character", hit, "{\"key\":\"a\x01\"}", 400, "invalid_json", 0)
	f("NUL", hit, `{"key":"a\u0000b"}`, 400, "bad_value", 0)
	f("raw NUL", hit, "{\"key\":\"a\x00b\"}", 400, "invalid_json", 0)
	f("a number", hit, `17`, 400, "invalid_json", 0)

	// Wrong types; unknown fields are no mistake.
	f("object as key", hit, `{"key":{"a":1}}`, 400, "bad_value", 0)
	f("array as url", hit, `{"key":"a","url":[]}`, 400, "bad_value", 0)
	f("text as properties", hit, `{"key":"a","properties":"x"}`, 400, "bad_value", 0)
	f("unknown type", hit, `{"key":"a","type":"dance"}`, 400, "unknown_type", 0)
	f("no such time", hit, `{"key":"a","time":"yesterday"}`, 400, "bad_time", 0)
	f("event without a name", hit, `{"key":"a","type":"event"}`, 400, "name_missing", 0)
	f("nobody", hit, `{"type":"identify"}`, 400, "no_identity", 0)
	f("unknown field", hit, `{"key":"a","colour":"red","nested":{"a":[1,{"b":2}]}}`, 200, "", 1)
	f("number as key", hit, `{"key":17,"url":null}`, 200, "", 1)
	f("array of numbers", hit, `[1,2]`, 400, "bad_value", 0)

	// Depth, size, packing.
	f("depth bomb", hit, `{"key":"a","properties":`+strings.Repeat(`{"a":`, 5000)+`1`+strings.Repeat(`}`, 5000)+`}`, 400, "too_deep", 0)
	f("depth", hit, `{"key":"a","properties":`+strings.Repeat(`[`, 40)+strings.Repeat(`]`, 40)+`}`, 400, "too_deep", 0)
	f("open brackets", hit, strings.Repeat(`[`, 100_000), 400, "invalid_json", 0)
	f("long id", hit, `{"id":"`+long+`","key":"a"}`, 400, "id_too_long", 0)
	f("long key", hit, `{"key":"`+long+`"}`, 400, "id_too_long", 0)
	f("long user id", hit, `{"user_id":"`+long+`"}`, 400, "id_too_long", 0)
	f("long messageId", "/v1/track?k=demo", `{"event":"e","anonymousId":"a","messageId":"`+long+`"}`, 400, "id_too_long", 0)
	f("long event name", hit, `{"key":"a","type":"event","name":"`+long+`"}`, 400, "name_too_long", 0)
	f("large event", hit, `{"key":"a","properties":{"p":"`+strings.Repeat("x", 33<<10)+`"}}`, 413, "event_too_large", 0)
	f("large body", hit, `{"key":"`+strings.Repeat("x", 1<<20)+`"}`, 413, "body_too_large", 0)
	f("gzip bomb", hit, packed(t, strings.Repeat(" ", 64<<20)+"{}"), 413, "inflated_too_large", 0, "Content-Encoding", "gzip")
	f("gzip bomb without header", hit, packed(t, strings.Repeat(" ", 64<<20)+"{}"), 413, "inflated_too_large", 0)
	f("cut gzip", hit, packed(t, `{"key":"a"}`)[:20], 400, "bad_gzip", 0, "Content-Encoding", "gzip")
	f("gzip without header", hit, packed(t, `{"key":"a"}`), 200, "", 1)
	f("gzip header on plain bytes", hit, `{"key":"a"}`, 200, "", 1, "Content-Encoding", "gzip")
	f("brotli", hit, `{"key":"a"}`, 415, "unsupported_encoding", 0, "Content-Encoding", "br")
	f("multipart", hit, "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{}\r\n--x--\r\n", 415, "multipart", 0, "Content-Type", "multipart/form-data; boundary=x")
	f("empty body", hit, ``, 400, "empty_body", 0)
	f("blanks", hit, " \r\n ", 400, "empty_body", 0)

	// Batches.
	f("empty batch", "/v1/batch?k=demo", `{"batch":[]}`, 400, "empty_batch", 0)
	f("empty array", hit, `[]`, 400, "empty_batch", 0)
	f("too many events", hit, `[`+strings.Repeat(`{},`, 1000)+`{}]`, 413, "too_many_events", 0)

	// Keys.
	f("no write key", "/hit", `{"key":"a"}`, 401, "no_write_key", 0)
	f("unknown write key", "/hit?k=nosuchkey", `{"key":"a"}`, 401, "unknown_write_key", 0)
	f("long write key", "/hit?k="+strings.Repeat("k", 5000), `{"key":"a"}`, 401, "no_write_key", 0)
	f("another key in an event", "/hit", `[{"write_key":"demo","key":"a"},{"write_key":"other","key":"a"}]`, 200, "", 1)

	// Paths and methods.
	f("no such path", "/hits", `{}`, 404, "not_found", 0)
	check("wrong method", s.send("GET", s.collector+"/hit?k=demo", ""), 405, "method_not_allowed", 0)
	check("consent denied", s.hit(`{"key":"a","consent":{"analytics":false}}`), 403, "consent_denied", 0)
	check("pixel without key", s.send("GET", s.collector+"/pixel.gif?c=a", ""), 401, "no_write_key", 0)
	check("pixel with bad bytes", s.send("GET", s.collector+"/pixel.gif?k=demo&c=a&t=%ff", ""), 400, "bad_value", 0)

	// The process is alive and well.
	check("a good hit", s.hit(`{"key":"a","url":"https://shop.example/"}`), 200, "", 1)
	if log := s.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log says:\n%s", log)
	}
	if m := s.read("/metrics"); !strings.Contains(m, `spoor_refused_total{reason="invalid_json"}`) || !strings.Contains(m, `spoor_panics_total{side="collector"} 0`) {
		t.Error("the metrics do not count refusals, or count panics")
	}
}

func packed(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Goal: one bad event of a hundred costs that one alone, and the reply says
// which and why.
func TestOneBadEventOfHundred(t *testing.T) {
	s := demo(t)
	for door, url := range map[string]string{"native": "/hit?k=demo", "segment": "/v1/batch?k=demo"} {
		events := make([]string, 100)
		for i := range events {
			events[i] = fmt.Sprintf(`{"id":"native-%d","key":"a"}`, i)
			if door == "segment" {
				events[i] = fmt.Sprintf(`{"type":"page","messageId":"segment-%d","anonymousId":"a"}`, i)
			}
		}
		events[42] = strings.Replace(events[42], `"a"`, `{}`, 1)
		body := "[" + strings.Join(events, ",") + "]"
		if door == "segment" {
			body = `{"batch":` + body + `}`
		}
		r := s.send("POST", s.collector+url, body)
		type result struct{ Status, Reason, Field, ID string }
		got := parse[struct {
			Success bool
			Results []result
		}](t, r.body)
		if r.status != http.StatusOK || len(got.Results) != 100 {
			t.Fatalf("%s: %d with %d results", door, r.status, len(got.Results))
		}
		ids := s.exportIDs()
		for i, one := range got.Results {
			id := fmt.Sprintf("%s-%d", door, i)
			want := result{Status: "stored", ID: id}
			if i == 42 {
				want = result{Status: "refused", Reason: "bad_value", Field: one.Field, ID: one.ID}
			}
			if one != want {
				t.Errorf("%s, event %d: %+v, want %+v", door, i, one, want)
			}
			if stored := ids[id] == 1; stored != (i != 42) {
				t.Errorf("%s: stored is %t", id, stored)
			}
		}
	}
}

// Goal: times outside of all reason are kept, filed under an open day, and
// marked.
func TestOddTimes(t *testing.T) {
	s := demo(t)
	f := func(id, time string) {
		t.Helper()
		if r := s.hit(`{"id":"` + id + `","key":"a","time":` + time + `}`); r.status != 200 {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
	f("epoch", `"1970-01-01T00:00:00Z"`)
	f("before", `"1969-12-31T23:59:59Z"`)
	f("future", `"2106-02-07T06:28:16Z"`)
	f("seconds", `4294967296`)
	f("now", `"`+time.Now().UTC().Format(time.RFC3339Nano)+`"`)
	now := time.Now()
	first, today := now.AddDate(0, 0, -7).UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly)
	for _, h := range s.export() {
		id, at := h["event_id"].(string), h["time"].(string)
		switch id {
		case "epoch", "before":
			if h["late"] != true || h["day"] != first || !strings.HasPrefix(at, "19") {
				t.Errorf("%s: %v, want its own time, marked late, on %s", id, h, first)
			}
		case "future", "seconds":
			if h["future"] != true || h["day"] != today || at != h["received"] {
				t.Errorf("%s: %v, want the time of receipt, marked future", id, h)
			}
		case "now":
			if h["late"] != nil || h["future"] != nil || h["day"] != today {
				t.Errorf("%s: %v, want no mark", id, h)
			}
		default:
			t.Errorf("unknown hit %v", h)
		}
	}
	if n := len(s.export()); n != 5 {
		t.Errorf("%d hits, want 5", n)
	}
}

// Goal: bytes that are no good HTTP get a true status or a closed connection;
// a body that is cut off is not stored; the server lives on.
func TestBadBytes(t *testing.T) {
	s := demo(t)
	f := func(name, bytes string, want ...string) {
		t.Helper()
		got := s.raw(bytes)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: got %.300q, want %q in it", name, got, w)
			}
		}
		if strings.Count(got, "\r\nContent-Length: ") > 1 {
			t.Errorf("%s: one request, several answers: %.500q", name, got)
		}
	}
	const host = "Host: spoor\r\n"
	body := `{"key":"a"}`
	f("length and chunks", "POST /hit?k=demo HTTP/1.1\r\n"+host+"Content-Length: 11\r\nTransfer-Encoding: chunked\r\n\r\n"+body, " 400 ", "bad_framing", "Connection: close")
	f("two lengths", "POST /hit?k=demo HTTP/1.1\r\n"+host+"Content-Length: 11\r\nContent-Length: 12\r\n\r\n"+body, " 400 ", "bad_framing")
	f("folded header", "POST /hit?k=demo HTTP/1.1\r\n"+host+"X-A: 1\r\n 2\r\nContent-Length: 11\r\n\r\n"+body, " 400 ", "bad_framing")
	f("no host", "POST /hit?k=demo HTTP/1.1\r\nContent-Length: 11\r\n\r\n"+body, " 400 ")
	f("foreign version", "POST /hit?k=demo HTTP/1.2\r\n"+host+"Content-Length: 11\r\n\r\n"+body, " 505 ", "http_version")
	f("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", " 501 ")
	f("unknown method", "BREW /hit HTTP/1.1\r\n"+host+"\r\n", " 501 ", "unknown_method")
	f("many headers", "GET / HTTP/1.1\r\n"+host+strings.Repeat("X-A: 1\r\n", 100)+"\r\n", " 431 ", "too_many_headers")
	f("large headers", "GET / HTTP/1.1\r\n"+host+"X-A: "+strings.Repeat("a", 20_000)+"\r\n\r\n", " 431 ", "headers_too_large")
	f("cut body", "POST /hit?k=demo HTTP/1.1\r\n"+host+"Content-Length: 500\r\n\r\n"+body, " 400 ", "truncated_body")
	f("cut chunk", "POST /hit?k=demo HTTP/1.1\r\n"+host+"Transfer-Encoding: chunked\r\n\r\nb\r\n"+body[:6], " 400 ")
	f("huge length", "POST /hit?k=demo HTTP/1.1\r\n"+host+"Content-Length: 99999999999\r\n\r\n"+strings.Repeat("x", 100_000), " 413 ", "body_too_large")
	f("noise", "\x00\x01\x02\x03\r\n\r\n", " 400 ")
	f("good", "POST /hit?k=demo HTTP/1.1\r\n"+host+"Content-Length: 11\r\nConnection: close\r\n\r\n"+body, " 200 ", `"stored"`)
	f("good chunks", "POST /hit?k=demo HTTP/1.1\r\n"+host+"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nb\r\n"+body+"\r\n0\r\n\r\n", " 200 ", `"stored"`)
	if n := len(s.export()); n != 2 {
		t.Errorf("%d hits are stored, want the 2 good ones", n)
	}
}

// raw sends bytes, ends its side of the connection, and reads what comes.
func (s *server) raw(bytes string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.collector, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(conn, bytes); err != nil {
		return "" // refused before the end
	}
	conn.(*net.TCPConn).CloseWrite()
	got, _ := io.ReadAll(bufio.NewReader(conn)) // a reset ends it as well
	return string(got)
}

// Goal: over the limit of events an app is told when to come again, and all
// that was told to wait is not stored; the limit cannot be set below the
// promise.
func TestRateLimit(t *testing.T) {
	s := demo(t)
	s.spoor("app", "set", "demo", "events_per_minute=1000")
	stored, limited := 0, 0
	for i := range 30 {
		events := make([]string, 100)
		for j := range events {
			events[j] = fmt.Sprintf(`{"id":"%d-%d","key":"a"}`, i, j)
		}
		r := s.hit("[" + strings.Join(events, ",") + "]")
		switch r.status {
		case http.StatusOK:
			stored += len(events)
		case http.StatusTooManyRequests:
			limited++
			if r.header.Get("Retry-After") == "" || r.header.Get("X-Spoor-Refused") != "rate_limited" {
				t.Errorf("429 with headers %v", r.header)
			}
		default:
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if limited == 0 || stored < 1000 {
		t.Errorf("%d events stored, %d requests limited; want at least 1000 and some", stored, limited)
	}
	if n := len(s.export()); n != stored {
		t.Errorf("%d hits are stored, %d were acknowledged", n, stored)
	}
}
