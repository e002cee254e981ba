package query

import (
	"errors"
	"strings"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// grant sets a right of a person: {"until":"2027-01-31"}, without end where
// there is none.
func (c *call) grant(right spoor.Right) error {
	var in struct{ Until string }
	if err := c.readJSON(&in); err != nil {
		return err
	}
	until := spoor.Forever
	if in.Until != "" {
		var err error
		until, err = spoor.ParseDay(in.Until)
		if err != nil || until < c.app.Day(c.now.UnixMilli()) || right == spoor.RightObject {
			return fieldError("until", "Write the last day as YYYY-MM-DD, today or later, or leave it out; an objection has none.")
		}
	}
	return c.setRight(right, until)
}

// setRight changes a right of the person of the path, and answers with all of
// theirs.
func (c *call) setRight(right spoor.Right, until spoor.Day) error {
	if err := c.onlyQuery(); err != nil {
		return err
	}
	p, err := c.person()
	if err != nil {
		return err
	}
	if p, err = c.s.opt.Store.SetRight(c.app.ID, p.Number, right, until); err != nil {
		return err
	}
	c.changed = true
	var w jsonWriter
	w.begin('{')
	w.int("id", p.ID)
	writeRights(&w, p)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

func (c *call) restrict() error   { return c.grant(spoor.RightRestrict) }
func (c *call) unrestrict() error { return c.setRight(spoor.RightRestrict, 0) }
func (c *call) object() error     { return c.grant(spoor.RightObject) }
func (c *call) unobject() error   { return c.setRight(spoor.RightObject, 0) }
func (c *call) hold() error       { return c.grant(spoor.RightHold) }
func (c *call) unhold() error     { return c.setRight(spoor.RightHold, 0) }

// lastDay writes until when a right lasts; empty: it is not there.
func lastDay(d spoor.Day) string {
	switch d {
	case 0:
		return ""
	case spoor.Forever:
		return "forever"
	}
	return d.String()
}

func writeRights(w *jsonWriter, p *spoor.Profile) {
	w.textOrNull("restricted_until", lastDay(p.Rights.Restricted))
	w.time("objected_at", p.Rights.Objected)
	w.textOrNull("held_until", lastDay(p.Rights.Held))
}

// objection changes the objection of somebody, also of whom no profile stands:
// {"who"} is a cookie or device id, a user id, an e-mail address or a phone number.
func (c *call) objection(on bool) error {
	var in struct{ Who string }
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if in.Who == "" || !plainText(in.Who) {
		return fieldError("who", "Give a cookie or device id, a user id, an e-mail address or a phone number.")
	}
	by := []spoor.Lookup{spoor.LookupKey, spoor.LookupUserID}
	if strings.Contains(in.Who, "@") {
		by = append(by, spoor.LookupEmail)
	}
	if strings.Trim(in.Who, "+-() 0123456789") == "" {
		by = append(by, spoor.LookupPhone)
	}
	changed, err := c.s.opt.Store.Object(c.app.ID, in.Who, by, on)
	if err != nil {
		return err
	}
	until := spoor.Day(0)
	if on {
		until = spoor.Forever
	}
	for _, kind := range by { // whoever is known by it objects as a whole
		numbers, err := c.s.opt.Store.Find(c.app.ID, kind, in.Who)
		if err != nil {
			return err
		}
		for _, n := range numbers {
			p, err := c.s.opt.Store.SetRight(c.app.ID, n, spoor.RightObject, until)
			if errors.Is(err, spoor.ErrNoProfile) {
				continue // gone meanwhile
			}
			if err != nil {
				return err
			}
			c.changed, c.subject, changed = true, p.ID, true
		}
	}
	if !changed && !on {
		return errNotFound
	}
	if c.changed = c.changed || changed; changed {
		c.subjects = 1
	}
	c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

func (c *call) addObjection() error  { return c.objection(true) }
func (c *call) liftObjection() error { return c.objection(false) }
