package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed debian
var debian embed.FS

// packed says where each file of a package comes from.
var packed = []struct {
	from, to string
	mode     os.FileMode
}{
	{"control", "DEBIAN/control", 0o644},
	{"conffiles", "DEBIAN/conffiles", 0o644},
	{"postinst", "DEBIAN/postinst", 0o755},
	{"prerm", "DEBIAN/prerm", 0o755},
	{"postrm", "DEBIAN/postrm", 0o755},
	{"spoor.service", "usr/lib/systemd/system/spoor.service", 0o644},
	{"spoor.default", "etc/default/spoor", 0o644},
	{"copyright", "usr/share/doc/spoor/copyright", 0o644},
}

// pack makes a Debian package. Settings, data and the user are the matter of
// postinst: a package's own files must not be what an upgrade replaces.
func (r *release) pack(arch, program, to string) error {
	root, err := os.MkdirTemp(r.dir, ".deb-")
	if err != nil {
		return fmt.Errorf("cannot make a directory for the package: %w", err)
	}
	defer os.RemoveAll(root)
	if err := r.lay(root, arch, program); err != nil {
		return fmt.Errorf("cannot lay out the package: %w", err)
	}
	// One thread and a named compression: both would else depend on the machine.
	cmd := exec.Command("dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "-z3", "--build", root, to)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.time.Unix(), 10))
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("cannot make a Debian package: there is no dpkg-deb; install the package dpkg (1.22 or later, or 1.21 of Debian 12)")
	case err != nil:
		return fmt.Errorf("cannot make a Debian package: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lay copies the files of a package to where they will be, below root. All are
// as old as the commit.
func (r *release) lay(root, arch, program string) error {
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	put := func(to string, data []byte, mode os.FileMode) error {
		to = filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, mode); err != nil {
			return err
		}
		return os.Chmod(to, mode) // whatever the umask
	}
	size := len(binary)
	for _, f := range packed[1:] {
		data, err := debian.ReadFile("debian/" + f.from)
		if err != nil {
			return err
		}
		size += len(data)
		if err := put(f.to, data, f.mode); err != nil {
			return err
		}
	}
	control, err := debian.ReadFile("debian/control")
	if err != nil {
		return err
	}
	filled := strings.NewReplacer("VERSION", r.version, "ARCHITECTURE", arch, "KIBIBYTES", strconv.Itoa(size>>10)).Replace(string(control))
	if err := errors.Join(put("usr/bin/spoor", binary, 0o755), put(packed[0].to, []byte(filled), packed[0].mode)); err != nil {
		return err
	}
	return filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return errors.Join(err, os.Chtimes(path, r.time, r.time))
	})
}
