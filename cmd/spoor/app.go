package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spoorhq/spoor"
)

type appCommand struct {
	Create    appCreate    `cmd:"" help:"Make an app; prints its name, its zone and its first write key."`
	List      appList      `cmd:"" help:"List the apps."`
	Set       appSet       `cmd:"" help:"Show or change settings: spoor app set shop geo=country."`
	Keys      appKeys      `cmd:"" help:"List, add, remove write keys, which senders use."`
	Tokens    appTokens    `cmd:"" help:"List, add, remove API tokens, which readers use."`
	Share     appShare     `cmd:"" help:"Make a link that opens the overview of an app, read-only, without a login; or end it."`
	Export    appExport    `cmd:"" help:"Write all profiles and hits of an app into a directory."`
	Terminate appTerminate `cmd:"" help:"End an app: it takes no data from now on, and goes with all its data after a while."`
	Delete    appDelete    `cmd:"" help:"Delete an app with all its data, now."`
}

// appJSON is an app as the server prints it.
type appJSON struct {
	Name     string            `json:"name"`
	Created  string            `json:"created"`
	Closed   bool              `json:"closed"`
	Ends     string            `json:"ends"`
	Keys     []keyJSON         `json:"keys"`
	Settings map[string]string `json:"settings"`
	Tokens   []tokenJSON       `json:"tokens"` // nil: another node has the app
	Node     string            `json:"node"`   // that node; empty: none that is alive has it
}

// where says which other node has an app; empty if the one that was asked has it.
func (a *appJSON) where() string {
	switch {
	case a.Tokens != nil:
		return ""
	case a.Node == "":
		return "on no node that is alive"
	}
	return "on " + a.Node
}

type keyJSON struct {
	Key     string  `json:"key"`
	Label   string  `json:"label"`
	Created string  `json:"created"`
	Expires *string `json:"expires"`
}

type tokenJSON struct {
	Name    string  `json:"name"`
	Role    string  `json:"role"`
	Secret  string  `json:"secret"`
	Created string  `json:"created"`
	Expires *string `json:"expires"`
}

func appPath(name string) string { return "/api/admin/apps/" + url.PathEscape(name) + "/" }

type appCreate struct {
	dataFlag
	Name     string `arg:"" help:"Name of the app, such as shop."`
	Timezone string `help:"IANA time zone of its days." default:"UTC" placeholder:"ZONE"`
}

func (c *appCreate) Run() error {
	var app appJSON
	if err := newClient(c.Data).call("POST", "/api/admin/apps/", map[string]string{"name": c.Name, "timezone": c.Timezone}, &app); err != nil {
		return err
	}
	for _, k := range app.Keys {
		fmt.Printf("app %s, days in %s, write key %s\n", app.Name, app.Settings["timezone"], k.Key)
	}
	return nil
}

type appList struct{ dataFlag }

func (c *appList) Run() error {
	apps, err := listApps(newClient(c.Data))
	if err != nil {
		return err
	}
	w := table("APP", "TIMEZONE", "KEYS", "TOKENS", "STATE")
	for _, a := range apps {
		state := "open"
		if a.Closed {
			state = "closed"
		}
		if a.Ends != "" {
			state = "ends " + a.Ends
		}
		tokens := strconv.Itoa(len(a.Tokens))
		if at := a.where(); at != "" {
			tokens, state = "-", state+", "+at
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", a.Name, a.Settings["timezone"], len(a.Keys), tokens, state)
	}
	return w.Flush()
}

func listApps(c *client) ([]appJSON, error) {
	var apps []appJSON
	return apps, c.call("GET", "/api/admin/apps/", nil, &apps)
}

type appSet struct {
	dataFlag
	Name     string   `arg:"" help:"The app."`
	Settings []string `arg:"" optional:"" help:"KEY=VALUE; none shows all settings." placeholder:"KEY=VALUE"`
}

func (c *appSet) Run() error {
	var app appJSON
	if len(c.Settings) == 0 {
		if err := newClient(c.Data).call("GET", appPath(c.Name), nil, &app); err != nil {
			return err
		}
	} else {
		change := map[string]string{}
		for _, s := range c.Settings {
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("cannot read setting %q: write KEY=VALUE", s)
			}
			change[key] = value
		}
		if err := newClient(c.Data).call("PATCH", appPath(c.Name), map[string]any{"settings": change}, &app); err != nil {
			return err
		}
	}
	w := table("SETTING", "VALUE", "MEANING")
	for _, s := range spoor.SettingsTable {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, app.Settings[s.Name], s.Help)
	}
	return w.Flush()
}

type appKeys struct {
	dataFlag
	Name    string `arg:"" help:"The app."`
	Create  string `help:"Add a key with this label." placeholder:"LABEL" xor:"what"`
	Delete  string `help:"Remove this key." placeholder:"KEY" xor:"what"`
	Expires string `help:"When the new key ends." placeholder:"RFC3339"`
}

func (c *appKeys) Run() error {
	cl, path := newClient(c.Data), appPath(c.Name)
	switch {
	case c.Create != "":
		var k keyJSON
		if err := cl.call("POST", path+"keys/", withExpiry(map[string]string{"label": c.Create}, c.Expires), &k); err != nil {
			return err
		}
		fmt.Println(k.Key)
		return nil
	case c.Delete != "":
		return cl.call("DELETE", path+"keys/"+url.PathEscape(c.Delete)+"/", nil, nil)
	}
	var app appJSON
	if err := cl.call("GET", path, nil, &app); err != nil {
		return err
	}
	w := table("KEY", "LABEL", "CREATED", "EXPIRES")
	for _, k := range app.Keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.Key, k.Label, k.Created, orNever(k.Expires))
	}
	return w.Flush()
}

type appTokens struct {
	dataFlag
	Name    string `arg:"" help:"The app."`
	Create  string `help:"Add a token with this name; prints the secret, which is shown only now." placeholder:"NAME" xor:"what"`
	Delete  string `help:"Remove the token of this name." placeholder:"NAME" xor:"what"`
	Role    string `help:"What the new token allows: read, write, erase, admin; each includes those before." default:"read" enum:"read,write,erase,admin"`
	Expires string `help:"When the new token ends." placeholder:"RFC3339"`
}

func (c *appTokens) Run() error {
	cl, path := newClient(c.Data), appPath(c.Name)
	switch {
	case c.Create != "":
		var t tokenJSON
		if err := cl.call("POST", path+"tokens/", withExpiry(map[string]string{"name": c.Create, "role": c.Role}, c.Expires), &t); err != nil {
			return err
		}
		fmt.Println(t.Secret)
		return nil
	case c.Delete != "":
		return cl.call("DELETE", path+"tokens/"+url.PathEscape(c.Delete)+"/", nil, nil)
	}
	var app appJSON
	if err := cl.call("GET", path, nil, &app); err != nil {
		return err
	}
	w := table("TOKEN", "ROLE", "CREATED", "EXPIRES")
	for _, t := range app.Tokens {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Name, t.Role, t.Created, orNever(t.Expires))
	}
	return w.Flush()
}

type appShare struct {
	dataFlag
	Name string `arg:"" help:"The app."`
	End  bool   `help:"End the link."`
}

func (c *appShare) Run() error {
	cl, path := newClient(c.Data), appPath(c.Name)+"share/"
	if c.End {
		return cl.call("DELETE", path, nil, nil)
	}
	var link struct{ Path string }
	if err := cl.call("POST", path, nil, &link); err != nil {
		return err
	}
	fmt.Printf("%s/\nthis path, below the address of the dashboard, opens the overview of app %s to everybody who has it; it is shown only now,\na link that there was has ended, and spoor app share %[2]s --end ends this one\n", link.Path, c.Name)
	return nil
}

type appTerminate struct {
	dataFlag
	Name   string        `arg:"" help:"The app."`
	After  time.Duration `help:"How long its data can still be exported, at most 720h (30 days). [${default}]" default:"24h" placeholder:"TIME"`
	Export string        `help:"First write users.csv and hits.ndjson into this directory." placeholder:"DIR"`
	Cancel bool          `help:"Take a termination back."`
}

const terminateMax = 30 * 24 * time.Hour

func (c *appTerminate) Run() error {
	cl := newClient(c.Data)
	if c.Cancel {
		if err := cl.call("PATCH", appPath(c.Name), map[string]string{"ends": ""}, nil); err != nil {
			return err
		}
		fmt.Printf("app %s goes on and takes data again\n", c.Name)
		return nil
	}
	if c.After <= 0 || c.After > terminateMax {
		return fmt.Errorf("cannot use --after %s: all data of a terminated app is gone after 30 days; give 1s to 720h", c.After)
	}
	if c.Export != "" {
		if err := exportApp(cl, c.Name, c.Export); err != nil {
			return err
		}
	}
	var app appJSON
	if err := cl.call("PATCH", appPath(c.Name), map[string]string{"ends_in": c.After.String()}, &app); err != nil {
		return err
	}
	fmt.Printf("app %s takes no data any more and goes with all its data at %s\nuntil then: spoor app export %[1]s DIR, or the paths /api/export/users.csv and /api/export/hits.ndjson, give the data out; --cancel takes it back\n", c.Name, app.Ends)
	return nil
}

type appExport struct {
	dataFlag
	Name string `arg:"" help:"The app."`
	Dir  string `arg:"" help:"Directory for users.csv and hits.ndjson; made if it is not there."`
}

func (c *appExport) Run() error { return exportApp(newClient(c.Data), c.Name, c.Dir) }

// exportApp writes all profiles and hits of an app into a directory.
func exportApp(cl *client, app, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory of the export: %w", err)
	}
	for _, name := range []string{"users.csv", "hits.ndjson"} {
		in, err := cl.stream("GET", "/api/export/"+name+"?app="+url.QueryEscape(app), nil)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, name)
		out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			in.Close()
			return fmt.Errorf("cannot write the export: %w; choose another directory", err)
		}
		var last lastBytes
		n, err := io.Copy(io.MultiWriter(out, &last), in)
		if err == nil && bytes.Contains(last, []byte("export cut short")) {
			err = errors.New("the server could not finish it")
		}
		if err := errors.Join(err, out.Sync(), out.Close(), in.Close()); err != nil {
			return fmt.Errorf("cannot write %s to its end: %w; try again", path, err)
		}
		fmt.Printf("%s: %d bytes\n", path, n)
	}
	return nil
}

// lastBytes keeps the end of what is written, where a cut export says so.
type lastBytes []byte

func (l *lastBytes) Write(p []byte) (int, error) {
	*l = append(*l, p...)
	if extra := len(*l) - 100; extra > 0 {
		*l = append((*l)[:0], (*l)[extra:]...)
	}
	return len(p), nil
}

type appDelete struct {
	dataFlag
	Name string `arg:"" help:"The app."`
	Yes  bool   `help:"Really delete the app and all its data."`
}

func (c *appDelete) Run() error {
	if !c.Yes {
		return fmt.Errorf("this deletes app %s with all its data; export first if you need it, then add --yes", c.Name)
	}
	if err := newClient(c.Data).call("DELETE", appPath(c.Name)+"?wait=true&confirm="+url.QueryEscape(c.Name), nil, nil); err != nil {
		return err
	}
	fmt.Printf("app %s is deleted; no byte of its data is left in the files\n", c.Name)
	return nil
}

func withExpiry(body map[string]string, expires string) map[string]string {
	if expires != "" {
		body["expires"] = expires
	}
	return body
}

func orNever(t *string) string {
	if t == nil || *t == "" {
		return "never"
	}
	return *t
}

// table writes aligned columns to standard output.
func table(columns ...string) *tabwriter.Writer {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(columns, "\t"))
	return w
}
