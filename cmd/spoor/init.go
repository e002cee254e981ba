package main

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/publicsuffix"

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
	Env  string `help:"File of the settings. [${default}]" default:"${settings}" placeholder:"FILE" type:"path"`
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
	if c.TLSCert != "" && c.TLSKey != "" {
		errs = append(errs, c.checkCertificate())
	}
	return errors.Join(errs...)
}

// checkCertificate refuses what no browser would take, and what the service
// could not read.
func (c *initCommand) checkCertificate() error {
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return fmt.Errorf("cannot use certificate %s with key %s: %w; give --tls-cert and --tls-key two PEM files that belong together", c.TLSCert, c.TLSKey, err)
	}
	var errs []error
	if err := pair.Leaf.VerifyHostname(c.Host); err != nil {
		errs = append(errs, fmt.Errorf("cannot use certificate %s: %w; give --tls-cert one of that name", c.TLSCert, err))
	}
	if ended := pair.Leaf.NotAfter; time.Now().After(ended) {
		errs = append(errs, fmt.Errorf("cannot use certificate %s: it ended on %s; renew it", c.TLSCert, ended.UTC().Format(time.DateOnly)))
	}
	service, err := c.serviceUser()
	if err != nil || service == nil { // then it is whoever runs this, who has read both
		return errors.Join(append(errs, err)...)
	}
	for _, path := range []string{c.TLSCert, c.TLSKey} {
		test := exec.Command("test", "-r", path) // the kernel alone knows all that the answer hangs on
		test.SysProcAttr = &syscall.SysProcAttr{Credential: service}
		switch err := test.Run(); {
		case errors.As(err, new(*exec.ExitError)):
			errs = append(errs, fmt.Errorf("cannot use %s: user %s may not read it; give the user a copy: install -o root -g %[2]s -m 0640 %[1]s %[3]s", path, c.User, filepath.Dir(c.Env)))
		case err != nil:
			errs = append(errs, fmt.Errorf("cannot find out whether user %s may read %s: %w", c.User, path, err))
		}
	}
	return errors.Join(errs...)
}

// serviceUser is who will run the service; nil: whoever runs this.
func (c *initCommand) serviceUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(c.User)
	if errors.As(err, new(user.UnknownUserError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look user %s up: %w", c.User, err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("cannot look the groups of user %s up: %w", c.User, err)
	}
	var ids []uint32
	for _, id := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("cannot use the number %q of user %s or of a group of its", id, c.User)
		}
		ids = append(ids, uint32(n))
	}
	return &syscall.Credential{Uid: ids[0], Gid: ids[1], Groups: ids[2:]}, nil
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

// origins are the site's own and that of its other spelling: visitors come to
// shop.example as well as to www.shop.example. Other names have one.
func (c *initCommand) origins() []string {
	host := c.siteHost()
	bare := strings.TrimPrefix(host, "www.")
	if domain, err := publicsuffix.EffectiveTLDPlusOne(bare); err != nil || domain != bare {
		return []string{c.Site}
	}
	other := "www." + bare
	if host == other {
		other = bare
	}
	return []string{c.Site, strings.Replace(c.Site, host, other, 1)}
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
	for name, value := range map[string]string{"timezone": c.Timezone, "origins": strings.Join(c.origins(), ",")} {
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
	service, err := c.serviceUser()
	if err != nil || service == nil {
		return err
	}
	if err := os.Lchown(c.Env, 0, int(service.Gid)); err != nil {
		return err
	}
	data, err := os.OpenRoot(c.Data)
	if err != nil {
		return err
	}
	defer data.Close()
	return fs.WalkDir(data.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, data.Lchown(path, int(service.Uid), int(service.Gid)))
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
	if !c.knowsPlaces() {
		fmt.Fprintf(&b, "# Places need a database: %s fetches one; then take the # away.\n#", c.fetchPlaces())
	}
	line("SPOOR_GEOIP", c.places())
	return b.String()
}

// places is the directory of the databases of places.
func (c *initCommand) places() string { return filepath.Join(c.Data, "geoip") }

func (c *initCommand) knowsPlaces() bool {
	there, _ := filepath.Glob(filepath.Join(c.places(), "*.mmdb")) // the pattern is well formed
	return len(there) > 0
}

// fetchPlaces is the command that fetches a database as the one who will read it.
func (c *initCommand) fetchPlaces() string {
	command := "spoor geoip update --to " + c.places()
	if service, err := c.serviceUser(); err == nil && service != nil {
		return "sudo -u " + c.User + " " + command
	}
	return command
}

// explain prints the result, with the token's only appearance.
func (c *initCommand) explain(w io.Writer, app *spoor.App, token string) {
	fmt.Fprintf(w, "app %s, days in %s, takes hits of pages of %s\n\n", app.Name, c.Timezone, strings.Join(app.Settings.Origins, " and "))
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
	if !c.knowsPlaces() {
		fmt.Fprintf(w, "Places stay unknown without a database: %s fetches one; then take the # before SPOOR_GEOIP in %s away. ", c.fetchPlaces(), c.Env)
	}
	fmt.Fprintf(w, "Settings stand in %s. Next:\n\n  systemctl enable --now spoor\n  spoor tail --app %s", c.Env, app.Name)
	if c.Env != settingsFile() { // where the commands look for the directory
		fmt.Fprintf(w, " --data %s", c.Data)
	}
	fmt.Fprintln(w)
}
