package ingest

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// Goal: a visitor keeps the number for a day, over restarts; nobody keeps it
// longer, others have others, and 48 hours later the salt is in no file.
func TestSalts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salts")
	now := noon
	open := func() *salts {
		t.Helper()
		s, err := openSalts(path, func() time.Time { return now }, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ip, day := netip.MustParseAddr("203.0.113.7"), spoor.DayOf(noon, time.UTC)
	number := func(s *salts, app spoor.AppID, day spoor.Day, ip, agent string) string {
		t.Helper()
		key, err := s.number(app, day, netip.MustParseAddr(ip), agent)
		if err != nil || !spoor.DailyKey(key) {
			t.Fatalf("%q %v", key, err)
		}
		return key
	}
	first := open()
	ada := number(first, 1, day, ip.String(), "Firefox")
	if number(first, 1, day, ip.String(), "Firefox") != ada || number(open(), 1, day, ip.String(), "Firefox") != ada {
		t.Error("the number changes within a day")
	}
	seen := map[string]string{ada: "ada"}
	for what, key := range map[string]string{
		"another app":     number(first, 2, day, ip.String(), "Firefox"),
		"another day":     number(first, 1, day+1, ip.String(), "Firefox"),
		"another address": number(first, 1, day, "203.0.113.8", "Firefox"),
		"another agent":   number(first, 1, day, ip.String(), "Chrome"),
		"a longer agent":  number(first, 1, day, ip.String(), "Firefox "),
	} {
		if seen[key] != "" {
			t.Errorf("%s has the number of %s", what, seen[key])
		}
		seen[key] = what
	}
	if number(first, 1, day, "2001:db8::1", "x") != number(first, 1, day, "2001:db8::ffff:2", "x") ||
		number(first, 1, day, "2001:db8::1", "x") == number(first, 1, day, "2001:db8:0:1::1", "x") {
		t.Error("of an IPv6 address the first 64 bits count, all of them and no more")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}

	now = noon.Add(saltLife - time.Second)
	if number(open(), 1, day, ip.String(), "Firefox") != ada {
		t.Error("a salt went before its time")
	}
	now = noon.Add(saltLife)
	if err := first.expire(); err != nil { // as the clock does hourly
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "[]" {
		t.Errorf("48 hours later the file holds %q, %v", raw, err)
	}
	if number(first, 1, day, ip.String(), "Firefox") == ada {
		t.Error("a salt is in use after 48 hours")
	}
	now = now.Add(saltLife)
	open()
	if raw, _ := os.ReadFile(path); string(raw) != "[]" {
		t.Errorf("a start leaves old salts: %q", raw)
	}
	left, err := filepath.Glob(filepath.Dir(path) + "/.salts-*")
	if len(left) > 0 || err != nil {
		t.Errorf("work files are left: %v %v", left, err)
	}
	if err := os.WriteFile(path, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSalts(path, time.Now, nil); err == nil || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("a broken file: %v", err)
	}
}

// Goal: two collectors know a cookieless visitor by one number, whichever met it
// first; what the others' clocks make unusable, and a failure to agree, is an
// error and not a number of one's own.
// Method: both are offered the first salt that either made.
func TestSharedSalts(t *testing.T) {
	now, day := noon, spoor.DayOf(noon, time.UTC)
	type offer struct {
		made int64
		salt []byte
	}
	first := map[spoor.Day]offer{}
	var broken error
	share := func(day spoor.Day, made int64, salt []byte) (int64, []byte, error) {
		if _, ok := first[day]; !ok {
			first[day] = offer{made, salt}
		}
		return first[day].made, first[day].salt, broken
	}
	collector := func() *salts {
		s, err := openSalts("", func() time.Time { return now }, share)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ip := netip.MustParseAddr("203.0.113.7")
	one, two := collector(), collector()
	a, err := one.number(1, day, ip, "Firefox")
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if b, err := two.number(1, day, ip, "Firefox"); err != nil || a != b {
		t.Errorf("another collector gives %q, %v; want %q", b, err, a)
	}
	now = noon.Add(saltLife)
	if err := two.expire(); err != nil || len(*two.current.Load()) != 0 {
		t.Errorf("it lives longer with who got it later: %v", err)
	}
	now = noon
	first[day+1] = offer{now.Add(-saltLife).UnixMilli(), make([]byte, 32)}
	first[day+2] = offer{now.UnixMilli(), []byte("short")}
	for _, d := range []spoor.Day{day + 1, day + 2} {
		if key, err := one.number(1, d, ip, "Firefox"); err == nil {
			t.Errorf("%+v was used and gave %q", first[d], key)
		}
	}
	broken = errors.New("no broker answers")
	if key, err := collector().number(1, day, ip, "Firefox"); err == nil {
		t.Errorf("without agreement a collector gives %q", key)
	}
}
