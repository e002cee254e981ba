package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/spoorhq/spoor/store"
)

type backupCommand struct {
	dataFlag
	From       string `help:"Copy the server at this address, that of its read side, instead of the one on the data directory. Its secret is taken from SPOOR_ADMIN_TOKEN, and it must run with --checkpoints." placeholder:"URL"`
	FromCA     string `name:"from-ca" help:"Roots of a private authority for --from, PEM." placeholder:"FILE"`
	AdminToken string `help:"Secret for --from. Only the environment, so that it shows in no process list." env:"SPOOR_ADMIN_TOKEN" hidden:""`
	Dir        string `arg:"" help:"A new or empty directory for the copy." type:"path"`
}

// Run asks the running server, or opens a stopped store itself.
func (c *backupCommand) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	if err := c.prepare(); err != nil {
		return err
	}
	from, err := c.open(ctx)
	if err != nil {
		return err
	}
	closed := context.AfterFunc(ctx, func() { from.Close() })
	defer closed()
	incoming := filepath.Join(c.Dir, incomingName)
	got, err := receive(from, incoming, shown())
	if ended := from.Close(); err == nil {
		err = ended
	}
	if ctx.Err() != nil {
		err = errors.New("it was interrupted")
	}
	var apps int
	var hits int64
	if err == nil {
		apps, hits, err = inventory(incoming)
	}
	if err == nil {
		err = settle(c.Dir, sumsName)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot back up to %s: %w; nothing is kept of it", c.Dir, err), os.RemoveAll(incoming))
	}
	fmt.Printf("%s: %d bytes in %d files, %d apps, %d hits, in %s; to restore, start spoor on a copy of it\n",
		c.Dir, got.bytes, got.files, apps, hits, time.Since(began).Round(time.Millisecond))
	return nil
}

// prepare makes the directory.
func (c *backupCommand) prepare() error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot back up to %s: %w", c.Dir, err)
	}
	there, err := os.ReadDir(c.Dir)
	if err != nil {
		return fmt.Errorf("cannot back up to %s: %w", c.Dir, err)
	}
	if len(there) > 0 {
		return fmt.Errorf("cannot back up to %s: it holds %s already; name a new directory", c.Dir, there[0].Name())
	}
	return nil
}

// open gives the checkpoint as a stream.
func (c *backupCommand) open(ctx context.Context) (io.ReadCloser, error) {
	if c.From != "" {
		r, err := newRemote(c.From, c.AdminToken, c.FromCA)
		if err != nil {
			return nil, err
		}
		if r.clear() {
			fmt.Fprintf(os.Stderr, "everything comes from %s in clear text\n", r.url.Host)
		}
		return r.checkpoint(ctx)
	}
	if runs(c.Data) {
		return newClient(c.Data).stream("GET", "/api/admin/checkpoint/", nil)
	}
	return c.openHere()
}

// openHere copies a stopped store.
func (c *backupCommand) openHere() (io.ReadCloser, error) {
	if _, err := os.Stat(filepath.Join(c.Data, "db")); err != nil {
		return nil, fmt.Errorf("cannot back up %s: there is no store in it; use --data", c.Data)
	}
	st, err := store.Open(store.Options{Dir: c.Data, Log: newLog("warn")})
	if err != nil {
		return nil, err
	}
	copied, err := (&keepFlags{Data: c.Data}).checkpoint(st)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := copied.Send(w)
		w.CloseWithError(err)
		err = enterBackup(st, err == nil)
		copied.Close()
		ended <- errors.Join(err, st.Close())
		close(ended)
	}()
	return &piped{r, ended}, nil
}

// enterBackup enters who copied everything, as a running server does.
func enterBackup(st *store.Store, complete bool) error {
	return st.Audit(spoor.Access{
		At: time.Now().UnixMilli(), Actor: spoor.ActorOperator, Role: spoor.RoleAdmin, Action: "checkpoint", Subjects: len(st.AllApps()), Complete: complete,
	})
}

// piped is a pipe whose writer has something to say at its end.
type piped struct {
	*io.PipeReader
	ended chan error // closed behind what it says
}

func (p *piped) Close() error {
	err := p.PipeReader.Close()
	return errors.Join(err, <-p.ended)
}

// inventory opens a checkpoint to look, and counts what is in it.
func inventory(dir string) (apps int, hits int64, err error) {
	st, err := store.Open(store.Options{Dir: dir, ReadOnly: true, Log: newLog("error")})
	if err != nil {
		return 0, 0, err
	}
	for _, a := range st.AllApps() {
		days, listed := st.Partitions(a.ID)
		err = errors.Join(err, listed)
		for _, d := range days {
			hits += d.Hits
		}
	}
	if lost := st.Stats().LostGroups; lost > 0 {
		err = errors.Join(err, fmt.Errorf("it lacks %d writes that were acknowledged before", lost))
	}
	return len(st.AllApps()), hits, errors.Join(err, st.Close())
}

// shown shows on a terminal how much has arrived.
func shown() func(bytes, of int64) {
	info, err := os.Stderr.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(int64, int64) {}
	}
	var last time.Time
	return func(bytes, of int64) {
		if now := time.Now(); now.Sub(last) > 200*time.Millisecond || bytes == of {
			last = now
			fmt.Fprintf(os.Stderr, "\r%d of %d MB", bytes/1e6, of/1e6)
			if bytes == of {
				fmt.Fprintln(os.Stderr)
			}
		}
	}
}
