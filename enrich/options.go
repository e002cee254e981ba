package enrich

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spoorhq/spoor"
)

// Apps answers whose hit it is. spoor.Apps satisfies it.
type Apps interface {
	App(id spoor.AppID) *spoor.App // nil if there is none; then the default settings hold
}

// Options of an Enricher. Next and Apps are required; the zero value of every
// other field is its default.
type Options struct {
	Next spoor.Sink // takes the hits that may be kept
	Apps Apps

	// GeoIPPath names the place database: an .mmdb file, a directory of them,
	// or several of either, separated by commas. Both the GeoIP2 City schema and the
	// flat one of DB-IP Lite are read. The first file that knows an address
	// answers. Empty: a tiny embedded database of documentation ranges.
	GeoIPPath string
	TempDir   string        // for private copies of GeoIP files; default os.TempDir()
	GeoIPPoll time.Duration // how often Run looks for changed files; default 5 s, at least 100 ms

	PlacesMax int // networks remembered with their place; default 32,768, at least 64
	AgentsMax int // user agents remembered; default 8,192, at least 64

	Now func() time.Time // default time.Now
	Log *slog.Logger     // default slog.Default()
}

func (o Options) withDefaults() Options {
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	if o.GeoIPPoll == 0 {
		o.GeoIPPoll = 5 * time.Second
	}
	if o.PlacesMax == 0 {
		o.PlacesMax = 32 << 10
	}
	if o.AgentsMax == 0 {
		o.AgentsMax = 8 << 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// validate returns all problems at once.
func (o Options) validate() error {
	var errs []error
	if o.Next == nil {
		errs = append(errs, errors.New("Next is nil; give the sink that takes the enriched hits"))
	}
	if o.Apps == nil {
		errs = append(errs, errors.New("Apps is nil; give the directory of apps"))
	}
	if o.GeoIPPoll < 100*time.Millisecond {
		errs = append(errs, fmt.Errorf("GeoIPPoll is %v; want 100ms or more", o.GeoIPPoll))
	}
	if o.PlacesMax < 64 {
		errs = append(errs, fmt.Errorf("PlacesMax is %d; want 64 or more", o.PlacesMax))
	}
	if o.AgentsMax < 64 {
		errs = append(errs, fmt.Errorf("AgentsMax is %d; want 64 or more", o.AgentsMax))
	}
	return errors.Join(errs...)
}
