package query

import (
	"bufio"
	"encoding/csv"
	"fmt"

	"github.com/spoorhq/spoor"
)

// exportPerson streams all that is kept of a person: identifiers, attributes
// with where and when they came from, planned deletion, and every hit, newest
// first. What Erase removes is what this shows.
func (c *call) exportPerson() error {
	if err := c.onlyQuery("format"); err != nil {
		return err
	}
	format, err := c.query("format")
	if err != nil {
		return err
	}
	p, err := c.person()
	if err != nil {
		return err
	}
	switch format {
	case "", "json":
		return c.startStream("application/json", "", func(w *bufio.Writer) error { return c.writePerson(w, p) }, nil)
	case "csv":
		c.ctx.Response.Header.Set("Content-Disposition", `attachment; filename="person.csv"`)
		return c.startStream("text/csv; charset=utf-8", "export cut short: the server could not finish it\n", func(w *bufio.Writer) error { return c.writePersonCSV(w, p) }, nil)
	}
	return fieldError("format", "Give json or csv.")
}

// fact is one thing that is known of a person.
type fact struct {
	name, value, source, purpose string
	at                           int64 // when it was set so, Unix ms; 0: not known
}

// facts lists what is known of a person beside the hits.
func facts(app *spoor.App, p *spoor.Profile) (list []fact) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, fact{name: name, value: value, purpose: app.Purpose(name)})
		}
	}
	add("id", decimal(p.ID))
	add("user_id", p.UserID)
	add("restricted_until", lastDay(p.Rights.Restricted))
	add("objected_at", formatTime(p.Rights.Objected))
	add("held_until", lastDay(p.Rights.Held))
	for _, k := range p.Keys {
		add("key", k)
	}
	for _, m := range p.MobileIDs {
		add("mobile_id", m)
	}
	for _, c := range p.Collections {
		add(c.Kind.String(), c.Name)
	}
	for _, t := range [...]struct {
		name string
		ms   int64
	}{
		{"created_at", p.CreatedAt}, {"updated_at", p.UpdatedAt}, {"first_seen", p.FirstSeen}, {"last_seen", p.LastSeen},
		{"last_contacted", p.LastContacted}, {"last_heard_from", p.LastHeardFrom},
		{"last_email_opened", p.LastEmailOpened}, {"last_email_clicked", p.LastEmailClicked},
	} {
		add(t.name, formatTime(t.ms))
	}
	for _, n := range [...]struct {
		name  string
		count int64
	}{{"page_views", p.Views}, {"events", p.Events}, {"visits", p.Visits}} {
		add(n.name, decimal(n.count))
	}
	for _, a := range p.Attributes {
		list = append(list, fact{a.Name, a.Text, a.Source.String(), app.Purpose(a.Name), a.SetAt})
	}
	return list
}

func (c *call) writePerson(out *bufio.Writer, p *spoor.Profile) error {
	var w jsonWriter
	w.begin('{')
	w.text("app", c.app.Name)
	w.time("exported_at", c.now.UnixMilli())
	w.key("profile")
	w.begin('[')
	for _, f := range facts(c.app, p) {
		w.begin('{')
		w.text("name", f.name)
		w.text("value", f.value)
		if f.source != "" {
			w.text("source", f.source)
		}
		w.text("purpose", f.purpose)
		if f.at != 0 {
			w.time("since", f.at)
		}
		w.end('}')
	}
	w.end(']')
	writeConsent(&w, p.Consent)
	w.key("recipients")
	w.begin('[')
	for _, to := range c.app.Recipients() {
		w.item(to)
	}
	w.end(']')
	w.key("retention")
	writeVerdict(&w, c.app, p, c.retention.Judge(c.app, p, c.app.Day(c.now.UnixMilli())))
	w.key("hits")
	w.begin('[')
	first := true
	err := c.store.Hits(c.app.ID, p.Number, func(h *spoor.Hit) error {
		if !first {
			w.b = append(w.b, ",\n"...)
		}
		first = false
		var line jsonWriter
		writeHit(&line, h, p.ID)
		w.b = append(w.b, line.b...)
		if _, err := out.Write(w.b); err != nil {
			return fmt.Errorf("cannot write a hit: %w", err)
		}
		w.b = w.b[:0]
		return c.s.closing()
	})
	if err != nil {
		return err
	}
	_, err = out.Write(append(w.b, "]}\n"...))
	return err
}

// writePersonCSV writes the facts, then the hits, a row each.
func (c *call) writePersonCSV(out *bufio.Writer, p *spoor.Profile) error {
	rows := csv.NewWriter(out)
	put := func(cells ...string) error {
		for i := range cells {
			cells[i] = harmless(cells[i])
		}
		return rows.Write(cells)
	}
	if err := put("what", "name", "value", "source", "purpose", "since"); err != nil {
		return err
	}
	for _, f := range facts(c.app, p) {
		if err := put("profile", f.name, f.value, f.source, f.purpose, formatTime(f.at)); err != nil {
			return err
		}
	}
	v := c.retention.Judge(c.app, p, c.app.Day(c.now.UnixMilli()))
	if v.Due != 0 {
		if err := put("retention", "due", v.Due.String(), "", "", ""); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		name string
		is   spoor.Choice
	}{{"analytics", p.Consent.Analytics()}, {"marketing", p.Consent.Marketing()}, {"geolocation", p.Consent.Geolocation()}} {
		if err := put("consent", c.name, [...]string{"unknown", "granted", "denied", "unknown"}[c.is], "", "", ""); err != nil {
			return err
		}
	}
	for _, why := range v.Keeps {
		if err := put("retention", "kept_because", why, "", "", ""); err != nil {
			return err
		}
	}
	for _, to := range c.app.Recipients() {
		if err := put("recipient", to, "", "", "", ""); err != nil {
			return err
		}
	}
	err := c.store.Hits(c.app.ID, p.Number, func(h *spoor.Hit) error {
		var line jsonWriter
		writeHit(&line, h, p.ID)
		if err := put("hit", h.Kind.String(), string(line.b), h.Door.String(), spoor.PurposeAnalytics, formatTime(happened(h))); err != nil {
			return err
		}
		return c.s.closing()
	})
	rows.Flush()
	if err == nil {
		err = rows.Error()
	}
	return err
}
