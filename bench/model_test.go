package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

const testSalt = 20260304

// Goal: the streams have the shares that the model's comment states.
// Method: draw enough hits that chance moves no share by a point.
func TestModelShares(t *testing.T) {
	const streams, draws = 32, 6000
	hits, bots, known, firsts := 0, 0, 0, 0
	people := map[visitor]bool{}
	for n := range streams {
		s := newStream(n, testSalt, 1, 0)
		for range draws {
			h := s.next(MixModel)
			p := h.who.persona(testSalt)
			hits++
			if isBot(p) {
				bots++
			}
			if !people[h.who] {
				people[h.who] = true
				firsts++
				if isKnown(p) {
					known++
				}
			}
		}
	}
	visits, once := 0, 0
	for v := range people {
		n := v.visits(testSalt)
		visits += n
		if n == 1 {
			once++
		}
	}
	f := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.02 {
			t.Errorf("%s: %.3f, want %.3f", name, got, want)
		}
	}
	f("hits of bots", float64(bots)/float64(hits), 0.05)
	f("anonymous visitors", 1-float64(known)/float64(len(people)), 0.95)
	f("visitors of one visit", float64(once)/float64(len(people)), visitsOnceShare)
	f("visits of a visitor", float64(visits)/float64(len(people)), visitsPerVisitor)
	f("hits that are a visitor's first", float64(firsts)/float64(hits), 1/(hitsOfVisit*visitsPerVisitor))
	pages := 0
	for _, a := range actions {
		if a.kind == "page" {
			pages++
		}
	}
	f("pages", float64(pages)/float64(len(actions)), 2.0/3)
	if len(actions) != actionCount {
		t.Errorf("%d actions, want %d", len(actions), actionCount)
	}
}

// Goal: apps have the shares of Zipf's law, and a visitor stays with one app.
func TestModelApps(t *testing.T) {
	s := newStream(1, testSalt, 1000, 0)
	const draws = 100_000
	counts := make([]int, 1000)
	home := map[visitor]int{}
	for range draws {
		h := s.next(MixNew)
		counts[h.app]++
		if app, ok := home[h.who]; ok && app != h.app {
			t.Fatalf("visitor %d moved from app %d to %d", h.who, app, h.app)
		}
		home[h.who] = h.app
	}
	total := 0.0
	for k := 1; k <= 1000; k++ {
		total += 1 / float64(k)
	}
	for _, k := range []int{1, 2, 10, 50} {
		got, want := float64(counts[k-1])/draws, 1/float64(k)/total
		if math.Abs(got-want) > 0.1*want {
			t.Errorf("app %d has %.4f of the hits, want %.4f", k, got, want)
		}
	}
}

// Goal: new means never seen, returning means of the population.
func TestModelMixes(t *testing.T) {
	const population = 500
	s := newStream(3, testSalt, 1, population)
	old := map[visitor]bool{}
	for {
		h, ok := s.first()
		if !ok {
			break
		}
		if old[h.who] {
			t.Fatalf("visitor %d became known twice", h.who)
		}
		old[h.who] = true
	}
	if len(old) != population {
		t.Fatalf("%d visitors became known, want %d", len(old), population)
	}
	for range 2000 {
		if h := s.next(MixReturning); !old[h.who] {
			t.Fatalf("visitor %d returns and was never there", h.who)
		}
	}
	for range 2000 {
		h := s.next(MixNew)
		if old[h.who] {
			t.Fatalf("visitor %d is new and was there before", h.who)
		}
		old[h.who] = true
	}
}

// Goal: the same salt gives the same requests, another salt others.
func TestModelDeterministic(t *testing.T) {
	now := time.UnixMilli(1_772_625_600_123).UTC()
	draw := func(salt uint64) []byte {
		tr := newTraffic(salt, []string{"demo"}, doorHit, doorPixel, doorArray, doorBatch)
		s := newStream(5, salt, 1, 0)
		var out []byte
		for _, d := range []door{doorHit, doorPixel, doorArray, doorBatch} {
			for range 20 {
				hits := []hit{s.next(MixModel)}
				if d == doorArray || d == doorBatch {
					hits = append(hits, s.next(MixModel), s.next(MixModel))
				}
				first := s.event(0)
				for range hits[1:] {
					s.event(0)
				}
				out = tr.appendRequest(out, d, hits, first, now)
			}
		}
		return out
	}
	once := draw(testSalt)
	if !bytes.Equal(once, draw(testSalt)) {
		t.Error("the same salt gave different requests")
	}
	if bytes.Equal(once, draw(testSalt+1)) {
		t.Error("another salt gave the same requests")
	}
}

// Goal: every prepared request is whole: its length is announced rightly, its
// body is JSON, every mark was replaced, and its ids lead back to its events.
func TestRequestsWhole(t *testing.T) {
	tr := newTraffic(testSalt, []string{"key-of-the-first-app", "key-of-the-other-app"}, doorHit, doorArray, doorBatch, doorPixel, doorPing, doorSDK)
	s := newStream(7, testSalt, 2, 0)
	now := time.UnixMilli(1_772_625_600_123).UTC()
	for _, d := range []door{doorHit, doorArray, doorBatch, doorPixel, doorPing, doorSDK} {
		for range 1000 {
			h := s.next(MixModel)
			hits := []hit{h}
			if d == doorArray || d == doorBatch {
				hits = append(hits, h)
			}
			first := s.event(h.app)
			for range hits[1:] {
				s.event(h.app)
			}
			request := string(tr.appendRequest(nil, d, hits, first, now))
			if strings.ContainsAny(request, "\x01\x02\x03\x04\x05\x06") {
				t.Fatalf("door %d: a mark is left in %q", d, request)
			}
			head, body, _ := strings.Cut(request, "\r\n\r\n")
			ids := eventIDs(t, d, head, body)
			for i, id := range ids {
				e, ok := parseID(id, testSalt)
				if want := (event{stream: 7, app: h.app, seq: first.seq + uint32(i)}); !ok || e != want {
					t.Fatalf("door %d: id %q leads to %v, %v; want %v", d, id, e, ok, want)
				}
			}
			if len(ids) != len(hits) {
				t.Fatalf("door %d: %d ids, want %d", d, len(ids), len(hits))
			}
		}
	}
}

// eventIDs reads the ids out of a request as a server would.
func eventIDs(t *testing.T, d door, head, body string) (ids []string) {
	t.Helper()
	if d == doorPixel {
		_, query, _ := strings.Cut(head, "&i=")
		id, _, _ := strings.Cut(query, "&")
		return []string{id}
	}
	_, rest, _ := strings.Cut(head, "Content-Length: ")
	var length int
	if err := json.Unmarshal([]byte(strings.Fields(rest)[0]), &length); err != nil || length != len(body) {
		t.Fatalf("Content-Length is %d, %v; the body has %d bytes", length, err, len(body))
	}
	if _, rest, ok := strings.Cut(head, "Idempotency-Key: "); ok {
		if !json.Valid([]byte(body)) {
			t.Fatalf("no JSON: %s", body)
		}
		return strings.Fields(rest)[:1]
	}
	type fields struct{ ID, MessageID string }
	var events []fields
	var err error
	switch d {
	case doorHit:
		events = make([]fields, 1)
		err = json.Unmarshal([]byte(body), &events[0])
	case doorArray:
		err = json.Unmarshal([]byte(body), &events)
	default:
		var wrapper struct{ Batch []fields }
		err = json.Unmarshal([]byte(body), &wrapper)
		events = wrapper.Batch
	}
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	for _, e := range events {
		ids = append(ids, e.ID+strings.TrimPrefix(e.MessageID, messagePrefix))
	}
	return ids
}

// Goal: ids lead back to their events, and what is no id of this run does not.
func TestEventID(t *testing.T) {
	f := func(e event) {
		t.Helper()
		id := string(e.appendID(nil, 1_772_625_600_123, testSalt))
		if got, ok := parseID(id, testSalt); !ok || got != e || len(id) != idBytes {
			t.Errorf("%v became %q and %v, %v", e, id, got, ok)
		}
		if _, ok := parseID(id, testSalt+1); ok {
			t.Errorf("%v: its id %q is accepted by another run", e, id)
		}
	}
	f(event{})
	f(event{stream: 1<<streamBits - 1, app: 1<<appBits - 1, seq: 1<<32 - 1})
	f(event{stream: 511, app: 7, seq: 123_456})
	for _, id := range []string{"", "01M80F714ZMDH0VFQZ5Q4F8NPP", strings.Repeat("!", idBytes), strings.Repeat("0", idBytes)} {
		if e, ok := parseID(id, testSalt); ok {
			t.Errorf("%q was taken for %v", id, e)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("01M80F714ZMDH0VFQZ5Q4F8NPP")
	f.Add(string(event{stream: 3, app: 2, seq: 9}.appendID(nil, 1, testSalt)))
	f.Fuzz(func(t *testing.T, id string) {
		if e, ok := parseID(id, testSalt); ok {
			if again := string(e.appendID(nil, 0, testSalt)); again[ulidTime:] != id[ulidTime:] {
				t.Errorf("%q was taken for %v, whose id ends in %q", id, e, again[ulidTime:])
			}
		}
	})
}
