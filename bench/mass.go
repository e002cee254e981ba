package main

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/spoorhq/spoor"
)

// mass is the traffic of one site over months, for stores that are too large to
// be written hit by hit. A visitor's number says on which day it first came, and
// hashes say on which days it comes again, so each day can be drawn by itself, in
// the order of the visitors: that in which store.LoadDay wants it.
//
//	visitors    born more at the beginning; 75 of 100 come seldom, the others
//	            seventeen times as often; ten hits a day on which one comes
//	known       5 of 100 send a user id; each of them has a second device, which
//	            is anonymous at first and merged when it is used again
//	bots        make 5 of 100 hits
//	texts       2,000 pages, 800 cities in 40 countries, 200 referrers, 50 campaigns,
//	            by Zipf's law; browsers, screens and languages of the personas
type mass struct {
	*moments
	massSize
	born   []int   // visitors before each day
	often  float64 // chance to come on a day, of the average visitor
	merged []bool  // by visitor: the second device is
	events uint32

	pages, places, referrers, campaigns *zipfTable
	urls, cities, hosts, names          []string
}

// massSize says how much there is. Hits are a target that is met within some
// per cent.
type massSize struct {
	days, profiles int
	hits           int64
}

const (
	massDays        = 120
	massHitsOfDay   = 10 // of a visitor, on average
	massVisitsOfDay = 2
	massSeldom      = 0.2 // of the average visitor
	massOften       = 3.4
	massBots        = 0.05
	massKnownEvery  = 20
)

func newMass(m *moments, size massSize) *mass {
	t := &mass{
		moments: m, massSize: size, merged: make([]bool, size.profiles),
		pages: newZipfTable(2000), places: newZipfTable(800), referrers: newZipfTable(200), campaigns: newZipfTable(50),
	}
	sum := 0.0 // of days on which the average visitor may come again
	for d := range size.days + 1 {
		share := float64(d) / float64(size.days)
		t.born = append(t.born, int(math.Sqrt(share)*float64(size.profiles)))
		if d > 0 {
			sum += float64(t.born[d]-t.born[d-1]) * float64(size.days-d)
		}
	}
	comes := float64(size.hits) * (1 - massBots) / massHitsOfDay
	t.often = max(0, comes-float64(size.profiles)) / max(sum, 1)
	t.urls = massURLs()
	for i := range 800 {
		t.cities = append(t.cities, fmt.Sprintf("City %03d", i))
	}
	for i := range 200 {
		t.hosts = append(t.hosts, fmt.Sprintf("https://site%03d.example/", i))
	}
	for i := range 50 {
		t.names = append(t.names, fmt.Sprintf("campaign-%02d", i))
	}
	return t
}

// massURLs are the paths of all pages, the one most looked at first.
func massURLs() (all []string) {
	for i := range 2000 {
		all = append(all, fmt.Sprintf("/%s/%04d-page", [...]string{"shoes", "coats", "blog", "help"}[i%4], i))
	}
	return all
}

var massCountries = strings.Fields("PL DE GB US FR ES IT NL CZ SE UA PT IN BR CA AU JP AT BE CH DK FI NO IE SK HU RO BG GR TR LT LV EE HR SI RS MX AR ZA KR")

// comes reports whether a visitor who was born before comes on a day.
func (t *mass) comes(v visitor, day int) bool {
	chance := t.often * massSeldom
	if share(v.hash(t.salt, 2)) >= visitsOnceShare {
		chance = t.often * massOften
	}
	return share(v.hash(t.salt, uint64(1000+day))) < min(chance, 0.95)
}

func massKnown(v visitor) bool { return v%massKnownEvery == 0 }
func massTwin(v visitor) bool  { return v%massKnownEvery == 1 }

// massHours are the hours of a day at which visits begin, as often as they do.
var massHours = []byte{0, 6, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 13, 13, 14, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 19, 19, 19, 20, 20, 20, 20, 21, 21, 21, 22}

// on gives the hits of a day that begins at midnight (Unix ms). Each is valid
// until the next.
func (t *mass) on(day int, midnight int64) iter.Seq[*spoor.Hit] {
	return func(yield func(*spoor.Hit) bool) {
		var h spoor.Hit
		bots := int64(float64(t.hits) * massBots / float64(t.days))
		for i := range bots {
			v := visitor(mix(uint64(i) ^ t.salt ^ uint64(day)<<40))
			at := midnight + i*86_000_000/bots
			if t.put(&h, v, personaKnown+int(v%personaBots), int(v>>32%actionCount), uint64(v), at); !yield(&h) {
				return
			}
		}
		for v := range visitor(t.born[day+1]) {
			if int(v) >= t.born[day] || t.comes(v, day) && !(massTwin(v) && t.merged[v-1]) {
				if !t.visitDay(&h, v, day, midnight, yield) {
					return
				}
			}
		}
	}
}

// visitDay gives what a visitor does on one day.
func (t *mass) visitDay(h *spoor.Hit, v visitor, day int, midnight int64, yield func(*spoor.Hit) bool) bool {
	r := v.hash(t.salt, uint64(1<<20+day))
	draw := func(n uint64) uint64 { r = mix(r + 0x9e3779b97f4a7c15); return (r >> 32) * n >> 32 }
	persona := personaKnown + personaBots + int(v.hash(t.salt, 1)%(personaCount-personaKnown-personaBots))
	if massKnown(v) {
		persona = int(v.hash(t.salt, 1) % personaKnown)
	}
	at := midnight + int64(massHours[draw(uint64(len(massHours)))])*3_600_000 + int64(draw(3_600_000))
	end := midnight + 86_300_000
	for visit := 0; visit == 0 || draw(massVisitsOfDay) != 0; visit++ {
		for hit := 0; hit == 0 || draw(massHitsOfDay/massVisitsOfDay) != 0; hit++ {
			if at += 1000 + int64(draw(120_000)); at >= end {
				return true
			}
			if t.put(h, v, persona, int(draw(actionCount)), r, at); !yield(h) {
				return false
			}
		}
		at += 31*60_000 + int64(draw(7_200_000))
	}
	if massKnown(v) && int(v)+1 < t.born[day] && !t.merged[v] && at < end {
		t.merged[v] = true
		t.put(h, v, persona, actionCount-1, r, at) // who signs in on the second device
		h.Key = t.key(v + 1)
		return yield(h)
	}
	return true
}

func (t *mass) key(v visitor) string {
	var text [keyBytes]byte
	return string(appendKey(text[:0], v, t.salt))
}

// put makes a hit, with texts that r draws.
func (t *mass) put(into *spoor.Hit, v visitor, persona, action int, r uint64, at int64) {
	*into = t.all[persona*actionCount+action]
	t.events++
	var text [idBytes + keyBytes]byte
	into.ID = string(event{seq: t.events}.appendID(text[:0], at, t.salt))
	into.Time, into.Received = at, at
	if into.Bot {
		return
	}
	into.Key = t.key(v)
	if isKnown(persona) {
		into.UserID = string(appendBase62(append(text[:0], 'c'), v.hash(t.salt, 6)))
	}
	page := t.pages.draw(r)
	into.URL = "https://shop.example" + t.urls[page]
	city := t.places.draw(v.hash(t.salt, 7))
	into.Place = spoor.Place{Country: massCountries[city%len(massCountries)], Region: t.cities[city/4], City: t.cities[city]}
	if into.Referrer != "" && into.Referrer != "https://shop.example/" {
		into.Referrer = t.hosts[t.referrers.draw(r>>16)]
	}
	if into.Campaign.Name != "" {
		into.Campaign.Name = t.names[t.campaigns.draw(r>>32)]
	}
}

// zipfTable draws numbers from 0 on, the k-th with a share of 1/(k+1).
type zipfTable [1 << 16]uint16

func newZipfTable(n int) *zipfTable {
	t, sums := new(zipfTable), zipf(n)
	for i := range t {
		k, _ := slices.BinarySearch(sums, (float64(i)+0.5)/float64(len(t)))
		t[i] = uint16(min(k, n-1))
	}
	return t
}

// draw takes the low 16 bits.
func (t *zipfTable) draw(r uint64) int { return int(t[r&0xffff]) }
