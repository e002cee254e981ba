package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Each scenario is a file: scenarios/NN-NAME.json, in the order of a run, or any
// other that -only names by its path. A field that is not there has its zero
// value, or what its comment says.
//
//go:embed scenarios/*.json
var scenarioFiles embed.FS

// scenario is one kind of traffic against a server of its own.
type scenario struct {
	name string

	Title       string   `json:"title"`
	Door        door     `json:"door"`        // hit, array, batch, pixel, ping, sdk
	Visitors    Mix      `json:"visitors"`    // model, new, returning
	Apps        int      `json:"apps"`        // 1: the open demo app; more: with the settings of any new app
	Limit       int      `json:"limit"`       // events_per_minute of the one app, which is no demo app then
	Batch       int      `json:"batch"`       // events a request; 1
	Connections int      `json:"connections"` // as -connections says
	People      int      `json:"people"`      // whom the store knows before the clock starts; 200,000
	Times       int      `json:"times"`       // hits of each of them; 1
	Lasts       span     `json:"lasts"`       // like 1m; as -seconds says
	Beside      []string `json:"beside"`      // what has its turn as well: bare, nginx, hits (native ones), one (app, of the same server)
	Measure     string   `json:"measure"`     // rounds of traffic; size: what people leave on disk; half: latency at half capacity
	When        string   `json:"when"`        // empty: always; long: with -long, or when asked for
}

// span is a time.Duration as text.
type span time.Duration

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = span(d)
	return err
}

// UnmarshalText reads the name of a door.
func (d *door) UnmarshalText(text []byte) error {
	i := slices.Index(doorNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("there is no door %q; there are %s", text, strings.Join(doorNames[:], ", "))
	}
	*d = door(i)
	return nil
}

var doorNames = [...]string{doorHit: "hit", doorArray: "array", doorBatch: "batch", doorPixel: "pixel", doorPing: "ping", doorSDK: "sdk"}

// UnmarshalText reads the name of a mix.
func (m *Mix) UnmarshalText(text []byte) error {
	for _, mix := range []Mix{MixModel, MixNew, MixReturning} {
		if mix.String() == string(text) {
			*m = mix
			return nil
		}
	}
	return fmt.Errorf("there are no visitors %q; there are model, new, returning", text)
}

var (
	measures = map[string]func(*course) error{
		"": (*course).rounds, "size": func(*course) error { return nil }, "half": (*course).half,
	}
	besides = []string{"bare", "nginx", "hits", "one"}
)

func (s *scenario) beside(what string) bool { return slices.Contains(s.Beside, what) }

func parseScenario(name string, data []byte) (s scenario, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	s = scenario{Apps: 1, Batch: 1, People: population, Times: 1}
	if err = dec.Decode(&s); err == nil {
		err = s.check()
	}
	if _, more := dec.Token(); err == nil && !errors.Is(more, io.EOF) {
		err = errors.New("something follows the object; a file holds one scenario")
	}
	if err != nil {
		return s, fmt.Errorf("cannot read the scenario %s: %w", name, err)
	}
	s.name = strings.TrimSuffix(path.Base(name), ".json")
	if number, rest, ok := strings.Cut(s.name, "-"); ok && strings.Trim(number, "0123456789") == "" {
		s.name = rest
	}
	return s, nil
}

func (s *scenario) check() error {
	var errs []error
	within := func(what string, n, least, most int) {
		if n < least || n > most {
			errs = append(errs, fmt.Errorf("%s is %d; it must be from %d to %d", what, n, least, most))
		}
	}
	within("apps", s.Apps, 1, 100_000)
	within("batch", s.Batch, 1, 1000)
	within("connections", s.Connections, 0, 1<<streamBits)
	within("people", s.People, 1, 100_000_000)
	within("times", s.Times, 1, 1000)
	refuse := func(wrong bool, format string, values ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, values...))
		}
	}
	refuse(s.Lasts != 0 && (time.Duration(s.Lasts) < time.Second || time.Duration(s.Lasts) > 24*time.Hour), "lasts is %s; it must be from 1s to 24h", time.Duration(s.Lasts))
	refuse(s.Apps > 1 && s.Batch > 1, "apps is %d and batch %d; a request is of one app, so one of them must be 1", s.Apps, s.Batch)
	refuse(s.Apps > 1 && s.Limit != 0, "apps is %d and limit %d; limit is of one app, many have that of any new app", s.Apps, s.Limit)
	refuse(s.Limit < 0, "limit is %d; it must be positive", s.Limit)
	refuse(s.beside("one") && s.Apps == 1 && s.Limit == 0, "beside names one; that is for many apps, or for one with a limit")
	refuse(s.beside("nginx") && s.Door != doorPixel, "beside names nginx; it answers pixels alone, so door must be pixel")
	refuse(s.Measure != "" && len(s.Beside) > 0, "beside names %s and measure is %s; only rounds have something beside them", strings.Join(s.Beside, ", "), s.Measure)
	refuse(s.Measure == "half" && (s.Apps > 1 || s.Limit != 0 || s.Batch > 1), "measure is half; that is for single hits of the open demo app, without apps, limit and batch")
	if s.Title == "" {
		errs = append(errs, errors.New("it has no title"))
	}
	if (s.Door == doorArray || s.Door == doorBatch) != (s.Batch > 1) && s.Measure != "size" {
		errs = append(errs, fmt.Errorf("batch is %d; array and batch take more than 1, the others one", s.Batch))
	}
	if measures[s.Measure] == nil {
		errs = append(errs, fmt.Errorf("measure is %q; there are size and half, and rounds if it is left out", s.Measure))
	}
	if s.When != "" && s.When != "long" {
		errs = append(errs, fmt.Errorf("when is %q; want long, or nothing", s.When))
	}
	for _, one := range s.Beside {
		if !slices.Contains(besides, one) {
			errs = append(errs, fmt.Errorf("beside names %q; there are %s", one, strings.Join(besides, ", ")))
		}
	}
	return errors.Join(errs...)
}

// scenarios are those that come with the program, in their order.
func scenarios() (list []scenario, err error) {
	entries, err := scenarioFiles.ReadDir("scenarios")
	for _, e := range entries {
		if err == nil {
			var data []byte
			if data, err = scenarioFiles.ReadFile("scenarios/" + e.Name()); err == nil {
				var s scenario
				s, err = parseScenario(e.Name(), data)
				list = append(list, s)
			}
		}
	}
	return list, err
}

// chosen are the scenarios to run.
func (o options) chosen() ([]scenario, error) {
	all, err := scenarios()
	if err != nil {
		return nil, err
	}
	only := o.only
	switch {
	case o.only != "":
	case o.against != "":
		only = againstDefault
	case o.long:
		return all, nil
	default:
		return slices.DeleteFunc(all, func(s scenario) bool { return s.When == "long" }), nil
	}
	var some []scenario
	for _, name := range strings.Split(only, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		switch {
		case i >= 0:
			some = append(some, all[i])
		case strings.HasSuffix(name, ".json"):
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("cannot read a scenario: %w", err)
			}
			s, err := parseScenario(name, data)
			if err != nil {
				return nil, err
			}
			some = append(some, s)
		default:
			return nil, fmt.Errorf("there is no traffic %q; see -help, or name a file that ends with .json", name)
		}
	}
	return some, nil
}
