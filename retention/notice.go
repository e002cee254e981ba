package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/spoorhq/spoor"
)

// NoticeStore is what a Notifier needs of the store.
type NoticeStore interface {
	AllApps() []*spoor.App
	Notices(app spoor.AppID, fn func(*spoor.Notice) error) error
	PutNotice(app spoor.AppID, n *spoor.Notice, done bool) error
}

// Notifier tells the webhook of an app what its own systems have to follow:
// objections, restrictions, erasures. What cannot be delivered is tried again,
// ever more rarely, for three days.
type Notifier struct {
	opt     NotifierOptions
	hooks   *spoor.Webhooks
	figures struct{ sent, failed, given atomic.Int64 }
}

// NotifierOptions configure a Notifier. Store is needed.
type NotifierOptions struct {
	Store NoticeStore
	Now   func() time.Time // default: time.Now
	Log   *slog.Logger     // default: slog.Default()
	// Private lets webhooks lie in private networks: see spoor.NewWebhooks.
	Private bool
	// Mine says of which apps the notices are this process's to deliver; default: all.
	Mine func(spoor.AppID) bool
	// Done is told what is delivered or given up; default: nobody is.
	Done func(app spoor.AppID, notice uint64)
}

const (
	noticeTick  = 5 * time.Second
	noticeFirst = 30 * time.Second // before the second attempt; doubles
	noticeRare  = time.Hour        // longest time between two
	noticeEnd   = 72 * time.Hour   // then it is given up
	noticeTries = 8                // at least, also where the program did not run
	noticesOnce = 100              // of one app, in one go
)

// NewNotifier makes one.
func NewNotifier(o NotifierOptions) *Notifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Mine == nil {
		o.Mine = func(spoor.AppID) bool { return true }
	}
	if o.Done == nil {
		o.Done = func(spoor.AppID, uint64) {}
	}
	return &Notifier{opt: o, hooks: spoor.NewWebhooks(o.Private)}
}

// NoticeFigures are counters for metrics, since the start.
type NoticeFigures struct{ Sent, Failed, GivenUp int64 }

// Figures reads the counters.
func (n *Notifier) Figures() NoticeFigures {
	return NoticeFigures{Sent: n.figures.sent.Load(), Failed: n.figures.failed.Load(), GivenUp: n.figures.given.Load()}
}

// Run delivers until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	tick := time.NewTicker(noticeTick)
	defer tick.Stop()
	for {
		if err := n.Deliver(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spoor.ErrReadOnly) && !errors.Is(err, spoor.ErrClosed) {
			n.opt.Log.Error("cannot deliver notices; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Deliver tries once what is due. An app's notices go in their order: one that
// fails holds up those behind it.
func (n *Notifier) Deliver(ctx context.Context) error {
	for _, app := range n.opt.Store.AllApps() {
		if !n.opt.Mine(app.ID) {
			continue
		}
		var due []spoor.Notice
		err := n.opt.Store.Notices(app.ID, func(one *spoor.Notice) error {
			if due = append(due, *one); len(due) == noticesOnce {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		for i := range due {
			if err := ctx.Err(); err != nil {
				return err
			}
			if went, err := n.deliver(ctx, app, &due[i]); err != nil {
				return err
			} else if !went {
				break
			}
		}
	}
	return nil
}

var errEnough = errors.New("enough")

// deliver sends one notice if it is time, and notes what came of it.
func (n *Notifier) deliver(ctx context.Context, app *spoor.App, one *spoor.Notice) (went bool, err error) {
	now := n.opt.Now()
	if now.UnixMilli() < one.Next {
		return false, nil
	}
	failed := errors.New("the app has no webhook any more")
	if app.Settings.Webhook != "" {
		failed = n.post(ctx, app, one, now)
	}
	if failed == nil {
		n.figures.sent.Add(1)
		return true, n.done(app, one)
	}
	n.figures.failed.Add(1)
	if app.Settings.Webhook == "" || one.Attempts >= noticeTries && now.Sub(time.UnixMilli(one.At)) > noticeEnd {
		n.figures.given.Add(1)
		n.opt.Log.Error("a notice was given up: the webhook of the app did not take it", "app", app.Name, "what", one.What, "notice", one.ID, "error", failed)
		return true, n.done(app, one)
	}
	wait := min(noticeRare, noticeFirst<<min(one.Attempts, 20))
	one.Attempts++
	one.Next = now.Add(wait).UnixMilli()
	if one.Attempts == 1 {
		n.opt.Log.Warn("a webhook did not take a notice; it is tried again", "app", app.Name, "what", one.What, "notice", one.ID, "error", failed)
	}
	return false, n.opt.Store.PutNotice(app.ID, one, false)
}

func (n *Notifier) done(app *spoor.App, one *spoor.Notice) error {
	err := n.opt.Store.PutNotice(app.ID, one, true)
	if err == nil {
		n.opt.Done(app.ID, one.ID)
	}
	return err
}

// post sends a notice.
func (n *Notifier) post(ctx context.Context, app *spoor.App, one *spoor.Notice, now time.Time) error {
	event := map[string]any{
		"id": fmt.Sprintf("%s-%d", app.Name, one.ID), "type": one.What, "app": app.Name, "user": map[string]int64{"id": one.Person},
		"at": time.UnixMilli(one.At).UTC().Format(time.RFC3339),
	}
	if one.Until != 0 && one.Until != spoor.Forever {
		event["until"] = one.Until.String()
	}
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	return n.hooks.Post(ctx, app.Settings.Webhook, app.WebhookSecret, body, now)
}
