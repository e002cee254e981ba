package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// errNoServer: nobody listens on the socket of a data directory.
var errNoServer = errors.New("no spoor runs on the data directory")

// errNotThere: the server answered 404.
var errNotThere = errors.New("no such")

// client talks to the running server through the socket in its data directory, or
// to another one over the network.
type client struct {
	http  *http.Client
	data  string // empty: over the network
	base  string // what begins a URL
	token string // of the control plane, over the network
}

func newClient(data string) *client {
	path := shortPath(filepath.Join(data, socketName))
	return &client{data: data, base: "http://spoor", http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}
}

// stream sends a request and returns the body of its reply. An error reply
// becomes an error with the server's own words.
func (c *client) stream(method, path string, body any) (io.ReadCloser, error) {
	var raw io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		raw = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.base+path, raw)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Token "+c.token)
	}
	resp, err := c.http.Do(req)
	switch {
	case err != nil && c.data == "":
		return nil, fmt.Errorf("cannot talk to the server at %s: %w", c.base, err)
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w %s; start it with: spoor serve --data %s", errNoServer, c.data, c.data)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("cannot talk to the server on %s: %w; use sudo, or be the user who runs it", c.data, os.ErrPermission)
	case err != nil:
		return nil, fmt.Errorf("cannot talk to the server: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound && c.data == "" {
		return nil, fmt.Errorf("the server at %s has no such thing: %w", c.base, errNotThere)
	}
	if resp.StatusCode == http.StatusNotFound { // all paths exist, so it is the name in one
		return nil, fmt.Errorf("there is %w app, key, token or link; list the apps with: spoor app list --data %s", errNotThere, c.data)
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // what could be read is shown
	return nil, fmt.Errorf("cannot do that: %s", complaint(text, resp.Status))
}

// call is stream for replies that are one JSON value; into may be nil.
func (c *client) call(method, path string, body, into any) error {
	reply, err := c.stream(method, path, body)
	if err != nil {
		return err
	}
	defer reply.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(reply).Decode(into); err != nil {
		return fmt.Errorf("cannot read the server's reply: %w", err)
	}
	return nil
}

// complaint takes the words out of an error reply.
func complaint(body []byte, status string) string {
	var e struct {
		Detail string              `json:"detail"`
		Errors map[string][]string `json:"errors"`
	}
	if json.Unmarshal(body, &e) == nil {
		if e.Detail != "" {
			return e.Detail
		}
		var all []string
		for field, texts := range e.Errors {
			all = append(all, field+": "+strings.Join(texts, " "))
		}
		if len(all) > 0 {
			return strings.Join(all, "; ")
		}
	}
	return status
}
