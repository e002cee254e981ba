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
	if p, err = c.store.SetRight(c.app.ID, p.Number, right, until); err != nil {
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
	changed, subject, err := object(c.store, c.app, in.Who, by, on)
	if c.subject = subject; changed {
		c.changed, c.subjects = true, 1
	}
	if err != nil {
		return err
	}
	if !changed && !on {
		return errNotFound
	}
	c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// object changes an objection, and tells whether it did, also where it failed
// half-way, and the public id of the last profile that it concerns.
func object(st Store, app *spoor.App, who string, by []spoor.Lookup, on bool) (changed bool, subject int64, err error) {
	changed, err = st.Object(app.ID, who, by, on)
	if err != nil {
		return changed, 0, err
	}
	until := spoor.Day(0)
	if on {
		until = spoor.Forever
	}
	for _, kind := range by { // whoever is known by it objects as a whole
		numbers, err := st.Find(app.ID, kind, who)
		if err != nil {
			return changed, subject, err
		}
		for _, n := range numbers {
			p, err := st.SetRight(app.ID, n, spoor.RightObject, until)
			if errors.Is(err, spoor.ErrNoProfile) {
				continue // gone meanwhile
			}
			if err != nil {
				return changed, subject, err
			}
			changed, subject = true, p.ID
		}
	}
	return changed, subject, nil
}

// Object makes the person with a profile key object, who followed a signed
// link. It returns once that and its entry in the audit log are on disk.
func (s *Server) Object(app *spoor.App, key string) error {
	changed, subject, err := object(s.opt.Store, app, key, []spoor.Lookup{spoor.LookupKey}, true)
	if changed {
		s.enter(s.opt.Store, spoor.Access{
			At: s.opt.Now().UnixMilli(), Actor: spoor.ActorPerson, App: app.ID, AppName: app.Name, Action: "objections.add",
			Subjects: 1, Ref: s.reference(app.ID, subject), Complete: err == nil,
		})
	}
	return err
}

func (c *call) addObjection() error  { return c.objection(true) }
func (c *call) liftObjection() error { return c.objection(false) }
