package ingest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/enrich"
	"github.com/spoorhq/spoor/store"
)

var update = flag.Bool("update", false, "write what testdata/requests expects instead of comparing it")

const (
	requestsDir = "../testdata/requests"
	nextRequest = "\n====\n" // between the requests of a file
	itsAnswer   = "\n----\n" // between a request and what it comes to
)

// Goal: every endpoint and every tolerance of the mobile SDK paths, as golden
// files: what is sent, what is answered, which hits are on disk and what is
// known of their profiles.
// Method: a real listener, the real enricher and the real store for each file,
// whose requests are sent in order. The first key that was minted reads {key1},
// and is put in for {key1} in later requests. The store is checked at the end.
func TestGoldenRequests(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(requestsDir, "*", "*.txt"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newRealWorld(t)
	var out []string
	for part := range strings.SplitSeq(strings.TrimSuffix(string(whole), "\n"), nextRequest) {
		request, _, _ := strings.Cut(part+"\n", itsAnswer)
		out = append(out, request+itsAnswer+w.play(request))
	}
	got := strings.Join(out, nextRequest) + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got == string(whole) {
		return
	}
	g, want := strings.Split(got, "\n"), strings.Split(string(whole), "\n")
	for i := range g {
		if i >= len(want) || g[i] != want[i] {
			t.Fatalf("%s:%d: got\n%s\nwant\n%s", file, i+1, g[i], strings.Join(want[min(i, len(want)):min(i+1, len(want))], ""))
		}
	}
	t.Fatalf("%s has more lines than what came of it", file)
}

// realWorld is collector, enricher and store, one behind the other.
type realWorld struct {
	testing.TB
	url    string
	st     *store.Store
	app    *spoor.App
	late   atomic.Int64 // seconds after noon: one more with each request, or equal times would be ordered by chance
	minted []string
	seen   map[int64]bool // hits by public id
}

func newRealWorld(t testing.TB, change ...func(*Options)) *realWorld {
	t.Helper()
	w := &realWorld{TB: t, seen: map[int64]bool{}}
	now := func() time.Time { return noon.Add(time.Duration(w.late.Load()) * time.Second) }
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if w.st, err = store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), Now: now, Log: log, MemTableBytes: 1 << 20, CacheBytes: 8 << 20, FilterBytes: 256 << 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r, err := w.st.Check(nil); err != nil || r.Found > 0 {
			t.Errorf("check: %v, %v", err, r)
		}
		if err := w.st.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"shop", "other", "shut"} {
		app, err := w.st.CreateApp(&spoor.App{
			Name: name, Created: noon.UnixMilli(), Keys: []spoor.WriteKey{{Key: name + "-key"}}, Settings: spoor.DefaultSettings("UTC"),
			Tokens: []spoor.Token{{Name: "all", Role: spoor.RoleAdmin, Hash: spoor.HashToken(name + "-token")}}, Closed: name == "shut",
		})
		if err != nil {
			t.Fatal(err)
		}
		if name == "shop" {
			w.app = app
		}
	}
	sink, err := enrich.New(enrich.Options{Apps: w.st, Next: w.st, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Sink: sink, Apps: w.st, Now: now, Log: log, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.url = "http://" + ln.Addr().String()
	return w
}

var answeredKey = regexp.MustCompile(`"user":\{"key":"([0-9A-Za-z]{12})"\}`)

// play sends one request and tells what came of it.
func (w *realWorld) play(text string) string {
	w.Helper()
	w.late.Add(1)
	if strings.HasPrefix(text, "#") {
		_, text, _ = strings.Cut(text, "\n")
	}
	for i, key := range w.minted {
		text = strings.ReplaceAll(text, fmt.Sprintf("{key%d}", i+1), key)
	}
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	if strings.Contains(head, "Content-Encoding: gzip") {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(body))
		_ = z.Close()
		body = b.String()
	}
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("User-Agent", "")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.Fatal(err)
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		w.Fatal(err)
	}
	if m := answeredKey.FindSubmatch(answer); m != nil && !strings.Contains(text, string(m[1])) && !slices.Contains(w.minted, string(m[1])) {
		w.minted = append(w.minted, string(m[1]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d", res.StatusCode)
	for _, name := range []string{"X-Spoor-Refused", "Retry-After"} {
		if v := res.Header.Get(name); v != "" {
			fmt.Fprintf(&b, "\n%s: %s", name, v)
		}
	}
	fmt.Fprintf(&b, "\n%s", answer)
	w.tell(&b)
	told := b.String()
	for i, key := range w.minted {
		told = strings.ReplaceAll(told, key, fmt.Sprintf("{key%d}", i+1))
	}
	return told
}

// tell prints the hits that are new on disk, and the profiles that they are of.
func (w *realWorld) tell(b *strings.Builder) {
	w.Helper()
	var hits []spoor.Hit
	day := w.app.Day(noon.UnixMilli())
	err := w.st.ScanHits(w.app.ID, day-10, day+1, func(h *spoor.Hit) error {
		if !w.seen[h.Public] {
			w.seen[h.Public] = true
			hits = append(hits, *h)
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(hits, func(a, b spoor.Hit) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	var people []spoor.Number
	for i := range hits {
		h := &hits[i]
		fmt.Fprintf(b, "\nhit %s", fields(
			"profile", h.Profile, "kind", h.Kind.String(), "door", h.Door.String(), "id", h.ID, "name", h.Name,
			"time", time.UnixMilli(h.Time).UTC().Format("15:04:05.000"), "properties", json.RawMessage(h.Properties),
			"consent", h.Consent, "os", h.Agent.OS, "os_version", h.Agent.OSVersion, "browser", h.Agent.Browser, "device", h.Agent.Device,
			"bot", h.Bot, "user_agent", h.UserAgent, "city", h.Place.City, "language", h.Language, "timezone", h.TimeZone, "resolution", h.Resolution))
		if h.Profile != 0 && !slices.Contains(people, h.Profile) {
			people = append(people, h.Profile)
		}
	}
	for _, n := range people {
		p, err := w.st.Profile(w.app.ID, n)
		if err != nil {
			w.Fatal(err)
		}
		attributes := map[string]string{}
		for _, a := range p.Attributes {
			attributes[a.Name] = a.Text
		}
		fmt.Fprintf(b, "\nprofile %s", fields("number", p.Number, "keys", p.Keys, "user_id", p.UserID, "mobile_ids", p.MobileIDs,
			"views", p.Views, "events", p.Events, "attributes", attributes))
	}
}

// fields is a JSON object of those of the pairs that are not empty.
func fields(pairs ...any) string {
	var b bytes.Buffer
	for i := 0; i < len(pairs); i += 2 {
		value, err := json.Marshal(pairs[i+1])
		if raw, ok := pairs[i+1].(json.RawMessage); ok {
			value, err = raw, nil // as it is on disk
		}
		switch string(value) {
		case "", "0", `""`, "null", "[]", "{}", "false":
			continue
		}
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, `,"%s":%s`, pairs[i], value)
	}
	if b.Len() == 0 {
		return "{}"
	}
	b.Bytes()[0] = '{'
	return b.String() + "}"
}
