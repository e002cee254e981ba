package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// workVariable tells the process that measures which folder is for its data.
const workVariable = "BENCH_WORK"

// errTold is of a run that has said by itself what is wrong.
var errTold = errors.New("told already")

// guarded measures in a process of its own, and removes the folder of its data
// once that process and all that it started have ended, however they ended: also
// by a signal, by a panic, or because nobody reads any more what is printed.
func guarded(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	work, err := workDir(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	// Servers whose parent is gone become ours, so that their end can be waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become the parent of what is left behind: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), workVariable+"="+work)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	for waited := error(nil); waited == nil || waited == syscall.EINTR; {
		_, waited = syscall.Wait4(-1, nil, 0, nil)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return errTold
	}
	if err != nil {
		return fmt.Errorf("the run was ended: %w", err)
	}
	return nil
}
