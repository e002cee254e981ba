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
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/enrich"
	"github.com/spoorhq/spoor/ingest"
	"github.com/spoorhq/spoor/ingest/certs"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/retention"
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
	if err := c.Limits.check(); err != nil {
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
	memory := c.Limits.boundMemory(log)
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
	st, err := store.Open(store.Options{
		Dir: c.Data, Log: log, Now: now, MemoryBytes: memory, QueueBytesMax: c.Limits.QueueBytesMax, ReserveBytes: c.Limits.ReserveBytes,
	})
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
	keeper, err := c.HTTPS.keeper(c.Data, now, log)
	if err != nil {
		return err
	}
	enricher, err := enrich.New(enrich.Options{Next: st, Apps: st, GeoIPPath: c.GeoIP, TempDir: c.Data, Now: now, Log: log})
	if err != nil {
		return err
	}
	secret, err := lastingSecret(filepath.Join(c.Data, "secret"))
	if err != nil {
		return err
	}
	figures := newMetrics()
	figures.queueMax = c.Limits.QueueBytesMax
	sweeper := retention.New(retention.Options{Store: st, Now: now, Log: log, Grace: c.SweepGrace})
	reads := query.Options{
		Now: now, Retention: sweeper, Store: st, Apps: st, Metrics: figures.write, Figures: figures.figures, PrivateMetrics: !isLoopback(c.Admin), Secret: secret,
		PublicURL: c.PublicURL, Version: version(), Log: log, Privacy: c.privacy(now),
	}
	if c.AdminToken != "" {
		reads.AdminTokenHash = spoor.HashToken(c.AdminToken)
	}
	answer, err := query.New(reads)
	if err != nil {
		return err
	}
	l := c.Limits
	take := ingest.Options{
		Now: now, Sink: enricher, Apps: st, SaltFile: filepath.Join(c.Data, "salts"), TrustedProxies: prefixes(c.TrustedProxies), Log: log,
		BodyBytesMax: l.BodyBytesMax, InflatedBytesMax: l.InflatedBytesMax, InFlightBytesMax: l.InFlightBytesMax,
		EventsMax: l.EventsMax, EventBytesMax: l.EventBytesMax, JSONDepthMax: l.JSONDepthMax,
		HeaderCountMax: l.HeaderCountMax, HeaderBytesMax: l.HeaderBytesMax,
		ConnectionsMax: l.ConnectionsMax, ConnectionsPerAddressMax: l.ConnectionsPerAddressMax,
		ReadTimeout: l.ReadTimeout, WriteTimeout: l.WriteTimeout, IdleTimeout: l.IdleTimeout,
	}
	take.Object = answer.Object
	if c.PublicAPI {
		take.Fallback = answer.Handler()
	}
	if c.App {
		take.Fallback = answer.AppHandler(take.Fallback)
	}
	if c.Demo {
		take.Pages = (&demoPage{store: st}).pages()
	}
	collector, err := ingest.New(take)
	if err != nil {
		return err
	}
	notifier := retention.NewNotifier(st, now, log, c.WebhookPrivate)
	figures.watch(st, enricher, collector, answer, sweeper, notifier)
	figures.keeper = keeper
	return c.run(ctx, keeper, st, enricher, collector, answer, sweeper, notifier, log)
}

// run listens, serves, and drains when ctx ends: what is in flight is
// answered, what was acknowledged is on disk.
func (c *serveCommand) run(ctx context.Context, keeper *certs.Keeper, st *store.Store, enricher *enrich.Enricher, collector *ingest.Server, answer *query.Server, sweeper *retention.Sweeper, notifier *retention.Notifier, log *slog.Logger) error {
	if _, port, err := net.SplitHostPort(c.Listen); err == nil && port != "0" && c.Listen == c.Admin {
		return fmt.Errorf("cannot take hits and answer reads on the same address %s; give --listen and --admin two", c.Listen)
	}
	public, err := c.openFront(keeper)
	if err != nil {
		return err
	}
	private, err := listen(c.Admin, "--admin", "SPOOR_ADMIN")
	if err != nil {
		return errors.Join(err, public.close())
	}
	local, err := listenSocket(filepath.Join(c.Data, socketName))
	if err != nil {
		return errors.Join(err, public.close(), private.Close())
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	start := func(name string, f func() error) {
		go func() {
			if err := f(); err != nil {
				stop(fmt.Errorf("cannot go on serving the %s: %w", name, err))
			}
		}()
	}
	public.serve(ctx, collector, start, log)
	start("read side", func() error { return answer.Serve(private) })
	start("unix socket", func() error { return answer.ServeLocal(local) })
	go enricher.Run(ctx)
	var kept sync.WaitGroup // what writes to the store by itself
	kept.Go(func() { sweeper.Run(ctx) })
	kept.Go(func() { notifier.Run(ctx) })
	log.Info("serving", "collector", public.listener.Addr(), "read_side", private.Addr(), "data", c.Data, "apps", len(st.AllApps()))
	c.greet(os.Stdout, st, public.scheme(), public.listener.Addr(), private.Addr())
	tellSupervisor(daemon.SdNotifyReady, log)

	<-ctx.Done()
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		cause = nil // a signal
	}
	log.Info("stopping: finishing what is in flight")
	tellSupervisor(daemon.SdNotifyStopping, log)
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- answer.Shutdown(drain) }() // ends streams, also those that go out by the collector
	err = errors.Join(cause, collector.Shutdown(drain), <-ended)
	kept.Wait()
	return err
}

// tellSupervisor tells systemd, if it is that which started us, how far we are:
// what it starts after us finds us serving.
func tellSupervisor(state string, log *slog.Logger) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot tell the supervisor, which may take us for hanging", "state", state, "error", err)
	}
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
