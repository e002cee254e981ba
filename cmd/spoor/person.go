package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
)

type personCommand struct {
	Export personExport `cmd:"" help:"Print everything that is kept of a person: identifiers, attributes with their sources, planned deletion, every hit."`
}

type personExport struct {
	dataFlag
	App    string `help:"The app." required:"" placeholder:"NAME"`
	Format string `help:"json or csv. [${default}]" default:"json" enum:"json,csv"`
	Who    string `arg:"" help:"Public id, cookie or device id, user id, e-mail address or phone number."`
}

// Run asks the running server. Who shares an e-mail address or a phone number
// is printed one after the other.
func (c *personExport) Run() error {
	cl := newClient(c.Data)
	ids, err := findAll(cl, c.App, c.Who)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return fmt.Errorf("app %s has no profile %q; give its public id, cookie, user id, e-mail address or phone number", c.App, c.Who)
	}
	for _, id := range ids {
		export, err := cl.stream("GET", fmt.Sprintf("/api/public/users/%d/export/?format=%s&app=%s", id, c.Format, url.QueryEscape(c.App)), nil)
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
