package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	testVersion = "1.2.3~test"
	epoch       = 1767225600 // 2026-01-01
)

// made is the directory of what build makes once, for all tests.
var made string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dist")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	made = dir
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

var build = sync.OnceValue(func() error {
	r := release{dir: made, version: testVersion, architectures: []string{"amd64", "arm64"}, time: time.Unix(epoch, 0).UTC()}
	return r.make()
})

func file(t *testing.T, arch, kind string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	switch kind {
	case "deb":
		return filepath.Join(made, "spoor_"+testVersion+"_"+arch+".deb")
	case "image":
		return filepath.Join(made, "spoor-image-"+arch+".tar")
	}
	return filepath.Join(made, "spoor-linux-"+arch)
}

// Goal: the same sources give the same bytes.
// Method: a copy of the sources at another path, which is no repository, built
// in another time zone, under another umask, and later.
func TestReproducible(t *testing.T) {
	if err := build(); err != nil {
		t.Fatal(err)
	}
	sources, again := t.TempDir(), t.TempDir()
	copySources(t, sources)
	cmd := exec.Command("sh", "-c", `umask 077; exec go run ./cmd/spoor/dist -out "$0" -version "$1" -arch "$2"`, again, testVersion, runtime.GOARCH)
	cmd.Dir = sources
	cmd.Env = append(os.Environ(), "TZ=Asia/Kolkata", fmt.Sprint("SOURCE_DATE_EPOCH=", epoch), "PWD="+sources)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sums, err := os.ReadFile(filepath.Join(made, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	later, err := os.ReadFile(filepath.Join(again, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(later)) {
		if n++; !strings.Contains(string(sums), line) {
			t.Errorf("the second build has %q, the first one:\n%s", line, sums)
		}
	}
	if n != 3 {
		t.Errorf("the second build made %d files, want 3", n)
	}
	check := exec.Command("sha256sum", "-c", "--strict", "SHA256SUMS")
	check.Dir = made
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 6 {
		t.Errorf("sha256sum -c: %v\n%s", err, out)
	}
}

// copySources copies what a build reads.
func copySources(t *testing.T, to string) {
	t.Helper()
	from := filepath.Join("..", "..", "..")
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "node_modules", "data", "dist", "bin", "geoip"}, rel)) {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Goal: of two commits of a day dpkg takes the later one for the newer version,
// and a release for newer than both.
// Method: commits a second apart, told in two time zones.
func TestVersionsSort(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", "")
	for name, value := range map[string]string{"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@shop.example", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@shop.example"} {
		t.Setenv(name, value)
	}
	run(t, "git", "init", "-q")
	var before string
	for i, date := range []string{"2026-11-22T11:30:00+0000", "2026-11-22T17:00:01+0530", "2026-11-22T11:30:02+0000", "2026-11-22T12:30:03+0100", "2026-11-22T11:30:04+0000"} {
		t.Setenv("GIT_COMMITTER_DATE", date)
		t.Setenv("GIT_AUTHOR_DATE", date)
		run(t, "git", "commit", "-q", "--allow-empty", "-m", "change")
		var r release
		if err := r.identify(); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("0~2026112211300%d.", i); !strings.HasPrefix(r.version, want) || len(r.version) < len(want)+7 {
			t.Errorf("the version of a commit at %s is %s, want %s and its number", date, r.version, want)
		}
		if i > 0 {
			run(t, "dpkg", "--compare-versions", r.version, "gt", before)
		}
		before = r.version
	}
	run(t, "git", "tag", "-a", "-m", "first", "v0.1.0")
	r := release{}
	if err := r.identify(); err != nil || r.version != "0.1.0" {
		t.Errorf("the version of the release is %q, %v", r.version, err)
	}
	run(t, "dpkg", "--compare-versions", "0.1.0", "gt", before)
}

// Goal: the programs are of their architecture and need no library.
func TestProgramsAreStatic(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		f, err := elf.Open(file(t, arch, "program"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Machine != machine {
			t.Errorf("%s: the program is for %v", arch, f.Machine)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s: the program asks for a loader", arch)
			}
		}
	}
	out, err := exec.Command(file(t, runtime.GOARCH, "program"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "spoor "+testVersion+" go") {
		t.Errorf("spoor version: %v %s", err, out)
	}
}

// Goal: a package holds the program, its unit and one file of settings that
// upgrades leave alone, all of them root's.
func TestPackage(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		list := run(t, "dpkg-deb", "-c", file(t, arch, "deb"))
		for _, want := range []string{
			"-rwxr-xr-x root/root ./usr/bin/spoor",
			"-rw-r--r-- root/root ./usr/lib/systemd/system/spoor.service",
			"-rw-r--r-- root/root ./etc/default/spoor",
			"-rw-r--r-- root/root ./usr/share/doc/spoor/copyright",
		} {
			fields := strings.Fields(want)
			if !slices.ContainsFunc(strings.Split(list, "\n"), func(line string) bool {
				f := strings.Fields(line)
				return len(f) == 6 && f[0] == fields[0] && f[1] == fields[1] && f[3] == "2026-01-01" && f[5] == fields[2]
			}) {
				t.Errorf("%s: the package has no %q of that day:\n%s", arch, want, list)
			}
		}
		if n := strings.Count(list, "\n-"); n != 4 {
			t.Errorf("%s: the package has %d files, want 4:\n%s", arch, n, list)
		}
		info := run(t, "dpkg-deb", "-f", file(t, arch, "deb"))
		for _, want := range []string{"Package: spoor\n", "Version: " + testVersion + "\n", "Architecture: " + arch + "\n", "Depends: passwd, ca-certificates\n"} {
			if !strings.Contains(info, want) {
				t.Errorf("%s: the package does not say %q:\n%s", arch, want, info)
			}
		}
		if conffiles := run(t, "dpkg-deb", "-I", file(t, arch, "deb"), "conffiles"); conffiles != "/etc/default/spoor\n" {
			t.Errorf("%s: the conffiles are %q", arch, conffiles)
		}
	}
}

// Goal: systemd understands the unit, and calls what a broken-in service could
// do little.
// Method: systemd-analyze on the files of the package.
func TestUnit(t *testing.T) {
	root := t.TempDir()
	run(t, "dpkg-deb", "-x", file(t, runtime.GOARCH, "deb"), root)
	unit := filepath.Join(root, "usr/lib/systemd/system/spoor.service")
	run(t, "systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", unit) // 2.0 of 10

	// Verify wants the program to be where the unit says.
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	moved := bytes.ReplaceAll(text, []byte("=/usr/bin/spoor "), []byte("="+root+"/usr/bin/spoor "))
	if bytes.Equal(moved, text) {
		t.Fatal("the unit does not start /usr/bin/spoor")
	}
	unit = filepath.Join(t.TempDir(), "spoor.service")
	if err := os.WriteFile(unit, moved, 0o644); err != nil {
		t.Fatal(err)
	}
	if said := run(t, "systemd-analyze", "verify", "--recursive-errors=no", unit); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
}

// Goal: the image is one that docker load takes, holds nothing but what the
// program needs, and its program serves as the image's user.
// Method: the layer is unpacked, and the program started in it as its root,
// with the image's own command and environment. No container engine is needed.
func TestImage(t *testing.T) {
	if os.Getuid() != 0 {
		const hint = "only root can start a program in a root of its own: run the tests as root"
		if os.Getenv("SPOOR_REQUIRE_CLIENTS") != "" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := tarball.ImageFromPath(file(t, arch, "image"), nil)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != arch || config.OS != "linux" || config.Config.User != "65532:65532" {
			t.Errorf("the image is for %s/%s, user %s", config.OS, config.Architecture, config.Config.User)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		layer, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		root, err := os.MkdirTemp("", "img")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(root) })
		names := unpackLayer(t, layer, root)
		if want := "LICENSE etc/ etc/ssl/ etc/ssl/certs/ etc/ssl/certs/ca-certificates.crt spoor var/ var/lib/ var/lib/spoor/"; strings.Join(names, " ") != want {
			t.Errorf("the image holds %q", names)
		}
		roots, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
		if n := bytes.Count(roots, []byte("BEGIN CERTIFICATE")); err != nil || n < 50 {
			t.Errorf("the image knows %d authorities, %v", n, err)
		}
		if licence, err := os.ReadFile(filepath.Join(root, "LICENSE")); err != nil || !bytes.Contains(licence, []byte("Apache License")) {
			t.Errorf("the image's licence: %v, %.100q", err, licence)
		}
		if arch == runtime.GOARCH {
			serveImage(t, root, append(slices.Clone(config.Config.Entrypoint), config.Config.Cmd...), config.Config.Env)
		}
	}
}

func unpackLayer(t *testing.T, layer io.ReadCloser, root string) (names []string) {
	t.Helper()
	defer layer.Close()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		to := filepath.Join(root, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.Mkdir(to, 0o755)
		} else {
			var data []byte
			data, err = io.ReadAll(r)
			err = errors.Join(err, os.WriteFile(to, data, 0o644))
		}
		if err := errors.Join(err, os.Chmod(to, fs.FileMode(h.Mode)), os.Chown(to, h.Uid, h.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

func serveImage(t *testing.T, root string, command, env []string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = "/", append(env, "SPOOR_LISTEN=127.0.0.1:0", "SPOOR_ADMIN=127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: imageUser, Gid: imageUser}, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	for end := time.Now().Add(30 * time.Second); !strings.Contains(said(), "msg=serving") && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil || !strings.Contains(said(), "msg=serving") {
		t.Errorf("the image's program: %v\n%s", err, said())
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
