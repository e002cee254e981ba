package main_test

import (
	"testing"
	"time"
)

// Goal: the dashboard's figures move with what the program does, and say what
// to do about what it refused.
func TestFiguresMove(t *testing.T) {
	s := demo(t)
	s.hit(`{"key":"8Uh7Fp9wMj5l","url":"https://shop.example/"}`)
	if r := s.send("POST", s.collector+"/hit?k=nobody", `{"key":"a"}`); r.status != 401 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var f object
	s.await(10*time.Second, "a hit and a refusal in the samples", func() bool {
		f = s.readObject("/api/figures/")
		hits, refused := 0.0, 0.0
		for _, one := range f["rate"].(object)["samples"].([]any) {
			hits += one.(object)["hits"].(float64)
			refused += one.(object)["refused"].(float64)
		}
		if hits == 0 { // it came before the first look
			s.hit(`{"key":"8Uh7Fp9wMj5l","url":"https://shop.example/"}`)
		}
		if refused == 0 {
			s.send("POST", s.collector+"/hit?k=nobody", `{"key":"a"}`)
		}
		return hits > 0 && refused > 0
	})
	refusal := f["refusals"].([]any)[0].(object)
	if refusal["reason"] != "unknown_write_key" || refusal["count"].(float64) < 1 || refusal["text"] != "the write key is not known or has expired; check it against the keys of the app" {
		t.Errorf("refusals: %v", f["refusals"])
	}
	if f["fsync"].(object)["p99_ms"].(float64) <= 0 || f["rate"].(object)["hits_per_second"].(float64) <= 0 {
		t.Errorf("fsync %v, rate %v", f["fsync"], f["rate"].(object)["hits_per_second"])
	}
	if q := f["queue"].(object); q["bytes_max"] != 33554432.0 || f["disk"].(object)["bytes"].(float64) <= 0 || f["disk"].(object)["writable"] != true {
		t.Errorf("queue %v, disk %v", q, f["disk"])
	}
	kept := s.readObject("/api/retention/")
	if days := kept["due"].([]any); len(days) != 7 || len(kept["partitions"].([]any)) != 1 || kept["idle_days"] != 60.0 || kept["next_sweep"] == nil {
		t.Errorf("retention: %v", kept)
	}
}
