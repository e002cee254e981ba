package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// Apps is what ingest asks about apps: who a write key belongs to, and, for a
// preflight, which web origins any app allows. Both are answered from memory.
type Apps interface {
	AppByKey(writeKey string) *spoor.App // nil if unknown or expired
	AllApps() []*spoor.App
}

// Options say where hits go and what the limits are. Sink and Apps must be
// set; the zero value of every other field means the default in brackets.
type Options struct {
	Sink spoor.Sink
	Apps Apps

	// TrustedProxies may name the client in X-Forwarded-For [none].
	TrustedProxies []netip.Prefix
	// Fallback answers paths that are no intake paths [404]. The request's
	// body is complete and within BodyBytesMax when it is called, and its
	// RemoteAddr is the client's, also behind a trusted proxy.
	Fallback fasthttp.RequestHandler
	// Pages answers further paths, by path without its trailing slash [none].
	Pages map[string]fasthttp.RequestHandler
	// SaltFile keeps the salts of cookieless visitors over a restart [memory
	// only: visitors of the day count once more].
	SaltFile string
	// ShareSalt agrees with the other collectors on the salt of a day: it is
	// offered one that was made at an instant, in Unix ms, and returns the one that
	// all use, and when that was made. Without it several collectors count a
	// cookieless visitor several times [this collector's own].
	ShareSalt func(day spoor.Day, made int64, salt []byte) (int64, []byte, error)
	// Object makes the person with a profile key object to being tracked; it
	// returns once that is on disk [opt-out links are refused].
	Object func(app *spoor.App, key string) error
	Now    func() time.Time // [time.Now]
	Log    *slog.Logger     // [slog.Default()]

	BodyBytesMax             int           // bytes of a body as sent [1 MiB]
	InflatedBytesMax         int           // bytes of a body after gzip [8 MiB]
	InFlightBytesMax         int           // bytes of all bodies being worked on [128 MiB]
	EventsMax                int           // events in one request [1000]
	EventBytesMax            int           // bytes of one event's JSON [32 KiB]
	JSONDepthMax             int           // nesting of one event [32]
	HeaderCountMax           int           // header lines [64]
	HeaderBytesMax           int           // bytes of request line and headers [16 KiB]
	ConnectionsMax           int           // open connections [4096]
	ConnectionsPerAddressMax int           // of one address; behind a trusted proxy, requests at a time [1024]
	ReadTimeout              time.Duration // for a whole request [10 s]; this and the next two may end a little early, see Server.soon
	WriteTimeout             time.Duration // for a whole reply [10 s]
	IdleTimeout              time.Duration // between two requests [60 s]
}

func (o Options) withDefaults() Options {
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&o.BodyBytesMax, 1<<20)
	set(&o.InflatedBytesMax, 8<<20)
	set(&o.InFlightBytesMax, 128<<20)
	set(&o.EventsMax, 1000)
	set(&o.EventBytesMax, 32<<10)
	set(&o.JSONDepthMax, 32)
	set(&o.HeaderCountMax, 64)
	set(&o.HeaderBytesMax, 16<<10)
	set(&o.ConnectionsMax, 4096)
	set(&o.ConnectionsPerAddressMax, 1024)
	wait := func(field *time.Duration, value time.Duration) {
		if *field == 0 {
			*field = value
		}
	}
	wait(&o.ReadTimeout, 10*time.Second)
	wait(&o.WriteTimeout, 10*time.Second)
	wait(&o.IdleTimeout, 60*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// validate returns everything that is wrong with the options at once.
func (o Options) validate() error {
	var errs []error
	if o.Sink == nil {
		errs = append(errs, errors.New("Sink is not set; hits need somewhere to go"))
	}
	if o.Apps == nil {
		errs = append(errs, errors.New("Apps is not set; no write key could be known"))
	}
	for _, p := range o.TrustedProxies {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("TrustedProxies holds %v, which is no address range; write it as 10.0.0.0/8", p))
		}
	}
	within := func(name string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s is %d; it must be from %d to %d", name, v, low, high))
		}
	}
	within("BodyBytesMax", o.BodyBytesMax, 1<<10, 64<<20)
	within("InflatedBytesMax", o.InflatedBytesMax, o.BodyBytesMax, 256<<20)
	within("InFlightBytesMax", o.InFlightBytesMax, o.BodyBytesMax+o.InflatedBytesMax, 1<<40)
	within("EventsMax", o.EventsMax, 1, 100_000)
	within("EventBytesMax", o.EventBytesMax, 256, o.InflatedBytesMax)
	within("JSONDepthMax", o.JSONDepthMax, 4, 1000)
	within("HeaderCountMax", o.HeaderCountMax, 8, 1000)
	within("HeaderBytesMax", o.HeaderBytesMax, 1<<10, 1<<20)
	within("ConnectionsMax", o.ConnectionsMax, 1, 1<<20)
	within("ConnectionsPerAddressMax", o.ConnectionsPerAddressMax, 1, 1<<20)
	positive := func(name string, d time.Duration) {
		if d < 0 {
			errs = append(errs, fmt.Errorf("%s is %v; it must be positive, a connection must not wait for ever", name, d))
		}
	}
	positive("ReadTimeout", o.ReadTimeout)
	positive("WriteTimeout", o.WriteTimeout)
	positive("IdleTimeout", o.IdleTimeout)
	return errors.Join(errs...)
}
