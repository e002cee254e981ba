package main_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	idleBytesMax  = 64 << 20  // resident memory of a server that waits, mapped files included
	placesPadding = 128 << 20 // what makes the database as large as a real one, which has 63 MB and 71 MB
)

// Goal: a server that waits is small, however large its GeoIP database is.
// Method: the embedded database, made large by zeros between its data and its
// description, where no lookup leads. What counts is VmRSS: the process's own
// memory, and those pages of the program and of the database that it touched.
func TestIdleMemory(t *testing.T) {
	demo, err := os.ReadFile("../../enrich/demo.mmdb")
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndex(demo, []byte("\xab\xcd\xefMaxMind.com"))
	if end < 0 {
		t.Fatal("the embedded database has no description")
	}
	places := filepath.Join(t.TempDir(), "city.mmdb")
	f, err := os.Create(places)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	f.Write(demo[:end])
	for range placesPadding / len(zeros) {
		f.Write(zeros)
	}
	f.Write(demo[end:])
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder(t), "--demo", "--geoip", places)
	for i := range 100 {
		if r := s.hit(fmt.Sprintf(`{"key":"v%d","url":"https://shop.example/"}`, i), "X-Forwarded-For", visitorAddress); r.status != 200 {
			t.Fatal(r.status, r.body)
		}
	}
	if user := s.readObject("/api/public/users/search/?key=v1"); user["city"] != "Warsaw" {
		t.Errorf("the city is %v", user["city"])
	}
	time.Sleep(time.Second) // until what the start left is swept up
	pid := strconv.Itoa(s.cmd.Process.Pid)
	maps := readFile(t, "/proc/"+pid+"/maps")
	m := regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) r.*spoor-geoip-.*$`).FindStringSubmatch(maps)
	if m == nil {
		t.Fatalf("the database is not mapped:\n%s", maps)
	}
	from, _ := strconv.ParseUint(m[1], 16, 64)
	to, _ := strconv.ParseUint(m[2], 16, 64)
	if to-from < placesPadding {
		t.Errorf("%d bytes of the database are mapped", to-from)
	}
	status := readFile(t, "/proc/"+pid+"/status")
	rss := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindStringSubmatch(status)
	if rss == nil {
		t.Fatal(status)
	}
	kib, _ := strconv.Atoi(rss[1])
	t.Logf("resident: %d MiB", kib>>10)
	if kib<<10 > idleBytesMax {
		t.Errorf("an idle server holds %d MiB, promised are %d\n%s", kib>>10, idleBytesMax>>20, status)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToValidUTF8(string(text), "")
}
