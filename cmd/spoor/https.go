package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spoorhq/spoor/ingest"
	"github.com/spoorhq/spoor/ingest/certs"
)

// httpsFlags make --listen speak TLS.
type httpsFlags struct {
	TLSCert string `name:"tls-cert" help:"Certificate with its chain, PEM: --listen speaks https. Read again when it changes." env:"SPOOR_TLS_CERT" placeholder:"FILE"`
	TLSKey  string `name:"tls-key" help:"Its key, PEM." env:"SPOOR_TLS_KEY" placeholder:"FILE"`
	HTTP    string `name:"http" help:"Address of plain HTTP beside https, such as :80: sends browsers on to https, refuses all else." env:"SPOOR_HTTP" placeholder:"HOST:PORT"`

	ACME          []string `name:"acme" help:"Host names to fetch certificates for, by comma: --listen speaks https. This accepts the terms of service of the certificate authority, and calls it." env:"SPOOR_ACME" placeholder:"HOST"`
	ACMEEmail     string   `name:"acme-email" help:"Address that the authority writes to when something is wrong." env:"SPOOR_ACME_EMAIL" placeholder:"ADDRESS"`
	ACMEDirectory string   `name:"acme-directory" help:"Directory of another authority than Let's Encrypt." env:"SPOOR_ACME_DIRECTORY" placeholder:"URL"`
	ACMECA        string   `name:"acme-ca" help:"Roots of a private authority's own server, PEM." env:"SPOOR_ACME_CA" placeholder:"FILE"`
}

func (f *httpsFlags) given() bool { return f.TLSCert != "" || f.TLSKey != "" || len(f.ACME) > 0 }

// keeper holds the certificates; nil where https is not asked for.
func (f *httpsFlags) keeper(data string, now func() time.Time, log *slog.Logger) (*certs.Keeper, error) {
	switch {
	case !f.given() && f.HTTP != "":
		return nil, errors.New("cannot use --http without https to lead to; give --tls-cert and --tls-key, or --acme")
	case len(f.ACME) == 0 && (f.ACMEEmail != "" || f.ACMEDirectory != "" || f.ACMECA != ""):
		return nil, errors.New("cannot use --acme-email, --acme-directory or --acme-ca without --acme; name the hosts with it")
	case !f.given():
		return nil, nil
	}
	return certs.New(certs.Options{
		CertFile: f.TLSCert, KeyFile: f.TLSKey, Now: now, Log: log,
		ACME: certs.ACME{
			Hosts: f.ACME, Email: f.ACMEEmail, Directory: f.ACMEDirectory, CAFile: f.ACMECA,
			Dir: filepath.Join(data, "acme"), HTTP: f.HTTP != "",
		},
	})
}

// checkLogin keeps secrets from being typed into a page that everybody on the
// way can read.
func (c *serveCommand) checkLogin() error {
	if c.App && !c.HTTPS.given() && !isLoopback(c.Listen) && len(c.TrustedProxies) == 0 {
		return fmt.Errorf("cannot serve a login on %s without https; give --tls-cert and --tls-key, or --acme, or name the proxy that speaks https before it with --trusted-proxies", c.Listen)
	}
	return nil
}

// front is how the public sees the collector.
type front struct {
	listener net.Listener
	clear    net.Listener  // plain HTTP beside https; nil: none
	keeper   *certs.Keeper // nil: public is plain HTTP
}

func (c *takeFlags) openFront(keeper *certs.Keeper) (f front, err error) {
	f.keeper = keeper
	if f.listener, err = listen(c.Listen, "--listen", "SPOOR_LISTEN"); err != nil {
		return f, err
	}
	if c.HTTPS.HTTP != "" {
		if f.clear, err = listen(c.HTTPS.HTTP, "--http", "SPOOR_HTTP"); err != nil {
			return f, errors.Join(err, f.listener.Close())
		}
	}
	return f, nil
}

func (f *front) close() error {
	if f.clear == nil {
		return f.listener.Close()
	}
	return errors.Join(f.listener.Close(), f.clear.Close())
}

func (f *front) scheme() string {
	if f.keeper == nil {
		return "http"
	}
	return "https"
}

// serve starts what the public reaches.
func (f *front) serve(ctx context.Context, collector *ingest.Server, start func(string, func() error), log *slog.Logger) {
	if f.keeper == nil {
		start("collector", func() error { return collector.Serve(f.listener) })
		return
	}
	start("collector", func() error { return collector.ServeTLS(f.listener, f.keeper.TLSConfig()) })
	if f.clear != nil {
		_, port, _ := net.SplitHostPort(f.listener.Addr().String()) // our own listener's
		to := ingest.Clear{Covers: f.keeper.Covers, Port: port, Challenge: f.keeper.Answer}
		start("port of plain HTTP", func() error { return collector.ServeClear(f.clear, to) })
	}
	go f.keeper.Run(ctx)
	s := f.keeper.Stats()
	about := []any{"address", f.listener.Addr(), "names", strings.Join(s.Names, " ")}
	if s.Ends.IsZero() {
		about = append(about, "until", "there is no certificate yet")
	} else {
		about = append(about, "until", s.Ends.UTC().Format(time.RFC3339))
	}
	if f.clear != nil {
		about = append(about, "http", f.clear.Addr())
	}
	log.Info("serving https", about...)
}

// mayNotListen says how to use a port that is the machine's own.
func mayNotListen(address, flag, variable string) error {
	return fmt.Errorf("cannot listen on %s: ports below 1024 are not for everybody; allow it with AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit or setcap cap_net_bind_service=+ep on the program, or choose another address with %s or %s", address, flag, variable)
}
