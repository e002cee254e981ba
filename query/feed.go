package query

import (
	"bufio"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spoorhq/spoor"
	"github.com/valyala/fasthttp"
)

const (
	feedPage    = 500              // entries that are read at once
	feedPageMax = 1000             // that a request may ask for
	feedWaitMax = 60 * time.Second // that a request may wait
	feedCatchUp = 5 * time.Second  // that it waits for a node that has not read as far as its cursor
)

var errFeedBehind = retry(detail(fasthttp.StatusServiceUnavailable, "This node has not read as far as this cursor yet; ask another one, or this one later."), 2)

var errNoFeed = detail(fasthttp.StatusConflict, "This app keeps no feed. Its setting feed_days switches it on.")

// errGone tells of entries that a reader came too late for.
func errGone(gap *spoor.FeedGap) *problem {
	var w jsonWriter
	w.begin('{')
	w.text("detail", "Entries behind this cursor are gone. Read all users again, then go on from oldest.")
	w.text("oldest", cursor(gap.Oldest))
	w.end('}')
	return &problem{status: fasthttp.StatusGone, body: w.b}
}

func cursor(n uint64) string { return strconv.FormatUint(n, 10) }

// feed answers what happened in the app behind a cursor: one page, for which it
// waits if it is asked to, or a stream that does not end.
func (c *call) feed() error {
	if err := c.only("after", "limit", "wait", "stream"); err != nil {
		return err
	}
	if c.app.Settings.FeedDays == 0 {
		return errNoFeed
	}
	after, err := c.feedCursor()
	if err != nil {
		return err
	}
	limit, err := c.feedNumber("limit", feedPage, 1, feedPageMax)
	if err != nil {
		return err
	}
	wait, err := c.feedNumber("wait", 0, 0, int(feedWaitMax/time.Second))
	if err != nil {
		return err
	}
	stream, err := c.query("stream")
	if err != nil {
		return err
	}
	switch {
	case stream == "true" || stream == "" && strings.Contains(string(c.ctx.Request.Header.Peek("Accept")), "application/x-ndjson"):
		for _, name := range []string{"limit", "wait"} {
			if c.ctx.QueryArgs().Has(name) {
				return fieldError(name, "A stream does not end and has no pages: leave this out, or write stream=false.")
			}
		}
		return c.streamFeed(after)
	case stream != "" && stream != "false":
		return fieldError("stream", "Write true or false.")
	}
	return c.pageFeed(after, limit, time.Duration(wait)*time.Second)
}

// feedCursor is where the reader stands: a number, nothing for the oldest entry
// there is, or the word now.
func (c *call) feedCursor() (uint64, error) {
	text, err := c.query("after")
	if err != nil {
		return 0, err
	}
	newest, _ := c.store.FeedEnd(c.app.ID)
	if text == "now" {
		return newest, nil
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fieldError("after", "Write the id of an entry of this app's feed, or now, or leave it out to begin at the oldest.")
	}
	if n > newest && c.s.opt.CatchUp != nil { // of a node that has read further
		if err := c.catchUp(); err != nil {
			return 0, err
		}
		newest, _ = c.store.FeedEnd(c.app.ID)
	}
	if n > newest { // of a time that a restored backup does not know
		return 0, &spoor.FeedGap{After: n, Oldest: newest}
	}
	return n, nil
}

// catchUp waits a little until this node has read what others may have.
func (c *call) catchUp() error {
	select {
	case c.s.streams <- struct{}{}:
		defer func() { <-c.s.streams }()
	default:
		return errStreams
	}
	ctx, cancel := context.WithTimeout(context.Background(), feedCatchUp)
	defer cancel()
	if err := c.s.opt.CatchUp(ctx, c.app.ID); err != nil {
		return errFeedBehind
	}
	return nil
}

func (c *call) feedNumber(name string, byDefault, least, most int) (int, error) {
	text, err := c.query(name)
	if err != nil || text == "" {
		return byDefault, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fieldError(name, "Write a number from "+strconv.Itoa(least)+" to "+strconv.Itoa(most)+".")
	}
	return n, nil
}

// readFeed appends up to limit entries as JSON, as lines or as items of an array,
// and gives the cursor behind them.
func (c *call) readFeed(w *jsonWriter, after uint64, limit int, lines bool) (next uint64, err error) {
	left := limit
	next, err = c.store.Feed(c.app.ID, after, func(e *spoor.FeedEntry) error {
		if left == 0 {
			return ErrStop
		}
		left--
		c.subjects++
		writeFeedEntry(w, e, c.v2)
		if lines {
			w.b = append(w.b, '\n')
		}
		return nil
	})
	if errors.Is(err, ErrStop) {
		err = nil
	}
	return next, err
}

func (c *call) pageFeed(after uint64, limit int, wait time.Duration) error {
	var w jsonWriter
	if wait > 0 { // it keeps a connection as a stream does
		select {
		case c.s.streams <- struct{}{}:
			defer func() { <-c.s.streams }()
		default:
			return errStreams
		}
	}
	until := time.NewTimer(wait)
	defer until.Stop()
	for {
		_, more := c.store.FeedEnd(c.app.ID)
		w.b = append(w.b[:0], `{"entries":[`...)
		begun := len(w.b)
		next, err := c.readFeed(&w, after, limit, false)
		if err != nil {
			return err
		}
		if len(w.b) > begun || wait == 0 {
			w.end(']')
			w.text("next", cursor(next))
			w.end('}')
			return c.reply(fasthttp.StatusOK, &w)
		}
		after = next
		select {
		case <-more:
		case <-until.C:
			wait = 0
		case <-c.s.done:
			wait = 0
		}
		if c.accessEnded() {
			return errInvalidToken
		}
	}
}

// streamFeed writes a line for each entry, for as long as the reader stays. A
// gap before the first entry is a status, one that comes later the last line.
func (c *call) streamFeed(after uint64) error {
	if _, err := c.store.Feed(c.app.ID, after, func(*spoor.FeedEntry) error { return ErrStop }); err != nil && !errors.Is(err, ErrStop) {
		return err
	}
	return c.startStream("application/x-ndjson", "", func(out *bufio.Writer) error { return c.writeFeed(out, after) }, nil)
}

func (c *call) writeFeed(out *bufio.Writer, after uint64) error {
	beat := time.NewTicker(c.s.heartbeat)
	defer beat.Stop()
	var w jsonWriter
	for {
		_, more := c.store.FeedEnd(c.app.ID)
		if app := c.s.opt.Apps.App(c.app.ID); c.accessEnded() || app == nil || app.Settings.FeedDays == 0 {
			return nil
		}
		w.b = w.b[:0]
		next, err := c.readFeed(&w, after, feedPage, true)
		var gap *spoor.FeedGap
		switch {
		case errors.As(err, &gap):
			w.b = append(append(w.b, errGone(gap).body...), '\n')
		case err != nil:
			return err
		}
		out.Write(w.b) // Flush has its error
		if err := out.Flush(); err != nil || gap != nil {
			return err
		}
		if next > after {
			after = next
			if c.s.closing() == nil {
				continue
			}
		}
		select {
		case <-more:
		case <-beat.C:
			out.WriteByte('\n')
		case <-c.s.done:
			return nil
		}
	}
}

// writeFeedEntry appends an entry as JSON.
func writeFeedEntry(w *jsonWriter, e *spoor.FeedEntry, v2 bool) {
	w.begin('{')
	w.text("id", cursor(e.Number))
	what := string(e.Kind)
	if e.Kind == spoor.FeedRight {
		what = e.What
	}
	w.text("type", what)
	w.time("at", e.At)
	person := func(name string, id int64) {
		w.key(name)
		w.begin('{')
		w.int("id", id)
		w.end('}')
	}
	switch e.Kind {
	case spoor.FeedHit:
		w.key("hit")
		writeHit(w, e.Hit, e.Person)
	case spoor.FeedUser:
		w.key("user")
		writeUser(w, e.Profile, v2)
	case spoor.FeedTagOn, spoor.FeedTagOff, spoor.FeedListOn, spoor.FeedListOff, spoor.FeedEntered, spoor.FeedLeft:
		person("user", e.Person)
		w.key(e.Of.Kind.String())
		w.begin('{')
		w.int("id", int64(e.Of.ID))
		w.textOrNull("name", e.Of.Name)
		w.end('}')
	case spoor.FeedExpired:
		w.text("day", e.Day.String())
		if e.Class != spoor.KindNone {
			w.text("kind", e.Class.String())
		}
	case spoor.FeedMerge:
		person("user", e.Person)
		person("former", e.Gone[0])
	case spoor.FeedSwept, spoor.FeedErased:
		w.key("users")
		w.begin('[')
		for _, id := range e.Gone {
			w.begin('{')
			w.int("id", id)
			w.end('}')
		}
		w.end(']')
	default:
		person("user", e.Person)
	}
	w.end('}')
}
