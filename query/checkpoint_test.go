package query

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spoorhq/spoor"
)

// fakeCheckpoint sends pieces until it fails.
type fakeCheckpoint struct {
	pieces int // 0: one
	err    error
	closed atomic.Int32
}

func (f *fakeCheckpoint) Send(w io.Writer) error {
	for range max(f.pieces, 1) {
		if _, err := w.Write([]byte(strings.Repeat("tar", 20_000))); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fakeCheckpoint) Close() { f.closed.Add(1) }

// Goal: a copy of everything goes to the operator, to the control plane only where
// that is allowed, and to no browser; one at a time; a copy is given back however
// its stream ends, is entered as cut when it was, and a reader sees that.
// Method: a table of who asks and what happens to the copy.
func TestCheckpoint(t *testing.T) {
	disk := errors.New("bad block")
	for _, test := range []struct {
		name, who string
		copied    *fakeCheckpoint
		fails     error
		byToken   bool
		method    string
		status    int
		cut       bool
	}{
		{"the operator", "", &fakeCheckpoint{}, nil, false, "GET", 200, false},
		{"the control plane", "control", nil, nil, false, "GET", 403, false},
		{"the control plane that may", "control", &fakeCheckpoint{}, nil, true, "GET", 200, false},
		{"an admin of an app", "shop-admin", nil, nil, true, "GET", 403, false},
		{"only looking", "control", nil, nil, true, "HEAD", 405, false},
		{"another one is read", "control", nil, ErrCheckpoint, true, "GET", 409, false},
		{"a full disk", "control", nil, spoor.ErrReadOnly, true, "GET", 503, false},
		{"cannot be made", "control", nil, disk, true, "GET", 500, false},
		{"cannot be read on", "control", &fakeCheckpoint{err: disk}, nil, true, "GET", 200, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ts := newTestServer(t, func(o *Options) {
				o.CheckpointByToken = test.byToken
				o.Checkpoint = func() (Checkpoint, error) {
					if test.fails != nil {
						return nil, test.fails
					}
					return test.copied, nil
				}
			})
			client, request := ts.web, requestOf(t, test.method, test.who)
			if test.who == "" {
				client = ts.local
			}
			resp, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != test.status || (err != nil) != test.cut {
				t.Errorf("%d %.200s, %v", resp.StatusCode, body, err)
			}
			if test.copied == nil {
				if len(ts.audited()) != 0 {
					t.Errorf("what was refused is entered: %+v", ts.audited())
				}
				return
			}
			if !test.cut && len(body) != 60_000 {
				t.Errorf("%d bytes arrived", len(body))
			}
			var a []spoor.Access
			await(t, "an entry", func() bool { a = append(a, ts.audited()...); return len(a) > 0 })
			if len(a) != 1 || a[0].Action != "checkpoint" || a[0].Complete == test.cut || a[0].Subjects != 2 {
				t.Errorf("entered %+v", a)
			}
			if n := test.copied.closed.Load(); n != 1 { // before the entry
				t.Errorf("the copy was closed %d times", n)
			}
		})
	}
	ts := newTestServer(t, func(o *Options) { o.Checkpoint = nil })
	if rep := ts.do("GET", "/api/admin/checkpoint/", "control", ""); rep.status != http.StatusNotFound {
		t.Errorf("without checkpoints: %d", rep.status)
	}
}

// Goal: Shutdown ends a checkpoint that is being sent, visibly cut, and gives the
// copy back.
func TestShutdownCutsACheckpoint(t *testing.T) {
	copied := &fakeCheckpoint{pieces: 1 << 30}
	ts := newTestServer(t, func(o *Options) { o.Checkpoint = func() (Checkpoint, error) { return copied, nil } })
	resp, err := ts.local.Do(requestOf(t, "GET", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	cut := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		cut <- err
	}()
	ctx, end := context.WithTimeout(t.Context(), 10*time.Second)
	defer end()
	if err := ts.Shutdown(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("Shutdown: %v %v", err, ctx.Err())
	}
	if err := <-cut; err == nil {
		t.Error("the reader took a part for the whole")
	}
	await(t, "the end of the copy", func() bool { return copied.closed.Load() == 1 })
}

func requestOf(t *testing.T, method, token string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, "http://spoor.test/api/admin/checkpoint/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Token "+token)
	}
	return req
}
