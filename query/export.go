package query

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"

	"github.com/spoorhq/spoor"
)

// exportBatch is how many profiles are read at once. Between two batches the
// store is let go of, so that a slow reader holds no old state of it.
const exportBatch = 500

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
func truth(v bool) string    { return strconv.FormatBool(v) }

// exportUsers streams all users as CSV, with the columns of userColumns.
func (c *call) exportUsers() error {
	if err := c.onlyQuery(); err != nil {
		return err
	}
	c.ctx.Response.Header.Set("Content-Disposition", `attachment; filename="users.csv"`)
	return c.startStream("text/csv; charset=utf-8", "export cut short: the server could not finish it\n", c.writeUsers, nil)
}

func (c *call) writeUsers(w *bufio.Writer) error {
	out := csv.NewWriter(w)
	cells := make([]string, len(userColumns))
	for i, col := range userColumns {
		cells[i] = col.name
	}
	if err := out.Write(cells); err != nil {
		return err
	}
	var after spoor.Number
	for {
		rows, err := c.userRows(after)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := out.Write(row.cells); err != nil {
				return err
			}
			after = row.number
			c.subjects++
		}
		out.Flush()
		if err := errors.Join(out.Error(), c.s.closing()); err != nil {
			return err
		}
		if len(rows) < exportBatch {
			return nil
		}
	}
}

type userRow struct {
	number spoor.Number
	cells  []string
}

// userRows reads the next profiles.
func (c *call) userRows(after spoor.Number) (rows []userRow, err error) {
	err = c.store.Profiles(c.app.ID, after, func(p *spoor.Profile) error {
		cells := make([]string, len(userColumns))
		for i, col := range userColumns {
			cells[i] = harmless(col.cell(p))
		}
		rows = append(rows, userRow{p.Number, cells})
		if len(rows) == exportBatch {
			return ErrStop
		}
		return nil
	})
	if errors.Is(err, ErrStop) {
		err = nil
	}
	return rows, err
}

// exportHits streams the hits of the days from to to, both included, one JSON
// object a line.
func (c *call) exportHits() error {
	if err := c.onlyQuery("from", "to"); err != nil {
		return err
	}
	from, err := c.day("from", 0)
	if err != nil {
		return err
	}
	to, err := c.day("to", c.app.Day(c.now.UnixMilli()))
	if err != nil {
		return err
	}
	if from > to {
		return fieldError("from", "It is later than to.")
	}
	return c.startStream("application/x-ndjson", cutLine, func(w *bufio.Writer) error {
		return c.writeHits(w, from, to)
	}, nil)
}

const cutLine = `{"error":"export cut short: the server could not finish it"}` + "\n"

// day reads a day of the query; days before 1970 hold nothing.
func (c *call) day(name string, byDefault spoor.Day) (spoor.Day, error) {
	v, err := c.query(name)
	if err != nil {
		return 0, err
	}
	if v == "" {
		return byDefault, nil
	}
	d, err := spoor.ParseDay(v)
	if err != nil {
		return 0, fieldError(name, "Write a day as YYYY-MM-DD.")
	}
	return max(d, 0), nil
}

func (c *call) writeHits(w *bufio.Writer, from, to spoor.Day) error {
	var line jsonWriter
	return c.store.ScanHits(c.app.ID, from, to, func(h *spoor.Hit) error {
		if err := c.s.closing(); err != nil {
			return err
		}
		c.subjects++
		return c.writeHitLine(w, &line, h)
	})
}

func (c *call) writeHitLine(w *bufio.Writer, line *jsonWriter, h *spoor.Hit) error {
	line.b = line.b[:0]
	var client int64
	if h.Profile != 0 {
		client = c.store.PublicID(c.app.ID, h.Profile)
	}
	writeHit(line, h, client)
	line.b = append(line.b, '\n')
	if _, err := w.Write(line.b); err != nil {
		return fmt.Errorf("cannot write a hit: %w", err)
	}
	return nil
}

// writeHit appends a stored hit as JSON. What is not known is left out, but
// for the first six keys.
func writeHit(w *jsonWriter, h *spoor.Hit, client int64) {
	w.begin('{')
	w.int("id", h.Public)
	w.int("client", client) // public id of the profile; 0 for bots
	w.text("day", h.Day.String())
	w.time("time", happened(h))
	w.time("received", h.Received)
	w.text("type", h.Kind.String())
	for _, f := range [...]struct{ name, text string }{
		{"door", h.Door.String()}, {"event_id", h.ID}, {"key", h.Key}, {"user_id", h.UserID}, {"former_id", h.FormerID},
		{"name", h.Name}, {"url", h.URL}, {"referrer", h.Referrer}, {"title", h.Title},
		{"ip", ipText(h)}, {"user_agent", h.UserAgent}, {"resolution", h.Resolution},
		{"language", h.Language}, {"timezone", h.TimeZone},
		{"city", h.Place.City}, {"region", h.Place.Region}, {"country", h.Place.Country},
		{"os", h.Agent.OS}, {"os_version", h.Agent.OSVersion}, {"browser", h.Agent.Browser},
		{"browser_version", h.Agent.BrowserVersion}, {"device", h.Agent.Device},
		{"channel", h.Campaign.Channel}, {"utm_source", h.Campaign.Source}, {"utm_medium", h.Campaign.Medium},
		{"utm_campaign", h.Campaign.Name}, {"utm_term", h.Campaign.Term}, {"utm_content", h.Campaign.Content},
	} {
		if f.text != "" {
			w.text(f.name, f.text)
		}
	}
	if h.Visit != 0 {
		w.time("visit", h.Visit)
		w.bool("first", h.First)
	}
	for _, f := range [...]struct {
		name string
		set  bool
	}{{"bot", h.Bot}, {"late", h.Marks&spoor.MarkLate != 0}, {"future", h.Marks&spoor.MarkFuture != 0}} {
		if f.set {
			w.bool(f.name, true)
		}
	}
	writeConsent(w, h.Consent)
	if h.Redacted > 0 {
		w.int("redacted", int64(h.Redacted))
	}
	if len(h.Properties) > 0 {
		w.raw("properties", h.Properties)
	}
	if len(h.Attributes) > 0 {
		w.key("attributes")
		w.begin('{')
		for i := range h.Attributes {
			w.key(h.Attributes[i].Name)
			if h.Attributes[i].Type == spoor.TypeNull {
				w.b = append(w.b, "null"...)
			} else {
				writeValue(w, &h.Attributes[i])
			}
		}
		w.end('}')
	}
	w.end('}')
}

func writeConsent(w *jsonWriter, consent spoor.Consent) {
	if consent == 0 {
		return
	}
	w.key("consent")
	w.begin('{')
	for _, f := range [...]struct {
		name   string
		choice spoor.Choice
	}{{"analytics", consent.Analytics()}, {"marketing", consent.Marketing()}, {"geolocation", consent.Geolocation()}} {
		switch f.choice {
		case spoor.ChoiceGranted:
			w.text(f.name, "granted")
		case spoor.ChoiceDenied:
			w.text(f.name, "denied")
		}
	}
	w.end('}')
}

// partitions lists the app's days.
func (c *call) partitions() error {
	list, err := c.store.Partitions(c.app.ID)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('[')
	for _, p := range list {
		w.begin('{')
		w.text("app", c.app.Name)
		writePartition(&w, p)
		w.end('}')
	}
	w.end(']')
	return c.reply(200, &w)
}

func writePartition(w *jsonWriter, p spoor.Partition) {
	w.text("day", p.Day.String())
	w.int("hits", p.Hits)
	w.int("profiles", p.Profiles)
	w.int("bytes", p.Bytes)
	w.bool("sealed", p.Sealed)
}
