package query

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	entriesMax = 100 // write keys, and tokens, of one app
	labelMax   = 100 // bytes of a label or a token's name
)

var (
	writeKeyForm = regexp.MustCompile(`^[A-Za-z0-9_-]{4,128}$`)
)

// readJSON reads the body into a struct. An empty body is an empty object.
func (c *call) readJSON(into any) error {
	body, err := c.body()
	if err != nil || len(body) == 0 {
		return err
	}
	fields, err := members(body) // strict where encoding/json is not
	if err != nil {
		return err
	}
	for _, f := range fields {
		if depth(f.value) > depthMax {
			return fieldError(f.name, "Nested too deep.")
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err = dec.Decode(into)
	var wrong *json.UnmarshalTypeError
	switch unknown := "json: unknown field "; {
	case errors.As(err, &wrong):
		return fieldError(strings.ToLower(wrong.Field), "It has the wrong type.") // Go names what it has no tag for
	case err != nil && strings.HasPrefix(err.Error(), unknown):
		name, _ := strconv.Unquote(strings.TrimPrefix(err.Error(), unknown))
		return fieldError(cut(name, 100), "There is no such field here.")
	case err != nil:
		return detail(fasthttp.StatusBadRequest, "A field of the body has the wrong type.")
	}
	return nil
}

// writeApp appends an app without the hashes of its tokens; of one that another node
// has, whose URL is given, neither tokens nor secrets are known here.
func writeApp(w *jsonWriter, a *spoor.App, node *string) {
	w.begin('{')
	w.int("id", int64(a.ID))
	w.text("name", a.Name)
	w.time("created", a.Created)
	w.bool("closed", a.Closed)
	w.time("ends", a.End())
	if node == nil {
		w.textOrNull("webhook_secret", a.WebhookSecret)
		w.textOrNull("link_secret", a.LinkSecret)
	}
	w.bool("demo", a.Demo)
	w.bool("shared", a.Share != "")
	w.key("keys")
	w.begin('[')
	for i := range a.Keys {
		writeKey(w, &a.Keys[i])
	}
	w.end(']')
	if node == nil {
		writeTokens(w, a.Tokens)
	} else {
		w.textOrNull("node", *node)
	}
	w.key("settings")
	w.begin('{')
	for _, d := range spoor.SettingsTable {
		w.text(d.Name, d.Get(&a.Settings))
	}
	w.end('}')
	w.end('}')
}

func writeTokens(w *jsonWriter, tokens []spoor.Token) {
	w.key("tokens")
	w.begin('[')
	for i := range tokens {
		w.begin('{')
		writeToken(w, &tokens[i])
		w.end('}')
	}
	w.end(']')
}

func writeKey(w *jsonWriter, k *spoor.WriteKey) {
	w.begin('{')
	w.text("key", k.Key)
	w.text("label", k.Label)
	w.time("created", k.Created)
	w.time("expires", k.Expires)
	w.end('}')
}

func writeToken(w *jsonWriter, t *spoor.Token) {
	w.text("name", t.Name)
	w.text("role", string(t.Role))
	w.time("created", t.Created)
	w.time("expires", t.Expires)
}

func (c *call) replyApp(status int, a *spoor.App) error {
	var w jsonWriter
	writeApp(&w, a, nil)
	return c.reply(status, &w)
}

func (c *call) listApps() error {
	var w jsonWriter
	w.begin('[')
	for _, a := range c.s.allApps() {
		writeApp(&w, a.App, a.node)
	}
	w.end(']')
	return c.reply(fasthttp.StatusOK, &w)
}

// listed is an app of the list of all.
type listed struct {
	*spoor.App
	node *string // URL of the node that has it, empty if none is alive; nil: this one
}

// allApps lists the apps by number, with those that other nodes have: these are
// known here, so no node that is away hides its apps.
func (s *Server) allApps() (list []listed) {
	for _, a := range s.opt.Apps.AllApps() {
		list = append(list, listed{App: a})
	}
	if s.opt.Nodes == nil {
		return list
	}
	for _, a := range s.opt.Nodes.Apps() {
		url, _ := s.opt.Nodes.Of(a.Name)
		list = append(list, listed{a, &url})
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (c *call) readApp() error { return c.replyApp(fasthttp.StatusOK, c.app) }

// newApp reads {"name","timezone","settings"}; the new app has one write key.
func (c *call) newApp() (*spoor.App, error) {
	var in struct {
		Name, Timezone string
		Settings       map[string]scalar
	}
	if err := c.readJSON(&in); err != nil {
		return nil, err
	}
	var errs fieldErrors
	if !spoor.ValidAppName(in.Name) {
		errs.add("name", "Use 1 to 63 of a-z, 0-9 and -, with no - at the ends.")
	} else if !c.applied && c.s.nameTaken(in.Name) {
		errs.add("name", "Another app has this name.")
	}
	if in.Timezone == "" {
		in.Timezone = "UTC"
	}
	settings := spoor.DefaultSettings("UTC")
	zone, err := spoor.SettingByName("timezone")
	if err != nil {
		return nil, err
	}
	// The zero time: a new app has no days yet, so it begins in its zone.
	if err := zone.Set(&settings, in.Timezone, time.Time{}); err != nil {
		errs.add("timezone", "Give an IANA name such as Europe/Warsaw.")
	}
	if err := applySettings(&settings, in.Settings, c.now); err != nil {
		return nil, err
	}
	if err := errs.err(); err != nil {
		return nil, err
	}
	now := c.now.UnixMilli()
	fresh := &spoor.App{
		ID: c.number, Name: in.Name, Created: now, Settings: settings,
		Keys: []spoor.WriteKey{{Key: c.secret(24), Label: "first", Created: now}},
	}
	if err := c.checkFeed(fresh, in.Settings); err != nil {
		return nil, err
	}
	c.signWebhooks(fresh)
	return fresh, nil
}

func (c *call) createApp() error {
	fresh, err := c.newApp()
	if err != nil {
		return err
	}
	app, err := c.store.CreateApp(fresh)
	if errors.Is(err, spoor.ErrNameTaken) { // between the look above and now
		return fieldError("name", "Another app has this name.")
	}
	if err != nil {
		return err
	}
	c.app, c.changed = app, true
	return c.replyApp(fasthttp.StatusCreated, app)
}

// secret is n random bytes as base64url. It does not begin with a dash: on a
// command line it would pass for a flag.
func (c *call) secret(n int) string {
	b := make([]byte, n)
	for {
		if _, err := io.ReadFull(c.random, b); err != nil {
			panic(fmt.Sprint("cannot draw a secret: ", err)) // no such stream ends
		}
		if text := base64.RawURLEncoding.EncodeToString(b); text[0] != '-' {
			return text
		}
	}
}

// change edits the app in the store.
func (c *call) change(edit func(*spoor.App) error) error {
	app, err := c.store.UpdateApp(c.app.ID, edit)
	if err == nil {
		c.app, c.changed = app, true
	}
	return err
}

// updateApp takes {"settings":{"name":"value"},"closed":bool,"ends":time}; all of
// it or nothing is done. An app that ends takes no data any more; an empty time
// takes that back.
func (c *call) updateApp() error {
	var in struct {
		Settings map[string]scalar
		Closed   *bool
		Ends     *string
		EndsIn   string `json:"ends_in"` // such as 72h, by the server's clock
	}
	if err := c.readJSON(&in); err != nil {
		return err
	}
	var ends int64
	if in.EndsIn != "" {
		after, err := time.ParseDuration(in.EndsIn)
		if err != nil || after <= 0 {
			return fieldError("ends_in", "Give a time such as 72h.")
		}
		at := c.now.Add(after).UTC().Format(time.RFC3339)
		in.Ends = &at
	}
	if in.Ends != nil && *in.Ends != "" {
		var errs fieldErrors
		ends = c.expiry(*in.Ends, &errs)
		if err := errs.err(); err != nil {
			return fieldError("ends", "Give a time in the future, such as 2027-01-01T00:00:00Z.")
		}
	}
	if ends > c.now.Add(endsWithin).UnixMilli() {
		return fieldError("ends", "All data of a terminated app is gone after 30 days; give an earlier time.")
	}
	err := c.change(func(a *spoor.App) error {
		if in.Ends != nil {
			a.Ends, a.EndAsked, a.Closed = ends, 0, ends != 0
			if ends != 0 {
				a.EndAsked = c.now.UnixMilli()
			}
		}
		if err := applySettings(&a.Settings, in.Settings, c.now); err != nil {
			return err
		}
		if err := c.checkFeed(a, in.Settings); err != nil {
			return err
		}
		if in.Closed != nil {
			a.Closed = *in.Closed
		}
		c.signWebhooks(a)
		return nil
	})
	if err != nil {
		return err
	}
	return c.replyApp(fasthttp.StatusOK, c.app)
}

// signWebhooks gives an app that has a webhook the secret for its signatures.
func (c *call) signWebhooks(a *spoor.App) {
	if s := &a.Settings; a.WebhookSecret == "" && (s.Webhook != "" || s.FeedWebhook != "") {
		a.WebhookSecret = c.secret(32)
	}
}

// endsWithin is how long the data of a terminated app may stay.
const endsWithin = 30*24*time.Hour + time.Minute

// scalar is the value of a setting: a text, or a number or truth value as text.
type scalar string

// UnmarshalJSON takes any value that is no list and no object.
func (s *scalar) UnmarshalJSON(raw []byte) error {
	switch raw[0] {
	case '"':
		return json.Unmarshal(raw, (*string)(s))
	case '{', '[', 'n':
		return &json.UnmarshalTypeError{Value: "list or object", Field: "settings"}
	}
	*s = scalar(raw)
	return nil
}

// applySettings sets in the table's order, so that the result does not depend
// on that of a map.
func applySettings(s *spoor.Settings, values map[string]scalar, now time.Time) error {
	var errs fieldErrors
	for name := range values {
		if _, err := spoor.SettingByName(name); err != nil {
			errs.add(name, cut(err.Error(), 1000))
		}
	}
	for _, d := range spoor.SettingsTable {
		value, given := values[d.Name]
		if !given {
			continue
		}
		if err := d.Set(s, string(value), now); err != nil {
			errs.add(d.Name, cut(err.Error(), 1000))
		}
	}
	return errs.err()
}

// deleteApp asks for the name a second time, since nothing brings it back.
func (c *call) deleteApp() error {
	confirm, err := c.query("confirm")
	if err != nil {
		return err
	}
	if confirm != c.app.Name {
		return fieldError("confirm", "This deletes the app with all its data. Repeat it with ?confirm= and the app's name.")
	}
	if err := c.store.DeleteApp(c.app.ID); err != nil {
		return err
	}
	c.changed = true
	c.s.limits.forget(c.app.ID)
	c.s.shareLimits.forget(c.app.ID)
	wait, err := c.query("wait")
	if err == nil && wait == "true" {
		return c.finish(func(c *call) error {
			c.ctx.SetStatusCode(fasthttp.StatusNoContent)
			_, err := c.retention.Reclaim(c.life, false)
			return err
		})
	}
	if err != nil {
		return err
	}
	c.retention.Hurry()
	c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// expiry checks an optional RFC 3339 time in the future.
func (c *call) expiry(text string, errs *fieldErrors) int64 {
	if text == "" {
		return 0
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !t.After(c.now) {
		errs.add("expires", "Write a time in the future, such as 2030-01-31T00:00:00Z.")
	}
	return t.UnixMilli()
}

// createKey takes {"label","expires","key"}; key brings one that already
// stands in pages.
func (c *call) createKey() error {
	var in struct{ Key, Label, Expires string }
	if err := c.readJSON(&in); err != nil {
		return err
	}
	var errs fieldErrors
	expires := c.expiry(in.Expires, &errs)
	if len(in.Label) > labelMax {
		errs.add("label", "It is longer than 100 bytes.")
	}
	if in.Key == "" {
		in.Key = c.secret(24)
	} else if !writeKeyForm.MatchString(in.Key) {
		errs.add("key", "Use 4 to 128 of A-Z, a-z, 0-9, - and _.")
	} else if !c.applied && c.s.keyTaken(in.Key) {
		errs.add("key", "This key is in use.")
	}
	if err := errs.err(); err != nil {
		return err
	}
	key := spoor.WriteKey{Key: in.Key, Label: in.Label, Created: c.now.UnixMilli(), Expires: expires}
	err := c.change(func(a *spoor.App) error {
		if len(a.Keys) >= entriesMax {
			return fieldError("key", "The app has 100 keys; delete one first.")
		}
		if slices.ContainsFunc(a.Keys, func(k spoor.WriteKey) bool { return k.Key == key.Key }) {
			return fieldError("key", "This key is in use.")
		}
		a.Keys = append(a.Keys, key)
		return nil
	})
	if err != nil {
		return err
	}
	var w jsonWriter
	writeKey(&w, &key)
	return c.reply(fasthttp.StatusCreated, &w)
}

// nameTaken reports whether an app has a name, here or on another node.
func (s *Server) nameTaken(name string) bool {
	if s.opt.Apps.AppByName(name) != nil {
		return true
	}
	if s.opt.Nodes == nil {
		return false
	}
	_, elsewhere := s.opt.Nodes.Of(name)
	return elsewhere
}

// keyTaken reports whether an app has a write key, here or on another node.
func (s *Server) keyTaken(key string) bool {
	return s.opt.Apps.AppByKey(key) != nil || s.opt.Nodes != nil && s.opt.Nodes.HasKey(key)
}

// foreseeKey checks a new write key before it is put into the log: while the
// command is applied other apps may stand elsewhere on each node.
func (c *call) foreseeKey(body []byte) error {
	var in struct{ Key string }
	if c.route.action != "apps.keys.create" || json.Unmarshal(body, &in) != nil {
		return nil // who applies it says what is wrong
	}
	if in.Key != "" && c.s.keyTaken(in.Key) {
		return fieldError("key", "This key is in use.")
	}
	return nil
}

func (c *call) deleteKey() error {
	err := c.change(func(a *spoor.App) error {
		before := len(a.Keys)
		a.Keys = slices.DeleteFunc(a.Keys, func(k spoor.WriteKey) bool { return k.Key == c.args[1] })
		if len(a.Keys) == before {
			return errNotFound
		}
		return nil
	})
	if err == nil {
		c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
	return err
}

// createToken takes {"name","role","expires"} and shows the secret, this once:
// only its hash is kept.
func (c *call) createToken() error {
	var in struct{ Name, Role, Expires string }
	if err := c.readJSON(&in); err != nil {
		return err
	}
	var errs fieldErrors
	expires := c.expiry(in.Expires, &errs)
	role := spoor.Role(in.Role)
	if in.Name == "" || len(in.Name) > labelMax || !plainText(in.Name) {
		errs.add("name", "Give the token a name of at most 100 bytes; it stands in the audit log.")
	} else if ownActor(in.Name) {
		errs.add("name", "In the audit log this name stands for spoor's own; choose another.")
	}
	if !role.Allows(read) {
		errs.add("role", "Use read, write, erase or admin.")
	}
	if err := errs.err(); err != nil {
		return err
	}
	token := spoor.Token{Name: in.Name, Role: role, Hash: c.newSecret(), Created: c.now.UnixMilli(), Expires: expires}
	err := c.change(func(a *spoor.App) error {
		if len(a.Tokens) >= entriesMax {
			return fieldError("name", "The app has 100 tokens; delete one first.")
		}
		if slices.ContainsFunc(a.Tokens, func(t spoor.Token) bool { return t.Name == token.Name }) {
			return fieldError("name", "Another token has this name.")
		}
		a.Tokens = append(a.Tokens, token)
		return nil
	})
	if err != nil {
		return err
	}
	return c.finish(func(c *call) error {
		var w jsonWriter
		w.begin('{')
		writeToken(&w, &token)
		w.text("secret", c.once)
		w.end('}')
		return c.reply(fasthttp.StatusCreated, &w)
	})
}

func (c *call) deleteToken() error {
	err := c.change(func(a *spoor.App) error {
		before := len(a.Tokens)
		a.Tokens = slices.DeleteFunc(a.Tokens, func(t spoor.Token) bool { return t.Name == c.args[1] })
		if len(a.Tokens) == before {
			return errNotFound
		}
		return nil
	})
	if err == nil {
		c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
	return err
}
