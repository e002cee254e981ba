package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

// initCommand is what spoor init asks for. What is asked with neither --host
// nor --site missing has a default, so that scripts are never asked.
type initCommand struct {
	Host     string `help:"Host name under which the pages reach the collector, such as track.shop.example." placeholder:"NAME"`
	Site     string `help:"Web origin whose pages send hits, such as https://shop.example." placeholder:"URL"`
	Timezone string `help:"IANA time zone of the site's days. [UTC]" placeholder:"ZONE"`
	Email    string `help:"Get the certificate from Let's Encrypt, whose terms of service you accept with it, and be written to at this address." placeholder:"ADDRESS"`
	TLSCert  string `name:"tls-cert" help:"Certificate that you have, with its chain, as PEM; the service's user must be able to read it." placeholder:"FILE" type:"path"`
	TLSKey   string `name:"tls-key" help:"Its key, as PEM." placeholder:"FILE" type:"path"`
	Name     string `help:"Name of the app. [made from the site]" placeholder:"NAME"`
	App      bool   `help:"Answer reads behind a login at https://HOST/app/." default:"true" negatable:""`

	Data string `help:"Directory of the data. [${default}]" default:"/var/lib/spoor" env:"SPOOR_DATA" placeholder:"DIR" type:"path"`
	Env  string `help:"File of the settings. [${default}]" default:"/etc/spoor/spoor.env" placeholder:"FILE" type:"path"`
	User string `help:"User who runs the service, if there is one of this name. [${default}]" default:"spoor" placeholder:"NAME"`
}

var (
	hostForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	mailForm = regexp.MustCompile(`^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}$`)
	pathForm = regexp.MustCompile(`^[A-Za-z0-9/._+-]*$`) // what needs no quotes in a file of settings
)

const (
	hostBytesMax   = 253
	answerBytesMax = 1000
)

// Run makes the file of the settings first, and takes it back if the rest
// fails: it is what says that a server is set up.
func (c *initCommand) Run() error {
	if err := c.ask(os.Stdin, os.Stdout); err != nil {
		return err
	}
	app, err := c.app()
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(c.Env), 0o755), os.MkdirAll(c.Data, 0o700)); err != nil {
		return fmt.Errorf("cannot make the directories: %w; run it as root (sudo spoor init), or choose others with --data and --env", err)
	}
	settings, err := os.OpenFile(c.Env, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("cannot set up again: %s exists; edit it to change a setting, add an app with spoor app create, or remove it and %s to begin anew", c.Env, c.Data)
	case err != nil:
		return fmt.Errorf("cannot write the settings: %w; run it as root (sudo spoor init), or choose another file with --env", err)
	}
	token := rand.Text()
	app.Tokens = []spoor.Token{{Name: "admin", Role: spoor.RoleAdmin, Hash: spoor.HashToken(token), Created: app.Created}}
	_, err = settings.WriteString(c.settings())
	err = errors.Join(err, settings.Chmod(0o640), settings.Sync(), settings.Close())
	if err == nil {
		err = c.makeApp(app)
	}
	if err == nil {
		err = c.giveToUser()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot set up: %w", err), os.Remove(c.Env))
	}
	c.explain(os.Stdout, app, token)
	return nil
}

// ask asks for what the flags leave open.
func (c *initCommand) ask(in io.Reader, out io.Writer) error {
	answers := bufio.NewReader(io.LimitReader(in, answerBytesMax))
	if c.Host == "" || c.Site == "" {
		for _, q := range []struct {
			text string
			into *string
		}{
			{"Host name under which pages reach the collector, such as track.shop.example: ", &c.Host},
			{"Site whose pages send hits, such as https://shop.example: ", &c.Site},
			{"Time zone of its days, such as Europe/Warsaw [UTC]: ", &c.Timezone},
			{"E-mail address for a certificate of Let's Encrypt, whose terms you accept with it [none]: ", &c.Email},
		} {
			if *q.into != "" || q.into == &c.Email && c.TLSCert != "" {
				continue
			}
			fmt.Fprint(out, q.text)
			line, err := answers.ReadString('\n')
			if err != nil && err != io.EOF {
				return fmt.Errorf("cannot read an answer: %w", err)
			}
			*q.into = strings.TrimSpace(line)
		}
		fmt.Fprintln(out)
	}
	return c.check()
}

// check finds all that is wrong with the answers at once.
func (c *initCommand) check() error {
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	c.Host, c.Site = strings.ToLower(c.Host), strings.TrimSuffix(strings.ToLower(c.Site), "/")
	_, notAddress := netip.ParseAddr(c.Host)
	bad(hostForm.MatchString(c.Host) && len(c.Host) <= hostBytesMax && notAddress != nil, "cannot use host %q: give --host a name such as track.shop.example", c.Host)
	bad(c.siteHost() != "", "cannot use site %q: give --site scheme and host, such as https://shop.example", c.Site)
	bad(c.Email == "" || mailForm.MatchString(c.Email), "cannot use this e-mail address: give --email one such as you@shop.example")
	bad((c.TLSCert == "") == (c.TLSKey == ""), "cannot use a certificate without its key: give --tls-cert and --tls-key")
	bad(c.Email == "" || c.TLSCert == "", "cannot use --email and --tls-cert: the certificate comes from Let's Encrypt or from you")
	for _, path := range []string{c.Data, c.TLSCert, c.TLSKey} {
		bad(pathForm.MatchString(path), "cannot write path %q into the settings: choose one of letters, digits and / . _ + -", path)
	}
	for _, path := range []string{c.TLSCert, c.TLSKey} {
		if path != "" {
			_, err := os.Stat(path)
			bad(err == nil, "cannot find the certificate or its key: %w", err)
		}
	}
	return errors.Join(errs...)
}

// siteHost is the host of the site without port; empty: the site is no origin.
func (c *initCommand) siteHost() string {
	host, ok := strings.CutPrefix(c.Site, "https://")
	if !ok {
		if host, ok = strings.CutPrefix(c.Site, "http://"); !ok {
			return ""
		}
	}
	if name, port, ok := strings.Cut(host, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return ""
		}
		host = name
	}
	if !hostForm.MatchString(host) || len(host) > hostBytesMax {
		return ""
	}
	return host
}

// app is the app to make, but for its token.
func (c *initCommand) app() (*spoor.App, error) {
	if c.Name == "" {
		c.Name = strings.ReplaceAll(strings.TrimPrefix(c.siteHost(), "www."), ".", "-")
	}
	if !spoor.ValidAppName(c.Name) {
		return nil, fmt.Errorf("cannot name the app %q: give --name 1 to 63 of a-z, 0-9 and -, with no - at the ends", c.Name)
	}
	settings := spoor.DefaultSettings("UTC")
	if c.Timezone == "" {
		c.Timezone = "UTC"
	}
	for name, value := range map[string]string{"timezone": c.Timezone, "origins": c.Site} {
		s, err := spoor.SettingByName(name)
		if err == nil {
			err = s.Set(&settings, value, time.Time{}) // a new app begins in its zone
		}
		if err != nil {
			return nil, err
		}
	}
	now := time.Now().UnixMilli()
	return &spoor.App{
		Name: c.Name, Created: now, Settings: settings,
		Keys: []spoor.WriteKey{{Key: rand.Text(), Label: "widget", Created: now}},
	}, nil
}

// makeApp makes the store with its first app, and enters it in the audit log
// as a running server does.
func (c *initCommand) makeApp(app *spoor.App) error {
	st, err := store.Open(store.Options{Dir: c.Data, Log: newLog("error")})
	if err != nil {
		return err
	}
	if n := len(st.AllApps()); n > 0 {
		return errors.Join(fmt.Errorf("%s holds %d apps already; start with: spoor serve --data %[1]s, and add apps with: spoor app create", c.Data, n), st.Close())
	}
	made, err := st.CreateApp(app)
	if err == nil {
		err = st.Audit(spoor.Access{At: app.Created, Actor: spoor.ActorOperator, Role: spoor.RoleAdmin, App: made.ID, Action: "apps.create", Complete: true})
	}
	return errors.Join(err, st.Close())
}

// giveToUser makes the service's user own the data and read the settings, if
// root sets up for one. Nothing of that user runs yet, so nobody can put a link
// into the way; links are not followed anyway.
func (c *initCommand) giveToUser() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		var unknown user.UnknownUserError
		if errors.As(err, &unknown) {
			return nil
		}
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("cannot use the number %q of user %s", u.Uid, c.User)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return fmt.Errorf("cannot use the group %q of user %s", u.Gid, c.User)
	}
	if err := os.Lchown(c.Env, 0, gid); err != nil {
		return err
	}
	data, err := os.OpenRoot(c.Data)
	if err != nil {
		return err
	}
	defer data.Close()
	return fs.WalkDir(data.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, data.Lchown(path, uid, gid))
	})
}

// settings is the file that the service reads.
func (c *initCommand) settings() string {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, value) }
	b.WriteString("# Written by spoor init. After a change: systemctl restart spoor\n")
	line("SPOOR_DATA", c.Data)
	switch {
	case c.TLSCert != "":
		line("SPOOR_LISTEN", ":443")
		line("SPOOR_HTTP", ":80")
		line("SPOOR_TLS_CERT", c.TLSCert)
		line("SPOOR_TLS_KEY", c.TLSKey)
	case c.Email != "":
		line("SPOOR_LISTEN", ":443")
		line("SPOOR_HTTP", ":80")
		line("SPOOR_ACME", c.Host)
		line("SPOOR_ACME_EMAIL", c.Email)
	default:
		line("SPOOR_LISTEN", "127.0.0.1:8080")
		line("SPOOR_TRUSTED_PROXIES", "127.0.0.1,::1")
		line("SPOOR_PUBLIC_URL", "https://"+c.Host) // what speaks https stands before spoor
	}
	line("SPOOR_ADMIN", "127.0.0.1:8081")
	if c.App {
		line("SPOOR_APP", "true")
	}
	geoip := filepath.Join(c.Data, "geoip")
	if there, _ := filepath.Glob(filepath.Join(geoip, "*.mmdb")); len(there) == 0 { // the pattern is well formed
		b.WriteString("# Places need a database: sudo -u spoor spoor geoip update fetches one; then take the # away.\n#")
	}
	line("SPOOR_GEOIP", geoip)
	return b.String()
}

// explain prints the result, with the token's only appearance.
func (c *initCommand) explain(w io.Writer, app *spoor.App, token string) {
	fmt.Fprintf(w, "app %s, days in %s, takes hits of pages of %s\n\n", app.Name, c.Timezone, c.Site)
	fmt.Fprintf(w, "Put this into every page:\n\n  <script async src=\"https://%s/widget.js\" data-key=\"%s\"></script>\n\n", c.Host, app.Keys[0].Key)
	if c.App {
		fmt.Fprintf(w, "Log in at https://%s/app/ with this token, which is shown only now:\n\n  %s\n\n", c.Host, token)
	} else {
		fmt.Fprintf(w, "Read with this token of the role admin, which is shown only now:\n\n  %s\n\n", token)
	}
	switch {
	case c.TLSCert != "":
		fmt.Fprintf(w, "The certificate is read again whenever %s changes. ", c.TLSCert)
	case c.Email != "":
		fmt.Fprintf(w, "The name %s must lead to this machine, and ports 80 and 443 be open. ", c.Host)
	default:
		fmt.Fprintf(w, "Let a web server on this machine answer https://%s and pass it on to http://127.0.0.1:8080. ", c.Host)
	}
	fmt.Fprintf(w, "Settings stand in %s. Next:\n\n  systemctl enable --now spoor\n  spoor tail --app %s --data %s\n", c.Env, app.Name, c.Data)
}
