package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// A large store is built by the day, past the writer's log; the next run finds it
// again if it was told where.
const (
	largeBytesOfHit = 170 // on disk, to begin with
	largeSalt       = 20260304
	largeMark       = "complete" // a file beside the data: the store was built to its end
	largeQuiet      = 3 * time.Second
)

// large is a store that is asked for statistics.
type large struct {
	size  massSize
	times int            // how often a question is asked
	only  *regexp.Regexp // questions by their titles
	dir   string
	clock *clock
	st    *store.Store
	app   *spoor.App
	days  [2]spoor.Day // the first and the last

	hits   int64
	built  time.Duration // 0: it was there
	tables int64
}

func (b *bench) largeAndReport() (err error) {
	l := &large{size: massSize{days: massDays, profiles: b.profiles, hits: b.hits}, times: askTimes, clock: new(clock)}
	if l.only, err = regexp.Compile(b.only); err != nil {
		return fmt.Errorf("-only is no regular expression: %w", err)
	}
	if len(l.questions()) == 0 {
		return fmt.Errorf("no question has a title that matches %q; without -only all are asked, and the report shows their titles", b.only)
	}
	l.dir = filepath.Join(b.work, "large")
	if b.dir != "" { // to be found again
		l.dir = filepath.Join(b.dir, fmt.Sprintf("large-%d-%d", b.hits, b.profiles))
	}
	m, err := describeMachine(b.work, b.self)
	if err != nil {
		return err
	}
	fmt.Print(m)
	if err := l.prepare(); err != nil {
		return err
	}
	defer func() {
		if l.st != nil {
			err = errors.Join(err, l.st.Close())
		}
	}()
	if b.cpuProfile != "" {
		return l.profile(b.cpuProfile)
	}
	if err := l.ask(os.Stdout); err != nil || b.only != "" {
		return err
	}
	if err := l.close(); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "measuring what its size costs those who send …")
	a, err := l.age(b)
	if err != nil {
		return fmt.Errorf("cannot measure how a large store takes hits: %w", err)
	}
	a.report(os.Stdout)
	f := figures{}
	a.add(f)
	printTargets(os.Stdout, slices.DeleteFunc(judge(f), func(r judged) bool { return r.Value == nil }))
	if b.json != "" {
		return b.writeJSON(b.json, m, f)
	}
	return nil
}

func (l *large) today() time.Time {
	return simulatedStart.AddDate(0, 0, l.size.days-1).Add(23 * time.Hour)
}

// prepare builds the store, or finds it. It is closed then.
func (l *large) prepare() error {
	l.days = [2]spoor.Day{spoor.DayOf(simulatedStart, time.UTC), spoor.DayOf(l.today(), time.UTC)}
	if _, err := os.Stat(filepath.Join(l.dir, largeMark)); errors.Is(err, fs.ErrNotExist) {
		if err := l.build(); err != nil {
			return err
		}
	}
	l.clock.set(l.today())
	_, tables, err := diskUse(filepath.Join(l.dir, "db"))
	if err != nil {
		return fmt.Errorf("cannot measure the data directory: %w", err)
	}
	l.tables = tables
	return nil
}

func (l *large) build() (err error) {
	if err := os.RemoveAll(l.dir); err != nil { // half of one
		return fmt.Errorf("cannot remove a store that was not built to its end: %w", err)
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fmt.Errorf("cannot make a data directory: %w", err)
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(l.dir, &disk); err != nil {
		return fmt.Errorf("cannot look at the disk: %w", err)
	}
	if free, need := int64(disk.Bavail)*disk.Bsize, l.size.hits*largeBytesOfHit; free < need {
		return fmt.Errorf("%s has %s free, %s hits take about %s; ask for fewer with -hits, or choose another place with -dir",
			l.dir, mebi(free), thousands(l.size.hits), mebi(need))
	}
	l.clock.set(simulatedStart)
	if err := l.open(); err != nil {
		return err
	}
	defer func() {
		if l.st != nil {
			err = errors.Join(err, l.close())
		}
	}()
	l.app, err = l.st.CreateApp(&spoor.App{Name: demoKey, Created: simulatedStart.UnixMilli(), Settings: spoor.DefaultSettings("UTC")})
	if err != nil {
		return err
	}
	moments, err := newMoments(l.st, l.app.ID, largeSalt)
	if err != nil {
		return err
	}
	traffic := newMass(moments, l.size)
	began := time.Now()
	for day := range l.size.days {
		midnight := simulatedStart.AddDate(0, 0, day)
		l.clock.set(midnight)
		if err := l.st.LoadDay(l.days[1], traffic.on(day, midnight.UnixMilli())); err != nil {
			return err
		}
		if n := day + 1; n%10 == 0 {
			fmt.Fprintf(os.Stderr, "%d days, %s hits, %s\n", n, thousands(int64(traffic.events)), time.Since(began).Round(time.Second))
		}
	}
	l.built = time.Since(began)
	untilQuiet(l.st, largeQuiet)
	if err := l.close(); err != nil {
		return err
	}
	if err := settle(l.dir); err != nil { // what is only in the log goes into tables
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, largeMark), nil, 0o600)
}

func (l *large) open() (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if l.st, err = store.Open(store.Options{Dir: l.dir, Now: l.clock.now, Log: log}); err != nil {
		return err
	}
	l.app = l.st.AppByName(demoKey)
	return nil
}

func (l *large) close() error {
	st := l.st
	l.st = nil
	return st.Close()
}
