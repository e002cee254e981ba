package store

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
)

// counters are what Stats is made of.
type counters struct {
	hits, duplicates, refused atomic.Int64
	groups, fsyncNanos        atomic.Int64
	corruptions, stalls       atomic.Int64
}

// Write stores hits. It returns once all of them, and all that were given
// before, are fsynced. Full means spoor.ErrBusy at once.
func (s *Store) Write(hits []spoor.Hit) error {
	r := requests.Get().(*request)
	r.hits, r.do, r.alone, r.bytes, r.err = hits, nil, false, weight(hits), nil
	return s.submit(r, false)
}

// change runs f in the writer, behind what is lined up, and waits until what
// it wrote is fsynced.
func (s *Store) change(f func(*group) error) error {
	r := requests.Get().(*request)
	r.hits, r.do, r.alone, r.bytes, r.err = nil, s.carried(f), false, 1024, nil
	return s.settled(s.submit(r, false))
}

// bulk is change for work that can wait: hits go first.
func (s *Store) bulk(f func(*group) error) error {
	r := requests.Get().(*request)
	r.hits, r.do, r.alone, r.bytes, r.err = nil, s.carried(f), false, 1024, nil
	return s.settled(s.submit(r, true))
}

// alone is change in a group of its own.
func (s *Store) alone(f func(*group) error) error {
	r := requests.Get().(*request)
	r.hits, r.do, r.alone, r.bytes, r.err = nil, s.carried(f), true, 1024, nil
	return s.settled(s.submit(r, false))
}

func (s *Store) submit(r *request, bulk bool) error {
	if err := s.post(r, bulk); err != nil {
		return err
	}
	return r.wait()
}

// post lines a request up; one that is refused is gone.
func (s *Store) post(r *request, bulk bool) error {
	err := error(spoor.ErrReadOnly)
	if !s.space.low() {
		err = s.queue.put(r, bulk)
	}
	if err != nil {
		r.release()
	}
	return err
}

// wait returns once the request is durable, or failed; then it is gone.
func (r *request) wait() error {
	<-r.done
	err := r.err
	r.release()
	return err
}

func (r *request) release() {
	r.hits, r.do = nil, nil
	requests.Put(r)
}

// acknowledge waits for the syncs of groups in their order and wakes the
// callers of each. A duplicate is thereby answered after its original is on
// disk, also when its own group had nothing to sync.
func (s *Store) acknowledge(groups <-chan *group) {
	synced := s.opts.Now()
	for g := range groups {
		began := time.Now()
		if g.err == nil {
			g.err = g.batch.SyncWait()
		}
		s.stats.groups.Add(1)
		s.stats.fsyncNanos.Store(int64(time.Since(began)))
		if g.err != nil {
			s.log.Error("cannot write", "error", g.err, "hint", "check the disk; the senders were told to repeat")
		} else if err := s.high.write(g.mark); err != nil {
			s.log.Error(err.Error())
		}
		if now := s.opts.Now(); now.Sub(synced) >= time.Second {
			synced = now
			if err := s.high.sync(); err != nil {
				s.log.Error("cannot sync the high-water file", "error", err)
			}
		}
		if g.err == nil {
			s.feeds.show(g.told)
			if g.rewatched {
				s.watches.change()
			}
		}
		for _, r := range g.requests {
			if g.err != nil {
				r.err = errors.Join(r.err, g.err)
				takeBack(r.hits)
			}
			s.note(r)
			r.done <- struct{}{}
		}
		if err := g.batch.Close(); err != nil {
			s.log.Error("cannot release a batch", "error", err)
		}
	}
}

// takeBack undoes the outcomes of a group that failed, so that a sender who
// repeats the same hits is not told that they are stored.
func takeBack(hits []spoor.Hit) {
	for i := range hits {
		h := &hits[i]
		ours := h.Reason == "" || h.Reason == spoor.ReasonClosed || h.Reason == spoor.ReasonNobody || h.Reason == spoor.ReasonErased || h.Reason == spoor.ReasonObject
		if h.Outcome != spoor.Refused || ours {
			h.Outcome, h.Reason = spoor.Pending, ""
		}
	}
}

// note counts the outcomes of a request and shows stored hits to whoever
// watches, before the caller gets its hits back.
func (s *Store) note(r *request) {
	if r.err != nil {
		return
	}
	for i := range r.hits {
		switch r.hits[i].Outcome {
		case spoor.Stored:
			if r.hits[i].MobileDrop != "" {
				continue // done, and not kept
			}
			s.stats.hits.Add(1)
			s.tails.show(&r.hits[i])
			s.recent.show(&r.hits[i])
		case spoor.Duplicate:
			s.stats.duplicates.Add(1)
		case spoor.Refused:
			s.stats.refused.Add(1)
		}
	}
}

// load is a portion of what the filters must know.
type load struct {
	event  bool // of event ids; else of identifiers
	week   uint32
	hashes []hash
	last   bool
}

// loadFilters reads the keys that the filters stand for, and sends them to the
// writer in portions.
func loadFilters(db *pebble.DB, week uint32, out chan<- load, stop <-chan struct{}, log *slog.Logger) {
	defer close(out)
	errStop := errors.New("stopped")
	send := func(l load) error {
		select {
		case out <- l:
			return nil
		case <-stop:
			return errStop
		}
	}
	read := func(prefix byte, hashAt int, event bool) error {
		l := load{event: event}
		err := scan(db, []byte{prefix}, func(key, _ []byte) error {
			if len(key) < hashAt+16 {
				return nil
			}
			var w uint32
			if event {
				if w = be32(key[5:]); w+loadedWeeks < week {
					return nil
				}
			}
			if len(l.hashes) >= 4096 || len(l.hashes) > 0 && w != l.week {
				if err := send(l); err != nil {
					return err
				}
				l.hashes = nil
			}
			l.week = w
			l.hashes = append(l.hashes, hash(key[hashAt:hashAt+16]))
			return nil
		})
		if err == nil && len(l.hashes) > 0 {
			err = send(l)
		}
		return err
	}
	err := read(prefixIdent, 6, false)
	if err == nil {
		err = read(prefixEvent, 9, true)
	}
	if err == nil {
		err = send(load{last: true, week: week})
	}
	if err != nil && !errors.Is(err, errStop) {
		log.Error("cannot load the filters; writing goes on, slower", "error", err)
	}
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func be64(b []byte) uint64 { return uint64(be32(b))<<32 | uint64(be32(b[4:])) }

// fatal ends the process; see pebbleLog.Fatalf.
var fatal = func() { os.Exit(1) }

func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && strings.Contains(err.Error(), "LOCK") ||
		strings.Contains(err.Error(), "lock held by current process") || strings.Contains(err.Error(), "resource temporarily unavailable")
}
