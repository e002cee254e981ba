// Command dist makes what is given to those who run spoor: static programs, a
// Debian package and a container image for each architecture, and their sums.
//
//	go run ./cmd/spoor/dist [-out dist] [-version 1.2.3] [-arch amd64,arm64]
//
// The same sources, version and Go give the same bytes, wherever and whenever
// they are built: times are those of the commit, or of SOURCE_DATE_EPOCH.
//
// main.go builds the programs, deb.go packs what stands in debian with
// dpkg-deb, image.go writes an archive for docker load or podman load.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// release is what all of one run have in common.
type release struct {
	dir           string   // where the results go
	version       string   // as Debian writes them: begins with a digit
	architectures []string // as Go and Debian call them
	time          time.Time
}

func main() {
	var r release
	flag.StringVar(&r.dir, "out", "dist", "directory of the results")
	flag.StringVar(&r.version, "version", "", "version; default: the tag of the commit, or its time and number")
	arch := flag.String("arch", "amd64,arm64", "architectures, by comma")
	flag.Parse()
	r.architectures = strings.Split(*arch, ",")
	if err := r.make(); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

var versionForm = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~]*$`)

func (r *release) make() error {
	if err := r.identify(); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of the results: %w", err)
	}
	var made []string
	for _, arch := range r.architectures {
		program := filepath.Join(r.dir, "spoor-linux-"+arch)
		if err := r.build(arch, program); err != nil {
			return err
		}
		deb := filepath.Join(r.dir, "spoor_"+r.version+"_"+arch+".deb")
		if err := r.pack(arch, program, deb); err != nil {
			return err
		}
		image := filepath.Join(r.dir, "spoor-image-"+arch+".tar")
		if err := r.image(arch, program, image); err != nil {
			return err
		}
		made = append(made, program, deb, image)
	}
	return r.sums(made)
}

// identify finds version and time where they were not given.
func (r *release) identify() error {
	if r.time.IsZero() {
		epoch, err := os.Getenv("SOURCE_DATE_EPOCH"), error(nil)
		if epoch == "" {
			if epoch, err = git("log", "-1", "--format=%ct"); err != nil {
				return err
			}
		}
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return fmt.Errorf("cannot use SOURCE_DATE_EPOCH %q: want seconds since 1970", epoch)
		}
		r.time = time.Unix(seconds, 0).UTC()
	}
	if r.version == "" {
		commit, err := git("describe", "--always", "--dirty", "--match", "v[0-9]*")
		if err != nil {
			return err
		}
		if tag, ok := strings.CutPrefix(commit, "v"); ok {
			r.version = tag
		} else {
			r.version = "0~" + r.time.Format("20060102150405") + "." + commit // sorts by time, and before any release
		}
		r.version = strings.ReplaceAll(r.version, "-", "+") // Debian takes a dash for the beginning of a revision
	}
	if !versionForm.MatchString(r.version) {
		return fmt.Errorf("cannot use version %q: want a digit, then letters, digits, dots, + and ~, such as 1.2.3", r.version)
	}
	return nil
}

func git(args ...string) (string, error) {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("cannot ask git for the commit: %w; outside of a repository give -version and SOURCE_DATE_EPOCH", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build compiles the program without anything of this machine in it.
func (r *release) build(arch, to string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.release="+r.version, "-o", to, "github.com/spoorhq/spoor/cmd/spoor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot build for %s: %w", arch, err)
	}
	return nil
}

// sums writes SHA256SUMS, as sha256sum -c reads it.
func (r *release) sums(files []string) error {
	slices.Sort(files)
	var b strings.Builder
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot sum up %s: %w", path, err)
		}
		fmt.Fprintf(&b, "%x  %s\n", h.Sum(nil), filepath.Base(path))
	}
	fmt.Print(b.String())
	return os.WriteFile(filepath.Join(r.dir, "SHA256SUMS"), []byte(b.String()), 0o644)
}
