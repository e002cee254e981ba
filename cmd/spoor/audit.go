package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

type auditCommand struct {
	dataFlag
	App     string `help:"The app. Without: what is about none, or about one that is gone." placeholder:"NAME"`
	Since   string `help:"Only from then on: a day YYYY-MM-DD, a time such as 2027-01-31T00:00:00Z, or how long ago, such as 24h." placeholder:"TIME"`
	Subject string `help:"Only what was about this person: public id, cookie, user id, e-mail address or phone number; of one who was erased the public id." placeholder:"WHO"`
	JSON    bool   `name:"json" help:"One JSON object a line, with the sum of each entry."`
}

// auditLine is a line of the server's reply: an entry, or the end.
type auditLine struct {
	Number                      int64
	Time, Actor, Role           string
	App                         int64
	AppName                     string `json:"app_name"`
	Action, Subject, Sum, Error string
	Count                       int64
	Complete                    bool

	Entries *int64 // only of the end
	Newest  int64
	Broken  string
}

// Run asks the running server, which verifies the whole log.
func (c *auditCommand) Run() error {
	cl := newClient(c.Data)
	query := url.Values{"app": {c.App}, "since": {c.Since}}
	if c.Subject != "" {
		ids, err := c.subjects(cl)
		if err != nil {
			return err
		}
		query.Set("subject", ids)
	}
	reply, err := cl.stream("GET", "/api/admin/audit/?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer reply.Close()
	lines := bufio.NewScanner(reply)
	end, err := c.show(lines)
	if err != nil {
		return fmt.Errorf("cannot read the audit log: %w; try again", err)
	}
	if end.Broken != "" {
		return fmt.Errorf("the audit log of %s is broken: %s; keep this folder as it is and compare with a backup", c.whose(), end.Broken)
	}
	return nil
}

func (c *auditCommand) whose() string {
	if c.App == "" {
		return "no app"
	}
	return "app " + c.App
}

// subjects are the public ids that --subject may mean. An erased person is found
// by no other name.
func (c *auditCommand) subjects(cl *client) (string, error) {
	if c.App == "" {
		return "", errors.New("--subject goes with --app: a person is one of an app")
	}
	ids, err := findAll(cl, c.App, c.Subject)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, id := range ids {
		texts = append(texts, strconv.FormatInt(id, 10))
	}
	if id, err := strconv.ParseInt(c.Subject, 10, 64); err == nil && id > 0 {
		texts = append(texts, strconv.FormatInt(id, 10))
	}
	if len(texts) == 0 {
		return "", fmt.Errorf("app %s knows nobody by %q; an erased person is found by public id alone", c.App, c.Subject)
	}
	return strings.Join(texts, ","), nil
}

const auditBlock = 1000 // rows that are aligned together, so that few wait in memory

// show prints entries as they come and returns the line behind the last.
func (c *auditCommand) show(lines *bufio.Scanner) (end auditLine, err error) {
	var w *tabwriter.Writer
	if !c.JSON {
		w = table("NUMBER", "TIME", "ACTOR", "ROLE", "APP", "ACTION", "COUNT", "SUBJECT", "COMPLETE")
	}
	for n := 1; lines.Scan(); n++ {
		var l auditLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return end, err
		}
		switch {
		case l.Error != "":
			return end, errors.New(l.Error)
		case c.JSON:
			if _, err := fmt.Println(lines.Text()); err != nil {
				return end, err
			}
		case l.Entries == nil:
			l.print(w)
		}
		if end = l; w != nil && n%auditBlock == 0 {
			if err := w.Flush(); err != nil {
				return end, err
			}
		}
	}
	switch {
	case lines.Err() != nil:
		return end, lines.Err()
	case end.Entries == nil:
		return end, errors.New("it ended too early")
	case c.JSON:
		return end, nil
	}
	if err := w.Flush(); err != nil || end.Broken != "" {
		return end, err
	}
	_, err = fmt.Fprintf(os.Stdout, "entries %d; newest %d, sum %s; chain intact\n", *end.Entries, end.Newest, end.Sum)
	return end, err
}

func (l *auditLine) print(w *tabwriter.Writer) {
	complete := "yes"
	if !l.Complete {
		complete = "no"
	}
	app := l.AppName
	if app == "" && l.App != 0 {
		app = strconv.FormatInt(l.App, 10)
	}
	fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", l.Number, l.Time, plain(l.Actor), plain(l.Role), plain(app), plain(l.Action), l.Count, plain(l.Subject), complete)
}

// plain keeps a name that somebody chose from writing rows of its own.
func plain(s string) string {
	if s == "" {
		return "-"
	}
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
