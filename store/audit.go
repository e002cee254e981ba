package store

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// The audit log of an app is a chain: the sum of an entry covers the sum of the
// one before, its own key and its fields. A record beside the entries says
// where the chain begins, after what was too old to keep, and where it ends, so
// that entries missing at either end are noticed. Whoever can write the files
// and knows this can make a whole new chain; only a number and sum that were
// noted elsewhere shows that.

// sum is what chains an entry to all before it.
type sum [sha256.Size]byte

// next is the sum of an entry; fields are its value in front of the sum.
func (s sum) next(key, fields []byte) (n sum) {
	h := sha256.New()
	h.Write(s[:])
	h.Write(key)
	h.Write(fields)
	h.Sum(n[:0])
	return n
}

// link is an entry by number and sum.
type link struct {
	number uint64
	sum    sum
}

// chain is where an audit log stands.
type chain struct {
	removed link // the newest that retention removed; zero: none
	newest  link
}

const (
	chainRemoved protowire.Number = iota + 1
	chainRemovedSum
	chainNewest
	chainNewestSum
)

func (c *chain) appendTo(dst []byte) []byte {
	dst = putUint(appendHeader(dst), chainRemoved, c.removed.number)
	dst = putBytes(dst, chainRemovedSum, c.removed.sum[:])
	dst = putUint(dst, chainNewest, c.newest.number)
	return putBytes(dst, chainNewestSum, c.newest.sum[:])
}

// readChain reads where an audit log stands; found is false if nothing readable
// says so.
func readChain(db pebble.Reader, app spoor.AppID) (c chain, found bool, err error) {
	err = get(db, auditKey(nil, app, 0), func(value []byte) error {
		found = true
		return fields(value, func(tag protowire.Number, num uint64, b []byte) error {
			switch tag {
			case chainRemoved:
				c.removed.number = num
			case chainRemovedSum:
				copy(c.removed.sum[:], b)
			case chainNewest:
				c.newest.number = num
			case chainNewestSum:
				copy(c.newest.sum[:], b)
			}
			return nil
		})
	})
	if errors.Is(err, errValue) {
		return chain{}, false, nil
	}
	return c, found, err
}

const (
	auditAt protowire.Number = iota + 1
	auditActor
	auditRole
	auditAction
	auditSubjects
	auditRef
	auditComplete
	auditApp // these two where the entry does not stand with its app
	auditAppName
	auditSum // always the last field
)

// sumBytes is what the last field takes: tag, length, sum.
const sumBytes = 2 + sha256.Size

func appendAccess(dst []byte, a *spoor.Access, under spoor.AppID) []byte {
	dst = putInt(appendHeader(dst), auditAt, a.At)
	dst = putString(dst, auditActor, a.Actor)
	dst = putString(dst, auditRole, string(a.Role))
	dst = putString(dst, auditAction, a.Action)
	dst = putInt(dst, auditSubjects, int64(a.Subjects))
	dst = putString(dst, auditRef, a.Ref)
	dst = putBool(dst, auditComplete, a.Complete)
	if a.App == under {
		return dst
	}
	dst = putUint(dst, auditApp, uint64(a.App))
	return putString(dst, auditAppName, a.AppName)
}

// readAccess reads an entry; covered is what its sum is over.
func readAccess(key, value []byte) (e spoor.AuditEntry, covered []byte, err error) {
	if len(key) != auditKeyBytes || len(value) < headerBytes+sumBytes {
		return e, nil, errValue
	}
	e.App, e.Number = spoor.AppID(be32(key[1:])), be64(key[5:])
	summed := false
	err = fields(value, func(tag protowire.Number, num uint64, b []byte) error {
		switch tag {
		case auditAt:
			e.At = zigzag(num)
		case auditActor:
			e.Actor = string(b)
		case auditRole:
			e.Role = spoor.Role(b)
		case auditAction:
			e.Action = string(b)
		case auditSubjects:
			e.Subjects = int(zigzag(num))
		case auditRef:
			e.Ref = string(b)
		case auditComplete:
			e.Complete = num != 0
		case auditApp:
			e.App = spoor.AppID(num)
		case auditAppName:
			e.AppName = string(b)
		case auditSum:
			summed = copy(e.Sum[:], b) == len(e.Sum)
		}
		return nil
	})
	if err == nil && !summed {
		err = errValue
	}
	return e, value[:len(value)-sumBytes], err
}

// Audit adds an entry to the audit log of its app, or to that of app 0 if there
// is no such app (any more), and returns once it is on disk.
func (s *Store) Audit(a spoor.Access) error {
	r := requests.Get().(*request)
	// No weight: as many wait as there are readers, and a queue full of hits is
	// no reason to lose an entry.
	r.hits, r.do, r.alone, r.bytes, r.err = nil, func(g *group) error { return g.audit(&a) }, false, 0, nil
	return s.submit(r, false)
}

func (g *group) audit(a *spoor.Access) error {
	id := a.App
	if g.w.s.App(id) == nil {
		id = 0
	}
	c, err := g.chain(id)
	if err != nil {
		return err
	}
	key := auditKey(nil, id, c.newest.number+1)
	value := appendAccess(nil, a, id)
	c.newest = link{c.newest.number + 1, c.newest.sum.next(key, value)}
	g.set(key, putBytes(value, auditSum, c.newest.sum[:]))
	return nil
}

// chain gives an audit log for this group to change.
func (g *group) chain(id spoor.AppID) (*chain, error) {
	c := g.w.chains[id]
	if c == nil {
		var err error
		if c, err = loadChain(g.w.db, id); err != nil {
			return nil, fmt.Errorf("cannot load the audit log of app %d: %w", id, err)
		}
		if g.w.chains == nil {
			g.w.chains = map[spoor.AppID]*chain{}
		}
		g.w.chains[id] = c
	}
	if g.chains == nil {
		g.chains = map[spoor.AppID]*chain{}
	}
	g.chains[id] = c
	return c, nil
}

// loadChain reads where the next entry goes: never over one that is there. Where
// somebody took the record of the ends away, a number is left out, so that this
// stays visible.
func loadChain(db pebble.Reader, id spoor.AppID) (*chain, error) {
	c, _, err := readChain(db, id)
	if err != nil {
		return nil, err
	}
	prefix := key1(nil, prefixAudit, id)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: auditKey(nil, id, c.newest.number+1), UpperBound: after(prefix)})
	if err != nil {
		return nil, err
	}
	if it.Last() && len(it.Key()) == auditKeyBytes {
		c.newest = link{number: be64(it.Key()[5:]) + 1}
	}
	return &c, it.Close()
}

// flushChains writes how far the logs go to which this group added.
func (g *group) flushChains() {
	for id, c := range g.chains {
		g.set(auditKey(nil, id, 0), c.appendTo(nil))
	}
	clear(g.chains)
}

// AuditEntries calls fn with the entries of an app's audit log (of app 0: what is
// about none) that were made at or after an instant, in Unix ms, oldest first,
// and verifies the whole chain. It reads the state of one moment. An error of fn
// ends it and is returned.
func (s *Store) AuditEntries(app spoor.AppID, since int64, fn func(*spoor.AuditEntry) error) (end spoor.AuditEnd, err error) {
	err = s.still(func(db pebble.Reader) error {
		c, err := walkAudit(db, app, func(e *spoor.AuditEntry) error {
			if e.At < since {
				return nil
			}
			return fn(e)
		}, func(what string) {
			if end.Broken == "" {
				end.Broken = what
			}
		})
		end.Newest, end.Sum = c.newest.number, c.newest.sum
		return err
	})
	return end, err
}

// walkAudit calls fn with all entries of an audit log that can be read, in order,
// and bad with everything that does not fit.
func walkAudit(db pebble.Reader, app spoor.AppID, fn func(*spoor.AuditEntry) error, bad func(what string)) (chain, error) {
	c, found, err := readChain(db, app)
	if err != nil {
		return c, err
	}
	at, known := c.removed, true // the entry before, and whether its sum is
	err = scanSpan(db, auditKey(nil, app, 1), after(key1(nil, prefixAudit, app)), func(key, value []byte) error {
		e, covered, err := readAccess(key, value)
		if err != nil {
			if len(key) == auditKeyBytes {
				at.number = be64(key[5:])
			}
			known = false
			bad(fmt.Sprintf("entry %d cannot be read: %v", at.number, err))
			return nil
		}
		switch {
		case e.Number <= at.number:
			bad(fmt.Sprintf("entry %d had been removed and is there again", e.Number))
			return fn(&e)
		case e.Number > at.number+1:
			bad(missingEntries(at.number+1, e.Number-1))
		case known && at.sum.next(key, covered) != sum(e.Sum):
			bad(fmt.Sprintf("entry %d does not fit its sum: it or the one before was changed", e.Number))
		}
		at, known = link{e.Number, e.Sum}, true
		return fn(&e)
	})
	switch {
	case err != nil:
	case !found && at.number > 0:
		bad("the record of where it ends is missing or cannot be read")
	case at.number < c.newest.number:
		bad(missingEntries(at.number+1, c.newest.number))
	case at.number > c.newest.number:
		bad(fmt.Sprintf("entry %d is newer than the newest that was written", at.number))
	case known && at.sum != c.newest.sum:
		bad(fmt.Sprintf("entry %d is not the newest that was written: it was changed", at.number))
	}
	return c, err
}

func missingEntries(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("entry %d is missing", from)
	}
	return fmt.Sprintf("entries %d to %d are missing", from, to)
}

// TrimAudit removes the entries of an app's audit log that were made before an
// instant, in Unix ms, and remembers the sum of the last of them, so that the
// chain can be verified from there. A log that is broken is kept as it is.
func (s *Store) TrimAudit(app spoor.AppID, before int64) (removed int64, err error) {
	var last link
	broken := ""
	err = s.still(func(db pebble.Reader) error {
		_, err := walkAudit(db, app, func(e *spoor.AuditEntry) error {
			if e.At >= before {
				return errSome
			}
			last = link{e.Number, e.Sum}
			return nil
		}, func(what string) { broken = what })
		return err
	})
	if err != nil && !errors.Is(err, errSome) {
		return 0, err
	}
	if last.number == 0 {
		return 0, nil
	}
	if broken != "" {
		return 0, fmt.Errorf("cannot remove old entries of the audit log of app %d: %s; it is kept whole, compare it with a backup", app, broken)
	}
	err = s.bulk(func(g *group) error {
		if app != 0 && g.w.s.App(app) == nil { // deleted meanwhile
			return nil
		}
		c, err := g.chain(app)
		if err != nil || last.number <= c.removed.number {
			return err
		}
		removed = int64(last.number - c.removed.number)
		c.removed = last
		if err := g.batch.DeleteRange(auditKey(nil, app, 1), auditKey(nil, app, last.number+1), nil); err != nil {
			g.err = err // the writer then reads again what the store holds
		}
		return g.err
	})
	return removed, err
}

// checkAudits verifies the audit logs of all apps, of app 0, and looks for some
// of apps that do not exist.
func (s *Store) checkAudits(db pebble.Reader, r *Report) error {
	names := map[spoor.AppID]string{}
	for _, app := range append([]*spoor.App{{Name: "none"}}, s.AllApps()...) {
		names[app.ID] = app.Name
		_, err := walkAudit(db, app.ID, func(*spoor.AuditEntry) error {
			r.count(&r.Entries)
			return nil
		}, func(what string) { r.problem("audit log of app %s: %s", app.Name, what) })
		if err != nil {
			return fmt.Errorf("cannot check the audit log of app %s: %w", app.Name, err)
		}
	}
	strays := map[spoor.AppID]bool{}
	return scan(db, []byte{prefixAudit}, func(key, _ []byte) error {
		if len(key) < auditKeyBytes {
			r.problem("a key of %d bytes stands among the audit logs", len(key))
		} else if id := spoor.AppID(be32(key[1:])); names[id] == "" && !strays[id] {
			strays[id] = true
			r.problem("there is an audit log of app %d, which does not exist", id)
		}
		return nil
	})
}
