package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const memoryBytesDefault = 400 << 20

// boundMemory tells the garbage collector what to stay below. GOMEMLIMIT and
// GOGC win, as everywhere in Go.
func (l *limitFlags) boundMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(l.memoryAim(log, memlimit.FromCgroup, memlimit.FromSystem))
	}
	if os.Getenv("GOGC") == "" { // the memory limit bounds the heap; collecting less often is cheaper below it
		debug.SetGCPercent(200)
	}
}

// memoryAim is what was asked for, else the default or half of the memory there
// is, whichever is less: the other half is for the mapped GeoIP database, for
// the files that the kernel keeps at hand, and for bursts. What bounds
// cannot say (there is no control group, or no limit) does not count.
func (l *limitFlags) memoryAim(log *slog.Logger, bounds ...memlimit.Provider) int64 {
	if l.MemoryBytes > 0 {
		return l.MemoryBytes
	}
	aim := int64(memoryBytesDefault)
	for _, bound := range bounds {
		if there, err := bound(); err == nil && there > 0 && int64(there/2) < aim {
			aim = int64(there / 2)
		}
	}
	if aim < memoryBytesDefault {
		log.Info("memory is scarce here, so the garbage collector aims at half of it", "memory_bytes", aim, "usual_bytes", memoryBytesDefault)
	}
	return aim
}
