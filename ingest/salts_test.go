package ingest

import (
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
		s, err := openSalts(path, func() time.Time { return now })
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
	if _, err := openSalts(path, time.Now); err == nil || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("a broken file: %v", err)
	}
}
