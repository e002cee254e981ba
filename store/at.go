package store

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
)

// carry is a place in a partition that the first change of a view brings with it.
type carry struct {
	Portion
	done atomic.Bool // the change is on disk
}

// At is a view of the same store for one command of a log: its time is always
// now, and what is random comes from random. It is cheap, is used by one
// goroutine at a time, and need not be closed.
//
// P, if it is not nil, says where the command stands; its hits are not looked at.
// Then the first change through the view notes in its own batch that the
// partition is stored up to p.Next. It fails with spoor.ErrApplied and changes
// nothing where that was so before, and with an *OffsetError where the partition
// is stored up to another place than p.First. A change that is refused moves
// nothing, nor do entries of audit logs; later changes go as usual. Apps are
// created under the number they have, whatever other apps are called: of two
// with the same name or write key the one with the lower number has it.
func (s *Store) At(now time.Time, random io.Reader, p *Portion) *Store {
	v := &Store{core: s.core, opts: s.opts, fixed: true}
	v.opts.Now, v.opts.Rand = func() time.Time { return now }, random
	if p != nil {
		v.carry = &carry{Portion: *p}
		v.carry.Hits, v.carry.Poisoned = nil, nil
	}
	return v
}

// carried makes a change bring the place of the view with it, until one has.
func (s *Store) carried(f func(*group) error) func(*group) error {
	k := s.carry
	if k == nil || k.done.Load() {
		return f
	}
	return func(g *group) error {
		if err := k.validate(); err != nil {
			return err
		}
		c, err := g.source(k.Topic, k.Partition)
		switch {
		case err != nil:
			g.err = err
			return nil
		case k.Next <= c.Next:
			return spoor.ErrApplied
		case k.First-k.Missing != c.Next:
			return &OffsetError{k.First, k.Next, c.Next}
		}
		if err := f(g); err != nil {
			return err
		}
		g.advance(c, &k.Portion)
		return nil
	}
}

// settled notes that a change was made.
func (s *Store) settled(err error) error {
	if err == nil && s.carry != nil {
		s.carry.done.Store(true)
	}
	return err
}

// numberApp gives a new app its number: the next one, or in a partition the one it
// was proposed under. What a partition refuses must not depend on how far others
// are, so it knows its own numbers, and those from before there were partitions.
func (g *group) numberApp(app *spoor.App, k *carry) error {
	w := g.w
	if k == nil {
		w.appsMade++
		w.appsAlone, app.ID = w.appsMade, spoor.AppID(w.appsMade)
		return nil
	}
	c, err := g.source(k.Topic, k.Partition)
	if err != nil {
		return err
	}
	switch {
	case app.ID == 0:
		return fmt.Errorf("cannot create app %q in a partition without a number", app.Name)
	case k.Partitions > 0 && int(app.ID-1)%k.Partitions != k.Partition:
		return fmt.Errorf("cannot create app %d in partition %d of %d: its hits are in another", app.ID, k.Partition, k.Partitions)
	case uint32(app.ID) <= max(c.made, w.appsAlone):
		return spoor.ErrNumberTaken
	}
	c.made = uint32(app.ID)
	w.appsMade = max(w.appsMade, c.made)
	g.putSource(c)
	return nil
}
