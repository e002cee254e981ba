package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	memoryBytesDefault = 400 << 20
	memoryBytesMin     = 32 << 20
)

// memorySize is a number of bytes, written like 400MiB, 2GiB or 419430400.
type memorySize int64

func (m *memorySize) UnmarshalText(text []byte) error {
	number, shift := string(text), 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if rest, ok := strings.CutSuffix(number, unit); ok {
			number, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0, err == nil && n != n<<shift>>shift:
		return fmt.Errorf("%s is too large: want a size written like 400MiB or 2GiB", text)
	case err != nil || n < 0:
		return fmt.Errorf("cannot read the size %q: want one written like 400MiB or 2GiB, or 0", text)
	case n != 0 && n<<shift < memoryBytesMin:
		return fmt.Errorf("cannot do with %d bytes of memory: want at least 32MiB, written like 400MiB", n<<shift)
	}
	*m = memorySize(n << shift)
	return nil
}

// boundMemory tells the garbage collector what to stay below, and returns it.
// GOMEMLIMIT and GOGC win, as everywhere in Go.
func (l *processFlags) boundMemory(log *slog.Logger) int64 {
	aim := l.memoryAim(log, memlimit.FromCgroup, memlimit.FromSystem)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(aim)
	}
	if os.Getenv("GOGC") == "" { // the memory limit bounds the heap; collecting less often is cheaper below it
		debug.SetGCPercent(200)
	}
	return aim
}

// memoryAim is what was asked for, else the default or half of the memory there
// is, whichever is less: the other half is for the mapped GeoIP database, for
// the files that the kernel keeps at hand, and for bursts. What bounds
// cannot say (there is no control group, or no limit) does not count.
func (l *processFlags) memoryAim(log *slog.Logger, bounds ...memlimit.Provider) int64 {
	if l.Memory > 0 {
		return int64(l.Memory)
	}
	aim := int64(memoryBytesDefault)
	for _, bound := range bounds {
		if there, err := bound(); err == nil && there > 0 && int64(there/2) < aim {
			aim = int64(there / 2)
		}
	}
	if aim < memoryBytesDefault {
		log.Info("memory is scarce here, so half of it is used; --memory asks for more or less", "memory_bytes", aim, "usual_bytes", memoryBytesDefault)
	}
	return aim
}
