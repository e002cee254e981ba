package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	secondsDefault = 10
	againstDefault = "model,pixel,batch"
)

// options are the flags.
type options struct {
	seconds, connections int
	only, against, json  string
	long                 bool
	dir                  string
	cpuProfile           string
	memProfile           string
	forget, blast, large bool
	cluster              bool
	rollUps              bool
	feed, kafka, replay  bool
	profiles             int
	hits                 int64
}

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == commandBare:
		err = serveBare()
	case len(os.Args) == 3 && os.Args[1] == commandBrokers:
		err = serveBrokers(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == commandFront:
		err = serveFront(os.Args[2])
	case len(os.Args) == 5 && os.Args[1] == commandWired:
		err = serveWired(os.Args[2], os.Args[3], os.Args[4], false)
	case len(os.Args) == 3 && os.Args[1] == commandPlain:
		err = serveWired(os.Args[2], "", "", true)
	default:
		o := readFlags()
		if err = o.validate(); err != nil {
			break
		}
		if work := os.Getenv(workVariable); work != "" {
			err = measure(o, work)
		} else {
			err = guarded(o)
		}
	}
	if errors.Is(err, errTold) {
		os.Exit(1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func readFlags() options {
	var o options
	var names []string
	list, _ := scenarios() // what is wrong with them is told when they are to run
	for _, s := range list {
		names = append(names, s.name)
	}
	flag.IntVar(&o.seconds, "seconds", secondsDefault, "how long each kind of traffic is sent; fewer than the default shorten also what has a length of its own")
	flag.IntVar(&o.connections, "connections", 512, "connections, each with one request at a time")
	flag.StringVar(&o.only, "only", "", "only these, by comma: "+strings.Join(names, ", ")+", or files like those in bench/scenarios; with -large: questions whose titles match this regular expression")
	flag.BoolVar(&o.long, "long", false, "everything: also the SDK, batches for ten minutes, five minutes to see whether memory grows, and the store's own check")
	flag.StringVar(&o.json, "json", "", "write the report to this `file` too, as JSON")
	flag.StringVar(&o.against, "against", "", "send the same traffic in turn to this `URL`, http://HOST:PORT/PATH; a user in it takes the place of the write key; without -only: "+againstDefault)
	flag.StringVar(&o.dir, "dir", "", "where the data directories are made (default the system's folder for temporary files)")
	flag.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of the server to this `file`, and nothing else: under the model's mix, or the first that -only names")
	flag.StringVar(&o.memProfile, "memprofile", "", "with -cpuprofile or alone: write a profile of the server's heap at the end to this `file`")
	flag.BoolVar(&o.forget, "forget", false, "measure sweeping and erasing, in simulated time, and nothing else")
	flag.BoolVar(&o.blast, "blast", false, "measure what a mail to a million does to other apps, and nothing else")
	flag.BoolVar(&o.large, "large", false, "build a large store, measure statistics, and nothing else; with -dir the store stays there for the next time")
	flag.BoolVar(&o.cluster, "cluster", false, "show brokers, two collectors and two store nodes under load and kills, and nothing else")
	flag.BoolVar(&o.rollUps, "rollups", false, "measure what roll-ups cost, with and without them in turn, and nothing else")
	flag.BoolVar(&o.kafka, "kafka", false, "measure a collector, a store node and the way between them over Kafka, and nothing else")
	flag.BoolVar(&o.replay, "replay", false, "measure a store node that reads ten days of hits from Kafka, and nothing else")
	flag.BoolVar(&o.feed, "feed", false, "measure what a feed costs and how far behind its followers are, and nothing else")
	flag.IntVar(&o.profiles, "profiles", 1_000_000, "with -forget, -large or -replay: profiles in the store")
	flag.Int64Var(&o.hits, "hits", 0, "with -large: hits in the store, about (default 50,000,000); with -replay: hits in the topic, about (default 10,000,000)")
	flag.Parse()
	if o.hits == 0 {
		o.hits = 50_000_000
		if o.replay {
			o.hits = replayHits
		}
	}
	return o
}

func (o options) validate() error {
	var errs []error
	if o.seconds < 1 || o.seconds > 3600 {
		errs = append(errs, fmt.Errorf("-seconds is %d; it must be from 1 to 3600", o.seconds))
	}
	if limit := 1 << streamBits; o.connections < 1 || o.connections > limit {
		errs = append(errs, fmt.Errorf("-connections is %d; it must be from 1 to %d", o.connections, limit))
	}
	if o.profiles < profilesMin || o.profiles > 100_000_000 {
		errs = append(errs, fmt.Errorf("-profiles is %d; it must be from %d to 100000000", o.profiles, profilesMin))
	}
	if o.hits < massDays || o.hits > 1_000_000_000 {
		errs = append(errs, fmt.Errorf("-hits is %d; it must be from %d to 1000000000", o.hits, massDays))
	}
	if o.against != "" {
		_, err := againstPeer(o.against)
		errs = append(errs, err)
	}
	for _, out := range []struct{ flag, path string }{{"-json", o.json}, {"-cpuprofile", o.cpuProfile}, {"-memprofile", o.memProfile}} {
		if err := tryFile(out.path); err != nil {
			errs = append(errs, fmt.Errorf("%s cannot be written: %w", out.flag, err))
		}
	}
	if flag.NArg() > 0 {
		errs = append(errs, fmt.Errorf("%q is no flag; see -help", flag.Arg(0)))
	}
	return errors.Join(errs...)
}

// tryFile reports why a file cannot be written. It leaves none that was not there.
func tryFile(path string) error {
	if path == "" {
		return nil
	}
	_, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = f.Close()
	if isNew {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// measure does what the flags ask for, with data in the folder work.
func measure(o options, work string) (err error) {
	b := &bench{options: o, work: work}
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	if o.forget {
		return b.forgetAndReport()
	}
	if o.large {
		return b.largeAndReport()
	}
	if o.rollUps {
		return b.rollUpsAndReport()
	}
	if o.cpuProfile != "" || o.memProfile != "" {
		return b.profile()
	}
	list, err := o.chosen()
	if err != nil {
		return err
	}
	if o.against != "" && !o.blast {
		if b.other, err = againstPeer(o.against); err != nil {
			return err
		}
		if err := b.other.try(list); err != nil {
			return err
		}
	}
	if b.binary, err = build(b.work); err != nil {
		return err
	}
	if o.cluster {
		return b.showCluster()
	}
	if o.kafka {
		return b.kafkaAndReport()
	}
	if o.replay {
		return b.replayAndReport(o.hits, o.profiles)
	}
	if o.feed {
		return b.feedAndReport()
	}
	m, err := describeMachine(b.work, b.binary)
	if err != nil {
		return err
	}
	fmt.Print(m)
	if o.blast {
		return b.blastAndReport()
	}
	if err := b.startPeers(list); err != nil {
		return err
	}
	defer b.killPeers()
	return b.runAll(m, list)
}

// startPeers starts what the scenarios are compared with.
func (b *bench) startPeers(list []scenario) (err error) {
	defer func() {
		if err != nil {
			b.killPeers()
		}
	}()
	if b.bare, err = b.startPeer("the bare server", commandBare); err != nil {
		return err
	}
	if b.front, err = b.startPeer("the front without a store", commandFront, filepath.Join(b.work, "front")); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(s scenario) bool { return s.beside("nginx") }) {
		b.nginx, err = startNginx(filepath.Join(b.work, "nginx"))
		if errors.Is(err, errNoNginx) {
			fmt.Printf("Pixels are not compared: %s.\n", err)
			err = nil
		}
	}
	return err
}

func (b *bench) killPeers() {
	for _, p := range []*peer{b.bare, b.front, b.nginx} {
		p.kill()
	}
}

// runAll runs the scenarios and prints the report. A ledger that does not add
// up is an error.
func (b *bench) runAll(m machine, list []scenario) error {
	began := time.Now()
	fmt.Printf("%d connections in a closed loop, client and server share the cores; traffic as bench/model.go describes it\n", b.connections)
	var rows []*outcomeRow
	var errs []error // one kind of traffic that cannot be measured does not take the others away
	for _, s := range list {
		begins := time.Now()
		fmt.Fprintf(os.Stderr, "measuring %s … ", s.Title)
		row, err := b.run(s)
		fmt.Fprintln(os.Stderr, time.Since(begins).Round(time.Second))
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("cannot measure %s: %w", s.Title, err))
			continue
		case !row.audit.clean():
			errs = append(errs, fmt.Errorf("the ledger of %s does not add up: see above", s.Title))
		}
		rows = append(rows, row)
	}
	f := figures{}
	for _, row := range rows {
		f.add(row)
	}
	if b.only == "" && b.against == "" {
		n, err := allocationsPerHit()
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot count allocations: %w", err))
		} else {
			f["allocations"] = n
		}
	}
	report(os.Stdout, rows, f)
	fmt.Printf("\nMeasured in %s.\n", time.Since(began).Round(time.Second))
	if b.json != "" {
		if err := b.writeJSON(b.json, m, f); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// profile runs the model's mix against a server that profiles itself.
func (b *bench) profile() error {
	l := load{door: doorHit, batch: 1, connections: b.connections, duration: time.Duration(b.seconds) * time.Second}
	people := population
	if b.only != "" {
		list, err := b.chosen()
		if err != nil {
			return err
		}
		s := list[0]
		people = s.People
		if l.door, l.mix, l.batch = s.Door, s.Visitors, s.Batch; s.Connections > 0 {
			l.connections = min(s.Connections, b.connections)
		}
	}
	server, err := startProcess(nil, b.self, commandWired, b.work, b.cpuProfile, b.memProfile)
	if err != nil {
		return err
	}
	defer server.kill()
	salt := rand.Uint64()
	t := newTraffic(salt, []string{demoKey}, l.door, doorArray)
	streams := make([]*stream, b.connections)
	for i := range streams {
		streams[i] = newStream(i, salt, 1, max(people/b.connections, 1))
	}
	book := newLedger(salt, len(streams))
	first := load{address: server.collector, door: doorArray, batch: batchEvents, connections: min(b.connections, batchConnections)}
	if _, err := first.run(t, streams, book); err != nil {
		return err
	}
	if err := server.signal(syscall.SIGUSR1); err != nil {
		return fmt.Errorf("cannot start the profile: %w", err)
	}
	began := server.cpu()
	l.address = server.collector
	got, err := l.run(t, streams, book)
	if err != nil {
		return err
	}
	used := server.cpu() - began
	if err := server.stop(); err != nil {
		return err
	}
	fmt.Printf("%s hits/s, p50 %s, p99 %s, %.1f µs of CPU a hit; look at it with: go tool pprof -http : %s\n",
		thousands(int64(got.perSecond())), round(got.percentile(50)), round(got.percentile(99)), used.Seconds()*1e6/float64(max(got.events, 1)),
		cmp.Or(b.cpuProfile, b.memProfile))
	return nil
}
