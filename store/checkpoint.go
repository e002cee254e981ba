package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// copyName is the folder of a Copy in the data directory.
const copyName = "checkpoint"

// ErrCopying: there is a Copy already.
var ErrCopying = errors.New("a copy of the store is being read already; wait until that has ended")

// Checkpoint makes a copy of the running store in a directory that does not
// exist yet. A store opened there holds exactly what was committed at one moment
// after the call began, so all that was acknowledged before. Tables are hard
// links, which cost nothing until the store rewrites its own: the directory must
// lie on the file system of the data. Writes wait while links are made and the
// newest log is copied. It fails with spoor.ErrReadOnly if the disk is almost
// full. After an error nothing is left of it.
func (s *Store) Checkpoint(dir string) (err error) {
	fs := s.opts.FS
	switch _, found := fs.Stat(dir); {
	case s.opts.ReadOnly:
		return errors.New("cannot copy a store that is opened only to look; open it for writing")
	case s.space.low():
		return fmt.Errorf("cannot copy the store to %s: %w", dir, spoor.ErrReadOnly)
	case found == nil:
		return fmt.Errorf("cannot copy the store to %s: it exists; name a directory that does not", dir)
	case !errors.Is(found, os.ErrNotExist):
		return fmt.Errorf("cannot copy the store to %s: %w", dir, found)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cannot copy the store to %s: %w", dir, err), fs.RemoveAll(dir))
		}
	}()
	if err := makeDir(fs, dir); err != nil {
		return err
	}
	mark := fs.PathJoin(dir, "highwater")
	if err := fs.Link(s.path("highwater"), mark); err != nil { // Pebble would copy all tables instead
		return fmt.Errorf("%w; it must lie on a file system with hard links, which is that of the data", err)
	}
	if err := fs.Remove(mark); err != nil {
		return err
	}
	if err := s.shortenLog(); err != nil {
		return err
	}
	reached, err := s.checkpointDB(fs.PathJoin(dir, "db"))
	if err != nil {
		return err
	}
	high, _, err := openHighWater(fs, mark)
	if err != nil {
		return err
	}
	return errors.Join(high.write(reached), high.close(), syncDir(fs, dir))
}

// shortenLog makes the newest log short: logs are copied, while writes wait.
func (s *Store) shortenLog() error {
	if err := s.change(func(*group) error { return nil }); err != nil { // an empty memtable would keep its log
		return err
	}
	return s.view(func(db *pebble.DB) error {
		s.spare.growNext()
		return db.Flush()
	})
}

// checkpointDB copies the database, and tells how far. It does so in the writer:
// Pebble takes the state of the tables first and reads the logs later, where hits
// would be written on into zeros that it has read already, and notes be found of
// tables that came in between.
func (s *Store) checkpointDB(dir string) (reached mark, err error) {
	err = s.alone(func(g *group) error {
		reached = g.w.mark
		return g.w.db.Checkpoint(dir, pebble.WithFlushedWAL())
	})
	return reached, err
}

// Copy is a checkpoint in the data directory, for as long as it is read.
type Copy struct {
	Dir string
	s   *Store
}

// Copy makes a checkpoint to be read from; there is one at a time, or ErrCopying.
// What is removed meanwhile is still in it, so no receipt says that its bytes are
// gone before Close. What a process leaves behind that is killed is removed by
// the next Open.
func (s *Store) Copy() (*Copy, error) {
	select {
	case s.copies <- struct{}{}:
	default:
		return nil, ErrCopying
	}
	c := &Copy{Dir: s.path(copyName), s: s}
	if err := s.Checkpoint(c.Dir); err != nil {
		<-s.copies
		return nil, err
	}
	return c, nil
}

// Close removes the copy. It must be called once.
func (c *Copy) Close() {
	c.s.removeCopy()
	<-c.s.copies
}

// removeCopy leaves what it cannot remove to the next look.
func (s *Store) removeCopy() error {
	err := s.opts.FS.RemoveAll(s.path(copyName))
	if err != nil {
		s.log.Error("cannot remove a copy of the store; it takes room and holds what was removed since", "dir", s.path(copyName), "error", err,
			"hint", "remove it by hand; until then no receipt says that bytes are gone")
	}
	return err
}

// awaitCopy waits until there is no copy.
func (s *Store) awaitCopy(ctx context.Context) error {
	select {
	case s.copies <- struct{}{}:
		defer func() { <-s.copies }()
		return s.removeCopy()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return spoor.ErrClosed
	}
}
