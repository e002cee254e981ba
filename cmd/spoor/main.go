// Command spoor takes tracking hits in, keeps them, answers for them.
//
// This folder only wires the other packages. This file is the only one of the
// project that reads flags and the environment.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones also where the system has none

	"github.com/alecthomas/kong"
)

const description = `Takes in hits of websites and apps, completes them (place, device, campaign), keeps them fsynced by app and day, and answers for them.

Try it:
  spoor serve --demo                  an open app "demo" on this machine; prints what to try
  spoor tail --app demo               hits as they are stored

Run it:
  spoor serve --data /var/lib/spoor   then, in another shell:
  spoor app create shop --timezone Europe/Warsaw --data /var/lib/spoor
  spoor app tokens shop --create crm --role read --data /var/lib/spoor

Commands other than "serve", "collect" and "store" talk to the running server through the unix socket in its data directory; "check" opens the directory of a stopped one, "sweep" and "backup" either, "scan" only reads files. Every flag can be set by the environment variable that its help names. On a server that "init" has set up, those who may read /etc/spoor/spoor.env (or the file that SPOOR_ENV_FILE names) need no --data: SPOOR_DATA in it is the default of all commands but "serve", which gets its settings from systemd.`

// commandLine is all of spoor's configuration. Kong fills it from flags and,
// where a flag is absent, from the environment.
type commandLine struct {
	Serve      serveCommand      `cmd:"" help:"Run the collector and the read side."`
	Collect    collectCommand    `cmd:"" help:"Run a collector alone, which hands what it takes in to Kafka: where one machine is not enough."`
	Store      storeCommand      `cmd:"" help:"Run the store and the read side alone, which read from Kafka what collectors took in. Several that read the same partitions hold the same, and each takes reads and changes."`
	Cluster    clusterCommand    `cmd:"" help:"Show the partitions of the topic, how far each is stored, how much waits, which apps are in it, and the store nodes that read them."`
	App        appCommand        `cmd:"" help:"Make and change apps: keys, tokens, settings."`
	Init       initCommand       `cmd:"" help:"Set a server up: asks for host name and site, makes data directory, app, login and settings, prints the snippet for the pages."`
	GeoIP      geoipCommand      `cmd:"" name:"geoip" help:"Fetch a GeoIP database."`
	Partitions partitionsCommand `cmd:"" help:"List what is stored: app, day, hits, profiles, bytes, sealed or open."`
	Tail       tailCommand       `cmd:"" help:"Show hits as they are stored, one JSON object a line."`
	Feed       feedCommand       `cmd:"" help:"Show what happened in an app, from a point on, and follow it: hits, changes of people, erasures."`
	Check      checkCommand      `cmd:"" help:"Verify every record of a stopped store against every other; with --against compare two running store nodes."`
	Backup     backupCommand     `cmd:"" help:"Copy the store of the running server, as of one moment, into a new directory."`
	Sweep      sweepCommand      `cmd:"" help:"Remove the anonymous profiles that are due, now; or list them."`
	Person     personCommand     `cmd:"" help:"A person's rights: export, restrict, object, hold."`
	Erase      eraseCommand      `cmd:"" help:"Remove persons with everything that is known of them, and wait until no byte is left."`
	Audit      auditCommand      `cmd:"" help:"Show who read, exported, changed or erased what, and verify that nothing was altered."`
	Explain    explainCommand    `cmd:"" help:"Say what keeps a profile, and its planned deletion."`
	Scan       scanCommand       `cmd:"" help:"Search every file of a data directory for texts, blocks decompressed: the proof that something is gone."`
	Receipts   receiptsCommand   `cmd:"" help:"List what was erased, swept, dropped and terminated: when, how much, and since when no byte is left."`
	Privacy    privacyCommand    `cmd:"" help:"Print the record of processing from the configuration in force: what is collected, for how long, where, who may read."`
	Link       linkCommand       `cmd:"" help:"Sign a link for mails: a click that leads on, an image that tells of opening, a way to opt out."`
	Version    versionCommand    `cmd:"" help:"Print the version."`

	PrintVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

// dataFlag is the one flag that all commands share but serve, whose default is
// another one.
type dataFlag struct {
	Data string `help:"Directory of the data. [${default}]" default:"${data}" env:"SPOOR_DATA" placeholder:"DIR" type:"path"`
}

type serveCommand struct {
	keepFlags    `embed:""`
	takeFlags    `embed:""`
	processFlags `embed:""`

	Feed feedFlags `embed:"" prefix:"feed-" group:"Kafka"`

	Demo      bool   `help:"Open an app \"demo\" with write key and token \"demo\" and no rate limit. Loopback only." env:"SPOOR_DEMO"`
	PublicAPI bool   `name:"public-api" help:"Serve the token-protected /api/public/ on the collector's address too." env:"SPOOR_PUBLIC_API"`
	App       bool   `help:"Serve the dashboard and its API behind a login under /app on the collector's address, and shared overviews under /share." env:"SPOOR_APP"`
	Clock     string `help:"With --demo, for tests and demonstrations: let the clock begin at this instant." env:"SPOOR_CLOCK" placeholder:"RFC3339"`
}

// keepFlags are of what keeps hits and answers for them: serve and store.
type keepFlags struct {
	Data       string `help:"Directory of the data. [${default}]" default:"./data" env:"SPOOR_DATA" placeholder:"DIR" type:"path"`
	Admin      string `help:"Address of the read side: dashboard, REST API, exports, metrics. [${default}]" default:"127.0.0.1:8081" env:"SPOOR_ADMIN" placeholder:"HOST:PORT"`
	PublicURL  string `name:"public-url" help:"Beginning of the page links that the REST API gives out." env:"SPOOR_PUBLIC_URL" placeholder:"URL"`
	AdminToken string `help:"Secret of a control plane that may manage apps over HTTP. Only the environment, so that it shows in no process list." env:"SPOOR_ADMIN_TOKEN" hidden:""`

	Checkpoints bool `help:"Let who has SPOOR_ADMIN_TOKEN fetch a copy of everything, with all personal data: for spoor store --join and spoor backup --from." env:"SPOOR_CHECKPOINTS"`

	SweepGrace     time.Duration `help:"Before the first sweep after a start. [${default}]" default:"1h" env:"SPOOR_SWEEP_GRACE" placeholder:"TIME"`
	WebhookPrivate bool          `help:"Let webhooks of apps lie in private networks and on this machine." env:"SPOOR_WEBHOOK_PRIVATE"`
	FeedRetry      time.Duration `help:"Before a feed is sent again to a webhook that failed; doubles up to an hour. [${default}]" default:"30s" env:"SPOOR_FEED_RETRY" placeholder:"TIME"`

	Store storeLimits `embed:"" group:"Limits"`
}

// takeFlags are of what takes hits in: serve and collect.
type takeFlags struct {
	Listen         string    `help:"Address of the collector, which only takes data in. [${default}]" default:"127.0.0.1:8080" env:"SPOOR_LISTEN" placeholder:"HOST:PORT"`
	GeoIP          string    `name:"geoip" help:"GeoIP database: an .mmdb file, a directory, or several by comma. Without it a tiny one of documentation addresses is used." env:"SPOOR_GEOIP" placeholder:"PATH"`
	TrustedProxies []network `help:"Networks whose X-Forwarded-For is believed, by comma." env:"SPOOR_TRUSTED_PROXIES" placeholder:"CIDR"`

	HTTPS  httpsFlags `embed:"" group:"HTTPS"`
	Limits limitFlags `embed:"" group:"Limits"`
}

// processFlags are of all that run until they are stopped.
type processFlags struct {
	Memory memorySize `help:"What the process aims to stay below, like 400MiB: write buffers, cache and filters of the store, and what is remembered of profiles, for statistics and segments get their shares of it, and the garbage collector keeps to it. 0: 400MiB, or half of the memory that the machine or the control group has if that is less. [${default}]" default:"0" env:"SPOOR_MEMORY" placeholder:"SIZE" group:"Limits"`
	Log    string     `help:"Least level that is logged: debug, info, warn, error." default:"info" enum:"debug,info,warn,error" env:"SPOOR_LOG"`
}

// limitFlags are the collector's limits. Over a limit the sender is told which.
type limitFlags struct {
	BodyBytesMax             int           `help:"Bytes of a request body. [${default}]" default:"1048576" env:"SPOOR_BODY_BYTES_MAX" placeholder:"N"`
	InflatedBytesMax         int           `help:"Bytes of a gzipped body when inflated. [${default}]" default:"8388608" env:"SPOOR_INFLATED_BYTES_MAX" placeholder:"N"`
	InFlightBytesMax         int           `help:"Bytes of all bodies that are being worked on. [${default}]" default:"134217728" env:"SPOOR_IN_FLIGHT_BYTES_MAX" placeholder:"N"`
	EventsMax                int           `help:"Events in a request. [${default}]" default:"1000" env:"SPOOR_EVENTS_MAX" placeholder:"N"`
	EventBytesMax            int           `help:"Bytes of an event. [${default}]" default:"32768" env:"SPOOR_EVENT_BYTES_MAX" placeholder:"N"`
	JSONDepthMax             int           `name:"json-depth-max" help:"Nesting of an event's JSON. [${default}]" default:"32" env:"SPOOR_JSON_DEPTH_MAX" placeholder:"N"`
	HeaderCountMax           int           `help:"Header lines of a request. [${default}]" default:"64" env:"SPOOR_HEADER_COUNT_MAX" placeholder:"N"`
	HeaderBytesMax           int           `help:"Bytes of a request's line and headers. [${default}]" default:"16384" env:"SPOOR_HEADER_BYTES_MAX" placeholder:"N"`
	ConnectionsMax           int           `help:"Open connections. [${default}]" default:"4096" env:"SPOOR_CONNECTIONS_MAX" placeholder:"N"`
	ConnectionsPerAddressMax int           `help:"Connections of one address; requests at a time behind a trusted proxy. [${default}]" default:"1024" env:"SPOOR_CONNECTIONS_PER_ADDRESS_MAX" placeholder:"N"`
	ReadTimeout              time.Duration `help:"For a whole request. [${default}]" default:"10s" env:"SPOOR_READ_TIMEOUT" placeholder:"TIME"`
	WriteTimeout             time.Duration `help:"For a whole reply. [${default}]" default:"10s" env:"SPOOR_WRITE_TIMEOUT" placeholder:"TIME"`
	IdleTimeout              time.Duration `help:"Between two requests of a connection. [${default}]" default:"60s" env:"SPOOR_IDLE_TIMEOUT" placeholder:"TIME"`
}

// storeLimits are the store's.
type storeLimits struct {
	QueueBytesMax int64 `help:"Bytes of hits that wait to be written; more is answered 503 at once. [${default}]" default:"33554432" env:"SPOOR_QUEUE_BYTES_MAX" placeholder:"N"`
	ReserveBytes  int64 `help:"Free disk space below which the store only reads. 0: a quarter of the disk, at most 512 MiB. [${default}]" default:"0" env:"SPOOR_RESERVE_BYTES" placeholder:"N"`
}

// check refuses limits that would let nothing in; the packages would take a
// zero for their default.
func (l *limitFlags) check() error {
	for name, n := range map[string]int64{
		"body-bytes-max": int64(l.BodyBytesMax), "inflated-bytes-max": int64(l.InflatedBytesMax), "in-flight-bytes-max": int64(l.InFlightBytesMax),
		"events-max": int64(l.EventsMax), "event-bytes-max": int64(l.EventBytesMax), "json-depth-max": int64(l.JSONDepthMax),
		"header-count-max": int64(l.HeaderCountMax), "header-bytes-max": int64(l.HeaderBytesMax), "connections-max": int64(l.ConnectionsMax),
		"connections-per-address-max": int64(l.ConnectionsPerAddressMax), "read-timeout": int64(l.ReadTimeout), "write-timeout": int64(l.WriteTimeout),
		"idle-timeout": int64(l.IdleTimeout),
	} {
		if err := aboveZero(name, n); err != nil {
			return err
		}
	}
	return nil
}

func (l *storeLimits) check() error { return aboveZero("queue-bytes-max", l.QueueBytesMax) }

func aboveZero(flag string, n int64) error {
	if n <= 0 {
		return fmt.Errorf("cannot use --%s %d: want more than 0; leave it out for the default", flag, n)
	}
	return nil
}

type versionCommand struct{}

func (versionCommand) Run() error {
	fmt.Println("spoor", version())
	return nil
}

func main() {
	os.Exit(run(os.Args[1:]))
}

// run is main with its arguments and its exit status.
func run(args []string) int {
	var cli commandLine
	data, hidden := installedData(settingsFile())
	parser, err := kong.New(&cli, kong.Name("spoor"), kong.Description(description), kong.UsageOnError(),
		kong.Vars{"data": data, "settings": settingsFile(), "version": "spoor " + version()},
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, WrapUpperBound: 100}))
	if err != nil {
		fmt.Fprintln(os.Stderr, "spoor: BUG:", err)
		return 2
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "spoor: %v; see spoor --help\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		if hidden && errors.Is(err, errNoServer) && !dataGiven(command) {
			err = fmt.Errorf("%w; or use sudo: %s, which you may not read, names the data directory of the server on this machine", err, settingsFile())
		}
		fmt.Fprintf(os.Stderr, "spoor: %s\n", oneLine(err))
		return 1
	}
	return 0
}

// settingsFile is where spoor init leaves the settings of an installed server.
func settingsFile() string {
	if file := os.Getenv("SPOOR_ENV_FILE"); file != "" {
		return file
	}
	return "/etc/spoor/spoor.env"
}

const settingsBytesMax = 1 << 16

// installedData is the data directory that the settings of an installed server
// name, ./data if there are none; hidden tells that this user may not read them.
// It is not for serve: one that is started by hand beside the service, for a
// demo say, must not land on the service's data.
func installedData(file string) (dir string, hidden bool) {
	dir = "./data"
	f, err := os.Open(file)
	if err != nil {
		return dir, errors.Is(err, fs.ErrPermission)
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, settingsBytesMax)) // what could be read counts
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "SPOOR_DATA=")
		if value = strings.Trim(value, `"'`); ok && filepath.IsAbs(value) {
			dir = value // of several systemd takes the last one too
		}
	}
	return dir, false
}

// dataGiven tells whether the data directory is one that somebody chose.
func dataGiven(command *kong.Context) bool {
	return os.Getenv("SPOOR_DATA") != "" || slices.ContainsFunc(command.Path, func(p *kong.Path) bool {
		return p.Flag != nil && p.Flag.Name == "data"
	})
}

// processorsGiven tells whether somebody chose how many threads run Go.
func processorsGiven() bool { return os.Getenv("GOMAXPROCS") != "" }

// oneLine keeps joined errors on one line, which is what an operator greps.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func newLog(level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}

// release is set by the linker in what make dist builds.
var release string

// version is what the build recorded.
func version() string {
	if release != "" {
		return release + " " + runtime.Version()
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && (v == "" || v == "(devel)") {
			v = s.Value[:12]
		}
	}
	return v + " " + info.GoVersion
}
