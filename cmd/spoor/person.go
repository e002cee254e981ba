package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/spoorhq/spoor"
)

type personCommand struct {
	Export   personExport   `cmd:"" help:"Print everything that is kept of a person: identifiers, attributes with source and purpose, recipients, planned deletion, every hit."`
	Restrict personRestrict `cmd:"" help:"Keep a person's data but leave it out of statistics, segments and feeds."`
	Object   personObject   `cmd:"" help:"Take nothing more in of a person who objected, and leave what is there out of statistics."`
	Hold     personHold     `cmd:"" help:"Legal hold: nothing of the person goes, by no rule and no request."`
}

// who names a person; several profiles may share an e-mail address or a phone
// number.
type who struct {
	dataFlag
	App string `help:"The app." required:"" placeholder:"NAME"`
	Who string `arg:"" help:"Public id, cookie or device id, user id, e-mail address or phone number."`
}

// find lists the public ids of all whom the argument may mean.
func (w *who) find(cl *client) ([]int64, error) {
	ids, err := findAll(cl, w.App, w.Who)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("app %s has no profile %q; give its public id, cookie, user id, e-mail address or phone number", w.App, w.Who)
	}
	return ids, err
}

func (w *who) path(id int64, rest string) string {
	return fmt.Sprintf("/api/public/users/%d/%s?app=%s", id, rest, url.QueryEscape(w.App))
}

type personExport struct {
	who    `embed:""`
	Format string `help:"json or csv. [${default}]" default:"json" enum:"json,csv"`
}

// Run asks the running server, and prints one person after the other.
func (c *personExport) Run() error {
	cl := newClient(c.Data)
	ids, err := c.find(cl)
	if err != nil {
		return err
	}
	for _, id := range ids {
		export, err := cl.stream("GET", c.path(id, "export/")+"&format="+c.Format, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, export)
		export.Close()
		if err != nil {
			return fmt.Errorf("cannot read the export to its end: %w", err)
		}
	}
	return nil
}

type personRestrict struct {
	who   `embed:""`
	Until string `help:"Last day of the restriction. [without end]" placeholder:"YYYY-MM-DD"`
	Lift  bool   `help:"Take the restriction back."`
}

func (c *personRestrict) Run() error {
	return c.change(spoor.RightRestrict, c.Until, c.Lift)
}

type personObject struct {
	who      `embed:""`
	Withdraw bool `help:"Take the objection back."`
}

// Run also takes somebody whom the app does not know: never seen, or erased.
func (c *personObject) Run() error {
	cl := newClient(c.Data)
	ids, err := findAll(cl, c.App, c.Who)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		return c.change(spoor.RightObject, "", c.Withdraw)
	}
	path, body := "/api/public/objections/?app="+url.QueryEscape(c.App), map[string]string{"who": c.Who}
	if !c.Withdraw {
		if err := cl.call("POST", path, body, nil); err != nil {
			return err
		}
		fmt.Printf("app %s has no profile of that name; hits that name it are refused from now on\n", c.App)
		return nil
	}
	if err := cl.call("DELETE", path, body, nil); err != nil {
		return fmt.Errorf("app %s has no profile and no objection %q; give a cookie, user id, e-mail address or phone number", c.App, c.Who)
	}
	fmt.Printf("app %s has no profile of that name; hits that name it are taken again\n", c.App)
	return nil
}

type personHold struct {
	who   `embed:""`
	Until string `help:"Last day of the hold. [without end]" placeholder:"YYYY-MM-DD"`
	Lift  bool   `help:"End the hold."`
}

func (c *personHold) Run() error { return c.change(spoor.RightHold, c.Until, c.Lift) }

// change grants a right to all whom the argument means, or takes it back.
func (w *who) change(right spoor.Right, until string, lift bool) error {
	if lift && until != "" {
		return errors.New("cannot lift something until a day; give --until or --lift")
	}
	cl := newClient(w.Data)
	ids, err := w.find(cl)
	if err != nil {
		return err
	}
	method, body, word := "POST", map[string]string{}, "set"
	if until != "" {
		body["until"] = until
		word = "set until the end of " + until
	}
	if lift {
		method, word = "DELETE", "lifted"
	}
	for _, id := range ids {
		if err := cl.call(method, w.path(id, right.String()+"/"), body, nil); err != nil {
			return err
		}
		fmt.Printf("profile %d of app %s: %s %s\n", id, w.App, right, word)
	}
	return nil
}
