package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/ingest"
	"github.com/spoorhq/spoor/ingest/kafka"
)

type collectCommand struct {
	kafkaFlags   `embed:"" group:"Kafka"`
	takeFlags    `embed:""`
	processFlags `embed:""`

	Data          string `help:"Directory of what a collector keeps: certificates, copies of GeoIP files. No hits. [${default}]" default:"./data" env:"SPOOR_DATA" placeholder:"DIR" type:"path"`
	Admin         string `help:"Address of health and metrics. [${default}]" default:"127.0.0.1:8081" env:"SPOOR_ADMIN" placeholder:"HOST:PORT"`
	AdminToken    string `help:"Secret that opens the metrics where --admin is not on loopback. Only the environment, so that it shows in no process list." env:"SPOOR_ADMIN_TOKEN" hidden:""`
	KafkaBytesMax int64  `help:"Bytes of hits that wait for the brokers; more is answered 503 at once. [${default}]" default:"67108864" env:"SPOOR_KAFKA_BYTES_MAX" placeholder:"N" group:"Limits"`
}

// Run wires a collector and serves until a signal:
//
//	collector ─▶ ingest ─▶ enrich ─▶ Kafka
func (c *collectCommand) Run() error {
	if err := errors.Join(c.Limits.check(), c.checkKafkaBytes()); err != nil {
		return err
	}
	if _, port, err := net.SplitHostPort(c.Listen); err == nil && port != "0" && c.Listen == c.Admin {
		return fmt.Errorf("cannot take hits and answer health on the same address %s; give --listen and --admin two", c.Listen)
	}
	log := newLog(c.Log)
	c.boundMemory(log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory %s: %w; use --data to choose another", c.Data, err)
	}
	topic, err := c.open(ctx, c.KafkaBytesMax, nil, log)
	if err != nil {
		return err
	}
	served := c.serve(ctx, topic, log)
	return errors.Join(served, topic.Close())
}

func (c *collectCommand) serve(ctx context.Context, topic *kafka.Topic, log *slog.Logger) error {
	following, cancel := context.WithCancel(context.Background()) // to the end of what is in flight
	defer cancel()
	apps, err := c.follow(ctx, following, topic)
	if apps == nil {
		return err
	}
	if err := demoStays(apps.AppByName(demoName), c.Listen); err != nil {
		return err
	}
	sink := topic.Sink()
	taken, err := c.take(sink, apps, c.Data, time.Now, log, func(o *ingest.Options) { o.ShareSalt = topic.Salts().Share })
	if err != nil {
		return errors.Join(err, sink.Close())
	}
	figures := newMetrics()
	figures.watchTake(taken)
	figures.produced = sink
	if err := taken.listen(); err != nil {
		return errors.Join(err, sink.Close())
	}
	private, err := listen(c.Admin, "--admin", "SPOOR_ADMIN")
	if err != nil {
		return errors.Join(err, taken.front.close(), sink.Close())
	}
	life := newLife(ctx, log)
	brokers := &brokers{topic: topic, log: log}
	go brokers.watch(life)
	health := &http.Server{Handler: c.health(brokers, apps, figures), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	life.start("health", func() error {
		if err := health.Serve(private); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	taken.serve(life)
	log.Info("serving", "collector", taken.front.listener.Addr(), "health", private.Addr(), "topic", c.Topic, "partitions", topic.Partitions(), "apps", len(apps.AllApps()))
	if len(apps.AllApps()) == 0 {
		log.Warn("no app is known yet: every write key is refused until a store node has told one", "hint", "start spoor store on the same topic, and make an app there")
	}
	cause := life.await()
	drain, end := context.WithTimeout(context.Background(), drainTimeout)
	defer end()
	return errors.Join(cause, taken.collector.Shutdown(drain), sink.Close(), health.Shutdown(drain))
}

// kafkaBytesLeast is one record.
const kafkaBytesLeast = 1_000_000

func (c *collectCommand) checkKafkaBytes() error {
	if c.KafkaBytesMax < kafkaBytesLeast {
		return fmt.Errorf("cannot use --kafka-bytes-max %d: want at least %d, what one record may have", c.KafkaBytesMax, kafkaBytesLeast)
	}
	return nil
}

// follow reads the directory of apps. Until that is done nothing is served: every
// write key would be refused as unknown. Nil without an error: a signal came.
func (c *collectCommand) follow(ctx, following context.Context, topic *kafka.Topic) (*kafka.Directory, error) {
	type result struct {
		apps *kafka.Directory
		err  error
	}
	read := make(chan result, 1)
	go func() {
		apps, err := topic.Follow(following)
		read <- result{apps, err}
	}()
	select {
	case r := <-read:
		return r.apps, r.err
	case <-ctx.Done():
		return nil, nil
	case <-time.After(kafkaOpenMax):
		return nil, fmt.Errorf("cannot read the apps from topic %s.apps in %s; look at the brokers", c.Topic, kafkaOpenMax)
	}
}

// brokers knows whether any partition of the topic can be reached.
type brokers struct {
	topic *kafka.Topic
	log   *slog.Logger
	away  atomic.Bool
}

const (
	brokersLook = 2 * time.Second // between two looks
	brokersWait = 3 * time.Second // for an answer
)

func (b *brokers) watch(ctx context.Context) {
	tick := time.NewTicker(brokersLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := b.look(ctx)
		if away := err != nil; ctx.Err() == nil && b.away.Swap(away) != away {
			if away {
				b.log.Error("the topic cannot be reached: hits are refused with 503 once the buffer is full, or after a while", "error", err)
			} else {
				b.log.Info("the topic can be reached again")
			}
		}
	}
}

// look is nil if one partition can be reached.
func (b *brokers) look(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, brokersWait)
	defer cancel()
	for p := range b.topic.Partitions() {
		if _, _, err = b.topic.End(ctx, p); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// health answers /healthz, /readyz and /metrics.
func (c *collectCommand) health(b *brokers, apps *kafka.Directory, figures *metrics) http.Handler {
	mux := http.NewServeMux()
	answer := func(path string, reply func(w http.ResponseWriter, r *http.Request)) {
		mux.HandleFunc("GET "+path+"/{$}", reply)
		mux.HandleFunc("GET "+path, reply)
	}
	status := func(w http.ResponseWriter, code int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
	answer("/healthz", func(w http.ResponseWriter, _ *http.Request) { status(w, http.StatusOK, `{"status":"ok"}`) })
	answer("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case b.away.Load():
			status(w, http.StatusServiceUnavailable, `{"status":"unavailable","reason":"the topic cannot be reached; the log says why"}`)
		case len(apps.AllApps()) == 0: // every write key would be refused
			status(w, http.StatusServiceUnavailable, `{"status":"unavailable","reason":"no app is known yet"}`)
		default:
			status(w, http.StatusOK, `{"status":"ok"}`)
		}
	})
	answer("/metrics", func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(c.Admin) && !c.mayRead(r.Header.Get("Authorization")) {
			status(w, http.StatusUnauthorized, `{"detail":"On an address that others reach, metrics want Authorization: Token and the secret in SPOOR_ADMIN_TOKEN."}`)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := figures.write(w); err != nil {
			b.log.Error("cannot write the metrics", "error", err)
		}
	})
	return mux
}

func (c *collectCommand) mayRead(authorization string) bool {
	secret, ok := strings.CutPrefix(authorization, "Token ")
	return ok && c.AdminToken != "" && subtle.ConstantTimeCompare([]byte(spoor.HashToken(secret)), []byte(spoor.HashToken(c.AdminToken))) == 1
}
