package query

import (
	"slices"
	"strings"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// findMax bounds the answer of find.
const findMax = 50

var errFindNothing = detail(fasthttp.StatusBadRequest, "Give q: a public id, user id, e-mail address, phone number or key, all of it.")

// whom are the ways in which a text may name somebody.
func whom(text string) []spoor.Lookup {
	if strings.Contains(text, "@") {
		return []spoor.Lookup{spoor.LookupKey, spoor.LookupUserID, spoor.LookupEmail}
	}
	return []spoor.Lookup{spoor.LookupKey, spoor.LookupUserID, spoor.LookupPhone, spoor.LookupMobile}
}

// findPeople lists the profiles that a text names, exactly.
func (c *call) findPeople() error {
	if err := c.onlyQuery("q"); err != nil {
		return err
	}
	text, err := c.query("q")
	if err != nil {
		return err
	}
	if text = strings.TrimSpace(text); text == "" {
		return errFindNothing
	}
	people, err := c.peopleBy(text)
	if err != nil {
		return err
	}
	for _, p := range people {
		c.about(p)
	}
	if len(people) > 1 {
		c.subjects, c.subject = len(people), 0
	}
	var w jsonWriter
	w.begin('{')
	w.key("people")
	w.begin('[')
	for _, p := range people {
		w.begin('{')
		w.int("id", p.ID)
		w.text("name", displayName(p))
		w.textOrNull("email", p.Text(spoor.AttrEmail))
		w.textOrNull("user_id", p.UserID)
		w.time("last_seen", p.LastSeen)
		w.end('}')
	}
	w.end(']')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// peopleBy reads whom a text names, each once.
func (c *call) peopleBy(text string) (people []*spoor.Profile, err error) {
	add := func(p *spoor.Profile, err error) error {
		if err == nil && p != nil && !slices.ContainsFunc(people, func(q *spoor.Profile) bool { return q.Number == p.Number }) {
			people = append(people, p)
		}
		return err
	}
	if id, numeric := publicID(text); numeric {
		if err := add(c.store.ProfileByID(c.app.ID, id)); err != nil {
			return nil, err
		}
	}
	for _, by := range whom(text) {
		numbers, err := c.store.Find(c.app.ID, by, text)
		if err != nil {
			return nil, err
		}
		for _, n := range numbers {
			if len(people) == findMax {
				return people, nil
			}
			if err := add(c.store.Profile(c.app.ID, n)); err != nil {
				return nil, err
			}
		}
	}
	return people, nil
}
