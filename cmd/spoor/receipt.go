package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
)

type receiptsCommand struct {
	dataFlag
	App  string `help:"Only this app, also one that is gone." placeholder:"NAME"`
	JSON bool   `name:"json" help:"One JSON object a line, with every stage."`
}

// receiptJSON is a receipt as the server prints it.
type receiptJSON struct {
	ID       int64
	App      string
	What     string
	Subject  string
	Profiles int64
	Hits     int64
	Stages   []struct{ Stage, At string }
}

// at is when a stage was reached, or "-".
func (r *receiptJSON) at(stage string) string {
	for _, s := range r.Stages {
		if s.Stage == stage {
			return s.At[:19] + "Z"
		}
	}
	return "-"
}

// Run asks the running server.
func (c *receiptsCommand) Run() error {
	list, err := newClient(c.Data).stream("GET", "/api/admin/receipts/?app="+url.QueryEscape(c.App), nil)
	if err != nil {
		return err
	}
	defer list.Close()
	if c.JSON {
		_, err = io.Copy(os.Stdout, list)
		return err
	}
	w := table("RECEIPT", "APP", "WHAT", "PROFILES", "HITS", "REMOVED", "BYTES GONE", "BACKUPS EXPIRED", "SUBJECT")
	for lines := json.NewDecoder(list); ; {
		var r receiptJSON
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return w.Flush()
		} else if err != nil {
			return fmt.Errorf("cannot read the receipts to their end: %w", err)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", r.ID, r.App, r.What, r.Profiles, r.Hits, r.at("removed"), r.at("bytes_gone"), r.at("backups_expired"), r.Subject)
	}
}
