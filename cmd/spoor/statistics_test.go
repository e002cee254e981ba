package main_test

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/retention"
	"github.com/spoorhq/spoor/store"
)

// rowsOf reads a table of testdata/statistics.
func rowsOf(t *testing.T, name string) (rows [][]string) {
	t.Helper()
	f, err := os.Open("../../testdata/statistics/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); line != "" && line[0] != '#' {
			rows = append(rows, strings.Split(line+"\t\t\t\t\t\t\t", "\t"))
		}
	}
	return rows
}

// Goal: the numbers are right.
// Method: some visits and the figures for them, both written by hand, through
// the store and the read side; once with properties that the app declares and
// once without.
func TestStatisticsWorkedByHand(t *testing.T) {
	for name, declared := range map[string][]string{"declared": {"amount", "amount by plan", "plan"}, "not declared": nil} {
		t.Run(name, func(t *testing.T) { workedByHand(t, declared) })
	}
}

func workedByHand(t *testing.T, declared []string) {
	zone, err := time.LoadLocation("Europe/Warsaw")
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Date(2026, 11, 20, 0, 0, 0, 0, zone)
	var shown atomic.Int64 // the store reads the clock in goroutines of its own
	set := func() { shown.Store(clock.UnixMilli()) }
	now := func() time.Time { return time.UnixMilli(shown.Load()) }
	set()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), Now: now, Log: log, MemTableBytes: 1 << 20, CacheBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	settings := spoor.DefaultSettings("Europe/Warsaw")
	settings.Properties = declared
	app, err := st.CreateApp(&spoor.App{Name: "shop", Created: clock.UnixMilli(), Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rowsOf(t, "hits.tsv") {
		if clock, err = time.ParseInLocation("2006-01-02 15:04", row[0], zone); err != nil {
			t.Fatal(err)
		}
		set()
		if row[3] == "restrict" {
			n, err := st.Find(app.ID, spoor.LookupKey, row[1])
			if err == nil {
				_, err = st.SetRight(app.ID, n[0], spoor.RightRestrict, spoor.Forever)
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		h := spoor.Hit{App: app.ID, Key: row[1], UserID: row[2], Received: clock.UnixMilli(), Door: spoor.DoorNative, Properties: []byte(row[7])}
		h.Place.Country, h.Campaign.Source = row[5], row[6]
		if h.Bot = row[3] == "robot"; h.Bot {
			row[3] = "page"
		}
		var ok bool
		if h.Kind, ok = spoor.ParseKind(row[3]); !ok {
			t.Fatalf("no kind of hit: %q", row[3])
		}
		if h.Kind == spoor.KindPage || h.Kind == spoor.KindLeave {
			h.URL = "https://shop.example" + row[4]
		} else {
			h.Name = row[4]
		}
		if err := st.Write([]spoor.Hit{h}); err != nil {
			t.Fatal(err)
		}
	}
	clock = time.Date(2026, 11, 22, 20, 0, 0, 0, zone)
	set()

	sweeper := retention.New(retention.Options{Store: st, Now: now, Log: log})
	server, err := query.New(query.Options{Store: st, Apps: st, Retention: sweeper, Now: now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go server.ServeLocal(l) // as the operator; ends with the listener
	asked := 0
	for _, row := range rowsOf(t, "expected.tsv") {
		ask := strings.TrimSuffix(row[0], "d")
		if ask != row[0] {
			ask += "from=2026-11-20&to=2026-11-22"
		}
		r, err := http.Get("http://" + l.Addr().String() + "/api/stats/" + ask + "&app=shop")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !strings.Contains(string(body), row[1]) {
			t.Errorf("%s: %s %s, %v; it lacks %s", row[0], r.Status, body, err, row[1])
		}
		asked++
	}
	if asked < 40 {
		t.Errorf("only %d questions were asked", asked)
	}
}
