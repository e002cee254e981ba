package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spoorhq/spoor/ingest"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/store"
)

const (
	socketName   = "spoor.sock"
	drainTimeout = 9 * time.Second // so that all has ended within ten
)

// Run wires the stages and serves until a signal:
//
//	collector ─▶ ingest ─▶ enrich ─▶ store ◀─ query ◀─ read side, unix socket
func (c *serveCommand) Run() error {
	if err := errors.Join(c.Limits.check(), c.Store.check()); err != nil {
		return err
	}
	if err := c.checkLogin(); err != nil {
		return err
	}
	log := newLog(c.Log)
	now, err := clock(c.Clock)
	if err != nil {
		return err
	}
	if c.Clock != "" && !c.Demo {
		return errors.New("cannot use --clock without --demo: with a wrong date people would be forgotten before their time")
	}
	memory := c.boundMemory(log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.Demo {
		if err := loopbackOnly(c.addresses()...); err != nil {
			return err
		}
		for _, p := range []string{"127.0.0.0/8", "::1/128"} {
			c.TrustedProxies = append(c.TrustedProxies, network(netip.MustParsePrefix(p)))
		}
	}
	st, err := c.open(memory, now, log)
	if err != nil {
		return err
	}
	for _, a := range st.AllApps() {
		if c.Clock != "" && !a.Demo {
			return errors.Join(fmt.Errorf("cannot use --clock: app %q is no demo app, and its people would be forgotten before their time; use --data to choose another folder", a.Name), st.Close())
		}
	}
	if c.Clock != "" {
		log.Warn("THE CLOCK IS NOT THE SYSTEM'S: --clock sets it, for a demonstration", "now", now().UTC().Format(time.RFC3339))
	}
	served := c.serve(ctx, st, now, log)
	return errors.Join(served, st.Close())
}

func (c *serveCommand) serve(ctx context.Context, st *store.Store, now func() time.Time, log *slog.Logger) error {
	if err := c.prepareDemo(st, now); err != nil {
		return err
	}
	feeds, err := c.Feed.feeds(log)
	if err != nil {
		return err
	}
	kept, err := c.keep(st, now, log, keepOptions{feeds: feeds, reads: func(o *query.Options) { o.Privacy = c.privacy(now) }})
	if err != nil {
		return err
	}
	taken, err := c.take(st, st, c.Data, now, log, func(o *ingest.Options) {
		o.Object = kept.answer.Object
		if c.PublicAPI {
			o.Fallback = kept.answer.Handler()
		}
		if c.App {
			o.Fallback = kept.answer.AppHandler(o.Fallback)
		}
		if c.Demo {
			o.Pages = (&demoPage{store: st}).pages()
		}
	})
	if err != nil {
		return err
	}
	kept.figures.watchTake(taken)
	return c.run(ctx, kept, taken, log)
}

// run listens, serves, and drains when ctx ends: what is in flight is
// answered, what was acknowledged is on disk.
func (c *serveCommand) run(ctx context.Context, kept *keep, taken *take, log *slog.Logger) error {
	if _, port, err := net.SplitHostPort(c.Listen); err == nil && port != "0" && c.Listen == c.Admin {
		return fmt.Errorf("cannot take hits and answer reads on the same address %s; give --listen and --admin two", c.Listen)
	}
	if err := taken.listen(); err != nil {
		return err
	}
	if err := kept.listen(); err != nil {
		return errors.Join(err, taken.front.close())
	}
	life := newLife(ctx, log)
	taken.serve(life)
	kept.serve(life)
	log.Info("serving", "collector", taken.front.listener.Addr(), "read_side", kept.private.Addr(), "data", c.Data, "apps", len(kept.store.AllApps()))
	c.greet(os.Stdout, kept.store, taken.front.scheme(), taken.front.listener.Addr(), kept.private.Addr())
	cause := life.await()
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- kept.answer.Shutdown(drain) }() // ends streams, also those that go out by the collector
	err := errors.Join(cause, taken.collector.Shutdown(drain), <-ended)
	return errors.Join(err, kept.end())
}

// network is a range of addresses as a flag gives it: 10.0.0.0/8, or one address.
type network netip.Prefix

func (n *network) UnmarshalText(text []byte) error {
	if a, err := netip.ParseAddr(string(text)); err == nil {
		*n = network(netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil {
		return fmt.Errorf("%q is no network; give addresses like 10.0.0.0/8 or 192.0.2.7, with commas between", text)
	}
	*n = network(p)
	return nil
}

func prefixes(list []network) (out []netip.Prefix) {
	for _, n := range list {
		out = append(out, netip.Prefix(n))
	}
	return out
}

func listen(address, flag, variable string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: another program does; choose another address with %s or %s", address, flag, variable)
	case errors.Is(err, syscall.EACCES):
		return nil, mayNotListen(address, flag, variable)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with %s or %s", address, err, flag, variable)
	}
	return l, nil
}

// listenSocket opens the operator's way in. Whoever can open the file may do
// everything, so only the owner can. The store's lock proves that a socket
// left in the directory belongs to nobody.
func listenSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove the old socket: %w", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", shortPath(path))
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("cannot open the socket %s: %w; if its path is longer than 100 bytes, choose a shorter --data", path, err)
	}
	return l, nil
}

// shortPath is the path relative to the working directory if that is shorter:
// the name of a unix socket has room for some 100 bytes.
func shortPath(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

// lastingSecret reads a random secret, or makes it on the first start.
func lastingSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) == 32 {
		return secret, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the server's secret: %w", err)
	}
	secret = make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("cannot make the server's secret: %w", err)
	}
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		return nil, fmt.Errorf("cannot keep the server's secret: %w", err)
	}
	return secret, nil
}
