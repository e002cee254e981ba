package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// imageUser runs the program in a container; nobody else has this number.
const imageUser = 65532

// image writes an image that holds the program, its licence, the certificates of public
// authorities (for ACME, webhooks and fetching a GeoIP database) and an empty
// directory for the data; time zones are in the program.
func (r *release) image(arch, program, to string) error {
	layer, err := r.layer(program)
	if err != nil {
		return fmt.Errorf("cannot lay out the image: %w", err)
	}
	opened, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return fmt.Errorf("cannot make a layer: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, opened)
	if err != nil {
		return fmt.Errorf("cannot make an image: %w", err)
	}
	img, err = mutate.ConfigFile(img, r.config(arch, img))
	if err != nil {
		return fmt.Errorf("cannot configure the image: %w", err)
	}
	tag, err := name.NewTag("spoor:" + strings.NewReplacer("~", "-", "+", "-").Replace(r.version))
	if err != nil {
		return fmt.Errorf("cannot name the image: %w", err)
	}
	if err := tarball.WriteToFile(to, tag, img); err != nil {
		return fmt.Errorf("cannot write %s: %w", to, err)
	}
	return nil
}

func (r *release) config(arch string, img v1.Image) *v1.ConfigFile {
	c, err := img.ConfigFile()
	if err != nil {
		panic("BUG: an image without a configuration: " + err.Error())
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", arch, v1.Time{Time: r.time}
	c.History = []v1.History{{Created: v1.Time{Time: r.time}, CreatedBy: "spoor " + r.version}}
	c.Config = v1.Config{
		User:         fmt.Sprint(imageUser, ":", imageUser),
		Entrypoint:   []string{"/spoor"},
		Cmd:          []string{"serve"},
		Env:          []string{"SPOOR_DATA=/var/lib/spoor", "SPOOR_LISTEN=:8080"}, // the read side stays on the container's own loopback
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Volumes:      map[string]struct{}{"/var/lib/spoor": {}},
		StopSignal:   "SIGTERM",
		Labels:       map[string]string{"org.opencontainers.image.source": "https://github.com/spoorhq/spoor", "org.opencontainers.image.version": r.version},
	}
	return c
}

// layer is the image's whole file system as a tar archive.
func (r *release) layer(program string) ([]byte, error) {
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	sources, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/spoorhq/spoor").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find the sources: %w", err)
	}
	licence, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(sources)), "LICENSE"))
	if err != nil {
		return nil, err
	}
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // distrusted for newer certificates, which a file of roots cannot say
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name  string
		mode  int64
		owner int
		data  []byte
	}{
		{"LICENSE", 0o644, 0, licence},
		{"etc/", 0o755, 0, nil},
		{"etc/ssl/", 0o755, 0, nil},
		{"etc/ssl/certs/", 0o755, 0, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, 0, roots.Bytes()},
		{"spoor", 0o755, 0, binary},
		{"var/", 0o755, 0, nil},
		{"var/lib/", 0o755, 0, nil},
		{"var/lib/spoor/", 0o700, imageUser, nil},
	} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, Size: int64(len(f.data)), ModTime: r.time, Typeflag: tar.TypeReg}
		if f.data == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
