package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Goal: the scenarios that come with the program are read, in their order, and
// one of somebody else's is taken by its path.
func TestScenarios(t *testing.T) {
	list, err := options{long: true}.chosen()
	if err != nil || len(list) < 10 || list[0].name != "new" {
		t.Fatalf("%d scenarios, %v", len(list), err)
	}
	path := filepath.Join(t.TempDir(), "mine.json")
	if err := os.WriteFile(path, []byte(`{"title": "pixels of new visitors", "door": "pixel", "visitors": "new", "lasts": "30s"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err = options{only: "batch, " + path}.chosen()
	if err != nil || len(list) != 2 {
		t.Fatalf("%d scenarios, %v", len(list), err)
	}
	if got, want := list[1], (scenario{
		name: "mine", Title: "pixels of new visitors", Door: doorPixel, Visitors: MixNew, Apps: 1, Batch: 1, People: population, Times: 1, Lasts: span(30 * time.Second),
	}); got.name != want.name || got.Door != want.Door || got.Visitors != want.Visitors || got.People != want.People || got.Lasts != want.Lasts {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

// Goal: a scenario that cannot be meant is refused, and the error says which
// field and what it may be.
func TestScenarioErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := parseScenario("mine.json", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mine.json") {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
	f(`{"title": "x", "doors": "hit"}`, `unknown field "doors"`)
	f(`{"title": "x", "door": "window"}`, "there are hit, array, batch")
	f(`{"title": "x", "visitors": "old"}`, "there are model, new, returning")
	f(`{"title": "x", "batch": 100}`, "batch is 100; array and batch take more than 1")
	f(`{"title": "x", "door": "batch", "batch": 2000}`, "batch is 2000; it must be from 1 to 1000")
	f(`{"title": "x", "measure": "luck"}`, "there are size and half")
	f(`{"title": "x", "beside": ["apache"]}`, "there are bare, nginx, hits, one")
	f(`{"title": "x", "when": "never"}`, "want long, or nothing")
	f(`{"title": "x", "lasts": "soon"}`, "invalid duration")
	f(`{"title": "x", "lasts": "-1s"}`, "lasts is -1s; it must be from 1s to 24h")
	f(`{"title": "x", "limit": 600000, "apps": 3}`, "limit is of one app")
	f(`{"title": "x", "limit": -1}`, "it must be positive")
	f(`{"title": "x", "door": "batch", "batch": 10, "apps": 3}`, "a request is of one app")
	f(`{"title": "x", "beside": ["one"]}`, "for many apps, or for one with a limit")
	f(`{"title": "x", "beside": ["nginx"]}`, "door must be pixel")
	f(`{"title": "x", "measure": "size", "beside": ["bare"]}`, "only rounds have something beside them")
	f(`{"title": "x", "measure": "half", "apps": 3}`, "single hits of the open demo app")
	f(`{"title": "x", "measure": "half", "limit": 600000}`, "single hits of the open demo app")
	f(`{"title": "x"} {}`, "a file holds one scenario")
	f(`{"title": "x"} x`, "a file holds one scenario")
	f(`{}`, "it has no title")
}
