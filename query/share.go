package query

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// A shared overview is open to whoever has its link, without a login: the page,
// and of the API what sharedPatterns names. All else does not exist there.

// sharedPatterns are the routes below /share/TOKEN/. They read no personal data.
var sharedPatterns = []string{sessionPath, "/api/stats/", "/api/stats/top/", "/api/stats/goals/"}

const (
	sharePerMinute = 600 // requests to the API of one app's shared overview
	shareRareMax   = 4   // visitors of a text that is not told one by one, as on sealed days
)

var (
	errShareQuery = detail(fasthttp.StatusForbidden, "A shared overview shows whole days of whole dimensions: it takes metric, interval, from, to, compare, dimension and limit, and no properties.")
	errNoShare    = detail(fasthttp.StatusNotFound, "The app has no shared overview.")
)

// enterShare finds the app of a link; rest is the path below it.
func (c *call) enterShare(path string) (rest string, ok bool) {
	token, rest, slash := strings.Cut(strings.TrimPrefix(path, sharePrefix), "/")
	app := c.store.AppByShare(token)
	c.who = actor{name: "shared overview", role: read, app: app}
	if app == nil && c.s.opt.Nodes != nil {
		if app = c.s.opt.Nodes.AppByShare(token); app != nil {
			c.who.elsewhere = app.Name
		}
	}
	if app == nil {
		return "", false
	}
	c.place = sharePrefix + token
	if !slash {
		return "", true
	}
	return "/" + rest, true
}

// shareable refuses what a shared overview does not tell, though its routes would:
// properties, and what a filter leaves of the numbers. By filters rare texts could
// be spelled out letter by letter; and most of them read hits, which who has only
// a link shall not set to work.
func (c *call) shareable() error {
	for name, value := range c.ctx.QueryArgs().All() {
		switch string(name) {
		case "metric", "interval", "from", "to", "compare", "limit":
		case "dimension":
			if strings.HasPrefix(string(value), spoor.DimProperty.String()) {
				return errShareQuery
			}
		default:
			return errShareQuery
		}
	}
	return nil
}

// tally is how a table counts one text.
type tally struct {
	Visitors int64 `json:"visitors"`
	Count    int64 `json:"count"`
}

// hideRare moves the rows of few visitors of a table into its other ones: open
// days still hold texts that sealing folds.
func (c *call) hideRare() error {
	type row struct {
		Value string `json:"value"`
		tally
	}
	var table struct {
		Dimension string `json:"dimension"`
		From      string `json:"from,omitempty"`
		To        string `json:"to,omitempty"`
		Rows      []row  `json:"rows"`
		Other     tally  `json:"other"`
		Texts     int64  `json:"texts"`
	}
	if err := json.Unmarshal(c.ctx.Response.Body(), &table); err != nil {
		return fmt.Errorf("cannot read a table for a shared overview: %w", err)
	}
	if table.Dimension == spoor.DimHour.String() {
		return nil
	}
	kept := []row{}
	for _, r := range table.Rows {
		if r.Visitors > shareRareMax {
			kept = append(kept, r)
			continue
		}
		table.Other.Visitors += r.Visitors
		table.Other.Count += r.Count
	}
	table.Rows = kept
	body, err := json.Marshal(&table)
	if err != nil {
		return err
	}
	c.ctx.Response.SetBodyRaw(body)
	return nil
}

// createShare makes the link of an app's overview. One that there was ends.
func (c *call) createShare() error {
	hash := c.newSecret()
	err := c.change(func(a *spoor.App) error {
		a.Share = hash
		return nil
	})
	if err != nil {
		return err
	}
	return c.finish(func(c *call) error {
		var w jsonWriter
		w.begin('{')
		w.text("path", sharePrefix+c.once)
		w.end('}')
		return c.reply(fasthttp.StatusCreated, &w)
	})
}

func (c *call) endShare() error {
	err := c.change(func(a *spoor.App) error {
		if a.Share == "" {
			return errNoShare
		}
		a.Share = ""
		return nil
	})
	if err == nil {
		c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
	return err
}
