package store

import (
	"net/netip"
	"testing"

	"github.com/spoorhq/spoor"
)

// BenchmarkStageEncode encodes a page view as it comes from enrichment, and the
// state that it adds to its profile.
func BenchmarkStageEncode(b *testing.B) {
	h := spoor.Hit{
		App: 1, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: "0198f0c5-7a55-7bd2-9d2c-0c2f2a52a1f1", Key: "k", Received: 1_780_000_000_000, Time: 1_780_000_000_000,
		URL: "https://shop.example/shoes/0042-page?utm_source=mail", Referrer: "https://search.example/", Title: "Shoes, number 42",
		Resolution: "1920x1080", Language: "pl-PL", TimeZone: "Europe/Warsaw", Properties: []byte(`{"price":129.9,"sku":"S-0042"}`),
		IP: netip.MustParseAddr("192.0.2.0"), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		Place:  spoor.Place{City: "Kraków", Region: "Lesser Poland", Country: "PL"},
		Agent:  spoor.Agent{OS: "Linux", Browser: "Firefox", BrowserVersion: "140.0", Device: "desktop"},
		Public: 123456, Profile: 77, Visit: 1_780_000_000_000, First: true,
	}
	at := stamp{time: h.Time, tie: 9, source: h.Door}
	add := state{updated: h.Time, firstSeen: h.Time, lastSeen: h.Time, views: 1, visits: 1, visitStart: h.Time, visitLast: h.Time, days: []spoor.Day{20_600}}
	for i, t := range tell(&h) {
		add.setOrRemove(surroundings[i], t.text, at)
	}
	var dst []byte
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = appendHit(dst[:0], &h)
		}
		b.SetBytes(int64(len(dst)))
	})
	b.Run("profile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = add.appendTo(dst[:0])
		}
		b.SetBytes(int64(len(dst)))
	})
}
