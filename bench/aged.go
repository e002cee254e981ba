package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What does a large store cost those who send? Two servers, one with the large
// store and one that began empty, take the same traffic in turn; each stands
// still while the other is measured. Then the large one is killed in the middle
// of a turn and started again, stopped and started again.
const agedPairs = 3

// aged is what was measured.
type aged struct {
	hits          int64      // in the large store, before
	rates         [2]float64 // hits a second: large, young
	ratio         float64    // median of the pairs
	killed, clean time.Duration
}

// age measures with a copy of the store, which must be closed.
func (l *large) age(b *bench) (a aged, err error) {
	a.hits = l.hits
	salt := rand.Uint64()
	t := newTraffic(salt, []string{demoKey}, doorHit, doorArray)
	var sides [2]*side
	dirs := [2]string{filepath.Join(b.work, "aged"), filepath.Join(b.work, "young")}
	if err := linkedCopy(l.dir, dirs[0]); err != nil {
		return a, fmt.Errorf("cannot copy the store: %w", err)
	}
	for i, dir := range dirs {
		s, err := b.rollUpSide(t, salt, []string{commandWired, dir, "", ""})
		if s != nil {
			defer s.kill()
		}
		if err != nil {
			return a, err
		}
		sides[i] = s
	}
	var ratios []float64
	for pair := range agedPairs {
		for k := range sides {
			if err := b.rollUpTurn(t, sides[(pair+k)%2], MixModel); err != nil { // who begins would be favoured
				return a, err
			}
		}
		ratios = append(ratios, sides[0].rate[pair]/sides[1].rate[pair])
	}
	a.ratio = median(ratios)
	a.rates = [2]float64{median(sides[0].rate), median(sides[1].rate)}

	// What came in this turn is in the log alone, most of it.
	if err := b.rollUpTurn(t, sides[0], MixModel); err != nil {
		return a, err
	}
	sides[0].kill()
	start := func() (time.Duration, error) {
		began := time.Now()
		p, err := startProcess(nil, b.self, commandWired, dirs[0], "", "")
		if err != nil {
			return 0, err
		}
		took := time.Since(began)
		return took, p.stop()
	}
	if a.killed, err = start(); err != nil {
		return a, err
	}
	a.clean, err = start()
	return a, err
}

func (a *aged) report(w io.Writer) {
	fmt.Fprintf(w, "\nMixed hits in turn with a store that began empty: %s and %s hits/s, ratio %.2f (median of %d pairs). From the start of the process "+
		"until it listens: %s after a clean stop, %s after kill -9 in the middle of that.\n",
		thousands(int64(a.rates[0])), thousands(int64(a.rates[1])), a.ratio, agedPairs, round(a.clean), round(a.killed))
}

func (a *aged) add(f figures) {
	f["large.hits"] = float64(a.hits)
	f["large.rate_ratio"] = a.ratio
	f["large.start_ms"] = float64(a.clean.Milliseconds())
	f["large.start_killed_ms"] = float64(a.killed.Milliseconds())
}

// linkedCopy copies a stopped store. Tables never change, so both have the same.
func linkedCopy(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rest)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if strings.HasSuffix(path, ".sst") {
			err := os.Link(path, target)
			if !errors.Is(err, syscall.EXDEV) {
				return err
			}
		}
		data, err := os.Open(path)
		if err != nil {
			return err
		}
		defer data.Close()
		f, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, data)
		return errors.Join(err, f.Close())
	})
}
