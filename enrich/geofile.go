package enrich

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/spoorhq/spoor"
)

//go:generate go test -run TestDemoDatabase -update .

//go:embed demo.mmdb
var demoDatabase []byte

const (
	geoFilesMax  = 16
	geoInHeapMax = 4 << 20 // bytes; a smaller file is read, a larger one mapped
	geoProbeMax  = 1000    // networks looked at before a file is called useless
)

// placesAbout describes loaded files for Stats.
type placesAbout struct {
	source        string
	built, loaded time.Time
}

func newGeo(opts Options) (*geo, error) {
	g := &geo{opts: opts}
	p, err := g.load()
	if err != nil {
		return nil, err
	}
	g.current.Store(p)
	return g, nil
}

func (g *geo) describe(s *Stats) {
	about := g.current.Load().about
	s.GeoSource, s.GeoBuilt, s.GeoLoaded = about.source, about.built, about.loaded
	s.GeoReloads, s.GeoReloadFailed = g.reloads.Load(), g.failed.Load()
}

func (g *geo) reload() error {
	g.loading.Lock()
	defer g.loading.Unlock()
	p, err := g.load()
	g.failed.Store(err != nil)
	if err != nil {
		return err
	}
	g.current.Store(p)
	g.reloads.Add(1)
	return nil
}

// run polls instead of asking the kernel for events: files are replaced by
// rename, by links and on network mounts, and a poll sees them all.
func (g *geo) run(ctx context.Context) {
	if g.opts.GeoIPPath == "" {
		return
	}
	tick := time.NewTicker(g.opts.GeoIPPoll)
	defer tick.Stop()
	seen := g.signature()
	for pending := seen; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := g.signature()
		// A file that is still being written changes from poll to poll.
		settled := now == pending
		pending = now
		if now == seen || !settled {
			continue
		}
		seen = now
		if err := g.reload(); err != nil {
			g.opts.Log.Error("the changed GeoIP database is not used, the one before it stays", "error", err)
			continue
		}
		about := g.current.Load().about
		g.opts.Log.Info("GeoIP database replaced", "source", about.source, "built", about.built)
	}
}

// signature changes whenever a file does.
func (g *geo) signature() string {
	names, err := geoFiles(g.opts.GeoIPPath)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, name := range names {
		if info, err := os.Stat(name); err != nil {
			fmt.Fprintf(&b, "%s %v\n", name, err)
		} else {
			fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

func (g *geo) load() (*places, error) {
	p := &places{
		blocks: newCache[uint64, blockPlace](g.opts.PlacesMax),
		about:  placesAbout{source: "embedded", loaded: g.opts.Now()},
	}
	if g.opts.GeoIPPath == "" {
		r, err := maxminddb.OpenBytes(demoDatabase)
		if err != nil {
			return nil, fmt.Errorf("cannot open the embedded GeoIP database: %w", err)
		}
		return p, p.add(r)
	}
	names, err := geoFiles(g.opts.GeoIPPath)
	if err != nil {
		return nil, err
	}
	var bases []string
	for _, name := range names {
		r, err := openGeoFile(name, g.opts.TempDir)
		if err == nil {
			err = p.add(r)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot use GeoIP database %s: %w; give a City file in MMDB format", name, err)
		}
		bases = append(bases, filepath.Base(name))
	}
	p.about.source = strings.Join(bases, ", ")
	return p, nil
}

// GeoIPFile says what a GeoIP database is.
type GeoIPFile struct {
	Type  string // as its maker calls it, such as DBIP-City-Lite
	Built time.Time
}

// VerifyGeoIP returns an error for a file that New would not use: one that is no
// MMDB file, or has no places.
func VerifyGeoIP(path string) (GeoIPFile, error) {
	r, err := maxminddb.Open(path)
	if err != nil {
		return GeoIPFile{}, err
	}
	defer r.Close()
	if err := new(places).add(r); err != nil {
		return GeoIPFile{}, err
	}
	return GeoIPFile{Type: r.Metadata.DatabaseType, Built: r.Metadata.BuildTime()}, nil
}

// geoFiles lists the files that a GeoIPPath names.
func geoFiles(path string) ([]string, error) {
	var names []string
	for _, part := range strings.Split(path, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		info, err := os.Stat(part)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("cannot find GeoIP database %s: there is no such file or directory; spoor geoip update --to DIR fetches one into a directory, and without --geoip a tiny one is used", part)
		case err != nil:
			return nil, fmt.Errorf("cannot find GeoIP database: %w", err)
		case !info.IsDir():
			names = append(names, part)
			continue
		}
		entries, err := os.ReadDir(part)
		if err != nil {
			return nil, fmt.Errorf("cannot list GeoIP databases: %w", err)
		}
		for _, e := range entries {
			if strings.EqualFold(filepath.Ext(e.Name()), ".mmdb") && !e.IsDir() {
				names = append(names, filepath.Join(part, e.Name()))
			}
		}
	}
	if len(names) == 0 || len(names) > geoFilesMax {
		return nil, fmt.Errorf("cannot use GeoIP path %q: it names %d .mmdb files; want 1 to %d", path, len(names), geoFilesMax)
	}
	return names, nil
}

// openGeoFile reads a small file, and maps a private copy of a large one. If
// there is no room for the copy the file is read into memory, because a full
// disk must not keep the server from starting.
func openGeoFile(name, tempDir string) (*maxminddb.Reader, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > geoInHeapMax {
		if private, err := copyToTemp(name, tempDir); err == nil {
			defer os.Remove(private) // the map keeps the bytes
			return maxminddb.Open(private)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return maxminddb.OpenBytes(data)
}

func copyToTemp(name, dir string) (string, error) {
	from, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.CreateTemp(dir, "spoor-geoip-*.mmdb")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		os.Remove(to.Name())
		return "", err
	}
	return to.Name(), nil
}

// add takes a file in if its first networks hold places. That finds broken
// files and databases of something else; the library's own Verify refuses
// every DB-IP Lite file, for want of a description.
func (p *places) add(r *maxminddb.Reader) error {
	f := placeFile{reader: r, known: newCache[uintptr, spoor.Place](placesMax)}
	seen := 0
	for result := range r.Networks() {
		if seen++; seen > geoProbeMax {
			break
		}
		if err := result.Err(); err != nil {
			return err
		}
		var flat struct {
			Country *string `maxminddb:"country_code"`
		}
		if err := result.Decode(&flat); err != nil {
			return err
		}
		f.flat = flat.Country != nil
		place, err := f.read(result)
		if err != nil {
			return err
		}
		if place != (spoor.Place{}) {
			p.addFile(f)
			return nil
		}
	}
	return fmt.Errorf("none of its first %d networks has a place (database type %q)", min(seen, geoProbeMax), r.Metadata.DatabaseType)
}

func (p *places) addFile(f placeFile) {
	if f.reader.Metadata.IPVersion == 4 {
		// A file of one family answers it before a file of both.
		p.v4 = slices.Insert(p.v4, len(p.v4)-p.mixed(), f)
	} else {
		p.v4 = append(p.v4, f)
		p.v6 = append(p.v6, f)
	}
	if built := f.reader.Metadata.BuildTime(); p.about.built.IsZero() || built.Before(p.about.built) {
		p.about.built = built
	}
}

// mixed counts the files in v4 that are of both families.
func (p *places) mixed() (n int) {
	for _, f := range p.v4 {
		if f.reader.Metadata.IPVersion != 4 {
			n++
		}
	}
	return n
}
