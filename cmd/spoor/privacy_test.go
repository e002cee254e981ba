package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/spoorhq/spoor/store"
)

// marker is a unique text that is put into a door, and later looked for.
func marker(n int) string { return fmt.Sprintf("zq%dmarker%dqz", n, n*7919) }

// Goal: personal data in urls leaves no byte, whichever door it came by, while
// what the customer sends as properties is kept.
// Method: ?email=…&token=… with a text of its own for each place goes through
// every door. Then every file of the data directory is searched, as it stands
// and with its blocks decompressed, while the server runs, after it stopped,
// and after all was flushed into tables; and its log and metrics. A marker in
// the properties shows that the search finds what is there.
func TestUrlsLeaveNoPersonalData(t *testing.T) {
	s := demo(t)
	var places []string
	dirty := func(place string) string {
		places = append(places, place)
		m := marker(len(places))
		return "https://shop.example/p?email=" + m + "@b.example&token=" + m + "&utm_source=news&next=%2Fa%3Femail%3D" + m + "@b.example#" + m
	}
	const kept = "keptpropertieskept"
	f := func(method, path, body string) {
		t.Helper()
		r := s.send(method, s.collector+path, body, "User-Agent", browser)
		if r.status != 200 {
			t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
		}
	}
	post := func(path, format string, names ...string) {
		t.Helper()
		args := make([]any, len(names))
		for i, name := range names {
			args[i] = dirty(path + " " + name)
		}
		f("POST", path, fmt.Sprintf(format, args...))
	}
	post("/hit?k=demo", `{"key":"a","url":"%s","referrer":"%s","title":"%s","properties":{"p":"`+kept+`"}}`, "url", "referrer", "title")
	post("/hit?k=demo", `{"key":"a","type":"event","name":"e","url":"%s","referrer":"%s"}`, "event url", "event referrer")
	post("/hit?k=demo", `[{"key":"a","url":"%s"},{"key":"a","name":"%s"}]`, "array url", "page name")
	for _, kind := range []string{"page", "screen", "track"} {
		post("/v1/"+kind+"?k=demo", `{"anonymousId":"a","event":"e","name":"n","context":{"page":{"url":"%s","referrer":"%s","title":"%s"}}}`, "context url", "context referrer", "context title")
	}
	post("/v1/page?k=demo", `{"anonymousId":"a","properties":{"url":"%s","referrer":"%s","title":"%s"}}`, "properties url", "properties referrer", "properties title")
	post("/v1/identify?k=demo", `{"userId":"u","context":{"page":{"url":"%s","referrer":"%s"}}}`, "url", "referrer")
	post("/v1/batch?k=demo", `{"context":{"page":{"url":"%s"}},"batch":[{"type":"page","anonymousId":"a"},{"type":"page","anonymousId":"b","context":{"page":{"url":"%s"}}}]}`, "common url", "event url")

	places = append(places, "search of the properties and of the context")
	search := "?email=" + marker(len(places)) + "@b.example&token=" + marker(len(places))
	f("POST", "/v1/page?k=demo", `{"anonymousId":"a","properties":{"path":"/p","search":"`+search+`"}}`)
	f("POST", "/v1/p?k=demo", `{"anonymousId":"a","context":{"page":{"path":"/p","search":"`+search+`"}}}`)

	query := url.Values{"k": {"demo"}, "c": {"a"}, "u": {dirty("pixel u")}, "r": {dirty("pixel r")}, "t": {dirty("pixel t")}, "p.p": {kept}}
	f("GET", "/pixel.gif?"+query.Encode(), "")
	r := s.send("GET", s.collector+"/pixel.gif?k=demo&c=b", "", "Referer", dirty("pixel Referer header"))
	if r.status != 200 {
		t.Fatalf("pixel: %d", r.status)
	}
	// In the query of the request itself, where only keys are read.
	for _, path := range []string{"/hit", "/v1/t", "/v1/p", "/v1/s", "/v1/i", "/v1/a", "/v1/g"} {
		places = append(places, path+" query")
		m := marker(len(places))
		f("POST", path+"?k=demo&email="+m+"@b.example&token="+m, `{"event":"e","key":"a","anonymousId":"a","userId":"u","previousId":"a","groupId":"g"}`)
	}
	// Refused, so nothing of it may stay.
	places = append(places, "refused hit")
	m := marker(len(places))
	if r := s.hit(`{"key":"` + m + strings.Repeat("x", 600) + `","url":"https://a.example/?email=` + m + `@b.example"}`); r.status != 400 {
		t.Fatalf("a long key: %d", r.status)
	}
	if r := s.hit(`{"key":"` + m + `","consent":{"analytics":"denied"},"properties":{"a":"` + m + `"}}`); r.status != 403 {
		t.Fatalf("consent denied: %d", r.status)
	}

	clean := func(where string, texts map[string][]byte) {
		t.Helper()
		for i, place := range places {
			for name, text := range texts {
				if at := bytes.Index(text, []byte(marker(i+1))); at >= 0 {
					t.Errorf("%s: %s holds what came in as %s: %.120q", where, name, place, text[max(0, at-40):])
				}
			}
		}
	}
	found := func(where string, texts map[string][]byte) {
		t.Helper()
		for _, text := range texts {
			if bytes.Contains(text, []byte(kept)) {
				return
			}
		}
		t.Errorf("%s: the properties are not found, so neither would anything else", where)
	}
	printed := map[string][]byte{
		"the log": []byte(s.log.String()), "standard output": []byte(s.out.String()), "the metrics": []byte(s.read("/metrics")),
	}
	clean("the running server", printed)
	files := allFiles(t, s.data)
	clean("the running server", files)
	found("the running server", files) // in the write-ahead log
	hits := s.read("/api/export/hits.ndjson")
	clean("the running server", map[string][]byte{"the export": []byte(hits)})
	found("the running server", map[string][]byte{"the export": []byte(hits)})
	s.stop()
	clean("the stopped server", map[string][]byte{"the log": []byte(s.log.String())})
	clean("the stopped server", allFiles(t, s.data))
	flush(t, s.data)
	clean("after a flush", allFiles(t, s.data))
	records := allRecords(t, s.data)
	clean("after a flush, decompressed", records)
	found("after a flush, decompressed", records)
}

// allFiles reads every file below a directory as it stands.
func allFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files[filepath.Base(path)], err = os.ReadFile(path)
		return err
	})
	if err != nil || len(files) < 5 {
		t.Fatalf("cannot read %s: %d files, %v", dir, len(files), err)
	}
	return files
}

// flush lets the store write all that is in its log into tables.
func flush(t *testing.T, data string) {
	t.Helper()
	st, err := store.Open(store.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if tables, _ := filepath.Glob(filepath.Join(data, "db", "*.sst")); len(tables) == 0 {
		t.Fatal("there is no table to look into")
	}
}

// allRecords reads the tables of a stopped store with their blocks
// decompressed, every version of every key and every operand of a merge.
func allRecords(t *testing.T, data string) map[string][]byte {
	t.Helper()
	records := map[string][]byte{}
	tables, err := filepath.Glob(filepath.Join(data, "db", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tables {
		records[filepath.Base(path)] = tableRecords(t, path)
	}
	return records
}

// tableRecords reads one table: keys and values, one after another.
func tableRecords(t *testing.T, path string) (all []byte) {
	t.Helper()
	// A table names its merger; operands are read one by one, so it never runs.
	opts := &pebble.Options{Logger: quiet{}, Merger: &pebble.Merger{Name: "spoor.1"}}
	opts.EnsureDefaults()
	f, err := opts.FS.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := sstable.NewSimpleReadable(f)
	if err != nil {
		t.Fatal(err)
	}
	table, err := sstable.NewReader(context.Background(), file, opts.MakeReaderOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	it, err := table.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for kv := it.First(); kv != nil; kv = it.Next() {
		value, _, err := kv.Value(nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, kv.K.UserKey...), value...)
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return all
}

// quiet is a logger that says nothing.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
