package enrich

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"go4.org/netipx"

	"github.com/spoorhq/spoor"
)

var update = flag.Bool("update", false, "write demo.mmdb instead of comparing it")

// Goal: demo.mmdb is what its source says, byte for byte, on every machine.
// Method: build it again. With -update (go generate) the result is written.
func TestDemoDatabase(t *testing.T) {
	rows := readTable(t, "../testdata/geoip/demo.tsv", 5)
	built := buildCityDatabase(t, rows)
	if *update {
		if err := os.WriteFile("demo.mmdb", built, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(built, demoDatabase) {
		t.Fatal("demo.mmdb is not what testdata/geoip/demo.tsv makes; run go generate ./enrich")
	}
	g := newTestGeo(t, "")
	for _, row := range rows {
		network := netip.MustParsePrefix(row[0])
		want := spoor.Place{City: row[1], Region: row[2], Country: row[4]}
		for _, ip := range []netip.Addr{network.Addr(), netipx.PrefixLastIP(network)} {
			if got := g.place(ip, "city", new(tally)); got != want {
				t.Errorf("%v: got %v, want %v", ip, got, want)
			}
		}
	}
}

// buildCityDatabase makes a database of the GeoIP2 City schema. Rows are
// network, city, region, country, country code.
func buildCityDatabase(t testing.TB, rows [][]string) []byte {
	t.Helper()
	name := func(s string) mmdbtype.Map {
		return mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(s), "de": mmdbtype.String(s + " (de)")}}
	}
	return buildDatabase(t, "GeoIP2-City", 6, rows, func(row []string) mmdbtype.DataType {
		country := name(row[3])
		country["iso_code"] = mmdbtype.String(row[4])
		return mmdbtype.Map{"city": name(row[1]), "subdivisions": mmdbtype.Slice{name(row[2])}, "country": country}
	})
}

// buildFlatDatabase makes a database of DB-IP Lite's schema, from rows as above.
func buildFlatDatabase(t testing.TB, version int, rows [][]string) []byte {
	t.Helper()
	return buildDatabase(t, "city", version, rows, func(row []string) mmdbtype.DataType {
		return mmdbtype.Map{
			"city": mmdbtype.String(row[1]), "state1": mmdbtype.String(row[2]), "country_code": mmdbtype.String(row[4]),
			"latitude": mmdbtype.Float32(52.2),
		}
	})
}

func buildDatabase(t testing.TB, kind string, version int, rows [][]string, record func([]string) mmdbtype.DataType) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		BuildEpoch:              1767225600, // 2026-01-01, fixed so that the bytes are
		DatabaseType:            kind,
		Description:             map[string]string{"en": "documentation networks only"},
		Languages:               []string{"en"},
		IPVersion:               version,
		RecordSize:              24,
		IncludeReservedNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := tree.Insert(netipx.PrefixIPNet(netip.MustParsePrefix(row[0])), record(row)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := tree.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readTable reads a table of tab-separated columns; # begins a comment line.
func readTable(t testing.TB, name string, columns int) (rows [][]string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		row := strings.Split(line, "\t")
		if len(row) != columns {
			t.Fatalf("%s:%d: %d columns, want %d", name, i+1, len(row), columns)
		}
		rows = append(rows, row)
	}
	return rows
}

func newTestGeo(t testing.TB, path string) *geo {
	t.Helper()
	g, err := newGeo(Options{GeoIPPath: path, TempDir: t.TempDir()}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return g
}
