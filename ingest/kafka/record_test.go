package kafka

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/spoorhq/spoor"
)

// ofTheStore are the fields that the store fills. They do not travel.
var ofTheStore = map[string]bool{
	"Outcome": true, "Reason": true, "Public": true, "Profile": true, "Day": true,
	"Visit": true, "First": true, "Marks": true, "Tally": true,
}

// Goal: no field of a hit is forgotten on the way: not one of today, nor one
// that is added later.
// Method: reflection fills every field, of nested types too, with a value of
// its own; what comes back must be equal, but for the fields of the store. A
// type that fill does not know fails.
func TestRecordHoldsEveryField(t *testing.T) {
	var h spoor.Hit
	n := 0
	fill(t, reflect.ValueOf(&h).Elem(), "Hit", &n)
	got, err := readRecord(recordOf(h), nil)
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(&h).Elem()
	for i := range v.NumField() {
		if ofTheStore[v.Type().Field(i).Name] {
			v.Field(i).SetZero()
		}
	}
	if len(got) != 1 || !reflect.DeepEqual(got[0], h) {
		t.Errorf("a hit went in as\n%+v\nand came back as\n%+v", h, got)
	}
}

func recordOf(hits ...spoor.Hit) []byte {
	b := appendRecord(nil, hits[0].App)
	for i := range hits {
		b = appendHit(b, &hits[i])
	}
	return b
}

func fill(t *testing.T, v reflect.Value, path string, n *int) {
	*n++
	if v.Type() == reflect.TypeFor[netip.Addr]() {
		v.Set(reflect.ValueOf(netip.MustParseAddr("2001:db8::7")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint32:
		v.SetUint(uint64(*n%200 + 1))
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.String:
		v.SetString(fmt.Sprintf("%s#%d", path, *n))
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), path, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range 3 {
			fill(t, v.Index(i), path, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path, n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), path+"."+v.Type().Field(i).Name, n)
		}
	default:
		t.Fatalf("%s is a %s, which this test cannot fill", path, v.Type())
	}
}

// Goal: values at the edges come back as they were.
// Method: hits with extreme numbers, times before and after receipt, empty and
// missing parts, lengths at which a length prefix grows, three in one record.
func TestRecordEdges(t *testing.T) {
	edges := []spoor.Hit{
		{},
		{Time: -1 << 63, Received: 1<<63 - 1},
		{Time: 0, Received: 1_764_000_000_000},
		{Time: 1_764_000_000_000, Received: 0, Redacted: -1, Hints: spoor.Hints{TouchPoints: -5}},
		{IP: netip.MustParseAddr("192.0.2.0"), Withheld: &spoor.Withheld{}},
		{IP: netip.MustParseAddr("::ffff:192.0.2.0")},
		{Attributes: []spoor.Attribute{{}, {Name: "a"}}, Name: "\xff\x00ż"},
	}
	for _, n := range []int{1, 100, 125, 126, 127, 128, 129, 16_370, 16_383, 16_384, 70_000} {
		edges = append(edges, spoor.Hit{Title: strings.Repeat("x", n), Withheld: &spoor.Withheld{Key: strings.Repeat("k", n)}})
	}
	for i := range edges {
		edges[i].App = 1<<32 - 1
		three := []spoor.Hit{edges[i], {App: edges[i].App, ID: "between"}, edges[i]}
		got, err := readRecord(recordOf(three...), nil)
		if err != nil || !reflect.DeepEqual(got, three) {
			t.Errorf("case %d: %+v went in, %+v came back (%v)", i, three, got, err)
		}
	}
}

// Goal: a record that does not hold hits is an error and leaves no half of
// itself behind.
// Method: each way to be wrong, decoded behind a hit that must stay alone.
func TestRecordPoisoned(t *testing.T) {
	good := recordOf(spoor.Hit{App: 1, ID: "a", IP: netip.MustParseAddr("192.0.2.1"), Digest: [16]byte{1}})
	many := appendRecord(nil, 1)
	for range recordHitsMax + 1 {
		many = appendHit(many, &spoor.Hit{})
	}
	bad := map[string][]byte{
		"nothing":             nil,
		"a version to come":   append([]byte{commandVersion + 1}, good[1:]...),
		"no hit":              appendRecord(nil, 1),
		"cut":                 good[:len(good)-1],
		"text":                []byte("{\"app\": 1}"),
		"more behind it":      append(append([]byte{}, good...), 0xff),
		"too many hits":       many,
		"a number for a text": closeHit(putUint(nil, hitID, 7)),
		"a text for a number": closeHit(putString(nil, hitKind, "page")),
		"a large kind":        closeHit(putUint(nil, hitKind, 256)),
		"a large app":         append(putUint([]byte{recordVersion}, recordApp, 1<<32), closeHit(nil)[1:]...),
		"a short digest":      closeHit(putString(nil, hitDigest, "short")),
		"a long address":      closeHit(putString(nil, hitIP, "12345")),
		"many attributes":     recordOf(spoor.Hit{Attributes: make([]spoor.Attribute, attributesMax+1)}),
		"many brands":         recordOf(spoor.Hit{Hints: spoor.Hints{Brands: make([]spoor.Brand, brandsMax+1)}}),
	}
	for name, value := range bad {
		hits, err := readRecord(value, []spoor.Hit{{ID: "before"}})
		if err == nil || len(hits) != 1 || hits[0].ID != "before" {
			t.Errorf("%s: got %d hits and %v", name, len(hits), err)
		}
	}
}

func closeHit(fields []byte) []byte {
	b, from := open([]byte{recordVersion}, recordHit)
	return closed(append(b, fields...), from)
}

// Goal: a field that a later version adds does not make a record unreadable.
// Method: tags that nobody uses, a number, a text and a fixed one, in the record
// and in the hit.
func TestRecordUnknownFields(t *testing.T) {
	unknown := func(b []byte) []byte {
		b = putUint(b, 15, 7)
		b = putString(b, 900, "later")
		return append(b, 0xd5, 0x3e, 1, 2, 3, 4) // tag 1002, fixed32
	}
	value := unknown(closeHit(unknown(putString(nil, hitID, "a"))))
	hits, err := readRecord(value, nil)
	if err != nil || len(hits) != 1 || hits[0].ID != "a" {
		t.Errorf("got %+v and %v", hits, err)
	}
}

// Goal: whatever bytes stand in a topic, reading them neither panics nor takes
// memory out of proportion, and what is read is written and read again the same.
// Method: fuzzing, from real records and broken ones.
func FuzzRecord(f *testing.F) {
	f.Add(recordOf(spoor.Hit{App: 7, Kind: spoor.KindPage, ID: "a", URL: "https://example.com/", Time: 5, Received: 9,
		IP: netip.MustParseAddr("192.0.2.1"), Digest: [16]byte{9}, Properties: []byte(`{"a":1}`),
		Attributes: []spoor.Attribute{{Name: "email", Type: spoor.TypeString, Text: "a@example.com"}},
		Withheld:   &spoor.Withheld{Key: "k", Attributes: []spoor.Attribute{{Name: "x"}}},
		Hints:      spoor.Hints{Brands: []spoor.Brand{{Name: "b", Version: "1"}}, TouchPoints: 3}}))
	f.Add(closeHit(nil))
	f.Add([]byte{recordVersion, 0x12, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, value []byte) {
		hits, err := readRecord(value, nil)
		if err != nil {
			if len(hits) != 0 {
				t.Fatalf("%d hits beside the error %v", len(hits), err)
			}
			return
		}
		for i := range hits {
			if !fits(&hits[i]) {
				t.Fatalf("hit %d was read and could not be written", i)
			}
		}
		again, err := readRecord(recordOf(hits...), nil)
		if err != nil || !reflect.DeepEqual(again, hits) {
			t.Fatalf("%+v was written and read as %+v (%v)", hits, again, err)
		}
	})
}
