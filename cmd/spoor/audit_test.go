package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// Goal: entries survive the death of the process, and an entry that somebody
// took out of the files is named by spoor audit and by spoor check.
// Method: reads; the process is killed; the reads are looked for. Then an entry
// is deleted in the database of the stopped server.
func TestAuditOfAKilledServer(t *testing.T) {
	data := folder(t)
	s := spawn(t, data, "--demo")
	s.awaitServing()
	const reads = 20
	for range reads {
		s.read("/api/public/users/")
	}
	s.kill()
	s = spawn(t, data, "--demo")
	s.awaitServing()
	if out := s.spoor("audit", "--app", "demo"); strings.Count(out, " users.list ") != reads || !strings.Contains(out, fmt.Sprintf("newest %d, ", reads)) {
		t.Errorf("after the kill:\n%s", out)
	}
	s.stop()
	checkStore(t, data)

	merger := &pebble.Merger{Name: "spoor.1", Merge: func(_, value []byte) (pebble.ValueMerger, error) { return only(bytes.Clone(value)), nil }}
	db, err := pebble.Open(filepath.Join(data, "db"), &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Merger: merger, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte{'X', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7}
	if _, closer, err := db.Get(key); err != nil {
		t.Fatal(err)
	} else if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Delete(key, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "check", "--data", data).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "audit log of app demo: entry 7 is missing") {
		t.Errorf("spoor check: %v\n%s", err, out)
	}
	s = spawn(t, data, "--demo")
	s.awaitServing()
	for _, how := range []string{"--since=24h", "--json"} {
		out, err = exec.Command(binary, "audit", "--data", data, "--app", "demo", how).CombinedOutput()
		if err == nil || strings.Count(string(out), "spoor: the audit log of app demo is broken: entry 7 is missing; ") != 1 || strings.Contains(string(out), "intact") {
			t.Errorf("spoor audit %s: %v\n%s", how, err, out)
		}
	}
	s.stop()
}

// only is the merger of a key that was written once, which is all that a store
// without people has.
type only []byte

func (only) MergeNewer([]byte) error { return errors.New("written twice") }

func (only) MergeOlder([]byte) error { return errors.New("written twice") }

func (v only) Finish(bool) ([]byte, io.Closer, error) { return v, nil, nil }
