package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/enrich"
	"github.com/spoorhq/spoor/ingest"
	"github.com/spoorhq/spoor/store"
	"github.com/valyala/fasthttp"
)

// The helpers that run in processes of their own are this program under
// another first argument. Each prints the address on which it listens, and
// ends with a signal.
const (
	commandBare    = "bare-server"
	commandBrokers = "brokers"      // DIR
	commandFront   = "front-server" // DIR
	commandWired   = "wired-server" // DIR CPU-PROFILE HEAP-PROFILE; empty: none
	commandPlain   = "plain-server" // DIR
)

// As spoor serve sets them.
const (
	memoryBytes = 400 << 20
	gcPercent   = 200
)

// demoKey is write key and name of the open app of serve --demo.
const demoKey = "demo"

// serveBare answers 204 to everything: what HTTP itself costs.
func serveBare() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	fmt.Printf("collector=%s\n", ln.Addr())
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) }}
	go func() {
		<-ctx.Done()
		ln.Close()
	}()
	if err := server.Serve(ln); err != nil && ctx.Err() == nil {
		return fmt.Errorf("cannot serve: %w", err)
	}
	return nil
}

// serveFront takes, decodes and enriches as spoor does, and stores nothing:
// between bare and this is what the front costs, between this and spoor what
// keeping costs.
func serveFront(dir string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	debug.SetMemoryLimit(memoryBytes)
	debug.SetGCPercent(gcPercent)
	st, err := store.Open(store.Options{Dir: dir}) // the app is in it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	collector, err := wire(st, discard{})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	fmt.Printf("collector=%s\n", ln.Addr())
	served := make(chan error, 1)
	go func() { served <- collector.Serve(ln) }()
	<-ctx.Done()
	return errors.Join(collector.Shutdown(context.Background()), <-served)
}

// discard is a Sink that calls every hit stored.
type discard struct{}

func (discard) Write(hits []spoor.Hit) error {
	for i := range hits {
		hits[i].Outcome = spoor.Stored
	}
	return nil
}

// serveWired is what spoor serve --demo wires for writing, with roll-ups or
// without. From SIGUSR1 on it takes a profile of its CPU time, which the real
// program does not offer.
func serveWired(dir, cpu, heap string, skipRollUps bool) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begin := make(chan os.Signal, 1)
	signal.Notify(begin, syscall.SIGUSR1)
	debug.SetMemoryLimit(memoryBytes)
	debug.SetGCPercent(gcPercent)
	st, err := store.Open(store.Options{Dir: dir, SkipRollUps: skipRollUps})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	collector, err := wire(st, st)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	fmt.Printf("collector=%s\n", ln.Addr())
	served := make(chan error, 1)
	go func() { served <- collector.Serve(ln) }()
	select {
	case <-begin:
		err = profileUntil(ctx, cpu, heap)
	case <-ctx.Done():
	}
	return errors.Join(err, collector.Shutdown(context.Background()), <-served)
}

// wire puts the stages together, with the demo app.
func wire(st *store.Store, next spoor.Sink) (*ingest.Server, error) {
	now := time.Now().UnixMilli()
	settings := spoor.DefaultSettings("UTC")
	settings.EventsPerMinute, settings.TrustSender = 0, true
	keys := []spoor.WriteKey{{Key: demoKey, Created: now}}
	var err error
	if was := st.AppByName(demoKey); was != nil { // a store that is measured again, or a large one
		_, err = st.UpdateApp(was.ID, func(a *spoor.App) error { a.Settings, a.Keys = settings, keys; return nil })
	} else {
		_, err = st.CreateApp(&spoor.App{Name: demoKey, Created: now, Settings: settings, Keys: keys})
	}
	if err != nil {
		return nil, err
	}
	return stages(st, next)
}

// appTable answers whose key and whose hit it is.
type appTable interface {
	ingest.Apps
	enrich.Apps
}

// stages puts collector and enricher in front of a sink.
func stages(apps appTable, next spoor.Sink) (*ingest.Server, error) {
	enricher, err := enrich.New(enrich.Options{Next: next, Apps: apps})
	if err != nil {
		return nil, err
	}
	return front(apps, enricher)
}

// front is the collector alone.
func front(apps appTable, next spoor.Sink) (*ingest.Server, error) {
	return ingest.New(ingest.Options{Sink: next, Apps: apps, TrustedProxies: []netip.Prefix{netip.MustParsePrefix(loopback)}})
}

// profileUntil writes the profiles that are asked for.
func profileUntil(ctx context.Context, cpu, heap string) (err error) {
	if cpu != "" {
		f, err := os.Create(cpu)
		if err != nil {
			return fmt.Errorf("cannot write the profile: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("cannot start the profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	<-ctx.Done()
	if heap == "" {
		return nil
	}
	f, err := os.Create(heap)
	if err != nil {
		return fmt.Errorf("cannot write the profile: %w", err)
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}
