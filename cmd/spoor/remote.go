package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// remote is the read side of a server elsewhere.
type remote struct {
	url    *url.URL
	token  string
	client *http.Client
}

const (
	remoteAnswerMax = 2 * time.Minute  // for a checkpoint to be made
	remoteStallMax  = 90 * time.Second // between two pieces of it
)

// newRemote reads an address such as http://10.0.0.5:8081; ca is a file with
// roots of a private authority, or empty.
func newRemote(address, token, ca string) (*remote, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no address of a server; write it like http://10.0.0.5:8081, that of its --admin", address)
	}
	if token == "" {
		return nil, fmt.Errorf("cannot ask %s without its secret: set SPOOR_ADMIN_TOKEN to what it has there", u.Host)
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: remoteAnswerMax, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("cannot read the roots for %s: %w", u.Host, err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot use %s: it holds no certificate in PEM", ca)
		}
	}
	return &remote{url: u, token: token, client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the secret is for this address
	}}, nil
}

// api talks to it as the control plane.
func (r *remote) api() *client {
	return &client{base: strings.TrimRight(r.url.String(), "/"), token: r.token, http: r.client}
}

// clear reports whether what is sent can be read on the way.
func (r *remote) clear() bool { return r.url.Scheme == "http" && !isLoopback(r.url.Host) }

// checkpoint asks for a checkpoint. Reading it fails once ctx ends, or when nothing
// comes any more.
func (r *remote) checkpoint(ctx context.Context) (io.ReadCloser, error) {
	req, err := http.NewRequest(http.MethodGet, r.url.JoinPath("/api/admin/checkpoint/").String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Token "+r.token)
	ctx, cancel := context.WithCancelCause(ctx)
	resp, err := r.client.Do(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("cannot fetch a checkpoint: %w", err)
	}
	body := &stallReader{ReadCloser: resp.Body, ctx: ctx, cancel: cancel}
	body.timer = time.AfterFunc(remoteStallMax, func() { cancel(fmt.Errorf("nothing came for %s", remoteStallMax)) })
	if resp.StatusCode == http.StatusOK {
		return body, nil
	}
	defer body.Close()
	text, _ := io.ReadAll(io.LimitReader(body, 1<<16)) // what could be read is shown
	return nil, fmt.Errorf("cannot fetch a checkpoint: %s answers %d: %s", r.url.Host, resp.StatusCode, complaint(text, resp.Status))
}

// stallReader ends a stream that has stopped.
type stallReader struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.timer.Reset(remoteStallMax)
	if cause := context.Cause(s.ctx); err != nil && cause != nil && !errors.Is(err, io.EOF) {
		err = cause
	}
	return n, err
}

func (s *stallReader) Close() error {
	s.timer.Stop()
	s.cancel(nil)
	return s.ReadCloser.Close()
}
