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
	f := func(asked memorySize, want int64, logged bool, bounds ...memlimit.Provider) {
		t.Helper()
		var log strings.Builder
		l := processFlags{Memory: asked}
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

// Goal: sizes are read with and without units, and what is none is refused with
// a line that says why and how to write one.
func TestMemorySize(t *testing.T) {
	f := func(text string, want memorySize, good bool) {
		t.Helper()
		var m memorySize
		err := m.UnmarshalText([]byte(text))
		if (err == nil) != good || m != want {
			t.Errorf("%q gives %d, %v", text, m, err)
		}
		if err != nil && !strings.Contains(err.Error(), "written like 400MiB") {
			t.Errorf("%q: %v", text, err)
		}
	}
	f("0", 0, true)
	f("400MiB", 400<<20, true)
	f("2GiB", 2<<30, true)
	f("65536KiB", 64<<20, true)
	f("419430400", 400<<20, true)
	for _, bad := range []string{"", "400", "-1", "MiB", "400MB", "31MiB", "9999999999GiB", "1.5GiB"} {
		f(bad, 0, false)
	}
	for text, want := range map[string]string{
		"9999999999GiB": "9999999999GiB is too large", "99999999999999999999": "is too large", "1": "cannot do with 1 bytes of memory", "31MiB": "32505856 bytes",
		"-99999999999999999999": "cannot read the size",
	} {
		if err := new(memorySize).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}
