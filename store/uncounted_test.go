package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spoorhq/spoor"
)

// Goal: counts that were put off are neither lost nor doubled, however many
// groups follow, whether somebody reads them, the process ends, or a crash
// comes.
// Method: apps whose hits come in the first group only, every few groups, and
// in every group; after some numbers of groups around the size of the ring a
// copy of the disk is opened as a crash leaves it. Check counts every hit.
func TestCountsThatWait(t *testing.T) {
	c := newClock()
	mem := vfs.NewCrashableMem()
	o := testOptions(t, mem, c)
	o.putOffFrom = 1
	s := open(t, o)
	apps := []*spoor.App{newApp(t, s, "once", "UTC"), newApp(t, s, "seldom", "UTC"), newApp(t, s, "always", "UTC")}
	sent := make([]int64, len(apps))
	id := 0
	send := func(i int) {
		id++
		h := page(apps[i], c, fmt.Sprint("visitor", id%5), id)
		write(t, s, h)
		sent[i]++
	}
	stored := func(s *Store, when string) {
		t.Helper()
		for i, app := range apps {
			days, err := s.Partitions(app.ID)
			if err != nil || len(days) != 1 || days[0].Hits != sent[i] || days[0].Profiles != min(5, sent[i]) {
				t.Errorf("%s: app %s: partitions %+v, %v; want %d hits", when, app.Name, days, err, sent[i])
			}
		}
		check(t, s)
	}
	send(0)
	for group := range 3 * ringGroups {
		if group%10 == 0 {
			send(1)
		}
		send(2)
		switch group {
		case 1, overdue - 1, overdue, ringGroups - 1, ringGroups, 2*ringGroups + 3:
			when := fmt.Sprint("after group ", group)
			stored(s, when)
			copied := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(uint64(group), 1))})
			look := testOptions(t, copied, c)
			look.ReadOnly = true
			for _, then := range []string{", only looking", ", after a crash", ", after a stop"} {
				again, err := Open(look)
				if err != nil {
					t.Fatal(err)
				}
				stored(again, when+then)
				if err := again.Close(); err != nil {
					t.Fatal(err)
				}
				look.ReadOnly = false
			}
		}
	}
}

// Goal: putting counts off does what it is for: a busy writer writes a day's
// counts once for many groups.
// Method: the roll-up rows that reach the database are counted by the numbers
// of their groups in the accounts.
func TestBusyWriterPutsCountsOff(t *testing.T) {
	for _, tc := range []struct {
		from int
		want bool
	}{{1, true}, {1000, false}} {
		c := newClock()
		o := testOptions(t, vfs.NewMem(), c)
		o.putOffFrom = tc.from
		s := open(t, o)
		app := newApp(t, s, "shop", "UTC")
		for i := range 10 {
			write(t, s, page(app, c, "visitor", i))
		}
		waits := false
		err := s.view(func(db *pebble.DB) error {
			late, err := scanUncounted(db)
			waits = len(late) > 0
			if found, err := has(db, writerDayKey(nil, app.ID, app.Day(c.ms()))); err != nil || found == tc.want {
				t.Errorf("from %d: the account is written: %t, %v", tc.from, found, err)
			}
			return err
		})
		if err != nil || waits != tc.want {
			t.Errorf("from %d: counts wait: %t, %v; want %t", tc.from, waits, err, tc.want)
		}
	}
}
