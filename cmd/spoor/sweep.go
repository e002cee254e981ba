package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/retention"
	"github.com/spoorhq/spoor/store"
)

type sweepCommand struct {
	dataFlag
	Full   bool   `help:"Give all bytes of removed profiles back now, not only those that are due."`
	Wait   bool   `help:"Return only once the bytes that are due are gone from the files; a stopped store is always waited for."`
	DryRun bool   `help:"Only list who and what would go, and why, one JSON object a line."`
	AsOf   string `help:"With --dry-run: as of this day, YYYY-MM-DD. [today]" placeholder:"DAY"`
	App    string `help:"With --dry-run: only this app." placeholder:"NAME"`
	Clock  string `help:"For a stopped demo store: the time to go by." placeholder:"RFC3339"`
}

// sweepReply is what the server answers to a sweep.
type sweepReply struct {
	Apps []struct {
		App, Day       string
		Profiles, Hits int64
		TooOld         int64 `json:"hits_too_old"`
	}
	Rewritten    int   `json:"partitions_rewritten"`
	Pending      int   `json:"partitions_pending"`
	BytesFreed   int64 `json:"bytes_freed"`
	Milliseconds int64
}

func (c *sweepCommand) Run() error {
	if (c.AsOf != "" || c.App != "") && !c.DryRun {
		return errors.New("--as-of and --app go with --dry-run; a sweep is always of all apps, as of now")
	}
	if runs(c.Data) {
		if c.Clock != "" {
			return fmt.Errorf("cannot use --clock: a spoor runs on %s, and its own clock counts", c.Data)
		}
		return c.runThere()
	}
	return c.runHere()
}

// runThere lets the running server do it.
func (c *sweepCommand) runThere() error {
	cl := newClient(c.Data)
	if c.DryRun {
		list, err := cl.stream("GET", "/api/admin/sweep/?as_of="+url.QueryEscape(c.AsOf)+"&app="+url.QueryEscape(c.App), nil)
		if err != nil {
			return err
		}
		defer list.Close()
		_, err = io.Copy(os.Stdout, list)
		return err
	}
	var r sweepReply
	if err := cl.call("POST", "/api/admin/sweep/", map[string]bool{"full": c.Full, "wait": c.Wait}, &r); err != nil {
		return err
	}
	for _, a := range r.Apps {
		printSwept(a.App, a.Day, a.Profiles, a.Hits, a.TooOld)
	}
	if !c.Full && !c.Wait {
		fmt.Println("the bytes go in the background; spoor receipts says when they are gone, --wait waits for those that are due")
		return nil
	}
	fmt.Printf("%d partitions rewritten, %d wait; %d bytes freed; %s\n", r.Rewritten, r.Pending, r.BytesFreed, time.Duration(r.Milliseconds)*time.Millisecond)
	return nil
}

func printSwept(app, day string, profiles, hits, tooOld int64) {
	fmt.Printf("app %s on %s: %d profiles with %d hits removed\n", app, day, profiles, hits)
	if tooOld > 0 {
		fmt.Printf("app %s on %s: %d hits removed that were too old\n", app, day, tooOld)
	}
}

// runHere opens a stopped store.
func (c *sweepCommand) runHere() error {
	if _, err := os.Stat(filepath.Join(c.Data, "db")); err != nil {
		return fmt.Errorf("cannot sweep %s: there is no store in it; use --data", c.Data)
	}
	now, err := clock(c.Clock)
	if err != nil {
		return err
	}
	st, err := store.Open(store.Options{Dir: c.Data, Now: now, Log: newLog("warn"), ReadOnly: c.DryRun})
	if err != nil {
		return err
	}
	return errors.Join(c.sweep(st, now), st.Close())
}

func (c *sweepCommand) sweep(st *store.Store, now func() time.Time) error {
	for _, a := range st.AllApps() {
		if c.Clock != "" && !a.Demo {
			return fmt.Errorf("cannot use --clock: app %q is no demo app, and its people would go before their time", a.Name)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := retention.New(retention.Options{Store: st, Now: now, Log: newLog("warn")})
	if c.DryRun {
		return c.plan(st, s, now)
	}
	r, err := s.Sweep(ctx, c.Full, true)
	if err = errors.Join(err, enterSweep(st, now(), &r, err == nil)); err != nil {
		return err
	}
	for _, a := range r.Apps {
		printSwept(a.App, a.Day.String(), a.Profiles, a.Hits, a.Aged.Hits)
	}
	fmt.Printf("%d partitions rewritten, %d wait; %d bytes freed; %s\n", r.Reclaimed.Partitions, r.Reclaimed.Pending, r.Reclaimed.Bytes, r.Took.Round(time.Millisecond))
	return nil
}

// enterSweep enters who asked for a sweep, as a running server does. What went
// of each app is entered by the Sweeper.
func enterSweep(st *store.Store, at time.Time, r *spoor.Sweep, complete bool) error {
	a := spoor.Access{At: at.UnixMilli(), Actor: spoor.ActorOperator, Role: spoor.RoleAdmin, Action: "sweep", Complete: complete}
	for _, part := range r.Apps {
		a.Subjects += int(part.Profiles)
	}
	if err := st.Audit(a); err != nil {
		return fmt.Errorf("cannot enter the sweep in the audit log: %w; check the disk", err)
	}
	return nil
}

func (c *sweepCommand) plan(st *store.Store, s *retention.Sweeper, now func() time.Time) error {
	if c.App != "" && st.AppByName(c.App) == nil {
		return fmt.Errorf("there is no app %q in this store", c.App)
	}
	out := bufio.NewWriter(os.Stdout)
	lines := json.NewEncoder(out)
	for _, a := range st.AllApps() {
		if c.App != "" && a.Name != c.App {
			continue
		}
		day := a.Day(now().UnixMilli())
		if c.AsOf != "" {
			var err error
			if day, err = spoor.ParseDay(c.AsOf); err != nil {
				return fmt.Errorf("cannot use --as-of %s: write a day as YYYY-MM-DD", c.AsOf)
			}
		}
		err := s.Plan(a, day, func(p *spoor.Profile, v spoor.Verdict) error {
			return lines.Encode(map[string]any{
				"app": a.Name, "id": p.ID, "last_active": v.LastDay.String(), "due": v.Due.String(), "due_because": "it has no contact and was last active on " + v.LastDay.String(), "kept_because": []string{}, "page_views": p.Views,
			})
		})
		if err == nil {
			err = s.PlanDays(a, day, func(p spoor.Partition, why string) error {
				return lines.Encode(map[string]any{"app": a.Name, "day": p.Day.String(), "hits_at_most": p.Hits, "goes_because": why})
			})
		}
		if end := a.End(); err == nil && end != 0 && a.Day(end) <= day {
			err = lines.Encode(map[string]any{"app": a.Name, "ends": time.UnixMilli(end).UTC().Format(time.RFC3339), "goes_because": "it was terminated, or its plan ended"})
		}
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// runs reports whether a spoor serves the data directory.
func runs(data string) bool {
	conn, err := net.Dial("unix", shortPath(filepath.Join(data, socketName)))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// clock is the time to go by: the system's, or one that began at an instant
// when it was made.
func clock(text string) (func() time.Time, error) {
	if text == "" {
		return time.Now, nil
	}
	start, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fmt.Errorf("cannot use --clock %s: write an instant like 2026-01-31T12:00:00Z", text)
	}
	began := time.Now()
	return func() time.Time { return start.Add(time.Since(began)) }, nil
}

type explainCommand struct {
	dataFlag
	App     string `help:"The app." required:"" placeholder:"NAME"`
	Profile string `arg:"" help:"Public id, cookie or device id, user id, e-mail address or phone number."`
}

// Run asks the running server about all whom the argument may mean.
func (c *explainCommand) Run() error {
	cl := newClient(c.Data)
	ids, err := findAll(cl, c.App, c.Profile)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("app %s has no profile %q; give its public id, cookie, user id, e-mail address or phone number", c.App, c.Profile)
	}
	for _, id := range ids {
		if err == nil {
			err = c.explain(cl, id)
		}
	}
	return err
}

func (c *explainCommand) explain(cl *client, id int64) error {
	var v struct {
		App        string
		LastActive string   `json:"last_active"`
		Due        string   `json:"due"`
		DueBecause string   `json:"due_because"`
		HitsDays   int      `json:"hits_days"`
		Objected   string   `json:"objected_at"`
		Because    []string `json:"kept_because"`
	}
	if err := cl.call("GET", fmt.Sprintf("/api/public/users/%d/retention/?app=%s", id, url.QueryEscape(c.App)), nil, &v); err != nil {
		return err
	}
	fmt.Printf("profile %d of app %s, last active on %s\n", id, v.App, v.LastActive)
	for _, why := range v.Because {
		fmt.Println("  kept: " + why)
	}
	if v.Objected != "" {
		fmt.Println("  objected to being tracked at " + v.Objected)
	}
	if v.HitsDays > 0 {
		fmt.Printf("  its hits go when they are %d days old\n", v.HitsDays)
	}
	switch {
	case v.DueBecause != "" && len(v.Because) > 0:
		fmt.Printf("  planned deletion: on %s, because %s\n", v.Due, v.DueBecause)
	case len(v.Because) == 0:
		fmt.Println("  due: the next sweep removes it")
	case v.Due == "":
		fmt.Println("  planned deletion: none")
	default:
		fmt.Printf("  planned deletion: at the midnight that begins %s, if it stays idle until then\n", v.Due)
	}
	return nil
}

type scanCommand struct {
	dataFlag
	Text []string `arg:"" help:"Texts to look for: a cookie, a user id, an e-mail address, an url."`
}

// Run searches the files; it does not matter whether a server runs.
func (c *scanCommand) Run() error {
	if _, err := os.Stat(c.Data); err != nil {
		return fmt.Errorf("cannot search %s: %w; use --data", c.Data, err)
	}
	r, err := store.Scan(nil, c.Data, c.Text)
	if err != nil {
		return err
	}
	for _, f := range r.Finds {
		fmt.Printf("%s: text %d as %s, %d times\n", f.File, f.Text+1, f.As, f.Count)
	}
	for _, name := range r.Unreadable {
		fmt.Printf("%s: its records cannot be read; it was searched as it stands\n", name)
	}
	fmt.Printf("%d files with %d bytes and %d records searched: ", r.Files, r.Bytes, r.Records)
	if len(r.Finds) == 0 {
		fmt.Println("nothing found")
		return nil
	}
	fmt.Printf("found in %d places\n", len(r.Finds))
	return errors.New("found")
}
