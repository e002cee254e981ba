package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spoorhq/spoor/enrich"
)

type geoipCommand struct {
	Update geoipUpdate `cmd:"" help:"Fetch a GeoIP database, look whether it answers, and put it in the place of the one before; a running server notices."`
}

type geoipUpdate struct {
	From string `help:"Address or file, .mmdb or .mmdb.gz; YYYY-MM stands for this month, or the last one if this month's is not there. [${default}]" default:"https://download.db-ip.com/free/dbip-city-lite-YYYY-MM.mmdb.gz" env:"SPOOR_GEOIP_FROM" placeholder:"URL"`
	To   string `help:"Directory of the database, as serve --geoip takes it. [${default}]" default:"/var/lib/spoor/geoip" placeholder:"DIR" type:"path"`
}

const (
	geoipName       = "geoip.mmdb"
	geoipBytesMax   = 2 << 30 // of a database, unpacked
	geoipFetchMax   = 15 * time.Minute
	geoipAnswerMax  = 30 * time.Second // until a server begins to answer
	geoipMonth      = "YYYY-MM"
	geoipRedirects  = 5
	progressPortion = 10 // percent
)

// Run never leaves half a database: the new one is written beside the old one,
// read, and then renamed.
func (c *geoipUpdate) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := os.MkdirAll(c.To, 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of the database: %w; run it as the user who owns the data (sudo -u spoor spoor geoip update), or choose another one with --to", err)
	}
	source, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	work, err := os.CreateTemp(c.To, ".fetch-*")
	if err != nil {
		return fmt.Errorf("cannot write the database: %w; run it as the user who owns the directory, or choose another one with --to", err)
	}
	defer os.Remove(work.Name()) // after the rename there is nothing of this name
	if err := errors.Join(unpack(work, source), work.Chmod(0o644), work.Sync(), work.Close()); err != nil {
		return fmt.Errorf("cannot fetch the database to its end: %w; the one before stays, try again", err)
	}
	found, err := enrich.VerifyGeoIP(work.Name())
	if err != nil {
		return fmt.Errorf("cannot use what %s sent: %w; the database before stays", source.name, err)
	}
	to := filepath.Join(c.To, geoipName)
	if err := os.Rename(work.Name(), to); err != nil {
		return fmt.Errorf("cannot put the database in its place: %w", err)
	}
	fmt.Printf("%s: %s of %s\n", to, found.Type, found.Built.UTC().Format(time.DateOnly))
	if others, _ := filepath.Glob(filepath.Join(c.To, "*.mmdb")); len(others) > 1 { // the pattern is well formed
		fmt.Printf("there are %d databases in %s, and all are used; remove those that are old\n", len(others), c.To)
	}
	fmt.Printf("a server that uses it notices within seconds; to make one use it: SPOOR_GEOIP=%s, or spoor serve --geoip %[1]s\n", c.To)
	if strings.Contains(strings.ToLower(strings.ReplaceAll(found.Type, "-", "")), "dbip") {
		fmt.Println("IP Geolocation by DB-IP (https://db-ip.com), licensed CC BY 4.0: pages that show places must carry a link to https://db-ip.com")
	}
	return nil
}

// geoipSource is an open database, packed or not.
type geoipSource struct {
	io.ReadCloser
	name string
}

// open tries this month, then the last one, where the address has a month.
func (c *geoipUpdate) open(ctx context.Context) (*geoipSource, error) {
	if !strings.HasPrefix(c.From, "https://") && !strings.HasPrefix(c.From, "http://") {
		f, err := os.Open(c.From)
		if err != nil {
			return nil, fmt.Errorf("cannot read the database: %w; give --from a file, or an address that begins with https://", err)
		}
		return &geoipSource{ReadCloser: f, name: c.From}, nil
	}
	now := time.Now().UTC()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	this := strings.ReplaceAll(c.From, geoipMonth, month.Format("2006-01"))
	source, status, err := fetch(ctx, this)
	if status == http.StatusNotFound && strings.Contains(c.From, geoipMonth) {
		source, _, err = fetch(ctx, strings.ReplaceAll(c.From, geoipMonth, month.AddDate(0, -1, 0).Format("2006-01")))
	}
	return source, err
}

func fetch(ctx context.Context, address string) (*geoipSource, int, error) {
	client := &http.Client{
		Timeout:   geoipFetchMax,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: geoipAnswerMax, ResponseHeaderTimeout: geoipAnswerMax, DisableCompression: true},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if len(before) > geoipRedirects || before[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
				return fmt.Errorf("it leads on to %s", next.URL.Redacted())
			}
			return nil
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot fetch the database: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot fetch the database: %w; or download it elsewhere and give the file to --from", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, resp.StatusCode, fmt.Errorf("cannot fetch the database: %s answers %s; or download it elsewhere and give the file to --from", address, resp.Status)
	}
	fmt.Fprintf(os.Stderr, "fetching %s", address)
	if resp.ContentLength > 0 {
		fmt.Fprintf(os.Stderr, ", %d MB", (resp.ContentLength+999_999)/1_000_000)
	}
	fmt.Fprintln(os.Stderr)
	body := &progress{ReadCloser: resp.Body, size: resp.ContentLength}
	return &geoipSource{ReadCloser: body, name: address}, resp.StatusCode, nil
}

// unpack copies a database, inflated if it is gzipped.
func unpack(to io.Writer, from io.Reader) error {
	in := bufio.NewReader(from)
	head, err := in.Peek(2)
	if err != nil {
		return fmt.Errorf("it is empty: %w", err)
	}
	var plain io.Reader = in
	if head[0] == 0x1f && head[1] == 0x8b {
		if plain, err = gzip.NewReader(in); err != nil {
			return err
		}
	}
	n, err := io.Copy(to, io.LimitReader(plain, geoipBytesMax+1))
	if err == nil && n > geoipBytesMax {
		err = fmt.Errorf("it is larger than %d bytes", int64(geoipBytesMax))
	}
	return err
}

// progress says how much of a body has come.
type progress struct {
	io.ReadCloser
	size, read, said int64
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.read += int64(n)
	if p.size > 0 {
		if percent := p.read * 100 / p.size / progressPortion * progressPortion; percent > p.said {
			p.said = percent
			fmt.Fprintf(os.Stderr, "%d %%\n", percent)
		}
	}
	return n, err
}
