package enrich

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/spoorhq/spoor"
)

// geo answers where an address is. The database behind it is swapped whole.
type geo struct {
	opts    Options
	current atomic.Pointer[places]
	reloads atomic.Int64
	failed  atomic.Bool
	loading sync.Mutex // one load at a time
}

// places is one loaded set of files with what was looked up in it. It is
// never closed: the runtime unmaps a file once no lookup can reach it.
type places struct {
	v4, v6 []placeFile // in the order in which they are asked
	blocks *cache[uint64, blockPlace]
	about  placesAbout
}

// placeFile is one file. The flat schema keeps names as plain text, which does
// not fit into the nested structure of GeoIP2.
type placeFile struct {
	reader *maxminddb.Reader
	flat   bool
	known  *cache[uintptr, spoor.Place] // by record: many networks share one
}

// placesMax is how many records of a file are remembered.
const placesMax = 1 << 14

// blockPlace is the place of a /24 or /48. Blocks that a file divides further
// (2.7 % of random IPv4 addresses in DB-IP Lite) are looked up each time.
type blockPlace struct {
	place   spoor.Place
	divided bool
}

// place finds the place of an address, as precisely as the setting allows.
func (g *geo) place(ip netip.Addr, precision string, t *tally) spoor.Place {
	if !ip.IsValid() || precision == "none" {
		return spoor.Place{}
	}
	t.geoLookups++
	p := g.current.Load().place(ip, t)
	if p == (spoor.Place{}) {
		t.geoMisses++
	}
	switch precision {
	case "city":
	case "region":
		p.City = ""
	default:
		p.City, p.Region = "", ""
	}
	return p
}

func (p *places) place(ip netip.Addr, t *tally) spoor.Place {
	block := blockOf(ip)
	if known, ok := p.blocks.get(block); ok && !known.divided {
		t.geoCacheHits++
		return known.place
	} else if ok {
		found, _ := p.lookup(ip)
		return found
	}
	found, bits := p.lookup(ip)
	if divided := bits > keptBits(ip); divided {
		p.blocks.put(block, blockPlace{divided: true})
	} else {
		p.blocks.put(block, blockPlace{place: found})
	}
	return found
}

// blockOf numbers the network that cutAddress would leave of ip. The top bits
// of an IPv6 block are shifted out of the IPv4 blocks' way.
func blockOf(ip netip.Addr) uint64 {
	if ip.Is4() {
		b := ip.As4()
		return uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2])
	}
	b := ip.As16()
	return 1<<63 | binary.BigEndian.Uint64(b[:8])>>16
}

// lookup asks the files in turn. Bits is the length of the smallest network
// for which the answer holds.
func (p *places) lookup(ip netip.Addr) (place spoor.Place, bits int) {
	files := p.v6
	if ip.Is4() {
		files = p.v4
	}
	for _, f := range files {
		r := f.reader.Lookup(ip)
		if r.Err() != nil {
			continue
		}
		bits = max(bits, prefixBits(r, ip))
		if !r.Found() {
			continue
		}
		if found, err := f.read(r); err == nil && found != (spoor.Place{}) {
			return found, bits
		}
	}
	return spoor.Place{}, bits
}

// prefixBits counts in the address's own family: an IPv6 tree may answer an
// IPv4 address with a network above its IPv4 part.
func prefixBits(r maxminddb.Result, ip netip.Addr) int {
	n := r.Prefix()
	if ip.Is4() && n.Addr().Is6() {
		return max(0, n.Bits()-96)
	}
	return n.Bits()
}

// geoNames reads only the English name: the others would cost a map each.
type geoNames struct {
	English string `maxminddb:"en"`
}

// nestedRecord is what we read of the GeoIP2 City schema. geoip2-golang's
// City() reads the same file in full; BenchmarkGeoLookup compares the two.
type nestedRecord struct {
	City struct {
		Names geoNames `maxminddb:"names"`
	} `maxminddb:"city"`
	Subdivisions []struct {
		Names geoNames `maxminddb:"names"`
	} `maxminddb:"subdivisions"`
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
}

// flatRecord is what we read of the schema of DB-IP City Lite.
type flatRecord struct {
	City    string `maxminddb:"city"`
	Region  string `maxminddb:"state1"`
	Country string `maxminddb:"country_code"`
}

// placeNameMax bounds the name of a city or region, in bytes.
const placeNameMax = 128

func (f placeFile) read(r maxminddb.Result) (spoor.Place, error) {
	p, ok := f.known.get(r.Offset())
	if ok {
		return p, nil
	}
	p, err := f.decode(r)
	if err == nil {
		f.known.put(r.Offset(), p)
	}
	return p, err
}

func (f placeFile) decode(r maxminddb.Result) (spoor.Place, error) {
	var p spoor.Place
	if f.flat {
		var rec flatRecord
		if err := r.Decode(&rec); err != nil {
			return p, err
		}
		p = spoor.Place{City: rec.City, Region: rec.Region, Country: rec.Country}
	} else {
		var rec nestedRecord
		if err := r.Decode(&rec); err != nil {
			return p, err
		}
		p = spoor.Place{City: rec.City.Names.English, Country: rec.Country.Code}
		if len(rec.Subdivisions) > 0 {
			p.Region = rec.Subdivisions[0].Names.English
		}
	}
	p.City, p.Region = cleanText(p.City, placeNameMax), cleanText(p.Region, placeNameMax)
	p.Country = countryCode(p.Country)
	return p, nil
}

// countryCode is the code in capitals, or empty if it is none.
func countryCode(s string) string {
	if len(s) != 2 || !isLetter(s[0]) || !isLetter(s[1]) {
		return ""
	}
	return strings.ToUpper(s)
}
