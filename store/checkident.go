package store

import (
	"fmt"

	"github.com/spoorhq/spoor"
	"google.golang.org/protobuf/encoding/protowire"
)

// idents makes the list of identifier keys that the profiles call for, and
// compares it with those that exist.
func (c *checker) idents() error {
	want := map[string]spoor.Number{}
	unique := func(kind spoor.Lookup, text string, n spoor.Number) {
		if text != "" {
			want[string(identKey(nil, c.app.ID, kind, c.salt.ident(kind, text)))] = n
		}
	}
	several := func(kind spoor.Lookup, text string, n spoor.Number) {
		if compared(kind, text) != "" {
			want[string(sharedIdentKey(nil, c.app.ID, kind, c.salt.ident(kind, text), n))] = n
		}
	}
	for n, p := range c.people {
		unique(spoor.LookupUserID, p.state.text(spoor.AttrUserID), n)
		for _, k := range p.state.members(spoor.LookupKey) {
			unique(spoor.LookupKey, k, n)
		}
		if p.state.public != 0 {
			unique(spoor.LookupPublic, fmt.Sprint(p.state.public), n)
		}
		several(spoor.LookupEmail, p.state.text(spoor.AttrEmail), n)
		several(spoor.LookupPhone, p.state.text(spoor.AttrPhone), n)
		for _, m := range p.state.members(spoor.LookupMobile) {
			several(spoor.LookupMobile, m, n)
		}
	}
	err := scan(c.db, key1(nil, prefixIdent, c.app.ID), func(key, value []byte) error {
		kind := spoor.Lookup(key[5])
		n, err := parseNumber(value)
		if shared(kind) {
			n = spoor.Number(be32(key[len(key)-4:]))
		}
		if err != nil {
			return err
		}
		if expect, ok := want[string(key)]; !ok && kind == spoor.LookupPublic && c.aliased.Contains(uint32(n)) {
			return nil // an imported id goes on leading to a profile that was merged
		} else if !ok {
			c.bad("an identifier of kind %d leads to profile %d, which does not have it", kind, n)
		} else if expect != n {
			c.bad("an identifier of kind %d leads to profile %d and belongs to %d", kind, n, expect)
		}
		delete(want, string(key))
		return nil
	})
	for key, n := range want {
		c.bad("profile %d has an identifier of kind %d that does not lead to it", n, key[5])
	}
	return err
}

// eventIDs checks that ids and hits point at each other.
func (c *checker) eventIDs() error {
	oldest := ^uint32(0)
	err := scan(c.db, key1(nil, prefixEvent, c.app.ID), func(key, value []byte) error {
		oldest = min(oldest, be32(key[5:]))
		at := place{app: c.app.ID, id: hash(key[9:])}
		err := fields(value, func(tag protowire.Number, num uint64, _ []byte) error {
			switch tag {
			case placeDay:
				at.day = spoor.Day(zigzag(num))
			case placeProfile:
				at.profile = spoor.Number(num)
			case placeTime:
				at.time = zigzag(num)
			}
			return nil
		})
		if err != nil {
			return err
		}
		k := hitKey(nil, at.app, at.day, at.profile, at.time, at.id)
		found := false
		err = get(c.db, k, func(value []byte) error {
			h, err := readHit(k, value)
			found = err == nil && weekOf(h.Received) == be32(key[5:])
			return err
		})
		if !found && at.profile != 0 { // it is known as seen for a while after its profile was removed
			now, err := person(c.db, c.app.ID, at.profile)
			if err != nil {
				return err
			}
			found = c.people[now] == nil
		}
		if !found && at.day <= c.sealed { // or after the hit was dropped for its age
			err := get(c.db, writerDayKey(nil, c.app.ID, at.day), func(value []byte) error {
				account, err := readAccount(value)
				found = account.dropped != 0
				return err
			})
			if err != nil {
				return err
			}
		}
		if !found {
			c.bad("an event id leads to a hit of %s that is not there", at.day)
		}
		delete(c.events, at)
		return err
	})
	if err != nil {
		return err
	}
	for at, week := range c.events {
		if week >= oldest {
			c.bad("a hit of %s has an id that is not known as seen", at.day)
		}
	}
	return nil
}
