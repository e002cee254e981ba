package query

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// Retention decides what may go. Its methods may be called concurrently.
type Retention interface {
	// Judge says what keeps a profile on a day of its app's calendar.
	Judge(app *spoor.App, p *spoor.Profile, today spoor.Day) spoor.Verdict
	// Plan calls fn with each profile that would go on a day.
	Plan(app *spoor.App, day spoor.Day, fn func(*spoor.Profile, spoor.Verdict) error) error
	// PlanDays calls fn with each day of which hits or statistics would go for
	// their age on a day, and why.
	PlanDays(app *spoor.App, day spoor.Day, fn func(spoor.Partition, string) error) error
	// Outlook counts who falls due in an app in the next days, and says when sweeps
	// are.
	Outlook(app *spoor.App) (spoor.Outlook, error)
	// Erase removes a person, and returns the receipt once that is on disk; with
	// wait, once no byte is left in the files. Without, that follows within a
	// minute or so. Nil: nobody was erased; a receipt beside an error says that
	// somebody was. It fails with a *spoor.HeldError.
	Erase(ctx context.Context, app spoor.AppID, n spoor.Number, subject string, wait bool) (*spoor.Receipt, error)
	// Reclaim gives the bytes of what was removed on request back before it returns,
	// with full all.
	Reclaim(ctx context.Context, full bool) (spoor.ReclaimReport, error)
	// Hurry asks for the bytes of what was removed to be given back soon.
	Hurry()
	// Sweep removes what is due now; with wait the bytes that are due are given
	// back before it returns, with full all.
	Sweep(ctx context.Context, full, wait bool) (spoor.Sweep, error)
}

// retentionOf is a profile's planned deletion, and what keeps it.
func (c *call) retentionOf() error {
	if err := c.onlyQuery(); err != nil {
		return err
	}
	p, err := c.person()
	if err != nil {
		return err
	}
	var w jsonWriter
	today := c.app.Day(c.now.UnixMilli())
	writeVerdict(&w, c.app, p, c.retention.Judge(c.app, p, today))
	return c.reply(fasthttp.StatusOK, &w)
}

// receiptsShown is how many receipts the overview of an app's retention has.
const receiptsShown = 20

// readRetention is what an app keeps, what falls due next, and what went.
func (c *call) readRetention() error {
	if err := c.onlyQuery(); err != nil {
		return err
	}
	o, err := c.retention.Outlook(c.app)
	if err != nil {
		return err
	}
	days, err := c.store.Partitions(c.app.ID)
	if err != nil {
		return err
	}
	var newest []spoor.Receipt
	err = c.store.Receipts(c.app.ID, func(r *spoor.Receipt) error {
		if newest = append(newest, *r); len(newest) > receiptsShown {
			newest = slices.Delete(newest, 0, 1)
		}
		return c.s.closing()
	})
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.int("idle_days", int64(c.app.Settings.IdleDays))
	w.int("hits_days", int64(c.app.Settings.HitsDays))
	w.int("statistics_days", int64(c.app.Settings.StatisticsDays))
	w.key("due")
	w.begin('[')
	for _, d := range o.Due {
		w.begin('{')
		w.text("day", d.Day.String())
		w.int("profiles", d.Profiles)
		w.end('}')
	}
	w.end(']')
	w.key("partitions")
	w.begin('[')
	for _, p := range days {
		w.begin('{')
		writePartition(&w, p)
		w.end('}')
	}
	w.end(']')
	w.key("receipts")
	w.begin('[')
	for i := range slices.Backward(newest) {
		if !c.who.role.Allows(admin) { // as in the audit log
			newest[i].Subject = ""
		}
		c.s.writeReceipt(&w, &newest[i])
	}
	w.end(']')
	w.time("last_sweep", o.LastSweep)
	w.time("next_sweep", o.NextSweep)
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// eraseUser removes a person with everything that is known of it.
func (c *call) eraseUser() error {
	if err := c.onlyQuery("wait"); err != nil {
		return err
	}
	wait, err := c.query("wait")
	if err != nil {
		return err
	}
	if wait != "" && wait != "true" && wait != "false" {
		return fieldError("wait", "Give true or false.")
	}
	p, err := c.person()
	if err != nil {
		return err
	}
	r, err := c.retention.Erase(c.life, c.app.ID, p.Number, c.s.reference(c.app.ID, p.ID), wait == "true" && !c.applied)
	c.changed = r != nil
	if err != nil {
		return err
	}
	if r == nil { // somebody else was faster
		return errNotFound
	}
	c.ctx.Response.Header.Set("X-Spoor-Receipt", strconv.FormatUint(r.ID, 10))
	if wait != "true" {
		c.ctx.SetStatusCode(fasthttp.StatusNoContent)
		return nil
	}
	return c.finish(func(c *call) error {
		if c.travels() {
			if r, err = c.reclaimed(r.ID); err != nil {
				return err
			}
		}
		var w jsonWriter
		c.s.writeReceipt(&w, r)
		return c.reply(fasthttp.StatusOK, &w)
	})
}

// reclaimed gives bytes back on this node, and returns a receipt as it is then.
func (c *call) reclaimed(id uint64) (r *spoor.Receipt, err error) {
	if _, err := c.retention.Reclaim(c.life, false); err != nil {
		return nil, err
	}
	err = c.store.Receipts(c.app.ID, func(one *spoor.Receipt) error {
		if one.ID == id {
			found := *one
			r = &found
		}
		return nil
	})
	if err == nil && r == nil {
		err = errNotFound // the app is gone meanwhile
	}
	return r, err
}

func writeVerdict(w *jsonWriter, app *spoor.App, p *spoor.Profile, v spoor.Verdict) {
	w.begin('{')
	w.text("app", app.Name)
	w.int("id", p.ID)
	w.text("last_active", v.LastDay.String())
	if v.Due != 0 {
		w.text("due", v.Due.String())
	}
	if v.WithApp {
		w.text("due_because", "the app goes with all its data")
	} else if len(v.Keeps) == 0 {
		w.text("due_because", "it has no contact and was last active on "+v.LastDay.String())
	}
	if days := app.Settings.HitsDays; days != 0 {
		w.int("hits_days", int64(days))
	}
	w.key("kept_because")
	w.begin('[')
	for _, why := range v.Keeps {
		w.item(why)
	}
	w.end(']')
	if p.Rights.Objected != 0 {
		w.time("objected_at", p.Rights.Objected)
	}
	w.int("page_views", p.Views)
	w.end('}')
}

// planSweep streams who would go on a day, one JSON object a line.
func (c *call) planSweep() error {
	if err := c.onlyQuery("as_of", "app"); err != nil {
		return err
	}
	name, err := c.query("app")
	if err != nil {
		return err
	}
	apps := c.s.opt.Apps.AllApps()
	if name != "" {
		if c.app = c.s.opt.Apps.AppByName(name); c.app == nil {
			return fieldError("app", "There is no such app.")
		}
		apps = []*spoor.App{c.app}
	}
	day, err := c.day("as_of", 0)
	if err != nil {
		return err
	}
	return c.startStream("application/x-ndjson", cutLine, func(w *bufio.Writer) error {
		var line jsonWriter
		for _, a := range apps {
			on := day
			if on == 0 {
				on = a.Day(c.now.UnixMilli())
			}
			err := c.retention.Plan(a, on, func(p *spoor.Profile, v spoor.Verdict) error {
				line.b = line.b[:0]
				writeVerdict(&line, a, p, v)
				line.b = append(line.b, '\n')
				c.subjects++
				if _, err := w.Write(line.b); err != nil {
					return fmt.Errorf("cannot write: %w", err)
				}
				return c.s.closing()
			})
			if err == nil {
				err = c.planDays(w, a, on)
			}
			if end := a.End(); err == nil && end != 0 && a.Day(end) <= on {
				_, err = fmt.Fprintf(w, `{"app":%q,"ends":%q,"goes_because":"it was terminated, or its plan ended"}`+"\n", a.Name, formatTime(end))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

// planDays writes which days would lose hits or statistics for their age.
func (c *call) planDays(w *bufio.Writer, a *spoor.App, on spoor.Day) error {
	return c.retention.PlanDays(a, on, func(p spoor.Partition, why string) error {
		var line jsonWriter
		line.begin('{')
		line.text("app", a.Name)
		line.text("day", p.Day.String())
		line.int("hits_at_most", p.Hits)
		line.text("goes_because", why)
		line.end('}')
		if _, err := w.Write(append(line.b, '\n')); err != nil {
			return fmt.Errorf("cannot write: %w", err)
		}
		return c.s.closing()
	})
}

// sweepCluster sweeps each app by the log of the cluster, and gives the bytes of
// this node back if that is asked for.
func (c *call) sweepCluster(ctx context.Context, full, wait bool) (r spoor.Sweep, err error) {
	began := time.Now()
	for _, a := range c.s.opt.Apps.AllApps() {
		if c.s.elsewhere(a) {
			continue // its nodes are asked themselves
		}
		part, err := c.s.opt.Commands.Retain(ctx, a.ID)
		if err != nil {
			return r, c.unsent(fmt.Errorf("cannot sweep app %q: %w", a.Name, err))
		}
		r.Apps = append(r.Apps, part)
	}
	r.Decided = time.Since(began)
	if full || wait {
		r.Reclaimed, err = c.retention.Reclaim(ctx, full)
	}
	r.Took = time.Since(began)
	return r, err
}

// sweep removes what is due now.
func (c *call) sweep() error {
	var in struct{ Full, Wait bool }
	if err := c.readJSON(&in); err != nil {
		return err
	}
	sweep := c.retention.Sweep
	if c.s.opt.Commands != nil {
		sweep = c.sweepCluster
	}
	r, err := sweep(c.life, in.Full, in.Wait)
	for _, a := range r.Apps {
		c.subjects += int(a.Profiles)
		c.changed = c.changed || a.Profiles+a.Aged.Hits > 0
	}
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.key("apps")
	w.begin('[')
	for _, a := range r.Apps {
		w.begin('{')
		w.text("app", a.App)
		w.text("day", a.Day.String())
		w.int("profiles", a.Profiles)
		w.int("hits", a.Hits)
		w.int("hits_too_old", a.Aged.Hits)
		w.end('}')
	}
	w.end(']')
	w.int("partitions_rewritten", int64(r.Reclaimed.Partitions))
	w.int("partitions_pending", int64(r.Reclaimed.Pending))
	w.int("bytes_freed", r.Reclaimed.Bytes)
	w.int("milliseconds", r.Took.Milliseconds())
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}
