package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
)

// life is a process from when it serves until a signal, or until something
// cannot go on.
type life struct {
	context.Context
	stop context.CancelCauseFunc
	log  *slog.Logger
}

func newLife(ctx context.Context, log *slog.Logger) *life {
	ctx, stop := context.WithCancelCause(ctx)
	return &life{ctx, stop, log}
}

// start runs f beside; an error of it ends the life.
func (l *life) start(name string, f func() error) {
	go func() {
		if err := f(); err != nil {
			l.stop(fmt.Errorf("cannot go on serving the %s: %w", name, err))
		}
	}()
}

// await tells the supervisor that all is up, and returns when the life ends: nil
// after a signal, else why it could not go on.
func (l *life) await() error {
	tellSupervisor(daemon.SdNotifyReady, l.log)
	<-l.Done()
	cause := context.Cause(l)
	l.stop(nil)
	if errors.Is(cause, context.Canceled) {
		cause = nil // a signal
	}
	l.log.Info("stopping: finishing what is in flight")
	tellSupervisor(daemon.SdNotifyStopping, l.log)
	return cause
}

// tellSupervisor tells systemd, if it is that which started us, how far we are:
// what it starts after us finds us serving.
func tellSupervisor(state string, log *slog.Logger) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot tell the supervisor, which may take us for hanging", "state", state, "error", err)
	}
}
