package query

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// readEdit reads the body of a change.
func (c *call) readEdit() (*edit, error) {
	if c.app.Closed {
		return nil, errClosedApp
	}
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	fields, err := members(body)
	if err != nil {
		return nil, err
	}
	e := newEdit(fields, c.v2)
	return e, e.errs.err()
}

// ownID is what this version calls the customer's own id.
func (c *call) ownID() string {
	if c.v2 {
		return "custom_id"
	}
	return "user_id"
}

// apply makes the change and says what was left out of it.
func (c *call) apply(change *spoor.Edit, ignored []string) (*spoor.Profile, bool, error) {
	change.App, change.Door, change.At = c.app.ID, spoor.DoorREST, c.now.UnixMilli()
	n, created, err := c.store.Edit(change)
	if misfit := (*spoor.MisfitError)(nil); errors.As(err, &misfit) {
		return nil, false, fieldError(cut(misfit.Name, 128), cut(misfit.Error(), 500))
	}
	if errors.Is(err, spoor.ErrTaken) {
		return nil, false, fieldError(c.ownID(), "Another user has this id.")
	}
	if errors.Is(err, spoor.ErrNoCollection) {
		return nil, false, fieldError("list", "There is no list with this id.")
	}
	if errors.Is(err, spoor.ErrDaily) {
		return nil, false, fieldError("key", "This is a cookieless visitor, known for a day: it may be several persons, so nobody can be made of it.")
	}
	if err != nil {
		return nil, false, err
	}
	c.changed = true
	p, err := c.store.Profile(c.app.ID, n)
	if err != nil {
		return nil, false, err
	}
	if p == nil { // gone in the meantime
		return nil, false, errNotFound
	}
	c.about(p)
	if len(ignored) > 0 {
		// Names of notKept only, so they are safe in a header.
		c.ctx.Response.Header.Set("X-Spoor-Ignored", strings.Join(ignored, ", "))
	}
	return p, created, nil
}

// createUser makes a new user. With the key of a visitor who is nobody yet,
// that visitor becomes the user.
func (c *call) createUser() error {
	e, err := c.readEdit()
	if err != nil {
		return err
	}
	change := &spoor.Edit{UserID: e.userID, Attributes: e.attributes, TagAdd: e.tags, MustCreate: true}
	if e.userID != "" {
		numbers, err := c.store.Find(c.app.ID, spoor.LookupUserID, e.userID)
		if err != nil {
			return err
		}
		if len(numbers) > 0 {
			return fieldError(c.ownID(), "Another user has this id.")
		}
	}
	if err := c.claim(change, e.key); err != nil {
		return err
	}
	p, _, err := c.apply(change, e.ignored)
	if err != nil {
		return err
	}
	return c.replyUser(fasthttp.StatusCreated, p)
}

// claim gives the change a key, unless that belongs to somebody else: the key
// of a claimed profile is a shared computer, and must not make two persons one.
func (c *call) claim(change *spoor.Edit, key string) error {
	if key == "" {
		return nil
	}
	p, err := c.firstBy(spoor.LookupKey, key)
	if err != nil {
		return err
	}
	if p != nil && p.UserID != "" && p.UserID != change.UserID {
		return nil
	}
	change.Key = key
	if p != nil {
		change.MustCreate = false
	}
	return nil
}

func (c *call) updateUser() error {
	p, err := c.person()
	if err != nil {
		return err
	}
	e, err := c.readEdit()
	if err != nil {
		return err
	}
	change := &spoor.Edit{Number: p.Number, UserID: e.userID, Attributes: e.attributes, TagAdd: e.tags}
	if p, _, err = c.apply(change, append(e.ignored, keyIgnored(e)...)); err != nil {
		return err
	}
	return c.replyUser(fasthttp.StatusOK, p)
}

// keyIgnored names the key where it has no effect: on a user who exists.
func keyIgnored(e *edit) []string {
	if e.key == "" {
		return nil
	}
	return []string{"key"}
}

func (c *call) updateOrCreateUser() error {
	e, err := c.readEdit()
	if err != nil {
		return err
	}
	if e.userID == "" {
		return fieldError(c.ownID(), "This field is required.")
	}
	change := &spoor.Edit{UserID: e.userID, Attributes: e.attributes, TagAdd: e.tags}
	if err := c.claim(change, e.key); err != nil {
		return err
	}
	p, created, err := c.apply(change, e.ignored)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.bool("created", created)
	w.int("id", p.ID)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// setAttribute takes {"attribute":NAME,"value":V}.
func (c *call) setAttribute() error {
	name, value, err := c.readAttribute(true)
	if err != nil {
		return err
	}
	return c.changeAttribute(name, value)
}

// removeAttribute takes {"attribute":NAME}.
func (c *call) removeAttribute() error {
	name, _, err := c.readAttribute(false)
	if err != nil {
		return err
	}
	if name == "user_id" || name == "custom_id" {
		return fieldError("attribute", "An id can be changed, not removed.")
	}
	return c.changeAttribute(name, jsontext.Value("null"))
}

// readAttribute reads the name and value of one attribute. One known client
// serialises a tuple and says item1 and item2.
func (c *call) readAttribute(withValue bool) (name string, value jsontext.Value, err error) {
	if c.app.Closed {
		return "", nil, errClosedApp
	}
	body, err := c.body()
	if err != nil {
		return "", nil, err
	}
	fields, err := members(body)
	if err != nil {
		return "", nil, err
	}
	for _, f := range fields {
		switch f.name {
		case "attribute", "item1":
			if f.value.Kind() == '"' {
				name = unquote(f.value)
			}
		case "value", "item2":
			value = f.value
		}
	}
	var errs fieldErrors
	if name == "" {
		errs.add("attribute", "This field is required.")
	}
	if withValue && value == nil {
		errs.add("value", "This field is required.")
	}
	return name, value, errs.err()
}

func (c *call) changeAttribute(name string, value jsontext.Value) error {
	p, err := c.person()
	if err != nil {
		return err
	}
	e := newEdit([]member{{name, value}}, c.v2)
	if len(e.ignored) > 0 || e.key != "" {
		return fieldError("attribute", "This attribute cannot be set.")
	}
	if err := e.errs.err(); err != nil {
		return err
	}
	p, _, err = c.apply(&spoor.Edit{Number: p.Number, UserID: e.userID, Attributes: e.attributes, TagAdd: e.tags}, nil)
	if err != nil {
		return err
	}
	return c.replyUser(fasthttp.StatusOK, p)
}

// setAttributes takes {NAME: V, …} and answers with an empty body.
func (c *call) setAttributes() error {
	p, err := c.person()
	if err != nil {
		return err
	}
	e, err := c.readEdit()
	if err != nil {
		return err
	}
	change := &spoor.Edit{Number: p.Number, UserID: e.userID, Attributes: e.attributes, TagAdd: e.tags}
	_, _, err = c.apply(change, append(e.ignored, keyIgnored(e)...))
	return err
}
