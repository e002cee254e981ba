package main

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/query"
	"github.com/spoorhq/spoor/retention"
	"github.com/spoorhq/spoor/store"
)

// keep is the half that keeps hits and answers for them.
type keep struct {
	flags      *keepFlags
	store      *store.Store
	sweeper    *retention.Sweeper
	notifier   *retention.Notifier
	outlet     *query.Outlet
	answer     *query.Server
	figures    *metrics
	private    net.Listener
	local      net.Listener
	background sync.WaitGroup // what writes to the store by itself
}

// open opens the store.
func (f *keepFlags) open(memory int64, now func() time.Time, log *slog.Logger) (*store.Store, error) {
	return store.Open(store.Options{
		Dir: f.Data, Log: log, Now: now, MemoryBytes: memory, QueueBytesMax: f.Store.QueueBytesMax, ReserveBytes: f.Store.ReserveBytes,
	})
}

// keep wires what is around the store; more sets further options of the read side.
func (f *keepFlags) keep(st *store.Store, now func() time.Time, log *slog.Logger, more func(*query.Options)) (*keep, error) {
	secret, err := lastingSecret(filepath.Join(f.Data, "secret"))
	if err != nil {
		return nil, err
	}
	k := &keep{flags: f, store: st, figures: newMetrics()}
	k.figures.queueMax = f.Store.QueueBytesMax
	k.sweeper = retention.New(retention.Options{Store: st, Now: now, Log: log, Grace: f.SweepGrace})
	k.outlet = query.NewOutlet(query.OutletOptions{Store: st, Apps: st, Now: now, Log: log, Private: f.WebhookPrivate, RetryFirst: f.FeedRetry})
	reads := query.Options{
		Now: now, Outlet: k.outlet, Retention: k.sweeper, Store: st, Apps: st, Metrics: k.figures.write, Figures: k.figures.figures, PrivateMetrics: !isLoopback(f.Admin), Secret: secret,
		PublicURL: f.PublicURL, Version: version(), Log: log,
	}
	if f.AdminToken != "" {
		reads.AdminTokenHash = spoor.HashToken(f.AdminToken)
	}
	more(&reads)
	if k.answer, err = query.New(reads); err != nil {
		return nil, err
	}
	k.notifier = retention.NewNotifier(st, now, log, f.WebhookPrivate)
	k.figures.watchKeep(k)
	return k, nil
}

// listen opens the read side's address and the operator's way in.
func (k *keep) listen() (err error) {
	if k.private, err = listen(k.flags.Admin, "--admin", "SPOOR_ADMIN"); err != nil {
		return err
	}
	if k.local, err = listenSocket(filepath.Join(k.flags.Data, socketName)); err != nil {
		return errors.Join(err, k.private.Close())
	}
	return nil
}

// serve starts what listen has opened, and what works by itself.
func (k *keep) serve(l *life) {
	l.start("read side", func() error { return k.answer.Serve(k.private) })
	l.start("unix socket", func() error { return k.answer.ServeLocal(k.local) })
	k.background.Go(func() { k.sweeper.Run(l) })
	k.background.Go(func() { k.notifier.Run(l) })
	k.background.Go(func() { k.outlet.Run(l) })
	k.background.Go(func() { k.store.Watch(l) })
}
