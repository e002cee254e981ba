package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

type eraseCommand struct {
	dataFlag
	App  string   `help:"The app." required:"" placeholder:"NAME"`
	List string   `help:"A file with more of them, one a line." placeholder:"FILE" type:"existingfile"`
	Who  []string `arg:"" optional:"" help:"Public ids, cookies or device ids, user ids, e-mail addresses or phone numbers; all profiles of an address go."`
}

// Run asks the running server, and waits for the last one's bytes, which are
// reclaimed together with those of all before.
func (c *eraseCommand) Run() error {
	who, err := c.who()
	if err != nil {
		return err
	}
	cl := newClient(c.Data)
	var ids []int64
	var unknown []string
	for _, w := range who {
		found, err := findAll(cl, c.App, w)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			unknown = append(unknown, w)
		}
		ids = append(ids, found...)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var r receiptJSON
	var refused []error
	for i, id := range ids {
		path := fmt.Sprintf("/api/public/users/%d/?app=%s", id, url.QueryEscape(c.App))
		if i+1 < len(ids) {
			if err := cl.call("DELETE", path, nil, nil); err != nil {
				refused = append(refused, fmt.Errorf("profile %d: %w", id, err))
			}
			fmt.Fprintf(os.Stderr, "%d of %d done\n", i+1, len(ids))
			continue
		}
		if err := cl.call("DELETE", path+"&wait=true", nil, &r); err != nil {
			refused = append(refused, fmt.Errorf("profile %d: %w", id, err))
		}
	}
	switch done := len(ids) - len(refused); {
	case done == 0:
	case r.ID == 0: // the last was refused
		fmt.Printf("%d persons erased; their bytes go within a minute or so, spoor receipts --app %s says when\n", done, c.App)
	case done == 1:
		fmt.Printf("1 person with %d hits erased; no byte is left in the files; receipt %d of app %s\n", r.Hits, r.ID, r.App)
	default:
		fmt.Printf("%d persons erased; no byte is left in the files; the last receipt is %d of app %s\n", done, r.ID, r.App)
	}
	if until := r.at("topic_expired"); until != "-" {
		fmt.Printf("the topic drops what had come in of them by %s\n", until)
	}
	if len(who) > 1 { // one has it in the error below
		for _, err := range refused {
			fmt.Fprintln(os.Stderr, err)
		}
		for _, w := range unknown {
			fmt.Fprintf(os.Stderr, "nobody is known by %q\n", shorten(w))
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("%d of %d were not erased, and %d of the given are known of nobody; the first reason is %w", len(refused), len(ids), len(unknown), refused[0])
	}
	if len(unknown) > 0 {
		return fmt.Errorf("app %s knows nobody by %d of the %d given, the first is %q; give public ids, cookies, user ids, e-mail addresses or phone numbers", c.App, len(unknown), len(who), shorten(unknown[0]))
	}
	return nil
}

// shorten keeps a line of a list from flooding a message.
func shorten(text string) string {
	if len(text) > 100 {
		return text[:100] + "…"
	}
	return text
}

func (c *eraseCommand) who() ([]string, error) {
	who := c.Who
	if c.List != "" {
		f, err := os.Open(c.List)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if w := strings.TrimSpace(lines.Text()); w != "" {
				who = append(who, w)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", c.List, err)
		}
	}
	if len(who) == 0 {
		return nil, errors.New("nobody is named; give an id, a cookie, an e-mail address …, or --list FILE")
	}
	return who, nil
}

// findAll lists the public ids of the profiles to which a text may lead: it is
// tried as public id, cookie, user id, e-mail address and phone number.
func findAll(cl *client, app, text string) (ids []int64, err error) {
	var found []struct{ ID int64 }
	if err := cl.call("GET", appPath(app)+"find/?who="+url.QueryEscape(text), nil, &found); err != nil {
		return nil, err
	}
	for _, p := range found {
		ids = append(ids, p.ID)
	}
	return ids, nil
}
