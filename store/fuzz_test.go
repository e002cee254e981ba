package store

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/spoorhq/spoor"
)

// Goal: bytes from a damaged disk never make a decoder panic, and whatever
// decodes encodes to something that decodes to the same.
// Method: each fuzz target decodes, encodes, decodes and encodes again.

// twice checks that encode(decode(v)) is a fixed point.
func twice[T encoder](t *testing.T, value []byte, read func([]byte) (T, error)) {
	t.Helper()
	x, err := read(value)
	if err != nil {
		return
	}
	first := x.appendTo(nil)
	y, err := read(first)
	if err != nil {
		t.Fatalf("what was encoded cannot be decoded: %v", err)
	}
	if second := y.appendTo(nil); !bytes.Equal(first, second) {
		t.Fatalf("encoded twice:\n%x\n%x", first, second)
	}
}

func sampleState() *state {
	s := &state{
		created: 1000, updated: 3000, firstSeen: 1000, lastSeen: 2500, opened: 5, views: 3, events: 2, visits: 1,
		visitStart: 1000, visitLast: 2500, described: described{aspectDevice: 2500, aspectPlace: 2000, aspectZone: 2500}, days: []spoor.Day{-3, 0, 20000},
		former: []former{{number: 7, days: []spoor.Day{1, 2}}}, unknown: [][]byte{{9, 9}},
	}
	s.set(spoor.AttrCity, spoor.TypeString, "Łódź", stamp{time: 2000, tie: 5, source: spoor.DoorDerived})
	s.set("plan", spoor.TypeInt, "3", stamp{time: 2100, tie: 6, source: spoor.DoorREST})
	s.put(spoor.LookupKey, "8Uh7Fp9wMj5l", true, stamp{time: 1000, tie: 1, source: spoor.DoorNative})
	s.put(spoor.LookupMobile, "token", false, stamp{time: 1500, tie: 2, source: spoor.DoorSDK})
	return s
}

func sampleUncounted() []byte {
	day := putInt(putUint(nil, nestedApp, 3), nestedDay, 20522)
	day = putBytes(day, nestedHits, append(make([]byte, 2*placeBytes-1), 7))
	value := putBytes(appendHeader(nil), uncountedDay, day)
	c := counter{next: 5, sequence: 900, sealed: 20500, clock: 1773144000000, ticks: 17}
	value = putBytes(value, uncountedApp, c.appendTo(putUint(nil, nestedApp, 3)))
	return putUint(value, uncountedGroup, 12)
}

func FuzzReadUncounted(f *testing.F) {
	f.Add(sampleUncounted())
	f.Fuzz(func(t *testing.T, value []byte) {
		u, err := readUncounted(value)
		if err == nil && len(u.hits)*placeBytes > len(value) {
			t.Fatalf("%d hits out of %d bytes", len(u.hits), len(value))
		}
	})
}

func sampleHit() spoor.Hit {
	return spoor.Hit{
		App: 3, Kind: spoor.KindPage, Door: spoor.DoorNative, ID: "event-1", Name: "Home", URL: "https://shop.example/a",
		Referrer: "https://www.google.com/", Title: "Shop", Time: 1773144000000, Received: 1773144001000,
		Resolution: "1440x900", Language: "pl-PL", TimeZone: "Europe/Warsaw", Properties: []byte(`{"a":1}`),
		Consent: spoor.NewConsent(spoor.ChoiceGranted, spoor.ChoiceDenied, spoor.ChoiceUnknown), IP: netip.MustParseAddr("203.0.113.0"),
		UserAgent: "Mozilla/5.0", Place: spoor.Place{City: "Warsaw", Region: "Mazovia", Country: "PL"},
		Agent:    spoor.Agent{OS: "iOS", OSVersion: "18.5", Browser: "Safari", BrowserVersion: "18.5", Device: "mobile"},
		Campaign: spoor.Campaign{Channel: "paid", Source: "s", Medium: "m", Name: "n", Term: "t", Content: "c"},
		Redacted: 2, Public: 77, Profile: 9, Day: 20522, Visit: 1773143000000, First: true, Marks: spoor.MarkLate,
	}
}

func FuzzReadState(f *testing.F) {
	f.Add(sampleState().appendTo(nil))
	f.Add([]byte{valueVersion, valuePlain})
	f.Add((&state{regs: []register{{name: regConsentAnalytics, typ: spoor.TypeInt}}}).appendTo(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		twice(t, value, readState)
		if s, err := readState(value); err == nil {
			s.profile(1, 1, new(permutation)) // whatever decodes can be shown
		}
	})
}

func FuzzReadSet(f *testing.F) {
	c := &setChange{}
	c.fold(mustSet(f, 1, 5, 65535))
	f.Add(c.appendTo(nil))
	f.Fuzz(func(t *testing.T, value []byte) { twice(t, value, readSet) })
}

func mustSet(tb testing.TB, numbers ...uint32) *setChange {
	tb.Helper()
	c := &setChange{add: newBitmap(numbers...), drop: newBitmap(2)}
	got, err := readSet(c.appendTo(nil))
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

func FuzzReadCounts(f *testing.F) {
	f.Add((&counts{text: "/a", hits: 3, views: 2, events: -1, visits: 1}).appendTo(nil))
	f.Fuzz(func(t *testing.T, value []byte) { twice(t, value, readCounts) })
}

func FuzzReadAccount(f *testing.F) {
	f.Add((&account{stored: 5, swept: 2, bytes: 900}).appendTo(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		twice(t, value, func(b []byte) (*account, error) { a, err := readAccount(b); return &a, err })
	})
}

func FuzzReadHit(f *testing.F) {
	h := sampleHit()
	key := hitKey(nil, h.App, h.Day, h.Profile, h.Time, hash{1})
	f.Add(key, appendHit(nil, &h))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		h, err := readHit(key, value)
		if err != nil {
			return
		}
		at, err := parseHitKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if again := hitKey(nil, at.app, at.day, at.profile, at.time, at.id); !bytes.Equal(again, key) {
			t.Fatalf("key %x became %x", key, again)
		}
		first := appendHit(nil, &h)
		g, err := readHit(key, first)
		if err != nil {
			t.Fatal(err)
		}
		if second := appendHit(nil, &g); !bytes.Equal(first, second) {
			t.Fatalf("encoded twice:\n%x\n%x", first, second)
		}
	})
}

func FuzzReadDefinition(f *testing.F) {
	f.Add(appendDefinition(nil, definition{name: "plan", typ: spoor.TypeInt, since: 5, source: spoor.DoorREST}))
	f.Fuzz(func(t *testing.T, value []byte) {
		d, err := readDefinition(value)
		if err != nil {
			return
		}
		if again, err := readDefinition(appendDefinition(nil, d)); err != nil || again != d {
			t.Fatalf("%+v became %+v, %v", d, again, err)
		}
	})
}

func FuzzHighWater(f *testing.F) {
	f.Add(make([]byte, slotBytes))
	f.Fuzz(func(t *testing.T, slot []byte) {
		if len(slot) < slotBytes {
			return
		}
		if m, ok := readMark(slot[:slotBytes]); ok && m.groups != binary.LittleEndian.Uint64(slot[8:]) {
			t.Fatal("a mark was read from elsewhere")
		}
	})
}

func TestSamplesRoundTrip(t *testing.T) {
	s, err := readState(sampleState().appendTo(nil))
	if err != nil || s.text(spoor.AttrCity) != "Łódź" || s.text("plan") != "3" || len(s.days) != 3 || s.former[0].days[1] != 2 ||
		s.described != sampleState().described || s.visitStart != 1000 || s.members(spoor.LookupKey)[0] != "8Uh7Fp9wMj5l" || len(s.members(spoor.LookupMobile)) != 0 {
		t.Errorf("state: %+v, %v", s, err)
	}
	u, err := readUncounted(sampleUncounted())
	if err != nil || u.group != 12 || u.apps[3].sequence != 900 || u.apps[3].sealed != 20500 || len(u.hits) != 2 ||
		u.hits[1].app != 3 || u.hits[1].day != 20522 || u.hits[1].id[15] != 7 {
		t.Errorf("uncounted: %+v, %v", u, err)
	}
	h := sampleHit()
	got, err := readHit(hitKey(nil, h.App, h.Day, h.Profile, h.Time, hash{1}), appendHit(nil, &h))
	h.Outcome = spoor.Stored
	if err != nil || !bytes.Equal(got.Properties, h.Properties) {
		t.Fatal(err)
	}
	a, b := appendHit(nil, &h), appendHit(nil, &got)
	if !bytes.Equal(a, b) || got.Marks != h.Marks || got.Visit != h.Visit || got.IP != h.IP || got.Consent != h.Consent {
		t.Errorf("hit: %+v, want %+v", got, h)
	}
}

// Goal: keys sort as what they stand for, negative days and times included.
func TestKeysKeepOrder(t *testing.T) {
	days := []spoor.Day{-100000, -1, 0, 1, 20522, 100000}
	times := []int64{-1 << 50, -1, 0, 1, 1 << 50}
	var last []byte
	for _, app := range []spoor.AppID{1, 2, 1 << 31} {
		for _, day := range days {
			for _, n := range []spoor.Number{0, 1, 1 << 31} {
				for _, ms := range times {
					key := hitKey(nil, app, day, n, ms, hash{})
					if bytes.Compare(last, key) >= 0 {
						t.Fatalf("%x does not sort before %x", last, key)
					}
					last = key
				}
			}
		}
	}
}
