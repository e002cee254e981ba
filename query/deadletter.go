package query

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

// deadRetryFor is how long one request sends again; what is left then waits for
// the next.
const deadRetryFor = 25 * time.Second

var errNoOutlet = detail(fasthttp.StatusConflict, "This app's feed goes nowhere. Its settings feed_days, feed_webhook and feed_topic decide that.")

// deadLetters answers how far the feed was delivered, and what was not.
func (c *call) deadLetters() error {
	if err := c.only(); err != nil {
		return err
	}
	d, err := c.store.Delivery(c.app.ID)
	if err != nil {
		return err
	}
	newest, _ := c.store.FeedEnd(c.app.ID)
	var w jsonWriter
	w.begin('{')
	w.text("delivered", cursor(d.Cursor))
	w.text("newest", cursor(newest))
	w.int("dropped", d.Dropped)
	w.key("dead")
	w.begin('[')
	err = c.store.DeadLetters(c.app.ID, func(l *spoor.DeadLetter) error {
		w.begin('{')
		w.text("from", cursor(l.From))
		w.text("to", cursor(l.To))
		w.number("entries", float64(l.Entries), !l.Lost())
		w.time("at", l.At)
		w.number("status", float64(l.Status), !l.Lost())
		w.int("attempts", int64(l.Attempts))
		w.bool("lost", l.Lost())
		w.end('}')
		return nil
	})
	if err != nil {
		return err
	}
	w.end(']')
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// retryDeadLetters sends dead letters again: {"from":ID} that which begins with
// this entry, without it all. It ends at the first that is not taken.
func (c *call) retryDeadLetters() error {
	if err := c.only(); err != nil {
		return err
	}
	var in struct{ From string }
	if err := c.readJSON(&in); err != nil {
		return err
	}
	if c.s.opt.Outlet == nil {
		return errNotFound
	}
	if c.app.Settings.FeedTarget() == "" {
		return errNoOutlet
	}
	var list []spoor.DeadLetter
	err := c.store.DeadLetters(c.app.ID, func(l *spoor.DeadLetter) error {
		if !l.Lost() && (in.From == "" || in.From == cursor(l.From)) {
			list = append(list, *l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if in.From != "" && len(list) == 0 {
		return fieldError("from", "Write the from of a dead letter that is not lost, or leave it out for all.")
	}
	failed, left, err := c.sendAgain(list)
	if err != nil {
		return err
	}
	var w jsonWriter
	w.begin('{')
	w.int("delivered", int64(c.subjects))
	w.int("left", int64(left))
	var answer *spoor.WebhookError
	switch {
	case errors.As(failed, &answer):
		w.text("detail", "The webhook answered "+strconv.Itoa(answer.Status)+".")
	case errors.Is(failed, errNoTime):
		w.text("detail", "There was no time for all; ask again.")
	case errors.Is(failed, spoor.ErrFeedRecord):
		w.text("detail", "The topic takes no record of this size; raise its max.message.bytes.")
	case failed != nil && c.app.Settings.FeedTopic != "":
		w.text("detail", "The brokers did not acknowledge.")
	case failed != nil: // its text names addresses inside
		w.text("detail", "The webhook did not answer.")
	}
	w.end('}')
	return c.reply(fasthttp.StatusOK, &w)
}

// sendAgain sends dead letters until one fails, and counts those that are left.
func (c *call) sendAgain(list []spoor.DeadLetter) (failed error, left int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadRetryFor)
	defer cancel()
	go func() {
		select {
		case <-c.s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for i, l := range list {
		n, remains, failure, err := c.s.opt.Outlet.retry(ctx, c.app, l)
		c.subjects += n
		c.changed = c.changed || n > 0
		if err == nil {
			err = c.store.ReplaceDeadLetter(c.app.ID, l.From, remains)
		}
		if err != nil {
			return nil, 0, err
		}
		if failure != nil {
			return failure, len(list) - i, nil
		}
	}
	return nil, 0, nil
}
