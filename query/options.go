package query

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
)

// Options configure a Server. Store and Apps are needed; the zero value of
// every other field is its default.
type Options struct {
	Store Store
	Apps  spoor.Apps

	// Retention answers for planned deletions and sweeps on request; needed.
	Retention Retention
	// Metrics writes the Prometheus text of /metrics; nil: 404.
	Metrics func(io.Writer) error
	// Privacy writes the record of processing of some apps as Markdown; nil: 404.
	Privacy func(w io.Writer, apps []*spoor.App) error
	// Cluster tells how far the topic is stored that this process reads; nil: 409.
	Cluster func() (*Cluster, error)
	// CatchUp waits until the Store has all of an app that the topic has now, which
	// other nodes may have read already. It fails when ctx ends, and where the topic
	// cannot be asked. Nil: there are no other nodes.
	CatchUp func(ctx context.Context, app spoor.AppID) error
	// Commands is the log by which changes come to all nodes of a cluster, in place
	// of making them here at once; nil: there is no cluster.
	Commands CommandLog
	// Digests compares store nodes; nil: 409.
	Digests Digests
	// Nodes are those that have the apps which this one has not: requests about
	// them are answered there. Nil: there are none.
	Nodes Nodes
	// Checkpoint makes a copy of the whole store, to be sent; nil: 404.
	Checkpoint func() (Checkpoint, error)
	// CheckpointByToken lets the control plane fetch it too, and so see all personal
	// data. By default only the local socket may.
	CheckpointByToken bool
	// TopicKeeps is how long the topic that this process reads keeps what came in;
	// receipts say until when. Default: there is no topic.
	TopicKeeps time.Duration
	// Figures reads the counters of the process; nil: /api/figures is 404. It is
	// called once a second while the Server serves.
	Figures func() Figures
	// Outlet sends dead letters of feeds again; nil: 404.
	Outlet *Outlet
	// PrivateMetrics closes /metrics and /api/figures to all but the control plane and the
	// operator. By default it is open, since the listener is on loopback.
	PrivateMetrics bool
	// AdminTokenHash is spoor.HashToken of the control plane's token, which
	// may create, list and manage all apps but reads no personal data.
	// Empty: only the local socket may.
	AdminTokenHash string
	// Secret derives page cursors and the references in the audit log. Give
	// a stable one so that both outlive a restart. Default: random.
	Secret []byte
	// PublicURL, such as https://track.example, begins the page links.
	// Default: http and the Host header of the request.
	PublicURL string
	// Version is shown by /healthz on the local socket only.
	Version string

	Now func() time.Time
	Log *slog.Logger

	ConnectionsMax int           // default 512
	StreamsMax     int           // exports and tails open at once; default 16
	ReadTimeout    time.Duration // for one request; default 15 s
	WriteTimeout   time.Duration // for one piece of a reply; default 30 s
	IdleTimeout    time.Duration // between requests; default 60 s
}

const (
	bodyBytesMax   = 1 << 20
	headerBytesMax = 16 << 10
	pageSize       = 100
)

// validate fills in the defaults and returns all problems at once.
func (o *Options) validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if o.Store == nil {
		bad("Store is missing")
	}
	if o.Apps == nil {
		bad("Apps is missing")
	}
	if o.Retention == nil {
		bad("Retention is missing")
	}
	if o.AdminTokenHash != "" {
		if sum, err := hex.DecodeString(o.AdminTokenHash); err != nil || len(sum) != 32 {
			bad("AdminTokenHash is no SHA-256 in hex; use spoor.HashToken")
		}
	}
	if o.PublicURL != "" {
		u, err := url.Parse(o.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			bad("PublicURL %q is no address; write scheme and host, such as https://track.example", o.PublicURL)
		}
		o.PublicURL = strings.TrimRight(o.PublicURL, "/")
	}
	positive(&o.ConnectionsMax, 512, "ConnectionsMax", bad)
	positive(&o.StreamsMax, 16, "StreamsMax", bad)
	positive(&o.ReadTimeout, 15*time.Second, "ReadTimeout", bad)
	positive(&o.WriteTimeout, 30*time.Second, "WriteTimeout", bad)
	positive(&o.IdleTimeout, 60*time.Second, "IdleTimeout", bad)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.Secret) == 0 {
		o.Secret = make([]byte, 32)
		rand.Read(o.Secret) // never fails
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("cannot use the options of query: %w", err)
	}
	return nil
}

func positive[T int | time.Duration](field *T, byDefault T, name string, bad func(string, ...any)) {
	if *field == 0 {
		*field = byDefault
	}
	if *field < 0 {
		bad("%s is %v; it must be above zero", name, *field)
	}
}
