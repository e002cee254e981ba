package enrich

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/spoorhq/spoor"
)

// Rows of test databases: network, city, region, country, country code.
var (
	rowsOld = [][]string{{"198.51.100.0/24", "Oldtown", "Oldland", "Poland", "PL"}}
	rowsNew = [][]string{{"198.51.100.0/24", "Newtown", "Newland", "India", "IN"}}
	rowsV6  = [][]string{{"2001:db8::/32", "Sixtown", "Sixland", "Germany", "DE"}}
)

func cityOf(g *geo, ip string) string {
	return g.place(netip.MustParseAddr(ip), "city", new(tally)).City
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestGeoPathForms(t *testing.T) {
	dir := t.TempDir()
	v4 := writeFile(t, filepath.Join(dir, "a.mmdb"), buildFlatDatabase(t, 4, rowsOld))
	v6 := writeFile(t, filepath.Join(dir, "b.MMDB"), buildFlatDatabase(t, 6, rowsV6))
	writeFile(t, filepath.Join(dir, "LICENSE"), []byte("text"))
	for _, path := range []string{dir, v4 + "," + v6, v6 + ", " + v4 + ","} {
		g := newTestGeo(t, path)
		if a, b := cityOf(g, "198.51.100.9"), cityOf(g, "2001:db8::9"); a != "Oldtown" || b != "Sixtown" {
			t.Errorf("%s: got %q and %q", path, a, b)
		}
		if c := cityOf(g, "8.8.8.8"); c != "" {
			t.Errorf("%s: an unknown address is in %q", path, c)
		}
	}

	// A second file answers what the first does not know.
	nested := writeFile(t, filepath.Join(dir, "c.mmdb"), buildCityDatabase(t, [][]string{{"192.0.2.0/24", "Lisbon", "Lisbon", "Portugal", "PT"}}))
	g := newTestGeo(t, v4+","+nested)
	if a, b := cityOf(g, "198.51.100.9"), cityOf(g, "192.0.2.9"); a != "Oldtown" || b != "Lisbon" {
		t.Errorf("got %q and %q", a, b)
	}
}

func TestPlaceNamesAreCleaned(t *testing.T) {
	rows := [][]string{{"192.0.2.0/24", strings.Repeat("ż", 300), "Foo\x00\nbar", "", "pt"}}
	g := newTestGeo(t, writeFile(t, filepath.Join(t.TempDir(), "geo.mmdb"), buildFlatDatabase(t, 4, rows)))
	want := spoor.Place{City: strings.Repeat("ż", placeNameMax/2), Region: "Foo bar", Country: "PT"}
	if got := g.place(netip.MustParseAddr("192.0.2.1"), "city", new(tally)); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestGeoCache(t *testing.T) {
	g, tl := newTestGeo(t, ""), new(tally)
	for range 3 {
		for _, ip := range []string{"203.0.113.1", "203.0.113.200", "198.51.100.1", "198.51.100.200"} {
			g.place(netip.MustParseAddr(ip), "city", tl)
		}
	}
	// 203.0.113.0/24 is divided and asked for each time; 198.51.100.0/24 once.
	if tl.geoLookups != 12 || tl.geoCacheHits != 5 || tl.geoMisses != 0 {
		t.Errorf("%+v", *tl)
	}
	if a, b := cityOf(g, "203.0.113.1"), cityOf(g, "203.0.113.200"); a != "Warsaw" || b != "Berlin" {
		t.Errorf("got %q and %q", a, b)
	}
	for i := range 200_000 {
		g.place(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), "city", tl)
	}
	if n, most := g.current.Load().blocks.len(), 2*g.opts.PlacesMax; n > most {
		t.Errorf("%d networks are remembered, want at most %d", n, most)
	}
}

// brokenFiles are what a failed download or a wrong file may leave.
func brokenFiles(t testing.TB) map[string][]byte {
	good := buildFlatDatabase(t, 4, rowsOld)
	return map[string][]byte{
		"empty":     {},
		"truncated": good[:len(good)/2],
		"one short": good[:len(good)-1],
		"random":    bytes.Repeat([]byte{0x5a, 0x13, 0xff, 0x00}, 5000),
		"text":      []byte("<html>404</html>"),
		"tail only": good[len(good)/2:],
		"no places": buildDatabase(t, "ASN", 4, rowsOld, func([]string) mmdbtype.DataType {
			return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64496)}
		}),
	}
}

func TestBrokenGeoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, data := range brokenFiles(t) {
		path := writeFile(t, filepath.Join(dir, "geo.mmdb"), data)
		if _, err := newGeo(Options{GeoIPPath: path}.withDefaults()); err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got error %v, want one line that names the file", name, err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none"), t.TempDir(), ","} {
		if _, err := newGeo(Options{GeoIPPath: path}.withDefaults()); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
}

// logLines collects what a goroutine logs.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	return len(line), nil
}

// take hands out the lines since the last call.
func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// Goal: a running server takes a good file and survives a bad one.
// Method: the real loop and real files under a false clock.
func TestRunSwapsChangedFiles(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "geo.mmdb"), buildFlatDatabase(t, 4, rowsOld))
	broken := brokenFiles(t)
	newData := buildFlatDatabase(t, 4, rowsNew)
	synctest.Test(t, func(t *testing.T) {
		log := new(logLines)
		e := newTestEnricher(t, Options{GeoIPPath: path, Log: slog.New(slog.NewTextHandler(log, nil))})
		ctx, stop := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { e.Run(ctx) })
		polls := func(n int) {
			<-time.After(time.Duration(n)*e.opts.GeoIPPoll + 1) // of the bubble's clock
			synctest.Wait()
		}
		polls(2)
		if lines := log.take(); len(lines) != 0 || cityOf(e.geo, "198.51.100.9") != "Oldtown" {
			t.Fatalf("before any change: %v", lines)
		}
		for name, data := range broken {
			writeFile(t, path, data)
			polls(6)
			if s := e.Stats(); !s.GeoReloadFailed || s.GeoReloads != 0 || cityOf(e.geo, "198.51.100.9") != "Oldtown" {
				t.Errorf("%s: the old database is gone: %+v", name, s)
			}
			if lines := log.take(); len(lines) != 1 {
				t.Errorf("%s: %d log lines, want 1:\n%v", name, len(lines), lines)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		polls(4)
		writeFile(t, path, newData)
		polls(4)
		if s := e.Stats(); s.GeoReloadFailed || s.GeoReloads != 1 || cityOf(e.geo, "198.51.100.9") != "Newtown" {
			t.Errorf("the good file was not taken: %+v\n%v", s, log.take())
		}
		stop()
		done.Wait()
	})
}

// buildLargeDatabase makes one that is mapped instead of read.
func buildLargeDatabase(t testing.TB, rows [][]string) []byte {
	t.Helper()
	return buildDatabase(t, "city", 4, rows, func(row []string) mmdbtype.DataType {
		return mmdbtype.Map{"city": mmdbtype.String(row[1]), "country_code": mmdbtype.String(row[4]),
			"padding": mmdbtype.String(strings.Repeat("x", geoInHeapMax))}
	})
}

// Goal: neither a swap nor damage to the file in use disturbs a lookup.
// Method: lookups without a pause while a mapped file is replaced, truncated
// in place, and loaded again; a map of the file itself would end the process.
func TestSwapUnderLoad(t *testing.T) {
	files := [][]byte{buildLargeDatabase(t, rowsOld), buildLargeDatabase(t, rowsNew)}
	path := writeFile(t, filepath.Join(t.TempDir(), "geo.mmdb"), files[0])
	temp := t.TempDir()
	g, err := newGeo(Options{GeoIPPath: path, TempDir: temp, PlacesMax: 64}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Past the cache, into the mapped bytes.
				p, _ := g.current.Load().lookup(netip.MustParseAddr("198.51.100.9"))
				if p.City != "Oldtown" && p.City != "Newtown" {
					t.Errorf("got %+v", p)
					return
				}
			}
		})
	}
	for i := range 10 {
		if err := os.Truncate(path, 10); err != nil {
			t.Fatal(err)
		}
		if err := g.reload(); err == nil {
			t.Error("a truncated file was taken")
		}
		writeFile(t, path, files[i%2])
		if err := g.reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	running.Wait()
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("%d private copies were left behind", len(left))
	}
}

// Goal: no room for a private copy is no reason not to start.
func TestGeoWithoutTempDir(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "geo.mmdb"), buildLargeDatabase(t, rowsOld))
	g, err := newGeo(Options{GeoIPPath: path, TempDir: filepath.Join(t.TempDir(), "none")}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if got := cityOf(g, "198.51.100.9"); got != "Oldtown" {
		t.Errorf("got %q", got)
	}
}

// Goal: our small reading of the GeoIP2 schema finds what geoip2-golang finds.
func TestReadsAsGeoIP2Does(t *testing.T) {
	full, err := geoip2.OpenBytes(demoDatabase)
	if err != nil {
		t.Fatal(err)
	}
	g := newTestGeo(t, "")
	for i := range 256 {
		for _, text := range []string{"203.0.113.%d", "198.51.100.%d", "192.0.2.%d", "2001:db8::%d", "11.0.0.%d"} {
			ip := netip.MustParseAddr(fmt.Sprintf(text, i))
			city, err := full.City(ip)
			if err != nil {
				t.Fatal(err)
			}
			want := spoor.Place{City: city.City.Names.English, Country: city.Country.ISOCode}
			if len(city.Subdivisions) > 0 {
				want.Region = city.Subdivisions[0].Names.English
			}
			if got := g.place(ip, "city", new(tally)); got != want {
				t.Fatalf("%v: got %+v, want %+v", ip, got, want)
			}
		}
	}
}

func FuzzGeoFile(f *testing.F) {
	f.Add(demoDatabase)
	f.Add(buildFlatDatabase(f, 4, rowsOld))
	f.Add(buildFlatDatabase(f, 6, rowsV6))
	for _, data := range brokenFiles(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := maxminddb.OpenBytes(data)
		if err != nil {
			return
		}
		p := &places{blocks: newCache[uint64, blockPlace](64)}
		if p.add(r) != nil {
			return
		}
		for _, ip := range []string{"198.51.100.9", "203.0.113.200", "::1", "2001:db8::1", "255.255.255.255"} {
			got := p.place(netip.MustParseAddr(ip), new(tally))
			if len(got.City) > placeNameMax || len(got.Region) > placeNameMax || len(got.Country) != 0 && len(got.Country) != 2 {
				t.Fatalf("%s is in %+v", ip, got)
			}
		}
	})
}

// BenchmarkGeoLookup compares our reading of a record with geoip2-golang's.
func BenchmarkGeoLookup(b *testing.B) {
	ip := netip.MustParseAddr("203.0.113.7")
	b.Run("minimal", func(b *testing.B) {
		p := newTestGeo(b, "").current.Load()
		b.ReportAllocs()
		for b.Loop() {
			p.lookup(ip)
		}
	})
	b.Run("geoip2", func(b *testing.B) {
		full, err := geoip2.OpenBytes(demoDatabase)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := full.City(ip); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		g, ip, t := newTestGeo(b, ""), netip.MustParseAddr("198.51.100.7"), new(tally)
		b.ReportAllocs()
		for b.Loop() {
			g.place(ip, "city", t)
		}
	})
}
