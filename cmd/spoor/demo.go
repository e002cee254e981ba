package main

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

const demoName = "demo"

// prepareDemo makes the open app, and keeps a store that has one off the
// network: anyone could read it.
func (c *serveCommand) prepareDemo(st *store.Store, clock func() time.Time) error {
	if err := demoStays(st.AppByName(demoName), c.addresses()...); err != nil {
		return err
	}
	app := st.AppByName(demoName)
	if !c.Demo || app != nil && app.Demo {
		return nil
	}
	if app != nil {
		return fmt.Errorf("cannot open the demo app: an app of that name exists; use --data to choose another folder for the demo")
	}
	now := clock().UnixMilli()
	settings := spoor.DefaultSettings("UTC")
	settings.EventsPerMinute, settings.RequestsPerMin, settings.TrustSender = 0, 0, true
	_, err := st.CreateApp(&spoor.App{
		Name: demoName, Created: now, Demo: true, Settings: settings,
		Keys:   []spoor.WriteKey{{Key: demoName, Label: demoName, Created: now}},
		Tokens: []spoor.Token{{Name: demoName, Role: spoor.RoleAdmin, Hash: spoor.HashToken(demoName), Created: now}},
	})
	return err
}

// demoStays keeps the demo app, if that is it, off the network.
func demoStays(app *spoor.App, addresses ...string) error {
	if app == nil || !app.Demo {
		return nil
	}
	return loopbackOnly(addresses...)
}

// addresses are all that are listened on.
func (c *serveCommand) addresses() []string {
	if c.HTTPS.HTTP == "" {
		return []string{c.Listen, c.Admin}
	}
	return []string{c.Listen, c.Admin, c.HTTPS.HTTP}
}

// loopbackOnly refuses addresses that others can reach.
func loopbackOnly(addresses ...string) error {
	for _, a := range addresses {
		if !isLoopback(a) {
			return fmt.Errorf("cannot serve the demo app on %s: its key and token are known to everyone; use a 127.0.0.1 address, or delete it with: spoor app delete demo", a)
		}
	}
	return nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// greet prints what to do next.
func (c *serveCommand) greet(w io.Writer, st *store.Store, scheme string, public, private net.Addr) {
	if !c.Demo {
		if len(st.AllApps()) == 0 {
			fmt.Fprintf(w, "No app exists yet. Make one:\n\n  spoor app create NAME --timezone Europe/Warsaw --data %s\n\n", c.Data)
		}
		return
	}
	fmt.Fprintf(w, `spoor is ready. Open the dashboard, with the token demo, and beside it a page with the widget:

  http://%[2]s/
  %[3]s://%[1]s/demo

Or try, in another shell:

  curl -s %[3]s://%[1]s/hit -H 'X-Forwarded-For: 203.0.113.7' -A 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1' -d '{"write_key":"demo","key":"8Uh7Fp9wMj5l","url":"https://shop.example/shoes?utm_source=news"}'

  curl -s 'http://%[2]s/api/public/users/search/?key=8Uh7Fp9wMj5l' -H 'Authorization: Token demo'

  curl -sN http://%[2]s/api/tail -H 'Authorization: Token demo'

The first sends a hit, the second reads the profile back, the third shows hits as they arrive.
`, public, private, scheme)
}
