package main

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest/kafka"
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
	feeds      *kafka.Feeds // nil: no feed goes to Kafka
	answer     *query.Server
	figures    *metrics
	private    net.Listener
	local      net.Listener
	elsewhere  bool           // what falls due comes from the log
	background sync.WaitGroup // what writes to the store by itself
}

// open opens the store.
func (f *keepFlags) open(memory int64, now func() time.Time, log *slog.Logger) (*store.Store, error) {
	return store.Open(store.Options{
		Dir: f.Data, Log: log, Now: now, MemoryBytes: memory, QueueBytesMax: f.Store.QueueBytesMax, ReserveBytes: f.Store.ReserveBytes,
	})
}

// keepOptions are what differs between a process alone and a store node.
type keepOptions struct {
	reads     func(*query.Options)                 // sets further options of the read side
	feeds     *kafka.Feeds                         // takes feeds to Kafka; nil: no brokers are known
	elsewhere bool                                 // what falls due by time comes from the log
	mine      func(spoor.AppID) bool               // whose webhooks this process posts to; nil: all
	noticed   func(app spoor.AppID, notice uint64) // told of notices that were delivered; may be nil
}

// keep wires what is around the store.
func (f *keepFlags) keep(st *store.Store, now func() time.Time, log *slog.Logger, o keepOptions) (*keep, error) {
	secret, err := lastingSecret(filepath.Join(f.Data, "secret"))
	if err != nil {
		return nil, err
	}
	k := &keep{flags: f, store: st, feeds: o.feeds, elsewhere: o.elsewhere, figures: newMetrics()}
	k.figures.queueMax = f.Store.QueueBytesMax
	k.sweeper = retention.New(retention.Options{Store: st, Now: now, Log: log, Grace: f.SweepGrace, Elsewhere: o.elsewhere})
	outlet := query.OutletOptions{Store: st, Apps: st, Now: now, Log: log, Private: f.WebhookPrivate, RetryFirst: f.FeedRetry, Mine: o.mine}
	if o.feeds != nil {
		outlet.Topics = o.feeds
	}
	k.outlet = query.NewOutlet(outlet)
	reads := query.Options{
		Now: now, Outlet: k.outlet, Retention: k.sweeper, Store: st, Apps: st, Metrics: k.figures.write, Figures: k.figures.figures, PrivateMetrics: !isLoopback(f.Admin), Secret: secret,
		PublicURL: f.PublicURL, Version: version(), Log: log,
		Checkpoint: func() (query.Checkpoint, error) { return f.checkpoint(st) }, CheckpointByToken: f.Checkpoints,
	}
	if f.AdminToken != "" {
		reads.AdminTokenHash = spoor.HashToken(f.AdminToken)
	}
	o.reads(&reads)
	if k.answer, err = query.New(reads); err != nil {
		return nil, err
	}
	k.notifier = retention.NewNotifier(retention.NotifierOptions{Store: st, Now: now, Log: log, Private: f.WebhookPrivate, Mine: o.mine, Done: o.noticed})
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
	if !k.elsewhere {
		k.background.Go(func() { k.store.Watch(l) })
	}
}

// end waits for what works by itself, once its life has ended.
func (k *keep) end() error {
	k.background.Wait()
	if k.feeds == nil {
		return nil
	}
	return k.feeds.Close()
}
