package query

import (
	"slices"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// linkDays is how long a link works that names no end.
const linkDays = 365

// createLink signs a link for a mail: {"to","profile","key","expires"}. Without
// "to" it is one to opt out. The app's first link makes its secret.
func (c *call) createLink() error {
	var in struct{ To, Profile, Key, Expires string }
	if err := c.readJSON(&in); err != nil {
		return err
	}
	var errs fieldErrors
	expires := c.expiry(in.Expires, &errs)
	if in.Expires == "" {
		expires = c.now.AddDate(0, 0, linkDays).UnixMilli()
	}
	if in.To != "" && !spoor.LinkTarget(in.To) {
		errs.add("to", "Give an address of http or https, without user, of at most 4096 bytes.")
	}
	if !plainText(in.Profile) || in.To == "" && in.Profile == "" {
		errs.add("profile", "Give the key of the person's profile; an opt-out link needs one.")
	}
	if in.Key == "" {
		in.Key = liveKey(c.app, c.now)
	}
	if !slices.ContainsFunc(c.app.Keys, func(k spoor.WriteKey) bool { return k.Key == in.Key && spoor.Live(k.Expires, c.now) }) {
		errs.add("key", "Give a write key of the app that has not expired.")
	}
	if err := errs.err(); err != nil {
		return err
	}
	if c.app.LinkSecret == "" {
		err := c.change(func(a *spoor.App) error {
			if a.LinkSecret == "" { // else another request was faster
				a.LinkSecret = c.secret(32)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	link := spoor.Link{Key: in.Key, Target: in.To, Profile: in.Profile, Expires: expires / 1000}
	var w jsonWriter
	w.begin('{')
	w.text("path", link.Path(c.app.LinkSecret))
	w.text("key", link.Key)
	w.time("expires", expires)
	w.end('}')
	c.changed = true
	return c.reply(fasthttp.StatusCreated, &w)
}

func liveKey(app *spoor.App, now time.Time) string {
	for _, k := range app.Keys {
		if spoor.Live(k.Expires, now) {
			return k.Key
		}
	}
	return ""
}
