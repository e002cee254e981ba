package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Goal: the garbage collector's aim is what was asked for, else 400 MiB, else
// half of the least bound, and the log says so where it is less than usual.
func TestMemoryAim(t *testing.T) {
	f := func(asked int64, want int64, logged bool, bounds ...memlimit.Provider) {
		t.Helper()
		var log strings.Builder
		l := limitFlags{MemoryBytes: asked}
		if got := l.memoryAim(slog.New(slog.NewTextHandler(&log, nil)), bounds...); got != want {
			t.Errorf("the aim is %d, want %d", got, want)
		}
		if strings.Contains(log.String(), "memory is scarce here") != logged {
			t.Errorf("the log is %q", log.String())
		}
	}
	none := func() (uint64, error) { return 0, errors.New("no control group") }
	f(0, 400<<20, false, memlimit.Limit(8<<30), memlimit.Limit(16<<30))
	f(0, 400<<20, false, none, none)
	f(0, 256<<20, true, none, memlimit.Limit(512<<20))
	f(0, 150<<20, true, memlimit.Limit(300<<20), memlimit.Limit(512<<20))
	f(0, 256<<20, true, memlimit.Limit(1<<62), memlimit.Limit(512<<20))
	f(0, 400<<20, false, memlimit.Limit(800<<20))
	f(300<<20, 300<<20, false, memlimit.Limit(512<<20)) // who asks for it gets it
}
