package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// peer is a server that spoor is compared with, in turn.
type peer struct {
	name    string
	address string
	url     *url.URL // its requests differ from spoor's; nil: they do not
	process *process // nil: somebody else's, or nginx, which works in several
	end     func()   // nil: nothing to end
}

// cpu is the CPU time that it has used; 0 if that is not known.
func (p *peer) cpu() time.Duration {
	if p.process == nil {
		return 0
	}
	return p.process.cpu()
}

// kill ends it, if it is ours.
func (p *peer) kill() {
	if p != nil && p.end != nil {
		p.end()
	}
}

// startPeer runs this program as a server of another kind.
func (b *bench) startPeer(name string, args ...string) (*peer, error) {
	p, err := startProcess(nil, b.self, args...)
	if err != nil {
		return nil, err
	}
	return &peer{name: name, address: p.collector, process: p, end: p.kill}, nil
}

// againstPeer is the server of -against.
func againstPeer(text string) (*peer, error) {
	at, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("-against is no URL: %w", err)
	}
	if at.Scheme != "http" || at.Host == "" {
		return nil, fmt.Errorf("-against is %q; it must be like http://127.0.0.1:9000/path, without TLS", text)
	}
	address := at.Host
	if at.Port() == "" {
		address = net.JoinHostPort(at.Hostname(), "80")
	}
	return &peer{name: at.Redacted(), address: address, url: at}, nil
}

// try sends one request of each kind of traffic to a server of -against.
func (p *peer) try(list []scenario) error {
	for _, s := range list {
		if s.Measure != "" { // only rounds compare
			continue
		}
		salt := rand.Uint64()
		l := load{address: p.address, door: s.Door, batch: s.Batch, connections: 1, discard: true}
		got, err := l.run(newTrafficAt(p.url, salt, []string{demoKey}, s.Door), []*stream{newStream(0, salt, 1, s.Batch)}, newLedger(salt, 1))
		if err == nil && got.requests == 0 {
			err = fmt.Errorf("%d of its requests refused, %d failed: %s", got.refusedRequests, got.errors, got.problem)
		}
		if err != nil {
			return fmt.Errorf("%s does not take %s: %w; name with -only what it takes", p.name, s.Title, err)
		}
	}
	return nil
}

// nginxConfiguration answers every GET with an image of one pixel and writes
// an access log, as collectors of pixels are commonly built. Nothing of it is
// durable.
const nginxConfiguration = `daemon off;
worker_processes 2;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events { worker_connections 20000; }
http {
  access_log %[1]s/access.log combined buffer=64k flush=1s;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  keepalive_requests 1000000000;
  server {
    listen %[2]s backlog=4096;
    location / { empty_gif; }
  }
}
`

var errNoNginx = errors.New("nginx is not installed (Debian: apt-get install nginx-light)")

// startNginx runs nginx with a configuration of its own in dir.
func startNginx(dir string) (*peer, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program = "/usr/sbin/nginx"; exec.Command(program, "-v").Run() != nil {
			return nil, errNoNginx
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a folder for nginx: %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, nginxConfiguration, dir, address), 0o600); err != nil {
		return nil, fmt.Errorf("cannot configure nginx: %w", err)
	}
	var said strings.Builder
	cmd := exec.Command(program, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", path)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // its workers end with it, which SIGKILL would not do
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start nginx: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // what it said tells more
		close(ended)
	}()
	n := &peer{name: "nginx", address: address, end: func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
	}}
	for until := time.Now().Add(startTimeout); time.Now().Before(until); {
		if conn, err := net.Dial("tcp", address); err == nil {
			return n, conn.Close()
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("cannot start nginx: %s", strings.TrimSpace(said.String()))
		case <-time.After(20 * time.Millisecond):
		}
	}
	n.kill()
	return nil, fmt.Errorf("cannot start nginx: it does not listen after %s", startTimeout)
}

// freeAddress is one on which nothing listens now.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
