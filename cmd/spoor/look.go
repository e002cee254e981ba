package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spoorhq/spoor/store"
)

type partitionsCommand struct {
	dataFlag
	App string `help:"Only this app." placeholder:"NAME"`
}

func (c *partitionsCommand) Run() error {
	cl := newClient(c.Data)
	apps, err := listApps(cl)
	if err != nil {
		return err
	}
	if known := func(a appJSON) bool { return a.Name == c.App }; c.App != "" && !slices.ContainsFunc(apps, known) {
		return fmt.Errorf("there is no app %q; list the apps with: spoor app list", c.App)
	}
	w := table("APP", "DAY", "HITS", "PROFILES", "BYTES", "STATE")
	for _, a := range apps {
		if c.App != "" && c.App != a.Name {
			continue
		}
		if at := a.where(); at != "" && c.App == "" {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t%s\n", a.Name, at)
			continue
		}
		var parts []struct {
			Day                   string
			Hits, Profiles, Bytes int64
			Sealed                bool
		}
		if err := cl.call("GET", "/api/partitions/?app="+url.QueryEscape(a.Name), nil, &parts); err != nil {
			return err
		}
		for _, p := range parts {
			state := "open"
			if p.Sealed {
				state = "sealed"
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", a.Name, p.Day, p.Hits, p.Profiles, p.Bytes, state)
		}
	}
	return w.Flush()
}

type tailCommand struct {
	dataFlag
	App string `help:"The app." required:"" placeholder:"NAME"`
}

func (c *tailCommand) Run() error {
	hits, err := newClient(c.Data).stream("GET", "/api/tail/?app="+url.QueryEscape(c.App), nil)
	if err != nil {
		return err
	}
	defer hits.Close()
	_, err = io.Copy(os.Stdout, hits)
	return err
}

type feedCommand struct {
	dataFlag
	App   string `help:"The app." required:"" placeholder:"NAME"`
	After string `help:"Only what is behind this entry: an id, or now. Without it from the oldest entry that is kept." placeholder:"ID"`
	Dead  bool   `help:"Show instead how far feed_webhook or feed_topic was told, and what it refused or came too late for." xor:"what"`
	Retry bool   `help:"Send what it refused again, now." xor:"what"`
	From  string `help:"With --retry, only what begins with this entry." placeholder:"ID"`
}

func (c *feedCommand) Run() error {
	switch {
	case c.Dead:
		return c.dead()
	case c.Retry:
		return c.retry()
	case c.From != "":
		return errors.New("cannot use --from without --retry; use --after to follow the feed from an entry on")
	}
	query := url.Values{"app": {c.App}, "stream": {"true"}}
	if c.After != "" {
		query.Set("after", c.After)
	}
	entries, err := newClient(c.Data).stream("GET", "/api/feed/?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer entries.Close()
	_, err = io.Copy(os.Stdout, entries)
	return err
}

func (c *feedCommand) dead() error {
	var list struct {
		Delivered, Newest string
		Dropped           int64
		Dead              []struct {
			From, To, At              string
			Entries, Status, Attempts int
			Lost                      bool
		}
	}
	if err := newClient(c.Data).call("GET", "/api/feed/dead/?app="+url.QueryEscape(c.App), nil, &list); err != nil {
		return err
	}
	fmt.Printf("delivered up to %s, the newest entry is %s\n", list.Delivered, list.Newest)
	if list.Dropped > 0 {
		fmt.Printf("%d older ones have left this list\n", list.Dropped)
	}
	w := table("FROM", "TO", "ENTRIES", "AT", "STATUS", "ATTEMPTS")
	for _, l := range list.Dead {
		if l.Lost {
			fmt.Fprintf(w, "%s\t%s\t?\t%s\tlost: too old\t\n", l.From, l.To, l.At)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\n", l.From, l.To, l.Entries, l.At, l.Status, l.Attempts)
	}
	return w.Flush()
}

// retry asks until nothing is left, or nothing more is taken.
func (c *feedCommand) retry() error {
	body := map[string]string{}
	if c.From != "" {
		body["from"] = c.From
	}
	total := 0
	for {
		var done struct {
			Delivered, Left int
			Detail          string
		}
		if err := newClient(c.Data).call("POST", "/api/feed/dead/retry/?app="+url.QueryEscape(c.App), body, &done); err != nil {
			return err
		}
		total += done.Delivered
		if done.Left == 0 {
			fmt.Printf("%d entries delivered\n", total)
			return nil
		}
		if done.Delivered == 0 || c.From != "" {
			return fmt.Errorf("%d entries delivered, %d dead letters are left: %s", total, done.Left, done.Detail)
		}
	}
}

type checkCommand struct {
	dataFlag
	Against string `help:"Compare the running store node with another one that reads the same partitions, at the same place of the log, while both go on. Its SPOOR_ADMIN_TOKEN opens it." placeholder:"URL"`
}

// Run opens the store only to look: nothing is changed.
func (c *checkCommand) Run() error {
	if c.Against != "" {
		return c.compare()
	}
	if _, err := os.Stat(c.Data); err != nil {
		return fmt.Errorf("cannot check %s: %w; use --data", c.Data, err)
	}
	began := time.Now()
	st, err := store.Open(store.Options{Dir: c.Data, ReadOnly: true, Log: newLog("error")})
	if err != nil {
		return err
	}
	report, err := st.Check(func(r *store.Report) {
		fmt.Fprintf(os.Stderr, "%d profiles, %d hits so far, %d problems\n", r.Profiles, r.Hits, r.Found)
	})
	if closed := st.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	fmt.Printf("%d apps, %d days, %d profiles, %d hits, %d audit entries checked in %s\n", report.Apps, report.Days, report.Profiles, report.Hits, report.Entries, time.Since(began).Round(time.Millisecond))
	for _, p := range report.Problems {
		fmt.Println("  " + p)
	}
	if report.Found > 0 {
		return fmt.Errorf("%d problems found; keep this folder as it is and restore a backup", report.Found)
	}
	fmt.Println("everything fits together")
	return nil
}
